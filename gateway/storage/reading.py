"""What a batch asks the database, and the snapshot that the answers make.

The questions go out behind the lock of the heads, each a statement of its own: after a wait for a head they see what
its last holder did. What the acts do not need is not asked; each question is one statement over the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from uuid import UUID

from psycopg.pq.abc import PGresult

from gateway.ledger import Act, Append, Approve, CallRow, Close, Intend, Level, Lower, Park, Settle, State
from gateway.storage import packed, statements
from gateway.storage.link import Statement, rows
from gateway.storage.snapshot import Row, Snapshot
from proofs import chain

_STATES = {state.value.encode(): state for state in State}


class Questions:
    """What the acts of one batch need to know."""

    def __init__(self, acts: Sequence[Act]) -> None:
        claims: set[bytes] = set()
        ids: set[UUID] = set()
        budgets: set[bytes] = set()
        flights: set[tuple[bytes, int]] = set()
        approvals: set[UUID] = set()
        agents: set[tuple[str, str, str]] = set()
        switches: set[tuple[str, str, str]] = set()
        for act in acts:
            match act:
                case Intend():
                    claims.add(act.row.claim)
                    budgets.update([budget.key for budget in act.budgets])
                    flights.update([(flight.key, flight.since_ms) for flight in act.in_flight])
                    approvals.update(act.approvals)
                    ids.update([act.ends.call_id] if act.ends else [])
                    switches.update(act.kills)
                    agents.update([(act.row.tenant, *act.autonomy[:2])] if act.autonomy else [])
                case Settle():
                    claims.add(act.claim)
                case Park():
                    claims.add(act.row.claim)
                    ids.update([act.ends.call_id] if act.ends else [])
                case Close():
                    ids.add(act.call_id)
                case Approve():
                    ids.add(act.approval.call_id)
                    switches.update(act.kills)
                case Append() | Lower():
                    pass
        self._flights = list(flights)
        self.statements: list[Statement] = []
        self._readers: list[Callable[[Snapshot, PGresult], None]] = []
        places = _columns(list(switches))
        if claims or not ids:
            self._ask(_stand, statements.READ_BY_CLAIM, *places, packed.blobs(list(claims)))
        if ids:
            self._ask(_stand, statements.READ_BY_ID, *places, packed.uuids(list(ids)))
        if budgets:
            self._ask(_take_budgets, *ask_budgets(budgets))
        if flights:
            self._ask(self._take_flights, *ask_in_flight(self._flights))
        if approvals:
            self._ask(_take_uses, statements.READ_USES, packed.uuids(list(approvals)))
        if agents:
            self._agents = list(agents)
            self._ask(self._take_levels, *ask_levels(self._agents))
        self._ask_waiting([act.row for act in acts if isinstance(act, Park) and act.waiting_max is not None])

    def snapshot(self, results: Sequence[PGresult], heads: Mapping[str, chain.Head]) -> Snapshot:
        """The answers to `statements`, in their order, over the locked heads."""
        snapshot = Snapshot(now_ms=0, sizes={tenant: head.size for tenant, head in heads.items()})
        for take, result in zip(self._readers, results, strict=True):
            take(snapshot, result)
        return snapshot

    def _ask(self, take: Callable[[Snapshot, PGresult], None], text: bytes, *parameters: bytes) -> None:
        self.statements.append((text, parameters))
        self._readers.append(take)

    def _take_levels(self, snapshot: Snapshot, result: PGresult) -> None:
        snapshot.levels = levels(self._agents, result)

    def _ask_waiting(self, parked: Sequence[CallRow]) -> None:
        self._parking = list({(row.tenant, row.principal) for row in parked})
        if parked:
            columns = zip(*self._parking, strict=True)
            self._ask(self._take_waiting, statements.READ_WAITING, *map(packed.texts, columns))

    def _take_waiting(self, snapshot: Snapshot, result: PGresult) -> None:
        snapshot.waiting = {self._parking[packed.long(at) - 1]: packed.long(count) for at, count in rows(result)}

    def _take_flights(self, snapshot: Snapshot, result: PGresult) -> None:
        snapshot.in_flight = in_flight(self._flights, result)


def ask_budgets(keys: Collection[bytes]) -> tuple[bytes, bytes]:
    """The question for what stands on these counters."""
    return statements.READ_BUDGETS, packed.blobs(list(keys))


def budgets(result: PGresult) -> dict[bytes, int]:
    """Reserved and spent, together, of each counter that exists."""
    return {key: packed.long(amount) for key, amount in rows(result)}


def ask_in_flight(flights: Sequence[tuple[bytes, int]]) -> tuple[bytes, bytes, bytes]:
    """The question for what is reserved, or was settled since the fact, for each (key, since_ms)."""
    keys, since = [key for key, _ in flights], [since_ms for _, since_ms in flights]
    return statements.READ_IN_FLIGHT, packed.blobs(keys), packed.moments(since)


def in_flight(flights: Sequence[tuple[bytes, int]], result: PGresult) -> dict[tuple[bytes, int], int]:
    """The amount of each of the (key, since_ms) that were asked for."""
    return {flights[packed.long(place) - 1]: packed.long(amount) for place, amount in rows(result)}


def ask_levels(agents: Sequence[tuple[str, str, str]]) -> tuple[bytes, bytes, bytes, bytes]:
    """The question for the level of each (tenant, agent, action)."""
    return statements.LOOK_AUTONOMY, *_columns(agents)


def levels(agents: Sequence[tuple[str, str, str]], result: PGresult) -> dict[tuple[str, str, str], Level]:
    """The levels of those who were asked for, where anybody ever set or lowered one."""
    return {
        agents[packed.long(place) - 1]: Level(level=packed.integer(level), since=packed.long(since))
        for place, level, since in rows(result)
        if level is not None
    }


def ask_kills(switches: Sequence[tuple[str, str, str]]) -> tuple[bytes, bytes, bytes, bytes]:
    """The question which of these (tenant, scope, target) are engaged."""
    return statements.LOOK_KILLS, *_columns(switches)


def kills(result: PGresult) -> frozenset[tuple[str, str, str]]:
    """Those that are."""
    return frozenset((tenant.decode(), scope.decode(), target.decode()) for tenant, scope, target in rows(result))


def _columns(places: Sequence[tuple[str, str, str]]) -> tuple[bytes, bytes, bytes]:
    first, second, third = zip(*places, strict=True) if places else ((), (), ())
    return packed.texts(first), packed.texts(second), packed.texts(third)


def _take_budgets(snapshot: Snapshot, result: PGresult) -> None:
    snapshot.budgets = budgets(result)


def _take_uses(snapshot: Snapshot, result: PGresult) -> None:
    for approval, call, reason, tenant, revision in rows(result):
        if call is not None:
            snapshot.uses[UUID(bytes=approval)] = UUID(bytes=call)
        if reason is not None:
            snapshot.void[UUID(bytes=approval)] = reason.decode()
        if revision is not None:
            snapshot.revisions[tenant.decode()] = packed.long(revision)


def _stand(snapshot: Snapshot, result: PGresult) -> None:
    """The time and the switches, in every row, and the calls that were found, if any."""
    found = rows(result)
    snapshot.now_ms = packed.long(found[0][0])
    kills = packed.text_items(found[0][1])
    snapshot.kills = frozenset(zip(kills[::3], kills[1::3], kills[2::3], strict=True))
    for _, _, claim, tenant, call_id, digest, state, fence, status, answer, reserved in found:
        if claim is None:
            return
        row = snapshot.calls.get(claim)
        if row is None:
            row = Row(
                claim=claim,
                tenant=tenant.decode(),
                call_id=UUID(bytes=call_id),
                request_digest=digest,
                state=_STATES[state],
                fence=packed.integer(fence),
                status=None if status is None else packed.integer(status),
                answer=answer,
                reservations=reserved,
            )
            row.read_state, row.read_fence = row.state, row.fence
            snapshot.calls[claim] = row
        snapshot.by_id[row.call_id] = row
