"""docs/CLIENTS.md, connection and discovery."""

from __future__ import annotations

import asyncio
import signal
import time

import quorate

from .quorum import Quorum
from .support import QuorumTests, asynchronous


class ConnectionTests(QuorumTests):
    @asynchronous
    async def test_c01_one_address_is_enough(self) -> None:
        first = self.quorum.others(await self.quorum.leader())[0]
        async with quorate.Client(self.quorum.nodes[first].address) as client:
            await client.put(self.prefix + "a", "1")
            self.quorum.kill(first)
            await client.put(self.prefix + "a", "2")
            row = await client.get(self.prefix + "a")
            self.assertEqual(row and row.value, b"2")
            self.assertEqual(sorted(client.addresses), sorted(self.quorum.endpoints))

    @asynchronous
    async def test_c02_the_leader_is_killed(self) -> None:
        async with self.client() as client:
            await client.put(self.prefix + "a", "0")
            for round in range(2):
                leader = await self.quorum.leader()
                under_way = [asyncio.ensure_future(client.get(self.prefix + "a")) for _ in range(10)]
                under_way += [asyncio.ensure_future(client.get(self.prefix + "a", timeout=10)) for _ in range(10)]
                await asyncio.sleep(0)
                self.quorum.kill(leader)
                await client.put(self.prefix + "a", str(round))
                await asyncio.gather(*under_way)
                await self.quorum.whole()

    @asynchronous
    async def test_c03_the_leader_is_paused(self) -> None:
        async with self.client() as client:
            await client.put(self.prefix + "a", "1")
            leader = await self.quorum.leader()
            self.quorum.pause(leader)
            await client.put(self.prefix + "a", "2", timeout=10)
            row = await client.get(self.prefix + "a", timeout=10)
            self.assertEqual(row and row.value, b"2")
            self.quorum.resume(leader)

    @asynchronous
    async def test_c04_the_leader_is_stopped(self) -> None:
        async with self.client() as client:
            leader = await self.quorum.leader()
            process = self.quorum.nodes[leader].process
            assert process is not None
            process.send_signal(signal.SIGTERM)
            written = 0
            while process.poll() is None:
                await client.put(self.prefix + "a", str(written))
                await client.get(self.prefix + "a")
                written += 1
            self.assertEqual(process.returncode, 0)
            self.quorum.kill(leader)
            await client.put(self.prefix + "a", "after")

    @asynchronous
    async def test_c05_no_quorum(self) -> None:
        async with self.client() as client:
            await client.put(self.prefix + "a", "1")
            killed = self.quorum.others(await self.quorum.leader())
            for name in killed:
                self.quorum.kill(name)
            for call in (
                client.get(self.prefix + "a", timeout=1),
                client.put(self.prefix + "a", "2", timeout=1),
            ):
                started = time.monotonic()
                with self.assertRaises((quorate.DeadlineExceeded, quorate.OutcomeUnknown)) as caught:
                    await call
                self.assertLess(time.monotonic() - started, 2)
                self.assertRegex(str(caught.exception), "reached [0-3] of 3 nodes")

    @asynchronous
    async def test_c06_c78_a_restored_cluster_is_another_one(self) -> None:
        quorum = await Quorum().start()
        try:
            async with quorate.Client(quorum.endpoints) as client:
                before = await client.put("a", "1")
                await quorum.restore()
                started = time.monotonic()
                for _ in range(2):
                    with self.assertRaises(quorate.GenerationChanged):
                        await client.get("a")
                self.assertLess(time.monotonic() - started, 5)
                with self.assertRaises(quorate.GenerationChanged):
                    await client.put("a", "2")
            async with quorate.Client(quorum.endpoints) as anew:
                row = await anew.get("a")
                self.assertEqual(row and row.value, b"1")
                last = await anew.put("b", "1")
                with self.assertRaises(quorate.Compacted) as compacted:
                    await anew.changes(since=before)
                floor = compacted.exception.current_revision
                assert floor is not None and before < floor < last
                while True:
                    try:
                        changed = await anew.changes(since=floor)
                        break
                    except quorate.Compacted as moved:
                        # What is known of deletes begins later by and by.
                        floor = moved.current_revision
                        assert floor is not None and floor < last
                self.assertEqual([(each.key, each.revision) for each in changed.rows], [(b"b", last)])
        finally:
            await quorum.stop()
