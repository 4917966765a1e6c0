-- Autonomy that rules lower. Runs as lockgate_owner; correct beside the release before it, which counts and lowers nothing.
--
-- Both tables are evidence: rows are added with the entry that they name, in its transaction, and never change.

-- What an autonomy rule counts against an agent, kept as long as the rule could still lower it.
create table lockgate.strikes (
    tenant text   not null,
    agent  text   not null,
    rule   text   not null,
    action text   not null, -- the tool, or `*` where the rule counts over all of the agent's
    seq    bigint not null,
    at_ms  bigint not null,
    primary key (tenant, agent, rule, action, seq)
);

create table lockgate.lowerings (
    tenant text    not null,
    agent  text    not null,
    action text    not null, -- `*`: every action
    level  integer not null check (level between 0 and 4),
    rule   text    not null,
    seq    bigint  not null,
    at_ms  bigint  not null,
    primary key (tenant, agent, action, seq)
);

do $secure$
declare
    name text;
begin
    foreach name in array array['strikes', 'lowerings'] loop
        execute format('alter table lockgate.%I enable row level security', name);
        execute format('alter table lockgate.%I force row level security', name);
        execute format($policy$
            create policy tenants on lockgate.%I
            using (tenant = any ((select current_setting('app.tenants')::text[])::text[]))
            with check (tenant = any ((select current_setting('app.tenants')::text[])::text[]))
        $policy$, name);
        execute format('create trigger append_only before update or delete or truncate on lockgate.%I
                        for each statement execute function lockgate.refuse_change()', name);
        execute format('alter table lockgate.%I enable always trigger append_only', name);
    end loop;
end
$secure$;

grant select on lockgate.strikes, lockgate.lowerings to lockgate_app, lockgate_auditor;
grant insert on lockgate.strikes, lockgate.lowerings to lockgate_app;
