"""Rules at receipt, pure: what is known of an instance -> the first rule that it fulfils, and why.

Whoever calls it reads the elements that `needed` names and hands their values over as Unicode text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from node import conditions, model

# What a condition may name besides elements: facts of the association that brought the instance.
SOURCE, CALLED, PEER, ADDRESS = "source", "called", "peer", "address"
ASSOCIATION = frozenset({SOURCE, CALLED, PEER, ADDRESS})
_EXACT = frozenset({SOURCE, CALLED})  # AE titles: DICOM lets case tell two of them apart

Facts = Mapping[str, Sequence[str]]  # by the name a condition uses; no entry, or an empty one: no value


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One key of a condition beside what was found."""

    key: str  # `source`, `called`, `peer`, `address`, or the element as the rule names it
    wanted: tuple[str, ...]  # the entries of the condition
    found: tuple[str, ...]  # the values; empty: there are none
    holds: bool  # whether they fulfil the entries


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """What one rule says of an instance."""

    rule: model.Rule  # the rule
    checks: tuple[Check, ...]  # each key of its condition; empty when the condition is
    matches: bool  # whether all of them hold
    chosen: bool  # whether it is the first that matches: what happens

    def __str__(self) -> str:
        if not self.matches:
            broken = "; ".join(_words(check) for check in self.checks if not check.holds)
            return f"{self.rule.name}: no, {broken}"
        why = "; ".join(_words(check) for check in self.checks) or "it has no condition"
        return f"{self.rule.name}: {'yes' if self.chosen else 'yes, but an earlier rule was chosen'}, {why}"


def needed(rules: Sequence[model.Rule]) -> frozenset[str]:
    """Return the elements that the rules look at, so that nothing else need be read."""
    return frozenset(key for rule in rules for key in rule.when) - ASSOCIATION


def facts(elements: Mapping[str, Sequence[str]], arrival: model.Arrival) -> Facts:
    """Return what rules may ask: the values of elements, and where the instance came from."""
    return {
        **elements,
        SOURCE: (arrival.calling,),
        CALLED: (arrival.called,),
        PEER: (arrival.peer,),
        ADDRESS: (arrival.address,),
    }


def match(rules: Sequence[model.Rule], known: Facts) -> model.Rule | None:
    """Return the first rule whose whole condition holds; None: no rule says anything."""
    for rule in rules:
        if all(_holds(key, wanted, known) for key, wanted in rule.when.items()):
            return rule
    return None


def explain(rules: Sequence[model.Rule], known: Facts) -> tuple[Explanation, ...]:
    """Return for each rule, in order, which of its keys hold on which values."""
    chosen = match(rules, known)
    found = []
    for rule in rules:
        checks = tuple(
            Check(key, _entries(wanted), tuple(known.get(key, ())), _holds(key, wanted, known))
            for key, wanted in rule.when.items()
        )
        found.append(Explanation(rule, checks, all(check.holds for check in checks), rule is chosen))
    return tuple(found)


def _holds(key: str, wanted: str | Sequence[str], known: Facts) -> bool:
    return conditions.holds(_entries(wanted), known.get(key, ()), exact_case=key in _EXACT)


def _entries(wanted: str | Sequence[str]) -> tuple[str, ...]:
    return (wanted,) if isinstance(wanted, str) else tuple(wanted)


def _words(check: Check) -> str:
    values = ", ".join(map(repr, check.found)) if any(value.strip() for value in check.found) else "no value"
    wanted = " or ".join(map(repr, check.wanted))
    return f"{check.key} has {values} {'as in' if check.holds else 'and not'} {wanted}"
