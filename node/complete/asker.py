"""How many instances of a series its source has: asked with C-FIND, beside the router, never in its way."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable

from node import errors, log, log_forwarding, model
from node.dicom import identifier
from node.send import query
from node.wire import association

# A source that does not answer must not keep its series for longer than it takes to see that.
TIMEOUTS = association.Timeouts(request=5.0, pdu=5.0, idle=10.0)
MOST = 256  # questions that wait; a further one is asked when its series is looked at again
_THREADS = 2
_LONGEST = 160  # characters of why there is no answer
_ANSWERS = 64  # of one question that are looked at

Told = Callable[[int | None, str], None]  # how many, or why that is not known


class Asker:
    """Asks peers, a few at once; every question is answered, however late and be it with nothing."""

    def __init__(self, calling: str, secure: model.TlsSettings) -> None:
        self.calling = calling  # replaced at a reload
        self.secure = secure  # replaced at a reload
        self._pool = concurrent.futures.ThreadPoolExecutor(_THREADS, "ask-source")
        self._waiting = threading.Semaphore(MOST)

    def ask(self, peer: model.Peer, study: str, series: str, tell: Told) -> bool:
        """Ask, and `tell` what came of it from another thread; False: too many questions wait already."""
        if not self._waiting.acquire(blocking=False):
            return False
        try:
            self._pool.submit(self._ask, peer, study, series, tell)
        except RuntimeError:  # it was closed
            self._waiting.release()
            return False
        return True

    def close(self) -> None:
        """Wait for the questions that are out, and forget the others."""
        self._pool.shutdown(cancel_futures=True)

    def _ask(self, peer: model.Peer, study: str, series: str, tell: Told) -> None:
        self._waiting.release()
        try:
            count = related(peer, self.calling, self.secure, study, series)
        except errors.NodeError as error:
            log_forwarding.peer_not_asked(peer=peer.name, series=series, error=error)
            tell(None, str(error)[:_LONGEST])
        except Exception as error:  # noqa: BLE001 - the edge: a series waits for this answer
            log.unexpected(where=f"asking {peer.name}", error=error)
            tell(None, "the question broke off")
        else:
            tell(count, "" if count is not None else "it does not count them")


def related(peer: model.Peer, calling: str, secure: model.TlsSettings, study: str, series: str) -> int | None:
    """Number of Series Related Instances as the peer says it; None where it does not; 0: it has none."""
    asked: identifier.Fields = {
        "StudyInstanceUID": study,
        "SeriesInstanceUID": series,
        "NumberOfSeriesRelatedInstances": None,
    }
    with query.opened(peer, calling, secure, timeouts=TIMEOUTS) as made:
        count: int | None = 0
        for number, answer in enumerate(query.Search(made, asked, level=model.Level.SERIES)):
            if answer.get("SeriesInstanceUID") == series:
                count = _number(answer.get("NumberOfSeriesRelatedInstances"))
            if number >= _ANSWERS:
                break
        return count


def _number(value: object) -> int | None:
    text = str(value).strip() if isinstance(value, (int, str)) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
