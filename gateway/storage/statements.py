"""The text of the hot statements, for one writer and one reader connection.

Names are qualified, because a temporary table would shadow a bare one. A batch is one statement: `write` joins the
parts that it needs, so that a batch of settlements does not pay for the columns of an intent. Inserts speak for
themselves (a lost row raises); updates return their count, which the writer compares. Its arrays are unnested in the
select list, side by side: in `from`, each of them would first be stored as a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique
from functools import cache

from gateway.storage import counting
from gateway.storage.rows import CALL_COLUMNS
from policies import levels

BEGIN = b"begin"
COMMIT = b"commit"
NOW = b"select floor(extract(epoch from clock_timestamp()) * 1000)::bigint"

TENANTS = b"select set_config('app.tenants', $1::text[]::text, false)"
"""For the session, since a connection of ours sets it before everything it does."""

ADD_HEADS = b"""
with newest as materialized (select signer from lockgate.heads where tenant = $5::text for share)
insert into lockgate.heads (tenant, size, hash, frontier, signer)
select u.tenant, 0, $2::bytea, $3::bytea, coalesce((select signer from newest), $4::text)
from unnest($1::text[]) as u(tenant) on conflict (tenant) do nothing
"""
# The lock waits for an exchange of the log's key that is under way: no chain begins with a key that has had its turn.

LOCK_HEADS = b"""
select tenant, size, hash, frontier, signer, at_ms
from lockgate.heads where tenant = any($1::text[]) order by tenant for update
"""

# INVARIANT: everything below is read after LOCK_HEADS has returned, as a new statement. After a wait PostgreSQL reads
# only the locked row again; the rest of that statement would still see the time before the wait.
# Every batch asks the time and which of its switches are engaged, so these come in one round trip with the calls. Only
# switches that may stop an act of the batch are looked up: whoever engages very many slows nobody else down.
# Look-ups join the keys instead of comparing with an array: for one key at a time no index beats the unique one,
# whatever the planner believes about a table without statistics.
_STANDING = b"""
select m.now_ms, m.kills, c.claim, c.tenant, c.call_id, c.request_digest, c.state, c.fence, c.status, c.answer,
  c.reservations
from (
  select floor(extract(epoch from clock_timestamp()) * 1000)::bigint, array(
    select unnest(array[k.tenant, k.scope, k.target])
    from (select unnest($1::text[]) as tenant, unnest($2::text[]) as scope, unnest($3::text[]) as target) s
    join lockgate.kills k on k.tenant = s.tenant and k.scope = s.scope and k.target = s.target
    where k.engaged)) as m(now_ms, kills)
left join ("""
READ_BY_CLAIM = (
    _STANDING + b"(select unnest($4::bytea[]) as claim) u join lockgate.calls c on c.claim = u.claim) on true"
)
READ_BY_ID = (
    _STANDING + b"(select unnest($4::uuid[]) as call_id) u join lockgate.calls c on c.call_id = u.call_id) on true"
)

# What counts, moves and guards is declared in `invariants.state.counters`; the names are those of its columns.
READ_BUDGETS = f"""
select b.key, {counting.BUDGET_STANDING}
from (select unnest($1::bytea[]) as key) u join lockgate.budgets b on b.key = u.key
""".encode()  # noqa: S608 - fixed text of `counting`

READ_IN_FLIGHT = f"""
select u.at, coalesce(sum(h.amount), 0)::bigint
from (
  select unnest($1::bytea[]) as key, unnest($2::timestamptz[]) as since,
    generate_subscripts($1::bytea[], 1)::bigint as at) u
left join lockgate.holds h
  on h.key = u.key and ({counting.HOLD_COUNTS})
group by u.at
""".encode()  # noqa: S608 - fixed text of `counting`

READ_USES = b"""
select w.approval_id, u.call_id,
  case when a.approval_id is null then null
    when k.key_id is null or not coalesce(a.roles <@ p.roles, false) then 'approval_void'
    when u.approval_id is null and a.not_after <= clock_timestamp() then 'approval_expired'
  end,
  a.tenant, (select max(revision) from lockgate.activations v where v.tenant = a.tenant)
from unnest($1::uuid[]) as w(approval_id)
left join lockgate.approval_uses u on u.approval_id = w.approval_id
left join lockgate.approvals a on a.approval_id = w.approval_id
left join lockgate.person_keys k
  on k.key_id = a.key_id and k.tenant = a.tenant and k.person = a.person and k.revoked_seq is null
left join lockgate.people p on p.tenant = a.tenant and p.person = a.person
"""
"""
Who consumed each approval, and what became of it since it was counted: its key revoked, a role of its person lost, its
time over by the database's clock, or rules in force that it was not given under.
"""

READ_WAITING = b"""
select u.at, w.waiting
from (
  select unnest($1::text[]) as tenant, unnest($2::text[]) as principal,
    generate_subscripts($1::text[], 1)::bigint as at) u
cross join lateral (
  select count(*) as waiting from lockgate.calls c
  where c.tenant = u.tenant and c.principal = u.principal and c.state = 'parked') w
"""
"""
How many calls of each (tenant, principal) wait for approval. Counted one by one: as a join, a planner that knows of few
calls would begin with all that wait.
"""

READ_ENTRY = b"select body from lockgate.entries where tenant = $1::text and seq = $2::bigint"

ADD_APPROVAL = b"""
insert into lockgate.approvals
  (approval_id, tenant, call_id, person, key_id, verdict, roles, statement, signature, not_after, seq)
values ($1::uuid, $2::text, $3::uuid, $4::text, $5::text, $6::text, $7::text[], $8::bytea, $9::bytea, $10::timestamptz,
  $11::bigint)
"""

LOOK_KILLS = b"""
select k.tenant, k.scope, k.target
from (select unnest($1::text[]) as tenant, unnest($2::text[]) as scope, unnest($3::text[]) as target) s
join lockgate.kills k on k.tenant = s.tenant and k.scope = s.scope and k.target = s.target
where k.engaged
"""

LOOK_CALLS = b"select %b from (select unnest($1::bytea[]) as wanted) u join lockgate.calls on claim = u.wanted" % (
    CALL_COLUMNS.encode()
)

LOOK_APPROVALS = b"""
select a.approval_id, a.tenant, a.call_id, a.person, a.key_id, a.verdict, a.roles, a.statement, a.signature,
  a.not_after, u.call_id, k.public_key, p.roles
from unnest($1::uuid[]) as w(approval_id)
join lockgate.approvals a on a.approval_id = w.approval_id
left join lockgate.approval_uses u on u.approval_id = a.approval_id
left join lockgate.person_keys k
  on k.key_id = a.key_id and k.tenant = a.tenant and k.person = a.person and k.revoked_seq is null
left join lockgate.people p on p.tenant = a.tenant and p.person = a.person
"""

# As `policies.levels.Standing.current`, for one action each.
LOOK_AUTONOMY = f"""
select u.at, case when s.level is not null or d.level is not null
  then least(coalesce(s.level, {levels.NEW}), d.level) end, coalesce(s.seq, 0)
from unnest($1::text[], $2::text[], $3::text[]) with ordinality as u(tenant, agent, action, at)
left join lateral (
  select l.level, l.seq from lockgate.autonomy l
  where l.tenant = u.tenant and l.agent = u.agent and l.action in (u.action, '*')
  order by l.action = '*' limit 1) s on true
left join lateral (
  select min(d.level) as level from lockgate.lowerings d
  where d.tenant = u.tenant and d.agent = u.agent and d.action in (u.action, '*') and d.seq > coalesce(s.seq, 0)) d
  on true
""".encode()  # noqa: S608 - a fixed number
"""The level of each (tenant, agent, action), null where nobody ever set or lowered one, and where it was last set."""

READ_LEVELS_SET = b"""
select l.tenant, l.agent, l.action, l.level, l.seq
from (select distinct unnest($1::text[]) as tenant, unnest($2::text[]) as agent) u
join lockgate.autonomy l on l.tenant = u.tenant and l.agent = u.agent
"""
READ_LOWERINGS = b"""
select d.tenant, d.agent, d.action, d.level, d.seq
from (select distinct unnest($1::text[]) as tenant, unnest($2::text[]) as agent) u
join lockgate.lowerings d on d.tenant = u.tenant and d.agent = u.agent
"""
READ_STRIKES = b"""
select u.at, s.seq
from (
  select unnest($1::text[]) as tenant, unnest($2::text[]) as agent, unnest($3::text[]) as rule,
    unnest($4::text[]) as action, unnest($5::bigint[]) as after_ms, unnest($6::bigint[]) as times,
    generate_subscripts($1::text[], 1)::bigint as at) u
cross join lateral (
  select c.seq, c.at_ms from lockgate.strikes c
  where c.tenant = u.tenant and c.agent = u.agent and c.rule = u.rule and c.action = u.action
  order by c.seq desc limit u.times) s
where s.at_ms > u.after_ms
"""
"""
What counted within each rule's window, of the newest that could matter: the primary key gives them in their order, and
however many came before, they are not read. Whether one came before the level was last set is asked of its entry.
"""


@unique
class Part(IntEnum):
    """A part of the batch's statement. The order here is the order of parameters and of returned counts."""

    LOG = 0
    CALLS_NEW = 1
    CALLS_MOVED = 2
    BUDGETS_NEW = 3
    BUDGETS_MOVED = 4
    HOLDS_NEW = 5
    HOLDS_SETTLED = 6
    USES = 7
    STRIKES = 8
    LOWERINGS = 9


@dataclass(frozen=True, slots=True)
class _Text:
    sql: str
    parameters: int
    counted: str | None = None


_PARTS = {
    Part.LOG: _Text(
        """
log as materialized (
  select unnest({0}::text[]) as tenant, unnest({1}::bigint[]) as seq, unnest({2}::text[]) as kind,
    unnest({3}::uuid[]) as call_id, unnest({4}::text[]) as correlation, unnest({5}::bytea[]) as body,
    unnest({6}::bytea[]) as leaf, unnest({7}::bytea[]) as path, unnest({8}::bigint[]) as checkpoint,
    unnest({9}::bytea[]) as salt, unnest({10}::bytea[]) as payload, unnest({11}::text[]) as subject),
entries_new as (
  insert into lockgate.entries (tenant, seq, kind, call_id, correlation, body, leaf, path, checkpoint)
  select tenant, seq, kind, call_id, correlation, body, leaf, path, checkpoint from log),
payloads_new as (
  insert into lockgate.payloads (tenant, seq, salt, body, subject)
  select tenant, seq, salt, payload, subject from log where payload is not null),
checkpoints_new as (
  insert into lockgate.checkpoints (tenant, size, at_ms, root, key_id, signature)
  select unnest({12}::text[]), unnest({13}::bigint[]), unnest({14}::bigint[]), unnest({15}::bytea[]),
    unnest({16}::text[]), unnest({17}::text[])),
heads_moved as (
  update lockgate.heads h set size = u.size, hash = u.hash, frontier = u.frontier, signer = u.signer, at_ms = u.at_ms
  from (select unnest({12}::text[]) as tenant, unnest({18}::bigint[]) as was, unnest({13}::bigint[]) as size,
    unnest({19}::bytea[]) as hash, unnest({20}::bytea[]) as frontier, unnest({21}::text[]) as signer,
    unnest({14}::bigint[]) as at_ms) u
  where h.tenant = u.tenant and h.size = u.was returning 1)""",
        22,
        "heads_moved",
    ),
    Part.CALLS_NEW: _Text(
        """
calls_new as (
  insert into lockgate.calls (claim, tenant, call_id, principal, tool, request_digest, request, call_salt, correlation,
    requester, state, fence, lease_until, intent_seq, outcome_seq, parked_seq, status, answer, reservations, expires_at,
    keep_until, created_at)
  select unnest({0}::bytea[]), unnest({1}::text[]), unnest({2}::uuid[]), unnest({3}::text[]), unnest({4}::text[]),
    unnest({5}::bytea[]), unnest({6}::bytea[]), unnest({7}::bytea[]), unnest({8}::text[]), unnest({9}::bytea[]),
    unnest({10}::text[]), unnest({11}::integer[]), unnest({12}::timestamptz[]), unnest({13}::bigint[]),
    unnest({14}::bigint[]), unnest({15}::bigint[]), unnest({16}::integer[]), unnest({17}::bytea[]),
    unnest({18}::bytea[]), unnest({19}::timestamptz[]), unnest({20}::timestamptz[]), clock_timestamp())""",
        21,
    ),
    Part.CALLS_MOVED: _Text(
        """
calls_moved as (
  update lockgate.calls c set state = u.state, fence = u.fence,
    lease_until = case u.state when 'in_doubt' then c.lease_until else u.lease_until end,
    intent_seq = coalesce(u.intent_seq, c.intent_seq), outcome_seq = coalesce(u.outcome_seq, c.outcome_seq),
    parked_seq = coalesce(u.parked_seq, c.parked_seq), status = u.status, answer = u.answer,
    reservations = u.reservations, expires_at = coalesce(u.expires_at, c.expires_at),
    request = coalesce(u.request, c.request), correlation = coalesce(u.correlation, c.correlation),
    keep_until = coalesce(u.keep_until, c.keep_until)
  from (
    select unnest({0}::bytea[]) as claim, unnest({1}::text[]) as was_state, unnest({2}::integer[]) as was_fence,
      unnest({3}::text[]) as state, unnest({4}::integer[]) as fence, unnest({5}::timestamptz[]) as lease_until,
      unnest({6}::bigint[]) as intent_seq, unnest({7}::bigint[]) as outcome_seq, unnest({8}::bigint[]) as parked_seq,
      unnest({9}::integer[]) as status, unnest({10}::bytea[]) as answer, unnest({11}::bytea[]) as reservations,
      unnest({12}::timestamptz[]) as expires_at, unnest({13}::bytea[]) as request,
      unnest({14}::text[]) as correlation, unnest({15}::timestamptz[]) as keep_until) u
  where c.claim = u.claim and c.state = u.was_state and c.fence = u.was_fence returning 1)""",
        16,
        "calls_moved",
    ),
    Part.BUDGETS_NEW: _Text(
        """
budgets_new as (
  insert into lockgate.budgets (key, tenant, name, reserved, spent)
  select unnest({0}::bytea[]), unnest({1}::text[]), unnest({2}::text[]), unnest({3}::bigint[]),
    unnest({4}::bigint[]))""",
        5,
    ),
    Part.BUDGETS_MOVED: _Text(
        f"""
budgets_moved as (
  update lockgate.budgets b set {counting.BUDGET_MOVES}
  from (select unnest({{0}}::bytea[]) as key, unnest({{1}}::bigint[]) as reserved, unnest({{2}}::bigint[]) as spent,
    unnest({{3}}::bigint[]) as room) u
  where b.key = u.key and {counting.BUDGET_GUARD} returning 1)""",  # noqa: S608 - fixed text of `counting`
        4,
        "budgets_moved",
    ),
    Part.HOLDS_NEW: _Text(
        """
holds_new as (
  insert into lockgate.holds as h (call_id, key, tenant, amount, state, settled_at)
  select u.call_id, u.key, u.tenant, u.amount, u.state, case when u.state <> 'reserved' then clock_timestamp() end
  from (
    select unnest({0}::uuid[]) as call_id, unnest({1}::bytea[]) as key, unnest({2}::text[]) as tenant,
      unnest({3}::bigint[]) as amount, unnest({4}::text[]) as state) u
  on conflict (call_id, key) do update
    set amount = excluded.amount, state = excluded.state, settled_at = excluded.settled_at)""",
        5,
    ),
    Part.HOLDS_SETTLED: _Text(
        f"""
holds_settled as (
  update lockgate.holds h set state = u.state, settled_at = clock_timestamp()
  from (select unnest({{0}}::uuid[]) as call_id, unnest({{1}}::bytea[]) as key, unnest({{2}}::text[]) as state) u
  where h.call_id = u.call_id and h.key = u.key and {counting.HOLD_IS_OPEN} returning 1)""",  # noqa: S608 - fixed text of `counting`
        3,
        "holds_settled",
    ),
    Part.USES: _Text(
        """
uses_new as (
  insert into lockgate.approval_uses (approval_id, tenant, call_id, seq)
  select unnest({0}::uuid[]), unnest({1}::text[]), unnest({2}::uuid[]), unnest({3}::bigint[]))""",
        4,
    ),
    Part.STRIKES: _Text(
        """
strikes_new as (
  insert into lockgate.strikes (tenant, agent, rule, action, seq, at_ms)
  select unnest({0}::text[]), unnest({1}::text[]), unnest({2}::text[]), unnest({3}::text[]), unnest({4}::bigint[]),
    unnest({5}::bigint[]))""",
        6,
    ),
    Part.LOWERINGS: _Text(
        """
lowerings_new as (
  insert into lockgate.lowerings (tenant, agent, action, level, rule, seq, at_ms)
  select unnest({0}::text[]), unnest({1}::text[]), unnest({2}::text[]), unnest({3}::integer[]), unnest({4}::text[]),
    unnest({5}::bigint[]), unnest({6}::bigint[]))""",
        7,
    ),
}


@cache
def write(parts: tuple[Part, ...]) -> bytes:
    """
    The statement of a batch that has these parts, in their order. At most one text for each subset of `Part`.

    Its last parameters are the counts that the counted parts must have; another count is a division by zero, so that
    what follows in the same round trip does not happen.
    """
    texts, counts, first = [], [], 1
    for part in parts:
        text = _PARTS[part]
        texts.append(text.sql.format(*(f"${number}" for number in range(first, first + text.parameters))))
        first += text.parameters
        if text.counted is not None:
            counts.append(f"(select count(*) from {text.counted})")  # noqa: S608 - fixed names of this module
    guards = " and ".join(f"{count} = ${first + number}::bigint" for number, count in enumerate(counts))
    return "\n".join(["with", ",".join(texts), "select 1 / (case when", guards, "then 1 else 0 end)"]).encode()


def is_counted(part: Part) -> bool:
    """Whether the part's count is compared."""
    return _PARTS[part].counted is not None
