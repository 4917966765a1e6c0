"""What a later release might add: a table, a nullable column of state, an index."""

from __future__ import annotations

from pathlib import Path

from alembic import op

from gateway.storage import migrations

revision = "9999"
down_revision = max(file.name[:4] for file in Path(migrations.__file__).parent.glob("versions/0*.py"))
branch_labels = None
depends_on = None

STATEMENTS = (
    "alter table lockgate.calls add column later text",
    "grant update (later) on lockgate.calls to lockgate_app",
    "create table lockgate.later (tenant text not null, note text not null, primary key (tenant, note))",
    "alter table lockgate.later enable row level security",
    "alter table lockgate.later force row level security",
    """create policy tenants on lockgate.later
       using (tenant = any ((select current_setting('app.tenants')::text[])::text[]))
       with check (tenant = any ((select current_setting('app.tenants')::text[])::text[]))""",
    "grant select on lockgate.later to lockgate_app, lockgate_auditor",
    "grant insert, update (note) on lockgate.later to lockgate_app",
    "create index later_of_calls on lockgate.calls (tenant, later) where later is not null",
)


def upgrade() -> None:
    """Nothing that the release before would notice."""
    for statement in STATEMENTS:
        op.execute(statement)
