"""Changes made ready once, to be applied to any number of data sets.

What a change needs is found out here: its place is looked up by tag and not by trying one rule after
the other, so that a table of hundreds of rules costs what five do, and a constant value is encoded once for
each form that it is written in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from node import errors
from node.dicom import changes as words
from node.dicom import charset as charsets
from node.dicom import encode, values
from node.dicom import path as paths
from node.dicom import vr as vrs
from node.dicom.values import Value

CHARSET = 0x00080005
_MADE_CAP = 64  # forms kept of a constant; character sets come from outside
_STANDARD = "1.2.840.10008."


class Rule:
    """One change at one path."""

    __slots__ = ("_ambiguous", "_constant", "_made", "_vr", "change", "index", "leaf", "path", "plain", "tag")

    def __init__(self, index: int, change: Single, path: paths.Path) -> None:
        self.index = index  # its place in the list: the higher one counts
        self.change = change
        self.path = path
        self.leaf = path.leaf
        self.tag = path.leaf.tag
        self._constant = isinstance(change, (words.Set, words.Empty))
        self._made: dict[tuple[str, encode.Form], bytes] = {}
        self._vr = ""
        self._ambiguous = False
        # A constant, whatever stands there, in the VR that stands there: what most changes are.
        self.plain = (
            type(change) is words.Set
            and change.when is words.When.ALWAYS
            and not change.vr
            and path.leaf.exact
            and self.tag != vrs.PIXEL_DATA
        )
        if path.leaf.exact or path.leaf.creator is not None:
            self._vr = _given(change) or _dictionary_vr(path.leaf)
            self._ambiguous = not _given(change) and vrs.signed_or_not(self.tag)

    @property
    def inserts(self) -> bool:
        """Whether an element that is absent may come to be."""
        if isinstance(self.change, words.Set):
            return self.change.when is not words.When.PRESENT
        return isinstance(self.change, words.Apply) and self.change.absent

    def vr(self, written: str, signed: Callable[[], bool]) -> str:
        """The VR to write: the one asked for, the one that is there, or the dictionary's."""
        given = _given(self.change)
        if given:
            return given
        if written and written != "UN":
            return written
        if self._ambiguous and signed():
            return "SS"
        return self._vr or "UN"

    def ready(self, vr: str, form: encode.Form) -> bytes | None:
        """The element of a plain rule, when it was made before for what stands there in this VR."""
        return self._made.get((vr, form))

    def constant(self, tag: int, vr: str, form: encode.Form) -> bytes | None:
        """The element of a value that is the same for every data set, None when a function decides."""
        if not self._constant:
            return None
        made = self._made.get((vr, form)) if tag == self.tag else None
        if made is None:
            value = self.change.value if isinstance(self.change, words.Set) else None
            made = self.build(tag, vr, value, form)
            if tag == self.tag:
                if len(self._made) >= _MADE_CAP:
                    self._made.clear()
                self._made[vr, form] = made
        return made

    def build(self, tag: int, vr: str, value: Value, form: encode.Form) -> bytes:
        """An element with a value; what the VR cannot hold is said with the element's name."""
        try:
            return encode.whole(tag, vr, value, form)
        except values.BadValue as fault:
            raise Unfit(f"{self.path} {vrs.show(tag)}", fault) from None


class Unfit(errors.UsageError):
    """A value that an element of this data set cannot hold."""

    def __init__(self, place: str, fault: values.BadValue | charsets.Unencodable) -> None:
        super().__init__(f"{place}: {fault}")
        self.discreet = f"{place}: {fault.discreet}"  # without the value, which may be a patient's


def _given(change: Single) -> str | None:
    return change.vr if isinstance(change, (words.Set, words.Apply)) else None


def _dictionary_vr(leaf: paths.Step) -> str:
    if leaf.creator is not None:
        return vrs.private(leaf.creator, leaf.tag)
    return vrs.of(leaf.tag)


class Program:
    """An ordered list of changes, ready to be applied; it holds nothing of the data sets it met."""

    def __init__(self, changes: Iterable[words.Change]) -> None:
        self.changes = tuple(changes)
        top: dict[int, Rule] = {}
        self.placed: list[Rule] = []  # in sequences, or in private blocks that must be looked for
        self.meta: dict[int, Rule] = {}  # of the file meta information
        self.anywhere: dict[int, Rule] = {}  # by tag, at any depth
        self.masked: dict[int, dict[int, list[Rule]]] = {}  # by mask, then by masked tag: any depth
        self.masked_top: dict[int, dict[int, list[Rule]]] = {}  # the same, at the top only
        self.by_vr: dict[str, Rule] = {}  # by VR, at any depth
        self.private: Rule | None = None  # every private element, at any depth
        self.recode: tuple[str, ...] | None = None  # the character sets that the changes ask for
        for index, change in enumerate(self.changes):
            single = _single(change)
            self._place(Rule(index, single, paths.parse(single.path)), top)
            if isinstance(change, words.RemapUids) and not isinstance(change.uids, Mapping):
                for tag in vrs.class_uids() - self.anywhere.keys():
                    text = f"**.{vrs.keyword(tag)}"
                    self.anywhere[tag] = Rule(index, words.Keep(text), paths.parse(text))
        self.top = [top[tag] for tag in sorted(top)]
        self.sweeps = bool(self.anywhere or self.masked or self.masked_top or self.by_vr or self.private)
        looked_at = (
            set(top) | {tag & 0xFFFF0000 for tag in top} | {CHARSET, 0x00280103, 0x00080016, 0x00080018}
        )
        self.looked_at = frozenset(looked_at)  # top-level elements that rules for the top depend on
        identity = {0x00080016, 0x00080018}
        self.renames = bool(self.meta) or self.sweeps or not identity.isdisjoint(top)  # file meta must follow

    def at_top(self, tag: int, vr: str) -> Rule | None:
        """The change that counts for a standard element at the top of a data set; None: there is none."""
        found = [rule for rule in self.top if rule.tag == tag]
        found += [rule for rule in (self.anywhere.get(tag), self.by_vr.get(vr)) if rule is not None]
        for group in (self.masked, self.masked_top):
            for mask, held in group.items():
                found += [rule for rule in held.get(tag & mask, ()) if rule.leaf.creator is None]
        return max(found, key=lambda rule: rule.index, default=None)

    def describe(self) -> list[str]:
        """Each change in words."""
        return [str(change) for change in self.changes]

    def reaches(self, tag: int) -> bool:
        """Whether a change may touch elements from a tag on."""
        rules = [*self.top, *self.placed, *self.anywhere.values()]
        masked = [
            rule for held in (self.masked, self.masked_top) for by in held.values() for rule in by.values()
        ]
        beyond = any(rule.path.steps[0].tag >= tag for rule in rules) or bool(masked)
        return beyond or bool(self.by_vr.keys() & {"OB", "OW", "OF", "OD", "UN"}) or self.private is not None

    def _place(self, rule: Rule, top: dict[int, Rule]) -> None:
        leaf = rule.leaf
        if leaf.tag >> 16 == 0x0002 and not leaf.vr:
            if leaf.tag in (0x00020000, 0x00020001, 0x00020010) or not leaf.exact:
                raise errors.UsageError(f"{rule.path} says how the file is written and cannot be changed")
            self.meta[leaf.tag] = rule
        elif leaf.tag == CHARSET and not rule.path.anywhere and len(rule.path.steps) == 1:
            self.recode = _charsets(rule)
        elif rule.path.anywhere:
            self._sweep(rule)
        elif len(rule.path.steps) > 1 or leaf.creator is not None:
            self.placed.append(rule)
        elif leaf.exact:
            top[leaf.tag] = rule
        else:
            _refuse_insert(rule)
            self.masked_top.setdefault(leaf.mask, {}).setdefault(leaf.tag & leaf.mask, []).append(rule)

    def _sweep(self, rule: Rule) -> None:
        leaf = rule.leaf
        if leaf.vr == "private":
            self.private = rule
        elif leaf.vr:
            self.by_vr[leaf.vr] = rule
        elif leaf.exact:
            self.anywhere[leaf.tag] = rule
        else:
            self.masked.setdefault(leaf.mask, {}).setdefault(leaf.tag & leaf.mask, []).append(rule)


def _refuse_insert(rule: Rule) -> None:
    if rule.inserts and isinstance(rule.change, words.Set) and rule.change.when is words.When.ABSENT:
        raise errors.UsageError(f"{rule.path} names many elements; none of them can be inserted")


def _charsets(rule: Rule) -> tuple[str, ...]:
    """What a change of Specific Character Set asks for: to write every text anew."""
    if not isinstance(rule.change, (words.Set, words.Empty, words.Remove)):
        raise errors.UsageError("SpecificCharacterSet can be set, emptied or removed, and nothing else")
    value = rule.change.value if isinstance(rule.change, words.Set) else ""
    terms = tuple(value.split("\\")) if isinstance(value, str) else tuple(value or ())
    return () if terms == ("",) else terms


Single = words.Set | words.Empty | words.Remove | words.Keep | words.Apply  # a change of one path


def _single(change: words.Change) -> Single:
    if isinstance(change, words.RemapUids):
        return words.Apply("**.@UI", _remap(change.uids), "replace")
    return change


def _remap(uids: Mapping[str, str] | Callable[[str], str]) -> words.Function:
    """A function over the values of UI elements."""
    if isinstance(uids, Mapping):
        held = uids
        find: Callable[[str], str] = lambda uid: held.get(uid, uid)  # noqa: E731
    else:
        ask = uids
        find = lambda uid: uid if not uid or uid.startswith(_STANDARD) else ask(uid)  # noqa: E731

    def function(value: Value, facts: words.Facts) -> Value:
        if isinstance(value, str):
            new = find(value)
            return words.KEEP if new == value else new
        if isinstance(value, tuple):
            several = tuple(map(find, value))
            return words.KEEP if several == value else several
        return words.KEEP

    return function


def ready(changes: Program | Iterable[words.Change]) -> Program:
    """A program from changes; a program as it is."""
    return changes if isinstance(changes, Program) else Program(changes)
