"""When frames were acquired: days, midnights, series without dates, slices within a volume."""

import math
import pathlib

import numpy as np
import pydicom
import pytest

from node.loading import headers
from node.volume import table
from node.volume.reading import timing
from tests import series


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("101112.5", 36672.5),
        ("10", 36000),
        ("1011", 36660),
        ("10:11:12", 36672),
        ("235959.999999", 86399.999999),
    ],
)
def test_times_are_read_as_far_as_they_are_given(text: str, seconds: float) -> None:
    assert timing.clock(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["noon", "99", "-1", "1e9", ""])
def test_what_is_no_time_is_absent(text: str) -> None:
    assert math.isnan(timing.moment("20260314", text))


def test_a_zone_does_not_move_a_moment() -> None:
    assert timing.datetime_("20260314101500.25+0100") == timing.moment("20260314", "101500.25")
    assert math.isnan(timing.datetime_("2026"))


def test_a_file_may_say_both_forms_of_its_time(tmp_path: pathlib.Path) -> None:
    paths = series.write("mr_time", tmp_path)
    wanted = headers.read([str(path) for path in paths])["time"]
    for path in paths:
        made = pydicom.dcmread(path)
        made.AcquisitionDateTime = "20260314101700"  # the beginning of the series
        made.save_as(path)
    assert headers.read([str(path) for path in paths])["time"].tolist() == wanted.tolist()


def test_time_goes_on_over_midnight(tmp_path: pathlib.Path) -> None:
    paths = series.write("mr_midnight", tmp_path)
    time = headers.read([str(path) for path in paths])["time"]
    assert time.min() == 86398.0
    assert np.unique(time).size == 3
    assert time.max() > 86400.0


def _settled(**columns: list[float] | list[str]) -> dict[str, np.ndarray]:
    made = {
        name: np.array(values, dtype=object if isinstance(values[0], str) else float)
        for name, values in columns.items()
    }
    timing.settle(made)
    return made


def test_each_series_has_its_own_first_day() -> None:
    day = timing.day("20260314")
    made = _settled(series=["a", "b", "b"], time=[day + 5, day + 86400 + 7, day + 2 * 86400 + 7])
    assert made["time"].tolist() == [5.0, 7.0, 86407.0]


def test_without_acquisition_times_those_of_the_content_count() -> None:
    made = _settled(series=["a", "a"], content_time=[timing.day("20260314") + 5, timing.day("20260314") + 9])
    assert made["time"].tolist() == [5.0, 9.0]


def test_dates_that_some_frames_lack_count_for_none() -> None:
    made = _settled(series=["a", "a"], time=[3600.0, timing.day("20260314") + 3601])
    assert made["time"].tolist() == [3600.0, 3601.0]


def test_philips_says_apart_when_each_dynamic_began() -> None:
    day = timing.day("20260314")
    made = _settled(series=["a"] * 3, time=[day + 100] * 3, _begin=[0.0, 2.0, 4.0])
    assert made["time"].tolist() == [100.0, 102.0, 104.0]
    made = _settled(series=["a"] * 3, time=[day + 100, day + 102, day + 104], _begin=[0.0, 2.0, 4.0])
    assert made["time"].tolist() == [100.0, 102.0, 104.0]  # it did write them already
    assert "_begin" not in made


def test_a_datetime_of_the_whole_series_gives_way_to_times_of_each_image() -> None:
    day = timing.day("20260314")
    made = _settled(series=["a"] * 2, time=[day + 100] * 2, _other_time=[day + 100, day + 102])
    assert made["time"].tolist() == [100.0, 102.0]
    made = _settled(series=["a"] * 2, time=[day + 100, day + 103], _other_time=[day + 100] * 2)
    assert made["time"].tolist() == [100.0, 103.0]
    assert "_other_time" not in made


def _slices(**columns: list[float]) -> np.ndarray | None:
    length = len(next(iter(columns.values())))
    made = {name: np.array(values, dtype=float) for name, values in columns.items()}
    return timing.slice_times(table.Table((), made, length), np.arange(length))


def test_what_the_vendor_says_of_slices_comes_first() -> None:
    found = _slices(slice_time=[1000, 1050, 1025], time=[0, 1, 2])
    assert found is not None
    assert found.tolist() == [0.0, 50.0, 25.0]


def test_acquisition_times_within_a_repetition_are_slice_times() -> None:
    found = _slices(time=[10.0, 11.0, 10.5], repetition_time=[2000, 2000, 2000])
    assert found is not None
    assert found.tolist() == [0.0, 1000.0, 500.0]
    assert _slices(time=[10.0, 20.0, 30.0], repetition_time=[2000] * 3) is None  # no single excitation
    assert _slices(time=[10.0] * 3, repetition_time=[2000] * 3) is None
    assert _slices(repetition_time=[2000] * 3) is None


def test_ge_counts_in_seconds_or_in_tenths_of_milliseconds() -> None:
    # As the column has them: what was written, times 1000.
    found = _slices(slice_time=[0, 15333e3, 666e3], repetition_time=[3000] * 3)
    assert found is not None
    assert found.tolist() == pytest.approx([0.0, 1533.3, 66.6])
    found = _slices(slice_time=[0.0, 1533.3, 66.6], repetition_time=[3000] * 3)
    assert found is not None
    assert found.tolist() == pytest.approx([0.0, 1533.3, 66.6])
