"""From bytes to file and row: verbatim, once, findable, and equal when it is done again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import resource
import threading
from collections.abc import Iterator

import pytest
from pydicom import dcmread

from node import adopt, errors, evaluate, model, receive
from node.files import journal, layout, ledger
from node.index import audit, db, tables
from tests import make, stored

Parts = tuple[layout.Data, db.Database, receive.Receiver]


@pytest.fixture
def parts(tmp_path: pathlib.Path) -> Iterator[Parts]:
    data = stored.data(tmp_path)
    with stored.database(data) as index, stored.receiver(data) as receiver:
        yield data, index, receiver


def verdicts(index: db.Database) -> list[str]:
    return sorted(str(row["verdict"]) for row in stored.rows(index, tables.arrival))


def accounted(index: db.Database) -> bool:
    with index.read() as connection:
        return not list(audit.unaccounted(connection))


def test_small_and_large_instances_are_held_as_they_came(parts: Parts) -> None:
    data, index, receiver = parts
    sent = make.series(20) + make.series(2, size=3 << 20, seed=1)
    for made in sent:
        stored.send(receiver, made)
    assert stored.file_all(data, index) == 22
    assert stored.bodies(data, index) == {made.sop_instance: made.data for made in sent}
    assert journal.barrier(data, 0.0)
    assert accounted(index)
    assert [p for p in data.spool.iterdir() if p.stat().st_size] == []
    assert stored.file_all(data, index) == 0


def test_our_files_are_dicom_files_that_tell_their_receipt(parts: Parts) -> None:
    data, index, receiver = parts
    for made in make.series(1) + make.series(1, size=2 << 20, seed=1):
        arrival = stored.send(receiver, made)
        stored.file_all(data, index)
        path = data.root / layout.place(arrival, model.Verdict.STORED)
        read = dcmread(path)
        assert read.preamble == bytes(128)
        assert read.SOPInstanceUID == made.sop_instance == read.file_meta.MediaStorageSOPInstanceUID
        assert read.file_meta.TransferSyntaxUID == made.syntax
        assert read.file_meta.SourceApplicationEntityTitle == "SENDER"
        assert read.file_meta.SendingApplicationEntityTitle == "SENDER"
        assert read.file_meta.ReceivingApplicationEntityTitle == "NODE"
        facts, offset = layout.read_head(path)
        assert facts.arrival == arrival
        assert (facts.slot, facts.verdict) == ("listen-1", model.Verdict.STORED)
        assert path.read_bytes()[offset:] == made.data


def test_the_same_bytes_again_are_one_file(parts: Parts) -> None:
    data, index, receiver = parts
    (made,) = make.series(1)
    errors_: list[Exception] = []

    def send() -> None:
        try:
            for _ in range(10):
                stored.send(receiver, made)
        except errors.NodeError as error:
            errors_.append(error)

    threads = [threading.Thread(target=send) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored.file_all(data, index)
    assert errors_ == []
    assert len(list(layout.tree(data.store))) == 1
    assert verdicts(index) == ["duplicate"] * 99 + ["stored"]
    assert len([fact for fact in ledger.read(data) if isinstance(fact, dict)]) == 99
    assert accounted(index)


def test_a_large_duplicate_leaves_no_file_in_the_spool(parts: Parts) -> None:
    data, index, receiver = parts
    (made,) = make.series(1, size=2 << 20)
    for _ in range(3):
        stored.send(receiver, made)
    stored.file_all(data, index)
    assert verdicts(index) == ["duplicate", "duplicate", "stored"]
    assert [p for p in data.spool.iterdir() if p.stat().st_size] == []


@pytest.mark.parametrize("size", [4096, 2 << 20])
def test_other_bytes_under_a_held_uid_are_kept_beside_it(parts: Parts, size: int) -> None:
    data, index, receiver = parts
    (made,) = make.series(1, size=size)
    other = make.altered(made)
    for one in (made, other, other, made):
        stored.send(receiver, one)
    stored.file_all(data, index)
    assert verdicts(index) == ["conflict", "conflict", "duplicate", "stored"]
    assert stored.bodies(data, index) == {made.sop_instance: made.data}
    (row,) = stored.rows(index, tables.conflict)
    kept = data.place(str(row["path"])).read_bytes()[int(str(row["offset"])) :]
    assert kept == other.data
    assert len(list(layout.tree(data.conflicts))) == 1
    assert accounted(index)


def test_rules_at_receipt(parts: Parts) -> None:
    data, index, receiver = parts
    rules = (
        model.Rule("no-test", model.Action.DISCARD, "test images", when=evaluate.of({"source": "TESTER"})),
        model.Rule("look", model.Action.QUARANTINE, "odd", when=evaluate.of({"Modality": "MR"})),
        model.Rule("short", model.Action.KEEP, keep=60.0, when=evaluate.of({"Modality": "CT"})),
    )
    made = make.series(2)
    tester = dataclasses.replace(stored.SENDER, calling="TESTER")
    stored.send(receiver, made[0], tester)
    stored.send(receiver, made[1])
    stored.file_all(data, index, rules)
    assert verdicts(index) == ["discarded", "stored"]
    by_verdict = {row["verdict"]: row for row in stored.rows(index, tables.arrival)}
    assert by_verdict["discarded"]["rule"] == "no-test"
    assert [row["expires"] is None for row in stored.rows(index, tables.series)] == [False]
    assert list(stored.bodies(data, index)) == [made[1].sop_instance]
    everything = (model.Rule("all", model.Action.QUARANTINE, "look first"),)
    for one in make.series(1, seed=5) + make.series(1, seed=6, size=2 << 20):
        stored.send(receiver, one)
    stored.file_all(data, index, everything)
    assert len(list(layout.tree(data.quarantine))) == 2
    assert len(stored.rows(index, tables.quarantine)) == 2
    assert accounted(index)


def test_an_imported_file_is_kept_verbatim_and_its_preamble_is_not(
    parts: Parts, tmp_path: pathlib.Path
) -> None:
    data, index, receiver = parts
    made = make.series(2)
    sender = receive.Sender("", "NODE", "import", "", "import-1")
    (tmp_path / "a.dcm").write_bytes(make.part10(made[0], preamble=b"MZ" + b"\x90" * 126))
    (tmp_path / "b.dcm").write_bytes(made[1].data)
    for name in ("a.dcm", "b.dcm"):
        receiver.import_file(tmp_path / name, sender)
    stored.file_all(data, index)
    assert stored.bodies(data, index) == {one.sop_instance: one.data for one in made}
    notes = {layout.read_head(path)[0].note for path in layout.tree(data.store)}
    assert notes == {"", "preamble held MZ, zeroed"}
    assert all(path.read_bytes()[:128] == bytes(128) for path in layout.tree(data.store))


class Down:
    """An index that does not answer, until it does."""

    def __init__(self, index: db.Database, failures: int) -> None:
        self._index = index
        self.left = failures

    def write(self):  # type: ignore[no-untyped-def]
        if self.left:
            self.left -= 1
            raise errors.DatabaseUnavailable("locked, on purpose")
        return self._index.write()

    def __getattr__(self, name: str) -> object:
        return getattr(self._index, name)


def test_while_the_database_is_down_the_journal_keeps_it(parts: Parts) -> None:
    data, index, receiver = parts
    sent = make.series(3)
    for made in sent:
        stored.send(receiver, made)
    down = Down(index, 1000)
    assert stored.file_all(data, down, patience=0.3) == 0  # type: ignore[arg-type]
    assert not journal.barrier(data, 0.0)
    down.left = 1
    assert stored.file_all(data, down) == 3  # type: ignore[arg-type]
    assert len(stored.bodies(data, index)) == 3


def test_what_the_index_cannot_take_does_not_hold_up_the_others(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, index, receiver = parts
    sent = make.series(5)
    for made in sent:
        stored.send(receiver, made)
    poison = sent[2].sop_instance
    record = adopt.ingest.record

    def poisoned(connection, decided):  # type: ignore[no-untyped-def]
        if any(one.item.arrival.identity.sop_instance == poison for one in decided):
            raise ValueError("a fault of ours")
        return record(connection, decided)

    monkeypatch.setattr(adopt.ingest, "record", poisoned)
    stored.file_all(data, index)
    assert set(stored.bodies(data, index)) == {made.sop_instance for made in sent} - {poison}
    (path,) = layout.tree(data.quarantine)
    assert path.read_bytes().endswith(sent[2].data)
    assert journal.barrier(data, 0.0)


def test_a_header_that_cannot_be_read_is_still_filed(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    data, index, receiver = parts
    sent = make.series(2)
    for made in sent:
        stored.send(receiver, made)

    def broken(*_: object) -> None:
        raise RecursionError("a fault of ours")

    monkeypatch.setattr(adopt.header, "attributes", broken)
    stored.file_all(data, index)
    assert stored.bodies(data, index) == {made.sop_instance: made.data for made in sent}


def test_several_processes_acknowledge_at_once(parts: Parts) -> None:
    data, index, receiver = parts
    with stored.receiver(data, "listen-2") as second, stored.receiver(data, "web") as third:
        stop = threading.Event()
        adopter = adopt.Adopter(data, index)
        running = threading.Thread(target=adopter.run, args=(stop,))
        running.start()
        sent = make.series(90)
        threads = []
        for number, to in enumerate((receiver, second, third)):
            mine = sent[number::3]
            threads.append(threading.Thread(target=lambda t=to, m=mine: [stored.send(t, one) for one in m]))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert journal.barrier(data, 20.0)
        assert stored.bodies(data, index) == {made.sop_instance: made.data for made in sent}
        stop.set()
        adopter.wake()
        running.join()
        adopter.close()


def test_only_one_adopter_runs(parts: Parts) -> None:
    data, index, _ = parts
    first = adopt.Adopter(data, index)
    with pytest.raises(errors.UsageError, match="adopter"):
        adopt.Adopter(data, index)
    first.close()


def test_a_two_gigabyte_instance_costs_no_memory(parts: Parts) -> None:
    _, _, receiver = parts
    made = make.series(1, size=64 << 10)[0]
    # The pixels are longer than what is sent of them would fit in memory for: here 256 MB do.
    fragment = bytes(1 << 20)
    incoming = receiver.begin(made.sop_class, made.sop_instance, made.syntax, stored.SENDER)
    incoming.write(made.data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(128):
        incoming.write(fragment)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    incoming.abort()
    assert after - before < 16 << 10  # kB


def test_the_digest_is_over_the_data_set(parts: Parts) -> None:
    data, index, receiver = parts
    (made,) = make.series(1)
    assert stored.send(receiver, made).digest == "sha256:" + hashlib.sha256(made.data).hexdigest()
    stored.file_all(data, index)
    lines = [json.loads(line) for path in data.ledger.iterdir() for line in path.read_text().splitlines()]
    assert lines == []  # what has a file needs no line
