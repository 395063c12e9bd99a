"""Voxels written behind a header: from file to file, made, or decoded, they are those of the array."""

from __future__ import annotations

import dataclasses
import pathlib
from concurrent import futures

import numpy as np
import pydicom.encaps
import pydicom.uid
import pytest

from node.dicom import codecs
from node.loading import spans, voxels
from node.volume import image, stack, table
from tests import stacks

FRAMES = np.random.default_rng(7).integers(0, 4096, (5, 4, 6)).astype("<u2")


def _files(folder: pathlib.Path, syntax: str) -> list[table.Source]:
    found = []
    for at, frame in enumerate(FRAMES):
        raw = frame.tobytes()
        if syntax == pydicom.uid.ExplicitVRBigEndian:
            raw = frame.astype(">u2").tobytes()
        elif syntax != pydicom.uid.ExplicitVRLittleEndian:
            shown = codecs.pixels.Pixels(4, 6, 1, "MONOCHROME2", False, 1, 16, 16, False)
            raw = pydicom.encaps.encapsulate([codecs.ENCODERS[syntax].encode(frame[..., None], shown)])
        found.append(stacks.written(folder / f"{at}", raw, syntax=syntax))
    return found


def _written(folder: pathlib.Path, made: image.Image) -> tuple[np.ndarray, list[tuple[int, int, str]]]:
    said: list[tuple[int, int, str]] = []
    with (folder / "out").open("w+b") as out:
        out.write(b"head")
        out.flush()
        spans.copy(out.fileno(), 4, made, lambda *words: said.append(words))
        out.seek(0)
        raw = out.read()
    assert raw[:4] == b"head"
    return np.frombuffer(raw[4:], made.dtype).reshape(made.shape), said


@pytest.mark.parametrize(
    "syntax",
    [
        pydicom.uid.ExplicitVRLittleEndian,
        pydicom.uid.ExplicitVRBigEndian,
        pydicom.uid.JPEG2000Lossless,
        pydicom.uid.JPEGLosslessSV1,
        pydicom.uid.JPEGLSLossless,
        pydicom.uid.RLELossless,
    ],
)
def test_every_way_writes_the_voxels(tmp_path: pathlib.Path, syntax: str) -> None:
    made = voxels.image(stacks.of(_files(tmp_path, syntax)), jobs=2)
    assert (made.spans is not None) == (syntax == pydicom.uid.ExplicitVRLittleEndian)
    found, said = _written(tmp_path, made)
    assert np.array_equal(found, FRAMES)
    assert said[-1][0] == said[-1][1]


def test_frames_of_one_file_are_one_range(tmp_path: pathlib.Path) -> None:
    source = stacks.written(tmp_path / "a", FRAMES.tobytes(), NumberOfFrames=5)
    made = voxels.image(stacks.of([source], [(0, at, 0) for at in range(5)]))
    assert made.spans is not None
    assert [(run.first, run.many) for run in spans.runs(made.spans)] == [(0, 5)]
    backwards = voxels.image(stacks.of([source], [(0, at, 0) for at in (4, 0, 1, 3, 2)]))
    assert backwards.spans is not None
    assert [(run.first, run.many) for run in spans.runs(backwards.spans)] == [(0, 1), (1, 2), (3, 1), (4, 1)]
    assert np.array_equal(_written(tmp_path, backwards)[0], FRAMES[[4, 0, 1, 3, 2]])


def test_a_hole_where_a_frame_is_missing_is_zeros(tmp_path: pathlib.Path) -> None:
    found = stacks.of(_files(tmp_path, pydicom.uid.ExplicitVRLittleEndian))
    order = np.array([[0, -1], [2, 4], [1, -1]])
    axes = (stack.Axis("time", np.arange(3.0)), stack.Axis("slice", np.arange(2.0)))
    made = voxels.image(stack.Stack(found.table, order, axes, None, stack.Verdict.GAPS))
    wanted = np.where((order >= 0)[..., None, None], FRAMES[order], 0)
    assert np.array_equal(_written(tmp_path, made)[0], wanted)
    assert np.array_equal(made.voxels(), wanted)


def test_an_array_of_somebody_else_is_written_whatever_its_layout(tmp_path: pathlib.Path) -> None:
    own = np.asfortranarray(FRAMES)
    axes = tuple(stack.Axis(name, np.arange(1.0)) for name in ("slice", "row", "column"))
    made = image.Image(own.shape, own.dtype, axes, None, 1.0, 0.0, "", lambda: own)
    assert np.array_equal(_written(tmp_path, made)[0], FRAMES)


def test_frames_in_another_order_are_still_copied_and_masked(tmp_path: pathlib.Path) -> None:
    sources = [
        stacks.written(
            tmp_path / f"{at}",
            (frame | 0x8000).astype("<u2").tobytes(),
            BitsStored=12,
            HighBit=11,
            OverlayBitPosition=15,
        )
        for at, frame in enumerate(FRAMES)
    ]
    made = voxels.image(stacks.of(sources))
    assert made.spans is not None
    backwards = dataclasses.replace(
        made,
        spans=dataclasses.replace(made.spans, file=made.spans.file[::-1], offset=made.spans.offset[::-1]),
        voxels=lambda: made.voxels()[::-1],
    )
    assert np.array_equal(_written(tmp_path, backwards)[0], FRAMES[::-1])


@pytest.mark.parametrize("size", [16, 48, 1 << 20])
@pytest.mark.parametrize("syntax", [pydicom.uid.ExplicitVRLittleEndian, pydicom.uid.RLELossless])
def test_pieces_make_the_whole(tmp_path: pathlib.Path, syntax: str, size: int) -> None:
    made = voxels.image(stacks.of(_files(tmp_path, syntax)), jobs=1)
    found = list(spans.parts(made, size))
    assert b"".join(found) == FRAMES.tobytes()
    assert max(map(len, found)) <= size


def test_threads_may_decode_side_by_side(tmp_path: pathlib.Path) -> None:
    made = voxels.image(stacks.of(_files(tmp_path, pydicom.uid.RLELossless)), jobs=2)
    with futures.ThreadPoolExecutor(4) as pool:
        found = [pool.submit(made.voxels) for _ in range(12)]
        for one in found:
            assert np.array_equal(one.result(timeout=60), FRAMES)
