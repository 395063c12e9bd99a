"""The kinds of values that a configuration holds: how each is read, and what is allowed in words.

Written by hand and not given to a validation library: every leaf has a unit, bounds and a sentence of its
own, which is all there is to it, and the library at hand takes 0.3 s of a start that has two seconds.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import math
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping

MAX_SECONDS = 100 * 365 * 86400.0
MAX_BYTES = 1 << 60

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgtp", 1):
    _BYTES[f"{_letter}b"] = 1000**_power
    _BYTES[f"{_letter}ib"] = 1024**_power

_DURATION = re.compile(r"(?:\s*\d+(?:\.\d+)?\s*(?:ms|min|[smhdw])\s*)+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|min|[smhdw])")
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]{0,3})\s*", re.IGNORECASE)
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_UID = re.compile(r"(?=.{1,64}\Z)(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))+")
_TIME = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@\s]*(@)")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?|[A-Za-z0-9]")

# What people call the transfer syntaxes; spelling is compared without case, spaces, `-` and `_`.
SYNTAXES = {
    "ImplicitVRLittleEndian": "1.2.840.10008.1.2",
    "ExplicitVRLittleEndian": "1.2.840.10008.1.2.1",
    "EncapsulatedUncompressedExplicitVRLittleEndian": "1.2.840.10008.1.2.1.98",
    "DeflatedExplicitVRLittleEndian": "1.2.840.10008.1.2.1.99",
    "ExplicitVRBigEndian": "1.2.840.10008.1.2.2",
    "JPEGBaseline8Bit": "1.2.840.10008.1.2.4.50",
    "JPEGExtended12Bit": "1.2.840.10008.1.2.4.51",
    "JPEGLossless": "1.2.840.10008.1.2.4.57",
    "JPEGLosslessSV1": "1.2.840.10008.1.2.4.70",
    "JPEGLSLossless": "1.2.840.10008.1.2.4.80",
    "JPEGLSNearLossless": "1.2.840.10008.1.2.4.81",
    "JPEG2000Lossless": "1.2.840.10008.1.2.4.90",
    "JPEG2000": "1.2.840.10008.1.2.4.91",
    "JPEG2000MCLossless": "1.2.840.10008.1.2.4.92",
    "JPEG2000MC": "1.2.840.10008.1.2.4.93",
    "MPEG2MPML": "1.2.840.10008.1.2.4.100",
    "MPEG2MPHL": "1.2.840.10008.1.2.4.101",
    "MPEG4HP41": "1.2.840.10008.1.2.4.102",
    "MPEG4HP41BD": "1.2.840.10008.1.2.4.103",
    "MPEG4HP422D": "1.2.840.10008.1.2.4.104",
    "MPEG4HP423D": "1.2.840.10008.1.2.4.105",
    "MPEG4HP42STEREO": "1.2.840.10008.1.2.4.106",
    "HEVCMP51": "1.2.840.10008.1.2.4.107",
    "HEVCM10P51": "1.2.840.10008.1.2.4.108",
    "JPEGXLLossless": "1.2.840.10008.1.2.4.110",
    "JPEGXLJPEGRecompression": "1.2.840.10008.1.2.4.111",
    "JPEGXL": "1.2.840.10008.1.2.4.112",
    "HTJ2KLossless": "1.2.840.10008.1.2.4.201",
    "HTJ2KLosslessRPCL": "1.2.840.10008.1.2.4.202",
    "HTJ2K": "1.2.840.10008.1.2.4.203",
    "RLELossless": "1.2.840.10008.1.2.5",
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "big-endian": "1.2.840.10008.1.2.2",
    "jpeg": "1.2.840.10008.1.2.4.50",
    "jpeg-baseline": "1.2.840.10008.1.2.4.50",
    "jpeg-lossless": "1.2.840.10008.1.2.4.70",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg-2000": "1.2.840.10008.1.2.4.91",
    "jpeg-2000-lossless": "1.2.840.10008.1.2.4.90",
    "rle": "1.2.840.10008.1.2.5",
}
_SYNTAX_KEYS = {re.sub(r"[\s_-]", "", name).lower(): uid for name, uid in SYNTAXES.items()}


class Wrong(ValueError):
    """The value is not of its kind; the text adds to what is allowed, or is empty."""


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value."""

    allowed: str  # completes "give ..."
    read: Callable[[object], object]  # the value as the settings want it, or Wrong
    from_text: Callable[[str], object] = str  # what an environment variable's text stands for
    secret: bool = False  # a password in it is not shown


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant."""
    by_fold = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), by_fold, 1, 0.6)
    return by_fold[found[0]] if found else None


def show(value: object, secret: bool = False) -> str:
    """Return the value as it would stand in the file, on one line and not too long."""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, str | pathlib.Path):
        text = str(value)
        if secret:
            text = _PASSWORD.sub(r"\1***\2", text)
        # As a TOML string: control characters cannot break the message up.
        text = text.replace("\\", "\\\\").replace('"', '\\"')
        text = '"' + "".join(c if c.isprintable() else repr(c)[1:-1] for c in text) + '"'
    elif isinstance(value, list):
        text = "[" + ", ".join(show(item) for item in value) + "]"
    elif isinstance(value, Mapping):
        text = "{" + ", ".join(f"{key} = {show(item)}" for key, item in value.items()) + "}"
    else:
        text = str(value)
    return text if len(text) <= 120 else text[:117] + "..."


# -- makers of kinds ----------------------------------------------------------------------------


def whole(low: int, high: int, what: str = "a whole number") -> Kind:
    """A whole number within bounds."""

    def read(value: object) -> object:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise Wrong
        return value

    return Kind(f"{what} from {low} to {high}", read, _whole_text)


def choice(options: type[enum.StrEnum] | tuple[str, ...]) -> Kind:
    """One of a few words."""
    words = tuple(str(option) for option in options)

    def read(value: object) -> object:
        if not isinstance(value, str) or value not in words:
            near = nearest(value, words) if isinstance(value, str) else None
            raise Wrong(f"did you mean {show(near)}?" if near else "")
        return value if isinstance(options, tuple) else options(value)

    return Kind(f"one of {_listed(words)}", read)


def list_of(item: Kind, many: str, make: Callable[[list[object]], object] = tuple) -> Kind:
    """A list; from the environment, with commas between."""

    def read(value: object) -> object:
        if not isinstance(value, list):
            raise Wrong(f"write [{show(value)}]" if isinstance(value, str) else "")
        read_items = []
        for entry in value:
            try:
                read_items.append(item.read(entry))
            except Wrong as wrong:
                hint = f", {wrong}" if str(wrong) else ""
                raise Wrong(f"{show(entry)} is none of them{hint}") from None
        return make(read_items)

    def from_text(text: str) -> object:
        return [item.from_text(part.strip()) for part in text.split(",") if part.strip()]

    return Kind(f"a list of {many}", read, from_text)


def _listed(words: Iterable[str]) -> str:
    *first, last = [show(word) for word in words]
    return f"{', '.join(first)} or {last}" if first else last


def _whole_text(text: str) -> object:
    return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text.strip()) else text


def _number_text(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def _flag_text(text: str) -> object:
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(
        text.lower(), text
    )


def _number_or_flag(text: str) -> object:
    number = _number_text(text)
    return _flag_text(text) if isinstance(number, str) else number


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong
    return value


# -- readers ------------------------------------------------------------------------------------


def _boolean(value: object) -> object:
    if not isinstance(value, bool):
        raise Wrong
    return value


def _aet(value: object) -> object:
    title = _string(value).strip(" ")
    if not 1 <= len(title) <= 16 or not title.isascii() or not title.isprintable() or "\\" in title:
        raise Wrong
    return title


def _words(value: object) -> object:
    text = _string(value)
    if not text.strip() or not text.isprintable():
        raise Wrong
    return text


def _name(value: object) -> object:
    if not _NAME.fullmatch(_string(value)):
        raise Wrong
    return value


def _host(value: object) -> object:
    text = _string(value)
    if ":" in text:
        import ipaddress

        try:
            return str(ipaddress.IPv6Address(text.strip("[]")))
        except ValueError:
            raise Wrong("a port is a key of its own" if text.count(":") == 1 else "") from None
    if not _HOST.fullmatch(text):
        raise Wrong
    return text


def _host_port(value: object) -> object:
    text = _string(value)
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 1 <= int(port[:6]) <= 65535 or len(port) > 5:
        raise Wrong
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise Wrong("an IPv6 address stands in brackets")
    _host(host)
    return text


def _path(value: object) -> object:
    if isinstance(value, pathlib.Path):
        return value
    text = _string(value)
    if not text.strip() or "\0" in text:
        raise Wrong
    path = pathlib.Path(text)
    try:
        return path.expanduser() if text.startswith("~") else path
    except RuntimeError:
        raise Wrong("nobody here has that home directory") from None


def _duration(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        text = _string(value).lower()
        if not _DURATION.fullmatch(text):
            raise Wrong
        seconds = sum(float(part[1]) * _SECONDS[part[2]] for part in _DURATION_PART.finditer(text))
    if not 0 <= seconds <= MAX_SECONDS:  # not a number is refused here too
        raise Wrong
    return seconds


def _some_time(value: object) -> object:
    seconds = _duration(value)
    if seconds == 0:
        raise Wrong("zero is not a time to wait")
    return seconds


def _size(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        size: float = value
    else:
        found = _SIZE.fullmatch(_string(value))
        if not found or found[2].lower() not in _BYTES or len(found[1]) > 18:
            raise Wrong
        size = float(found[1]) * _BYTES[found[2].lower()]
    if not 0 <= size <= MAX_BYTES:
        raise Wrong
    return int(size)


def size_from(low: int) -> Kind:
    """A number of bytes that is not below a least one."""

    def read(value: object) -> object:
        size = _size(value)
        assert isinstance(size, int)
        if size < low:
            raise Wrong(f"at least {low}")
        return size

    return Kind(SIZE.allowed, read, _whole_text)


def _rate(value: object) -> object:
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not math.isfinite(value)
        or value <= 0
    ):
        raise Wrong
    return float(value)


def _network(value: object) -> object:
    import ipaddress  # 10 ms, for those who need it

    try:
        ipaddress.ip_network(_string(value))
    except ValueError:
        raise Wrong from None
    return value


def _syntax(value: object) -> object:
    text = _string(value).strip()
    if _UID.fullmatch(text):
        return text  # a private one may be meant
    uid = _SYNTAX_KEYS.get(re.sub(r"[\s_-]", "", text).lower())
    if uid is None:
        near = nearest(text, SYNTAXES)
        raise Wrong(f"did you mean {near}?" if near else "")
    return uid


def _database(value: object) -> object:
    text = _string(value)
    if not re.match(r"(?:sqlite|postgresql)(?:\+[a-z0-9]+)?://", text):
        raise Wrong
    return text


def _time_of_day(value: object) -> object:
    if not _TIME.fullmatch(_string(value)):
        raise Wrong
    return value


def _program(value: object) -> object:
    if not isinstance(value, list) or not value or not all(isinstance(part, str) for part in value):
        raise Wrong(f"write [{show(value)}]" if isinstance(value, str) else "")
    if not value[0].strip() or any("\0" in part for part in value):
        raise Wrong
    return tuple(value)


def _environment(value: object) -> object:
    if not isinstance(value, Mapping):
        raise Wrong
    for name, text in value.items():
        if not _VARIABLE.fullmatch(name) or not isinstance(text, str) or "\0" in text:
            raise Wrong(f"{name} = {show(text)} is none of them")
    return dict(value)


def some(items: list[object]) -> tuple[object, ...]:
    """Return a list of which at least one is needed."""
    if not items:
        raise Wrong("at least one")
    return tuple(items)


def numbered(options: type[enum.IntEnum]) -> Kind:
    """One of a few words that stand for numbers in an order."""
    by_word = {option.name.lower(): option for option in options}
    word = choice(tuple(by_word))
    return Kind(word.allowed, lambda value: by_word[str(word.read(value))])


# -- the kinds ----------------------------------------------------------------------------------

FLAG = Kind("true or false", _boolean, _flag_text)
AET = Kind("an AE title: 1 to 16 ASCII characters, no backslash", _aet)
WORDS = Kind("a text on one line", _words)
NAME = Kind("a name of letters, digits, `_`, `.` and `-`, at most 64", _name)
HOST = Kind("a host name or an IP address", _host)
HOST_PORT = Kind("HOST:PORT, as in 127.0.0.1:8112", _host_port)
PORT = whole(1, 65535, "a port")
PATH = Kind("a path", _path)
DURATION = Kind('seconds, or a time as in "30s", "5m", "12h" or "7d"', _duration, _number_text)
WAIT = Kind('more than zero seconds, as in 30, "30s", "5m" or "7d"', _some_time, _number_text)
SIZE = Kind('bytes, or a size as in "500 MB" or "2 GiB"', _size, _whole_text)
RATE = Kind("a number greater than zero", _rate, _number_text)
NETWORKS = list_of(Kind("", _network), 'IP addresses or networks, as in ["10.1.2.3", "10.1.0.0/16"]')
SYNTAX = Kind("a transfer syntax by UID or name", _syntax)
SYNTAX_LIST = list_of(SYNTAX, 'transfer syntaxes by UID or name, as in ["explicit", "JPEG2000Lossless"]')
DATABASE = Kind(
    "a database URL, sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME", _database, secret=True
)
TIME_OF_DAY = Kind('a time of day, as in "03:30"', _time_of_day)
PROGRAM = Kind(
    'a program and its arguments, as in ["/usr/bin/segment", "{in}", "{out}"]', _program, str.split
)
ENVIRONMENT = Kind('variables, as in {OMP_NUM_THREADS = "2"}', _environment)
WAIT_OR_NOT = Kind(
    f"{WAIT.allowed}, or false", lambda value: None if value is False else _some_time(value), _number_or_flag
)
