from __future__ import annotations

import datetime
import json

from node.web import status
from tests.unit.web.conftest import Running, a_status, refusing


def test_healthz_says_that_the_process_lives_even_when_it_is_not_ready(running: Running) -> None:
    running.bent.checks["disk"] = refusing("full")
    answer = running.get("/healthz")
    assert (answer.status, answer.text) == (200, "alive\n")


def test_readyz_tells_every_check(running: Running) -> None:
    running.bent.checks["database"] = lambda: "a row was written"
    answer = running.get("/readyz")
    said = json.loads(answer.body)
    assert answer.status == 200
    assert said["ready"] is True
    assert [(check["name"], check["says"]) for check in said["checks"]] == [
        ("disk", "80 GiB free"),
        ("database", "a row was written"),
    ]


def test_readyz_is_503_with_the_reason_when_one_check_fails(running: Running) -> None:
    running.bent.checks["database"] = refusing("disk I/O error")
    answer = running.get("/readyz")
    assert answer.status == 503
    assert json.loads(answer.body)["reasons"] == ["database: disk I/O error"]


def test_metrics_are_passed_on_with_the_type_that_prometheus_wants(running: Running) -> None:
    answer = running.get("/metrics")
    assert answer.body == running.bent.metrics
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_the_page_shows_the_node_and_escapes_what_is_foreign(running: Running) -> None:
    page = running.get("/").text
    assert "NODE" in page
    assert "12,345" in page
    assert "6.5 GB" in page
    assert "&lt;b&gt;X&lt;/b&gt;\\x0a" in page
    assert "<b>X" not in page


def test_the_page_says_what_is_wrong(running: Running) -> None:
    running.bent.checks["listener"] = refusing("nobody answers on port 11112")
    running.bent.now = a_status(held=None, notices=(status.Notice("two instances share a UID"),))
    page = running.get("/").text
    assert "not ready" in page
    assert "listener: nobody answers on port 11112" in page
    assert "two instances share a UID" in page
    assert "The index does not answer" in page


def test_the_page_shows_lanes_and_what_ended_lately(running: Running) -> None:
    before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=3)
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=3)
    running.bent.now = a_status(
        forwarding=status.Forwarding(
            lanes=(
                status.Lane("archive", "up", "", 0, None, 0, 0, None),
                status.Lane("research", "down", "nobody <there>", 12_345, before, 0, 7, later),
            ),
            last=(
                status.Delivery("archive", "1.2.3", "to-archive", "done", 300, 300, before),
                status.Delivery("archive", "1.2.4", "to-archive", "dead", 298, 300, before, "0xA900: no"),
            ),
            holds=(status.Delivery("archive", "1.2.5", "all", "held", 0, 9, before, "9 of 12 images"),),
            settled=status.Settled(41, 2, 0),
        )
    )
    page = running.get("/").text
    assert '<span class="bad">down</span>' in page
    assert "12,345" in page
    assert "nobody &lt;there&gt;; tried again <time" in page
    assert ">in 3 h</time>" in page
    assert "41 complete, 2 partial" in page
    assert page.index("9 of 12 images") < page.index("300 of 300") < page.index("0xA900: no")
    said = json.loads(running.get("/status.json").body)
    assert said["forwarding"]["lanes"][1]["dead"] == 7


def test_a_node_that_sends_nothing_on_does_not_speak_of_it(running: Running) -> None:
    running.bent.now = a_status(forwarding=status.Forwarding())
    assert "Forwarding" not in running.get("/").text


def test_the_numbers_are_there_for_programs(running: Running) -> None:
    said = json.loads(running.get("/status.json").body)
    assert said["held"]["instances"] == 12_345
    assert said["started"] == "2026-11-21T05:00:00+00:00"


def test_everything_the_page_needs_comes_from_the_node(running: Running) -> None:
    page = running.get("/")
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert running.get("/style.css").headers["content-type"].startswith("text/css")


def test_an_unknown_address_and_an_unknown_method_are_refused_plainly(running: Running) -> None:
    assert running.get("/etc/passwd").status == 404
    assert running.get("/", method="POST", body=b"x").status == 405
