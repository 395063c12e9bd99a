"""The status page: what this node is, whether it is well, what it did last. No script, no foreign asset."""

from __future__ import annotations

import dataclasses
import datetime
import html
import json
from collections.abc import Iterable, Sequence

from node.web import readiness, status

REFRESH = 10  # seconds until the browser asks again

_OUTCOMES = {"done": "good", "dead": "bad", "held": "held"}  # classes of the style sheet


def render(now: status.Status, findings: Sequence[readiness.Finding]) -> str:
    """Return the page; every text from outside is escaped here."""
    fit = all(finding.ok for finding in findings)
    return (
        "<!doctype html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="{REFRESH}">'
        f"<title>{_text(now.aet)} - {'ready' if fit else 'not ready'}</title>"
        '<link rel="stylesheet" href="style.css">'
        f"</head><body>{_header(now, fit)}<main>"
        f"{_notices(now, findings)}{_held(now)}"
        f'<div class="pair">{_disk(now.disk)}{_journal(now.journal)}</div>'
        f"{_forwarding(now.forwarding)}{_associations(now)}"
        f'<div class="pair">{_children(now)}{_checks(findings)}</div>'
        f"</main>{_footer(now)}</body></html>\n"
    )


def as_json(now: status.Status) -> bytes:
    """Return the same numbers for programs."""
    return json.dumps(dataclasses.asdict(now), default=_plain, indent=1).encode()


def _plain(value: object) -> str:
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no form in JSON")


# -- sections -----------------------------------------------------------------------------------


def _header(now: status.Status, fit: bool) -> str:
    places = "".join(
        f"<li><span>{_text(place.what)}</span> <code>{_text(place.where)}</code></li>"
        for place in now.listening
    )
    pill = '<b class="pill good">ready</b>' if fit else '<b class="pill bad">not ready</b>'
    return f'<header><h1>{_text(now.aet)} {pill}</h1><ul class="places">{places}</ul></header>'


def _notices(now: status.Status, findings: Iterable[readiness.Finding]) -> str:
    lines = [(f"{finding.name}: {finding.says}", True) for finding in findings if not finding.ok]
    lines += [(notice.what, notice.bad) for notice in now.notices]
    items = "".join(f'<li class="{"bad" if bad else "note"}">{_text(what)}</li>' for what, bad in lines)
    return f'<ul class="notices">{items}</ul>' if items else ""


def _held(now: status.Status) -> str:
    if now.held is None:
        return '<section><p class="empty">The index does not answer; nothing can be counted.</p></section>'
    held = now.held
    numbers = (
        ("patients", f"{held.patients:,}"),
        ("studies", f"{held.studies:,}"),
        ("series", f"{held.series:,}"),
        ("instances", f"{held.instances:,}"),
        ("held", size(held.bytes)),
    )
    cards = "".join(f"<div><strong>{value}</strong><span>{name}</span></div>" for name, value in numbers)
    return f'<section class="numbers">{cards}</section>'


def _disk(disk: status.Disk) -> str:
    used = disk.total - disk.free
    low = disk.free < disk.watermark
    return (
        f"<section><h2>Disk</h2>{_meter(used, disk.total, disk.total - disk.watermark)}"
        f"<p>{size(disk.free)} of {size(disk.total)} free; {size(disk.watermark)} must stay"
        f"{', so senders are being refused' if low else ''}.</p>"
        f"<p><code>{_text(disk.path)}</code></p></section>"
    )


def _journal(journal: status.Journal) -> str:
    text = (
        f"{size(journal.waiting)} acknowledged and not filed yet"
        if journal.waiting
        else "Everything that was acknowledged is filed and indexed"
    )
    degraded = " A sync failed: part of the journal is out of use." if journal.degraded else ""
    return (
        f"<section><h2>Journal</h2>{_meter(journal.waiting, journal.capacity, journal.capacity * 3 // 4)}"
        f"<p>{text}; there is room for {size(journal.capacity)}.{degraded}</p></section>"
    )


def _forwarding(now: status.Forwarding | None) -> str:
    if now is None or not (now.lanes or now.last):
        # A node without destinations has nothing to say of them.
        return ""
    rows = [
        (
            _text(lane.name),
            _lane_state(lane),
            f"{lane.waiting:,}",
            _age(lane.oldest) if lane.oldest else "-",
            f'<span class="bad">{lane.dead:,}</span>' if lane.dead else "0",
            _lane_words(lane),
        )
        for lane in now.lanes
    ]
    titles = ("destination", "lane", "waiting", "oldest", "given up", "next")
    return (
        f'<section class="words"><h2>Forwarding <small>{_settled(now.settled)}</small></h2>'
        f"{_table(titles, rows, 'No destination is configured.')}</section>{_last(now)}"
    )


def _lane_state(lane: status.Lane) -> str:
    good = {"up": "good", "down": "bad"}.get(lane.state, "held")
    return f'<span class="{good}">{_text(lane.state)}</span>'


def _lane_words(lane: status.Lane) -> str:
    said = [lane.reason] if lane.reason else []
    if lane.held:
        said.append(f"{lane.held:,} held")
    words = _text("; ".join(said))
    if lane.state == "down" and lane.next is not None:
        words += f"{'; ' if words else ''}tried again {_until(lane.next)}"
    return words or ("delivered as it comes" if lane.state == "up" else "-")


def _settled(settled: status.Settled) -> str:
    counts = ((settled.complete, "complete"), (settled.partial, "partial"))
    words = [
        f"{count:,} {what}" for count, what in (*counts, (settled.inconsistent, "inconsistent")) if count
    ]
    if not words:
        return "no series settled within the last hour"
    return f"settled within the last hour: {', '.join(words)}{' and more' if settled.more else ''}"


def _last(now: status.Forwarding) -> str:
    held = [(one, "held") for one in now.holds]
    rows = [
        (
            _text(one.destination),
            f'<span class="{_OUTCOMES.get(state, "soft")}">{_text(state)}</span>',
            f"{one.done:,} of {one.total:,}",
            _ago(one.changed),
            f"<code>{_text(one.series)}</code>" + (f"<p>{_text(one.error)}</p>" if one.error else ""),
        )
        for one, state in held + [(one, one.state) for one in now.last]
    ]
    if not rows:
        return ""
    table = _table(("destination", "outcome", "instances", "when", "series"), rows, "")
    heading = "<h2>Last deliveries <small>dicom-node why UID tells all</small></h2>"
    return f'<section class="words">{heading}{table}</section>'


def _associations(now: status.Status) -> str:
    rows = [
        (
            _text(line.peer),
            f"<code>{_text(line.address)}</code>",
            _ago(line.ended),
            span(line.seconds),
            f"{line.instances:,}",
            f'<span class="{"good" if line.good else "bad"}">{_text(line.outcome)}</span>',
        )
        for line in now.associations
    ]
    table = _table(("peer", "from", "ended", "lasted", "instances", "outcome"), rows, "Nobody called yet.")
    count = f"{now.open_associations:,} open now" if now.open_associations else "none open now"
    return f"<section><h2>Last associations <small>{count}</small></h2>{table}</section>"


def _children(now: status.Status) -> str:
    rows = [
        (
            _text(child.name),
            str(child.pid or "-"),
            '<span class="good">runs</span>' if child.ready else '<span class="bad">starts</span>',
            str(child.restarts),
        )
        for child in now.children
    ]
    table = _table(("process", "pid", "state", "restarts"), rows, "No process says that it runs.")
    return f"<section><h2>Processes</h2>{table}</section>"


def _checks(findings: Iterable[readiness.Finding]) -> str:
    rows = [
        (
            _text(finding.name),
            f'<span class="{"good" if finding.ok else "bad"}">{_text(finding.says)}</span>',
        )
        for finding in findings
    ]
    return (
        f"<section><h2>Checks</h2>{_table(('check', 'says'), rows, 'There is nothing to check.')}</section>"
    )


def _footer(now: status.Status) -> str:
    up = span((datetime.datetime.now(datetime.UTC) - now.started).total_seconds())
    links = "".join(
        f'<a href="{path}">{path}</a>' for path in ("healthz", "readyz", "metrics", "status.json")
    )
    return f"<footer><span>dicom-node {_text(now.version)}, up {up}</span><nav>{links}</nav></footer>"


# -- pieces -------------------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], empty: str) -> str:
    if not rows:
        return f'<p class="empty">{empty}</p>'
    titles = "".join(f"<th>{title}</th>" for title in head)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{lines}</tbody></table></div>'


def _meter(value: int, limit: int, high: int) -> str:
    most = max(limit, 1)
    return (
        f'<meter min="0" max="{most}" low="{max(high, 0)}" high="{most}" optimum="0" value="{value}"></meter>'
    )


def _ago(moment: datetime.datetime) -> str:
    return _moment(moment, f"{span(-_from_now(moment))} ago")


def _age(moment: datetime.datetime) -> str:
    return _moment(moment, span(-_from_now(moment)))


def _until(moment: datetime.datetime) -> str:
    seconds = _from_now(moment)
    return _moment(moment, f"in {span(seconds)}" if seconds > 0 else "now")


def _from_now(moment: datetime.datetime) -> float:
    return (moment - datetime.datetime.now(datetime.UTC)).total_seconds()


def _moment(moment: datetime.datetime, words: str) -> str:
    exact = f'datetime="{moment.isoformat()}" title="{moment:%Y-%m-%d %H:%M:%S} UTC"'
    return f"<time {exact}>{words}</time>"


def _text(value: str) -> str:
    # Control characters are made visible: a title that reorders or hides text would mislead a reader.
    return html.escape("".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in value))


def size(count: int) -> str:
    """Say a number of bytes as people do."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit in ("B", "kB") or value >= 100 else f"{value:.1f} {unit}"


def span(seconds: float) -> str:
    """Say a duration as people do."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    for limit, unit, per in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / per:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"
