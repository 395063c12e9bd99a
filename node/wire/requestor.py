"""Opens associations: connection, TLS, negotiation; a refusal is told in words."""

from __future__ import annotations

import contextlib
import secrets
import socket
import ssl
import time
from collections.abc import Mapping, Sequence

from node import errors, model
from node.wire import association as assoc
from node.wire import buffers, contexts, faults, opening, pdu, stream, tls

DEFAULT_TIMEOUTS = assoc.Timeouts()
MAX_PDU = 131072  # bytes of a P-DATA that we take from whom we call


def connect(
    address: tuple[str, int],
    *,
    calling: str,
    called: str,
    proposed: Sequence[contexts.Proposed],
    secure: ssl.SSLContext | None = None,
    certificate: str | None = None,
    timeouts: assoc.Timeouts = DEFAULT_TIMEOUTS,
    identity: pdu.Identity | None = None,
    roles: Mapping[str, pdu.Role] | None = None,
    extended: Mapping[str, bytes] | None = None,
    common_extended: Sequence[pdu.CommonExtended] = (),
    window: int = 1,
    max_pdu: int = MAX_PDU,
    peer: model.Peer | None = None,
) -> assoc.Association:
    """Open an association, or raise PeerUnreachable, PeerBusy or PeerRefused.

    `certificate` is the name that the peer's certificate must carry; without it, that is its host name.
    `window` is how many requests we would like to have unanswered at once; what was granted stands in the
    association. More than 128 contexts do not fit: see contexts.split().
    """
    where = f"{called} at {address[0]}:{address[1]}"
    deadline = time.monotonic() + timeouts.request
    request = pdu.Request(
        calling,
        called,
        contexts.propose(proposed),
        pdu.User(
            max_pdu=max_pdu,
            window=(window, 1) if window != 1 else None,
            roles=roles or {},
            extended=extended or {},
            common_extended=tuple(common_extended),
            identity=identity,
        ),
    )
    link, names = _link(address, where, deadline, secure, certificate)
    try:
        accept = _negotiate(link, request, where, deadline)
        facts = assoc.Facts(
            secrets.token_hex(8),
            address=address[0],
            port=address[1],
            calling=calling,
            called=called,
            peer=peer,
            tls_names=names,
            secure=secure is not None,
            implementation=accept.user.implementation_version or accept.user.implementation_class,
            inbound=False,
        )
        made = assoc.Association(link, facts, timeouts, buffers.Buffers(max_pdu), max_pdu)
        made.request, made.accepted = request, accept
        granted = accept.user.window[0] if window != 1 and accept.user.window else 1
        made.agree(contexts.agreed(request, accept), accept.user.max_pdu, _smaller(window, granted))
    except faults.AssociationLost as fault:
        _say_goodbye(link, fault)
        raise errors.PeerUnreachable(f"{where}: {fault.why}") from fault
    except BaseException:
        link.close()
        raise
    return made


def _smaller(asked: int, granted: int) -> int:
    """The smaller of two windows, of which 0 has no limit."""
    return min(asked or granted, granted or asked) or 65535


def _say_goodbye(link: stream.Stream, fault: faults.AssociationLost) -> None:
    if not fault.silent and not fault.by_peer:
        with contextlib.suppress(faults.AssociationLost):  # the first fault is the one to tell
            link.write([pdu.encode_abort(fault.source, fault.reason)], 10, time.monotonic() + 1)
    link.close()


def _link(
    address: tuple[str, int],
    where: str,
    deadline: float,
    secure: ssl.SSLContext | None,
    certificate: str | None,
) -> tuple[stream.Stream, tuple[str, ...]]:
    """The connection, and the names in the peer's certificate."""
    try:
        sock = socket.create_connection(address, timeout=max(0.001, deadline - time.monotonic()))
    except TimeoutError as error:
        raise errors.PeerUnreachable(f"{where} did not answer in time: is the address right?") from error
    except socket.gaierror as error:
        raise errors.PeerUnreachable(f"{where}: the host name is not known ({error.strerror})") from error
    except OSError as error:
        raise errors.PeerUnreachable(f"{where} cannot be reached ({error.strerror or error})") from error
    if secure is None:
        return stream.Stream(sock), ()
    try:
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        wrapped = secure.wrap_socket(sock, server_hostname=address[0])  # the handshake has this one deadline
    except ssl.SSLCertVerificationError as error:
        sock.close()
        raise errors.PeerRefused(f"{where}: {tls.failure(error)}") from error
    except OSError as error:
        sock.close()
        raise errors.PeerUnreachable(f"{where}: {tls.failure(error)}") from error
    names = tls.names(wrapped.getpeercert())
    wanted = certificate or address[0]
    if secure.verify_mode == ssl.CERT_REQUIRED and not tls.matches(names, wanted):
        wrapped.close()
        raise errors.PeerRefused(
            f"{where} shows the certificate of {', '.join(names) or 'nobody'}; expected {wanted}"
        )
    return stream.TlsStream(wrapped), names


def _negotiate(link: stream.Stream, request: pdu.Request, where: str, deadline: float) -> pdu.Accept:
    data = pdu.encode_request(request)
    link.write([data], len(data), deadline)
    kind, body = opening.read(link, deadline, (pdu.ASSOCIATE_AC, pdu.ASSOCIATE_RJ, pdu.ABORT))
    if kind == pdu.ASSOCIATE_AC:
        try:
            return pdu.decode_accept(body)
        except errors.BadData as error:
            raise faults.broken(f"an A-ASSOCIATE-AC that cannot be read: {error}") from error
    if len(body) != 4:
        raise faults.broken(f"an answer of {len(body)} bytes where four belong")
    if kind == pdu.ABORT:
        source = pdu.ABORT_SOURCES.get(body[2], f"source {body[2]}")
        reason = pdu.ABORT_REASONS.get(body[3], f"reason {body[3]}")
        raise faults.AssociationLost(
            f"the peer aborted the negotiation ({source}: {reason})",
            by_peer=True,
            source=body[2],
            reason=body[3],
        )
    rejection = pdu.Rejection(body[1], body[2], body[3])
    link.close()
    kind_of = errors.PeerBusy if rejection.transient else errors.PeerRefused
    raise kind_of(f"{where} refused the association {rejection.describe()}")
