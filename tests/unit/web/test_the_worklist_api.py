"""The worklist's API: what it does, and what it does not let happen."""

from __future__ import annotations

import http.client
import json
import pathlib
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from starlette.requests import Request

from node import worklist
from node.dicom import worklist as entries
from node.index import steps
from node.web import app, guard, server
from node.web import worklist as api
from tests import indexed
from tests.unit.web.conftest import Answer, Bent, Running

TOKEN = "0123456789abcdef0123456789abcdef"
JSON = {"Content-Type": "application/json"}


class Node(Running):
    """A running application whose API works on a table of its own."""

    desk: worklist.Desk
    denials: list[tuple[Any, ...]]
    token: pathlib.Path

    def ask(
        self, method: str, path: str = "/api/worklist", body: Any = None, **headers: str
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, decoded body and headers."""
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        given = (JSON if body is not None else {}) | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        answer: Answer = self.get(path, method=method, body=raw, **given)
        is_json = answer.headers.get("content-type") == "application/json"
        return answer.status, json.loads(answer.body) if is_json else answer.body or None, answer.headers


def _node(root: pathlib.Path, token: pathlib.Path | None) -> Iterator[Node]:
    database = indexed.sqlite(root)
    denials: list[tuple[Any, ...]] = []
    desk = worklist.Desk(database)
    bent = Bent()
    sources = bent.sources()
    routes = api.routes(desk, token, lambda *what: denials.append(what))
    application = app.application(
        app.Sources(sources.checks, sources.metrics, sources.status, sources.failed, routes)
    )
    sock = socket.create_server(("127.0.0.1", 0))
    serving = server.serve(application, sock)
    thread = threading.Thread(target=serving.run)
    thread.start()
    node = Node(sock.getsockname()[1], bent, serving)
    node.desk, node.denials = desk, denials
    yield node
    serving.stop()
    thread.join(10)
    database.close()
    assert not thread.is_alive()
    assert not bent.failures


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Without a token; a server takes a moment to stop, so that all tests share it."""
    yield from _node(tmp_path_factory.mktemp("plain"), None)


@pytest.fixture(scope="module")
def holder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """With one."""
    root = tmp_path_factory.mktemp("guarded")
    for made in _node(root, root / "api.token"):
        made.token = root / "api.token"
        yield made


@pytest.fixture
def node(plain: Node) -> Node:
    """Without a token and without an entry."""
    return _empty(plain)


@pytest.fixture
def guarded(holder: Node) -> Node:
    """With a token and without an entry."""
    holder.token.write_text(TOKEN + "\n")
    return _empty(holder)


def _empty(node: Node) -> Node:
    rows, _ = node.desk.page(limit=100)
    for row, _ in rows:
        node.desk.remove(row.entry.name, by="test")
    node.denials.clear()
    return node


def _entry(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "PatientName": "Müller^Jörg",
        "PatientID": f"SYN-{number}",
        "ScheduledProcedureStepSequence": [
            {
                "Modality": "CT",
                "ScheduledProcedureStepStartDate": "20261121",
                "ScheduledProcedureStepStartTime": f"{8 + number:02}00",
                "ScheduledProcedureStepID": f"SPS-{number}",
            }
        ],
        **changes,
    }


def test_an_entry_from_its_addition_to_its_removal(node: Node) -> None:
    status, added, headers = node.ask("POST", body=_entry())
    assert status == 201
    place = headers["location"]
    assert place == f"/api/worklist/{added['id']}"
    assert added["entry"]["StudyInstanceUID"].startswith("2.25.")
    status, shown, _ = node.ask("GET", place)
    assert (status, shown["entry"], shown["performed"]) == (200, added["entry"], None)
    assert shown["changed_by"] == "api 127.0.0.1"

    changed = _entry(PatientName="Meier^Jörg")
    status, replaced, _ = node.ask("PUT", place, changed)
    assert (status, replaced["entry"]["PatientName"]) == (200, "Meier^Jörg")
    assert replaced["entry"]["StudyInstanceUID"] == added["entry"]["StudyInstanceUID"]  # it is the same study

    assert node.ask("DELETE", place)[:2] == (204, None)
    assert node.ask("GET", place)[0] == 404
    assert node.ask("DELETE", place)[0] == 404


def test_a_list_in_parts(node: Node) -> None:
    for number in (3, 1, 2):
        assert node.ask("PUT", f"/api/worklist/e-{number}", _entry(number))[0] == 201
    _, listed, _ = node.ask("GET", "/api/worklist?limit=2")
    assert (listed["total"], [one["id"] for one in listed["entries"]]) == (3, ["e-1", "e-2"])
    _, listed, _ = node.ask("GET", "/api/worklist?limit=2&offset=2")
    assert [one["id"] for one in listed["entries"]] == ["e-3"]


def test_a_list_says_how_far_the_work_is(node: Node) -> None:
    node.desk.put("e-1", _entry(StudyInstanceUID="1.2.99"), by="test")
    fields: Any = {
        "PerformedProcedureStepStatus": "IN PROGRESS",
        "Modality": "CT",
        "PerformedStationAETitle": "CT1",
        "ScheduledStepAttributesSequence": [
            {"StudyInstanceUID": "1.2.99", "ScheduledProcedureStepID": "SPS-1"}
        ],
    }
    with node.desk._database.write() as connection:
        steps.create(
            connection,
            "1.2.3.4",
            fields,
            calling="CT1",
            address="",
            now=indexed.START,
        )
    assert node.ask("GET")[1]["entries"][0]["performed"] == "IN PROGRESS"


def test_one_scheduled_step_is_on_the_list_once(node: Node) -> None:
    assert node.ask("PUT", "/api/worklist/a", _entry(StudyInstanceUID="1.2.3"))[0] == 201
    status, said, _ = node.ask("PUT", "/api/worklist/b", _entry(StudyInstanceUID="1.2.3"))
    assert status == 409
    assert "entry a is about step SPS-1" in said["error"]
    assert node.ask("POST", body=_entry(StudyInstanceUID="1.2.3"))[0] == 409
    assert node.ask("PUT", "/api/worklist/a", _entry(StudyInstanceUID="1.2.3"))[0] == 200


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 50_000, "no JSON"),
        (b"[]", "an entry is an object"),
        (b'{"a": NaN}', "'a' is no keyword"),
        (b"{}", "one scheduled step"),
        (_entry(PatientName=None), "needs PatientName"),
        (_entry(PatientName=7), "write numbers as text"),
        (_entry(PatientName=["x"]), "PatientName is no sequence"),
        (_entry(PatientName="\ud800"), "half a character"),
        (_entry(PatientID="x" * 65), "65 characters"),
        (_entry(PatientBirthDate="1.1.1970"), "no"),
        (_entry(StudyInstanceUID="../../etc/passwd"), "UID"),
        (_entry(SpecificCharacterSet="KLINGON"), "no character set"),
        (_entry(PixelData="00"), "bytes or a tag"),
        (_entry(ScheduledProcedureStepSequence=[{}, {}]), "one scheduled step"),
        (_entry(ScheduledProcedureStepSequence=[{"Modality": "CT"}]), "ScheduledProcedureStepStartDate"),
        (_entry(ScheduledProcedureStepSequence="CT"), "is a sequence"),
        (_entry(Nonsense="1"), "'Nonsense' is no keyword"),
        (_entry(**{"00020010": "1.2.840.10008.1.2"}), "not an element of a data set"),
        (_entry(AccessionNumber="1\n2"), "control characters"),
    ],
)
def test_what_is_no_entry_is_refused_with_the_reason(node: Node, body: Any, says: str) -> None:
    status, said, _ = node.ask("POST", body=body)
    assert status == 400, said
    assert says in said["error"]
    assert node.ask("GET")[1]["total"] == 0


def test_a_body_of_another_kind_is_refused(node: Node) -> None:
    body = json.dumps(_entry()).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/dicom+json", ""):
        assert node.get("/api/worklist", method="POST", body=body, Content_Type=kind).status == 415
    given = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert node.get("/api/worklist", method="POST", body=body, **given).status == 415
    latin = "application/json; charset=latin-1"
    assert node.get("/api/worklist", method="POST", body=body, Content_Type=latin).status == 415
    utf = "application/json; charset=utf-8"
    assert node.get("/api/worklist", method="POST", body=body, Content_Type=utf).status == 201


def test_a_body_that_is_too_large_is_not_taken(node: Node) -> None:
    large = json.dumps(_entry(PatientComments="x" * entries.LARGEST)).encode()
    assert node.ask("POST", body=large)[0] == 413
    head = "POST /api/worklist HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    announced = node.raw(f"{head}Content-Length: 999999999\r\n\r\n".encode())
    assert b" 413 " in announced.splitlines()[0]
    chunks = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    flowing = node.raw(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks * 5)
    assert b" 413 " in flowing.splitlines()[0]


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "%2e%2e",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "a%00b",
        "a%0ab",
        "-a",
        "a..b",
        "x" * 65,
        "%C3%A4",
        "'",
    ],
)
def test_a_name_that_none_can_have(node: Node, name: str) -> None:
    assert node.ask("GET", f"/api/worklist/{name}")[0] == 404
    assert node.ask("DELETE", f"/api/worklist/{name}")[0] == 404
    assert node.ask("PUT", f"/api/worklist/{name}", _entry())[0] in (400, 404)
    assert node.ask("GET")[1]["total"] == 0


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=-1", "limit=1e3", "limit=%D9%A1", "offset=99999999999", "page=1"],
)
def test_an_absurd_list_is_refused(node: Node, query: str) -> None:
    assert node.ask("GET", f"/api/worklist?{query}")[0] == 400


def test_other_methods_are_none(node: Node) -> None:
    assert node.get("/api/worklist", method="DELETE").status == 405
    assert node.get("/api/worklist/a", method="POST").status == 405
    assert node.get("/api/nothing").status == 404


# -- who may ----------------------------------------------------------------------------------------


def test_pages_of_other_sites_are_refused(node: Node) -> None:
    own = f"http://127.0.0.1:{node.port}"
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{node.port + 1}"},
        {"Origin": f"http://localhost:{node.port}"},  # not by the name that was asked for
        {"Origin": own, "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert node.ask("POST", body=_entry(), **headers)[0] == 403
        assert node.ask("GET", **headers)[0] == 403
    assert node.ask("POST", body=_entry(), Origin=own, Sec_Fetch_Site="same-origin")[0] == 201
    assert node.get("/api/worklist", Host="evil.example").status == 421


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
def test_behind_a_proxy_nobody_is_on_this_machine(node: Node, header: str) -> None:
    status, said, _ = node.ask("GET", **{header: "192.0.2.1"})
    assert status == 403
    assert "api_token_file" in said["error"]
    assert node.denials[0][:4] == ("127.0.0.1", "GET", "/api/worklist", 403)


@pytest.mark.parametrize(
    ("address", "passes"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_without_a_token_only_this_machine_is_served(address: str, passes: bool) -> None:
    scope = {"type": "http", "headers": [], "client": (address, 1), "server": ("127.0.0.1", 1)}
    if passes:
        assert guard.check(Request(scope), None) == f"api {address}"
        return
    with pytest.raises(guard.Denied) as denied:
        guard.check(Request(scope), None)
    assert denied.value.status == 403


def test_with_a_token_nobody_is_served_without_it(guarded: Node) -> None:
    for shown in (
        "",
        "Bearer",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer ä",
    ):
        given = {"Authorization": shown} if shown else {}
        for method in ("GET", "POST"):
            body = _entry() if method == "POST" else None
            status, said, headers = guarded.ask(method, body=body, **given)
            assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="dicom-node"')
            assert TOKEN not in json.dumps(said)
    assert guarded.ask("POST", body=_entry(), Authorization=f"Bearer {TOKEN}")[0] == 201
    assert guarded.ask("GET", Authorization=f"bearer {TOKEN}", X_Forwarded_For="192.0.2.1")[0] == 200
    assert guarded.ask("GET", Authorization=f"Bearer {TOKEN}", Origin="https://evil.example")[0] == 403
    assert all(TOKEN not in str(denial) for denial in guarded.denials)


def test_another_token_is_in_force_at_once_and_none_lets_nobody_in(guarded: Node) -> None:
    guarded.token.write_text("another-token-of-ours-0815")
    assert guarded.ask("GET", Authorization=f"Bearer {TOKEN}")[0] == 401
    assert guarded.ask("GET", Authorization="Bearer another-token-of-ours-0815")[0] == 200
    for bad in ("", "short", "two words are not a token"):
        guarded.token.write_text(bad)
        assert guarded.ask("GET", Authorization=f"Bearer {bad}")[0] == 503
    guarded.token.unlink()
    status, said, headers = guarded.ask("GET", Authorization=f"Bearer {TOKEN}")
    assert (status, headers["retry-after"]) == (503, "5")
    assert str(guarded.token) not in said["error"]


def test_a_request_that_is_cut_off_changes_nothing(node: Node) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=10)
    connection.putrequest("POST", "/api/worklist")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "500")
    connection.endheaders(json.dumps(_entry()).encode())
    connection.close()
    assert node.ask("GET")[1]["total"] == 0
