"""The masters' registry: read by whoever wants to know, changed by the master that leads."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncGenerator,
    AsyncIterator,
    Dict,
    Generic,
    Iterable,
    List,
    Optional,
    Tuple,
    Type,
    TypeVar,
    cast,
)

from . import _wire as wire
from . import registry as values
from . import registry_codec as codec
from ._encoding import PIN, encode_page, read_page
from .errors import Compacted, DeadlineExceeded, ProtocolError, Rejected
from .registry import AgentStanding, LedgerEntry, Record, RegistryTable
from .registry_codec import CLAIMS, TEXT, RecordKey, Result, text_bytes, text_of
from .registry_view import RegistryChange, RegistryEvent, RegistryView
from .values import Bytes, Guard, Page, Range, ReadLevel
from .watch import Table, Watch, WatchEvent

if TYPE_CHECKING:
    from .client import Client
    from .elections import Candidacy

#: The election group whose leader may change the registry.
MASTERS = b"masters"

#: Where agents and frameworks that run have a record each, which goes with their session.
AGENTS_PREFIX = b"registry/agents/"
FRAMEWORKS_PREFIX = b"registry/frameworks/"

_COMMAND = 24
_QUERY = 16

_Member = TypeVar("_Member")


@dataclass(frozen=True)
class Checkpoint:
    """What an agent has on its disk of what was decided about it: its reservations and volumes."""

    #: Rises by one with each change of the entries; 1 at admission. 0: it was never attached to a quorum.
    generation: int = 0
    entries: Tuple[LedgerEntry, ...] = ()

    @property
    def digest(self) -> bytes:
        """What tells these entries from others: 16 bytes."""
        return codec.checkpoint_digest(self.entries)

    def standing(self, row: Optional[values.AgentRow]) -> AgentStanding:
        """How it compares with what the registry says of the agent.

        Args:
            row: None: the registry does not know the agent.
        """
        has_nothing_to_say = self.generation == 0 and not self.entries
        if row is None:
            return AgentStanding.UP_TO_DATE if has_nothing_to_say else AgentStanding.REPORT_WANTED
        if row.state is values.AgentState.GONE:
            return AgentStanding.GONE
        if self.generation > row.generation:
            return AgentStanding.AHEAD
        if self.generation == row.generation and self.digest == row.digest:
            return AgentStanding.UP_TO_DATE
        is_older = 0 < self.generation < row.generation
        knows_what_it_has = not row.report_wanted
        if knows_what_it_has and (is_older or has_nothing_to_say):
            return AgentStanding.BEHIND
        return AgentStanding.REPORT_WANTED


@dataclass(frozen=True)
class Presence(Generic[_Member]):
    """Who runs."""

    members: Dict[str, _Member]
    #: Of the state that was read.
    revision: int


class RegistryChanges(AsyncIterator[RegistryEvent]):
    """What changes in the registry, as it changes: made by :meth:`Registry.changes`, used like :class:`quorate.Watch`.

    Indexes, and tables that this release does not know, are left out; an event may be empty for that.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    async def start(self) -> "RegistryChanges":
        """Returns when every change after the revision that was named will be told.

        Raises:
            Compacted: no node has those changes any more: read the registry again.
        """
        await self._watch.start()
        return self

    async def close(self) -> None:
        await self._watch.close()

    async def __aenter__(self) -> "RegistryChanges":
        return await self.start()

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        await self.close()

    def __aiter__(self) -> "RegistryChanges":
        return self

    async def __anext__(self) -> RegistryEvent:
        return _event_of(await self._watch.__anext__())


def _event_of(event: WatchEvent) -> RegistryEvent:
    changes: List[RegistryChange] = []
    for change in event.changes:
        key = codec.record_key(change.key)
        if key is not None and key.table in codec.ROWS:
            changes.append(
                RegistryChange(key, None if change.value is None else codec.read_record(key, change.value))
            )
    return RegistryEvent(event.revision, tuple(changes))


class Registry:
    """``client.registry``: what the masters keep here of agents, frameworks and resources. Anybody may read it; changes
    are made by the master that leads, with :class:`quorate.MasterRegistry`.

    ::

        view = await client.registry.view()                               # everything, at one revision
        async with client.registry.changes(view.revision) as changes:     # and what becomes of it
            async for event in changes:
                view.apply(event)
    """

    def __init__(self, client: "Client") -> None:
        self._client = client

    async def view(
        self,
        table: Optional[RegistryTable] = None,
        *,
        level: ReadLevel = ReadLevel.LINEARIZABLE,
        timeout: Optional[float] = None,
    ) -> RegistryView:
        """All records, or those of one table, at one revision.

        Args:
            timeout: in seconds, for all of it: a large registry needs more than a call's usual time.

        Raises:
            Rejected: ``import.under-way``: a registry is being imported, and not all of it has come. Only
                ``RegistryTable.REGISTRY`` is read also then: its record says how far the import is.
        """
        return await self._read(b"" if table is None else wire.u8(table), level, timeout)

    async def _read(self, prefix: bytes, level: ReadLevel, timeout: Optional[float]) -> RegistryView:
        def fields_of(view: int, cursor: bytes) -> bytes:
            page = encode_page(cursor, 0, 0 if view else PIN)
            return wire.u8(_QUERY) + wire.u64(view) + wire.bytes16(prefix) + page

        def decode(reply: wire.Reply) -> Tuple[int, Page]:
            view, page = read_page(reply, 0)
            # Behind the records stand the indexes, which say nothing else.
            is_last = bool(page.rows) and page.rows[-1].key[:1] >= wire.u8(RegistryTable.AGENTS_BY_STATE)
            return view, replace(page, more=False) if is_last else page

        pages = await self._client._parts(fields_of, decode, level, 0, timeout)
        found = RegistryView(pages[-1].revision)
        for page in pages:
            for row in page.rows:
                key = codec.record_key(row.key)
                record = None if key is None else codec.read_record(key, row.value)
                if key is not None and record is not None:
                    found._set(key, record)
            # However many there are, the session is kept alive meanwhile.
            await asyncio.sleep(0)
        return found

    async def _record(self, key: RecordKey, timeout: Optional[float]) -> Tuple[Optional[Record], int]:
        """The record under a key, and the revision of the answer."""
        fields = wire.u8(_QUERY) + wire.u64(0) + wire.bytes16(key.encoded) + encode_page(b"", 1, 0)
        reply = await self._client._query(fields, timeout)
        for row in read_page(reply, 0)[1].rows:
            # Of all keys that begin so it is the first.
            if row.key == key.encoded:
                return codec.read_record(key, row.value), reply.revision
        return None, reply.revision

    async def agent(self, id: str, *, timeout: Optional[float] = None) -> Optional[values.AgentRow]:
        """One agent, without a look at the others."""
        record, _ = await self._record(RecordKey(RegistryTable.AGENTS, text_bytes(id)), timeout)
        return cast(Optional[values.AgentRow], record)

    async def framework(self, id: str, *, timeout: Optional[float] = None) -> Optional[values.FrameworkRow]:
        """One framework, without a look at the others."""
        record, _ = await self._record(RecordKey(RegistryTable.FRAMEWORKS, text_bytes(id)), timeout)
        return cast(Optional[values.FrameworkRow], record)

    async def entries(
        self, agent: str, *, level: ReadLevel = ReadLevel.LINEARIZABLE, timeout: Optional[float] = None
    ) -> Tuple[LedgerEntry, ...]:
        """What one agent has, held or not."""
        prefix = wire.u8(RegistryTable.ENTRIES) + text_bytes(agent) + b"\0"
        return (await self._read(prefix, level, timeout)).entries(agent)

    async def checkpoint(self, agent: str, *, timeout: Optional[float] = None) -> Optional[Checkpoint]:
        """What an agent has to have on its disk, all of one generation: what its digest says; None: there is no such
        agent. So an agent that is behind, or has lost its disk, finds out for itself."""
        client = self._client
        deadline = client._deadline(timeout)
        while True:
            row = await self.agent(agent, timeout=deadline - client._loop.time())
            if row is None:
                return None
            entries = await self.entries(agent, timeout=deadline - client._loop.time())
            found = Checkpoint(row.generation, tuple(entry for entry in entries if entry.resource.is_checkpointed))
            if found.digest == row.digest:
                return found
            # It has changed between the two answers.
            if client._loop.time() >= deadline:
                raise DeadlineExceeded(f"the entries of agent {agent} have another digest than the registry says")

    def changes(self, after: int, *, table: Optional[RegistryTable] = None) -> RegistryChanges:
        """What changes after a revision, in order, each once.

        Args:
            after: the revision of a view.
            table: only its records.
        """
        prefix = Range.prefix(b"" if table is None else wire.u8(table))
        return RegistryChanges(self._client.watch(prefix, since=after + 1, table=Table.REGISTRY))

    async def observe(self, *, timeout: Optional[float] = None) -> AsyncGenerator[RegistryView, None]:
        """The whole registry, and again after each change of it: the same view, brought up to date. Where no node has
        the changes any more that come next, everything is read again, into another view.

        Args:
            timeout: in seconds, for reading everything.
        """
        while True:
            view = await self.view(timeout=timeout)
            yield view
            changes = self.changes(view.revision)
            try:
                async for event in changes:
                    view.apply(event)
                    yield view
            except Compacted:
                pass
            finally:
                await changes.close()

    # Who runs

    async def agents_present(self, *, timeout: Optional[float] = None) -> Presence[values.AgentAttachment]:
        """The agents that run, as :class:`quorate.AgentSession` tells of them, by id: what
        :meth:`MasterRegistry.reregister` takes."""
        return await self._present(AGENTS_PREFIX, codec.ATTACHMENT, timeout)

    def agent_presence(
        self, after: int
    ) -> AsyncGenerator[Tuple[str, Optional[values.AgentAttachment]], None]:
        """The ids of agents that come, that have something else to say, and that go (None), after a revision: that of
        :meth:`agents_present`. One that goes may come again with another session."""
        return self._presence(AGENTS_PREFIX, codec.ATTACHMENT, after)

    async def frameworks_present(self, *, timeout: Optional[float] = None) -> Presence[values.FrameworkConnection]:
        """The frameworks that run, as :class:`quorate.FrameworkSession` tells of them, by connection: what
        :meth:`MasterRegistry.subscribe` takes."""
        return await self._present(FRAMEWORKS_PREFIX, codec.FRAMEWORK_CONNECTION, timeout)

    def framework_presence(
        self, after: int
    ) -> AsyncGenerator[Tuple[str, Optional[values.FrameworkConnection]], None]:
        """Likewise the connections of frameworks. One that goes is what :meth:`MasterRegistry.disconnect` takes."""
        return self._presence(FRAMEWORKS_PREFIX, codec.FRAMEWORK_CONNECTION, after)

    async def _present(
        self, prefix: bytes, form: codec.Codec[_Member], timeout: Optional[float]
    ) -> Presence[_Member]:
        listing = await self._client.list(prefix, timeout=timeout)
        members: Dict[str, _Member] = {}
        for row in listing.rows:
            member = _member(form, row.value)
            if member is not None:
                members[text_of(row.key[len(prefix) :])] = member
        return Presence(members, listing.revision)

    async def _presence(
        self, prefix: bytes, form: codec.Codec[_Member], after: int
    ) -> AsyncGenerator[Tuple[str, Optional[_Member]], None]:
        async with self._client.watch(prefix, since=after + 1) as watch:
            async for event in watch:
                for change in event.changes:
                    member = None if change.value is None else _member(form, change.value)
                    if change.deleted or member is not None:
                        yield text_of(change.key[len(prefix) :]), member


def _member(form: codec.Codec[_Member], value: bytes) -> Optional[_Member]:
    """None for a record that cannot be read, and so is nobody's: whoever may write puts records there."""
    try:
        return form.decode(value)
    except ProtocolError:
        return None


class MasterRegistry(Registry):
    """The registry as the leading master has it::

        async with quorate.MasterRegistry(client, "10.0.0.1:5050") as registry:    # campaigns
            await registry.lead()                                                  # waits for its turn
            await registry.recover(MasterInfo("m1"))
            view = await registry.view()
            await registry.admit(AgentClaim("a1", AgentInfo("a1.example", "10.0.0.7"), resources))

    When the block ends, so does the campaign, and the next master leads.

    Every change names this master's fence, and raises :class:`Fenced`, with nothing done, once another one leads: a
    master that was stopped for an hour can do no harm. What a rule refuses raises :class:`Rejected` with the ``rule``
    (nothing was done); the docstrings name the rules of each command, beside those of ids, roles and resources as such.
    :class:`FeatureLevel`: not all nodes of the cluster know the registry yet.

    Every call has a ``timeout`` in seconds. Changes that return whether anything differs by them may be repeated.
    """

    def __init__(self, client: "Client", data: Bytes = b"", *, guard: Optional[Guard] = None) -> None:
        """
        Args:
            data: what those are told who ask for the leading master, such as its address; 64 KiB at most.
            guard: of the group ``masters``, from a campaign that was made elsewhere; then there is none here.
        """
        super().__init__(client)
        self._given = guard
        self._candidacy: Optional["Candidacy"] = None
        if guard is None:
            self._candidacy = client.elections.candidacy(MASTERS, data)

    async def __aenter__(self) -> "MasterRegistry":
        if self._candidacy is not None:
            await self._candidacy.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self._candidacy is not None:
            await self._candidacy.__aexit__(kind, error, trace)

    async def lead(self) -> Guard:
        """Returns when this master leads.

        Raises:
            SessionLost: the session ended, and the place in the line with it.
        """
        return self.guard if self._candidacy is None else await self._candidacy.lead()

    @property
    def guard(self) -> Guard:
        """The fence.

        Raises:
            RuntimeError: it has not led yet.
        """
        guard = self._given if self._candidacy is None else self._candidacy.guard
        if guard is None:
            raise RuntimeError("it does not lead: use `async with`, then `lead()`")
        return guard

    @property
    def is_leading(self) -> bool:
        """It leads, and its session is not at risk; judged by the clock at this moment. False where the campaign was
        made elsewhere: ask there."""
        return self._candidacy is not None and self._candidacy.is_leading

    async def until_lost(self) -> None:
        """Returns when it must not act as the leading master any more; at once where the campaign was made
        elsewhere."""
        if self._candidacy is not None:
            await self._candidacy.until_lost()

    async def _change(
        self, number: int, fields: bytes, expected: Result, timeout: Optional[float]
    ) -> Tuple[codec.Answer, int]:
        """What a command answers, and its revision."""
        reply = await self._client._mutate(_COMMAND, wire.u8(number) + fields, (self.guard,), timeout)
        answer = codec.read_reply(reply.rest, expected)
        if isinstance(answer, codec.Postponed):
            rule, detail = answer.rejection.rule, answer.rejection.detail
            error = Rejected(f"{rule}: {detail}", reply.revision)
            error.rule = rule
            error.retry_after = answer.milliseconds / 1000
            error.retryable = True
            raise error
        return answer, reply.revision

    async def _changes_anything(self, number: int, fields: bytes, timeout: Optional[float]) -> bool:
        return (await self._change(number, fields, Result.NOTHING, timeout))[0].changed

    async def _result(self, number: int, fields: bytes, expected: Result, timeout: Optional[float]) -> Any:
        return (await self._change(number, fields, expected, timeout))[0].result

    async def recover(self, master: values.MasterInfo, *, timeout: Optional[float] = None) -> int:
        """Takes over. Frameworks that were connected to the master before are disconnected: they have their failover
        timeout, 10 minutes at least, to come to this one.

        Returns: the revision from which on the registry is this master's.
        """
        return (await self._change(1, codec.MASTER_INFO.encode(master), Result.NOTHING, timeout))[1]

    # Agents

    async def admit(self, agent: values.AgentClaim, *, timeout: Optional[float] = None) -> int:
        """Admits an agent that is new.

        Returns: the generation of its checkpointed entries: 1.

        Raises:
            Rejected: ``agent.id-missing``, ``agent.machine-down``, ``agent.checkpointed-without-checkpointing``,
                ``agent.already-admitted``, ``agent.id-in-use`` (it is unreachable or gone).
        """
        return int(await self._result(2, codec.AGENT_CLAIM.encode(agent), Result.GENERATION, timeout))

    async def update_agent(self, id: str, patch: values.AgentPatch, *, timeout: Optional[float] = None) -> bool:
        """Changes some fields of an agent. Totals replace the former ones; what was reserved or made a volume since
        stays, and has to be in them.

        Returns: whether anything differs.

        Raises:
            Rejected: ``agent.not-admitted``, ``agent.total-below-ledger``.
        """
        return await self._changes_anything(3, TEXT.encode(id) + codec.AGENT_PATCH.encode(patch), timeout)

    async def reregister(
        self, agents: Iterable[values.AgentAttachment], *, timeout: Optional[float] = None
    ) -> Tuple[values.AttachOutcome, ...]:
        """Takes agents back that have attached to a master before; 512 at most.

        Returns: one outcome for each, in order. A :class:`quorate.registry.Rejection` is of one of them
        (``agent.gone``, ``agent.machine-down``, ``agent.address-changed``, ``agent.total-below-ledger``,
        ``agent.generation-ahead``, ``agent.digest-mismatch``: it has to report).

        Raises:
            TooLarge: more than 512.
            ResultNotKept: it was done, and the answer was lost: the rows say what it was.
        """
        fields = codec.listed(codec.ATTACHMENT).encode(tuple(agents))
        return cast(Tuple[values.AttachOutcome, ...], await self._result(4, fields, Result.ATTACHED, timeout))

    async def report(
        self,
        agent: str,
        generation: int,
        entries: Iterable[values.ResourceClaim],
        *,
        timeout: Optional[float] = None,
    ) -> values.AgentReport:
        """Tells what an agent has checkpointed, when it was asked for that.

        Args:
            generation: 0: it was never attached to a quorum.
            entries: as :meth:`quorate.registry.Resource.claim` makes them.

        Raises:
            Rejected: ``agent.not-admitted``, ``agent.generation-stale``.
        """
        fields = TEXT.encode(agent) + codec.U64.encode(generation) + CLAIMS.encode(tuple(entries))
        return cast(values.AgentReport, await self._result(5, fields, Result.REPORT, timeout))

    async def mark_unreachable(self, agent: str, *, timeout: Optional[float] = None) -> bool:
        """The agent does not answer. What it has stays its own, and does not count.

        Returns: True.

        Raises:
            Rejected: ``agent.not-admitted``. ``agent.removal-limited``, with ``retry_after``: more than a tenth of the
                agents would have gone within 10 minutes; wait, or :meth:`approve_removal`.
        """
        return await self._changes_anything(6, TEXT.encode(agent), timeout)

    async def mark_reachable(self, agent: values.AgentClaim, *, timeout: Optional[float] = None) -> int:
        """The agent answers again, though it has not attached.

        Returns: the generation of its checkpointed entries.

        Raises:
            Rejected: ``agent.gone``, ``agent.machine-down``, ``agent.total-below-ledger``.
        """
        return int(await self._result(7, codec.AGENT_CLAIM.encode(agent), Result.GENERATION, timeout))

    async def mark_gone(self, agent: str, *, timeout: Optional[float] = None) -> Tuple[values.VolumeID, ...]:
        """The agent will never come back.

        Returns: the volumes that are lost with it.

        Raises:
            Rejected: ``agent.already-gone``, ``agent.not-found``.
        """
        return cast(
            Tuple[values.VolumeID, ...], await self._result(8, TEXT.encode(agent), Result.LOST_VOLUMES, timeout)
        )

    async def remove_agent(
        self, agent: str, *, discards_volumes: bool = False, timeout: Optional[float] = None
    ) -> bool:
        """Forgets an agent that is admitted.

        Returns: True.

        Raises:
            Rejected: ``agent.not-admitted``, ``agent.has-volumes`` unless they may be forgotten with it.
        """
        return await self._changes_anything(9, TEXT.encode(agent) + codec.BOOL.encode(discards_volumes), timeout)

    async def prune(
        self,
        unreachable: Iterable[str] = (),
        gone: Iterable[str] = (),
        *,
        includes_volumes: bool = False,
        timeout: Optional[float] = None,
    ) -> values.Pruned:
        """Forgets exactly these agents, if they still are in that state::

            await registry.prune(*view.prune_plan(time.time_ns()))

        Args:
            includes_volumes: also unreachable ones that have volumes.
        """
        ids = codec.listed(TEXT)
        fields = ids.encode(tuple(unreachable)) + ids.encode(tuple(gone)) + codec.BOOL.encode(includes_volumes)
        return cast(values.Pruned, await self._result(10, fields, Result.PRUNED, timeout))

    async def drain(
        self,
        agent: str,
        *,
        max_grace_period: Optional[int] = None,
        marks_gone: bool = False,
        timeout: Optional[float] = None,
    ) -> bool:
        """Has an agent finish what it runs, and take on nothing.

        Args:
            max_grace_period: in nanoseconds; None: as it was said before, if it was.
            marks_gone: it is to be marked gone once it is drained.

        Returns: whether anything differs.

        Raises:
            Rejected: ``agent.not-found``, ``agent.scheduled-machine``, ``agent.drain-incapable``.
        """
        grace = codec.optional(codec.U64).encode(max_grace_period)
        return await self._changes_anything(11, TEXT.encode(agent) + grace + codec.BOOL.encode(marks_gone), timeout)

    async def mark_drained(self, agent: str, *, timeout: Optional[float] = None) -> bool:
        """Nothing runs on the agent any more.

        Returns: whether anything differs.

        Raises:
            Rejected: ``agent.not-draining``, ``agent.drain-busy``.
        """
        return await self._changes_anything(12, TEXT.encode(agent), timeout)

    async def deactivate(self, agent: str, *, timeout: Optional[float] = None) -> bool:
        """Has an agent take on nothing more.

        Returns: whether anything differs.

        Raises:
            Rejected: ``agent.not-found``.
        """
        return await self._changes_anything(13, TEXT.encode(agent), timeout)

    async def reactivate(self, agent: str, *, timeout: Optional[float] = None) -> bool:
        """Ends that, and its being drained.

        Returns: True.

        Raises:
            Rejected: ``agent.not-deactivated``, ``agent.still-draining``.
        """
        return await self._changes_anything(14, TEXT.encode(agent), timeout)

    async def approve_removal(self, count: int, until: int, *, timeout: Optional[float] = None) -> bool:
        """So many more agents may become unreachable than is usual, and the alarm ends.

        Args:
            until: cluster time, in nanoseconds since 1970.

        Returns: True.

        Raises:
            Rejected: ``limiter.count-zero``.
        """
        return await self._changes_anything(15, codec.U64.encode(count) + codec.U64.encode(until), timeout)

    # Frameworks

    async def subscribe(
        self,
        framework: values.FrameworkInfo,
        connection: str,
        *,
        principal: Optional[str] = None,
        force: bool = False,
        timeout: Optional[float] = None,
    ) -> values.Subscribed:
        """A framework comes, or comes back.

        Args:
            framework: one without an id is given one.
            connection: what tells this connection of it from others; what an older one says counts no more.
            principal: who has authenticated; None: nobody did.
            force: takes the place of another connection.

        Raises:
            Rejected: ``framework.role-fields``, ``framework.duplicate-role``, ``framework.offer-filter``,
                ``framework.failover-timeout-range``, ``framework.suppressed-role``, ``framework.principal-mismatch``,
                ``framework.completed``, ``framework.principal-changed``, ``framework.connected-elsewhere``.
        """
        stated = codec.FRAMEWORK_INFO.encode(framework) + codec.optional(TEXT).encode(principal)
        fields = stated + TEXT.encode(connection) + codec.BOOL.encode(force)
        return cast(values.Subscribed, await self._result(16, fields, Result.FRAMEWORK, timeout))

    async def update_framework(
        self, framework: values.FrameworkInfo, *, principal: Optional[str] = None, timeout: Optional[float] = None
    ) -> bool:
        """A framework states itself anew.

        Returns: whether anything differs.

        Raises:
            Rejected: as in :meth:`subscribe`; ``framework.not-found``, ``framework.user-changed``,
                ``framework.checkpoint-changed``.
        """
        fields = codec.FRAMEWORK_INFO.encode(framework) + codec.optional(TEXT).encode(principal)
        return await self._changes_anything(17, fields, timeout)

    async def disconnect(self, framework: str, connection: str, *, timeout: Optional[float] = None) -> bool:
        """A framework's connection has ended: unless it comes back within its failover timeout, it is over.

        Returns: whether anything differs; a connection that is not the current one is not looked at.

        Raises:
            Rejected: ``framework.not-found``.
        """
        return await self._changes_anything(18, TEXT.encode(framework) + TEXT.encode(connection), timeout)

    async def tear_down(self, framework: str, *, timeout: Optional[float] = None) -> bool:
        """A framework is over, and its tasks with it. What is reserved to its roles stays.

        Returns: whether anything differs.

        Raises:
            Rejected: ``framework.not-found``.
        """
        return await self._changes_anything(19, TEXT.encode(framework), timeout)

    async def forget(self, frameworks: Iterable[str], *, timeout: Optional[float] = None) -> bool:
        """Forgets frameworks that are over.

        Returns: whether there was one.

        Raises:
            Rejected: ``framework.not-ended``.
        """
        return await self._changes_anything(20, codec.listed(TEXT).encode(tuple(frameworks)), timeout)

    # Weights, quota, maintenance

    async def set_weights(self, weights: Iterable[values.Weight], *, timeout: Optional[float] = None) -> bool:
        """Returns: whether anything differs.

        Raises:
            Rejected: ``weight.not-positive``, ``weight.not-finite``.
        """
        return await self._changes_anything(21, codec.listed(codec.WEIGHT).encode(tuple(weights)), timeout)

    async def set_rate_limits(
        self, limits: Optional[values.RateLimits], *, timeout: Optional[float] = None
    ) -> bool:
        """Sets what masters hold frameworks to; None: nothing. To hold them to it is each master's part.

        Returns: whether anything differs.

        Raises:
            Rejected: ``ratelimit.shape``, ``ratelimit.duplicate-principal``, ``ratelimit.qps-not-positive``,
                ``ratelimit.aggregate-qps-not-positive``.
        """
        return await self._changes_anything(33, codec.optional(codec.RATE_LIMITS).encode(limits), timeout)

    async def set_quota(
        self, configs: Iterable[values.QuotaConfig], *, force: bool = False, timeout: Optional[float] = None
    ) -> Tuple[values.RoleConsumption, ...]:
        """Sets the quota of some roles, all or none; one with neither guarantees nor limits is taken away.

        Args:
            configs: of at most 512 roles.
            force: also where a role uses more than its limit already, or more is guaranteed than there is.

        Returns: what each of these roles uses.

        Raises:
            Rejected: ``quota.nested-role``, ``quota.role-missing``, ``quota.too-large-bytes``,
                ``quota.too-large-count``, ``quota.scalar-invalid``, ``quota.guarantee-above-limit``,
                ``quota.consumption-above-limit``, ``quota.child-sum-above-parent``, ``quota.overcommit``.
        """
        fields = codec.listed(codec.QUOTA_CONFIG).encode(tuple(configs)) + codec.BOOL.encode(force)
        return cast(Tuple[values.RoleConsumption, ...], await self._result(22, fields, Result.CONSUMPTION, timeout))

    async def set_schedule(
        self, windows: Optional[Iterable[values.MaintenanceWindow]], *, timeout: Optional[float] = None
    ) -> bool:
        """Replaces the maintenance schedule: machines that are new to it are draining, those that it no longer names
        are up.

        Args:
            windows: None: there is no schedule.

        Returns: whether anything differs.

        Raises:
            Rejected: ``schedule.window-empty``, ``schedule.duration-negative``, ``machine.id-empty``,
                ``machine.ip-invalid``, ``schedule.machine-twice``, ``schedule.down-machine-removed``.
        """
        stated = None if windows is None else tuple(windows)
        return await self._changes_anything(23, codec.optional(codec.listed(codec.WINDOW)).encode(stated), timeout)

    async def start_maintenance(
        self, machines: Iterable[values.MachineID], *, timeout: Optional[float] = None
    ) -> Tuple[str, ...]:
        """Machines of the schedule go down.

        Returns: the agents that have become unreachable by that.

        Raises:
            Rejected: ``machine.list-empty``, ``machine.id-empty``, ``machine.ip-invalid``, ``machine.listed-twice``,
                ``machine.not-scheduled``, ``machine.not-draining``.
        """
        fields = codec.listed(codec.MACHINE_ID).encode(tuple(machines))
        return cast(Tuple[str, ...], await self._result(24, fields, Result.AGENTS, timeout))

    async def stop_maintenance(
        self, machines: Iterable[values.MachineID], *, timeout: Optional[float] = None
    ) -> bool:
        """Machines that are down are up again, and in no window of the schedule.

        Returns: True.

        Raises:
            Rejected: as in :meth:`start_maintenance`; ``machine.not-down``.
        """
        return await self._changes_anything(25, codec.listed(codec.MACHINE_ID).encode(tuple(machines)), timeout)

    # Operations

    async def apply(
        self, operation: values.OperationRequest, *, timeout: Optional[float] = None
    ) -> values.OperationDone:
        """Carries an operation out; one that was carried out before is answered what it did then.

        Raises:
            Rejected: ``operation.*``, ``agent.not-admitted``, ``framework.not-active``, ``ledger.insufficient``,
                ``ledger.indivisible``, ``ledger.in-use``, and those of its kind.
        """
        (outcome,) = await self.apply_all([operation], atomic=True, timeout=timeout)
        return cast(values.OperationDone, outcome)

    async def apply_all(
        self,
        operations: Iterable[values.OperationRequest],
        *,
        atomic: bool = False,
        timeout: Optional[float] = None,
    ) -> Tuple[values.OperationOutcome, ...]:
        """Carries operations out one after the other; 512 at most.

        Args:
            atomic: all of them or none, and :class:`Rejected` says why not; else each is answered for itself.

        Returns: one outcome for each, in order.

        Raises:
            TooLarge: more than 512.
            ResultNotKept: it was done, and the answer was lost: the same operations, applied again, tell it.
        """
        fields = codec.listed(codec.OPERATION_REQUEST).encode(tuple(operations)) + codec.BOOL.encode(atomic)
        return cast(Tuple[values.OperationOutcome, ...], await self._result(26, fields, Result.OPERATIONS, timeout))

    async def reserve(
        self,
        agent: str,
        resources: Iterable[values.ResourceClaim],
        *,
        source: Optional[Iterable[values.ResourceClaim]] = None,
        framework: Optional[str] = None,
        principal: Optional[str] = None,
        uuid: Optional[bytes] = None,
        timeout: Optional[float] = None,
    ) -> values.OperationDone:
        """Reserves resources, each one level further than it is.

        Args:
            resources: as they are to be; for a framework, :meth:`~quorate.registry.ResourceClaim.allocated` to a role.
            source: as they are, where more than one level changes.
            framework: on whose behalf; None: an operator's. For all that an operation can name, :meth:`apply`.
            principal: who has authenticated; None: nobody did.
            uuid: 16 bytes: called again with the same, it is answered what it did. None: drawn at random.

        Raises:
            Rejected: as in :meth:`apply`; ``reserve.*``, ``agent.no-hierarchical-role``, ``agent.no-refinement``.
        """
        kind = values.Reserve(tuple(resources), None if source is None else tuple(source))
        return await self._operate(agent, kind, framework, principal, uuid, timeout)

    async def unreserve(
        self,
        agent: str,
        resources: Iterable[values.ResourceClaim],
        *,
        framework: Optional[str] = None,
        principal: Optional[str] = None,
        uuid: Optional[bytes] = None,
        timeout: Optional[float] = None,
    ) -> values.OperationDone:
        """Takes the uppermost level of reservations away. Arguments as in :meth:`reserve`.

        Args:
            resources: as they are.

        Raises:
            Rejected: as in :meth:`apply`; ``unreserve.not-dynamic``, ``unreserve.persistent-volume``.
        """
        return await self._operate(agent, values.Unreserve(tuple(resources)), framework, principal, uuid, timeout)

    async def create(
        self,
        agent: str,
        volumes: Iterable[values.ResourceClaim],
        *,
        framework: Optional[str] = None,
        principal: Optional[str] = None,
        uuid: Optional[bytes] = None,
        timeout: Optional[float] = None,
    ) -> values.OperationDone:
        """Makes volumes of reserved disks. Arguments as in :meth:`reserve`.

        Args:
            volumes: as they are to be.

        Raises:
            Rejected: as in :meth:`apply`; ``create.*``, ``volume.*``.
        """
        return await self._operate(agent, values.Create(tuple(volumes)), framework, principal, uuid, timeout)

    async def destroy(
        self,
        agent: str,
        volumes: Iterable[values.ResourceClaim],
        *,
        framework: Optional[str] = None,
        principal: Optional[str] = None,
        uuid: Optional[bytes] = None,
        timeout: Optional[float] = None,
    ) -> values.OperationDone:
        """Makes reserved disks of volumes again. Arguments as in :meth:`reserve`.

        Raises:
            Rejected: as in :meth:`apply`; ``destroy.not-found``, ``destroy.in-use``.
        """
        return await self._operate(agent, values.Destroy(tuple(volumes)), framework, principal, uuid, timeout)

    async def grow(
        self,
        agent: str,
        volume: values.ResourceClaim,
        addition: values.ResourceClaim,
        *,
        framework: Optional[str] = None,
        principal: Optional[str] = None,
        uuid: Optional[bytes] = None,
        timeout: Optional[float] = None,
    ) -> values.OperationDone:
        """Adds a part of the same reserved disk to a volume. Other arguments as in :meth:`reserve`.

        Raises:
            Rejected: as in :meth:`apply`; ``grow.*``, ``agent.no-resize``.
        """
        return await self._operate(agent, values.Grow(volume, addition), framework, principal, uuid, timeout)

    async def shrink(
        self,
        agent: str,
        volume: values.ResourceClaim,
        subtract: float,
        *,
        framework: Optional[str] = None,
        principal: Optional[str] = None,
        uuid: Optional[bytes] = None,
        timeout: Optional[float] = None,
    ) -> values.OperationDone:
        """Takes so many MB away from a volume. Other arguments as in :meth:`reserve`.

        Raises:
            Rejected: as in :meth:`apply`; ``shrink.*``, ``agent.no-resize``.
        """
        return await self._operate(agent, values.Shrink(volume, subtract), framework, principal, uuid, timeout)

    async def _operate(
        self,
        agent: str,
        kind: values.OperationKind,
        framework: Optional[str],
        principal: Optional[str],
        uuid: Optional[bytes],
        timeout: Optional[float],
    ) -> values.OperationDone:
        request = values.OperationRequest(agent, kind, framework, principal)
        return await self.apply(request if uuid is None else replace(request, uuid=uuid), timeout=timeout)

    async def update_status(
        self,
        agent: str,
        uuid: bytes,
        status: values.OperationStatus,
        *,
        latest: Optional[values.OperationState] = None,
        timeout: Optional[float] = None,
    ) -> bool:
        """An agent says how an operation went. One that it could not do is taken back, unless somebody uses already
        what it was to bring.

        Args:
            latest: what the operation is at by now, if it went on meanwhile.

        Returns: whether somebody is to acknowledge it; if not, the agent may take it for acknowledged.

        Raises:
            Rejected: ``agent.not-admitted``, ``operation.unknown``, ``operation.state-not-reportable``.
        """
        said = codec.OPERATION_STATUS.encode(status) + codec.optional(codec.OPERATION_STATE).encode(latest)
        fields = TEXT.encode(agent) + wire.bytes16(uuid) + said
        return bool(await self._result(31, fields, Result.STATUS, timeout))

    async def acknowledge(
        self, framework: str, operation_id: str, status_uuid: bytes, agent: str, *, timeout: Optional[float] = None
    ) -> bool:
        """A framework has heard of a status.

        Returns: whether anything differs.

        Raises:
            Rejected: ``operation.ack-uuid-size``, ``operation.ack-no-agent``, ``operation.unknown-name``,
                ``operation.unknown-status``, ``agent.not-attached``.
        """
        named = TEXT.encode(framework) + TEXT.encode(operation_id)
        fields = named + wire.bytes16(status_uuid) + TEXT.encode(agent)
        return await self._changes_anything(32, fields, timeout)

    async def acquire(
        self,
        agent: str,
        framework: str,
        hold: str,
        role: str,
        resources: Iterable[values.ResourceClaim],
        *,
        timeout: Optional[float] = None,
    ) -> bool:
        """A framework's task takes resources.

        Args:
            hold: the framework's name for them on that agent.
            role: the one of the framework's roles for which it takes them.

        Returns: whether anything differs: False if it has them already.

        Raises:
            Rejected: ``acquire.*``, ``framework.not-active``, ``agent.not-admitted``, ``agent.deactivated``,
                ``ledger.insufficient``, ``ledger.indivisible``, ``ledger.in-use``.
        """
        names = TEXT.encode(agent) + TEXT.encode(framework) + TEXT.encode(hold) + TEXT.encode(role)
        return await self._changes_anything(27, names + CLAIMS.encode(tuple(resources)), timeout)

    async def release(self, agent: str, framework: str, hold: str, *, timeout: Optional[float] = None) -> bool:
        """The task needs them no more.

        Returns: whether it had them.
        """
        fields = TEXT.encode(agent) + TEXT.encode(framework) + TEXT.encode(hold)
        return await self._changes_anything(28, fields, timeout)

    async def admit_provider(
        self,
        id: str,
        *,
        type: Optional[str] = None,
        name: Optional[str] = None,
        timeout: Optional[float] = None,
    ) -> bool:
        """Admits a resource provider.

        Returns: True.

        Raises:
            Rejected: ``provider.already-admitted``, ``provider.removed``.
        """
        text = codec.optional(TEXT)
        return await self._changes_anything(29, TEXT.encode(id) + text.encode(type) + text.encode(name), timeout)

    async def remove_provider(self, id: str, *, timeout: Optional[float] = None) -> bool:
        """Removes a resource provider, for ever.

        Returns: True.

        Raises:
            Rejected: ``provider.unknown``.
        """
        return await self._changes_anything(30, TEXT.encode(id), timeout)
