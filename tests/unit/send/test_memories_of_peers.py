"""What is remembered of a peer: for how long, of which configuration, and as it stands in the lane's row."""

from __future__ import annotations

import dataclasses
import datetime
import json

import pytest

from node import model
from node.send import memory

CT, EXPLICIT, JPEG = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.70"
NOW = datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)
PEER = model.Peer("pacs", "PACS", "10.0.0.5")
REFUSED = memory.Memory("p", refused={(CT, EXPLICIT): NOW, (CT, JPEG): NOW + MINUTE})


@pytest.mark.parametrize(
    ("syntaxes", "later", "hopeless"),
    [
        ((EXPLICIT,), MINUTE, True),
        ((EXPLICIT, JPEG), 59 * MINUTE, True),
        ((EXPLICIT,), 60 * MINUTE, False),
        ((EXPLICIT,), -MINUTE, False),  # the clock was put back: nothing is known
        ((EXPLICIT, "1.2.840.10008.1.2"), MINUTE, False),  # one that it was not asked for
        ((), MINUTE, False),
    ],
)
def test_what_was_refused_in_every_form_is_hopeless_for_an_hour(
    syntaxes: tuple[str, ...], later: datetime.timedelta, hopeless: bool
) -> None:
    why = REFUSED.hopeless(CT, syntaxes, NOW + later)
    assert bool(why) is hopeless
    if hopeless:
        assert CT in why
        assert "dicom-node queue replay" in why
        assert "12:0" in why


def test_another_class_is_not_meant() -> None:
    assert REFUSED.hopeless("1.2.3", (EXPLICIT,), NOW) == ""


def test_fewer_lanes_are_tried_for_a_while() -> None:
    known = memory.Memory("p").too_many(3, NOW)
    assert known.most(8, NOW + MINUTE) == 3
    assert known.most(2, NOW + MINUTE) == 2
    assert known.most(8, NOW + 10 * MINUTE) == 8
    assert memory.Memory("p").most(8, NOW) == 8
    assert memory.Memory("p").too_many(0, NOW).most(8, NOW) == 1


def test_it_reads_what_it_wrote() -> None:
    known = dataclasses.replace(REFUSED, accepted={(CT, "1.2"): NOW}, max_pdu=16384).too_many(2, NOW)
    assert memory.read(json.loads(json.dumps(known.words())), "p") == known


@pytest.mark.parametrize("words", [{}, {"peer": "p"}, {"peer": "p", "refused": 7}, {"peer": "other"}])
def test_what_cannot_be_read_is_nothing(words: dict[str, object]) -> None:
    assert memory.read(words, "p") == memory.Memory("p")


@pytest.mark.parametrize(
    "changed",
    [{"aet": "OTHER"}, {"host": "10.0.0.6"}, {"port": 11112}, {"tls": True}, {"certificate": "pacs"}],
)
def test_another_configuration_is_another_peer(changed: dict[str, object]) -> None:
    other = dataclasses.replace(PEER, **changed)  # type: ignore[arg-type]
    assert memory.fingerprint(other, "NODE") != memory.fingerprint(PEER, "NODE")
    renamed = dataclasses.replace(PEER, name="archive", rate=5.0)
    assert memory.fingerprint(renamed, "NODE") == memory.fingerprint(PEER, "NODE")
    assert memory.fingerprint(PEER, "OTHER") != memory.fingerprint(PEER, "NODE")
