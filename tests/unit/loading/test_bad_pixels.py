"""Pixels that lie, break off, crash what decodes, or never end: the file is named, nothing is made."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import signal
import time

import numpy as np
import pydicom.encaps
import pydicom.uid
import pytest

from node import errors
from node.dicom import codecs
from node.loading import decode, spans, voxels
from node.volume import table
from tests import stacks

RLE = pydicom.uid.RLELossless
J2K = pydicom.uid.JPEG2000Lossless


def _all(*sources: table.Source, count: int = 1) -> np.ndarray:
    rows = [(at, frame, 0) for at in range(len(sources)) for frame in range(count)]
    return voxels.image(stacks.of(sources, rows)).voxels()


def test_a_frame_of_65535_rows_and_columns_in_few_bytes(tmp_path: pathlib.Path) -> None:
    source = stacks.written(tmp_path / "huge", b"\0" * 48, Rows=65535, Columns=65535, NumberOfFrames=65535)
    with pytest.raises(errors.BadData, match="huge"):
        _all(source)


def test_the_same_in_a_compressed_one(tmp_path: pathlib.Path) -> None:
    coded = codecs.ENCODERS[J2K].encode(
        np.zeros((4, 6, 1), "<u2"), dataclasses.replace(_shown(), rows=4, columns=6)
    )
    source = stacks.written(
        tmp_path / "huge", pydicom.encaps.encapsulate([coded]), syntax=J2K, Rows=65535, Columns=65535
    )
    with pytest.raises(errors.BadData, match="huge"):
        _all(source)


def test_pixel_data_that_ends_too_soon(tmp_path: pathlib.Path) -> None:
    source = stacks.written(tmp_path / "short", b"\0" * 46)
    with pytest.raises(errors.BadData, match="short"):
        _all(source)


def test_a_file_that_became_shorter(tmp_path: pathlib.Path) -> None:
    source = stacks.written(tmp_path / "cut", b"\0" * 48)
    made = voxels.image(stacks.of([source]))
    os.truncate(source.path, os.path.getsize(source.path) - 8)
    with pytest.raises(errors.BadData, match="cut"):
        made.voxels()
    with (tmp_path / "out").open("wb") as out, pytest.raises(errors.BadData, match="cut"):
        spans.copy(out.fileno(), 0, made)


def test_more_frames_than_fragments(tmp_path: pathlib.Path) -> None:
    data = pydicom.encaps.encapsulate([b"\0" * 64, b"\0" * 64])
    source = stacks.written(tmp_path / "few", data, syntax=RLE, NumberOfFrames=9)
    with pytest.raises(errors.BadData, match=r"few: 9 frames are said to be in 2 fragments"):
        _all(source, count=9)


def test_a_frame_that_cannot_be_decoded_names_its_file(tmp_path: pathlib.Path) -> None:
    sound = stacks.written(tmp_path / "sound", pydicom.encaps.encapsulate([_rle()]), syntax=RLE)
    broken = stacks.written(tmp_path / "broken", pydicom.encaps.encapsulate([b"\1" * 80]), syntax=RLE)
    assert not _all(sound).any()
    with pytest.raises(errors.BadData, match="broken"):
        _all(sound, broken, sound)


@pytest.mark.parametrize("syntax", [J2K, pydicom.uid.JPEGLosslessSV1, pydicom.uid.JPEGLSLossless])
def test_a_compressed_frame_that_breaks_off_is_not_filled_up(tmp_path: pathlib.Path, syntax: str) -> None:
    pixels = np.random.default_rng(7).integers(0, 4096, (64, 64, 1)).astype("<u2")
    coded = codecs.ENCODERS[syntax].encode(pixels, dataclasses.replace(_shown(), rows=64, columns=64))
    size = {"Rows": 64, "Columns": 64}
    whole = stacks.written(tmp_path / "a", pydicom.encaps.encapsulate([coded]), syntax=syntax, **size)
    assert np.array_equal(_all(whole)[0], pixels[..., 0])
    half = pydicom.encaps.encapsulate([coded[: len(coded) // 2]])
    source = stacks.written(tmp_path / "half", half, syntax=syntax, **size)
    with pytest.raises(errors.BadData, match="half"):
        _all(source)


def test_frames_of_different_sizes_are_no_volume(tmp_path: pathlib.Path) -> None:
    one = stacks.written(tmp_path / "a", b"\0" * 48)
    other = stacks.written(tmp_path / "b", b"\0" * 48, Rows=6, Columns=4)
    with pytest.raises(errors.BadData, match="4x6, 6x4"):
        _all(one, other)


def test_samples_in_the_highest_bits_are_refused(tmp_path: pathlib.Path) -> None:
    source = stacks.written(tmp_path / "high", b"\0" * 48, BitsStored=12, HighBit=15)
    with pytest.raises(errors.BadData, match="high: 12 bits below bit 15"):
        _all(source)


def test_bytes_that_should_be_compressed_are_not_taken_for_pixels(tmp_path: pathlib.Path) -> None:
    source = stacks.written(tmp_path / "bare", b"\0" * 50)
    with pytest.raises(errors.BadData, match="bare: its transfer syntax compresses"):
        _all(dataclasses.replace(source, syntax=RLE))


def test_a_crash_of_what_decodes_is_survived(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(data: bytes, shown: object) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    before = _children()
    source = stacks.written(tmp_path / "evil", pydicom.encaps.encapsulate([_rle()]), syntax=RLE)
    monkeypatch.setattr(codecs, "DECODERS", {**codecs.DECODERS, str(RLE): codecs.Codec(crash)})  # type: ignore[arg-type]
    with pytest.raises(errors.BadData, match=r"evil: frame 1: .* crashed \(SIGSEGV\)"):
        _all(source)
    assert _children() <= before


def test_a_decoder_that_never_ends_is_ended(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(data: bytes, shown: object) -> None:
        time.sleep(600)

    before = _children()
    source = stacks.written(tmp_path / "slow", pydicom.encaps.encapsulate([_rle()]), syntax=RLE)
    monkeypatch.setattr(codecs, "DECODERS", {**codecs.DECODERS, str(RLE): codecs.Codec(hang)})  # type: ignore[arg-type]
    monkeypatch.setattr(decode, "_SECONDS", 0.05)
    with pytest.raises(errors.BadData, match=r"slow: frame 1: decoding it took too long"):
        _all(source)
    assert _children() <= before


def test_an_unknown_transfer_syntax_is_named(tmp_path: pathlib.Path) -> None:
    data = pydicom.encaps.encapsulate([b"\0" * 64])
    source = stacks.written(tmp_path / "video", data, syntax=pydicom.uid.MPEG2MPML)
    with pytest.raises(errors.BadData, match=r"video: .*1\.2\.840\.10008\.1\.2\.4\.100"):
        _all(source)


def _rle() -> bytes:
    return codecs.ENCODERS[RLE].encode(np.zeros((4, 6, 1), "<u2"), _shown())


def _shown() -> codecs.pixels.Pixels:
    return codecs.pixels.Pixels(4, 6, 1, "MONOCHROME2", False, 1, 16, 16, False)


def _children() -> set[int]:
    """Children of this process, dead ones that nobody waited for too; other tests may have left some."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            stat = pathlib.Path("/proc", name, "stat").read_text().rpartition(")")[2].split()
            if int(stat[1]) == os.getpid():
                found.add(int(name))
    return found
