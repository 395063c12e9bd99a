"""`compress`: what goes out is made into another transfer syntax first.

    step = "compress", syntax = "JPEG2000Lossless"
    step = "compress", syntax = "JPEG2000", quality = 50      with loss: it becomes another instance
    recompress = true                                         also what is compressed already

What cannot be compressed, because it holds no pixels for example, goes as it is stored, and a note says why.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from node import errors
from node.config import values
from node.dicom import transcode, uids
from node.send import base
from node.wire import contexts

_KEYS = ("syntax", "quality", "recompress")
# Default, least and greatest are those of node.dicom.lossy, which loads the codecs and stays out of here.
_QUALITY: Mapping[str, tuple[float, float]] = {
    transcode.LOSSY[0]: (1, 100),
    transcode.LOSSY[1]: (1, 100),
    transcode.LOSSY[2]: (1, 255),
    transcode.LOSSY[3]: (10, 150),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """Compression, made ready."""

    syntax: str  # transfer syntax UID
    lossy: bool  # it loses something
    quality: float | None = None  # in the words of node.dicom.lossy; None: its default
    recompress: bool = False  # also what is compressed already

    @classmethod
    def of(cls, options: Mapping[str, object]) -> Step:
        """The step with these options, which `check` found nothing wrong with."""
        syntax = _syntax(options["syntax"])
        quality = options.get("quality")
        return cls(
            syntax,
            syntax in transcode.LOSSY,
            float(quality) if isinstance(quality, int | float) else None,
            options.get("recompress") is True,
        )

    @property
    def renames(self) -> bool:
        """What lost something is another instance (PS3.3 C.7.6.1.1.5)."""
        return self.lossy

    def item(self, item: base.Item) -> base.Item:
        """The item with what is to be made of it."""
        if item.syntax == self.syntax or not (self.recompress or item.syntax in transcode.NATIVE):
            return item
        if not self.lossy:
            return dataclasses.replace(item, wanted=base.Wanted(self.syntax))
        # The same each time, so that a second attempt is the same instance.
        quality = "" if self.quality is None else f"{self.quality:g}"
        instance = uids.derived("", item.sop_instance, self.syntax, quality)
        return dataclasses.replace(
            item, wanted=base.Wanted(self.syntax, transcode.Loss(instance, self.quality))
        )

    kind = item

    def describe(self) -> str:
        """What it does, in words."""
        said = f"compress into {contexts.TRANSFER_SYNTAXES.get(self.syntax, self.syntax)}"
        if not self.lossy:
            return f"{said}, without loss"
        quality = "its usual quality" if self.quality is None else f"quality {self.quality:g}"
        return f"{said} with {quality}, which makes another instance of each"


def check(options: Mapping[str, object]) -> str | None:
    """What is wrong with its options, in a sentence; None: nothing."""
    if more := sorted(options.keys() - set(_KEYS)):
        return f"a compress step has no {more[0]!r}: it takes {', '.join(_KEYS)}"
    if "syntax" not in options:
        return 'a compress step needs the transfer syntax: syntax = "JPEG2000Lossless", for example'
    try:
        syntax = _syntax(options["syntax"])
    except errors.UsageError as error:
        return str(error)
    possible = (*transcode.NATIVE, *transcode.COMPRESSED, *transcode.LOSSY)
    if syntax not in possible:
        known = ", ".join(contexts.TRANSFER_SYNTAXES[uid] for uid in possible)
        return f"nothing here makes {options['syntax']!r}; it makes {known}"
    if not isinstance(options.get("recompress", False), bool):
        return f"recompress = {options['recompress']!r}: it is true or false"
    return _check_quality(syntax, options)


def _check_quality(syntax: str, options: Mapping[str, object]) -> str | None:
    if "quality" not in options:
        return None
    quality = options["quality"]
    if syntax not in _QUALITY:
        return f"quality = {quality!r}: {options['syntax']} loses nothing, so that it has no quality"
    low, high = _QUALITY[syntax]
    if isinstance(quality, bool) or not isinstance(quality, int | float) or not low <= quality <= high:
        return f"quality = {quality!r}: for {options['syntax']} it is a number from {low:g} to {high:g}"
    return None


def _syntax(value: object) -> str:
    try:
        return str(values.SYNTAX.read(value))
    except values.Wrong as wrong:
        more = f"; {wrong}" if str(wrong) else ""
        raise errors.UsageError(f"syntax = {value!r}: it is {values.SYNTAX.allowed}{more}") from None
