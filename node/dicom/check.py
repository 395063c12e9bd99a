"""The walk that every received data set goes through before it is acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from node.dicom import inflating, layouts, shapes
from node.dicom import syntax as syntaxes
from node.dicom import vr as vrs
from node.dicom import walk as walking
from node.dicom.syntax import Buffer

if TYPE_CHECKING:
    from node import model

_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_NEVER = walking.NEVER
_MANY = 2000  # elements up to which a table is made on the way, so that the next file's can be recognised
_BATCH = 4096  # rows looked at before they are forgotten
_STUDY, _SERIES = 0x0020000D, 0x0020000E
_UIDS = (_SOP_CLASS, _SOP_INSTANCE, _STUDY, _SERIES)


def check(
    buffer: Buffer, syntax: str, *, cap: int = inflating.MOST, depth: int = walking.DEPTH
) -> model.Identity:
    """Who the instance says it is, "" where it does not; `errors.BadData` when its framing is not sound.

    Every element's length is held against what encloses it, pixel values are skipped by theirs, and memory
    stays flat however many elements come. What is tolerated stands in
    `node.dicom.walk`. A deflated data set is inflated on the way, up to `cap` bytes.
    """
    enc = syntaxes.encoding(syntax)
    if enc.deflated:
        small = syntaxes.inflated(buffer, min(cap, inflating.SMALL))
        if small is None:
            found = inflating.check(buffer, _UIDS, cap=cap, depth=depth)
            return _identity(*(_uid(found.get(tag, b""), 0, 256) for tag in _UIDS))
        buffer = small
    end = len(buffer)
    try:
        rows, _ = walking.walk(buffer, 0, end, enc, depth=depth, most=_MANY)
    except walking.TooMany:
        return _check_without_table(buffer, end, enc, depth)
    top = layouts.tops(rows)
    uids = []
    for tag in _UIDS:
        at = top.get(tag)
        uids.append("" if at is None else _uid(buffer, rows[at][3], rows[at][4]))
    return _identity(*uids)


def _identity(sop_class: str, sop_instance: str, study: str, series: str) -> model.Identity:
    from node import model  # all the program's words: whoever only edits bytes need not wait for them

    return model.Identity(sop_class, sop_instance, study, series)


def _check_without_table(buffer: Buffer, end: int, enc: syntaxes.Encoding, depth: int) -> model.Identity:
    """The same walk for a data set of very many elements, which keeps nothing of them."""
    order, explicit = enc.order, enc.explicit
    read_explicit, read_implicit, _ = walking.readers(order)
    short, known = vrs.SHORT[order], vrs.IMPLICIT
    advance = shapes.SHAPES[order, explicit].advance
    uids = {_SOP_CLASS: "", _SOP_INSTANCE: "", _STUDY: "", _SERIES: ""}
    rows: list[shapes.Row] = []  # never more than a few thousand
    # the scope: its end, whether a delimiter ends it, whether it holds items, whether these are fragments
    limit, undefined, sequence, fragments = end, False, False, False
    stack: list[tuple[int, bool, bool, bool, bool]] = []
    pos = start = 0
    while True:
        if sequence:
            pass
        elif not stack:
            rows.clear()
            pos = advance(buffer, pos, end, _NEVER, rows, _BATCH)
            if rows:
                start = rows[-1][2]
                for row in rows:
                    if row[0] in uids and not uids[row[0]]:  # of one that stands twice, the first
                        uids[row[0]] = _uid(buffer, row[3], min(row[4], end))
        elif explicit:
            while pos + 8 <= limit:
                group, _, code, length = read_explicit(buffer, pos)
                if short[code] is None or group == 0xFFFE:
                    break
                start = pos
                pos += 8 + length
        else:
            while pos + 8 <= limit:
                group, element, length = read_implicit(buffer, pos)
                if length == 0xFFFFFFFF or group == 0xFFFE or known[group << 16 | element] == "SQ":
                    break
                start = pos
                pos += 8 + length
        if pos > limit:
            tag, _, offset, length = walking.element_header(buffer, start, end, explicit, order)
            walking.lie(f"a length of {length} reaches beyond what encloses it", start, tag)
        if pos == limit and not undefined:
            if not stack:
                break
            limit, undefined, sequence, fragments, explicit = stack.pop()
            continue
        if pos + 8 > limit:
            if not stack and walking.is_padding(buffer, pos, limit):
                break
            walking.lie("an element's header breaks off", pos)

        if sequence:
            group, element, length = read_implicit(buffer, pos)
            tag = group << 16 | element
            after = pos + 8 + length
            if tag == vrs.ITEM and (fragments or length != 0xFFFFFFFF):
                if after > limit:
                    walking.lie(f"an item's length of {length} reaches beyond what encloses it", pos, tag)
                if fragments:
                    pos = after
                    continue
                stack.append((limit, undefined, True, False, explicit))
                limit, undefined, sequence = after, False, False
            elif tag == vrs.ITEM:
                stack.append((limit, undefined, True, False, explicit))
                undefined, sequence = True, False
            elif tag == vrs.SEQUENCE_END and length == 0:
                if undefined:
                    limit, undefined, sequence, fragments, explicit = stack.pop()
            else:
                walking.lie("something else than an item stands in a sequence", pos, tag)
            pos += 8
            continue

        tag, name, offset, length = walking.element_header(buffer, pos, limit, explicit, order)
        if tag >> 16 == 0xFFFE:
            if tag != vrs.ITEM_END or length or not stack:
                walking.lie("an item or delimiter stands where an element must", pos, tag)
            pos = offset
            if undefined:
                limit, undefined, sequence, fragments, explicit = stack.pop()
            continue
        if tag == 0 and not stack and walking.is_padding(buffer, pos, limit):
            break
        after = offset + length
        if length != 0xFFFFFFFF:
            if after > limit:
                walking.lie(f"a length of {length} reaches beyond what encloses it", pos, tag)
            if name != "SQ":
                if not stack and tag in uids and not uids[tag]:
                    uids[tag] = _uid(buffer, offset, after)
                pos = after
                continue
            stack.append((limit, undefined, False, False, explicit))
            limit, undefined = after, False
        else:
            if name not in walking.MAY_BE_UNDEFINED:
                walking.lie(f"a {name} of undefined length cannot be", pos, tag)
            stack.append((limit, undefined, False, False, explicit))
            undefined = True
        if len(stack) > depth:
            walking.lie(f"more than {depth} sequences and items lie within each other", pos, tag)
        fragments = tag == vrs.PIXEL_DATA or name in ("OB", "OW")
        if name == "UN":
            explicit = False
        sequence, pos = True, offset
    return _identity(uids[_SOP_CLASS], uids[_SOP_INSTANCE], uids[_STUDY], uids[_SERIES])


def _uid(buffer: Buffer, start: int, end: int) -> str:
    """The text of a UID element; what is no text comes out as it can, and is then no valid UID."""
    return str(buffer[start:end], "latin-1").rstrip("\0 ")
