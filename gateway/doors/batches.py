"""Batches: several calls, or several verdicts, in one request, each taken alone and in order.

Nothing is shared but the request. Every item has its own key, decision, entry, approvals and answer, as if it had come
by itself after the one before it; none fails with another. A batch is refused as a whole for its own form alone, and
then nothing of it was taken.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import orjson

from gateway import entries
from gateway.admission import call_id_of, parse, unquoted
from gateway.answers import Reply
from gateway.approving import Approving
from gateway.clock import Clock
from gateway.doors import problems
from gateway.doors.front import CallDoor
from gateway.encoding import encode
from gateway.errors import BadRequest, Fault, NotFound, Unavailable
from gateway.ledger import LedgerUnavailable
from gateway.lights import Lights
from gateway.metrics import Metrics
from gateway.pipeline import Pipeline
from gateway.requests import Incoming
from proofs.approvals import Verdict

ITEMS_MAX = 32  # What a person can look at in one sitting, and what a body of 64 KiB holds.
SECONDS_MAX = 10.0  # No item is begun later, so that a batch of slow tools does not keep a gateway from ending.

Item = Mapping[str, Any]
Take = Callable[[Incoming, Item], Awaitable[Reply | Fault]]


class Batches:
    """Takes batches, through the same doors as single requests."""

    def __init__(
        self,
        *,
        calls: CallDoor,
        pipeline: Pipeline,
        approving: Approving,
        lights: Lights,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._calls = calls
        self._pipeline = pipeline
        self._approving = approving
        self._lights = lights
        self._metrics = metrics
        self._clock = clock

    async def calls(self, incoming: Incoming) -> Reply:
        """200: what became of each call. Raises `BadRequest` for a body that is no batch."""
        if "idempotency-key" in incoming.headers:
            raise _malformed("no Idempotency-Key header: each call has a `key` of its own")
        items = _items(parse(await incoming.body()), "calls")
        keys = [unquoted(each["key"]) for each in items if isinstance(each.get("key"), str)]
        if len(set(keys)) != len(keys):
            # By itself the second would be given the answer of the first: here somebody meant two calls.
            raise _malformed("two calls of a batch have two keys")
        return await self._answered(items, incoming, self._call)

    async def verdicts(self, incoming: Incoming) -> Reply:
        """200: what became of each verdict. Raises `BadRequest` for a body that is no batch."""
        return await self._answered(_items(parse(await incoming.body()), "verdicts"), incoming, self._verdict)

    async def _answered(self, items: Sequence[Item], incoming: Incoming, take: Take) -> Reply:
        until = self._clock.monotonic() + SECONDS_MAX
        answers = []
        for item in items:
            if self._clock.monotonic() < until:
                answers.append(_told(await take(incoming, item)))
            else:
                late = Unavailable("batch_late", "nothing was done of this item: send it again")
                self._metrics.answered(late.status, late.reason)
                answers.append(_told(late))
        return Reply(status=200, document={"answers": answers})

    async def _call(self, incoming: Incoming, item: Item) -> Reply | Fault:
        headers = dict(incoming.headers)
        if isinstance(item.get("key"), str):
            headers["idempotency-key"] = item["key"]

        async def built() -> bytes:
            if not isinstance(item.get("key", ""), str):
                raise BadRequest("key_malformed", "expected 2 to 255 visible ASCII characters")
            return encode({name: value for name, value in item.items() if name != "key"})

        return await self._calls.take(Incoming(headers=headers, body=built))

    async def _verdict(self, incoming: Incoming, item: Item) -> Reply | Fault:
        try:
            answer = await self._given(incoming, item)
        except Fault as fault:
            return self._noted(fault, incoming)
        except LedgerUnavailable:
            return self._noted(Unavailable("ledger_unavailable", "the ledger cannot answer"), incoming)
        self._metrics.answered(answer.status, "")
        return answer

    async def _given(self, incoming: Incoming, item: Item) -> Reply:
        principal = await self._pipeline.enter(incoming)
        call_id = call_id_of(item.get("call"))
        if call_id is None:
            raise NotFound("unknown_call", "no call of this tenant")
        document = {name: value for name, value in item.items() if name != "call"}
        statement = document.get("statement")
        # The signed word decides: there is one route for both. Anything else is no statement, and refused as none.
        is_no = isinstance(statement, dict) and statement.get("verdict") == Verdict.REJECT
        return await self._approving.give(principal, call_id, document, Verdict.REJECT if is_no else Verdict.APPROVE)

    def _noted(self, fault: Fault, incoming: Incoming) -> Fault:
        self._metrics.answered(fault.status, fault.reason)
        principal = incoming.principal
        if "entry" not in fault.members and principal is not None:
            call = call_id_of(fault.members.get("call"))  # Only one that was found: an id of the body may be nobody's.
            self._lights.note(entries.note(principal.tenant, fault.reason, principal=principal.reference, call=call))
        return fault


def _items(document: Mapping[str, Any], name: str) -> Sequence[Item]:
    items = document.get(name)
    if set(document) != {name} or not isinstance(items, list) or not 0 < len(items) <= ITEMS_MAX:
        raise _malformed(f"expected exactly `{name}`, a list of 1 to {ITEMS_MAX} objects")
    if not all(isinstance(each, dict) for each in items):
        raise _malformed(f"expected exactly `{name}`, a list of 1 to {ITEMS_MAX} objects")
    return items


def _told(answer: Reply | Fault) -> dict[str, Any]:
    """What a request of its own would have been answered: status, body, and headers beyond the usual."""
    if isinstance(answer, Fault):
        told: dict[str, Any] = {"status": answer.status, "body": problems.document(answer)}
    else:
        body = answer.document if answer.content is None else orjson.Fragment(answer.content)
        told = {"status": answer.status, "body": body}
    return {**told, "headers": dict(answer.headers)} if answer.headers else told


def _malformed(detail: str) -> BadRequest:
    return BadRequest("batch_malformed", detail, status=422)
