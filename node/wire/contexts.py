"""Which presentation contexts we know, accept and propose."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence

from node.wire import classes, pdu

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"

MOST = 128  # contexts of one association: odd ids from 1 to 255

# Every transfer syntax of PS3.6 table A-1 that a data set can be stored in, retired ones included,
# because archives still hold them. Left out: SMPTE ST 2110, which carries live video and no instances.
TRANSFER_SYNTAXES: Mapping[str, str] = {
    IMPLICIT_LITTLE: "Implicit VR Little Endian",
    EXPLICIT_LITTLE: "Explicit VR Little Endian",
    "1.2.840.10008.1.2.1.98": "Encapsulated Uncompressed Explicit VR Little Endian",
    DEFLATED_LITTLE: "Deflated Explicit VR Little Endian",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
    EXPLICIT_BIG: "Explicit VR Big Endian",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.52": "JPEG Extended 3 and 5",
    "1.2.840.10008.1.2.4.53": "JPEG Spectral Selection 6 and 8",
    "1.2.840.10008.1.2.4.54": "JPEG Spectral Selection 7 and 9",
    "1.2.840.10008.1.2.4.55": "JPEG Full Progression 10 and 12",
    "1.2.840.10008.1.2.4.56": "JPEG Full Progression 11 and 13",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.58": "JPEG Lossless 15",
    "1.2.840.10008.1.2.4.59": "JPEG Extended, Hierarchical 16 and 18",
    "1.2.840.10008.1.2.4.60": "JPEG Extended, Hierarchical 17 and 19",
    "1.2.840.10008.1.2.4.61": "JPEG Spectral Selection, Hierarchical 20 and 22",
    "1.2.840.10008.1.2.4.62": "JPEG Spectral Selection, Hierarchical 21 and 23",
    "1.2.840.10008.1.2.4.63": "JPEG Full Progression, Hierarchical 24 and 26",
    "1.2.840.10008.1.2.4.64": "JPEG Full Progression, Hierarchical 25 and 27",
    "1.2.840.10008.1.2.4.65": "JPEG Lossless, Hierarchical 28",
    "1.2.840.10008.1.2.4.66": "JPEG Lossless, Hierarchical 29",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless SV1",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS Near Lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.92": "JPEG 2000 Multi-component Lossless",
    "1.2.840.10008.1.2.4.93": "JPEG 2000 Multi-component",
    "1.2.840.10008.1.2.4.94": "JPIP Referenced",
    "1.2.840.10008.1.2.4.95": "JPIP Referenced Deflate",
    "1.2.840.10008.1.2.4.100": "MPEG2 Main Profile / Main Level",
    "1.2.840.10008.1.2.4.100.1": "Fragmentable MPEG2 Main Profile / Main Level",
    "1.2.840.10008.1.2.4.101": "MPEG2 Main Profile / High Level",
    "1.2.840.10008.1.2.4.101.1": "Fragmentable MPEG2 Main Profile / High Level",
    "1.2.840.10008.1.2.4.102": "MPEG-4 AVC/H.264 High Profile 4.1",
    "1.2.840.10008.1.2.4.102.1": "Fragmentable MPEG-4 AVC/H.264 High Profile 4.1",
    "1.2.840.10008.1.2.4.103": "MPEG-4 AVC/H.264 BD-compatible High Profile 4.1",
    "1.2.840.10008.1.2.4.103.1": "Fragmentable MPEG-4 AVC/H.264 BD-compatible High Profile 4.1",
    "1.2.840.10008.1.2.4.104": "MPEG-4 AVC/H.264 High Profile 4.2 for 2D Video",
    "1.2.840.10008.1.2.4.104.1": "Fragmentable MPEG-4 AVC/H.264 High Profile 4.2 for 2D Video",
    "1.2.840.10008.1.2.4.105": "MPEG-4 AVC/H.264 High Profile 4.2 for 3D Video",
    "1.2.840.10008.1.2.4.105.1": "Fragmentable MPEG-4 AVC/H.264 High Profile 4.2 for 3D Video",
    "1.2.840.10008.1.2.4.106": "MPEG-4 AVC/H.264 Stereo High Profile 4.2",
    "1.2.840.10008.1.2.4.106.1": "Fragmentable MPEG-4 AVC/H.264 Stereo High Profile 4.2",
    "1.2.840.10008.1.2.4.107": "HEVC/H.265 Main Profile 5.1",
    "1.2.840.10008.1.2.4.108": "HEVC/H.265 Main 10 Profile 5.1",
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.4.201": "HTJ2K Lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K Lossless RPCL",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
    "1.2.840.10008.1.2.4.204": "JPIP HTJ2K Referenced",
    "1.2.840.10008.1.2.4.205": "JPIP HTJ2K Referenced Deflate",
    "1.2.840.10008.1.2.5": "RLE Lossless",
    "1.2.840.10008.1.20": "Papyrus 3 Implicit VR Little Endian",
}
# What queries, commitment and verification speak: nobody sends these compressed.
PLAIN = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED_LITTLE)

# Where a UID of the standard's own root names a storage class that is newer than our tables.
_STANDARD_ROOT = "1.2.840.10008."
_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."


@dataclasses.dataclass(frozen=True, slots=True)
class Proposed:
    """A context to propose; the requestor gives it its id."""

    abstract: str  # abstract syntax UID
    transfers: tuple[str, ...]  # transfer syntax UIDs in our order


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """An accepted presentation context."""

    id: int  # odd, 1 to 255
    abstract: str  # abstract syntax UID
    transfer: str  # the one transfer syntax
    scu: bool  # we may invoke operations in it
    scp: bool  # we may perform operations in it


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """What an acceptor takes."""

    services: Collection[str]  # abstract syntaxes other than storage that we perform
    unknown: bool = True  # take abstract syntaxes nobody knows, when they look like storage
    preferred: tuple[str, ...] = ()  # transfer syntaxes in our order; empty: the requestor's order
    only_preferred: bool = False  # refuse the transfer syntaxes that are not preferred
    refused: Collection[str] = ()  # abstract and transfer syntaxes that are not taken, whatever else is said
    extended: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    # what we can do of the SOP class extended negotiation of these services, by SOP class
    window: int = 16  # operations that may wait for us at once, when the requestor asks for more than one


@dataclasses.dataclass(frozen=True, slots=True)
class Negotiated:
    """The outcome of a proposal."""

    results: tuple[pdu.Result, ...]  # one per proposal, for the answer
    contexts: Mapping[int, Context]  # those accepted, by id
    roles: Mapping[str, pdu.Role]  # answers to the role selection
    extended: Mapping[str, bytes]  # answers to the SOP class extended negotiation


def is_storage(abstract: str, common: Collection[pdu.CommonExtended] = ()) -> bool:
    """Whether an abstract syntax is of the storage service: known, said to be, or in its part of the tree."""
    if abstract in classes.STORAGE:
        return True
    if any(item.sop_class == abstract and item.service_class == STORAGE_SERVICE for item in common):
        return True
    # Query models of protocols and inventories live in storage's part of the tree.
    return abstract.startswith(_STORAGE_ROOT) and abstract not in classes.OTHER


def looks_like_storage(abstract: str, common: Collection[pdu.CommonExtended] = ()) -> bool:
    """Whether an unknown abstract syntax may be a private storage class: it is no known other class."""
    if is_storage(abstract, common):
        return True
    return is_uid(abstract) and not abstract.startswith(_STANDARD_ROOT) and abstract not in classes.OTHER


STORAGE_SERVICE = "1.2.840.10008.4.2"  # Storage Service Class
# PS3.4 B.3.1.4.1: level 2 (every attribute is kept), signature level 3 (bit preserving), no coercion
STORAGE_SUPPORT = bytes((2, 0, 3, 0, 0, 0))


def is_uid(text: str) -> bool:
    """Whether a text is a UID: digits and dots, no empty component, at most 64 characters."""
    return len(text) <= 64 and all(part.isascii() and part.isdigit() for part in text.split("."))


def negotiate(request: pdu.Request, offer: Offer) -> Negotiated:
    """Answer every proposed context."""
    results: list[pdu.Result] = []
    accepted: dict[int, Context] = {}
    roles: dict[str, pdu.Role] = {}
    for proposal in request.contexts:
        transfers = _transfers(proposal.abstract, request, offer)
        if transfers is None:
            results.append(pdu.Result(proposal.id, 3, IMPLICIT_LITTLE))
            continue
        chosen = _choose(proposal.transfers, transfers, offer)
        if chosen is None:
            results.append(pdu.Result(proposal.id, 4, IMPLICIT_LITTLE))
            continue
        wanted = request.user.roles.get(proposal.abstract)
        if wanted is not None and not (wanted.scu or wanted.scp):
            results.append(pdu.Result(proposal.id, 1, IMPLICIT_LITTLE))
            continue
        role = wanted or pdu.Role(scu=True, scp=False)
        if wanted is not None:
            roles[proposal.abstract] = role  # we play either role that is asked for
        results.append(pdu.Result(proposal.id, 0, chosen))
        accepted[proposal.id] = Context(proposal.id, proposal.abstract, chosen, scu=role.scp, scp=role.scu)
    return Negotiated(tuple(results), accepted, roles, _extended(request, accepted.values(), offer))


def _extended(request: pdu.Request, accepted: Collection[Context], offer: Offer) -> dict[str, bytes]:
    """The answers to the SOP class extended negotiation; a class without one goes on without it."""
    answers: dict[str, bytes] = {}
    taken = {context.abstract for context in accepted}
    for uid, asked in request.user.extended.items():
        if uid not in taken:
            continue
        support = offer.extended.get(uid)
        if support is not None:
            answers[uid] = bytes(min(pair) for pair in zip(asked, support, strict=False))
        elif is_storage(uid, request.user.common_extended):
            answers[uid] = STORAGE_SUPPORT
    return answers


def _transfers(abstract: str, request: pdu.Request, offer: Offer) -> Collection[str] | None:
    """The transfer syntaxes that an abstract syntax may have, None when we do not know it."""
    if abstract in offer.refused:
        return None
    if abstract == VERIFICATION or abstract in offer.services:
        return PLAIN
    common = request.user.common_extended
    if is_storage(abstract, common) or (offer.unknown and looks_like_storage(abstract, common)):
        return TRANSFER_SYNTAXES
    return None


def _choose(proposed: Sequence[str], allowed: Collection[str], offer: Offer) -> str | None:
    if offer.refused:
        proposed = [uid for uid in proposed if uid not in offer.refused]
    for uid in offer.preferred:
        if uid in proposed and uid in allowed:
            return uid
    if offer.only_preferred and offer.preferred and allowed is TRANSFER_SYNTAXES:
        return None
    return next((uid for uid in proposed if uid in allowed), None)


def agreed(request: pdu.Request, accept: pdu.Accept) -> dict[int, Context]:
    """The contexts that an acceptor took, by id, as the requestor sees them."""
    proposals = {proposal.id: proposal for proposal in request.contexts}
    found: dict[int, Context] = {}
    for result in accept.results:
        proposal = proposals.get(result.id)
        # An acceptor that answers with a transfer syntax nobody proposed has accepted nothing.
        if proposal is None or result.result or result.transfer not in proposal.transfers:
            continue
        wanted = request.user.roles.get(proposal.abstract)
        granted = accept.user.roles.get(proposal.abstract)
        if wanted is None or granted is None:
            role = pdu.Role(scu=True, scp=False)
        else:
            role = pdu.Role(scu=wanted.scu and granted.scu, scp=wanted.scp and granted.scp)
        found[result.id] = Context(result.id, proposal.abstract, result.transfer, scu=role.scu, scp=role.scp)
    return found


def split(proposed: Sequence[Proposed], most: int = MOST) -> Iterator[tuple[Proposed, ...]]:
    """The contexts in shares that fit one association each."""
    for start in range(0, len(proposed), most):
        yield tuple(proposed[start : start + most])


def propose(proposed: Sequence[Proposed]) -> tuple[pdu.Proposal, ...]:
    """The contexts with their ids."""
    if len(proposed) > MOST:
        raise ValueError(f"{len(proposed)} presentation contexts; an association holds {MOST}: split() them")
    return tuple(
        pdu.Proposal(2 * number + 1, item.abstract, item.transfers) for number, item in enumerate(proposed)
    )
