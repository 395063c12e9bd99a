"""Mutates images and has them transcoded; broken is what a worker crashes over or cannot explain.

`python -m tests.fuzz.pixels --seconds 3600`. What breaks something is written to a file, which
`--replay` takes together with `--target`.
"""

from __future__ import annotations

import pathlib
import random
import tempfile
import time

import imagecodecs
import numpy as np

from node import errors, transcoding
from node.dicom import part10, transcode
from node.send import base
from tests import encoded, make
from tests.fuzz import NO_END, options

TARGETS = (make.EXPLICIT, make.IMPLICIT, make.BIG, *transcode.COMPRESSED)
_ODD = (b"\0\0", b"\xff\xff", b"\x7f\xff", b"\x80\0", b"\xff\xd9", b"\xff\x4f", b"\xfe\xff\xdd\xe0")


def seeds(folder: pathlib.Path) -> list[make.Made]:
    """The image in each syntax that can be decoded, the newer ones too."""
    found = [encoded.encoded(uid, folder) for uid in encoded.DCMTK]
    found += [encoded.encoded(uid, folder) for uid in (encoded.NEAR_LOSSLESS, *encoded.OPENJPEG)]
    found += [encoded.encoded(uid, folder) for uid in (encoded.UNCOMPRESSED_FRAMES, encoded.DEFLATED_FRAMES)]
    frames = [np.frombuffer(raw, "<u2").reshape(encoded.ROWS, -1) for raw in encoded._frames(12)]
    for uid, encode in (
        ("1.2.840.10008.1.2.4.201", lambda one: imagecodecs.htj2k_encode(one, reversible=True)),
        ("1.2.840.10008.1.2.4.110", lambda one: imagecodecs.jpegxl_encode(one, lossless=True)),
    ):
        parts = [bytes(encode(frame)) for frame in frames]
        pixels = make.Element(
            0x7FE00010, "OB", fragments=(b"", *(one + b"\0" * (len(one) % 2) for one in parts))
        )
        found.append(encoded._built(uid, pixels, make.EXPLICIT))
    return found


def mutated(original: make.Made, chance: random.Random) -> bytes:
    """Mostly within the pixel data; the header around it has a fuzzer of its own."""
    data = bytearray(original.data)
    begin = max(data.rfind(b"\xe0\x7f\x10\x00"), 0)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        at = chance.randrange(begin if chance.random() < 0.8 else 0, len(data))
        match chance.randrange(5):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at] ^= 1 << chance.randrange(8)
            case 2:
                data[at : at + 4] = b"\xff" * min(4, len(data) - at)
            case 3:
                del data[at : at + chance.randrange(8)]
            case _:
                odd = chance.choice(_ODD)
                data[at : at + len(odd)] = odd
    return bytes(data)


def fuzz(seconds: float, seed: int, folder: pathlib.Path, most: int = NO_END) -> int:
    """Mutate for so long; return how many mutations there were, or raise what broke."""
    chance = random.Random(seed)
    end = time.monotonic() + seconds
    count = slow = 0
    limits = transcoding.Limits(seconds=10.0)
    with (
        tempfile.TemporaryDirectory() as place,
        transcoding.Transcoder(processes=1, limits=limits) as transcoder,
    ):
        path = pathlib.Path(place, "one")
        originals = seeds(path.parent)
        while count < most and time.monotonic() < end:
            original = chance.choice(originals)
            data = mutated(original, chance)
            target = chance.choice([uid for uid in TARGETS if uid != original.syntax])
            path.write_bytes(data)
            item = base.Item(original.sop_class, original.sop_instance, original.syntax, path, 0, len(data))
            try:
                transcoder.drop(transcoder.make(item, target))
            except (errors.BadData, errors.UsageError):
                pass
            except errors.NodeError as error:
                # A library that loops is given up; that is what the limit is for, and it is told below.
                if isinstance(error, errors.TranscodingFailed) and "took longer" in str(error):
                    slow += 1
                    kind = "slow"
                else:
                    kind = "pixels"
                folder.mkdir(parents=True, exist_ok=True)
                kept = folder / f"{kind}-{seed}-{count}.dcm"
                whole = make.Made(original.sop_class, original.sop_instance, "", "", original.syntax, data)
                kept.write_bytes(make.part10(whole))
                print(f"{error} ({kept}): python -m tests.fuzz.pixels --replay {kept} --target {target}")
                if kind != "slow":
                    raise
            count += 1
    print(f"{slow} took longer than they may")
    return count


def replay(path: pathlib.Path, target: str) -> None:
    """Transcode it in this process, where a debugger reaches it."""
    raw = path.read_bytes()
    head = part10.part10(raw)
    with tempfile.TemporaryFile() as out:
        transcode.transcode(raw[head.offset :], head.syntax, target, out)


def main() -> None:
    """Fuzz from the command line."""
    parser = options(__doc__)
    parser.add_argument("--target", default=make.EXPLICIT)
    given = parser.parse_args()
    if given.replay:
        replay(given.replay, given.target)
        return
    count = fuzz(given.seconds, given.seed, given.folder, most=given.most)
    print(f"{count} images with seed {given.seed}: nothing broke")


if __name__ == "__main__":
    main()
