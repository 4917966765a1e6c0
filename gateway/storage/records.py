"""What was recorded, read back by id, by call, by correlation: for replays, answers, reads and auditors.

Every function sees the rows of one tenant only (row-level security), so another tenant's id is simply not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson

from gateway.ledger import ApprovalRow, FullRow, Placed
from gateway.storage import rows
from gateway.storage.connections import Cursor
from gateway.storage.desk import LONG_SECONDS, Desk

HASH_BYTES = 32
LIST_MAX = 200  # A page of a list; an export has no bound.
PAGE_ENTRIES = 256  # Of an export in memory at once,
PAGE_BYTES = 512 * 1024  # unless they are longer than this: the entry that goes beyond it is a page's last one.
SEARCHED_MAX = 20_000  # Entries that a search reads, newest first: they are parsed one by one, without an index.
_SEARCH_MS_MAX = 1500  # Below the desk's patience: nothing goes on in the database that nobody waits for.

_CALL = f"select {rows.CALL_COLUMNS} from lockgate.calls "  # noqa: S608 - fixed columns
_ENTRY = """
select e.seq, e.body, e.path, c.tenant, c.size, c.root, c.at_ms, c.key_id, c.signature, p.salt
from lockgate.entries e
join lockgate.checkpoints c on c.tenant = e.tenant and c.size = e.checkpoint
left join lockgate.payloads p on p.tenant = e.tenant and p.seq = e.seq
where e.tenant = %s """
# The index of a call's entries leaves two kinds out, and serves whoever says so in the same words.
_ABOUT = """and e.seq = any(%s::bigint[] || array(
  (select seq from lockgate.entries where tenant = %s and call_id = %s
    and kind not in ('INTENT', 'OUTCOME') and kind <> 'FEEDBACK' order by seq desc limit %s)
  union all
  (select seq from lockgate.entries where tenant = %s and call_id = %s
    and kind not in ('INTENT', 'OUTCOME') and kind = 'FEEDBACK' order by seq desc limit %s)))
"""
_PAGE = """
select seq, body, salt, payload, tenant, size, root, at_ms, key_id, signature
from (
    select *, sum(octet_length(body) + coalesce(octet_length(payload), 0)) over (
        order by seq rows between unbounded preceding and 1 preceding) as bytes_before
    from (
        select e.seq, e.body, p.salt, p.body as payload, c.tenant, c.size, c.root, c.at_ms, c.key_id, c.signature
        from lockgate.entries e
        left join lockgate.payloads p on p.tenant = e.tenant and p.seq = e.seq
        left join lockgate.checkpoints c on c.tenant = e.tenant and c.size = e.seq
        where e.tenant = %s and e.seq > %s and e.seq <= %s order by e.seq limit %s) entries) measured
where coalesce(bytes_before, 0) < %s order by seq"""


class Records:
    """Reads the ledger for one tenant at a time."""

    def __init__(self, desk: Desk, environment: str) -> None:
        self._desk = desk
        self._environment = environment

    async def call(self, tenant: str, call_id: UUID) -> FullRow | None:
        """A stored call. A refused call has none."""
        found = await self._rows(tenant, _CALL + "where call_id = %s", call_id)
        return rows.call(found[0]) if found else None

    async def calls(
        self, tenant: str, *, state: str | None, principal: str | None, before_ms: int | None
    ) -> list[FullRow]:
        """Calls of a tenant, newest first, at most a page."""
        found = await self._rows(
            tenant,
            _CALL
            + """where tenant = %s and (%s::text is null or state = %s) and (%s::text is null or principal = %s)
            and (%s::bigint is null or created_at < to_timestamp(%s::double precision / 1000))
            order by created_at desc limit %s""",
            *(tenant, state, state, principal, principal, before_ms, before_ms, LIST_MAX),
        )
        return [rows.call(row) for row in found]

    async def entry(self, tenant: str, seq: int) -> Placed | None:
        """An entry with its path and checkpoint: all that a receipt needs."""
        found = await self._rows(tenant, _ENTRY + "and e.seq = %s", tenant, seq)
        return self._placed(found[0]) if found else None

    async def entries_of(self, tenant: str, call_id: UUID, row: FullRow | None) -> list[Placed]:
        """
        The entries about a call, oldest first: those that its row names, always, and of the others the newest.

        Those of an effect are in no index, for the sake of the writer: the call's row names the newest, and each of
        them the one before it (`after`, `intent`). Remarks, which anybody who sees the call may add, are a page of
        their own: they push out nothing that was decided.
        """
        seqs = [seq for seq in (row.parked_seq, row.intent_seq, row.outcome_seq) if seq is not None] if row else []
        about = (tenant, call_id, LIST_MAX)
        found = await self._rows(tenant, _ENTRY + _ABOUT, tenant, seqs, *about, *about)
        placed = {each.seq: each for each in map(self._placed, found)}
        named, until = _named(placed.values()), len(placed) + LIST_MAX
        while (missing := sorted(named - placed.keys())) and len(placed) < until:
            found = await self._rows(
                tenant, _ENTRY + "and e.seq = any(%s) and e.call_id = %s", tenant, missing, call_id
            )
            earlier = {each.seq: each for each in map(self._placed, found)}
            if not earlier:
                break
            placed |= earlier
            named = _named(earlier.values())
        return [placed[seq] for seq in sorted(placed)]

    async def remarks(self, tenant: str, call_id: UUID, principal: str) -> int:
        """How often a principal has said something of a call."""
        found = await self._rows(
            tenant,
            """select count(*) from lockgate.entries where tenant = %s and call_id = %s
            and kind not in ('INTENT', 'OUTCOME') and kind = 'FEEDBACK'
            and convert_from(body, 'UTF8')::jsonb ->> 'principal' = %s""",
            *(tenant, call_id, principal),
        )
        return int(found[0][0])

    async def payload(self, tenant: str, seq: int) -> dict[str, Any] | None:
        """What stands beside an entry; None when it has none or it was erased."""
        found = await self._rows(
            tenant, "select body from lockgate.payloads where tenant = %s and seq = %s", tenant, seq
        )
        return orjson.loads(found[0][0]) if found and found[0][0] is not None else None

    async def search(self, tenant: str, wanted: Mapping[str, str], limit: int = LIST_MAX) -> list[dict[str, Any]]:
        """
        Entries, newest first, of which each wanted member has the wanted value, among the newest `SEARCHED_MAX`.

        Raises `LedgerUnavailable` also when the search takes too long.
        """

        def work(cursor: Cursor) -> list[tuple[Any, ...]]:
            cursor.execute("select set_config('statement_timeout', %s, true)", (f"{_SEARCH_MS_MAX}ms",))
            cursor.execute(
                """select body from (
                select seq, body from lockgate.entries where tenant = %s order by seq desc limit %s) newest
                where convert_from(body, 'UTF8')::jsonb @> %s::jsonb order by seq desc limit %s""",
                (tenant, SEARCHED_MAX, orjson.dumps(dict(wanted)).decode(), limit),
            )
            return list(cursor.fetchall())

        return [orjson.loads(each[0]) for each in await self._desk.ask([tenant], work)]

    async def traced(self, tenant: str, correlation: str) -> list[tuple[dict[str, Any], str]]:
        """Entries that a correlation id runs through, oldest first, with that id."""
        found = await self._rows(
            tenant,
            "select body from lockgate.entries where tenant = %s and correlation = %s order by seq limit %s",
            *(tenant, correlation, LIST_MAX),
        )
        return [(orjson.loads(each[0]), correlation) for each in found]

    async def entries(self, tenant: str, *, after: int, limit: int = LIST_MAX) -> list[dict[str, Any]]:
        """A page of the log in order."""
        found = await self._rows(
            tenant,
            "select body from lockgate.entries where tenant = %s and seq > %s order by seq limit %s",
            *(tenant, after, min(limit, LIST_MAX)),
        )
        return [orjson.loads(each[0]) for each in found]

    async def checkpoint(self, tenant: str) -> dict[str, Any] | None:
        """The newest signed checkpoint of a tenant."""
        found = await self._rows(
            tenant,
            """select tenant, size, root, at_ms, key_id, signature from lockgate.checkpoints
            where tenant = %s order by size desc limit 1""",
            tenant,
        )
        return self._checkpoint(found[0]) if found else None

    async def approvals(self, tenant: str, call_id: UUID) -> list[ApprovalRow]:
        """Signed verdicts on a call, oldest first."""
        found = await self._rows(
            tenant,
            """select approval_id, tenant, call_id, person, key_id, verdict, roles, statement, signature,
            (extract(epoch from not_after) * 1000)::bigint from lockgate.approvals where call_id = %s order by seq""",
            call_id,
        )
        names = ApprovalRow.__slots__
        return [ApprovalRow(**dict(zip(names, [*row[:6], tuple(row[6]), *row[7:]], strict=True))) for row in found]

    async def extent(self, tenant: str) -> tuple[int, int]:
        """
        How far the log reaches now, by its newest checkpoint, and how many checkpoints it has.

        A batch is committed with its checkpoint, so every entry up to there is covered, and none of them changes.
        """
        found = await self._rows(
            tenant, "select coalesce(max(size), 0), count(*) from lockgate.checkpoints where tenant = %s", tenant
        )
        return int(found[0][0]), int(found[0][1])

    async def page(
        self, tenant: str, *, after: int, until: int
    ) -> Sequence[tuple[int, bytes, bytes | None, bytes | None, dict[str, Any] | None]]:
        """Entries (seq, body, payload salt, payload body) in order, each with the checkpoint that ends with it."""

        def work(cursor: Cursor) -> list[Any]:
            cursor.execute(_PAGE, (tenant, after, until, PAGE_ENTRIES, PAGE_BYTES))
            return list(cursor.fetchall())

        found = await self._desk.ask([tenant], work, patience_seconds=LONG_SECONDS)
        return [(*row[:4], self._checkpoint(row[4:]) if row[4] is not None else None) for row in found]

    async def _rows(self, tenant: str, text: str, *values: Any) -> list[tuple[Any, ...]]:
        def work(cursor: Cursor) -> list[tuple[Any, ...]]:
            cursor.execute(text, values)
            return list(cursor.fetchall())

        return await self._desk.ask([tenant], work)

    def _placed(self, row: Sequence[Any]) -> Placed:
        body = row[1]
        return Placed(
            seq=row[0],
            at_ms=orjson.loads(body)["at_ms"],
            body=body,
            path=tuple(_hashes(row[2])),
            checkpoint=self._checkpoint(row[3:9]),
            salt=row[9],
        )

    def _checkpoint(self, row: Sequence[Any]) -> dict[str, Any]:
        tenant, size, root, at_ms, key_id, signature = row
        return {
            "tenant": tenant,
            "environment": self._environment,
            "size": size,
            "root": root.hex(),
            "at_ms": at_ms,
            "key_id": key_id,
            "signature": signature,
        }


def _named(placed: Iterable[Placed]) -> set[int]:
    """The entries that these name as the ones before them."""
    bodies = [orjson.loads(each.body) for each in placed]
    return {body[name] for body in bodies for name in ("after", "intent") if type(body.get(name)) is int}


def _hashes(path: bytes) -> Iterator[bytes]:
    for start in range(0, len(path), HASH_BYTES):
        yield path[start : start + HASH_BYTES]
