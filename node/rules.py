"""Rules at receipt, pure: what is known of an instance -> the first rule that it fulfils, and why.

Whoever calls it reads the elements that `needed` names and hands their values over as Unicode text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from node import evaluate, model

Facts = evaluate.Facts


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """What one rule says of an instance."""

    rule: model.Rule  # the rule
    finding: evaluate.Finding  # its condition, key by key
    chosen: bool  # whether it is the first that matches: what happens

    @property
    def matches(self) -> bool:
        """Whether its condition holds."""
        return self.finding.holds

    def __str__(self) -> str:
        why = self.finding.why() or "it has no condition"
        if not self.matches:
            return f"{self.rule.name}: no, {why}"
        return f"{self.rule.name}: {'yes' if self.chosen else 'yes, but an earlier rule was chosen'}, {why}"


def needed(rules: Sequence[model.Rule]) -> frozenset[str]:
    """Return the elements that the rules look at, so that nothing else need be read."""
    return evaluate.elements(rule.when for rule in rules)


def facts(elements: Mapping[str, Sequence[str]], arrival: model.Arrival) -> Facts:
    """Return what rules may ask: the values of elements, and where the instance came from."""
    return {
        **elements,
        evaluate.SOURCE: (arrival.calling,),
        evaluate.CALLED: (arrival.called,),
        evaluate.PEER: (arrival.peer,),
        evaluate.ADDRESS: (arrival.address,),
    }


def match(rules: Sequence[model.Rule], known: Facts) -> model.Rule | None:
    """Return the first rule whose condition holds; None: no rule says anything."""
    return next((rule for rule in rules if evaluate.holds(rule.when, known)), None)


def explain(rules: Sequence[model.Rule], known: Facts) -> tuple[Explanation, ...]:
    """Return for each rule, in order, whether it holds and on which values."""
    chosen = match(rules, known)
    return tuple(Explanation(rule, evaluate.look(rule.when, known), rule is chosen) for rule in rules)
