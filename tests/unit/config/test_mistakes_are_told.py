"""Every mistake names its place, the value, and what is allowed."""

from __future__ import annotations

import pathlib
import textwrap
from collections.abc import Mapping

import pytest

from node import config, errors


def told(tmp_path: pathlib.Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    path = tmp_path / "node.toml"
    path.write_text(textwrap.dedent(text))
    with pytest.raises(config.Mistakes) as caught:
        config.load(path, {}, environ or {})
    return [mistake.replace(f"{tmp_path}/", "") for mistake in caught.value.mistakes]


WRONG_VALUES = {
    "a text for a port": (
        '[node]\nport = "104"',
        'node.toml:2: node.port = "104": give a port from 1 to 65535',
    ),
    "a port out of range": (
        "[node]\n\nport = 70000",
        "node.toml:3: node.port = 70000: give a port from 1 to 65535",
    ),
    "a truth value for a number": (
        "[node]\nlisteners = true",
        "node.toml:2: node.listeners = true: give a whole number from 1 to 64",
    ),
    "a number for a truth value": (
        "[node]\naccept_unknown = 1",
        "node.toml:2: node.accept_unknown = 1: give true or false",
    ),
    "an AE title that is too long": (
        '[node]\naet = "SEVENTEEN_LETTERS"',
        (
            'node.toml:2: node.aet = "SEVENTEEN_LETTERS": '
            "give an AE title: 1 to 16 ASCII characters, no backslash"
        ),
    ),
    "an AE title with a control character": (
        '[node]\naet = "A\\nB"',
        'node.toml:2: node.aet = "A\\nB": give an AE title: 1 to 16 ASCII characters, no backslash',
    ),
    "an address without a port": (
        '[node]\nhttp = "localhost"',
        'node.toml:2: node.http = "localhost": give HOST:PORT, as in 127.0.0.1:8112',
    ),
    "a misspelt word": (
        '[log]\nlevel = "warn"',
        (
            'node.toml:2: log.level = "warn": give one of "debug", "info", "warning" or "error"; '
            'did you mean "warning"?'
        ),
    ),
    "a time without a unit that is known": (
        '[limits]\nidle_timeout = "5 fortnights"',
        (
            'node.toml:2: limits.idle_timeout = "5 fortnights": '
            'give more than zero seconds, as in 30, "30s", "5m" or "7d"'
        ),
    ),
    "no time at all": (
        "[limits]\npdu_timeout = 0",
        (
            'node.toml:2: limits.pdu_timeout = 0: give more than zero seconds, as in 30, "30s", "5m" or '
            '"7d"; zero is not a time to wait'
        ),
    ),
    "a time that is not a number": (
        "[node]\ndrain = nan",
        'node.toml:2: node.drain = nan: give seconds, or a time as in "30s", "5m", "12h" or "7d"',
    ),
    "a size in another unit": (
        '[storage]\nmin_free = "2 pounds"',
        'node.toml:2: storage.min_free = "2 pounds": give bytes, or a size as in "500 MB" or "2 GiB"',
    ),
    "the home of nobody": (
        '[node]\ndata = "~nobody-is-called-so/data"',
        (
            'node.toml:2: node.data = "~nobody-is-called-so/data": give a path; '
            "nobody here has that home directory"
        ),
    ),
    "a journal that is too small": (
        '[storage]\njournal = "1 MB"',
        (
            'node.toml:2: storage.journal = "1 MB": give bytes, or a size as in "500 MB" or "2 GiB"; '
            "at least 67108864"
        ),
    ),
    "a database that we do not speak, and its password": (
        '[storage]\ndatabase = "mysql://root:hunter2@db/x"',
        (
            'node.toml:2: storage.database = "mysql://root:***@db/x": '
            "give a database URL, sqlite:///PATH or postgresql+psycopg://USER@HOST/NAME"
        ),
    ),
    "one wrong entry of a list": (
        '[peers.a]\naet = "A"\nrights = [\n  "store",\n  "fnd",\n]',
        (
            'node.toml:3: peers.a.rights = ["store", "fnd"]: '
            'give a list of rights out of echo, store, find, retrieve, commit, mpps; "fnd" is none of them, '
            'did you mean "find"?'
        ),
    ),
    "a text where a list belongs": (
        '[peers.a]\naet = "A"\naddresses = "10.0.0.1"',
        (
            'node.toml:3: peers.a.addresses = "10.0.0.1": '
            'give a list of IP addresses or networks, as in ["10.1.2.3", "10.1.0.0/16"]; write ["10.0.0.1"]'
        ),
    ),
    "a network with host bits": (
        '[peers.a]\naet = "A"\naddresses = ["10.0.0.1/8"]',
        (
            'node.toml:3: peers.a.addresses = ["10.0.0.1/8"]: give a list of IP addresses or networks, '
            'as in ["10.1.2.3", "10.1.0.0/16"]; "10.0.0.1/8" is none of them'
        ),
    ),
    "a transfer syntax that nobody knows": (
        '[peers.a]\naet = "A"\nsyntaxes = ["jpeg2000loseless"]',
        (
            'node.toml:3: peers.a.syntaxes = ["jpeg2000loseless"]: give a list of transfer syntaxes by UID '
            'or name, as in ["explicit", "JPEG2000Lossless"]; "jpeg2000loseless" is none of them, '
            "did you mean JPEG2000Lossless?"
        ),
    ),
    "a rate of zero": (
        '[peers.a]\naet = "A"\nrate = 0',
        "node.toml:3: peers.a.rate = 0: give a number greater than zero",
    ),
    "an hour that is none": (
        '[schedules.s]\njob = "scrub"\nat = "24:00"',
        'node.toml:3: schedules.s.at = "24:00": give a time of day, as in "03:30"',
    ),
    "a range that ends before it begins": (
        '[rules.r]\naction = "keep"\n[rules.r.when]\nStudyDate = "20260201..20260101"',
        (
            'node.toml:4: rules.r.when.StudyDate = "20260201..20260101": give a value, a wildcard, a range, '
            "or a list of these; the range '20260201..20260101' ends before it begins"
        ),
    ),
}

UNKNOWN_KEYS = {
    "a table": ("[ndoe]\nport = 1", "node.toml:1: ndoe: there is no such table; did you mean node?"),
    "a table like none": (
        "[zzz]",
        (
            "node.toml:1: zzz: there is no such table; the tables are "
            "node, log, storage, limits, tls, worklist, routing, queue, peers, destinations, groups, "
            "calendars, completeness, routes, rules, schedules, coerce"
        ),
    ),
    "a key": ("[node]\nprot = 1", "node.toml:2: node.prot: there is no such key; did you mean port?"),
    "a key like none": (
        "[log]\nxyzzy = 1",
        "node.toml:2: log.xyzzy: there is no such key; [log] has level, format, patient_data",
    ),
    "a key before all tables": (
        "port = 104",
        (
            "node.toml:1: port: there is no such key; the tables are "
            "node, log, storage, limits, tls, worklist, routing, queue, peers, destinations, groups, "
            "calendars, completeness, routes, rules, schedules, coerce"
        ),
    ),
    "a key of an inner table": (
        "[storage.retention]\nmax_aeg = 1",
        "node.toml:2: storage.retention.max_aeg: there is no such key; did you mean max_age?",
    ),
    "a key of a peer": (
        '[peers.a]\naet = "A"\nhots = "x"',
        "node.toml:3: peers.a.hots: there is no such key; did you mean host?",
    ),
    "a dotted key": (
        "[node]\nlog.level = 1",
        (
            "node.toml:2: node.log: there is no such key; [node] has aet, host, port, http, api_token_file, "
            "data, listeners, workers, drain, accept_any_called, accept_unknown"
        ),
    ),
    "a keyword in a rule": (
        '[rules.r]\naction = "keep"\nwhen.Modalty = "CT"',
        "node.toml:3: rules.r.when.Modalty: there is no such element; did you mean Modality?",
    ),
    "a sequence in a rule": (
        '[rules.r]\naction = "keep"\nwhen.ReferencedImageSequence = "CT"',
        (
            "node.toml:3: rules.r.when.ReferencedImageSequence: a rule cannot look into "
            "ReferencedImageSequence, which is no text or number (SQ)"
        ),
    ),
}

WRONG_SHAPES = {
    "a value for a table": ('log = "info"', 'node.toml:1: log = "info": this is a table, write [log]'),
    "a value for a peer": (
        '[peers]\nct = "CT"',
        'node.toml:2: peers.ct = "CT": each of these is a table, write [peers.NAME]',
    ),
    "a value for an inner table": (
        "[storage]\nretention = 90",
        "node.toml:2: storage.retention = 90: this is a table, write [storage.retention]",
    ),
    "a list of tables": (
        "[[node]]\nport = 1",
        "node.toml:1: node = [{port = 1}]: this is a table, write [node]",
    ),
    "a name that is none": (
        '[peers."../etc"]\naet = "A"',
        'node.toml:1: peers has "../etc": give a name of letters, digits, `_`, `.` and `-`, at most 64',
    ),
    "a peer without its AE title": (
        "[node]\n[peers.ct]\nport = 104",
        "node.toml:2: [peers.ct] has no aet: give an AE title: 1 to 16 ASCII characters, no backslash",
    ),
    "a rule without its action": (
        '[rules.r.when]\nModality = "CT"',
        'node.toml:1: [rules.r] has no action: give one of "keep", "discard" or "quarantine"',
    ),
}

WHAT_DOES_NOT_FIT = {
    "a destination without its peer": (
        '[peers.pacs]\naet = "P"\nhost = "h"\n[destinations.d]\npeer = "pasc"',
        'node.toml:5: destinations.d.peer = "pasc": there is no such peer; did you mean pacs?',
    ),
    "a destination with no peers about": (
        '[destinations.d]\npeer = "pacs"',
        (
            'node.toml:2: destinations.d.peer = "pacs": '
            "there is no such peer; there is none in this configuration"
        ),
    ),
    "a destination that cannot be reached": (
        '[peers.pacs]\naet = "P"\n[destinations.d]\npeer = "pacs"',
        'node.toml:4: destinations.d.peer = "pacs": this peer has no host to send to: give [peers.pacs] one',
    ),
    "two peers that cannot be told apart": (
        '[peers.a]\naet = "CT"\n[peers.b]\naet = "CT"',
        (
            'node.toml:4: peers.b.aet = "CT": peer a has the same AE title and addresses, '
            "so that a caller could be either: tell them apart by addresses"
        ),
    ),
    "a rule behind one that takes everything": (
        '[rules.all]\naction = "keep"\n[rules.late]\naction = "discard"',
        "node.toml:3: rules.late is never reached: rule all before it has no condition and takes everything",
    ),
    "a time for what is not kept": (
        '[rules.r]\naction = "discard"\nfor = "7d"',
        'node.toml:3: rules.r.for: action is "discard", and only "keep" has a time',
    ),
    "a schedule without a time": (
        '[schedules.s]\njob = "retention"',
        (
            "node.toml:1: schedules.s has none of at, every and cron: "
            'give one of them, as in at = "03:30", every = "6h" or cron = "30 2 * * mon-fri"'
        ),
    ),
    "a schedule with two times": (
        '[schedules.s]\njob = "retention"\nat = "01:00"\nevery = "1h"',
        (
            "node.toml:1: schedules.s has at and every: "
            'give one of them, as in at = "03:30", every = "6h" or cron = "30 2 * * mon-fri"'
        ),
    ),
    "a cron expression that is none": (
        '[schedules.s]\njob = "retention"\ncron = "0 25 * * *"',
        (
            'node.toml:3: schedules.s.cron = "0 25 * * *": '
            'give a cron expression, as in "30 2 * * mon-fri"; 25 is no hour: give 0 to 23'
        ),
    ),
    "a pull from nobody": (
        '[schedules.s]\njob = "pull"\nat = "01:00"\nquery = {StudyDate = "today"}',
        (
            'node.toml:1: schedules.s has no peer: job is "pull", '
            "give the name of a configured peer that has a host"
        ),
    ),
    "a query that is no keys": (
        (
            '[peers.p]\naet = "P"\nhost = "h"\n[schedules.s]\njob = "pull"\nat = "01:00"\npeer = "p"\n'
            "query = {StudyDate = 5}"
        ),
        (
            "node.toml:8: schedules.s.query = {StudyDate = 5}: give keys of a query, "
            'as in {StudyDate = "-1d..today", Modality = "CT"}; StudyDate = 5 is none of them'
        ),
    ),
    "a forward to nowhere": (
        '[schedules.s]\njob = "forward"\nat = "01:00"\nquery = {StudyDate = "today"}\nto = ["moon"]',
        (
            'node.toml:5: schedules.s.to: there is no destination or group "moon"; '
            "there is none in this configuration"
        ),
    ),
    "a zone of what has no time of day": (
        '[schedules.s]\njob = "retention"\nevery = "1h"\nzone = "UTC"',
        (
            "node.toml:4: schedules.s.zone: every is counted from the last run, "
            "and only at and cron have a zone"
        ),
    ),
    "a rate where nothing is read": (
        '[schedules.s]\njob = "retention"\nat = "01:00"\nrate = "5 MB"',
        'node.toml:4: schedules.s.rate: job is "retention", and only "scrub" has a rate',
    ),
    "TLS without a certificate": (
        '[tls]\nport = 2762\nkey = "k.pem"',
        "node.toml:2: tls.port needs tls.certificate: give the path of a PEM file",
    ),
    "a key without its certificate": (
        '[tls]\nkey = "k.pem"',
        "node.toml:2: tls.key needs tls.certificate: give the path of a PEM file",
    ),
    "one port for both listeners": (
        '[tls]\nport = 11112\ncertificate = "c.pem"\nkey = "k.pem"',
        "node.toml:2: tls.port = 11112 is the port without TLS too: give another",
    ),
    "certificates asked for and nobody to vouch": (
        "[tls]\nclient_certificate = true",
        "node.toml:2: tls.client_certificate needs tls.ca: give the PEM file of who vouches for callers",
    ),
}


@pytest.mark.parametrize(("text", "message"), WRONG_VALUES.values(), ids=WRONG_VALUES)
def test_a_wrong_value(tmp_path: pathlib.Path, text: str, message: str) -> None:
    assert told(tmp_path, text) == [message]


@pytest.mark.parametrize(("text", "message"), UNKNOWN_KEYS.values(), ids=UNKNOWN_KEYS)
def test_an_unknown_key(tmp_path: pathlib.Path, text: str, message: str) -> None:
    assert told(tmp_path, text) == [message]


@pytest.mark.parametrize(("text", "message"), WRONG_SHAPES.values(), ids=WRONG_SHAPES)
def test_a_wrong_shape(tmp_path: pathlib.Path, text: str, message: str) -> None:
    assert told(tmp_path, text) == [message]


@pytest.mark.parametrize(("text", "message"), WHAT_DOES_NOT_FIT.values(), ids=WHAT_DOES_NOT_FIT)
def test_what_does_not_fit_together(tmp_path: pathlib.Path, text: str, message: str) -> None:
    assert told(tmp_path, text) == [message]


NOT_TOML = {
    "no equals sign": (
        "[node]\nport\n",
        "node.toml:2: this is not TOML: expected '=' after a key in a key/value pair",
    ),
    "a key twice": (
        "[node]\nport = 1\nport = 2\n",
        "node.toml:3: this is not TOML: cannot overwrite a value",
    ),
    "an open string": ('[node]\naet = "A\n', "node.toml:2: this is not TOML: illegal character '\\n'"),
    "an open list": ("[a]\nb = [1,\n\n", "node.toml:2: this is not TOML: "),
}


@pytest.mark.parametrize(("text", "message"), NOT_TOML.values(), ids=NOT_TOML)
def test_what_is_not_toml_has_a_line(tmp_path: pathlib.Path, text: str, message: str) -> None:
    path = tmp_path / "node.toml"
    path.write_text(text)
    with pytest.raises(errors.ConfigError) as caught:
        config.load(path)
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(message)


def test_all_mistakes_are_told_in_the_order_of_the_file(tmp_path: pathlib.Path) -> None:
    text = """\
        [limits]
        pdu = 1
        [node]
        port = 0
        prot = 3
        [peers.a]
        """
    mistakes = told(tmp_path, text, {"DICOM_NODE_WORKERS": "many"})
    assert [mistake.split(": ")[0].split(" = ")[0] for mistake in mistakes] == [
        "node.toml:2",
        "node.toml:4",
        "node.toml:5",
        "node.toml:6",
        "DICOM_NODE_WORKERS",
    ]


def test_several_mistakes_are_counted_one_stands_alone(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("[node]\nport = 0\nworkers = -1\n")
    with pytest.raises(config.Mistakes, match=r"^2 mistakes in the configuration:\n  .*port.*\n  .*workers"):
        config.load(path)


def test_a_mistake_in_the_environment_names_the_variable() -> None:
    environ = {"DICOM_NODE_PORT": "abc", "DICOM_NODE_LIMITS__PDU": "1", "DICOM_NODE_PROT": "1", "OTHER": "x"}
    with pytest.raises(config.Mistakes) as caught:
        config.load(None, {}, environ)
    assert caught.value.mistakes == (
        "DICOM_NODE_LIMITS__PDU = 1: give a number of bytes from 4096 to 1048576",
        'DICOM_NODE_PORT = "abc": give a port from 1 to 65535',
        "DICOM_NODE_PROT: there is no such setting; did you mean DICOM_NODE_PORT?",
    )


def test_a_mistake_in_a_flag_names_the_flag() -> None:
    with pytest.raises(config.Mistakes) as caught:
        config.load(None, {"port": 0, "log.level": "loud"})
    assert caught.value.mistakes == (
        "--port = 0: give a port from 1 to 65535",
        '--log-level = "loud": give one of "debug", "info", "warning" or "error"',
    )


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(
        errors.ConfigError,
        match=r"^the configuration file /nowhere/x\.toml cannot be read \(No such file or directory\): "
        r"give another with --config$",
    ):
        config.load(pathlib.Path("/nowhere/x.toml"))


def test_a_file_in_another_encoding(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "node.toml"
    path.write_bytes(b"[node]\n# f\xfcr\n")
    with pytest.raises(errors.ConfigError, match=r":2: this is not UTF-8 text: save the file as UTF-8$"):
        config.load(path)


STEPS = {
    "one table instead of a list": (
        '[coerce.tidy]\nremap = "hush"',
        ["node.toml:1: coerce.tidy: these are steps, write [[coerce.tidy]] over each"],
    ),
    "no steps at all": (
        "[coerce]\ntidy = []",
        ["node.toml:2: coerce.tidy: these are steps, write [[coerce.tidy]] over each"],
    ),
    "a text among the steps": (
        '[coerce]\ntidy = [{empty = "PatientID"}, "x"]',
        ["node.toml:2: coerce.tidy: these are steps, write [[coerce.tidy]] over each"],
    ),
    "no tables": ("coerce = 7", ["node.toml:1: coerce = 7: this is a table, write [coerce]"]),
    "a name with a space": (
        '[[coerce."a b"]]\nempty = "PatientID"',
        ['node.toml:1: coerce has "a b": give a name of letters, digits, `_`, `.` and `-`, at most 64'],
    ),
    "a destination with a coercion that there is not": (
        (
            '[peers.a]\naet = "A"\nhost = "h"\n[destinations.b]\npeer = "a"\ncoerce = "tidyy"\n'
            '[[coerce.tidy]]\nempty = "PatientID"'
        ),
        ['node.toml:6: destinations.b.coerce = "tidyy": there is no such coercion; did you mean tidy?'],
    ),
    "a rule with a coercion that there is not": (
        '[rules.a]\naction = "keep"\ncoerce = "tidyy"\n[[coerce.tidy]]\nempty = "PatientID"',
        ['node.toml:3: rules.a.coerce = "tidyy": there is no such coercion; did you mean tidy?'],
    ),
    "a rule that keeps nothing to coerce": (
        '[rules.a]\naction = "discard"\ncoerce = "tidy"\n[[coerce.tidy]]\nempty = "PatientID"',
        ['node.toml:3: rules.a.coerce: action is "discard", and only what is kept is presented'],
    ),
    "a destination where there are none": (
        '[peers.a]\naet = "A"\nhost = "h"\n[destinations.b]\npeer = "a"\ncoerce = "tidy"',
        [
            (
                'node.toml:6: destinations.b.coerce = "tidy": there is no such coercion; '
                "there is none in this configuration"
            )
        ],
    ),
}


@pytest.mark.parametrize(("text", "messages"), STEPS.values(), ids=STEPS)
def test_lists_of_steps(tmp_path: pathlib.Path, text: str, messages: list[str]) -> None:
    assert told(tmp_path, text) == messages


def test_what_is_overridden_is_checked_all_the_same(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('[node]\nport = "x"\naet = "FINE"\n[peers.ct]\naet = "CT"\nrate = -1\n')
    environ = {"DICOM_NODE_AET": "", "DICOM_NODE_PORT": "104", "DICOM_NODE_PEERS__CT__RATE": "5"}
    with pytest.raises(config.Mistakes) as caught:
        config.load(path, {"port": 105, "aet": "OTHER"}, environ)
    assert [
        mistake.replace(f"{tmp_path}/", "").partition(": give")[0] for mistake in caught.value.mistakes
    ] == [
        'node.toml:2: node.port = "x"',
        "node.toml:6: peers.ct.rate = -1",
        'DICOM_NODE_AET = ""',
    ]


PLACES = (
    '[peers.p]\naet = "P"\nhost = "h"\n[destinations.d]\npeer = "p"\n'
    '[destinations.e]\nkind = "folder"\nfolder = "x"\n'
)

FORWARDING = {
    "a destination of no kind": (
        "[destinations.x]\nlanes = 2",
        "node.toml:9: destinations.x has no peer: give the name of a configured peer that has a host",
    ),
    "a folder destination without its folder": (
        '[destinations.x]\nkind = "folder"',
        'node.toml:9: destinations.x is of kind "folder" and has no folder: give the path of a folder',
    ),
    "a key of another kind": (
        '[destinations.x]\nkind = "folder"\nfolder = "y"\nwindow = 4',
        'node.toml:12: destinations.x.window: kind is "folder", and only "dicom" destinations have window',
    ),
    "a program in one text": (
        '[destinations.x]\nkind = "command"\ncommand = "/usr/bin/run {in}"',
        (
            'node.toml:11: destinations.x.command = "/usr/bin/run {in}": give a program and its arguments, '
            'as in ["/usr/bin/segment", "{in}", "{out}"]; write ["/usr/bin/run {in}"]'
        ),
    ),
    "variables that are none": (
        '[destinations.x]\nkind = "command"\ncommand = ["x"]\nenvironment = {"A B" = "1"}',
        (
            'node.toml:12: destinations.x.environment = {A B = "1"}: '
            'give variables, as in {OMP_NUM_THREADS = "2"}; A B = "1" is none of them'
        ),
    ),
    "retries that end before they begin": (
        '[destinations.x]\npeer = "p"\nretry = "10m"\nretry_most = "5m"',
        (
            "node.toml:12: destinations.x.retry_most: retries begin at 600 s and are 300 s apart at most: "
            "give a retry_most that is not shorter than retry"
        ),
    ),
    "a moment for what is not verified": (
        '[destinations.x]\npeer = "p"\nverify_after = "10m"',
        (
            "node.toml:11: destinations.x.verify_after: nothing is verified; "
            'give verify = "commit" or "find" too'
        ),
    ),
    "a calendar that there is not": (
        '[destinations.x]\npeer = "p"\ncalendar = "night"\n[calendars.nights]\nhours = ["19:00-06:00"]',
        'node.toml:11: destinations.x.calendar = "night": there is no such calendar; did you mean nights?',
    ),
    "hours that are none": (
        '[calendars.x]\nhours = ["19:00-25:00"]',
        (
            'node.toml:10: calendars.x.hours = ["19:00-25:00"]: give a list of hours, as in '
            '["07:30-12:00", "19:00-06:00"]; "19:00-25:00" is none of them'
        ),
    ),
    "hours of no length": (
        '[calendars.x]\nhours = ["19:00-19:00"]',
        (
            'node.toml:10: calendars.x.hours = ["19:00-19:00"]: give a list of hours, as in '
            '["07:30-12:00", "19:00-06:00"]; "19:00-19:00" is none of them, it ends when it begins; '
            "for all day leave hours away"
        ),
    ),
    "a day that is none": (
        '[calendars.x]\ndays = ["mon-frai"]',
        (
            'node.toml:10: calendars.x.days = ["mon-frai"]: give a list of days, as in ["mon-fri", "sun"]; '
            '"mon-frai" is none of them, did you mean fri?'
        ),
    ),
    "a zone that is none": (
        '[calendars.x]\nzone = "Europe/Berln"',
        (
            'node.toml:10: calendars.x.zone = "Europe/Berln": '
            "give the name of a time zone, as in Europe/Berlin; did you mean Europe/Berlin?"
        ),
    ),
    "a holiday that is none": (
        '[calendars.x]\nholidays = ["24.12.2026"]',
        (
            'node.toml:10: calendars.x.holidays = ["24.12.2026"]: '
            'give a list of dates, as in ["2026-12-25", "2027-01-01"]; "24.12.2026" is none of them'
        ),
    ),
    "a member that is no destination": (
        '[groups.g]\nmembers = ["d", "f"]',
        'node.toml:10: groups.g.members: there is no destination "f"; there are d, e',
    ),
    "a group in a group": (
        '[groups.g]\nmembers = ["d"]\n[groups.h]\nmembers = ["g"]',
        'node.toml:12: groups.h.members: "g" is a group; list the destinations themselves',
    ),
    "a group without members": (
        "[groups.g]\nmembers = []",
        (
            "node.toml:10: groups.g.members = []: "
            'give a list of names of destinations, as in ["pacs-a", "pacs-b"]; at least one'
        ),
    ),
    "a group with the name of a destination": (
        '[groups.d]\nmembers = ["e"]',
        ("node.toml:9: groups.d is the name of a destination too: routes could mean either, so give another"),
    ),
    "a default that goes nowhere": (
        '[routing]\ndefault = ["archive"]',
        'node.toml:10: routing.default: there is no destination or group "archive"; there are d, e',
    ),
    "a route to nowhere": (
        '[routes.r]\nwhen.Modality = "CT"',
        (
            "node.toml:9: routes.r has neither to nor discard: "
            'say where it goes, as in to = ["archive"], or give a reason'
        ),
    ),
    "a route that sends and discards": (
        '[routes.r]\nto = ["d"]\ndiscard = "not wanted"',
        "node.toml:10: routes.r.to: r discards, so nothing is sent; take one of them out",
    ),
    "a route to an unknown destination": (
        '[groups.pair]\nmembers = ["d"]\n[routes.r]\nto = ["pairs"]',
        'node.toml:12: routes.r.to: there is no destination or group "pairs"; did you mean pair?',
    ),
    "a route with the name of the default": (
        '[routes.default]\nto = ["d"]',
        (
            "node.toml:9: routes.default: this name is taken, for what no route matches; "
            "give another, or use default of [routing]"
        ),
    ),
    "what is urgent and waits": (
        '[routes.r]\nto = ["d"]\npriority = "urgent"\ncalendar = "c"\n[calendars.c]\ndays = ["sun"]',
        (
            'node.toml:12: routes.r.calendar: priority is "urgent", '
            "and what is urgent does not wait for a calendar"
        ),
    ),
    "a priority that is none": (
        '[routes.r]\nto = ["d"]\npriority = "hihg"',
        (
            'node.toml:11: routes.r.priority = "hihg": give one of "urgent", "high", "normal" or "low"; '
            'did you mean "high"?'
        ),
    ),
    "a series that requires": (
        '[routes.r]\nto = ["d"]\n[[routes.r.requires]]\nModality = "PT"',
        'node.toml:11: routes.r.requires: level is "series", and only a "study" can require series',
    ),
    "a key of what is required": (
        '[routes.r]\nto = ["d"]\nlevel = "study"\n[[routes.r.requires]]\nModalty = "PT"',
        "node.toml:13: routes.r.requires.0.Modalty: there is no such element; did you mean Modality?",
    ),
    "a verdict before there is one": (
        '[routes.r]\nto = ["d"]\nlevel = "instance"\nwhen.verdict = "complete"',
        (
            "node.toml:12: routes.r.when.verdict: verdict is known of settled series only: "
            "leave it to routes of level series or study"
        ),
    ),
    "a verdict that there is not": (
        '[routes.r]\nto = ["d"]\nwhen.verdict = ["!partial", "whole"]',
        'node.toml:11: routes.r.when.verdict = "whole": give one of complete, partial, inconsistent',
    ),
    "a way to sort that there is not": (
        '[routes.r]\nto = ["d"]\nwhen.sorted = ["gaps", "holes"]',
        (
            'node.toml:11: routes.r.when.sorted = "holes": '
            "give one of complete, gaps, unequal, single, unplaced, mixed"
        ),
    ),
    "partial of what is not judged": (
        '[routes.r]\nto = ["d"]\nlevel = "instance"\npartial = false',
        'node.toml:12: routes.r.partial: level is "instance", which waits for no verdict; take it out',
    ),
    "a route behind one that takes everything": (
        '[routes.a]\nto = ["d"]\nfinal = true\n[routes.b]\nto = ["e"]',
        "node.toml:12: routes.b is never reached: route a before it has no condition and is final",
    ),
    "the first of all takes everything": (
        '[routing]\nmode = "first"\n[routes.a]\nto = ["d"]\n[routes.b]\nto = ["e"]',
        "node.toml:13: routes.b is never reached: route a before it has no condition and comes first",
    ),
    "a step without its name": (
        '[routes.r]\nto = ["d"]\n[[routes.r.steps]]\nsyntax = "x"',
        'node.toml:11: routes.r.steps.0: this is no step, say which one, as in step = "compress"',
    ),
    "steps in one table": (
        '[routes.r]\nto = ["d"]\n[routes.r.steps]\nstep = "compress"',
        (
            'node.toml:11: routes.r.steps = {step = "compress"}: '
            "these are tables, write [[routes.r.steps]] over each"
        ),
    ),
    "a step with a date": (
        '[routes.r]\nto = ["d"]\n[[routes.r.steps]]\nstep = "x"\nsince = 2026-01-01',
        "node.toml:13: routes.r.steps.0.since = 2026-01-01: give a text, a number, or a list of these",
    ),
    "two programs that feed each other": (
        (
            '[destinations.x]\nkind = "command"\ncommand = ["x"]\n[destinations.y]\nkind = "command"\n'
            'command = ["y"]\n[routes.a]\nto = ["x"]\nwhen.source = "!NOISE"\n[routes.b]\nto = ["d", "y"]'
        ),
        (
            "node.toml:18: routes.b goes round for ever: what x makes goes to y by b, "
            "what y makes goes to x by a; "
            'keep it out of one of them, as in when.source = "!command:*"'
        ),
    ),
    "a policy that asks nobody": (
        '[completeness.c]\nask = "pacs"',
        'node.toml:10: completeness.c.ask = "pacs": there is no such peer; there are p',
    ),
    "a policy behind one for all": (
        '[completeness.c]\nquiet = "5s"\n[completeness.mr]\nmodalities = ["MR"]',
        (
            "node.toml:11: completeness.mr is never reached: policy c before it names no peers and no "
            "modalities, and takes everything"
        ),
    ),
    "a sender that cannot be": (
        '[completeness.c]\npeers = ["CT_*", "~("]',
        (
            'node.toml:10: completeness.c.peers = ["CT_*", "~("]: give a list of peers or AE titles, as in '
            '["ct1", "MR_*"]; "~(" is none of them, the regular expression \'(\' cannot be (missing ): ()'
        ),
    ),
    "a time that is neither long nor false": (
        "[completeness.c]\nreleased = true",
        (
            "node.toml:10: completeness.c.released = true: "
            'give more than zero seconds, as in 30, "30s", "5m" or "7d", or false'
        ),
    ),
    "workers that die too soon": (
        '[queue]\ndead_after = "5s"',
        (
            "node.toml:10: queue.dead_after: a worker counts as dead after 5 s and gives a sign of life "
            "every 2 s: let there be three in that time"
        ),
    ),
}


@pytest.mark.parametrize(("text", "message"), FORWARDING.values(), ids=FORWARDING)
def test_what_is_wrong_with_forwarding(tmp_path: pathlib.Path, text: str, message: str) -> None:
    assert told(tmp_path, PLACES + text) == [message]


CONDITIONS = {
    "a regular expression that cannot be": (
        'when.Modality = "~(CT"',
        (
            'when.Modality = "~(CT": give a value, a wildcard, a range, or a list of these; '
            "the regular expression '(CT' cannot be (missing ): (CT)"
        ),
    ),
    "any with nothing in it": (
        "when.any = []",
        (
            "when.any = []: give conditions, as in "
            'any = [{Modality = "CT"}, {StudyDescription = "*head*"}], of which one must hold'
        ),
    ),
    "not with a text": (
        'when.not = "CT"',
        'when.not = "CT": give conditions, as in not = {Modality = "SR"}, which must not hold',
    ),
    "an element deep in a condition": (
        'when.any = [{Modality = "CT"}, {not = {Modalty = "MR"}}]',
        "when.any.not.Modalty: there is no such element; did you mean Modality?",
    ),
    "an element of a sequence": (
        'when.RequestAttributesSequence.ScheduledProcedureStpID = "1"',
        (
            "when.RequestAttributesSequence.ScheduledProcedureStpID: there is no element "
            "'ScheduledProcedureStpID'; did you mean ScheduledProcedureStepID?"
        ),
    ),
    "what lies in no sequence": (
        'when.PatientID.Modality = "1"',
        "when.PatientID.Modality: PatientID is no sequence (LO), so that nothing lies in it",
    ),
    "a creator of a public element": (
        """when.'0018,xx0C "X"' = "1\"""",
        ('when."0018,xx0C \\"X\\"": \'0018,xx0C "X"\': only odd groups have private creators'),
    ),
    "everywhere": (
        'when."**.PatientName" = "X"',
        (
            'when."**.PatientName": a condition looks in one place: '
            "write the sequences that lead there instead of **"
        ),
    ),
    "the same element twice": (
        'when."0008,0060" = "CT"\nwhen."(0008,0060)" = "MR"',
        ('when."(0008,0060)": this element stands there twice; give a list, or use all = [{...}, {...}]'),
    ),
    "an empty table": (
        "when.RequestAttributesSequence = {}",
        "when.RequestAttributesSequence: this is empty; give what is asked of it",
    ),
}


@pytest.mark.parametrize("section", ["rules", "routes"])
@pytest.mark.parametrize(("text", "message"), CONDITIONS.values(), ids=CONDITIONS)
def test_what_is_wrong_with_a_condition(
    tmp_path: pathlib.Path, section: str, text: str, message: str
) -> None:
    head = '[rules.r]\naction = "keep"\n' if section == "rules" else '[routes.r]\nto = ["d"]\n'
    (found,) = told(tmp_path, PLACES + head + text)
    assert found == f"node.toml:{11 + text.count(chr(10))}: {section}.r.{message}"


def test_conditions_without_end_are_refused(tmp_path: pathlib.Path) -> None:
    deep = "{" + "not = {" * 9 + 'Modality = "CT"' + "}" * 10
    (found,) = told(tmp_path, f'{PLACES}[routes.r]\nto = ["d"]\nwhen = {deep}')
    assert found.endswith(": conditions lie in each other more than 8 deep")
    many = ", ".join(f'"0011,{number:04x}" = "1"' for number in range(0x1000, 0x1000 + 1001))
    (found,) = told(tmp_path, f'{PLACES}[routes.r]\nto = ["d"]\nwhen = {{{many}}}')
    assert found == "node.toml:11: routes.r.when has more than 1000 keys: make several of it"


@pytest.mark.parametrize("key", ["'7FE1,xx01 \"X\"'", '"7fe1,1001"', "PixelData"])
def test_what_stands_behind_the_header_is_not_looked_at(tmp_path: pathlib.Path, key: str) -> None:
    (found,) = told(tmp_path, f'{PLACES}[routes.r]\nto = ["d"]\nwhen.{key} = "1"')
    assert found.endswith(": it stands behind the pixels, and a condition looks at the header alone")
