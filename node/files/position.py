"""What the writer and the adopter of a slot tell each other: how far, and wake up."""

from __future__ import annotations

import contextlib
import mmap
import os
import pathlib
import stat

from node import errors

WRITTEN, ADOPTED, SYNCED, ASLEEP, ENDED = 1, 2, 3, 4, 5  # the words of the file
_ENDS, _GENERATIONS = 64, 256  # words that say where the newest generations were published to


class Position:
    """How far a slot was written, adopted and synced, in a mapped file; each word has one writer."""

    def __init__(self, path: pathlib.Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            if os.fstat(fd).st_size < 4096:
                os.ftruncate(fd, 4096)
                os.fsync(fd)
            self._map = mmap.mmap(fd, 4096)
        finally:
            os.close(fd)
        # A cast view stores eight aligned bytes at once, so a reader never sees half of a number.
        self._words = memoryview(self._map).cast("Q")

    def get(self, word: int) -> int:
        return self._words[word]

    def set(self, word: int, value: int) -> None:
        self._words[word] = value

    def publish(self, generation: int, offset: int) -> None:
        """Say that everything before this place survives a power loss."""
        self._words[_ENDS + generation % _GENERATIONS] = self._words[WRITTEN] = pack(generation, offset)

    def end(self, generation: int) -> int:
        """How far a generation was published, 0 when that is not known any more."""
        word = self._words[_ENDS + generation % _GENERATIONS]
        return word & 0xFFFFFFFF if word >> 32 == generation else 0

    def close(self) -> None:
        self._words.release()
        self._map.close()


def pack(generation: int, offset: int) -> int:
    """A place as one number that grows as the journal does."""
    return generation << 32 | offset


def open_fifo(path: pathlib.Path) -> int:
    """The FIFO, open both ways, so that opening and writing need no reader to be there."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o640)
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        os.close(fd)
        raise errors.ConfigError(f"{path} is no FIFO; remove it")
    return fd
