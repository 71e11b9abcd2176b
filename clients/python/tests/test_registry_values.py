"""The bytes of the masters' registry: against the examples of docs/PROTOCOL.md, and there and back."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import unittest
from dataclasses import replace
from typing import Any, Awaitable, Callable, Dict, Iterable, List, Optional, Tuple, cast

import quorate
from quorate import Guard, MasterRegistry, RecordKey, RegistryView
from quorate import _wire as wire
from quorate import registry_codec as codec
from quorate._encoding import encode_guard, read_page
from quorate.errors import ProtocolError, Rejected, TooLarge
from quorate.registry import (
    AgentAttachment,
    AgentCapabilities,
    AgentClaim,
    AgentInfo,
    AgentInfoRow,
    AgentPatch,
    AgentRow,
    AgentState,
    Attribute,
    Behind,
    CapabilityRow,
    CapacityRow,
    ConsumptionRow,
    Create,
    Destroy,
    DiskClaim,
    DiskInfo,
    DiskKind,
    DiskSource,
    DocumentRow,
    Drain,
    EntryRow,
    FrameworkCapabilities,
    FrameworkConnection,
    FrameworkInfo,
    FrameworkRow,
    FrameworkState,
    Grow,
    HoldRow,
    ImportProgress,
    ImportState,
    Items,
    Label,
    LedgerEntry,
    LegacyQuotaRow,
    Limiter,
    LostVolumeRow,
    MachineID,
    MachineMode,
    MachineRow,
    MaintenanceWindow,
    MasterInfo,
    NamedNumber,
    OfferFilter,
    OperationDone,
    OperationFlags,
    OperationRequest,
    OperationRow,
    OperationState,
    OperationStatus,
    OrphanRow,
    Persistence,
    ProviderRow,
    Quantity,
    QuotaConfig,
    QuotaRow,
    RateLimit,
    RateLimits,
    Ranges,
    Record,
    RegistryRow,
    RegistryTable,
    Rejection,
    ReportWanted,
    Reservation,
    ReservationClaim,
    ReservationKind,
    Reserve,
    Resource,
    ResourceClaim,
    ResourceVersion,
    RoleConsumption,
    Root,
    Scalar,
    Shrink,
    SourceClaim,
    Unavailability,
    Unreserve,
    UpToDate,
    ValueType,
    VolumeMount,
    Weight,
    WindowRow,
)
from quorate.values import Page, ReadLevel
from quorate.watch import WatchEvent, read_change

from .test_protocol import examples, frame_of

_GUARD = Guard.election("masters", 11)
_START = 1_700_000_000 * 10**9


def _uuid(first: int) -> bytes:
    return bytes(range(first, first + 16))


# What the document's examples say.

_INFO = AgentInfo(
    "h2",
    "10.0.0.2",
    attributes=(Attribute("rack", "r1"),),
    checkpointing=True,
    capabilities=AgentCapabilities.HIERARCHICAL_ROLE
    | AgentCapabilities.RESERVATION_REFINEMENT
    | AgentCapabilities.RESIZE_VOLUME
    | AgentCapabilities.AGENT_DRAINING,
)
_DATA = SourceClaim.of_path("/data")
_AGENT = AgentClaim(
    "a1",
    _INFO,
    (
        ResourceClaim.of_amount("cpus", 8),
        ResourceClaim.of_ranges("ports", [(31_000, 32_000)]),
        ResourceClaim.of_disk(100_000, _DATA),
    ),
)
_VERSIONS = (ResourceVersion(None, _uuid(0x10)),)
_DB = Reservation(ReservationKind.DYNAMIC, "db", "p")
_PATH = DiskSource(DiskKind.PATH, "/data")
_WAL = Resource(
    "disk", Scalar(40_000_000), (_DB,), DiskInfo(_PATH, Persistence("wal", "p"), VolumeMount("wal"))
)
_WAL_CLAIM = ResourceClaim.of_disk(40_000, _DATA).reserved("db", "p").volume("wal", "wal", "p")


class _Recorder:
    """In the place of a client: notes what it is to send, and gives the answer that it was made with."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.sent: List[Tuple[int, bytes, Tuple[Guard, ...]]] = []

    async def _mutate(
        self, kind: int, fields: bytes, guards: Iterable[Guard], timeout: Optional[float]
    ) -> wire.Reply:
        self.sent.append((kind, fields, tuple(guards)))
        reply = wire.decode_reply(self.answer)
        if reply.code != 0:
            raise wire.decode_error(reply)
        return reply

    async def _parts(
        self,
        fields_of: Callable[[int, bytes], bytes],
        decode: Callable[[wire.Reply], Tuple[int, Page]],
        level: ReadLevel,
        at_least: int,
        timeout: Optional[float],
    ) -> List[Page]:
        self.sent.append((0, fields_of(0, b""), ()))
        return [decode(wire.decode_reply(self.answer))[1]]


_Call = Callable[[MasterRegistry], Awaitable[Any]]

#: Code 0, revision 1.
_DONE = b"\0\0" + wire.u64(1)


def _command(call: _Call, answer: bytes) -> Tuple[bytes, Any]:
    """What a call sends behind the number of the kind, and what it makes of an answer."""
    recorder = _Recorder(answer)
    master = MasterRegistry(cast(quorate.Client, recorder), guard=_GUARD)

    async def run() -> Any:
        return await call(master)

    result = asyncio.run(run())
    ((kind, fields, guards),) = recorder.sent
    assert (kind, guards) == (24, (_GUARD,))
    return fields, result


class DocumentTests(unittest.TestCase):
    def setUp(self) -> None:
        self.examples = examples()

    def _check(self, name: str, call: _Call, answer: Optional[str] = None) -> Any:
        """The example's command is what the call sends; its answer, or the one that is named, is what it gets."""
        reply = frame_of(self.examples[answer or f"{name} reply"]).body
        body = self.examples[name][16:-4]
        # The kind, and that there are guards.
        self.assertEqual(body[:2], bytes([24, 4]))
        fields, result = _command(call, reply)
        self.assertEqual(body[34:], b"\1" + encode_guard(_GUARD) + fields)
        return result

    def test_agents(self) -> None:
        master = MasterInfo("m1", "h1", "10.0.0.1")
        reply = "mutate registry reply"
        self.assertEqual(self._check("mutate registry recover", lambda it: it.recover(master), reply), 20)
        self.assertEqual(self._check("mutate registry admit agent", lambda it: it.admit(_AGENT)), 1)
        attachment = AgentAttachment(_AGENT, 1, _uuid(0x30), _VERSIONS)
        self.assertEqual(
            self._check("mutate registry reregister agents", lambda it: it.reregister([attachment])),
            (
                Behind(3, (_WAL,), Drain(False, 60 * 10**9, True)),
                Rejection("agent.gone", "agent a2 was marked gone, which is for ever: it needs a new id"),
            ),
        )

    def test_refusals(self) -> None:
        with self.assertRaises(Rejected) as rejected:
            _command(lambda it: it.admit(_AGENT), frame_of(self.examples["mutate registry rejected"]).body)
        error = rejected.exception
        self.assertEqual((error.code, error.name, error.rule), (39, "rejected", "agent.already-admitted"))
        self.assertEqual((error.retryable, error.retry_after), (False, None))
        with self.assertRaises(Rejected) as postponed:
            self._check(
                "mutate registry mark unreachable",
                lambda it: it.mark_unreachable("a1"),
                "mutate registry postponed",
            )
        error = postponed.exception
        self.assertEqual((error.rule, error.retryable, error.retry_after), ("agent.removal-limited", True, 540.0))
        self.assertEqual(
            self._check(
                "mutate registry mark unreachable", lambda it: it.mark_unreachable("a1"), "mutate registry reply"
            ),
            True,
        )

    def test_frameworks(self) -> None:
        framework = FrameworkInfo(
            "pg",
            user="u",
            principal="p",
            roles=("db",),
            capabilities=FrameworkCapabilities.MULTI_ROLE,
            failover_timeout=600,
            hostname="h3",
        )
        self.assertEqual(
            self._check(
                "mutate registry subscribe framework", lambda it: it.subscribe(framework, "c1", principal="p")
            ),
            quorate.registry.Subscribed("m1-0000", False),
        )
        status = OperationStatus(OperationState.FINISHED, _uuid(0x20))
        self.assertTrue(
            self._check(
                "mutate registry operation status", lambda it: it.update_status("a1", _uuid(0x10), status)
            )
        )
        held = [ResourceClaim.of_amount("cpus", 2), _WAL_CLAIM]
        self.assertTrue(
            self._check(
                "mutate registry acquire",
                lambda it: it.acquire("a1", "m1-0000", "t1", "db", held),
                "mutate registry reply",
            )
        )

    def test_operations(self) -> None:
        half = ResourceClaim.of_disk(50_000, _DATA).reserved("db", "p").allocated("db")
        reserve = OperationRequest("a1", Reserve((half,)), "m1-0000", "p", _uuid(0x10), "o1")
        done = OperationDone(2, (Resource("disk", Scalar(50_000_000), (_DB,), DiskInfo(_PATH)),))
        self.assertEqual(self._check("mutate registry reserve", lambda it: it.apply(reserve)), done)
        create = OperationRequest("a1", Create((_WAL_CLAIM.allocated("db"),)), "m1-0000", "p", _uuid(0x40))
        self.assertEqual(
            self._check("mutate registry create volume", lambda it: it.apply_all([create])),
            (Rejection("create.duplicate-id", "role db has a volume wal on this agent"),),
        )

    def test_quota_and_maintenance(self) -> None:
        limits = (NamedNumber("cpus", 4), NamedNumber("mem", 8192))
        quota = QuotaConfig("db", (NamedNumber("cpus", 2),), limits)
        used = (Quantity("cpus", Scalar(2000)), Quantity("disk", Scalar(50_000_000)))
        self.assertEqual(
            self._check("mutate registry quota", lambda it: it.set_quota([quota])), (RoleConsumption("db", used),)
        )
        window = MaintenanceWindow(
            (MachineID("h2", "10.0.0.2"), MachineID(None, "10.0.0.9")), Unavailability(_START, 3600 * 10**9)
        )
        reply = "mutate registry reply"
        self.assertTrue(self._check("mutate registry schedule", lambda it: it.set_schedule([window]), reply))

    def test_a_view(self) -> None:
        _, page = read_page(wire.decode_reply(frame_of(self.examples["query registry reply"]).body), 0)
        found: Dict[RecordKey, Record] = {}
        for row in page.rows:
            key = codec.record_key(row.key)
            assert key is not None
            record = codec.read_record(key, row.value)
            assert record is not None
            found[key] = record
            # And back.
            self.assertEqual(codec.ROWS[key.table].fields.encode(record), row.value)
        limiter = Limiter(_START + 600 * 10**9, 5, 5, 0, 0, True)
        registry = RegistryRow(MasterInfo("m1", "h1", "10.0.0.1"), 11, _START, 1, 1, 1, 0, 1, 1, limiter)
        agent = AgentRow(
            "a1", AgentState.ADMITTED, _START, 1, False, None, 3, _uuid(0x30), _VERSIONS, 11, False, b""
        )
        self.assertEqual(list(found.values()), [registry, agent, AgentInfoRow("a1", _INFO)])

    def test_the_entries_of_an_agent(self) -> None:
        recorder = _Recorder(frame_of(self.examples["query registry, one agent reply"]).body)
        registry = quorate.Registry(cast(quorate.Client, recorder))
        entries = asyncio.run(registry.entries("a1"))
        # Behind the level of the read and the revision that is to be seen.
        self.assertEqual(recorder.sent[0][1], self.examples["query registry, one agent"][16:-4][9:])
        self.assertEqual(
            [str(entry.resource) for entry in entries],
            [
                "cpus:8",
                "disk[path /data]:50000",
                "disk(db)[path /data]:10000",
                "disk(db)[path /data][wal]:40000",
                "ports:[31000-32000]",
            ],
        )
        self.assertEqual(entries[3], LedgerEntry(_WAL))
        page = read_page(wire.decode_reply(recorder.answer), 0)[1]
        self.assertEqual([b"\x04a1\0" + codec.entry_key(entry) for entry in entries], [row.key for row in page.rows])
        self.assertEqual([codec.RESOURCE.encode(entry.resource) for entry in entries], [r.value for r in page.rows])

        # Of these, two are checkpointed; of the volume without how it is mounted and who made it.
        plain, wal = page.rows[2], page.rows[3]
        mounted = wire.bytes16(b"wal") + b"\1" + wire.bytes16(b"p") + wire.bytes16(b"wal") + b"\0\0"
        self.assertTrue(wal.value.endswith(mounted))
        without = wal.value[: -len(mounted)].replace(b"\x1c\x01", b"\x0c\x01") + wire.bytes16(b"wal") + b"\0"
        expected = hashlib.sha256(b"".join(sorted((plain.value, without)))).digest()[:16]
        self.assertEqual(quorate.checkpoint_digest(entries), expected)
        self.assertEqual(quorate.checkpoint_digest(reversed(entries)), expected)
        offered = [LedgerEntry(replace(each.resource, allocation_role="db"), each.ordinal) for each in entries]
        self.assertEqual(quorate.checkpoint_digest(offered), expected)
        other = replace(_WAL, value=Scalar(39_999_999))
        self.assertNotEqual(quorate.checkpoint_digest([*entries[:3], LedgerEntry(other)]), expected)

    def test_changes(self) -> None:
        reader = wire.decode_reply(frame_of(self.examples["watch changes, registry"]).body).rest
        self.assertEqual((reader.u8(), reader.u8()), (2, 0))
        revision = reader.u64()
        changes = tuple(read_change(reader) for _ in range(reader.u32()))
        self.assertTrue(reader.is_at_end)
        event = quorate.registry_master._event_of(WatchEvent(revision, changes))
        hold = HoldRow("a1", "m1-0000", "t1", "db", (Resource("cpus", Scalar(2000)), _WAL))
        used = ConsumptionRow("db", "cpus", Scalar(2000))
        # The index says nothing else.
        self.assertEqual([change.record for change in event.changes], [hold, used])
        view = RegistryView(26)
        view.apply(event)
        self.assertEqual((view.revision, view.of(HoldRow, "a1"), view.of(ConsumptionRow)), (27, (hold,), (used,)))
        self.assertEqual((view.of(HoldRow), view.of(HoldRow, "a"), len(view)), ((hold,), (), 2))
        gone = tuple(change._replace(value=None, deleted=True) for change in changes)
        view.apply(quorate.registry_master._event_of(WatchEvent(27, gone)))
        self.assertEqual(len(view), 2, "what it shows already was applied again")
        view.apply(quorate.registry_master._event_of(WatchEvent(28, gone)))
        self.assertEqual((view.revision, len(view), list(view.records())), (28, 0, []))


class CommandTests(unittest.TestCase):
    """Commands of which the document has no example."""

    def _check(self, call: _Call, fields: bytes, answer: bytes = b"\1\0", result: Any = True) -> None:
        found = _command(call, _DONE + answer)
        self.assertEqual(found, (fields, result))

    def test_each_is_written_as_it_is_read(self) -> None:
        a1, one = b"\2\0a1", wire.u64(1)
        none, list_a1 = bytes(4), wire.u32(1) + a1
        cpus = wire.u32(1) + b"\4\0cpus\0\1\0" + bytes.fromhex("000000000000f03f")
        claim = ResourceClaim.of_amount("cpus", 1)
        info = b"\2\0f1\2\0pg" + bytes(2 + 1 + 1 + 4 + 2 + 8 + 1 + 2 + 2 + 1 + 4 + 4)
        framework = FrameworkInfo("pg", "f1")
        machine = MachineID("h")
        machines = wire.u32(1) + b"\1\1\0h\0"
        uuid = _uuid(0)
        status = b"\x04\0\4\0text"

        # The first of them changes nothing, by its answer.
        self._check(lambda it: it.update_agent("a1", AgentPatch()), b"\3" + a1 + b"\0", b"\0\0", False)
        self._check(lambda it: it.update_agent("a1", AgentPatch(port=1)), b"\3" + a1 + b"\x04\1\0")
        report = quorate.registry.AgentReport(2)
        self._check(
            lambda it: it.report("a1", 1, [claim]), b"\5" + a1 + one + cpus, b"\1\3\2" + bytes(7 + 12), report
        )
        agent = AgentClaim("a1", AgentInfo("", ""))
        stated = a1 + bytes(4) + wire.u16(5051) + bytes(4 + 1 + 1 + 2 + 2) + none
        self._check(lambda it: it.mark_reachable(agent), b"\7" + stated, b"\1\1" + one, 1)
        lost = (quorate.registry.VolumeID("a1", "r", "v"),)
        self._check(lambda it: it.mark_gone("a1"), b"\x08" + a1, b"\1\4" + list_a1 + b"\1\0r\1\0v", lost)
        self._check(lambda it: it.remove_agent("a1"), b"\x09" + a1 + b"\0")
        self._check(lambda it: it.remove_agent("a1", discards_volumes=True), b"\x09" + a1 + b"\1")
        pruned = quorate.registry.Pruned(("a1",), ())
        self._check(
            lambda it: it.prune(["a1"], includes_volumes=True),
            b"\x0a" + list_a1 + none + b"\1",
            b"\1\5" + list_a1 + none,
            pruned,
        )
        self._check(
            lambda it: it.prune(gone=["a1"]), b"\x0a" + none + list_a1 + b"\0", b"\0\5" + list_a1 + none, pruned
        )
        self._check(lambda it: it.drain("a1"), b"\x0b" + a1 + b"\0\0")
        self._check(
            lambda it: it.drain("a1", max_grace_period=1, marks_gone=True), b"\x0b" + a1 + b"\1" + one + b"\1"
        )
        self._check(lambda it: it.mark_drained("a1"), b"\x0c" + a1)
        self._check(lambda it: it.deactivate("a1"), b"\x0d" + a1)
        self._check(lambda it: it.reactivate("a1"), b"\x0e" + a1)
        self._check(lambda it: it.approve_removal(1, 2), b"\x0f" + one + wire.u64(2))
        subscribed = quorate.registry.Subscribed("f1", True)
        self._check(
            lambda it: it.subscribe(framework, "c", force=True),
            b"\x10" + info + b"\0\1\0c\1",
            b"\1\6\2\0f1\1",
            subscribed,
        )
        self._check(lambda it: it.update_framework(framework, principal="p"), b"\x11" + info + b"\1\1\0p")
        self._check(lambda it: it.disconnect("f1", "c"), b"\x12\2\0f1\1\0c")
        self._check(lambda it: it.tear_down("f1"), b"\x13\2\0f1")
        self._check(lambda it: it.forget(["a1"]), b"\x14" + list_a1)
        weight = wire.u32(1) + b"\1\0r" + bytes.fromhex("0000000000000040") + b"\0\0"
        self._check(lambda it: it.set_weights([Weight("r", 2)]), b"\x15" + weight)
        rate = b"\1" + bytes.fromhex("0000000000000040")
        self._check(lambda it: it.set_rate_limits(None), b"\x21\0")
        self._check(
            lambda it: it.set_rate_limits(RateLimits((RateLimit("p", 2, 3),))),
            b"\x21\1" + wire.u32(1) + b"\1\0p" + rate + b"\1" + wire.u64(3) + b"\0\0",
        )
        config = wire.u32(1) + b"\1\0r" + none + none
        self._check(
            lambda it: it.set_quota([QuotaConfig("r")], force=True), b"\x16" + config + b"\1", b"\1\x08" + none, ()
        )
        self._check(lambda it: it.set_schedule(None), b"\x17\0")
        self._check(lambda it: it.set_schedule([]), b"\x17\1" + none)
        self._check(lambda it: it.start_maintenance([machine]), b"\x18" + machines, b"\1\7" + list_a1, ("a1",))
        self._check(lambda it: it.stop_maintenance([machine]), b"\x19" + machines)
        self._check(lambda it: it.release("a1", "f1", "h"), b"\x1c" + a1 + b"\2\0f1\1\0h")
        self._check(lambda it: it.admit_provider("a1", type="t"), b"\x1d" + a1 + b"\1\1\0t\0")
        self._check(lambda it: it.remove_provider("a1"), b"\x1e" + a1)
        self._check(
            lambda it: it.update_status(
                "a1", uuid, OperationStatus(OperationState.FAILED, message="text"), latest=OperationState.DROPPED
            ),
            b"\x1f" + a1 + wire.bytes16(uuid) + status + b"\1\6",
            b"\1\x0a\0",
            False,
        )
        self._check(
            lambda it: it.acknowledge("f1", "o", uuid, "a1"), b"\x20\2\0f1\1\0o" + wire.bytes16(uuid) + a1
        )

    def test_each_kind_of_operation(self) -> None:
        uuid = _uuid(0)
        volume = ResourceClaim.of_disk(1).reserved("r").volume("v", "p")
        claim = codec.RESOURCE_CLAIM.encode(volume)
        many = wire.u32(1) + claim
        done = OperationDone(3, ())
        answer = b"\1\x09" + wire.u32(1) + b"\1" + wire.u64(3) + bytes(4)

        def check(call: _Call, kind: bytes) -> None:
            request = b"\2\0a1\1\1\0f\0" + wire.bytes16(uuid) + b"\0\0" + kind
            self._check(call, b"\x1a" + wire.u32(1) + request + b"\1", answer, done)

        check(lambda it: it.reserve("a1", [volume], framework="f", uuid=uuid), b"\1" + many + b"\0")
        check(
            lambda it: it.reserve("a1", [volume], source=[volume], framework="f", uuid=uuid),
            b"\1" + many + b"\1" + many,
        )
        check(lambda it: it.unreserve("a1", [volume], framework="f", uuid=uuid), b"\2" + many)
        check(lambda it: it.create("a1", [volume], framework="f", uuid=uuid), b"\3" + many)
        check(lambda it: it.destroy("a1", [volume], framework="f", uuid=uuid), b"\4" + many)
        check(lambda it: it.grow("a1", volume, volume, framework="f", uuid=uuid), b"\5" + claim + claim)
        half = bytes.fromhex("000000000000e03f")
        check(lambda it: it.shrink("a1", volume, 0.5, framework="f", uuid=uuid), b"\6" + claim + half)

    def test_every_request_has_a_uuid_of_its_own(self) -> None:
        one, two = (OperationRequest("a1", Destroy(())) for _ in range(2))
        self.assertEqual((len(one.uuid), len(two.uuid)), (16, 16))
        self.assertNotEqual(one.uuid, two.uuid)

    def test_nothing_is_sent_by_one_that_does_not_lead(self) -> None:
        class Elections:
            def candidacy(self, group: bytes, data: bytes) -> quorate.Candidacy:
                return quorate.Candidacy(cast(quorate.Client, None), group, data)

        recorder = _Recorder(_DONE)
        recorder.elections = Elections()  # type: ignore[attr-defined]
        master = MasterRegistry(cast(quorate.Client, recorder))
        with self.assertRaisesRegex(RuntimeError, "does not lead"):
            asyncio.run(master.deactivate("a1"))
        self.assertEqual((recorder.sent, master.is_leading), ([], False))

    def test_an_answer_of_another_kind_is_malformed(self) -> None:
        for answer in (b"\1\1" + wire.u64(1), b"\3\0", b"\1", b""):
            with self.assertRaises(ProtocolError):
                _command(lambda it: it.deactivate("a1"), _DONE + answer)


_LABELS = (Label("k"), Label("k", ""), Label("k", "v\udcff"))
_VALUES: Tuple[Resource, ...] = (
    Resource("cpus", Scalar(0)),
    Resource("ports", Ranges(((1, 4), (6, 2**64 - 1))), revocable=True, provider="p1"),
    Resource("zones", Items(("", "z")), (Reservation(ReservationKind.STATIC, "a", None, ()), _DB), allocation_role="a"),
    Resource(
        "disk",
        Scalar(2**53 - 1),
        (Reservation(ReservationKind.DYNAMIC, "r", "p", _LABELS),),
        DiskInfo(
            DiskSource(DiskKind.RAW, "root", "vendor", "id", _LABELS, "profile"),
            Persistence("v"),
            VolumeMount("c", True, "h"),
        ),
        shared=True,
    ),
)
_CLAIMS: Tuple[ResourceClaim, ...] = (
    ResourceClaim(""),
    ResourceClaim("x", ValueType.TEXT, 0.0, (), (), former_role="", former_reservation=ReservationClaim()),
    ResourceClaim(
        "disk",
        ValueType.SCALAR,
        1e300,
        ((5, 1),),
        ("b", "a", "b"),
        (ReservationClaim(None, "", None, ()), ReservationClaim(ReservationKind.STATIC, None, "p", _LABELS)),
        revocable=True,
        shared=True,
        provider="",
        allocation_role="*",
    ),
    ResourceClaim(
        "disk",
        ValueType.SCALAR,
        -1.5,
        disk=DiskClaim(
            SourceClaim(None, Root(), Root("m"), "v", "i", _LABELS, "p"), Persistence("", "p"), VolumeMount("")
        ),
    ),
    *(each.claim("r") for each in _VALUES),
)
_FRAMEWORK = FrameworkInfo(
    "pg",
    "f1",
    "u",
    "p",
    "r",
    ("r", "*"),
    FrameworkCapabilities.MULTI_ROLE | FrameworkCapabilities.REGION_AWARE,
    1.5,
    True,
    "h",
    "http://h",
    _LABELS,
    (OfferFilter("r", (NamedNumber("cpus", 0.5),)), OfferFilter("s")),
    ("r",),
)
_WINDOWS = (
    MaintenanceWindow((MachineID("h"), MachineID(None, "10.0.0.1")), Unavailability(-(2**63), 2**63 - 1)),
    MaintenanceWindow((), Unavailability(0), '{"x":1}'),
)
_ATTRIBUTES = (
    Attribute("a", 1.5),
    Attribute("b", Ranges(((3, 4), (1, 2)))),
    Attribute("c", Items(("y", "x"))),
    Attribute("d", "text"),
)
_INFOS = (AgentInfo("", ""), replace(_INFO, attributes=_ATTRIBUTES, domain="{}", extra='{"x":1}', port=65535))
_STATUSES = tuple(OperationStatus(state, None, state.name) for state in OperationState) + (
    OperationStatus(OperationState.FINISHED, _uuid(1)),
)
_DRAINS = (Drain(), Drain(True, 2**64 - 1, True))

#: Of each codec values in which every part is there, and is not.
_SAMPLES: Tuple[Tuple["codec.Codec[Any]", Tuple[Any, ...]], ...] = (
    (codec.RESOURCE, _VALUES),
    (codec.RESOURCES, (_VALUES, ())),
    (codec.RESOURCE_CLAIM, _CLAIMS),
    (codec.ATTRIBUTE, _ATTRIBUTES),
    (codec.AGENT_INFO, _INFOS),
    (codec.AGENT_CLAIM, (AgentClaim("a", _INFOS[1], _CLAIMS),)),
    (
        codec.AGENT_PATCH,
        (
            AgentPatch(),
            AgentPatch("", "", 0, (), "", False, AgentCapabilities.NONE, ()),
            AgentPatch(resources=_CLAIMS, checkpointing=True),
        ),
    ),
    (codec.ATTACHMENT, (AgentAttachment(_AGENT, 0, b""), AgentAttachment(_AGENT, 2**64 - 1, _uuid(0), _VERSIONS))),
    (codec.FRAMEWORK_INFO, (FrameworkInfo(""), _FRAMEWORK)),
    (codec.FRAMEWORK_CONNECTION, (FrameworkConnection("c", _FRAMEWORK),)),
    (
        codec.OPERATION_REQUEST,
        tuple(
            OperationRequest("a", kind, *acting)
            for kind in (
                Reserve(_CLAIMS),
                Reserve((), ()),
                Unreserve(_CLAIMS),
                Create(_CLAIMS),
                Destroy(()),
                Grow(_CLAIMS[0], _CLAIMS[1]),
                Shrink(_CLAIMS[2], 0.1),
            )
            for acting in ((), ("f", "p", _uuid(3), "o", _uuid(4)))
        ),
    ),
    (codec.OPERATION_STATUS, _STATUSES),
    (codec.QUOTA_CONFIG, (QuotaConfig("r"), QuotaConfig("r", (NamedNumber("x", -1),), (NamedNumber("", 0),)))),
    (codec.WEIGHT, (Weight("r", 0.1),)),
    (codec.RATE_LIMITS, (RateLimits(), RateLimits((RateLimit("p"), RateLimit("q", 0.5, 0)), 1.5, 7))),
    (codec.MACHINE_ID, (MachineID(), MachineID("", ""))),
    (codec.WINDOW, _WINDOWS),
    (codec.MASTER_INFO, (MasterInfo("m"), MasterInfo("m", "h", "i", 0, "{}", True))),
    (
        codec.ATTACH_OUTCOME,
        (
            UpToDate(1),
            UpToDate(1, _DRAINS[0]),
            Behind(2, _VALUES, _DRAINS[1]),
            ReportWanted(),
            ReportWanted(_DRAINS[1]),
            Rejection("agent.gone", "detail"),
        ),
    ),
    (codec.OPERATION_OUTCOME, (OperationDone(1, _VALUES), Rejection("a", "b"))),
    (
        codec.RESULTS[codec.Result.REPORT],
        (quorate.registry.AgentReport(1, _VALUES[:1], _VALUES[1:2], _VALUES[2:]),),
    ),
)

#: Keys without their table, and what stands there.
_ROWS: Tuple[Tuple[RegistryTable, bytes, Record], ...] = (
    (RegistryTable.REGISTRY, b"", RegistryRow()),
    (
        RegistryTable.REGISTRY,
        b"",
        RegistryRow(
            MasterInfo("m"),
            1,
            2,
            3,
            4,
            5,
            6,
            7,
            0,
            Limiter(1, 2, 3, 4, 5, True),
            ImportProgress(b"i", 2, ImportState.ABORTING),
        ),
    ),
    (
        RegistryTable.AGENTS,
        b"a",
        AgentRow("a", AgentState.GONE, 1, 2, True, _DRAINS[1], 3, _uuid(0), _VERSIONS, 4, True, _uuid(5), "{}"),
    ),
    (RegistryTable.AGENT_INFO, b"a\xff", AgentInfoRow("a\udcff", _INFOS[1])),
    *(
        (RegistryTable.ENTRIES, b"a\0" + codec.entry_key(LedgerEntry(each, 258)), EntryRow("a", each, 258))
        for each in _VALUES
    ),
    (RegistryTable.HOLDS, b"a\0f\0h", HoldRow("a", "f", "h", "r", _VALUES)),
    (
        RegistryTable.OPERATIONS,
        b"a\0" + bytes(16),
        OperationRow(
            "a",
            bytes(16),
            None,
            None,
            None,
            _uuid(0),
            (),
            OperationDone(0, ()),
            OperationState.PENDING,
            (),
            (),
            OperationFlags.NONE,
            None,
        ),
    ),
    (
        RegistryTable.OPERATIONS,
        b"a\0" + _uuid(7),
        OperationRow(
            "a",
            _uuid(7),
            "f",
            "o",
            "p",
            _uuid(0),
            _VALUES,
            OperationDone(9, _VALUES),
            OperationState.DROPPED,
            _STATUSES,
            (_uuid(1), _uuid(2)),
            OperationFlags.ORPHAN | OperationFlags.UNDO_BLOCKED,
            5,
        ),
    ),
    *(
        (RegistryTable.FRAMEWORKS, b"f1", FrameworkRow("f1", _FRAMEWORK, state, 1, "c", deadline, 2))
        for state in FrameworkState
        for deadline in (None, 2**64 - 1)
    ),
    (RegistryTable.QUOTAS, b"r", QuotaRow("r", (Quantity("cpus", Scalar(1)),), (Quantity("mem", Scalar(0)),), "{}")),
    (RegistryTable.WEIGHTS, b"r", Weight("r", 2, "{}")),
    (RegistryTable.CONSUMPTION, b"\0\1rcpus", ConsumptionRow("r", "cpus", Scalar(5))),
    (RegistryTable.CAPACITY, b"cpus", CapacityRow("cpus", Scalar(5))),
    (
        RegistryTable.MACHINES,
        codec.MACHINE_ID.encode(MachineID("h")),
        MachineRow(MachineID("H"), MachineMode.DOWN, Unavailability(-1), 3, "{}"),
    ),
    (RegistryTable.WINDOWS, b"\0\0\1\2", WindowRow(258, _WINDOWS[0])),
    (RegistryTable.PROVIDERS, b"p", ProviderRow("p", True, "t", "")),
    (RegistryTable.PROVIDERS, b"p", ProviderRow("p", False, None, None, "{}")),
    (RegistryTable.CAPABILITIES, b"QUOTA_V2", CapabilityRow("QUOTA_V2")),
    (RegistryTable.CAPABILITIES, b"X", CapabilityRow("X", '{"x":1}')),
    (RegistryTable.LOST_VOLUMES, b"a\0\0\1rv", LostVolumeRow("a", _VALUES[3])),
    (RegistryTable.RATE_LIMITS, b"", RateLimits((RateLimit("p", 2, 3),))),
    (RegistryTable.LEGACY_QUOTAS, b"r", LegacyQuotaRow("r", None, ())),
    (RegistryTable.LEGACY_QUOTAS, b"s", LegacyQuotaRow("s", "p", (Quantity("cpus", Scalar(1)),), "{}")),
    (RegistryTable.DOCUMENTS, b"site\xff", DocumentRow("site\udcff", '"\udcff"')),
    (RegistryTable.ORPHANS, b"a\0" + codec.entry_key(LedgerEntry(_VALUES[0])), OrphanRow("a", _VALUES[0])),
)


#: A row of a registry in which nothing has happened, but for what says of imports.
_NEW_REGISTRY = codec.ROWS[RegistryTable.REGISTRY].fields.encode(RegistryRow())[:-1]


class RoundTripTests(unittest.TestCase):
    def test_values_there_and_back(self) -> None:
        for form, samples in _SAMPLES:
            for value in samples:
                encoded = form.encode(value)
                self.assertEqual(form.decode(encoded), value)
                self.assertEqual(form.encode(form.decode(encoded)), encoded)
                with self.assertRaises(ProtocolError):
                    form.decode(encoded + b"\0")

    def test_what_ends_too_early_is_malformed(self) -> None:
        for form, samples in _SAMPLES:
            for value in samples:
                encoded = form.encode(value)
                for size in range(len(encoded)):
                    with self.assertRaises(ProtocolError):
                        form.decode(encoded[:size])

    def test_rows_there_and_back(self) -> None:
        self.assertEqual({table for table, _, _ in _ROWS}, set(codec.ROWS))
        view = RegistryView()
        for table, rest, record in _ROWS:
            key = codec.record_key(bytes([table]) + rest)
            assert key is not None
            self.assertEqual(key, RecordKey(table, rest))
            value = codec.ROWS[table].fields.encode(record)
            self.assertEqual(codec.read_record(key, value), record)
            if table not in (RegistryTable.CAPABILITIES, RegistryTable.DOCUMENTS):
                # A later release may say more.
                self.assertEqual(codec.read_record(key, value + b"more"), record)
                for size in range(len(value)):
                    with self.assertRaises(ProtocolError):
                        codec.read_record(key, value[:size])
            view._set(key, record)
            self.assertEqual(codec.table_of(type(record)), table)
            self.assertIn(record, view.of(type(record)))
        self.assertEqual(view.entries("a"), tuple(row.entry for row in view.of(EntryRow)))
        self.assertEqual((view.agent("a"), view.agent("b")), (_ROWS[2][2], None))
        self.assertEqual(view.agent_info("a\udcff"), _INFOS[1])
        self.assertEqual(view.registry.fence, 1)
        framework = view.framework("f1")
        self.assertEqual(framework and framework.state, FrameworkState.TORN_DOWN)
        with self.assertRaises(ValueError):
            view.of(QuotaRow, "a")
        with self.assertRaises(ValueError):
            view.of(Resource)

    def test_keys_that_end_too_early(self) -> None:
        for key in (b"\4a", b"\4a\0x", b"\5a\0f", b"\x0a\0\2r", b"\x10a"):
            found = codec.record_key(key)
            assert found is not None
            form = next(record for table, _, record in _ROWS if table == found.table)
            with self.assertRaises(ProtocolError):
                codec.read_record(found, codec.ROWS[found.table].fields.encode(form))

    def test_tables_that_are_not_known(self) -> None:
        self.assertEqual([codec.record_key(key) for key in (b"", b"\0", b"\xff\1")], [None] * 3)
        index = codec.record_key(b"\x27\1")
        assert index is not None
        self.assertIsNone(codec.read_record(index, b""))

    def test_numbers_that_are_not_known(self) -> None:
        for form, data in (
            (codec.OPERATION_STATE, b"\x0b"),
            (codec.OPERATION_KIND, b"\x07"),
            (codec.ATTACH_OUTCOME, b"\x05"),
            (codec.RESOURCE, b"\0\0\3"),
            (codec.RESOURCE, b"\0\0\0" + bytes(8 + 4) + b"\x80"),
            (codec.RESOURCE_CLAIM, b"\0\0\0\0\x08"),
            (codec.ROWS[RegistryTable.MACHINES].fields, b"\0\0\3"),
            (codec.ROWS[RegistryTable.REGISTRY].fields, _NEW_REGISTRY + b"\1\0\0" + bytes(8) + b"\3"),
        ):
            with self.assertRaisesRegex(ProtocolError, "known"):
                form.decode(data)
        # In what is stated, they are none.
        self.assertEqual(codec.RESOURCE_CLAIM.decode(b"\0\0\x09\0\0"), ResourceClaim(""))
        # What a later release can do is kept.
        info = codec.AGENT_INFO.encode(replace(_INFO, capabilities=AgentCapabilities(0x8001)))
        self.assertEqual(codec.AGENT_INFO.decode(info).capabilities, 0x8001)

    def test_what_no_field_can_hold(self) -> None:
        for number in (-1, 65536):
            with self.assertRaises(ValueError):
                codec.AGENT_INFO.encode(AgentInfo("", "", number))
        with self.assertRaises(ValueError):
            codec.WINDOW.encode(MaintenanceWindow((), Unavailability(2**63)))
        with self.assertRaises(TooLarge):
            codec.TEXT.encode("x" * 65536)

    def test_the_count_of_a_list_has_four_bytes(self) -> None:
        self.assertEqual(codec.RESOURCE_CLAIM.encode(ResourceClaim.of_items("", ["i"])), b"\0\0\2\4\0\1\0\0\0\1\0i")
        self.assertEqual(codec.ATTRIBUTE.encode(Attribute("", Items(("i",)))), b"\0\0\2\1\0\0\0\1\0i")
        items = codec.RESOURCE.encode(Resource("", Items(("i",))))
        self.assertEqual(items, b"\0\0\2\1\0\0\0\1\0i" + bytes(4) + b"\0")
        labelled = codec.FRAMEWORK_INFO.encode(FrameworkInfo("", labels=(Label("k"),)))
        self.assertTrue(labelled.endswith(b"\1\1\0\0\0\1\0k\0" + bytes(8)))
        reserved = codec.RESOURCE_CLAIM.encode(ResourceClaim("").reserved("r", labels=[Label("k")]))
        self.assertEqual(reserved, b"\0\0\xff\x08\0\1\0\0\0\2\1\1\0r\0\1\1\0\0\0\1\0k\0")
        many = ResourceClaim.of_items("x", ["i"] * 65536)
        self.assertEqual(codec.RESOURCE_CLAIM.decode(codec.RESOURCE_CLAIM.encode(many)), many)


_GOLDEN = os.path.join(
    os.path.dirname(__file__), "..", "..", "..", "Tests", "MetadataModelTests", "RegistryGoldenTests.swift"
)


def _fields_of_commands() -> Dict[int, Tuple["codec.Codec[Any]", ...]]:
    text, texts, optional_text = codec.TEXT, codec.listed(codec.TEXT), codec.optional(codec.TEXT)
    one_agent = {number: (text,) for number in (6, 8, 12, 13, 14, 19, 30)}
    return {
        **one_agent,
        1: (codec.MASTER_INFO,),
        2: (codec.AGENT_CLAIM,),
        3: (text, codec.AGENT_PATCH),
        4: (codec.listed(codec.ATTACHMENT),),
        5: (text, codec.U64, codec.CLAIMS),
        7: (codec.AGENT_CLAIM,),
        9: (text, codec.BOOL),
        10: (texts, texts, codec.BOOL),
        11: (text, codec.optional(codec.U64), codec.BOOL),
        15: (codec.U64, codec.U64),
        16: (codec.FRAMEWORK_INFO, optional_text, text, codec.BOOL),
        17: (codec.FRAMEWORK_INFO, optional_text),
        18: (text, text),
        20: (texts,),
        21: (codec.listed(codec.WEIGHT),),
        22: (codec.listed(codec.QUOTA_CONFIG), codec.BOOL),
        23: (codec.optional(codec.listed(codec.WINDOW)),),
        24: (codec.listed(codec.MACHINE_ID),),
        25: (codec.listed(codec.MACHINE_ID),),
        26: (codec.listed(codec.OPERATION_REQUEST), codec.BOOL),
        27: (text, text, text, text, codec.CLAIMS),
        28: (text, text, text),
        29: (text, optional_text, optional_text),
        31: (text, codec.BYTES, codec.OPERATION_STATUS, codec.optional(codec.OPERATION_STATE)),
        32: (text, text, codec.BYTES, text),
    }


class GoldenTests(unittest.TestCase):
    """The bytes that the service's own tests hold it to are read, and written the same."""

    def setUp(self) -> None:
        with open(_GOLDEN, encoding="utf-8") as file:
            block = re.findall(r'golden = """\n(.*?)"""', file.read(), re.DOTALL)[0]
        self.golden: Dict[str, bytes] = {}
        for name, digits in re.findall(r"^ {8}(\S.*)\n((?: {10}.*\n)*)", block, re.MULTILINE):
            self.golden[name] = bytes.fromhex("".join(digits.split()))

    def _of(self, kind: str) -> Dict[str, bytes]:
        found = {name[len(kind) :]: data for name, data in self.golden.items() if name.startswith(kind)}
        self.assertTrue(found)
        return found

    def test_commands(self) -> None:
        forms, seen = _fields_of_commands(), set()
        for name, data in self._of("command ").items():
            reader = wire.Reader(data)
            number = reader.u8()
            if number in forms:
                written = b"".join(form.encode(form.read(reader)) for form in forms[number])
                self.assertEqual((reader.is_at_end, wire.u8(number) + written), (True, data), name)
                seen.add(number)
        self.assertEqual(seen, set(range(1, 33)))

    def test_replies(self) -> None:
        seen = set()
        for name, data in self._of("reply ").items():
            number = data[1]
            if data[0] == 2:
                postponed = codec.read_reply(wire.Reader(data), codec.Result.NOTHING)
                assert isinstance(postponed, codec.Postponed)
                head = b"\2" + wire.u64(postponed.milliseconds)
                self.assertEqual(head + codec.REJECTION.encode(postponed.rejection), data, name)
            elif number in set(codec.Result):
                expected = codec.Result(number)
                reader = wire.Reader(data)
                answer = codec.read_reply(reader, expected)
                assert isinstance(answer, codec.Answer)
                self.assertEqual((reader.is_at_end, answer.changed), (True, data[0] == 1), name)
                self.assertEqual(codec.RESULTS[expected].encode(answer.result), data[2:], name)
                seen.add(expected)
        self.assertEqual(seen, set(codec.Result))

    def test_rows(self) -> None:
        keys, seen = self._of("key of "), set()
        for name, data in self._of("row of ").items():
            key = codec.record_key(keys[name])
            if key is not None and key.table in codec.ROWS:
                record = codec.read_record(key, data)
                self.assertEqual(codec.ROWS[key.table].fields.encode(record), data, name)
                if isinstance(record, (EntryRow, OrphanRow)):
                    ordinal = int.from_bytes(key.rest[-2:], "big")
                    end = codec.entry_key(LedgerEntry(record.resource, ordinal))
                    self.assertEqual(key.rest, b"a1\0" + end, name)
                seen.add(key.table)
        self.assertEqual(seen, set(codec.ROWS))


class ValueTests(unittest.TestCase):
    def test_amounts(self) -> None:
        cases = ((0, "0", 0.0), (2000, "2", 2.0), (500, "0.5", 0.5), (12_125, "12.125", 12.125))
        for thousandths, text, number in cases:
            self.assertEqual((str(Scalar(thousandths)), Scalar(thousandths).number), (text, number))
        self.assertEqual(str(Scalar(1_050)), "1.05")

    def test_a_resource_that_was_answered_can_be_asked_for(self) -> None:
        self.assertEqual(_WAL.claim(), _WAL_CLAIM)
        self.assertEqual(_WAL.claim("db"), _WAL_CLAIM.allocated("db"))
        ports = Resource("ports", Ranges(((1, 2),)), revocable=True)
        self.assertEqual(ports.claim(), replace(ResourceClaim.of_ranges("ports", [(1, 2)]), revocable=True))
        mount = Resource("disk", Scalar(1000), (), DiskInfo(DiskSource(DiskKind.MOUNT, "/m")))
        self.assertEqual(mount.claim(), ResourceClaim.of_disk(1, SourceClaim.of_mount("/m")))

    def test_what_an_agent_keeps_on_its_disk(self) -> None:
        static = Reservation(ReservationKind.STATIC, "r")
        self.assertFalse(Resource("cpus", Scalar(1)).is_checkpointed)
        self.assertFalse(Resource("cpus", Scalar(1), (static,)).is_checkpointed)
        self.assertTrue(Resource("cpus", Scalar(1), (static, _DB)).is_checkpointed)
        self.assertFalse(Resource("cpus", Scalar(1), (_DB,), provider="p").is_checkpointed)
        self.assertTrue(replace(_WAL, stack=(static,)).is_checkpointed)

    def test_the_digest_of_nothing(self) -> None:
        nothing = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb924")
        self.assertEqual(quorate.checkpoint_digest([]), nothing)
        self.assertEqual(quorate.checkpoint_digest([LedgerEntry(Resource("cpus", Scalar(1)))]), nothing)
        self.assertEqual(quorate.Checkpoint().digest, nothing)

    def test_what_nothing_tells_apart_has_numbers(self) -> None:
        block = Resource("disk", Scalar(1000), (_DB,), DiskInfo(DiskSource(DiskKind.BLOCK)))
        other = replace(block, value=Scalar(2000))
        path = replace(block, disk=DiskInfo(_PATH))
        entries = quorate.ledger_entries([block, path, other, _WAL])
        self.assertEqual([entry.ordinal for entry in entries], [0, 0, 1, 0])
        # An agent need not know them.
        self.assertEqual(
            quorate.checkpoint_digest(entries),
            quorate.checkpoint_digest(quorate.ledger_entries([other, path, block, _WAL])),
        )
