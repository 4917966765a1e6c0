"""The gateway governs itself: the governance family's effects, through the same line as every other call.

Executing one of them changes nothing yet; its act runs inside the settle transaction, so that effect and OUTCOME
are one. A crash before that transaction leaves nothing done. The one exception is `settle_unknown`, whose effect is
the settlement of another call: it is made first, and making it twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import orjson

from gateway.activation import Policies
from gateway.admission import Call, call_id_of
from gateway.clearance import Clearance
from gateway.clock import Clock
from gateway.connectors import Dispatch, Outcome
from gateway.errors import Unavailable
from gateway.identity import PrincipalKind
from gateway.ledger import SYSTEM, ActRefused, LedgerUnavailable, Settled, State
from gateway.sources import LedgerViews
from gateway.storage import acts, bundles
from gateway.storage.bundles import Activation
from gateway.storage.connections import Cursor
from gateway.tools import PreparedTool
from invariants import certifying
from proofs import certificates
from proofs.certificates import Certificate
from proofs.errors import EvidenceError
from proofs.keys import PublicKey
from tool_registry.contracts import Contract, Family
from tool_registry.declarations import parse_registered
from tool_registry.registry import Registry

_CHANGES_POLICY = frozenset({"activate_bundle", "register_tool"})
Reconcile = Callable[[str, Any, Outcome], Awaitable[State | None]]
"""(tenant, call id, finding) -> the state that the call has afterwards; None when it is no open call."""


class Governance:
    """Acts of the governance family, and the switches that stop the other."""

    def __init__(self, policies: Policies, reload: Callable[[str], Awaitable[None]], clock: Clock) -> None:
        self._policies = policies
        self._reload = reload
        self._clock = clock

    def act(self, cleared: Clearance) -> Callable[[Any, int], Mapping[str, Any]] | None:
        """What the settle transaction changes for this call; None where the effect is the tool's."""
        contract = cleared.attempt.call.tool.contract
        if contract.family is not Family.GOVERNANCE or contract.connector.act == "settle_unknown":
            return None
        call = cleared.attempt.call
        arguments: Mapping[str, Any] = orjson.loads(call.canonical)["arguments"]
        acts_of = _Acts(call.principal.tenant, arguments, self._policies, self._clock)
        act: Callable[[Any, int], Mapping[str, Any]] = getattr(acts_of, contract.connector.act)
        return act

    async def took_effect(self, call: Call, settled: Settled) -> None:
        """Put a new activation into force in this process, at once."""
        if call.tool.contract.connector.act in _CHANGES_POLICY and settled.state is State.EXECUTED:
            await self._reload(call.principal.tenant)


def kill_switches(call: Call) -> tuple[tuple[str, str, str], ...]:
    """(tenant, scope, target) of every switch that stops the call."""
    return switches(call.principal.tenant, call.principal.reference, call.tool.contract)


def switches(tenant: str, principal: str, contract: Contract) -> tuple[tuple[str, str, str], ...]:
    """
    (tenant, scope, target) of every switch that stops a dispatch for that principal.

    Governance is never stopped: a switch must be releasable.
    """
    if contract.family is Family.GOVERNANCE:
        return ()
    kind, _, name = principal.partition("/")
    scopes = [(SYSTEM, "everything", "*"), (tenant, "tenant", tenant), (tenant, "tenant", "*")]
    scopes += [(tenant, "tool", contract.name), (tenant, "tool", "*")]
    if kind == PrincipalKind.AGENT:
        scopes += [(tenant, "agent", name), (tenant, "agent", "*")]
    return tuple(scopes)


class _Acts:
    """One method per tool of the family, named as in its contract."""

    def __init__(self, tenant: str, arguments: Mapping[str, Any], policies: Policies, clock: Clock) -> None:
        self._tenant = tenant
        self._arguments = arguments
        self._policies = policies
        self._clock = clock

    def publish_bundle(self, cursor: Cursor, seq: int) -> Mapping[str, Any]:
        stored = self._bundle(cursor)
        bundles.publish(cursor, self._tenant, stored.digest, seq)
        return {"digest": stored.digest, "revision": stored.verdict["revision"]}

    def activate_bundle(self, cursor: Cursor, seq: int) -> Mapping[str, Any]:
        stored = self._bundle(cursor)
        if stored.published_seq is None:
            raise ActRefused("not_published")
        revision: int = stored.verdict["revision"]
        active = self._policies.active(self._tenant)
        if revision <= self._policies.newest(self._tenant):
            raise ActRefused("stale_revision")
        self._activate(cursor, seq, revision, stored.digest, active.schema.digest, active.registry)
        return {"digest": stored.digest, "revision": revision}

    def register_tool(self, cursor: Cursor, seq: int) -> Mapping[str, Any]:
        digest: str = self._arguments["digest"]
        stored = bundles.tool(cursor, self._tenant, digest)
        active = self._policies.active(self._tenant)
        if stored is None or not stored.verdict["passed"]:
            raise ActRefused("tool_unknown")
        if stored.verdict["over"] != [active.bundle_digest, active.registry.digest]:
            raise ActRefused("not_proved")  # bundle or tools changed since the upload: upload it again
        if not bundles.register_tool(cursor, self._tenant, digest, seq):
            raise ActRefused("tool_known")
        schema: str = stored.verdict["schema"]
        revision = self._policies.newest(self._tenant) + 1
        grown = active.registry.with_tool(parse_registered(stored.document))
        self._activate(cursor, seq, revision, active.bundle_digest, schema, grown)
        return {"digest": digest, "tool": stored.name, "revision": revision}

    def register_key(self, cursor: Cursor, seq: int) -> Mapping[str, Any]:
        try:
            key = PublicKey.from_text(self._arguments["public_key"])
        except (EvidenceError, ValueError) as error:
            raise ActRefused("key_unusable") from error
        person: str = self._arguments["person"]
        acts.register_key(cursor, self._tenant, person, key.key_id, key.text, seq)
        return {"person": person, "key_id": key.key_id}

    def revoke_key(self, cursor: Cursor, seq: int) -> Mapping[str, Any]:
        key_id: str = self._arguments["key_id"]
        return {"key_id": key_id, "person": acts.revoke_key(cursor, self._tenant, key_id, seq)}

    def set_autonomy(self, cursor: Cursor, seq: int) -> Mapping[str, Any]:
        agent, action, level = (self._arguments[name] for name in ("agent", "action", "level"))
        acts.set_autonomy(cursor, self._tenant, agent, action, level, seq)
        return {"agent": agent, "action": action, "level": level}

    def engage_kill(self, cursor: Cursor, seq: int) -> Mapping[str, Any]:
        tenant, scope, target = self._switch()
        acts.engage_kill(cursor, tenant, scope, target, self._arguments["reason"], seq)
        return {"scope": scope, "target": target}

    def release_kill(self, cursor: Cursor, seq: int) -> Mapping[str, Any]:
        tenant, scope, target = self._switch()
        acts.release_kill(cursor, tenant, scope, target, seq)
        return {"scope": scope, "target": target}

    def erase_subject(self, cursor: Cursor, seq: int) -> Mapping[str, Any]:
        subject: str = self._arguments["subject"]
        return {"subject": subject, "payloads_erased": acts.erase_subject(cursor, self._tenant, subject)}

    def _switch(self) -> tuple[str, str, str]:
        scope, target = self._arguments["scope"], self._arguments["target"]
        if scope == "everything":
            if self._tenant != SYSTEM:
                raise ActRefused("scope_not_yours")
            target = "*"
        if scope == "tenant" and target not in ("*", self._tenant):
            raise ActRefused("scope_not_yours")
        return self._tenant, scope, target

    def _bundle(self, cursor: Cursor) -> bundles.StoredBundle:
        stored = bundles.bundle(cursor, self._tenant, self._arguments["digest"])
        if stored is None or not stored.verdict["passed"]:
            raise ActRefused("bundle_unknown")
        return stored

    def _activate(self, cursor: Cursor, seq: int, revision: int, digest: str, schema: str, registry: Registry) -> None:
        certificate = _newest(bundles.certificates(cursor, self._tenant, digest, schema), registry)
        if certificate is None:
            raise ActRefused("not_proved")  # tools, engine or solvers changed since the upload: upload it again
        activation = Activation(
            revision=revision,
            digest=digest,
            certificate_digest=certificate.digest,
            schema_digest=schema,
            at_ms=self._clock.now_ms(),
        )
        acts.activate(cursor, self._tenant, activation, seq)


def _newest(kept: Iterable[bytes], registry: Registry) -> Certificate | None:
    """
    The newest certificate about these contracts that is not void.

    What a former release proved, or what was proved beside a former version of a tool, is proved by another upload.
    """
    for content in kept:
        try:
            certificate = certificates.parse(orjson.loads(content)).certificate
        except (EvidenceError, ValueError):
            continue  # The form of a former release.
        if certificate.tools == registry.digests and certifying.is_of_this_release(certificate):
            return certificate
    return None


class LedgerConnector:
    """The gateway as a tool of itself: governance acts and views of the log."""

    def __init__(self, views: LedgerViews, reconcile: Reconcile) -> None:
        self._views = views
        self._reconcile = reconcile

    async def execute(self, dispatch: Dispatch) -> Outcome:
        """Nothing yet: the act runs in the settle transaction. `settle_unknown` settles its call first."""
        if dispatch.tool.contract.connector.act != "settle_unknown":
            return Outcome(state=State.EXECUTED, result={})
        arguments = orjson.loads(dispatch.canonical)["arguments"]
        finding = Outcome(state=State(arguments["finding"]), reason="settled_by_person")
        state = await self._reconcile(dispatch.tenant, call_id_of(arguments["call"]), finding)
        if state is State.IN_DOUBT:
            return Outcome(state=State.FAILED, reason="tool_may_act")
        if state is None or state is not finding.state:
            return Outcome(state=State.FAILED, reason="call_not_open")
        return Outcome(state=State.EXECUTED, result={"call": arguments["call"], "state": state.value})

    async def status(self, dispatch: Dispatch) -> Outcome | None:
        """An act without its OUTCOME was not done: both are one transaction."""
        if dispatch.tool.contract.connector.act == "settle_unknown":
            return await self.execute(dispatch)
        return Outcome(state=State.NOT_DONE, reason="not_applied")

    async def view(self, tenant: str, tool: PreparedTool, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Entries of the tenant's own log. Raises `Unavailable`, also for a search that takes too long."""
        try:
            match tool.contract.connector.act:
                case "search_audit_logs":
                    return await self._views.search(tenant, arguments["query"])
                case "trace_lookup":
                    return await self._views.trace(tenant, arguments["correlation_id"])
                case _:
                    raise Unavailable("source_unreachable", "the tool is no view of the log")
        except LedgerUnavailable as error:
            raise Unavailable("ledger_unavailable", "the log cannot be read, or not in time") from error
