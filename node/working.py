"""The side of a worker process: it takes requests from a socket, under limits, until nobody asks."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import select
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any

from node import errors

_REQUEST = 4096  # bytes of a request
_OWN_TIME = 5.0  # seconds that who asked has to kill us before we do it ourselves

# Does what a request says with the descriptors that came with it; what is answered. Raises what it likes.
Handler = Callable[[Mapping[str, Any], list[int]], Mapping[str, Any]]


def serve(number: int, idle: float, largest: int, handler: Handler, ready: Callable[[], object]) -> None:
    """Serve requests until the other end of the socket closes, or nothing came for so many seconds.

    A request says in `seconds` how long it may take and in `memory` how much it may need beside what is there
    after `ready`; `largest` is the size that a file may get.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(one, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then the write says that the file is too large
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    # When memory is short, this goes first: what it does can be done again.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("900")
    ready()
    with socket.socket(fileno=number) as asked:
        asked.settimeout(idle)
        busy = threading.Event()
        threading.Thread(target=_watch, args=(number, busy), daemon=True).start()
        own = _mapped()
        while True:
            try:
                data, given, _, _ = socket.recv_fds(asked, _REQUEST, 2)
            except TimeoutError:
                return
            if not data:
                return
            busy.set()
            answer = _one(json.loads(data), given, own, handler)
            busy.clear()
            for fd in given:
                os.close(fd)
            asked.send(json.dumps(answer).encode())


def _watch(number: int, busy: threading.Event) -> None:
    """End what is under way when who asked is gone: nobody would know of what came of it."""
    poller = select.poll()
    poller.register(number, select.POLLRDHUP)
    while not poller.poll():
        pass
    busy.wait()  # without anything to do it ends by itself
    os.killpg(os.getpgrp(), signal.SIGKILL)  # with what it started; it leads its own group


def _one(request: Mapping[str, Any], given: list[int], own: int, handler: Handler) -> Mapping[str, Any]:
    """Do one, and say how it went: what the handler answers, or the kind of the error and its words."""
    memory = request["memory"]
    signal.setitimer(signal.ITIMER_REAL, request["seconds"] + _OWN_TIME)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (own + request.get("mapped", 0) + memory, hard))
    try:
        return handler(request, given)
    except errors.NodeError as error:
        return {"kind": type(error).__name__, "why": str(error)}
    except MemoryError:
        return {"kind": "BadData", "why": f"it needs more than {memory >> 20} MB of memory"}
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return {"kind": "StorageFull" if full else "StorageFailed", "why": error.strerror or str(error)}
    except Exception as error:  # noqa: BLE001 - the edge: whatever a library raises is this request's failure
        return {"kind": "", "why": f"{type(error).__name__}: {error}"}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _mapped() -> int:
    """Bytes of address space that this process has already."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
