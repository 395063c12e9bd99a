"""The journal: one function per operator event, one line each, with a stable `action`.

Every level may call it. Fields are UIDs, AE titles, addresses, counts, bytes and seconds; patient names and
ids never, unless the setting says so. Per-instance events are debug, for an association's summary tells
what an operator asks; what loses or refuses something is a warning; what needs a person is an error.
The function's name is the action: alerts and searches are built on it, so it is not renamed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from node import logline, model
from node.logline import DEBUG, ERROR, INFO, WARNING

# The one object of this kind in the program: a log that must be handed through every call is a log
# that is not written.
_journal = logline.Journal()
_emit = emit = _journal.emit  # the other name is for `log_forwarding`


def configure(settings: model.LogSettings, role: str, stream: TextIO | None = None) -> None:
    """Write to `stream` (standard error) as `settings` say; `role` names the process in each line."""
    _journal.configure(settings, role, stream)


def set_level(level: str) -> None:
    """Change the level at run time: debug, info, warning or error."""
    _journal.set_level(level)


def level() -> str:
    """Return the level in force."""
    return _journal.level()


def debugging() -> bool:
    """Return whether debug events are written: ask before gathering what only they show."""
    return _journal.threshold <= DEBUG


# -- the node and its processes -----------------------------------------------------------------


def starting(*, version: str, data: object, config: object = None, aet: str = "") -> None:
    """The program begins to start."""
    _emit(INFO, "starting", "the node starts", locals())


def recovered(*, records: int = 0, swept: int = 0, seconds: float | None = None) -> None:
    """What the last run left unfinished is done."""
    _emit(INFO, "recovered", "recovery is complete", locals())


def listening(*, what: str, host: str, port: int, aet: str = "") -> None:
    """A socket takes connections."""
    _emit(INFO, "listening", f"{what} listens", locals())


def ready(*, seconds: float, processes: int = 0) -> None:
    """Everything is up."""
    _emit(INFO, "ready", "ready", locals())


def draining(
    *, roles: Sequence[str] = (), seconds: float | None = None, associations: int | None = None
) -> None:
    """A stop was asked for; what runs may finish."""
    _emit(INFO, "draining", "draining: no new associations, what runs may finish", locals())


def stopped(
    *, seconds: float | None = None, clean: bool = True, associations_aborted: int | None = None
) -> None:
    """The end."""
    _emit(INFO if clean else WARNING, "stopped", "stopped", locals())


def child_started(*, role: str, pid: int) -> None:
    """A process of the node was started."""
    _emit(INFO, "child_started", "process started", locals())


def child_died(*, role: str, pid: int, how: str, restart_in: float) -> None:
    """A process of the node ended by itself."""
    _emit(ERROR, "child_died", "process died, it will be started again", locals())


def role_failed(*, role: str, error: str | BaseException) -> None:
    """A process could not do its work, for a reason that is known."""
    _emit(ERROR, "role_failed", "process failed", locals())


def role_crashed(*, role: str, error: BaseException) -> None:
    """A process met a fault of ours."""
    _emit(ERROR, "role_crashed", "process crashed", locals())


def unexpected(*, where: str, error: BaseException, incident: str = "") -> None:
    """A fault of ours was caught at an edge; the rest goes on."""
    _emit(ERROR, "unexpected", "unexpected fault", locals())


def config_reloaded(*, applied: Sequence[str] = (), restart: Sequence[str] = ()) -> None:
    """A changed configuration is in force, but for what needs a restart."""
    words = "configuration reloaded" + (", part of it needs a restart" if restart else "")
    level = WARNING if restart else INFO
    _emit(level, "config_reloaded", words, {"applied": applied, "restart": restart})


def config_refused(*, error: str | BaseException) -> None:
    """A changed configuration has mistakes; the old one stays in force."""
    _emit(ERROR, "config_refused", "configuration refused, the old one stays in force", locals())


def level_changed(*, level: str) -> None:
    """The log's level is another one."""
    # Told whatever the level is: somebody reads the log to see whether the signal came.
    _emit(max(INFO, _journal.threshold), "level_changed", "log level changed", {"to": level})


def check_failed(*, check: str, error: str | BaseException, seconds: float | None = None) -> None:
    """A check of the node's own health failed."""
    _emit(WARNING, "check_failed", "health check failed", locals())


def check_passed(*, check: str) -> None:
    """A check that had failed passes again."""
    _emit(INFO, "check_passed", "health check passes again", locals())


# -- associations -------------------------------------------------------------------------------


def association_opened(
    *,
    association: str,
    calling: str,
    called: str,
    address: str,
    peer: str = "",
    tls: bool = False,
    contexts: int | None = None,
    refused_contexts: int | None = None,
    implementation: str = "",
    routine: bool = False,
) -> None:
    """A peer has an association; `routine`: it is the node itself, which looks every few seconds."""
    _emit(DEBUG if routine else INFO, "association_opened", "association opened", locals())


def association_closed(
    *,
    association: str,
    calling: str,
    called: str = "",
    address: str = "",
    peer: str = "",
    seconds: float | None = None,
    operations: int | None = None,
    stored: int | None = None,
    failed: int | None = None,
    received: int | None = None,
    sent: int | None = None,
    routine: bool = False,
) -> None:
    """An association was released; counts of operations and instances, bytes received and sent."""
    _emit(DEBUG if routine else INFO, "association_closed", "association released", locals())


def association_aborted(
    *,
    association: str,
    calling: str = "",
    called: str = "",
    address: str = "",
    peer: str = "",
    by: str = "",
    why: str = "",
    source: int | None = None,
    reason: int | None = None,
    seconds: float | None = None,
    operations: int | None = None,
    stored: int | None = None,
    failed: int | None = None,
    received: int | None = None,
    sent: int | None = None,
) -> None:
    """An association ended in another way than by release; `by` is "us" or "peer"."""
    _emit(WARNING, "association_aborted", "association aborted", locals())


def association_rejected(
    *,
    calling: str,
    called: str,
    address: str,
    why: str,
    result: int | None = None,
    source: int | None = None,
    reason: int | None = None,
    association: str = "",
) -> None:
    """A peer asked for an association and did not get it."""
    _emit(WARNING, "association_rejected", "association rejected", locals())


def connection_dropped(
    *, address: str, why: str, seconds: float | None = None, association: str = ""
) -> None:
    """A connection ended before it became an association."""
    _emit(WARNING, "connection_dropped", "connection dropped", locals())


def tls_reloaded(*, certificate: object) -> None:
    """Changed certificate files are in use."""
    _emit(INFO, "tls_reloaded", "certificates reloaded", locals())


def tls_refused(*, certificate: object, error: str | BaseException) -> None:
    """Changed certificate files are not usable; the old ones stay in use."""
    _emit(ERROR, "tls_refused", "certificates refused, the old ones stay in use", locals())


def operation_refused(
    *,
    association: str,
    operation: str,
    status: int,
    why: str,
    calling: str = "",
    address: str = "",
    peer: str = "",
) -> None:
    """A DIMSE operation was answered with a failure: no right, unknown command, bad request."""
    _emit(WARNING, "operation_refused", f"{operation} refused", _with_status(locals()))


def echo(*, association: str, calling: str = "", address: str = "") -> None:
    """A C-ECHO was answered."""
    _emit(DEBUG, "echo", "echo answered", locals())


# -- queries ------------------------------------------------------------------------------------


def retrieval_refused(
    *,
    verb: str,
    status: int,
    why: str,
    to: str = "",
    scope: str = "",
    calling: str = "",
    address: str = "",
    peer: str = "",
    association: str = "",
) -> None:
    """A C-MOVE or C-GET was answered with a failure, and nothing was sent."""
    _emit(WARNING, "retrieval_refused", "retrieval refused", _with_status(locals()))


def retrieved(
    *,
    verb: str,
    scope: str,
    studies: Sequence[str],
    uids: Sequence[str],
    instances: int,
    completed: int,
    failed: int,
    status: int | None,
    to: str = "",
    warnings: int = 0,
    why: str = "",
    size: int | None = None,
    seconds: float | None = None,
    calling: str = "",
    address: str = "",
    peer: str = "",
    association: str = "",
) -> None:
    """Who had instances sent, which studies' and how many, and to whom; no status: the requestor has gone."""
    _emit(WARNING if failed or status is None else INFO, "retrieved", "retrieval", _with_status(locals()))


def query(
    *,
    sop_class: str,
    query_level: str,
    keys: Sequence[str],
    answers: int,
    status: int,
    why: str = "",
    seconds: float | None = None,
    calling: str = "",
    address: str = "",
    peer: str = "",
    association: str = "",
) -> None:
    """A C-FIND was answered: who asked by which keys, never with which values."""
    _emit(WARNING if why else INFO, "query", "query failed" if why else "query", _with_status(locals()))


# -- instances ----------------------------------------------------------------------------------


def instance_stored(
    *,
    sop_instance: str,
    series: str = "",
    study: str = "",
    sop_class: str = "",
    syntax: str = "",
    size: int | None = None,
    digest: str = "",
    calling: str = "",
    address: str = "",
    peer: str = "",
    association: str = "",
    seconds: float | None = None,
) -> None:
    """An instance is durable and acknowledged."""
    _emit(DEBUG, "instance_stored", "instance stored", locals())


def instance_duplicate(
    *, sop_instance: str, series: str = "", study: str = "", calling: str = "", association: str = ""
) -> None:
    """An instance came again with the same bytes."""
    _emit(DEBUG, "instance_duplicate", "instance is held already", locals())


def instance_conflict(
    *,
    sop_instance: str,
    held: str,
    came: str,
    series: str = "",
    study: str = "",
    calling: str = "",
    address: str = "",
    association: str = "",
    kept: bool = True,
    patient_id: str | None = None,
) -> None:
    """An instance came again with other bytes; `held` and `came` are the digests."""
    _emit(ERROR, "instance_conflict", "another instance is held under this UID", locals())


def instance_refused(
    *,
    sop_instance: str,
    why: str,
    status: int | None = None,
    sop_class: str = "",
    calling: str = "",
    address: str = "",
    peer: str = "",
    association: str = "",
    offset: int | None = None,
) -> None:
    """An instance was not taken, and its sender was told so."""
    _emit(WARNING, "instance_refused", "instance refused", _with_status(locals()))


def instance_discarded(
    *, sop_instance: str, rule: str, reason: str = "", series: str = "", study: str = "", calling: str = ""
) -> None:
    """A rule said that an instance is acknowledged and not kept."""
    _emit(INFO, "instance_discarded", "instance discarded by rule", locals())


def instance_quarantined(
    *, sop_instance: str, reason: str, rule: str = "", series: str = "", study: str = "", calling: str = ""
) -> None:
    """An instance is kept out of queries until a person looks."""
    _emit(WARNING, "instance_quarantined", "instance quarantined", locals())


def instance_unreadable(*, sop_instance: str, why: str | BaseException, path: str = "") -> None:
    """The header of an acknowledged instance cannot be read; it is filed with what is known."""
    _emit(ERROR, "instance_unreadable", "header not readable, filed with what is known", locals())


# -- journal, adopter, disk, database -----------------------------------------------------------


def journal_degraded(*, slot: str, error: str | BaseException) -> None:
    """A sync failed: its instances were refused, the segment is never used again."""
    _emit(ERROR, "journal_degraded", "journal segment abandoned after a failed sync", locals())


def adopter_started(*, slots: int, waiting: int = 0) -> None:
    """The adopter runs."""
    _emit(INFO, "adopter_started", "adopter started", locals())


def adopter_batch(*, records: int, size: int, seconds: float) -> None:
    """A batch was filed and rowed."""
    _emit(DEBUG, "adopter_batch", "batch adopted", locals())


def adopter_caught_up(*, records: int = 0, seconds: float | None = None, slot: str = "") -> None:
    """Everything acknowledged so far is filed."""
    _emit(INFO, "adopter_caught_up", "adopter has caught up", locals())


def adopter_waits(*, error: str | BaseException, retry_in: float) -> None:
    """The adopter cannot file at the moment, and tries again."""
    _emit(ERROR, "adopter_waits", "adopter cannot file, it tries again", locals())


def checkpoint(*, segments: int, seconds: float) -> None:
    """Filed instances and their rows are durable, and segments free again."""
    _emit(DEBUG, "checkpoint", "checkpoint", locals())


def disk_low(*, free: int, min_free: int, path: object = None) -> None:
    """Below the watermark: associations are refused."""
    _emit(ERROR, "disk_low", "disk low, associations are refused", locals())


def disk_recovered(*, free: int, min_free: int, path: object = None) -> None:
    """Above the watermark again."""
    _emit(INFO, "disk_recovered", "disk has room again, associations are taken", locals())


def storage_failed(*, what: str, error: str | BaseException, path: object = None) -> None:
    """A write, sync or rename failed."""
    _emit(ERROR, "storage_failed", "storage failed", locals())


def database_error(*, what: str, error: str | BaseException, retry_in: float | None = None) -> None:
    """The database did not answer as it should."""
    _emit(ERROR, "database_error", "database error", locals())


def database_recovered(*, seconds: float | None = None) -> None:
    """The database answers again."""
    _emit(INFO, "database_recovered", "database answers again", locals())


# -- storage commitment -------------------------------------------------------------------------


def commitment_requested(
    *, transaction: str, instances: int, calling: str = "", address: str = "", association: str = ""
) -> None:
    """A peer asks for proof of storage."""
    _emit(INFO, "commitment_requested", "storage commitment requested", locals())


def commitment_refused(
    *,
    status: int,
    why: str,
    transaction: str = "",
    calling: str = "",
    address: str = "",
    association: str = "",
) -> None:
    """A request for commitment was answered with a failure."""
    _emit(WARNING, "commitment_refused", "storage commitment refused", _with_status(locals()))


def commitment_verified(
    *, transaction: str, committed: int, failed: int, seconds: float | None = None
) -> None:
    """The digests were read and compared."""
    _emit(WARNING if failed else INFO, "commitment_verified", "storage commitment verified", locals())


def commitment_reported(
    *,
    transaction: str,
    peer: str,
    committed: int,
    failed: int,
    attempts: int = 1,
    same_association: bool = False,
) -> None:
    """The requester has our answer."""
    _emit(INFO, "commitment_reported", "storage commitment reported", locals())


def commitment_retry(
    *, transaction: str, peer: str, error: str | BaseException, attempts: int, retry_in: float
) -> None:
    """The requester could not be reached yet."""
    _emit(WARNING, "commitment_retry", "storage commitment report to be tried again", locals())


def commitment_abandoned(
    *, transaction: str, peer: str, error: str | BaseException, attempts: int = 0
) -> None:
    """The requester was not reached, and no further attempt is made."""
    _emit(ERROR, "commitment_abandoned", "storage commitment report given up", locals())


# -- procedure steps and the worklist -----------------------------------------------------------


def step_created(
    *,
    step: str,
    modality: str = "",
    station: str = "",
    scheduled: int = 0,
    calling: str = "",
    address: str = "",
    association: str = "",
) -> None:
    """A modality began a step."""
    _emit(INFO, "step_created", "performed step begun", locals())


def step_changed(
    *,
    step: str,
    state: str,
    series: int = 0,
    instances: int = 0,
    calling: str = "",
    address: str = "",
    association: str = "",
) -> None:
    """A modality said more of a step that goes on."""
    _emit(INFO, "step_changed", "performed step changed", locals())


def step_ended(
    *,
    step: str,
    state: str,
    series: int = 0,
    instances: int = 0,
    calling: str = "",
    address: str = "",
    association: str = "",
) -> None:
    """A modality completed or discontinued a step."""
    _emit(INFO, "step_ended", "performed step ended", locals())


def step_refused(
    *,
    operation: str,
    step: str,
    status: int,
    why: str,
    calling: str = "",
    address: str = "",
    association: str = "",
) -> None:
    """What a modality reported of a step was answered with a failure."""
    _emit(WARNING, "step_refused", "performed step refused", _with_status(locals()))


def worklist_changed(*, entry: str, change: str, by: str, study: str = "") -> None:
    """An entry of the worklist was added, replaced or removed."""
    _emit(INFO, "worklist_changed", "worklist changed", locals())


def worklist_expired(*, entries: int, before: str) -> None:
    """Entries of the table were old enough to go."""
    _emit(INFO, "worklist_expired", "old worklist entries removed", locals())


def worklist_file_skipped(*, path: str, why: str | BaseException) -> None:
    """A file of the worklist folder is not served; told once until it changes."""
    _emit(WARNING, "worklist_file_skipped", "worklist file skipped", locals())


def worklist_failed(*, path: str, error: str | BaseException) -> None:
    """The worklist folder cannot be read; told once until it can."""
    _emit(ERROR, "worklist_failed", "worklist folder cannot be read", locals())


# -- reading, deleting, keeping -----------------------------------------------------------------


def deletion(
    *, by: str, why: str, scope: str, uid: str, instances: int, size: int | None = None, address: str = ""
) -> None:
    """Instances were deleted; the audit trail has each."""
    _emit(WARNING, "deletion", "deletion", locals())


def retention_started(*, max_age: float | None = None, max_size: int | None = None) -> None:
    """A retention run begins."""
    _emit(INFO, "retention_started", "retention started", locals())


def retention_removed(*, study: str, instances: int, size: int, why: str, rule: str = "") -> None:
    """Retention removed what a policy no longer keeps."""
    _emit(INFO, "retention_removed", "removed by retention", locals())


def retention_finished(*, studies: int = 0, instances: int, size: int, seconds: float | None = None) -> None:
    """A retention run ended."""
    _emit(INFO, "retention_finished", "retention finished", locals())


def scrub_started(*, instances: int | None = None, resumed_at: str = "", rate: int | None = None) -> None:
    """Digests at rest are being verified."""
    _emit(INFO, "scrub_started", "scrub started", locals())


def scrub_corrupt(*, sop_instance: str, path: str, expected: str, found: str) -> None:
    """A file is not what was received; reads and commitment refuse it."""
    _emit(ERROR, "scrub_corrupt", "file is not what was received", locals())


def scrub_missing(*, sop_instance: str, path: str) -> None:
    """A file is gone."""
    _emit(ERROR, "scrub_missing", "file is missing", locals())


def scrub_finished(
    *, instances: int, size: int = 0, corrupt: int, missing: int = 0, seconds: float | None = None
) -> None:
    """All digests at rest were verified."""
    _emit(ERROR if corrupt or missing else INFO, "scrub_finished", "scrub finished", locals())


def audit_finished(*, arrivals: int, unaccounted: int, seconds: float | None = None) -> None:
    """The proof that every acknowledged instance is accounted for."""
    _emit(ERROR if unaccounted else INFO, "audit_finished", "audit finished", locals())


# -- commands and jobs --------------------------------------------------------------------------


def rebuild_started(*, data: object, database: str = "") -> None:
    """The index is being made anew from the tree."""
    _emit(INFO, "rebuild_started", "rebuild started", locals())


def rebuild_finished(*, instances: int, seconds: float, skipped: int = 0) -> None:
    """The index was made anew."""
    _emit(WARNING if skipped else INFO, "rebuild_finished", "rebuild finished", locals())


def migration(*, step: str) -> None:
    """The database is being brought to this program's revision."""
    _emit(INFO, "migration", "database upgrade", locals())


def job_started(*, schedule: str, job: str, missed: bool = False) -> None:
    """A scheduled job begins."""
    _emit(INFO, "job_started", "scheduled job started", locals())


def job_finished(*, schedule: str, job: str, seconds: float, outcome: str = "") -> None:
    """A scheduled job ended."""
    _emit(INFO, "job_finished", "scheduled job finished", locals())


def job_failed(*, schedule: str, job: str, error: str | BaseException, retry_in: float | None = None) -> None:
    """A scheduled job could not do its work."""
    _emit(ERROR, "job_failed", "scheduled job failed", locals())


# -- web ----------------------------------------------------------------------------------------


def http_failed(*, method: str, path: str, incident: str, error: BaseException, address: str = "") -> None:
    """A request met a fault of ours; the answer carries the same incident."""
    _emit(ERROR, "http_failed", "request failed", locals())


def api_denied(address: str, method: str, path: str, status: int, why: str) -> None:
    """Somebody used the API who may not, or whom nobody could check."""
    _emit(WARNING, "api_denied", "request to the API denied", locals())


def _with_status(fields: dict[str, object]) -> dict[str, object]:
    """DICOM's statuses are known to people as four hexadecimal digits."""
    status = fields.get("status")
    return fields | {"status": f"{status:04X}"} if isinstance(status, int) else fields
