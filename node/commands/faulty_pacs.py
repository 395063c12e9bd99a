"""`faulty-pacs`: a peer that misbehaves on purpose, to try a configuration against."""

from __future__ import annotations

import pathlib
import signal
import threading
from typing import Annotated

import typer

from node.commands import targets

_WHICH = "3, 5-9, 5- or %2"


def _fault(metavar: str, text: str) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(metavar=metavar, help=text, show_default=False)
    return found


def faulty_pacs(
    port: Annotated[int, typer.Option(metavar="N", help="Its port; 0: a free one.")] = 11113,
    aet: Annotated[str, typer.Option(metavar="TITLE", help="Its AE title.")] = "FAULTY",
    host: Annotated[str, typer.Option(metavar="HOST", help="Its address.")] = "127.0.0.1",
    keep: Annotated[
        pathlib.Path | None,
        typer.Option(metavar="DIR", help="Write what it stores here.", show_default=False),
    ] = None,
    journal: Annotated[
        pathlib.Path | None,
        typer.Option(metavar="FILE", help="Write a line for each C-STORE here.", show_default=False),
    ] = None,
    sync: Annotated[bool, typer.Option("--sync", help="Files and lines survive a loss of power.")] = False,
    report_to: Annotated[
        str | None,
        typer.Option(
            metavar="AET@HOST:PORT",
            help="Report commitment there, by a call of its own.",
            show_default=False,
        ),
    ] = None,
    refuse: Annotated[
        list[str] | None, _fault("CLASS|SYNTAX", "Take no such SOP class or transfer syntax.")
    ] = None,
    status: Annotated[
        list[str] | None, _fault("CODE[@WHICH|%N]", f"Answer with this, as A700@3; WHICH is {_WHICH}.")
    ] = None,
    stall: Annotated[
        list[str] | None,
        _fault("WHERE[@WHICH|%N]", "Fall silent: associate, data, pdu (in mid-answer) or answer."),
    ] = None,
    drop_after_store: Annotated[
        list[str] | None, _fault("WHICH", "Store, then reset instead of answering.")
    ] = None,
    close_at: Annotated[list[str] | None, _fault("WHICH", "Close the connection without storing it.")] = None,
    abort_at: Annotated[list[str] | None, _fault("WHICH", "Abort without storing it.")] = None,
    forget: Annotated[list[str] | None, _fault("WHICH", "Answer with success, and throw it away.")] = None,
    reject: Annotated[
        list[str] | None, _fault("HOW[@WHICH|%N]", "Reject associations: transient or permanent.")
    ] = None,
    slow: Annotated[str, _fault("SECONDS|BYTES/s", "Wait before each answer, or read no faster.")] = "",
    commit: Annotated[
        str, _fault("HOW", "Storage commitment: honest, lie, never, late, fail or refuse.")
    ] = "honest",
    late: Annotated[float, _fault("SECONDS", "How late a late report is.")] = 30.0,
    known: Annotated[str, _fault("CODE", "Answer with this to what it has already.")] = "0000",
    limit: Annotated[int | None, _fault("N", "Take so many associations at once.")] = None,
    window: Annotated[int, _fault("N", "Grant a window of so many operations.")] = 16,
    chaos: Annotated[float, _fault("P", "How probable faults that pass are: 0 to 1.")] = 0.0,
    seed: Annotated[int, _fault("N", "Makes chaos the same again.")] = 0,
) -> None:
    """Run a PACS that misbehaves on purpose, and say what it does wrong.

    It stores what it says that it stores, and answers C-ECHO, C-STORE, C-FIND and storage commitment.
    C-STOREs are counted from its start; each fault may be given several times.

    Example: dicom-node faulty-pacs --status A700%2 --drop-after-store 137
    """
    from node import model
    from node.faulty import pacs as faulty
    from node.faulty import plan as faulty_plan

    plan = faulty_plan.plan(
        refuse=refuse or (),
        status=status or (),
        stall=stall or (),
        drop=drop_after_store or (),
        close=close_at or (),
        abort=abort_at or (),
        forget=forget or (),
        reject=reject or (),
        slow=slow,
        commit=commit,
        late=late,
        known=known,
        associations=limit,
        window=window,
        chaos=chaos,
        seed=seed,
    )
    peer = None if report_to is None else targets.peer(report_to, model.Settings())
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    running = faulty.Faulty(
        plan, aet=aet, host=host, port=port, keep=keep, journal=journal, sync=sync, report_to=peer, tell=_say
    )
    with running:
        _say(f"{aet} listens on {running.address[0]}:{running.address[1]}")
        done.wait()
    stored = len(running.stored)
    _say(f"{stored} instances stored, {len(running.journal)} C-STOREs, {len(running.faults)} faults")


def _say(words: str) -> None:
    print(words, flush=True)


def register(app: typer.Typer) -> None:
    """Put the command on the command line."""
    app.command("faulty-pacs")(faulty_pacs)
