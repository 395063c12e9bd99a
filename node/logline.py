"""One event, one line: levels, rendering and the write. The events themselves are in `log`.

Foreign text (AE titles, error comments of peers, file names) may hold anything: control characters,
line separators and direction marks are escaped, long values cut, so that nobody can forge a line.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TextIO

from node import errors, model

DEBUG, INFO, WARNING, ERROR = 10, 20, 30, 40
LEVELS = {"debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR}

MAX_VALUE = 600  # characters of one value; a line stays below what a pipe writes in one piece
MAX_ITEMS = 12  # of a list
MAX_TRACEBACK = 3000  # the end of it is what counts
PATIENT_FIELDS = frozenset({"patient_id", "patient_name"})  # shown only when the setting says so

# Controls (C0, DEL, C1), line and paragraph separators, zero-width and direction marks, lone surrogates.
_NEW_LINE = re.compile(r";?\s*\n\s*")  # of a list of mistakes, which is ours
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


class Journal:
    """Where this process writes its events; configured once a process, and again after a reload."""

    def __init__(self) -> None:
        self.threshold = INFO
        self._patient_data = False
        self._role = ""
        self._write: Callable[[int, dict[str, Any]], None] | None = None

    def configure(self, settings: model.LogSettings, role: str, stream: TextIO | None = None) -> None:
        """Write what `settings` ask for to `stream` (standard error), with `role` in each line."""
        self.set_level(settings.level)
        self._patient_data = settings.patient_data
        self._role = role
        self._write = _writer(settings.format, stream)

    def set_level(self, level: str) -> None:
        """Write events of this level and above from now on."""
        if level not in LEVELS:
            raise errors.ConfigError(f"log level {level!r} is not known: give one of {', '.join(LEVELS)}")
        self.threshold = LEVELS[level]

    def level(self) -> str:
        """Return the level in force."""
        return next(name for name, number in LEVELS.items() if number == self.threshold)

    def emit(self, level: int, action: str, sentence: str, fields: Mapping[str, object]) -> None:
        """Write one event, if its level is wanted."""
        if level < self.threshold:
            return
        if self._write is None:
            self.configure(model.LogSettings(level=self.level()), self._role)
            assert self._write is not None
        event: dict[str, Any] = {"event": safe(sentence), "action": action}
        if self._role:
            event["process"] = self._role
        for name, value in fields.items():
            # What is not known is left out: a line with ten empty fields is read by nobody.
            if value is None or value in ("", (), []) or (name in PATIENT_FIELDS and not self._patient_data):
                continue
            if isinstance(value, BaseException):
                event.update(_of_error(name, value))
            else:
                event[name] = plain(value)
        self._write(level, event)


def plain(value: object) -> object:
    """Return the value as numbers, safe strings, and lists and mappings of these."""
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, Mapping):
        return {safe(str(key)): plain(item) for key, item in list(value.items())[:MAX_ITEMS]}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        shown = [plain(item) for item in items[:MAX_ITEMS]]
        return [*shown, f"... {len(items) - MAX_ITEMS} more"] if len(items) > MAX_ITEMS else shown
    if isinstance(value, bytes | bytearray | memoryview):
        return safe(bytes(value[: MAX_VALUE + 1]).decode("latin-1"))
    return safe(str(value))


def safe(text: str, limit: int = MAX_VALUE) -> str:
    """Return the text on one line, nothing in it that moves a cursor, and not too long."""
    if len(text) > limit:
        text = text[:limit] + f"... ({len(text)} characters)"
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _of_error(name: str, error: BaseException) -> dict[str, str]:
    """An error that was raised on purpose is its sentence; any other is a fault of ours, with its way."""
    if isinstance(error, errors.NodeError):
        return {name: safe(_NEW_LINE.sub("; ", str(error)))}
    way = "".join(traceback.format_exception(error))[-MAX_TRACEBACK:]
    return {name: safe(f"{type(error).__name__}: {error}"), "traceback": safe(way, MAX_TRACEBACK)}


def _writer(form: str, stream: TextIO | None) -> Callable[[int, dict[str, Any]], None]:
    # structlog costs 0.2 s to import: commands that log nothing do not pay for it.
    import structlog

    target = sys.stderr if stream is None else stream
    terminal = target.isatty()
    processors: list[Any] = [structlog.processors.add_log_level]
    if form == "json" or (form == "auto" and not terminal):
        processors += [
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # ASCII only: what a reader of the file takes for a line end is none of our business then.
            structlog.processors.JSONRenderer(serializer=json.dumps, separators=(",", ":")),
        ]
    else:
        processors += [
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if terminal else "iso", utc=not terminal),
            _flat,
            structlog.dev.ConsoleRenderer(colors=terminal, sort_keys=False, pad_event_to=34),
        ]
    logger = structlog.wrap_logger(_Sink(target), processors, structlog.BoundLogger)
    methods = {number: getattr(logger, name) for name, number in LEVELS.items()}

    def write(level: int, event: dict[str, Any]) -> None:
        methods[level](**event)

    return write


def _flat(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Show the action last but for its fields, and lists as words, for a reader."""
    action = event.pop("action", None)
    for name, value in event.items():
        if isinstance(value, list):
            event[name] = ", ".join(map(str, value))
    if action is not None:
        event["action"] = action
    return event


class _Sink:
    """One write a line, past all buffers: lines of several processes and threads do not mix."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        try:
            self._descriptor: int | None = stream.fileno()
        except (OSError, AttributeError):
            self._descriptor = None  # a stream in memory

    def msg(self, line: str) -> None:
        # The edge of the edge: there is nowhere left to tell that the log cannot be written,
        # and a reader that went away must not take the node with it.
        try:
            if self._descriptor is None:
                self._stream.write(line + "\n")
                return
            rest = memoryview((line + "\n").encode("utf-8", "backslashreplace"))
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            if error.errno not in (
                errno.EPIPE,
                errno.ENOSPC,
                errno.EDQUOT,
                errno.EIO,
                errno.EBADF,
                errno.EAGAIN,
            ):
                raise

    debug = info = warning = error = msg
