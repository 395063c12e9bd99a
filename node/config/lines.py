"""Where each key of a TOML text stands, for messages.

The standard library's parser keeps no lines, nor does `tomlkit`: it keeps the text and leaves the counting
to its user, at 80 ms and one dependency. So this walks over the text once more. It relies on the text being
valid TOML, which the parser has found before.
"""

from __future__ import annotations

import collections
import re
import tomllib

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
# Long forms first: three quotes begin another string than one.
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}(?!")' r"|'''.*?'{3,5}(?!')" r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'", re.DOTALL
)

Key = tuple[str, ...]


def locate(text: str) -> dict[Key, int]:
    """Return the line, from 1, on which each table and each key of the text stands.

    The tables of a list that is written `[[so]]` have their number behind the list's name.
    """
    lines: dict[Key, int] = {}
    counts: collections.Counter[Key] = collections.Counter()
    prefix: Key = ()
    at = _skip(_BLANK, text, 0)
    while at < len(text):
        line = text.count("\n", 0, at) + 1
        if text[at] == "[":
            double = text.startswith("[[", at)
            prefix, at = _dotted(text, at + 1 + double)
            at = text.index("]", at) + 1 + double
            for length in range(1, len(prefix) + 1):
                lines.setdefault(prefix[:length], line)
            if double:
                counts[prefix] += 1
                prefix = (*prefix, str(counts[prefix] - 1))
                lines[prefix] = line
        else:
            key, at = _dotted(text, at)
            for length in range(len(prefix) + 1, len(prefix) + len(key)):
                lines.setdefault((prefix + key)[:length], line)
            lines[prefix + key] = line
            at = _value(text, text.index("=", at) + 1)
        at = _skip(_BLANK, text, at)
    return lines


def line_of(lines: dict[Key, int], key: Key) -> int | None:
    """Return the line of the key, or of the table or value around it that has one."""
    for length in range(len(key), 0, -1):
        if key[:length] in lines:
            return lines[key[:length]]
    return None


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _dotted(text: str, at: int) -> tuple[Key, int]:
    """Read `a."b c".d`."""
    parts: list[str] = []
    while True:
        at = _skip(_SPACE, text, at)
        bare = _BARE.match(text, at)
        if bare is not None:
            parts.append(bare[0])
            at = bare.end()
        else:
            quoted = _STRING.match(text, at)
            if quoted is None:  # not TOML after all
                return tuple(parts), at
            parts.append(tomllib.loads(f"key = {quoted[0]}")["key"])
            at = quoted.end()
        at = _skip(_SPACE, text, at)
        if not text.startswith(".", at):
            return tuple(parts), at
        at += 1


def _value(text: str, at: int) -> int:
    """Return where the value that begins here ends: at a line end outside of strings and brackets."""
    depth = 0
    while at < len(text):
        sign = text[at]
        if sign in "\"'":
            quoted = _STRING.match(text, at)
            at = quoted.end() if quoted else at + 1
            continue
        if sign == "#":
            at = text.find("\n", at)
            if at < 0:
                return len(text)
            continue
        if sign == "\n" and depth == 0:
            return at
        depth += (sign in "[{") - (sign in "]}")
        at += 1
    return at
