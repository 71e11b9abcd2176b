"""The nodes of a cluster as a client knows them: which of them to speak with, and when to try one again."""

from __future__ import annotations

import asyncio
import random
import ssl
from typing import Any, Callable, Collection, Coroutine, Dict, List, Optional, Set, Tuple

from . import _wire as wire
from ._connection import Connection, connect
from ._version import VERSION
from .errors import (
    ClusterMismatch,
    DeadlineExceeded,
    GenerationChanged,
    NodeUnusable,
    ProtocolError,
    QuorateError,
    ServerError,
)

#: Pause before the same node is tried again, in seconds: doubles from the first to the second.
_PAUSE_MIN = 0.01
_PAUSE_MAX = 0.25
#: A node that has not greeted by then is not waited for alone.
_NEXT_AFTER = 0.3
_GREETING_MAX = 5.0
#: How often a node that does not lead is asked who does.
_LEADER_ASKED_EVERY = 0.5


def pause_after(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    longest = min(_PAUSE_MAX, _PAUSE_MIN * (1 << min(failures - 1, 10)))
    return longest * random.uniform(0.5, 1)


class Node:
    def __init__(self, address: str) -> None:
        self.address = address
        self.name = ""
        self.connection: Optional[Connection] = None
        self.dialing: Optional["asyncio.Task[None]"] = None
        self.failures = 0
        #: Not dialled before.
        self.retry_at = 0.0
        #: It is reached but cannot serve: another one is preferred until then.
        self.unhelpful_until = 0.0
        self.refusals = 0
        #: Why it is not connected.
        self.problem: Optional[QuorateError] = None
        #: Callers that wait for a connection to this very node.
        self.wanted = 0


class Nodes:
    """Keeps a connection to the leader if it can be reached, and otherwise to another node."""

    def __init__(
        self,
        addresses: Collection[str],
        *,
        tls: Optional[ssl.SSLContext],
        client_name: str,
        silence_max: float,
        on_change: Callable[[], None],
        on_failure: Callable[[QuorateError], None],
    ) -> None:
        self._nodes: Dict[str, Node] = {address: Node(address) for address in addresses}
        self._tls = tls
        self._client_name = client_name
        self._silence_max = silence_max
        self._on_change = on_change
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._identity: Optional[wire.Identity] = None
        self._leader: Optional[str] = None
        self._current: Optional[Connection] = None
        self._waiting: Set["asyncio.Future[None]"] = set()
        self._look_timer: Optional[asyncio.TimerHandle] = None
        self._last_dial_at = 0.0
        self._leader_asked_at = 0.0
        self._is_closed = False
        self._failure: Optional[QuorateError] = None
        self._tasks: Set["asyncio.Task[None]"] = set()

    @property
    def current(self) -> Optional[Connection]:
        """The connection for whatever is new."""
        return self._current

    @property
    def identity(self) -> Optional[wire.Identity]:
        """The cluster that was met first."""
        return self._identity

    def addresses(self) -> List[str]:
        return list(self._nodes)

    def start(self) -> None:
        self._look()

    async def close(self) -> None:
        self._is_closed = True
        if self._look_timer is not None:
            self._look_timer.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for node in self._nodes.values():
            if node.connection is not None:
                node.connection.end("the client was closed")
        self._wake()

    async def ready(self, deadline: Optional[float]) -> Connection:
        """The connection for whatever is new, as soon as there is one.

        Raises:
            DeadlineExceeded: there was none in time.
            QuorateError: nothing can be done with this cluster any more.
        """
        while self._current is None:
            if self._failure is not None:
                raise self._failure
            if not await self.changed(deadline):
                raise DeadlineExceeded(self.describe())
        return self._current

    async def changed(self, deadline: Optional[float]) -> bool:
        """Waits until something about the nodes has changed, or the time has come: then False."""
        waiter: "asyncio.Future[None]" = self._loop.create_future()
        self._waiting.add(waiter)
        timer = None if deadline is None else self._loop.call_at(deadline, _finish, waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)
            if timer is not None:
                timer.cancel()
        return deadline is None or self._loop.time() < deadline

    async def borrow(self, avoided: Collection[str] = ()) -> Optional[Connection]:
        """A connection to a node that is not among those named, to be given back with :meth:`give_back`; None if there
        is no such node or none answers."""
        current = self._current if avoided else await self.ready(None)
        if current is not None and current.address not in avoided:
            current.users += 1
            return current
        for node in list(self._nodes.values()):
            if node.address in avoided:
                continue
            node.wanted += 1
            try:
                if node.connection is None:
                    self._dial(node)
                    assert node.dialing is not None
                    await asyncio.wait([node.dialing])
                if node.connection is not None and not node.connection.is_going_away:
                    node.connection.users += 1
                    return node.connection
            finally:
                node.wanted -= 1
        return None

    def give_back(self, connection: Connection) -> None:
        """It may be ended when nothing is under way on it any more."""
        connection.users -= 1
        if connection is not self._current:
            self._loop.call_soon(self._look)

    def describe(self) -> str:
        """Which nodes were reached, for people."""
        reached = [node for node in self._nodes.values() if node.connection is not None]
        problems = [
            f"{node.name or node.address}: {node.problem}"
            for node in self._nodes.values()
            if node.connection is None and node.problem is not None
        ]
        text = f"reached {len(reached)} of {len(self._nodes)} nodes"
        return "; ".join([text, *problems])

    # What calls learn

    def refused(self, connection: Connection, error: ServerError) -> None:
        """A node answered that it cannot do what another one, or the same one later, could."""
        node = self._nodes[connection.address]
        if isinstance(error, (GenerationChanged, ClusterMismatch)):
            self._fail(error)
            return
        if error.leader_address:
            self.leader_is(connection, (error.leader_name or "", error.leader_address))
        elif error.name == "notLeader":
            self.leader_is(connection, None)
        if error.name != "overloaded":
            node.refusals += 1
            node.unhelpful_until = self._loop.time() + pause_after(node.refusals + 3)
            self._look()

    def served(self, connection: Connection) -> None:
        """A node did what it was asked to."""
        node = self._nodes.get(connection.address)
        if node is not None and node.refusals:
            node.refusals = 0
            node.unhelpful_until = 0

    def leader_is(self, connection: Connection, leader: Optional[Tuple[str, str]]) -> None:
        """A node said who leads; None: it knows nobody."""
        before = self._leader
        if leader is None:
            if self._leader == connection.address:
                self._leader = None
        else:
            name, address = leader
            if not address:
                address = next((node.address for node in self._nodes.values() if name and node.name == name), "")
            if address:
                self._leader = address
                node = self._nodes.setdefault(address, Node(address))
                node.name = name or node.name
        if self._leader != before:
            self._ask_members()
            self._look()

    # Connecting

    def _look(self) -> None:
        """Does what is to be done now, and comes back when there will be more."""
        if self._look_timer is not None:
            self._look_timer.cancel()
            self._look_timer = None
        if self._is_closed:
            return
        now = self._loop.time()
        self._choose(now)
        again: List[float] = [node.unhelpful_until for node in self._nodes.values() if node.unhelpful_until > now]
        leader = self._nodes.get(self._leader) if self._leader else None
        if leader is not None and leader.connection is None and leader.dialing is None:
            if leader.retry_at <= now:
                self._dial(leader)
            else:
                again.append(leader.retry_at)
        if self._current is None or self._nodes[self._current.address].unhelpful_until > now:
            idle = [node for node in self._nodes.values() if node.connection is None and node.dialing is None]
            due = [node for node in idle if node.retry_at <= now]
            is_dialing = any(node.dialing is not None for node in self._nodes.values())
            if due and (not is_dialing or self._last_dial_at + _NEXT_AFTER <= now):
                fewest = min(node.failures for node in due)
                self._dial(random.choice([node for node in due if node.failures == fewest]))
                again.append(now + _NEXT_AFTER)
            elif due:
                again.append(self._last_dial_at + _NEXT_AFTER)
            again += [node.retry_at for node in idle if node.retry_at > now]
        if self._current is not None and self._current.address != self._leader:
            if self._leader_asked_at + _LEADER_ASKED_EVERY <= now:
                self._leader_asked_at = now
                self._run(self._ask_leader(self._current))
            again.append(self._leader_asked_at + _LEADER_ASKED_EVERY)
        self._end_unused()
        if again:
            self._look_timer = self._loop.call_at(max(min(again), now + 0.002), self._look)

    def _choose(self, now: float) -> None:
        best: Optional[Connection] = None
        best_rank: Tuple[bool, bool, bool] = (False, False, False)
        for node in self._nodes.values():
            connection = node.connection
            if connection is None or connection.is_going_away:
                continue
            rank = (node.unhelpful_until <= now, node.address == self._leader, connection is self._current)
            if best is None or rank > best_rank:
                best, best_rank = connection, rank
        if best is not self._current:
            self._current = best
            self._on_change()
            self._wake()

    def _dial(self, node: Node) -> None:
        if node.dialing is None:
            self._last_dial_at = self._loop.time()
            node.dialing = self._run(self._connect(node))

    async def _connect(self, node: Node) -> None:
        greeting = asyncio.ensure_future(
            connect(
                node.address,
                tls=self._tls,
                identity=self._identity,
                client_name=self._client_name,
                client_version=VERSION,
                silence_max=self._silence_max,
                on_end=self._ended,
            )
        )
        try:
            done, _ = await asyncio.wait([greeting], timeout=_GREETING_MAX)
            if not done:
                raise NodeUnusable("timed out")
            self._connected(node, greeting.result())
        except (NodeUnusable, ProtocolError, ServerError) as error:
            node.problem = error
            node.failures += 1
            node.retry_at = self._loop.time() + pause_after(node.failures)
            if isinstance(error, GenerationChanged):
                self._fail(error)
            elif all(isinstance(each.problem, ClusterMismatch) for each in self._nodes.values()):
                self._fail(error)
        except asyncio.CancelledError:
            # It may have ended in this very turn, with a connection that nobody takes or an error that nobody reads.
            greeting.add_done_callback(_leave)
            raise
        finally:
            node.dialing = None
            if not greeting.done():
                greeting.cancel()
            self._loop.call_soon(self._look)

    def _connected(self, node: Node, connection: Connection) -> None:
        hello = connection.hello
        node.name = hello.name
        if hello.identity is None:
            connection.end("belongs to no cluster yet")
            raise NodeUnusable("belongs to no cluster yet")
        if self._identity is None:
            self._identity = hello.identity
        elif self._identity != hello.identity:
            # It was greeted before this client knew its cluster.
            connection.end("another cluster")
            kind = ClusterMismatch if hello.identity.cluster != self._identity.cluster else GenerationChanged
            raise kind("this node belongs to another cluster than the one met first")
        node.connection = connection
        node.failures = 0
        node.problem = None
        connection.on_leader = self.leader_is
        connection.on_writable = self._on_change
        self.leader_is(connection, hello.leader)
        self._run(self._ask_status(connection))

    def _ended(self, connection: Connection, reason: str) -> None:
        node = self._nodes[connection.address]
        if node.connection is not connection:
            return
        node.connection = None
        node.problem = NodeUnusable(reason)
        node.failures += 1
        node.retry_at = self._loop.time() + pause_after(node.failures)
        self._look()

    def _end_unused(self) -> None:
        """Connections beside the current one stay while something is under way on them."""
        for node in list(self._nodes.values()):
            connection = node.connection
            if connection is None or connection is self._current or node.address == self._leader:
                continue
            is_used = connection.due_count or connection.users or node.wanted
            if not is_used and self._current is not None and not self._nodes[self._current.address].refusals:
                node.connection = None
                connection.end("not needed")

    # Who is there

    def _ask_members(self) -> None:
        if self._current is not None:
            self._run(self._ask_status(self._current))

    async def _ask_status(self, connection: Connection) -> None:
        try:
            reply = await connection.request(wire.STATUS, b"")
            leader, members = wire.decode_status_members(reply.rest)
        except QuorateError:
            # The members that are known already will do.
            return
        for name, address in members:
            if address:
                self._nodes.setdefault(address, Node(address)).name = name
        self.leader_is(connection, leader)

    async def _ask_leader(self, connection: Connection) -> None:
        try:
            await connection.ping()
        except QuorateError:
            pass

    # Helpers

    def fail(self, error: QuorateError) -> None:
        """Nobody waits for a connection any more."""
        self._failure = error
        self._wake()

    def _fail(self, error: QuorateError) -> None:
        self._on_failure(error)

    def _wake(self) -> None:
        for waiter in self._waiting:
            _finish(waiter)

    def _run(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _finish(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)


def _leave(greeting: "asyncio.Future[Connection]") -> None:
    if not greeting.cancelled() and greeting.exception() is None:
        greeting.result().end("the client was closed")
