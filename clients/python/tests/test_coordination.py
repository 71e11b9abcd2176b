"""docs/CLIENTS.md, elections, locks, fences and the State API."""

from __future__ import annotations

import asyncio
import time

import quorate
from quorate import Guard

from .support import QuorumTests, asynchronous


class ElectionTests(QuorumTests):
    @asynchronous
    async def test_c40_the_next_one_leads(self) -> None:
        group = self.prefix
        async with self.client() as second:
            async with self.client() as first:
                async with first.elections.candidacy(group, "a") as leading:
                    old = await leading.lead()
                    self.assertTrue(leading.is_leading)
                    waiting = second.elections.candidacy(group, "b")
                    await waiting.__aenter__()
                    turn = asyncio.ensure_future(waiting.lead())
                    await asyncio.sleep(0.1)
                    self.assertFalse(turn.done() or waiting.is_leading)
                    lost = asyncio.ensure_future(leading.until_lost())
                    await first.close()
                    await asyncio.wait_for(lost, 5)
                    new = await asyncio.wait_for(turn, 5)
                    self.assertFalse(leading.is_leading)
                    self.assertGreater(new.fence, old.fence)
                    self.assertTrue(waiting.is_leading)
            await waiting.__aexit__(None, None, None)
            self.assertIsNone(await second.elections.leader(group))

    @asynchronous
    async def test_c41_candidates_outlive_the_clusters_leader(self) -> None:
        group = self.prefix
        async with self.client() as first, self.client() as second:
            leading = await first.elections.campaign(group)
            async with second.elections.candidacy(group) as waiting:
                turn = asyncio.ensure_future(waiting.lead())
                self.quorum.kill(await self.quorum.leader())
                line = await second.elections.candidates(group)
                self.assertEqual([place.fence for place in line], [leading.fence, 0])
                self.assertTrue(await first.elections.withdraw(group))
                self.assertGreater((await asyncio.wait_for(turn, 10)).fence, leading.fence)

    @asynchronous
    async def test_c42_what_the_leader_says(self) -> None:
        group = self.prefix
        async with self.client() as first, self.client() as second, self.client() as third:
            observed = third.elections.observe(group)
            self.assertIsNone(await observed.__anext__())
            await first.elections.campaign(group, "a")
            leader = await asyncio.wait_for(observed.__anext__(), 5)
            self.assertEqual(leader and leader.data, b"a")
            await second.elections.campaign(group, "b")
            await first.elections.set_data(group, "a2")
            leader = await asyncio.wait_for(observed.__anext__(), 5)
            self.assertEqual(leader and leader.data, b"a2")
            with self.assertRaises(quorate.NotLeading):
                await second.elections.set_data(group, "b2")
            await first.elections.withdraw(group)
            leader = await asyncio.wait_for(observed.__anext__(), 5)
            assert leader is not None
            self.assertEqual((leader.data, leader.session), (b"b", second.session_id))
            self.assertEqual(await first.elections.leader(group), leader)
            await observed.aclose()

    @asynchronous
    async def test_c44_who_leads_is_told(self) -> None:
        group = self.prefix
        async with self.client() as first, self.client() as second, self.client() as third:
            observed = third.elections.observe(group)
            self.assertIsNone(await observed.__anext__())

            async def told() -> quorate.Candidate:
                leader = await asyncio.wait_for(observed.__anext__(), 40)
                assert leader is not None
                return leader

            one = await first.elections.campaign(group, "a")
            leader = await told()
            self.assertEqual((leader.ticket, leader.fence, leader.data), (one.ticket, one.fence, b"a"))
            two = await second.elections.campaign(group, "b")
            # Whatever node the watch is at, it is gone, or its leader is, before the next change.
            for name in self.quorum.nodes:
                self.quorum.kill(name)
                await first.elections.set_data(group, f"without {name}", timeout=40)
                leader = await told()
                self.assertEqual((leader.ticket, leader.data), (one.ticket, f"without {name}".encode()))
                await self.quorum.whole()
            # Only who leads at the end of a revision is told, and nobody in between.
            await first.elections.campaign(group, "c")
            leader = await told()
            self.assertEqual((leader.ticket, leader.data), (two.ticket, b"b"))
            self.assertGreater(leader.fence, one.fence)
            await second.elections.withdraw(group)
            self.assertEqual((await told()).data, b"c")
            await first.close()
            self.assertIsNone(await asyncio.wait_for(observed.__anext__(), 40))
            # Who comes now begins with how things stand.
            late = third.elections.observe(group)
            self.assertIsNone(await late.__anext__())
            await late.aclose()
            await observed.aclose()

    @asynchronous
    async def test_c43_campaigning_again(self) -> None:
        group = self.prefix
        async with self.client() as first, self.client() as second:
            old = await first.elections.campaign(group, "a")
            await second.elections.campaign(group, "b")
            again = await first.elections.campaign(group, "a")
            self.assertEqual(again.fence, 0)
            line = await first.elections.candidates(group)
            self.assertEqual([place.data for place in line], [b"b", b"a"])
            self.assertGreater(line[0].fence, old.fence)


class LockTests(QuorumTests):
    @asynchronous
    async def test_c50_one_holder_at_a_time(self) -> None:
        name = self.prefix
        async with self.client() as first, self.client() as second, self.client() as third:
            order = []
            fences = []

            async def hold(number: int, client: quorate.Client) -> None:
                async with client.locks.lock(name) as lock:
                    order.append(number)
                    fences.append(lock.guard.fence)
                    self.assertTrue(lock.is_held)
                    await client.put(name, str(number), guards=[lock.guard])
                    await asyncio.sleep(0.02)
                    order.append(number)
                self.assertFalse(lock.is_held)

            holds = []
            # The last is a second task of the first client, which takes its turn as well.
            for number, client in enumerate((first, second, third, first)):
                holds.append(asyncio.ensure_future(hold(number, client)))
                places = min(number + 1, 3)
                while len(await third.locks.line(name)) < places and not order.count(number):
                    await asyncio.sleep(0.005)
            await asyncio.gather(*holds)
            self.assertEqual(order, [0, 0, 1, 1, 2, 2, 3, 3])
            self.assertEqual(fences, sorted(set(fences)))
            self.assertEqual(await first.locks.line(name), ())

    @asynchronous
    async def test_c51_shared(self) -> None:
        name = self.prefix
        async with self.client() as first, self.client() as second, self.client() as third:
            async with first.locks.lock(name, shared=True):
                async with second.locks.lock(name, shared=True), first.locks.lock(name, shared=True):
                    alone = asyncio.ensure_future(third.locks.lock(name).__aenter__())
                    while len(await first.locks.line(name)) < 3:
                        await asyncio.sleep(0.005)
                self.assertFalse(alone.done())
            lock = await asyncio.wait_for(alone, 5)
            line = await first.locks.line(name)
            self.assertEqual([(place.shared, place.fence) for place in line], [(False, lock.guard.fence)])
            await lock.__aexit__(None, None, None)

    @asynchronous
    async def test_c52_giving_up(self) -> None:
        name = self.prefix
        async with self.client() as first, self.client() as second:
            async with first.locks.lock(name) as held:
                with self.assertRaises(quorate.LockHeld):
                    async with second.locks.lock(name, wait=0):
                        self.fail("two hold the lock")
                with self.assertRaises(quorate.LockHeld):
                    async with first.locks.lock(name, wait=0):
                        self.fail("two tasks hold the lock")
                started = time.monotonic()
                with self.assertRaises(quorate.DeadlineExceeded):
                    async with second.locks.lock(name, wait=0.3):
                        self.fail("two hold the lock")
                self.assertLess(time.monotonic() - started, 1)
                # The withdrawal goes out before anything that comes next.
                await second.put(name, "")
                line = await first.locks.line(name)
                self.assertEqual([place.fence for place in line], [held.guard.fence])
            async with second.locks.lock(name, wait=0):
                pass

    @asynchronous
    async def test_c53_a_delay(self) -> None:
        name = self.prefix
        async with self.client() as second:
            first = self.client()
            await first.locks.acquire(name, delay=1)
            turn = asyncio.ensure_future(second.locks.lock(name).__aenter__())
            while len(await second.locks.line(name)) < 2:
                await asyncio.sleep(0.005)
            await first.close()
            closed_at = time.monotonic()
            line = await second.locks.line(name)
            self.assertIsNotNone(line[0].held_until)
            lock = await asyncio.wait_for(turn, 10)
            self.assertGreater(time.monotonic() - closed_at, 0.8)
            await lock.__aexit__(None, None, None)

    @asynchronous
    async def test_c60_fences(self) -> None:
        group, key = self.prefix, self.prefix + "k"
        async with self.client() as first, self.client() as second:
            old = Guard.election(group, (await first.elections.campaign(group)).fence)
            lock = Guard.lock(group, (await first.locks.acquire(group)).fence)
            await first.put(key, "1", guards=[old, lock])
            await second.elections.campaign(group)
            await first.elections.withdraw(group)
            leader = await second.elections.leader(group)
            assert leader is not None
            for late in (
                first.put(key, "2", guards=[lock, old]),
                first.delete(key, guards=[old]),
                first.transaction([], [quorate.Op.delete(key)], guards=[old]),
                first.state.set(key, "2", version=bytes(16), expected=bytes(16), guards=[old]),
            ):
                with self.assertRaises(quorate.Fenced) as caught:
                    await late
                self.assertEqual(caught.exception.current_fence, leader.fence)
            row = await first.get(key)
            self.assertEqual(row and row.value, b"1")
            new = Guard.election(group, leader.fence)
            await second.put(key, "2", guards=[new])
            self.assertEqual(await first.validate(old), quorate.Validity(False, leader.fence))
            self.assertEqual(await first.validate(new), quorate.Validity(True, leader.fence))
            self.assertTrue((await second.validate(lock)).holds)


class StateTests(QuorumTests):
    @asynchronous
    async def test_c80_variables(self) -> None:
        name = self.prefix
        async with self.client() as first, self.client() as second:
            one = await first.state.fetch(name)
            two = await second.state.fetch(name)
            self.assertEqual(one.value, b"")
            self.assertIsNone(await first.state.get(name))
            stored = await first.state.store(one.mutate("1"))
            assert stored is not None
            self.assertIsNone(await second.state.store(two.mutate("2")))
            self.assertEqual(await second.state.fetch(name), stored)
            again = await second.state.store(stored.mutate("3"))
            assert again is not None
            self.assertIsNone(await first.state.store(stored.mutate("4")))
            self.assertFalse(await first.state.expunge(stored))
            self.assertIn(name.encode(), [each async for each in first.state.names()])
            self.assertTrue(await first.state.expunge(again))
            self.assertNotIn(name.encode(), [each async for each in first.state.names()])
