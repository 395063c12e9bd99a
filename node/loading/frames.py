"""Frames out of files: read, decoded, put in colours, masked, scaled, cut into tiles."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from node import errors
from node.dicom import pixels
from node.dicom import syntax as syntaxes
from node.loading import locate
from node.volume import image, table
from node.volume.pixels import cells, colour, lookup, overlays, scale

Array = np.ndarray[Any, np.dtype[Any]]

_WINDOW = 1 << 16  # bytes of a header looked through at a time
# By their UIDs and not from `codecs`, which loads more than plain pixels need.
_LOSSY = frozenset(f"1.2.840.10008.1.2.4.{at}" for at in (50, 51, 53, 55, 81, 91, 111, 112, 203))


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """A frame that is read once, and where it goes."""

    source: int  # of the loader's sources
    frame: int  # in its data set
    goes: tuple[tuple[int, int], ...]  # (frame of the image, tile)


@dataclasses.dataclass(frozen=True, slots=True)
class Loader:
    """A way to the voxels of frames; called, it reads them all."""

    sources: Mapping[int, table.Source]  # located, by their number in the table
    source: Array  # of each frame of the image, flat; -1: missing, its voxels are 0
    frame: Array  # in its data set
    tile: Array  # in its frame
    shape: tuple[int, ...]  # of the leading axes
    size: tuple[int, ...]  # (rows, columns) or (rows, columns, 3)
    dtype: np.dtype[Any]  # of what is made
    lookups: Mapping[int, lookup.Lookup]  # modality tables by source
    scales: tuple[Array, Array] | None  # slope and intercept of each frame of the image; None: left as stored
    jobs: int  # processes that decode
    spans: image.Spans | None = None  # where they lie, when they need no change
    kept: dict[tuple[str, int], Any] = dataclasses.field(default_factory=dict)  # by use and source

    @property
    def length(self) -> int:
        """Bytes of a frame of the image."""
        return int(np.prod(self.size)) * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the whole."""
        return self.length * len(self.source)

    @property
    def decodes(self) -> bool:
        """Whether something is compressed."""
        return any(compressed(one) for one in self.sources.values())

    def __call__(self) -> Array:
        """All voxels."""
        from node.loading import spans

        return spans.whole(self)

    def work(self) -> list[Job]:
        """What is to be read, in the order of the image; a mosaic is read once for all its tiles."""
        found: dict[tuple[int, int], list[tuple[int, int]]] = {}
        columns = (self.source.tolist(), self.frame.tolist(), self.tile.tolist())
        for at, (source, frame, tile) in enumerate(zip(*columns, strict=True)):
            if source >= 0:
                found.setdefault((source, frame), []).append((at, tile))
        return [Job(source, frame, tuple(goes)) for (source, frame), goes in found.items()]

    def made(self, job: Job) -> Iterator[tuple[int, Array]]:
        """(frame of the image, its voxels) of a job; BadData, naming the file."""
        source = self.sources[job.source]
        try:
            found = self._frame(job, source)
        except errors.BadData as error:
            raise locate.named(error, source.path) from error
        for at, tile in job.goes:
            cut = found if source.mosaic is None else _tile(found, tile, source.mosaic)
            if self.scales is not None:
                slope, intercept = self.scales[0][at], self.scales[1][at]
                cut = scale.real(cut, float(slope), float(intercept), self.dtype)
            yield at, np.ascontiguousarray(cut, dtype=self.dtype)

    def _frame(self, job: Job, source: table.Source) -> Array:
        """(rows, columns) or (rows, columns, 3), not scaled yet."""
        shown = _shown(source)
        if syntaxes.encoding(source.syntax).deflated:
            found, photometric = self._inflated(job, source)
        elif compressed(source):
            found, photometric = _decoded(source, job.frame)
        else:
            found, photometric = _native(source, job.frame)
        bounds = cells.limits(shown)
        if bounds is not None and found.dtype.kind in "iu" and cells.beyond(found, bounds):
            found = within(found, shown, overlaid=self._keep("hides", job.source, hides))
        if shown.samples == 1:
            found = found[..., 0]
            if shown.photometric == colour.PALETTE:
                shades: colour.Palette = self._keep("palette", job.source, palette)
                return shades.of(found)
            given = self.lookups.get(job.source)
            made: Array = found if given is None else given.of(found)
            return made
        return colour.rgb(found, photometric, shown.allocated)

    def _inflated(self, job: Job, source: table.Source) -> tuple[Array, str]:
        """A frame of a data set that is deflated as a whole."""
        shown = _shown(source)
        if ("inflated", job.source) not in self.kept:
            self.kept.clear()  # one at a time
        header = self._keep("inflated", job.source, locate.whole)
        kind, row = locate.pixel_data(header)
        begin, length = cells.place(shown, job.frame)
        raw = memoryview(header.buffer)[header[row].offset : header[row].end][begin : begin + length]
        return cells.array(raw, shown, job.frame, kind=kind), shown.photometric

    def _keep(self, use: str, source: int, make: Callable[[table.Source], Any]) -> Any:
        if (use, source) not in self.kept:
            self.kept[use, source] = make(self.sources[source])
        return self.kept[use, source]


def compressed(source: table.Source) -> bool:
    """Whether frames must be decoded before they are samples."""
    encoding = syntaxes.encoding(source.syntax)
    return encoding.deflated or (source.place is not None and bool(source.place.fragments))


def loses(syntax: str) -> bool:
    """Whether the transfer syntax is one that compresses with loss."""
    return syntax in _LOSSY


def order(source: table.Source) -> str:
    """The byte order of the samples."""
    if source.syntax == syntaxes.GE_PRIVATE:
        return ">"
    return syntaxes.encoding(source.syntax).order


def _shown(source: table.Source) -> pixels.Pixels:
    if source.pixels is None:
        raise errors.BadData("nothing is known of its pixels")
    return source.pixels


def _native(source: table.Source, frame: int) -> tuple[Array, str]:
    shown, place = _shown(source), source.place
    if place is None:
        raise errors.BadData("nothing is known of where its pixels lie")
    begin, length = cells.place(shown, frame)
    if begin + length > place.length:
        raise errors.BadData(
            f"its pixel data has {place.length} bytes, and frame {frame + 1} ends beyond them"
        )
    big = order(source) == ">"
    if big and shown.allocated == 8 and _in_words(source, place):
        # The bytes of a frame may begin within a word.
        lead = begin & 1
        raw = cells.bytes_swapped(
            read(source.path, place.offset + begin - lead, length + lead + (length + lead) % 2)
        )
        raw = raw[lead:]
    else:
        raw = read(source.path, place.offset + begin, length)
    return cells.array(raw, shown, frame, kind=place.kind, order=order(source)), shown.photometric


def _in_words(source: table.Source, place: table.Place) -> bool:
    """Whether the pixel data is written as OW, by the VR that stands before it."""
    return syntaxes.encoding(source.syntax).explicit and read(source.path, place.offset - 8, 2) == b"OW"


def _decoded(source: table.Source, frame: int) -> tuple[Array, str]:
    from node.dicom import codecs

    shown, place = _shown(source), source.place
    if place is None or frame >= len(place.fragments):
        raise errors.BadData(f"frame {frame + 1} is in no fragment of its pixel data")
    if source.syntax not in codecs.DECODERS:
        raise errors.BadData(f"nothing here decodes the transfer syntax {source.syntax[:64]}")
    data = b"".join(read(source.path, begin, end - begin) for begin, end in place.fragments[frame])
    return codecs.decode(source.syntax, data, shown)


def palette(source: table.Source) -> colour.Palette:
    """The palette of a data set."""
    return colour.palette(locate.whole(source), signed=_shown(source).signed)


def hides(source: table.Source) -> bool:
    """Whether overlays lie in bits of the pixels that are not stored."""
    shown = _shown(source)
    return any(shown.stored <= bit < shown.allocated for bit in overlays.declared(locate.whole(source)))


def within(found: Array, shown: pixels.Pixels, *, overlaid: bool) -> Array:
    """Values of which some are beyond the bits that are stored.

    These are an overlay's where one is declared, or lack the sign above them. Else whoever wrote the header
    said too little, and the values are left as they are.
    """
    if overlaid:
        return cells.masked(found, shown)
    return cells.extended(found, shown) if shown.signed else found


def planes(source: table.Source) -> list[overlays.Overlay]:
    """The overlays of a data set, those in bits of its pixels cut out of them."""
    source = locate.located(source)
    try:
        found = overlays.read(locate.whole(source))
        return [one if one.bits is not None or not one.bit else _hidden(source, one) for one in found]
    except errors.BadData as error:
        raise locate.named(error, source.path) from error


def _hidden(source: table.Source, one: overlays.Overlay) -> overlays.Overlay:
    shown = _shown(source)
    if shown.samples != 1 or not shown.stored <= one.bit < shown.allocated or compressed(source):
        return one
    bits = [_native(source, frame)[0][..., 0] >> one.bit & 1 for frame in range(shown.frames)]
    return dataclasses.replace(one, bits=np.stack(bits).astype(np.uint8))


def _tile(found: Array, tile: int, mosaic: table.Mosaic) -> Array:
    down, across = divmod(tile, mosaic.across)
    top, left = down * mosaic.rows, across * mosaic.columns
    cut = found[top : top + mosaic.rows, left : left + mosaic.columns]
    if cut.shape[:2] != (mosaic.rows, mosaic.columns):
        raise errors.BadData(f"tile {tile + 1} lies beyond its mosaic")
    return cut


def read(path: str, begin: int, length: int) -> bytes:
    """So many bytes of a file; BadData when it has not so many."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if begin < 0 or begin + length > os.fstat(fd).st_size:
                raise errors.BadData(f"the file ends before byte {begin + length}")
            found = os.pread(fd, length, begin)
            while len(found) < length:
                more = os.pread(fd, length - len(found), begin + len(found))
                if not more:
                    raise errors.BadData("the file became shorter while it was read")
                found += more
            return found
        finally:
            os.close(fd)
    except OSError as error:
        raise errors.BadData(f"it cannot be read ({error.strerror or error})") from error


def mentions(source: table.Source, tag: int) -> bool:
    """Whether the bytes before the pixels hold a tag anywhere; sooner said than by reading the header."""
    if source.place is None:
        return True
    code = ">" if syntaxes.encoding(source.syntax).order == ">" else "<"
    wanted = np.array((tag >> 16, tag & 0xFFFF), f"{code}u2").tobytes()
    begin = source.offset
    while begin < source.place.offset:
        piece = read(source.path, begin, min(_WINDOW, source.place.offset - begin))
        if wanted in piece:
            return True
        begin += max(len(piece) - 3, 1)
    return False


def spans(loader: Loader) -> image.Spans | None:
    """Where frames lie that need no change but, perhaps, bits masked; None when they need more."""
    if loader.scales is not None or loader.lookups or not len(loader.source) or int(loader.source.min()) < 0:
        return None
    kinds: set[tuple[Any, ...]] = set()
    for one in loader.sources.values():
        kinds.add((one.pixels, one.place.kind if one.place else "", one.syntax, one.mosaic))
    bounds = set()
    for shown, kind, syntax, mosaic in kinds:
        if not _plain(loader, shown, kind, syntax, mosaic):
            return None
        bounds.add(cells.limits(shown))
    if len(bounds) != 1 or any(compressed(one) for one in loader.sources.values()):
        return None
    numbers = list(loader.sources)
    starts = np.zeros(max(numbers) + 1, np.int64)
    lengths = np.zeros(max(numbers) + 1, np.int64)
    which = np.zeros(max(numbers) + 1, np.int64)
    for at, (number, one) in enumerate(loader.sources.items()):
        assert one.place is not None
        starts[number], lengths[number], which[number] = one.place.offset, one.place.length, at
    begin = loader.frame * loader.length
    short = begin + loader.length > lengths[loader.source]
    if bool(short.any()):
        at = int(np.argmax(short))
        path = loader.sources[int(loader.source[at])].path
        raise errors.BadData(
            f"{path}: its pixel data has {lengths[loader.source[at]]} bytes, and frame"
            f" {int(loader.frame[at]) + 1} ends beyond them"
        )
    limits = bounds.pop()
    return image.Spans(
        tuple(one.path for one in loader.sources.values()),
        which[loader.source],
        starts[loader.source] + begin,
        loader.length,
        limits,
        () if limits is None else tuple(loader.sources.values()),
    )


def _plain(loader: Loader, shown: pixels.Pixels, kind: str, syntax: str, mosaic: table.Mosaic | None) -> bool:
    """Whether the bytes of such frames are those of the voxels."""
    encoding = syntaxes.encoding(syntax)
    return (
        mosaic is None
        and bool(kind)
        and not encoding.deflated
        and encoding.order == "<"
        and syntax != syntaxes.GE_PRIVATE
        and shown.allocated >= 8
        and cells.dtype(shown, kind) == loader.dtype
        and (
            (shown.samples == 1 and shown.photometric != colour.PALETTE)
            or (shown.photometric == "RGB" and not shown.planar)
        )
    )
