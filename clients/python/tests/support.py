"""What all tests against real nodes share: one event loop and one quorum for the whole run."""

from __future__ import annotations

import asyncio
import atexit
import functools
import unittest
from typing import Any, Awaitable, Callable, Optional

import quorate

from .quorum import Quorum

_loop: Optional[asyncio.AbstractEventLoop] = None
_quorum: Optional[Quorum] = None


def _the_loop() -> asyncio.AbstractEventLoop:
    global _loop
    if _loop is None:
        _loop = asyncio.new_event_loop()
        atexit.register(_end)
    return _loop


def _end() -> None:
    assert _loop is not None
    if _quorum is not None:
        _loop.run_until_complete(_quorum.stop())
    _loop.close()


def asynchronous(test: Callable[[Any], Awaitable[None]]) -> Callable[[Any], None]:
    """Lets a test be a coroutine."""

    @functools.wraps(test)
    def run(self: Any) -> None:
        _the_loop().run_until_complete(asyncio.wait_for(test(self), 60))

    return run


class QuorumTests(unittest.TestCase):
    """Tests against three real nodes, which are whole when a test begins."""

    quorum: Quorum
    #: Every test has keys and names of its own.
    prefix: str

    def setUp(self) -> None:
        _the_loop().run_until_complete(self._prepare())
        self.prefix = f"{self.id().rpartition('.')[2]}/"

    async def _prepare(self) -> None:
        global _quorum
        if _quorum is None:
            _quorum = Quorum()
            await _quorum.start()
        await _quorum.whole()
        self.quorum = _quorum

    def client(self, **options: Any) -> quorate.Client:
        return quorate.Client(self.quorum.endpoints, **options)
