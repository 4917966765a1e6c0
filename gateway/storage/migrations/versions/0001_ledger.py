"""The ledger: every table of the first release, with its grants, row-level security and triggers."""

from __future__ import annotations

from alembic import op

from gateway.storage import migrations

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Everything at once: there is no previous release."""
    migrations.run(op.get_bind(), "versions/0001_ledger.sql")


def downgrade() -> None:
    """Evidence is never migrated away."""
    raise NotImplementedError
