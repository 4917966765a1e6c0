"""Explain: what would have passed, for whoever may see a refused or parked call.

1. find     the entry that says no, and the question that it was said to, as the log keeps it
2. repeat   the bundle in force says the same no to it; otherwise nothing can be concluded from it
3. search   a solver process looks for the smallest changes, off the call path, few at a time
4. replay   each is put to both engines, the compiled checks and the limits; what does not pass is never shown
5. tell     what this viewer may see of it

Nothing is gathered anew and nothing is recorded: facts and time are those of the call. What is told is advice; the call
that follows it is decided like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import orjson

from gateway import explained
from gateway.activation import Policies
from gateway.answers import Reply
from gateway.clock import rfc3339
from gateway.errors import Conflict, Unavailable
from gateway.explained import View
from gateway.identity import Principal
from gateway.inquiries import Inquiries
from gateway.rates import Rates
from gateway.redaction import HIDDEN_IN_RECORDS, Redactor
from gateway.storage.records import Records
from gateway.tools import PreparedTool
from gateway.trials import Trial
from invariants import declared
from invariants.errors import Busy
from invariants.explanations.alternatives import Asked, Explanation, Kind, Obstacle
from invariants.explanations.explainer import Explainer
from policies import footprint, replay
from policies.cedar import parse
from policies.questions import Question
from tool_registry.contracts import Contract

_REFUSING = ("REFUSED", "PARKED")
_EXPLAINED = frozenset({"policy_error", "invariant_violated", "policy_denied", "not_permitted"})
_APPROVALS_LOST = frozenset({"approval_used", "approval_void"})
_OF_LEDGER = frozenset({"killed", "budget_exceeded"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refused:
    """A no as it is recorded."""

    entry: Mapping[str, Any]
    packet: Mapping[str, Any]
    trial: Trial

    @property
    def question(self) -> Question:
        return self.trial.question

    @property
    def contract(self) -> Contract:
        return self.trial.tool.contract

    @property
    def reason(self) -> str:
        return str(self.entry.get("reason", ""))


class Explaining:
    """Answers what would have passed."""

    def __init__(
        self,
        *,
        inquiries: Inquiries,
        records: Records,
        policies: Policies,
        redactor: Redactor,
        explainer: Explainer,
        rates: Rates,
    ) -> None:
        self._inquiries = inquiries
        self._records = records
        self._policies = policies
        self._redactor = redactor
        self._explainer = explainer
        self._rates = rates

    async def call(self, principal: Principal, call_id: UUID) -> Reply:
        """
        200: alternatives, or what stands in the way, or why neither is known.

        Raises `NotFound` as `Inquiries.call` does, `RateExceeded`, `Conflict` for a call that was not refused by rules,
        and `Unavailable` when too many explanations wait.
        """
        await self._rates.take_explanation(principal)
        told = (await self._inquiries.call(principal, call_id)).document
        refused = await self._refused(principal.tenant, told)
        view = View(
            contract=refused.contract,
            question=refused.question,
            labels=self._redactor.visible(refused.contract, principal),
            is_own=told["principal"] == principal.reference,
        )
        return Reply(status=200, document={**_heading(refused), **await self._explained(refused, view)})

    async def _refused(self, tenant: str, told: Mapping[str, Any]) -> _Refused:
        """The newest no of a call that is refused or parked, if rules or the ledger said it."""
        saying = [each["seq"] for each in told["entries"] if each["kind"] in _REFUSING]
        if told["status"] not in ("refused", "parked") or not saying:
            raise Conflict("nothing_to_explain", "the call was not refused, or nothing is kept of its question")
        placed = await self._records.entry(tenant, saying[-1])
        packet = await self._records.payload(tenant, saying[-1])
        entry = orjson.loads(placed.body) if placed is not None else {}
        if packet is None and "rules" in entry:
            raise Conflict("record_erased", "what was decided then has been erased")
        known = {*_EXPLAINED, *_APPROVALS_LOST, *_OF_LEDGER}
        if packet is None or (entry["kind"] == "REFUSED" and entry.get("reason") not in known):
            raise Conflict("nothing_to_explain", "the call was refused before rules were asked; its reason says why")
        active = self._policies.active(tenant)
        tool = active.tools.get(entry["tool"])
        if tool is None or (entry["bundle"], entry["tool_digest"]) != (active.bundle_digest, tool.contract.digest):
            raise Conflict("bundle_replaced", "bundle or tool changed since; a dry run says what holds now")
        self._policies.require_in_force(tenant, active, entry["tool"])
        question = replay.read(packet["question"])
        if entry.get("reason") in _APPROVALS_LOST:
            question = question.with_approvals({})
        trial = Trial(call=str(told["call"]), question=question, active=active, tool=tool)
        return _Refused(entry=entry, packet=packet, trial=trial)

    async def _explained(self, refused: _Refused, view: View) -> dict[str, Any]:
        if refused.reason in _OF_LEDGER:
            return _by_ledger(refused)
        trial = refused.trial
        refusing = await trial.refusing()
        recorded = {(each["engine"], each["id"]) for each in refused.packet["decision"]["rules"]}
        if refusing is None or (refusing != recorded and refused.reason not in _APPROVALS_LOST):
            return _unknown("replay_differs")
        hidden = _hidden(refused.trial.tool)
        if hidden:
            # Rules are read once more for this, on a thread: calls go on meanwhile.
            are_read = await asyncio.to_thread(_are_read, refused, hidden)
            if are_read:
                return _unknown("question_redacted")
        explanation = await self._search(refused, hidden)
        if explanation.unknown:
            return _unknown(explanation.unknown)
        tried = await trial.of(explanation.alternatives)
        if not tried.passing and tried.denials:
            tried = replace(await trial.of(explanation.detours), denials=tried.denials)
        if tried.passing:
            alternatives = [view.alternative(each) for each in tried.passing]
            return {"verdict": "would_pass", "alternatives": alternatives, "not_seen": _unread_limits(refused)}
        if explanation.alternatives and not tried.denials:
            return _unknown("encoding_bug")
        denials = [hit.document for hit in tried.denials]
        denials = denials or [each for each in refused.packet["decision"]["rules"] if each["engine"] == "rego"]
        standing = [*_standing(explanation.obstacles, refused), *({"kind": "rule", **each} for each in denials)]
        why = ": what stands in the way cannot all be met at once" if explanation.is_joint else ""
        nothing: dict[str, Any] = {
            "verdict": "nothing_would_pass",
            "sentence": f"Nothing that the requester can change would pass{why}.",
            "stands_in_the_way": standing,
        }
        if explanation.askers:
            nothing["could_ask"] = list(explanation.askers)
            nothing["sentence"] += f" {explained.askers(explanation.askers, asks_same=explanation.asks_same)}"
        return nothing

    async def _search(self, refused: _Refused, hidden: frozenset[tuple[str, ...]]) -> Explanation:
        asked = Asked(
            question=refused.question,
            policies=refused.trial.active.bundle.policies,
            invariants=refused.trial.active.bundle.invariants,
            schema=refused.trial.active.schema,
            contract=refused.contract,
            fixed=frozenset(path[-1] for path in hidden if path[0] == "arguments"),
        )
        try:
            return await self._explainer.explain(asked)
        except Busy as error:
            raise Unavailable("explanations_busy", "other explanations come first", retry_after_seconds=5) from error


def _hidden(tool: PreparedTool) -> frozenset[tuple[str, ...]]:
    """Members of a question that the log keeps as tokens."""
    contract = tool.contract
    arguments = {("arguments", each.name) for each in contract.arguments if each.label in HIDDEN_IN_RECORDS}
    facts = {
        ("facts", source.name, each.name)
        for source in contract.facts
        for each in source.fields
        if each.label in HIDDEN_IN_RECORDS
    }
    return frozenset(arguments | facts)


def _are_read(refused: _Refused, hidden: Iterable[tuple[str, ...]]) -> bool:
    """Whether a rule or invariant may look at one of these members."""
    bundle = refused.trial.active.bundle
    nodes = [rule.node for rule in parse(bundle.policies)]
    nodes += [each.policy for each in declared.read(bundle.invariants, refused.trial.active.schema.typed)]
    read = footprint.of(nodes)
    return any(footprint.touches(read, path) for path in hidden)


def _by_ledger(refused: _Refused) -> dict[str, Any]:
    """What policies permit and the ledger refused when the intent was to be written."""
    if refused.reason == "killed":
        return {
            "verdict": "nothing_would_pass",
            "sentence": "A kill switch is engaged; nothing passes until it is released.",
            "stands_in_the_way": [{"kind": "kill_switch"}],
        }
    reserved = [str(each["name"]) for each in refused.packet["reservations"]]
    return {**_unknown("limit_not_recorded"), "stands_in_the_way": [{"kind": "limit", "id": each} for each in reserved]}


def _standing(obstacles: Iterable[Obstacle], refused: _Refused) -> list[Mapping[str, Any]]:
    active, question = refused.trial.active, refused.question
    rules = {hit.id: hit for hit in active.engine.rules_for(question.action, question.principal.type)}  # type: ignore[arg-type]  # any text asks
    checks = {check.id: check for check in active.invariants.evaluate(question)}
    documents: list[Mapping[str, Any]] = []
    for each in obstacles:
        match each.kind:
            case Kind.RULE:
                documents.append({"kind": "rule", **rules[each.id].document})
            case Kind.INVARIANT:
                documents.append({"kind": "invariant", "id": each.id, "hint": checks[each.id].sentence})
            case Kind.NO_PERMIT:
                permits = [hit.document for hit in rules.values() if hit.effect == "permit"]
                documents.append({"kind": "no_permit", "hint": "No rule permits it.", "permits": permits})
            case Kind.LIMIT:
                documents.append({"kind": "limit", "id": each.id})
    return documents


def _unread_limits(refused: _Refused) -> list[str]:
    """Limits that the ledger alone knows the reading of: it has the last word."""
    return [
        each.limit.name
        for each in refused.trial.tool.limits
        if not (each.limit.shows or each.limit.soft)
        and (refused.question.principal.type == "Agent" or not each.limit.agents_only)
    ]


def _unknown(reason: str) -> dict[str, Any]:
    return {"verdict": "unknown", "unknown": reason, "sentence": "What would pass could not be found out."}


def _heading(refused: _Refused) -> dict[str, Any]:
    return {
        "call": refused.trial.call,
        "tool": refused.question.action,
        "entry": refused.entry["seq"],
        "bundle": refused.trial.active.bundle_digest,
        "revision": refused.trial.active.revision,
        "as_of": rfc3339(refused.question.context["now"] * 1000),
    }
