"""The bytes: against the examples of docs/PROTOCOL.md, and against what no node would send."""

from __future__ import annotations

import os
import random
import re
import unittest
from typing import Dict

from quorate import _wire as wire
from quorate._crc32c import _TABLE, crc32c
from quorate.errors import ProtocolError
from quorate.watch import Change, Origin, Previous, read_change, read_origin

_DOCUMENT = os.path.join(os.path.dirname(__file__), "..", "..", "..", "docs", "PROTOCOL.md")


def examples() -> Dict[str, bytes]:
    with open(_DOCUMENT, encoding="utf-8") as file:
        blocks = re.findall(r"```hex ([^\n]*)\n(.*?)```", file.read(), re.DOTALL)
    return {name: bytes.fromhex(re.sub(r"#[^\n]*|\s", "", block)) for name, block in blocks}


def frame_of(data: bytes) -> wire.Frame:
    scanner = wire.FrameScanner()
    scanner.feed(data)
    frame = scanner.next()
    assert frame is not None
    return frame


class ChecksumTests(unittest.TestCase):
    def test_known_values(self) -> None:
        self.assertEqual(crc32c(b""), 0)
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)
        self.assertEqual(crc32c(bytes(32)), 0x8A9136AA)

    def test_all_ways_to_compute_agree(self) -> None:
        generator = random.Random(1)
        for size in [*range(20), 511, 4095, 8191, 8192, 8193, 10_007, 70_001]:
            data = generator.getrandbits(8 * size).to_bytes(size, "little") if size else b""
            crc = 0xFFFFFFFF
            for byte in data:
                crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
            self.assertEqual(crc32c(data), crc ^ 0xFFFFFFFF, size)


class FrameTests(unittest.TestCase):
    def test_replies_of_the_document(self) -> None:
        found = examples()
        hello = wire.decode_hello(wire.decode_reply(frame_of(found["hello reply"]).body).rest)
        self.assertEqual((hello.name, hello.requests, hello.leader), ("n1", 1024, ("n1", "127.0.0.1:7400")))
        conflict = wire.decode_error(wire.decode_reply(frame_of(found["mutate conflict"]).body))
        self.assertEqual((conflict.name, conflict.current_revision, conflict.revision), ("conflict", 8, 9))
        leader, members = wire.decode_status_members(wire.decode_reply(frame_of(found["status reply"]).body).rest)
        self.assertEqual(members, (("n1", "127.0.0.1:7400"), ("n2", "")))

    def test_a_watch_with_history_of_the_document(self) -> None:
        reader = wire.decode_reply(frame_of(examples()["watch with history changes"]).body).rest
        self.assertEqual((reader.u8(), reader.u8(), reader.u64()), (2, 2, 17))
        session = bytes(range(16))
        self.assertEqual(read_origin(reader), Origin(session, 0, 1_700_000_000 * 10**9))
        changes = [read_change(reader) for _ in range(reader.u32())]
        self.assertEqual(
            changes,
            [
                Change(b"a/b", b"new", False, None, False, Previous(9, b"old")),
                Change(b"a/c", b"v", False, None, True, None),
            ],
        )
        reader.raw(8 + 32)
        changes = [read_change(reader) for _ in range(reader.u32())]
        self.assertEqual(changes, [Change(b"a/b", None, True, None, False, Previous(17, None))])
        self.assertTrue(reader.is_at_end)

    def test_a_frame_arrives_in_any_pieces(self) -> None:
        data = examples()["hello reply"]
        scanner = wire.FrameScanner()
        for index in range(len(data) - 1):
            scanner.feed(data[index : index + 1])
            self.assertIsNone(scanner.next())
        scanner.feed(data[-1:])
        self.assertIsNotNone(scanner.next())
        self.assertIsNone(scanner.next())

    def test_no_flipped_bit_passes(self) -> None:
        data = examples()["query get reply"]
        for bit in range(32, len(data) * 8):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            scanner = wire.FrameScanner()
            scanner.feed(bytes(flipped))
            with self.assertRaises(ProtocolError):
                scanner.next()

    def test_a_short_body_is_malformed(self) -> None:
        body = frame_of(examples()["hello reply"]).body
        for size in range(len(body)):
            with self.assertRaises(ProtocolError):
                wire.decode_hello(wire.decode_reply(body[:size]).rest)

    def test_a_node_may_say_why_it_turns_a_client_away(self) -> None:
        scanner = wire.FrameScanner()
        scanner.feed(b"quorate: too many connections\n")
        with self.assertRaisesRegex(ProtocolError, "^too many connections$"):
            scanner.next()
