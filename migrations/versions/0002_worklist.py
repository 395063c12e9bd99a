"""The worklist that the API feeds, and the procedure steps that modalities report.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_Text = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
_Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_COUNTED = ("worklist_entry", "performed_step")


def _word(name: str) -> sa.Column[str]:
    return sa.Column(name, _Text, server_default="", nullable=False)


def upgrade() -> None:
    """Go from 0001 to this one; there is no way back but the copy."""
    op.create_table(
        "worklist_entry",
        sa.Column("key", _Key, autoincrement=False, nullable=False),
        sa.Column("name", _Text, nullable=False),
        _word("patient_id"),
        _word("accession_number"),
        _word("study"),
        _word("step_id"),
        _word("modality"),
        _word("station"),
        _word("start_date"),
        _word("start_time"),
        sa.Column("fields", _Text, nullable=False),
        sa.Column("added", _Text, nullable=False),
        sa.Column("changed", _Text, nullable=False),
        _word("changed_by"),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_worklist_entry")),
        sa.UniqueConstraint("name", name=op.f("uq_worklist_entry_name")),
        sa.UniqueConstraint("study", "step_id", name=op.f("uq_worklist_entry_study_step_id")),
    )
    op.create_index("ix_worklist_entry_patient_id", "worklist_entry", ["patient_id"], unique=False)
    op.create_index(
        "ix_worklist_entry_accession_number", "worklist_entry", ["accession_number"], unique=False
    )
    op.create_index(
        "ix_worklist_entry_start_date", "worklist_entry", ["start_date", "start_time"], unique=False
    )
    op.create_table(
        "performed_step",
        sa.Column("key", _Key, autoincrement=False, nullable=False),
        sa.Column("sop_instance", _Text, nullable=False),
        sa.Column("state", _Text, nullable=False),
        _word("calling"),
        _word("address"),
        _word("modality"),
        _word("station"),
        sa.Column("fields", _Text, nullable=False),
        sa.Column("created", _Text, nullable=False),
        sa.Column("changed", _Text, nullable=False),
        sa.Column("ended", _Text, nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_performed_step")),
        sa.UniqueConstraint("sop_instance", name=op.f("uq_performed_step_sop_instance")),
    )
    op.create_index("ix_performed_step_created", "performed_step", ["created"], unique=False)
    op.create_table(
        "performed_schedule",
        sa.Column("step_key", _Key, nullable=False),
        sa.Column("position", _Key, nullable=False),
        _word("study"),
        _word("accession_number"),
        _word("procedure_id"),
        _word("scheduled_step_id"),
        sa.ForeignKeyConstraint(
            ["step_key"], ["performed_step.key"], name=op.f("fk_performed_schedule_step_key")
        ),
        sa.PrimaryKeyConstraint("step_key", "position", name=op.f("pk_performed_schedule")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_performed_schedule_study", "performed_schedule", ["study"], unique=False)
    op.create_table(
        "performed_series",
        sa.Column("step_key", _Key, nullable=False),
        sa.Column("position", _Key, nullable=False),
        sa.Column("series", _Text, nullable=False),
        sa.Column("instances", _Key, nullable=False),
        sa.ForeignKeyConstraint(
            ["step_key"], ["performed_step.key"], name=op.f("fk_performed_series_step_key")
        ),
        sa.PrimaryKeyConstraint("step_key", "position", name=op.f("pk_performed_series")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_performed_series_series", "performed_series", ["series"], unique=False)
    counter = sa.table("counter", sa.column("name"), sa.column("value"))
    op.bulk_insert(counter, [{"name": name, "value": 0} for name in _COUNTED])
