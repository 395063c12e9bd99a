"""The steps of a plan, ready to be done to what is sent: an ordered list that can be printed.

What a step does happens while an item is on its way: here it is only written onto the item. A kind of step is
one file that makes a `Step` of its options; the table at the end names them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from node import errors, model, orders
from node.send import base
from node.steps import coerce, compress, convert, outgoing


class Step(Protocol):
    """One step, made ready."""

    @property
    def renames(self) -> bool:
        """Whether what goes out may have another SOP Instance UID than what is held."""

    def item(self, item: base.Item) -> base.Item:
        """The item as it goes out; raises errors.NodeError and OSError when it cannot be done."""

    def kind(self, item: base.Item) -> base.Item:
        """The same for an item that only stands for its SOP class and transfer syntax; reads nothing."""

    def describe(self) -> str:
        """What it does, in words."""


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """A kind of step."""

    check: Callable[[Mapping[str, object], Mapping[str, model.Coercion]], str | None]
    # what is wrong with its options, in a sentence
    make: Callable[[Mapping[str, object], Mapping[str, model.Coercion]], Step]


def check(step: orders.StepSetting, coercions: Mapping[str, model.Coercion]) -> str | None:
    """What is wrong with a step as it is configured, in a sentence; None: nothing."""
    kind = KINDS.get(step.step)
    if kind is None:
        return f"there is no step {step.step!r}; there are {', '.join(sorted(KINDS))}"
    return kind.check(step.options, coercions)


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """Steps in order, made ready; any thread may use it."""

    steps: tuple[Step, ...]

    @classmethod
    def of(cls, steps: Sequence[orders.StepSetting], coerce: str | None, settings: model.Settings) -> Plan:
        """The steps of a route, then the destination's coercion; raises UsageError when one cannot be."""
        coercions = {one.name: one for one in settings.coerce}
        wanted = list(steps)
        if coerce is not None:
            wanted.append(orders.StepSetting("coerce", {"use": coerce}))
        made = []
        for step in wanted:
            if (wrong := check(step, coercions)) is not None:
                raise errors.UsageError(wrong)
            made.append(KINDS[step.step].make(step.options, coercions))
        if wrong := _whole(made[: len(steps)]):
            raise errors.UsageError(wrong)
        if len({isinstance(one, compress.Step) for one in made if one.renames}) > 1:
            raise errors.UsageError(
                "compression with loss gives an instance a new UID, and so does a coercion of this plan: "
                "compress without loss, or leave the UIDs alone"
            )
        return cls(tuple(made))

    @property
    def renames(self) -> bool:
        """Whether what goes out may have another SOP Instance UID than what is held."""
        return any(step.renames for step in self.steps)

    @property
    def conversion(self) -> convert.Step | None:
        """What the series becomes as a whole, once all else is done to its instances; None: nothing."""
        return next((step for step in self.steps if isinstance(step, convert.Step)), None)

    def item(self, item: base.Item) -> base.Item:
        """The item as it goes out; raises errors.NodeError with the reason when it cannot."""
        for step in self.steps:
            try:
                item = step.item(item)
            except OSError as error:
                raise errors.NotFound(f"{item.path} cannot be read ({error.strerror or error})") from error
        return item

    def kind(self, item: base.Item) -> base.Item:
        """The same for one of `base.Stream.firsts`."""
        for step in self.steps:
            item = step.kind(item)
        return item

    def describe(self) -> list[str]:
        """What is done, a sentence for each step."""
        return [step.describe() for step in self.steps]


def _whole(steps: Sequence[Step]) -> str | None:
    """What is wrong with a conversion among the steps of a route, in a sentence; None: nothing."""
    whole = [isinstance(step, convert.Step) for step in steps]
    if not any(whole):
        return None
    if any(whole[:-1]):
        return "a convert step is the last one: what is done to instances is done before"
    if any(isinstance(step, compress.Step) for step in steps):
        return "what is converted is not compressed before: take the compress step out"
    return None


class Plans:
    """Plans that were made ready before, so that a lookup table is not read for each consignment."""

    def __init__(self, settings: model.Settings) -> None:
        self._lock = threading.Lock()
        self.apply(settings)

    def apply(self, settings: model.Settings) -> None:
        """Take over a changed configuration."""

        def make(steps: str, coerce: str | None) -> Plan:
            read = [orders.StepSetting(name, options) for name, options in json.loads(steps)]
            return Plan.of(read, coerce, settings)

        made = functools.lru_cache(maxsize=64)(make)
        with self._lock:
            self._made = made

    def plan(self, steps: Sequence[orders.StepSetting], coerce: str | None) -> Plan:
        """As `Plan.of`."""
        key = json.dumps([(step.step, dict(step.options)) for step in steps], sort_keys=True, default=str)
        with self._lock:  # made ready once, and not by each thread that asks first
            return self._made(key, coerce)


@dataclasses.dataclass(frozen=True, slots=True)
class _Coerce:
    """`coerce`: change elements, as the coercion of that name says."""

    name: str
    coercion: coerce.Coercion

    @property
    def renames(self) -> bool:
        return self.coercion.renames

    def item(self, item: base.Item) -> base.Item:
        return outgoing.through(item, self.coercion)

    def kind(self, item: base.Item) -> base.Item:
        return item

    def describe(self) -> str:
        return f"coerce {self.name}: {'; '.join(self.coercion.descriptions)}"


def _check_coerce(options: Mapping[str, object], coercions: Mapping[str, model.Coercion]) -> str | None:
    if more := sorted(options.keys() - {"use"}):
        return f"a coerce step has no {more[0]!r}: it takes use = NAME"
    name = options.get("use")
    if not isinstance(name, str) or not name:
        return "a coerce step needs the name of a coercion: use = NAME"
    if name not in coercions:
        known = ", ".join(sorted(coercions)) or "none"
        return f"there is no coercion {name!r}; configured are: {known}"
    return None


def _make_coerce(options: Mapping[str, object], coercions: Mapping[str, model.Coercion]) -> Step:
    name = str(options["use"])
    return _Coerce(name, coerce.configured(coercions[name]))


KINDS: Mapping[str, Kind] = {
    "coerce": Kind(_check_coerce, _make_coerce),
    "convert": Kind(lambda options, _: convert.check(options), lambda options, _: convert.Step.of(options)),
    "compress": Kind(
        lambda options, _: compress.check(options), lambda options, _: compress.Step.of(options)
    ),
}
