"""The governed write: the one path from a tool call to its signed receipt.

The numbers return as comments where each step is done.

 1. identify  a configured issuer vouches for the principal
 2. limit     the principal is within its rate
 3. admit     the bytes are one call, and it fits the tool's contract
 4. claim     the idempotency key belongs to this exact call
 5. gather    facts, counters and approvals make it a question
 6. decide    every engine answers it, and names the rules that did
 7. check     every invariant of the tool is evaluated on it
 8. clear     refused, parked, or cleared
 9. intend    claim, budgets, approvals and INTENT are durable, together
10. execute   the tool is called, once
11. settle    the outcome is durable
12. answer    the caller takes a signed receipt away

Nothing before `intend` may touch the world; nothing after it may be forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from msgspec.structs import replace

from gateway import admission, attempts, claims, entries
from gateway.activation import Active, Policies
from gateway.admission import Call
from gateway.answers import Answers, Reply
from gateway.attempts import Attempt
from gateway.capacity import Capacity
from gateway.clearance import Clearance, Refusal, Ruling, Wanting, clear
from gateway.clearance import rule as ruled
from gateway.clock import Clock
from gateway.confirming import Confirming
from gateway.connectors import Outcome
from gateway.errors import Denied, NotDone, OutcomeUnknown, Unavailable
from gateway.execution import KILLED, Execution
from gateway.gathering import Gather
from gateway.governance import Governance, kill_switches
from gateway.identity import Identity, Principal, PrincipalKind
from gateway.killpoints import Stages, Walk
from gateway.ledger import FullRow, Intend, Intended, Ledger, LedgerUnavailable, Look, Lower, Moved, Settled, State
from gateway.lights import Lights
from gateway.logs import log
from gateway.parking import Parking
from gateway.patience import Patience
from gateway.randomness import Randomness
from gateway.rates import Rates
from gateway.refusals import RECORDED, Refusals, reason_of
from gateway.replays import Replays
from gateway.requests import Incoming
from gateway.roles import RoleBook
from gateway.settlement import Settlement, open_intent
from gateway.tokens import Tokens
from policies.decisions import Decision
from policies.questions import Question

DECISIONS_MAX = 128  # A ceiling that moves this often within one call is a storm: 503, come back.
PATIENCE_SECONDS = 2.0  # Amounts in flight settle within a tool's usual time; then a no is a no.
PAUSE_SECONDS = 0.02

Decide = Callable[[Question], Awaitable[Decision]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the pipeline is made of; `app` constructs every one."""

    environment: str
    keep_ms: int
    clock: Clock
    randomness: Randomness
    identity: Identity
    roles: RoleBook
    rates: Rates
    capacity: Capacity
    policies: Policies
    gather: Gather
    ledger: Ledger
    refusals: Refusals
    parking: Parking
    replays: Replays
    execution: Execution
    settlement: Settlement
    governance: Governance
    confirming: Confirming
    answers: Answers
    tokens: Tokens
    lights: Lights
    stages: Stages
    """With kill points, for writes."""
    looks: Stages
    """Without them, for reads and dry runs."""


class Pipeline:
    """Takes calls."""

    def __init__(self, parts: Parts) -> None:
        self._at = parts
        self._claims = claims.Claims()

    async def call(self, incoming: Incoming) -> Reply:
        """
        Take one call from its first byte to its answer.

        Raises `Fault` for every answer that is not a result; each becomes a problem document at the door.
        """
        at, walk, patience = self._at, self._at.stages.walk(), Patience()
        async with patience:
            walk.enter("identify")  # (1) Identify.
            principal = await self.identify(incoming)

            walk.enter("limit")  # (2) Limit.
            await at.rates.take(principal)
        with at.capacity.place(principal):
            return await self._within(incoming, principal, walk, patience)

    async def _within(self, incoming: Incoming, principal: Principal, walk: Walk, patience: Patience) -> Reply:
        """Stages 3 to 12."""
        at = self._at
        walk.enter("admit")  # (3) Admit. The body is read only now: strangers cannot feed us bytes.
        document = admission.parse(await incoming.body())
        active = at.policies.active(principal.tenant)
        incoming.tool = admission.named(document, active.tools)
        call = admission.admit(
            document, incoming.envelope(), principal=principal, environment=at.environment, tools=active.tools
        )
        contract = call.tool.contract
        async with patience:
            await at.rates.take_tool(principal, contract.name, contract.calls_per_minute)
        at.policies.require_in_force(principal.tenant, active, contract.name)
        if call.key is None:
            walk.leave()
            async with patience:
                return await self._look(call, active)
        self._claims.hold(call)
        try:
            return await self._write(call, active, walk, patience)
        finally:
            self._claims.release(call)

    async def identify(self, incoming: Incoming) -> Principal:
        """The principal of any request, its roles noted: they are what its approvals count for from now on."""
        incoming.principal = principal = self._at.identity.identify(incoming.authorization())
        await self._at.roles.note(principal)
        return principal

    async def enter(self, incoming: Incoming) -> Principal:
        """Stages 1 and 2, for every other route."""
        async with Patience():
            principal = await self.identify(incoming)
            await self._at.rates.take(principal)
            return principal

    async def _write(self, call: Call, active: Active, walk: Walk, patience: Patience) -> Reply:
        """Stages 4 to 12."""
        at = self._at
        async with patience:
            walk.enter("claim")  # (4) Claim.
            attempt = await self._claim(call, active)
            if attempt.held is not None and claims.is_answered(attempt.held):
                walk.leave()
                return await self._replay(attempt, attempt.held)

        patient_until = at.clock.monotonic() + PATIENCE_SECONDS
        for _ in range(DECISIONS_MAX):
            # (5) to (8): nothing here touches the world, and a refusal is recorded before it is told.
            async with patience:
                cleared = await self._decide(attempt, walk, is_patient=at.clock.monotonic() < patient_until)
            if cleared is None:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            if isinstance(cleared, Reply):
                return cleared

            # (9) Intend. Joins the batch and returns when it is durable. From here a crash leaves an open intent
            #     on the chain; the sweeper settles it through `settle`, as this path does below.
            walk.enter("intend")
            started = at.clock.monotonic()
            intent = await self._intend(attempt, cleared, patience)
            if isinstance(intent, Intended):
                break
        else:
            raise Unavailable("contended", "the counters of this call keep moving")

        # After the intent there is no ordinary failure: whatever breaks leaves the outcome unknown.
        try:
            walk.enter("execute")  # (10) Execute. The only line in the program that changes the outside world.
            outcome = await at.execution.run(cleared, intent, intended_at=started)

            walk.enter("settle")  # (11) Settle. A fault from here on is 504: the sweeper finds out.
            opened = open_intent(cleared, intent, at.governance.act(cleared))
            settled = await at.settlement.settle(opened, outcome)

            walk.enter("answer")  # (12) Answer.
            reply = await self._answer(cleared, outcome, settled)
            walk.leave()
        except (OutcomeUnknown, NotDone, Denied):
            raise
        except Exception as error:
            log().error("settlement_failed", call=attempt.text, error=error)
            raise OutcomeUnknown(attempt.text) from error
        return reply

    async def _claim(self, call: Call, active: Active) -> Attempt:
        """The attempt, under the identity that the ledger has for the key. Raises what forbids a second one."""
        at = self._at
        try:
            held = (await at.ledger.look(Look(tenant=call.principal.tenant, claim=call.claim))).held
        except LedgerUnavailable as error:
            raise Unavailable("ledger_unavailable", "the ledger cannot be read") from error
        attempt = attempts.begin(
            call,
            active,
            call_id=at.randomness.uuid(),
            call_salt=at.randomness.bytes(16),
            keep_until_ms=at.clock.now_ms() + at.keep_ms,
        )
        if held is None and call.edits is None:
            return attempt
        try:
            edit = await at.parking.edit(call, held)
            edited = replace(attempt, editors=edit.editors, ends=edit.ends)
            return claims.resume(edited, held, at.clock.now_ms())
        except RECORDED as fault:
            await at.refusals.record(attempt, fault)
            raise

    async def _decide(self, attempt: Attempt, walk: Walk, *, is_patient: bool) -> Clearance | Reply | None:
        """
        Stages 5 to 8: a clearance, or the 202 of a parked call; a refusal is raised, recorded.

        None for a call to be decided anew: its agent was just lowered; or, while patience lasts, a no may rest on an
        amount counted twice, in flight and in the fact.
        """
        at = self._at
        try:
            walk.enter("gather")  # (5) Gather.
            gathered = await at.gather.question(attempt.call, attempt.active, attempt.presented)
            if gathered.surges:
                # Lowered first, durably: the call itself is decided at the level that is left.
                await at.refusals.commit(Lower(tenant=attempt.call.principal.tenant, strikes=gathered.surges))
                return None
            ruling = await self._rule(attempt, gathered.question, attempt.active.decide_fitting, walk)
            walk.enter("clear")  # (8) Clear.
            cleared = await clear(attempt, gathered, ruling, rule=lambda question: self._rule_again(attempt, question))
            walk.leave()
        except RECORDED as fault:
            await at.refusals.record(attempt, fault)
            raise
        match cleared:
            case Clearance():
                return cleared
            case Wanting():
                return await at.parking.park(attempt, gathered, cleared)
            case Refusal() if gathered.is_unsettled and is_patient:
                return None
            case Refusal():
                raise await at.refusals.refuse(attempt, gathered, cleared)

    async def _rule(self, attempt: Attempt, question: Question, decide: Decide, walk: Walk) -> Ruling:
        active = attempt.active
        walk.enter("decide")  # (6) Decide.
        decision = await decide(question)
        walk.enter("check")  # (7) Check, also when the engines denied: the refusal shows both.
        ruling = ruled(decision, active.invariants.evaluate(question))
        walk.leave()
        if ruling.contradicts:
            await self._at.policies.quarantine(active, "engines allow what a check calls violated")
        return ruling

    async def _rule_again(self, attempt: Attempt, question: Question) -> Ruling:
        """Beside the line: for approvals that a call would need, and for replays."""
        return await self._rule(attempt, question, attempt.active.decide, self._at.looks.walk())

    async def _intend(self, attempt: Attempt, cleared: Clearance, patience: Patience) -> Intended | Moved:
        at = self._at
        packet = at.refusals.packet(attempt, cleared.gathered, cleared.ruling)
        answer = await at.refusals.commit(
            Intend(
                row=attempt.row(),
                entry=entries.intent(cleared, packet),
                lease_ms=at.execution.lease_ms(cleared),
                budgets=cleared.gathered.budgets,
                in_flight=cleared.gathered.in_flight,
                approvals=cleared.gathered.approvals.ids,
                revision=attempt.active.revision,
                kills=kill_switches(attempt.call),
                autonomy=_decided_on(attempt.call, cleared),
                refusal=lambda denied: at.refusals.entry(attempt, reason_of(denied), packet=packet),
                ends=attempt.ends,
                patience_seconds=patience.left,
            )
        )
        if isinstance(answer, Intended | Moved):
            return answer
        fault = at.refusals.of_ledger(attempt, answer)
        if isinstance(fault, RECORDED):
            await at.refusals.record(attempt, fault)
        raise fault

    async def _replay(self, attempt: Attempt, held: FullRow) -> Reply:
        """The first answer again, if its recorded question would pass today for this principal; facts are not read."""
        at = self._at
        try:
            question = await at.replays.question(attempt.call, held)
            ruling = await self._rule_again(attempt, question)
            if not ruling.passes:
                raise Denied("no_longer_permitted", "the recorded call would be refused today")
        except RECORDED as fault:
            await at.refusals.record(attempt, fault)
            raise
        return await at.replays.answer(attempt.call, held)

    async def _look(self, call: Call, active: Active) -> Reply:
        """Reads and dry runs: stages 5 to 8, then the view, or what a write would meet."""
        at, walk = self._at, self._at.looks.walk()
        attempt = attempts.begin(call, active, call_id=at.randomness.uuid(), call_salt=at.randomness.bytes(16))
        gathered = await at.gather.question(call, active, None)
        ruling = await self._rule(attempt, gathered.question, active.decide_fitting, walk)
        cleared = await clear(attempt, gathered, ruling, rule=lambda question: self._rule_again(attempt, question))
        at.lights.note(entries.looked(attempt, ruling))
        if call.is_dry_run:
            return at.answers.dry_run(attempt.call, cleared, active)
        if not isinstance(cleared, Clearance):
            raise at.refusals.look(attempt, cleared)
        walk.enter("execute")
        view = await at.execution.view(cleared)
        if active.resolves:
            await at.tokens.note(call, view)
        reply = at.answers.read(cleared, view)
        walk.leave()
        return reply

    async def _answer(self, cleared: Clearance, outcome: Outcome, settled: Settled | None) -> Reply:
        attempt = cleared.attempt
        if settled is None or settled.state is State.IN_DOUBT:
            raise OutcomeUnknown(attempt.text)
        await self._at.governance.took_effect(attempt.call, settled)
        self._at.confirming.later(cleared, settled)
        if settled.state is State.NOT_DONE and outcome.reason == KILLED:
            members = {"call": attempt.text, "entry": settled.placed.seq}
            raise Denied("killed", "a switch was engaged before the call was sent", members=members)
        if settled.state is State.NOT_DONE:
            reason = _NOT_SENT.get(outcome.reason, "tool_unreachable")
            raise NotDone(reason, attempt.text, entry=settled.placed.seq)
        # The result of an act is known to the ledger, where it ran.
        result = outcome.result if settled.state is State.EXECUTED and outcome.state is State.EXECUTED else None
        return self._at.answers.settled(attempt.call, attempt.text, settled, result)


_NOT_SENT = {"ledger_unavailable": "ledger_unavailable", "lease_over": "too_slow"}
"""Why nothing was sent after the intent, where that is not the tool's doing, and the reason that a client is told."""


def _decided_on(call: Call, cleared: Clearance) -> tuple[str, str, int] | None:
    """Agent, action and level that the decision rests on; None for people."""
    if call.principal.kind is not PrincipalKind.AGENT:
        return None
    return call.principal.id, call.tool.contract.name, cleared.gathered.question.context["autonomy"]
