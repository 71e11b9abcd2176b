"""What agents and frameworks tell the masters while they run: a record each, which goes with their session."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, AsyncGenerator, Iterable, Optional, Tuple, Type

from . import registry as values
from ._nodes import pause_after
from ._session import Session
from .errors import ClientClosed, ClusterMismatch, Compacted, GenerationChanged, QuorateError
from .registry import RegistryTable
from .registry_codec import ATTACHMENT, FRAMEWORK_CONNECTION, RecordKey, text_bytes
from .registry_master import AGENTS_PREFIX, FRAMEWORKS_PREFIX, MASTERS, Checkpoint
from .values import Candidate

if TYPE_CHECKING:
    from .client import Client


class _OwnedRecord:
    """A record that goes with the client's session, and is put again whenever that was lost."""

    def __init__(self, client: "Client", key: bytes, value: bytes) -> None:
        self._client = client
        self._key = key
        self._value = value
        #: The session with which the record goes, and the revision of its last put.
        self._session: Optional[Session] = None
        self._revision = 0
        self._task: Optional["asyncio.Task[None]"] = None
        # One put after the other, or an older value could be the last.
        self._turn = asyncio.Lock()

    @property
    def is_there(self) -> bool:
        """Judged by the clock at this moment."""
        return self._session is not None and not self._session.is_lost

    async def begin(self) -> None:
        await self._put(None)
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def set(self, value: bytes, timeout: Optional[float]) -> int:
        """Returns: the revision of the change."""
        self._value = value
        return await self._put(timeout)

    async def _put(self, timeout: Optional[float]) -> int:
        async with self._turn:
            session = self._client._current_session()
            self._revision = await self._client._put_owned(session, self._key, self._value, timeout)
            self._session = session
            return self._revision

    async def _keep(self) -> None:
        failures = 0
        while True:
            await self._until_lost()
            try:
                if not self.is_there:
                    await self._put(None)
                failures = 0
            except (ClientClosed, ClusterMismatch, GenerationChanged):
                # It can never be put again: every other call of the client says so.
                return
            except QuorateError:
                failures += 1
                await asyncio.sleep(pause_after(failures))

    async def _until_lost(self) -> None:
        session = self._session
        if session is None or session.is_lost:
            return
        lost: "asyncio.Future[None]" = asyncio.get_running_loop().create_future()
        end = session.on_lost(lambda: None if lost.done() else lost.set_result(None))
        try:
            await lost
        finally:
            end()

    async def end(self) -> None:
        """Removes the record, unless somebody else has put it meanwhile."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if not self.is_there:
            return
        try:
            await self._client.delete(self._key, revision=self._revision)
        except QuorateError:
            # Somebody else's by now; else it goes with the session.
            pass


class _Running:
    """What agents and frameworks have in common."""

    def __init__(self, client: "Client", key: bytes, value: bytes) -> None:
        self._client = client
        self._record = _OwnedRecord(client, key, value)

    @property
    def is_present(self) -> bool:
        """Masters see it; judged by the clock at this moment."""
        return self._record.is_there

    def masters(self) -> AsyncGenerator[Optional[Candidate], None]:
        """The leading master now, and then whenever another one leads or says something else of itself: whom to speak
        to (``data``), and under which fence. None: nobody leads."""
        return self._client.elections.observe(MASTERS)

    async def __aexit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        await self._record.end()


class AgentSession(_Running):
    """An agent, while a block runs::

        async with quorate.AgentSession(client, agent, checkpoint_on_disk) as session:
            known = await client.registry.checkpoint(agent.id)
            if known is not None and known.generation > checkpoint_on_disk.generation:
                ...                                       # save it
                await session.announce(known)
            async for leader in session.masters():        # whom to speak to
                ...

    Masters see it by the record ``registry/agents/ID``, which holds all that one needs to take the agent back: where it
    is, what it has, and generation and digest of what it has checkpointed. The record goes with the client's session,
    and is put again when that was lost, for as long as the block runs. It costs the cluster nothing while nothing
    changes. Agents that share a client come and go together.
    """

    def __init__(
        self,
        client: "Client",
        agent: values.AgentClaim,
        checkpoint: Checkpoint = Checkpoint(),
        versions: Iterable[values.ResourceVersion] = (),
    ) -> None:
        """
        Args:
            checkpoint: as the agent has it on its disk; one that has just been set up has nothing.
            versions: of the agent's own resources, and of its resource providers'.
        """
        #: What masters are told.
        self.attachment = values.AgentAttachment(agent, checkpoint.generation, checkpoint.digest, tuple(versions))
        super().__init__(client, AGENTS_PREFIX + text_bytes(agent.id), ATTACHMENT.encode(self.attachment))

    async def __aenter__(self) -> "AgentSession":
        await self._record.begin()
        return self

    async def announce(self, checkpoint: Checkpoint, *, timeout: Optional[float] = None) -> int:
        """Says what the agent has on its disk by now.

        Returns: the revision of that.
        """
        self.attachment = replace(self.attachment, generation=checkpoint.generation, digest=checkpoint.digest)
        return await self._record.set(ATTACHMENT.encode(self.attachment), timeout)


class FrameworkSession(_Running):
    """A framework, while a block runs::

        async with quorate.FrameworkSession(client, FrameworkInfo("pg", role="db")) as session:
            row = await session.subscribed()              # the leading master has taken note of it
            async for leader in session.masters():        # whom to speak to
                ...

    Masters see it by the record ``registry/frameworks/CONNECTION``, which goes with the client's session and is put
    again when that was lost. One session is one connection: its master disconnects it when the record goes.
    """

    def __init__(self, client: "Client", framework: values.FrameworkInfo) -> None:
        """
        Args:
            framework: with its id, once it has one; else it is given one when it is subscribed.
        """
        #: Tells this connection from earlier ones of the framework: 32 hexadecimal digits.
        self.connection = os.urandom(16).hex()
        #: What masters are told.
        self.framework = framework
        super().__init__(client, FRAMEWORKS_PREFIX + self.connection.encode(), self._encoded())

    def _encoded(self) -> bytes:
        return FRAMEWORK_CONNECTION.encode(values.FrameworkConnection(self.connection, self.framework))

    async def __aenter__(self) -> "FrameworkSession":
        await self._record.begin()
        return self

    async def announce(self, framework: values.FrameworkInfo, *, timeout: Optional[float] = None) -> int:
        """Says something else of the framework.

        Returns: the revision of that.
        """
        self.framework = framework
        return await self._record.set(self._encoded(), timeout)

    async def subscribed(self) -> values.FrameworkRow:
        """Returns once a master has subscribed the framework under this connection; at once where it is so already. Its
        id is told to the masters that come, so that it is the same framework to them."""
        row = await self._subscribed()
        if self.framework.id != row.id:
            await self.announce(replace(self.framework, id=row.id))
        return row

    async def _subscribed(self) -> values.FrameworkRow:
        while True:
            row, revision = await self._look()
            if row is not None:
                return row
            changes = self._client.registry.changes(revision, table=RegistryTable.FRAMEWORKS)
            try:
                async for event in changes:
                    for change in event.changes:
                        if isinstance(change.record, values.FrameworkRow) and self._is_own(change.record):
                            return change.record
            except Compacted:
                pass
            finally:
                await changes.close()

    async def _look(self) -> Tuple[Optional[values.FrameworkRow], int]:
        """The row, and the revision at which there is none."""
        registry = self._client.registry
        if self.framework.id:
            key = RecordKey(RegistryTable.FRAMEWORKS, text_bytes(self.framework.id))
            found, revision = await registry._record(key, None)
            rows = [found] if isinstance(found, values.FrameworkRow) else []
        else:
            view = await registry.view(RegistryTable.FRAMEWORKS)
            rows, revision = list(view.of(values.FrameworkRow)), view.revision
        return next((row for row in rows if self._is_own(row)), None), revision

    def _is_own(self, row: values.FrameworkRow) -> bool:
        return row.connection == self.connection and row.state is values.FrameworkState.ACTIVE
