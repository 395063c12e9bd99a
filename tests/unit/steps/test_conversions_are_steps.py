"""The step `convert`: what its options may be, what it goes together with, and what `check` says of it."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

import pytest

from node import errors, model, orders
from node.commands import forwarding
from node.steps import compress, convert, plan

NIFTI = orders.StepSetting("convert", {"to": "nifti"}, "node.toml:12")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, 'needs the format: to = "nifti"'),
        ({"to": "tiff"}, "there is no format 'tiff'"),
        ({"to": "nifti", "into": "x"}, "has no 'into'"),
        ({"to": "nifti", "order": 3}, "order = 3: it is a text"),
        ({"to": "nifti", "order": ["time", "EchoTine"]}, "order = 'EchoTine': there is no element"),
        ({"to": "nifti", "split": ["0018008"]}, "split = '0018008': "),
        ({"to": "nifti", "partial": "maybe"}, "partial = 'maybe': it is one of make, skip"),
        ({"to": "nifti", "scaling": "big"}, "scaling = 'big'"),
        ({"to": "nifti", "options": ["level"]}, 'write each as "key=value"'),
        ({"to": "nifti", "name": "../{PatientID}"}, "'..' is no part of a path"),
        ({"to": "nifti", "back": "nifti"}, "back = 'nifti'"),
        ({"to": "nifti", "number": "nine"}, "number = 'nine': it is a whole number"),
        ({"to": "nifti", "correct_tilt": "yes"}, "it is true or false"),
        ({"to": "nifti", "back_options": ["colour=red"]}, "back = 'dicom'"),
        ({"to": "metaimage", "options": "suffix=.png"}, "to = 'metaimage'"),
    ],
)
def test_what_is_wrong_with_its_options_is_said(options: Mapping[str, object], said: str) -> None:
    wrong = convert.check(options)
    assert wrong is not None
    assert said in wrong


def test_its_options_are_read() -> None:
    options = {
        "to": "nifti",
        "order": ["time", "b"],
        "name": "{StudyDate}/",
        "partial": "skip",
        "options": "level=2",
        "description": "Lesions",
        "number": 900,
    }
    assert convert.check(options) is None
    step = convert.Step.of(options)
    assert (step.order, step.partial, step.options) == (("time", "b"), False, (("level", "2"),))
    assert step.made == {"level": "2"}
    assert step.returned == {"description": "Lesions", "series_number": "900"}
    assert step.describe() == "convert the series into nifti, by time and b; what has gaps is left out"


def test_it_is_the_last_step_and_goes_without_compression() -> None:
    settings = model.Settings()
    again = orders.StepSetting("convert", {"to": "nrrd"})
    with pytest.raises(errors.UsageError, match="is the last one"):
        plan.Plan.of([NIFTI, again], None, settings)
    squeezed = orders.StepSetting("compress", {"syntax": "JPEG2000Lossless"})
    with pytest.raises(errors.UsageError, match="take the compress step out"):
        plan.Plan.of([squeezed, NIFTI], None, settings)
    made = plan.Plan.of([NIFTI], None, settings)
    assert made.conversion is not None
    assert made.conversion.to == "nifti"
    assert not made.renames
    assert plan.Plan.of([squeezed], None, settings).conversion is None
    assert isinstance(plan.Plan.of([squeezed], None, settings).steps[0], compress.Step)


def _settings(route: orders.Route, destination: orders.Destination) -> model.Settings:
    return model.Settings(destinations=(destination,), routes=(route,))


def _mistake(route: orders.Route, destination: orders.Destination) -> str:
    (found,) = forwarding.mistakes(_settings(route, destination))
    return found


def test_check_refuses_what_a_destination_cannot_take(tmp_path: pathlib.Path) -> None:
    route = orders.Route("r", to=("there",), steps=(NIFTI,))
    peer = orders.Destination("there", peer="pacs")
    assert _mistake(route, peer) == (
        "node.toml:12: step 1 of route r: to = 'nifti': there takes DICOM only: dicom, enhanced, sc, seg"
    )
    derived = orders.StepSetting("convert", {"to": "dicom"}, "node.toml:12")
    sure = orders.Destination("there", peer="pacs", verify=orders.Verify.FIND)
    assert "is asked whether it keeps what came" in _mistake(
        orders.Route("r", to=("there",), steps=(derived,)), sure
    )
    folder = orders.Destination("there", kind=orders.Kind.FOLDER, folder=tmp_path)
    early = orders.Route("r", level=orders.When.INSTANCE, to=("there",), steps=(NIFTI,))
    assert "takes a series as a whole" in _mistake(early, folder)
    assert forwarding.mistakes(_settings(route, folder)) == []
    assert forwarding.steps((NIFTI,), "there", _settings(route, folder)) == ["convert the series into nifti"]
