"""What was there before a change: kept for the keys for which somebody asked for it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Iterable, Optional, Tuple

from . import _wire as wire
from ._encoding import read_row
from .errors import Compacted, DeadlineExceeded, HistoryOff, InvalidRequest, TooLarge
from .values import Bytes, Guard, KeptHistory, Range, Row, as_bytes
from .watch import WatchEvent

if TYPE_CHECKING:
    from .client import Client

_SET_HISTORY = 23

_GET = 1
_HISTORY = 12
_MOMENT = 14
_HISTORY_OF = 15

#: Seconds between the marks of a watch that is read up to a revision.
_PROGRESS = 0.25


class History:
    """``client.history``."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    async def on(self, prefix: Bytes, *, guards: Iterable[Guard] = (), timeout: Optional[float] = None) -> int:
        """Has it kept from now on what was there before each change of the keys that begin so; of all keys for an empty
        prefix. Where it is on, nothing changes.

        Returns: the revision since which it is on: changes after it tell what was before them.
        """
        return (await self._set(True, prefix, guards, timeout))[1]

    async def off(self, prefix: Bytes, *, guards: Iterable[Guard] = (), timeout: Optional[float] = None) -> bool:
        """Ends that, for exactly this prefix.

        Returns: whether it was on.
        """
        return (await self._set(False, prefix, guards, timeout))[0]

    async def _set(
        self, is_on: bool, prefix: Bytes, guards: Iterable[Guard], timeout: Optional[float]
    ) -> Tuple[bool, int]:
        fields = wire.u8(is_on) + wire.bytes16(as_bytes(prefix))
        reply = await self._client._mutate(_SET_HISTORY, fields, guards, timeout)
        return reply.rest.bool(), reply.rest.u64()

    async def list(self, *, timeout: Optional[float] = None) -> Tuple[KeptHistory, ...]:
        """The prefixes for which it is on, in order."""
        reader = (await self._client._query(wire.u8(_HISTORY), timeout)).rest
        # "More": never, a cluster has 256 of them at most.
        reader.bool()
        return tuple(KeptHistory(reader.bytes16(), reader.u64(), reader.u64()) for _ in range(reader.u32()))

    async def get_at(
        self,
        key: Bytes,
        revision: Optional[int] = None,
        *,
        time: Optional[int] = None,
        timeout: Optional[float] = None,
    ) -> Optional[Row]:
        """The row under a key as it was at a revision, or at a time: after everything that had happened by then.

        Args:
            time: instead of a revision, cluster time in nanoseconds since 1970.

        Raises:
            HistoryOff: no history of the key was kept then.
            Compacted: no node tells so old changes any more.
            InvalidRequest: the revision is yet to come.
            TooLarge: the value of then was too large to be kept or told.
        """
        if (revision is None) == (time is None):
            raise ValueError("name either a revision or a time")
        client, name = self._client, as_bytes(key)
        deadline = client._deadline(timeout)

        def remaining() -> float:
            return max(0.0, deadline - client._loop.time())

        kept = (await client._query(wire.u8(_HISTORY_OF) + wire.bytes16(name), remaining())).rest
        since, since_time = kept.u64(), kept.u64()
        start = revision
        if time is not None:
            start = max(since, await self._revision_at(time, remaining())) if time >= since_time else 0
        assert start is not None
        if start < since:
            raise _off(f"history of {name!r} is kept since revision {since}", since)
        reply = await client._query(wire.u8(_GET) + wire.bytes16(name), remaining())
        now, row = reply.revision, read_row(name, reply.rest)
        if start > now:
            raise InvalidRequest(f"revision {start} is yet to come: the newest is {now}")
        # Unchanged since, or nothing can have changed.
        if start == now or row is not None and row.revision <= start:
            return row
        try:
            found = await asyncio.wait_for(self._first_after(name, start, now, time), remaining())
        except asyncio.TimeoutError:
            raise DeadlineExceeded(client._nodes.describe()) from None
        return row if found is None else _row_before(name, found)

    async def _revision_at(self, time: int, timeout: float) -> int:
        """A revision at or before that time."""
        answer = (await self._client._query(wire.u8(_MOMENT) + wire.u64(time), timeout)).rest
        revision, then = answer.u64(), answer.u64()
        if then > time:
            error = Compacted(f"changes of that time are no longer told, only those after revision {revision}")
            error.current_revision = revision
            raise error
        return revision

    async def _first_after(self, key: bytes, start: int, now: int, time: Optional[int]) -> Optional[WatchEvent]:
        """The first change of the key after a revision, and after a time if there is one; None: there is none up to
        revision ``now``."""
        async with self._client.watch(
            Range.key(key), since=start + 1, values=False, values_before=True, origins=True, progress=_PROGRESS
        ) as watch:
            async for event in watch:
                is_of_then = time is not None and event.origin is not None and event.origin.time <= time
                if event.changes and not is_of_then:
                    return event
                if event.revision >= now:
                    return None
        raise AssertionError("only the one who has a watch ends it")


def _off(message: str, since: int) -> HistoryOff:
    error = HistoryOff(message)
    error.current_revision = since
    return error


def _row_before(key: bytes, event: WatchEvent) -> Optional[Row]:
    (change,) = event.changes
    if change.created is None:
        # It was switched off meanwhile.
        raise _off(f"no history is kept of {key!r} at revision {event.revision}", 0)
    if change.previous is None:
        return None
    if change.previous.value is None:
        raise TooLarge(f"the value of then was too large for revision {event.revision} to keep")
    return Row(key, change.previous.revision, change.previous.value)
