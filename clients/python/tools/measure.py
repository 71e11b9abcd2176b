"""What the client does in a second: python3 tools/measure.py HOST:PORT (writes and deletes keys under "measure/")."""

import asyncio
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import quorate  # noqa: E402

VALUE = b"x" * 100


async def rate(title, count, work):
    started = time.perf_counter()
    await work()
    print(f"{title}: {count / (time.perf_counter() - started):,.0f} a second")


async def measure(endpoint):
    async with quorate.Client(endpoint) as client:
        first = await client.put("measure/warm", VALUE)

        async def one_by_one(call, count):
            for number in range(count):
                await call(number)

        async def together(call, count):
            for start in range(0, count, 5000):
                await asyncio.gather(*(call(number) for number in range(start, start + 5000)))

        def put(number):
            return client.put(f"measure/{number}", VALUE)

        def get(number):
            return client.get(f"measure/{number}")

        async def watch():
            seen = 0
            async with client.watch("measure/", since=first) as changes:
                async for event in changes:
                    seen += len(event.changes)
                    if seen > 21000:
                        return

        await rate("puts, one after the other", 1000, lambda: one_by_one(put, 1000))
        await rate("gets, one after the other", 1000, lambda: one_by_one(get, 1000))
        await rate("puts, many under way", 20000, lambda: together(put, 20000))
        await rate("gets, many under way", 20000, lambda: together(get, 20000))
        await rate("changes of a watch", 21001, watch)
        while (await client.delete_range("measure/", limit=5000)).more:
            pass


asyncio.run(measure(sys.argv[1]))
