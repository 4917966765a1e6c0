-- Null: the release before wrote last, and the key of the newest checkpoint signs.
alter table lockgate.heads
    add column signer text,   -- key id of who signs the next checkpoint
    add column at_ms  bigint; -- time of the newest entry: times never go back
grant update (signer, at_ms) on lockgate.heads to lockgate_app;

-- From the first exchange of a chain's key on: which key signs the checkpoints of every size above `seq`, up to the next.
create table lockgate.log_keys (
    tenant     text   not null,
    seq        bigint not null check (seq >= 0), -- the entry that names it; 0 for the first
    key_id     text   not null,
    public_key text   not null,
    primary key (tenant, seq)
);
alter table lockgate.log_keys enable row level security;
alter table lockgate.log_keys force row level security;
create policy tenants on lockgate.log_keys
    using (tenant = any ((select current_setting('app.tenants')::text[])::text[]))
    with check (tenant = any ((select current_setting('app.tenants')::text[])::text[]));
create trigger append_only before update or delete or truncate on lockgate.log_keys
    for each statement execute function lockgate.refuse_change();
alter table lockgate.log_keys enable always trigger append_only;
grant select on lockgate.log_keys to lockgate_app, lockgate_auditor;
grant insert on lockgate.log_keys to lockgate_app;
