"""One connection to one node: from the greeting to the last reply."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import Callable, Deque, Dict, List, Optional, Tuple

from . import _wire as wire
from ._clock import now
from .errors import NodeUnusable, ProtocolError
from .tls import check_node

#: Called with each reply to a request; with None once, when the connection ends before the last one.
Answer = Callable[[Optional[wire.Frame]], None]


class Connection(asyncio.Protocol):
    """Made by :func:`connect`, which also greets the node."""

    def __init__(self, address: str, silence_max: float, on_end: Callable[["Connection", str], None]) -> None:
        self.address = address
        #: Set once the node has greeted.
        self.hello: wire.Hello
        #: The node is about to stop: no new requests.
        self.is_going_away = False
        self.is_ended = False
        self.is_ready = False
        #: Where the node says that the leader is, with None for "it knows none".
        self.on_leader: Optional[Callable[["Connection", Optional[Tuple[str, str]]], None]] = None
        #: Called when the node takes bytes again after :attr:`is_congested`.
        self.on_writable: Optional[Callable[[], None]] = None
        self.is_congested = False
        #: Watches that stand on this connection, and listings that it keeps a state for.
        self.users = 0
        #: Cluster time, and when it was that.
        self._time = (0, 0.0)
        self._on_end = on_end
        self._silence_max = silence_max
        self._loop = asyncio.get_running_loop()
        self._transport: Optional[asyncio.Transport] = None
        self._scanner = wire.FrameScanner()
        self._answers: Dict[int, Answer] = {}
        #: Watches that stand.
        self._streams: Dict[int, Answer] = {}
        #: Places that were given to callers who have not sent yet.
        self._granted = 0
        self._is_turn_of_mutations = False
        self._waiting_for_room: Deque["asyncio.Future[None]"] = deque()
        self._next_request_id = 1
        self._outgoing: List[bytes] = []
        self._heard_at = self._loop.time()
        self._ping_sent_at: Optional[float] = None
        self._timer: Optional[asyncio.TimerHandle] = None
        self._timer_due = 0.0

    @property
    def due_count(self) -> int:
        """Requests without a last reply."""
        return len(self._answers) + len(self._streams)

    @property
    def room(self) -> int:
        """Requests that may be sent now; two places are kept free for a ping and a keep-alive."""
        return 0 if self.is_congested else self.hello.requests - 2 - len(self._answers) - self._granted

    # Sending

    def send(self, kind: int, body: bytes, answer: Answer, *, flags: int = 0) -> int:
        """Sends a request.

        Returns: its id.
        """
        request_id = self._next_request_id
        self._next_request_id += 1
        frame = wire.encode_frame(kind, flags, request_id, body)
        if self.is_ended:
            self._loop.call_soon(answer, None)
            return request_id
        if not self._answers and not self._streams:
            self._heard_at = self._loop.time()
            self._ping_sent_at = None
        self._answers[request_id] = answer
        self._write(frame)
        if self._timer is None:
            self._look_for_silence_in(self._silence_max)
        return request_id

    def send_without_reply(self, kind: int, request_id: int, body: bytes) -> None:
        """What belongs to a request that was sent before."""
        if not self.is_ended:
            self._write(wire.encode_frame(kind, 0, request_id, body))

    async def wait_for_room(self) -> None:
        """Returns when a request may be sent, or the connection has ended."""
        if self.room <= 0 and not self.is_ended:
            waiter: "asyncio.Future[None]" = self._loop.create_future()
            self._waiting_for_room.append(waiter)
            try:
                await waiter
            finally:
                # The caller sends at once, so the place is not given to another meanwhile.
                if waiter.done() and not waiter.cancelled():
                    self._granted -= 1

    async def request(self, kind: int, body: bytes, *, flags: int = 0) -> wire.Reply:
        """Sends a request and waits for its one reply, with code 0.

        Raises:
            ServerError: the node refused.
            NodeUnusable: the connection ended before the reply.
        """
        future: "asyncio.Future[wire.Frame]" = self._loop.create_future()

        def answer(frame: Optional[wire.Frame]) -> None:
            if future.done():
                return
            if frame is None:
                future.set_exception(NodeUnusable(f"{self.address}: the connection ended"))
            else:
                future.set_result(frame)

        self.send(kind, body, answer, flags=flags)
        frame = await future
        reply = wire.decode_reply(frame.body)
        if reply.code != 0:
            raise wire.decode_error(reply)
        return reply

    def _write(self, frame: bytes) -> None:
        # Frames of one turn of the loop go out together.
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(frame)

    def _flush(self) -> None:
        if self._transport is not None and not self.is_ended:
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def pause_writing(self) -> None:
        self.is_congested = True

    def resume_writing(self) -> None:
        self.is_congested = False
        self._has_room()

    # Receiving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=8 << 20)

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        self._ping_sent_at = None
        self._scanner.feed(data)
        try:
            while not self.is_ended:
                frame = self._scanner.next()
                if frame is None:
                    return
                self._received(frame)
        except ProtocolError as error:
            self.end(str(error))

    def _received(self, frame: wire.Frame) -> None:
        if not frame.flags & wire.FLAG_REPLY:
            if frame.kind == wire.GOING_AWAY:
                self.is_going_away = True
                self._tell_leader(wire.read_leader(wire.Reader(frame.body)))
            return
        was_full = self.is_ready and self.room <= 0
        answer = self._answers.pop(frame.request_id, None)
        if answer is None:
            answer = self._streams.get(frame.request_id)
        elif frame.flags & wire.FLAG_MORE:
            self._streams[frame.request_id] = answer
        if answer is None:
            return
        if not frame.flags & wire.FLAG_MORE:
            self._streams.pop(frame.request_id, None)
        answer(frame)
        if was_full or self._waiting_for_room:
            self._has_room()

    def _has_room(self) -> None:
        """Mutations and queries come in turns, so that neither keeps the other waiting."""
        self._is_turn_of_mutations = not self._is_turn_of_mutations
        if self._is_turn_of_mutations and self.on_writable is not None:
            self.on_writable()
        while self._waiting_for_room and self.room > 0:
            self._grant(self._waiting_for_room.popleft())
        if not self._is_turn_of_mutations and self.on_writable is not None:
            self.on_writable()

    def _grant(self, waiter: "asyncio.Future[None]") -> None:
        if not waiter.done():
            self._granted += 1
            waiter.set_result(None)

    def _tell_leader(self, leader: Optional[Tuple[str, str]]) -> None:
        if self.on_leader is not None:
            self.on_leader(self, leader)

    def connection_lost(self, error: Optional[Exception]) -> None:
        self.end(f"the connection ended: {error}" if error else "the node closed the connection")

    def _look_for_silence(self) -> None:
        """A node that owes replies and says nothing is asked for a sign of life, once."""
        self._timer = None
        if self.is_ended or not (self._answers or self._streams):
            return
        time = self._loop.time()
        if time - self._timer_due > self._silence_max / 4:
            # This process was kept from running: what the node sent meanwhile has still to be read.
            self._heard_at = time
            self._ping_sent_at = None
        since = self._heard_at if self._ping_sent_at is None else self._ping_sent_at
        if time - since >= self._silence_max:
            if self._ping_sent_at is not None:
                self.end("it did not answer in time")
                return
            self._ping_sent_at = since = time
            self._send_ping()
        self._look_for_silence_in(since + self._silence_max - time)

    def _look_for_silence_in(self, seconds: float) -> None:
        self._timer_due = self._loop.time() + seconds
        self._timer = self._loop.call_at(self._timer_due, self._look_for_silence)

    def _send_ping(self) -> None:
        def answer(frame: Optional[wire.Frame]) -> None:
            if frame is not None:
                reply = wire.decode_reply(frame.body)
                if reply.code == 0:
                    self._pinged(reply)

        self.send(wire.PING, b"", answer)

    async def ping(self) -> None:
        """Asks for the cluster's time and leader.

        Raises:
            NodeUnusable: the connection ended before the reply.
        """
        self._pinged(await self.request(wire.PING, b""))

    def _pinged(self, reply: wire.Reply) -> None:
        self._time = (reply.rest.u64(), now())
        self._tell_leader(wire.read_leader(reply.rest))

    def cluster_time(self) -> int:
        """Nanoseconds since 1970 as the cluster counts them, by the node's last word and this machine's clock."""
        time, at = self._time
        return time + int((now() - at) * 1e9)

    # The end

    def end(self, reason: str) -> None:
        """Closes the connection. Requests without a reply are answered with None."""
        if self.is_ended:
            return
        self.is_ended = True
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._on_end(self, reason)
        answers = [*self._answers.values(), *self._streams.values()]
        self._answers.clear()
        self._streams.clear()
        for answer in answers:
            answer(None)
        for waiter in self._waiting_for_room:
            self._grant(waiter)


async def connect(
    address: str,
    *,
    tls: Optional[ssl.SSLContext],
    identity: Optional[wire.Identity],
    client_name: str,
    client_version: str,
    silence_max: float,
    on_end: Callable[[Connection, str], None],
) -> Connection:
    """Connects to a node and greets it.

    Raises:
        NodeUnusable: it cannot be reached, or does not answer.
        ServerError: it turns this client away.
    """
    host, _, port = address.rpartition(":")
    ended: List[str] = []
    is_ready = False

    def connection_ended(connection: Connection, reason: str) -> None:
        ended.append(reason)
        if is_ready:
            on_end(connection, reason)

    loop = asyncio.get_running_loop()
    connection = Connection(address, silence_max, connection_ended)
    try:
        await loop.create_connection(
            lambda: connection,
            host.strip("[]"),
            int(port),
            ssl=tls,
        )
        if tls is not None:
            assert connection._transport is not None
            check_node(connection._transport.get_extra_info("ssl_object"))
        reply = await connection.request(wire.HELLO, wire.encode_hello(identity, client_name, client_version))
        connection.hello = wire.decode_hello(reply.rest)
        connection._time = (connection.hello.cluster_time, now())
        if connection.is_ended:
            raise NodeUnusable(ended[0])
        is_ready = connection.is_ready = True
        return connection
    except (OSError, ssl.SSLError) as error:
        raise NodeUnusable(_reason(error)) from error
    except NodeUnusable as error:
        raise NodeUnusable(ended[0] if ended else str(error)) from None
    finally:
        if not is_ready:
            connection.end("turned away")


def _reason(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refused the connection"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    return str(error) or type(error).__name__
