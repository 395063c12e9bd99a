"""The head of a Part 10 file: preamble, file meta information, and where the data set begins."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from node import errors
from node.dicom import shapes
from node.dicom import syntax as syntaxes
from node.dicom import vr as vrs
from node.dicom import walk as walking
from node.dicom.syntax import Buffer


@dataclasses.dataclass(frozen=True, slots=True)
class Part10:
    """What stands before a file's data set."""

    preamble: bytes  # the 128 bytes, b"" where the file has none
    syntax: str  # transfer syntax UID; guessed from the data set where the file does not say it
    offset: int  # where the data set begins
    guessed: bool  # the transfer syntax was not said
    meta_start: int  # where the file meta elements begin
    rows: tuple[walking.Row, ...]  # the file meta elements, in little endian
    buffer: Buffer  # what was read

    @property
    def meta(self) -> dict[int, bytes]:
        """Values of the file meta elements by tag, as they stand there."""
        return {row[0]: bytes(self.buffer[row[3] : row[4]]) for row in self.rows}

    def text(self, tag: int) -> str:
        """A file meta value as text, "" when absent."""
        return _text(self.buffer, self.rows, tag)

    @property
    def sop_class(self) -> str:
        """Media Storage SOP Class UID."""
        return self.text(0x00020002)

    @property
    def sop_instance(self) -> str:
        """Media Storage SOP Instance UID."""
        return self.text(0x00020003)


_META_CAP = 1 << 20  # file meta is a few hundred bytes; one that never ends is no file meta


def part10(buffer: Buffer, *, bare: bool = False) -> Part10:
    """Read the head of a file; with `bare`, a data set without preamble and file meta is recognised too.

    Tolerated, as pydicom does: a wrong or missing group length, a missing transfer syntax (then it is
    recognised by the first element), file meta in implicit VR, no preamble before `DICM` or group 0002.
    """
    start = _start(buffer)
    if start is None:
        if not bare:
            raise errors.BadData("not a DICOM file: DICM does not stand behind a preamble", offset=128)
        return Part10(b"", recognise(buffer, 0), 0, True, 0, (), buffer)
    preamble = bytes(buffer[:128]) if start == 132 else b""
    rows, offset = _meta_rows(buffer, start)
    syntax = _text(buffer, rows, 0x00020010)
    guessed = not syntax
    return Part10(preamble, syntax or recognise(buffer, offset), offset, guessed, start, tuple(rows), buffer)


def _text(buffer: Buffer, rows: Sequence[walking.Row], tag: int) -> str:
    for row in rows:
        if row[0] == tag:
            return str(buffer[row[3] : row[4]], "latin-1").rstrip("\0 ")
    return ""


def _start(buffer: Buffer) -> int | None:
    """Where file meta begins; None when the file has none."""
    if bytes(buffer[128:132]) == b"DICM":
        return 132
    if bytes(buffer[:4]) == b"DICM":
        return 4
    if bytes(buffer[:2]) == b"\x02\x00" and bytes(buffer[4:6]) in (b"UL", b"OB", b"UI"):
        return 0
    return None


def _meta_rows(buffer: Buffer, start: int) -> tuple[list[walking.Row], int]:
    """The elements of group 0002, in the form that the first of them has."""
    end = min(len(buffer), start + _META_CAP)
    if bytes(buffer[start : start + 2]) != b"\x02\x00":
        return [], start
    letters = bytes(buffer[start + 4 : start + 6])
    explicit = letters.isalpha() and letters.isupper()
    rows: list[walking.Row] = []
    pos = start
    read, heads = shapes.EXPLICIT["<"], shapes.HEADS["<"]
    while pos + 8 <= end:
        head, length = read(buffer, pos)
        tag, name = heads[head]
        offset = pos + 8
        if tag >> 16 != 2 or not explicit:
            if head[:2] != b"\x02\x00":
                break
            tag, name, offset, length = walking.element_header(buffer, pos, end, explicit, "<")
        after = offset + length
        if after > end:
            walking.lie(f"a length of {length} reaches beyond the file meta information", pos, tag)
        rows.append((tag, name, pos, offset, after, -1))
        pos = after
    return rows, pos


def recognise(buffer: Buffer, offset: int) -> str:
    """The uncompressed transfer syntax that the first element of a data set is written in."""
    head = bytes(buffer[offset : offset + 8])
    if len(head) < 8:
        if len(head) == 0:
            return syntaxes.IMPLICIT_LITTLE
        raise errors.BadData("not a DICOM data set: its first element breaks off", offset=offset)
    letters = head[4:6].decode("latin-1")
    explicit = letters in vrs.SHORT_VRS or letters in vrs.LONG_VRS
    big = head[0] == 0 and head[1] != 0
    if explicit:
        return syntaxes.EXPLICIT_BIG if big else syntaxes.EXPLICIT_LITTLE
    group, element = int.from_bytes(head[:2], "little"), int.from_bytes(head[2:4], "little")
    length = int.from_bytes(head[4:8], "little")
    plausible = vrs.of(group << 16 | element) != "UN" and not group & 1
    if group < 4 or not plausible or (length > len(buffer) - offset - 8 and length != vrs.UNDEFINED):
        raise errors.BadData("not a DICOM data set: no element stands at its beginning", offset=offset)
    return syntaxes.IMPLICIT_LITTLE
