"""What of a configuration must fit together: TLS, peers, rules, coercions."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from node import model, orders
from node.config import values as kinds

Key = tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What was read, and whom to tell of what does not fit."""

    made: Mapping[str, Any]  # by section: settings, tuples of named ones; None where a value is wrong
    names: Mapping[str, Collection[str]]  # by section: all that are named, those with mistakes too
    given: Callable[[Key], bool]  # whether the key has a value of its own
    tell: Callable[[Key, str], None]  # records a mistake: where, and what follows the key in its message

    def known(self, path: Key, name: str, section: str, what: str) -> bool:
        """Tell when there is nothing of this name in the section."""
        if name in self.names[section]:
            return True
        self.tell(path, f" = {kinds.show(name)}: there is no such {what}{among(name, self.names[section])}")
        return False


def check(parts: Parts) -> None:
    """Tell of everything that does not fit."""
    _tls(parts)
    _peers(parts)
    _rules(parts)


def among(name: str, names: Iterable[str]) -> str:
    """Say which names there are, or which one was probably meant."""
    known = sorted(names)
    near = kinds.nearest(name, known)
    if near:
        return f"; did you mean {near}?"
    return f"; there are {', '.join(known)}" if known else "; there is none in this configuration"


def _tls(parts: Parts) -> None:
    node: model.NodeSettings | None = parts.made["node"]
    tls: model.TlsSettings | None = parts.made["tls"]
    if tls is None:
        return
    if tls.port is not None:
        for key in ("certificate", "key"):
            if getattr(tls, key) is None:
                parts.tell(("tls", "port"), f" needs tls.{key}: give the path of a PEM file")
        if node is not None and tls.port == node.port:
            parts.tell(("tls", "port"), f" = {tls.port} is the port without TLS too: give another")
    if (tls.certificate is None) != (tls.key is None) and tls.port is None:
        given, other = ("key", "certificate") if tls.certificate is None else ("certificate", "key")
        parts.tell(("tls", given), f" needs tls.{other}: give the path of a PEM file")
    if tls.client_certificate and tls.ca is None:
        parts.tell(
            ("tls", "client_certificate"), " needs tls.ca: give the PEM file of who vouches for callers"
        )


def _peers(parts: Parts) -> None:
    seen: dict[tuple[object, ...], str] = {}
    for peer in parts.made["peers"]:
        who = (peer.aet, tuple(sorted(peer.addresses)), peer.called, peer.certificate)
        if who in seen:
            parts.tell(
                ("peers", peer.name, "aet"),
                f' = "{peer.aet}": peer {seen[who]} has the same AE title and addresses, '
                "so that a caller could be either: tell them apart by addresses",
            )
        seen.setdefault(who, peer.name)


def _rules(parts: Parts) -> None:
    rules: tuple[model.Rule, ...] = parts.made["rules"]
    for rule in rules:
        if rule.keep is not None and rule.action is not model.Action.KEEP:
            parts.tell(
                ("rules", rule.name, "for"), f': action is "{rule.action}", and only "keep" has a time'
            )
        if rule.coerce is not None:
            parts.known(("rules", rule.name, "coerce"), rule.coerce, "coerce", "coercion")
            if rule.action is not model.Action.KEEP:
                parts.tell(
                    ("rules", rule.name, "coerce"),
                    f': action is "{rule.action}", and only what is kept is presented',
                )
    always = [rule.name for rule in rules if rule.when == orders.Condition()]
    for rule in itertools.dropwhile(lambda rule: rule.when != orders.Condition(), rules):
        if rule.name != always[0]:
            parts.tell(
                ("rules", rule.name),
                f" is never reached: rule {always[0]} before it has no condition and takes everything",
            )
