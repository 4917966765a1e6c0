"""What is in force: for each tenant the active bundle, its tools, engines, checks and certificate.

A tenant without an activation of its own is under the base bundle of tenant `system`. Swapping is one assignment: a
call reads the active set once, in `admit`, and keeps it to its end, so no decision mixes two revisions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.errors import Unavailable
from gateway.ledger import SYSTEM
from gateway.logs import log
from gateway.storage.revisions import Revisions
from gateway.tools import PreparedTool
from invariants.checks import CompiledInvariants
from policies.bundles import Bundle
from policies.cedar import PRINCIPAL_TYPES, Engine
from policies.decider import Decider
from policies.decisions import Decision
from policies.errors import EngineUnavailable
from policies.questions import Question
from policies.schema import CedarSchema
from proofs.certificates import Certificate, Verdict
from tool_registry.registry import Registry

ALWAYS_IN_FORCE = frozenset({"publish_bundle", "activate_bundle", "engage_kill"})
"""What an expired or quarantined bundle still decides, so that it can be replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Active:
    """One bundle over one set of tools, ready to decide."""

    tenant: str
    """Whose activation it is; `system` for the base bundle."""
    revision: int
    bundle: Bundle
    certificate: Certificate | None
    """None: not proved for this schema by these engines; nothing is permitted until it is."""
    certificate_digest: str
    decider: Decider
    invariants: CompiledInvariants
    registry: Registry
    tools: Mapping[str, PreparedTool]
    proven: frozenset[str]
    reference: Mapping[str, Any] = field(init=False)
    """The members by which an entry names what it was decided under."""
    not_after_ms: int = field(init=False)
    """Exclusive."""
    resolves: bool = field(init=False)
    """Whether some tool turns tokens into values: reads then leave the places of those that they show."""

    def __post_init__(self) -> None:
        reference = {"bundle": self.bundle.digest, "revision": self.revision, "certificate": self.certificate_digest}
        object.__setattr__(self, "reference", reference)
        object.__setattr__(self, "resolves", any(tool.resolving for tool in self.tools.values()))
        object.__setattr__(self, "not_after_ms", int(self.bundle.manifest.not_after.timestamp() * 1000))

    @property
    def bundle_digest(self) -> str:
        return self.bundle.digest

    @property
    def engine(self) -> Engine:
        return self.decider.engine

    @property
    def schema(self) -> CedarSchema:
        return self.decider.schema

    def proves(self, action: str) -> bool:
        """Whether every invariant was proved for this action, under this schema, by these engines."""
        return action in self.proven

    async def decide(self, question: Question) -> Decision:
        """Ask every engine. Raises `Unavailable` when one gave no answer."""
        try:
            return await self.decider.decide(question)
        except EngineUnavailable as error:
            raise Unavailable("engine_unavailable", "a policy engine gave no answer") from error

    async def decide_fitting(self, question: Question) -> Decision:
        """As `decide`, for a question that was found to fit when it was gathered."""
        try:
            return await self.decider.decide_fitting(question)
        except EngineUnavailable as error:
            raise Unavailable("engine_unavailable", "a policy engine gave no answer") from error


def proven_actions(
    certificate: Certificate | None, schema: CedarSchema, invariants: CompiledInvariants
) -> frozenset[str]:
    """
    The actions that a certificate covers, for agents and for persons, under this very schema.

    Each invariant of the action is proved and no forbid errs. An action without an invariant has the latter alone.
    """
    if certificate is None or certificate.schema != schema.digest:
        return frozenset()
    proved = {each.key for each in certificate.obligations if each.verdict is Verdict.PROVED}
    return frozenset(
        action
        for action in schema.typed.actions
        if all(
            (kind, invariant, action, principal) in proved
            for kind, invariant in (("never_errs", ""), *(("invariant", each) for each in invariants.of(action)))
            for principal in PRINCIPAL_TYPES
        )
    )


class Policies:
    """The active set of every tenant."""

    def __init__(
        self,
        now_ms: Callable[[], int],
        incident: Callable[[Active, str], Awaitable[None]],
        revisions: Revisions | None = None,
    ) -> None:
        """Without `revisions`, what was in force is known from the database alone."""
        self._now_ms = now_ms
        self._incident = incident
        self._revisions = revisions
        self._active: dict[str, Active] = {}
        self._quarantined: set[tuple[str, str]] = set()

    def put(self, tenant: str, active: Active, *, is_quarantined: bool) -> None:
        """Put into force; the next call of the tenant is decided under it. An incident outlives the process."""
        self._active[tenant] = active
        if is_quarantined:
            self._quarantined.add((active.tenant, active.bundle_digest))
        if self._revisions is not None:
            try:
                self._revisions.note(tenant, active.revision)
            except OSError as error:
                log().error("revision_not_kept", tenant=tenant, revision=active.revision, error=error)

    def newest(self, tenant: str) -> int:
        """The revision that another one must be newer than: that in force, or a later one that this home has seen."""
        return max(self.active(tenant).revision, self._seen(tenant))

    def active(self, tenant: str) -> Active:
        """What decides for a tenant. Raises `Unavailable` (`no_bundle`) before anything is in force."""
        active = self._active.get(tenant) or self._active.get(SYSTEM)
        if active is None:
            raise Unavailable("no_bundle", "no policy bundle is in force")
        return active

    def require_in_force(self, tenant: str, active: Active, tool: str) -> None:
        """Raises `Unavailable` (`policy_expired`) for every call of the tenant that a dead bundle may not decide."""
        if tool in ALWAYS_IN_FORCE:
            return
        if active.not_after_ms <= self._now_ms():
            raise Unavailable("policy_expired", "the policy bundle has expired; publish and activate a newer one")
        if (active.tenant, active.bundle_digest) in self._quarantined:
            raise Unavailable("policy_expired", "the policy bundle is quarantined after an incident; see the log")
        if self._is_set_back(tenant):
            raise Unavailable("policy_expired", "newer rules than these were in force; publish and activate newer ones")

    def _seen(self, tenant: str) -> int:
        return 0 if self._revisions is None else self._revisions.newest(tenant)

    def _is_set_back(self, tenant: str) -> bool:
        """
        Whether the tenant had newer rules than those in force: its database is one of before.

        What is replaced decides nothing again. A tenant without rules of its own has had those of the system.
        """
        in_force = self.active(tenant)
        return in_force.revision < max(self._seen(tenant), self._seen(in_force.tenant))

    async def quarantine(self, active: Active, kind: str) -> None:
        """Take a bundle out of force as if it had expired, and raise the alarm once."""
        key = (active.tenant, active.bundle_digest)
        if key not in self._quarantined:
            self._quarantined.add(key)
            await self._incident(active, kind)

    async def quarantine_bundle(self, digest: str, kind: str) -> None:
        """The same for a bundle, wherever it is in force."""
        for active in tuple(self._active.values()):
            if active.bundle_digest == digest:
                await self.quarantine(active, kind)

    def is_ready(self) -> bool:
        """Whether calls can be decided: what is in force is proved, not expired, and the newest that ever was."""
        return bool(self._active) and all(
            active.certificate is not None and active.not_after_ms > self._now_ms() and not self._is_set_back(tenant)
            for tenant, active in self._active.items()
        )

    def can_decide(self) -> bool:
        """Whether the engines answered when they were last asked; nobody is asked here."""
        return all(active.decider.is_answering for active in self._active.values())

    def all(self) -> Mapping[str, Active]:
        """Every activation in force, by tenant."""
        return dict(self._active)
