"""Replays: the first answer again, for whoever may still see it.

The recorded question is decided again with the principal's present roles and the bundle in force; facts are not
gathered again. What it shows is redacted by the rights of this moment.
"""

from __future__ import annotations

from typing import Any

import orjson

from gateway.admission import Call, call_text
from gateway.answers import Answers, Reply
from gateway.errors import Conflict, Unavailable
from gateway.identity import PrincipalKind
from gateway.ledger import FullRow
from gateway.storage.records import Records
from policies.questions import Entity, Question


class Replays:
    """Answers keys that were answered before."""

    def __init__(self, records: Records, answers: Answers) -> None:
        self._records = records
        self._answers = answers

    async def question(self, call: Call, held: FullRow) -> Question:
        """The question that the call asked when it was cleared, for the principal as it is now."""
        packet = await self._records.payload(call.principal.tenant, held.intent_seq or 0)
        if packet is None:
            raise Conflict("record_erased", "what was decided then has been erased")
        recorded = packet["question"]
        is_agent = call.principal.kind is PrincipalKind.AGENT
        context: dict[str, Any] = {**recorded["context"]}
        context["arguments"] = {**context["arguments"], **_shown_again(call, context["arguments"])}
        context["registered"] = is_agent and call.tool.contract.name in call.principal.tools
        return Question(
            principal=Entity(type=call.principal.kind.value.capitalize(), id=call.principal.id),
            roles=call.principal.roles,
            action=recorded["action"],
            resource=Entity(
                type=recorded["resource"]["type"], id=call.tool.resource_id(call.principal.tenant, call.arguments)
            ),
            context=context,
        )

    async def answer(self, call: Call, held: FullRow) -> Reply:
        """The stored answer with the receipt of its outcome."""
        placed = await self._records.entry(call.principal.tenant, held.outcome_seq or 0)
        if placed is None:
            raise Unavailable("ledger_unavailable", "the answer cannot be read back")
        if held.answer is None:
            # Its time has passed by the clock of the database, which is ahead of ours.
            named = {"call": call_text(held.row.call_id)}
            raise Conflict("key_expired", "the call has ended, and its answer is kept no longer", members=named)
        return self._answers.kept(call.tool.contract, call.principal, held.answer, placed, replayed=True)


def _shown_again(call: Call, recorded: dict[str, Any]) -> dict[str, Any]:
    """Arguments that the log hides behind tokens, from the canonical call; times stay as the question has them."""
    arguments = orjson.loads(call.canonical)["arguments"]
    return {name: arguments[name] for name in recorded if name in arguments and name not in call.tool.timestamps}
