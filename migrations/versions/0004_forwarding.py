"""Forwarding: what was decided, what is owed, and what became of it.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_Text = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
_Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_COUNTED = ("settlement", "decision", "consignment", "delivery", "attempt", "verification")
_OPEN = sa.text("state IN ('due', 'held', 'running', 'verifying')")
_DEAD = sa.text("dead > 0")


def _word(name: str) -> sa.Column[str]:
    return sa.Column(name, _Text, server_default="", nullable=False)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, _Key, server_default=sa.text("0"), nullable=False)


def upgrade() -> None:
    """Go from 0003 to this one; there is no way back but the copy."""
    op.create_table(
        "settlement",
        sa.Column("key", _Key, autoincrement=False, nullable=False),
        sa.Column("level", _Text, nullable=False),
        sa.Column("study", _Text, nullable=False),
        _word("series"),
        sa.Column("revision", _Key, nullable=False),
        sa.Column("at", _Text, nullable=False),
        sa.Column("verdict", _Text, nullable=False),
        sa.Column("instances", _Key, nullable=False),
        sa.Column("signals", _Text, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_settlement")),
        sa.UniqueConstraint("study", "series", "revision", name=op.f("uq_settlement_study_series_revision")),
    )
    op.create_table(
        "decision",
        sa.Column("key", _Key, autoincrement=False, nullable=False),
        sa.Column("study", _Text, nullable=False),
        sa.Column("series", _Text, nullable=False),
        sa.Column("revision", _Key, nullable=False),
        _word("route"),
        sa.Column("at", _Text, nullable=False),
        sa.Column("matched", _Text, nullable=False),
        _word("destinations"),
        _word("discard"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_decision")),
        sa.UniqueConstraint(
            "study", "series", "revision", "route", name=op.f("uq_decision_study_series_revision_route")
        ),
    )
    op.create_table(
        "consignment",
        sa.Column("key", _Key, autoincrement=False, nullable=False),
        sa.Column("destination", _Text, nullable=False),
        _word("group"),
        sa.Column("study", _Text, nullable=False),
        sa.Column("series", _Text, nullable=False),
        _word("route"),
        sa.Column("revision", _Key, nullable=False),
        sa.Column("priority", _Key, nullable=False),
        sa.Column("calendar", _Text, nullable=True),
        sa.Column("steps", _Text, nullable=False),
        sa.Column("state", _Text, nullable=False),
        sa.Column("created", _Text, nullable=False),
        sa.Column("due", _Text, nullable=False),
        _count("attempts"),
        _count("crashes"),
        _count("total"),
        _count("done"),
        _count("dead"),
        _count("cancelled"),
        _word("claim"),
        _count("fence"),
        _word("error"),
        sa.Column("changed", _Text, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_consignment")),
    )
    op.create_index(
        "ix_consignment_dead",
        "consignment",
        ["destination"],
        unique=False,
        sqlite_where=_DEAD,
        postgresql_where=_DEAD,
    )
    op.create_index(
        "ix_consignment_open",
        "consignment",
        ["destination", "state", "priority", "calendar", "due"],
        unique=False,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )
    op.create_index("ix_consignment_series", "consignment", ["series"], unique=False)
    op.create_index("ix_consignment_study", "consignment", ["study"], unique=False)
    op.create_table(
        "delivery",
        sa.Column("key", _Key, autoincrement=False, nullable=False),
        sa.Column("consignment_key", _Key, nullable=False),
        sa.Column("instance_key", _Key, nullable=False),
        sa.Column("destination", _Text, nullable=False),
        sa.Column("sop_instance", _Text, nullable=False),
        sa.Column("state", _Text, nullable=False),
        _count("attempts"),
        sa.Column("at", _Text, nullable=True),
        sa.Column("status", _Key, nullable=True),
        _word("syntax"),
        _count("size"),
        sa.Column("seconds", sa.Float(), nullable=True),
        _word("error"),
        sa.Column("verified", _Text, nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_delivery")),
        sa.UniqueConstraint("instance_key", "destination", name=op.f("uq_delivery_instance_key_destination")),
    )
    op.create_index(
        "ix_delivery_consignment_key", "delivery", ["consignment_key", "instance_key"], unique=False
    )
    op.create_table(
        "attempt",
        sa.Column("key", _Key, autoincrement=False, nullable=False),
        sa.Column("delivery_key", _Key, nullable=False),
        sa.Column("at", _Text, nullable=False),
        sa.Column("outcome", _Text, nullable=False),
        sa.Column("status", _Key, nullable=True),
        _word("syntax"),
        _count("size"),
        sa.Column("seconds", sa.Float(), nullable=True),
        _word("error"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_attempt")),
    )
    op.create_index("ix_attempt_delivery_key", "attempt", ["delivery_key"], unique=False)
    op.create_table(
        "lane",
        sa.Column("destination", _Text, nullable=False),
        sa.Column("state", _Text, nullable=False),
        sa.Column("since", _Text, nullable=False),
        _count("failures"),
        sa.Column("probe", _Text, nullable=True),
        _word("reason"),
        _word("memory"),
        sa.PrimaryKeyConstraint("destination", name=op.f("pk_lane")),
    )
    op.create_table(
        "worker",
        sa.Column("name", _Text, nullable=False),
        _count("beats"),
        sa.Column("started", _Text, nullable=False),
        _word("version"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_worker")),
    )
    op.create_table(
        "verification",
        sa.Column("key", _Key, autoincrement=False, nullable=False),
        sa.Column("consignment_key", _Key, nullable=False),
        sa.Column("destination", _Text, nullable=False),
        sa.Column("transaction_uid", _Text, nullable=True),
        sa.Column("asked", _Text, nullable=True),
        sa.Column("due", _Text, nullable=False),
        _count("attempts"),
        _word("error"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_verification")),
        sa.UniqueConstraint("consignment_key", name=op.f("uq_verification_consignment_key")),
        sa.UniqueConstraint("transaction_uid", name=op.f("uq_verification_transaction_uid")),
    )
    counter = sa.table("counter", sa.column("name"), sa.column("value"))
    op.bulk_insert(counter, [{"name": name, "value": 0} for name in _COUNTED])
    # What is held already was not to be sent anywhere: it must not all go out because of an upgrade.
    series = sa.table(
        "series",
        sa.column("revision"),
        sa.column("instances"),
        sa.column("settled_instances"),
        sa.column("settled_at"),
        sa.column("last_arrival"),
    )
    op.execute(
        sa.update(series)
        .where(series.c.revision == 0)
        .values(revision=1, settled_instances=series.c.instances, settled_at=series.c.last_arrival)
    )
    instance = sa.table("instance", sa.column("key"))
    progress = sa.table("progress", sa.column("job"), sa.column("value"), sa.column("updated"))
    last = sa.select(
        sa.literal("router"), sa.cast(sa.func.coalesce(sa.func.max(instance.c.key), 0), _Text), sa.literal("")
    )
    op.execute(sa.insert(progress).from_select(["job", "value", "updated"], last))
