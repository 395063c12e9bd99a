"""Which contexts are accepted, in which transfer syntax and role."""

from __future__ import annotations

import pytest
from pydicom import uid as dicom_uids
from pynetdicom import sop_class

from node.wire import classes, contexts, pdu

CT = "1.2.840.10008.5.1.4.1.1.2"
PRIVATE = "1.3.12.2.1107.5.9.1"
PRINT = "1.2.840.10008.5.1.1.9"
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
JPEG = "1.2.840.10008.1.2.4.70"
EXPLICIT, IMPLICIT = contexts.EXPLICIT_LITTLE, contexts.IMPLICIT_LITTLE


def request(*asked: tuple[str, tuple[str, ...]], user: pdu.User | None = None) -> pdu.Request:
    """A request for these contexts."""
    proposed = contexts.propose([contexts.Proposed(*pair) for pair in asked])
    return pdu.Request("A", "B", proposed, user or pdu.User())


def result(
    abstract: str, *transfers: str, offer: contexts.Offer | None = None, user: pdu.User | None = None
) -> pdu.Result:
    """What becomes of one context."""
    answer = contexts.negotiate(request((abstract, transfers), user=user), offer or contexts.Offer(()))
    return answer.results[0]


def test_every_storage_class_and_transfer_syntax_of_the_libraries_is_taken() -> None:
    for abstract in classes.STORAGE:
        assert result(abstract, IMPLICIT).result == 0
    theirs = {str(uid) for uid in dicom_uids.AllTransferSyntaxes}
    smpte = {uid for uid in theirs if uid.startswith("1.2.840.10008.1.2.7.")}
    for transfer in theirs - smpte:
        assert result(CT, transfer) == pdu.Result(1, 0, transfer)
    assert len(contexts.TRANSFER_SYNTAXES) > len(theirs - smpte)  # and the retired and the newest
    assert len(classes.STORAGE) > 150


def test_the_requestor_s_order_decides_where_there_is_no_preference() -> None:
    assert result(CT, JPEG, EXPLICIT, IMPLICIT).transfer == JPEG
    assert result(CT, IMPLICIT, JPEG).transfer == IMPLICIT


def test_the_preference_of_a_peer_decides_where_there_is_one() -> None:
    offer = contexts.Offer((), preferred=(EXPLICIT, JPEG))
    assert result(CT, IMPLICIT, JPEG, offer=offer).transfer == JPEG
    assert result(CT, JPEG, EXPLICIT, offer=offer).transfer == EXPLICIT
    assert result(CT, IMPLICIT, offer=offer).transfer == IMPLICIT
    only = contexts.Offer((), preferred=(EXPLICIT,), only_preferred=True)
    assert result(CT, IMPLICIT, offer=only).result == 4


@pytest.mark.parametrize(
    ("abstract", "transfers", "verdict"),
    [
        (PRINT, (IMPLICIT,), 3),  # a known class that is no storage
        (FIND, (IMPLICIT,), 3),  # one that is not offered
        ("not a uid", (IMPLICIT,), 3),
        ("", (IMPLICIT,), 3),
        ("1.2.840.10008.5.1.4.1.1.200.4", (IMPLICIT,), 3),  # a query model among the storage classes
        ("1.2.840.10008.5.1.4.1.1.9999", (IMPLICIT,), 0),  # a storage class that is newer than we
        (CT, (), 4),
        (CT, ("1.2.3",), 4),
        (contexts.VERIFICATION, (JPEG,), 4),
        (contexts.VERIFICATION, (JPEG, IMPLICIT), 0),
    ],
)
def test_what_is_not_taken_says_why(abstract: str, transfers: tuple[str, ...], verdict: int) -> None:
    assert result(abstract, *transfers).result == verdict


def test_private_classes_are_taken_only_where_allowed() -> None:
    assert result(PRIVATE, EXPLICIT).result == 0
    assert result(PRIVATE, EXPLICIT, offer=contexts.Offer((), unknown=False)).result == 3


def test_common_extended_negotiation_says_what_a_private_class_is() -> None:
    said = pdu.CommonExtended(PRIVATE, contexts.STORAGE_SERVICE, (CT,))
    user = pdu.User(common_extended=(said,))
    assert result(PRIVATE, JPEG, offer=contexts.Offer((), unknown=False), user=user).result == 0


def test_offered_services_are_taken_uncompressed() -> None:
    offer = contexts.Offer({FIND})
    assert result(FIND, JPEG, EXPLICIT, offer=offer) == pdu.Result(1, 0, EXPLICIT)


def test_roles_are_answered_and_kept_apart() -> None:
    user = pdu.User(roles={CT: pdu.Role(scu=False, scp=True)})
    found = contexts.negotiate(request((CT, (IMPLICIT,)), user=user), contexts.Offer(()))
    assert found.roles == {CT: pdu.Role(scu=False, scp=True)}
    assert (found.contexts[1].scu, found.contexts[1].scp) == (True, False)
    without = contexts.negotiate(request((CT, (IMPLICIT,))), contexts.Offer(()))
    assert not without.roles
    assert (without.contexts[1].scu, without.contexts[1].scp) == (False, True)
    none = pdu.User(roles={CT: pdu.Role(scu=False, scp=False)})
    assert result(CT, IMPLICIT, user=none).result == 1


def test_extended_negotiation_says_what_we_do_of_what_was_asked() -> None:
    user = pdu.User(extended={CT: b"\2\0\0\0\1\0", FIND: b"\1\1\1\0", PRINT: b"\1"})
    asked = request((CT, (IMPLICIT,)), (FIND, (IMPLICIT,)), (PRINT, (IMPLICIT,)), user=user)
    offer = contexts.Offer({FIND}, extended={FIND: b"\1\0\1"})
    assert contexts.negotiate(asked, offer).extended == {CT: b"\2\0\3\0\0\0", FIND: b"\1\0\1"}


def test_what_an_acceptor_may_answer_is_all_that_counts() -> None:
    asked = request((CT, (EXPLICIT, IMPLICIT)), (FIND, (IMPLICIT,)), (PRINT, (IMPLICIT,)))
    answer = pdu.Accept(
        "A",
        "B",
        (
            pdu.Result(1, 0, IMPLICIT),
            pdu.Result(3, 0, JPEG),  # which nobody proposed
            pdu.Result(5, 3, IMPLICIT),
            pdu.Result(99, 0, IMPLICIT),
        ),
    )
    found = contexts.agreed(asked, answer)
    assert found == {1: contexts.Context(1, CT, IMPLICIT, scu=True, scp=False)}


def test_roles_that_the_acceptor_does_not_answer_are_the_usual_ones() -> None:
    asked = request((CT, (IMPLICIT,)), user=pdu.User(roles={CT: pdu.Role(scu=True, scp=True)}))
    results = (pdu.Result(1, 0, IMPLICIT),)
    assert contexts.agreed(asked, pdu.Accept("A", "B", results))[1].scp is False
    granted = pdu.User(roles={CT: pdu.Role(scu=True, scp=True)})
    assert contexts.agreed(asked, pdu.Accept("A", "B", results, granted))[1].scp is True


def test_many_contexts_are_split_over_associations() -> None:
    many = [contexts.Proposed(f"1.2.{number}", (IMPLICIT,)) for number in range(300)]
    shares = list(contexts.split(many))
    assert [len(share) for share in shares] == [128, 128, 44]
    assert [item for share in shares for item in share] == many
    assert contexts.propose(shares[0])[-1].id == 255
    with pytest.raises(ValueError, match="128"):
        contexts.propose(many)


def test_the_classes_written_out_are_those_of_pynetdicom() -> None:
    tables = {name: table for name, table in vars(sop_class).items() if name.endswith("_CLASSES")}
    known = {str(uid) for table in tables.values() if isinstance(table, dict) for uid in table.values()}
    stored = ("_STORAGE_CLASSES", "_NON_PATIENT_OBJECT_CLASSES")
    storage = {str(uid) for name in stored for uid in tables[name].values()}
    assert storage == classes.STORAGE
    assert {uid for uid in known if uid.startswith("1.2.840.10008.")} - storage == classes.OTHER
