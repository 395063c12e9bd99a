"""The journal of forwarding: one function per operator event, as in `log`, of which this is a part.

What a destination says may be anything: it is written as it stands, on one line. A delivery is told at debug,
a consignment at info: what an operator asks is answered by `why`, from the ledger.
"""

from __future__ import annotations

from node import log
from node.logline import DEBUG, ERROR, INFO, WARNING

_emit = log.emit


# -- lanes and workers --------------------------------------------------------------------------


def queue_started(*, worker: str, recovered: int = 0, taken_back: int = 0, destinations: int = 0) -> None:
    """A worker begins to send."""
    _emit(INFO, "queue_started", "the queue moves", locals())


def queue_stopped(*, worker: str, handed_back: int = 0) -> None:
    """A worker sends nothing more."""
    _emit(INFO, "queue_stopped", "the queue has stopped; what was under way is handed back", locals())


def lane_failed(*, destination: str, error: str | BaseException, failures: int, retry_in: float) -> None:
    """A destination could not be reached; it counts as up still."""
    _emit(WARNING, "lane_failed", "destination could not be reached, it is tried again", locals())


def lane_down(*, destination: str, error: str | BaseException, failures: int, probe_in: float) -> None:
    """A destination failed too often: nothing is sent to it until it answers a C-ECHO."""
    _emit(
        ERROR, "lane_down", "destination is down: nothing is sent to it until it answers a C-ECHO", locals()
    )


def lane_probed(*, destination: str, error: str | BaseException, failures: int, probe_in: float) -> None:
    """A destination that is down does not answer yet."""
    _emit(DEBUG, "lane_probed", "destination is still down", locals())


def lane_up(*, destination: str, seconds: float | None = None, why: str = "") -> None:
    """A destination that was down is up."""
    _emit(INFO, "lane_up", "destination is up again, its backlog moves", locals())


def lane_redirected(*, destination: str, group: str, to: str, consignments: int) -> None:
    """What a group's member that is down was to get goes to another one."""
    _emit(WARNING, "lane_redirected", "the group's member is down: another one takes its work", locals())


def work_taken_over(*, worker: str, consignments: int, why: str) -> None:
    """A worker gave no sign of life, or was killed: its work is due again."""
    _emit(WARNING, "work_taken_over", "work of a dead worker is due again", locals())


def heartbeat_lost(*, worker: str, seconds: float) -> None:
    """This worker was stopped, or could not reach the database, for so long that others may have its work."""
    _emit(WARNING, "heartbeat_lost", "no sign of life for too long: what is under way is let go", locals())


def lane_crashed(*, destination: str, error: BaseException) -> None:
    """A fault of this program in a lane; its consignment is tried again."""
    _emit(ERROR, "lane_crashed", "a lane failed unexpectedly", locals())


# -- consignments -------------------------------------------------------------------------------


def consignment_begun(
    *, consignment: int, destination: str, study: str, series: str, route: str, attempt: int
) -> None:
    """A lane takes a consignment up."""
    _emit(DEBUG, "consignment_begun", "sending begins", locals())


def consignment_ended(
    *,
    consignment: int,
    destination: str,
    study: str,
    series: str,
    route: str,
    sent: int,
    size: int,
    seconds: float,
    warnings: int = 0,
    retry: int = 0,
    dead: int = 0,
    error: str = "",
    retry_in: float | None = None,
) -> None:
    """A lane is through with a consignment, for now or for good."""
    _emit(
        WARNING if dead or error else INFO,
        "consignment_ended",
        "sending ended" if not error else "sending ended, not all of it went",
        locals(),
    )


def consignment_poisoned(
    *, consignment: int, destination: str, study: str, series: str, crashes: int
) -> None:
    """Workers died over a consignment too often: it is a dead letter."""
    _emit(ERROR, "consignment_poisoned", "workers died over it: it is a dead letter", locals())


def delivery_dead(
    *, consignment: int, destination: str, sop_instance: str, error: str, status: int | None = None
) -> None:
    """An instance is given up for a destination."""
    _emit(DEBUG, "delivery_dead", "instance is given up for this destination", locals())


# -- completeness and decisions -----------------------------------------------------------------


def series_settled(
    *, study: str, series: str, revision: int, verdict: str, by: str, instances: int, policy: str
) -> None:
    """A series is settled."""
    _emit(INFO, "series_settled", "series is settled", locals())


def study_settled(*, study: str, revision: int, verdict: str, series: int, instances: int) -> None:
    """All series of a study are settled."""
    _emit(INFO, "study_settled", "study is settled", locals())


def decided(
    *, study: str, series: str, revision: int, route: str, destinations: str, discard: str = ""
) -> None:
    """A route had an effect; the values on which it matched may be a patient's, and are not told."""
    _emit(INFO, "decided", "route decides", locals())


def header_unread(*, study: str, series: str, sop_instance: str, error: str | BaseException) -> None:
    """The header that routes ask about cannot be read: they are asked without it."""
    _emit(WARNING, "header_unread", "header cannot be read, routes are asked without it", locals())


def peer_not_asked(*, peer: str, series: str, error: str | BaseException) -> None:
    """A peer did not say how many instances of a series it has."""
    _emit(WARNING, "peer_not_asked", "peer does not say how many instances it has", locals())


def router_waits(*, error: BaseException, retry_in: float) -> None:
    """The database or the disk refused; what has come is looked at again."""
    _emit(WARNING, "router_waits", "settling waits for the database or the disk", locals())


# -- verification -------------------------------------------------------------------------------


def verification_asked(*, destination: str, consignment: int, transaction: str, instances: int) -> None:
    """A destination has taken a request for storage commitment of what it was sent."""
    _emit(INFO, "verification_asked", "destination is asked to commit to what it was sent", locals())


def verification_delayed(*, destination: str, consignments: int, error: str | BaseException) -> None:
    """A destination could not be asked whether it keeps what it was sent."""
    _emit(WARNING, "verification_delayed", "destination could not be asked what it keeps", locals())


def verified(
    *, destination: str, consignment: int, kept: int, missing: int, dead: int, state: str, error: str = ""
) -> None:
    """A destination said what it keeps of what it was sent."""
    _emit(
        WARNING if missing else INFO,
        "verified",
        "destination keeps what it was sent" if not missing else "destination does not keep all it was sent",
        locals(),
    )


def report_refused(*, status: int, why: str, transaction: str, calling: str, address: str) -> None:
    """A report on a storage commitment could not be taken."""
    _emit(WARNING, "report_refused", "storage commitment report refused", locals())
