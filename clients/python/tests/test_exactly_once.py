"""docs/CLIENTS.md, exactly once."""

from __future__ import annotations

import asyncio
from typing import List

import quorate
from quorate import _wire as wire

from .support import QuorumTests, asynchronous


class ExactlyOnceTests(QuorumTests):
    @asynchronous
    async def test_c10_a_lost_reply(self) -> None:
        async with self.client() as client:
            await client.put(self.prefix + "first", "")
            lost: List[bytes] = []

            def lose(kind: int, body: bytes) -> bool:
                if kind == wire.MUTATE and not lost:
                    lost.append(body)
                    return False
                return True

            for node in self.quorum.nodes.values():
                node.relay.on_reply = lose
            key = await client.create_sequential(self.prefix + "s/", "v")
            self.assertEqual(len(lost), 1)
            listing = await client.list(self.prefix + "s/")
            self.assertEqual([row.key for row in listing.rows], [key])

    @asynchronous
    async def test_c11_the_leader_is_killed_under_a_pipeline(self) -> None:
        async with self.client() as client:
            revision = await client.put(self.prefix + "a", "0")
            leader = await self.quorum.leader()
            seen = 0

            def kill(kind: int, body: bytes) -> bool:
                nonlocal seen
                seen += kind == wire.MUTATE
                if seen == 100 and self.quorum.nodes[leader].process is not None:
                    self.quorum.kill(leader)
                return True

            self.quorum.nodes[leader].relay.on_reply = kill
            # Each holds only on the value of the one before: out of order, lost or repeated, one would not.
            calls = [
                client.transaction(
                    [quorate.If.value(self.prefix + "a", str(number))],
                    [quorate.Op.put(self.prefix + "a", str(number + 1))],
                )
                for number in range(400)
            ]
            results = await asyncio.gather(*calls)
            self.assertIsNone(self.quorum.nodes[leader].process)
            self.assertTrue(all(result.succeeded for result in results))
            revisions = [revision, *(result.revision for result in results)]
            self.assertEqual(revisions, sorted(set(revisions)))

    @asynchronous
    async def test_c12_never_sent(self) -> None:
        async with self.client() as client:
            await client.put(self.prefix + "a", "1")
            self.quorum.cut()
            # The client notices that its connection has ended.
            await asyncio.sleep(0.1)
            with self.assertRaises(quorate.DeadlineExceeded):
                await client.put(self.prefix + "b", "never", timeout=0.5)
            self.quorum.heal()
            await client.put(self.prefix + "a", "2")
            self.assertIsNone(await client.get(self.prefix + "b"))

    @asynchronous
    async def test_c13_sent_and_not_answered(self) -> None:
        async with self.client() as client:
            await client.put(self.prefix + "a", "1")
            is_held = True
            for node in self.quorum.nodes.values():
                node.relay.on_reply = lambda kind, body: kind != wire.MUTATE or not is_held
            with self.assertRaises(quorate.OutcomeUnknown):
                await client.put(self.prefix + "a", "2", timeout=0.5)
            later = asyncio.ensure_future(client.put(self.prefix + "b", "3"))
            await asyncio.sleep(0.2)
            is_held = False
            revision = await later
            row = await client.get(self.prefix + "a")
            assert row is not None
            self.assertEqual(row.value, b"2")
            self.assertLess(row.revision, revision)

    @asynchronous
    async def test_c14_refusals_hold_up_nobody(self) -> None:
        async with self.client() as client:
            calls = []
            for number in range(60):
                if number % 3 == 0:
                    calls.append(client.put(self.prefix + str(number), "v"))
                elif number % 3 == 1:
                    calls.append(client.put(self.prefix + "0", "v", revision=1))
                else:
                    calls.append(client.put("k" * 5000, "v"))
            results = await asyncio.gather(*calls, return_exceptions=True)
            for number, result in enumerate(results):
                expected = (int, quorate.Conflict, quorate.TooLarge)[number % 3]
                self.assertIsInstance(result, expected, number)
            self.assertEqual(await client.count(self.prefix), 20)
