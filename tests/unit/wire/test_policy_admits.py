"""Who may call, from where, under which name, and with which rights."""

from __future__ import annotations

import pytest

from node import model
from node.wire import contexts, pdu, policy

CT = pdu.Proposal(1, "1.2.840.10008.5.1.4.1.1.2", (contexts.IMPLICIT_LITTLE,))


def decide(
    *peers: model.Peer,
    calling: str = "MODALITY",
    called: str = "NODE",
    address: str = "10.0.0.5",
    secure: bool = False,
    names: tuple[str, ...] = (),
    identity: pdu.Identity | None = None,
    check: policy.Check | None = None,
    titles: tuple[tuple[str, str], ...] = (),
    **node: bool,
) -> policy.Admission | pdu.Rejection:
    """The decision over one call."""
    settings = model.NodeSettings(**node)  # type: ignore[arg-type]
    request = pdu.Request(calling, called, (CT,), pdu.User(identity=identity))
    made = policy.Policy(settings, model.Limits(), peers, check=check, titles=titles)
    return made(policy.Call(request, address, 4000, secure, names))


def admitted(*peers: model.Peer, **how: object) -> policy.Admission:
    """The admission of a call that is taken."""
    found = decide(*peers, **how)  # type: ignore[arg-type]
    assert isinstance(found, policy.Admission), found
    return found


def refused(*peers: model.Peer, **how: object) -> tuple[int, int, int]:
    """The numbers of the rejection of a call that is not."""
    found = decide(*peers, **how)  # type: ignore[arg-type]
    assert isinstance(found, pdu.Rejection), found
    assert found.why
    return found.result, found.source, found.reason


def test_a_stranger_may_echo_and_store() -> None:
    found = admitted()
    assert found.rights == {model.Right.ECHO, model.Right.STORE}
    assert found.peer is None


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_a_stranger_on_this_machine_may_do_everything(address: str) -> None:
    assert admitted(address=address).rights == frozenset(model.Right)


def test_strangers_can_be_kept_out() -> None:
    assert refused(accept_unknown=False) == (1, 1, 3)
    assert refused(calling="") == (1, 1, 3)


def test_a_peer_has_the_rights_limits_and_preferences_that_are_configured() -> None:
    peer = model.Peer(
        "ct1",
        "MODALITY",
        rights=frozenset({model.Right.FIND}),
        associations=3,
        syntaxes=(contexts.EXPLICIT_LITTLE,),
    )
    found = admitted(peer)
    assert (found.peer, found.rights, found.most) == (peer, peer.rights, 3)
    assert found.offer.preferred == (contexts.EXPLICIT_LITTLE,)


def test_a_peer_is_bound_to_its_addresses() -> None:
    peer = model.Peer("ct1", "MODALITY", addresses=("10.0.0.0/24", "192.168.1.7"))
    assert admitted(peer).peer == peer
    assert admitted(peer, address="::ffff:192.168.1.7").peer == peer
    assert refused(peer, address="10.0.1.5") == (1, 1, 3)
    assert refused(peer, address="127.0.0.1") == (1, 1, 3)


def test_two_peers_of_one_title_are_told_apart_by_their_addresses() -> None:
    first = model.Peer("ct1", "MODALITY", addresses=("10.0.0.5",))
    second = model.Peer("ct2", "MODALITY", addresses=("10.0.0.6",))
    assert admitted(first, second, address="10.0.0.6").peer == second


def test_the_called_title_is_ours_or_what_the_peer_must_call_us() -> None:
    assert refused(called="OTHER") == (1, 1, 7)
    assert admitted(called="OTHER", accept_any_called=True)
    peer = model.Peer("ct1", "MODALITY", called="ARCHIVE")
    assert admitted(peer, called="ARCHIVE").peer == peer
    assert refused(peer, called="NODE") == (1, 1, 7)


def test_a_peer_may_also_call_the_title_that_it_was_called_by() -> None:
    peer = model.Peer("pacs", "MODALITY")
    assert admitted(peer, called="SENDER", titles=(("pacs", "SENDER"),)).peer == peer
    assert admitted(peer, called="NODE", titles=(("pacs", "SENDER"),)).peer == peer
    assert refused(peer, called="SENDER", titles=(("other", "SENDER"),)) == (1, 1, 7)
    assert refused(called="SENDER", titles=(("pacs", "SENDER"),)) == (1, 1, 7)


def test_a_peer_of_tls_must_come_over_tls_with_its_certificate() -> None:
    peer = model.Peer("ct1", "MODALITY", tls=True, certificate="ct1.test")
    assert refused(peer) == (1, 1, 3)
    assert refused(peer, secure=True) == (1, 1, 3)
    assert refused(peer, secure=True, names=("other.test",)) == (1, 1, 3)
    assert admitted(peer, secure=True, names=("x", "CT1.test")).peer == peer


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5])
def test_user_identities_are_checked_by_what_is_plugged_in(kind: int) -> None:
    seen: list[pdu.Identity] = []

    def check(identity: pdu.Identity, call: policy.Call) -> policy.Verdict:
        seen.append(identity)
        return policy.Verdict(identity.secondary == b"right", b"ticket")

    right = pdu.Identity(kind, b"who", b"right", wants_response=True)
    assert admitted(identity=right, check=check).identity_response == b"ticket"
    silent = pdu.Identity(kind, b"who", b"right")
    assert admitted(identity=silent, check=check).identity_response is None
    assert refused(identity=pdu.Identity(kind, b"who", b"wrong"), check=check) == (1, 2, 1)
    assert seen[0] == right
    assert admitted(identity=right).identity_response is None  # nobody checked it: nothing to confirm
