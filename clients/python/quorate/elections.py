"""Elections: one of those who campaign in a group leads, and each leader has a fence above all before."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, AsyncGenerator, Iterable, Optional, Tuple, Type

from . import _wire as wire
from ._places import read_line, read_part, wait_for_fence
from ._session import Session, SessionState
from .errors import Compacted, DeadlineExceeded, QuorateError
from .values import Bytes, Candidate, Guard, Range, ReadLevel, Ticket, as_bytes
from .watch import Table, WatchEvent

if TYPE_CHECKING:
    from .client import Client

_CAMPAIGN = 16
_WITHDRAW = 17
_SET_DATA = 18

_LEADER = 5
_CANDIDATES = 6


class Elections:
    """``client.elections``."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def candidacy(self, group: Bytes, data: Bytes = b"") -> "Candidacy":
        """Campaigns while a block runs; see :class:`Candidacy`."""
        return Candidacy(self._client, as_bytes(group), as_bytes(data))

    async def campaign(
        self, group: Bytes, data: Bytes = b"", *, guards: Iterable[Guard] = (), timeout: Optional[float] = None
    ) -> Ticket:
        """Takes the last place in the line of a group, for this client's session. A place that the session had there
        before is given up in the same step.

        Args:
            group: 1 to 1,024 bytes without a zero byte.
            data: told to those who ask for the leader; 64 KiB at most.

        Returns: the place; with a fence if it leads at once.
        """
        return await self._campaign(self._client._current_session(), as_bytes(group), as_bytes(data), guards, timeout)

    async def _campaign(
        self, session: Session, group: bytes, data: bytes, guards: Iterable[Guard], timeout: Optional[float]
    ) -> Ticket:
        fields = wire.bytes16(group) + wire.bytes32(data)
        reply = await self._client._mutate(_CAMPAIGN, fields, guards, timeout, session, owned=True)
        return Ticket(reply.rest.u64(), reply.rest.u64(), reply.revision)

    async def withdraw(
        self, group: Bytes, *, guards: Iterable[Guard] = (), timeout: Optional[float] = None
    ) -> bool:
        """Gives up this session's place; if it led, the next one leads in the same step.

        Returns: whether there was a place.
        """
        fields = wire.bytes16(as_bytes(group))
        return (await self._client._mutate(_WITHDRAW, fields, guards, timeout)).rest.bool()

    async def set_data(
        self, group: Bytes, data: Bytes, *, guards: Iterable[Guard] = (), timeout: Optional[float] = None
    ) -> int:
        """Changes what the leader tells.

        Raises:
            NotLeading: this session does not lead the group.
        """
        fields = wire.bytes16(as_bytes(group)) + wire.bytes32(as_bytes(data))
        return (await self._client._mutate(_SET_DATA, fields, guards, timeout)).revision

    async def leader(
        self, group: Bytes, *, level: ReadLevel = ReadLevel.LINEARIZABLE, timeout: Optional[float] = None
    ) -> Optional[Candidate]:
        """Who leads the group; None: nobody campaigns."""
        return (await self._leader(as_bytes(group), level, timeout))[0]

    async def _leader(
        self, group: bytes, level: ReadLevel = ReadLevel.LINEARIZABLE, timeout: Optional[float] = None
    ) -> Tuple[Optional[Candidate], int]:
        reply = await self._client._query(wire.u8(_LEADER) + wire.bytes16(group), timeout, level)
        return (_read_candidate(reply.rest) if reply.rest.bool() else None), reply.revision

    async def candidates(
        self, group: Bytes, *, level: ReadLevel = ReadLevel.LINEARIZABLE, timeout: Optional[float] = None
    ) -> Tuple[Candidate, ...]:
        """All who campaign, in the order in which they will lead."""
        return await read_line(self._client, _CANDIDATES, _read_candidate, as_bytes(group), level, timeout)

    async def observe(self, group: Bytes) -> AsyncGenerator[Optional[Candidate], None]:
        """Who leads the group now, and then whenever that, or what the leader tells, has changed: each once, in order,
        whatever becomes of the nodes.

        Where no node has the changes any more that come next, because this client was away from all of them for long,
        it goes on with who leads then; what was in between is not told.
        """
        name = as_bytes(group)
        told, revision = await self._leader(name)
        yield told
        while True:
            watch = self._client.watch(Range.prefix(name + b"\0"), table=Table.ELECTIONS, since=revision + 1)
            try:
                async for event in watch:
                    leader = _leader_after(told, event)
                    if leader != told:
                        told = leader
                        yield told
                return
            except Compacted:
                pass
            finally:
                await watch.close()
            leader, revision = await self._leader_when_reached(name)
            if leader != told:
                told = leader
                yield told

    async def _leader_when_reached(self, group: bytes) -> Tuple[Optional[Candidate], int]:
        while True:
            try:
                return await self._leader(group)
            except DeadlineExceeded:
                pass


class Candidacy:
    """A place in the line of an election group, given up when the block ends::

        async with client.elections.candidacy("masters", "10.0.0.1:5050") as candidacy:
            guard = await candidacy.lead()
            while candidacy.is_leading:
                await client.put("state", ..., guards=[guard])

    The guard is what keeps a leader that was paused from writing over its successor; ``is_leading`` tells it early.
    """

    def __init__(self, client: "Client", group: bytes, data: bytes) -> None:
        self._client = client
        self._group = group
        self._data = data
        self._session: Optional[Session] = None
        self._ticket: Optional[Ticket] = None
        self._fence = 0

    @property
    def ticket(self) -> Optional[Ticket]:
        """The place, once it is taken."""
        return self._ticket

    @property
    def guard(self) -> Optional[Guard]:
        """The fence, once it has led."""
        return Guard.election(self._group, self._fence) if self._fence else None

    @property
    def is_leading(self) -> bool:
        """It leads, and its session is not at risk; judged by the clock at this moment."""
        session = self._session
        return bool(self._fence) and session is not None and session.state is SessionState.CONNECTED

    async def __aenter__(self) -> "Candidacy":
        self._session = self._client._current_session()
        elections = self._client.elections
        try:
            self._ticket = await elections._campaign(self._session, self._group, self._data, (), None)
        except (QuorateError, asyncio.CancelledError):
            # A copy may still take effect; what is sent after it undoes that.
            self._withdraw()
            raise
        self._fence = self._ticket.fence
        return self

    async def lead(self) -> Guard:
        """Returns when it leads.

        Raises:
            SessionLost: the session ended, and the place with it.
        """
        if self._ticket is None or self._session is None:
            raise RuntimeError("not begun: use `async with`")
        if not self._fence:
            self._fence = await wait_for_fence(
                self._client, self._session, Table.ELECTIONS, self._group, self._ticket.ticket, self._fence_now
            )
        return Guard.election(self._group, self._fence)

    async def _fence_now(self) -> Tuple[Optional[int], int]:
        assert self._ticket is not None
        number = self._ticket.ticket
        part, _, revision = await read_part(
            self._client, _CANDIDATES, _read_candidate, self._group, number - 1, 1, ReadLevel.LINEARIZABLE, None
        )
        return (part[0].fence if part and part[0].ticket == number else None), revision

    async def until_lost(self) -> None:
        """Returns when it must not act as the leader any more: its session is suspended or lost, or its place is
        gone."""
        if self._session is None or self._ticket is None:
            return
        changed = asyncio.Event()
        end = self._client.on_session_state(lambda state: changed.set())
        key = self._group + b"\0" + self._ticket.ticket.to_bytes(8, "big")
        watch = self._client.watch(
            Range.key(key), table=Table.ELECTIONS, since=self._ticket.revision + 1, puts=False
        )
        gone = asyncio.ensure_future(watch.__anext__())
        try:
            while self._session.state is SessionState.CONNECTED and not gone.done():
                waiting = asyncio.ensure_future(changed.wait())
                await asyncio.wait([waiting, gone], return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                changed.clear()
        finally:
            end()
            gone.cancel()
            await asyncio.wait([gone])
            await watch.close()

    async def set_data(self, data: Bytes) -> None:
        """Changes what the leader tells.

        Raises:
            NotLeading: it does not lead.
        """
        fields = wire.bytes16(self._group) + wire.bytes32(as_bytes(data))
        if self._session is None:
            raise RuntimeError("not begun: use `async with`")
        await self._client._mutate(_SET_DATA, fields, (), None, self._session)

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._fence = 0
        withdrawn = self._withdraw()
        if withdrawn is not None:
            # If that takes longer, it happens as soon as the cluster is reached again, or with the session's end.
            await asyncio.wait([withdrawn], timeout=self._client.timeout)

    def _withdraw(self) -> "Optional[asyncio.Future[None]]":
        if self._session is None or self._session.is_lost:
            return None
        return self._session.submit_unattended(_WITHDRAW, wire.bytes16(self._group))


def _leader_after(leader: Optional[Candidate], event: WatchEvent) -> Optional[Candidate]:
    """Of all rows of a group, the one that has a fence is the leader's."""
    for change in event.changes:
        ticket = int.from_bytes(change.key[-8:], "big")
        if change.value is not None:
            row = wire.Reader(change.value)
            candidate = Candidate(ticket, row.raw(16), row.u64(), row.bytes32())
            if candidate.fence:
                return candidate
        elif leader is not None and leader.ticket == ticket:
            leader = None
    return leader


def _read_candidate(reader: wire.Reader) -> Candidate:
    return Candidate(reader.u64(), reader.raw(16), reader.u64(), reader.bytes32())
