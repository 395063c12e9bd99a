"""`dicom-node edit` as a person meets it: what it shows, what it writes, what it leaves alone."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import pty
import resource
import subprocess
import sys
from collections.abc import Callable

import pydicom
import pytest

from node import cli
from tests import make


@dataclasses.dataclass(frozen=True)
class Done:
    """How a run of the program ended."""

    code: int  # exit code
    out: str  # what it printed
    err: str  # what it complained of


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """The program with these arguments, in this process."""

    def call(*args: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["dicom-node", "edit", *map(str, args)])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        told = capsys.readouterr()
        return Done(code, told.out, told.err)

    return call


@pytest.fixture
def study(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two folders of two files."""
    for folder in ("a", "b"):
        make.files(tmp_path / "study" / folder, make.series(2, seed=folder))
    return tmp_path / "study"


def bytes_of(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def broken(study: pathlib.Path) -> pathlib.Path:
    """One of the files cut off in the middle of an element."""
    path = study / "a" / "000001.dcm"
    path.write_bytes(path.read_bytes()[:1200])
    return path


def test_a_dry_run_shows_each_difference_and_writes_nothing(
    run: Callable[..., Done], study: pathlib.Path
) -> None:
    before = bytes_of(study)
    one = study / "a" / "000000.dcm"
    done = run(
        one, "--dry-run", "--set", "PatientID=R-17", "--remove", "AccessionNumber", "--empty", "PatientName",
        "--set", "RequestAttributesSequence[0].RequestedProcedureID=7", "--remove", "PatientComments",
    )  # fmt: skip
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "# empty PatientName",
        "# remove AccessionNumber",
        "# remove PatientComments",
        "# set PatientID to 'R-17'",
        "# set RequestAttributesSequence[0].RequestedProcedureID to '7'",
        str(one),
        "  (0008,0050) SH AccessionNumber: 'ACC0001' removed",
        "  (0010,0010) PN PatientName: 'SYNTHETIC^ALPHA' -> (empty)",
        "  (0010,0020) LO PatientID: 'SYN-0001' -> 'R-17'",
        "  (0040,1001) SH RequestAttributesSequence[0].RequestedProcedureID: inserted '7'",
        "1 ready",
    ]
    assert bytes_of(study) == before


def test_a_dry_run_for_programs_is_json_line_by_line(run: Callable[..., Done], study: pathlib.Path) -> None:
    broken(study)
    done = run(study / "a", "--dry-run", "--json", "--set", "PatientID=R-17")
    assert done.code == 1
    good, bad = map(json.loads, done.out.splitlines())
    assert good["outcome"] == "ready"
    assert good["differences"] == [
        {
            "path": "PatientID",
            "tag": 0x00100020,
            "vr": "LO",
            "before": "SYN-0001",
            "after": "R-17",
            "change": "set",
        }
    ]
    assert bad["outcome"] == "refused"
    assert "offset" in bad["why"]


def test_results_go_below_another_folder(
    run: Callable[..., Done], study: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    before = bytes_of(study)
    done = run(study, "--set", "PatientID=R-17", "--out", tmp_path / "new")
    assert (done.code, done.out, done.err) == (0, "4 edited\n", "")
    assert bytes_of(study) == before
    after = bytes_of(tmp_path / "new")
    assert after.keys() == before.keys()
    for name, raw in before.items():
        # SYN-0001 takes eight bytes in its file, R-17 four.
        at = raw.index(b"\x10\x00\x20\x00LO\x08\x00SYN-0001")
        assert after[name] == raw[:at] + b"\x10\x00\x20\x00LO\x04\x00R-17" + raw[at + 16 :]


def test_what_is_not_changed_is_copied_to_the_new_folder(
    run: Callable[..., Done], study: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    done = run(study, "--remove", "PatientComments", "--out", tmp_path / "new")
    assert (done.code, done.out) == (0, "4 unchanged\n")
    assert bytes_of(tmp_path / "new") == bytes_of(study)


def test_in_place_replaces_the_file_and_keeps_its_mode(run: Callable[..., Done], study: pathlib.Path) -> None:
    path = study / "a" / "000000.dcm"
    path.chmod(0o604)
    link = study / "b" / "link.dcm"
    link.symlink_to("../a/000000.dcm")
    done = run(study, link, "--set", "PatientID=R-17", "--in-place")
    assert (done.code, done.out) == (0, "4 edited\n")
    assert path.stat().st_mode & 0o7777 == 0o604
    assert link.is_symlink()
    assert {pydicom.dcmread(each).PatientID for each in study.rglob("*.dcm")} == {"R-17"}
    assert len(bytes_of(study)) == 5  # nothing is left behind


def test_in_place_does_not_touch_what_would_not_change(run: Callable[..., Done], study: pathlib.Path) -> None:
    path = study / "a" / "000000.dcm"
    before = path.stat()
    done = run(path, "--remove", "PatientComments", "--in-place")
    assert (done.code, done.out) == (0, "1 unchanged\n")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_bad_file_is_named_with_tag_and_offset_and_the_others_are_done(
    run: Callable[..., Done], study: pathlib.Path
) -> None:
    cut = broken(study)
    text = study / "b" / "notes.txt"
    text.write_text("This is a text that somebody left in the folder of a study.")
    hollow = study / "b" / "empty.dcm"
    hollow.touch()
    kept = {path: path.read_bytes() for path in (cut, text, hollow)}
    done = run(study, "--set", "PatientID=R-17", "--in-place")
    assert done.code == 1
    assert done.out == "3 edited, 3 refused\n"
    assert done.err.splitlines() == [
        f"{cut}: a length of 44 reaches beyond what encloses it at (0020,0052) at offset 1182",
        f"{hollow}: the file is empty",
        f"{text}: not a DICOM data set: no element stands at its beginning at offset 0",
        "dicom-node: 3 of 6 files were refused and are as they were; 3 others are edited",
    ]
    assert {path: path.read_bytes() for path in kept} == kept
    assert len(bytes_of(study)) == 6


@pytest.mark.parametrize("where", ["out", "in place"])
def test_together_means_all_or_none(
    run: Callable[..., Done], study: pathlib.Path, tmp_path: pathlib.Path, where: str
) -> None:
    broken(study)
    before = bytes_of(study)
    options = ["--out", tmp_path / "new"] if where == "out" else ["--in-place"]
    done = run(study, "--set", "PatientID=R-17", "--together", *options)
    assert done.code == 1
    assert done.out == "3 ready, 1 refused\n"
    assert done.err.endswith("1 of 4 files were refused and are as they were; nothing was written\n")
    assert bytes_of(study) == before
    assert not list((tmp_path / "new").rglob("*.dcm*"))


def test_together_does_all_when_all_can_be_done(run: Callable[..., Done], study: pathlib.Path) -> None:
    done = run(study, "--set", "PatientID=R-17", "--together", "--in-place")
    assert (done.code, done.out) == (0, "4 edited\n")
    assert {pydicom.dcmread(path).PatientID for path in study.rglob("*") if path.is_file()} == {"R-17"}
    assert len(bytes_of(study)) == 4


def test_a_value_that_one_file_cannot_hold_is_that_file_s_fault(
    run: Callable[..., Done], study: pathlib.Path
) -> None:
    before = bytes_of(study)
    done = run(study / "a", "--set", '0009,xx02 "SYNTH HEADER 1"=many', "--in-place")
    assert done.code == 1
    assert "'many' cannot be a US: it is not a number" in done.err.splitlines()[0]
    assert bytes_of(study) == before


def test_files_are_not_overwritten_unless_that_is_asked_for(
    run: Callable[..., Done], study: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    new = tmp_path / "new"
    assert run(study, "--set", "PatientID=R-1", "--out", new).code == 0
    first = bytes_of(new)
    done = run(study, "--set", "PatientID=R-2", "--out", new)
    assert done.code == 1
    assert f"{new / 'a' / '000000.dcm'} exists: choose another --out, or say --overwrite" in done.err
    assert bytes_of(new) == first
    assert run(study, "--set", "PatientID=R-2", "--out", new, "--overwrite").code == 0
    assert {pydicom.dcmread(path).PatientID for path in new.rglob("*.dcm")} == {"R-2"}


def test_two_results_of_one_name_are_refused_before_anything_is_written(
    run: Callable[..., Done], study: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    done = run(study / "a", study / "b", "--set", "PatientID=R-1", "--out", tmp_path / "new")
    assert done.code == 2
    assert "would both become" in done.err
    assert not (tmp_path / "new").exists()


def test_a_folder_is_not_written_over_itself(run: Callable[..., Done], study: pathlib.Path) -> None:
    before = bytes_of(study)
    done = run(study, "--set", "PatientID=R-1", "--out", study / "a" / "..", "--overwrite")
    assert done.code == 2
    assert "by its own result: say --in-place" in done.err
    assert bytes_of(study) == before


MISTAKES = {
    "nowhere": (
        ["--set", "PatientID=1"],
        "say where the results go: exactly one of --out DIR, --in-place, --dry-run",
    ),
    "two ways at once": (
        ["--set", "PatientID=1", "--in-place", "--dry-run"],
        "say where the results go: exactly one of --out DIR, --in-place, --dry-run",
    ),
    "nothing to do": (
        ["--in-place"],
        "nothing to do: give --set, --remove, --empty, --remap-uids or --steps",
    ),
    "no assignment": (
        ["--in-place", "--set", "PatientID"],
        "--set 'PatientID': write PATH=VALUE, as in PatientID=R-17",
    ),
    "a misspelt keyword": (
        ["--in-place", "--set", "PatinetID=1"],
        "--set PatinetID=1: there is no element 'PatinetID'; did you mean PatientID?",
    ),
    "a value that cannot be": (
        ["--in-place", "--set", "StudyDate=today"],
        (
            "--set StudyDate=today: StudyDate (0008,0020): 'today' cannot be a DA: "
            "it is not a date of the form YYYYMMDD"
        ),
    ),
    "an unknown VR": (["--in-place", "--set", "0011,1001:ZZ=1"], "--set 0011,1001:ZZ=1: there is no VR 'ZZ'"),
    "steps that are not there": (
        ["--in-place", "--steps", "none.toml"],
        "--steps none.toml cannot be read: No such file or directory",
    ),
    "steps that are no TOML": (
        ["--in-place", "--steps", "bad.toml"],
        "--steps bad.toml is no TOML: Expected '=' after a key in a key/value pair (at line 1, column 6)",
    ),
    "steps under another name": (
        ["--in-place", "--steps", "other.toml"],
        "--steps other.toml: steps is not expected; write one [[step]] table per step",
    ),
    "a step that cannot be": (
        ["--in-place", "--steps", "wrong.toml"],
        (
            "wrong.toml step 2: it has 'drop': "
            "a step takes exactly one of set, copy, change, remove, empty, keep, remap, original"
        ),
    ),
}


@pytest.mark.parametrize(("options", "told"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_on_the_command_line_is_told_before_a_file_is_opened(
    run: Callable[..., Done],
    study: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    told: str,
) -> None:
    before = bytes_of(study)
    monkeypatch.chdir(study.parent)
    pathlib.Path("bad.toml").write_text("this is none")
    pathlib.Path("other.toml").write_text('[[steps]]\nremove = "PatientID"')
    pathlib.Path("wrong.toml").write_text('[[step]]\nremove = "PatientID"\n[[step]]\ndrop = "PatientID"\n')
    done = run(study, *options)
    assert (done.code, done.err) == (2, f"dicom-node: {told}\n")
    assert bytes_of(study) == before


def test_steps_come_from_a_file_and_the_command_line_has_the_last_word(
    run: Callable[..., Done], study: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    steps = tmp_path / "rules" / "steps.toml"
    steps.parent.mkdir()
    (steps.parent / "ids.csv").write_text("SYN-0001,R-9\n")
    steps.write_text(
        '[[step]]\nchange = "PatientID"\nlookup = "ids.csv"\n'
        '[[step]]\nset = "InstitutionName"\nto = "Nowhere"\n'
        '[[step]]\nset = "StudyID"\nto = "FROM FILE"\n'
    )
    path = study / "a" / "000000.dcm"
    assert run(path, "--steps", steps, "--set", "StudyID=LAST", "--in-place").code == 0
    found = pydicom.dcmread(path)
    assert (found.PatientID, found.InstitutionName, found.StudyID) == ("R-9", "Nowhere", "LAST")


def test_a_character_set_is_never_widened_silently(run: Callable[..., Done], study: pathlib.Path) -> None:
    path = study / "a" / "000000.dcm"
    done = run(path, "--set", "PatientName=山田^太郎", "--in-place")
    assert done.code == 0
    assert "all text written anew in ISO_IR 192 (before: ISO_IR 100)" in done.err
    found = pydicom.dcmread(path)
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert str(found.PatientName) == "山田^太郎"


def test_the_values_from_before_are_kept_when_asked_for(
    run: Callable[..., Done], study: pathlib.Path
) -> None:
    path = study / "a" / "000000.dcm"
    assert run(path, "--set", "PatientID=R-17", "--original", "DESK", "--in-place").code == 0
    item = pydicom.dcmread(path).OriginalAttributesSequence[0]
    assert item.ModifyingSystem == "DESK"
    assert item.ModifiedAttributesSequence[0].PatientID == "SYN-0001"


def test_a_pipe_in_the_folder_is_refused_and_not_waited_for(
    run: Callable[..., Done], study: pathlib.Path
) -> None:
    os.mkfifo(study / "a" / "pipe")
    done = run(study / "a", "--set", "PatientID=R-17", "--in-place")
    assert done.code == 1
    assert done.err.splitlines()[0] == f"{study / 'a' / 'pipe'}: this is no file that can be edited"


@pytest.mark.parametrize("options", [[], ["--together"]])
def test_a_target_that_cannot_be_written_is_named(
    run: Callable[..., Done], study: pathlib.Path, tmp_path: pathlib.Path, options: list[str]
) -> None:
    (tmp_path / "new").write_text("a file where the folder should be")
    done = run(study / "a", "--set", "PatientID=R-17", "--out", tmp_path / "new", *options)
    assert done.code == 1
    assert done.err.splitlines()[0].endswith(f": {tmp_path / 'new' / '000000.dcm'}: Not a directory")


def test_a_bar_is_shown_on_a_terminal_and_nothing_of_it_elsewhere(study: pathlib.Path) -> None:
    command = [sys.executable, "-m", "node", "edit", str(study), "--set", "PatientID=R-17", "--in-place"]
    outer, inner = pty.openpty()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=inner, text=True, env={**os.environ, "TERM": "xterm"}
    ) as child:
        os.close(inner)
        shown = b""
        try:
            while chunk := os.read(outer, 65536):
                shown += chunk
        except OSError:  # the terminal hung up
            pass
        assert child.stdout is not None
        assert child.stdout.read() == "4 edited\n"
    os.close(outer)
    assert child.returncode == 0
    assert b"editing" in shown
    assert b"/4" in shown
    plain = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (plain.stdout, plain.stderr) == ("4 unchanged\n", "")


def peak(paths: list[pathlib.Path], out: pathlib.Path) -> int:
    """The most memory that the program had, in kB, while it edited these files."""
    command = [sys.executable, "-m", "node", "edit", *map(str, paths), "--set", "PatientID=R-17"]
    command += ["--remap-uids", "secret", "--out", str(out)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    assert isinstance(used, resource.struct_rusage)
    return used.ru_maxrss


def test_memory_stays_flat_over_many_and_over_large_files(tmp_path: pathlib.Path) -> None:
    few = make.files(tmp_path / "few", make.series(4, size=500_000, seed="few"))
    for number in range(120):  # 60 MB in all
        folder = tmp_path / "many" / f"{number}"
        folder.mkdir(parents=True)
        os.link(few[number % 4], folder / "image.dcm")
    made = make.instance(seed="large", size=300_000)
    pixels = make.encode([make.Element(0x7FE00010, "OW", bytes(60 << 20))])
    large = tmp_path / "large.dcm"
    at = made.data.index(b"\xe0\x7f\x10\x00OW")
    large.write_bytes(make.part10(dataclasses.replace(made, data=made.data[:at] + pixels)))
    base = peak(few, tmp_path / "out1")
    assert peak([tmp_path / "many"], tmp_path / "out2") - base < 8_000
    # What is mapped counts while it lies in memory, so only that it is not copied as well can be told.
    assert peak([large], tmp_path / "out3") - base < 75_000
