"""Rules at receipt: which one decides, and how that is explained."""

from __future__ import annotations

import datetime

from node import evaluate, model, rules

ARRIVAL = model.Arrival(
    identity=model.Identity("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", "1.2", "1.2.3"),
    syntax="1.2.840.10008.1.2.1",
    digest="sha256:00",
    size=10,
    calling="CT_1",
    called="NODE",
    address="10.1.2.3",
    peer="ct1",
    association="a1",
    received=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
)
REPORTS = model.Rule(
    "reports",
    model.Action.DISCARD,
    "elsewhere",
    when=evaluate.of({"Modality": "SR", "source": ["CT_*", "MR_*"]}),
)
RECENT = model.Rule(
    "recent", model.Action.KEEP, when=evaluate.of({"StudyDate": ">=2026-01-01", "peer": "ct1"})
)
TESTS = model.Rule("tests", model.Action.QUARANTINE, when=evaluate.of({"PatientID": ["TEST*", "QA*"]}))
REST = model.Rule("rest", model.Action.KEEP)
ALL = (REPORTS, RECENT, TESTS, REST)


def known(**elements: str) -> rules.Facts:
    return rules.facts({name: (value,) if value else () for name, value in elements.items()}, ARRIVAL)


def test_the_first_whose_whole_condition_holds() -> None:
    assert rules.match(ALL, known(Modality="SR", StudyDate="20260301")) is REPORTS
    assert rules.match(ALL, known(Modality="CT", StudyDate="20260301", PatientID="TEST1")) is RECENT
    assert rules.match(ALL, known(Modality="CT", StudyDate="20250301", PatientID="TEST1")) is TESTS
    assert rules.match(ALL, known(Modality="CT")) is REST


def test_no_rule_says_anything() -> None:
    assert rules.match((REPORTS, TESTS), known(Modality="CT")) is None
    assert rules.match((), known()) is None


def test_the_case_of_ae_titles_counts() -> None:
    rule = model.Rule("r", model.Action.KEEP, when=evaluate.of({"source": "ct_1"}))
    assert rules.match((rule,), known()) is None


def test_only_the_elements_that_are_asked_for_need_be_read() -> None:
    assert rules.needed(ALL) == {"Modality", "StudyDate", "PatientID"}


def test_an_element_that_was_not_read_has_no_value() -> None:
    rule = model.Rule("r", model.Action.KEEP, when=evaluate.of({"Modality": ""}))
    assert rules.match((rule,), known()) is rule


def test_an_explanation_tells_what_was_found_and_what_was_wanted() -> None:
    told = rules.explain(ALL, known(Modality="CT", StudyDate="20260301", PatientID=""))
    assert [(one.rule.name, one.matches, one.chosen) for one in told] == [
        ("reports", False, False),
        ("recent", True, True),
        ("tests", False, False),
        ("rest", True, False),
    ]
    assert [str(one) for one in told] == [
        "reports: no, Modality has 'CT' and not 'SR'",
        "recent: yes, StudyDate has '20260301' as in '>=2026-01-01'; peer has 'ct1' as in 'ct1'",
        "tests: no, PatientID has no value and not 'TEST*' or 'QA*'",
        "rest: yes, but an earlier rule was chosen, it has no condition",
    ]
    assert told[0].finding.checks[1] == evaluate.Check("source", ("CT_*", "MR_*"), ("CT_1",), holds=True)


def test_an_explanation_of_hostile_values_stays_on_one_line() -> None:
    (told,) = rules.explain((TESTS,), known(PatientID="x\ny\x1b[2J\u2028"))
    assert str(told).isprintable()
