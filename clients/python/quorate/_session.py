"""A session: what makes a mutation that was sent twice take effect once."""

from __future__ import annotations

import asyncio
import enum
import functools
import os
from collections import OrderedDict, deque
from struct import Struct
from typing import TYPE_CHECKING, Callable, Deque, List, Optional, Set, Union

from . import _wire as wire
from ._clock import now
from ._nodes import pause_after
from .errors import (
    ClientClosed,
    ClusterMismatch,
    DeadlineExceeded,
    GenerationChanged,
    OutcomeUnknown,
    QuorateError,
    ServerError,
    SessionLost,
    TooLarge,
)

if TYPE_CHECKING:
    from ._connection import Connection
    from ._nodes import Nodes

_HEADER = Struct("<BB16sQQ")
_OPENING = Struct("<QI")

_OPENS = 1
_ONE_SHOT = 2
_GUARDED = 4

_TRANSACTION = 5
_END_SESSION = 6
#: A transaction that does nothing.
_NOTHING = bytes(6)

#: Bytes of a frame beside the command's own fields and guards: header, checksum, what every command has.
_AROUND = 20 + _HEADER.size + _OPENING.size

#: Sequences that may lie above those acknowledged.
_WINDOW = 1024

# Codes that have a meaning for the machinery itself.
_SEQUENCE_GAP = 40
_SESSION_EXPIRED = 43
_SESSION_LIMIT = 44
#: Refused with revision 0, this copy has no effect and never will.
_PROVEN = {1, 2, 3, 4, 5, 10, 12, 15, 16, 17, 18, 19, 20, 40, 44}
#: Another node, or the same one later, may do it without anybody's acting first.
_REFUSED_BY_NODE = {10, 11, 12, 13, 14, 15, 16, 18}
RETRIED = _REFUSED_BY_NODE | {_SEQUENCE_GAP, _SESSION_LIMIT}


class SessionState(enum.Enum):
    """What a client knows of its session, counted from when it sent the last keep-alive that was answered."""

    #: No mutation has been answered yet.
    NONE = "none"
    CONNECTED = "connected"
    #: Nobody has heard of it for two thirds of its timeout: stop acting on what it owns.
    SUSPENDED = "suspended"
    #: It has ended, or nobody has heard of it for all of its timeout. The next mutation opens another one.
    LOST = "lost"


class Mutation:
    """One command and what is known of its fate."""

    __slots__ = (
        "kind", "guards", "fields", "owned", "future", "timer", "sequence", "copies_out", "may_be_applied", "sent_at"
    )

    def __init__(
        self, kind: int, guards: bytes, fields: bytes, owned: bool, future: "asyncio.Future[wire.Reply]"
    ) -> None:
        self.kind = kind
        self.guards = guards
        self.fields = fields
        #: What it makes goes with the session.
        self.owned = owned
        self.future: Optional["asyncio.Future[wire.Reply]"] = future
        self.timer: Optional[asyncio.TimerHandle] = None
        #: 0 until it is sent first.
        self.sequence = 0
        #: Sent and not answered, on connections that stand.
        self.copies_out = 0
        #: The fate of a copy is not known.
        self.may_be_applied = False
        #: When the first of the copies was sent that may have been applied.
        self.sent_at = 0.0

    @property
    def has_no_effect(self) -> bool:
        return self.copies_out == 0 and not self.may_be_applied

    def resolve(self, result: Union[wire.Reply, QuorateError]) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        future, self.future = self.future, None
        if future is not None and not future.done():
            if isinstance(result, QuorateError):
                future.set_exception(result)
            else:
                future.set_result(result)


class Session:
    """Sends mutations in order, again where needed, and keeps itself alive from the first answer on."""

    def __init__(
        self,
        nodes: "Nodes",
        timeout: float,
        on_state: Callable[["Session", SessionState], None],
        on_revision: Callable[[int], None],
        on_failure: Callable[[QuorateError], None],
        *,
        one_shot: bool = False,
    ) -> None:
        self.id = os.urandom(16)
        #: In seconds.
        self.timeout = timeout
        self._nodes = nodes
        self._on_state = on_state
        self._on_revision = on_revision
        self._on_failure = on_failure
        self._one_shot = one_shot
        self._loop = asyncio.get_running_loop()
        self._opened_at: Optional[int] = None
        self._is_open = False
        self._lost: Optional[QuorateError] = None
        self._alive_from = 0.0
        self._told = SessionState.NONE
        self._queue: Deque[Mutation] = deque()
        self._outstanding: "OrderedDict[int, Mutation]" = OrderedDict()
        self._next_sequence = 1
        #: The next sequence to send in this round.
        self._cursor = 1
        #: Rises when sending begins again from the first unanswered sequence.
        self._round = 0
        self._connection: Optional["Connection"] = None
        self._paused_until = 0.0
        self._failures = 0
        self._pump_timer: Optional[asyncio.TimerHandle] = None
        self._state_timer: Optional[asyncio.TimerHandle] = None
        self._keep_alive: Optional["asyncio.Task[None]"] = None
        self._lost_listeners: List[Callable[[], None]] = []
        self._drained: Set["asyncio.Future[None]"] = set()

    # State

    @property
    def state(self) -> SessionState:
        """Judged by the clock, whether or not timers have run."""
        if self._lost is not None:
            return SessionState.LOST
        if not self._is_open:
            return SessionState.NONE
        silent = now() - self._alive_from
        if silent >= self.timeout:
            return SessionState.LOST
        return SessionState.SUSPENDED if silent >= self.timeout * 2 / 3 else SessionState.CONNECTED

    @property
    def is_lost(self) -> bool:
        return self.state is SessionState.LOST

    def look_at_state(self) -> None:
        if self._state_timer is not None:
            self._state_timer.cancel()
            self._state_timer = None
        state = self.state
        if state is SessionState.LOST and self._lost is None:
            self.lose(SessionLost(f"nobody has heard of the session for {self.timeout:g} s; {self._nodes.describe()}"))
            return
        if state is not self._told:
            self._told = state
            self._on_state(self, state)
        if state in (SessionState.CONNECTED, SessionState.SUSPENDED):
            limit = self.timeout * 2 / 3 if state is SessionState.CONNECTED else self.timeout
            wait = self._alive_from + limit - now()
            self._state_timer = self._loop.call_later(max(wait, 0.001), self.look_at_state)

    def _heard_of(self, sent_at: float) -> None:
        """The cluster has heard of the session at or after this time."""
        self._alive_from = max(self._alive_from, sent_at)
        if self._told is not SessionState.CONNECTED:
            self.look_at_state()

    def lose(self, error: QuorateError) -> None:
        """It is over. What was sent has an unknown fate; what was not is refused."""
        if self._lost is not None:
            return
        self._lost = error
        for timer in (self._pump_timer, self._state_timer):
            if timer is not None:
                timer.cancel()
        if self._keep_alive is not None:
            self._keep_alive.cancel()
        if self._is_open and self._told is not SessionState.LOST:
            self._told = SessionState.LOST
            self._on_state(self, SessionState.LOST)
        for listener in list(self._lost_listeners):
            listener()
        sent = list(self._outstanding.values())
        unsent = list(self._queue)
        self._outstanding.clear()
        self._queue.clear()
        for mutation in sent:
            mutation.resolve(self._unsent_error() if mutation.has_no_effect else OutcomeUnknown(str(error)))
        for mutation in unsent:
            mutation.resolve(self._unsent_error())
        self._wake_drained()

    def _unsent_error(self) -> QuorateError:
        error = self._lost
        assert error is not None
        return error if isinstance(error, (SessionLost, ClientClosed, ServerError)) else SessionLost(str(error))

    # Taking mutations

    def submit(
        self, kind: int, fields: bytes, guards: bytes, deadline: Optional[float], *, owned: bool = False
    ) -> "asyncio.Future[wire.Reply]":
        """Sends a mutation after those submitted before; the future has the reply, with code 0 or not.

        Args:
            owned: what it makes goes with the session, so that an answer which comes too late says nothing.
        """
        future: "asyncio.Future[wire.Reply]" = self._loop.create_future()
        if self.is_lost:
            self.look_at_state()
            future.set_exception(self._unsent_error())
            return future
        mutation = Mutation(kind, guards, fields, owned, future)
        if deadline is not None:
            mutation.timer = self._loop.call_at(deadline, self._time_is_up, mutation)
        self._queue.append(mutation)
        self.pump()
        return future

    def submit_unattended(self, kind: int, fields: bytes) -> "asyncio.Future[None]":
        """What has to be done whether or not anybody waits: sent until it is answered or the session has ended."""
        done: "asyncio.Future[None]" = self._loop.create_future()

        def answered(future: "asyncio.Future[wire.Reply]") -> None:
            if not future.cancelled():
                future.exception()
            _finish(done)

        self.submit(kind, fields, b"", None).add_done_callback(answered)
        return done

    def on_lost(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Has the end of the session told.

        Returns: what ends that.
        """
        self._lost_listeners.append(listener)
        return lambda: self._lost_listeners.remove(listener)

    def give_up(self, mutation_future: "asyncio.Future[wire.Reply]") -> None:
        """Nobody waits for the result any more."""
        for mutation in [*self._queue, *self._outstanding.values()]:
            if mutation.future is mutation_future:
                self._time_is_up(mutation)
                return

    def _time_is_up(self, mutation: Mutation) -> None:
        if mutation.future is None:
            return
        if mutation.sequence == 0:
            self._queue.remove(mutation)
            mutation.resolve(DeadlineExceeded(self._nodes.describe()))
        elif mutation.has_no_effect:
            self._take_back(mutation, DeadlineExceeded(self._nodes.describe()))
        else:
            mutation.resolve(OutcomeUnknown(f"sent, and not answered in time; {self._nodes.describe()}"))
        self._wake_drained()

    def _take_back(self, mutation: Mutation, error: QuorateError) -> None:
        """A mutation that has no effect gives its sequence to the next one, or to a transaction that does nothing if
        later ones have been sent."""
        if mutation.sequence == self._next_sequence - 1:
            del self._outstanding[mutation.sequence]
            self._next_sequence -= 1
            self._cursor = min(self._cursor, self._next_sequence)
        else:
            mutation.kind, mutation.guards, mutation.fields = _TRANSACTION, b"", _NOTHING
        mutation.resolve(error)
        self._wake_drained()

    # Sending

    def pump(self) -> None:
        """Sends what may be sent now."""
        if self._lost is not None:
            return
        connection = self._nodes.current
        if connection is not self._connection:
            self._connection = connection
            self._paused_until = 0.0
            self._rewind()
        if connection is None or not (self._queue or self._cursor < self._next_sequence):
            return
        time = self._loop.time()
        if time < self._paused_until:
            if self._pump_timer is None:
                self._pump_timer = self._loop.call_at(self._paused_until, self._pump_again)
            return
        if self._opened_at is None:
            self._opened_at = connection.cluster_time()
        room = connection.room
        while room > 0:
            if self._cursor < self._next_sequence:
                mutation = self._outstanding.get(self._cursor)
                self._cursor += 1
                if mutation is None:
                    continue
            elif self._queue and self._next_sequence - self._acknowledged() <= _WINDOW:
                mutation = self._queue.popleft()
                if len(mutation.fields) + len(mutation.guards) + _AROUND > connection.hello.frame_size:
                    # The node would end the connection, again and again.
                    error = TooLarge(f"a command of {len(mutation.fields)} bytes")
                    error.limit = connection.hello.value_size
                    mutation.resolve(error)
                    self._wake_drained()
                    continue
                mutation.sequence = self._next_sequence
                self._outstanding[mutation.sequence] = mutation
                self._next_sequence += 1
                self._cursor = self._next_sequence
            else:
                return
            self._send(mutation, connection)
            room -= 1

    def _pump_again(self) -> None:
        self._pump_timer = None
        self.pump()

    def _rewind(self) -> None:
        self._round += 1
        self._cursor = self._acknowledged() + 1

    def _acknowledged(self) -> int:
        """The replies of all sequences up to this one have come."""
        for sequence in self._outstanding:
            return sequence - 1
        return self._next_sequence - 1

    def _send(self, mutation: Mutation, connection: "Connection") -> None:
        flags = (0 if self._is_open else _OPENS) | (_ONE_SHOT if self._one_shot else 0)
        if mutation.guards:
            flags |= _GUARDED
        assert self._opened_at is not None
        acknowledged = min(self._acknowledged(), mutation.sequence - 1)
        body = _HEADER.pack(mutation.kind, flags, self.id, mutation.sequence, acknowledged)
        if flags & _OPENS:
            body += _OPENING.pack(self._opened_at, int(self.timeout * 1000))
        if mutation.has_no_effect:
            mutation.sent_at = now()
        mutation.copies_out += 1
        sent_in = self._round

        def answer(frame: Optional[wire.Frame]) -> None:
            mutation.copies_out -= 1
            if frame is None:
                mutation.may_be_applied = True
            elif self._lost is None:
                self._answered(mutation, wire.decode_reply(frame.body), sent_in, connection)

        connection.send(wire.MUTATE, body + mutation.guards + mutation.fields, answer, flags=wire.FLAG_MAY_FORWARD)

    def _answered(self, mutation: Mutation, reply: wire.Reply, sent_in: int, connection: "Connection") -> None:
        code = reply.code
        if code == 0 or reply.revision != 0 and code not in (_SEQUENCE_GAP, _SESSION_EXPIRED, _SESSION_LIMIT):
            self._on_revision(reply.revision)
            self._failures = 0
            self._nodes.served(connection)
            if not mutation.owned:
                # What was done stays done, even if the session proves to be lost.
                mutation.resolve(reply)
            if not self._is_open:
                self._opened(mutation)
            if self._outstanding.pop(mutation.sequence, None) is mutation:
                mutation.resolve(reply)
                self._wake_drained()
            self.pump()
            return
        error = wire.decode_error(reply)
        if code == _SESSION_EXPIRED:
            self._expired(error)
            return
        if code not in _PROVEN:
            mutation.may_be_applied = True
        if isinstance(error, (GenerationChanged, ClusterMismatch)):
            self._on_failure(error)
            return
        if code not in RETRIED and mutation.future is not None:
            # Refused for good. What other copies become is told by their own answers.
            if mutation.copies_out == 0 and self._outstanding.get(mutation.sequence) is mutation:
                if mutation.may_be_applied:
                    mutation.resolve(OutcomeUnknown(str(error)))
                else:
                    self._take_back(mutation, error)
                self._rewind()
                self.pump()
            return
        if sent_in != self._round:
            return
        if code != _SEQUENCE_GAP:
            self._failures += 1
            wait = error.retry_after if error.retry_after is not None else pause_after(self._failures)
            self._paused_until = self._loop.time() + wait
        self._rewind()
        if code in _REFUSED_BY_NODE:
            self._nodes.refused(connection, error)
        self.pump()

    def _opened(self, mutation: Mutation) -> None:
        self._is_open = True
        if not self._one_shot:
            # An answer may be one that was kept, of a session that has ended since.
            self._heard_of(mutation.sent_at)
            if self._lost is None:
                self._keep_alive = self._loop.create_task(self._keep_alive_forever())

    def _expired(self, error: ServerError) -> None:
        if self._is_open or any(not mutation.has_no_effect for mutation in self._outstanding.values()):
            self.lose(SessionLost(str(error)))
            return
        # "Opened at" was too old: nothing has happened under this id, so begin anew under another one.
        self.id = os.urandom(16)
        self._failures += 1
        self._paused_until = self._loop.time() + pause_after(self._failures)
        self._rewind()
        self._keep_alive = self._loop.create_task(self._ask_time())

    async def _ask_time(self) -> None:
        try:
            await (await self._nodes.ready(None)).ping()
        except QuorateError:
            pass
        self._opened_at = None
        self.pump()

    # Keeping alive

    async def _keep_alive_forever(self) -> None:
        interval = self.timeout / 3
        request = wire.u16(1) + self.id
        sent_at = self._alive_from
        while True:
            await asyncio.sleep(max(0.0, sent_at + interval - now()))
            connection = self._nodes.current
            if connection is None:
                await self._nodes.changed(None)
                continue
            sent_at = now()
            asking = asyncio.ensure_future(
                connection.request(wire.KEEP_ALIVE, request, flags=wire.FLAG_MAY_FORWARD)
            )
            # An answer that does not come is not waited for longer than until the next one is due.
            await asyncio.wait([asking], timeout=interval)
            if not asking.done():
                asking.add_done_callback(functools.partial(self._kept_alive, sent_at, connection))
            elif not self._kept_alive(sent_at, connection, asking):
                self._failures += 1
                sent_at = now() - interval + pause_after(self._failures)

    def _kept_alive(self, sent_at: float, connection: "Connection", asking: "asyncio.Future[wire.Reply]") -> bool:
        if self._lost is not None or asking.cancelled():
            return True
        error = asking.exception()
        if error is not None:
            if isinstance(error, (GenerationChanged, ClusterMismatch)):
                self._on_failure(error)
            elif isinstance(error, ServerError):
                self._nodes.refused(connection, error)
            return False
        rest = asking.result().rest
        closed = [rest.raw(16) for _ in range(rest.u16())]
        self._nodes.served(connection)
        self._nodes.leader_is(connection, wire.read_leader(rest))
        if self.id in closed:
            self.lose(SessionLost("the cluster has ended the session"))
        else:
            self._heard_of(sent_at)
        return True

    # The end

    async def drain(self, deadline: float) -> bool:
        """Waits until everything that was submitted is answered."""
        while (self._outstanding or self._queue) and self._lost is None:
            waiter: "asyncio.Future[None]" = self._loop.create_future()
            self._drained.add(waiter)
            timer = self._loop.call_at(deadline, _finish, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._drained.discard(waiter)
            if self._loop.time() >= deadline:
                return False
        return self._lost is None

    async def end(self, deadline: float) -> None:
        """Ends the session in the cluster, if that can be done in time; then, whatever it owned goes at once."""
        if await self.drain(deadline) and self._is_open:
            try:
                await self.submit(_END_SESSION, b"", b"", deadline)
            except QuorateError:
                pass
        self.lose(ClientClosed("the client was closed"))

    def _wake_drained(self) -> None:
        if not self._outstanding and not self._queue:
            for waiter in self._drained:
                _finish(waiter)


def _finish(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


