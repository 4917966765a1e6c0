-- Before any revision: roles, the database's own privileges, the schema. Safe to repeat.
-- Roles belong to the whole server, so another database may have made them already.
do $prepare$
declare
    name text;
    owns_database boolean;
begin
    foreach name in array array['lockgate_owner', 'lockgate_app', 'lockgate_auditor'] loop
        if not exists (select from pg_roles where rolname = name) then
            begin
                execute format('create role %I nologin noinherit', name);
            exception when duplicate_object then
                null; -- an upgrade of another database was faster
            end;
        end if;
    end loop;

    if not pg_has_role(session_user, 'lockgate_owner', 'set') then
        execute format('grant lockgate_owner to %I with inherit false, set true', session_user);
    end if;

    select datdba = 'lockgate_owner'::regrole into owns_database from pg_database where datname = current_database();
    if owns_database then
        set local role lockgate_owner;
    end if;
    if owns_database or pg_has_role((select datdba from pg_database where datname = current_database()), 'usage') then
        -- A temporary table would shadow an unqualified name.
        execute format('revoke temporary, create on database %I from public', current_database());
        execute format('grant connect on database %I to lockgate_app, lockgate_auditor', current_database());
        execute format('grant create on database %I to lockgate_owner', current_database());
    end if;

    set local role lockgate_owner;
    if not exists (select from pg_namespace where nspname = 'lockgate') then
        create schema lockgate;
    end if;
end
$prepare$;
