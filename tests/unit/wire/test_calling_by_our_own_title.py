"""Who calls the node by its own AE title: its health check, and the commands on the same machine."""

from __future__ import annotations

import dataclasses

import pytest

from node import listening, model
from node.wire import pdu, policy

ALL = frozenset(model.Right)
ECHO = frozenset({model.Right.ECHO})


@pytest.mark.parametrize(
    ("address", "strangers", "host", "rights"),
    [
        ("127.0.0.1", True, "0.0.0.0", ALL),
        ("127.0.0.1", False, "0.0.0.0", ECHO),
        ("192.0.2.7", True, "192.0.2.7", ECHO),
        ("192.0.2.7", True, "0.0.0.0", None),
    ],
)
def test_it_may_what_a_stranger_may_who_calls_from_there(
    address: str, strangers: bool, host: str, rights: frozenset[model.Right] | None
) -> None:
    settings = model.Settings()
    node = dataclasses.replace(settings.node, host=host, accept_unknown=strangers)
    decide = listening._policy(dataclasses.replace(settings, node=node))
    decided = decide(policy.Call(pdu.Request(node.aet, node.aet, ()), address, 1))
    if rights is None:
        assert isinstance(decided, pdu.Rejection)
    else:
        assert isinstance(decided, policy.Admission)
        assert decided.rights == rights
