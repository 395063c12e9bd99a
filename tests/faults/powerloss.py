"""What a disk may hold after the power went, from the changes that preload.c recorded.

The model is stricter than ext4: a file's bytes survive by a sync of that file, its name by a sync of
the directory that the name is in, both by syncfs. What was not synced may be there, be missing, or be
there in some of its 512-byte sectors. A rename is never half done: from one directory to another it is
safe when either is, and then the directories that lead to its new name are too, as on every journaling file
system. Bytes whose sync failed are never safe again, whatever later syncs say: that is how Linux is.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import pathlib
import random
import struct
from collections.abc import Iterator

HEAD = struct.Struct("<4I3Q4I")
MAGIC = 0x314A4C50
PAGE = 4096
SECTOR = 512
DURABLE, FAILED = 1, 2


class Op(enum.IntEnum):
    """What a record says happened."""

    CREATE = 1
    MKDIR = 2
    WRITE = 3
    ZERO = 4
    TRUNCATE = 5
    RENAME = 6
    LINK = 7
    UNLINK = 8
    RMDIR = 9
    SYNC_BEGIN = 10
    SYNC_END = 11
    MARK = 12


class Loss(enum.Enum):
    """What becomes of that which was not synced."""

    NOTHING = "nothing"  # all of it is there: a crash of the program alone
    EVERYTHING = "everything"  # none of it is there
    SOME = "some"  # each change there, missing, or torn, by the dice


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One change, as preload.c wrote it."""

    op: Op
    flags: int
    inode: int
    offset: int  # for a sync: the token that pairs its two records
    length: int
    path: str
    other: str
    data: bytes


def read(journal: pathlib.Path) -> Iterator[Record]:
    """The records in their order; one that was cut off at the end is left out."""
    with journal.open("rb") as file:
        while len(head := file.read(HEAD.size)) == HEAD.size:
            magic, op, _pid, flags, inode, offset, length, path, other, size, _ = HEAD.unpack(head)
            if magic != MAGIC:
                raise ValueError(f"no record at {file.tell() - HEAD.size} of {journal}")
            body = file.read(path + other + size)
            if len(body) < path + other + size:
                return
            names = body[:path].decode(), body[path : path + other].decode()
            yield Record(Op(op), flags, inode, offset, length, *names, body[path + other :])


class Content:
    """The bytes of one file; pages that are all zero are not kept."""

    def __init__(self) -> None:
        self.size = 0
        self.pages: dict[int, bytes] = {}

    def copy(self) -> Content:
        """Another that can be changed alone."""
        twin = Content()
        twin.size, twin.pages = self.size, dict(self.pages)
        return twin

    def apply(self, change: Record) -> None:
        """Make a write, a run of zeros or a change of size."""
        if change.op is Op.TRUNCATE:
            self.resize(change.length)
        elif change.op is Op.ZERO:
            self.write(change.offset, None, change.length)
        else:
            self.write(change.offset, change.data, len(change.data))

    def resize(self, size: int) -> None:
        """Cut off, or grow with zeros."""
        if size < self.size:
            last, rest = divmod(size, PAGE)
            self.pages = {at: page for at, page in self.pages.items() if at <= last}
            if last in self.pages:
                self.pages[last] = self.pages[last][:rest].ljust(PAGE, b"\0")
        self.size = size

    def write(self, offset: int, data: bytes | None, length: int) -> None:
        """Put `data` (None: zeros) at `offset`."""
        at = 0
        while at < length:
            number, start = divmod(offset + at, PAGE)
            step = min(PAGE - start, length - at)
            piece = data[at : at + step] if data is not None else None
            if step == PAGE and piece is None:
                self.pages.pop(number, None)
            elif piece is not None or number in self.pages:
                page = self.pages.get(number, bytes(PAGE))
                self.pages[number] = page[:start] + (piece or bytes(step)) + page[start + step :]
            at += step
        self.size = max(self.size, offset + length)

    def bytes(self) -> bytes:
        """All of it."""
        whole = bytearray(self.size)
        for number, page in self.pages.items():
            part = page[: self.size - number * PAGE] if number * PAGE < self.size else b""
            whole[number * PAGE : number * PAGE + len(part)] = part
        return bytes(whole)

    def save(self, path: pathlib.Path) -> None:
        """Write it as a sparse file."""
        with path.open("wb") as file:
            for number in sorted(self.pages):
                if number * PAGE < self.size:
                    file.seek(number * PAGE)
                    file.write(self.pages[number][: self.size - number * PAGE])
            file.truncate(self.size)


class Inode:
    """A file or a directory: what is safe, and what was done since."""

    def __init__(self, *, directory: bool) -> None:
        self.directory = directory
        self.safe = Content()
        self.waiting: list[tuple[int, Record]] = []  # writes since the last sync, by number of record
        self.doubtful: list[Record] = []  # writes whose sync failed
        self.names: dict[str, Inode] = {}  # a directory as programs see it
        self.safe_names: dict[str, Inode] = {}  # as it survives


@dataclasses.dataclass(frozen=True, slots=True)
class Naming:
    """One change of names that is done wholly or not at all."""

    number: int  # of its record
    changes: tuple[tuple[Inode, str, Inode | None], ...]  # directory, name, what it then is


class Disk:
    """Follows the records; `image` says at any moment what a loss of power may leave."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = str(root.resolve())
        self.marks: list[str] = []  # what had happened, in the words of Layer.mark
        self.number = 0  # records followed
        self._top = Inode(directory=True)
        self._inodes: dict[int, Inode] = {root.stat().st_ino: self._top}
        self._namings: list[Naming] = []
        self._begun: dict[int, int] = {}

    def follow(self, record: Record) -> None:
        """Take one record."""
        self.number += 1
        match record.op:
            case Op.CREATE | Op.MKDIR:
                made = Inode(directory=record.op is Op.MKDIR)
                self._inodes[record.inode] = made
                if record.path:
                    self._name((record.path, made))
            case Op.WRITE | Op.ZERO | Op.TRUNCATE:
                self._write(record)
            case Op.RENAME:
                moved = self._find(record.path)
                if moved is not None:  # else it came from outside, which this model does not follow
                    self._name((record.path, None), (record.other, moved))
            case Op.LINK:
                if record.inode in self._inodes:
                    self._name((record.path, self._inodes[record.inode]))
            case Op.UNLINK | Op.RMDIR:
                self._name((record.path, None))
            case Op.SYNC_BEGIN:
                self._begun[record.offset] = self.number
            case Op.SYNC_END:
                self._sync(record, self._begun.pop(record.offset, 0))
            case Op.MARK:
                self.marks.append(record.data.decode())

    def image(self, target: pathlib.Path, loss: Loss, seed: int = 0) -> None:
        """Write to `target` what may be found when the power comes back."""
        dice = random.Random(seed)
        names: dict[int, dict[str, Inode]] = {}
        kept = [one for one in self._namings if loss is Loss.SOME and dice.random() >= 0.5]
        for naming in self._led_to(kept):
            for directory, name, inode in naming.changes:
                table = names.setdefault(id(directory), dict(directory.safe_names))
                if inode is None:
                    table.pop(name, None)
                else:
                    table[name] = inode
        todo = [(self._top, target)]
        while todo:
            inode, place = todo.pop()
            place.mkdir(exist_ok=True)
            found = inode.names if loss is Loss.NOTHING else names.get(id(inode), inode.safe_names)
            for name, held in found.items():
                if held.directory:
                    todo.append((held, place / name))
                else:
                    self._content(held, loss, dice).save(place / name)

    def _content(self, inode: Inode, loss: Loss, dice: random.Random) -> Content:
        unsafe = inode.doubtful + [change for _, change in inode.waiting]
        if not unsafe or loss is Loss.EVERYTHING:
            return inode.safe
        content = inode.safe.copy()
        for change in unsafe:
            fate = "there" if loss is Loss.NOTHING else dice.choice(("there", "missing", "torn"))
            if fate == "there" or (fate == "torn" and change.op is not Op.WRITE):
                content.apply(change)
            elif fate == "torn":
                _tear(content, change, dice)
        return content

    def _write(self, record: Record) -> None:
        inode = self._inodes.get(record.inode)
        if inode is None:
            return
        if record.flags & DURABLE:
            inode.safe.apply(record)
        else:
            inode.waiting.append((self.number, record))

    def _name(self, *changes: tuple[str, Inode | None]) -> None:
        """Change names as programs see them at once, and note that it must be synced."""
        done = []
        for path, inode in changes:
            folder, name = os.path.split(os.path.normpath(path))
            directory = self._find(folder)
            if directory is None:
                continue
            if inode is None:
                directory.names.pop(name, None)
            else:
                directory.names[name] = inode
            done.append((directory, name, inode))
        if done:
            self._namings.append(Naming(self.number, tuple(done)))

    def _find(self, path: str) -> Inode | None:
        path = os.path.normpath(path)
        if path == self.root:
            return self._top
        if not path.startswith(self.root + "/"):
            return None
        inode: Inode | None = self._top
        for part in path[len(self.root) + 1 :].split("/"):
            inode = inode.names.get(part) if inode else None
        return inode

    def _sync(self, record: Record, begun: int) -> None:
        """Make safe what was recorded before the sync began."""
        target = self._inodes.get(record.inode) if record.inode else None
        inodes = [target] if target else list(self._inodes.values()) if not record.inode else []
        for inode in inodes:
            covered = [change for number, change in inode.waiting if number < begun]
            inode.waiting = [one for one in inode.waiting if one[0] >= begun]
            if record.flags & FAILED:
                inode.doubtful += covered
            else:
                for change in covered:
                    inode.safe.apply(change)
        if record.flags & FAILED or not (target is None or target.directory):
            return
        if record.inode and target is None:
            return
        hit = [
            naming
            for naming in self._namings
            if naming.number < begun
            and (target is None or any(directory is target for directory, _, _ in naming.changes))
        ]
        numbers = {naming.number for naming in self._led_to(hit)}
        later: list[Naming] = []
        for naming in self._namings:
            if naming.number not in numbers:
                later.append(naming)
                continue
            for directory, name, now in naming.changes:
                if now is None:
                    directory.safe_names.pop(name, None)
                else:
                    directory.safe_names[name] = now
            later = _without(later, naming)
        self._namings = later

    def _led_to(self, done: list[Naming]) -> list[Naming]:
        """These, and what made the directories that files were moved into, in their order."""
        makers = {
            id(inode): naming
            for naming in self._namings
            for _, _, inode in naming.changes
            if inode and inode.directory
        }
        found = {naming.number: naming for naming in done}
        todo = [directory for naming in done if _moves(naming) for directory, _, _ in naming.changes]
        while todo:
            maker = makers.pop(id(todo.pop()), None)
            if maker is not None:
                found[maker.number] = maker
                todo += [directory for directory, _, _ in maker.changes]
        return [found[number] for number in sorted(found)]


def _moves(naming: Naming) -> bool:
    """Whether it takes a name from one directory to another."""
    return len({id(directory) for directory, _, _ in naming.changes}) > 1


def _without(earlier: list[Naming], done: Naming) -> list[Naming]:
    """What is left of earlier changes when a later one of the same names is safe."""
    names = {(id(directory), name) for directory, name, _ in done.changes}
    left = []
    for naming in earlier:
        changes = tuple(one for one in naming.changes if (id(one[0]), one[1]) not in names)
        if changes:
            left.append(Naming(naming.number, changes))
    return left


def _tear(content: Content, change: Record, dice: random.Random) -> None:
    """Apply some sectors of a write."""
    at = 0
    while at < len(change.data):
        step = SECTOR - (change.offset + at) % SECTOR
        if dice.random() < 0.5:
            piece = change.data[at : at + step]
            content.write(change.offset + at, piece, len(piece))
        at += step


def cuts(disk: Disk, journal: pathlib.Path, every: int) -> Iterator[Disk]:
    """The disk after each `every` records, and after the last."""
    for record in read(journal):
        disk.follow(record)
        if disk.number % every == 0:
            yield disk
    yield disk
