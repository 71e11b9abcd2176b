"""As much of a client as it takes to fill a log quickly: puts over one TLS connection, as docs/PROTOCOL.md describes it."""

import os
import socket
import ssl
import struct

from machines import Failure


def make_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = make_table()


def checksum(data):
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


def frame(kind, flags, request, body):
    head = struct.pack("<IBBHQ", 16 + len(body), 1, flags, kind, request) + body
    return head + struct.pack("<I", checksum(head))


def put(request, key, value, cluster_time):
    """A one-shot put: with a session of its own it is one entry of the log."""
    command = struct.pack("<BB16sQQQI", 1, 3, os.urandom(16), 1, 0, cluster_time, 10_000)
    command += struct.pack("<BH", 0, len(key)) + key + struct.pack("<I", len(value)) + value
    return frame(2, 8, request, command)


class Connection:
    def __init__(self, machine, address):
        root = machine.root
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(f"{root}/etc/quorate/ca.pem")
        context.load_cert_chain(f"{root}/etc/quorate/tls.pem", f"{root}/etc/quorate/tls.key")
        context.set_alpn_protocols(["quorate-client/1"])
        self.socket = context.wrap_socket(socket.create_connection((address, 7400), 10))
        self.file = self.socket.makefile("rb")
        self.socket.sendall(frame(1, 0, 1, struct.pack("<HHBH4sH1s", 1, 1, 0, 4, b"test", 1, b"1")))
        self.reply()

    def reply(self):
        (length,) = struct.unpack("<I", self.file.read(4))
        body = self.file.read(length)
        (code,) = struct.unpack_from("<H", body, 12)
        if code != 0:
            raise Failure(f"a request was answered with the error {code}: {body[22:]}")
        return body[22:]

    def cluster_time(self):
        self.socket.sendall(frame(7, 0, 1, b""))
        return struct.unpack_from("<Q", self.reply())[0]

    def put_many(self, count, prefix):
        """In rounds of fewer requests than a connection may have without a reply."""
        for first in range(0, count, 500):
            numbers = range(first, min(count, first + 500))
            now = self.cluster_time()
            self.socket.sendall(b"".join(put(2 + number, f"{prefix}{number}".encode(), b"-", now) for number in numbers))
            for _ in numbers:
                self.reply()

    def close(self):
        self.file.close()
        self.socket.close()
