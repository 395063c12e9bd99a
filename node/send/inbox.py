"""Listens for the length of a command, for what a peer sends us over an association of its own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Collection, Iterator, Mapping

from node import errors, model
from node.wire import acceptor, association, faults, pdu, policy

_DRAIN = 5.0  # seconds that associations get when the command is done


@contextlib.contextmanager
def listening(
    aet: str,
    port: int,
    handlers: Mapping[int, acceptor.Handler],
    *,
    services: Collection[str] = (),
    any_called: bool = False,
    drain: float = _DRAIN,
) -> Iterator[int]:
    """Take associations that call us by our AE title; the port, which is a free one for 0."""
    try:
        sock = socket.create_server(("", port))
    except OSError as error:
        raise errors.UsageError(
            f"port {port} cannot be listened on ({error.strerror}): name another"
        ) from error
    limits = model.Limits(associations=16)
    node = model.NodeSettings(aet=aet, accept_any_called=any_called)
    listener = acceptor.Acceptor(
        [acceptor.Listener(sock)],
        policy.Policy(node, limits, (), services=services),
        handlers,
        limits,
        _Silence(),
    )
    thread = threading.Thread(target=listener.serve, name="inbox", daemon=True)
    thread.start()
    try:
        yield sock.getsockname()[1]
    finally:
        listener.drain(drain)
        thread.join()
        listener.close()
        sock.close()


class _Silence:
    """Hears what becomes of associations and says nothing: the command says what came of it all."""

    def opened(self, association: association.Association) -> None: ...

    def rejected(self, facts: association.Facts, rejection: pdu.Rejection) -> None: ...

    def closed(self, association: association.Association) -> None: ...

    def aborted(self, association: association.Association, fault: faults.AssociationLost) -> None: ...

    def dropped(self, facts: association.Facts, why: str) -> None: ...

    def unauthorized(self, association: association.Association, field: int, right: model.Right) -> None: ...

    def crashed(self, facts: association.Facts, error: BaseException) -> None: ...
