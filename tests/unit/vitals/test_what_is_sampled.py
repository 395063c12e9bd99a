"""Gauges that are looked at now and then."""

from __future__ import annotations

import pytest

from node import metrics, vitals


def test_nothing_waits() -> None:
    lag = vitals.Lag(lambda: 5.0)
    assert lag.seconds({}) == 0
    assert lag.seconds({"listen-1": (100, 100)}) == 0


def test_the_age_is_that_of_the_oldest_that_waits() -> None:
    now = [0.0]
    lag = vitals.Lag(lambda: now[0])
    lag.seconds({"a": (10, 0), "b": (7, 7)})
    now[0] = 10.0
    assert lag.seconds({"a": (20, 0), "b": (9, 7)}) == 10
    now[0] = 20.0
    assert lag.seconds({"a": (20, 10), "b": (9, 7)}) == 10  # what was there at 0 is filed, of 10 it is not
    now[0] = 30.0
    assert lag.seconds({"a": (20, 20), "b": (9, 8)}) == 20
    assert lag.seconds({"a": (20, 20), "b": (9, 9)}) == 0


def test_a_busy_node_that_keeps_up_has_no_lag() -> None:
    now = [0.0]
    lag = vitals.Lag(lambda: now[0])
    for moment in range(1, 100):
        now[0] = float(moment)
        assert lag.seconds({"a": (moment * 1000, moment * 1000 - 500)}) <= 1


def test_counts_are_handed_over_while_and_after_a_process_works() -> None:
    counts = metrics.start(peers={"ct"})
    with vitals.ticking(counts, "listen-1", every=0.01):
        tally = counts.tally("ct")
        for _ in range(5):
            tally.stored(10, 0.01)
    text = counts.render().decode()
    assert 'dicom_node_received_bytes_total{peer="ct"} 50.0' in text
    assert 'dicom_node_process_resident_bytes{process="listen-1"}' in text


def test_the_ticker_ends_with_a_process_that_fails() -> None:
    counts = metrics.start()
    with pytest.raises(RuntimeError, match="no"), vitals.ticking(counts, "x"):
        raise RuntimeError("no")
