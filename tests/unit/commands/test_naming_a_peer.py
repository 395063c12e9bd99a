"""A peer is named as the configuration calls it, or by its address."""

from __future__ import annotations

import pathlib

import pytest

from node import errors, model, orders
from node.commands import targets

SETTINGS = model.Settings(
    peers=(
        model.Peer(name="archive", aet="PACS", host="10.0.0.5", port=4242),
        model.Peer(name="modality", aet="CT1"),
    )
)


def test_a_configured_peer_is_found_by_its_name() -> None:
    assert targets.peer("archive", SETTINGS) is SETTINGS.peers[0]


@pytest.mark.parametrize(
    ("text", "aet", "host", "port"),
    [
        ("PACS@10.0.0.5:104", "PACS", "10.0.0.5", 104),
        ("PACS@pacs.example:11112", "PACS", "pacs.example", 11112),
        ("PACS@pacs", "PACS", "pacs", 104),
        ("MY PACS@[::1]:4242", "MY PACS", "::1", 4242),
    ],
)
def test_an_address_makes_a_peer(text: str, aet: str, host: str, port: int) -> None:
    peer = targets.peer(text, SETTINGS)
    assert (peer.aet, peer.host, peer.port) == (aet, host, port)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("archiv", "no peer is called 'archiv'; did you mean 'archive'?"),
        ("zzz", "no peer is called 'zzz': the configured peers are archive, modality"),
        ("modality", "peer 'modality' has no host in the configuration"),
        ("PACS@", "'PACS@' is not an address"),
        ("PACS@host:x", "'PACS@host:x' is not an address"),
        ("PACS@host:0", "0 in 'PACS@host:0' is not a port"),
        ("PACS@host:70000", "70000 in 'PACS@host:70000' is not a port"),
        ("SEVENTEEN_LETTERS@host:1", "'SEVENTEEN_LETTERS' is not an AE title"),
        ("A\\B@host:1", "'A\\\\B' is not an AE title"),
    ],
)
def test_what_names_nobody_is_refused_with_the_way_out(text: str, says: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        targets.peer(text, SETTINGS)
    assert str(caught.value).startswith(says)


def test_a_destination_that_is_no_peer_is_left_to_the_node() -> None:
    settings = model.Settings(
        destinations=(orders.Destination("research", kind=orders.Kind.FOLDER, folder=pathlib.Path("x")),)
    )
    with pytest.raises(errors.UsageError, match="destination 'research' is a folder, which only the node"):
        targets.target("research", settings)
