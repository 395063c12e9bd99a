"""One application of a program to one data set: which elements become what, and the patches that follow."""

from __future__ import annotations

from typing import NamedTuple

from node import errors
from node.dicom import changes as words
from node.dicom import encode, scan, values
from node.dicom import fresh as freshly
from node.dicom import path as paths
from node.dicom import vr as vrs
from node.dicom import walk as walking
from node.dicom.program import Program, Rule

TOP = -1
_ITEMS_CAP = 1 << 20  # items are appended one at a time, so nobody needs a higher number


class Insert(NamedTuple):
    """New bytes between elements."""

    pos: int  # where
    depth: int  # how many sequences and items lie around it: the deeper ends first
    tag: int  # of the element; inserts at one place stand in the order of their tags
    data: bytes  # the element, or an item
    scope: int  # row of the item, or for a new item of the sequence, it lies in; -1: the top


class Run:
    """The state of one application; `apply` fills it, `patches` says what follows for the bytes."""

    def __init__(self, table: scan.Table, program: Program) -> None:
        self.table = table
        self.program = program
        self.rows = table.rows
        self.outcomes: dict[
            int, tuple[int, bytes | None]
        ] = {}  # by row: rule's index, new element (None: none)
        self.inserts: list[Insert] = []
        self.notes: list[str] = []
        self._fresh: dict[tuple[int, int], list[freshly.Fresh]] = {}  # sequences made, by scope and tag
        self._appended: dict[int, list[freshly.Fresh]] = {}  # items that are added, by the sequence's row
        self._blocks: dict[tuple[int, int, str], int] | None = None
        self._taken: set[tuple[int, int]] = set()
        self._made: set[tuple[int, int]] = set()  # (scope, tag) that are inserted
        self._signed: bool | None = None
        self._text_form: encode.Form | None = None

    # What each rule does

    def apply(self) -> None:
        """Find every element that a rule reaches, and what becomes of it."""
        program = self.program
        if program.sweeps:
            self._sweep()
        if program.top:
            self._apply_top(program.top)
        for rule in program.placed:
            self._apply_placed(rule, TOP, 0)
        self._finish_fresh()

    def _apply_top(self, rules: list[Rule]) -> None:
        """Rules for one tag at the top: the common case, and the fast one."""
        top = self.table.prime(self.program.looked_at)
        form = self.form(TOP)
        for rule in rules:
            row = top.get(rule.tag)
            if row is not None:
                self._change(rule, row, form)
            elif rule.inserts:
                tag = self._tag_in(rule.leaf, TOP, form) if rule.tag & 0x10000 else rule.tag
                self._insert(rule, tag, TOP, form)
        repeated = self.table.repeated_among(self.program.looked_at)
        if repeated:  # a tag that stands twice at the top
            by_tag = {rule.tag: rule for rule in rules}
            for row in repeated:
                found = by_tag.get(self.rows[row][0])
                if found is not None:
                    self._change(found, row, form)

    def _sweep(self) -> None:
        """Rules for every depth: one look at each element, however many rules there are."""
        program = self.program
        anywhere, by_vr, private = program.anywhere, program.by_vr, program.private
        masks = list(program.masked.items())
        masks_top = list(program.masked_top.items())
        for at, (tag, vr, _, _, _, parent) in enumerate(self.rows):
            if not vr:
                continue
            found: Rule | None = None
            if vr in by_vr and tag != 0x00080005:
                found = by_vr[vr]
            if private is not None and tag & 0x10000 and (found is None or private.index > found.index):
                found = private
            rule = anywhere.get(tag)
            if rule is not None and (found is None or rule.index >= found.index):
                found = rule
            for group in (masks, masks_top) if parent < 0 else (masks,):
                for mask, held in group:
                    for rule in held.get(tag & mask, ()):
                        if (found is None or rule.index > found.index) and self._is_of(rule, at):
                            found = rule
            if found is not None:
                self._change(found, at, self.form(parent))

    def _is_of(self, rule: Rule, row: int) -> bool:
        """Whether a private element lies in the block of the creator that the rule names."""
        creator = rule.leaf.creator
        return creator is None or self.table.creator(row) == creator

    def _apply_placed(self, rule: Rule, scope: int, step: int) -> None:
        """A rule with a path: go down the items that it names, then change, insert or make what lacks."""
        this = rule.path.steps[step]
        if step == len(rule.path.steps) - 1:
            rows = self._matching(this, scope)
            for row in rows:
                self._change(rule, row, self.form(scope))
            if not rows and rule.inserts:
                tag = self._tag_in(this, scope, self.form(scope))
                self._insert(rule, tag, scope, self.form(scope))
            return
        sequences = [row for row in self._matching(this, scope) if self._has_items(row)]
        for row in sequences:
            items = [at for at in self.table.children(row) if self.rows[at][0] == vrs.ITEM]
            if this.index == paths.ALL:
                for item in items:
                    self._apply_placed(rule, item, step + 1)
            elif this.index < len(items):
                self._apply_placed(rule, items[this.index], step + 1)
            elif rule.inserts:
                fresh = self._appended.setdefault(row, [])
                self._make(rule, step, fresh, this.index - len(items), self.form(row))
        if not sequences and rule.inserts and this.index != paths.ALL:
            tag = self._tag_in(this, scope, self.form(scope))
            fresh = self._fresh.setdefault((scope, tag), [])
            self._make(rule, step, fresh, this.index, self.form(scope))

    def _has_items(self, row: int) -> bool:
        this = self.rows[row]
        return this[1] == "SQ" or (this[1] == "UN" and bool(self.table.children(row)))

    def _matching(self, step: paths.Step, scope: int) -> list[int]:
        """Rows in a scope that a step names."""
        if step.creator is not None:
            block = self._private_blocks().get((scope, step.tag >> 16, step.creator))
            if block is None:
                return []
            row = self.table.find(step.tag & 0xFFFF00FF | block << 8, scope)
            return [] if row is None else [row]
        if step.exact and scope == TOP:
            row = self.table.find(step.tag, scope)
            return [] if row is None else [row]
        return [
            at for at in self.table.children(scope) if self.rows[at][0] & step.mask == step.tag & step.mask
        ]

    def _make(self, rule: Rule, step: int, items: list[freshly.Fresh], index: int, form: encode.Form) -> None:
        """Put a rule's element into a sequence that is being made."""
        if index == len(items):
            items.append({})
        elif index > len(items) or index > _ITEMS_CAP:
            raise errors.UsageError(
                f"{rule.path}: item {rule.path.steps[step].index} cannot be made before those"
            )
        item = items[index]
        following = rule.path.steps[step + 1]
        tag = following.tag
        if following.creator is not None:
            tag = freshly.reserve(item, following, form)
        if step + 2 < len(rule.path.steps):
            if following.index == paths.ALL:
                raise errors.UsageError(f"{rule.path}: say which item is to be made, as in {following}[0]")
            deeper = item.setdefault(tag, [])
            if isinstance(deeper, bytes):
                deeper = item[tag] = []
            self._make(rule, step + 1, deeper, following.index, form)
            return
        made = self._new(rule, tag, form)
        if made is not None:
            item[tag] = made

    def _finish_fresh(self) -> None:
        """The sequences and items that were made, as inserts."""
        for (scope, tag), items in self._fresh.items():
            if items:
                form = self.form(scope)
                data = encode.sequence(tag, [freshly.render(item, form) for item in items], form)
                self.add(tag, data, scope)
        for row, items in self._appended.items():
            form = self.form(row)
            data = b"".join(encode.item(freshly.render(item, form), form) for item in items)
            self.append_item(row, data)

    # What becomes of one element

    def _change(self, rule: Rule, row: int, form: encode.Form) -> None:
        """Note what a rule makes of an element, unless a later rule has spoken."""
        held = self.outcomes.get(row)
        if held is not None and held[0] > rule.index:
            return
        if rule.plain:
            _, written, start, offset, _, _ = self.rows[row]
            ready = rule.ready(written, form)
            if ready is not None and (
                offset - start != 8
                or not form.explicit
                or self.table.buffer[start + 4 : start + 6] == _LETTERS.get(written)
            ):
                self.outcomes[row] = (rule.index, ready)
                return
        change = rule.change
        kind = type(change)
        if kind is words.Keep:
            self.outcomes.pop(row, None)
            self.outcomes[row] = (rule.index, SAME)
            return
        if kind is words.Remove:
            self.outcomes[row] = (rule.index, None)
            return
        tag, written, start, offset, end, _ = self.rows[row]
        explicit = form.explicit
        if explicit and offset - start == 8 and not self.written_explicit(start, written):
            form = form._replace(explicit=False)
        if kind is words.Set:
            when = change.when  # type: ignore[union-attr]
            if when is words.When.ABSENT and end > offset and self.table.raw(row).strip(b" \0"):
                return
        vr = rule.vr(written, self.signed)
        if kind is words.Empty:
            vr = written or vr
        if tag == vrs.PIXEL_DATA and kind is not words.Empty and self.table.undefined(row):
            raise errors.UsageError(
                f"{rule.path}: encapsulated pixel data can be removed or emptied, not set"
            )
        if kind is words.Apply:
            if written == "SQ":
                return
            value = change.function(self.table.value(row), self)  # type: ignore[union-attr]
            if value is words.KEEP:
                return
            made = None if value is words.REMOVE else rule.build(tag, vr, value, form)
        else:
            made = rule.constant(tag, vr, form)
        self.outcomes[row] = (rule.index, made)

    def written_explicit(self, start: int, vr: str) -> bool:
        """Whether a VR stands in the header at an offset; some items of explicit data sets are implicit."""
        letters = self.table.buffer[start + 4 : start + 6]
        return letters == _LETTERS.get(vr) or (bytes(letters).isalpha() and bytes(letters).isupper())

    def _new(self, rule: Rule, tag: int, form: encode.Form) -> bytes | None:
        """The element that a rule inserts where there is none."""
        vr = rule.vr("", self.signed)
        change = rule.change
        if isinstance(change, words.Apply):
            value = change.function(None, self)
            return None if isinstance(value, words.Verdict) else rule.build(tag, vr, value, form)
        return rule.constant(tag, vr, form)

    def _insert(self, rule: Rule, tag: int, scope: int, form: encode.Form) -> None:
        if tag == vrs.PIXEL_DATA and self.table.encoding.encapsulated:
            raise errors.UsageError(f"{rule.path}: pixel data of this transfer syntax stands in fragments")
        if (scope, tag) in self._made:  # a later rule for the same element
            self.inserts = [one for one in self.inserts if (one.scope, one.tag) != (scope, tag)]
        made = self._new(rule, tag, form)
        if made is not None:
            self._made.add((scope, tag))
            self.add(tag, made, scope)

    def add(self, tag: int, data: bytes, scope: int) -> None:
        """Insert an element in the order of tags."""
        depth = 0 if scope == TOP else self._depth(scope) + 1
        self.inserts.append(Insert(self._place(tag, scope), depth, tag, data, scope))

    def append_item(self, sequence: int, data: bytes) -> None:
        """Add items at the end of a sequence."""
        place = self._content_end(sequence)
        self.inserts.append(Insert(place, self._depth(sequence) + 1, 0, data, sequence))

    def _place(self, tag: int, scope: int) -> int:
        """Where an element belongs: before the first one with a higher tag, or at the end of its scope."""
        if scope == TOP:
            return self.table.place(tag)
        for child in self.table.children(scope):
            if self.rows[child][0] > tag:
                return self.rows[child][2]
        return self._content_end(scope)

    def _content_end(self, scope: int) -> int:
        """Where an item's or sequence's content ends, its delimiter not included."""
        if scope == TOP:
            return self.table.end
        end = self.rows[scope][4]
        return end - 8 if self.table.undefined(scope) else end

    def _depth(self, row: int) -> int:
        depth = 0
        while row >= 0:
            depth += 1
            row = self.rows[row][5]
        return depth

    # Facts about the data set

    def form(self, scope: int) -> encode.Form:
        """How elements in an item, or at the top, are written."""
        if scope == TOP:
            if self._text_form is None:
                enc = self.table.encoding
                self._text_form = encode.Form(enc.explicit, enc.order, self.table.charsets_in(TOP))
            return self._text_form
        explicit = self.table.encoding.explicit and not self.table.within_unknown(scope)
        item = scope if not self.rows[scope][1] else self.rows[scope][5]
        return encode.Form(explicit, self.table.encoding.order, self.table.charsets_in(item))

    def signed(self) -> bool:
        """Whether Pixel Representation says that pixels are signed."""
        if self._signed is None:
            self._signed = self.table.get(0x00280103) == 1
        return self._signed

    def get(self, path: str) -> values.Value:
        """The value of an element by path, from before the edit: `changes.Facts` for functions."""
        found = paths.parse(path)
        if found.anywhere:
            raise errors.UsageError(f"{path!r} may be many elements; name one")
        scopes = [TOP]
        for step in found.steps[:-1]:
            rows = [row for scope in scopes for row in self._matching(step, scope) if self._has_items(row)]
            picked = slice(None) if step.index == paths.ALL else slice(step.index, step.index + 1)
            scopes = [item for row in rows for item in self.table.children(row)[picked]]
        for scope in scopes:
            for row in self._matching(found.leaf, scope):
                value = self.table.value(row)
                if value is not None:
                    return value
        return None

    def becomes(self, tag: int) -> str | None:
        """The new text of a top-level UID element, None when the edit leaves it."""
        row = self.table.find(tag)
        made: bytes | None = None
        if row is not None and row in self.outcomes:
            made = self.outcomes[row][1]
        elif row is None:
            made = next((one.data for one in self.inserts if one.scope == TOP and one.tag == tag), None)
        if made is None or made is SAME:
            return None
        _, _, offset, _ = walking.element_header(
            made, 0, len(made), self.table.encoding.explicit, self.table.encoding.order
        )
        return made[offset:].decode("latin-1").rstrip("\0 ")

    # Private blocks

    def _private_blocks(self) -> dict[tuple[int, int, str], int]:
        """Block by scope, group and creator; made when first needed."""
        if self._blocks is None:
            self._blocks = {}
            for row in self.rows:
                tag = row[0]
                if tag & 0x10000 and tag < 0xFFFE0000:
                    element = tag & 0xFFFF
                    if 0x10 <= element <= 0xFF:
                        raw = bytes(self.table.buffer[row[3] : row[4]])
                        key = (row[5], tag >> 16, raw.decode("latin-1").strip(" \0"))
                        self._blocks.setdefault(key, element)
                        self._taken.add((row[5], tag))
                    elif element >= 0x1000:
                        self._taken.add((row[5], tag & 0xFFFF0000 | element >> 8))
        return self._blocks

    def _tag_in(self, step: paths.Step, scope: int, form: encode.Form) -> int:
        """The tag of a step in a scope; a private block is reserved when its creator has none yet."""
        if step.creator is None:
            if not step.exact:
                raise errors.UsageError(f"{step} names many elements; none of them can be inserted")
            element = step.tag & 0xFFFF
            if step.tag & 0x10000 and element >= 0x1000:
                owner = step.tag & 0xFFFF0000 | element >> 8
                if self.table.find(owner, scope) is None:
                    raise errors.UsageError(
                        f"{step} lies in no private block; name its creator as in {step.tag >> 16:04X},"
                        f'xx{element & 0xFF:02X} "CREATOR"'
                    )
            return step.tag
        group = step.tag >> 16
        blocks = self._private_blocks()
        block = blocks.get((scope, group, step.creator))
        if block is None:
            for block in range(0x10, 0x100):
                if (scope, group << 16 | block) not in self._taken:
                    break
            else:
                raise errors.UsageError(f"{step}: all private blocks of group {group:04X} are taken")
            owner = group << 16 | block
            self._taken.add((scope, owner))
            blocks[scope, group, step.creator] = block
            self.add(owner, encode.whole(owner, "LO", step.creator, form), scope)
        return group << 16 | block << 8 | step.tag & 0xFF


_LETTERS = {vr: vr.encode() for vr in vrs.SHORT_VRS}
SAME = bytes(bytearray(b"as it is"))  # what `Keep` leaves as an outcome; told by identity
