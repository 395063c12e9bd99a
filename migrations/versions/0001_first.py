"""The first tables: what is held, what came, what became of it.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_Text = sa.Text().with_variant(sa.TEXT(collation="C"), "postgresql")
_Key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_COUNTED = (
    "lock",
    "patient",
    "study",
    "series",
    "instance",
    "conflict",
    "quarantine",
    "deletion",
    "commitment",
)


def upgrade() -> None:
    """Go from nothing to this one; there is no way back but the copy."""
    op.create_table(
        "arrival",
        sa.Column("slot", _Text, nullable=False),
        sa.Column("generation", _Key, autoincrement=False, nullable=False),
        sa.Column("position", _Key, autoincrement=False, nullable=False),
        sa.Column("received", _Text, nullable=False),
        sa.Column("association", _Text, nullable=False),
        sa.Column("calling", _Text, nullable=False),
        sa.Column("called", _Text, nullable=False),
        sa.Column("address", _Text, nullable=False),
        sa.Column("peer", _Text, nullable=False),
        sa.Column("study", _Text, nullable=False),
        sa.Column("series", _Text, nullable=False),
        sa.Column("sop_instance", _Text, nullable=False),
        sa.Column("digest", _Text, nullable=False),
        sa.Column("size", _Key, nullable=False),
        sa.Column("verdict", _Text, nullable=False),
        sa.Column("rule", _Text, server_default="", nullable=False),
        sa.Column("reason", _Text, server_default="", nullable=False),
        sa.Column("target", _Key, nullable=True),
        sa.PrimaryKeyConstraint("slot", "generation", "position", name=op.f("pk_arrival")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "commitment",
        sa.Column("key", _Key, autoincrement=False, nullable=False),
        sa.Column("requester", _Text, nullable=False),
        sa.Column("transaction_uid", _Text, nullable=False),
        sa.Column("called", _Text, server_default="", nullable=False),
        sa.Column("address", _Text, server_default="", nullable=False),
        sa.Column("association", _Text, server_default="", nullable=False),
        sa.Column("requested", _Text, nullable=False),
        sa.Column("state", _Text, nullable=False),
        sa.Column("attempts", _Key, server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt", _Text, nullable=True),
        sa.Column("last_error", _Text, server_default="", nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_commitment")),
        sa.UniqueConstraint(
            "requester", "transaction_uid", name=op.f("uq_commitment_requester_transaction_uid")
        ),
    )
    op.create_index("ix_commitment_next_attempt", "commitment", ["next_attempt"], unique=False)
    op.create_table(
        "conflict",
        sa.Column("key", _Key, autoincrement=False, nullable=False),
        sa.Column("instance_key", _Key, nullable=False),
        sa.Column("study", _Text, nullable=False),
        sa.Column("series", _Text, nullable=False),
        sa.Column("sop_instance", _Text, nullable=False),
        sa.Column("sop_class", _Text, nullable=False),
        sa.Column("syntax", _Text, nullable=False),
        sa.Column("digest", _Text, nullable=False),
        sa.Column("path", _Text, nullable=False),
        sa.Column("offset", _Key, nullable=False),
        sa.Column("size", _Key, nullable=False),
        sa.Column("received", _Text, nullable=False),
        sa.Column("source", _Text, server_default="", nullable=False),
        sa.Column("peer", _Text, server_default="", nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_conflict")),
        sa.UniqueConstraint(
            "sop_instance",
            "series",
            "study",
            "digest",
            name=op.f("uq_conflict_sop_instance_series_study_digest"),
        ),
    )
    op.create_table(
        "counter",
        sa.Column("name", _Text, nullable=False),
        sa.Column("value", _Key, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counter")),
    )
    op.create_table(
        "deletion",
        sa.Column("key", _Key, autoincrement=False, nullable=False),
        sa.Column("at", _Text, nullable=False),
        sa.Column("who", _Text, nullable=False),
        sa.Column("why", _Text, nullable=False),
        sa.Column("kind", _Text, nullable=False),
        sa.Column("target", _Key, nullable=False),
        sa.Column("study", _Text, nullable=False),
        sa.Column("series", _Text, nullable=False),
        sa.Column("sop_instance", _Text, nullable=False),
        sa.Column("digest", _Text, nullable=False),
        sa.Column("size", _Key, nullable=False),
        sa.Column("path", _Text, nullable=False),
        sa.Column("file_removed", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_deletion")),
    )
    op.create_index("ix_deletion_at", "deletion", ["at"], unique=False)
    op.create_index(
        "ix_deletion_file_removed",
        "deletion",
        ["key"],
        unique=False,
        sqlite_where=sa.text("NOT file_removed"),
        postgresql_where=sa.text("NOT file_removed"),
    )
    op.create_index("ix_deletion_sop_instance", "deletion", ["sop_instance"], unique=False)
    op.create_index("ix_deletion_target", "deletion", ["kind", "target"], unique=False)
    op.create_table(
        "meta",
        sa.Column("name", _Text, nullable=False),
        sa.Column("value", _Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_meta")),
    )
    op.create_table(
        "patient",
        sa.Column("key", _Key, autoincrement=False, nullable=False),
        sa.Column("identity", _Text, nullable=False),
        sa.Column("patient_id", _Text, server_default="", nullable=False),
        sa.Column("issuer_of_patient_id", _Text, server_default="", nullable=False),
        sa.Column("patient_name", _Text, nullable=True),
        sa.Column("name_alphabetic", _Text, server_default="", nullable=False),
        sa.Column("name_ideographic", _Text, server_default="", nullable=False),
        sa.Column("name_phonetic", _Text, server_default="", nullable=False),
        sa.Column("patient_birth_date", _Text, nullable=True),
        sa.Column("patient_birth_time", _Text, nullable=True),
        sa.Column("patient_sex", _Text, nullable=True),
        sa.Column("other_patient_ids", _Text, nullable=True),
        sa.Column("other_patient_names", _Text, nullable=True),
        sa.Column("ethnic_group", _Text, nullable=True),
        sa.Column("patient_comments", _Text, nullable=True),
        sa.Column("studies", _Key, server_default=sa.text("0"), nullable=False),
        sa.Column("series", _Key, server_default=sa.text("0"), nullable=False),
        sa.Column("instances", _Key, server_default=sa.text("0"), nullable=False),
        sa.Column("bytes", _Key, server_default=sa.text("0"), nullable=False),
        sa.Column("first_arrival", _Text, nullable=False),
        sa.Column("last_arrival", _Text, nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_patient")),
        sa.UniqueConstraint("identity", name=op.f("uq_patient_identity")),
    )
    op.create_index("ix_patient_name_alphabetic", "patient", ["name_alphabetic"], unique=False)
    op.create_index("ix_patient_name_ideographic", "patient", ["name_ideographic"], unique=False)
    op.create_index("ix_patient_name_phonetic", "patient", ["name_phonetic"], unique=False)
    op.create_index("ix_patient_patient_birth_date", "patient", ["patient_birth_date"], unique=False)
    op.create_index("ix_patient_patient_id", "patient", ["patient_id"], unique=False)
    op.create_table(
        "progress",
        sa.Column("job", _Text, nullable=False),
        sa.Column("value", _Text, nullable=False),
        sa.Column("updated", _Text, nullable=False),
        sa.PrimaryKeyConstraint("job", name=op.f("pk_progress")),
    )
    op.create_table(
        "quarantine",
        sa.Column("key", _Key, autoincrement=False, nullable=False),
        sa.Column("study", _Text, nullable=False),
        sa.Column("series", _Text, nullable=False),
        sa.Column("sop_instance", _Text, nullable=False),
        sa.Column("sop_class", _Text, nullable=False),
        sa.Column("syntax", _Text, nullable=False),
        sa.Column("digest", _Text, nullable=False),
        sa.Column("path", _Text, nullable=False),
        sa.Column("offset", _Key, nullable=False),
        sa.Column("size", _Key, nullable=False),
        sa.Column("received", _Text, nullable=False),
        sa.Column("source", _Text, server_default="", nullable=False),
        sa.Column("peer", _Text, server_default="", nullable=False),
        sa.Column("rule", _Text, server_default="", nullable=False),
        sa.Column("reason", _Text, server_default="", nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_quarantine")),
        sa.UniqueConstraint(
            "sop_instance",
            "series",
            "study",
            "digest",
            name=op.f("uq_quarantine_sop_instance_series_study_digest"),
        ),
    )
    op.create_table(
        "commitment_item",
        sa.Column("commitment_key", _Key, nullable=False),
        sa.Column("position", _Key, nullable=False),
        sa.Column("sop_class", _Text, nullable=False),
        sa.Column("sop_instance", _Text, nullable=False),
        sa.Column("failure", _Key, nullable=True),
        sa.ForeignKeyConstraint(
            ["commitment_key"], ["commitment.key"], name=op.f("fk_commitment_item_commitment_key")
        ),
        sa.PrimaryKeyConstraint("commitment_key", "position", name=op.f("pk_commitment_item")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "study",
        sa.Column("key", _Key, autoincrement=False, nullable=False),
        sa.Column("patient_key", _Key, nullable=False),
        sa.Column("study", _Text, nullable=False),
        sa.Column("study_date", _Text, nullable=True),
        sa.Column("study_time", _Text, nullable=True),
        sa.Column("accession_number", _Text, nullable=True),
        sa.Column("study_id", _Text, nullable=True),
        sa.Column("study_description", _Text, nullable=True),
        sa.Column("referring_physician", _Text, nullable=True),
        sa.Column("referring_folded", _Text, server_default="", nullable=False),
        sa.Column("reading_physicians", _Text, nullable=True),
        sa.Column("admitting_diagnoses", _Text, nullable=True),
        sa.Column("patient_age", _Text, nullable=True),
        sa.Column("patient_size", sa.Float(), nullable=True),
        sa.Column("patient_weight", sa.Float(), nullable=True),
        sa.Column("occupation", _Text, nullable=True),
        sa.Column("additional_history", _Text, nullable=True),
        sa.Column("timezone", _Text, nullable=True),
        sa.Column("charset", _Text, nullable=True),
        sa.Column("modalities", _Text, server_default="", nullable=False),
        sa.Column("sop_classes", _Text, server_default="", nullable=False),
        sa.Column("series", _Key, server_default=sa.text("0"), nullable=False),
        sa.Column("instances", _Key, server_default=sa.text("0"), nullable=False),
        sa.Column("bytes", _Key, server_default=sa.text("0"), nullable=False),
        sa.Column("first_arrival", _Text, nullable=False),
        sa.Column("last_arrival", _Text, nullable=False),
        sa.ForeignKeyConstraint(["patient_key"], ["patient.key"], name=op.f("fk_study_patient_key")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_study")),
        sa.UniqueConstraint("study", name=op.f("uq_study_study")),
    )
    op.create_index("ix_study_accession_number", "study", ["accession_number"], unique=False)
    op.create_index("ix_study_last_arrival", "study", ["last_arrival"], unique=False)
    op.create_index("ix_study_patient_key", "study", ["patient_key"], unique=False)
    op.create_index("ix_study_referring_folded", "study", ["referring_folded"], unique=False)
    op.create_index("ix_study_study_date", "study", ["study_date", "study_time"], unique=False)
    op.create_index("ix_study_study_id", "study", ["study_id"], unique=False)
    op.create_table(
        "series",
        sa.Column("key", _Key, autoincrement=False, nullable=False),
        sa.Column("study_key", _Key, nullable=False),
        sa.Column("series", _Text, nullable=False),
        sa.Column("modality", _Text, nullable=True),
        sa.Column("series_number", _Key, nullable=True),
        sa.Column("series_description", _Text, nullable=True),
        sa.Column("series_date", _Text, nullable=True),
        sa.Column("series_time", _Text, nullable=True),
        sa.Column("body_part", _Text, nullable=True),
        sa.Column("laterality", _Text, nullable=True),
        sa.Column("patient_position", _Text, nullable=True),
        sa.Column("protocol_name", _Text, nullable=True),
        sa.Column("sequence_name", _Text, nullable=True),
        sa.Column("operators", _Text, nullable=True),
        sa.Column("performing_physicians", _Text, nullable=True),
        sa.Column("manufacturer", _Text, nullable=True),
        sa.Column("manufacturer_model", _Text, nullable=True),
        sa.Column("station_name", _Text, nullable=True),
        sa.Column("device_serial_number", _Text, nullable=True),
        sa.Column("software_versions", _Text, nullable=True),
        sa.Column("institution_name", _Text, nullable=True),
        sa.Column("department", _Text, nullable=True),
        sa.Column("performed_step_start_date", _Text, nullable=True),
        sa.Column("performed_step_start_time", _Text, nullable=True),
        sa.Column("performed_step_id", _Text, nullable=True),
        sa.Column("performed_step_description", _Text, nullable=True),
        sa.Column("images_in_acquisition", _Key, nullable=True),
        sa.Column("timezone", _Text, nullable=True),
        sa.Column("sop_classes", _Text, server_default="", nullable=False),
        sa.Column("instances", _Key, server_default=sa.text("0"), nullable=False),
        sa.Column("frames", _Key, server_default=sa.text("0"), nullable=False),
        sa.Column("bytes", _Key, server_default=sa.text("0"), nullable=False),
        sa.Column("first_arrival", _Text, nullable=False),
        sa.Column("last_arrival", _Text, nullable=False),
        sa.Column("source", _Text, server_default="", nullable=False),
        sa.Column("peer", _Text, server_default="", nullable=False),
        sa.Column("expires", _Text, nullable=True),
        sa.Column("revision", _Key, server_default=sa.text("0"), nullable=False),
        sa.Column("settled_instances", _Key, server_default=sa.text("0"), nullable=False),
        sa.Column("settled_at", _Text, nullable=True),
        sa.ForeignKeyConstraint(["study_key"], ["study.key"], name=op.f("fk_series_study_key")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_series")),
        sa.UniqueConstraint("series", "study_key", name=op.f("uq_series_series_study_key")),
    )
    op.create_index("ix_series_expires", "series", ["expires"], unique=False)
    op.create_index("ix_series_last_arrival", "series", ["last_arrival"], unique=False)
    op.create_index(
        "ix_series_performed_step_start_date", "series", ["performed_step_start_date"], unique=False
    )
    op.create_index("ix_series_study_key", "series", ["study_key"], unique=False)
    op.create_table(
        "instance",
        sa.Column("key", _Key, autoincrement=False, nullable=False),
        sa.Column("series_key", _Key, nullable=False),
        sa.Column("sop_instance", _Text, nullable=False),
        sa.Column("sop_hash", _Key, nullable=False),
        sa.Column("sop_class", _Text, nullable=False),
        sa.Column("instance_number", _Key, nullable=True),
        sa.Column("acquisition_number", _Key, nullable=True),
        sa.Column("content_date", _Text, nullable=True),
        sa.Column("content_time", _Text, nullable=True),
        sa.Column("acquisition_date", _Text, nullable=True),
        sa.Column("acquisition_time", _Text, nullable=True),
        sa.Column("image_type", _Text, nullable=True),
        sa.Column("rows", _Key, nullable=True),
        sa.Column("columns", _Key, nullable=True),
        sa.Column("samples_per_pixel", _Key, nullable=True),
        sa.Column("photometric", _Text, nullable=True),
        sa.Column("bits_allocated", _Key, nullable=True),
        sa.Column("bits_stored", _Key, nullable=True),
        sa.Column("pixel_representation", _Key, nullable=True),
        sa.Column("frames", _Key, nullable=False),
        sa.Column("frame_of_reference", _Text, nullable=True),
        sa.Column("image_position", _Text, nullable=True),
        sa.Column("image_orientation", _Text, nullable=True),
        sa.Column("pixel_spacing", _Text, nullable=True),
        sa.Column("slice_location", sa.Float(), nullable=True),
        sa.Column("slice_thickness", sa.Float(), nullable=True),
        sa.Column("spacing_between_slices", sa.Float(), nullable=True),
        sa.Column("temporal_position", _Key, nullable=True),
        sa.Column("trigger_time", sa.Float(), nullable=True),
        sa.Column("echo_time", sa.Float(), nullable=True),
        sa.Column("content_label", _Text, nullable=True),
        sa.Column("content_description", _Text, nullable=True),
        sa.Column("completion_flag", _Text, nullable=True),
        sa.Column("verification_flag", _Text, nullable=True),
        sa.Column("syntax", _Text, nullable=False),
        sa.Column("digest", _Text, nullable=False),
        sa.Column("path", _Text, nullable=False),
        sa.Column("offset", _Key, nullable=False),
        sa.Column("size", _Key, nullable=False),
        sa.Column("received", _Text, nullable=False),
        sa.Column("source", _Text, server_default="", nullable=False),
        sa.Column("peer", _Text, server_default="", nullable=False),
        sa.Column("rule", _Text, server_default="", nullable=False),
        sa.Column("state", _Text, nullable=False),
        sa.ForeignKeyConstraint(["series_key"], ["series.key"], name=op.f("fk_instance_series_key")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_instance")),
        sa.UniqueConstraint("series_key", "sop_instance", name=op.f("uq_instance_series_key_sop_instance")),
    )
    op.create_index("ix_instance_sop_hash", "instance", ["sop_hash"], unique=False)
    op.create_index(
        "ix_instance_state",
        "instance",
        ["state"],
        unique=False,
        sqlite_where=sa.text("state != 'held'"),
        postgresql_where=sa.text("state != 'held'"),
    )
    op.create_table(
        "series_override",
        sa.Column("series_key", _Key, autoincrement=False, nullable=False),
        sa.Column("custom_id", _Text, nullable=True),
        sa.Column("ordered", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.ForeignKeyConstraint(["series_key"], ["series.key"], name=op.f("fk_series_override_series_key")),
        sa.PrimaryKeyConstraint("series_key", name=op.f("pk_series_override")),
        sa.UniqueConstraint("custom_id", name=op.f("uq_series_override_custom_id")),
    )
    op.create_table(
        "series_request",
        sa.Column("series_key", _Key, nullable=False),
        sa.Column("position", _Key, nullable=False),
        sa.Column("scheduled_step_id", _Text, server_default="", nullable=False),
        sa.Column("scheduled_step_description", _Text, server_default="", nullable=False),
        sa.Column("procedure_id", _Text, server_default="", nullable=False),
        sa.Column("procedure_description", _Text, server_default="", nullable=False),
        sa.Column("accession_number", _Text, server_default="", nullable=False),
        sa.Column("study", _Text, server_default="", nullable=False),
        sa.ForeignKeyConstraint(["series_key"], ["series.key"], name=op.f("fk_series_request_series_key")),
        sa.PrimaryKeyConstraint("series_key", "position", name=op.f("pk_series_request")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_series_request_procedure_id", "series_request", ["procedure_id"], unique=False)
    op.create_index(
        "ix_series_request_scheduled_step_id", "series_request", ["scheduled_step_id"], unique=False
    )
    op.create_table(
        "image_override",
        sa.Column("instance_key", _Key, nullable=False),
        sa.Column("frame", _Key, nullable=False),
        sa.Column("series_key", _Key, nullable=False),
        sa.Column("custom_id", _Text, nullable=True),
        sa.Column("position", _Key, nullable=True),
        sa.ForeignKeyConstraint(
            ["instance_key"], ["instance.key"], name=op.f("fk_image_override_instance_key")
        ),
        sa.ForeignKeyConstraint(["series_key"], ["series.key"], name=op.f("fk_image_override_series_key")),
        sa.PrimaryKeyConstraint("instance_key", "frame", name=op.f("pk_image_override")),
        sa.UniqueConstraint("custom_id", name=op.f("uq_image_override_custom_id")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_image_override_series_key", "image_override", ["series_key"], unique=False)
    op.create_table(
        "reference",
        sa.Column("instance_key", _Key, nullable=False),
        sa.Column("position", _Key, nullable=False),
        sa.Column("sop_class", _Text, server_default="", nullable=False),
        sa.Column("sop_instance", _Text, nullable=False),
        sa.Column("sop_hash", _Key, nullable=False),
        sa.Column("series", _Text, server_default="", nullable=False),
        sa.Column("frames", _Text, server_default="", nullable=False),
        sa.ForeignKeyConstraint(["instance_key"], ["instance.key"], name=op.f("fk_reference_instance_key")),
        sa.PrimaryKeyConstraint("instance_key", "position", name=op.f("pk_reference")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_reference_sop_hash", "reference", ["sop_hash"], unique=False)
    counter = sa.table("counter", sa.column("name"), sa.column("value"))
    op.bulk_insert(counter, [{"name": name, "value": 0} for name in _COUNTED])
    op.bulk_insert(sa.table("meta", sa.column("name"), sa.column("value")), [{"name": "probe", "value": ""}])
