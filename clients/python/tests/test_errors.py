"""docs/CLIENTS.md, errors and limits, and that the list is whole."""

from __future__ import annotations

import ast
import asyncio
import glob
import os
import re
import ssl
import unittest

import quorate
from quorate import errors

from .quorum import Quorum
from .support import QuorumTests, asynchronous

_ROOT = os.path.join(os.path.dirname(__file__), "..", "..", "..")


def _read(*path: str) -> str:
    with open(os.path.join(_ROOT, *path), encoding="utf-8") as file:
        return file.read()


class ErrorTests(QuorumTests):
    @asynchronous
    async def test_c90_errors_can_be_told_apart(self) -> None:
        key = self.prefix
        async with self.client() as client, self.client() as other:
            revision = await client.put(key, "")
            await other.locks.acquire(key)
            guard = quorate.Guard.lock(key, 1)
            cases = [
                (client.put(key, "", revision=0), 30, "conflict", False, "current_revision", revision),
                (client.put(key, "", guards=[guard]), 33, "fenced", False, "current_fence", None),
                (client.locks.acquire(key, only_if_free=True), 35, "lockHeld", False, "limit", None),
                (client.elections.campaign("g" * 1025), 2, "tooLarge", False, "limit", 1024),
                (client.delete("", revision=1), 1, "invalidRequest", False, "limit", None),
            ]
            for call, code, name, retryable, field, value in cases:
                with self.assertRaises(quorate.ServerError) as caught:
                    await call
                error = caught.exception
                self.assertEqual((error.code, error.name, error.retryable), (code, name, retryable))
                if value is not None:
                    self.assertEqual(getattr(error, field), value)
            self.quorum.cut()
            with self.assertRaises(quorate.DeadlineExceeded) as deadline:
                await client.get(key, timeout=0.3)
            self.assertEqual((deadline.exception.name, deadline.exception.retryable), ("deadlineExceeded", True))
            self.quorum.heal()

    @asynchronous
    async def test_c91_more_than_a_node_takes_at_once(self) -> None:
        async with self.client() as client:
            puts = [client.put(self.prefix + str(number), "") for number in range(3000)]
            gets = [client.get(self.prefix + str(number)) for number in range(3000)]
            await asyncio.gather(*puts, *gets)
            self.assertEqual(await client.count(self.prefix), 3000)

    @asynchronous
    async def test_c95_tls(self) -> None:
        quorum = await Quorum(certificates=True).start()
        try:

            def context(authority: str) -> ssl.SSLContext:
                return quorate.tls_context(
                    certificate=quorum.certificate("client.pem"),
                    key=quorum.certificate("client.key"),
                    authority=quorum.certificate(authority),
                )

            async with quorate.Client(quorum.endpoints, tls=context("ca.pem")) as client:
                await client.put("a", "1")
                row = await client.get("a")
                self.assertEqual(row and row.value, b"1")
            await quorum.make_certificates("other")
            async with quorate.Client(quorum.endpoints, tls=context("other/ca.pem")) as stranger:
                with self.assertRaisesRegex(quorate.DeadlineExceeded, "CERTIFICATE_VERIFY_FAILED"):
                    await stranger.get("a", timeout=1)
            async with quorate.Client(quorum.endpoints) as plain:
                with self.assertRaises(quorate.DeadlineExceeded):
                    await plain.get("a", timeout=1)
        finally:
            await quorum.stop()


class ListTests(unittest.TestCase):
    def test_every_behaviour_has_a_test_of_each_client(self) -> None:
        listed = set(re.findall(r"^\| C-(\d\d) \|", _read("docs", "CLIENTS.md"), re.MULTILINE))
        self.assertGreater(len(listed), 30)
        python, swift = set(), set()
        for path in glob.glob(os.path.join(os.path.dirname(__file__), "test_*.py")):
            for function in re.findall(r"def (test_\w+)", _read(path)):
                python |= set(re.findall(r"_c(\d\d)(?=_)", function))
        for path in glob.glob(os.path.join(_ROOT, "Tests", "*", "*.swift")):
            for name in re.findall(r'@Test\(\s*"([^"]*)"', _read(path)):
                swift |= set(re.findall(r"\bC-(\d\d)\b", name))
        self.assertEqual(sorted(python ^ listed), [], "of the Python client")
        self.assertEqual(sorted(swift ^ listed), [], "of the Swift client")

    def test_every_error_of_the_document_has_a_class(self) -> None:
        rows = re.findall(r"^\| (\d+) \| `(\w+)` \| (yes|no) \|", _read("docs", "PROTOCOL.md"), re.MULTILINE)
        self.assertGreater(len(rows), 30)
        # What only operators' commands are answered.
        others = {"foundingRefused", "noSuchMember", "memberExists", "changeUnderWay", "notCaughtUp", "quorumAtRisk"}
        others |= {"memberUnreachable", "alarmHolds", "noSuchAlarm"}
        for code, name, retryable in rows:
            if name not in others:
                error = errors.error_of(int(code), "", 0)
                self.assertEqual((error.name, error.retryable), (name, retryable == "yes"))
        self.assertFalse(errors.error_of(9999, "", 0).retryable)

    def test_the_oldest_python_can_read_it(self) -> None:
        for path in glob.glob(os.path.join(os.path.dirname(__file__), "..", "quorate", "*.py")):
            ast.parse(_read(path), path, feature_version=(3, 9))
