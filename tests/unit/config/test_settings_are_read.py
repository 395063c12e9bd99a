"""What is given becomes settings, wherever it is given."""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import pickle
import re
import typing

import pytest

from node import config, evaluate, model, orders
from node.config import tables

EXAMPLE = pathlib.Path(__file__).parents[3] / "config" / "node.toml"


def load(tmp_path: pathlib.Path, text: str, **environ: str) -> model.Settings:
    path = tmp_path / "node.toml"
    path.write_text(text)
    return config.load(path, {}, environ)


def with_every_line() -> str:
    """The example with what is commented out in it."""
    line_of_toml = re.compile(r"^# (?=\[\[?[a-z]+\.|[A-Za-z_]+(\.('[^']+'|[A-Za-z.]+))? = )")
    return "\n".join(line_of_toml.sub("", line) for line in EXAMPLE.read_text().splitlines())


def test_nothing_given_is_the_defaults() -> None:
    assert config.load(None, {}, {}) == model.Settings()


def test_the_example_is_the_defaults_and_a_harmless_peer() -> None:
    settings = config.load(EXAMPLE, {}, {})
    assert [peer.name for peer in settings.peers] == ["workstation"]
    assert model.Right.STORE not in settings.peers[0].rights
    assert dataclasses.replace(settings, peers=()) == model.Settings()


def test_every_line_of_the_example_that_is_commented_out_works_too(tmp_path: pathlib.Path) -> None:
    settings = load(tmp_path, with_every_line())
    assert settings.storage.retention == model.RetentionSettings(90 * 86400.0, 2 * 10**12)
    assert settings.tls.client_certificate
    assert [peer.name for peer in settings.peers] == ["workstation", "ct1", "pacs"]
    assert [(one.name, len(one.steps)) for one in settings.coerce] == [("tidy", 2)]
    assert [one.kind for one in settings.destinations] == list(orders.Kind)
    assert settings.destinations[0].coerce == "tidy"
    assert settings.destinations[2].environment == {"OMP_NUM_THREADS": "2"}
    assert [group.members for group in settings.groups] == [("archive", "research")]
    assert settings.calendars[0].days == {0, 1, 2, 3, 4, 6}
    assert settings.calendars[0].hours == ((datetime.time(19), datetime.time(6)),)
    assert [policy.name for policy in settings.completeness] == ["mr"]
    assert dataclasses.replace(settings.completeness[0], peers=(), modalities=(), ask=None) == orders.Policy(
        "mr"
    )
    assert [route.name for route in settings.routes] == ["stroke", "scouts", "pet-ct", "research", "volumes"]
    assert [route.level.value for route in settings.routes[:3]] == ["instance", "series", "study"]
    assert settings.routes[3].when == evaluate.of(
        {
            "StudyDescription": "*research*",
            "verdict": "complete",
            "RequestAttributesSequence.ScheduledProcedureStepID": "R*",
            '0019,xx0C "SIEMENS MR HEADER"': ">=1000",
        }
    )
    assert settings.routes[2].requires[1] == evaluate.of({"Modality": "CT", "instances": ">=100"})
    assert settings.routes[3].steps == (orders.StepSetting("compress", {"syntax": "JPEG2000Lossless"}),)
    assert [rule.name for rule in settings.rules] == ["no-reports", "research", "ward", "test-patients"]
    assert settings.rules[1].keep == 14 * 86400.0
    assert settings.rules[2].coerce == "tidy"
    assert settings.rules[3].when == evaluate.of({"PatientID": ("TEST*", "QA-*")})
    assert {schedule.job for schedule in settings.schedules} == set(model.Job)


def test_the_example_names_every_key_there_is() -> None:
    text = EXAMPLE.read_text()
    for table in (*tables.TABLES.values(), *tables.NAMED.values()):
        for key in table.keys:
            assert re.search(rf"^(# )?{key} += ", text, re.MULTILINE), key


def test_every_field_of_the_settings_has_its_key() -> None:
    """A setting that cannot be set is a mistake of ours."""
    for table in (*tables.TABLES.values(), *tables.NAMED.values()):
        fields = {field.name for field in dataclasses.fields(table.build)}  # type: ignore[arg-type]
        keys = {table.renamed.get(key, key) for key in table.keys}
        assert keys == fields - {"name", *table.inner, *table.lists}


def test_flags_override_the_environment_which_overrides_the_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('[node]\naet = "FILE"\nport = 1\nlisteners = 1\n')
    environ = {"DICOM_NODE_NODE__PORT": "2", "DICOM_NODE_LISTENERS": "2"}
    node = config.load(path, {"listeners": 3}, environ).node
    assert (node.aet, node.port, node.listeners) == ("FILE", 2, 3)


def test_the_environment_may_name_the_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "other.toml"
    path.write_text("[node]\nport = 104\n")
    assert config.load(None, {}, {"DICOM_NODE_CONFIG": str(path)}).node.port == 104


def test_variables_reach_every_table_and_make_peers() -> None:
    settings = config.load(
        None,
        {},
        {
            "DICOM_NODE_LOG__LEVEL": "debug",
            "DICOM_NODE_STORAGE__RETENTION__MAX_AGE": "7d",
            "DICOM_NODE_NODE__ACCEPT_UNKNOWN": "no",
            "DICOM_NODE_PEERS__PACS__AET": "PACS",
            "DICOM_NODE_PEERS__PACS__RIGHTS": "echo, find",
            "DICOM_NODE_PEERS__PACS__RATE": "2.5",
            "DICOM_NODE_FAILPOINT": "journal.before-sync",
        },
    )
    assert settings.log.level == "debug"
    assert settings.storage.retention.max_age == 604800.0
    assert not settings.node.accept_unknown
    assert settings.peers == (
        model.Peer("pacs", "PACS", rights=frozenset({model.Right.ECHO, model.Right.FIND}), rate=2.5),
    )


def test_a_variable_means_the_peer_of_the_file_whatever_its_case(tmp_path: pathlib.Path) -> None:
    settings = load(tmp_path, '[peers.CT1]\naet = "CT"\n', DICOM_NODE_PEERS__CT1__PORT="4242")
    assert [(peer.name, peer.port) for peer in settings.peers] == [("CT1", 4242)]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("90", 90.0),
        ("1.5", 1.5),
        ('"500ms"', 0.5),
        ('"2 min"', 120.0),
        ('"1h30m"', 5400.0),
        ('"2w"', 1209600.0),
    ],
)
def test_times(tmp_path: pathlib.Path, written: str, seconds: float) -> None:
    assert load(tmp_path, f"[limits]\nidle_timeout = {written}\n").limits.idle_timeout == seconds


@pytest.mark.parametrize(
    ("written", "size"),
    [("4096", 4096), ('"2GB"', 2 * 10**9), ('"5 GiB"', 5 << 30), ('"1.5 kb"', 1500), ('"7 B"', 7), ("0", 0)],
)
def test_sizes(tmp_path: pathlib.Path, written: str, size: int) -> None:
    assert load(tmp_path, f"[storage]\nmin_free = {written}\n").storage.min_free == size


def test_transfer_syntaxes_by_uid_keyword_and_nickname(tmp_path: pathlib.Path) -> None:
    text = '[peers.a]\naet = "A"\nsyntaxes = ["1.2.3", "JPEGLSLossless", "jpeg 2000 lossless", "RLE"]\n'
    assert load(tmp_path, text).peers[0].syntaxes == (
        "1.2.3",
        "1.2.840.10008.1.2.4.80",
        "1.2.840.10008.1.2.4.90",
        "1.2.840.10008.1.2.5",
    )


def test_names_of_transfer_syntaxes_are_the_standards() -> None:
    from pydicom import uid as uids

    from node.config import values

    for name, value in values.SYNTAXES.items():
        known = uids.UID(value)
        assert known.is_transfer_syntax or name.startswith("JPEGXL"), name
        if name[0].isupper() and known.is_transfer_syntax and known.keyword:
            assert known.keyword == name


def test_rules_keep_the_order_of_the_file_and_their_tags(tmp_path: pathlib.Path) -> None:
    text = """
[rules.b]
action = "keep"
when.Rows = 512
when."(0008,103E)" = "*x*"
[rules.a]
action = "discard"
"""
    first, second = load(tmp_path, text).rules
    assert (first.name, second.name) == ("b", "a")
    assert first.when == evaluate.of({"Rows": "512", "0008,103e": "*x*"})


def test_settings_cross_to_another_process() -> None:
    settings = config.load(EXAMPLE, {}, {})
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_values_have_the_types_that_the_settings_declare(tmp_path: pathlib.Path) -> None:
    settings = load(tmp_path, with_every_line())
    for part in (
        settings.node,
        settings.log,
        settings.storage,
        settings.limits,
        settings.tls,
        *settings.peers,
    ):
        for name, declared in typing.get_type_hints(type(part)).items():
            allowed = tuple(typing.get_origin(one) or one for one in typing.get_args(declared)) or (declared,)
            if typing.get_origin(declared) in (tuple, frozenset):
                allowed = (typing.get_origin(declared),)
            value = getattr(part, name)
            assert isinstance(value, allowed), (name, value)
            assert not (isinstance(value, bool) and bool not in allowed), name
