"""How a record of the journal is written: a header, the receipt facts, the data set, zeros to a block."""

from __future__ import annotations

import dataclasses
import datetime
import json
import pathlib
import struct
import zlib

from node import model
from node.files import disk as disks

ALIGN = 4096  # records begin here, so that no acknowledged block is ever written again
MAX_RECORD = 4 << 20  # longer ones are torn length fields

# magic, version, meta length, generation, offset, payload length, CRC, digest
HEADER = struct.Struct("<4sHHIIII32s")
MAGIC = b"DNJ1"
VERSION = 1
_CRC_AT = 20
_ZEROS = bytes(ALIGN)
_encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a record begins."""

    generation: int  # which use of which segment
    offset: int  # bytes from the segment's beginning


def meta(arrival: model.Arrival, spooled: str, note: str) -> bytes:
    """The receipt facts of a record; `spooled` names the file with the bytes, "" when the record has them."""
    identity = arrival.identity
    return _encode(
        (
            identity.sop_class,
            identity.sop_instance,
            identity.study,
            identity.series,
            arrival.syntax,
            arrival.size,
            arrival.calling,
            arrival.called,
            arrival.address,
            arrival.peer,
            arrival.association,
            arrival.received.isoformat(timespec="microseconds"),
            spooled,
            note,
        )
    ).encode("ascii")


def parse_meta(raw: bytes, digest: bytes) -> tuple[model.Arrival, str, str]:
    """The arrival, the spool file's name and the note that `meta` wrote."""
    fields = json.loads(raw)
    identity = model.Identity(*fields[:4])
    received = datetime.datetime.fromisoformat(fields[11])
    calling, called, address, peer, association = fields[6:11]
    arrival = model.Arrival(
        identity,
        fields[4],
        "sha256:" + digest.hex(),
        fields[5],
        calling,
        called,
        address,
        peer,
        association,
        received,
    )
    return arrival, fields[12], fields[13]


def crc(header: bytes | bytearray | memoryview, raw_meta: bytes | memoryview) -> int:
    """The checksum over a header, its own field left out, and the meta behind it."""
    return zlib.crc32(raw_meta, zlib.crc32(header[_CRC_AT + 4 :], zlib.crc32(header[:_CRC_AT])))


def length(meta_length: int, payload_length: int) -> int:
    """Bytes that a record takes, its padding included."""
    return -(-(HEADER.size + meta_length + payload_length) // ALIGN) * ALIGN


def framed(raw_meta: bytes, digest: bytes, payload: disks.Buffer, place: Place) -> list[disks.Buffer]:
    """The buffers of a record that begins at `place`."""
    header = bytearray(
        HEADER.pack(MAGIC, VERSION, len(raw_meta), place.generation, place.offset, len(payload), 0, digest)
    )
    header[_CRC_AT : _CRC_AT + 4] = crc(header, raw_meta).to_bytes(4, "little")
    header += raw_meta
    padding = length(len(raw_meta), len(payload)) - len(header) - len(payload)
    return [header, payload, _ZEROS[:padding]]


def first_generation(path: pathlib.Path) -> int:
    """The generation of a segment's first record, 0 when it holds none."""
    try:
        with open(path, "rb", buffering=0) as file:
            start = file.read(ALIGN)
    except OSError:
        return 0
    if len(start) < HEADER.size:
        return 0
    magic, version, meta_length, generation, offset, _, stored, _ = HEADER.unpack_from(start)
    end = HEADER.size + meta_length
    if magic != MAGIC or version != VERSION or offset != 0 or end > len(start):
        return 0
    sound = crc(start[: HEADER.size], start[HEADER.size : end]) == stored
    return generation if sound else 0
