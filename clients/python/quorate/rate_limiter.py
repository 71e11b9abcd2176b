"""How a master holds frameworks to the rate limits of the registry."""

from __future__ import annotations

import math
from typing import Dict, Optional

from .registry import RateLimits


#: Of an interval.
_TOLERANCE = 1e-3


class _Bucket:
    """When the next request has its turn; requests take their turns a fixed time apart."""

    def __init__(self, rate: float, capacity: Optional[int]) -> None:
        self._interval = 1 / rate
        self._capacity = capacity
        self._next_turn = -math.inf

    def take(self, now: float) -> Optional[float]:
        wait = max(0.0, self._next_turn - now)
        # Who waits has a turn later than now: one more each interval, of which sums of floats are only nearly
        # multiples.
        if self._capacity is not None and math.ceil(wait / self._interval - _TOLERANCE) > self._capacity:
            return None
        self._next_turn = max(self._next_turn, now) + self._interval
        return wait


class RateLimiter:
    """Who of those that ask may be served when: a token bucket for each principal that has a rate of its own, and one
    for all others. It belongs to the master that serves: a new master begins with full buckets::

        limiter = quorate.RateLimiter(limits)                                # a RateLimits of the registry
        wait = limiter.take(principal, asyncio.get_running_loop().time())
        if wait is None:
            ...                                                              # refuse it
        else:
            await asyncio.sleep(wait)                                        # then serve it
    """

    def __init__(self, limits: RateLimits) -> None:
        #: None: as many as they like.
        self._buckets: Dict[str, Optional[_Bucket]] = {
            limit.principal: _bucket(limit.rate, limit.capacity) for limit in limits.limits
        }
        self._others = _bucket(limits.aggregate_rate, limits.aggregate_capacity)

    def take(self, principal: Optional[str], now: float) -> Optional[float]:
        """A request has come.

        Args:
            principal: who authenticated; None: nobody did.
            now: of a clock that never goes back, in seconds.

        Returns: after how many seconds it has its turn, which is kept for it; 0: now. None: more wait already than may,
        and this one is to be refused.
        """
        bucket = self._others if principal is None else self._buckets.get(principal, self._others)
        return 0.0 if bucket is None else bucket.take(now)


def _bucket(rate: Optional[float], capacity: Optional[int]) -> Optional[_Bucket]:
    return None if rate is None else _Bucket(rate, capacity)
