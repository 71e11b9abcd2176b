"""The client of a Quorate cluster."""

from __future__ import annotations

import asyncio
import ssl
from types import TracebackType
from typing import AsyncGenerator, Callable, Iterable, List, NamedTuple, Optional, Set, Tuple, Type, TypeVar, Union

from . import _wire as wire
from . import transaction as transactions
from ._connection import Connection
from ._nodes import Nodes, pause_after
from ._encoding import (
    COUNT_ONLY,
    KEYS_ONLY,
    PIN,
    encode_guard,
    encode_page,
    encode_put,
    encode_range,
    range_of,
    read_page,
    read_row,
)
from ._session import RETRIED, Session, SessionState
from .elections import Elections
from .errors import (
    ClientClosed,
    ClusterMismatch,
    DeadlineExceeded,
    GenerationChanged,
    NodeUnusable,
    QuorateError,
    ServerError,
    SessionLost,
    ViewReleased,
)
from .history import History
from .locks import Locks
from .registry_master import Registry
from .state import State
from .transaction import If, Op, TransactionResult
from .values import (
    Bytes,
    ChangedRow,
    Changes,
    Deleted,
    Guard,
    Listing,
    Page,
    ReadLevel,
    Row,
    SessionInfo,
    Span,
    Validity,
    as_bytes,
)
from .watch import Table, Watch, filters_of

_PUT = 1
_DELETE = 2
_DELETE_RANGE = 3
_CREATE_SEQUENTIAL = 4
_TRANSACTION = 5
_CREATE_SEQUENTIAL_OWNED = 7

_GET = 1
_LIST = 2
_LIST_VIEW = 3
_RELEASE_VIEW = 4
_VALIDATE = 8
_SESSIONS = 11
_CHANGES = 13

_Part = TypeVar("_Part", Page, "_ChangesPart")


class Client:
    """Speaks with a cluster: finds its leader, moves between its nodes, and sends again what was lost, so that each
    mutation takes effect at most once.

    ::

        async with quorate.Client("127.0.0.1:7400") as client:
            revision = await client.put("greeting", "hello")
            row = await client.get("greeting")

    Made and used within one running event loop. Calls may overlap: mutations take effect in the order in which they
    were called.

    Every call has a ``timeout`` in seconds (None: the client's own). A read that is not answered by then raises
    :class:`DeadlineExceeded`; a mutation raises that if it certainly took no effect, and otherwise
    :class:`OutcomeUnknown`. Other errors: see :mod:`quorate.errors`.
    """

    def __init__(
        self,
        endpoints: Union[str, Iterable[str]],
        *,
        timeout: float = 10.0,
        session_timeout: Optional[float] = 10.0,
        tls: Optional[ssl.SSLContext] = None,
        name: str = "python",
    ) -> None:
        """
        Args:
            endpoints: client addresses of nodes, HOST:PORT; the others are found out.
            timeout: of calls that name none, in seconds.
            session_timeout: seconds for which the cluster keeps this client's session without hearing of it (the
                cluster bounds it; 1 s to 24 h unless configured). None: no session; each mutation stands alone, in one
                log entry that opens and closes a session of its own, and nothing can be owned.
            tls: see :func:`quorate.tls_context`.
            name: shown to people who look at the cluster.
        """
        addresses = endpoints.split(",") if isinstance(endpoints, str) else list(endpoints)
        if not addresses or not all(address.rpartition(":")[2].isdigit() for address in addresses):
            raise ValueError(f"endpoints are HOST:PORT, not {endpoints!r}")
        #: Seconds, of calls that name none.
        self.timeout = timeout
        self._session_timeout = session_timeout
        self._revision = 0
        self._failure: Optional[QuorateError] = None
        self._session: Optional[Session] = None
        self._one_shots: Set[Session] = set()
        self._watches: Set[Watch] = set()
        self._state_listeners: List[Callable[[SessionState], None]] = []
        #: Campaign, withdraw, observe.
        self.elections = Elections(self)
        #: Exclusive and shared.
        self.locks = Locks(self)
        #: Variables as Apache Mesos has them.
        self.state = State(self)
        #: What was there before.
        self.history = History(self)
        #: What masters keep here of agents, frameworks and resources.
        self.registry = Registry(self)
        self._loop = asyncio.get_running_loop()
        # With a short session a silent node has to be found out before the session is at risk.
        silence_max = 1.5 if session_timeout is None else min(1.5, max(0.25, session_timeout / 6))
        self._nodes = Nodes(
            [address.strip() for address in addresses],
            tls=tls,
            client_name=name,
            silence_max=silence_max,
            on_change=self._pump,
            on_failure=self._fail,
        )
        self._nodes.start()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        await self.close()

    async def close(self, *, timeout: float = 2.0) -> None:
        """Ends the session, so that what it owns goes now, and all connections.

        Args:
            timeout: seconds to wait for mutations that are under way, and for the end of the session. What is not
                answered by then has an unknown outcome; a session that could not be ended goes after its timeout.
        """
        if isinstance(self._failure, ClientClosed):
            return
        for watch in list(self._watches):
            await watch.close()
        deadline = self._loop.time() + timeout
        if self._failure is None and self._session is not None:
            await self._session.end(deadline)
        self._fail(ClientClosed("the client was closed"), again=True)
        await self._nodes.close()

    # Standing

    @property
    def revision(self) -> int:
        """The highest revision seen in any reply: no read of this client sees an older state."""
        return self._revision

    @property
    def addresses(self) -> List[str]:
        """Of all nodes that are known by now."""
        return self._nodes.addresses()

    @property
    def session_state(self) -> SessionState:
        """Judged by the clock at this moment: right even in a process that was stopped and has just woken."""
        return SessionState.NONE if self._session is None else self._session.state

    @property
    def session_id(self) -> Optional[bytes]:
        """Of the session that mutations go with now."""
        return None if self._session is None or self._session.is_lost else self._session.id

    def on_session_state(self, listener: Callable[[SessionState], None]) -> Callable[[], None]:
        """Has every change of the session's state told, in time to stop acting on what it owns.

        Returns: what ends that.
        """
        self._state_listeners.append(listener)
        return lambda: self._state_listeners.remove(listener)

    async def session_states(self) -> AsyncGenerator[SessionState, None]:
        """The session's state now, and then every change of it."""
        states: "asyncio.Queue[SessionState]" = asyncio.Queue()
        states.put_nowait(self.session_state)
        end = self.on_session_state(states.put_nowait)
        try:
            while True:
                yield await states.get()
        finally:
            end()

    def _session_changed(self, session: Session, state: SessionState) -> None:
        if session is self._session:
            for listener in list(self._state_listeners):
                listener(state)

    def _saw(self, revision: int) -> None:
        if revision > self._revision:
            self._revision = revision

    def _pump(self) -> None:
        if self._session is not None:
            self._session.pump()
        for session in list(self._one_shots):
            session.pump()

    def _fail(self, error: QuorateError, *, again: bool = False) -> None:
        """Nothing can be done with this client any more."""
        if self._failure is not None and not again:
            return
        self._failure = error
        self._nodes.fail(error)
        for session in [*([self._session] if self._session else []), *self._one_shots]:
            session.lose(error)

    def _check_usable(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _deadline(self, timeout: Optional[float]) -> float:
        return self._loop.time() + (self.timeout if timeout is None else timeout)

    # The two ways to ask

    def _current_session(self) -> Session:
        assert self._session_timeout is not None
        if self._session is None or self._session.is_lost:
            if self._session is not None:
                self._session.look_at_state()
            self._session = Session(
                self._nodes, self._session_timeout, self._session_changed, self._saw, self._fail
            )
        return self._session

    async def _mutate(
        self,
        kind: int,
        fields: bytes,
        guards: Iterable[Guard],
        timeout: Optional[float],
        session: Optional[Session] = None,
        *,
        owned: bool = False,
    ) -> wire.Reply:
        """Does a mutation; in the session named, if there is one, and in no other.

        Args:
            owned: what it makes goes with the session.
        """
        self._check_usable()
        encoded = [encode_guard(guard) for guard in guards]
        guard_bytes = wire.u8(len(encoded)) + b"".join(encoded) if encoded else b""
        is_one_shot = session is None and self._session_timeout is None
        if session is not None:
            if session.is_lost:
                raise SessionLost("the session has ended, or may have")
        elif is_one_shot:
            session = Session(self._nodes, 10.0, self._session_changed, self._saw, self._fail, one_shot=True)
            self._one_shots.add(session)
        else:
            session = self._current_session()
        future = session.submit(kind, fields, guard_bytes, self._deadline(timeout), owned=owned)
        try:
            reply = await future
        except asyncio.CancelledError:
            session.give_up(future)
            raise
        finally:
            if is_one_shot:
                self._one_shots.discard(session)
        if reply.code != 0:
            raise wire.decode_error(reply)
        return reply

    async def _query(
        self,
        fields: bytes,
        timeout: Optional[float] = None,
        level: ReadLevel = ReadLevel.LINEARIZABLE,
        at_least: int = 0,
        connection: Optional[Connection] = None,
    ) -> wire.Reply:
        """Asks until there is an answer; if a connection is named, only there and once."""
        deadline = self._deadline(timeout)
        failures = 0
        while True:
            self._check_usable()
            at = connection if connection is not None else await self._nodes.ready(deadline)
            if at.room <= 0:
                await at.wait_for_room()
            body = wire.u8(level) + wire.u64(max(at_least, self._revision)) + fields
            try:
                reply = await self._ask(at, body, deadline)
            except NodeUnusable:
                if connection is not None:
                    raise
                wait = 0.0
            except ServerError as error:
                if isinstance(error, (GenerationChanged, ClusterMismatch)):
                    self._fail(error)
                if error.code not in RETRIED or connection is not None:
                    raise
                self._nodes.refused(at, error)
                failures += 1
                wait = error.retry_after if error.retry_after is not None else pause_after(failures)
            else:
                self._saw(reply.revision)
                if failures:
                    self._nodes.served(at)
                return reply
            if self._loop.time() + wait >= deadline:
                raise DeadlineExceeded(self._nodes.describe())
            await asyncio.sleep(wait)

    async def _ask(self, connection: Connection, body: bytes, deadline: float) -> wire.Reply:
        future: "asyncio.Future[Optional[wire.Frame]]" = self._loop.create_future()

        def answer(frame: Optional[wire.Frame]) -> None:
            if not future.done():
                future.set_result(frame)

        def time_is_up() -> None:
            if not future.done():
                future.set_exception(DeadlineExceeded(self._nodes.describe()))

        connection.send(wire.QUERY, body, answer)
        timer = self._loop.call_at(deadline, time_is_up)
        try:
            frame = await future
        finally:
            timer.cancel()
        if frame is None:
            raise NodeUnusable(f"{connection.address}: the connection ended")
        reply = wire.decode_reply(frame.body)
        if reply.code != 0:
            raise wire.decode_error(reply)
        return reply

    # Records

    async def put(
        self,
        key: Bytes,
        value: Bytes,
        *,
        revision: Optional[int] = None,
        owned: bool = False,
        guards: Iterable[Guard] = (),
        timeout: Optional[float] = None,
    ) -> int:
        """Stores a value.

        Args:
            revision: only if the row was last changed at exactly this revision; 0: only if there is no row.
            owned: the row goes when this client's session ends.
            guards: only while these fences hold.

        Returns: the revision of the change.

        Raises:
            Conflict: the row has another revision.
            Fenced: a guard does not hold.
            TooLarge: the key is longer than 4,096 bytes, or the value than the cluster accepts.
        """
        fields = encode_put(as_bytes(key), as_bytes(value), revision, owned)
        return (await self._mutate(_PUT, fields, guards, timeout, owned=owned)).revision

    async def _put_owned(self, session: Session, key: bytes, value: bytes, timeout: Optional[float]) -> int:
        """Stores a value that goes with this session, and in no other."""
        fields = encode_put(key, value, None, True)
        return (await self._mutate(_PUT, fields, (), timeout, session, owned=True)).revision

    async def delete(
        self,
        key: Bytes,
        *,
        revision: Optional[int] = None,
        guards: Iterable[Guard] = (),
        timeout: Optional[float] = None,
    ) -> int:
        """Deletes a row; without a condition, there need not be one.

        Args:
            revision: only if the row was last changed at exactly this revision.

        Returns: the revision of the change.

        Raises:
            Conflict: the row has another revision.
            Fenced: a guard does not hold.
        """
        fields = b"\0" if revision is None else b"\1" + wire.u64(revision)
        fields += wire.bytes16(as_bytes(key))
        return (await self._mutate(_DELETE, fields, guards, timeout)).revision

    async def delete_range(
        self,
        span: Span,
        *,
        limit: int = 0,
        guards: Iterable[Guard] = (),
        timeout: Optional[float] = None,
    ) -> Deleted:
        """Deletes the rows of a prefix or range, all at one revision.

        Args:
            limit: at most so many; 0: all or none.

        Raises:
            TooLarge: there are more than the cluster deletes at once (10,000); delete with a limit, again and again.
        """
        fields = encode_range(range_of(span)) + wire.u32(limit)
        reply = await self._mutate(_DELETE_RANGE, fields, guards, timeout)
        return Deleted(reply.rest.u32(), reply.rest.bool(), reply.revision)

    async def create_sequential(
        self,
        prefix: Bytes,
        value: Bytes,
        *,
        owned: bool = False,
        guards: Iterable[Guard] = (),
        timeout: Optional[float] = None,
    ) -> bytes:
        """Stores a value under a key of its own: the prefix and 20 digits that rise with every creation.

        Returns: the key.
        """
        kind = _CREATE_SEQUENTIAL_OWNED if owned else _CREATE_SEQUENTIAL
        fields = wire.bytes16(as_bytes(prefix)) + wire.bytes32(as_bytes(value))
        return (await self._mutate(kind, fields, guards, timeout, owned=owned)).rest.bytes16()

    async def transaction(
        self,
        comparisons: Iterable[If] = (),
        then: Iterable[Op] = (),
        otherwise: Iterable[Op] = (),
        *,
        guards: Iterable[Guard] = (),
        timeout: Optional[float] = None,
    ) -> TransactionResult:
        """Does all of ``then`` at one revision if all comparisons hold, and all of ``otherwise`` if not.

        Raises:
            TooLarge: more operations or bytes than the cluster accepts in one transaction.
            ResultNotKept: it was applied; its result was too large to be told after a retry.
        """
        operations = (tuple(then), tuple(otherwise))
        fields = transactions.encode(tuple(comparisons), *operations)
        owned = any(operation.owned for branch in operations for operation in branch)
        reply = await self._mutate(_TRANSACTION, fields, guards, timeout, owned=owned)
        return transactions.decode(reply, *operations)

    async def get(
        self,
        key: Bytes,
        *,
        level: ReadLevel = ReadLevel.LINEARIZABLE,
        at_least: int = 0,
        timeout: Optional[float] = None,
    ) -> Optional[Row]:
        """The row under a key.

        Args:
            level: what the read may miss.
            at_least: a revision that the state which is read must have reached, such as one that another client told;
                what this client has seen itself is seen to without.
        """
        name = as_bytes(key)
        reply = await self._query(wire.u8(_GET) + wire.bytes16(name), timeout, level, at_least)
        return read_row(name, reply.rest)

    async def page(
        self,
        span: Span,
        *,
        after: bytes = b"",
        limit: int = 0,
        keys_only: bool = False,
        count_only: bool = False,
        level: ReadLevel = ReadLevel.LINEARIZABLE,
        at_least: int = 0,
        timeout: Optional[float] = None,
    ) -> Page:
        """The next rows of a prefix or range, in key order; each page shows the state as it is then.

        Args:
            after: only keys above this one.
            limit: at most so many rows; 0: as many as fit into a page (1,000 rows, 1 MiB; 65,536 when only counted).
        """
        flags = (KEYS_ONLY if keys_only else 0) | (COUNT_ONLY if count_only else 0)
        fields = wire.u8(_LIST) + encode_range(range_of(span)) + encode_page(after, limit, flags)
        reply = await self._query(fields, timeout, level, at_least)
        return read_page(reply, flags)[1]

    async def list(
        self,
        span: Span = b"",
        *,
        keys_only: bool = False,
        level: ReadLevel = ReadLevel.LINEARIZABLE,
        at_least: int = 0,
        timeout: Optional[float] = None,
    ) -> Listing:
        """All rows of a prefix or range as they were at one revision, in key order.

        The node that answers keeps that state until all pages are read; if it is lost meanwhile, the listing begins
        again elsewhere.
        """
        encoded = encode_range(range_of(span))
        flags = KEYS_ONLY if keys_only else 0

        def fields_of(view: int, cursor: bytes) -> bytes:
            if view:
                return wire.u8(_LIST_VIEW) + wire.u64(view) + encoded + encode_page(cursor, 0, flags)
            return wire.u8(_LIST) + encoded + encode_page(b"", 0, flags | PIN)

        pages = await self._parts(fields_of, lambda reply: read_page(reply, flags), level, at_least, timeout)
        return Listing(tuple(row for page in pages for row in page.rows), pages[-1].revision)

    async def changes(self, span: Span = b"", *, since: int, timeout: Optional[float] = None) -> Changes:
        """What has changed in a prefix or range since a revision, each key in its last form, all as of one revision.
        What is not told is as it was.

        So a copy of the rows is brought up to date after a watch has ended with :class:`Compacted`, without reading
        all of them. It tells what is there now, not each change that led there.

        Raises:
            Compacted: deletes since then are no longer known. Then only a listing helps, and what it does not show is
                gone.
            InvalidRequest: that revision is yet to come.
        """
        encoded = encode_range(range_of(span))

        def fields_of(view: int, cursor: bytes) -> bytes:
            after = wire.u64(since) + wire.bytes16(cursor) + wire.u32(0) + wire.u8(PIN)
            return wire.u8(_CHANGES) + wire.u64(view) + encoded + after

        parts = await self._parts(fields_of, _decode_changes, ReadLevel.LINEARIZABLE, 0, timeout)
        return Changes(tuple(row for part in parts for row in part.rows), parts[-1].revision)

    async def _parts(
        self,
        fields_of: Callable[[int, bytes], bytes],
        decode: Callable[[wire.Reply], Tuple[int, _Part]],
        level: ReadLevel,
        at_least: int,
        timeout: Optional[float],
    ) -> List[_Part]:
        """All parts of an answer, of one state of one node; begun again elsewhere if that is lost.

        Args:
            fields_of: the request for the part after a cursor, of a view; 0: the first part.
            decode: the view, and the part.
        """
        deadline = self._deadline(timeout)
        while True:
            try:
                return await self._parts_of_one_node(fields_of, decode, level, at_least, deadline)
            except (ViewReleased, NodeUnusable):
                if self._loop.time() >= deadline:
                    raise DeadlineExceeded(self._nodes.describe()) from None

    async def _parts_of_one_node(
        self,
        fields_of: Callable[[int, bytes], bytes],
        decode: Callable[[wire.Reply], Tuple[int, _Part]],
        level: ReadLevel,
        at_least: int,
        deadline: float,
    ) -> List[_Part]:
        parts: List[_Part] = []
        connection = await self._nodes.ready(deadline)
        connection.users += 1
        view = 0
        try:
            fields = fields_of(0, b"")
            while True:
                remaining = deadline - self._loop.time()
                try:
                    reply = await self._query(fields, remaining, level, at_least, connection)
                except ServerError as error:
                    if error.code not in RETRIED:
                        raise
                    self._nodes.refused(connection, error)
                    await asyncio.sleep(error.retry_after if error.retry_after is not None else 0.05)
                    raise NodeUnusable(str(error)) from None
                if parts and reply.revision != parts[0].revision:
                    # A node that has started again gives its views the same numbers once more. This one is not to be
                    # released here: it is somebody else's.
                    view = 0
                    raise ViewReleased("the view that was read is not kept any more")
                view, part = decode(reply)
                parts.append(part)
                if not part.more:
                    return parts
                fields = fields_of(view, part.cursor)
        finally:
            if view and not connection.is_ended:
                body = wire.u8(ReadLevel.STALE) + wire.u64(0) + wire.u8(_RELEASE_VIEW) + wire.u64(view)
                connection.send(wire.QUERY, body, lambda frame: None)
            self._nodes.give_back(connection)

    async def scan(
        self,
        span: Span = b"",
        *,
        keys_only: bool = False,
        level: ReadLevel = ReadLevel.LINEARIZABLE,
        timeout: Optional[float] = None,
    ) -> AsyncGenerator[Row, None]:
        """The rows of a prefix or range, in key order, page by page; for more than fits into memory. Rows that change
        meanwhile may be seen as they were before or after.

        Args:
            timeout: of each page, in seconds.
        """
        after = b""
        while True:
            page = await self.page(span, after=after, keys_only=keys_only, level=level, timeout=timeout)
            for row in page.rows:
                yield row
            if not page.more:
                return
            after = page.cursor

    async def count(
        self,
        span: Span = b"",
        *,
        level: ReadLevel = ReadLevel.LINEARIZABLE,
        timeout: Optional[float] = None,
    ) -> int:
        """How many rows a prefix or range has. Above 65,536 they are counted page by page, while they may change."""
        total, after = 0, b""
        while True:
            page = await self.page(span, after=after, count_only=True, level=level, timeout=timeout)
            total += page.count
            if not page.more:
                return total
            after = page.cursor

    # Fences, watches, sessions

    async def validate(
        self,
        guard: Guard,
        *,
        level: ReadLevel = ReadLevel.LINEARIZABLE,
        timeout: Optional[float] = None,
    ) -> Validity:
        """Whether a fence holds: for systems outside the cluster that are handed one."""
        reply = await self._query(wire.u8(_VALIDATE) + encode_guard(guard), timeout, level)
        return Validity(reply.rest.bool(), reply.rest.u64())

    def watch(
        self,
        span: Span = b"",
        *,
        since: int = 0,
        puts: bool = True,
        deletes: bool = True,
        values: bool = True,
        before: bool = False,
        values_before: bool = False,
        origins: bool = False,
        progress: float = 0,
        credit: int = 1 << 20,
        table: int = Table.RECORDS,
    ) -> Watch:
        """Tells what changes under a prefix or range.

        Args:
            since: the first revision that is wanted; 0: what comes from the moment on at which the watch stands.
            puts: changes that store a value.
            deletes: changes that remove a row.
            values: False leaves them out.
            before: has :attr:`Change.created` and :attr:`Change.previous` told where history is kept.
            values_before: likewise, and with the values of then.
            origins: has :attr:`WatchEvent.origin` told.
            progress: seconds, 0.25 at least, between marks of progress (an event without changes); 0: none.
            credit: bytes that may be received and not yet read.
            table: records, or rows of the service itself.
        """
        filters = filters_of(puts, deletes, values, before, values_before, origins)
        return Watch(self, table, range_of(span), since, filters, progress, credit)

    async def sessions(self, *, timeout: Optional[float] = None) -> Tuple[SessionInfo, ...]:
        """The open sessions of the cluster."""
        found: List[SessionInfo] = []
        after = bytes(16)
        while True:
            reader = (await self._query(wire.u8(_SESSIONS) + after + wire.u32(0), timeout)).rest
            more = reader.bool()
            for _ in range(reader.u32()):
                found.append(SessionInfo(reader.raw(16), reader.u32() / 1000, reader.u64(), reader.u32()))
            if not more:
                return tuple(found)
            after = found[-1].id


class _ChangesPart(NamedTuple):
    rows: List[ChangedRow]
    revision: int
    more: bool
    cursor: bytes


def _decode_changes(reply: wire.Reply) -> Tuple[int, _ChangesPart]:
    """The view, and the part."""
    reader = reply.rest
    view = reader.u64()
    more = reader.bool()
    cursor = reader.bytes16()
    rows = []
    for _ in range(reader.u32()):
        key = reader.bytes16()
        revision = reader.u64()
        rows.append(ChangedRow(key, revision, reader.bytes32() if reader.bool() else None))
    return view, _ChangesPart(rows, reply.revision, more, cursor)
