"""What the demo shows while it runs: its steps, each with what became of it."""

from __future__ import annotations

import dataclasses
import enum
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from node import errors

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_REFRESH = 8  # a second


class Mark(enum.StrEnum):
    """How it stands with a step."""

    WAITING = "waiting"  # not begun
    RUNNING = "running"  # at work
    DONE = "done"  # it did what it should
    FAILED = "failed"  # it did not


_SIGNS = {Mark.WAITING: "·", Mark.RUNNING: "▸", Mark.DONE: "✓", Mark.FAILED: "✗"}
_STYLES = {Mark.WAITING: "dim", Mark.RUNNING: "bold cyan", Mark.DONE: "green", Mark.FAILED: "bold red"}


@dataclasses.dataclass(slots=True)
class Step:
    """One station of the journey."""

    title: str  # what happens
    mark: Mark = Mark.WAITING  # how it stands
    says: str = ""  # what is seen of it
    begun: float = 0.0  # monotonic seconds
    ended: float = 0.0  # monotonic seconds

    def seconds(self) -> float:
        """How long it took, or takes so far."""
        if self.mark is Mark.WAITING:
            return 0.0
        return (self.ended or time.monotonic()) - self.begun

    def line(self) -> str:
        """The step in one line, where nothing can be drawn."""
        return f"{_SIGNS[self.mark]} {self.title:<30} {self.seconds():5.1f} s  {self.says}"


class Journey:
    """The steps in order, shown live on a terminal, and as one line each elsewhere."""

    def __init__(self, titles: list[str], *, heading: str, live: bool) -> None:
        self.steps = [Step(title) for title in titles]
        self._heading = heading
        self._wants_live = live
        self._live: Live | None = None
        self._lock = threading.Lock()
        self._next = 0

    def __enter__(self) -> Self:
        if self._wants_live:
            from rich.live import Live

            self._live = Live(get_renderable=self._table, refresh_per_second=_REFRESH, transient=False)
            self._live.start()
        else:
            print(self._heading, flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    @contextmanager
    def step(self) -> Iterator[Step]:
        """Go through the next step; an error of ours marks it failed and goes on up."""
        step = self.steps[self._next]
        self._next += 1
        step.mark, step.begun = Mark.RUNNING, time.monotonic()
        try:
            yield step
        except BaseException as error:
            step.mark = Mark.FAILED
            # Anything else than our own errors goes on as it is; the line only says where it was.
            step.says = (
                str(error) if isinstance(error, errors.NodeError) else f"{type(error).__name__}: {error}"
            )
            raise
        else:
            step.mark = Mark.DONE
        finally:
            step.ended = time.monotonic()
            if self._live is None:
                print(step.line(), flush=True)

    def _table(self) -> Table:
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=self._heading, title_justify="left", title_style="bold", box=None, padding=(0, 1))
        table.add_column("", width=1)
        table.add_column("step", no_wrap=True, header_style="dim")
        table.add_column("time", justify="right", no_wrap=True, header_style="dim")
        table.add_column("what was seen", ratio=1, header_style="dim")
        for step in self.steps:
            style = _STYLES[step.mark]
            sign, title = f"[{style}]{_SIGNS[step.mark]}[/]", f"[{style}]{escape(step.title)}[/]"
            seconds = f"{step.seconds():.1f} s" if step.mark is not Mark.WAITING else ""
            table.add_row(sign, title, seconds, escape(step.says))
        return table
