"""How many instances a source has: whatever it answers, or does not, somebody is told and nobody waits."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Self

import pytest

from node import errors, model
from node.complete import asker
from node.dicom import identifier
from node.send import query
from tests import ports

Told = queue.SimpleQueue[tuple[int | None, str]]


@pytest.fixture
def asking() -> Iterator[asker.Asker]:
    made = asker.Asker("NODE", model.TlsSettings())
    yield made
    made.close()


def _ask(asking: asker.Asker, peer: model.Peer) -> tuple[int | None, str]:
    told: Told = queue.SimpleQueue()
    assert asking.ask(peer, "1.2.3", "1.2.3.1", lambda count, why: told.put((count, why)))
    return told.get(timeout=60)


def test_a_source_that_is_not_there_is_told_of(asking: asker.Asker) -> None:
    count, why = _ask(asking, model.Peer("ct", "CT1", host="127.0.0.1", port=ports.free()))
    assert count is None
    assert why


def test_a_source_that_cannot_be_called_is_told_of(asking: asker.Asker) -> None:
    count, why = _ask(asking, model.Peer("ct", "CT1"))
    assert count is None
    assert "no host" in why


@pytest.mark.parametrize(
    ("answers", "count"),
    [
        ([{"SeriesInstanceUID": "1.2.3.1", "NumberOfSeriesRelatedInstances": "12"}], 12),
        ([{"SeriesInstanceUID": "1.2.3.1", "NumberOfSeriesRelatedInstances": " 7 "}], 7),
        ([{"SeriesInstanceUID": "1.2.3.1"}], None),
        ([{"SeriesInstanceUID": "1.2.3.1", "NumberOfSeriesRelatedInstances": "many"}], None),
        ([{"SeriesInstanceUID": "1.2.3.1", "NumberOfSeriesRelatedInstances": "-1"}], None),
        ([{"SeriesInstanceUID": "1.2.3.1", "NumberOfSeriesRelatedInstances": "9" * 40}], None),
        ([{"SeriesInstanceUID": "1.2.3.9", "NumberOfSeriesRelatedInstances": "12"}], 0),
        ([], 0),
        ([{"SeriesInstanceUID": "1.2.3.9"}] * 100_000, 0),
    ],
)
def test_what_it_answers_is_a_number_or_nothing(
    monkeypatch: pytest.MonkeyPatch, answers: list[identifier.Fields], count: int | None
) -> None:
    taken = 0

    class Opened:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

    def search(*_: object, **__: object) -> Iterator[identifier.Fields]:
        nonlocal taken
        for answer in answers:
            taken += 1
            yield answer

    monkeypatch.setattr(query, "opened", lambda *_, **__: Opened())
    monkeypatch.setattr(query, "Search", search)
    peer = model.Peer("ct", "CT1", host="127.0.0.1")
    assert asker.related(peer, "NODE", model.TlsSettings(), "1.2.3", "1.2.3.1") == count
    assert taken <= 100, "a peer that never ends must not keep us"


@pytest.mark.parametrize("fault", [errors.PeerRefused("no"), ValueError("a bug")])
def test_a_fault_of_the_query_is_told_too(
    asking: asker.Asker, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def refuse(*_: object) -> int:
        raise fault

    monkeypatch.setattr(asker, "related", refuse)
    count, why = _ask(asking, model.Peer("ct", "CT1", host="127.0.0.1"))
    assert count is None
    assert why in ("no", "the question broke off")


def test_after_the_end_nobody_is_asked(asking: asker.Asker) -> None:
    asking.close()
    assert not asking.ask(model.Peer("ct", "CT1"), "1.2.3", "1.2.3.1", lambda *_: None)
