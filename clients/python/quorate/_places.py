"""Waiting for one's turn in the line of an election or a lock."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Awaitable, Callable, Optional, Tuple

from ._session import Session
from .errors import SessionLost
from .values import Range
from .watch import Table, WatchEvent

if TYPE_CHECKING:
    from .client import Client

#: Of a row in either table: a ticket's fence comes after its session, and in a lock's row after the mode too.
_FENCE_AT = {Table.ELECTIONS: 16, Table.LOCKS: 17}


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
