"""The coercion through which an instance is presented.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_Text = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    """Go from 0002 to this one; there is no way back but the copy."""
    op.add_column("instance", sa.Column("coercion", _Text, server_default="", nullable=False))
