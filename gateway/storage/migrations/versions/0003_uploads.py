"""Uploads are found in the log by an index of their own."""

from __future__ import annotations

from alembic import op

from gateway.storage import migrations

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Writes to the log wait for as long as the index is built, at most the migration's statement time."""
    migrations.run(op.get_bind(), "versions/0003_uploads.sql")


def downgrade() -> None:
    """The release before does not look for them."""
    op.execute("drop index lockgate.entries_of_upload")
