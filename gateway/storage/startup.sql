-- One row for everything that makes this login, or this server, unsafe: (name of the finding, what it is about).
-- Read-only and without effect. Parameters: inserts, is_later (bool), tables, evidence, moving (`table.column`), policy,
-- refusal. A later schema may have tables and columns of state that are not known here.
with
me as (
    select oid, rolsuper, rolname from pg_roles where rolname = current_user
),
-- The login and every role that it may become; of a superuser, who may become anyone, itself is enough.
worn as (
    select r.* from pg_roles r, me where r.oid = me.oid or (not me.rolsuper and pg_has_role(me.oid, r.oid, 'member'))
),
-- What an owner or superuser may do needs no list of grants: owning is the finding.
bound as (
    select * from worn where not rolsuper
),
known as (
    select c.oid, c.relname, c.relowner, c.relkind, c.relrowsecurity, c.relforcerowsecurity, c.relpersistence
    from pg_class c where c.relnamespace = to_regnamespace('lockgate') and c.relkind not in ('i', 'I', 'c')
),
ledger as (
    select * from known where relkind = 'r' and relname <> 'alembic_version'
),
relations as (
    select * from known where relkind in ('r', 'p', 'v', 'm', 'f')
),
needed as (
    select unnest(%(tables)s::text[]) as relname
),
guarded as (
    select unnest(%(evidence)s::text[]) as relname
)
-- Who the login is
select 'role_superuser', rolname::text from worn where rolsuper
union all select 'role_bypasses_rls', rolname::text from worn where rolbypassrls and not rolsuper
union all select 'role_creates_roles', rolname::text from worn where rolcreaterole and not rolsuper
union all select 'role_creates_databases', rolname::text from worn where rolcreatedb and not rolsuper
union all select 'role_replicates', rolname::text from worn where rolreplication and not rolsuper
union all select 'role_predefined', rolname::text from worn where starts_with(rolname::text, 'pg_')
union all select 'owns_table', worn.rolname || ': ' || string_agg(known.relname, ', ' order by known.relname)
    from known join worn on worn.oid = known.relowner group by worn.rolname
union all select 'owns_schema', nspname::text from pg_namespace join worn on worn.oid = nspowner where nspname = 'lockgate'
union all select 'owns_database', datname::text from pg_database join worn on worn.oid = datdba
    where datname = current_database()
union all select 'owns_function', p.oid::regprocedure::text from pg_proc p join worn on worn.oid = p.proowner
    where p.pronamespace = to_regnamespace('lockgate')
-- Tables as they must be
union all select 'table_missing', relname from needed where relname not in (select relname::text from ledger)
union all select 'table_unknown', relname::text from known
    where relname <> 'alembic_version'
      and (relkind <> 'r' or (not %(is_later)s and relname::text not in (select relname from needed)))
union all select 'table_unlogged', relname::text from ledger where relpersistence <> 'p'
union all select 'rls_disabled', relname::text from ledger where not relrowsecurity
union all select 'rls_not_forced', relname::text from ledger where not relforcerowsecurity
union all select 'rls_policy_missing', relname::text from ledger
    where not exists (select from pg_policy where polrelid = ledger.oid and polcmd = '*' and polroles = '{0}')
union all select 'rls_policy_foreign', ledger.relname || '.' || polname from ledger join pg_policy on polrelid = ledger.oid
    where polcmd <> '*' or polpermissive is false or polroles <> '{0}'
       or coalesce(pg_get_expr(polqual, polrelid), '') !~ %(policy)s
       or coalesce(pg_get_expr(polwithcheck, polrelid), '') !~ %(policy)s
union all select 'table_rule', ledger.relname || '.' || rulename from ledger join pg_rewrite on ev_class = ledger.oid
-- Evidence has its trigger: before (2) delete (8), update (16), truncate (32), for each statement (not 1), enabled always
union all select 'evidence_unguarded', relname from guarded
    where relname in (select relname::text from ledger) and not exists (
        select from pg_trigger t join ledger on ledger.oid = t.tgrelid join pg_proc p on p.oid = t.tgfoid
        where ledger.relname = guarded.relname and t.tgname = 'append_only' and t.tgtype = 58 and t.tgenabled = 'A'
          and t.tgqual is null and t.tgattr::text = '' and p.pronamespace = to_regnamespace('lockgate')
          and p.proname = 'refuse_change' and p.prosrc ~ %(refusal)s)
union all select 'table_trigger', ledger.relname || '.' || tgname from ledger join pg_trigger on tgrelid = ledger.oid
    where not tgisinternal and not (tgname = 'append_only' and ledger.relname::text in (select relname from guarded))
-- Grants
union all select 'grant_' || lower(privilege), rolname || ' on ' || relname
    from bound, relations, unnest(array['DELETE', 'TRUNCATE', 'TRIGGER', 'MAINTAIN']) as privilege
    where relowner <> bound.oid and has_table_privilege(bound.oid, relations.oid, privilege)
union all select 'grant_references', rolname || ' on ' || relname from bound, relations
    where relowner <> bound.oid and has_any_column_privilege(bound.oid, relations.oid, 'REFERENCES')
union all select 'grant_insert', rolname || ' on ' || relname from bound, relations
    where relowner <> bound.oid and not (%(inserts)s and relname <> 'alembic_version')
      and has_any_column_privilege(bound.oid, relations.oid, 'INSERT')
union all select 'grant_update', rolname || ' on ' || relname || ' (' || string_agg(attname, ', ' order by attnum) || ')'
    from bound, relations join pg_attribute on attrelid = relations.oid and attnum > 0 and not attisdropped
    where relowner <> bound.oid and not (relname || '.' || attname = any (%(moving)s::text[]))
      and not (%(is_later)s and relname <> 'alembic_version' and relname::text not in (select relname from guarded))
      and has_column_privilege(bound.oid, relations.oid, attnum, 'UPDATE')
    group by rolname, relname
union all select 'grant_create_in_schema', rolname || ' on ' || nspname from bound, pg_namespace
    where nspowner <> bound.oid and nspname !~ '^pg_(toast|temp)'
      and has_schema_privilege(bound.oid, pg_namespace.oid, 'CREATE')
union all select 'grant_create_in_database', rolname::text from bound
    where has_database_privilege(bound.oid, current_database(), 'CREATE')
union all select 'grant_temporary', rolname::text from bound
    where has_database_privilege(bound.oid, current_database(), 'TEMPORARY')
union all select 'definer_function', p.oid::regprocedure::text from pg_proc p
    where p.prosecdef and exists (select from bound where has_function_privilege(bound.oid, p.oid, 'EXECUTE'))
union all select 'grant_missing', current_user::text from known where relname = 'entries'
    and not (has_schema_privilege(to_regnamespace('lockgate'), 'USAGE') and has_table_privilege(oid, 'SELECT')
             and (not %(inserts)s or has_table_privilege(oid, 'INSERT')))
-- The server, with the defaults of this login and this database
union all select 'setting_' || name, setting from pg_settings
    where (name in ('fsync', 'full_page_writes', 'synchronous_commit', 'row_security') and setting not in ('on', 'remote_apply'))
       or (name in ('zero_damaged_pages', 'ignore_checksum_failure', 'transaction_read_only') and setting = 'on')
       or (name = 'session_replication_role' and setting <> 'origin')
union all select 'server_in_recovery', current_database()::text where pg_is_in_recovery()
union all select 'server_encoding', current_setting('server_encoding') where current_setting('server_encoding') <> 'UTF8'
order by 1, 2
