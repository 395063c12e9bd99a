"""A tree of conditions against what is known of an instance: whether it holds, on which values, and why not.

Rules at receipt and routes share it. Pure: whoever asks has read the values that `keys` names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

from node import conditions, orders

# What a condition may name besides elements: facts of the association that brought the instance ...
SOURCE, CALLED, PEER, ADDRESS = "source", "called", "peer", "address"
ASSOCIATION = frozenset({SOURCE, CALLED, PEER, ADDRESS})
# ... and, for routes, what is known once its series has settled.
VERDICT, INSTANCES, SORTED = "verdict", "instances", "sorted"
SETTLED = frozenset({VERDICT, INSTANCES, SORTED})
COMMAND = "command:"  # source and peer of what a command destination made begin so; its name follows
_EXACT = frozenset({SOURCE, CALLED})  # AE titles: DICOM lets case tell two of them apart

MOST_VALUES = 16  # of one element that are shown or kept as the reason for something
MOST_TEXT = 128  # characters of each

Facts = Mapping[str, Sequence[str]]  # by the name a condition uses; no entry, or an empty one: no value


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One key of a condition beside what was found."""

    key: str  # a fact, or the element as the condition names it
    wanted: tuple[str, ...]  # the entries of the condition
    found: tuple[str, ...]  # the values; empty: there are none
    holds: bool  # whether they fulfil the entries

    def __str__(self) -> str:
        present = [value for value in self.found if value.strip()]
        values = ", ".join(map(repr, _short(self.found))) if present else "no value"
        wanted = " or ".join(map(repr, self.wanted))
        return f"{self.key} has {values} {'as in' if self.holds else 'and not'} {wanted}"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """What became of a condition."""

    holds: bool  # whether it does
    checks: tuple[Check, ...] = ()  # each key of it
    every: tuple[Finding, ...] = ()  # what stands under `all`
    some: tuple[Finding, ...] = ()  # under `any`
    none: tuple[Finding, ...] = ()  # under `not`

    def matched(self) -> dict[str, tuple[str, ...]]:
        """The values that were looked at, by key: what a decision that rests on them keeps of them."""
        return {check.key: _short(check.found) for check in _looked_at(self)}

    def why(self) -> str:
        """Say what makes it hold, or what it fails on; "" for a condition that asks nothing."""
        return "; ".join(_holding(self) if self.holds else _broken(self))


def of(tests: Mapping[str, str | Sequence[str]]) -> orders.Condition:
    """Return the condition that all of these hold."""
    return orders.Condition(
        tuple((key, (wanted,) if isinstance(wanted, str) else tuple(wanted)) for key, wanted in tests.items())
    )


def keys(condition: orders.Condition) -> frozenset[str]:
    """Return everything that a condition looks at, facts and elements."""
    inner = (*condition.every, *condition.some, *condition.none)
    return frozenset(key for key, _ in condition.tests).union(*map(keys, inner))


def elements(all_of: Iterable[orders.Condition]) -> frozenset[str]:
    """Return the elements that these conditions look at, so that nothing else need be read."""
    return frozenset[str]().union(*map(keys, all_of)) - ASSOCIATION - SETTLED


def holds(condition: orders.Condition, known: Facts) -> bool:
    """Return whether the condition holds, by the shortest way."""
    return (
        all(_test(key, wanted, known) for key, wanted in condition.tests)
        and all(holds(inner, known) for inner in condition.every)
        and (not condition.some or any(holds(inner, known) for inner in condition.some))
        and not any(holds(inner, known) for inner in condition.none)
    )


def certain(condition: orders.Condition, known: Facts) -> bool | None:
    """Return whether a condition holds when nothing but this is known; None: it depends on the rest."""
    parts: list[bool | None] = [
        _test(key, wanted, known) if key in known else None for key, wanted in condition.tests
    ]
    parts += [certain(inner, known) for inner in condition.every]
    if condition.some:
        some = [certain(inner, known) for inner in condition.some]
        parts.append(True if True in some else None if None in some else False)
    for inner in condition.none:
        met = certain(inner, known)
        parts.append(None if met is None else not met)
    return False if False in parts else None if None in parts else True


def look(condition: orders.Condition, known: Facts) -> Finding:
    """Return whether the condition holds, with everything that it looked at."""
    checks = tuple(
        Check(key, wanted, tuple(known.get(key, ())), _test(key, wanted, known))
        for key, wanted in condition.tests
    )
    every, some, none = (
        tuple(look(inner, known) for inner in part)
        for part in (condition.every, condition.some, condition.none)
    )
    met = (
        all(check.holds for check in checks)
        and all(finding.holds for finding in every)
        and (not some or any(finding.holds for finding in some))
        and not any(finding.holds for finding in none)
    )
    return Finding(met, checks, every, some, none)


def words(condition: orders.Condition) -> str:
    """Say what a condition asks; "everything" when it asks nothing."""
    said = [f"{key} is {' or '.join(map(repr, wanted))}" for key, wanted in condition.tests]
    said += [words(inner) for inner in condition.every]
    if condition.some:
        said.append(f"({' or '.join(map(words, condition.some))})")
    said += [f"not ({words(inner)})" for inner in condition.none]
    return ", ".join(said) or "everything"


def _looked_at(finding: Finding) -> Iterator[Check]:
    yield from finding.checks
    for inner in (*finding.every, *finding.some, *finding.none):
        yield from _looked_at(inner)


def _holding(finding: Finding) -> Iterator[str]:
    """What makes it hold."""
    yield from map(str, finding.checks)
    for inner in (*finding.every, *(one for one in finding.some if one.holds)):
        yield from _holding(inner)
    for inner in finding.none:
        yield " and ".join(_broken(inner))


def _broken(finding: Finding) -> Iterator[str]:
    """What it fails on."""
    yield from (str(check) for check in finding.checks if not check.holds)
    for inner in finding.every:
        if not inner.holds:
            yield from _broken(inner)
    if finding.some and not any(inner.holds for inner in finding.some):
        yield "none of (" + " | ".join(", ".join(_broken(inner)) for inner in finding.some) + ")"
    for inner in finding.none:
        if inner.holds:
            yield f"ruled out is that {' and '.join(_holding(inner)) or 'anything comes'}"


def _test(key: str, wanted: Sequence[str], known: Facts) -> bool:
    return conditions.holds(wanted, known.get(key, ()), exact_case=key in _EXACT)


def _short(found: Sequence[str]) -> tuple[str, ...]:
    """What is kept and shown of values: a header may hold a million, and megabytes of one."""
    cut = tuple(v if len(v) <= MOST_TEXT else v[:MOST_TEXT] + "..." for v in found[:MOST_VALUES])
    return cut if len(found) <= MOST_VALUES else (*cut, f"... {len(found) - MOST_VALUES} more")
