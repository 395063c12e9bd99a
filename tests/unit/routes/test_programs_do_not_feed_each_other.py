"""What one program makes goes to another, and what that makes comes back: found before it happens."""

from __future__ import annotations

import dataclasses

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import evaluate, orders, rounds, routes

PROGRAMS = tuple(orders.Destination(name, kind=orders.Kind.COMMAND, command=("x",)) for name in "abc")
PACS = orders.Destination("pacs", peer="p")
NONE = orders.Routing()


def route(name: str, *to: str, **when: str) -> orders.Route:
    return orders.Route(name, when=evaluate.of(when), to=to)


def find(
    *all_of: orders.Route, routing: orders.Routing = NONE, groups: tuple[orders.Group, ...] = ()
) -> object:
    return rounds.find(routing, all_of, (*PROGRAMS, PACS), groups)


def test_one_program_never_gets_what_it_made() -> None:
    assert find(route("all", "a", "pacs")) is None


def test_two_that_get_everything_feed_each_other() -> None:
    assert find(route("all", "a", "b")) == rounds.Round(("a", "b"), ("all", "all"), certain=True)
    assert find(routing=orders.Routing(default=("a", "b"))) == rounds.Round(
        ("a", "b"), ("default", "default"), certain=True
    )


def test_a_round_over_three() -> None:
    chain = (
        route("ab", "b", source="command:a"),
        route("bc", "c", source="command:b"),
        route("ca", "a", source="command:c"),
    )
    assert find(*chain) == rounds.Round(("a", "b", "c"), ("ab", "bc", "ca"), certain=True)
    assert find(*chain[:2]) is None


def test_what_depends_on_what_is_made_is_not_certain() -> None:
    assert find(route("ct", "a", "b", Modality="CT")) == rounds.Round(("a", "b"), ("ct", "ct"), certain=False)
    assert find(route("x", "a"), route("ct", "b", Modality="CT")) == rounds.Round(
        ("a", "b"), ("ct", "x"), certain=False
    )


@pytest.mark.parametrize("kept_out", ["!command:*", "CT_*", "!command:b"])
def test_a_route_may_keep_it_out(kept_out: str) -> None:
    assert find(route("a", "a", source=kept_out), route("b", "b")) is None


def test_a_last_route_ends_it() -> None:
    first = dataclasses.replace(route("made", "pacs", source="command:*"), final=True)
    assert find(first, route("all", "a", "b")) is None
    discard = orders.Route("made", when=evaluate.of({"source": "command:*"}), discard="enough")
    assert find(discard, route("all", "a", "b")) is None
    maybe = dataclasses.replace(first, when=evaluate.of({"Modality": "SR"}))
    assert find(maybe, route("all", "a", "b")) == rounds.Round(("a", "b"), ("all", "all"), certain=False)


def test_a_group_that_may_choose_another_is_not_certain() -> None:
    group = (orders.Group("g", ("b", "pacs")),)
    assert find(route("all", "a", "g"), groups=group) == rounds.Round(
        ("a", "b"), ("all", "all"), certain=False
    )


SOURCES = st.sampled_from(["command:*", "!command:*", "command:a", "!command:b", "*", "CT"])
ROUTES = st.lists(
    st.builds(
        lambda to, source, final: orders.Route(
            f"r{to}", when=evaluate.of({"source": source}), to=tuple(sorted(to)), final=final
        ),
        st.sets(st.sampled_from("abc"), min_size=1),
        SOURCES,
        st.booleans(),
    ),
    max_size=4,
)


@hypothesis.settings(max_examples=100, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
@given(ROUTES, st.sampled_from(orders.Mode), st.sets(st.sampled_from("abc")))
def test_what_is_said_is_what_routes_then_do(
    all_of: list[orders.Route], mode: orders.Mode, default: set[str]
) -> None:
    """Asked for their source alone, routes decide for certain: following them shows whether it goes round."""
    routing = orders.Routing(mode, tuple(sorted(default)))

    def after(maker: str) -> set[str]:
        known = routes.facts({}, source=f"command:{maker}", peer=f"command:{maker}")
        return set(routes.choose(routing, all_of, known).destinations)

    reached = {maker: after(maker) for maker in "abc"}
    for _ in "abc":
        reached = {maker: places.union(*(reached[to] for to in places)) for maker, places in reached.items()}
    found = rounds.find(routing, all_of, PROGRAMS, ())
    assert (found is not None) == any(maker in places for maker, places in reached.items())
    if found is not None:
        assert found.certain
        turns = zip(found.programs, found.programs[1:] + found.programs[:1], strict=True)
        assert all(to in after(maker) for maker, to in turns)
