"""A template whose header is damaged makes objects, or is refused in words; never less and never half."""

from __future__ import annotations

import pathlib
import random
import warnings

import numpy as np
import pytest

from node import errors
from node.formats import registry
from tests.unit.formats import back

_SERIES = ("ct_oblique", "mr_time", "pet", "enhanced_mr_time", "mosaic_dwi", "rgb")


def _damage(folder: pathlib.Path, files: dict[str, bytes], dice: random.Random) -> None:
    """Write the files with some bytes of their headers changed."""
    folder.mkdir()
    for name, content in files.items():
        held = bytearray(content)
        end = held.rfind(b"\xe0\x7f\x10\x00")
        for _ in range(dice.choice((1, 2, 5, 20))):
            held[dice.randrange(132, end)] = dice.choice((0, 255, 0x20, 0x5C, 0x41, dice.randrange(256)))
        (folder / name).write_bytes(held)


def _rounds(seed: int, count: int, tmp_path: pathlib.Path, formats: tuple[str, ...]) -> int:
    """How many objects were made from damaged templates; what is raised that is not ours goes on."""
    dice = random.Random(seed)
    made = 0
    for number in range(count):
        name = dice.choice(_SERIES)
        place = tmp_path / f"{number}"
        place.mkdir()
        template = back.template(name, place)
        good = back.only(template)
        given = back.stranger(back.with_voxels(good, good.voxels()))
        damaged = place / "damaged"
        _damage(damaged, {path.name: path.read_bytes() for path in template.iterdir()}, dice)
        for format_ in formats:
            out = place / format_
            one = given
            if format_ == "seg":
                one = back.with_voxels(given, np.ones(given.shape, np.uint8))
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    registry.get(format_).write(one, out, {"template": str(damaged)})
                made += len(list(out.iterdir()))
            except errors.NodeError:
                assert not out.exists()
    return made


@pytest.mark.parametrize("seed", range(2))
def test_a_damaged_template_is_used_or_refused(seed: int, tmp_path: pathlib.Path) -> None:
    assert _rounds(seed, 5, tmp_path, ("dicom", "enhanced", "sc")) > 0


@pytest.mark.soak
def test_damaged_templates_at_length(tmp_path: pathlib.Path) -> None:
    assert _rounds(99, 400, tmp_path, ("dicom", "enhanced", "sc", "seg")) > 0
