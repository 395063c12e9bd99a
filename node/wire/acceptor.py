"""Takes associations: an accept loop, and a thread per connection that negotiates and hands out messages."""

from __future__ import annotations

import dataclasses
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from node import model
from node.wire import association as assoc
from node.wire import buffers, command, contexts, faults, opening, pdu, policy, stream, tls
from node.wire import slots as slots_

STACK = 512 << 10  # bytes of address space per thread; only what is touched becomes memory
IDLE_AT_DRAIN = 2.0  # seconds of silence after which an association need not be waited for
_LINGER = 1.0  # seconds that a peer has to read our refusal
_BACKLOG = 32  # connections taken at one wake-up

Handler = Callable[[assoc.Association, assoc.Message], None]
Admit = Callable[[policy.Call], policy.Admission | pdu.Rejection]

UNRECOGNIZED_OPERATION = 0x0211  # DIMSE status (PS3.7 annex C)
NOT_AUTHORIZED = 0x0124  # DIMSE status

RIGHTS: Mapping[int, model.Right] = {
    command.Field.C_ECHO: model.Right.ECHO,
    command.Field.C_STORE: model.Right.STORE,
    command.Field.C_FIND: model.Right.FIND,
    command.Field.C_MOVE: model.Right.RETRIEVE,
    command.Field.C_GET: model.Right.RETRIEVE,
    command.Field.N_ACTION: model.Right.COMMIT,
    command.Field.N_CREATE: model.Right.STEPS,
    command.Field.N_SET: model.Right.STEPS,
    command.Field.N_GET: model.Right.STEPS,
}

_CONGESTED = pdu.Rejection(2, 3, 1, "there is no room for more instances")
_TOO_MANY = pdu.Rejection(2, 3, 2, "there are as many associations as the limits allow")


class Events(Protocol):
    """What the owner of an acceptor wants to hear; called from the association's thread."""

    def opened(self, association: assoc.Association) -> None: ...

    def rejected(self, facts: assoc.Facts, rejection: pdu.Rejection) -> None: ...

    def closed(self, association: assoc.Association) -> None:
        """It was released."""

    def aborted(self, association: assoc.Association, fault: faults.AssociationLost) -> None:
        """It ended in another way; the fault says how and by whom."""

    def dropped(self, facts: assoc.Facts, why: str) -> None:
        """A connection ended before it was an association."""

    def unauthorized(self, association: assoc.Association, field: int, right: model.Right) -> None:
        """A request was refused because the peer may not ask for it."""

    def crashed(self, facts: assoc.Facts, error: BaseException) -> None:
        """A handler raised what it should not: a bug."""


@dataclasses.dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket on which associations come."""

    sock: socket.socket  # listening
    tls: tls.Reloading | None = None  # None: plain


class _Connection:
    """What the acceptor knows of one connection."""

    __slots__ = ("association", "begun", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock: socket.socket | None = sock  # until its thread has made a stream of it
        self.association: assoc.Association | None = None
        self.begun = time.monotonic()


class _Place:
    """A slot that is given back once, before the peer hears that it is done: it may call again at once."""

    def __init__(self, slots: slots_.Slots, slot: slots_.Slot) -> None:
        self._slots = slots
        self._slot: slots_.Slot | None = slot

    def give(self) -> None:
        """Give it back, unless that was done."""
        slot, self._slot = self._slot, None
        if slot is not None:
            self._slots.give(slot)


class Acceptor:
    """Listens until it is drained. `admit`, `limits` and `handlers` may be replaced while it runs.

    The maximum PDU length stays what it was at the start: every buffer has its size.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        admit: Admit,
        handlers: Mapping[int, Handler],
        limits: model.Limits,
        events: Events,
        *,
        slots: slots_.Slots | None = None,
        congested: Callable[[], bool] = lambda: False,
    ) -> None:
        self.admit = admit
        self.handlers = handlers
        self.limits = limits
        self._listeners = tuple(listeners)
        self._events = events
        self._slots = slots or slots_.Slots()
        self._congested = congested
        self._buffers = buffers.Buffers(limits.pdu)
        self._max_pdu = limits.pdu
        self._running: dict[_Connection, None] = {}  # in the order they came
        self._changed = threading.Condition()
        self._draining = threading.Event()  # requests are rejected from now on
        self._drained = threading.Event()  # nothing is accepted any more
        self._wake, self._waker = socket.socketpair()

    # -- the accept loop ------------------------------------------------------------------------

    def serve(self) -> None:
        """Accept until drain() has ended; the listening sockets stay open for other processes."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ, None)
            for listener in self._listeners:
                listener.sock.setblocking(False)
                selector.register(listener.sock, selectors.EVENT_READ, listener)
            while not self._drained.is_set():
                for key, _ in selector.select():
                    if key.data is not None:
                        self._accept(key.data)

    def _accept(self, listener: Listener) -> None:
        for _ in range(_BACKLOG):
            try:
                sock, address = listener.sock.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # it went away while it waited
            except OSError as error:
                # No descriptors or no memory: wait for some to come back instead of spinning.
                facts = assoc.Facts("", "", 0)
                self._events.dropped(facts, f"no connection can be taken ({error.strerror})")
                self._drained.wait(0.1)
                return
            self._start(sock, address, listener)

    def _start(self, sock: socket.socket, address: tuple[str, int], listener: Listener) -> None:
        connection = _Connection(sock)
        with self._changed:
            self._running[connection] = None
            waiting = [other for other in self._running if other.association is None]
        if len(waiting) > max(64, self.limits.associations):
            # Silent connections must not lock out the rest: the one that has said nothing longest goes.
            self._cut(waiting[0])
        facts = assoc.Facts(secrets.token_hex(8), address[0], address[1], secure=listener.tls is not None)
        before = threading.stack_size(STACK)
        try:
            threading.Thread(
                target=self._run, args=(connection, facts, listener), name=facts.id, daemon=True
            ).start()
        except RuntimeError:
            self._events.dropped(facts, "no thread can be started for it")
            sock.close()
            self._forget(connection)
        finally:
            threading.stack_size(before)

    @staticmethod
    def _cut(connection: _Connection) -> None:
        sock = connection.sock
        if sock is not None:
            stream.shutdown(sock, socket.SHUT_RDWR)

    def _forget(self, connection: _Connection) -> None:
        with self._changed:
            self._running.pop(connection, None)
            self._changed.notify_all()

    # -- one connection -------------------------------------------------------------------------

    def _run(self, connection: _Connection, facts: assoc.Facts, listener: Listener) -> None:
        """The life of one connection; the edge where nothing more can be raised to."""
        sock = connection.sock
        assert sock is not None
        try:
            self._connection(connection, sock, facts, listener)
        except Exception as error:  # noqa: BLE001
            self._events.crashed(facts, error)
            if connection.association is not None:
                connection.association.abort(why="an error of ours")
        finally:
            # Under TLS the accepted socket is an empty shell, and the connection's is the one to close.
            left, connection.sock = connection.sock, None
            for one in (left, sock):
                if one is not None:
                    one.close()
            self._forget(connection)

    def _connection(
        self, connection: _Connection, sock: socket.socket, facts: assoc.Facts, listener: Listener
    ) -> None:
        deadline = time.monotonic() + self.limits.request_timeout
        try:
            link, names = _secured(connection, sock, listener, deadline)
        except OSError as error:
            self._events.dropped(facts, tls.failure(error))
            return
        facts = dataclasses.replace(facts, tls_names=names)
        try:
            association, slot = self._open(connection, link, facts, deadline)
        except faults.AssociationLost as fault:
            self._events.dropped(facts, fault.why)
            if not fault.silent and not fault.by_peer:
                _last_words(link, pdu.encode_abort(fault.source, fault.reason))
            link.close()
            return
        except BaseException:
            link.close()
            raise
        if association is None or slot is None:
            return
        place = _Place(self._slots, slot)
        association.ending = place.give
        try:
            self._events.opened(association)
            self._converse(association)
        finally:
            place.give()

    def _open(
        self, connection: _Connection, link: stream.Stream, facts: assoc.Facts, deadline: float
    ) -> tuple[assoc.Association | None, slots_.Slot | None]:
        """Negotiate; nothing when the call was rejected."""
        request = opening.request(link, deadline)
        facts = dataclasses.replace(
            facts,
            calling=request.calling,
            called=request.called,
            implementation=request.user.implementation_version or request.user.implementation_class,
        )
        limits = self.limits
        timeouts = assoc.Timeouts(limits.request_timeout, limits.pdu_timeout, limits.idle_timeout)
        association = assoc.Association(link, facts, timeouts, self._buffers, self._max_pdu)
        association.request = request
        call = policy.Call(request, facts.address, facts.port, facts.secure, facts.tls_names)
        decided = self._decide(call, association)
        if isinstance(decided, pdu.Rejection):
            self._events.rejected(facts, decided)
            _last_words(link, pdu.encode_reject(decided))
            return None, None
        slot, answer = decided
        with self._changed:
            # From here on a drain speaks to the association; the peer knows of it when it has the answer.
            connection.association = association
            connection.sock = None
        # What was proposed and refused is of no more use, and is the most of an idle association's memory.
        association.request = dataclasses.replace(request, contexts=())
        try:
            link.write([answer], len(answer), time.monotonic() + limits.pdu_timeout)
        except BaseException:
            self._slots.give(slot)
            raise
        return association, slot

    def _decide(
        self, call: policy.Call, association: assoc.Association
    ) -> tuple[slots_.Slot, bytes] | pdu.Rejection:
        """Take a place and make the A-ASSOCIATE-AC, or say no."""
        request = call.request
        admission = _formal(request) or self.admit(call)
        if isinstance(admission, pdu.Rejection):
            return admission
        if self._draining.is_set():
            return pdu.Rejection(2, 3, 1, "the node is stopping")
        agreed = contexts.negotiate(request, admission.offer)
        window = _window(request.user.window, admission.offer.window)
        # What they may perform for us is what we may have unanswered.
        association.agree(agreed.contexts, request.user.max_pdu, window[1] if window else 1)
        stores = any(
            context.scp and contexts.looks_like_storage(context.abstract, request.user.common_extended)
            for context in agreed.contexts.values()
        )
        if stores and self._congested():
            return _CONGESTED
        limits = self.limits
        slot = self._slots.take(
            admission.key,
            most=limits.associations,
            most_of_peer=admission.most,
            echo_slots=limits.echo_slots,
            echo_only=all(context.abstract == contexts.VERIFICATION for context in request.contexts),
        )
        if slot is None:
            return _TOO_MANY
        association.rights = admission.rights
        association.extended = agreed.extended
        association.facts = dataclasses.replace(association.facts, peer=admission.peer)
        answer = pdu.Accept(
            request.calling,
            request.called,
            agreed.results,
            pdu.User(
                max_pdu=self._max_pdu,
                window=window,
                roles=agreed.roles,
                extended=agreed.extended,
                identity_response=admission.identity_response,
            ),
        )
        return slot, pdu.encode_accept(answer)

    def _converse(self, association: assoc.Association) -> None:
        """Hand out messages until the association ends."""
        handlers, rights, events = self.handlers, association.rights, self._events
        allowed = {field: handlers[field] for field in handlers if RIGHTS.get(field) in (None, *rights)}
        try:
            while True:
                message = association.receive()
                if isinstance(message, assoc.Message):
                    handler = allowed.get(message.command.field)
                    if handler is None:
                        self._unhandled(association, message)
                    else:
                        handler(association, message)
                elif isinstance(message, assoc.Release):
                    association.release()
                    events.closed(association)
                    return
                else:
                    break
        except faults.AssociationLost as fault:
            events.aborted(association, association.fault or fault)
            return
        except Exception as error:  # noqa: BLE001
            # A handler's own failures are its to answer; what comes here is a bug. Only this peer suffers.
            events.crashed(association.facts, error)
            association.abort(why="an error of ours")
        fault_ = association.fault or faults.refused("it ended without a reason")
        events.aborted(association, fault_)

    def _unhandled(self, association: assoc.Association, message: assoc.Message) -> None:
        """Answer a request that no handler takes, and go on."""
        asked = message.command
        message.drain()
        if asked.is_response or asked.field == command.Field.C_CANCEL:
            return  # late: what it belongs to has ended
        right = RIGHTS.get(asked.field)
        status = UNRECOGNIZED_OPERATION
        if right is not None and right not in association.rights:
            self._events.unauthorized(association, asked.field, right)
            status = NOT_AUTHORIZED
        association.send(message.context, command.response(asked, status))

    # -- the end --------------------------------------------------------------------------------

    def associations(self) -> list[assoc.Association]:
        """The open associations of this process."""
        with self._changed:
            found = [connection.association for connection in self._running]
        return [association for association in found if association is not None]

    def drain(self, seconds: float) -> None:
        """Reject who calls, let running associations finish for so long, then abort what is left."""
        # Who calls now hears that it is for a moment only; left in the backlog it would wait in silence.
        self._draining.set()
        deadline = time.monotonic() + seconds
        while self._wait(lambda: not self._running, min(1.0, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                break
            self._dismiss(IDLE_AT_DRAIN)
        self._dismiss(0.0)
        if self._wait(lambda: not self._running, 2.0):
            for association in self.associations():
                association.cut("the node is stopping")
            self._wait(lambda: not self._running, 2.0)
        self._drained.set()
        self._waker.send(b"\0")

    def _wait(self, done: Callable[[], bool], seconds: float) -> bool:
        """Wait for the associations; True when they are not done."""
        with self._changed:
            return not self._changed.wait_for(done, seconds)

    def _dismiss(self, idle: float) -> None:
        """End connections that are no association yet, and associations that have been silent so long."""
        now = time.monotonic()
        with self._changed:
            running = list(self._running)
        for connection in running:
            association = connection.association
            if association is None:
                if now - connection.begun >= idle:
                    self._cut(connection)
            elif not idle or (association.idle_since is not None and now - association.idle_since >= idle):
                association.stop("the node is stopping")

    def close(self) -> None:
        """Let go of what the acceptor holds itself, after drain()."""
        self._wake.close()
        self._waker.close()


def _formal(request: pdu.Request) -> pdu.Rejection | None:
    """What is wrong with a request whoever sent it (HOSTILE 13, 14, 17)."""
    if not request.version & 1:
        return pdu.Rejection(1, 2, 2, f"protocol version {request.version:#06x}")
    if request.application != pdu.APPLICATION_CONTEXT:
        return pdu.Rejection(1, 1, 2, f"application context {request.application!r}")
    if not request.contexts:
        return pdu.Rejection(1, 1, 1, "no presentation contexts")
    return None


def _window(asked: tuple[int, int] | None, most: int) -> tuple[int, int] | None:
    """The answer to an asynchronous operations window: never more than was asked for; 0 has no limit."""
    if asked is None:
        return None
    invoked, performed = asked
    return min(invoked or most, most), min(performed or most, most)


def _secured(
    connection: _Connection, sock: socket.socket, listener: Listener, deadline: float
) -> tuple[stream.Stream, tuple[str, ...]]:
    """The stream of a connection, its handshake done, and the names in the caller's certificate."""
    if listener.tls is None:
        return stream.Stream(sock), ()
    sock.settimeout(max(0.001, deadline - time.monotonic()))
    wrapped = listener.tls.context().wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
    connection.sock = wrapped  # the socket that was accepted is an empty shell now
    try:
        wrapped.do_handshake()  # the timeout is one deadline over the whole handshake
        return stream.TlsStream(wrapped), tls.names(wrapped.getpeercert())
    except BaseException:
        wrapped.close()
        raise


def _last_words(link: stream.Stream, data: bytes) -> None:
    """Send a refusal and close once the peer has had time to read it."""
    try:
        link.write([data], len(data), time.monotonic() + _LINGER)
    except faults.AssociationLost:
        link.close()
        return
    link.close(_LINGER)
