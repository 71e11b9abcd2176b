"""Public values as they go over the wire."""

from __future__ import annotations

from . import _wire as wire
from .values import Guard, Range, Span


def range_of(span: Span) -> Range:
    """Text and bytes are prefixes."""
    return span if isinstance(span, Range) else Range.prefix(span)


def encode_range(span: Range) -> bytes:
    encoded = wire.u8(span.kind) + wire.bytes16(span.first)
    return encoded + wire.bytes16(span.end) if span.kind == 1 else encoded


def encode_guard(guard: Guard) -> bytes:
    return wire.u8(guard.kind) + wire.bytes16(guard.name) + wire.u64(guard.fence)
