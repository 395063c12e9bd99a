"""docs/library.md does what it says."""

from __future__ import annotations

import contextlib
import io
import pathlib
import re

import pytest

from tests import series

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "library.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_examples_of_the_page_run_and_print_what_stands_there(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, kind in (("ct", "ct_axial"), ("mr", "mr_time"), ("localizer", "ct_localizer")):
        series.write(kind, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    known: dict[str, object] = {}
    printed = ""
    ran = 0
    for language, text in blocks:
        if language == "text":
            assert printed == text
            continue
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(text, str(PAGE), "exec"), known)
        printed = said.getvalue()
        ran += 1
    assert ran >= 8
    # What comments claim.
    ct = known["ct"]
    assert ct.names == ("slice", "row", "column")
    assert ct.spacing == pytest.approx((3.0, 1.25, 0.75))
    assert [one.label for one in known["node"].open_all("localizer")] == ["axial", "sagittal", "coronal"]
    assert known["again"].shape == known["perfusion"].shape
    assert known["both"].names[0] == "reader"
