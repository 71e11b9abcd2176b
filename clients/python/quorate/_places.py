"""Waiting for one's turn in the line of an election or a lock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Awaitable, Callable, List, Optional, Tuple, TypeVar

from . import _wire as wire
from ._session import Session
from .errors import SessionLost
from .values import Candidate, LockPlace, Range, ReadLevel
from .watch import Table, WatchEvent

if TYPE_CHECKING:
    from .client import Client

Place = TypeVar("Place", Candidate, LockPlace)

#: Of a row in either table: a ticket's fence comes after its session, and in a lock's row after the mode too.
_FENCE_AT = {Table.ELECTIONS: 16, Table.LOCKS: 17}


async def read_part(
    client: "Client",
    query: int,
    read: Callable[[wire.Reader], Place],
    name: bytes,
    after: int,
    limit: int,
    level: ReadLevel,
    timeout: Optional[float],
) -> Tuple[List[Place], bool, int]:
    """A part of a line: its places behind the ticket `after` (0: from the first), whether there are more, the revision.

    Args:
        query: the number of the query that lists such places.
        read: reads one of them.
        limit: how many at most; 0: as many as the node gives at once.
    """
    fields = wire.u8(query) + wire.bytes16(name) + wire.u64(after) + wire.u32(limit)
    reply = await client._query(fields, timeout, level)
    more = reply.rest.bool()
    return [read(reply.rest) for _ in range(reply.rest.u32())], more, reply.revision


async def read_line(
    client: "Client",
    query: int,
    read: Callable[[wire.Reader], Place],
    name: bytes,
    level: ReadLevel,
    timeout: Optional[float],
) -> Tuple[Place, ...]:
    """The whole line, part by part."""
    found: List[Place] = []
    more = True
    while more:
        part, more, _ = await read_part(client, query, read, name, found[-1].ticket if found else 0, 0, level, timeout)
        found += part
    return tuple(found)


async def wait_for_fence(
    client: "Client",
    session: Session,
    table: Table,
    name: bytes,
    ticket: int,
    now: Callable[[], Awaitable[Tuple[Optional[int], int]]],
) -> int:
    """Watches the row of one ticket until it has a fence: nobody else's turns cost anything.

    Args:
        now: asks for the ticket's fence (None: there is no such ticket) and the revision of that answer.

    Raises:
        SessionLost: the session ended, or may have, and the ticket with it.
    """
    fence, revision = await now()
    key = name + b"\0" + ticket.to_bytes(8, "big")
    lost = asyncio.get_running_loop().create_future()
    end = session.on_lost(lambda: None if lost.done() else lost.set_result(None))
    watch = client.watch(Range.key(key), table=table, since=revision + 1)
    try:
        while fence == 0 and not session.is_lost:
            coming: "asyncio.Future[WatchEvent]" = asyncio.ensure_future(watch.__anext__())
            try:
                await asyncio.wait([coming, lost], return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not coming.done():
                    coming.cancel()
            if coming.cancelled() or not coming.done():
                break
            change = coming.result().changes[-1]
            at = _FENCE_AT[table]
            fence = int.from_bytes(change.value[at : at + 8], "little") if change.value is not None else None
    finally:
        end()
        await watch.close()
    if fence and not session.is_lost:
        return fence
    raise SessionLost("the session has ended, and its place in the line with it")
