"""A quorum of real nodes for tests: processes on loopback ports, each behind a relay that can lose what passes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from typing import Awaitable, Callable, Dict, List, Optional, TypeVar

BINARY = os.environ.get("QUORATE_BINARY") or os.path.abspath(
    os.path.join(os.path.dirname(__file__), "..", "..", "..", "quorate")
)

T = TypeVar("T")


def free_ports(count: int) -> List[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


async def eventually(what: str, condition: Callable[[], Awaitable[Optional[T]]], seconds: float = 20) -> T:
    """Asks again and again until the answer is true, and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        value = await condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        await asyncio.sleep(0.02)


class Relay:
    """Stands between clients and one node, at the address that the node tells clients. Rules look at whole frames."""

    def __init__(self, port: int, target: int, *, is_opaque: bool) -> None:
        self.port = port
        self.target = target
        #: What passes is encrypted: there are no frames to look at.
        self.is_opaque = is_opaque
        #: Refuses connections, and has ended those that stood.
        self.is_cut = False
        #: Looks at each frame of a client (kind, body) before it is passed on; False ends the connection there.
        self.on_request: Optional[Callable[[int, bytes], bool]] = None
        #: Likewise for the node's frames.
        self.on_reply: Optional[Callable[[int, bytes], bool]] = None
        self._writers: List[asyncio.StreamWriter] = []
        self._server: Optional[asyncio.AbstractServer] = None
        self._tasks: List["asyncio.Task[None]"] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def cut(self) -> None:
        self.is_cut = True
        self.drop()

    def heal(self) -> None:
        self.is_cut = False

    def drop(self) -> None:
        """Ends the connections that stand."""
        for writer in self._writers:
            if writer.transport is not None:
                writer.transport.abort()
        self._writers.clear()

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            writer.transport.abort()
            return
        try:
            node_reader, node_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        both = [writer, node_writer]
        if self.is_cut:
            for each in both:
                each.transport.abort()
            return
        self._writers += both
        there = asyncio.ensure_future(self._pass(reader, node_writer, both, lambda: self.on_request))
        back = asyncio.ensure_future(self._pass(node_reader, writer, both, lambda: self.on_reply))
        self._tasks += [there, back]

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        both: List[asyncio.StreamWriter],
        rule: Callable[[], Optional[Callable[[int, bytes], bool]]],
    ) -> None:
        try:
            while self.is_opaque:
                data = await reader.read(65536)
                if not data:
                    return
                writer.write(data)
                await writer.drain()
            while True:
                head = await reader.readexactly(16)
                rest = await reader.readexactly(int.from_bytes(head[:4], "little") - 12)
                judge = rule()
                if judge is not None and not judge(int.from_bytes(head[6:8], "little"), rest[:-4]):
                    return
                writer.write(head + rest)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            for each in both:
                each.transport.abort()


class Node:
    def __init__(self, name: str, client: int, peer: int, relay: Relay) -> None:
        self.name = name
        self.client = client
        self.peer = peer
        self.relay = relay
        self.process: Optional["subprocess.Popen[bytes]"] = None

    @property
    def address(self) -> str:
        """Where clients find it."""
        return f"127.0.0.1:{self.relay.port}"


class Quorum:
    """Three nodes. Signals go only to processes that this object has started."""

    def __init__(self, *flags: str, certificates: bool = False) -> None:
        self._flags = flags or ("--segment-size", "2MiB")
        self._has_certificates = certificates
        #: Rises when the cluster is restored: each of its lives has directories of its own.
        self._life = 0
        self.directory = tempfile.mkdtemp(prefix="quorate-python-")
        ports = free_ports(9)
        self.nodes: Dict[str, Node] = {}
        for index in range(3):
            client, peer, relay = ports[index * 3 : index * 3 + 3]
            name = f"n{index + 1}"
            self.nodes[name] = Node(name, client, peer, Relay(relay, client, is_opaque=certificates))

    @property
    def endpoints(self) -> List[str]:
        return [node.address for node in self.nodes.values()]

    async def start(self) -> "Quorum":
        if self._has_certificates:
            await self.make_certificates("")
        for node in self.nodes.values():
            await node.relay.start()
            self.start_node(node.name)
        await eventually("the cluster is formed", self._form)
        await self.leader()
        return self

    async def _form(self) -> bool:
        return (await self.command("init")).returncode == 0

    def start_node(self, name: str) -> None:
        node = self.nodes[name]
        log = open(os.path.join(self.directory, f"{name}.log"), "ab")
        with log:
            node.process = subprocess.Popen(
                [
                    *(BINARY, "serve", "--name", name, "--data", self._data(name)),
                    *("--client", f"127.0.0.1:{node.client}", "--peer", f"127.0.0.1:{node.peer}"),
                    *("--advertise-client", node.address, "--cluster", self._members),
                    *("--heartbeat-interval", "50ms", "--election-timeout", "400ms-800ms"),
                    *self._flags,
                    # However this process ends, its nodes end with it.
                    "--stop-with-standard-input",
                    *self._tls_flags(name),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )

    @property
    def _members(self) -> str:
        return ",".join(f"{each.name}=127.0.0.1:{each.peer}" for each in self.nodes.values())

    def _data(self, name: str) -> str:
        return os.path.join(self.directory, f"{name}-{self._life}")

    def certificate(self, name: str) -> str:
        return os.path.join(self.directory, "certificates", name)

    def _tls_flags(self, name: str) -> List[str]:
        if not self._has_certificates:
            return []
        files = (self.certificate(f"{name}.pem"), self.certificate(f"{name}.key"), self.certificate("ca.pem"))
        return [part for pair in zip(("--tls-cert", "--tls-key", "--tls-ca"), files) for part in pair]

    async def make_certificates(self, directory: str) -> None:
        """An authority, and certificates for the nodes and a client."""
        script = os.path.join(os.path.dirname(__file__), "..", "..", "..", "ops", "certificates")
        process = await asyncio.create_subprocess_exec(
            script, self.certificate(directory), stdout=asyncio.subprocess.DEVNULL
        )
        assert await process.wait() == 0

    async def restore(self) -> None:
        """The cluster goes on, in another life, from a snapshot of itself."""
        file = os.path.join(self.directory, "snapshot")
        result = await self.command("snapshot", "save", file)
        assert result.returncode == 0, result.stderr
        for node in self.nodes.values():
            self.kill(node.name)
        self._life += 1
        for node in self.nodes.values():
            process = await asyncio.create_subprocess_exec(
                *(BINARY, "restore", file, "--name", node.name, "--data", self._data(node.name)),
                *("--cluster", self._members),
                stdout=asyncio.subprocess.DEVNULL,
            )
            assert await process.wait() == 0
            self.start_node(node.name)
        await self.leader()

    def cut(self) -> None:
        """Nothing passes between clients and nodes."""
        for node in self.nodes.values():
            node.relay.cut()

    def heal(self) -> None:
        for node in self.nodes.values():
            node.relay.heal()

    async def command(self, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        """Runs the command line against the nodes themselves, not through the relays."""
        endpoints = ",".join(f"127.0.0.1:{node.client}" for node in self.nodes.values())
        process = await asyncio.create_subprocess_exec(
            *(BINARY, *arguments, "--endpoints", endpoints),
            *self._tls_flags("client"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        assert process.returncode is not None
        return subprocess.CompletedProcess(arguments, process.returncode, output, errors)

    async def leader(self) -> str:
        async def found() -> Optional[str]:
            result = await self.command("status", "--json", "--timeout", "1s")
            return json.loads(result.stdout or b"{}").get("leader") if result.returncode == 0 else None

        return await eventually("a leader", found)

    async def whole(self) -> None:
        """Starts and heals whatever does not run, and waits until a write and a read through each node work."""
        for node in self.nodes.values():
            node.relay.heal()
            node.relay.on_request = node.relay.on_reply = None
            if node.process is None:
                self.start_node(node.name)
            else:
                node.process.send_signal(signal.SIGCONT)

        async def is_whole() -> bool:
            result = await self.command("status", "--json", "--timeout", "1s")
            if result.returncode != 0:
                return False
            status = json.loads(result.stdout)
            return bool(status.get("leader")) and all(node.get("state") == "ok" for node in status["nodes"])

        await eventually("all nodes serve", is_whole)

    def kill(self, name: str) -> None:
        process = self.nodes[name].process
        assert process is not None
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
        self.nodes[name].process = None

    def pause(self, name: str) -> None:
        process = self.nodes[name].process
        assert process is not None
        process.send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        process = self.nodes[name].process
        assert process is not None
        process.send_signal(signal.SIGCONT)

    def others(self, name: str) -> List[str]:
        return [each for each in self.nodes if each != name]

    async def stop(self) -> None:
        for node in self.nodes.values():
            if node.process is not None:
                self.kill(node.name)
            await node.relay.stop()
        shutil.rmtree(self.directory)
