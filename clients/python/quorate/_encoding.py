"""Public values as they go over the wire."""

from __future__ import annotations

from typing import Optional

from . import _wire as wire
from .values import Guard, Range, Row, Span


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
