"""docs/CLIENTS.md, sessions."""

from __future__ import annotations

import asyncio
import time
from typing import List, Tuple

import quorate
from quorate import SessionState

from .quorum import eventually
from .support import QuorumTests, asynchronous


class SessionTests(QuorumTests):
    @asynchronous
    async def test_c30_a_session_stays_open(self) -> None:
        async with self.client(session_timeout=2) as client:
            states: List[SessionState] = []
            await client.put(self.prefix + "a", "1", owned=True)
            session = client.session_id
            client.on_session_state(states.append)
            self.quorum.kill(await self.quorum.leader())
            await asyncio.sleep(6)
            self.assertIsNotNone(await client.get(self.prefix + "a"))
            self.assertEqual(client.session_id, session)
            self.assertNotIn(SessionState.LOST, states)

    @asynchronous
    async def test_c35_a_row_says_which_session_it_goes_with(self) -> None:
        async with self.client() as client, self.client() as other:
            async with other.watch(self.prefix) as watch:
                for name, owned in (("a", False), ("b", True), ("c", False), ("d", True)):
                    await client.put(self.prefix + name, name, owned=owned)
                owners = [None, client.session_id, None, client.session_id]
                rows = [await other.get(self.prefix + name) for name in "abcd"]
                self.assertEqual([row and row.owner for row in rows], owners)
                self.assertEqual(list((await other.list(self.prefix)).rows), rows)
                keys = (await other.list(self.prefix, keys_only=True)).rows
                self.assertEqual([row.owner for row in keys], owners)
                told = [await asyncio.wait_for(watch.__anext__(), 20) for _ in range(4)]
                self.assertEqual([event.changes[0].owner for event in told], owners)
                # A plain put by whomever ends that.
                await other.put(self.prefix + "b", "")
                row = await other.get(self.prefix + "b")
                self.assertEqual(row and row.owner, None)

    @asynchronous
    async def test_c36_a_session_outlives_a_silent_node(self) -> None:
        async with self.client(session_timeout=3) as client:
            await client.put(self.prefix + "a", "1", owned=True)
            session = client.session_id
            states: List[SessionState] = []
            client.on_session_state(states.append)
            # With it the client speaks.
            leader = await self.quorum.leader()
            self.quorum.pause(leader)
            await asyncio.sleep(4.5)
            row = await client.get(self.prefix + "a")
            self.assertEqual(row and row.owner, session)
            self.assertNotIn(SessionState.LOST, states)
            self.quorum.resume(leader)

    @asynchronous
    async def test_c31_suspended_and_lost_in_time_c33_another_session(self) -> None:
        async with self.client(session_timeout=2) as client, self.client() as other:
            await client.put(self.prefix + "a", "1", owned=True)
            session = client.session_id
            told: List[Tuple[SessionState, float]] = []
            client.on_session_state(lambda state: told.append((state, time.monotonic())))
            cut_at = time.monotonic()
            self.quorum.cut()

            # The property may say so a moment before the listener does: it is judged by the clock, not by a timer.
            async def is_told() -> bool:
                return client.session_state is SessionState.LOST and len(told) == 2

            await eventually("the listener is told of the loss", is_told, 4)
            self.assertEqual([state for state, _ in told], [SessionState.SUSPENDED, SessionState.LOST])
            # The last keep-alive was sent before the cut, and at most a third of the timeout before it.
            suspended_after, lost_after = (at - cut_at for _, at in told)
            self.assertLess(suspended_after, 2 * 2 / 3 + 0.1)
            self.assertGreater(suspended_after, 2 / 3 - 0.1)
            self.assertLess(lost_after, 2.1)
            self.assertAlmostEqual(lost_after - suspended_after, 2 / 3, delta=0.15)
            self.quorum.heal()
            await client.put(self.prefix + "b", "1", owned=True)
            self.assertNotEqual(client.session_id, session)
            self.assertIs(client.session_state, SessionState.CONNECTED)

            async def is_gone() -> bool:
                return await other.get(self.prefix + "a") is None

            await eventually("what the first session owned is gone", is_gone)
            self.assertIsNotNone(await other.get(self.prefix + "b"))

    @asynchronous
    async def test_c32_connected_again(self) -> None:
        async with self.client(session_timeout=4.5) as client:
            await client.put(self.prefix + "a", "1", owned=True)
            session = client.session_id
            states = client.session_states()
            self.assertIs(await states.__anext__(), SessionState.CONNECTED)
            self.quorum.cut()
            self.assertIs(await states.__anext__(), SessionState.SUSPENDED)
            self.quorum.heal()
            self.assertIs(await states.__anext__(), SessionState.CONNECTED)
            self.assertEqual(client.session_id, session)
            self.assertIsNotNone(await client.get(self.prefix + "a"))
            await states.aclose()

    @asynchronous
    async def test_c34_a_closed_client_owns_nothing(self) -> None:
        async with self.client() as other:
            async with self.client(session_timeout=60) as client:
                await client.put(self.prefix + "a", "1", owned=True)
                await client.put(self.prefix + "b", "1")
                key = await client.create_sequential(self.prefix + "s", "1", owned=True)
                await client.transaction([], [quorate.Op.put(self.prefix + "c", "1", owned=True)])
                self.assertEqual(await other.count(self.prefix), 4)
                self.assertIsNotNone(await other.get(key))
            rows = (await other.list(self.prefix)).rows
            self.assertEqual([row.key for row in rows], [(self.prefix + "b").encode()])
