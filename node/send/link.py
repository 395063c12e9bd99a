"""Associations that we open: to whom, in which contexts, and what their failure means for the sender."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from node import errors, model
from node.send import base
from node.wire import association, command, contexts, pdu, requestor, tls

PLAIN = (contexts.EXPLICIT_LITTLE, contexts.IMPLICIT_LITTLE)
ANSWER_CAP = 1 << 20  # bytes of a data set that comes with an answer


def where(peer: model.Peer) -> str:
    """A peer in words: its name and its address."""
    address = f"{peer.aet}@{peer.host}:{peer.port}"
    return address if peer.name == address else f"{peer.name} ({address})"


@contextlib.contextmanager
def opened(
    peer: model.Peer,
    calling: str,
    secure: model.TlsSettings,
    proposed: Sequence[contexts.Proposed],
    *,
    window: int = 1,
    scp: Sequence[str] = (),
    timeouts: association.Timeouts | None = None,
) -> Iterator[association.Association]:
    """Open an association, release it at the end, abort it when the block fails.

    For the SOP classes in `scp` we propose to be their provider.
    Raises PeerUnreachable, PeerBusy or PeerRefused.
    """
    if peer.host is None:
        raise errors.PeerRefused(f"peer {peer.name!r} has no host in the configuration: it only calls us")
    link = requestor.connect(
        (peer.host, peer.port),
        calling=calling,
        called=peer.aet,
        proposed=proposed,
        secure=tls.client(secure) if peer.tls else None,
        certificate=peer.certificate,
        timeouts=timeouts or association.Timeouts(),
        window=window,
        roles={uid: pdu.Role(scu=False, scp=True) for uid in scp},
        peer=peer,
    )
    try:
        yield link
    except BaseException:
        link.abort()
        raise
    with contextlib.suppress(errors.Transient):
        link.release()  # what was answered stays answered, however the goodbye goes


def response(link: association.Association, wanted: int) -> association.Message:
    """Wait for the answer to our request with this message id; raises PeerUnreachable when none comes."""
    while True:
        received = link.receive()
        if isinstance(received, association.Abort):
            raise errors.PeerUnreachable("the peer aborted the association")
        if isinstance(received, association.Release):
            link.release()
            raise errors.PeerUnreachable("the peer released the association instead of answering")
        if received.command.is_response and received.command.responded_to == wanted:
            return received
        received.drain()


def comment(answer: command.Command) -> str:
    """The Error Comment of an answer, "" when it has none; fit to be printed."""
    text = answer.text(command.ERROR_COMMENT)
    return "".join(char if char.isprintable() else "?" for char in text)


def outcome(error: errors.NodeError) -> base.Retry | base.Failed:
    """What a failure without a status means for what was to be sent."""
    if isinstance(error, errors.Transient):
        return base.Retry(str(error))
    return base.Failed(str(error))
