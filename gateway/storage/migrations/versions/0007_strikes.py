"""Strikes and lowerings: what autonomy rules count against agents, and what they lowered."""

from __future__ import annotations

from alembic import op

from gateway.storage import migrations

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Two tables more."""
    migrations.run(op.get_bind(), "versions/0007_strikes.sql")


def downgrade() -> None:
    """Evidence is never migrated away."""
    raise NotImplementedError
