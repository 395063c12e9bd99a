"""The layer itself: who keeps the rules of syncing loses nothing, who breaks one is caught."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys
import textwrap

import pytest

from tests.faults import layer, powerloss

NAMED = """
    fd = os.open(f"{root}/new.tmp", os.O_CREAT | os.O_WRONLY)
    os.write(fd, b"A" * 3000)
    os.pwrite(fd, b"B" * 3000, 3000)
    os.fdatasync(fd)
    os.rename(f"{root}/new.tmp", f"{root}/final")
    sync_directory(root)
    ack("final")
"""


@dataclasses.dataclass(frozen=True)
class Under:
    """A layer, and a way to run a few lines of Python under it."""

    below: layer.Layer
    root: pathlib.Path
    work: pathlib.Path

    def run(self, program: str, *refusals: layer.Refusal, record: bool = True) -> str:
        """Run the lines, with `root`, `ack` and `sync_directory` at hand; what they print."""
        start = """
            import os, sys, time, errno, mmap, sqlite3
            root = sys.argv[1]
            def ack(text):
                data = text.encode()
                import struct
                head = struct.pack("<4I3Q4I", 0x314A4C50, 12, 0, 0, 0, 0, 0, 0, 0, len(data), 0)
                fd = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                os.write(fd, head + data)
                os.close(fd)
            def sync_directory(path):
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
                os.fsync(fd)
                os.close(fd)
        """
        text = textwrap.dedent(start) + textwrap.dedent(program)
        done = subprocess.run(
            [sys.executable, "-c", text, str(self.root), str(self.below.journal)],
            env={**os.environ, **self.below.environment(*refusals, record=record)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def images(self, loss: powerloss.Loss, seed: int = 0) -> list[tuple[list[str], pathlib.Path]]:
        """For a loss of power after each record: what had been acknowledged, and the disk then."""
        disk = powerloss.Disk(self.root)
        found = []
        for at, cut in enumerate(powerloss.cuts(disk, self.below.journal, 1)):
            target = self.work / f"image-{loss.value}-{seed}-{at}"
            cut.image(target, loss, seed)
            found.append((list(cut.marks), target))
        return found


@pytest.fixture
def under(tmp_path: pathlib.Path) -> Under:
    root = tmp_path / "root"
    root.mkdir()
    return Under(layer.Layer(tmp_path / "layer", root), root, tmp_path)


def lost(under: Under) -> list[str]:
    """The images in which an acknowledged "final" is not there whole."""
    bad = []
    for loss in powerloss.Loss:
        for seed in range(6 if loss is powerloss.Loss.SOME else 1):
            for marks, image in under.images(loss, seed):
                file = image / "final"
                if "final" in marks and (not file.exists() or file.read_bytes() != b"A" * 3000 + b"B" * 3000):
                    bad.append(f"{loss.value} {seed} {image.name}")
    return bad


def test_a_program_that_keeps_the_rules_loses_nothing(under: Under) -> None:
    under.run(NAMED)
    assert lost(under) == []


@pytest.mark.parametrize("forgotten", ["    os.fdatasync(fd)\n", "    sync_directory(root)\n"])
def test_a_forgotten_sync_is_caught(under: Under, forgotten: str) -> None:
    assert forgotten in NAMED
    under.run(NAMED.replace(forgotten, ""))
    assert lost(under)


def test_a_directory_that_was_not_synced_in_its_parent_is_lost_with_all_in_it(under: Under) -> None:
    under.run("""
        os.mkdir(f"{root}/day")
        fd = os.open(f"{root}/day/file", os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"x")
        os.fsync(fd)
        sync_directory(f"{root}/day")
        ack("before")
        sync_directory(root)
        ack("after")
    """)
    seen: dict[tuple[str, ...], pathlib.Path] = {}
    for marks, image in under.images(powerloss.Loss.EVERYTHING):
        seen.setdefault(tuple(marks), image)
    assert not (seen[("before",)] / "day").exists()
    assert (seen[("before", "after")] / "day/file").read_bytes() == b"x"


def test_unsynced_sectors_tear(under: Under) -> None:
    under.run("""
        fd = os.open(f"{root}/final", os.O_CREAT | os.O_WRONLY)
        os.write(fd, bytes(8192))
        os.fsync(fd)
        sync_directory(root)
        os.pwrite(fd, b"N" * 8192, 0)
    """)
    states = set()
    for seed in range(20):
        _, image = under.images(powerloss.Loss.SOME, seed)[-1]
        data = (image / "final").read_bytes()
        sectors = {data[at : at + 512] for at in range(0, 8192, 512)}
        assert sectors <= {bytes(512), b"N" * 512}
        states.add(data)
    assert len(states) > 3


def test_bytes_whose_sync_failed_are_not_saved_by_the_next_one(under: Under) -> None:
    text = under.run(
        """
        fd = os.open(f"{root}/final", os.O_CREAT | os.O_WRONLY)
        sync_directory(root)
        os.write(fd, b"A" * 3000 + b"B" * 3000)
        try:
            os.fdatasync(fd)
        except OSError as wrong:
            print(errno.errorcode[wrong.errno])
        os.fdatasync(fd)
        ack("final")
    """,
        layer.Refusal("sync", "/final"),
    )
    assert text == "EIO\n"
    assert lost(under)


def test_every_way_to_write_is_seen(under: Under) -> None:
    under.run("""
        fd = os.open(f"{root}/a", os.O_CREAT | os.O_RDWR)
        os.writev(fd, [b"one", b"two"])
        os.pwritev(fd, [b"three", b"four"], 6)
        os.posix_fallocate(fd, 0, 20000)
        other = os.open(f"{root}/b", os.O_CREAT | os.O_RDWR)
        os.copy_file_range(fd, other, 15, 0)
        os.sendfile(other, fd, 0, 15)
        shared = mmap.mmap(fd, 20000)
        shared[19995:20000] = b"mmap."
        shared.flush()
        os.ftruncate(other, 10)
        with open(f"{root}/c", "wb") as file:
            file.write(b"buffered")
        os.replace(f"{root}/c", f"{root}/d")
        os.link(f"{root}/d", f"{root}/e")
        os.unlink(f"{root}/d")
        os.sync()
    """)
    _, image = under.images(powerloss.Loss.EVERYTHING)[-1]
    held = {path.name: path.read_bytes() for path in image.iterdir()}
    assert held == {path.name: path.read_bytes() for path in under.root.iterdir()}
    assert sorted(held) == ["a", "b", "e"]


def test_what_a_database_committed_survives_as_far_as_it_promises(under: Under) -> None:
    under.run("""
        base = sqlite3.connect(f"{root}/full.db", isolation_level=None)
        base.execute("pragma journal_mode=wal")
        base.execute("pragma synchronous=full")
        base.execute("create table t (n integer)")
        for n in range(20):
            base.execute("insert into t values (?)", (n,))
            ack(str(n))
        os._exit(0)
    """)
    import sqlite3

    for loss in powerloss.Loss:
        for marks, image in under.images(loss, 3)[::5]:
            if not marks:
                continue
            base = sqlite3.connect(image / "full.db")
            rows = [n for (n,) in base.execute("select n from t order by n")]
            assert base.execute("pragma integrity_check").fetchone() == ("ok",)
            base.close()
            assert rows[: len(marks)] == list(range(len(marks)))


def test_calls_fail_where_and_as_often_as_told(under: Under, tmp_path: pathlib.Path) -> None:
    flag = tmp_path / "full"
    text = under.run(
        f"""
        fd = os.open(f"{{root}}/data", os.O_CREAT | os.O_WRONLY)
        def attempt(what):
            try:
                print(what(), end=" ")
            except OSError as wrong:
                print(errno.errorcode[wrong.errno], end=" ")
        for _ in range(4):
            attempt(lambda: os.write(fd, b"four"))
        open({str(flag)!r}, "w").close()
        attempt(lambda: os.open(f"{{root}}/more", os.O_CREAT))
        os.unlink({str(flag)!r})
        attempt(lambda: os.open(f"{{root}}/more", os.O_CREAT) and 0)
        attempt(lambda: os.rename(f"{{root}}/more", f"{{root}}/most"))
        attempt(lambda: os.write(os.open(f"{{root}}/short", os.O_CREAT | os.O_WRONLY), b"12345678"))
    """,
        layer.Refusal("write", "/data", "ENOSPC", nth=2, times=2),
        layer.Refusal("create", "/more", "EDQUOT", times=0, flag=flag),
        layer.Refusal("rename", "/most", "EIO"),
        layer.Refusal("write", "/short", "SHORT"),
        record=False,
    )
    assert text.split() == ["4", "ENOSPC", "ENOSPC", "4", "EDQUOT", "0", "EIO", "4"]
    assert under.below.counts()[:4] == (4, 1, 1, 1)
    assert not (under.root / "most").exists()


def test_the_clock_is_put_forward_while_the_program_runs(under: Under) -> None:
    program = under.run(
        f"""
        import struct
        before, steady = time.time(), time.monotonic()
        with open({str(under.below.library.parent / "control")!r}, "r+b") as file:
            file.write(struct.pack("<q", 86400))
        print(round(time.time() - before), time.monotonic() - steady < 3600)
    """
    )
    days, steady = program.split()
    assert 86400 <= int(days) < 86460
    assert steady == "True"
