"""docs/CLIENTS.md, watches."""

from __future__ import annotations

import asyncio
from typing import List, Optional, Tuple

import quorate
from quorate import Op, Range

from .support import QuorumTests, asynchronous


async def changes(watch: quorate.Watch, count: int) -> List[Tuple[int, quorate.Change]]:
    found: List[Tuple[int, quorate.Change]] = []
    while len(found) < count:
        event = await asyncio.wait_for(watch.__anext__(), 20)
        found += [(event.revision, change) for change in event.changes]
    return found


class WatchTests(QuorumTests):
    @asynchronous
    async def test_c70_every_change_once(self) -> None:
        async with self.client() as writer, self.client() as watcher:
            async with watcher.watch(self.prefix) as watch:
                written: List[Tuple[int, bytes]] = []

                async def write() -> None:
                    for number in range(600):
                        key = f"{self.prefix}{number % 7}"
                        written.append((await writer.put(key, str(number)), str(number).encode()))

                writing = asyncio.ensure_future(write())
                reading = asyncio.ensure_future(changes(watch, 600))
                for victim in [await self.quorum.leader(), *sorted(self.quorum.nodes)[:2]]:
                    await asyncio.sleep(0.05)
                    self.quorum.kill(victim)
                    await asyncio.sleep(0.05)
                    self.quorum.start_node(victim)
                    await self.quorum.whole()
                await writing
                seen = [(revision, change.value) for revision, change in await reading]
                self.assertEqual(seen, written)

    @asynchronous
    async def test_c71_from_a_revision(self) -> None:
        async with self.client() as client:
            results = []
            for number in range(20):
                operations = [Op.put(f"{self.prefix}{part}", str(number)) for part in range(5)]
                results.append(await client.transaction([], operations))
            await client.transaction([], [Op.delete(f"{self.prefix}0"), Op.delete_prefix(f"{self.prefix}3")])
            async with client.watch(self.prefix, since=results[5].revision) as watch:
                for number in range(5, 20):
                    event = await watch.__anext__()
                    self.assertEqual(event.revision, results[number].revision)
                    self.assertEqual([change.value for change in event.changes], [str(number).encode()] * 5)
                event = await watch.__anext__()
                self.assertEqual(
                    [(change.key, change.deleted) for change in event.changes],
                    [(f"{self.prefix}{part}".encode(), True) for part in (0, 3)],
                )
                # More than fits into a frame.
                operations = [Op.put(f"{self.prefix}{part:04}", b"v" * 2000) for part in range(500)]
                large = await client.transaction([], operations)
                event = await watch.__anext__()
                self.assertEqual((event.revision, len(event.changes)), (large.revision, 500))

    @asynchronous
    async def test_c72_filters(self) -> None:
        a, b, c = (self.prefix + name for name in ("a", "b", "b/c"))
        async with self.client(session_timeout=5) as client:
            first = await client.put(a, "1", owned=True)
            session = client.session_id
            await client.put(b, "2")
            await client.put(c, "3")
            await client.delete(b)
            await client.put(self.prefix + "z", "end")

            async def seen(span: quorate.Range, **options: bool) -> List[Tuple[bytes, Optional[bytes]]]:
                async with client.watch(span, since=first, **options) as watch:
                    found: List[Tuple[bytes, Optional[bytes]]] = []
                    async for event in watch:
                        found += [(change.key, change.value) for change in event.changes]
                        if found[-1][0].endswith((b"z", b"b/c")):
                            return found
                raise AssertionError("the watch ended")

            every = Range.prefix(self.prefix)
            keys = [name.encode() for name in (a, b, c, b, self.prefix + "z")]
            self.assertEqual(await seen(Range.between(b, self.prefix + "b0")), [(b.encode(), b"2"), (c.encode(), b"3")])
            async with client.watch(every, since=first) as watch:
                found = await changes(watch, 5)
                self.assertEqual([change.key for _, change in found], keys)
                self.assertEqual([change.owner for _, change in found], [session, None, None, None, None])
            async with client.watch(every, since=first, puts=False) as watch:
                self.assertEqual([change.key for _, change in await changes(watch, 1)], [b.encode()])
            async with client.watch(every, since=first, deletes=False, values=False) as watch:
                found = await changes(watch, 4)
                self.assertEqual([(change.value, change.deleted) for _, change in found], [(None, False)] * 4)
            async with client.watch(Range.key(b), since=first) as watch:
                self.assertEqual([change.deleted for _, change in await changes(watch, 2)], [False, True])

    @asynchronous
    async def test_c73_progress(self) -> None:
        async with self.client() as client:
            async with client.watch(self.prefix + "none/", progress=0.25) as watch:
                revision = await client.put(self.prefix + "elsewhere", "")
                while True:
                    event = await asyncio.wait_for(watch.__anext__(), 5)
                    self.assertTrue(event.is_progress)
                    if event.revision >= revision:
                        break
                self.assertEqual(watch.next_revision, event.revision + 1)

    @asynchronous
    async def test_c74_a_slow_reader(self) -> None:
        async with self.client() as writer, self.client() as watcher:
            async with watcher.watch(self.prefix, credit=256 << 10) as watch:
                value = b"v" * (64 << 10)
                for _ in range(8):
                    await asyncio.gather(*(writer.put(self.prefix + "a", value) for _ in range(16)))
                await asyncio.sleep(0.2)
                # One more frame than there is credit for may come: a revision is not cut.
                self.assertLess(watch.unread, 768 << 10)
                self.assertGreater(watch.unread, 0)
                found = await changes(watch, 128)
                self.assertEqual(len({revision for revision, _ in found}), 128)
