"""What a view of the registry is asked, and what a master keeps besides; no cluster is needed."""

from __future__ import annotations

import unittest
from typing import Iterable, Optional, Tuple

from quorate import Checkpoint, RateLimiter, RecordKey, RegistryView
from quorate import registry_codec as codec
from quorate.registry import (
    AgentRow,
    AgentStanding,
    AgentState,
    AttachOutcome,
    Behind,
    ConsumptionRow,
    DiskInfo,
    EntryRow,
    FrameworkCapabilities,
    FrameworkInfo,
    FrameworkRow,
    FrameworkState,
    HoldRow,
    ImportProgress,
    ImportState,
    Items,
    LedgerEntry,
    LegacyQuotaRow,
    OperationAnswer,
    OperationDone,
    OperationFlags,
    OperationReference,
    OperationRow,
    OperationState,
    OperationStatus,
    Persistence,
    PrunePlan,
    Quantity,
    QuotaRow,
    Ranges,
    RateLimit,
    RateLimits,
    Record,
    RegistryRow,
    RegistryTable,
    Rejection,
    ReportWanted,
    Reservation,
    ReservationKind,
    Resource,
    RoleView,
    Scalar,
    UpToDate,
    Value,
    Weight,
    wants_report,
)

_FENCE = 7
_DAY = 24 * 3600 * 10**9


def _view(records: Iterable[Tuple[bytes, Record]]) -> RegistryView:
    """Of records and what stands behind the table in their keys."""
    view = RegistryView()
    view._set(RecordKey(RegistryTable.REGISTRY, b""), RegistryRow(fence=_FENCE))
    for rest, record in records:
        view._set(RecordKey(codec.table_of(type(record)), rest), record)
    return view


def _agent(
    id: str,
    state: AgentState = AgentState.ADMITTED,
    *,
    since: int = 0,
    arrival: int = 0,
    fence: int = _FENCE,
    generation: int = 1,
    digest: bytes = b"",
    report_wanted: bool = False,
) -> Tuple[bytes, AgentRow]:
    row = AgentRow(id, state, since, arrival, False, None, generation, digest, (), fence, report_wanted, b"")
    return id.encode(), row


def _operation(
    number: int,
    name: Optional[str],
    state: OperationState = OperationState.PENDING,
    *,
    framework: Optional[str] = "f1",
    statuses: Tuple[OperationStatus, ...] = (),
    ended_at: Optional[int] = None,
) -> Tuple[bytes, OperationRow]:
    uuid = bytes([number]) * 16
    outcome = OperationDone(1, ())
    row = OperationRow(
        "a1", uuid, framework, name, None, b"", (), outcome, state, statuses, (), OperationFlags.NONE, ended_at
    )
    return b"a1\0" + uuid, row


class ReconcileTests(unittest.TestCase):
    def test_all_that_have_not_ended(self) -> None:
        failed = OperationStatus(OperationState.FAILED, b"u" * 16, "disk full")
        view = _view(
            [
                _operation(1, "o2"),
                _operation(2, "o1", OperationState.FAILED, statuses=(OperationStatus(OperationState.PENDING), failed)),
                _operation(3, "o3", OperationState.FINISHED, ended_at=5),
                _operation(4, None),
                _operation(5, "o4", framework="f2"),
                _operation(6, "o5", framework=None),
            ]
        )
        expected = (
            # With what was said last, and nobody waits for its acknowledgement.
            OperationAnswer("o1", "a1", OperationStatus(OperationState.FAILED, None, "disk full")),
            OperationAnswer("o2", "a1", OperationStatus(OperationState.PENDING)),
        )
        self.assertEqual(view.reconcile("f1"), expected)
        self.assertEqual(view.reconcile("f3"), ())

    def test_those_that_are_named_in_that_order(self) -> None:
        view = _view([_operation(1, "o1"), _operation(2, "o2", OperationState.FINISHED, ended_at=5)])
        answers = view.reconcile("f1", iter([OperationReference("o2", "a9"), OperationReference("o1")]))
        self.assertEqual([(each.operation_id, each.agent) for each in answers], [("o2", "a1"), ("o1", "a1")])
        self.assertEqual(
            [each.status.state for each in answers], [OperationState.FINISHED, OperationState.PENDING]
        )

    def test_of_those_with_one_name_the_latest_counts(self) -> None:
        former = _operation(1, "o1", OperationState.FINISHED, ended_at=5)
        later = _operation(2, "o1", OperationState.FAILED, ended_at=6)
        now = _operation(3, "o1")
        asked = [OperationReference("o1")]
        for records in ((former, later), (later, former)):
            (answer,) = _view(records).reconcile("f1", asked)
            self.assertEqual(answer.status.state, OperationState.FAILED)
        for all_three in ((now, later, former), (former, later, now)):
            (answer,) = _view(all_three).reconcile("f1", asked)
            self.assertEqual(answer.status.state, OperationState.PENDING)

    def test_of_what_nobody_knows_the_agent_says_something(self) -> None:
        view = _view(
            [
                _agent("back"),
                _agent("recovered", fence=_FENCE - 1),
                _agent("away", AgentState.UNREACHABLE),
                _agent("gone", AgentState.GONE),
            ]
        )
        cases = (
            ("back", OperationState.UNKNOWN),
            ("recovered", OperationState.RECOVERING),
            ("away", OperationState.UNREACHABLE),
            ("gone", OperationState.GONE_BY_OPERATOR),
            ("nobody", OperationState.UNKNOWN),
            (None, OperationState.UNKNOWN),
        )
        answers = view.reconcile("f1", [OperationReference("o", agent) for agent, _ in cases])
        expected = tuple(OperationAnswer("o", agent, OperationStatus(state)) for agent, state in cases)
        self.assertEqual(answers, expected)
        attached = [view.is_attached(row) for row in view.of(AgentRow)]
        self.assertEqual(attached, [False, True, False, False])


class PruneTests(unittest.TestCase):
    def test_those_that_are_away_for_too_long(self) -> None:
        now = 100 * _DAY
        view = _view(
            [
                _agent("u2", AgentState.UNREACHABLE, since=now - 14 * _DAY - 1, arrival=2),
                _agent("u1", AgentState.UNREACHABLE, since=now - 15 * _DAY, arrival=1),
                _agent("u3", AgentState.UNREACHABLE, since=now - 14 * _DAY, arrival=3),
                _agent("u4", AgentState.UNREACHABLE, since=now + _DAY, arrival=6),
                _agent("g1", AgentState.GONE, since=0, arrival=4),
                _agent("a1", since=0, arrival=5),
            ]
        )
        self.assertEqual(view.prune_plan(now), PrunePlan(("u1", "u2"), ("g1",)))
        self.assertEqual(view.prune_plan(now, age=13 * 24 * 3600.0).unreachable, ("u1", "u2", "u3"))
        self.assertEqual(view.prune_plan(now, age=1000 * 24 * 3600), PrunePlan((), ()))

    def test_of_too_many_the_oldest(self) -> None:
        away = [_agent(f"u{number}", AgentState.UNREACHABLE, since=9, arrival=9 - number) for number in range(4)]
        view = _view([*away, _agent("g", AgentState.GONE, since=9)])
        self.assertEqual(view.prune_plan(10, count=2), PrunePlan(("u3", "u2"), ()))
        self.assertEqual(view.prune_plan(10, count=0), PrunePlan(("u3", "u2", "u1", "u0"), ("g",)))
        self.assertEqual(view.prune_plan(10, count=4), PrunePlan((), ()))


def _level(role: str) -> Reservation:
    return Reservation(ReservationKind.DYNAMIC, role)


def _entry(agent: str, name: str, value: Value, *roles: str) -> Tuple[bytes, EntryRow]:
    resource = Resource(name, value, tuple(_level(role) for role in roles))
    return agent.encode() + b"\0" + codec.entry_key(LedgerEntry(resource)), EntryRow(agent, resource, 0)


def _hold(number: int, agent: str, role: str, *resources: Resource) -> Tuple[bytes, HoldRow]:
    id = f"h{number}"
    return f"{agent}\0f1\0{id}".encode(), HoldRow(agent, "f1", id, role, resources)


def _framework(
    id: str, state: FrameworkState = FrameworkState.ACTIVE, *roles: str, role: Optional[str] = None
) -> Tuple[bytes, FrameworkRow]:
    capabilities = FrameworkCapabilities.MULTI_ROLE if roles else FrameworkCapabilities.NONE
    info = FrameworkInfo("n", id, role=role, roles=roles, capabilities=capabilities)
    return id.encode(), FrameworkRow(id, info, state, 0, "c", None, _FENCE)


def _amounts(**amounts: int) -> Tuple[Quantity, ...]:
    return tuple(Quantity(name, Scalar(1000 * amount)) for name, amount in sorted(amounts.items()))


class RoleTests(unittest.TestCase):
    def test_whatever_names_a_role_or_one_below_it(self) -> None:
        view = _view(
            [
                (b"q", QuotaRow("q", (), _amounts(cpus=1))),
                (b"old", LegacyQuotaRow("old", None, _amounts(mem=2))),
                (b"w/eu/x", Weight("w/eu/x", 2.5)),
                _framework("f2", FrameworkState.ACTIVE, "r1", "r2"),
                _framework("f1", FrameworkState.DISCONNECTED, "r2"),
                _framework("f3", FrameworkState.TORN_DOWN, "r3"),
                _framework("f4"),
                _framework("f5", role="one"),
                _entry("nobody", "cpus", Scalar(1), "e"),
                _hold(1, "nobody", "h"),
            ]
        )
        roles = view.roles()
        expected = ["*", "e", "h", "old", "one", "q", "r1", "r2", "w", "w/eu", "w/eu/x"]
        self.assertEqual(sorted(roles), expected)
        self.assertEqual(roles["w/eu"], RoleView("w/eu", 1.0, QuotaRow("w/eu", (), ()), (), (), (), ()))
        self.assertEqual(roles["w/eu/x"].weight, 2.5)
        self.assertEqual((roles["r1"].frameworks, roles["r2"].frameworks), (("f2",), ("f1", "f2")))
        self.assertEqual((roles["*"].frameworks, roles["one"].frameworks), (("f4",), ("f5",)))
        self.assertEqual(roles["q"].quota.limits, _amounts(cpus=1))
        # What was guaranteed was the limit, too.
        self.assertEqual((roles["old"].quota.guarantees, roles["old"].quota.limits), (_amounts(mem=2),) * 2)
        self.assertEqual(_view([]).roles(), {})

    def test_amounts_of_admitted_agents(self) -> None:
        cpus = Resource("cpus", Scalar(1000))
        view = _view(
            [
                _agent("a1"),
                _agent("a2", AgentState.UNREACHABLE),
                _entry("a1", "cpus", Scalar(8000)),
                _entry("a1", "mem", Scalar(4000), "db"),
                _entry("a1", "mem", Scalar(2000), "db", "db/x"),
                _entry("a1", "ports", Ranges(((1, 10), (20, 20))), "db/x"),
                _entry("a1", "zones", Items(("z1", "z2")), "db"),
                _entry("a2", "mem", Scalar(64_000), "db"),
                _hold(1, "a1", "db/x", cpus, Resource("mem", Scalar(1500), (_level("db"),))),
                _hold(2, "a1", "db", cpus),
                _hold(3, "a2", "db", cpus),
                (b"\0\2dbcpus", ConsumptionRow("db", "cpus", Scalar(2000))),
                (b"\0\2dbmem", ConsumptionRow("db", "mem", Scalar(6000))),
                (b"db", QuotaRow("db", (), _amounts(cpus=2, disk=0, mem=5))),
            ]
        )
        roles = view.roles()
        self.assertEqual(sorted(roles), ["db", "db/x"])
        self.assertEqual(roles["db"].reserved, _amounts(mem=6, ports=11, zones=2))
        self.assertEqual(roles["db/x"].reserved, _amounts(mem=2, ports=11))
        self.assertEqual(roles["db"].held, (Quantity("cpus", Scalar(2000)), Quantity("mem", Scalar(1500))))
        self.assertEqual(roles["db/x"].held, (Quantity("cpus", Scalar(1000)), Quantity("mem", Scalar(1500))))
        self.assertEqual((roles["db"].consumption, roles["db"].over_limit), (_amounts(cpus=2, mem=6), ("mem",)))
        self.assertEqual((roles["db/x"].consumption, roles["db/x"].over_limit), ((), ()))

    def test_a_shared_volume_is_held_once_on_an_agent(self) -> None:
        disk = DiskInfo(persistence=Persistence("v"))
        volume = Resource("disk", Scalar(5000), (_level("db"),), disk, shared=True)
        other = Resource("disk", Scalar(1000), (_level("db"),), DiskInfo(persistence=Persistence("w")), shared=True)
        view = _view(
            [
                _agent("a1"),
                _agent("a2"),
                _hold(1, "a1", "db/x", volume),
                _hold(2, "a1", "db/y", volume),
                _hold(3, "a1", "db/y", volume, other),
                _hold(4, "a2", "db/y", volume),
            ]
        )
        held = {role: found.held for role, found in view.roles().items()}
        self.assertEqual(held, {"db": _amounts(disk=11), "db/x": _amounts(disk=5), "db/y": _amounts(disk=11)})


class StandingTests(unittest.TestCase):
    def test_how_a_checkpoint_compares(self) -> None:
        nothing = Checkpoint()
        entries = codec.ledger_entries([Resource("cpus", Scalar(1), (_level("db"),))])
        one, two = Checkpoint(1, entries), Checkpoint(2, entries)

        def row(
            generation: int, checkpoint: Checkpoint = one, *, wanted: bool = False, gone: bool = False
        ) -> AgentRow:
            state = AgentState.GONE if gone else AgentState.ADMITTED
            digest = checkpoint.digest
            return _agent("a", state, generation=generation, digest=digest, report_wanted=wanted)[1]

        cases = (
            (nothing, None, AgentStanding.UP_TO_DATE),
            (one, None, AgentStanding.REPORT_WANTED),
            (Checkpoint(3), None, AgentStanding.REPORT_WANTED),
            (one, row(1, gone=True), AgentStanding.GONE),
            (two, row(1), AgentStanding.AHEAD),
            (one, row(1), AgentStanding.UP_TO_DATE),
            (one, row(1, nothing), AgentStanding.REPORT_WANTED),
            (one, row(2), AgentStanding.BEHIND),
            (one, row(2, wanted=True), AgentStanding.REPORT_WANTED),
            (nothing, row(2), AgentStanding.BEHIND),
            (nothing, row(2, wanted=True), AgentStanding.REPORT_WANTED),
            # It has something that no quorum has told it.
            (Checkpoint(0, entries), row(2), AgentStanding.REPORT_WANTED),
        )
        for checkpoint, known, expected in cases:
            self.assertIs(checkpoint.standing(known), expected, (checkpoint, known))

    def test_which_outcomes_want_a_report(self) -> None:
        self.assertTrue(wants_report(ReportWanted()))
        self.assertTrue(wants_report(Rejection("agent.digest-mismatch", "")))
        others: Tuple[AttachOutcome, ...] = (UpToDate(1), Behind(2, ()), Rejection("agent.gone", ""))
        for outcome in others:
            self.assertFalse(wants_report(outcome))

    def test_an_import_is_under_way_until_it_is_whole(self) -> None:
        self.assertIsNone(RegistryRow().importing)
        for state in ImportState:
            progress = ImportProgress(b"i", 3, state)
            importing = RegistryRow(last_import=progress).importing
            self.assertEqual(importing, None if state is ImportState.WHOLE else progress)


class RateLimiterTests(unittest.TestCase):
    def test_turns_are_a_fixed_time_apart_and_as_many_wait_as_may(self) -> None:
        limiter = RateLimiter(RateLimits((RateLimit("p", 2, 2),)))
        self.assertEqual([limiter.take("p", 10) for _ in range(4)], [0, 0.5, 1, None])
        # One has had its turn.
        self.assertEqual(limiter.take("p", 10.5), 1)
        self.assertEqual(limiter.take("p", 20), 0)

    def test_as_many_wait_as_may_at_rates_that_no_clock_counts_exactly(self) -> None:
        for rate in (0.3, 3, 7, 10, 13.7, 1000):
            for number in range(1, 1000):
                limiter = RateLimiter(RateLimits((RateLimit("p", rate, 3),)))
                turns = [limiter.take("p", number * 37.0259) for _ in range(5)]
                self.assertEqual([turn is None for turn in turns], [False] * 4 + [True])

    def test_who_is_not_listed_shares_one_bucket(self) -> None:
        limiter = RateLimiter(RateLimits((RateLimit("free"),), 1, 0))
        self.assertEqual((limiter.take(None, 0), limiter.take("q", 0)), (0, None))
        # Listed without a rate.
        self.assertEqual([limiter.take("free", 0) for _ in range(10)], [0] * 10)
        self.assertEqual(limiter.take("q", 1), 0)
        limiter = RateLimiter(RateLimits())
        self.assertEqual([limiter.take("q", 0) for _ in range(10)], [0] * 10)
