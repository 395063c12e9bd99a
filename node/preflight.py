"""What must hold before anything starts: each check returns a sentence, or raises one with the way out."""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import pathlib
import shutil
import socket
import tempfile

from node import errors, model

BACKLOG = 512  # modalities reconnect all at once after a network fault
SMALLEST_ROOM = 64 << 20  # below this not even the journal can be laid out


def data_directory(data: pathlib.Path) -> str:
    """Make the data directory if need be and write to it."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data) as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise errors.StorageFull(
                f"the data directory {data} is full ({error.strerror}): "
                "make room, or choose another with --data"
            ) from error
        raise errors.ConfigError(
            f"the data directory {data} cannot be written ({error.strerror}): "
            "change its owner, or choose another with --data"
        ) from error
    free = shutil.disk_usage(data).free
    if free < SMALLEST_ROOM:
        raise errors.StorageFull(
            f"the data directory {data} has only {free >> 20} MiB free: "
            "make room, or choose another with --data"
        )
    return f"data directory {data} is writable, {free >> 30} GiB free"


def listen(host: str, port: int, what: str, way_out: str) -> socket.socket:
    """Bind a listening socket."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            why = "it is in use by another program"
        elif error.errno == errno.EACCES:
            why = "ports below 1024 need CAP_NET_BIND_SERVICE or socket activation"
        else:
            why = error.strerror or str(error)
        raise errors.ConfigError(f"{what} cannot listen on {host}:{port}: {why}; {way_out}") from error
    except (UnicodeError, OverflowError) as error:
        raise errors.ConfigError(f"{what} cannot listen on {host!r}:{port}: {error}; {way_out}") from error


def port_is_free(host: str, port: int, what: str, way_out: str) -> str:
    """Bind and let go again, for `check`."""
    listen(host, port, what, way_out).close()
    return f"{what} can listen on {host}:{port}"


def http_address(text: str) -> tuple[str, int]:
    """Split HOST:PORT; the configuration has checked its form."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def tls(settings: model.TlsSettings) -> str | None:
    """Read certificate, key and authorities as the listener will; None: TLS is not configured."""
    if settings.port is None:
        return None
    from node.wire import tls as wire_tls

    for name in ("certificate", "key", "ca"):
        path: pathlib.Path | None = getattr(settings, name)
        if path is not None:
            with contextlib.ExitStack() as stack:
                try:
                    stack.enter_context(path.open("rb"))
                except OSError as error:
                    raise errors.ConfigError(
                        f"tls.{name} = {path} cannot be read ({error.strerror}): give the path of a PEM file"
                    ) from error
    wire_tls.server(settings)
    return f"TLS certificate {settings.certificate} and its key fit together"


def clock() -> str:
    """Refuse a clock that is plainly not set: receipt dates are the tree's layout."""
    now = datetime.datetime.now(datetime.UTC)
    if now.year < 2024:
        raise errors.ConfigError(
            f"the system clock says {now:%Y-%m-%d}: set it before instances are dated by it"
        )
    return f"the clock says {now:%Y-%m-%d %H:%M} UTC"
