"""docs/CLIENTS.md, what was there before, and what has changed since."""

from __future__ import annotations

import asyncio
import os
from typing import Dict, List, Optional

import quorate
from quorate import Op, Range

from .quorum import Quorum, eventually
from .support import QuorumTests, asynchronous


async def events(watch: quorate.Watch, count: int) -> List[quorate.WatchEvent]:
    found: List[quorate.WatchEvent] = []
    while len(found) < count:
        event = await asyncio.wait_for(watch.__anext__(), 40)
        if not event.is_progress:
            found.append(event)
    return found


class HistoryTests(QuorumTests):
    @asynchronous
    async def test_c26_a_row_at_an_earlier_revision(self) -> None:
        key = self.prefix + "k"
        async with self.client() as client:
            early = await client.put(key, "early")
            with self.assertRaises(quorate.HistoryOff) as off:
                await client.history.get_at(key, early)
            self.assertEqual(off.exception.current_revision, 0)
            since = await client.history.on(self.prefix)
            self.assertEqual(await client.history.on(self.prefix), since)
            kept = [each for each in await client.history.list() if each.prefix == self.prefix.encode()]
            self.assertEqual([each.since for each in kept], [since])

            expected: Dict[int, Optional[quorate.Row]] = {since: quorate.Row(key.encode(), early, b"early")}
            times: Dict[int, int] = {}
            async with client.watch(Range.key(key), since=since, origins=True) as watch:
                for value in ("1", None, "2", "3", None):
                    if value is None:
                        revision = await client.delete(key)
                        expected[revision] = None
                    else:
                        revision = await client.put(key, value)
                        expected[revision] = quorate.Row(key.encode(), revision, value.encode())
                    elsewhere = await client.put(self.prefix + "elsewhere", "")
                    expected[elsewhere] = expected[revision]
                    (event,) = await events(watch, 1)
                    assert event.origin is not None
                    times[revision] = event.origin.time
            for revision, row in expected.items():
                self.assertEqual(await client.history.get_at(key, revision), row, revision)
            for revision, time in times.items():
                # Several revisions may be of one time; the last of them counts.
                last = max(each for each, other in times.items() if other == time)
                self.assertEqual(await client.history.get_at(key, time=time), expected[last], revision)
            never = self.prefix + "never"
            self.assertIsNone(await client.history.get_at(never, since))

            with self.assertRaises(quorate.HistoryOff) as off:
                await client.history.get_at(key, early)
            self.assertEqual(off.exception.current_revision, since)
            with self.assertRaises(quorate.HistoryOff):
                await client.history.get_at(key, time=kept[0].time - 1)
            with self.assertRaises(quorate.InvalidRequest):
                await client.history.get_at(key, client.revision + 1_000_000)
            with self.assertRaises(ValueError):
                await client.history.get_at(key)
            self.assertTrue(await client.history.off(self.prefix))
            self.assertFalse(await client.history.off(self.prefix))
            with self.assertRaises(quorate.HistoryOff):
                await client.history.get_at(key, since)

    @asynchronous
    async def test_c76_what_was_there_before(self) -> None:
        on, off = self.prefix + "on/", self.prefix + "off/"
        async with self.client() as client:
            for prefix in (on, off):
                await client.put(prefix + "a", "0")
            since = await client.history.on(on)
            first = [await client.put(prefix + "a", "1") for prefix in (on, off)]
            keys = [prefix + name for prefix in (on, off) for name in ("a", "b", "c")]
            await client.transaction([], [Op.put(key, "2") for key in keys])
            second = client.revision
            await client.delete_range(self.prefix)
            await client.delete(on + "b")

            async def told(**options: bool) -> Dict[bytes, List[quorate.Change]]:
                found: Dict[bytes, List[quorate.Change]] = {}
                async with client.watch(self.prefix, since=since, **options) as watch:
                    for event in await events(watch, 5):
                        for change in event.changes:
                            found.setdefault(change.key, []).append(change)
                return found

            Previous = quorate.Previous
            changes = await told(values_before=True)
            self.assertEqual(
                [(each.value, each.created, each.previous) for each in changes[(on + "a").encode()][1:]],
                [(b"2", False, Previous(first[0], b"1")), (None, False, Previous(second, b"2"))],
            )
            self.assertEqual(
                [(each.value, each.created, each.previous) for each in changes[(on + "b").encode()]],
                # The last one deletes nothing.
                [(b"2", True, None), (None, False, Previous(second, b"2")), (None, False, None)],
            )
            for name in ("a", "b", "c"):
                for change in changes[(off + name).encode()]:
                    self.assertEqual((change.created, change.previous), (None, None))
            changes = await told(before=True, values=False)
            self.assertEqual(
                [(each.value, each.created, each.previous) for each in changes[(on + "a").encode()][1:]],
                [(None, False, Previous(first[0], None)), (None, False, Previous(second, None))],
            )
            changes = await told()
            self.assertEqual({each.created for each in changes[(on + "a").encode()]}, {None})
            await client.history.off(on)

    @asynchronous
    async def test_c77_who_and_when(self) -> None:
        async with self.client() as watcher:
            async with watcher.watch(self.prefix, origins=True) as watch, watcher.watch(self.prefix) as plain:
                async with self.client() as client:
                    await client.put(self.prefix + "a", "1", owned=True)
                    session = client.session_id
                (put, gone) = await events(watch, 2)
                assert put.origin is not None and gone.origin is not None
                self.assertEqual((put.origin.session, put.origin.principal), (session, 0))
                # The client has ended its session itself.
                self.assertEqual(gone.origin.session, session)
                self.assertGreaterEqual(gone.origin.time, put.origin.time)
                self.assertGreater(put.origin.time, 1_500_000_000 * 10**9)
                self.assertTrue(gone.changes[0].deleted)
                self.assertEqual([event.origin for event in await events(plain, 2)], [None, None])

                client = self.client(session_timeout=1)
                await client.put(self.prefix + "b", "1", owned=True)
                # Nothing of it is heard any more.
                await client._nodes.close()
                (put, gone) = await events(watch, 2)
                assert gone.origin is not None
                self.assertTrue(gone.changes[0].deleted)
                self.assertIsNone(gone.origin.session)
                await client.close(timeout=0)

    @asynchronous
    async def test_c78_what_has_changed_since(self) -> None:
        value = os.urandom(600)
        async with self.client() as client:
            for start in range(0, 4000, 1000):
                keys = [f"{self.prefix}{number:04}" for number in range(start, start + 1000)]
                await client.transaction([], [Op.put(key, value) for key in keys])
            rows = (await client.list(self.prefix)).rows
            self.assertEqual((await client.changes(self.prefix, since=client.revision)).rows, ())
            since = client.revision
            # More than one part has room for.
            expected = {}
            for number in range(0, 4000, 2):
                if number % 10:
                    expected[f"{self.prefix}{number:04}".encode()] = value + b"!"
            puts = [client.put(key, stored) for key, stored in expected.items()]
            deletes = [client.delete(f"{self.prefix}{number:04}") for number in range(0, 4000, 10)]
            await asyncio.gather(*puts, *deletes)
            again = await client.put(f"{self.prefix}0002", "again")
            expected[f"{self.prefix}0002".encode()] = b"again"
            await client.put(f"{self.prefix}new", "")
            await client.delete(f"{self.prefix}new")
            await client.put("elsewhere", "")

            changed = await client.changes(self.prefix, since=since)
            self.assertGreaterEqual(changed.revision, again)
            there = [row for row in changed.rows if row.value is not None]
            gone = [row for row in changed.rows if row.value is None]
            self.assertEqual(list(changed.rows), there + gone)
            self.assertEqual([(row.key, row.value) for row in there], sorted(expected.items()))
            deleted = [f"{self.prefix}{number:04}".encode() for number in range(0, 4000, 10)]
            self.assertEqual([row.key for row in gone], [*deleted, f"{self.prefix}new".encode()])
            self.assertTrue(all(row.revision > since for row in changed.rows))

            # With what was there, that is what is there.
            copy = {row.key: row.value for row in rows}
            for changed_row in changed.rows:
                if changed_row.value is None:
                    copy.pop(changed_row.key, None)
                else:
                    copy[changed_row.key] = changed_row.value
            self.assertEqual(copy, {row.key: row.value for row in (await client.list(self.prefix)).rows})
            one = await client.changes(Range.key(f"{self.prefix}0002"), since=since)
            self.assertEqual([(row.revision, row.value) for row in one.rows], [(again, b"again")])
            with self.assertRaises(quorate.InvalidRequest):
                await client.changes(self.prefix, since=client.revision + 1_000_000)

    @asynchronous
    async def test_c75_c79_away_for_longer_than_changes_are_told(self) -> None:
        flags = ("--segment-size", "1MiB", "--log-max", "8MiB", "--feed-size", "1MiB")
        quorum = await Quorum(*flags).start()
        try:
            async with quorate.Client(quorum.endpoints, timeout=40) as client:
                for number in range(10):
                    await client.put(f"k/{number}", "old")
                await client.history.on("k/")
                seen = await client.list("k/")
                await client.put("k/3", "new")
                await client.delete("k/5")

                async def is_cut() -> Optional[quorate.Compacted]:
                    await asyncio.gather(*(client.put("other", b"v" * 100_000) for _ in range(10)))
                    try:
                        async with client.watch("k/", since=seen.revision + 1):
                            return None
                    except quorate.Compacted as error:
                        return error

                error = await eventually("the log is cut at every node", is_cut, 50)
                self.assertGreater(error.current_revision or 0, seen.revision)
                with self.assertRaises(quorate.Compacted):
                    async with client.watch("k/", since=2):
                        self.fail("it tells what is gone")
                with self.assertRaises(quorate.Compacted):
                    await client.history.get_at("k/3", seen.revision)
                # What has not changed since needs no log.
                row = await client.history.get_at("k/4", seen.revision)
                self.assertEqual(row and row.value, b"old")
                changed = await client.changes("k/", since=seen.revision)
                self.assertEqual([(row.key, row.value) for row in changed.rows], [(b"k/3", b"new"), (b"k/5", None)])
                async with client.watch("k/", since=changed.revision + 1) as watch:
                    last = await client.put("k/7", "last")
                    (event,) = await events(watch, 1)
                    self.assertEqual(event.revision, last)
        finally:
            await quorum.stop()
