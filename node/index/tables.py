"""The tables of the index; migrations read them, every other module of this package queries them.

Text from data sets is Unicode as decoded, several values joined with a backslash. Dates are YYYYMMDD and
times HHMMSS.FFFFFF as far as given, moments are UTC in the form of `words.moment`: all sort as text.
Keys are given out by `keys.take` and never used twice, so a row that is gone can still be named.
"""

from __future__ import annotations

import sqlalchemy
from sqlalchemy import Column, Float, ForeignKey, Index, Table, UniqueConstraint, false, text
from sqlalchemy.dialects import postgresql

REVISION = "0004"  # the revision of migrations/ that these tables are; a test holds the two together

metadata = sqlalchemy.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# Byte order, so that ranges and prefixes use an index whatever the server's language is.
Text = sqlalchemy.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
# SQLite makes its own row number only of a column called INTEGER.
Key = sqlalchemy.BigInteger().with_variant(sqlalchemy.Integer(), "sqlite")
# What comes from outside may be any number that an IS or UL can hold.
Number = Key


def _key() -> Column[int]:
    return Column("key", Key, primary_key=True, autoincrement=False)


def _word(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _count(name: str) -> Column[int]:
    return Column(name, Number, nullable=False, server_default=text("0"))


counter = Table(
    "counter",
    metadata,
    Column("name", Text, primary_key=True),  # the table whose keys it counts
    Column("value", Key, nullable=False),  # the last key that was given out
)

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

progress = Table(
    "progress",
    metadata,
    Column("job", Text, primary_key=True),  # e.g. "scrub"
    Column("value", Text, nullable=False),  # where it resumes, in the job's own words
    Column("updated", Text, nullable=False),
)

patient = Table(
    "patient",
    metadata,
    _key(),
    # Patient ID and issuer; a patient without an id is never merged with another: then it is the study.
    Column("identity", Text, nullable=False, unique=True),
    _word("patient_id"),
    _word("issuer_of_patient_id"),
    Column("patient_name", Text),  # with ^ and = as sent
    _word("name_alphabetic"),  # the three component groups in the form of names.fold
    _word("name_ideographic"),
    _word("name_phonetic"),
    Column("patient_birth_date", Text),
    Column("patient_birth_time", Text),
    Column("patient_sex", Text),
    Column("other_patient_ids", Text),
    Column("other_patient_names", Text),
    Column("ethnic_group", Text),
    Column("patient_comments", Text),
    _count("studies"),
    _count("series"),
    _count("instances"),
    _count("bytes"),
    Column("first_arrival", Text, nullable=False),
    Column("last_arrival", Text, nullable=False),
    Index("ix_patient_patient_id", "patient_id"),
    Index("ix_patient_name_alphabetic", "name_alphabetic"),
    Index("ix_patient_name_ideographic", "name_ideographic"),
    Index("ix_patient_name_phonetic", "name_phonetic"),
    Index("ix_patient_patient_birth_date", "patient_birth_date"),
)

study = Table(
    "study",
    metadata,
    _key(),
    Column("patient_key", Key, ForeignKey("patient.key"), nullable=False),
    Column("study", Text, nullable=False, unique=True),  # Study Instance UID
    Column("study_date", Text),
    Column("study_time", Text),
    Column("accession_number", Text),
    Column("study_id", Text),
    Column("study_description", Text),
    Column("referring_physician", Text),
    _word("referring_folded"),
    Column("reading_physicians", Text),
    Column("admitting_diagnoses", Text),
    Column("patient_age", Text),
    Column("patient_size", Float),
    Column("patient_weight", Float),
    Column("occupation", Text),
    Column("additional_history", Text),
    Column("timezone", Text),
    Column("charset", Text),  # Specific Character Set of the first instance
    _word("modalities"),  # Modalities in Study, sorted
    _word("sop_classes"),  # SOP Classes in Study, sorted
    _count("series"),
    _count("instances"),
    _count("bytes"),
    Column("first_arrival", Text, nullable=False),
    Column("last_arrival", Text, nullable=False),
    Index("ix_study_patient_key", "patient_key"),
    Index("ix_study_study_date", "study_date", "study_time"),
    Index("ix_study_accession_number", "accession_number"),
    Index("ix_study_study_id", "study_id"),
    Index("ix_study_referring_folded", "referring_folded"),
    Index("ix_study_last_arrival", "last_arrival"),
)

series = Table(
    "series",
    metadata,
    _key(),
    Column("study_key", Key, ForeignKey("study.key"), nullable=False),
    Column("series", Text, nullable=False),  # Series Instance UID
    Column("modality", Text),
    Column("series_number", Number),
    Column("series_description", Text),
    Column("series_date", Text),
    Column("series_time", Text),
    Column("body_part", Text),
    Column("laterality", Text),
    Column("patient_position", Text),
    Column("protocol_name", Text),
    Column("sequence_name", Text),
    Column("operators", Text),
    Column("performing_physicians", Text),
    Column("manufacturer", Text),
    Column("manufacturer_model", Text),
    Column("station_name", Text),
    Column("device_serial_number", Text),
    Column("software_versions", Text),
    Column("institution_name", Text),
    Column("department", Text),
    Column("performed_step_start_date", Text),
    Column("performed_step_start_time", Text),
    Column("performed_step_id", Text),
    Column("performed_step_description", Text),
    Column("images_in_acquisition", Number),
    Column("timezone", Text),
    _word("sop_classes"),  # sorted
    _count("instances"),
    _count("frames"),
    _count("bytes"),
    Column("first_arrival", Text, nullable=False),
    Column("last_arrival", Text, nullable=False),
    _word("source"),  # AE title that sent its first instance
    _word("peer"),  # configured name of that sender
    Column("expires", Text),  # a rule keeps it until then; NULL: the default policy
    _count("revision"),  # how often it was settled
    _count("settled_instances"),  # how many instances it had then
    Column("settled_at", Text),
    UniqueConstraint("series", "study_key"),
    # None on modality: it selects little, and a planner without statistics would take it before a name.
    Index("ix_series_study_key", "study_key"),
    Index("ix_series_last_arrival", "last_arrival"),
    Index("ix_series_expires", "expires"),
    Index("ix_series_performed_step_start_date", "performed_step_start_date"),
)

series_request = Table(
    "series_request",
    metadata,
    Column("series_key", Key, ForeignKey("series.key"), primary_key=True),
    Column("position", Number, primary_key=True),  # item of the Request Attributes Sequence, from 0
    _word("scheduled_step_id"),
    _word("scheduled_step_description"),
    _word("procedure_id"),
    _word("procedure_description"),
    _word("accession_number"),
    _word("study"),
    Index("ix_series_request_scheduled_step_id", "scheduled_step_id"),
    Index("ix_series_request_procedure_id", "procedure_id"),
    sqlite_with_rowid=False,
)

instance = Table(
    "instance",
    metadata,
    _key(),
    Column("series_key", Key, ForeignKey("series.key"), nullable=False),
    Column("sop_instance", Text, nullable=False),
    Column("sop_hash", Key, nullable=False),  # words.uid_hash of it: the way from the UID alone to its rows
    Column("sop_class", Text, nullable=False),
    Column("instance_number", Number),
    Column("acquisition_number", Number),
    Column("content_date", Text),
    Column("content_time", Text),
    Column("acquisition_date", Text),
    Column("acquisition_time", Text),
    Column("image_type", Text),
    Column("rows", Number),
    Column("columns", Number),
    Column("samples_per_pixel", Number),
    Column("photometric", Text),
    Column("bits_allocated", Number),
    Column("bits_stored", Number),
    Column("pixel_representation", Number),
    Column("frames", Number, nullable=False),  # 1 where the object has no such notion
    Column("frame_of_reference", Text),
    Column("image_position", Text),
    Column("image_orientation", Text),
    Column("pixel_spacing", Text),
    Column("slice_location", Float),
    Column("slice_thickness", Float),
    Column("spacing_between_slices", Float),
    Column("temporal_position", Number),
    Column("trigger_time", Float),
    Column("echo_time", Float),
    Column("content_label", Text),
    Column("content_description", Text),
    Column("completion_flag", Text),
    Column("verification_flag", Text),
    Column("syntax", Text, nullable=False),  # transfer syntax UID on disk
    Column("digest", Text, nullable=False),  # "sha256:<hex>" over the data set
    Column("path", Text, nullable=False),  # below the store's root
    Column("offset", Number, nullable=False),  # where the data set starts in the file
    Column("size", Number, nullable=False),  # of the data set
    Column("received", Text, nullable=False),
    _word("source"),  # AE title it came from
    _word("peer"),  # configured name of the sender
    _word("rule"),  # the rule that kept it; "": none matched
    Column("state", Text, nullable=False),  # model.Held
    _word("coercion"),  # digest of the steps through which it is presented; "": as it came
    # The series leads, so what a batch brings lies together, however random the UIDs are.
    UniqueConstraint("series_key", "sop_instance"),
    Index("ix_instance_sop_hash", "sop_hash"),
)
# Only what is damaged is in it, so it costs nothing and lists at once.
Index(
    "ix_instance_state",
    instance.c.state,
    sqlite_where=text("state != 'held'"),
    postgresql_where=text("state != 'held'"),
)

conflict = Table(
    "conflict",
    metadata,
    _key(),
    Column("instance_key", Key, nullable=False),  # the first, which is untouched; it may be gone since
    Column("study", Text, nullable=False),
    Column("series", Text, nullable=False),
    Column("sop_instance", Text, nullable=False),
    Column("sop_class", Text, nullable=False),
    Column("syntax", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("offset", Number, nullable=False),
    Column("size", Number, nullable=False),
    Column("received", Text, nullable=False),
    _word("source"),
    _word("peer"),
    UniqueConstraint("sop_instance", "series", "study", "digest"),
)

quarantine = Table(
    "quarantine",
    metadata,
    _key(),
    Column("study", Text, nullable=False),
    Column("series", Text, nullable=False),
    Column("sop_instance", Text, nullable=False),
    Column("sop_class", Text, nullable=False),
    Column("syntax", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("offset", Number, nullable=False),
    Column("size", Number, nullable=False),
    Column("received", Text, nullable=False),
    _word("source"),
    _word("peer"),
    _word("rule"),
    _word("reason"),
    UniqueConstraint("sop_instance", "series", "study", "digest"),
)

arrival = Table(
    "arrival",
    metadata,
    Column("slot", Text, primary_key=True),  # the journal that it was acknowledged from
    Column("generation", Key, primary_key=True, autoincrement=False),
    Column("position", Key, primary_key=True, autoincrement=False),
    Column("received", Text, nullable=False),
    Column("association", Text, nullable=False),
    Column("calling", Text, nullable=False),
    Column("called", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("peer", Text, nullable=False),
    Column("study", Text, nullable=False),
    Column("series", Text, nullable=False),
    Column("sop_instance", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("size", Number, nullable=False),
    Column("verdict", Text, nullable=False),  # model.Verdict
    _word("rule"),
    _word("reason"),
    # The row that accounts for it: of instance (stored, duplicate), conflict or quarantine by the verdict.
    Column("target", Key),
    # Rows come in this order, so the table is one tree that grows at its end.
    sqlite_with_rowid=False,
)

deletion = Table(
    "deletion",
    metadata,
    _key(),
    Column("at", Text, nullable=False),
    Column("who", Text, nullable=False),  # a person, or the job that did it
    Column("why", Text, nullable=False),
    Column("kind", Text, nullable=False),  # the table it was in: instance, conflict or quarantine
    Column("target", Key, nullable=False),  # its key there
    Column("study", Text, nullable=False),
    Column("series", Text, nullable=False),
    Column("sop_instance", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("size", Number, nullable=False),
    Column("path", Text, nullable=False),
    Column("file_removed", sqlalchemy.Boolean, nullable=False, server_default=false()),
    Index("ix_deletion_target", "kind", "target"),
    Index("ix_deletion_sop_instance", "sop_instance"),
    Index("ix_deletion_at", "at"),
)
Index(
    "ix_deletion_file_removed",
    deletion.c.key,
    sqlite_where=text("NOT file_removed"),
    postgresql_where=text("NOT file_removed"),
)

reference = Table(
    "reference",
    metadata,
    Column("instance_key", Key, ForeignKey("instance.key"), primary_key=True),
    Column("position", Number, primary_key=True),  # in the order of the data set, from 0
    _word("sop_class"),
    Column("sop_instance", Text, nullable=False),  # what is referred to; it need not be held
    Column("sop_hash", Key, nullable=False),  # words.uid_hash of it
    _word("series"),
    _word("frames"),  # "1\\2"; "" means the whole instance
    Index("ix_reference_sop_hash", "sop_hash"),
    sqlite_with_rowid=False,
)

series_override = Table(
    "series_override",
    metadata,
    Column("series_key", Key, ForeignKey("series.key"), primary_key=True, autoincrement=False),
    Column("custom_id", Text, unique=True),  # another name for the series; NULL: none
    Column("ordered", sqlalchemy.Boolean, nullable=False, server_default=false()),  # image_override orders it
)

image_override = Table(
    "image_override",
    metadata,
    Column("instance_key", Key, ForeignKey("instance.key"), primary_key=True),
    Column("frame", Number, primary_key=True),  # 1-based; 0: the whole instance
    Column("series_key", Key, ForeignKey("series.key"), nullable=False),
    Column("custom_id", Text, unique=True),  # another name for the image; NULL: none
    Column("position", Number),  # its place in the series, from 0; NULL: after those that have one
    Index("ix_image_override_series_key", "series_key"),
    sqlite_with_rowid=False,
)

commitment = Table(
    "commitment",
    metadata,
    _key(),
    Column("requester", Text, nullable=False),  # AE title that asked
    Column("transaction_uid", Text, nullable=False),
    _word("called"),  # AE title it called us by
    _word("address"),
    _word("association"),
    Column("requested", Text, nullable=False),
    Column("state", Text, nullable=False),  # commitment.State
    _count("attempts"),  # reports tried so far
    Column("next_attempt", Text),  # when it is due; NULL: never again
    _word("last_error"),
    UniqueConstraint("requester", "transaction_uid"),
    Index("ix_commitment_next_attempt", "next_attempt"),
)

commitment_item = Table(
    "commitment_item",
    metadata,
    Column("commitment_key", Key, ForeignKey("commitment.key"), primary_key=True),
    Column("position", Number, primary_key=True),  # in the order of the request, from 0
    Column("sop_class", Text, nullable=False),
    Column("sop_instance", Text, nullable=False),
    Column("failure", Number),  # Failure Reason (0008,1197); 0: committed; NULL: not verified yet
    sqlite_with_rowid=False,
)

worklist_entry = Table(
    "worklist_entry",
    metadata,
    _key(),
    Column("name", Text, nullable=False, unique=True),  # what the API calls it
    # What queries select by, as it stands in the entry; the whole entry is in `fields`.
    _word("patient_id"),
    _word("accession_number"),
    _word("study"),  # Study Instance UID
    _word("step_id"),  # Scheduled Procedure Step ID
    _word("modality"),
    _word("station"),  # Scheduled Station AE Title, several with backslashes between
    _word("start_date"),  # Scheduled Procedure Step Start Date
    _word("start_time"),
    Column("fields", Text, nullable=False),  # identifier.Fields as JSON
    Column("added", Text, nullable=False),
    Column("changed", Text, nullable=False),
    _word("changed_by"),  # who wrote it last
    UniqueConstraint("study", "step_id"),
    Index("ix_worklist_entry_patient_id", "patient_id"),
    Index("ix_worklist_entry_accession_number", "accession_number"),
    Index("ix_worklist_entry_start_date", "start_date", "start_time"),
)

performed_step = Table(
    "performed_step",
    metadata,
    _key(),
    Column("sop_instance", Text, nullable=False, unique=True),
    Column("state", Text, nullable=False),  # steps.State
    _word("calling"),  # AE title that created it
    _word("address"),
    _word("modality"),
    _word("station"),  # Performed Station AE Title
    Column("fields", Text, nullable=False),  # identifier.Fields as JSON, as they stand now
    Column("created", Text, nullable=False),
    Column("changed", Text, nullable=False),
    Column("ended", Text),  # when it was completed or discontinued; NULL: in progress
    Index("ix_performed_step_created", "created"),
)

performed_schedule = Table(
    "performed_schedule",
    metadata,
    Column("step_key", Key, ForeignKey("performed_step.key"), primary_key=True),
    Column("position", Number, primary_key=True),  # item of Scheduled Step Attributes, from 0
    _word("study"),
    _word("accession_number"),
    _word("procedure_id"),
    _word("scheduled_step_id"),
    Index("ix_performed_schedule_study", "study"),
    sqlite_with_rowid=False,
)

performed_series = Table(
    "performed_series",
    metadata,
    Column("step_key", Key, ForeignKey("performed_step.key"), primary_key=True),
    Column("position", Number, primary_key=True),  # item of the Performed Series Sequence, from 0
    Column("series", Text, nullable=False),  # Series Instance UID
    Column("instances", Number, nullable=False),  # how many images and other objects it names
    Index("ix_performed_series_series", "series"),
    sqlite_with_rowid=False,
)

# -- forwarding: what was decided, what is owed, what became of it -------------------------------------

settlement = Table(
    "settlement",
    metadata,
    _key(),
    Column("level", Text, nullable=False),  # orders.When: series or study
    Column("study", Text, nullable=False),
    _word("series"),  # "" for a study
    Column("revision", Number, nullable=False),  # 1 is the first time
    Column("at", Text, nullable=False),
    Column("verdict", Text, nullable=False),  # orders.Completeness
    Column("instances", Number, nullable=False),  # held then
    Column("signals", Text, nullable=False),  # what was known and what it said, as JSON
    UniqueConstraint("study", "series", "revision"),
)

decision = Table(
    "decision",
    metadata,
    _key(),
    Column("study", Text, nullable=False),
    Column("series", Text, nullable=False),
    Column("revision", Number, nullable=False),  # of the series; 0: sent on as it came
    _word("route"),  # "default" when none matched; "" when nothing is to happen
    Column("at", Text, nullable=False),
    Column("matched", Text, nullable=False),  # the values on which it matched, as JSON
    _word("destinations"),  # names with backslashes between; "" for none
    _word("discard"),  # the reason for which nothing is sent
    UniqueConstraint("study", "series", "revision", "route"),
)

consignment = Table(
    "consignment",
    metadata,
    _key(),
    Column("destination", Text, nullable=False),
    _word("group"),  # the group that chose it
    Column("study", Text, nullable=False),
    Column("series", Text, nullable=False),
    _word("route"),
    Column("revision", Number, nullable=False),
    Column("priority", Number, nullable=False),  # orders.Priority
    Column("calendar", Text),
    Column("steps", Text, nullable=False),  # orders.StepSetting, as JSON
    Column("state", Text, nullable=False),  # orders.State
    Column("created", Text, nullable=False),
    Column("due", Text, nullable=False),
    _count("attempts"),
    _count("crashes"),
    _count("total"),
    _count("done"),
    _count("dead"),
    _count("cancelled"),
    _word("claim"),  # the worker that has it; "": nobody
    _count("fence"),
    _word("error"),
    Column("changed", Text, nullable=False),
    Index("ix_consignment_series", "series"),
    Index("ix_consignment_study", "study"),
)
# Finished work is in none of these, however much of it there is. SQLite takes such an index only for a query
# that says the same words: `state = 'due'` alone does not do.
OPEN = "state IN ('due', 'held', 'running', 'verifying')"
Index(
    "ix_consignment_open",
    consignment.c.destination,
    consignment.c.state,
    consignment.c.priority,
    consignment.c.calendar,
    consignment.c.due,
    sqlite_where=text(OPEN),
    postgresql_where=text(OPEN),
)
Index(
    "ix_consignment_dead",
    consignment.c.destination,
    sqlite_where=text("dead > 0"),
    postgresql_where=text("dead > 0"),
)

delivery = Table(
    "delivery",
    metadata,
    _key(),
    Column("consignment_key", Key, nullable=False),  # the last that it was part of
    Column("instance_key", Key, nullable=False),  # the instance may be gone since
    Column("destination", Text, nullable=False),
    Column("sop_instance", Text, nullable=False),
    Column("state", Text, nullable=False),  # orders.State: due, held, done, dead or cancelled
    _count("attempts"),
    # The last attempt; those before it are in `attempt`.
    Column("at", Text),
    Column("status", Number),  # what the destination said; NULL: nothing
    _word("syntax"),  # transfer syntax UID that it went in
    _count("size"),  # bytes that were sent
    Column("seconds", Float),
    _word("error"),
    Column("verified", Text),  # when the destination was found to keep it
    UniqueConstraint("instance_key", "destination"),
    # In the order in which they are sent, so that each page is a stretch of it.
    Index("ix_delivery_consignment_key", "consignment_key", "instance_key"),
)

attempt = Table(
    "attempt",
    metadata,
    _key(),
    Column("delivery_key", Key, nullable=False),
    Column("at", Text, nullable=False),
    Column("outcome", Text, nullable=False),  # orders.State: done, due (again later) or dead
    Column("status", Number),
    _word("syntax"),
    _count("size"),
    Column("seconds", Float),
    _word("error"),
    Index("ix_attempt_delivery_key", "delivery_key"),
)

lane = Table(
    "lane",
    metadata,
    Column("destination", Text, primary_key=True),
    Column("state", Text, nullable=False),  # orders.LaneState
    Column("since", Text, nullable=False),
    _count("failures"),  # connections in a row that failed
    Column("probe", Text),  # when it is tried next while it is down
    _word("reason"),
    _word("memory"),  # what is known of the peer: contexts it took, PDU length, best parallelism; JSON
)

worker = Table(
    "worker",
    metadata,
    Column("name", Text, primary_key=True),  # node and role
    _count("beats"),  # others compare it with what they saw: clocks may be wrong
    Column("started", Text, nullable=False),
    _word("version"),
)

verification = Table(
    "verification",
    metadata,
    _key(),
    Column("consignment_key", Key, nullable=False, unique=True),
    Column("destination", Text, nullable=False),
    Column("transaction_uid", Text, unique=True),  # of the request for commitment; NULL: none is out
    Column("asked", Text),  # when it went out
    Column("due", Text, nullable=False),  # when something is to be done next
    _count("attempts"),
    _word("error"),
)
