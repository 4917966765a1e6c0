"""The count of rates that all gateways of a database share.

A process does not ask the database for each request: it takes a *ration*, so many requests of one rate until the
span ends that it counts in (a minute, or less), and lets that many pass. Spans are the database's, the same for every
gateway. What was given never exceeds the rate; a process that ends with requests left has lost them for that span, so
fewer pass, never more.
Rations are as durable as anything else here: a crash of the database gives none of them out again.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from gateway.storage import packed
from gateway.storage.clerk import Clerk
from gateway.storage.link import Connect, Link, rows

PART_MAX = 8
"""Ahead of need, a process gets at most this part of what is left: near the cap requests are taken one by one."""


class Want(Struct, frozen=True, kw_only=True):
    """What one process asks of one rate."""

    key: bytes
    """SHA-256 of tenant, what is counted, and the length of the span."""
    tenant: str
    span_ms: int
    most: int
    """Requests in one span."""
    needed: int
    """Requests that wait for the answer."""
    ahead: int
    """Requests that are likely to come soon."""


class Ration(Struct, frozen=True, kw_only=True):
    """What it was given."""

    count: int
    """Fewer than needed: nothing is left of this span."""
    ends_ms: int
    """From when the question was sent, the span lasts at least so long."""


class Rations(Clerk[Want, Ration]):
    """Takes rations, many in one round trip and one flush."""

    def __init__(self, connect: Connect) -> None:
        super().__init__(connect, take, name="rations")


def take(link: Link, wants: Sequence[Want]) -> list[Ration]:
    """
    One ration for each want.

    A lost answer is asked for again, and gives another ration; nobody has the first.
    """
    given: dict[int, Ration] = {}
    while len(given) < len(wants):
        # INVARIANT: of each key one at a time. A statement moves a row once, whatever is joined to it.
        turn = {want.key: place for place, want in reversed(list(enumerate(wants))) if place not in given}
        given |= {turn[key]: ration for key, ration in _each(link, [wants[place] for place in turn.values()]).items()}
    return [given[place] for place in range(len(wants))]


def _each(link: Link, wants: Sequence[Want]) -> dict[bytes, Ration]:
    given = _take(link, wants)
    missing = [want for want in wants if want.key not in given]
    if missing:
        columns = [packed.blobs([want.key for want in missing]), packed.texts([want.tenant for want in missing])]
        link.run((_ADD, columns), admitting=_tenants(missing))
        given |= _take(link, missing)
    return given


def _take(link: Link, wants: Sequence[Want]) -> dict[bytes, Ration]:
    # In order of key, as every process does: rows are locked one after the other, in the order of the arrays.
    ordered = sorted(wants, key=lambda want: want.key)
    numbers = ([getattr(want, name) for want in ordered] for name in ("span_ms", "most", "needed", "ahead"))
    (found,) = link.run(
        (_TAKE, [packed.blobs([want.key for want in ordered]), *map(packed.longs, numbers)]),
        admitting=_tenants(wants),
    )
    return {key: Ration(count=packed.long(count), ends_ms=packed.long(ends)) for key, count, ends in rows(found)}


def _tenants(wants: Sequence[Want]) -> list[str]:
    return sorted({want.tenant for want in wants})


_ADD = b"""
insert into lockgate.rates (key, tenant, span, taken, given)
select unnest($1::bytea[]), unnest($2::text[]), 0, 0, 0 on conflict (key) do nothing
"""

# Whoever waited for a row may find it in the next span already, and counts there: going back would begin that span
# anew. A row further ahead than that is of a clock that was set back, and is not waited for.
_SPAN = "case when r.span = m.ms / u.span_ms + 1 then r.span else m.ms / u.span_ms end"
_LEFT = f"(u.most - case when r.span = {_SPAN} then r.taken else 0 end)"
_GIVEN = f"greatest(0, least({_LEFT}, greatest(u.needed, least(u.ahead, {_LEFT} / {PART_MAX}))))"
_TAKE = f"""
update lockgate.rates r set
  span = {_SPAN},
  taken = case when r.span = {_SPAN} then r.taken else 0 end + {_GIVEN},
  given = {_GIVEN}
from (
    select unnest($1::bytea[]) as key, unnest($2::bigint[]) as span_ms, unnest($3::bigint[]) as most,
      unnest($4::bigint[]) as needed, unnest($5::bigint[]) as ahead) u,
  (select floor(extract(epoch from clock_timestamp()) * 1000)::bigint as ms) m
where r.key = u.key
returning r.key, r.given, (r.span + 1) * u.span_ms - m.ms
""".encode()  # noqa: S608 - fixed text of this module
"""Of a row that it had to wait for, PostgreSQL reads the newest version again, and `given` is its own note of what it
gave: only that row's previous version could tell otherwise, and it is gone."""
