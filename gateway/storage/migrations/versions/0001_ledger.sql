-- The ledger of the first release. Runs as lockgate_owner; every name is qualified.
--
-- Six tables are evidence: no role updates, deletes or truncates them, and a trigger stops the owner as well.
-- The others hold where things stand. The application may update exactly the columns in which state moves.
-- Hot look-ups have keys of one column: with two unique keys that begin with the tenant, the planner may take the wrong one.

-- Evidence ------------------------------------------------------------------------------------------------------------

create table lockgate.entries (
    tenant      text   not null,
    seq         bigint not null check (seq >= 0),
    kind        text   not null,
    call_id     uuid,
    correlation text,
    body        bytea  not null, -- canonical bytes: what is hashed and signed
    leaf        bytea  not null check (length(leaf) = 32),
    path        bytea  not null check (length(path) % 32 = 0), -- inclusion in the tree of `checkpoint`, hashes concatenated
    checkpoint  bigint not null, -- size of the tree that the entry's batch signed
    primary key (tenant, seq)
);
-- Intents and outcomes are found through `calls`; the index would cost each write twice.
create index entries_of_call on lockgate.entries (call_id)
    where kind not in ('INTENT', 'OUTCOME') and call_id is not null;
create index entries_of_incident on lockgate.entries (tenant) where kind = 'INCIDENT';
create index entries_of_correlation on lockgate.entries (correlation) where correlation is not null;

create table lockgate.checkpoints (
    tenant    text   not null,
    size      bigint not null check (size > 0),
    at_ms     bigint not null,
    root      bytea  not null check (length(root) = 32),
    key_id    text   not null,
    signature text   not null,
    primary key (tenant, size)
);

create table lockgate.approvals (
    approval_id uuid        primary key,
    tenant      text        not null,
    call_id     uuid        not null,
    person      text        not null,
    key_id      text        not null,
    verdict     text        not null,
    roles       text[]      not null,
    statement   bytea       not null,
    signature   bytea       not null,
    not_after   timestamptz not null,
    seq         bigint      not null
);
create index approvals_of_call on lockgate.approvals (call_id);

-- The primary key is what makes an approval single-use.
create table lockgate.approval_uses (
    approval_id uuid   primary key,
    tenant      text   not null,
    call_id     uuid   not null,
    seq         bigint not null
);

create table lockgate.activations (
    tenant             text   not null,
    revision           bigint not null check (revision > 0),
    digest             text   not null,
    certificate_digest text   not null,
    schema_digest      text   not null,
    seq                bigint not null,
    at_ms              bigint not null,
    primary key (tenant, revision)
);

create table lockgate.certificates (
    tenant        text        not null,
    digest        text        not null,
    bundle        text        not null,
    schema_digest text        not null,
    content       bytea       not null,
    added         timestamptz not null default clock_timestamp(),
    primary key (tenant, digest)
);
create index certificates_of_bundle on lockgate.certificates (tenant, bundle, schema_digest);

-- State ---------------------------------------------------------------------------------------------------------------

create table lockgate.heads (
    tenant   text   primary key,
    size     bigint not null check (size >= 0),
    hash     bytea  not null,
    frontier bytea  not null
) with (fillfactor = 20); -- moved by every batch: room for the next version on the same page

-- Payloads stand beside the log, so that a person's data can be erased and the chain still verifies.
create table lockgate.payloads (
    tenant  text   not null,
    seq     bigint not null,
    salt    bytea,
    body    bytea,
    subject text,
    primary key (tenant, seq)
);
create index payloads_of_subject on lockgate.payloads (tenant, subject) where subject is not null;

create table lockgate.calls (
    claim          bytea       primary key, -- SHA-256 of [tenant, environment, principal, tool, key]
    tenant         text        not null,
    call_id        uuid        not null unique,
    principal      text        not null,
    tool           text        not null,
    request_digest bytea       not null,
    request        bytea       not null,
    call_salt      bytea       not null,
    correlation    text,
    requester      bytea       not null,
    state          text        not null check (state in ('executing', 'executed', 'failed', 'not_done', 'in_doubt',
                                                         'parked', 'rejected', 'cancelled', 'expired')),
    fence          integer     not null check (fence >= 0),
    lease_until    timestamptz,
    intent_seq     bigint,
    outcome_seq    bigint,
    parked_seq     bigint,
    status         integer,
    answer         bytea,
    reservations   bytea, -- JSON: budgets and in_flight of the running attempt
    expires_at     timestamptz,
    created_at     timestamptz not null,
    keep_until     timestamptz not null
);
create index calls_executing on lockgate.calls (lease_until) where state = 'executing';
create index calls_in_doubt on lockgate.calls (created_at) where state = 'in_doubt';
create index calls_parked on lockgate.calls (expires_at) where state = 'parked';
create index calls_of_tenant on lockgate.calls (tenant, created_at);

create table lockgate.budgets (
    key      bytea  primary key, -- SHA-256 of [tenant, tool, limit, filled-in key, window]
    tenant   text   not null,
    name     text   not null,
    reserved bigint not null check (reserved >= 0),
    spent    bigint not null check (spent >= 0)
) with (fillfactor = 20); -- moved twice by every spending call

create table lockgate.holds (
    call_id    uuid        not null,
    key        bytea       not null,
    tenant     text        not null,
    amount     bigint      not null check (amount >= 0),
    state      text        not null check (state in ('reserved', 'settled', 'released')),
    settled_at timestamptz,
    primary key (call_id, key)
);
create index holds_of_key on lockgate.holds (key);

create table lockgate.kills (
    tenant  text    not null,
    scope   text    not null check (scope in ('agent', 'tool', 'tenant', 'everything')),
    target  text    not null,
    engaged boolean not null,
    reason  text    not null,
    seq     bigint  not null,
    primary key (tenant, scope, target)
);

create table lockgate.autonomy (
    tenant text    not null,
    agent  text    not null,
    action text    not null, -- `*` for every action without a row of its own
    level  integer not null check (level between 0 and 4),
    seq    bigint  not null,
    primary key (tenant, agent, action)
);

create table lockgate.person_keys (
    key_id         text   primary key,
    tenant         text   not null,
    person         text   not null,
    public_key     text   not null,
    registered_seq bigint not null,
    revoked_seq    bigint
);
create index person_keys_of_person on lockgate.person_keys (tenant, person);

-- Roles that a person's newest verified token carried.
create table lockgate.people (
    tenant    text   not null,
    person    text   not null,
    roles     text[] not null,
    token_iat bigint not null,
    primary key (tenant, person)
);

create table lockgate.tools (
    tenant   text   not null,
    digest   text   not null,
    name     text   not null,
    document bytea  not null,
    verdict  bytea  not null, -- JSON: what the upload was judged to be
    seq      bigint, -- null: uploaded, not registered
    primary key (tenant, digest)
);

create table lockgate.bundles (
    tenant        text   not null,
    digest        text   not null,
    content       bytea  not null,
    verdict       bytea  not null, -- JSON: what the upload was judged to be
    published_seq bigint,
    primary key (tenant, digest)
);

-- Evidence stays ------------------------------------------------------------------------------------------------------

create function lockgate.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception using
        errcode = 'insufficient_privilege',
        message = 'table "' || tg_table_name || '" is evidence: rows are added, never changed or removed';
end
$$;

-- Row-level security: one setting names the batch's tenants. The inner select makes it one evaluation per statement.
-- Never set, it is an unknown parameter; left from an earlier transaction, it is a malformed array: both are errors, so
-- that a forgotten tenant is neither no row nor every row. Forced: the owner is bound as well.

do $secure$
declare
    name text;
begin
    for name in select relname from pg_class where relnamespace = 'lockgate'::regnamespace and relkind = 'r'
                                               and relname <> 'alembic_version' loop
        execute format('alter table lockgate.%I enable row level security', name);
        execute format('alter table lockgate.%I force row level security', name);
        execute format($policy$
            create policy tenants on lockgate.%I
            using (tenant = any ((select current_setting('app.tenants')::text[])::text[]))
            with check (tenant = any ((select current_setting('app.tenants')::text[])::text[]))
        $policy$, name);
    end loop;

    foreach name in array array['entries', 'checkpoints', 'approvals', 'approval_uses', 'activations', 'certificates'] loop
        execute format('create trigger append_only before update or delete or truncate on lockgate.%I
                        for each statement execute function lockgate.refuse_change()', name);
        -- Always: `session_replication_role` does not silence it.
        execute format('alter table lockgate.%I enable always trigger append_only', name);
    end loop;
end
$secure$;

-- Grants --------------------------------------------------------------------------------------------------------------

revoke all on schema lockgate from public;
revoke execute on function lockgate.refuse_change() from public;
grant usage on schema lockgate to lockgate_app, lockgate_auditor;
grant select on all tables in schema lockgate to lockgate_app, lockgate_auditor;

grant insert on
    lockgate.entries, lockgate.checkpoints, lockgate.approvals, lockgate.approval_uses, lockgate.activations,
    lockgate.certificates,
    lockgate.heads, lockgate.payloads, lockgate.calls, lockgate.budgets, lockgate.holds, lockgate.kills,
    lockgate.autonomy, lockgate.person_keys, lockgate.people, lockgate.tools, lockgate.bundles
    to lockgate_app;

-- Names, owners and digests never move; `gateway.storage.startup` holds the same list and refuses any other column.
grant update (size, hash, frontier) on lockgate.heads to lockgate_app;
grant update (salt, body) on lockgate.payloads to lockgate_app; -- erasure
grant update (request, correlation, state, fence, lease_until, intent_seq, outcome_seq, parked_seq, status, answer,
              reservations, expires_at, keep_until) on lockgate.calls to lockgate_app;
grant update (reserved, spent) on lockgate.budgets to lockgate_app;
grant update (amount, state, settled_at) on lockgate.holds to lockgate_app;
grant update (engaged, reason, seq) on lockgate.kills to lockgate_app;
grant update (level, seq) on lockgate.autonomy to lockgate_app;
grant update (revoked_seq) on lockgate.person_keys to lockgate_app;
grant update (roles, token_iat) on lockgate.people to lockgate_app;
grant update (seq, verdict) on lockgate.tools to lockgate_app;
grant update (verdict, published_seq) on lockgate.bundles to lockgate_app;
