"""Variables as Apache Mesos' ``state::Storage`` has them: a value under a name, replaced only by those who know the
version that they replace."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, AsyncGenerator, Iterable, Optional

from . import _wire as wire
from .values import Bytes, Guard, ReadLevel, as_bytes

if TYPE_CHECKING:
    from .client import Client

_SET = 21
_EXPUNGE = 22

_GET = 9
_NAMES = 10


@dataclass(frozen=True)
class Variable:
    """A value and which version of it this is."""

    name: bytes
    #: 16 bytes, drawn at random by who stored it.
    version: bytes
    value: bytes

    def mutate(self, value: Bytes) -> "Variable":
        """The same variable with another value, to be stored."""
        return replace(self, value=as_bytes(value))


class State:
    """``client.state``::

        variable = await client.state.fetch("frameworks")
        stored = await client.state.store(variable.mutate("…"))
        if stored is None: ...   # somebody else was faster: fetch again
    """

    def __init__(self, client: "Client") -> None:
        self._client = client

    async def fetch(
        self, name: Bytes, *, level: ReadLevel = ReadLevel.LINEARIZABLE, timeout: Optional[float] = None
    ) -> Variable:
        """The variable under a name; where there is none, an empty one of a new version that can be stored."""
        found = await self.get(name, level=level, timeout=timeout)
        return found if found is not None else Variable(as_bytes(name), os.urandom(16), b"")

    async def store(
        self, variable: Variable, *, guards: Iterable[Guard] = (), timeout: Optional[float] = None
    ) -> Optional[Variable]:
        """Stores a variable if the stored version is still the one that was fetched, or there is none.

        Returns: the variable with its new version; None if it was changed meanwhile.
        """
        version = os.urandom(16)
        is_stored = await self.set(
            variable.name, variable.value, version=version, expected=variable.version, guards=guards, timeout=timeout
        )
        return replace(variable, version=version) if is_stored else None

    async def get(
        self, name: Bytes, *, level: ReadLevel = ReadLevel.LINEARIZABLE, timeout: Optional[float] = None
    ) -> Optional[Variable]:
        """The variable under a name, if there is one."""
        key = as_bytes(name)
        reply = await self._client._query(wire.u8(_GET) + wire.bytes16(key), timeout, level)
        return Variable(key, reply.rest.raw(16), reply.rest.bytes32()) if reply.rest.bool() else None

    async def set(
        self,
        name: Bytes,
        value: Bytes,
        *,
        version: bytes,
        expected: bytes,
        guards: Iterable[Guard] = (),
        timeout: Optional[float] = None,
    ) -> bool:
        """Stores a value under a version of 16 bytes, if there is nothing under the name or the stored version is the
        expected one.

        Returns: whether it was stored.
        """
        if len(version) != 16 or len(expected) != 16:
            raise ValueError("a version has 16 bytes")
        fields = wire.bytes16(as_bytes(name)) + version + expected + wire.bytes32(as_bytes(value))
        return (await self._client._mutate(_SET, fields, guards, timeout)).rest.bool()

    async def expunge(
        self, variable: Variable, *, guards: Iterable[Guard] = (), timeout: Optional[float] = None
    ) -> bool:
        """Removes a variable if the stored version is this one.

        Returns: whether it was removed.
        """
        fields = wire.bytes16(variable.name) + variable.version
        return (await self._client._mutate(_EXPUNGE, fields, guards, timeout)).rest.bool()

    async def names(
        self, *, level: ReadLevel = ReadLevel.LINEARIZABLE, timeout: Optional[float] = None
    ) -> AsyncGenerator[bytes, None]:
        """The names of all variables, in order, page by page.

        Args:
            timeout: of each page, in seconds.
        """
        after = b""
        while True:
            fields = wire.u8(_NAMES) + wire.bytes16(after) + wire.u32(0)
            reader = (await self._client._query(fields, timeout, level)).rest
            more = reader.bool()
            for _ in range(reader.u32()):
                after = reader.bytes16()
                yield after
            if not more:
                return
