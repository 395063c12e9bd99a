"""Headers with a few bytes changed, or cut off: a table, a reason, never anything else."""

import contextlib
import io
import pathlib
import zipfile

import numpy as np
import pydicom
import pytest

from node import errors
from node.dicom import part10
from node.loading import headers
from node.volume import table
from node.volume.reading import read as reading
from node.volume.reading import vendors
from tests import series

_SERIES = (
    "ct_j2k",
    "dwi_ge",
    "dwi_philips",
    "dwi_siemens",
    "dwi_uih",
    "dose",
    "enhanced_mr_dwi",
    "enhanced_pet",
    "mosaic_dwi",
    "nm",
    "us_ybr",
)


def _try(content: bytes) -> reading.Rows | None:
    try:
        head = part10.part10(content, bare=True)
        found = reading.rows(content, head.offset, head.syntax, "it.dcm", ("EchoTime", "**.StackID"))
    except errors.BadData:
        return None
    made = headers.assemble([found])
    assert len(made) == found.count
    for name, column in made.columns.items():
        assert len(column) == found.count, name
        if name in table.COLUMNS and table.COLUMNS[name].kind == table.NUMBER:
            assert not np.isinf(column).any(), name
    place = found.source.place
    if place is not None:
        for begin, end in [part for parts in place.fragments for part in parts]:
            assert 0 <= begin <= end <= len(content)
        assert place.fragments or place.offset + place.length <= len(content)
    return found


def _changed(content: bytes, rng: np.random.Generator) -> bytes:
    made = bytearray(content)
    # The last bytes are pixels; what is changed is mostly header. Lengths are what hurts: small, huge, odd.
    for at in rng.integers(132, max(133, len(made) - 400), int(rng.integers(1, 6))).tolist():
        made[at] = int(rng.choice([0, 1, 0xFF, 0x7F, rng.integers(256)]))
    if rng.random() < 0.2:
        del made[int(rng.integers(0, len(made))) :]
    return bytes(made)


def _fuzz(name: str, times: int, seed: int) -> int:
    rng = np.random.default_rng(seed)
    taken = 0
    contents = [one for one in (series.files(name)[0], series.files(name)[-1]) if len(one) > 200]
    for _ in range(times):
        content = _changed(contents[int(rng.integers(len(contents)))], rng)
        taken += _try(content) is not None
        try:
            head = part10.part10(content, bare=True)
            vendors.acquisition(content[head.offset :], head.syntax)
        except errors.BadData:
            pass
    return taken


@pytest.mark.parametrize("name", _SERIES)
def test_changed_bytes_give_rows_or_a_reason(name: str) -> None:
    assert 0 < _fuzz(name, 60, 1) <= 60


@pytest.mark.soak
@pytest.mark.parametrize("name", [name for name in series.NAMES if name not in series.BAD])
def test_many_changed_bytes_give_rows_or_a_reason(name: str) -> None:
    _fuzz(name, 5000, 2)


def test_whatever_part_of_a_file_is_there_gives_rows_or_a_reason(tmp_path: pathlib.Path) -> None:
    content = series.files("enhanced_mr_dwi")[0]
    path = tmp_path / "part.dcm"
    for size in range(0, len(content), 397):
        path.write_bytes(content[:size])
        found = headers.read([str(path)])
        assert len(found) == 0
        assert len(found.skipped) == 1


@pytest.mark.parametrize(
    ("keyword", "value", "why"),
    [
        ("NumberOfFrames", 999_999_999, table.Why.DAMAGED),
        ("Rows", 65535, table.Why.DAMAGED),
        ("Rows", 0, table.Why.DAMAGED),
        ("BitsStored", 17, table.Why.DAMAGED),
        ("BitsAllocated", 12, table.Why.DAMAGED),
    ],
)
def test_sizes_that_cannot_be_are_refused_before_anything_is_made(
    tmp_path: pathlib.Path, keyword: str, value: int, why: table.Why
) -> None:
    made = pydicom.dcmread(series.write("ct_axial", tmp_path)[0])
    setattr(made, keyword, value)
    path = tmp_path / "it"
    made.save_as(path)
    (skipped,) = headers.read([str(path)]).skipped
    assert skipped.why is why


def test_frames_that_are_as_small_as_a_bit_are_counted_before_rows_are_made(tmp_path: pathlib.Path) -> None:
    made = pydicom.dcmread(series.write("ct_axial", tmp_path)[0])
    made.Rows = made.Columns = made.BitsAllocated = made.BitsStored = 1
    made.HighBit = 0
    made.NumberOfFrames = reading.MOST_FRAMES + 1
    made.PixelData = bytes(reading.MOST_FRAMES // 8 + 2)
    path = tmp_path / "it"
    made.save_as(path)
    (skipped,) = headers.read([str(path)]).skipped
    assert skipped.why is table.Why.UNSUPPORTED
    assert "1000001 frames" in skipped.detail


def test_a_header_beyond_every_size_is_refused_and_not_read_for_ever(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "sparse.dcm"
    path.write_bytes(series.files("ct_axial")[0][:400])
    with path.open("r+b") as out:
        out.truncate(1 << 40)  # a terabyte of nothing
    found = headers.read([str(path)])
    assert len(found) == 0
    assert len(found.skipped) == 1


def test_a_changed_archive_gives_files_or_a_reason(tmp_path: pathlib.Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, content in enumerate(series.files("ct_axial")):
            archive.writestr(f"{number}.dcm", content)
    whole = out.getvalue()
    rng = np.random.default_rng(3)
    path = tmp_path / "it.zip"
    for _ in range(60):
        made = bytearray(whole)
        for at in rng.integers(4, len(made), 4).tolist():
            made[at] = int(rng.integers(256))
        path.write_bytes(made)
        with contextlib.suppress(errors.BadData), headers.opened([str(path)]) as paths:
            found = headers.read(paths)
            assert len(found.sources) + len(found.skipped) == len(paths)
