"""The registry: built-in formats, formats of packages, and packages that are broken."""

from __future__ import annotations

import importlib
import pathlib
import re

import pytest

from node import errors
from node.formats import registry
from tests.unit.formats import images

_DOCS = pathlib.Path(__file__).parents[3] / "docs" / "formats.md"


@pytest.fixture
def packages(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder in which packages are installed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def install(folder: pathlib.Path, package: str, name: str, target: str, code: str) -> None:
    """Install a package with one module and one entry point, as pip would."""
    (folder / f"{package}.py").write_text(code)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{name} = {package}:{target}\n")
    importlib.invalidate_caches()


def test_every_built_in_format_keeps_to_the_interface() -> None:
    for name in registry.names():
        one = registry.get(name)
        assert one.name == name
        assert one.about
        assert one.check({"no such": "option"}) is not None


def test_a_name_that_is_none_is_answered_with_those_there_are() -> None:
    with pytest.raises(errors.UsageError, match="'analyze'; there are nifti, metaimage"):
        registry.get("analyze")


def test_a_file_is_of_the_format_its_suffix_says() -> None:
    for name, wanted in (
        ("A.NII.GZ", "nifti"),
        ("a.mhd", "metaimage"),
        ("a.zarr", "zarr"),
        ("b.mat", "matlab"),
    ):
        found = registry.of(pathlib.Path(name))
        assert found is not None
        assert found.name == wanted
    assert registry.of(pathlib.Path("IM0001")) is None
    assert registry.of(pathlib.Path("a.dcm")) is None


def test_the_documented_plug_in_works(packages: pathlib.Path, tmp_path: pathlib.Path) -> None:
    code = re.search(r"```python\n(# plain_text\.py\n.*?)```", _DOCS.read_text(), re.DOTALL)
    assert code is not None
    install(packages, "plain_text", "txt", "FORMAT", code[1])
    assert "txt" in registry.names()
    one = registry.get("txt")
    written = one.write(images.made(size=(1, 2, 3)), tmp_path / "vol", {})
    assert registry.of(written.paths[0]) is one
    images.same(one.read(written.paths), images.made(size=(1, 2, 3), where=None), values=False)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("raise RuntimeError('no licence')", "no licence"),
        ("FORMAT = object()", "it has no name"),
        ("", "FORMAT"),
    ],
)
def test_a_broken_package_is_named_and_breaks_nothing_else(
    code: str, names: str, packages: pathlib.Path
) -> None:
    package = f"broken{len(code)}"
    install(packages, package, "odd", "FORMAT", code)
    with pytest.raises(errors.UsageError, match=names) as raised:
        registry.get("odd")
    assert package in str(raised.value)
    assert registry.get("npz").name == "npz"


def test_a_package_cannot_take_the_place_of_a_built_in_format(packages: pathlib.Path) -> None:
    install(packages, "taker", "npz", "FORMAT", "FORMAT = None")
    assert registry.get("npz").about.startswith("numpy")
