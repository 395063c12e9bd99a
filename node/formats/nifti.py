"""NIfTI-1 and -2: .nii, .nii.gz and pairs of .hdr and .img, with what BIDS wants to know beside them.

The memory order of an array (slice, row, column) is NIfTI's, so voxels are written as they are stored and the
matrix says which way the axes run; slope and intercept are fields of the header.
"""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from node import errors
from node.formats import axes, base, bids, bids_beside, gzipped, nifti_header, nifti_layout, raw, whole
from node.volume import geometry, image, stack
from node.volume.pixels import cells

Array = np.ndarray[Any, np.dtype[Any]]

_DESCRIPTION = "dicom-node"
_LEAST, _MOST = 1e-37, 3e38  # what a field of four bytes holds
_YES = ("yes", "no")
_WORDS: Mapping[str, Sequence[str]] = {
    "gz": _YES,
    "level": tuple("123456789"),
    "version": ("1", "2"),
    "dtype": ("stored", "int16", "float32"),
    "sidecar": _YES,
    "layout": nifti_layout.NAMES,
}
_NEAREST = {"b1": "u1", "f2": "f4"}  # types that NIfTI has not, and what holds them


@dataclasses.dataclass(frozen=True, slots=True)
class _Body:
    """The voxels to be written."""

    made: image.Image  # what they are of, leading axes in the order of the file
    layout: nifti_layout.Layout
    dtype: np.dtype[Any]  # of the file
    real: bool  # whether slope and intercept are worked in
    voxels: Array | None = None  # where they were read already

    @property
    def plain(self) -> bool:
        """Whether the stored bytes are what the file has."""
        return self.layout.plain and not self.real and self.dtype == self.made.dtype


class Nifti:
    """`nifti`."""

    name = "nifti"
    suffixes = (".nii", ".nii.gz", ".hdr", ".img")
    about = "NIfTI (.nii, .nii.gz) with a BIDS sidecar (.json), .bval and .bvec"

    def check(self, options: Mapping[str, str]) -> str | None:
        """What is wrong with options: suffix=.nii.gz, gz=yes, level=3, version=2, dtype=int16, layout=ras."""
        known = {**_WORDS, "suffix": self.suffixes[:2]}
        wrong = axes.wrong(options, self.name, known)
        if wrong is None and options.get("gz") == "no" and options.get("suffix") == ".nii.gz":
            return "gz = 'no' and suffix = '.nii.gz' contradict each other"
        return wrong

    def write(
        self,
        made: image.Image,
        target: pathlib.Path,
        options: Mapping[str, str],
        progress: base.Progress | None = None,
    ) -> base.Written:
        """Write one image and what describes it."""
        if wrong := self.check(options):
            raise errors.UsageError(wrong)
        made = nifti_layout.fastest(made)
        notes: list[str] = []
        body = _body(made, options, notes)
        shape = made.shape[: len(made.shape) - made.colour][::-1]
        version = _version(shape, options)
        told = bids.told(made, body.layout)
        header = _header(body, shape, told)
        zipped = options.get("gz", "no") == "yes" or options.get("suffix") == ".nii.gz"
        path = pathlib.Path(f"{target}.nii.gz" if zipped else f"{target}.nii")
        with whole.whole(path) as descriptor:
            first = nifti_header.encode(header, version)
            if zipped:
                _write_zipped(descriptor, first, body, int(options.get("level", gzipped.LEVEL)), progress)
            else:
                _write_plain(descriptor, first, body, progress)
        paths = [path]
        if options.get("sidecar", "yes") == "yes":
            paths += _beside(target, told)
        return base.Written(tuple(paths), (*notes, *axes.lost(made, kept=lambda _: True), *told.notes))

    def read(self, paths: Sequence[pathlib.Path]) -> image.Image:
        """Read one image, with the sidecar, b values and directions that lie beside it."""
        path = _principal(paths)
        where, zipped = str(path), path.name.endswith(".gz")
        most = nifti_header.SIZES[2]
        header = nifti_header.decode(gzipped.head(path, most) if zipped else _head(path, most), where)
        body = _image_file(path) if header.apart else path
        shape = header.dim[::-1] + ((header.colours,) if header.colours else ())
        # Deflate makes at most 1032 bytes of one; what says more lies, and is known before it is unpacked.
        axes.checked(where, shape, header.dtype, 1032 * _size(body) if body.name.endswith(".gz") else None)
        voxels, spans = _voxels(body, header, shape)
        notes: list[stack.Note] = []
        spaced = _geometry(header, notes)
        beside = bids_beside.beside(path)
        leading = bids_beside.leading(beside, header.dim[3:][::-1], header.spacing[3:][::-1], header.start)
        place = None if header.affine is None else spaced
        frames, rows, unread = bids_beside.diffusing(beside, path, header.dim[2:][::-1], place)
        if header.colours == 4:
            voxels, spans, shape = _opaque(voxels), None, (*shape[:-1], 3)
            notes.append(stack.Note(stack.Kind.HEADER, "its colours have an opacity, which is left out"))
        return image.Image(
            shape=shape,
            dtype=header.dtype.newbyteorder("<"),
            axes=axes.of(header.dim[::-1], spaced, leading, colour=bool(header.colours)),
            geometry=place,
            slope=1.0 if header.colours else header.slope,
            intercept=0.0 if header.colours else header.intercept,
            unit=beside.unit,
            voxels=voxels,
            spans=spans,
            table=frames,
            rows=rows,
            notes=(*notes, *(stack.Note(stack.Kind.HEADER, text) for text in (*beside.notes, *unread))),
        )


def _body(made: image.Image, options: Mapping[str, str], notes: list[str]) -> _Body:
    """What is to be written, in which type; a note where a wish cannot be met without another value."""
    layout = nifti_layout.of(options.get("layout", "stored"), made.geometry)
    wish = options.get("dtype", "stored")
    code = made.dtype.str[1:]
    kept = np.dtype("<" + _NEAREST.get(code, code))
    if kept.str[1:] not in nifti_header.CODES or (made.colour and code != "u1"):
        what = f"colours of {made.dtype.name}" if made.colour else made.dtype.name
        raise errors.UsageError(f"NIfTI holds no {what}; write nrrd or npz instead")
    # Its fields are 4-byte floats: beyond these, readers would find no slope at all.
    if not _LEAST < abs(made.slope) < _MOST or not abs(made.intercept) < _MOST:
        raise errors.BadData(f"a slope of {made.slope} and an intercept of {made.intercept} give no values")
    if made.colour or wish == "stored" or (wish == "int16" and code == "i2"):
        return _Body(made, layout, kept, real=False)
    if wish == "float32":
        return _Body(made, layout, np.dtype("<f4"), real=(made.slope, made.intercept) != (1, 0))
    if made.dtype.kind not in "iub":
        notes.append(f"int16 does not hold values of {made.dtype.name}; they are kept as they are")
        return _Body(made, layout, kept, real=False)
    voxels = made.voxels()
    least, most = (int(voxels.min()), int(voxels.max())) if voxels.size else (0, 0)
    if least < -32768 or most > 32767:
        notes.append(f"int16 does not hold values from {least} to {most}; they are kept as {made.dtype.name}")
        return _Body(made, layout, kept, real=False, voxels=voxels)
    return _Body(made, layout, np.dtype("<i2"), real=False, voxels=voxels)


def _version(shape: Sequence[int], options: Mapping[str, str]) -> int:
    if len(shape) > 7:
        raise errors.UsageError(f"an image of {len(shape)} dimensions is more than the 7 of NIfTI")
    large = max(shape) > nifti_header.MOST_DIM1
    if large and options.get("version") == "1":
        raise errors.UsageError(
            f"NIfTI-1 holds {nifti_header.MOST_DIM1} voxels along an axis, not {max(shape)}"
        )
    return int(options.get("version", "2" if large else "1"))


def _header(body: _Body, shape: tuple[int, ...], told: bids.Told) -> nifti_header.Header:
    made, layout = body.made, body.layout
    where = axes.grid(made)
    affine = layout.affine(where, (shape[0], shape[1], shape[2]))
    leading = axes.leading(made)[::-1]
    further = [abs(axes.step(axis)) if axis.unit == "s" else 1.0 for axis in leading]
    if further:
        further[0] = told.step or further[0]
    steps = [*(float(step) for step in np.linalg.norm(affine[:3, :3], axis=0)), *further]
    plain = body.real or made.colour
    return nifti_header.Header(
        dim=(*(shape[of] for of in layout.order), *shape[3:]),
        dtype=body.dtype,
        colours=3 if made.colour else 0,
        spacing=tuple(steps),
        affine=None if made.geometry is None else affine,
        slope=1.0 if plain else made.slope,
        intercept=0.0 if plain else made.intercept,
        frequency=told.frequency,
        phase=told.phase,
        slice_code=told.slice_code if layout.order[2] == nifti_layout.SLICE else 0,
        slice_duration=told.slice_duration,
        description=_DESCRIPTION,
    )


def _write_plain(descriptor: int, first: bytes, body: _Body, progress: base.Progress | None) -> None:
    whole.write(descriptor, first)
    if body.plain:
        from node.loading import spans

        spans.copy(descriptor, len(first), body.made, progress)
        return
    done = 0
    for slab in _slabs(body):
        whole.write(descriptor, slab)
        done += len(slab)
        if progress is not None:
            progress(done, body.made.nbytes // body.made.dtype.itemsize * body.dtype.itemsize, "written")


def _write_zipped(
    descriptor: int, first: bytes, body: _Body, level: int, progress: base.Progress | None
) -> None:
    size = body.made.nbytes // body.made.dtype.itemsize * body.dtype.itemsize

    def advance(done: int) -> None:
        if progress is not None:
            progress(max(done - len(first), 0), size, "compressed")

    gzipped.write(descriptor, _parts(first, body), level=level, advance=advance)


def _parts(first: bytes, body: _Body) -> Iterator[gzipped.Buffer]:
    yield first
    if body.plain and body.made.spans is not None:
        yield from _checked(body.made, body.made.spans)
    else:
        yield from _slabs(body)


def _checked(made: image.Image, spans: image.Spans) -> Iterator[gzipped.Buffer]:
    """The frames from their files; from where one has more bits than it should, as they are loaded."""
    done = 0
    for part in _read(spans):
        if spans.limits is not None and cells.beyond(np.frombuffer(part, made.dtype), spans.limits):
            yield np.ascontiguousarray(made.voxels()).reshape(-1).view(np.uint8).data[done:]
            return
        done += len(part)
        yield part


def _read(spans: image.Spans) -> Iterator[bytes]:
    """The frames from their files, as they are asked for; files are opened once for frames that follow."""
    descriptor, open_ = -1, -1
    try:
        for file, offset in zip(spans.file.tolist(), spans.offset.tolist(), strict=True):
            if file != open_:
                if descriptor >= 0:
                    os.close(descriptor)
                    descriptor = -1
                descriptor, open_ = os.open(spans.paths[file], os.O_RDONLY | os.O_CLOEXEC), file
            yield from _span(descriptor, offset, spans.length, spans.paths[file])
    except OSError as error:
        raise errors.BadData(f"{spans.paths[file]} cannot be read ({error.strerror or error})") from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _span(descriptor: int, offset: int, length: int, path: str) -> Iterator[bytes]:
    end = offset + length
    while offset < end:
        size = min(end - offset, gzipped.PIECE)
        found = os.pread(descriptor, size, offset)
        while len(found) < size:  # whole values, whatever the system gives at a time
            more = os.pread(descriptor, size - len(found), offset + len(found))
            if not more:
                raise errors.BadData(f"{path} ends at {offset + len(found)}, within its pixel data")
            found += more
        offset += size
        yield found


def _slabs(body: _Body) -> Iterator[memoryview]:
    """The voxels in the order and the type of the file, a plane at a time where they must be made."""
    made = body.made
    voxels = made.voxels() if body.voxels is None else body.voxels
    view = body.layout.arranged(voxels, colour=made.colour)
    if view.dtype == body.dtype and view.flags.c_contiguous and not body.real:
        yield view.data.cast("B")
        return
    for at in np.ndindex(view.shape[: -2 - made.colour]):
        plane = view[at]
        if body.real:
            plane = plane * np.float64(made.slope) + made.intercept
        yield np.ascontiguousarray(plane, body.dtype).data.cast("B")


def _beside(target: pathlib.Path, told: bids.Told) -> list[pathlib.Path]:
    paths = []
    for suffix, text in ((".json", told.json), (".bval", told.bval), (".bvec", told.bvec)):
        if text:
            paths.append(pathlib.Path(f"{target}{suffix}"))
            with whole.whole(paths[-1]) as descriptor:
                whole.write(descriptor, text.encode())
    return paths


def _principal(paths: Sequence[pathlib.Path]) -> pathlib.Path:
    """The file with the header among those that were named."""
    for suffix in (".nii", ".nii.gz", ".hdr", ".hdr.gz"):
        for path in paths:
            if path.name.lower().endswith(suffix):
                return path
    for path in paths:
        for last in (".img", ".img.gz"):
            if path.name.endswith(last):
                return path.with_name(path.name.removesuffix(last) + last.replace("img", "hdr"))
    if not paths:
        raise errors.BadData("no file was named")
    return paths[0]


def _image_file(path: pathlib.Path) -> pathlib.Path:
    name = path.name
    stem, last = (name[:-7], name[-7:]) if name.endswith(".gz") else (name[:-4], name[-4:])
    return path.with_name(stem + last.replace("hdr", "img").replace("HDR", "IMG"))


def _head(path: pathlib.Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise errors.BadData(f"{path} cannot be read ({error.strerror or error})") from error


def _size(path: pathlib.Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise errors.BadData(f"{path} cannot be read ({error.strerror or error})") from error


def _geometry(header: nifti_header.Header, notes: list[stack.Note]) -> geometry.Geometry:
    """Where it lies; of a file that does not say, a grid of its spacing, whose place means nothing."""
    if header.affine is not None:
        return geometry.Geometry.of_scanner(header.affine)
    steps = [step if math.isfinite(step) and 0 < step < 1e9 else 1.0 for step in header.spacing[:3]]
    steps += [1.0] * (3 - len(steps))
    notes.append(
        stack.Note(
            stack.Kind.HEADER, "it says the spacing of its voxels and not where they lie in the patient"
        )
    )
    return geometry.Geometry.of_scanner(np.diag((*steps, 1.0)))


def _voxels(path: pathlib.Path, header: nifti_header.Header, shape: tuple[int, ...]) -> tuple[Any, Any]:
    if not path.name.endswith(".gz"):
        there = raw.Raw((path,), header.offset, shape, header.dtype)
        there.starts()  # so that a file that is too short is refused before anything is made of it
        return there.voxels, there.spans(math.prod(header.dim[2:]))

    def voxels() -> Array:
        try:
            out = np.empty(shape, header.dtype)
        except MemoryError as error:
            raise errors.BadData(f"{path}: there is no memory for an image of {shape}") from error
        gzipped.fill(path, header.offset, out.data.cast("B"))
        if header.dtype.byteorder == ">":
            out.byteswap(inplace=True)
        return out.view(header.dtype.newbyteorder("<"))

    return voxels, None


def _opaque(voxels: Any) -> Any:
    return lambda: np.ascontiguousarray(voxels()[..., :3])


FORMAT: base.Format = Nifti()
