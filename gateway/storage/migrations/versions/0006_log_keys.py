"""A chain's head names who signs it and the time of its newest entry; the keys that had their turn are kept."""

from __future__ import annotations

from alembic import op

from gateway.storage import migrations

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Columns without a default: nothing is rewritten, and the release before leaves them as they are."""
    migrations.run(op.get_bind(), "versions/0006_log_keys.sql")


def downgrade() -> None:
    """Evidence is never migrated away."""
    raise NotImplementedError
