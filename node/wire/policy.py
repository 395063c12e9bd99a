"""Who may call: the decision over one A-ASSOCIATE-RQ, from the configured peers; replaced at a reload."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Collection, Mapping, Sequence

from node import model
from node.wire import contexts, pdu, tls

CALLING_UNKNOWN = (1, 1, 3)  # result, source, reason of the A-ASSOCIATE-RJ
CALLED_UNKNOWN = (1, 1, 7)
IDENTITY_REFUSED = (1, 2, 1)  # as PS3.7 D.3.3.7.3 wants it

# Abstract syntaxes other than storage whose services the node may perform.
QUERY_RETRIEVE = tuple(
    f"1.2.840.10008.5.1.4.1.2.{model_}.{verb}" for model_ in (1, 2, 3) for verb in (1, 2, 3)
)
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
WORKLIST = "1.2.840.10008.5.1.4.31"
PERFORMED_STEP = ("1.2.840.10008.3.1.2.3.3", "1.2.840.10008.3.1.2.3.4")  # to report, to read

_ALL = frozenset(model.Right)
_STRANGER = frozenset({model.Right.ECHO, model.Right.STORE})

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """An A-ASSOCIATE-RQ and where it came from."""

    request: pdu.Request  # as it was decoded
    address: str  # IP address of the caller
    port: int  # its port
    secure: bool = False  # over TLS
    tls_names: tuple[str, ...] = ()  # names in its verified certificate


@dataclasses.dataclass(frozen=True, slots=True)
class Admission:
    """The call is taken."""

    offer: contexts.Offer  # which contexts are accepted
    rights: frozenset[model.Right]  # what the caller may ask
    key: str  # whose associations it counts among
    most: int  # how many of these there may be at once
    peer: model.Peer | None = None  # the configured peer
    identity_response: bytes | None = None  # the answer to a user identity that wants one


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about a user identity."""

    accepted: bool  # the association may go on
    response: bytes = b""  # for Kerberos and SAML: the server's answer


Check = Callable[[pdu.Identity, Call], Verdict]


class Policy:
    """The configured peers, and what strangers may do."""

    def __init__(
        self,
        node: model.NodeSettings,
        limits: model.Limits,
        peers: Sequence[model.Peer],
        *,
        services: Collection[str] = (),
        extended: Mapping[str, bytes] | None = None,
        check: Check | None = None,
        unknown_classes: bool = True,
        titles: Collection[tuple[str, str]] = (),
    ) -> None:
        """`titles` are further AE titles of ours, each with the name of a peer that may call us by it too."""
        self._node = node
        self._titles = frozenset(titles)
        self._limits = limits
        self._services = frozenset(services)
        self._extended = dict(extended or {})
        self._check = check
        self._unknown_classes = unknown_classes
        self._peers: dict[str, list[tuple[model.Peer, tuple[Network, ...]]]] = {}
        for peer in peers:
            networks = tuple(ipaddress.ip_network(text, strict=False) for text in peer.addresses)
            self._peers.setdefault(peer.aet, []).append((peer, networks))

    def __call__(self, call: Call) -> Admission | pdu.Rejection:
        """Take the call or refuse it."""
        found = self._peer(call)
        if isinstance(found, pdu.Rejection):
            return found
        called = self._called(call, found)
        if called is not None:
            return called
        identity = call.request.user.identity
        response: bytes | None = None
        if identity is not None and self._check is not None:
            verdict = self._check(identity, call)
            if not verdict.accepted:
                return pdu.Rejection(*IDENTITY_REFUSED, f"user identity of type {identity.kind} refused")
            response = verdict.response if identity.wants_response else None
        if found is None:
            rights = _ALL if _is_loopback(call.address) else _STRANGER
            key = f"{call.request.calling}@{call.address}"
            return Admission(self._offer(()), rights, key, self._limits.per_peer, None, response)
        most = self._limits.per_peer if found.associations is None else found.associations
        offer = self._offer(found.syntaxes)
        return Admission(offer, found.rights, f"peer {found.name}", most, found, response)

    def _offer(self, preferred: tuple[str, ...]) -> contexts.Offer:
        return contexts.Offer(self._services, self._unknown_classes, preferred, extended=self._extended)

    def _peer(self, call: Call) -> model.Peer | pdu.Rejection | None:
        """The configured peer that calls, None for a stranger who may."""
        calling = call.request.calling
        candidates = self._peers.get(calling)
        if candidates is None:
            if self._node.accept_unknown and calling:
                return None
            return pdu.Rejection(*CALLING_UNKNOWN, f"no peer with AE title {calling!r} is configured")
        why = ""
        for peer, networks in candidates:
            why = self._objection(peer, networks, call)
            if not why:
                return peer
        return pdu.Rejection(*CALLING_UNKNOWN, why)

    @staticmethod
    def _objection(peer: model.Peer, networks: Sequence[Network], call: Call) -> str:
        """Why this call cannot be from this peer, "" when it can."""
        if networks and not any(_plain(call.address) in network for network in networks):
            return f"peer {peer.name} does not call from {call.address}"
        if peer.tls and not call.secure:
            return f"peer {peer.name} must call over TLS"
        if peer.certificate is not None and not tls.matches(call.tls_names, peer.certificate):
            shown = ", ".join(call.tls_names) or "no certificate"
            return f"peer {peer.name} must show the certificate of {peer.certificate}, and showed {shown}"
        return ""

    def _called(self, call: Call, peer: model.Peer | None) -> pdu.Rejection | None:
        called = call.request.called
        wanted = peer.called if peer is not None and peer.called else self._node.aet
        if called == wanted or (self._node.accept_any_called and called):
            return None
        if peer is not None and (peer.name, called) in self._titles:
            return None
        return pdu.Rejection(*CALLED_UNKNOWN, f"called AE title {called!r}; it is {wanted!r}")


def _plain(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address; an IPv4 one also when it came over an IPv6 socket."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return mapped or found


def _is_loopback(address: str) -> bool:
    return _plain(address).is_loopback
