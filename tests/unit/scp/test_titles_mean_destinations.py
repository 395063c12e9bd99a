"""Which destination the title of a C-MOVE means."""

from __future__ import annotations

import pytest

from node import model, orders
from node.scp import move, suboperations

PEERS = (
    model.Peer("pacs", "PACS", host="10.0.0.5"),
    model.Peer("viewer", "VIEWER", host="10.0.0.6", port=11112),
    model.Peer("ct", "CT1"),
)
ANONYMOUS = model.Coercion("anonymous", ({"empty": "PatientName"},))


def _reach(*destinations: orders.Destination) -> move.Reach:
    return move.Reach(model.Settings(peers=PEERS, destinations=destinations, coerce=(ANONYMOUS,)))


def test_a_peer_with_a_host_is_meant_by_its_title() -> None:
    found = _reach().find("VIEWER")
    assert (found.peer.name, found.calling, found.coercion) == ("viewer", "NODE", None)


def test_a_destination_is_meant_by_its_name() -> None:
    found = _reach(orders.Destination("RESEARCH", "pacs", "ANON", "anonymous")).find("RESEARCH")
    assert (found.peer.name, found.calling) == ("pacs", "ANON")
    assert found.coercion is not None


def test_the_title_of_a_destinations_peer_does_not_go_round_its_coercion() -> None:
    found = _reach(orders.Destination("research", "pacs", None, "anonymous")).find("PACS")
    assert found.name == "research"
    assert found.coercion is not None


def test_a_destinations_name_comes_before_a_peers_title() -> None:
    assert _reach(orders.Destination("VIEWER", "pacs")).find("VIEWER").peer.name == "pacs"


@pytest.mark.parametrize("title", ["NODE", "pacs", "Viewer", "", "10.0.0.5", "NOBODY"])
def test_whatever_else_is_unknown(title: str) -> None:
    with pytest.raises(suboperations.Refused) as refused:
        _reach().find(title)
    assert refused.value.status == 0xA801


def test_a_peer_that_only_calls_is_told_apart() -> None:
    with pytest.raises(suboperations.Refused, match="peer ct has no host") as refused:
        _reach().find("CT1")
    assert refused.value.status == 0xA801
