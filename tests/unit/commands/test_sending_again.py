"""`send` tries again what may pass, and says once what many files share."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Sequence

import pytest

from node.commands import gather, send
from node.send import base


def _item(number: int) -> base.Item:
    return base.Item("1.2", f"1.2.{number}", "1.2.840.10008.1.2.1", pathlib.Path(f"{number}.dcm"), 0, 10)


class Moody:
    """A destination with a list of outcomes for each instance."""

    def __init__(self, moods: dict[str, list[base.Outcome]]) -> None:
        self.moods = moods
        self.asked = 0

    def describe(self) -> str:
        return "a moody place"

    def send(self, items: Sequence[base.Item] | base.Stream) -> Iterator[base.Result]:
        self.asked += 1
        assert isinstance(items, base.Stream)
        for item in items.each():
            if items.until():
                return
            outcome = self.moods[item.sop_instance].pop(0)
            yield base.Result(item, outcome, size=item.size if isinstance(outcome, base.Done) else 0)


def _run(
    sender: Moody, found: list[base.Item | gather.Skipped], retries: int = 3
) -> tuple[send.Summary, list[str], list[float]]:
    told: list[str] = []
    pauses: list[float] = []
    summary = send.run(
        sender,
        found,
        retries=retries,
        advance=lambda _: None,
        tell=lambda path, why, arrived: told.append(f"{path} {why} {arrived}"),
        pause=pauses.append,
    )
    return summary, told, pauses


def test_what_may_pass_is_tried_again_after_growing_pauses() -> None:
    sender = Moody({"1.2.1": [base.Retry("full"), base.Retry("full"), base.Done(0)], "1.2.2": [base.Done(0)]})
    summary, told, pauses = _run(sender, [_item(1), _item(2)])
    assert (summary.sent, summary.failed, summary.ok) == (2, 0, True)
    assert told == []
    assert pauses == [1.0, 2.0]


def test_it_is_not_tried_for_ever() -> None:
    sender = Moody({"1.2.1": [base.Retry("full")] * 9})
    summary, told, _ = _run(sender, [_item(1)], retries=2)
    assert sender.asked == 3
    assert (summary.sent, summary.failed, summary.ok) == (0, 1, False)
    assert told == ["1.dcm full False"]


def test_stopped_it_sends_no_more_and_counts_what_arrived() -> None:
    sender = Moody({f"1.2.{number}": [base.Done(0)] for number in range(9)})
    sent: list[int] = []
    summary = send.run(
        sender,
        [_item(number) for number in range(9)],
        retries=3,
        advance=sent.append,
        tell=lambda *_: None,
        pause=lambda _: None,
        stopped=lambda: len(sent) == 4,
    )
    assert (summary.sent, summary.failed, summary.cancelled, sender.asked) == (4, 0, True, 1)


def test_a_failure_is_not_tried_again_and_a_warning_is_told() -> None:
    sender = Moody({"1.2.1": [base.Failed("no")], "1.2.2": [base.Done(0xB000, "coerced")]})
    summary, told, _ = _run(sender, [_item(1), _item(2)])
    assert sender.asked == 1
    assert (summary.sent, summary.warnings, summary.failed) == (1, 1, 1)
    assert told == ["1.dcm no False", "2.dcm coerced True"]


def test_a_file_that_is_no_dicom_counts_as_failed_only_where_it_was_named() -> None:
    passed = gather.Skipped(pathlib.Path("notes.txt"), "not DICOM", named=False)
    named = gather.Skipped(pathlib.Path("letter"), "not DICOM", named=True)
    summary, told, _ = _run(Moody({}), [passed, named])
    assert (summary.skipped, summary.failed) == (2, 1)
    assert told == ["letter not DICOM False"]


def test_a_reason_that_many_share_is_printed_with_the_first_three(capsys: pytest.CaptureFixture[str]) -> None:
    lines = send._Lines()
    for number in range(10):
        lines(pathlib.Path(f"{number}.dcm"), "nobody there", False)
    lines.close()
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 4
    assert printed[-1] == "... and 7 more: nobody there"
