"""Frames and the fields in them: bytes to values and back, nothing else."""

from __future__ import annotations

import struct
from typing import NamedTuple, Optional, Tuple

from ._crc32c import crc32c
from .errors import ProtocolError, ServerError, TooLarge, error_of

VERSION = 1

FLAG_REPLY = 1
FLAG_MORE = 2
FLAG_MAY_FORWARD = 8

HELLO = 1
MUTATE = 2
QUERY = 3
KEEP_ALIVE = 4
STATUS = 5
PING = 7
GOING_AWAY = 8
WATCH = 10
WATCH_CREDIT = 11
WATCH_CANCEL = 12

#: No node sends a larger frame: its own largest value, and room for the rest.
FRAME_SIZE_MAX = 1 << 30

_HEADER = struct.Struct("<IBBHQ")
_U8 = struct.Struct("<B")
_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


def u8(value: int) -> bytes:
    return _U8.pack(value)


def u16(value: int) -> bytes:
    return _U16.pack(value)


def u32(value: int) -> bytes:
    return _U32.pack(value)


def u64(value: int) -> bytes:
    return _U64.pack(value)


def bytes16(value: bytes) -> bytes:
    if len(value) > 0xFFFF:
        error = TooLarge(f"a key or name of {len(value)} bytes")
        error.limit = 0xFFFF
        raise error
    return _U16.pack(len(value)) + value


def bytes32(value: bytes) -> bytes:
    return _U32.pack(len(value)) + value


def text(value: str) -> bytes:
    return bytes16(value.encode("utf-8"))


def encode_frame(kind: int, flags: int, request_id: int, body: bytes) -> bytes:
    """A whole frame."""
    frame = _HEADER.pack(16 + len(body), VERSION, flags, kind, request_id) + body
    return frame + _U32.pack(crc32c(frame))


class Frame(NamedTuple):
    kind: int
    flags: int
    request_id: int
    body: bytes
    #: Of the whole frame, in bytes.
    size: int


class FrameScanner:
    """Cuts what arrives on a connection into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> Optional[Frame]:
        """The next whole frame; None until more has arrived.

        Raises:
            ProtocolError: what arrived is no frame, and where the next one begins is not known.
        """
        buffer = self._buffer
        if len(buffer) < 20:
            if buffer[:9] == b"quorate: ":
                raise ProtocolError(_turned_away(buffer))
            return None
        length, version, flags, kind, request_id = _HEADER.unpack_from(buffer)
        if buffer[:9] == b"quorate: ":
            raise ProtocolError(_turned_away(buffer))
        size = length + 4
        if version != VERSION or flags & ~(FLAG_REPLY | FLAG_MORE) or not 20 <= size <= FRAME_SIZE_MAX:
            raise ProtocolError("not a frame of this protocol")
        if len(buffer) < size:
            return None
        content = bytes(buffer[: size - 4])
        (checksum,) = _U32.unpack_from(buffer, size - 4)
        del buffer[:size]
        if crc32c(content) != checksum:
            raise ProtocolError("a frame with a wrong checksum")
        return Frame(kind, flags, request_id, content[16:], size)


def _turned_away(buffer: bytearray) -> str:
    return buffer[9:200].split(b"\n")[0].decode("ascii", "replace").strip()


class Reader:
    """Reads fields one after the other.

    Raises:
        ProtocolError: fewer bytes than the fields need.
    """

    __slots__ = ("_data", "_offset")

    def __init__(self, data: bytes, offset: int = 0) -> None:
        self._data = data
        self._offset = offset

    @property
    def is_at_end(self) -> bool:
        return self._offset >= len(self._data)

    def _take(self, form: struct.Struct) -> int:
        try:
            (value,) = form.unpack_from(self._data, self._offset)
        except struct.error:
            raise ProtocolError("a body that ends too early") from None
        self._offset += form.size
        return int(value)

    def u8(self) -> int:
        return self._take(_U8)

    def u16(self) -> int:
        return self._take(_U16)

    def u32(self) -> int:
        return self._take(_U32)

    def u64(self) -> int:
        return self._take(_U64)

    def bool(self) -> bool:
        value = self._take(_U8)
        if value > 1:
            raise ProtocolError("a truth value that is neither 0 nor 1")
        return value == 1

    def raw(self, size: int) -> bytes:
        end = self._offset + size
        if end > len(self._data):
            raise ProtocolError("a body that ends too early")
        value = self._data[self._offset : end]
        self._offset = end
        return value

    def rest(self) -> bytes:
        """Everything that is left."""
        return self.raw(max(0, len(self._data) - self._offset))

    def bytes16(self) -> bytes:
        return self.raw(self.u16())

    def bytes32(self) -> bytes:
        return self.raw(self.u32())

    def text(self) -> str:
        return self.bytes16().decode("utf-8", "replace")


class Reply(NamedTuple):
    """The part that all replies have, and a reader for the rest."""

    code: int
    revision: int
    rest: Reader


def decode_reply(body: bytes) -> Reply:
    reader = Reader(body)
    return Reply(reader.u16(), reader.u64(), reader)


def decode_error(reply: Reply) -> ServerError:
    """The error of a reply whose code is not 0. Tags that are not known are skipped."""
    reader = reply.rest
    error = error_of(reply.code, reader.text(), reply.revision)
    for _ in range(reader.u8()):
        tag = reader.u8()
        value = reader.bytes16()
        if tag in (1, 2, 3, 8) and len(value) == 8:
            number = int.from_bytes(value, "little")
            if tag == 1:
                error.current_revision = number
            elif tag == 2:
                error.expected_sequence = number
            elif tag == 3:
                error.limit = number
            else:
                error.current_fence = number
        elif tag == 4 and len(value) == 4:
            error.retry_after = int.from_bytes(value, "little") / 1000
        elif tag == 5:
            error.leader_name = value.decode("utf-8", "replace")
        elif tag == 6:
            error.leader_address = value.decode("utf-8", "replace")
        elif tag == 7 and len(value) == 1:
            error.succeeded = value != b"\0"
        elif tag == 9:
            error.rule = value.decode("utf-8", "replace")
    return error


class Identity(NamedTuple):
    """Which cluster, and which of its lives."""

    cluster: int
    generation: int
    tag: int

    def encoded(self) -> bytes:
        return u64(self.cluster) + u64(self.generation) + u64(self.tag)


def read_identity(reader: Reader) -> Optional[Identity]:
    return Identity(reader.u64(), reader.u64(), reader.u64()) if reader.bool() else None


def read_leader(reader: Reader) -> Optional[Tuple[str, str]]:
    """Name and client address; the address may be empty."""
    return (reader.text(), reader.text()) if reader.bool() else None


class Hello(NamedTuple):
    """What a node says of itself."""

    identity: Optional[Identity]
    node: int
    name: str
    software: str
    #: Nanoseconds since 1970.
    cluster_time: int
    frame_size: int
    value_size: int
    operations: int
    requests: int
    #: Least and most, in milliseconds.
    session_timeouts: Tuple[int, int]
    leader: Optional[Tuple[str, str]]


def encode_hello(identity: Optional[Identity], client: str, version: str) -> bytes:
    known = b"\0" if identity is None else b"\1" + identity.encoded()
    return u16(1) + u16(1) + known + text(client) + text(version)


def decode_hello(reader: Reader) -> Hello:
    if reader.u16() != 1:
        raise ProtocolError("a version of the protocol that was not offered")
    return Hello(
        read_identity(reader),
        reader.u64(),
        reader.text(),
        reader.text(),
        reader.u64(),
        reader.u32(),
        reader.u32(),
        reader.u32(),
        reader.u32(),
        (reader.u32(), reader.u32()),
        read_leader(reader),
    )


def decode_status_members(reader: Reader) -> Tuple[Optional[Tuple[str, str]], Tuple[Tuple[str, str], ...]]:
    """Of a status: the leader, and name and client address of each member."""
    read_identity(reader)
    reader.u64()
    reader.text()
    reader.raw(2 + 5 * 8)
    reader.raw(reader.u16() * 16)
    reader.raw(16)
    reader.text()
    reader.u64()
    reader.text()
    reader.text()
    leader = read_leader(reader)
    members = []
    for _ in range(reader.u16()):
        reader.u64()
        name = reader.text()
        reader.text()
        address = reader.text()
        reader.text()
        reader.bool()
        if reader.bool():
            reader.raw(2 + 3 * 8)
        members.append((name, address))
    return leader, tuple(members)
