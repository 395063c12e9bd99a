"""A rule says how what it keeps is presented: the file holds what came, who asks sees the coerced copy."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pathlib
from collections.abc import Iterator, Sequence

import pydicom
import pytest

from node import adopt, errors, model, rebuild, receive, upkeep
from node import aside as deciding
from node.files import coercions, layout
from node.index import aside, compare, db, lookup, tables
from node.send import base
from node.steps import presented
from tests import make, stored

KEEP = model.Action.KEEP
WARD = model.Coercion(
    "ward",
    (
        {"change": "PatientID", "lookup": "ids.csv", "missing": "fail"},
        {"set": "InstitutionName", "to": "Ward 7"},
        {"original": "NODE"},
    ),
)


@dataclasses.dataclass(frozen=True)
class Parts:
    data: layout.Data
    index: db.Database
    receiver: receive.Receiver
    coercion: model.Coercion

    @property
    def rules(self) -> tuple[model.Rule, ...]:
        return (model.Rule("to-ward", KEEP, coerce="ward"),)

    def take(self, *made: make.Made, coercion: model.Coercion | None = None) -> None:
        for one in made:
            stored.send(self.receiver, one)
        self.file(coercion)

    def file(self, coercion: model.Coercion | None = None) -> bool:
        stored.file_all(self.data, self.index, self.rules, [coercion or self.coercion])
        return True

    def held(self, one: make.Made) -> model.Instance:
        identity = model.Identity(one.sop_class, one.sop_instance, one.study, one.series)
        with self.index.read() as connection:
            found = lookup.held(connection, identity)
        assert found is not None
        return found

    def presented(self, one: make.Made) -> pydicom.Dataset:
        return pydicom.dcmread(io.BytesIO(make.part10(dataclasses.replace(one, data=self.sent(one)))))

    def sent(self, one: make.Made) -> bytes:
        item = presented.Presenter(self.data).item(self.held(one))
        raw = body(item)
        return raw if item.change is None else item.change(raw, item.syntax).tobytes()

    def entries(self) -> list[aside.Entry]:
        with self.index.read() as connection:
            return [one for kind in aside.Kind for one in aside.each(connection, kind)]


def body(item: base.Item) -> bytes:
    return item.path.read_bytes()[item.offset : item.offset + item.size]


@pytest.fixture
def parts(tmp_path: pathlib.Path) -> Iterator[Parts]:
    table(tmp_path, "SYN-0001", "W-1")
    data = stored.data(tmp_path / "data")
    with stored.database(data) as index, stored.receiver(data) as receiver:
        yield Parts(data, index, receiver, dataclasses.replace(WARD, base=tmp_path))


def table(folder: pathlib.Path, *row: str) -> None:
    (folder / "ids.csv").write_text(",".join(row) + "\n")


def rebuilt(parts: Parts, folder: pathlib.Path) -> tuple[list[str], rebuild.Rebuilt]:
    """How the index differs from one that is made anew."""
    folder.mkdir()
    data = layout.Data(folder)
    with stored.database(data) as target:
        made = rebuild.make(parts.data, target)
        return list(map(str, compare.compare(parts.index, target))), made


SYNTAXES = (make.EXPLICIT, make.IMPLICIT, make.BIG, make.DEFLATED)


def test_the_file_holds_what_came_and_everybody_sees_the_coerced_copy(parts: Parts) -> None:
    made = [make.instance(number, syntax=syntax) for number, syntax in enumerate(SYNTAXES, 1)]
    made.append(make.instance(5, size=1_300_000))  # comes through the spool
    parts.take(*made)
    assert stored.bodies(parts.data, parts.index) == {one.sop_instance: one.data for one in made}
    assert [row["patient_id"] for row in stored.rows(parts.index, tables.patient)] == ["W-1"]
    assert {row["institution_name"] for row in stored.rows(parts.index, tables.series)} == {"Ward 7"}
    for one in made:
        held = parts.held(one)
        assert (held.digest, held.size) == (one.digest, len(one.data))
        assert len(held.coercion) == 64
        shown = parts.presented(one)
        assert (shown.PatientID, shown.InstitutionName) == ("W-1", "Ward 7")
        assert shown.SOPInstanceUID == one.sop_instance
        modified = shown.OriginalAttributesSequence[0]
        assert modified.ModifiedAttributesSequence[0].PatientID == "SYN-0001"
        # The moment is that of the receipt, so that it goes out with the same bytes each time.
        assert modified.AttributeModificationDateTime.startswith(f"{held.received:%Y%m%d%H%M%S}")
        assert parts.sent(one) == parts.sent(one)


def test_what_no_coercing_rule_keeps_goes_out_as_it_came(parts: Parts) -> None:
    (one,) = make.series(1)
    stored.send(parts.receiver, one)
    stored.file_all(parts.data, parts.index, (model.Rule("plain", KEEP),), [parts.coercion])
    item = presented.Presenter(parts.data).item(parts.held(one))
    assert (item.change, body(item)) == (None, one.data)
    assert not list(parts.data.coercions.iterdir())


def test_a_rebuild_is_equal_whatever_the_configuration_says_by_then(
    parts: Parts, tmp_path: pathlib.Path
) -> None:
    first, second, large = make.instance(1), make.instance(2, seed="b"), make.instance(3, size=1_300_000)
    parts.take(first, large)
    before = parts.sent(first)
    table(tmp_path, "SYN-0001", "W-2")  # another table, so another coercion
    parts.take(second)
    assert parts.held(first).coercion != parts.held(second).coercion
    (tmp_path / "ids.csv").unlink()
    differences, made = rebuilt(parts, tmp_path / "again")
    assert (differences, made.skipped, made.instances) == ([], (), 3)
    assert parts.sent(first) == before
    assert [parts.presented(one).PatientID for one in (first, second, large)] == ["W-1", "W-2", "W-1"]


def test_duplicates_and_conflicts_are_told_by_what_came(parts: Parts, tmp_path: pathlib.Path) -> None:
    (one,) = make.series(1)
    parts.take(one)
    table(tmp_path, "SYN-0001", "W-2")
    parts.take(one, make.altered(one))
    verdicts = [row["verdict"] for row in stored.rows(parts.index, tables.arrival)]
    assert verdicts == ["stored", "duplicate", "conflict"]
    assert parts.presented(one).PatientID == "W-1"  # as when it first came
    differences, made = rebuilt(parts, tmp_path / "again")
    assert (differences, made.skipped) == ([], ())


def test_a_damaged_file_is_made_whole_as_it_was_presented(parts: Parts, tmp_path: pathlib.Path) -> None:
    (one,) = make.series(1)
    parts.take(one)
    held = parts.held(one)
    with parts.index.write() as connection:
        lookup.mark(connection, 1, model.Held.CORRUPT)
    table(tmp_path, "SYN-0001", "W-2")
    parts.take(one)
    assert (parts.held(one).coercion, parts.sent(one)[:8]) == (held.coercion, one.data[:8])
    facts, _ = layout.read_head(parts.data.place(parts.held(one).path))
    assert facts.coercion == held.coercion
    assert parts.presented(one).PatientID == "W-1"


def test_what_cannot_be_coerced_is_kept_in_quarantine_and_can_be_released(
    parts: Parts, tmp_path: pathlib.Path
) -> None:
    table(tmp_path, "SOMEBODY", "W-9")
    (one,) = make.series(1)
    parts.take(one)
    (entry,) = parts.entries()
    why = 'coercion ward: the value is not in ids.csv: add it, or say missing = "keep"'
    assert (entry.kind, entry.rule, entry.reason) == (aside.Kind.QUARANTINE, "to-ward", why)
    assert parts.data.place(entry.path).read_bytes()[entry.offset :] == one.data
    differences, made = rebuilt(parts, tmp_path / "again")
    assert (differences, made.skipped) == ([], ())
    # A person completes the table and releases it: now it is coerced.
    table(tmp_path, "SYN-0001", "W-1")
    released = release(parts)
    assert (len(released.done), released.left) == (1, ())
    assert parts.presented(one).PatientID == "W-1"
    differences, made = rebuilt(parts, tmp_path / "more")
    assert (differences, made.skipped) == ([], ())


def test_who_releases_what_still_cannot_be_coerced_gets_it_as_it_came(
    parts: Parts, tmp_path: pathlib.Path
) -> None:
    table(tmp_path, "SOMEBODY", "W-9")
    (one,) = make.series(1)
    parts.take(one)
    assert len(release(parts).done) == 1
    assert parts.held(one).coercion == ""
    assert parts.presented(one).PatientID == "SYN-0001"
    assert "not in ids.csv" in str(stored.rows(parts.index, tables.arrival)[-1]["reason"])


def release(parts: Parts) -> deciding.Settled:
    return deciding.release(
        parts.receiver,
        parts.data,
        parts.index,
        parts.entries(),
        who="a person",
        why="the table is complete",
        settle=parts.file,
    )


def test_reasons_tell_no_values(parts: Parts) -> None:
    hopeless = dataclasses.replace(WARD, steps=({"copy": "PatientName", "into": "SeriesNumber"},))
    (one,) = make.series(1, patient="SECRET^NAME")
    parts.take(one, coercion=hopeless)
    (entry,) = parts.entries()
    assert "SeriesNumber" in entry.reason
    assert "SECRET" not in entry.reason


@pytest.mark.parametrize("break_off", ["adopt.mid-files", "adopt.before-commit", "adopt.after-commit"])
def test_a_batch_that_is_done_again_under_other_rules_stays_as_it_was(
    parts: Parts, tmp_path: pathlib.Path, break_off: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a kill: the files, or files and rows, are there, and the journal is read again."""
    made = make.series(4)
    for one in made:
        stored.send(parts.receiver, one)
    with pytest.raises(KeyboardInterrupt):
        interrupted(parts, break_off, monkeypatch)
    table(tmp_path, "SYN-0001", "W-2")
    parts.file()
    want = "W-1" if break_off == "adopt.after-commit" else "W-2"
    assert {parts.presented(one).PatientID for one in made} == {want}
    assert [row["patient_id"] for row in stored.rows(parts.index, tables.patient)] == [want]
    differences, again = rebuilt(parts, tmp_path / "again")
    assert (differences, again.skipped) == ([], ())


def interrupted(parts: Parts, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def hit(name: str) -> None:
        if name == where:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("node.failpoints.hit", hit)
        parts.file()


def test_steps_that_are_gone_hide_what_they_changed(parts: Parts, tmp_path: pathlib.Path) -> None:
    (one,) = make.series(1)
    parts.take(one)
    (kept,) = parts.data.coercions.iterdir()
    kept.unlink()
    (astray,) = upkeep.deep_audit(parts.data, parts.index)
    assert astray.path == f"coercions/{kept.name}"
    with pytest.raises(errors.NotFound, match="is gone, which instances are presented through"):
        presented.Presenter(parts.data).item(parts.held(one))
    _, made = rebuilt(parts, tmp_path / "again")
    assert made.instances == 1
    assert [one.sop_instance in line for line in made.skipped] == [True]
    with stored.database(layout.Data(tmp_path / "again")) as target:
        assert [row["patient_id"] for row in stored.rows(target, tables.patient)] == [""]
        assert [row["coercion"] for row in stored.rows(target, tables.instance)] == [kept.stem]


def test_kept_steps_are_verified(parts: Parts) -> None:
    (one,) = make.series(1)
    parts.take(one)
    (kept,) = parts.data.coercions.iterdir()
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == kept.stem
    kept.write_bytes(kept.read_bytes().replace(b"Ward 7", b"Ward 8"))
    with pytest.raises(errors.BadData, match="damaged"):
        presented.Presenter(parts.data).item(parts.held(one))
    parts.take(make.instance(2))  # the configuration has them still: they are written again
    assert parts.presented(one).InstitutionName == "Ward 7"
    with pytest.raises(errors.BadData, match="no name"):
        coercions.read(parts.data, "../../etc/passwd")


def test_steps_are_the_same_wherever_they_were_configured(parts: Parts, tmp_path: pathlib.Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    table(other, "SYN-0001", "W-1")
    here = presented.prepare(parts.coercion, parts.data).digest
    assert presented.prepare(dataclasses.replace(WARD, base=other), parts.data).digest == here
    settings = model.Settings(coerce=(parts.coercion, dataclasses.replace(WARD, name="x")), rules=parts.rules)
    kept = presented.kept(settings, parts.data)
    assert [one.digest for one in kept.coerce] == [here, ""]
    # A process that starts again later takes what was kept, and not the table as it is by then.
    (tmp_path / "ids.csv").unlink()
    found = presented.at_receipt(kept.rules, kept.coerce, parts.data)
    assert [one.digest for one in found.values()] == [here]


def test_dates_of_a_configuration_survive(parts: Parts) -> None:
    import datetime

    steps: Sequence[dict[str, object]] = ({"set": "StudyDate", "to": datetime.date(2026, 3, 4)},)
    (one,) = make.series(1)
    parts.take(one, coercion=dataclasses.replace(WARD, steps=tuple(steps)))
    assert parts.presented(one).StudyDate == "20260304"


IDENTITY = {
    "a UID itself": ({"set": "SOPInstanceUID", "to": "1.2.3"}, "SOPInstanceUID"),
    "all UIDs": ({"remap": "hush"}, "StudyInstanceUID and SeriesInstanceUID and SOPInstanceUID"),
    "a VR": (
        {"empty": "**.@UI"},
        "StudyInstanceUID and SeriesInstanceUID and SOPInstanceUID and SOPClassUID",
    ),
    "a group": ({"remove": "0020,xxxx"}, "StudyInstanceUID and SeriesInstanceUID"),
}


@pytest.mark.parametrize(("step", "named"), IDENTITY.values(), ids=IDENTITY)
def test_steps_that_change_the_identity_are_refused(
    parts: Parts, step: dict[str, object], named: str
) -> None:
    from node.steps import coerce

    with pytest.raises(coerce.Mistakes) as caught:
        presented.prepare(dataclasses.replace(WARD, steps=({"empty": "StudyID"}, step)), parts.data)
    (mistake,) = caught.value.mistakes
    assert mistake.startswith("step 2: ")
    assert f"{named} would become another one" in mistake
    assert "at a destination" in mistake


def test_references_may_be_remapped_where_the_identity_is_kept(parts: Parts) -> None:
    steps = (
        {"remap": "hush"},
        *({"keep": f"{name}UID"} for name in ("StudyInstance", "SeriesInstance", "SOPInstance", "SOPClass")),
    )
    (one,) = make.series(1)
    parts.take(one, coercion=dataclasses.replace(WARD, steps=steps))
    shown = parts.presented(one)
    assert shown.SOPInstanceUID == one.sop_instance
    assert shown.FrameOfReferenceUID != pydicom.dcmread(io.BytesIO(make.part10(one))).FrameOfReferenceUID


def test_an_identity_that_changes_all_the_same_is_set_aside(parts: Parts) -> None:
    """The study's UID stands there as another VR than it has, which no look at the steps can know."""
    (one,) = make.series(1)
    at = one.data.index(b"\x20\x00\x0d\x00UI")
    odd = dataclasses.replace(one, data=one.data[: at + 4] + b"LO" + one.data[at + 6 :])
    parts.take(odd, coercion=dataclasses.replace(WARD, steps=({"empty": "**.@LO"},)))
    (entry,) = parts.entries()
    assert "under what name it is held (study)" in entry.reason


def test_adopting_with_a_coercion_that_is_not_configured_is_a_mistake_of_ours(parts: Parts) -> None:
    with pytest.raises(KeyError):
        adopt.Adopter(parts.data, parts.index, parts.rules).close()


def test_the_scrub_reads_the_bytes_that_came(parts: Parts) -> None:
    from node.files import scrub

    (one,) = make.series(1)
    parts.take(one)
    held = parts.held(one)
    assert scrub.verify(parts.data.place(held.path), held.offset, held.size, held.digest) == ""
