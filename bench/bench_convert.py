"""Series become volumes: beside dcm2niix, imagedata and dicom2nifti as commands, and within the node.

imagedata and dicom2nifti live in a virtual environment of their own: `python -m venv bench/corpora/peers`,
then `bench/corpora/peers/bin/pip install imagedata dicom2nifti`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np

from bench import corpora, harness, procs, series
from bench.harness import Target
from node import converting
from node.files import layout
from node.index import db
from node.index import frames as indexed
from node.loading import voxels
from node.volume import stack, table
from node.volume.sorting import sort

PEERS = corpora.HERE / "peers" / "bin"
_COMPILED = corpora.HERE / "compiled"  # as an installed program is


def run(bench: harness.Bench) -> None:
    """Measure."""
    small, large, times = bench.count(120), bench.count(1000), bench.count(100)
    with tempfile.TemporaryDirectory(dir=corpora.HERE) as made:
        out = pathlib.Path(made)
        _plain(bench, out, f"CT, {small} slices", series.ct(small), 3.0)
        _plain(bench, out, f"CT, {large} slices", series.ct(large), 1.2)
        _plain(bench, out, f"MR, {20 * times} slices in 4D", series.mr(times), None)
        _zipped(bench, out, f"CT, {small} slices", series.ct(small))
        _others(bench, out, f"CT, {small} slices", series.ct(small))
        for name in series.COMPRESSED:
            _decoding(bench, name, series.compressed(name, small))
        _memory(bench, out, large)
    _sorting(bench, bench.count(10_000))


def _plain(
    bench: harness.Bench, out: pathlib.Path, case: str, folder: pathlib.Path, most: float | None
) -> None:
    """NIfTI as it is: as a command, and in the node."""
    name = f"{case} to .nii, command"
    if shutil.which("dcm2niix") is None:
        bench.skip(name, "dcm2niix is not installed: apt-get install dcm2niix")
        return
    if bench.wants(name):
        bench.compare(
            name,
            {"node": _command(out, _ours(folder)), "dcm2niix": _command(out, _theirs(folder))},
            unit="s",
            targets=None if most is None else {"dcm2niix": Target(most, at_least=False)},
        )
    name = f"{case} to .nii, in the node"
    if bench.wants(name):
        with _held(folder) as (database, key, data):
            bench.compare(
                name,
                {"node": _within(out, database, key, data), "dcm2niix": _command(out, _theirs(folder))},
                unit="s",
                targets={"dcm2niix": Target(0.7, at_least=False)} if most is not None else None,
            )


def _zipped(bench: harness.Bench, out: pathlib.Path, case: str, folder: pathlib.Path) -> None:
    name = f"{case} to .nii.gz, command"
    if shutil.which("dcm2niix") is None:
        bench.skip(name, "dcm2niix is not installed: apt-get install dcm2niix")
        return
    rival = _theirs(folder, "-z", "y")
    if bench.wants(name):
        bench.compare(
            name,
            {
                "node": _command(out, _ours(folder, "--option", "gz=yes")),
                "dcm2niix -z y": _command(out, rival),
            },
            unit="s",
            targets={"dcm2niix -z y": Target(1 / 3, at_least=False)},
        )
    name = f"{case} to .nii.gz, in the node"
    if bench.wants(name):
        with _held(folder) as (database, key, data):
            bench.compare(
                name,
                {
                    "node": _within(out, database, key, data, gz="yes"),
                    "dcm2niix -z y": _command(out, rival),
                },
                unit="s",
                targets={"dcm2niix -z y": Target(1 / 8, at_least=False)},
            )
    name = f"{case} to .nii.gz, size"
    if bench.wants(name):
        sizes = []
        for command in (_ours(folder, "--option", "gz=yes"), rival):
            target = _fresh(out)
            harness.timed(command(target), env=_environment())
            sizes.append(sum(path.stat().st_size for path in target.rglob("*.nii.gz")))
        bench.record(name, sizes[0] / sizes[1], "of dcm2niix's", target=Target(1.02, at_least=False))


def _others(bench: harness.Bench, out: pathlib.Path, case: str, folder: pathlib.Path) -> None:
    name = f"{case} to .nii, other Pythons"
    programs = {"imagedata": PEERS / "image_data", "dicom2nifti": PEERS / "dicom2nifti"}
    missing = [at for at, path in programs.items() if not path.exists()]
    if missing:
        bench.skip(
            name,
            f"no {' and '.join(missing)}: python -m venv {corpora.HERE.name}/peers in bench/, then its"
            " pip install imagedata dicom2nifti",
        )
        return

    def imagedata(target: pathlib.Path) -> list[str]:
        return [str(programs["imagedata"]), "--of", "nifti", str(target), str(folder)]

    def dicom2nifti(target: pathlib.Path) -> list[str]:  # it compresses always
        return [str(programs["dicom2nifti"]), str(folder), str(target)]

    bench.compare(
        name,
        {"node": _command(out, _ours(folder)), "imagedata": _command(out, imagedata)},
        unit="s",
        targets={"imagedata": Target(1 / 15, at_least=False)},
    )
    bench.compare(
        f"{case} to .nii.gz, other Pythons",
        {
            "node": _command(out, _ours(folder, "--option", "gz=yes")),
            "dicom2nifti": _command(out, dicom2nifti),
        },
        unit="s",
        targets={"dicom2nifti": Target(1 / 3, at_least=False)},
    )


_ALONE = """
import os, sys, time
import imagecodecs
name, paths = sys.argv[1], sys.argv[2:]
decode = getattr(imagecodecs, name)
raws = [open(path, "rb").read() for path in paths]
count = len(os.sched_getaffinity(0))
begun = time.perf_counter()
children = []
for number in range(count):
    pid = os.fork()
    if not pid:
        kept = [decode(raw) for raw in raws[number::count]]
        os._exit(0)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
print(time.perf_counter() - begun)
"""
_DECODERS = {"JPEG 2000": "jpeg2k_decode", "JPEG lossless": "jpeg8_decode"}


def _decoding(bench: harness.Bench, name: str, folder: pathlib.Path) -> None:
    """The voxels of a compressed series beside the codec alone, on all processors, with everything loaded."""
    case = f"{name}, decoded"
    if not bench.wants(case):
        return
    found = _stacks(folder)

    def ours() -> float:
        begun = time.perf_counter()
        voxels.image(found).voxels()
        return time.perf_counter() - begun

    with tempfile.TemporaryDirectory(dir=corpora.HERE) as made:
        parts = []
        for at, path in enumerate(sorted(folder.iterdir())):
            raw = path.read_bytes()
            begins = [raw.find(mark) for mark in (b"\xff\x4f\xff\x51", b"\xff\xd8\xff") if mark in raw]
            parts.append(pathlib.Path(made, str(at)))
            parts[-1].write_bytes(raw[min(begins) :])

        def alone() -> float:
            command = [sys.executable, "-c", _ALONE, _DECODERS[name], *map(str, parts)]
            return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

        ours()  # libraries are loaded once
        bench.compare(
            case,
            {"node": ours, "the codec": alone},
            unit="s",
            targets={"the codec": Target(1.15, at_least=False)},
        )


def _stacks(folder: pathlib.Path) -> stack.Stack:
    from node.loading import headers

    read = headers.read([str(path) for path in sorted(folder.iterdir())])
    return sort.sort(read).stacks[0]


def _memory(bench: harness.Bench, out: pathlib.Path, large: int) -> None:
    """The most that a conversion holds at once, its children too, beside the volume."""
    cases = [
        ("memory, CT to .nii", series.ct(large), ()),
        ("memory, CT to .nii.gz", series.ct(large), ("--option", "gz=yes")),
        ("memory, CT to .npz", series.ct(large), ("--to", "npz")),
        ("memory, JPEG lossless to .nii", series.compressed("JPEG lossless", large), ()),
        (
            "memory, JPEG lossless to .nii.gz",
            series.compressed("JPEG lossless", large),
            ("--option", "gz=yes"),
        ),
    ]
    for case, folder, more in cases:
        if not bench.wants(case):
            continue
        volume = len(list(folder.iterdir())) * 512 * 512 * 2
        command = _ours(folder, *more)(_fresh(out))
        child = subprocess.Popen(command, env=_environment(), stdout=subprocess.DEVNULL)
        most = _watched(child)
        bench.record(case, most / volume, "of the volume", target=Target(1.4, at_least=False))


def _watched(child: subprocess.Popen[bytes]) -> int:
    most = 0
    while child.poll() is None:
        with contextlib.suppress(OSError):
            most = max(most, procs.cost(child.pid).pss)
        time.sleep(0.01)
    if child.returncode:
        sys.exit(f"{child.args!r} failed with {child.returncode}")
    return most


def _sorting(bench: harness.Bench, count: int) -> None:
    """So many slices of a series, from a table as the index gives it, in no order."""
    case = f"sorting {count} slices"
    if not bench.wants(case):
        return
    slices = 100
    numbers = np.random.default_rng(7).permutation(count)
    at, when = numbers % slices, numbers // slices
    text = lambda value: np.full(count, value, dtype=object)  # noqa: E731 - used here only
    columns = {
        "source": np.arange(count),
        "frame": np.zeros(count, np.int64),
        "study": text("1.2.3"),
        "series": text("1.2.3.4"),
        "frame_of_reference": text("1.2.3.5"),
        "modality": text("MR"),
        "image_type": text("ORIGINAL\\PRIMARY\\M"),
        "photometric": text("MONOCHROME2"),
        "position": np.stack((np.zeros(count), np.zeros(count), at * 2.0), axis=-1),
        "orientation": np.tile((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (count, 1)),
        "spacing": np.ones((count, 2)),
        "instance_number": numbers + 1.0,
        "temporal_position": when + 1.0,
        "time": when * 2.0,
        **{name: np.full(count, 128.0) for name in ("rows", "columns")},
        **{name: np.full(count, 16.0) for name in ("bits_allocated", "bits_stored")},
        "samples": np.ones(count),
        "signed": np.ones(count),
    }
    sources = [
        table.Source(f"/{number}", 0, 1, "1.2.840.10008.1.2.1", "1.2", f"1.2.{number}")
        for number in range(count)
    ]

    def measure() -> float:
        begun = time.perf_counter()
        found = sort.sort(table.Table(sources, columns, count)).stacks
        took = time.perf_counter() - begun
        if len(found) != 1 or found[0].order.shape != (count // slices, slices):
            sys.exit(f"sorting made {[one.order.shape for one in found]} of {count} slices")
        return took

    bench.record(
        case,
        sorted(measure() for _ in range(bench.runs))[bench.runs // 2],
        "s",
        target=Target(0.5, at_least=False),
    )


_Making = Callable[[pathlib.Path], list[str]]


def _ours(folder: pathlib.Path, *more: str) -> _Making:
    program = pathlib.Path(sys.executable).with_name("dicom-node")
    to = () if "--to" in more else ("--to", "nifti")
    return lambda target: [str(program), "convert", *to, *more, "--quiet", str(target), str(folder)]


def _theirs(folder: pathlib.Path, *more: str) -> _Making:
    return lambda target: ["dcm2niix", *more, "-o", str(target), str(folder)]


def _environment() -> dict[str, str]:
    kept = {**os.environ, "PYTHONPYCACHEPREFIX": str(_COMPILED)}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return kept


_numbers = itertools.count()


def _fresh(out: pathlib.Path) -> pathlib.Path:
    """An empty folder; what was in it before is gone, so that disks do not fill."""
    for old in out.iterdir():
        shutil.rmtree(old)
    target = out / str(next(_numbers))
    target.mkdir()
    return target


def _command(out: pathlib.Path, making: _Making) -> harness.Measure:
    return lambda: harness.timed(making(_fresh(out)), env=_environment())


def _within(
    out: pathlib.Path, database: db.Database, key: int, data: layout.Data, **options: str
) -> harness.Measure:
    """From the index to a file in a process that is there already."""

    def measure() -> float:
        target = _fresh(out)
        begun = time.perf_counter()
        with database.read() as connection:
            found = indexed.table(connection, key, place=data.place)
        report = converting.convert(converting.Request("nifti", target, table=found, options=options))
        took = time.perf_counter() - begun
        if report.code:
            sys.exit(f"the conversion in the node ended with {report.code}: {list(report.words())}")
        return took

    measure()  # libraries are loaded once
    return measure


@contextlib.contextmanager
def _held(folder: pathlib.Path) -> Iterator[tuple[db.Database, int, layout.Data]]:
    """The series in a node's store and its index."""
    root = corpora.HERE / f"node-{folder.name}"
    if not root.is_dir():
        new = root.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        program = pathlib.Path(sys.executable).with_name("dicom-node")
        harness.timed([str(program), "import", str(folder), "--data", str(new)])
        new.replace(root)
    uid = _series(folder)
    data = layout.Data(root)
    with contextlib.closing(db.open(layout.database_url(root))) as database:
        with database.read() as connection:
            key = indexed.key(connection, uid)
        yield database, key, data


def _series(folder: pathlib.Path) -> str:
    import pydicom

    return str(pydicom.dcmread(next(folder.iterdir()), stop_before_pixels=True).SeriesInstanceUID)
