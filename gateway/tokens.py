"""Tokens: what stands for a person's data becomes that data again, for one tool, in the body of one dispatch (ADR 12).

1. note     a read that shows tokens leaves their places: which tool, of what, which member. No value is kept
2. resolve  while a call is gathered, the place of each token in an argument that resolves is read again; what stands
            there must make the same token, and fit the argument

A token that nobody was shown, another tenant's, one whose place is gone or holds something else now, and an erased
person's are one and the same to whoever asks: `token_unknown`, after the same time. Doubt refuses here too.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from msgspec import Struct

from gateway.admission import Call
from gateway.clock import Clock
from gateway.encoding import encode
from gateway.errors import BadRequest, NotFound, Unavailable
from gateway.ledger import LedgerUnavailable
from gateway.logs import log
from gateway.redaction import HIDDEN_IN_RECORDS, Redactor
from gateway.storage import token_places
from gateway.storage.desk import Desk
from gateway.storage.token_places import Place
from gateway.tools import PreparedTool
from tool_registry.contracts import TOKEN_PATTERN, Kind, Label
from tool_registry.shapes import ContractViolation

TOLD_AFTER_SECONDS = 0.25
"""A token that is unknown is told no sooner: longer than a source usually takes, so that time does not say why."""

_TOKEN = re.compile(TOKEN_PATTERN)
View = Callable[[str, PreparedTool, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""(tenant, read tool, arguments) -> its result. Raises `Unavailable`, and `NotFound` where the source knows no such."""


class Resolved:
    """Values by argument, for the body of a dispatch. Shows itself nowhere: not in a log, a traceback or a question."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = dict(values)

    def into(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """The arguments as the tool is to see them."""
        return {**arguments, **self._values} if self._values else arguments

    def __repr__(self) -> str:
        return f"Resolved({', '.join(self._values)})"

    def __reduce__(self) -> str:
        raise TypeError("what a token stands for is never written")


NOTHING = Resolved({})


class _Wanted(Struct, frozen=True, kw_only=True):
    """Tokens of one call, and when they were asked for."""

    tenant: str
    tool: PreparedTool
    by_argument: Mapping[str, str]
    asked_at: float
    """Monotonic seconds."""


class Tokens:
    """Knows where the values of tokens stand."""

    def __init__(self, *, desk: Desk, redactor: Redactor, clock: Clock, view: View) -> None:
        self._desk = desk
        self._redactor = redactor
        self._clock = clock
        self._view = view

    async def note(self, call: Call, result: Mapping[str, Any]) -> None:
        """
        Leave the place of every token that this read shows its caller.

        A place that cannot be written leaves its token unknown, and the read as it is.
        """
        places = self._shown(call, result)
        if not places:
            return
        tenant = call.principal.tenant
        try:
            await self._desk.ask([tenant], lambda cursor: token_places.note(cursor, tenant, places))
        except LedgerUnavailable:
            log().warning("token_places_lost", tenant=tenant, tool=call.tool.contract.name)

    async def resolve(
        self, tenant: str, tool: PreparedTool, arguments: Mapping[str, Any], tools: Mapping[str, PreparedTool]
    ) -> Resolved:
        """
        What the tokens among the arguments stand for now. Text that is no token as a whole stays text.

        Raises `BadRequest` (422 `token_unknown`), and `Unavailable` when ledger or source cannot answer.
        """
        if not tool.resolving:
            return NOTHING
        tokens = {name: arguments[name] for name in tool.resolving if _TOKEN.fullmatch(arguments.get(name, ""))}
        if not tokens:
            return NOTHING
        wanted = _Wanted(tenant=tenant, tool=tool, by_argument=tokens, asked_at=self._clock.monotonic())
        values = await self._read(wanted, await self._places(wanted), tools)
        try:
            for name, value in values.items():
                tool.resolving[name].check({name: value})
        except ContractViolation as error:
            raise await self._unknown(wanted) from error
        return Resolved(values)

    def _shown(self, call: Call, result: Mapping[str, Any]) -> list[Place]:
        contract = call.tool.contract
        if contract.resource_argument is None or Label.PERSONAL in self._redactor.visible(contract, call.principal):
            return []
        if any(each.label in HIDDEN_IN_RECORDS for each in contract.arguments):
            return []  # A place is kept in clear.
        tenant, subject = call.principal.tenant, call.tool.subject(call.arguments)
        return [
            Place(
                token=self._redactor.token(result[each.name], tenant),
                subject=subject,
                tool=contract.name,
                arguments=encode(call.arguments),
                member=each.name,
            )
            for each in contract.result
            if each.label is Label.PERSONAL and each.kind is Kind.TEXT and result.get(each.name)
        ]

    async def _places(self, wanted: _Wanted) -> Mapping[str, Place]:
        tokens = sorted(set(wanted.by_argument.values()))
        try:
            places = await self._desk.ask(
                [wanted.tenant], lambda cursor: token_places.find(cursor, wanted.tenant, tokens)
            )
        except LedgerUnavailable as error:
            raise Unavailable("ledger_unavailable", "the ledger cannot be read") from error
        if len(places) < len(tokens):
            raise await self._unknown(wanted)
        return places

    async def _read(
        self, wanted: _Wanted, places: Mapping[str, Place], tools: Mapping[str, PreparedTool]
    ) -> dict[str, str]:
        """The values by argument, from the places as they are now; what was read of one person is read once."""
        reads = {(place.tool, place.arguments) for place in places.values()}
        found = await asyncio.gather(*(self._look(wanted, tools.get(tool), given) for tool, given in reads))
        results = dict(zip(reads, found, strict=True))
        values = {}
        for name, token in wanted.by_argument.items():
            place = places[token]
            value = results[place.tool, place.arguments].get(place.member)
            if not isinstance(value, str) or self._redactor.token(value, wanted.tenant) != token:
                raise await self._unknown(wanted)
            values[name] = value
        return values

    async def _look(self, wanted: _Wanted, read: PreparedTool | None, given: bytes) -> Mapping[str, Any]:
        """The personal members of what a read shows now, for the arguments that it was given then."""
        if read is None or read.is_write:
            raise await self._unknown(wanted)
        arguments = orjson.loads(given)
        try:
            read.arguments.check(arguments)
        except ContractViolation as error:  # The tool has another contract since.
            raise await self._unknown(wanted) from error
        try:
            result = await self._view(wanted.tenant, read, arguments)
            read.result.check(result)
        except NotFound as error:
            raise await self._unknown(wanted) from error
        except ContractViolation as error:
            raise Unavailable("source_unreachable", "the view came in another shape than declared") from error
        # What is personal no more, or secret by now, is not what the token was shown for.
        personal = {each.name for each in read.contract.result if each.label is Label.PERSONAL}
        return {name: value for name, value in result.items() if name in personal}

    async def _unknown(self, wanted: _Wanted) -> BadRequest:
        await asyncio.sleep(max(0.0, wanted.asked_at + TOLD_AFTER_SECONDS - self._clock.monotonic()))
        return BadRequest("token_unknown", "an argument holds a token that stands for nothing here", status=422)
