"""The data sets of the Storage Commitment Push Model (PS3.4 J.3): read from bytes, written as bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from node.dicom import encode, scan, values
from node.dicom import syntax as syntaxes

SOP_CLASS = "1.2.840.10008.1.20.1"
SOP_INSTANCE = "1.2.840.10008.1.20.1.1"  # the well-known one
REQUEST = 1  # Action Type ID
ALL_COMMITTED = 1  # Event Type ID
SOME_FAILED = 2  # Event Type ID

_TRANSACTION = 0x00081195
_REFERENCED = 0x00081199
_FAILED = 0x00081198
_CLASS = 0x00081150
_INSTANCE = 0x00081155
_REASON = 0x00081197


@dataclasses.dataclass(frozen=True, slots=True)
class Reference:
    """One instance that a request or a report names."""

    sop_class: str  # Referenced SOP Class UID, "" when absent
    sop_instance: str  # Referenced SOP Instance UID, "" when absent
    failure: int = 0  # Failure Reason in a report; 0: committed


@dataclasses.dataclass(frozen=True, slots=True)
class Transaction:
    """A request, or the report that answers it."""

    uid: str | None  # Transaction UID; None: the element is absent, "": it is empty
    references: tuple[Reference, ...] | None  # what it is about; None: there is no sequence of references

    @property
    def failed(self) -> tuple[Reference, ...]:
        """What is not committed."""
        return tuple(reference for reference in self.references or () if reference.failure)


def read(buffer: bytes, syntax: str) -> Transaction:
    """Read a request or a report; raises BadData when its framing is not sound."""
    table = scan.scan(buffer, syntax)
    row = table.find(_TRANSACTION)
    uid = None if row is None else _text(table.value(row))
    sequences = [at for at in map(table.find, (_REFERENCED, _FAILED)) if at is not None]
    if not sequences:
        return Transaction(uid, None)
    references = []
    for sequence in sequences:
        failed = table.rows[sequence][0] == _FAILED
        references += [_reference(table, item, failed=failed) for item in table.children(sequence)]
    return Transaction(uid, tuple(references))


def _reference(table: scan.Table, item: int, *, failed: bool) -> Reference:
    found = {table.rows[at][0]: at for at in table.children(item)}
    sop_class, sop_instance = (
        _text(table.value(found[tag])) if tag in found else "" for tag in (_CLASS, _INSTANCE)
    )
    if not failed:
        return Reference(sop_class, sop_instance)
    reason = table.value(found[_REASON]) if _REASON in found else None
    # A report that gives no reason still says that it failed: 0110, processing failure.
    return Reference(sop_class, sop_instance, reason if isinstance(reason, int) and reason else 0x0110)


def _text(value: values.Value) -> str:
    return value.strip("\0 ") if isinstance(value, str) else ""


def request(uid: str, references: Sequence[Reference], syntax: str) -> bytes:
    """Write an N-ACTION's Action Information."""
    form = _form(syntax)
    items = [_item(reference, form) for reference in references]
    return encode.element(_TRANSACTION, "UI", _uid(uid), form) + encode.sequence(_REFERENCED, items, form)


def report(uid: str, references: Sequence[Reference], syntax: str) -> bytes:
    """Write an N-EVENT-REPORT's Event Information."""
    form = _form(syntax)
    parts = [encode.element(_TRANSACTION, "UI", _uid(uid), form)]
    failed = [_item(reference, form) for reference in references if reference.failure]
    committed = [_item(reference, form) for reference in references if not reference.failure]
    # In the order of their tags; a sequence that would be empty is left out.
    if failed:
        parts.append(encode.sequence(_FAILED, failed, form))
    if committed:
        parts.append(encode.sequence(_REFERENCED, committed, form))
    return b"".join(parts)


def _item(reference: Reference, form: encode.Form) -> bytes:
    parts = [
        encode.element(_CLASS, "UI", _uid(reference.sop_class), form),
        encode.element(_INSTANCE, "UI", _uid(reference.sop_instance), form),
    ]
    if reference.failure:
        reason = reference.failure.to_bytes(2, "little" if form.order == "<" else "big")
        parts.append(encode.element(_REASON, "US", reason, form))
    return b"".join(parts)


def _uid(uid: str) -> bytes:
    raw = uid.encode("ascii", "replace")
    return raw + b"\0" * (len(raw) & 1)


def _form(syntax: str) -> encode.Form:
    encoding = syntaxes.encoding(syntax)
    return encode.Form(explicit=encoding.explicit, order=encoding.order)
