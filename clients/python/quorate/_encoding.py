"""Public values as they go over the wire."""

from __future__ import annotations

from dataclasses import replace
from typing import Optional, Tuple

from . import _wire as wire
from .errors import ProtocolError
from .values import Guard, Page, Range, Row, Span

#: Flags of a request for a page.
KEYS_ONLY = 1
COUNT_ONLY = 2
#: Keep the state as it is for the pages to come.
PIN = 4


def range_of(span: Span) -> Range:
    """Text and bytes are prefixes."""
    return span if isinstance(span, Range) else Range.prefix(span)


def encode_range(span: Range) -> bytes:
    encoded = wire.u8(span.kind) + wire.bytes16(span.first)
    return encoded + wire.bytes16(span.end) if span.kind == 1 else encoded


def encode_guard(guard: Guard) -> bytes:
    return wire.u8(guard.kind) + wire.bytes16(guard.name) + wire.u64(guard.fence)


def read_row(key: bytes, reader: wire.Reader) -> Optional[Row]:
    """What a get answers."""
    if not reader.bool():
        return None
    revision = reader.u64()
    value = reader.bytes32()
    # Nodes of the first releases end here.
    is_owned = not reader.is_at_end and reader.bool()
    return Row(key, revision, value, reader.raw(16) if is_owned else None)


def encode_put(key: bytes, value: bytes, revision: Optional[int], owned: bool) -> bytes:
    flags = (0 if revision is None else 1) | (2 if owned else 0)
    condition = b"" if revision is None else wire.u64(revision)
    return wire.u8(flags) + condition + wire.bytes16(key) + wire.bytes32(value)


def encode_page(after: bytes, limit: int, flags: int) -> bytes:
    return wire.bytes16(after) + wire.u32(limit) + wire.u8(flags)


def read_page(reply: wire.Reply, flags: int) -> Tuple[int, Page]:
    """The view, and what the page shows."""
    reader = reply.rest
    view = reader.u64()
    more = reader.bool()
    cursor = reader.bytes16()
    count = reader.u32()
    rows = []
    if not flags & COUNT_ONLY:
        for _ in range(count):
            key = reader.bytes16()
            revision = reader.u64()
            rows.append(Row(key, revision, b"" if flags & KEYS_ONLY else reader.bytes32()))
        for _ in range(0 if reader.is_at_end else reader.u32()):
            index = reader.u32()
            owner = reader.raw(16)
            if index >= count:
                raise ProtocolError("an owner of a row that the page does not have")
            rows[index] = replace(rows[index], owner=owner)
    return view, Page(tuple(rows), count, reply.revision, more, cursor)
