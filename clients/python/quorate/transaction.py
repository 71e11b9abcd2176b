"""Several operations at once, if what they rest on still holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple, Union

from . import _wire as wire
from .errors import ProtocolError
from .values import Bytes, as_bytes


@dataclass(frozen=True)
class If:
    """A comparison."""

    encoded: bytes

    @staticmethod
    def revision(key: Bytes, revision: int) -> "If":
        """The row was last changed at exactly this revision; 0: there is no row."""
        return If(b"\1" + wire.bytes16(as_bytes(key)) + wire.u64(revision))

    @staticmethod
    def value(key: Bytes, value: Bytes) -> "If":
        """The row has this value."""
        return If(b"\2" + wire.bytes16(as_bytes(key)) + wire.bytes32(as_bytes(value)))

    @staticmethod
    def exists(key: Bytes) -> "If":
        return If(b"\3" + wire.bytes16(as_bytes(key)) + b"\1")

    @staticmethod
    def absent(key: Bytes) -> "If":
        return If(b"\3" + wire.bytes16(as_bytes(key)) + b"\0")

    @staticmethod
    def unchanged(prefix: Bytes, since: int) -> "If":
        """No key with that prefix was put or deleted after the revision ``since``."""
        return If(b"\4" + wire.bytes16(as_bytes(prefix)) + wire.u64(since))


@dataclass(frozen=True)
class Op:
    """An operation."""

    encoded: bytes
    #: Of a get.
    key: bytes = b""
    #: Puts a row that goes with the session.
    owned: bool = False

    @staticmethod
    def put(key: Bytes, value: Bytes, *, owned: bool = False) -> "Op":
        """``owned``: the row goes when this client's session ends."""
        kind = b"\5" if owned else b"\1"
        return Op(kind + wire.bytes16(as_bytes(key)) + wire.bytes32(as_bytes(value)), owned=owned)

    @staticmethod
    def delete(key: Bytes) -> "Op":
        return Op(b"\2" + wire.bytes16(as_bytes(key)))

    @staticmethod
    def delete_prefix(prefix: Bytes) -> "Op":
        return Op(b"\3" + wire.bytes16(as_bytes(prefix)))

    @staticmethod
    def get(key: Bytes) -> "Op":
        """Sees the state that the comparisons saw."""
        return Op(b"\4" + wire.bytes16(as_bytes(key)), as_bytes(key))


@dataclass(frozen=True)
class Put:
    """A row was put."""


@dataclass(frozen=True)
class DeletedRow:
    """A row, if there was one, is gone."""


@dataclass(frozen=True)
class DeletedPrefix:
    """So many rows are gone."""

    count: int


@dataclass(frozen=True)
class Got:
    """What a get found."""

    key: bytes
    #: 0: there is no row.
    revision: int
    value: Optional[bytes]


Result = Union[Put, DeletedRow, DeletedPrefix, Got]


@dataclass(frozen=True)
class TransactionResult:
    """What a transaction did."""

    #: All comparisons held, so ``then`` was done; otherwise ``otherwise`` was.
    succeeded: bool
    #: One for each operation of the branch taken.
    results: Tuple[Result, ...]
    revision: int


def encode(comparisons: Tuple[If, ...], then: Tuple[Op, ...], otherwise: Tuple[Op, ...]) -> bytes:
    counts = wire.u16(len(comparisons)) + wire.u16(len(then)) + wire.u16(len(otherwise))
    parts = [comparison.encoded for comparison in comparisons]
    parts += [operation.encoded for operation in (*then, *otherwise)]
    return counts + b"".join(parts)


def decode(reply: wire.Reply, then: Tuple[Op, ...], otherwise: Tuple[Op, ...]) -> TransactionResult:
    reader = reply.rest
    succeeded = reader.bool()
    operations = then if succeeded else otherwise
    if reader.u16() != len(operations):
        raise ProtocolError("another number of results than of operations")
    results = []
    for operation in operations:
        kind = reader.u8()
        result: Result
        if kind == 1:
            result = Put()
        elif kind == 2:
            result = DeletedRow()
        elif kind == 3:
            result = DeletedPrefix(reader.u32())
        elif kind == 4:
            found = reader.bool()
            revision = reader.u64() if found else 0
            result = Got(operation.key, revision, reader.bytes32() if found else None)
        else:
            raise ProtocolError("a result of an unknown kind")
        results.append(result)
    return TransactionResult(succeeded, tuple(results), reply.revision)
