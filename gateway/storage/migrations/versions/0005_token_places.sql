-- Where the values of tokens stand, and never a value (ADR 12). An erased place is a token with nothing beside it.
create table lockgate.token_places (
    tenant    text not null,
    token     text not null,
    subject   text,
    tool      text,
    arguments bytea, -- canonical
    member    text,
    primary key (tenant, token)
);
create index token_places_of_subject on lockgate.token_places (tenant, subject) where subject is not null;

alter table lockgate.token_places enable row level security;
alter table lockgate.token_places force row level security;
create policy tenants on lockgate.token_places
    using (tenant = any ((select current_setting('app.tenants')::text[])::text[]))
    with check (tenant = any ((select current_setting('app.tenants')::text[])::text[]));

grant select on lockgate.token_places to lockgate_app, lockgate_auditor;
grant insert on lockgate.token_places to lockgate_app;
grant update (subject, tool, arguments, member) on lockgate.token_places to lockgate_app;
