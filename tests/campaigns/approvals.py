"""
P4, what was approved is what ran: approved requests and signed verdicts with one thing changed, and one approval used
by a hundred at once.

A parked call is approved, then it and its verdict are sent with single changes, over two gateways in turn; none may run
or count. Sent as it was approved it must run: only then do the refusals before it say anything. At the end the journal
of the business holds exactly what was meant to run.
"""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable, Iterator
from random import Random

from deploy.demo.client import Answer, Client
from tests.campaigns.tallies import Part, Tally
from tests.world.approved_changes import REQUESTS, VERDICTS, Approved, Sent, presented
from tests.world.crowd import Ask, rush
from tests.world.ground import Ground, ground
from tests.world.stories import AGENT_TOOLS, REASON, REFUND, Story

PARTS = 4
CHANGES = 2_500  # of a part
CHANGES_OF_ONE = 48  # of one approved call: every kind twice
ROUNDS = 25  # of a part
USES = 100  # of one approval
ORDER_CENTS = 10_000  # Left to give back: more than all refunds of a part on one order.


def run(part: Part) -> Iterable[Tally]:
    """One part."""
    with ground() as here:
        first = here.gateway()
        second = here.world.gateway()
        stage = _Stage(here, [first.url, second.url], part.chance())
        yield stage.changed(part.size(CHANGES, CHANGES_OF_ONE))
        yield stage.used_at_once(part.size(ROUNDS, 2), part.size(USES, 20))


class _Stage:
    """Two gateways on one world, and who asks and approves there."""

    def __init__(self, here: Ground, urls: list[str], chance: Random) -> None:
        self._here = here
        self._urls = urls
        self._chance = chance
        self._clients = itertools.cycle([Client(url) for url in urls])
        self._story = Story(here.world, next(self._clients))
        self._meant: set[str] = set()
        """Calls that were meant to run."""
        story = self._story
        self._orders = [
            row["id"] for row in story.state("orders") if row["paid_cents"] - row["refunded_cents"] > ORDER_CENTS
        ]
        self._strangers = [
            story.agent(1).token,
            here.world.cast.agent("globex", 2).token,
            story.hire("finance").token,
        ]

    def changed(self, times: int) -> Tally:
        """So many requests and verdicts, each with one thing changed."""
        failures: list[str] = []
        kinds = itertools.cycle([*REQUESTS, *VERDICTS])
        for done in range(0, times, CHANGES_OF_ONE):
            given = self._approved()
            for _ in range(min(CHANGES_OF_ONE, times - done)):
                failures += self._try(next(kinds), given)
            answer = self._send(presented(given))
            if (answer.status, answer.document.get("status")) != (200, "executed"):
                failures.append(f"as it was approved the call did not run: {answer.status} {answer.reason}")
            self._meant.add(given.call)
        failures += self._surplus()
        return Tally(
            guarantee="P4",
            tried="approved requests and signed verdicts, one thing changed",
            times=times,
            failures=tuple(failures),
            figures={"calls_run_as_approved": len(self._meant)},
        )

    def used_at_once(self, rounds: int, uses: int) -> Tally:
        """One approval used by so many at once, among them other calls, keys and requesters: one effect a round."""
        failures: list[str] = []
        effects = 0
        for number in range(rounds):
            given = self._approved(REFUND)
            answers = rush(self._urls[0], list(self._asks(given, uses)))
            # A request that differs keeps the key busy as one that does not; where each met another, this one runs.
            answers.append(self._send(presented(given)))
            ran = [each.call for each in answers if each.status == 200 and not each.headers.get("idempotency-replayed")]
            seen = {each.status for each in answers}
            if ran != [given.call] or not seen <= {200, 403, 409, 422}:
                failures.append(f"round {number}: ran {len(ran)} of them; statuses {sorted(seen)}")
            effects += len(self._story.effects(given.call))
            self._meant.add(given.call)
        failures += self._surplus()
        return Tally(
            guarantee="P4",
            tried=f"one approval used {USES} times at once, by other calls and requesters too",
            times=rounds * uses,
            failures=tuple(failures),
            figures={"rounds": rounds, "effects": effects},
        )

    def _approved(self, tool: str = "") -> Approved:
        """A call that waits, approved by everybody whom it waits for, and one more of the same requester."""
        tool = tool or self._chance.choice([REFUND, "toggle_feature_flag", "ban_user"])
        agent = self._here.world.cast.issuer.agent("acme", f"agent-{secrets.token_hex(4)}", AGENT_TOOLS)
        calls = [self._parked(agent, tool) for _ in range(2)]
        role = {REFUND: "finance", "toggle_feature_flag": "sre", "ban_user": "safety"}[tool]
        people = [self._story.person(role, number) for number in (1, 2)]
        approvals = []
        for _, parked, _ in calls:
            given = [self._story.client.approve(person, parked) for person in people]
            approvals.append([str(each.document["approval"]) for each in given])
        (body, parked, key), (_, foreign, _) = calls
        return Approved(
            token=agent,
            body={**body, "approvals": approvals[0][: 2 if tool == "ban_user" else 1]},
            key=key,
            call=parked.call,
            statement=parked.document["statement"],
            approver=people[0],
            other=people[1],
            strangers=self._strangers,
            foreign_approval=approvals[1][0],
            foreign_call=foreign.call,
        )

    def _parked(self, token: str, tool: str) -> tuple[dict[str, object], Answer, str]:
        chance = self._chance
        arguments, reason = {
            REFUND: ({"order_id": chance.choice(self._orders), "amount_cents": chance.randrange(100, 300)}, REASON),
            "toggle_feature_flag": (
                {"flag_key": "dark_mode", "value": True, "rollout_percent": chance.randrange(60, 100)},
                "experiment",
            ),
            "ban_user": ({"user_id": f"usr_{1001 + chance.randrange(80)}", "duration_days": 90}, "fraud"),
        }[tool]
        key = secrets.token_hex(16)
        answer = self._story.client.call(token, tool, arguments, reason=reason, key=key)  # type: ignore[arg-type]
        assert answer.status == 202, answer.document
        return {"tool": tool, "arguments": arguments, "reason_code": reason}, answer, key

    def _try(self, kind: str, given: Approved) -> Iterator[str]:
        change = REQUESTS.get(kind) or VERDICTS[kind]
        answer = self._send(change(given, self._chance))
        is_taken = answer.status == 201 if kind in VERDICTS else answer.document.get("status") == "executed"
        if is_taken or answer.status >= 500:
            yield f"{kind}: {given.body['tool']} answered {answer.status} {answer.reason}"

    def _send(self, sent: Sent) -> Answer:
        client = next(self._clients)
        return client.request("POST", sent.path, sent.token, body=sent.body, headers=sent.headers)

    def _asks(self, given: Approved, uses: int) -> Iterator[Ask]:
        """As it was approved, most of them; by turns with other arguments, under other keys, by somebody else."""
        arguments = dict(given.body["arguments"])
        for number in range(uses):
            other = {**arguments, "amount_cents": arguments["amount_cents"] + 1 + number}
            yield Ask(
                token=self._strangers[0] if number % 10 == 7 else given.token,
                tool=REFUND,
                arguments=other if number % 10 == 3 else arguments,
                reason=REASON,
                key=secrets.token_hex(16) if number % 10 == 5 else given.key,
                approvals=list(given.body["approvals"]),
                url=self._urls[number % len(self._urls)],
            )

    def _surplus(self) -> Iterator[str]:
        """Effects that nobody meant, or that came twice."""
        effects = self._here.oracle.effects()
        for call, count in effects.items():
            if call not in self._meant or count != 1:
                yield f"{count} effects of call {call}, {'meant once' if call in self._meant else 'not meant'}"
        for call in self._meant - effects.keys():
            yield f"no effect of call {call}, which was answered executed"
