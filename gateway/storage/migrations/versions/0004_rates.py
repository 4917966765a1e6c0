"""Rates are counted in the database, for all gateways together."""

from __future__ import annotations

from alembic import op

from gateway.storage import migrations

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """One table; the release before does not look at it."""
    migrations.run(op.get_bind(), "versions/0004_rates.sql")


def downgrade() -> None:
    """The release before counts in memory."""
    op.execute("drop table lockgate.rates")
