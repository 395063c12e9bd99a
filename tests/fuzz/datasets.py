"""Mutates data sets and files and gives them to all that reads bytes from outside.

`python -m tests.fuzz.datasets --seconds 3600`. What breaks something is written to a file, which
`--replay` takes. Broken is: another error than the two that say what is wrong, or an edit whose result
cannot be read again although its original could.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import random
import time
from collections.abc import Callable

from node import errors
from node.dicom import edit, header, inflating, scan, walk
from node.dicom import syntax as syntaxes
from tests import make
from tests.fuzz import NO_END, options

CAP = 1 << 20  # bytes that a mutation may have
CHANGES = edit.Program(
    [
        edit.Set("PatientID", "FUZZ"),
        edit.Remove("**.@private"),
        edit.Empty("**.PatientBirthDate"),
        edit.RemapUids(lambda uid: "2.25.1"),
    ]
)
UIDS = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E)
ODD = (b"??", b"  ", b"--")  # in the place of a VR: what follows depends on where the data set ends
SYNTAXES = (make.IMPLICIT, make.EXPLICIT, make.BIG)


def seeds() -> list[bytes]:
    """Sound files in every basic encoding, with nesting in both length forms and text in several sets."""
    found = []
    for number, syntax in enumerate(SYNTAXES):
        found.append(make.part10(make.instance(number, syntax=syntax, size=2000, lengths="undefined")))
        found.append(make.part10(make.instance(number, syntax=syntax, size=900, lengths="defined")))
    found.append(make.part10(make.nested(20, "undefined")))
    found.append(make.part10(make.nested(20, "defined")))
    return found


def mutated(original: bytes, chance: random.Random) -> bytes:
    """Flip, set, cut, double, move and lie, a few times."""
    data = bytearray(original)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data)) if data else 0
        size = min(chance.choice((1, 2, 4, 8, 64)), len(data) - at)
        match chance.randrange(6):
            case 0:
                data[at : at + size] = chance.randbytes(size)
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = data[at : at + size]
            case 3:
                data[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xfe\xff\x00\xe0"))
            case 4:
                data[at:at] = bytes.fromhex(
                    chance.choice(("feff00e0ffffffff", "feffdde000000000", "08000500"))
                )
            case _:
                data = data[: max(1, at)]
    return bytes(data[:CAP])


def read(data: bytes) -> None:
    """Everything that reads what came from outside."""
    head = scan.part10(data, bare=True)
    body = memoryview(data)[head.offset :]
    for one in (scan.check, header.attributes, scan.scan):
        with contextlib.suppress(errors.BadData):
            one(body, head.syntax)  # type: ignore[operator]


def changed(data: bytes) -> None:
    """An edit says why not, or gives what can be read and edited again."""
    edit.edit_file(data, CHANGES, bare=True)
    head = scan.part10(data, bare=True)
    body = data[head.offset :]
    if any(row[0] >> 16 <= 2 for row in scan.scan(body, head.syntax).rows):
        return  # file meta in a data set: what stands first after the edit may make it no data set at all
    result = edit.edit(body, head.syntax, CHANGES)
    again = result.tobytes()
    assert len(again) == result.length, "the length that was told is another one"
    try:
        twice = edit.edit(again, head.syntax, CHANGES)
    except errors.NodeError as error:
        raise AssertionError(f"the result of an edit cannot be edited: {error}") from error
    assert twice.tobytes() == again, "the same edit again changes something"


def streamed(data: bytes) -> None:
    """Deflated and walked while it is inflated, it is judged as it is when it lies there as a whole."""
    head = scan.part10(data, bare=True)
    if head.syntax != make.EXPLICIT:
        return
    body = data[head.offset :]
    plain: tuple[str, ...] | None
    walked: tuple[str, ...] | None
    try:
        plain = tuple(dataclasses.astuple(scan.check(body, make.EXPLICIT)))
    except errors.BadData as error:
        plain = None if "no VR stands" not in str(error) else ()
    try:
        found = inflating.check(syntaxes.deflate(body), UIDS, cap=1 << 30, depth=walk.DEPTH)
        walked = tuple(str(found.get(tag, b""), "latin-1").rstrip("\0 ") for tag in UIDS)
    except errors.BadData:
        walked = None
    assert walked == plain or plain == () or any(odd in body for odd in ODD), f"{walked} and not {plain}"


def one(data: bytes) -> None:
    """Give it to all; what it is refused with must be one of our own sentences."""
    for use in (read, changed, streamed):
        with contextlib.suppress(errors.BadData, errors.UsageError):
            use(data)


def fuzz(
    seconds: float,
    seed: int,
    folder: pathlib.Path,
    use: Callable[[bytes], None] = one,
    most: int = NO_END,
) -> int:
    """Mutate for so long, or so often; return how many mutations there were, or raise what broke."""
    chance = random.Random(seed)
    originals = seeds()
    end = time.monotonic() + seconds
    count = 0
    while count < most and time.monotonic() < end:
        data = mutated(chance.choice(originals), chance)
        try:
            use(data)
        except BaseException:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"dataset-{seed}-{count}.dcm"
            path.write_bytes(data)
            print(f"broken by {path}: python -m tests.fuzz.datasets --replay {path}")
            raise
        count += 1
    return count


def main() -> None:
    """Fuzz from the command line."""
    given = options(__doc__).parse_args()
    if given.replay:
        one(given.replay.read_bytes())
        return
    count = fuzz(given.seconds, given.seed, given.folder, most=given.most)
    print(f"{count} data sets with seed {given.seed}: nothing broke")


if __name__ == "__main__":
    main()
