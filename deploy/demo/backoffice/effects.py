"""One operation, applied at most once: fence, deadline, rows, record and journal line, in that order.

1. turn     requests of one effect id wait for each other, and the status query waits for them
2. record   the effect id's row is made or found; what it already says is answered again
3. refuse   a lower fence than one seen before, or a deadline that has passed, changes nothing
4. change   the tool's own rows, in the same transaction as the record of the effect
5. journal  one line, on disk before anyone is told; start-up writes it after a crash right here

A refusal is definite: under this effect id nothing has happened. So what was applied is answered as applied, however
late or stale the request that asks again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from deploy.demo.backoffice.connections import CommitUnknown, Cursor, Pool, Row, read_again
from deploy.demo.backoffice.journal import Journal, JournalUnusable

ATTEMPTS_MAX = 3  # A deadlock's victim, or a connection that died while idle; a third failure is no accident.
READ_BACK_PAUSE_SECONDS = 0.1


class Refusal(Exception):
    """A definite no of the business; nothing has changed."""

    def __init__(self, reason: str, *, status: int = 409) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class Unavailable(Exception):
    """The database or the journal cannot be used; nothing has changed under this request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One request to change something, parsed."""

    effect_id: str
    tenant: str
    tool: str
    arguments: Mapping[str, Any]
    reason_code: str
    fence: int
    deadline_ms: int
    correlation: str | None

    @property
    def request(self) -> str:
        """What the effect id stands for: the same id with another request is refused."""
        return text({"arguments": self.arguments, "reason_code": self.reason_code})


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an operation is given: the instruction, a cursor inside its transaction, and the transaction's time."""

    cursor: Cursor
    tenant: str
    effect_id: str
    arguments: Mapping[str, Any]
    reason_code: str
    at: datetime

    def take(self, **expected: type) -> tuple[Any, ...]:
        """The arguments in the order named; refuses any other set of members and any other type."""
        values = tuple(self.arguments.get(name) for name in expected)
        if len(self.arguments) != len(expected) or any(
            type(value) is not kind for value, kind in zip(values, expected.values(), strict=True)
        ):
            raise Refusal("malformed_arguments", status=422)
        return values

    def new_id(self, prefix: str) -> str:
        """An id for the row that this effect makes: the same effect can only ever make the same one."""
        return f"{prefix}_{hashlib.sha256(self.effect_id.encode()).hexdigest()[:20]}"

    async def row(self, statement: str, *values: object) -> Row | None:
        """The first row of a statement."""
        return await (await self.cursor.execute(statement.encode(), values)).fetchone()

    async def do(self, statement: str, *values: object) -> int:
        """Run a statement; the number of rows it touched."""
        return (await self.cursor.execute(statement.encode(), values)).rowcount


Operation = Callable[[Change], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The effect exists, once, and is in the journal."""

    result: str
    """Canonical JSON, byte for byte the first answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Under this effect id nothing happened by this request."""

    reason: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotApplied:
    """No effect so far; a request still under way may bring one until its deadline."""


Answer = Applied | Refused


class Effects:
    """Applies instructions to the database and keeps the journal in step."""

    def __init__(self, *, pool: Pool, journal: Journal, operations: Mapping[str, Operation]) -> None:
        self._pool = pool
        self._journal = journal
        self._operations = operations
        self._turns: dict[str, _Turn] = {}

    async def apply(self, instruction: Instruction) -> Answer:
        """
        Apply an instruction once, whatever arrives how often, and answer.

        Raises `Unavailable` when nothing was changed and the caller may ask again.
        """
        async with self._turn(instruction.effect_id):
            if self._journal.is_broken:
                raise Unavailable("the journal cannot be written")
            for attempt in range(ATTEMPTS_MAX):
                try:
                    return await self._attempt(instruction)
                except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled) as error:
                    raise Unavailable("rows are locked for too long") from error
                except psycopg.OperationalError as error:
                    if attempt == ATTEMPTS_MAX - 1:
                        raise Unavailable("the database does not answer") from error
            raise AssertionError("unreachable")

    async def find(self, effect_id: str, *, tenant: str, fence: int | None) -> Applied | Refused | NotApplied:
        """
        What became of an effect id.

        With `fence`, every later request under a lower one is refused, so that "not applied" stays true of them.
        """
        async with self._turn(effect_id):
            try:
                row = await read_again(lambda: self._find(effect_id, tenant, fence))
            except (psycopg.OperationalError, CommitUnknown) as error:
                raise Unavailable("the database does not answer") from error
        if row is None or row["state"] == "open":
            return NotApplied()
        return _recorded(row)

    async def _find(self, effect_id: str, tenant: str, fence: int | None) -> Row | None:
        async with self._pool.transaction() as cursor:
            if fence is not None:
                await _raise_fence(cursor, effect_id, tenant, fence)
            return await _read(cursor, effect_id, tenant)

    async def _attempt(self, instruction: Instruction) -> Answer:
        try:
            try:
                async with self._pool.transaction() as cursor:
                    answer, entry = await self._apply(cursor, instruction)
            except Refusal as refusal:
                # The operation's own no: its transaction is rolled back, and the no itself is kept.
                async with self._pool.transaction() as cursor:
                    return await _record_refusal(cursor, instruction, refusal)
        except CommitUnknown:
            return await self._read_back(instruction)
        if entry is not None:
            await self._write(entry)
        return answer

    async def _apply(self, cursor: Cursor, instruction: Instruction) -> tuple[Answer, dict[str, Any] | None]:
        record = await _open(cursor, instruction)
        if (record["tenant"], record["tool"], record["request"]) != (
            instruction.tenant,
            instruction.tool,
            instruction.request,
        ):
            return Refused(reason="effect_id_reused", status=422), None
        if record["state"] != "open":
            return _recorded(record), None
        if record["fence"] > instruction.fence:
            return Refused(reason="fence_stale", status=409), None
        if record["now_ms"] >= instruction.deadline_ms:
            return Refused(reason="deadline_past", status=409), None
        change = Change(
            cursor=cursor,
            tenant=instruction.tenant,
            effect_id=instruction.effect_id,
            arguments=instruction.arguments,
            reason_code=instruction.reason_code,
            at=record["now"],
        )
        result = text(await self._operations[instruction.tool](change))
        await cursor.execute(
            "update effects set state = 'applied', result = %s, at = %s where effect_id = %s",
            (result, change.at, instruction.effect_id),
        )
        return Applied(result=result), entry_of(
            instruction.effect_id, instruction.tool, text(instruction.arguments), change.at
        )

    async def _read_back(self, instruction: Instruction) -> Answer:
        """
        Find out whether a commit whose answer was lost has landed. Waits for the database as long as it takes:
        nobody may be told anything about this effect id before that.
        """
        while True:
            try:
                async with self._pool.transaction() as cursor:
                    # Waits for the lost transaction's own row, should its backend still be at work.
                    await _raise_fence(cursor, instruction.effect_id, instruction.tenant, instruction.fence)
                    row = await _read(cursor, instruction.effect_id, instruction.tenant)
            except (psycopg.OperationalError, CommitUnknown):
                await asyncio.sleep(READ_BACK_PAUSE_SECONDS)
                continue
            if row is None or row["state"] == "open":
                raise Unavailable("the database lost this transaction")
            if row["state"] == "applied":
                await self._write(entry_of(row["effect_id"], row["tool"], row["arguments"], row["at"]))
            return _recorded(row)

    async def _write(self, entry: dict[str, Any]) -> None:
        try:
            await self._journal.append(entry)
        except JournalUnusable as error:
            # The effect stands and its line is missing: say nothing about it; the next start completes the journal.
            raise JournalUnusable("the effect is applied, its journal line is not") from error

    @asynccontextmanager
    async def _turn(self, effect_id: str) -> AsyncIterator[None]:
        turn = self._turns.setdefault(effect_id, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._turns[effect_id]


def text(value: Any) -> str:
    """Canonical JSON: what is compared, stored and sent."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def entry_of(effect_id: str, tool: str, arguments: str, at: datetime) -> dict[str, Any]:
    """The journal's line for an applied effect, the same now and when start-up completes the journal."""
    moment = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"effect_id": effect_id, "tool": tool, "arguments": json.loads(arguments), "at": moment}


class _Turn:
    """Who is at work on one effect id, and how many wait."""

    __slots__ = ("lock", "waiting")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0


async def _open(cursor: Cursor, instruction: Instruction) -> Row:
    """Make or find the effect's row, lock it, and raise its fence."""
    await cursor.execute(
        "insert into effects (effect_id, tenant, tool, request, fence, arguments, correlation)"
        " values (%s, %s, %s, %s, %s, %s, %s)"
        " on conflict (effect_id) do update set fence = greatest(effects.fence, excluded.fence),"
        # A status query that came first left these empty.
        " tool = coalesce(effects.tool, excluded.tool), request = coalesce(effects.request, excluded.request),"
        " arguments = coalesce(effects.arguments, excluded.arguments),"
        " correlation = coalesce(effects.correlation, excluded.correlation)"
        " returning effects.*, clock_timestamp() as now,"
        " floor(extract(epoch from clock_timestamp()) * 1000)::bigint as now_ms",
        (
            instruction.effect_id,
            instruction.tenant,
            instruction.tool,
            instruction.request,
            instruction.fence,
            text(instruction.arguments),
            instruction.correlation,
        ),
    )
    row = await cursor.fetchone()
    assert row is not None, "an upsert returns its row"  # noqa: S101 - states what SQL promises
    return row


async def _record_refusal(cursor: Cursor, instruction: Instruction, refusal: Refusal) -> Refused:
    await _open(cursor, instruction)
    await cursor.execute(
        "update effects set state = 'refused', reason = %s, status = %s where effect_id = %s and state = 'open'",
        (refusal.reason, refusal.status, instruction.effect_id),
    )
    return Refused(reason=refusal.reason, status=refusal.status)


async def _raise_fence(cursor: Cursor, effect_id: str, tenant: str, fence: int) -> None:
    """Refuse every lower fence from now on, also for an id that was never seen. Waits for who is at work on it."""
    await cursor.execute(
        "insert into effects (effect_id, tenant, fence) values (%s, %s, %s)"
        " on conflict (effect_id) do update set fence = greatest(effects.fence, excluded.fence)"
        " where effects.tenant = excluded.tenant",
        (effect_id, tenant, fence),
    )


async def _read(cursor: Cursor, effect_id: str, tenant: str) -> Row | None:
    await cursor.execute("select * from effects where effect_id = %s and tenant = %s", (effect_id, tenant))
    return await cursor.fetchone()


def _recorded(row: Row) -> Answer:
    if row["state"] == "applied":
        return Applied(result=row["result"])
    return Refused(reason=row["reason"], status=row["status"])
