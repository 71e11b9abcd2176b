"""docs/CLIENTS.md, records."""

from __future__ import annotations

import asyncio
import os

import quorate
from quorate import DeletedPrefix, DeletedRow, Got, If, Op, Put, ReadLevel

from .support import QuorumTests, asynchronous


class RecordTests(QuorumTests):
    @asynchronous
    async def test_c20_put_get_delete(self) -> None:
        key = self.prefix + "a"
        async with self.client() as client:
            self.assertIsNone(await client.get(key))
            first = await client.put(key, "1", revision=0)
            self.assertEqual(await client.get(key), quorate.Row(key.encode(), first, b"1"))
            with self.assertRaises(quorate.Conflict) as caught:
                await client.put(key, "2", revision=0)
            self.assertEqual(caught.exception.current_revision, first)
            second = await client.put(key, "2", revision=first)
            with self.assertRaises(quorate.Conflict) as caught:
                await client.delete(key, revision=first)
            self.assertEqual(caught.exception.current_revision, second)
            await client.delete(key, revision=second)
            await client.delete(key)
            self.assertIsNone(await client.get(key))
            with self.assertRaises(quorate.Conflict) as caught:
                await client.put(key, "3", revision=second)
            self.assertEqual(caught.exception.current_revision, 0)

    @asynchronous
    async def test_c21_prefixes_and_sequences(self) -> None:
        async with self.client() as client:
            keys = [await client.create_sequential(self.prefix + "s/", str(number)) for number in range(5)]
            self.assertEqual(keys, sorted(set(keys)))
            part = await client.delete_range(self.prefix + "s/", limit=2)
            self.assertEqual((part.count, part.more), (2, True))
            rest = await client.delete_range(self.prefix + "s/")
            self.assertEqual((rest.count, rest.more), (3, False))
            later = await client.create_sequential(self.prefix + "s/", "")
            self.assertGreater(later, keys[-1])
            for name in "abcd":
                await client.put(self.prefix + "r/" + name, name)
            span = quorate.Range.between(self.prefix + "r/b", self.prefix + "r/d")
            self.assertEqual((await client.delete_range(span)).count, 2)
            self.assertEqual([row.value for row in (await client.list(self.prefix + "r/")).rows], [b"a", b"d"])

    @asynchronous
    async def test_c22_a_listing_shows_one_revision(self) -> None:
        async with self.client() as client, self.client() as other:
            names = [f"{self.prefix}{number:05}" for number in range(2500)]
            await asyncio.gather(*(client.put(name, "old") for name in names))
            is_over = False

            async def write() -> int:
                # One transaction at a time takes a row from the end and puts one at the beginning: always 2,500.
                count = 0
                while not is_over:
                    count += 1
                    await other.transaction(
                        [], [Op.delete(names[2500 - count]), Op.put(f"{self.prefix}!{count:05}", "new")]
                    )
                return count

            writing = asyncio.ensure_future(write())
            for _ in range(3):
                listing = await client.list(self.prefix)
                keys = [row.key for row in listing.rows]
                self.assertEqual(len(keys), 2500)
                self.assertEqual(keys, sorted(set(keys)))
                self.assertTrue(all(row.revision <= listing.revision for row in listing.rows))
            is_over = True
            self.assertGreater(await writing, 1)
            self.assertEqual(await client.count(self.prefix), 2500)
            keys_only = await client.list(self.prefix, keys_only=True)
            self.assertEqual({row.value for row in keys_only.rows}, {b""})
            self.assertEqual(len([row async for row in client.scan(self.prefix)]), 2500)

    @asynchronous
    async def test_c23_transactions(self) -> None:
        a, b = self.prefix + "a", self.prefix + "b/"
        async with self.client() as client:
            revision = await client.put(a, "1")
            for name in "xyz":
                await client.put(b + name, name)
            result = await client.transaction(
                [If.revision(a, revision), If.value(a, "1"), If.exists(b + "x"), If.absent(b + "w")],
                [Op.put(a, "2"), Op.get(a), Op.delete(b + "x"), Op.delete_prefix(b + "y"), Op.get(b + "w")],
                [Op.put(a, "wrong")],
            )
            self.assertTrue(result.succeeded)
            self.assertEqual(
                result.results,
                (
                    Put(),
                    Got(a.encode(), revision, b"1"),
                    DeletedRow(),
                    DeletedPrefix(1),
                    Got((b + "w").encode(), 0, None),
                ),
            )
            row = await client.get(a)
            self.assertEqual(row, quorate.Row(a.encode(), result.revision, b"2"))
            other = await client.transaction([If.unchanged(b, revision)], [Op.put(a, "wrong")], [Op.get(a)])
            self.assertFalse(other.succeeded)
            self.assertEqual(other.results, (Got(a.encode(), result.revision, b"2"),))

    @asynchronous
    async def test_c24_never_back_in_time(self) -> None:
        async with self.client() as client, self.client() as other:
            for number in range(4):
                victim = (sorted(self.quorum.nodes) * 2)[number]
                revision = await other.put(self.prefix + "a", str(number))
                row = await client.get(self.prefix + "a", level=ReadLevel.STALE, at_least=revision)
                assert row is not None
                self.assertGreaterEqual(row.revision, revision)
                self.quorum.kill(victim)
                for _ in range(20):
                    seen = await client.get(self.prefix + "a", level=ReadLevel.STALE)
                    assert seen is not None
                    self.assertGreaterEqual(seen.revision, revision)
                self.quorum.start_node(victim)
            await self.quorum.whole()

    @asynchronous
    async def test_c25_any_bytes(self) -> None:
        async with self.client() as client:
            value = os.urandom((4 << 20) - 100)
            key = self.prefix.encode() + bytes(range(256))
            await client.put(key, value)
            row = await client.get(key)
            assert row is not None
            self.assertEqual(row.value, value)
            await client.put(key, b"")
            row = await client.get(key)
            self.assertEqual(row and row.value, b"")
