"""The process that decodes and encodes pixels for another: it takes two descriptors and some words at a time.

What it reads was made by strangers, and the libraries that read it are written in C. It runs under limits,
opens nothing by itself, and may die at any time: who asked finds that out and names the instance.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

from node import errors
from node.dicom import codecs, pixels, transcode

_REQUEST = 4096  # bytes of a request
_OWN_TIME = 5.0  # seconds that who asked has to kill us before we do it ourselves
_ROOM = 256 << 20  # bytes of a file beside its pixel data


def main(number: int, idle: float) -> None:
    """Serve requests over a socket until its other end closes, or nothing came for so many seconds."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(one, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then the write says that the file is too large
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = pixels.MOST + _ROOM
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    # When memory is short, this goes first: what it does can be done again.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("900")
    codecs.load()
    with socket.socket(fileno=number) as asked:
        asked.settimeout(idle)
        own = _mapped()
        while True:
            try:
                data, given, _, _ = socket.recv_fds(asked, _REQUEST, 2)
            except TimeoutError:
                return
            if not data:
                return
            answer = _serve(json.loads(data), given, own)
            for fd in given:
                os.close(fd)
            asked.send(json.dumps(answer).encode())


def _serve(request: Mapping[str, Any], given: list[int], own: int) -> Mapping[str, Any]:
    """Do one, and say how it went: the size, or the kind of the error and its words."""
    source, target = given
    begin, size, memory = request["offset"], request["size"], request["memory"]
    signal.setitimer(signal.ITIMER_REAL, request["seconds"] + _OWN_TIME)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (own + begin + size + memory, hard))
    try:
        loss = transcode.Loss(**request["loss"]) if request["loss"] else None
        return {"size": _transcode(source, target, begin, size, request["syntax"], request["target"], loss)}
    except errors.NodeError as error:
        return {"kind": type(error).__name__, "why": str(error)}
    except MemoryError:
        return {"kind": "BadData", "why": f"it needs more than {memory >> 20} MB of memory"}
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return {"kind": "StorageFull" if full else "StorageFailed", "why": error.strerror or str(error)}
    except Exception as error:  # noqa: BLE001 - the edge: whatever a library raises is this instance's failure
        return {"kind": "", "why": f"{type(error).__name__}: {error}"}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _transcode(
    source: int,
    target: int,
    begin: int,
    size: int,
    syntax: str,
    wanted: str,
    loss: transcode.Loss | None,
) -> int:
    # Reading behind the end of a mapped file would end the process, not raise.
    if os.fstat(source).st_size < begin + size:
        raise errors.BadData(f"the file ends before byte {begin + size}")
    mapped = mmap.mmap(source, begin + size, access=mmap.ACCESS_READ)
    view = memoryview(mapped)[begin:]
    try:
        with open(target, "wb", buffering=1 << 20, closefd=False) as out:
            return transcode.transcode(view, syntax, wanted, out, loss=loss)
    finally:
        # A view of it may be left in a traceback; the mapping goes when that does.
        with contextlib.suppress(BufferError):
            view.release()
            mapped.close()


def _mapped() -> int:
    """Bytes of address space that this process has already."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
