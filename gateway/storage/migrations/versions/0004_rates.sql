-- The count of rates that all gateways share: one row for each rate that was ever asked of, begun anew with each span of time.
create table lockgate.rates (
    key    bytea  primary key, -- SHA-256 of tenant and what is counted
    tenant text   not null,
    span   bigint not null, -- number of it since 1970, by this server's clock; its length is part of the key
    taken  bigint not null check (taken >= 0), -- in that span, by all gateways
    given  bigint not null check (given >= 0)  -- of it, to whoever asked last: how a statement learns what it gave
) with (fillfactor = 20); -- moved about once a second for each busy principal

alter table lockgate.rates enable row level security;
alter table lockgate.rates force row level security;
create policy tenants on lockgate.rates
    using (tenant = any ((select current_setting('app.tenants')::text[])::text[]))
    with check (tenant = any ((select current_setting('app.tenants')::text[])::text[]));

grant select on lockgate.rates to lockgate_app, lockgate_auditor;
grant insert on lockgate.rates to lockgate_app;
grant update (span, taken, given) on lockgate.rates to lockgate_app;
