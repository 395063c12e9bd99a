"""The dashboard and the alerts ask for metrics that there are, by labels that they have."""

from __future__ import annotations

import json
import pathlib
import re

import pytest

from node import metrics

CONFIG = pathlib.Path(__file__).parents[3] / "config"
ALERTS = (CONFIG / "alerts.yml").read_text()
DASHBOARD = json.loads((CONFIG / "grafana.json").read_text())

_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
_ADDED_BY_PROMETHEUS = {"instance", "job", "le"}


def declared() -> dict[str, set[str]]:
    """Sample names, and the labels of each."""
    counts = metrics.start()
    labels = {metric._name: set(metric._labelnames) for metric in counts._registry._collector_to_names}  # type: ignore[attr-defined]
    return {
        name + suffix: labels[name] for name, kind in counts.families().items() for suffix in _SUFFIXES[kind]
    }


def expressions() -> list[str]:
    found = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    folded = re.findall(r"expr: >-\n((?: {10}.*\n)+)", ALERTS)
    found += [" ".join(text.split()) for text in folded]
    found += [line for line in re.findall(r"expr: (.*)", ALERTS) if line != ">-"]
    return found


def test_there_is_something_to_look_at() -> None:
    assert len(expressions()) > 60
    assert (
        ALERTS.count("- alert:")
        == ALERTS.count("expr:")
        == ALERTS.count("summary:")
        == ALERTS.count("action:")
    )


@pytest.mark.parametrize("expression", expressions())
def test_an_expression_names_what_there_is(expression: str) -> None:
    names = declared()
    for name, selector in re.findall(r"(dicom_node_\w+)(?:\{([^}]*)\})?", expression):
        assert name in names, name
        for label in re.findall(r"(\w+)(?:=~|!~|!=|=)", selector):
            assert label in names[name] | _ADDED_BY_PROMETHEUS, (name, label)
    for group in re.findall(r" by \(([^)]*)\)", expression):
        known = set().union(*(names[name] for name in re.findall(r"dicom_node_\w+", expression)))
        assert set(group.replace(" ", "").split(",")) <= known | _ADDED_BY_PROMETHEUS
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")


def test_labels_in_texts_are_those_of_the_metric() -> None:
    known = set().union(*declared().values()) | _ADDED_BY_PROMETHEUS
    texts = ALERTS + json.dumps(DASHBOARD)
    used = set(re.findall(r"\$labels\.(\w+)", ALERTS))
    used |= set(re.findall(r'"legendFormat": "[^"]*?\{\{(\w+)\}\}', texts))
    assert used
    assert used <= known


def test_everything_that_is_counted_can_be_seen() -> None:
    shown = ALERTS + json.dumps(DASHBOARD)
    unseen = {name for name in metrics.start().families() if name not in shown}
    assert unseen <= {
        "dicom_node_start_time_seconds",
        "dicom_node_imported_files",
        "dicom_node_removed_bytes",
        "dicom_node_jobs",
    }
