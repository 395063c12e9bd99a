"""Files that the adopter writes: the same bytes past the page cache as through it."""

from __future__ import annotations

import errno
import os
import pathlib
from collections.abc import Sequence

import pytest

from node.files import disk as disks
from node.files import whole

HEAD = b"head" * 251


class Old(disks.Disk):
    """A file system that knows no direct access."""

    def create(self, path: str | pathlib.Path, *, direct: bool = False) -> int:
        if direct:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return super().create(path)


class Tight(disks.Disk):
    """Takes half of what is written past the cache, as a disk does that becomes full."""

    def write(self, fd: int, buffers: Sequence[disks.Buffer], offset: int) -> None:
        if len(buffers) == 1:
            os.pwrite(fd, memoryview(buffers[0])[: len(buffers[0]) // 8192 * 4096], offset)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write(fd, buffers, offset)


@pytest.mark.parametrize("disk", [disks.Disk(), Old()], ids=["direct", "through the cache"])
@pytest.mark.parametrize("size", [0, 4095, whole.DIRECT_FROM, (1 << 20) + 1, 4096 * 70 - len(HEAD)])
def test_the_file_holds_head_and_payload(tmp_path: pathlib.Path, disk: disks.Disk, size: int) -> None:
    writer = whole.Writer(disk)
    target = tmp_path / "file"
    for seed in (b"\x5a", b"\x11"):  # the second does not see what the first left in memory
        writer.write(str(target), HEAD, memoryview(seed * size))
        assert target.read_bytes() == HEAD + seed * size


def test_a_full_disk_is_said_so(tmp_path: pathlib.Path) -> None:
    writer = whole.Writer(Tight())
    with pytest.raises(OSError, match="No space") as caught:
        writer.write(str(tmp_path / "file"), HEAD, memoryview(bytes(whole.DIRECT_FROM)))
    assert caught.value.errno == errno.ENOSPC
