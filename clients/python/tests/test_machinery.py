"""What a client does with answers that real nodes give seldom: against a node that a test plays."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import unittest
from struct import unpack_from
from typing import AsyncIterator, Callable, Dict, List, NamedTuple, Optional, Tuple

import quorate
from quorate import _wire as wire

from .quorum import eventually
from .support import asynchronous


class Mutate(NamedTuple):
    kind: int
    opens: bool
    session: bytes
    sequence: int
    acknowledged: int
    fields: bytes


def mutate_of(body: bytes) -> Mutate:
    kind, flags, session, sequence, acknowledged = unpack_from("<BB16sQQ", body)
    return Mutate(kind, flags & 1 == 1, session, sequence, acknowledged, body[46 if flags & 1 else 34 :])


def refusal(code: int, *, revision: int = 0, tags: Tuple[Tuple[int, bytes], ...] = ()) -> bytes:
    fields = b"".join(wire.u8(tag) + wire.bytes16(value) for tag, value in tags)
    return wire.u16(code) + wire.u64(revision) + wire.text("as the test says") + wire.u8(len(tags)) + fields


class Standing:
    """A watch of all records as a node gives it: while there is credit, each revision whole."""

    def __init__(self, body: bytes, write: Callable[[bytes], None]) -> None:
        self.next, _, _, _, self.credit = unpack_from("<QQBII", body, 4 + int.from_bytes(body[2:4], "little"))
        #: What may be under way.
        self.window = self.credit
        self.write = write
        write(wire.u16(0) + wire.u64(self.next - 1) + wire.u8(1) + wire.u64(1))

    def go_on(self, last: int) -> None:
        while self.credit > 0 and self.next <= last:
            put = wire.u8(1) + wire.bytes16(b"k") + wire.bytes32(bytes(300))
            changes = wire.u64(self.next) + wire.u32(1) + put
            body = wire.u16(0) + wire.u64(self.next) + wire.u8(2) + wire.u8(0) + changes
            self.write(body)
            self.credit -= 20 + len(body)
            self.next += 1


#: The body of the reply to a mutation; None: none, and the connection ends.
Script = Callable[[Mutate], Optional[bytes]]


class PlayedNode:
    """Greets, answers pings, statuses and keep-alives, and leaves mutations to a script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.mutations: List[Mutate] = []
        self.queries: List[bytes] = []
        #: What queries are answered; None: that there is no such row.
        self.answers: Optional[Callable[[bytes], Optional[bytes]]] = None
        self.greetings = 0
        self.connections = 0
        self.not_open: List[bytes] = []
        #: All watches that were asked for, and the last revision that they tell.
        self.watches: List[Standing] = []
        self.last_told = 0
        #: The body of the answer to a watch, instead of one that stands.
        self.watch_refusal: Optional[bytes] = None
        self.watches_refused = 0
        self.identity = wire.Identity(1, 1, 1)
        self._revision = 10
        self._rows: Dict[Tuple[bytes, int], bytes] = {}
        self._writers: List[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "PlayedNode":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = "127.0.0.1:%d" % self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *arguments: object) -> None:
        self._server.close()

    def drop(self) -> None:
        """Ends the connections that stand."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def _stand(self, request_id: int, body: bytes, writer: asyncio.StreamWriter) -> Optional[Standing]:
        def write(body: bytes) -> None:
            writer.write(wire.encode_frame(wire.WATCH, wire.FLAG_REPLY | wire.FLAG_MORE, request_id, body))

        if self.watch_refusal is not None:
            self.watches_refused += 1
            writer.write(wire.encode_frame(wire.WATCH, wire.FLAG_REPLY, request_id, self.watch_refusal))
            return None
        watch = Standing(body, write)
        self.watches.append(watch)
        if watch.credit == 0:
            writer.write(wire.encode_frame(wire.WATCH, wire.FLAG_REPLY, request_id, refusal(1)))
            return None
        watch.go_on(self.last_told)
        return watch

    def done(self, mutation: Mutate) -> bytes:
        """What a node answers that has done it, now or before."""
        key = (mutation.session, mutation.sequence)
        if key not in self._rows:
            self._revision += 1
            self._rows[key] = wire.u16(0) + wire.u64(self._revision)
        return self._rows[key]

    def _hello(self) -> bytes:
        leader = b"\1" + wire.text("n1") + wire.text(self.address)
        limits = wire.u32(1 << 22) + wire.u32(1 << 22) + wire.u32(4096) + wire.u32(1024)
        node = wire.u64(7) + wire.text("n1") + wire.text("test") + wire.u64(10**18)
        known = b"\1" + self.identity.encoded()
        return wire.u16(1) + known + node + limits + wire.u32(1000) + wire.u32(86_400_000) + leader

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        scanner = wire.FrameScanner()
        none = wire.u16(0) + wire.u64(self._revision)
        standing: Dict[int, Optional[Standing]] = {}
        self._writers.append(writer)
        self.connections += 1
        try:
            while True:
                data = await reader.read(65536)
                if not data:
                    return
                # The scanner takes what a node sends; a client's frames differ by a flag that is not looked at here.
                for frame in _frames(scanner, data):
                    body: Optional[bytes] = none + b"\0"
                    if frame.kind == wire.HELLO:
                        self.greetings += 1
                        body = none + self._hello()
                    elif frame.kind == wire.PING:
                        body = none + wire.u64(10**18) + b"\0"
                    elif frame.kind == wire.STATUS:
                        body = refusal(3)
                    elif frame.kind == wire.KEEP_ALIVE:
                        body = none + wire.u16(len(self.not_open)) + b"".join(self.not_open) + b"\0"
                    elif frame.kind == wire.QUERY:
                        self.queries.append(frame.body)
                        body = none + b"\0" if self.answers is None else self.answers(frame.body)
                    elif frame.kind == wire.WATCH:
                        standing[frame.request_id] = self._stand(frame.request_id, frame.body, writer)
                        continue
                    elif frame.kind == wire.WATCH_CREDIT:
                        watch = standing.get(frame.request_id)
                        if watch is not None:
                            watch.credit += int.from_bytes(frame.body, "little")
                            # Nobody can have read what was not sent.
                            assert watch.credit <= watch.window
                            watch.go_on(self.last_told)
                        continue
                    elif frame.kind == wire.WATCH_CANCEL:
                        standing[frame.request_id] = None
                        continue
                    elif frame.kind == wire.MUTATE:
                        mutation = mutate_of(frame.body)
                        self.mutations.append(mutation)
                        body = self.script(mutation)
                    if body is None:
                        return
                    writer.write(wire.encode_frame(frame.kind, wire.FLAG_REPLY, frame.request_id, body))
        except OSError:
            pass
        finally:
            self.connections -= 1
            writer.transport.abort()


def _frames(scanner: wire.FrameScanner, data: bytes) -> List[wire.Frame]:
    frames = []
    offset = 0
    while offset + 20 <= len(data):
        size = int.from_bytes(data[offset : offset + 4], "little") + 4
        kind = int.from_bytes(data[offset + 6 : offset + 8], "little")
        request_id = int.from_bytes(data[offset + 8 : offset + 16], "little")
        frames.append(wire.Frame(kind, 0, request_id, data[offset + 16 : offset + size - 4], size))
        offset += size
    return frames


def locking(mutation: Mutate) -> bytes:
    """A node at which every lock is free."""
    return wire.u16(0) + wire.u64(mutation.sequence + 10) + (wire.u64(5) + wire.u64(7) if mutation.kind == 19 else b"\1")


@contextlib.asynccontextmanager
async def playing(script: Script) -> AsyncIterator[Tuple[PlayedNode, quorate.Client]]:
    async with PlayedNode(script) as node:
        async with quorate.Client(node.address, timeout=5, session_timeout=2) as client:
            yield node, client


class MachineryTests(unittest.TestCase):
    @asynchronous
    async def test_a_gap_is_filled_from_where_the_node_says(self) -> None:
        refused: List[int] = []

        def script(mutation: Mutate) -> bytes:
            if mutation.sequence == 3 and not refused:
                refused.append(3)
                return refusal(12, tags=((4, wire.u32(20)),))
            if mutation.sequence > 3 and len(refused) < 4:
                refused.append(mutation.sequence)
                return refusal(40, tags=((2, wire.u64(3)),))
            return node.done(mutation)

        async with playing(script) as (node, client):
            revisions = await asyncio.gather(*(client.put("k", str(number)) for number in range(6)))
            self.assertEqual(revisions, sorted(set(revisions)))
            sequences = [mutation.sequence for mutation in node.mutations if mutation.kind == 1]
            self.assertEqual(sequences[:6], [1, 2, 3, 4, 5, 6])
            self.assertEqual(sequences[6:], [3, 4, 5, 6])
            # The same command under the same sequence.
            self.assertEqual(node.mutations[6].fields, node.mutations[2].fields)

    @asynchronous
    async def test_the_session_is_opened_until_a_reply_has_come_and_replies_are_acknowledged(self) -> None:
        async with playing(lambda mutation: node.done(mutation)) as (node, client):
            await asyncio.gather(client.put("a", ""), client.put("b", ""))
            await client.put("c", "")
            self.assertEqual([mutation.opens for mutation in node.mutations], [True, True, False])
            self.assertEqual([mutation.acknowledged for mutation in node.mutations], [0, 0, 2])
            self.assertEqual(len({mutation.session for mutation in node.mutations}), 1)

    @asynchronous
    async def test_an_opening_that_is_too_old_begins_anew(self) -> None:
        def script(mutation: Mutate) -> bytes:
            return refusal(43) if len(node.mutations) == 1 else node.done(mutation)

        async with playing(script) as (node, client):
            await client.put("a", "")
            first, second = node.mutations
            self.assertNotEqual(first.session, second.session)
            self.assertEqual((first.fields, second.sequence), (second.fields, 1))

    @asynchronous
    async def test_an_expired_session_with_a_mutation_of_unknown_fate(self) -> None:
        def script(mutation: Mutate) -> Optional[bytes]:
            if mutation.sequence == 1:
                return node.done(mutation)
            return None if len(node.mutations) == 2 else refusal(43)

        async with playing(script) as (node, client):
            states: List[quorate.SessionState] = []
            client.on_session_state(states.append)
            await client.put("a", "")
            with self.assertRaises(quorate.OutcomeUnknown):
                await client.put("b", "")
            self.assertEqual(states, [quorate.SessionState.CONNECTED, quorate.SessionState.LOST])

    @asynchronous
    async def test_a_keep_alive_says_that_the_session_is_gone(self) -> None:
        async with playing(lambda mutation: node.done(mutation)) as (node, client):
            states = client.session_states()
            await client.put("a", "")
            self.assertIs(await states.__anext__(), quorate.SessionState.CONNECTED)
            node.not_open = [node.mutations[0].session]
            self.assertIs(await states.__anext__(), quorate.SessionState.LOST)
            node.not_open = []
            await client.put("b", "")
            self.assertNotEqual(node.mutations[1].session, node.mutations[0].session)
            await states.aclose()

    @asynchronous
    async def test_a_first_answer_that_comes_too_late_opens_no_session(self) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()

        def script(mutation: Mutate) -> Optional[bytes]:
            # Applied at once. The answer that was kept comes when the cluster may have ended the session.
            answer = node.done(mutation)
            return answer if loop.time() - begun > 2.2 else None

        async with playing(script) as (node, client):
            states: List[quorate.SessionState] = []
            client.on_session_state(states.append)
            # The row is there whatever becomes of the session; the owned one may have gone with it.
            plain, owned = await asyncio.gather(
                client.put("a", ""), client.put("o", "", owned=True), return_exceptions=True
            )
            self.assertIsInstance(plain, int)
            self.assertIsInstance(owned, quorate.OutcomeUnknown)
            self.assertEqual(states, [quorate.SessionState.LOST])
            await client.put("b", "")
            self.assertEqual(states, [quorate.SessionState.LOST, quorate.SessionState.CONNECTED])
            self.assertNotEqual(node.mutations[-1].session, node.mutations[0].session)

    @asynchronous
    async def test_copies_that_were_refused_do_not_age_a_session(self) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()

        def script(mutation: Mutate) -> bytes:
            return node.done(mutation) if loop.time() - begun > 2.2 else refusal(12, tags=((4, wire.u32(200)),))

        async with playing(script) as (node, client):
            await client.put("a", "")
            self.assertGreater(len(node.mutations), 5)
            self.assertIs(client.session_state, quorate.SessionState.CONNECTED)

    @asynchronous
    async def test_a_refusal_in_a_pipeline_is_filled_with_nothing(self) -> None:
        def script(mutation: Mutate) -> bytes:
            if mutation.kind == 1 and mutation.fields.endswith(b"bad"):
                return refusal(17)
            if mutation.sequence > 2 and not any(each.kind == 5 for each in node.mutations):
                return refusal(40, tags=((2, wire.u64(2)),))
            return node.done(mutation)

        async with playing(script) as (node, client):
            calls = [client.put("k", value) for value in ("1", "bad", "3", "4")]
            results = await asyncio.gather(*calls, return_exceptions=True)
            self.assertIsInstance(results[1], quorate.DiskFull)
            self.assertTrue(all(isinstance(results[index], int) for index in (0, 2, 3)))
            filler = next(mutation for mutation in node.mutations if mutation.kind == 5)
            self.assertEqual((filler.sequence, filler.fields), (2, bytes(6)))

    @asynchronous
    async def test_a_cancelled_call_that_was_sent_is_sent_until_it_is_answered(self) -> None:
        def script(mutation: Mutate) -> Optional[bytes]:
            is_lost = mutation.sequence == 2 and sum(each.sequence == 2 for each in node.mutations) < 3
            return None if is_lost else node.done(mutation)

        async with playing(script) as (node, client):
            await client.put("a", "")
            call = asyncio.ensure_future(client.put("b", ""))
            while len(node.mutations) < 2:
                await asyncio.sleep(0.001)
            call.cancel()
            revision = await client.put("c", "")
            second = next(each for each in node.mutations if each.sequence == 2)
            self.assertLess(int.from_bytes(node.done(second)[2:], "little"), revision)

    @asynchronous
    async def test_a_read_names_the_highest_revision_seen(self) -> None:
        async with playing(lambda mutation: node.done(mutation)) as (node, client):
            revision = await client.put("a", "")
            await client.get("a", level=quorate.ReadLevel.STALE)
            await client.get("a", at_least=revision + 5)
            self.assertEqual([query[0] for query in node.queries], [1, 0])
            named = [int.from_bytes(query[1:9], "little") for query in node.queries]
            self.assertEqual(named, [revision, revision + 5])

    @asynchronous
    async def test_changes_that_nobody_knows_any_more(self) -> None:
        async with playing(lambda mutation: node.done(mutation)) as (node, client):
            node.answers = lambda query: refusal(31, revision=50, tags=((1, wire.u64(40)),))
            with self.assertRaises(quorate.Compacted) as caught:
                await client.changes("a", since=7)
            self.assertEqual(caught.exception.current_revision, 40)
            # Form 13, no view, all keys that begin with "a", since revision 7, from the start, a view is to be pinned.
            fields = b"\x0d" + bytes(8) + b"\0" + wire.bytes16(b"a") + wire.u64(7) + bytes(6) + b"\4"
            self.assertEqual([query[9:] for query in node.queries], [fields])

    @asynchronous
    async def test_parts_of_what_has_changed(self) -> None:
        def part(key: bytes, *, more: bool) -> bytes:
            head = wire.u16(0) + wire.u64(50) + wire.u64(5 if more else 0) + wire.u8(more) + wire.bytes16(b"at " + key)
            return head + wire.u32(1) + wire.bytes16(key) + wire.u64(45) + b"\0"

        answers = [part(b"a", more=True), refusal(32), part(b"a", more=True), part(b"b", more=False)]
        async with playing(lambda mutation: node.done(mutation)) as (node, client):
            node.answers = lambda query: answers.pop(0) if query[9] == 13 else refusal(32)
            changed = await client.changes(since=7)
            # What was read of a view that was lost does not count.
            self.assertEqual([(row.key, row.value) for row in changed.rows], [(b"a", None), (b"b", None)])
            self.assertEqual(changed.revision, 50)
            last = [query for query in node.queries if query[9] == 13][-1]
            self.assertEqual((last[10:18], last[29:35]), (wire.u64(5), wire.bytes16(b"at a")))

    @asynchronous
    async def test_a_page_of_another_view_that_bears_the_same_number_is_not_taken(self) -> None:
        def page(key: bytes, revision: int, *, more: bool) -> bytes:
            head = wire.u16(0) + wire.u64(revision) + wire.u64(1 if more else 0) + wire.u8(more) + wire.bytes16(key)
            return head + wire.u32(1) + wire.bytes16(key) + wire.u64(45) + wire.bytes32(b"")

        # After the first page the node is another machine, whose first view is somebody else's.
        answers = [page(b"a", 50, more=True), page(b"z", 60, more=True)]
        answers += [page(b"b", 61, more=True), page(b"c", 61, more=False)]
        async with playing(lambda mutation: node.done(mutation)) as (node, client):
            node.answers = lambda query: answers.pop(0) if query[9] in (2, 3) else refusal(32)
            listing = await client.list("")
            self.assertEqual([row.key for row in listing.rows], [b"b", b"c"])
            self.assertEqual(listing.revision, 61)
            self.assertEqual([query for query in node.queries if query[9] == 4], [])

    @asynchronous
    async def test_a_watch_with_little_credit_goes_on(self) -> None:
        async with playing(lambda mutation: None) as (node, client):
            node.last_told = 30
            async with client.watch(since=1, credit=1000) as watch:
                told = [(await asyncio.wait_for(watch.__anext__(), 5)).revision for _ in range(30)]
            self.assertEqual(told, list(range(1, 31)))
            self.assertEqual([each.window for each in node.watches], [1000])

    @asynchronous
    async def test_a_watch_ends_where_one_node_cannot_help_and_all_others_have_compacted(self) -> None:
        async with PlayedNode(lambda mutation: None) as one, PlayedNode(lambda mutation: None) as other:
            one.watch_refusal = refusal(31)
            other.watch_refusal = refusal(16)
            async with quorate.Client(f"{one.address},{other.address}") as client:
                with self.assertRaises(quorate.Compacted):
                    await asyncio.wait_for(client.watch(since=1).start(), 10)
            self.assertEqual((one.watches_refused, other.watches_refused), (1, 3))

    @asynchronous
    async def test_a_watch_that_moves_with_a_backlog_reads_it_first_and_asks_with_all_of_its_credit(self) -> None:
        async with playing(lambda mutation: None) as (node, client):
            node.last_told = 30
            async with client.watch(since=1, credit=1000) as watch:

                async def is_full() -> bool:
                    return watch.unread >= 1000

                await eventually("all of the credit is used up", is_full)
                node.drop()
                await asyncio.sleep(0.3)
                self.assertEqual(len(node.watches), 1)
                told = [(await asyncio.wait_for(watch.__anext__(), 5)).revision for _ in range(30)]
            self.assertEqual(told, list(range(1, 31)))
            self.assertEqual([each.window for each in node.watches], [1000, 1000])

    @asynchronous
    async def test_a_task_that_is_cancelled_when_its_turn_for_a_lock_comes_leaves_it_to_others(self) -> None:
        async with playing(locking) as (_, client):
            holder = client.locks.lock("l")
            await holder.__aenter__()
            waiting = asyncio.ensure_future(client.locks.lock("l").__aenter__())
            await asyncio.sleep(0.01)
            leaving = asyncio.ensure_future(holder.__aexit__(None, None, None))
            # Before the task goes on that has the turn since the line above.
            asyncio.get_running_loop().call_soon(waiting.cancel)
            with self.assertRaises(asyncio.CancelledError):
                await waiting
            await leaving
            async with client.locks.lock("l", wait=0) as lock:
                self.assertTrue(lock.is_held)
            self.assertEqual(client.locks._local, {})

    @asynchronous
    async def test_who_gives_up_waiting_for_a_lock_does_not_hold_up_those_behind(self) -> None:
        async with playing(locking) as (_, client):
            async with client.locks.lock("l", shared=True):
                alone = asyncio.ensure_future(client.locks.lock("l", wait=0.1).__aenter__())
                await asyncio.sleep(0.01)
                behind = client.locks.lock("l", shared=True)
                await asyncio.wait_for(behind.__aenter__(), 2)
                with self.assertRaises(quorate.DeadlineExceeded):
                    await alone
                await behind.__aexit__(None, None, None)
            self.assertEqual(client.locks._local, {})

    @asynchronous
    async def test_a_lock_is_released_in_each_session_that_it_is_held_in(self) -> None:
        async with playing(locking) as (node, client):
            first = client.locks.lock("l", shared=True)
            await first.__aenter__()
            session = node.mutations[0].session
            node.not_open = [session]

            async def is_lost() -> bool:
                return client.session_state is quorate.SessionState.LOST

            await eventually("the session is lost", is_lost)
            node.not_open = []
            async with client.locks.lock("l", shared=True) as second, client.locks.lock("l", shared=True):
                self.assertTrue(second.is_held)
                self.assertFalse(first.is_held)
            await first.__aexit__(None, None, None)
            self.assertEqual([each.kind for each in node.mutations], [19, 19, 19, 20])
            self.assertNotIn(session, [each.session for each in node.mutations[1:]])
            self.assertEqual(client.locks._local, {})

    @asynchronous
    async def test_a_client_that_is_closed_while_it_connects_leaves_nothing(self) -> None:
        said: List[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: said.append(context["message"]))
        try:
            async with PlayedNode(lambda mutation: None) as node:
                for turns in range(60):
                    client = quorate.Client([node.address, "127.0.0.1:1"], session_timeout=None)
                    for _ in range(turns % 30):
                        await asyncio.sleep(0)
                    await client.close()
                    del client
                    gc.collect()

                async def are_all_ended() -> bool:
                    return node.connections == 0

                await eventually("the node has no connection", are_all_ended)
        finally:
            loop.set_exception_handler(None)
        self.assertEqual(said, [])

    @asynchronous
    async def test_one_shot(self) -> None:
        async with PlayedNode(lambda mutation: node.done(mutation)) as node:
            async with quorate.Client(node.address, session_timeout=None) as client:
                await asyncio.gather(client.put("a", ""), client.put("b", ""))
                self.assertEqual([mutation.sequence for mutation in node.mutations], [1, 1])
                self.assertEqual(len({mutation.session for mutation in node.mutations}), 2)

    @asynchronous
    async def test_another_cluster_at_the_same_address(self) -> None:
        async with PlayedNode(lambda mutation: None) as node:
            async with quorate.Client(node.address, timeout=5) as client:
                node.script = node.done
                await client.put("a", "")
                node.identity = wire.Identity(2, 1, 1)
                node.script = lambda mutation: None
                with self.assertRaises(quorate.OutcomeUnknown):
                    await client.put("b", "")
                with self.assertRaises(quorate.ClusterMismatch):
                    await client.get("a")
