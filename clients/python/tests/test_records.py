from __future__ import annotations

import quorate

from .support import QuorumTests, asynchronous


class RecordTests(QuorumTests):
    @asynchronous
    async def test_put_and_get(self) -> None:
        async with self.client() as client:
            revision = await client.put(self.prefix + "a", "hello")
            row = await client.get(self.prefix + "a")
            self.assertEqual(row, quorate.Row((self.prefix + "a").encode(), revision, b"hello"))
