"""C-ECHO and C-STORE to another DICOM application.

A data set goes as it stands in its file, or as its item's change makes it: between the changed bytes the
file's own ranges go out, and nothing is copied. What the peer does not take in the stored transfer syntax is
made into one that it takes, if there is a transcoder and there is such a one; else it fails with the reason.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from node import errors, model
from node.dicom import statuses
from node.send import base, link
from node.send import pace as pacing
from node.send import payload as payloads
from node.wire import association, command, contexts

WINDOW = 16  # requests that we offer to have under way at once; most peers grant one

# A peer that answers at once is waited for awake: to sleep and be woken would take as long as it does, and
# most grant no window that could hide it. Over a network that is slower than this, nobody stays awake.
_AT_ONCE = 300e-6  # seconds from a request to its answer
_AWAKE = 100e-6  # seconds
_LOOK = 0.25  # seconds between two looks whether to go on, while an instance waits for its turn

Pair = tuple[str, str]  # SOP Class UID, transfer syntax UID
Heard = Callable[[association.Message], None]
Met = Callable[[association.Association], None]


def _never() -> bool:
    return False


def echo(
    peer: model.Peer,
    settings: model.Settings,
    *,
    calling: str | None = None,
    timeouts: association.Timeouts | None = None,
) -> str:
    """Send one C-ECHO and say in a sentence how it went; raises PeerUnreachable or PeerRefused.

    `calling` is the AE title to call with, the node's unless it is given.
    """
    begun = time.monotonic()
    proposed = [contexts.Proposed(contexts.VERIFICATION, link.PLAIN)]
    called_by = calling or settings.node.aet
    with link.opened(peer, called_by, settings.tls, proposed, timeouts=timeouts) as opened:
        context = opened.find(contexts.VERIFICATION)
        if context is None:
            raise errors.PeerRefused(f"{link.where(peer)} took the association, but not Verification")
        asked = opened.next_id()
        opened.send(context, command.request(command.Field.C_ECHO, asked, sop_class=contexts.VERIFICATION))
        answer = link.response(opened, asked).command
    if answer.status != statuses.SUCCESS:
        text = statuses.text(answer.status, link.comment(answer))
        raise errors.PeerRefused(f"{link.where(peer)} answered the C-ECHO with {text}")
    return f"{link.where(peer)} answered in {(time.monotonic() - begun) * 1000:.0f} ms"


class Dimse:
    """A destination that takes C-STORE."""

    def __init__(
        self,
        peer: model.Peer,
        calling: str,
        secure: model.TlsSettings | None = None,
        *,
        window: int = WINDOW,
        timeouts: association.Timeouts | None = None,
        originator: tuple[str, int] | None = None,
        priority: int = 0,
        transcoder: base.Transcoder | None = None,
        pool: link.Pool | None = None,
        pace: pacing.Pace | None = None,
        met: Met | None = None,
    ) -> None:
        self._peer = peer
        self._calling = calling
        self._secure = secure or model.TlsSettings()
        self._window = window
        self._timeouts = timeouts
        self._originator = originator  # AE title and message id of the C-MOVE that this is done for
        self._priority = priority
        self._transcoder = transcoder
        self._pool = pool
        self._pace = pace
        self._met = met  # told of each association that was negotiated
        self._stopped = threading.Event()  # nothing more is waited for
        self._speaks: association.Association | None = None  # what is being sent over
        self._cut = ""  # why nothing more is sent, set by another thread

    def describe(self) -> str:
        """Where this sends to, in words."""
        return link.where(self._peer)

    def send(self, items: Sequence[base.Item] | base.Stream) -> Iterator[base.Result]:
        """Send each item once and yield its result, in order while the peer grants no window.

        Closed before its end, it waits for the answers to what is under way and releases the association.
        """
        until = items.until if isinstance(items, base.Stream) else _never
        for share, proposed in shares(items, self._transcoder):
            if until():
                return
            yield from self._send_share(share, proposed, until)

    def cut(self, why: str) -> None:
        """From another thread: break the association off, whatever the peer is doing."""
        self._cut = why
        self._stopped.set()
        opened = self._speaks
        if opened is not None:
            opened.cut(why)

    def _send_share(
        self,
        items: Iterable[base.Item],
        proposed: Sequence[contexts.Proposed],
        until: Callable[[], bool],
    ) -> Iterator[base.Result]:
        """Send what one association has contexts for."""
        left: Iterable[base.Item] = items
        fresh = False
        while True:
            turns = None if self._pace is None else _Turns(self._pace, self._stopped, until)
            talk = _Conversation(
                left, self._originator, self._priority, self._transcoder, until=until, turns=turns
            )
            before = answers = 0
            try:
                with self._opened(proposed, fresh=fresh) as opened:
                    self._speaks = opened
                    before, answers = opened.messages, 0
                    if self._met is not None:
                        self._met(opened)
                    if self._cut:
                        raise errors.PeerUnreachable(self._cut)
                    for result in talk.over(opened):
                        answers = opened.messages - before
                        yield result
            except errors.NodeError as error:
                if before and not answers and not fresh and not self._cut:
                    # It had been open for some time, and the peer has left it just now: nothing is amiss.
                    left, fresh = talk.left(), True
                    continue
                outcome = link.outcome(error)
                # What was sent and not answered may be there: its next attempt finds out.
                for one in talk.sent.values():
                    yield base.Result(one.item, outcome, seconds=time.monotonic() - one.begun, lane=True)
                for item in talk.waiting:
                    yield base.Result(item, outcome, lane=True)
            finally:
                self._speaks = None
            return

    def _opened(
        self, proposed: Sequence[contexts.Proposed], *, fresh: bool
    ) -> contextlib.AbstractContextManager[association.Association]:
        who = (self._peer, self._calling, self._secure, proposed)
        if self._pool is None:
            return link.opened(*who, window=self._window, timeouts=self._timeouts)
        return self._pool.opened(*who, window=self._window, timeouts=self._timeouts, fresh=fresh)


def converse(
    opened: association.Association,
    items: Iterable[base.Item],
    *,
    originator: tuple[str, int] | None = None,
    priority: int = 0,
    transcoder: base.Transcoder | None = None,
    heard: Heard | None = None,
    until: Callable[[], bool] = _never,
) -> Iterator[base.Result]:
    """Send each item over an association that is open, and yield its result; no more once `until` is true.

    `heard` gets the messages that are no answers, such as a C-CANCEL; without it they are thrown away.
    Raises PeerUnreachable when the association ends: the items without a result are then not known to be
    there. Closed before its end, it waits for the answers to what is under way.
    """
    return _Conversation(items, originator, priority, transcoder, heard, until).over(opened)


class _Conversation:
    """C-STOREs over one association: what is still to go, and what is under way."""

    def __init__(
        self,
        items: Iterable[base.Item],
        originator: tuple[str, int] | None = None,
        priority: int = 0,
        transcoder: base.Transcoder | None = None,
        heard: Heard | None = None,
        until: Callable[[], bool] = _never,
        turns: _Turns | None = None,
    ) -> None:
        self.waiting = iter(items)
        self.sent: dict[int, _Sent] = {}
        self._originator = originator
        self._priority = priority
        self._transcoder = transcoder
        self._heard = heard
        self._until = until
        self._turns = turns

    def left(self) -> Iterator[base.Item]:
        """What has no answer, in order."""
        return itertools.chain([one.item for one in self.sent.values()], self.waiting)

    def over(self, opened: association.Association) -> Iterator[base.Result]:
        """Send and take answers; while one is waited for, the next item is read."""
        accepted = {
            (context.abstract, context.transfer): context
            for context in opened.contexts.values()
            if context.scu
        }
        sent, window = self.sent, opened.window
        buffer = bytearray()
        ready: _Ready | base.Outcome | None = None
        turns = self._turns
        try:
            if turns is not None:
                turns.begin(opened)
            for item in self.waiting:
                # What went before lies with the kernel: the buffer is free.
                ready = self._ready(opened, accepted, item, item, buffer)
                answers: list[_Answer] = []
                try:
                    # With a wider window, what has come already is heard too: it need not be sent again.
                    while sent and (len(sent) >= window or not opened.quiet()):
                        answers.append(self._answer(opened))
                    if isinstance(ready, _Ready):
                        if turns is not None and (seconds := turns.instance()):
                            while sent:
                                answers.append(self._answer(opened))
                            told, answers = answers, []
                            for answer in told:
                                yield answer.result()
                            if turns.stopped(seconds):
                                break
                        if self._until():
                            break
                        self._send(opened, ready)
                        ready = None
                finally:
                    # Told while the peer is at work; and what was answered stays so, whatever came then.
                    for answer in answers:
                        yield answer.result()
                if ready is not None:
                    yield base.Result(item, ready)
                    ready = None
            while sent:
                yield self._answer(opened).result()
        except GeneratorExit:
            # Nobody is left to be told how it went.
            with contextlib.suppress(errors.NodeError):
                while sent:
                    self._answer(opened)
            raise
        finally:
            opened.stay_awake(0.0)
            if turns is not None:
                turns.end(opened)
            if ready is not None:  # it broke off before this one's turn
                if isinstance(ready, _Ready):
                    ready.close()
                if all(one.item is not item for one in sent.values()):
                    self.waiting = itertools.chain([item], self.waiting)

    def _ready(
        self,
        opened: association.Association,
        accepted: dict[Pair, contexts.Context],
        item: base.Item,
        known: base.Item,
        buffer: bytearray,
    ) -> _Ready | base.Outcome:
        """The item read, in a syntax that is taken; or why it cannot go. Results tell of the item `known`."""
        notes: tuple[str, ...] = ()
        if item.wanted is not None:
            found = self._wanted(opened, accepted, item, item.wanted, buffer)
            if not isinstance(found, str):
                return found
            notes, item = (found,), dataclasses.replace(item, wanted=None)
        context = accepted.get((item.sop_class, item.syntax))
        if context is None:
            return self._transcoded(opened, accepted, item, buffer)
        try:
            payload = payloads.read(item, buffer)
        except (OSError, errors.NodeError) as error:
            return base.Failed(payloads.unreadable(known, error))
        number = opened.next_id()
        request = command.store(number, item.sop_class, item.sop_instance, self._priority, self._originator)
        return _Ready(known, item, context, payload, number, request, notes)

    def _wanted(
        self,
        opened: association.Association,
        accepted: dict[Pair, contexts.Context],
        item: base.Item,
        wanted: base.Wanted,
        buffer: bytearray,
    ) -> _Ready | base.Outcome | str:
        """The item in the transfer syntax that it is to go in; or why it goes as it is stored."""
        if self._transcoder is None or (item.sop_class, wanted.syntax) not in accepted:
            return f"sent as stored: {_who(opened)} does not take it in {_named(wanted.syntax)}"
        try:
            made = payloads.made(item, wanted, self._transcoder)
        except errors.Transient as error:
            return base.Retry(f"{item.path} cannot be made into {_named(wanted.syntax)}: {error}")
        except errors.NodeError as error:
            return f"sent as stored: it cannot be made into {_named(wanted.syntax)}: {error}"
        try:
            return self._ready(opened, accepted, made, item, buffer)
        finally:
            self._transcoder.drop(made)

    def _transcoded(
        self,
        opened: association.Association,
        accepted: dict[Pair, contexts.Context],
        item: base.Item,
        buffer: bytearray,
    ) -> _Ready | base.Outcome:
        transcoder = self._transcoder
        targets = transcoder.targets(item) if transcoder is not None else ()
        syntax = next((uid for uid in targets if (item.sop_class, uid) in accepted), None)
        if transcoder is None or syntax is None:
            why = _not_taken(opened, accepted, item)
            return base.Failed(why if targets or transcoder is None else f"{why}; nothing here transcodes it")
        try:
            made = transcoder.make(item, syntax)
        except errors.Transient as error:
            return base.Retry(_not_made(item, syntax, error))
        except errors.NodeError as error:
            return base.Failed(_not_made(item, syntax, error))
        try:
            # The bytes are read, or mapped, so that the file itself is not needed any more.
            return self._ready(opened, accepted, made, item, buffer)
        finally:
            transcoder.drop(made)

    def _send(self, opened: association.Association, ready: _Ready) -> None:
        """Send what is ready."""
        payload = ready.payload
        self.sent[ready.number] = _Sent(ready, time.monotonic())
        try:
            opened.send(ready.context, ready.request, payload.parts)
        finally:
            payload.close()

    def _answer(self, opened: association.Association) -> _Answer:
        """Wait for the next answer to anything that is under way."""
        while True:
            received = opened.receive()
            if isinstance(received, association.Abort):
                raise errors.PeerUnreachable("the peer aborted the association")
            if isinstance(received, association.Release):
                opened.release()
                raise errors.PeerUnreachable("the peer released the association instead of answering")
            answer = received.command
            if not answer.is_response:
                if self._heard is not None:
                    self._heard(received)
                received.drain()
                continue
            received.drain()
            one = self.sent.pop(answer.responded_to, None)
            if one is None:
                continue
            came = time.monotonic()
            opened.stay_awake(_AWAKE if came - one.begun < _AT_ONCE else 0.0)
            return _Answer(one, answer, came)


class _Answer:
    """What the peer said of an item."""

    __slots__ = ("_came", "_said", "_sent")

    def __init__(self, sent: _Sent, said: command.Command, came: float) -> None:
        self._sent = sent
        self._said = said
        self._came = came  # monotonic seconds

    def result(self) -> base.Result:
        """What became of the item."""
        one, said = self._sent, self._said
        return base.Result(
            one.item,
            judge(said.status, link.comment(said) if said.status else ""),
            syntax=one.syntax,
            size=one.size,
            seconds=self._came - one.begun,
            notes=one.notes,
        )


class _Ready:
    """An item that can be sent at once."""

    __slots__ = ("context", "item", "known", "notes", "number", "payload", "request")

    def __init__(
        self,
        known: base.Item,
        item: base.Item,
        context: contexts.Context,
        payload: payloads.Payload,
        number: int,
        request: bytes,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.known = known  # what its result tells of
        self.item = item  # as it is sent: the same, or transcoded
        self.context = context
        self.payload = payload
        self.number = number  # message id of its request
        self.request = request  # the command set
        self.notes = (*notes, *payload.notes)

    def close(self) -> None:
        """Let go of its bytes."""
        self.payload.close()


class _Sent:
    """An item that is under way."""

    __slots__ = ("begun", "item", "notes", "size", "syntax")

    def __init__(self, ready: _Ready, begun: float) -> None:
        self.item = ready.known
        self.syntax = ready.item.syntax
        self.begun = begun
        self.size = ready.payload.size
        self.notes = ready.notes


class _Turns:
    """Keeps one association to the pace of its destination."""

    __slots__ = ("_most", "_pace", "_stopped", "_until")

    def __init__(self, pace: pacing.Pace, stopped: threading.Event, until: Callable[[], bool]) -> None:
        self._pace = pace
        self._stopped = stopped
        self._until = until
        self._most = 0

    def begin(self, opened: association.Association) -> None:
        """Have what is sent over it go evenly."""
        self._most = opened.max_out
        if (piece := self._pace.piece()) is not None:
            opened.max_out = min(opened.max_out, piece)
            opened.pace = self._bytes

    def end(self, opened: association.Association) -> None:
        """Leave it as it was for its next user."""
        opened.max_out, opened.pace = self._most, None

    def instance(self) -> float:
        """Take the next turn for an instance; the seconds until it comes."""
        return self._pace.instance()

    def stopped(self, seconds: float) -> bool:
        """Wait so long; whether nothing more is to be sent."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._stopped.wait(min(left, _LOOK)) or self._until():
                return True
        return False

    def _bytes(self, count: int) -> None:
        # What has begun goes on to its end, but for who breaks it off.
        if self._stopped.wait(self._pace.bytes(count)):
            raise errors.PeerUnreachable("it was broken off while it waited for its turn")


def _who(opened: association.Association) -> str:
    facts = opened.facts
    if facts.peer is not None and not facts.inbound:
        return link.where(facts.peer)
    return f"{facts.calling if facts.inbound else facts.called} ({facts.address})"


def _named(syntax: str) -> str:
    return contexts.TRANSFER_SYNTAXES.get(syntax, syntax)


def _not_taken(
    opened: association.Association, accepted: dict[Pair, contexts.Context], item: base.Item
) -> str:
    said = f"{_who(opened)} does not take SOP class {item.sop_class} in {_named(item.syntax)}"
    taken = sorted(_named(syntax) for sop_class, syntax in accepted if sop_class == item.sop_class)
    return f"{said}, only in {', '.join(taken)}" if taken else said


def _not_made(item: base.Item, syntax: str, error: errors.NodeError) -> str:
    return f"{item.path} cannot be made into {_named(syntax)}, which the peer takes: {error}"


def pairs(items: Sequence[base.Item]) -> list[Pair]:
    """Each SOP class and transfer syntax that occurs, in the order in which they do."""
    return list(dict.fromkeys((item.sop_class, item.syntax) for item in items))


def shares(
    items: Sequence[base.Item] | base.Stream, transcoder: base.Transcoder | None = None
) -> Iterator[tuple[Iterable[base.Item], list[contexts.Proposed]]]:
    """The items by association, and what to propose for them: no share needs more contexts than one has.

    Each stored transfer syntax has a context of its own, so that the peer says yes or no to it.
    """
    firsts: dict[Pair, base.Item] = {}
    for item in items.firsts if isinstance(items, base.Stream) else items:
        firsts.setdefault((item.sop_class, item.syntax), item)
    share: dict[Pair, contexts.Proposed] = {}
    more: dict[contexts.Proposed, None] = {}
    for pair, item in firsts.items():
        stored = contexts.Proposed(item.sop_class, (item.syntax,))
        others = dict.fromkeys(_others(item, transcoder))
        if len({*share.values(), stored, *more, *others}) > contexts.MOST:
            yield _share(items, share, more, whole=False)
            share, more = {}, {}
        share[pair] = stored
        more |= others
    if share:
        yield _share(items, share, more, whole=len(share) == len(firsts))


def _share(
    items: Sequence[base.Item] | base.Stream,
    share: dict[Pair, contexts.Proposed],
    more: Iterable[contexts.Proposed],
    *,
    whole: bool,
) -> tuple[Iterable[base.Item], list[contexts.Proposed]]:
    chosen: Iterable[base.Item]
    if not isinstance(items, base.Stream):
        chosen = items if whole else [one for one in items if (one.sop_class, one.syntax) in share]
    elif whole:
        chosen = items.each()
    else:
        chosen = (one for one in items.each() if (one.sop_class, one.syntax) in share)
    return chosen, list(dict.fromkeys([*share.values(), *more]))


def _others(item: base.Item, transcoder: base.Transcoder | None) -> Iterator[contexts.Proposed]:
    """What it is to be made into; what it can be made into without compressing it, and by compressing it."""
    if transcoder is None:
        return
    if item.wanted is not None:
        yield contexts.Proposed(item.sop_class, (item.wanted.syntax,))
    targets = transcoder.targets(item)
    for group in (
        tuple(uid for uid in targets if uid in contexts.PLAIN),
        tuple(uid for uid in targets if uid not in contexts.PLAIN),
    ):
        if group:
            yield contexts.Proposed(item.sop_class, group)


def judge(status: int, comment: str = "") -> base.Outcome:
    """What a C-STORE's status makes of an attempt."""
    match statuses.classify(status):
        case statuses.Kind.SUCCESS:
            return base.Done(status)
        case statuses.Kind.WARNING:
            return base.Done(status, statuses.text(status, comment))
        case statuses.Kind.RETRY:
            return base.Retry(statuses.text(status, comment), status)
        case statuses.Kind.PERMANENT:
            return base.Failed(statuses.text(status, comment), status)
