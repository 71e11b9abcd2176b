"""Locks: exclusive or shared, fair, with a fence for each holder."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Deque, Dict, Iterable, Optional, Tuple, Type

from . import _wire as wire
from ._places import read_line, read_part, wait_for_fence
from ._session import Session, SessionState
from .errors import DeadlineExceeded, LockHeld
from .values import Bytes, Guard, LockPlace, ReadLevel, Ticket, as_bytes
from .watch import Table

if TYPE_CHECKING:
    from .client import Client

_ACQUIRE = 19
_RELEASE = 20

_LOCK = 7


class Locks:
    """``client.locks``."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._local: Dict[bytes, "_Local"] = {}

    def lock(
        self,
        name: Bytes,
        *,
        shared: bool = False,
        wait: Optional[float] = None,
        delay: float = 0,
    ) -> "Lock":
        """A lock, held while a block runs; see :class:`Lock`.

        Args:
            name: 1 to 1,024 bytes without a zero byte.
            shared: together with others who hold it shared.
            wait: seconds to wait for one's turn; None: for ever; 0: not at all.
            delay: seconds (an hour at most) for which the lock stays held when the session ends without releasing it,
                so that what its holder had under way can come to rest.
        """
        return Lock(self._client, as_bytes(name), shared, wait, delay)

    async def acquire(
        self,
        name: Bytes,
        *,
        shared: bool = False,
        only_if_free: bool = False,
        delay: float = 0,
        guards: Iterable[Guard] = (),
        timeout: Optional[float] = None,
    ) -> Ticket:
        """Takes a place in the line of a lock, for this client's session; asked again, the same place.

        Args:
            timeout: of this request, in seconds; it does not wait for one's turn.

        Returns: the place; with a fence if it holds the lock at once.

        Raises:
            LockHeld: it is not free and ``only_if_free``, or the session has a place of the other mode.
        """
        session = self._client._current_session()
        return await self._acquire(session, as_bytes(name), shared, only_if_free, delay, guards, timeout)

    async def _acquire(
        self,
        session: Session,
        name: bytes,
        shared: bool,
        only_if_free: bool,
        delay: float,
        guards: Iterable[Guard],
        timeout: Optional[float],
    ) -> Ticket:
        mode = wire.u8(2 if shared else 1) + wire.u8(1 if only_if_free else 0)
        fields = wire.bytes16(name) + mode + wire.u32(int(delay * 1000))
        reply = await self._client._mutate(_ACQUIRE, fields, guards, timeout, session, owned=True)
        return Ticket(reply.rest.u64(), reply.rest.u64(), reply.revision)

    async def release(
        self, name: Bytes, *, guards: Iterable[Guard] = (), timeout: Optional[float] = None
    ) -> bool:
        """Gives up this session's place, whether it holds or waits.

        Returns: whether there was one.
        """
        return (await self._client._mutate(_RELEASE, wire.bytes16(as_bytes(name)), guards, timeout)).rest.bool()

    async def line(
        self, name: Bytes, *, level: ReadLevel = ReadLevel.LINEARIZABLE, timeout: Optional[float] = None
    ) -> Tuple[LockPlace, ...]:
        """All who hold or wait for the lock, in the order of their turns."""
        return await read_line(self._client, _LOCK, _read_place, as_bytes(name), level, timeout)


class _Local:
    """Tasks of one client share its session, so the cluster cannot tell them apart: their turns are taken here."""

    def __init__(self) -> None:
        self.holders = 0
        self.shared = False
        self.waiting: Deque[Tuple[bool, "asyncio.Future[None]"]] = deque()
        #: How many tasks share the place of each session in the cluster's line. Who holds the lock in a session that was
        #: lost may not have left yet when others hold it in the next one.
        self.places: Dict[Session, int] = {}

    def is_free(self, shared: bool) -> bool:
        return self.holders == 0 or shared and self.shared

    def take(self, shared: bool) -> None:
        self.holders += 1
        self.shared = shared

    def leave(self) -> None:
        self.holders -= 1
        self.wake()

    def wake(self) -> None:
        """Gives the turn to those who can have it."""
        while self.waiting:
            shared, waiter = self.waiting[0]
            if waiter.done():
                self.waiting.popleft()
            elif self.is_free(shared):
                self.waiting.popleft()
                self.take(shared)
                waiter.set_result(None)
            else:
                return

    def share_place(self, session: Session) -> None:
        self.places[session] = self.places.get(session, 0) + 1

    def leave_place(self, session: Session) -> bool:
        """Returns: whether nobody shares the place any more."""
        left = self.places.pop(session) - 1
        if left:
            self.places[session] = left
        return left == 0


class Lock:
    """::

        async with client.locks.lock("rebalance", wait=5) as lock:
            await client.put("plan", ..., guards=[lock.guard])

    Raises, where the block would begin:
        LockHeld: ``wait`` is 0, and it is not free.
        DeadlineExceeded: its turn did not come in time; it has no place in the line any more.
        SessionLost: the session ended.

    Tasks of one client exclude each other like other clients do. The guard keeps a holder that was paused from writing
    after its successor; ``is_held`` tells it early.
    """

    def __init__(self, client: "Client", name: bytes, shared: bool, wait: Optional[float], delay: float) -> None:
        self._client = client
        self._name = name
        self._shared = shared
        self._wait = wait
        self._delay = delay
        self._session: Optional[Session] = None
        self._fence = 0

    @property
    def guard(self) -> Guard:
        """The fence, for mutations that rely on the lock.

        Raises:
            RuntimeError: it is not held.
        """
        if not self._fence:
            raise RuntimeError("the lock is not held")
        return Guard.lock(self._name, self._fence)

    @property
    def is_held(self) -> bool:
        """It is held, and its session is not at risk; judged by the clock at this moment."""
        session = self._session
        return bool(self._fence) and session is not None and session.state is SessionState.CONNECTED

    async def __aenter__(self) -> "Lock":
        loop = asyncio.get_running_loop()
        deadline = None if self._wait is None else loop.time() + self._wait
        local = self._client.locks._local.setdefault(self._name, _Local())
        self._session = None
        await self._take_locally(local, deadline)
        try:
            await self._take(local, deadline)
        except BaseException:
            self._leave_locally(local)
            raise
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._fence = 0
        released = self._leave_locally(self._client.locks._local[self._name])
        if released is not None:
            # If that takes longer, it happens as soon as the cluster is reached again, or with the session's end.
            await asyncio.wait([released], timeout=self._client.timeout)

    async def _take_locally(self, local: _Local, deadline: Optional[float]) -> None:
        if not local.waiting and local.is_free(self._shared):
            local.take(self._shared)
            return
        waiter: "asyncio.Future[None]" = asyncio.get_running_loop().create_future()
        local.waiting.append((self._shared, waiter))

        def time_is_up() -> None:
            if not waiter.done():
                error = LockHeld if self._wait == 0 else DeadlineExceeded
                waiter.set_exception(error("another task of this client holds the lock"))

        timer = None
        if deadline is not None:
            timer = asyncio.get_running_loop().call_at(deadline, time_is_up)
        try:
            await waiter
        except BaseException:
            if not waiter.cancel() and not waiter.cancelled() and waiter.exception() is None:
                # It was this task's turn already when it was cancelled.
                self._leave_locally(local)
            else:
                # Who waits behind it may share the lock with those who hold it.
                local.wake()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def _take(self, local: _Local, deadline: Optional[float]) -> None:
        client = self._client
        self._session = client._current_session()
        local.share_place(self._session)
        only_if_free = self._wait == 0
        ticket = await client.locks._acquire(
            self._session, self._name, self._shared, only_if_free, self._delay, (), None
        )
        if ticket.fence:
            self._fence = ticket.fence
            return

        async def fence_now() -> Tuple[Optional[int], int]:
            part, _, revision = await read_part(
                client, _LOCK, _read_place, self._name, ticket.ticket - 1, 1, ReadLevel.LINEARIZABLE, None
            )
            return (part[0].fence if part and part[0].ticket == ticket.ticket else None), revision

        turn = wait_for_fence(client, self._session, Table.LOCKS, self._name, ticket.ticket, fence_now)
        remaining = None if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())
        try:
            self._fence = await asyncio.wait_for(turn, remaining)
        except asyncio.TimeoutError:
            raise DeadlineExceeded("others hold the lock") from None

    def _leave_locally(self, local: _Local) -> "Optional[asyncio.Future[None]]":
        """Gives up the place in the cluster too, if there is one, unless another task shares it. That goes out before
        anything that a task which comes next sends, and until it is answered or the session ends."""
        released = None
        session, self._session = self._session, None
        if session is not None and local.leave_place(session) and not session.is_lost:
            released = session.submit_unattended(_RELEASE, wire.bytes16(self._name))
        local.leave()
        if not local.holders and not local.waiting:
            self._client.locks._local.pop(self._name, None)
        return released


def _read_place(reader: wire.Reader) -> LockPlace:
    ticket = reader.u64()
    session = reader.raw(16)
    shared = reader.u8() == 2
    fence = reader.u64()
    delay = reader.u32() / 1000
    held_until = reader.u64()
    return LockPlace(ticket, session, shared, fence, delay, held_until or None)


