"""The walk over a data set's bytes that makes the rows of a table: iterative, bounded, checking every length.

What the field gets away with is tolerated: odd lengths; zero bytes behind the last element; delimiters
inside defined lengths; implicit VR inside items of an explicit data set; a VR of two capital letters
that nobody knows; group lengths that are wrong. A length that does not fit what encloses it is not.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable
from typing import Any, NoReturn

from node import errors
from node.dicom import layouts, shapes
from node.dicom import vr as vrs
from node.dicom.syntax import Buffer, Encoding

DEPTH = 65536  # nested sequences and items; beyond is an attack
MOST = 4_000_000  # elements of one data set; the largest multi-frame objects have half as many
NEVER = 0xFFFE0000  # items and delimiters begin here, so nothing that is sought lies beyond

Row = shapes.Row

_ITEM, _ITEM_END, _SEQUENCE_END = vrs.ITEM, vrs.ITEM_END, vrs.SEQUENCE_END
_UNDEFINED = vrs.UNDEFINED


class TooMany(errors.BadData):
    """More elements than a table is made for; `check` takes such a data set all the same."""


@functools.cache
def readers(order: str) -> tuple[Callable[..., tuple[Any, ...]], ...]:
    """Readers of an explicit header, of an implicit header, and of a long length."""
    return (
        struct.Struct(order + "HHHH").unpack_from,
        struct.Struct(order + "HHI").unpack_from,
        struct.Struct(order + "I").unpack_from,
    )


def lie(what: str, offset: int, tag: int | None = None) -> NoReturn:
    raise errors.BadData(what, offset=offset, tag=tag)


def too_many(most: int, offset: int) -> NoReturn:
    raise TooMany(f"more than {most} elements", offset=offset)


def is_padding(buffer: Buffer, start: int, end: int) -> bool:
    """Whether nothing but zero bytes stands here."""
    while start < end:
        chunk = bytes(buffer[start : min(end, start + 65536)])
        if chunk.count(0) != len(chunk):
            return False
        start += len(chunk)
    return True


def element_header(
    buffer: Buffer, pos: int, limit: int, explicit: bool, order: str
) -> tuple[int, str, int, int]:
    """(tag, VR, start of the value, length as written) of the one element at pos, whatever its form."""
    if pos + 8 > limit:
        lie("an element's header breaks off", pos)
    read_explicit, read_implicit, read_long = readers(order)
    if not explicit:
        group, element, length = read_implicit(buffer, pos)
        tag = group << 16 | element
        return tag, vrs.of(tag), pos + 8, length
    group, element, code, length = read_explicit(buffer, pos)
    tag = group << 16 | element
    if group == 0xFFFE:
        return tag, "", pos + 8, read_long(buffer, pos + 4)[0]
    name = vrs.SHORT[order][code]
    if name is not None:
        return tag, name, pos + 8, length
    name = vrs.LONG[order][code]
    if name is None:
        return _odd_vr(buffer, pos, limit, order, tag, length)
    if pos + 12 > limit:
        lie("an element's header breaks off", pos, tag)
    return tag, name, pos + 12, read_long(buffer, pos + 8)[0]


def _odd_vr(
    buffer: Buffer, pos: int, limit: int, order: str, tag: int, short: int
) -> tuple[int, str, int, int]:
    """An element whose VR is none: one of the future, an implicit one, or a vendor's `??`."""
    letters = bytes(buffer[pos + 4 : pos + 6])
    length = readers(order)[2](buffer, pos + 4)[0]
    if letters.isalpha() and letters.isupper():
        if short == 0 and pos + 12 <= limit:  # reserved bytes: the form of every VR to come
            return tag, "UN", pos + 12, readers(order)[2](buffer, pos + 8)[0]
        return tag, "UN", pos + 8, short
    if pos + 8 + length <= limit or length == _UNDEFINED:
        return tag, vrs.of(tag), pos + 8, length
    if pos + 8 + short <= limit and letters in (b"??", b"  ", b"--"):
        return tag, "UN", pos + 8, short
    lie(f"no VR stands where one must ({letters.hex()})", pos, tag)


def walk(
    buffer: Buffer,
    start: int,
    end: int,
    enc: Encoding,
    *,
    stop: int | None = None,
    depth: int = DEPTH,
    most: int = MOST,
) -> tuple[list[Row], int]:
    """The rows of a data set, and where the walk ended: before `stop`, or behind the last element.

    Memory is bounded by `most` rows; a data set with more elements is refused here, though `check` takes it.
    """
    if end > start:
        refuse_other_things(buffer, start, end, enc)
    book = layouts.LAYOUTS[enc.order, enc.explicit]
    key = (start, end, stop, depth)
    known_rows = book.recall(buffer, key)
    if known_rows is not None and len(known_rows[0]) < most:
        return known_rows
    rows: list[Row] = []
    append = rows.append
    order, explicit = enc.order, enc.explicit
    read_implicit = readers(order)[1]
    read_head, heads = shapes.EXPLICIT[order], shapes.HEADS[order]
    known = vrs.IMPLICIT
    advance = shapes.SHAPES[order, explicit].advance
    barrier = outer = min(stop if stop is not None else NEVER, NEVER)
    stack: list[tuple[int, int, bool, bool, bool]] = []  # the enclosing scopes, in the variables below
    row, limit, undefined, sequence = -1, end, False, False  # whose row, until where, and what it is
    pos = start
    trial: tuple[int, int, int, tuple[int, int, bool, bool, bool]] | None = None  # to take back
    while True:
        try:
            while True:
                if sequence:
                    pass
                elif not stack:
                    pos = advance(buffer, pos, limit, outer, rows, most)
                elif explicit:
                    near = min(
                        limit, pos + 8 * (most - len(rows))
                    )  # no more rows than `most` before this place
                    while pos + 8 <= near:  # elements of items; those at the top never come here
                        head, length = read_head(buffer, pos)
                        tag, name = heads[head]
                        if tag >= barrier:  # what is not plain lies beyond every barrier
                            break
                        offset = pos + 8
                        after = offset + length
                        append((tag, name, pos, offset, after, row))
                        pos = after
                else:
                    near = min(limit, pos + 8 * (most - len(rows)))
                    while pos + 8 <= near:
                        group, element, length = read_implicit(buffer, pos)
                        tag = group << 16 | element
                        if length == _UNDEFINED or tag >= barrier:
                            break
                        name = known[tag]
                        if name == "SQ":
                            break
                        offset = pos + 8
                        after = offset + length
                        append((tag, name, pos, offset, after, row))
                        pos = after
                if len(rows) >= most:
                    too_many(most, pos)
                if pos > limit:
                    last = rows[-1]
                    lie(f"a length of {last[4] - last[3]} reaches beyond what encloses it", last[2], last[0])

                if pos == limit and not undefined:  # a scope of defined length ends here
                    if not stack:
                        book.learn(buffer, key, rows, pos)
                        return rows, pos
                    row, limit, undefined, explicit, sequence = stack.pop()
                    if trial is not None and len(stack) <= trial[1]:
                        trial = None
                    if not stack:
                        barrier = outer
                    continue

                if pos + 8 > limit:
                    if not stack and is_padding(buffer, pos, limit):
                        return rows, pos
                    lie("an element's header breaks off", pos, rows[row][0] if row >= 0 else None)

                if sequence:
                    group, element, length = read_implicit(buffer, pos)
                    tag = group << 16 | element
                    offset = pos + 8
                    if tag == _ITEM:
                        index = len(rows)
                        parent = rows[row]
                        if parent[1] not in _HOLDS_ITEMS or parent[0] == vrs.PIXEL_DATA:  # a fragment
                            after = offset + length
                            if after > limit:
                                lie(
                                    f"a fragment's length of {length} reaches beyond what encloses it",
                                    pos,
                                    tag,
                                )
                            append((tag, "", pos, offset, after, row))
                            pos = after
                            continue
                        stack.append((row, limit, undefined, explicit, True))
                        if length != _UNDEFINED:
                            after = offset + length
                            if after > limit:
                                lie(f"an item's length of {length} reaches beyond what encloses it", pos, tag)
                            limit = after
                        else:
                            after = -1
                        append((tag, "", pos, offset, after, row))
                        row, undefined, sequence, pos = index, length == _UNDEFINED, False, offset
                        barrier = NEVER
                        if len(stack) > depth:
                            lie(f"more than {depth} sequences and items lie within each other", pos, tag)
                        continue
                    if tag == _SEQUENCE_END and length == 0:
                        pos = offset
                        if undefined:
                            this = rows[row]
                            rows[row] = (*this[:4], pos, this[5])
                            row, limit, undefined, explicit, sequence = stack.pop()
                            if not stack:
                                barrier = outer
                        continue
                    lie("something else than an item stands in a sequence", pos, tag)

                tag, name, offset, length = element_header(buffer, pos, limit, explicit, order)
                if tag >> 16 == 0xFFFE:
                    if tag == _ITEM_END and length == 0 and stack:
                        pos = offset
                        if undefined:
                            this = rows[row]
                            rows[row] = (*this[:4], pos, this[5])
                            row, limit, undefined, explicit, sequence = stack.pop()
                        continue
                    lie("an item or delimiter stands where an element must", pos, tag)
                if not stack and tag >= outer and stop is not None and tag >= stop:
                    book.learn(buffer, key, rows, pos)
                    return rows, pos
                if tag == 0 and not stack and is_padding(buffer, pos, limit):
                    return rows, pos
                index = len(rows)
                if length != _UNDEFINED:
                    after = offset + length
                    if after > limit:
                        lie(f"a length of {length} reaches beyond what encloses it", pos, tag)
                    append((tag, name, pos, offset, after, row))
                    if name != "SQ":
                        if (
                            name != "UN"
                            or not explicit
                            or known[tag] != "SQ"
                            or length == 0
                            or trial is not None
                        ):
                            pos = after
                            continue
                        # a sequence written as UN (PS3.5 6.2.2): read as such if it adds up, else left alone
                        trial = len(rows), len(stack), after, (row, limit, undefined, explicit, sequence)
                else:
                    if name not in MAY_BE_UNDEFINED:
                        lie(f"a {name} of undefined length cannot be", pos, tag)
                    append((tag, name, pos, offset, -1, row))
                    after = limit
                stack.append((row, limit, undefined, explicit, False))
                if len(stack) > depth:
                    lie(f"more than {depth} sequences and items lie within each other", pos, tag)
                if name == "UN":  # PS3.5 6.2.2: a sequence in implicit VR
                    explicit = False
                row, limit, undefined, sequence, pos = index, after, length == _UNDEFINED, True, offset
                barrier = NEVER
        except TooMany:
            raise
        except errors.BadData:
            if trial is None:
                raise
            count, height, pos, (row, limit, undefined, explicit, sequence) = trial
            del rows[count:], stack[height:]
            barrier = NEVER if stack else outer
            trial = None


_HOLDS_ITEMS = frozenset({"SQ", "UN"})
MAY_BE_UNDEFINED = frozenset({"SQ", "UN", "OB", "OW"})


def refuse_other_things(buffer: Buffer, start: int, end: int, enc: Encoding) -> None:
    """What is not a data set at all: a whole file, a command set, file meta, the other kind of VR."""
    if end - start >= 132 and bytes(buffer[start + 128 : start + 132]) == b"DICM":
        lie("a whole file stands where a data set must (DICM behind a preamble)", start)
    if end - start < 8:
        if is_padding(buffer, start, end):
            return
        lie("an element's header breaks off", start)
    group, element, code, _ = readers(enc.order)[0](buffer, start)
    tag = group << 16 | element
    if group == 0x0002:
        lie("file meta information stands where a data set must", start, tag)
    if group == 0x0000 and not is_padding(buffer, start, min(end, start + 64)):
        lie("a command set stands where a data set must", start, tag)
    if group in (0x0200, 0x0800, 0x1000):
        lie("the data set is written in the other byte order", start, tag)
    if enc.explicit:
        letters = bytes(buffer[start + 4 : start + 6])
        if vrs.SHORT[enc.order][code] is None and vrs.LONG[enc.order][code] is None and not letters.isalpha():
            lie("the data set is not in explicit VR, as its transfer syntax says", start, tag)
    elif (vrs.SHORT[enc.order][code] or vrs.LONG[enc.order][code]) and group < 0x20:
        length = readers(enc.order)[2](buffer, start + 4)[0]
        if length > end - start:
            lie("the data set is not in implicit VR, as its transfer syntax says", start, tag)
