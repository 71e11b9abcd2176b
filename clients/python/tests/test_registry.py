"""The masters' registry, in a real quorum: masters, agents and frameworks."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import Any, AsyncIterator, Awaitable, List, Optional, Tuple

import quorate
from quorate import AgentSession, Checkpoint, FrameworkSession, MasterRegistry, RegistryTable, RegistryView
from quorate.registry import (
    AgentAttachment,
    AgentCapabilities,
    AgentClaim,
    AgentInfo,
    AgentPatch,
    AgentRow,
    AgentState,
    Behind,
    CapabilityRow,
    ConsumptionRow,
    Drain,
    EntryRow,
    FrameworkCapabilities,
    FrameworkInfo,
    FrameworkState,
    HoldRow,
    Label,
    LostVolumeRow,
    MachineID,
    MachineMode,
    MachineRow,
    MaintenanceWindow,
    MasterInfo,
    NamedNumber,
    OperationDone,
    OperationRequest,
    OperationRow,
    OperationState,
    OperationStatus,
    OrphanRow,
    ProviderRow,
    QuotaConfig,
    QuotaRow,
    RateLimit,
    RateLimits,
    Rejection,
    ReportWanted,
    Reserve,
    ResourceClaim,
    SourceClaim,
    Unavailability,
    UpToDate,
    VolumeID,
    Weight,
    WindowRow,
)

from .quorum import eventually
from .support import QuorumTests, asynchronous

_EVERYTHING = (
    AgentCapabilities.HIERARCHICAL_ROLE
    | AgentCapabilities.RESERVATION_REFINEMENT
    | AgentCapabilities.RESIZE_VOLUME
    | AgentCapabilities.AGENT_DRAINING
)
_HOUR = 3600 * 10**9


def _path(size: float) -> ResourceClaim:
    return ResourceClaim.of_disk(size, SourceClaim.of_path("/data"))


def _mount(size: float) -> ResourceClaim:
    return ResourceClaim.of_disk(size, SourceClaim.of_mount("/mnt/ssd"))


class RegistryTests(QuorumTests):
    def setUp(self) -> None:
        super().setUp()
        #: All tests share one registry: each has agents, frameworks and roles of its own.
        self.name = self.prefix.rstrip("/")
        self.agent = self.name
        self.role = self.name

    def _agent(self, id: Optional[str] = None, *resources: ResourceClaim) -> AgentClaim:
        name = id or self.agent
        info = AgentInfo(f"{name}.example", "10.0.0.1", checkpointing=True, capabilities=_EVERYTHING)
        totals = (
            ResourceClaim.of_amount("cpus", 8),
            ResourceClaim.of_amount("mem", 16_384),
            ResourceClaim.of_ranges("ports", [(31_000, 32_000)]),
            _path(200_000),
            _mount(500_000),
        )
        return AgentClaim(name, info, resources or totals)

    def _framework(self, id: str = "") -> FrameworkInfo:
        return FrameworkInfo(
            "pg",
            id,
            principal="p",
            roles=(self.role,),
            capabilities=FrameworkCapabilities.MULTI_ROLE,
            failover_timeout=600,
        )

    @asynccontextmanager
    async def _leading(self, client: quorate.Client, name: str = "m1") -> AsyncIterator[MasterRegistry]:
        async with MasterRegistry(client, name) as master:
            await asyncio.wait_for(master.lead(), 20)
            await master.recover(MasterInfo(name))
            yield master

    async def _is_refused(self, rule: str, call: Awaitable[Any]) -> quorate.Rejected:
        with self.assertRaises(quorate.Rejected) as caught:
            await call
        error = caught.exception
        self.assertEqual((error.rule, error.code, error.name), (rule, 39, "rejected"))
        self.assertIn(rule, error.message)
        return error

    @asynchronous
    async def test_reservations_and_volumes(self) -> None:
        role, agent = self.role, self.agent
        async with self.client() as client, self._leading(client) as master:
            self.assertTrue(master.is_leading)
            self.assertEqual(master.guard, quorate.Guard.election("masters", master.guard.fence))
            leader = await client.elections.leader("masters")
            self.assertEqual(leader and (leader.data, leader.fence), (b"m1", master.guard.fence))

            self.assertEqual(await master.admit(self._agent()), 1)
            error = await self._is_refused("agent.already-admitted", master.admit(self._agent()))
            self.assertFalse(error.retryable)
            subscribed = await master.subscribe(self._framework(), "c1", principal="p")
            self.assertTrue(subscribed.id.startswith("m1-"))
            self.assertFalse(subscribed.was_unknown)
            acting: Any = {"framework": subscribed.id, "principal": "p"}

            half = _path(50_000).reserved(role, "p", labels=[Label("b"), Label("a", "ü")])
            one = OperationRequest(agent, Reserve((half.allocated(role),)), subscribed.id, "p", operation_id="o1")
            done = await master.apply(one)
            self.assertEqual(done.generation, 2)
            self.assertEqual([str(each) for each in done.converted], [f"disk({role})[path /data]:50000"])
            # Once, however often it is asked for.
            self.assertEqual(await master.apply(one), done)
            await self._is_refused(
                "operation.uuid-reused",
                master.unreserve(agent, [half.allocated(role)], uuid=one.uuid, **acting),
            )
            part = _mount(200_000).reserved(role, "p").allocated(role)
            await self._is_refused("ledger.indivisible", master.reserve(agent, [part], **acting))
            whole = _mount(500_000).reserved(role, "p")
            await master.reserve(agent, [whole.allocated(role)], **acting)
            other = ResourceClaim.of_amount("cpus", 1).reserved("other", "p").allocated(role)
            await self._is_refused("reserve.allocation-role-differs", master.reserve(agent, [other], **acting))

            labelled = _path(40_000).reserved(role, "p", labels=[Label("a", "ü"), Label("b")])
            wal = labelled.volume("wal", "wal", "p")
            self.assertEqual((await master.create(agent, [wal.allocated(role)], **acting)).generation, 4)
            # What was answered can be asked for: the rest of the labelled disk.
            (rest,) = [
                each.resource
                for each in await master.entries(agent)
                if each.resource.role == role and str(each.resource).endswith("[path /data]:10000")
            ]
            added = await master.grow(agent, wal, rest.claim(), **acting)
            self.assertEqual([str(each) for each in added.converted], [f"disk({role})[path /data][wal]:50000"])
            grown = added.converted[0].claim()
            shrunk = await master.shrink(agent, grown, 5_000.5, **acting)
            self.assertEqual(str(shrunk.converted[0]), f"disk({role})[path /data][wal]:44999.5")
            wal = shrunk.converted[0].claim()
            outcomes = await master.apply_all(
                [
                    OperationRequest(agent, Reserve((other,)), subscribed.id, "p"),
                    OperationRequest(agent, Reserve((half.allocated(role),)), subscribed.id, "p"),
                ]
            )
            assert isinstance(outcomes[0], Rejection) and isinstance(outcomes[1], OperationDone)
            self.assertEqual(outcomes[0].rule, "reserve.allocation-role-differs")

            # A task.
            held = [ResourceClaim.of_amount("cpus", 2.5), wal]
            self.assertTrue(await master.acquire(agent, subscribed.id, "t1", role, held))
            self.assertFalse(await master.acquire(agent, subscribed.id, "t1", role, held))
            await self._is_refused("destroy.in-use", master.destroy(agent, [wal.allocated(role)], **acting))
            limit = QuotaConfig(role, limits=(NamedNumber("cpus", 1),))
            await self._is_refused("quota.consumption-above-limit", master.set_quota([limit]))
            (quantities,) = await master.set_quota([QuotaConfig(role, limits=(NamedNumber("cpus", 3),))])
            self.assertEqual(quantities.role, role)
            self.assertEqual(
                [f"{each.name} {each.amount}" for each in quantities.quantities], ["cpus 2.5", "disk 600000"]
            )

            view = await master.view()
            self.assertEqual(
                sorted(str(entry.resource) for entry in view.entries(agent)),
                [
                    "cpus:8",
                    f"disk({role})[mount /mnt/ssd]:500000",
                    # What was taken from the volume, and the second half.
                    f"disk({role})[path /data]:55000.5",
                    f"disk({role})[path /data][wal]:44999.5",
                    "disk[path /data]:100000",
                    "mem:16384",
                    "ports:[31000-32000]",
                ],
            )
            self.assertEqual(view.entries(agent), await master.entries(agent))
            (hold,) = view.of(HoldRow, agent)
            self.assertEqual((hold.framework, hold.id, hold.role), (subscribed.id, "t1", role))
            self.assertEqual([str(each) for each in hold.resources][0], "cpus:2.5")
            self.assertEqual([row.role for row in view.of(QuotaRow) if row.role == role], [role])
            self.assertIn("QUOTA_V2", [row.name for row in view.of(CapabilityRow)])
            self.assertEqual(view.registry.fence, master.guard.fence)
            self.assertEqual(view.registry.master, MasterInfo("m1"))
            self.assertEqual(view.agent(agent), await client.registry.agent(agent))
            self.assertEqual(view.agent_info(agent), self._agent().info)
            framework = view.framework(subscribed.id)
            assert framework is not None
            self.assertEqual((framework.state, framework.connection), (FrameworkState.ACTIVE, "c1"))
            self.assertEqual(framework, await client.registry.framework(subscribed.id))
            # The names of others that begin with it are not it.
            self.assertIsNone(await client.registry.agent(agent[:-1]))
            self.assertIsNone(await client.registry.checkpoint(agent[:-1]))

            # How it went.
            status = OperationStatus(OperationState.FINISHED, bytes(16))
            self.assertTrue(await master.update_status(agent, one.uuid, status))
            operation = {row.uuid: row for row in (await master.view(RegistryTable.OPERATIONS)).of(OperationRow)}[
                one.uuid
            ]
            self.assertEqual((operation.operation_id, operation.statuses), ("o1", (status,)))
            self.assertEqual(operation.outcome, done)
            self.assertTrue(await master.acknowledge(subscribed.id, "o1", bytes(16), agent))
            self.assertFalse(await master.acknowledge(subscribed.id, "o1", bytes(16), agent))

            self.assertTrue(await master.release(agent, subscribed.id, "t1"))
            self.assertFalse(await master.release(agent, subscribed.id, "t1"))
            await master.destroy(agent, [wal.allocated(role)], **acting)
            self.assertTrue(await master.disconnect(subscribed.id, "c1"))
            self.assertTrue(await master.tear_down(subscribed.id))
            self.assertFalse(await master.tear_down(subscribed.id))
            await self._is_refused("framework.completed", master.subscribe(self._framework(subscribed.id), "c2"))
            self.assertTrue(await master.forget([subscribed.id]))
            await master.set_quota([QuotaConfig(role)])
            await master.remove_agent(agent)
            self.assertIsNone(await master.agent(agent))

    @asynchronous
    async def test_the_next_master_fences_the_first(self) -> None:
        role, agent = self.role, self.agent
        async with self.client() as first, self.client() as second:
            async with self._leading(first, "m1") as old:
                await old.admit(self._agent())
                reserved = ResourceClaim.of_amount("cpus", 2).reserved(role)
                generation = (await old.reserve(agent, [reserved])).generation
                framework = (await old.subscribe(self._framework(), "c1")).id
                checkpoint = await first.registry.checkpoint(agent)
                assert checkpoint is not None
                self.assertEqual((checkpoint.generation, len(checkpoint.entries)), (generation, 1))

                async with MasterRegistry(second, "m2") as new:
                    with self.assertRaises(RuntimeError):
                        await new.deactivate(agent)
                    turn = asyncio.ensure_future(new.lead())
                    await asyncio.sleep(0.1)
                    self.assertFalse(turn.done())
                    # The first does not hear that it leads no more.
                    await first.elections.withdraw("masters")
                    await asyncio.wait_for(turn, 10)
                    self.assertGreater(new.guard.fence, old.guard.fence)
                    with self.assertRaises(quorate.Fenced) as fenced:
                        await old.mark_gone(agent)
                    self.assertEqual(fenced.exception.current_fence, new.guard.fence)

                    await new.recover(MasterInfo("m2"))
                    view = await new.view()
                    row = view.agent(agent)
                    assert row is not None
                    self.assertEqual((row.state, row.attached_fence), (AgentState.ADMITTED, old.guard.fence))
                    left = view.framework(framework)
                    assert left is not None and left.deadline is not None
                    self.assertEqual(left.state, FrameworkState.DISCONNECTED)
                    self.assertEqual(left.deadline - view.registry.recovered_at, 600 * 10**9)

                    # It knows what the quorum knows: nothing to send.
                    known = AgentAttachment(self._agent(), checkpoint.generation, checkpoint.digest)
                    self.assertEqual(await new.reregister([known]), (UpToDate(generation),))
                    attached = await new.agent(agent)
                    self.assertEqual(attached and attached.attached_fence, new.guard.fence)
                    behind = AgentAttachment(self._agent(), 1, Checkpoint().digest)
                    lost = AgentAttachment(self._agent(), generation, bytes(16))
                    small = AgentAttachment(
                        self._agent(None, ResourceClaim.of_amount("cpus", 1)), generation, checkpoint.digest
                    )
                    (missed, other, shrunk) = await new.reregister([behind, lost, small])
                    resources = tuple(entry.resource for entry in checkpoint.entries)
                    self.assertEqual(missed, Behind(generation, resources))
                    assert isinstance(missed, Behind)
                    self.assertEqual(
                        quorate.checkpoint_digest(quorate.ledger_entries(missed.entries)), checkpoint.digest
                    )
                    assert isinstance(other, Rejection) and isinstance(shrunk, Rejection)
                    self.assertEqual(
                        (other.rule, shrunk.rule), ("agent.digest-mismatch", "agent.total-below-ledger")
                    )

                    back = await new.subscribe(self._framework(framework), "c2")
                    self.assertEqual((back.id, back.was_unknown), (framework, False))
                    await self._is_refused(
                        "framework.connected-elsewhere", new.subscribe(self._framework(framework), "c3")
                    )
                    await new.tear_down(framework)
                    await new.remove_agent(agent)

    @asynchronous
    async def test_what_only_the_agent_knows(self) -> None:
        role, agent = self.role, self.agent
        async with self.client() as client, self._leading(client) as master:
            volume = _path(10_000).reserved(role).volume("v", "v")
            too_much = _path(500_000).reserved(role)
            new = AgentAttachment(self._agent(), 0, Checkpoint().digest)
            self.assertEqual(await master.reregister([new]), (ReportWanted(),))
            report = await master.report(agent, 0, [volume, too_much])
            self.assertEqual([str(each) for each in report.adopted], [f"disk({role})[path /data][v]:10000"])
            self.assertEqual([str(each) for each in report.orphans], [f"disk({role})[path /data]:500000"])
            self.assertEqual((report.missing, report.generation), ((), 2))
            checkpoint = await master.checkpoint(agent)
            assert checkpoint is not None
            self.assertEqual([entry.resource for entry in checkpoint.entries], list(report.adopted))
            orphans = (await master.view(RegistryTable.ORPHANS)).of(OrphanRow, agent)
            self.assertEqual([row.resource for row in orphans], list(report.orphans))
            # It is the quorum's now.
            report = await master.report(agent, 2, [])
            self.assertEqual((report.adopted, report.orphans, len(report.missing)), ((), (), 1))
            await self._is_refused("agent.generation-stale", master.report(agent, 1, []))

            await self._is_refused("agent.has-volumes", master.remove_agent(agent))
            self.assertEqual(await master.mark_gone(agent), (VolumeID(agent, role, "v"),))
            await self._is_refused("agent.already-gone", master.mark_gone(agent))
            (lost,) = (await master.view(RegistryTable.LOST_VOLUMES)).of(LostVolumeRow, agent)
            self.assertEqual(str(lost.resource), f"disk({role})[path /data][v]:10000")
            (outcome,) = await master.reregister([new])
            assert isinstance(outcome, Rejection)
            self.assertEqual(outcome.rule, "agent.gone")
            self.assertEqual((await master.prune(gone=[agent, "nobody"])).skipped, ("nobody",))

    @asynchronous
    async def test_draining_updating_and_weights(self) -> None:
        role, agent = self.role, self.agent
        async with self.client() as client, self._leading(client) as master:
            await master.admit(self._agent())
            patch = AgentPatch(port=6000, capabilities=AgentCapabilities.AGENT_DRAINING)
            self.assertTrue(await master.update_agent(agent, patch))
            self.assertFalse(await master.update_agent(agent, patch))
            info = (await master.view(RegistryTable.AGENT_INFO)).agent_info(agent)
            self.assertEqual(info and (info.port, info.hostname), (6000, f"{agent}.example"))

            self.assertTrue(await master.drain(agent, max_grace_period=60 * 10**9))
            self.assertTrue(await master.drain(agent, marks_gone=True))
            self.assertFalse(await master.drain(agent, marks_gone=True))
            row = await master.agent(agent)
            self.assertEqual(row and (row.drain, row.deactivated), (Drain(False, 60 * 10**9, True), True))
            await self._is_refused("agent.still-draining", master.reactivate(agent))
            self.assertTrue(await master.mark_drained(agent))
            self.assertTrue(await master.reactivate(agent))
            await self._is_refused("agent.not-deactivated", master.reactivate(agent))
            self.assertTrue(await master.deactivate(agent))
            self.assertFalse(await master.deactivate(agent))

            self.assertTrue(await master.set_weights([Weight(role, 0.5)]))
            self.assertFalse(await master.set_weights([Weight(role, 0.5)]))
            self.assertIn(Weight(role, 0.5), (await master.view(RegistryTable.WEIGHTS)).of(Weight))
            await self._is_refused("weight.not-positive", master.set_weights([Weight(role, 0)]))

            limits = RateLimits((RateLimit("p", 10, 100),))
            self.assertTrue(await master.set_rate_limits(limits))
            self.assertFalse(await master.set_rate_limits(limits))
            self.assertEqual((await master.view(RegistryTable.RATE_LIMITS)).of(RateLimits), (limits,))
            await self._is_refused("ratelimit.shape", master.set_rate_limits(RateLimits((RateLimit(""),))))

            self.assertTrue(await master.admit_provider(agent, type="t"))
            await self._is_refused("provider.already-admitted", master.admit_provider(agent))
            self.assertTrue(await master.remove_provider(agent))
            providers = (await master.view(RegistryTable.PROVIDERS)).of(ProviderRow)
            self.assertIn(ProviderRow(agent, True, "t", None), providers)
            await master.remove_agent(agent)

    @asynchronous
    async def test_maintenance(self) -> None:
        agent = self.agent
        machine = MachineID(f"{agent.upper()}.example", "10.0.0.1")
        when = Unavailability(time.time_ns() + _HOUR, _HOUR)
        async with self.client() as client, self._leading(client) as master:
            await master.admit(self._agent())
            await self._is_refused(
                "schedule.window-empty", master.set_schedule([MaintenanceWindow((), when)])
            )
            window = MaintenanceWindow((machine, MachineID("elsewhere")), when)
            self.assertTrue(await master.set_schedule([window]))
            self.assertFalse(await master.set_schedule([window]))
            await self._is_refused("agent.scheduled-machine", master.drain(agent))
            self.assertEqual(await master.start_maintenance([machine]), (agent,))
            view = await master.view()
            self.assertEqual(view.of(WindowRow), (WindowRow(0, window),))
            self.assertIn(MachineRow(machine, MachineMode.DOWN, when, 0), view.of(MachineRow))
            self.assertEqual(view.registry.window_count, 1)
            row = view.agent(agent)
            self.assertEqual(row and row.state, AgentState.UNREACHABLE)
            await self._is_refused("schedule.down-machine-removed", master.set_schedule(None))
            await self._is_refused("agent.machine-down", master.mark_reachable(self._agent()))
            self.assertTrue(await master.stop_maintenance([machine]))
            self.assertEqual(await master.mark_reachable(self._agent()), 1)
            self.assertTrue(await master.set_schedule(None))
            await master.remove_agent(agent)

    @asynchronous
    async def test_more_agents_go_than_is_usual(self) -> None:
        agents = [f"{self.agent}-{number}" for number in range(3)]
        async with self.client() as client, self._leading(client) as master:
            for agent in agents:
                await master.admit(self._agent(agent))
            refused = None
            for agent in agents:
                try:
                    self.assertTrue(await master.mark_unreachable(agent))
                except quorate.Rejected as error:
                    refused = error
                    break
            assert refused is not None and refused.retry_after is not None
            self.assertEqual((refused.rule, refused.retryable), ("agent.removal-limited", True))
            self.assertGreater(refused.retry_after, 0)
            self.assertLessEqual(refused.retry_after, 600)
            self.assertTrue((await master.view(RegistryTable.REGISTRY)).registry.limiter.alarmed)
            self.assertTrue(await master.approve_removal(3, time.time_ns() + _HOUR))
            self.assertFalse((await master.view(RegistryTable.REGISTRY)).registry.limiter.alarmed)
            self.assertTrue(await master.mark_unreachable(agent))
            view = await master.view(RegistryTable.AGENTS)
            away = [row.id for row in view.of(AgentRow) if row.id in agents and row.state is AgentState.UNREACHABLE]
            self.assertIn(agent, away)
            self.assertEqual(sorted((await master.prune(away)).deleted), away)
            for left in sorted(set(agents) - set(away)):
                await master.remove_agent(left)

    @asynchronous
    async def test_a_view_is_the_one_before_and_what_changed(self) -> None:
        role = self.role
        async with self.client() as client, self.client() as reader, self._leading(client) as master:
            agents = [f"{self.agent}-{number:03}" for number in range(260)]
            await asyncio.gather(*(master.admit(self._agent(agent)) for agent in agents[:200]))
            # More than one page has room for.
            view = await reader.registry.view(timeout=30)
            self.assertGreater(len(view), 1_200)
            seen = view.revision
            observed = reader.registry.observe()
            self.assertEqual(dict((await observed.__anext__()).records()), dict(view.records()))

            calls: List[Awaitable[Any]] = [master.admit(self._agent(agent)) for agent in agents[200:]]
            for number, agent in enumerate(agents[:100]):
                calls.append(master.reserve(agent, [ResourceClaim.of_amount("cpus", 1 + number % 4).reserved(role)]))
            for agent in agents[100:150]:
                calls.append(master.remove_agent(agent))
            framework = (await master.subscribe(self._framework(), "c1")).id
            await asyncio.gather(*calls)
            for agent in agents[:100:2]:
                held = [ResourceClaim.of_amount("mem", 1)]
                await master.acquire(agent, framework, "t", role, held)
            for agent in agents[:100:4]:
                await master.release(agent, framework, "t")
            await master.unreserve(agents[0], [ResourceClaim.of_amount("cpus", 1).reserved(role)])
            last = await master.recover(MasterInfo("m1", "again"))

            async with reader.registry.changes(seen) as changes:
                while view.revision < last:
                    view.apply(await asyncio.wait_for(changes.__anext__(), 20))
            read = await reader.registry.view(timeout=30)
            self.assertEqual(dict(view.records()), dict(read.records()))
            self.assertEqual(len(view.of(HoldRow)), 25)
            self.assertEqual(
                [str(row.amount) for row in view.of(ConsumptionRow) if (row.role, row.resource) == (role, "cpus")],
                ["249"],
            )
            self.assertEqual(view.registry.master, MasterInfo("m1", "again"))
            async for current in observed:
                if current.revision >= last:
                    self.assertEqual(dict(current.records()), dict(read.records()))
                    break
            await observed.aclose()
            # One table alone.
            holds = await reader.registry.view(RegistryTable.HOLDS)
            self.assertEqual(holds.of(HoldRow), view.of(HoldRow))
            self.assertEqual(len(holds), 25)

            await master.tear_down(framework)
            await asyncio.gather(
                *(master.remove_agent(agent) for agent in agents if agent not in agents[100:150])
            )
            left = [row for row in (await reader.registry.view()).of(EntryRow) if row.agent in agents]
            self.assertEqual(left, [])

    @asynchronous
    async def test_agents_are_seen_while_they_run(self) -> None:
        role, agent = self.role, self.agent
        async with self.client() as client, self._leading(client, "10.0.0.1:5050") as master:
            before = await master.agents_present()
            self.assertNotIn(agent, before.members)
            presence = master.agent_presence(before.revision)

            async def told() -> Tuple[str, Optional[AgentAttachment]]:
                return await asyncio.wait_for(presence.__anext__(), 20)

            async with self.client(session_timeout=2) as host:
                async with AgentSession(host, self._agent()) as session:
                    self.assertTrue(session.is_present)
                    self.assertEqual(await told(), (agent, session.attachment))
                    masters = session.masters()
                    leader = await masters.__anext__()
                    assert leader is not None
                    self.assertEqual((leader.data, leader.fence), (b"10.0.0.1:5050", master.guard.fence))
                    await masters.aclose()

                    await master.admit(session.attachment.agent)
                    await master.reserve(agent, [_path(10_000).reserved(role)])
                    known = await host.registry.checkpoint(agent)
                    assert known is not None
                    await session.announce(known)
                    name, attachment = await told()
                    assert attachment is not None
                    self.assertEqual((name, attachment.generation, attachment.digest), (agent, 2, known.digest))
                    self.assertEqual((await master.agents_present()).members[agent], attachment)
                    self.assertEqual(await master.reregister([attachment]), (UpToDate(2),))

                    # What nobody can read is nobody's.
                    await client.put(b"registry/agents/x" + self.prefix.encode(), "?")

                    # Its session is lost, and it comes again with the next one.
                    lost = host.session_id
                    self.quorum.cut()

                    async def is_lost() -> bool:
                        return not session.is_present

                    await eventually("the session is lost", is_lost)
                    self.quorum.heal()
                    seen = await told()
                    if seen == (agent, None):
                        # The cluster has heard of the loss before the record was put again.
                        seen = await told()
                    self.assertEqual(seen, (agent, attachment))
                    self.assertNotEqual(host.session_id, lost)
                    row = await client.get(f"registry/agents/{agent}")
                    self.assertEqual(row and row.owner, host.session_id)
                self.assertEqual(await told(), (agent, None))
            await presence.aclose()
            await client.delete(b"registry/agents/x" + self.prefix.encode())
            await master.remove_agent(agent)

    @asynchronous
    async def test_an_agent_leaves_the_record_of_its_successor_alone(self) -> None:
        async with self.client() as one, self.client() as two:
            async with AgentSession(one, self._agent()):
                successor = AgentSession(two, self._agent())
                await successor.__aenter__()
            self.assertIn(self.agent, (await one.registry.agents_present()).members)
            await successor.__aexit__(None, None, None)
            self.assertNotIn(self.agent, (await one.registry.agents_present()).members)

    @asynchronous
    async def test_frameworks_hear_that_they_are_subscribed(self) -> None:
        async with self.client() as client, self._leading(client) as master, self.client() as host:
            before = await master.frameworks_present()
            presence = master.framework_presence(before.revision)
            async with FrameworkSession(host, self._framework()) as session:
                waiting = asyncio.ensure_future(session.subscribed())
                connection, found = await asyncio.wait_for(presence.__anext__(), 20)
                assert found is not None
                self.assertEqual((connection, found.connection), (session.connection, session.connection))
                self.assertEqual(found.framework, self._framework())
                self.assertFalse(waiting.done())
                id = (await master.subscribe(found.framework, found.connection)).id
                row = await asyncio.wait_for(waiting, 20)
                self.assertEqual((row.id, row.connection, row.state), (id, connection, FrameworkState.ACTIVE))
                # The next master sees the same framework.
                connection, found = await asyncio.wait_for(presence.__anext__(), 20)
                self.assertEqual(found and found.framework.id, id)
                self.assertEqual(session.framework.id, id)
                self.assertEqual((await session.subscribed()).id, id)
                await master.disconnect(id, connection)
                again = asyncio.ensure_future(session.subscribed())
                await asyncio.sleep(0.1)
                self.assertFalse(again.done())
                assert found is not None
                await master.subscribe(found.framework, found.connection)
                self.assertEqual((await asyncio.wait_for(again, 20)).id, id)
            self.assertEqual(await asyncio.wait_for(presence.__anext__(), 20), (connection, None))
            await presence.aclose()
            await master.tear_down(id)

    @asynchronous
    async def test_a_fence_from_elsewhere(self) -> None:
        async with self.client() as client, self._leading(client) as master, self.client() as other:
            async with MasterRegistry(other, guard=master.guard) as same:
                self.assertEqual(await same.lead(), master.guard)
                self.assertEqual(await same.admit(self._agent()), 1)
                self.assertFalse(same.is_leading)
                await same.remove_agent(self.agent)
            self.assertTrue(master.is_leading)
            view = RegistryView()
            self.assertEqual((view.registry.fence, len(view)), (0, 0))
            stale = quorate.Guard.election("masters", 1)
            with self.assertRaises(quorate.Fenced):
                await MasterRegistry(other, guard=stale).deactivate(self.agent)
