"""An index with millions of rows, made once through the node's own ingest and kept beside the corpora."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import shutil
from collections.abc import Callable

from bench import archive, contestants, corpora
from node import model
from node.dicom import header
from node.files import layout
from node.index import db, hierarchy, ingest, migrate
from tests import make

BATCH = 250
PER_SERIES = 250
PER_STUDY = 1000


def prepared(rows: int) -> pathlib.Path:
    """Return an SQLite index that holds so many instances; it has no files behind it."""
    made = corpora.instance(1, 4096)
    known = header.attributes(made.data, made.syntax)
    return _prepared(f"index-{rows}", rows, lambda number: _item(known, number, made.syntax))


def of_studies(studies: int) -> pathlib.Path:
    """Return an SQLite index of so many small studies, those of `archive`."""
    return _prepared(f"index-archive-{studies}", studies * archive.PER_STUDY, _of_archive)


def _prepared(name: str, rows: int, item: Callable[[int], ingest.Item]) -> pathlib.Path:
    path = corpora.HERE / f"{name}-{migrate.revisions()[-1]}.db"
    if not path.exists():
        corpora.HERE.mkdir(exist_ok=True)
        unfinished = path.with_suffix(".new")
        for old in unfinished.parent.glob(unfinished.name + "*"):
            old.unlink()
        _fill(unfinished, rows, item)
        unfinished.replace(path)
    return path


def node_with(index: pathlib.Path) -> type[contestants.Node]:
    """Return our node, started upon a copy of that index."""

    class Full(contestants.Node):
        """Our node with a long history."""

        def command(self) -> list[str]:
            place = layout.database(self.folder / "data")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(index, place)
            return super().command()

    return Full


def _fill(path: pathlib.Path, rows: int, item: Callable[[int], ingest.Item]) -> None:
    database = db.open(f"sqlite:///{path}")
    try:
        migrate.upgrade(database)
        for first in range(0, rows, BATCH):
            items = [item(number) for number in range(first, min(first + BATCH, rows))]
            with database.write() as connection:
                decided = ingest.decide(connection, items)
                placed = [
                    dataclasses.replace(one, path=one.item.arrival.digest[7:], offset=0) for one in decided
                ]
                ingest.record(connection, placed)
            if first % 100_000 == 0:
                print(f"  index: {first:,} of {rows:,} rows", flush=True)
    finally:
        database.close()


def _item(known: header.Header, number: int, syntax: str) -> ingest.Item:
    study = make.uid("big", number // PER_STUDY)
    series = make.uid("big", number // PER_STUDY, number // PER_SERIES)
    own = known._replace(study=study, series=series, patient_id=f"SYN-{number // PER_STUDY:06d}")
    return _arrived(own._replace(sop_instance=make.uid("big", "image", number)), number, syntax)


def _of_archive(number: int) -> ingest.Item:
    study, image = divmod(number, archive.PER_STUDY)
    known = archive.facts(study)
    own = hierarchy.NOTHING._replace(
        sop_class=make.CT if known["Modality"] == "CT" else make.MR,
        sop_instance=make.uid("archive", study, "image", image + 1),
        study=known["StudyInstanceUID"],
        series=make.uid("archive", study, image // archive.PER_SERIES),
        patient_id=known["PatientID"],
        patient_name=known["PatientName"],
        patient_birth_date=known["PatientBirthDate"],
        patient_sex=known["PatientSex"],
        study_date=known["StudyDate"],
        study_time=known["StudyTime"],
        accession_number=known["AccessionNumber"],
        study_id=known["StudyID"],
        study_description=known["StudyDescription"],
        referring_physician="REFERRER^SYNTHETIC",
        modality=known["Modality"],
        series_number=image // archive.PER_SERIES + 1,
        instance_number=image + 1,
    )
    return _arrived(own, number, make.EXPLICIT)


def _arrived(own: header.Header, number: int, syntax: str) -> ingest.Item:
    identity = model.Identity(own.sop_class or "", own.sop_instance or "", own.study or "", own.series or "")
    when = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=number)
    arrival = model.Arrival(
        identity=identity,
        syntax=syntax,
        digest=f"sha256:{number:064x}",
        size=4096,
        calling="CT1",
        called="NODE",
        address="127.0.0.1",
        peer="",
        association=f"history-{number // 100}",
        received=when,
    )
    return ingest.Item(arrival, own, slot="history", generation=1, position=number)
