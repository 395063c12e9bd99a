"""Fills an index with many synthetic instances, fast: for the tests and benches of scale.

`python -m tests.scale sqlite:///PATH 2000000` fills one from the command line.
"""

from __future__ import annotations

import datetime
import sys
import time

from node import model
from node.index import db, hierarchy, ingest, migrate
from tests import make

PER_SERIES = 100  # instances of a series, and of a batch
PER_STUDY = 4  # series of a study
_BATCHES = 50  # in one transaction
_START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
_NAMES = ("ALPHA", "BRAVO", "CHARLIE", "DELTA", "ECHO", "FOXTROT", "GOLF", "HOTEL", "INDIA", "JULIETT")
_KNOWN = hierarchy.NOTHING._replace(
    patient_birth_date="19700101",
    patient_sex="O",
    study_time="101112",
    study_description="Synthetic study",
    modality="CT",
    manufacturer="Synthetic Systems",
    content_date="20260102",
    content_time="101112.25",
    image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
    rows=512,
    columns=512,
    samples_per_pixel=1,
    photometric="MONOCHROME2",
    bits_allocated=16,
    bits_stored=12,
    pixel_representation=0,
    image_orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    pixel_spacing=(0.9765625, 0.9765625),
    slice_thickness=2.5,
)


def batch(series: int, *, slot: str = "scale", scattered: bool = False) -> list[ingest.Item]:
    """The instances of the nth synthetic series; with UIDs from random numbers when `scattered`."""
    study = series // PER_STUDY
    patient = study // 2
    study_uid = f"1.2.826.0.1.3680043.9.1.{study}"
    series_uid = f"{study_uid}.{series}"
    known = _KNOWN._replace(
        patient_id=f"SYN-{patient:08d}",
        patient_name=f"{_NAMES[patient % 10]}{patient:07d}^{_NAMES[patient // 10 % 10]}",
        study_date=f"{2000 + study % 26}{study // 26 % 12 + 1:02d}{study % 28 + 1:02d}",
        accession_number=f"ACC{study:08d}",
        study_id=f"{study}",
        series_number=series % PER_STUDY + 1,
        frame_of_reference=f"{study_uid}.0",
    )
    items = []
    for number in range(1, PER_SERIES + 1):
        uid = make.uid(series, number) if scattered else f"{series_uid}.{number}"
        arrival = model.Arrival(
            identity=model.Identity(make.CT, uid, study_uid, series_uid),
            syntax=make.EXPLICIT,
            digest=f"sha256:{(series << 128) + number:064x}",
            size=525_000,
            calling="MODALITY1",
            called="NODE",
            address="192.0.2.1",
            peer="ct",
            association=f"{study:032x}",
            received=_START + datetime.timedelta(milliseconds=250 * (series * PER_SERIES + number)),
        )
        header = known._replace(
            instance_number=number,
            image_position=(-125.0, -125.0, 2.5 * number),
            slice_location=2.5 * number,
        )
        items.append(ingest.Item(arrival, header, slot, series, number * 4096))
    return items


def fill(database: db.Database, instances: int, *, scattered: bool = False) -> None:
    """Take `instances` synthetic instances in, as the adopter does, past what was filled before."""
    for first in range(0, instances // PER_SERIES, _BATCHES):
        with database.write() as connection:
            for series in range(first, min(first + _BATCHES, instances // PER_SERIES)):
                take(connection, batch(series, scattered=scattered))


def take(connection: object, items: list[ingest.Item]) -> None:
    """One batch, with the paths that its files would have."""
    decided = ingest.decide(connection, items)  # type: ignore[arg-type]
    placed = [
        ingest.Decided(
            one.item,
            one.verdict,
            one.replayed,
            path=f"store/2026/01/01/ab/{one.item.arrival.digest[-32:]}.dcm",
            offset=1024,
        )
        for one in decided
    ]
    ingest.record(connection, placed)  # type: ignore[arg-type]


def main() -> None:
    """Fill the database of the URL."""
    database = db.open(sys.argv[1])
    migrate.upgrade(database, print)
    began = time.monotonic()
    fill(database, int(sys.argv[2]), scattered="--scattered" in sys.argv)
    print(f"{sys.argv[2]} instances in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
