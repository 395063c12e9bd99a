"""Routes: which have an effect, in which order, and how that is explained."""

from __future__ import annotations

from node import evaluate, orders, routes
from node.volume import stack

ALL = orders.Routing(default=("archive",))
FIRST = orders.Routing(orders.Mode.FIRST, ("archive",))


def route(name: str, modality: str = "", **fields: object) -> orders.Route:
    when = evaluate.of({"Modality": modality}) if modality else orders.Condition()
    return orders.Route(name, when=when, **fields)  # type: ignore[arg-type]


def known(modality: str = "CT", **fields: object) -> routes.Facts:
    return routes.facts({"Modality": (modality,)}, source="CT_1", **fields)  # type: ignore[arg-type]


def names(decision: routes.Decision) -> list[tuple[str, tuple[str, ...]]]:
    return [(effect.route, effect.destinations) for effect in decision.effects]


CT = route("ct", "CT", to=("pacs", "lab"))
HEAD = route("more", "CT", to=("lab", "cloud"))
MR = route("mr", "MR", to=("pacs",))


def test_all_that_match_have_an_effect_and_none_sends_there_twice() -> None:
    assert names(routes.choose(ALL, (CT, MR, HEAD), known())) == [
        ("ct", ("pacs", "lab")),
        ("more", ("cloud",)),
    ]


def test_the_first_that_matches_when_the_mode_says_so() -> None:
    assert names(routes.choose(FIRST, (MR, CT, HEAD), known())) == [("ct", ("pacs", "lab"))]


def test_a_final_route_is_the_last() -> None:
    final = route("final", "CT", to=("pacs",), final=True)
    assert names(routes.choose(ALL, (MR, final, HEAD), known())) == [("final", ("pacs",))]


def test_what_is_discarded_is_so_with_its_reason_and_goes_nowhere_after_that() -> None:
    noise = route("noise", "CT", discard="not wanted")
    decision = routes.choose(ALL, (MR, noise, CT), known())
    assert names(decision) == [("noise", ())]
    assert decision.effects[0].discard == "not wanted"
    assert names(routes.choose(ALL, (CT, noise), known())) == [("ct", ("pacs", "lab")), ("noise", ())]


def test_the_default_is_for_what_no_route_matches() -> None:
    assert names(routes.choose(ALL, (MR,), known())) == [("default", ("archive",))]
    assert names(routes.choose(orders.Routing(), (MR,), known())) == [("", ())]
    assert names(routes.choose(ALL, (), known())) == [("default", ("archive",))]


def test_the_values_it_rests_on_are_kept() -> None:
    (effect, _) = routes.choose(ALL, (CT, HEAD), known()).effects
    assert effect.matched == {"Modality": ("CT",)}


def test_how_it_settled_and_how_many_there_are_can_be_asked() -> None:
    whole = orders.Route(
        "whole", when=evaluate.of({"verdict": "complete", "instances": ">=100"}), to=("pacs",)
    )
    assert names(
        routes.choose(orders.Routing(), (whole,), known(verdict=orders.Completeness.COMPLETE, instances=100))
    ) == [("whole", ("pacs",))]
    for missing in ({"verdict": orders.Completeness.PARTIAL, "instances": 100}, {"instances": 100}, {}):
        assert names(routes.choose(orders.Routing(), (whole,), known(**missing))) == [("", ())]


def test_how_it_sorts_can_be_asked() -> None:
    whole = orders.Route("whole", when=evaluate.of({"sorted": ["complete", "!mixed"]}), to=("pacs",))
    assert routes.ask_sorting((CT, whole))
    assert not routes.ask_sorting((CT, MR))
    assert routes.needed((whole,)) == frozenset()
    for said, to in ((("complete",), "whole"), (("complete", "mixed"), ""), (("gaps",), ""), ((), "")):
        assert names(routes.choose(orders.Routing(), (whole,), known(sorting=said)))[0][0] == to


def test_the_words_for_it_are_those_of_sorting() -> None:
    assert set(orders.Sorting) == {one.value for one in stack.Verdict} | {"mixed"}


# -- levels ---------------------------------------------------------------------------------------

NOW = route("now", "CT", level=orders.When.INSTANCE, to=("stroke",))
LATER = route("later", "CT", to=("pacs",))
STUDY = route("study", level=orders.When.STUDY, to=("fusion",))


def test_each_level_has_its_own_effects() -> None:
    three = (NOW, LATER, STUDY)
    assert names(routes.choose(ALL, three, known(), level=orders.When.INSTANCE)) == [("now", ("stroke",))]
    assert names(routes.choose(ALL, three, known())) == [("later", ("pacs",))]
    assert {
        series: names(decision)
        for series, decision in routes.choose_study(ALL, three, {"1.2": known(), "1.3": known("MR")}).items()
    } == {"1.2": [("study", ("fusion",))], "1.3": [("study", ("fusion",))]}


def test_the_default_applies_once_and_to_series_only() -> None:
    assert routes.choose(ALL, (MR,), known(), level=orders.When.INSTANCE).effects == ()
    assert routes.choose_study(ALL, (MR,), {"1.2": known()}) == {"1.2": routes.Decision(())}
    # A route of another level has matched: that is where it goes.
    assert routes.choose(ALL, (NOW,), known()).effects == ()


def test_a_final_route_of_another_level_is_the_last_all_the_same() -> None:
    final = route("now", "CT", level=orders.When.INSTANCE, to=("stroke",), final=True)
    assert routes.choose(ALL, (final, LATER), known()).effects == ()
    assert routes.choose(FIRST, (NOW, LATER), known()).effects == ()


def test_what_a_study_requires_may_lie_in_any_of_its_series() -> None:
    fusion = route(
        "fusion",
        level=orders.When.STUDY,
        to=("fusion",),
        requires=(evaluate.of({"Modality": "PT"}), evaluate.of({"Modality": "CT"})),
    )
    whole = routes.choose_study(ALL, (fusion,), {"1.2": known("PT"), "1.3": known("CT")})
    assert [effect.missing for decision in whole.values() for effect in decision.effects] == [(), ()]
    half = routes.choose_study(ALL, (fusion,), {"1.2": known("PT")})
    assert half["1.2"].effects[0].missing == ("Modality is 'CT'",)


# -- what a program made ----------------------------------------------------------------------------


def test_what_a_destination_made_does_not_go_there_again() -> None:
    made = routes.facts({"Modality": ("CT",)}, source="command:lab", peer="command:lab")
    decision = routes.choose(ALL, (CT, HEAD), made)
    assert names(decision) == [("ct", ("pacs",)), ("more", ("cloud",))]
    assert {effect.never for effect in decision.effects} == {"lab"}
    assert names(routes.choose(orders.Routing(default=("lab",)), (), made)) == [("", ())]


# -- explaining -------------------------------------------------------------------------------------


def test_every_route_explains_itself() -> None:
    final = route("final", "CT", to=("pacs",), final=True)
    told = routes.explain(ALL, (MR, final, HEAD), known())
    assert [str(one) for one in told] == [
        "mr: no, Modality has 'CT' and not 'MR'",
        "final: yes, Modality has 'CT' as in 'CT'",
        "more: yes, but an earlier route has the last word, Modality has 'CT' as in 'CT'",
    ]
    assert [one.effect and one.effect.destinations for one in told] == [None, ("pacs",), None]
    assert routes.default(ALL, told, known()) is None


def test_the_default_explains_itself() -> None:
    told = routes.explain(ALL, (MR,), known())
    default = routes.default(ALL, told, known())
    assert default is not None
    assert (default.route, default.destinations) == ("default", ("archive",))


def test_only_the_elements_that_are_asked_for_need_be_read() -> None:
    one = orders.Route(
        "one",
        level=orders.When.STUDY,
        when=orders.Condition(evaluate.of({"source": "A", "verdict": "partial"}).tests, none=(CT.when,)),
        requires=(evaluate.of({"BodyPartExamined": "HEAD"}),),
        to=("pacs",),
    )
    assert routes.needed((one, MR)) == {"Modality", "BodyPartExamined"}
