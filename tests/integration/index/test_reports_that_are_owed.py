"""The queue of commitment reports, as metrics show it."""

from __future__ import annotations

import datetime
import pathlib

from node import metrics, model, vitals
from node.files import layout
from node.index import commitment, db, migrate

ASKED = [commitment.Asked("1.2.840.10008.5.1.4.1.1.2", "1.2.3")]


def test_what_waits_for_a_peer_is_counted_and_goes_when_it_was_told(tmp_path: pathlib.Path) -> None:
    data = layout.Data(tmp_path)
    data.make()
    database = db.open(layout.database_url(tmp_path))
    migrate.upgrade(database)
    now = datetime.datetime.now(datetime.UTC)
    with database.write() as connection:
        key = commitment.accept(
            connection,
            requester="CT1",
            transaction_uid="1.2.9",
            called="NODE",
            address="127.0.0.1",
            association="a",
            items=ASKED,
            now=now - datetime.timedelta(seconds=100),
        )
    assert key is not None
    peers = (model.Peer("ct", "CT1"), model.Peer("mr", "MR1"))
    settings = model.Settings(node=model.NodeSettings(data=tmp_path), peers=peers)
    counts = metrics.start(peers={"ct", "mr"})
    sample = vitals.Vitals(data, database, counts)

    sample.sample(settings)
    text = counts.render().decode()
    assert 'dicom_node_queue_depth{destination="ct"} 1.0' in text
    assert 'dicom_node_queue_depth{destination="mr"} 0.0' in text
    oldest = next(line for line in text.splitlines() if 'queue_oldest_seconds{destination="ct"}' in line)
    assert float(oldest.split()[-1]) >= 100

    with database.write() as connection:
        commitment.reported(connection, key)
    sample.sample(settings)
    assert 'dicom_node_queue_depth{destination="ct"} 0.0' in counts.render().decode()
    database.close()
