"""Headers and edits beside pydicom, files beside a plain copy by the kernel; no network in sight."""

from __future__ import annotations

import io
import os
import pathlib
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence

import pydicom

from bench import corpora, harness
from bench.harness import Target
from node.dicom import check, edit, header, layouts, scan, shapes
from node.dicom import vr as vrs

PIXELS = vrs.PIXEL_DATA
FIVE = {
    "PatientID": "BENCH-0001",
    "PatientName": "Bench^Patient",
    "AccessionNumber": "A4711",
    "StudyDescription": "Edited by the bench",
    "InstitutionName": "Nowhere",
}


def run(bench: harness.Bench) -> None:
    """Measure."""
    warnings.simplefilter("ignore")
    for name, raws in (
        ("CT series of 75 kB", _read(corpora.files("75 kB", bench.count(200)))),
        ("packaged CT, alone", [_packaged("CT_small.dcm")]),
        ("packaged MR, alone", [_packaged("MR_small.dcm")]),
        ("packaged MR, implicit VR, alone", [_packaged("MR_small_implicit.dcm")]),
    ):
        bench.compare(
            f"scan, {name}",
            {"node": _rate(_scan, raws), "pydicom": _rate(_pydicom_scan, raws)},
            unit="/s",
            targets={"pydicom": Target(10)},
        )
    series = _read(corpora.files("75 kB", bench.count(200)))
    bench.compare(
        "scan, nothing seen before",
        {"node": _rate(_scan, series, before=_forget), "pydicom": _rate(_pydicom_scan, series)},
        unit="/s",
    )
    bench.compare("check of a received CT", {"node": _rate(_check, series)}, unit="/s")
    bench.compare("header of a CT for the index", {"node": _rate(_attributes, series)}, unit="/s")
    program = edit.Program([edit.Set(name, value) for name, value in FIVE.items()])
    for size in ("4 kB", "75 kB", "525 kB"):
        raws = _read(corpora.files(size, bench.count(100)))
        bench.compare(
            f"five elements, bytes to ranges, {size}",
            {
                "node": _rate(lambda raw: edit.edit_file(raw, program), raws),
                "pydicom": _rate(_pydicom_edit, raws),
            },
            unit="/s",
            targets={"pydicom": Target(20)} if size != "4 kB" else None,
        )
    _tables(bench, series, program)
    for size in ("75 kB", "525 kB"):
        _files(bench, size, program)
    for size in ("75 kB", "525 kB"):
        _folders(bench, size)


def _tables(bench: harness.Bench, series: Sequence[bytes], five: edit.Program) -> None:
    """A table as de-identification has: what it costs more than five changes."""
    names = [name for name, tag in sorted(vrs.keywords().items()) if 0x00080050 < tag < 0x00400000][:400]
    rules: list[edit.Change] = [edit.Remove("**.@private"), edit.RemapUids(lambda uid: uid + ".1")]
    rules += [
        edit.Remove(f"**.{name}") for name in names if name not in ("SpecificCharacterSet", "PixelData")
    ]
    table = edit.Program(rules)
    bench.compare(
        f"a table of {len(rules)} rules",
        {
            "node": _rate(lambda raw: edit.edit_file(raw, table), series),
            "node, five changes": _rate(lambda raw: edit.edit_file(raw, five), series),
        },
        unit="/s",
    )


def _files(bench: harness.Bench, size: str, program: edit.Program) -> None:
    """File to new file, beside copying it."""
    paths = corpora.files(size, bench.count(100))
    with tempfile.TemporaryDirectory(dir=corpora.HERE) as folder:
        target = pathlib.Path(folder)

        def editing(source: int, sink: int, length: int) -> None:
            edit.edit_descriptor(source, sink, program)

        def copying(source: int, sink: int, length: int) -> None:
            done = 0
            while done < length:
                done += os.copy_file_range(source, sink, length - done)

        bench.compare(
            f"file to new file, {size}",
            {"node": _filing(editing, paths, target), "copy_file_range": _filing(copying, paths, target)},
            unit="/s",
            targets={"copy_file_range": Target(1 / 1.5)},
        )


_MEMORY = pathlib.Path("/dev/shm")
_LOOP = """
import pathlib, sys, warnings
import pydicom
warnings.simplefilter("ignore")
source, target = map(pathlib.Path, sys.argv[1:3])
target.mkdir()
for path in sorted(source.iterdir()):
    ds = pydicom.dcmread(path)
    for change in sys.argv[3:]:
        name, value = change.split("=")
        setattr(ds, name, value)
    ds.save_as(target / path.name)
"""


def _folders(bench: harness.Bench, size: str) -> None:
    """A folder to a new folder, whole programs: from their start to their end."""
    count = bench.count(600)
    # In memory: on a disk both contestants mostly wait for the same writes, and where many files were just
    # deleted ext4 takes a millisecond of processor time to make a new one.
    where = _MEMORY if _MEMORY.is_dir() else corpora.HERE
    with tempfile.TemporaryDirectory(dir=where) as made:
        source, target = pathlib.Path(made, "in"), pathlib.Path(made, "out")
        source.mkdir()
        for path in corpora.files(size, count):
            shutil.copy(path, source)

        compiled = {**os.environ, "PYTHONPYCACHEPREFIX": f"{made}/compiled"}  # as an installed program is
        compiled.pop("PYTHONDONTWRITEBYTECODE", None)

        def program(*command: str) -> harness.Measure:
            def measure() -> float:
                seconds = harness.timed([sys.executable, *command], env=compiled)
                shutil.rmtree(target)
                return count / seconds

            measure()  # once: modules are compiled, and the memory that is written to was used before
            return measure

        changes = [f"{name}={value}" for name, value in FIVE.items()]
        sets = [word for change in changes for word in ("--set", change)]
        bench.compare(
            f"a folder of {count} files of {size}, whole program",
            {
                "node": program("-m", "node", "edit", str(source), *sets, "--out", str(target)),
                "pydicom": program("-c", _LOOP, str(source), str(target), *changes),
            },
            unit="files/s",
            targets={"pydicom": Target(3)},
        )


def _filing(
    work: Callable[[int, int, int], None], paths: Sequence[pathlib.Path], target: pathlib.Path
) -> harness.Measure:
    """Return a measurement: files a second, each opened, worked on, closed."""

    def measure() -> float:
        begun = time.perf_counter()
        for number, path in enumerate(paths):
            source = os.open(path, os.O_RDONLY)
            sink = os.open(target / str(number), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            work(source, sink, os.fstat(source).st_size)
            os.close(sink)
            os.close(source)
        seconds = time.perf_counter() - begun
        for number in range(len(paths)):
            (target / str(number)).unlink()
        return len(paths) / seconds

    measure()  # once, so that what is read stands in the page cache for all
    return measure


def _rate(
    work: Callable[[bytes], object], raws: Sequence[bytes], before: Callable[[], object] | None = None
) -> harness.Measure:
    """Return a measurement: data sets a second; for about a quarter of a second at least."""

    def measure() -> float:
        done, begun = 0, time.perf_counter()
        while (seconds := time.perf_counter() - begun) < 0.25:
            for raw in raws:
                if before is not None:
                    before()
                work(raw)
            done += len(raws)
        return done / seconds

    return measure


def _read(paths: Sequence[pathlib.Path]) -> list[bytes]:
    return [path.read_bytes() for path in paths]


def _packaged(name: str) -> bytes:
    return next((pathlib.Path(pydicom.__file__).parent / "data").rglob(name)).read_bytes()


def _scan(raw: bytes) -> object:
    head = scan.part10(raw)
    return scan.scan(raw, head.syntax, offset=head.offset, stop=PIXELS)


def _pydicom_scan(raw: bytes) -> object:
    return pydicom.dcmread(io.BytesIO(raw), stop_before_pixels=True)


def _check(raw: bytes) -> object:
    head = scan.part10(raw)
    return check.check(memoryview(raw)[head.offset :], head.syntax)


def _attributes(raw: bytes) -> object:
    head = scan.part10(raw)
    return header.attributes(memoryview(raw)[head.offset :], head.syntax)


def _pydicom_edit(raw: bytes) -> object:
    ds = pydicom.dcmread(io.BytesIO(raw))
    for name, value in FIVE.items():
        setattr(ds, name, value)
    out = io.BytesIO()
    ds.save_as(out)
    return out.getvalue()


def _forget() -> None:
    for known in (*shapes.SHAPES.values(), *layouts.LAYOUTS.values()):
        known.forget()
