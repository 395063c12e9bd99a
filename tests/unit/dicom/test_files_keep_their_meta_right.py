"""Whole files: preamble, file meta, offsets of a DICOMDIR, writing by ranges, original attributes."""

from __future__ import annotations

import datetime as dt
import io
import os
import warnings
from pathlib import Path

import pydicom
import pytest

from node import errors
from node.dicom import edit, scan, uids
from tests.unit.dicom import datasets
from tests.unit.dicom.build import BIG, EXPLICIT, IMPLICIT, JPEG, ct, el, im, item, open_item, open_sequence


def sample(name: str) -> bytes:
    return datasets.packaged(name).read_bytes()


def test_the_head_of_a_file_is_read() -> None:
    raw = datasets.file(ct(), EXPLICIT, instance="1.2.3.4")
    head = scan.part10(raw)
    assert (head.sop_instance, head.syntax, head.guessed) == ("1.2.3.4", EXPLICIT, False)
    assert raw[head.offset :] == ct()
    assert head.preamble == bytes(128)
    assert scan.part10(b"MZ" + raw[2:]).preamble[:2] == b"MZ"


def test_heads_of_the_field_are_read() -> None:
    raw = datasets.file(ct(), EXPLICIT)
    wrong_length = raw.replace(raw[132:144], raw[132:140] + b"\xff\0\0\0")
    assert scan.part10(wrong_length).offset == len(raw) - len(ct())
    without_length = raw[:132] + raw[144:]
    assert scan.part10(without_length).syntax == EXPLICIT
    assert scan.part10(raw[132:]).offset == len(raw) - len(ct()) - 132
    assert scan.part10(raw[128:]).syntax == EXPLICIT
    no_syntax = bytes(128) + b"DICM" + el(0x00020001, "OB", b"\0\1") + ct()
    assert (scan.part10(no_syntax).syntax, scan.part10(no_syntax).guessed) == (EXPLICIT, True)
    implicit_meta = bytes(128) + b"DICM" + im(0x00020010, EXPLICIT.encode() + b"\0") + ct()
    assert scan.part10(implicit_meta).syntax == EXPLICIT


@pytest.mark.parametrize(
    ("raw", "syntax"),
    [
        (ct(), EXPLICIT),
        (im(0x00080005, b"ISO_IR 100"), IMPLICIT),
        (el(0x00080005, "CS", b"ISO_IR 100", order=">"), BIG),
    ],
)
def test_a_bare_data_set_is_recognised_when_asked(raw: bytes, syntax: str) -> None:
    assert scan.part10(raw, bare=True).syntax == syntax
    with pytest.raises(errors.BadData, match="not a DICOM file"):
        scan.part10(raw)


@pytest.mark.parametrize("raw", [b"", b"x", b"GIF89a" + bytes(200), b"\x7fELF" + bytes(400), b"\xff" * 300])
def test_what_is_no_file_is_refused(raw: bytes) -> None:
    with pytest.raises(errors.BadData):
        scan.part10(raw)
    if raw:
        with pytest.raises(errors.BadData):
            scan.part10(raw, bare=True)


def test_file_meta_that_lies_is_refused() -> None:
    raw = bytes(128) + b"DICM" + el(0x00020010, "UI", b"1.2", 4000)
    with pytest.raises(errors.BadData):
        scan.part10(raw)


def test_file_meta_follows_the_uids_of_the_data_set() -> None:
    raw = datasets.file(ct(), EXPLICIT, sop_class="1.2.840.10008.5.1.4.1.1.2", instance="1.2.3.4")
    out = edit.edit_file(raw, [edit.Set("SOPInstanceUID", "1.2.3.4.5.6.7")]).tobytes()
    ds = pydicom.dcmread(io.BytesIO(out))
    assert ds.SOPInstanceUID == ds.file_meta.MediaStorageSOPInstanceUID == "1.2.3.4.5.6.7"
    assert ds.file_meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert edit.edit_file(out, [edit.Set("SOPInstanceUID", "1.2.3.4")]).tobytes() == raw
    mapped = edit.edit_file(raw, [edit.RemapUids({"1.2.3.4": "9.9", "1.2.3": "9.8"})]).tobytes()
    ds = pydicom.dcmread(io.BytesIO(mapped))
    assert (ds.SOPInstanceUID, ds.file_meta.MediaStorageSOPInstanceUID, ds.StudyInstanceUID) == (
        "9.9",
        "9.9",
        "9.8",
    )
    length = ds.file_meta.FileMetaInformationGroupLength
    assert scan.part10(mapped).offset == 132 + 12 + length


def test_file_meta_can_be_changed_but_for_what_says_how_the_file_is_written() -> None:
    raw = datasets.file(ct(), EXPLICIT)
    out = edit.edit_file(raw, [edit.Set("SourceApplicationEntityTitle", "NODE")]).tobytes()
    assert pydicom.dcmread(io.BytesIO(out)).file_meta.SourceApplicationEntityTitle == "NODE"
    assert edit.edit_file(out, [edit.Remove("0002,0016")]).tobytes() == raw
    for path in ("TransferSyntaxUID", "0002,0000", "0002,0001"):
        with pytest.raises(errors.UsageError, match="cannot be changed"):
            edit.edit_file(raw, [edit.Set(path, "1.2")])
    with pytest.raises(errors.UsageError, match="meta information"):
        edit.edit(ct(), EXPLICIT, [edit.Set("SourceApplicationEntityTitle", "NODE")])
    with pytest.raises(errors.UsageError, match="no file meta"):
        edit.edit_file(ct(), [edit.Set("SourceApplicationEntityTitle", "NODE")], bare=True)


def test_a_file_without_meta_stays_without() -> None:
    out = edit.edit_file(ct(), [edit.Set("SOPInstanceUID", "9.9")], bare=True).tobytes()
    assert scan.check(out, EXPLICIT).sop_instance == "9.9"


def test_nothing_to_do_is_one_range() -> None:
    raw = datasets.file(ct(el(0x00100020, "LO", b"AB")), EXPLICIT)
    for changes in ([], [edit.Set("PatientID", "AB")], [edit.Remove("PatientName")]):
        result = edit.edit_file(raw, changes)
        assert result.pieces == ((0, len(raw)),)
        assert not result.changed
        assert result.differences() == []


def test_pixel_data_is_never_copied(tmp_path: Path) -> None:
    pixels = os.urandom(300_000)
    raw = datasets.file(ct() + el(0x7FE00010, "OW", pixels), EXPLICIT)
    result = edit.edit_file(raw, [edit.Set("PatientID", "A"), edit.Set("SOPInstanceUID", "1.2.3.4.9.9")])
    fresh = sum(len(piece) for piece in result.pieces if isinstance(piece, bytes))
    assert fresh < 100
    assert sum(len(view) for view in result.buffers()) == result.length
    assert b"".join(result.buffers()) == result.tobytes()
    source = tmp_path / "in"
    source.write_bytes(b"junk" + raw)
    for source_fd in (None, os.open(source, os.O_RDONLY)):
        target = tmp_path / f"out{source_fd}"
        fd = os.open(target, os.O_WRONLY | os.O_CREAT, 0o600)
        assert result.write(fd, source_fd, 4) == result.length
        os.close(fd)
        assert target.read_bytes() == result.tobytes()
        if source_fd is not None:
            os.close(source_fd)


def test_it_is_written_where_the_kernel_cannot_copy(tmp_path: Path) -> None:
    """To a pipe, whose other end takes a little at a time."""
    raw = datasets.file(ct() + el(0x7FE00010, "OW", bytes(range(256)) * 600), EXPLICIT)
    source = tmp_path / "in"
    source.write_bytes(raw)
    result = edit.edit_file(raw, [edit.Set("PatientID", "A")])
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        source_fd = os.open(source, os.O_RDONLY)
        result.write(writer, source_fd)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as end:
        assert end.read() == result.tobytes()
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("size", [1000, 5 << 20])
@pytest.mark.parametrize("name", ["AB", "ABCD", "A" * 64])
def test_a_file_is_edited_into_another(tmp_path: Path, size: int, name: str) -> None:
    """By ranges where it is large, by whole pages of the kernel where lengths stay."""
    raw = datasets.file(ct(el(0x00100020, "LO", b"XY")) + el(0x7FE00010, "OW", os.urandom(size)), EXPLICIT)
    (tmp_path / "in").write_bytes(raw)
    program = edit.Program([edit.Set("PatientID", name)])
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as target:
        result = edit.edit_descriptor(source.fileno(), target.fileno(), program)
    assert (tmp_path / "out").read_bytes() == edit.edit_file(raw, program).tobytes()
    assert (tmp_path / "out").stat().st_size == result.length
    assert [difference.after for difference in result.differences()] == [name]


def test_a_file_that_shrinks_meanwhile_is_no_success(tmp_path: Path) -> None:
    raw = datasets.file(ct() + el(0x7FE00010, "OW", bytes(200_000)), EXPLICIT)
    result = edit.edit_file(raw, [edit.Set("PatientID", "A")])
    (tmp_path / "in").write_bytes(raw[:100_000])
    with (
        (tmp_path / "in").open("rb") as source,
        (tmp_path / "out").open("wb") as target,
        pytest.raises(errors.BadData, match="shorter"),
    ):
        result.write(target.fileno(), source.fileno())


def test_many_small_pieces_are_written(tmp_path: Path) -> None:
    rows = b"".join(
        el(0x00081140, "SQ", item(el(0x00080050, "SH", b"AB") + el(0x00100020, "LO", b"C ")))
        for _ in range(900)
    )
    result = edit.edit(rows, EXPLICIT, [edit.Set("**.AccessionNumber", "X" * 8)])
    assert len(result.pieces) > 2000
    with (tmp_path / "out").open("wb") as out:
        result.write(out.fileno())
    assert (tmp_path / "out").read_bytes() == result.tobytes()


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "SC_rgb_rle_2frame.dcm", "SC_rgb_rle_16bit_2frame.dcm"])
def test_offset_tables_stay_right(name: str) -> None:
    raw = sample(name)
    out = edit.edit_file(
        raw, [edit.Set("StudyDescription", "longer than before"), edit.Remove("PatientID")]
    ).tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = list(
            pydicom.encaps.generate_frames(pydicom.dcmread(io.BytesIO(raw)).PixelData, number_of_frames=1)
        )
        after = list(
            pydicom.encaps.generate_frames(pydicom.dcmread(io.BytesIO(out)).PixelData, number_of_frames=1)
        )
    assert before == after


def test_the_offsets_of_a_dicomdir_are_moved() -> None:
    raw = sample("DICOMDIR")
    head = scan.part10(raw)
    table = scan.scan(raw, head.syntax, offset=head.offset)
    out = edit.edit_file(
        raw, [edit.Set("FileSetID", "A LONGER NAME"), edit.Set("**.PatientID", "ANONYMOUS PATIENT")]
    )
    data = out.tobytes()
    assert len(data) == out.length != len(raw)
    moved = scan.scan(data, head.syntax, offset=scan.part10(data).offset)

    def tree(raw: bytes, table: scan.Table) -> list[tuple[object, ...]]:
        """Each record with the records that its offsets point at, by number."""
        sequence = table.top[0x00041220]
        starts = {table[at].start: number for number, at in enumerate(table.children(sequence))}
        found = [tuple(starts.get(table.get(tag) or -1) for tag in (0x00041200, 0x00041202))]
        for at in table.children(sequence):
            links = [table.get(tag, at) for tag in (0x00041400, 0x00041420)]
            found.append((*(starts[link] if link else None for link in links), table.get(0x00041430, at)))
        return found

    assert tree(data, moved) == tree(raw, table)
    assert len(tree(raw, table)) > 10


def test_what_was_there_is_kept_when_asked() -> None:
    name = el(0x00100010, "PN", b"M\xfcller^A ")
    sequence = open_sequence(0x00400275, open_item(el(0x00080050, "SH", b"A1")))
    raw = el(0x00080005, "CS", b"ISO_IR 100") + name + el(0x00100040, "CS", b"F ") + sequence
    who = edit.Original("NODE", source="RIS", when=dt.datetime(2026, 11, 21, 7, 0, tzinfo=dt.UTC))
    changes = [
        edit.Set("PatientName", "Anon"),
        edit.Set("PatientID", "new"),
        edit.Set("PatientSex", "F"),  # no change
        edit.Set("RequestAttributesSequence[0].AccessionNumber", "B"),
    ]
    result = edit.edit(raw, EXPLICIT, changes, original=who)
    out = result.tobytes()
    table = scan.scan(out, EXPLICIT)
    place = table.top[0x04000561]
    kept = out[table[place].start : table[place].end]
    assert name + sequence in kept
    assert b"F " not in kept
    ds = datasets.read(out, EXPLICIT)
    entry = ds.OriginalAttributesSequence[0]
    assert (entry.ModifyingSystem, entry.SourceOfPreviousValues) == ("NODE", "RIS")
    assert entry.ReasonForTheAttributeModification == "COERCE"
    assert entry.AttributeModificationDateTime == "20261121070000.000000+0000"
    assert str(entry.ModifiedAttributesSequence[0].PatientName) == "Müller^A"
    again = edit.edit(out, EXPLICIT, [edit.Set("PatientName", "王")], original=who).tobytes()
    entries = datasets.read(again, EXPLICIT).OriginalAttributesSequence
    assert [str(one.ModifiedAttributesSequence[0].get("PatientName")) for one in entries] == [
        "Müller^A",
        "Anon",
    ]
    assert edit.edit(raw, EXPLICIT, [edit.Set("PatientSex", "F")], original=who).tobytes() == raw


def test_differences_are_told() -> None:
    raw = ct(el(0x00100010, "PN", b"Doe^Jane"), el(0x00100020, "LO", b"AB"), el(0x00100040, "CS", b"F "))
    raw += el(0x00400275, "SQ", item(el(0x00080050, "SH", b"A1")))
    result = edit.edit(
        raw,
        EXPLICIT,
        [
            edit.Set("PatientName", "Doe^John"),
            edit.Remove("PatientID"),
            edit.Empty("PatientSex"),
            edit.Set("StudyID", "7"),
            edit.Set("RequestAttributesSequence[0].AccessionNumber", "B"),
            edit.Set("RequestAttributesSequence[1].AccessionNumber", "C"),
            edit.Set("ReferencedImageSequence", [{}, {}]),
        ],
    )
    assert [(d.path, d.vr, d.before, d.after, d.change) for d in result.differences()] == [
        ("ReferencedImageSequence", "SQ", None, "2 items", "inserted"),
        ("PatientName", "PN", "Doe^Jane", "Doe^John", "set"),
        ("PatientID", "LO", "AB", None, "removed"),
        ("PatientSex", "CS", "F", None, "emptied"),
        ("StudyID", "SH", None, "7", "inserted"),
        ("RequestAttributesSequence[0].AccessionNumber", "SH", "A1", "B", "set"),
        ("RequestAttributesSequence[+]", "", None, "1 item", "inserted"),
    ]


def test_the_syntaxes_are_known() -> None:
    assert not scan.encoding(IMPLICIT).explicit
    assert scan.encoding(BIG).order == ">"
    assert scan.encoding("1.2.840.10008.1.2.1.99").deflated
    for syntax in (JPEG, "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.8.1", "9.9.9"):
        assert scan.encoding(syntax) == scan.Encoding(explicit=True, order="<", encapsulated=True)
    deflated_with_references = "1.2.840.10008.1.2.4.205"  # which pydicom takes for not deflated
    for uid in map(str, pydicom.uid.AllTransferSyntaxes):
        if uid == deflated_with_references:
            continue
        syntax = pydicom.uid.UID(uid)
        ours = scan.encoding(uid)
        assert (not ours.explicit, ours.order == "<", ours.deflated) == (
            syntax.is_implicit_VR,
            syntax.is_little_endian,
            syntax.is_deflated,
        ), uid


def test_uids_are_checked_made_and_derived() -> None:
    assert all(map(uids.valid, ("1.2.3", "2.25.0", "1", "1.02")))
    assert not any(map(uids.valid, ("", "1..2", ".1", "1.", "1.2a", "1" * 65, "1.2\n", "../1", "\uff11.2")))
    assert uids.strict(uids.new())
    assert uids.new() != uids.new()
    one = uids.derived("", "secret", "1.2.3")
    assert one == uids.derived("", "secret", "1.2.3") != uids.derived("", "secret", "1.2.4")
    assert uids.derived("", "ab", "c") != uids.derived("", "a", "bc")
    assert uids.strict(one)
    assert one.startswith("2.25.")
    rooted = uids.derived("1.2.826.0.1.3680043.8.498", "x")
    assert uids.strict(rooted)
    assert rooted.startswith("1.2.826.0.1.3680043.8.498.")
    with pytest.raises(ValueError, match="no room"):
        uids.derived("1." * 25 + "1", "x")
