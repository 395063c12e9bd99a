"""A DICOM destination of the queue: what is known of its peer keeps it from trying what must fail."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import itertools
from collections.abc import Callable, Iterator, Sequence

from node import model, orders
from node.dicom import transcode
from node.send import base, dimse, link, memory
from node.send import pace as pacing
from node.wire import association

Counting = Callable[[], contextlib.AbstractContextManager[Callable[[], int]]]


class Stored:
    """A transcoder for a destination that gets only what is stored, or what a step makes of it."""

    def __init__(self, transcoder: base.Transcoder) -> None:
        self._transcoder = transcoder

    def targets(self, item: base.Item) -> tuple[str, ...]:
        """Nothing is made into something else because the peer does not take it."""
        return ()

    def make(self, item: base.Item, syntax: str, loss: transcode.Loss | None = None) -> base.Item:
        """As the other one."""
        return self._transcoder.make(item, syntax, loss)

    def drop(self, made: base.Item) -> None:
        """As the other one."""
        self._transcoder.drop(made)


class Dicom:
    """Sends one consignment; what the peer shows of itself is remembered."""

    whole = False

    def __init__(
        self,
        destination: orders.Destination,
        peer: model.Peer,
        calling: str,
        secure: model.TlsSettings,
        *,
        memories: memory.Memories,
        pace: pacing.Pace,
        counting: Counting,
        pool: link.Pool | None = None,
        transcoder: base.Transcoder | None = None,
        priority: int = 0,
    ) -> None:
        self._name = destination.name
        self._peer = peer
        self._memories = memories
        self._counting = counting  # counts a send, and says how many others to the same peer there are
        self._fingerprint = memory.fingerprint(peer, calling)
        if transcoder is not None and not destination.transcode:
            transcoder = Stored(transcoder)
        self._transcoder = transcoder
        self._dimse = dimse.Dimse(
            peer,
            calling,
            secure,
            window=destination.window,
            priority=priority,
            transcoder=transcoder,
            pool=pool,
            pace=pace,
            met=self._met,
        )

    def describe(self) -> str:
        """Where this sends to, in words."""
        return self._dimse.describe()

    def cut(self, why: str) -> None:
        """From another thread: break the association off, whatever the peer is doing."""
        self._dimse.cut(why)

    def send(self, items: Sequence[base.Item] | base.Stream) -> Iterator[base.Result]:
        """As `dimse.Dimse`, but for what the peer refused before: that fails at once."""
        firsts = items.firsts if isinstance(items, base.Stream) else items
        hopeless = self._hopeless(firsts)
        if not hopeless:
            yield from self._send(items)
            return
        left_out: list[base.Result] = []
        passes = itertools.count()

        def each(all_: Iterator[base.Item]) -> Iterator[base.Item]:
            first = next(passes) == 0  # more than one association goes over all of them once more
            for item in all_:
                why = hopeless.get((item.sop_class, item.syntax))
                if why is None:
                    yield item
                elif first:
                    left_out.append(base.Result(item, base.Failed(why)))

        if not isinstance(items, base.Stream):
            left = list(each(iter(items)))
            yield from left_out
            if left:
                yield from self._send(left)
            return
        stream = items
        kept = [one for one in firsts if (one.sop_class, one.syntax) not in hopeless]
        if not kept:
            for _ in each(stream.each()):
                pass
            yield from left_out
            return
        for result in self._send(base.Stream(kept, lambda: each(stream.each()), stream.until)):
            yield result
            while left_out:
                yield left_out.pop()
        yield from left_out

    def _send(self, items: Sequence[base.Item] | base.Stream) -> Iterator[base.Result]:
        with self._counting() as others:
            told = False
            for result in self._dimse.send(items):
                outcome = result.outcome
                if not isinstance(outcome, base.Retry) or not outcome.crowded:
                    yield result
                    continue
                borne = others()
                if borne and not told:
                    self._crowded(borne)
                    told = True
                yield dataclasses.replace(result, outcome=dataclasses.replace(outcome, crowded=borne > 0))

    def _hopeless(self, firsts: Sequence[base.Item]) -> dict[memory.Pair, str]:
        """Why what is of these kinds need not be tried."""
        known = self._memories.read(self._name, self._fingerprint)
        if not known.refused:
            return {}
        now = datetime.datetime.now(datetime.UTC)
        found: dict[memory.Pair, str] = {}
        for kind in {(one.sop_class, one.syntax): one for one in firsts}.values():
            why = known.hopeless(kind.sop_class, memory.possible(kind, self._transcoder), now)
            if why:
                found[kind.sop_class, kind.syntax] = f"{self.describe()}: {why}"
        return found

    def _crowded(self, borne: int) -> None:
        self._memories.learn(self._name, self._fingerprint, lambda known, now: known.too_many(borne, now))

    def _met(self, opened: association.Association) -> None:
        if not self._memories.met(opened):
            self._memories.learn(self._name, self._fingerprint, lambda known, now: known.heard(opened, now))
