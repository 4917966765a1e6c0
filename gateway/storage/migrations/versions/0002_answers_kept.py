"""Answers past their time are found by an index of their own."""

from __future__ import annotations

from alembic import op

from gateway.storage import migrations

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Writes to calls wait for as long as the index is built, at most the migration's statement time."""
    migrations.run(op.get_bind(), "versions/0002_answers_kept.sql")


def downgrade() -> None:
    """The release before does not look for them."""
    op.execute("drop index lockgate.calls_kept")
