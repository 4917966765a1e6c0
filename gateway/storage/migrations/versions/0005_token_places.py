"""Tokens lead to the places of their values."""

from __future__ import annotations

from alembic import op

from gateway.storage import migrations

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A table that the release before does not know."""
    migrations.run(op.get_bind(), "versions/0005_token_places.sql")


def downgrade() -> None:
    """Every token then stands for nothing until it is looked at again."""
    op.execute("drop table lockgate.token_places")
