"""What goes into calls and comes out of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Optional, Tuple, Union

#: A key, a value or a name: text goes as UTF-8. Results are always ``bytes``.
Bytes = Union[str, bytes]


def as_bytes(value: Bytes) -> bytes:
    """The bytes that go over the wire."""
    return value.encode("utf-8") if isinstance(value, str) else bytes(value)


class ReadLevel(enum.IntEnum):
    """What a read may miss."""

    #: Nothing: it sees every write that was acknowledged before the read began.
    LINEARIZABLE = 0
    #: It sees a state that existed, from any node without asking the leader; none older than what this client has seen.
    STALE = 1


@dataclass(frozen=True)
class Range:
    """Some keys: made by :meth:`prefix`, :meth:`between`, :meth:`since` or :meth:`key`."""

    kind: int
    first: bytes
    end: bytes = b""

    @staticmethod
    def prefix(prefix: Bytes) -> "Range":
        """All keys that begin so; all keys at all for an empty prefix."""
        return Range(0, as_bytes(prefix))

    @staticmethod
    def between(first: Bytes, end: Bytes) -> "Range":
        """From ``first``, inclusive, to ``end``, exclusive."""
        return Range(1, as_bytes(first), as_bytes(end))

    @staticmethod
    def since(first: Bytes) -> "Range":
        """From ``first``, inclusive, to the last key."""
        return Range(2, as_bytes(first))

    @staticmethod
    def key(key: Bytes) -> "Range":
        """One key."""
        return Range.between(as_bytes(key), as_bytes(key) + b"\0")


#: A prefix, or a range.
Span = Union[str, bytes, Range]


@dataclass(frozen=True)
class Row:
    """A record."""

    key: bytes
    #: Of its last change.
    revision: int
    #: Empty where only keys were asked for.
    value: bytes
    #: The session that the row goes with. None in what a transaction got and in what was there at an earlier revision,
    #: which do not tell.
    owner: Optional[bytes] = None


@dataclass(frozen=True)
class Page:
    """A part of a listing."""

    rows: Tuple[Row, ...]
    #: How many there are; more than ``rows`` has where they were only counted.
    count: int
    #: Of the state that was read.
    revision: int
    #: There are rows after these: pass ``cursor`` as ``after``.
    more: bool
    cursor: bytes


@dataclass(frozen=True)
class Listing:
    """All rows of a range at one revision."""

    rows: Tuple[Row, ...]
    revision: int


@dataclass(frozen=True)
class ChangedRow:
    """What has become of a key."""

    key: bytes
    #: Of its last change.
    revision: int
    #: None: there is no such row any more. There need not have been one at the revision that was asked for.
    value: Optional[bytes]


@dataclass(frozen=True)
class Changes:
    """What has changed in a range since a revision: the rows that are there, then the keys that are gone, each once and
    in key order."""

    rows: Tuple[ChangedRow, ...]
    #: Of the state that is shown; a watch from the one after it goes on from here.
    revision: int


@dataclass(frozen=True)
class KeptHistory:
    """Keys of which it is kept what was there before."""

    prefix: bytes
    #: The revision that switched it on, and its cluster time in nanoseconds since 1970.
    since: int
    time: int


@dataclass(frozen=True)
class Deleted:
    """What a range delete did."""

    count: int
    #: There are rows left.
    more: bool
    revision: int


class GuardKind(enum.IntEnum):
    ELECTION = 1
    LOCK = 2


@dataclass(frozen=True)
class Guard:
    """A fence that a mutation relies on: the mutation is refused with :class:`quorate.Fenced` unless the fence is the
    one of who leads the group, or of one who holds the lock, at the moment the mutation is applied."""

    kind: GuardKind
    #: Of the group or the lock.
    name: bytes
    #: A number that rises with every leader and every holder.
    fence: int

    @staticmethod
    def election(group: Bytes, fence: int) -> "Guard":
        return Guard(GuardKind.ELECTION, as_bytes(group), fence)

    @staticmethod
    def lock(name: Bytes, fence: int) -> "Guard":
        return Guard(GuardKind.LOCK, as_bytes(name), fence)


@dataclass(frozen=True)
class Validity:
    """Whether a fence holds, and which does; 0: nobody's."""

    holds: bool
    current_fence: int


@dataclass(frozen=True)
class Ticket:
    """A place in the line of an election or a lock."""

    ticket: int
    #: 0: others come first.
    fence: int
    revision: int


@dataclass(frozen=True)
class Candidate:
    """One who campaigns in an election."""

    ticket: int
    session: bytes
    #: 0: it waits.
    fence: int
    data: bytes


@dataclass(frozen=True)
class LockPlace:
    """One who holds or waits for a lock."""

    ticket: int
    session: bytes
    shared: bool
    #: 0: it waits.
    fence: int
    #: Seconds for which the lock stays held when the session ends.
    delay: float
    #: Nanoseconds since 1970, cluster time, when a lock whose session has ended becomes free; None: its session lives.
    held_until: Optional[int]


@dataclass(frozen=True)
class SessionInfo:
    """An open session."""

    id: bytes
    #: In seconds.
    timeout: float
    #: Nanoseconds since 1970, cluster time.
    opened_at: int
    #: Rows, tickets and locks.
    owned: int
