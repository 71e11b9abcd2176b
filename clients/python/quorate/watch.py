"""What changes, as it changes."""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, AsyncIterator, Counter, Deque, List, NamedTuple, Optional, Set, Tuple, Type

from . import _wire as wire
from ._nodes import pause_after
from ._encoding import encode_range
from .errors import ClusterMismatch, GenerationChanged, ProtocolError, QuorateError, ServerError
from .values import Range

if TYPE_CHECKING:
    from ._connection import Connection
    from .client import Client

_NO_PUTS = 1
_NO_DELETES = 2
_KEYS_ONLY = 4
_BEFORE = 8
_VALUES_BEFORE = 16
_ORIGINS = 32

_CHANGE_PUT = 1
_CHANGE_OWNED = 2
_CHANGE_WITHOUT_VALUE = 4
_CHANGE_KNOWS_BEFORE = 8
_CHANGE_REPLACED = 16
_CHANGE_HAS_VALUE_BEFORE = 32

_CREATED = 1
_CHANGES = 2
_PROGRESS = 3

#: What has been read is given back from so many bytes on, or from a quarter of what may be under way where that is less.
_CREDIT_FROM = 4096
#: How often a node that cannot help is asked when all others have refused for good.
_ATTEMPTS = 3


class Table(enum.IntEnum):
    """What is watched."""

    RECORDS = 16
    #: The service's own rows, as they are stored. Keys: the group, a zero byte, and the ticket, 8 bytes big-endian.
    ELECTIONS = 32
    #: Likewise, with the name of the lock.
    LOCKS = 33
    #: Keys: names of the State API.
    STATE = 48
    #: Keys: the number of a :class:`quorate.registry.RegistryTable`, and what that table says. Read by
    #: :meth:`quorate.Registry.changes`.
    REGISTRY = 64


class Previous(NamedTuple):
    """The row that a change replaced or deleted."""

    #: 0 in tables other than the records, which do not say.
    revision: int
    #: None unless values before were asked for, and where both values were too large to be told together.
    value: Optional[bytes]


class Origin(NamedTuple):
    """Who changed something, and when."""

    #: Of the command; None: the cluster itself, which ends sessions.
    session: Optional[bytes]
    #: 0: nobody.
    principal: int
    #: Cluster time, in nanoseconds since 1970.
    time: int


class Change(NamedTuple):
    """What became of one key."""

    key: bytes
    #: None if the row is gone, or if only keys were asked for.
    value: Optional[bytes]
    #: There is no such row now; there need not have been one before.
    deleted: bool
    #: The session that the row goes with.
    owner: Optional[bytes]
    #: There was no row before this one. None: it is not known, because no history is kept of the key, or the watch does
    #: not ask for it.
    created: Optional[bool] = None
    #: What was there before; None if there was nothing, and where ``created`` is None.
    previous: Optional[Previous] = None


class WatchEvent(NamedTuple):
    """Everything that one command changed among the watched keys; with no changes at all: a mark that there were none
    through this revision."""

    revision: int
    changes: Tuple[Change, ...]
    #: None unless the watch asks for it, and in marks.
    origin: Optional[Origin] = None

    @property
    def is_progress(self) -> bool:
        return not self.changes


class Watch(AsyncIterator[WatchEvent]):
    """Changes in the order of their revisions, each once, whatever becomes of the nodes. Made by
    :meth:`quorate.Client.watch`.

    ``async with`` begins it and ends it::

        async with client.watch("agents/") as watch:
            async for event in watch:
                for change in event.changes:
                    ...

    The iteration raises :class:`quorate.Compacted` if no node has the changes any more that come next: read the rows,
    and watch from the revision of that listing plus one.
    """

    def __init__(
        self,
        client: "Client",
        table: int,
        span: Range,
        since: int,
        filters: int,
        progress: float,
        credit: int,
    ) -> None:
        self._client = client
        self._request = (wire.u8(table) + encode_range(span), filters, int(progress * 1000))
        self._next = since
        self._credit = credit
        self._floor: Optional[int] = None
        self._events: Deque[Tuple[WatchEvent, int]] = deque()
        self._queued = 0
        #: Of these, what came by an earlier request: no credit is given for it.
        self._queued_of_before = 0
        #: Read, and not given back yet.
        self._read = 0
        self._is_credit_due = False
        self._partial: Optional[Tuple[int, Optional[Origin], List[Change]]] = None
        self._partial_size = 0
        self._waiter: Optional["asyncio.Future[None]"] = None
        self._room: Optional["asyncio.Future[None]"] = None
        self._started: Optional["asyncio.Future[None]"] = None
        self._error: Optional[QuorateError] = None
        self._is_closed = False
        self._task: Optional["asyncio.Task[None]"] = None
        self._place: Optional[Tuple["Connection", int]] = None

    @property
    def next_revision(self) -> int:
        """Where another watch would go on that has seen what this one has received; 0 before it has begun."""
        return self._next

    @property
    def feed_floor(self) -> Optional[int]:
        """The oldest revision that a watch could begin with, at the node that gave it last."""
        return self._floor

    @property
    def unread(self) -> int:
        """Bytes that were received and not yet read."""
        return self._queued

    async def start(self) -> "Watch":
        """Returns when the watch stands: every change after :attr:`next_revision` will be told.

        Raises:
            Compacted: no node has the changes of the first revision any more.
        """
        if self._task is None:
            self._started = asyncio.get_running_loop().create_future()
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._client._watches.add(self)
        assert self._started is not None
        await asyncio.wait([self._started])
        if self._error is not None and self._floor is None:
            raise self._error
        return self

    async def close(self) -> None:
        """Ends the watch. Events that were received can still be read."""
        self._is_closed = True
        self._client._watches.discard(self)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._wake()

    async def __aenter__(self) -> "Watch":
        return await self.start()

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        await self.close()

    def __aiter__(self) -> "Watch":
        return self

    async def __anext__(self) -> WatchEvent:
        if self._task is None:
            await self.start()
        while not self._events:
            if self._error is not None:
                raise self._error
            if self._is_closed:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        event, size = self._events.popleft()
        self._queued -= size
        before = min(size, self._queued_of_before)
        self._queued_of_before -= before
        self._has_read(size - before)
        if self._room is not None and self._has_room and not self._room.done():
            self._room.set_result(None)
        return event

    @property
    def _has_room(self) -> bool:
        """What is unread comes first: the next node may send all of the credit at once."""
        return self._queued <= self._credit // 2

    def _has_read(self, size: int) -> None:
        self._read += size
        if self._read >= min(self._credit // 4, _CREDIT_FROM) and not self._is_credit_due:
            # Once for all events that are read in one turn of the loop.
            self._is_credit_due = True
            asyncio.get_running_loop().call_soon(self._give_credit)

    def _give_credit(self) -> None:
        self._is_credit_due = False
        if self._place is not None and self._read:
            connection, request_id = self._place
            connection.send_without_reply(wire.WATCH_CREDIT, request_id, wire.u32(self._read))
            self._read = 0

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _begun(self) -> None:
        if self._started is not None and not self._started.done():
            self._started.set_result(None)

    # Standing somewhere

    async def _run(self) -> None:
        nodes = self._client._nodes
        loop = asyncio.get_running_loop()
        compacted_at: Set[str] = set()
        compacted: Optional[ServerError] = None
        #: Nodes that could not help, each time in a row since the watch got on.
        unable: Counter[str] = Counter()
        failures = 0
        try:
            while True:
                if not self._has_room:
                    self._room = loop.create_future()
                    await self._room
                self._client._check_usable()
                avoided = compacted_at
                if compacted_at:
                    # Where all others have refused, one that cannot help is not waited for.
                    avoided = compacted_at | {address for address in unable if unable[address] >= _ATTEMPTS}
                connection = await nodes.borrow(avoided)
                if connection is None:
                    if compacted is not None:
                        raise compacted
                    await nodes.changed(loop.time() + 0.25)
                    continue
                begun_at = self._next
                try:
                    end = await self._stand_at(connection)
                finally:
                    nodes.give_back(connection)
                if self._next > begun_at:
                    compacted_at.clear()
                    unable.clear()
                if end is None:
                    failures = 0
                    continue
                if end.code == 31:
                    compacted = end
                    compacted_at.add(connection.address)
                    continue
                if isinstance(end, (GenerationChanged, ClusterMismatch)):
                    self._client._fail(end)
                    raise end
                if not end.retryable:
                    raise end
                if end.name == "lagged":
                    if self._next == 0 and end.current_revision is not None:
                        self._next = end.current_revision
                else:
                    nodes.refused(connection, end)
                failures += 1
                unable[connection.address] += 1
                await asyncio.sleep(end.retry_after if end.retry_after is not None else pause_after(failures))
        except QuorateError as error:
            self._error = error
        finally:
            self._begun()
            self._wake()

    async def _stand_at(self, connection: "Connection") -> Optional[ServerError]:
        """Returns when the watch has ended at this node: None if the connection has, or the watch was cancelled."""
        await connection.wait_for_room()
        ended: "asyncio.Future[Optional[ServerError]]" = asyncio.get_running_loop().create_future()
        self._partial = None
        self._partial_size = 0
        self._read = 0
        self._queued_of_before = self._queued
        head, filters, progress = self._request
        body = (
            head
            + wire.u64(self._next)
            + wire.u64(self._client.revision)
            + wire.u8(filters)
            + wire.u32(progress)
            + wire.u32(self._credit)
        )

        def answer(frame: Optional[wire.Frame]) -> None:
            if ended.done():
                return
            if frame is None:
                ended.set_result(None)
                return
            try:
                error = self._received(frame)
            except ProtocolError as malformed:
                connection.end(str(malformed))
                return
            if error is not None:
                ended.set_result(error)
            elif not frame.flags & wire.FLAG_MORE:
                ended.set_result(None)

        request_id = connection.send(wire.WATCH, body, answer)
        self._place = (connection, request_id)
        try:
            return await ended
        finally:
            self._place = None
            if not ended.done() or ended.cancelled():
                connection.send_without_reply(wire.WATCH_CANCEL, request_id, b"")

    # Receiving

    def _received(self, frame: wire.Frame) -> Optional[ServerError]:
        reply = wire.decode_reply(frame.body)
        if reply.code != 0:
            return wire.decode_error(reply)
        event = reply.rest.u8()
        if event == _CREATED:
            self._floor = reply.rest.u64()
            if self._next == 0:
                self._next = reply.revision + 1
            self._begun()
        elif event == _CHANGES:
            self._changes(reply, frame.size)
        elif event == _PROGRESS:
            self._next = max(self._next, reply.revision + 1)
            self._client._saw(reply.revision)
            self._deliver(WatchEvent(reply.revision, ()), frame.size)
        return None

    def _changes(self, reply: wire.Reply, size: int) -> None:
        reader = reply.rest
        flags = reader.u8()
        goes_on = flags & 1 == 1
        revisions: List[Tuple[int, Optional[Origin], List[Change]]] = []
        while not reader.is_at_end:
            revision = reader.u64()
            origin = read_origin(reader) if flags & 2 else None
            changes = [read_change(reader) for _ in range(reader.u32())]
            if self._partial is not None and self._partial[0] == revision:
                self._partial[2].extend(changes)
                revisions.append(self._partial)
            else:
                revisions.append((revision, origin, changes))
            self._partial = None
        self._partial_size += size
        if goes_on and revisions:
            self._partial = revisions.pop()
        for index, (revision, origin, changes) in enumerate(revisions):
            last = index == len(revisions) - 1
            self._next = revision + 1
            self._deliver(WatchEvent(revision, tuple(changes), origin), self._partial_size if last else 0)
        if revisions:
            self._partial_size = 0
        elif not goes_on:
            self._has_read(self._partial_size)
            self._partial_size = 0
        if not goes_on:
            self._next = reply.revision + 1
            self._client._saw(reply.revision)
            if self._request[2] and (not revisions or revisions[-1][0] < reply.revision):
                # The node has told so with this frame, and says it no second time.
                self._deliver(WatchEvent(reply.revision, ()), 0)

    def _deliver(self, event: WatchEvent, size: int) -> None:
        self._events.append((event, size))
        self._queued += size
        self._wake()


def read_origin(reader: wire.Reader) -> Origin:
    session = reader.raw(16)
    return Origin(session if any(session) else None, reader.u64(), reader.u64())


def read_change(reader: wire.Reader) -> Change:
    flags = reader.u8()
    key = reader.bytes16()
    is_put = flags & _CHANGE_PUT != 0
    owner = reader.raw(16) if flags & _CHANGE_OWNED else None
    value = reader.bytes32() if is_put and not flags & _CHANGE_WITHOUT_VALUE else None
    previous = None
    if flags & _CHANGE_REPLACED:
        previous = Previous(reader.u64(), reader.bytes32() if flags & _CHANGE_HAS_VALUE_BEFORE else None)
    created = is_put and previous is None if flags & _CHANGE_KNOWS_BEFORE else None
    return Change(key, value, not is_put, owner, created, previous)


def filters_of(
    puts: bool, deletes: bool, values: bool, before: bool = False, values_before: bool = False, origins: bool = False
) -> int:
    left_out = (0 if puts else _NO_PUTS) | (0 if deletes else _NO_DELETES) | (0 if values else _KEYS_ONLY)
    told = (_BEFORE if before or values_before else 0) | (_VALUES_BEFORE if values_before else 0)
    return left_out | told | (_ORIGINS if origins else 0)
