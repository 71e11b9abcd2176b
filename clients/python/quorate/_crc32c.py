"""CRC-32C (Castagnoli), as frames carry it, in pure Python.

Small inputs go through tables, four bytes at a time. Large ones are cut into blocks whose checksums are computed side
by side: one step takes the same byte of every block, as four planes of bytes that ``bytes.translate`` looks up and
big-integer XOR combines, so that the interpreter runs once for thousands of bytes. The blocks' checksums are then put
together by the operator "append so many zero bytes", which is linear.
"""

from __future__ import annotations

import functools
import struct
from typing import List, Tuple, Union

_POLYNOMIAL = 0x82F63B78


def _make_table() -> List[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ _POLYNOMIAL if crc & 1 else crc >> 1
        table.append(crc)
    return table


_TABLE = _make_table()
_PLANES = tuple(bytes((entry >> shift) & 0xFF for entry in _TABLE) for shift in (0, 8, 16, 24))
# What a byte makes of the checksum when one, two and three zero bytes follow it.
_TABLE_1 = [_TABLE[entry & 0xFF] ^ entry >> 8 for entry in _TABLE]
_TABLE_2 = [_TABLE[entry & 0xFF] ^ entry >> 8 for entry in _TABLE_1]
_TABLE_3 = [_TABLE[entry & 0xFF] ^ entry >> 8 for entry in _TABLE_2]
_words = struct.Struct("<I").iter_unpack

_BLOCK = 512
#: From here on the blocks are faster than the table.
_BLOCKS_FROM = 8 * 1024


def crc32c(data: Union[bytes, bytearray, memoryview]) -> int:
    """The checksum of ``data``."""
    crc = 0xFFFFFFFF
    size = len(data)
    done = 0
    if size >= _BLOCKS_FROM:
        done = size - size % _BLOCK
        crc = _blocks(crc, bytes(data[:done]))
        data = data[done:]
    return _update(crc, data) ^ 0xFFFFFFFF


def _update(crc: int, data: Union[bytes, bytearray, memoryview]) -> int:
    table0, table1, table2, table3 = _TABLE, _TABLE_1, _TABLE_2, _TABLE_3
    whole = len(data) & ~3
    for (word,) in _words(data[:whole]):
        word ^= crc
        crc = table3[word & 0xFF] ^ table2[word >> 8 & 0xFF] ^ table1[word >> 16 & 0xFF] ^ table0[word >> 24]
    for byte in data[whole:]:
        crc = table0[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc


def _blocks(crc: int, data: bytes) -> int:
    count = len(data) // _BLOCK
    from_bytes = int.from_bytes
    zero = bytes(count)
    # The checksum so far goes into the first block; the others begin with 0.
    first, second, third, fourth = (
        from_bytes(bytes([crc >> shift & 0xFF]) + zero[1:], "little") for shift in (0, 8, 16, 24)
    )
    plane0, plane1, plane2, plane3 = _PLANES
    for position in range(_BLOCK):
        column = from_bytes(data[position::_BLOCK], "little")
        index = (first ^ column).to_bytes(count, "little")
        first = from_bytes(index.translate(plane0), "little") ^ second
        second = from_bytes(index.translate(plane1), "little") ^ third
        third = from_bytes(index.translate(plane2), "little") ^ fourth
        fourth = from_bytes(index.translate(plane3), "little")
    table0, table1, table2, table3 = _zeros_operator()
    result = 0
    lanes = (plane.to_bytes(count, "little") for plane in (first, second, third, fourth))
    for byte0, byte1, byte2, byte3 in zip(*lanes):
        result = (
            table0[result & 0xFF]
            ^ table1[result >> 8 & 0xFF]
            ^ table2[result >> 16 & 0xFF]
            ^ table3[result >> 24]
            ^ (byte0 | byte1 << 8 | byte2 << 16 | byte3 << 24)
        )
    return result


@functools.lru_cache(maxsize=1)
def _zeros_operator() -> Tuple[List[int], ...]:
    """What ``_BLOCK`` zero bytes make of a checksum, as one table for each of its bytes."""
    bits = []
    for bit in range(32):
        crc = 1 << bit
        for _ in range(_BLOCK):
            crc = _TABLE[crc & 0xFF] ^ crc >> 8
        bits.append(crc)
    tables = []
    for shift in (0, 8, 16, 24):
        table = [0] * 256
        for value in range(1, 256):
            lowest = value & -value
            table[value] = table[value ^ lowest] ^ bits[shift + lowest.bit_length() - 1]
        tables.append(table)
    return tuple(tables)
