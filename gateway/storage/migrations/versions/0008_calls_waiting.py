"""The calls of a principal that wait are found by an index of their own."""

from __future__ import annotations

from alembic import op

from gateway.storage import migrations

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Writes to calls wait for as long as the index is built, at most the migration's statement time."""
    migrations.run(op.get_bind(), "versions/0008_calls_waiting.sql")


def downgrade() -> None:
    """The release before counts without it."""
    op.execute("drop index lockgate.calls_waiting")
