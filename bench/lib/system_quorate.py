"""Quorate: three nodes with their defaults, unless told otherwise, and `quorate bench`."""

import json
import os
import socket
import subprocess
import sys

from processes import Failure
from system import Node, System, endpoints

PROBE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "quorate-probe")


class Quorate(System):
    name = "Quorate"
    configuration = "defaults; `quorate bench` is given all nodes and finds the leader by itself."

    def __init__(self, processes, ports, program, node_count=3, serve_flags=(), certificates=None):
        super().__init__(processes, ports)
        self._program = program
        self._names = [f"n{number}" for number in range(1, node_count + 1)]
        self._serve_flags = serve_flags
        self._certificates = certificates

    def _tls_flags(self, name):
        if not self._certificates:
            return []
        files = [os.path.join(self._certificates, file) for file in (f"{name}.pem", f"{name}.key", "ca.pem")]
        return ["--tls-cert", files[0], "--tls-key", files[1], "--tls-ca", files[2]]

    def make_nodes(self, directory):
        count = len(self._names)
        peers = [f"127.0.0.1:{port}" for port in self.ports[count : 2 * count]]
        founders = ",".join(f"{name}={peer}" for name, peer in zip(self._names, peers))
        nodes = []
        for name, port, peer in zip(self._names, self.ports, peers):
            data = os.path.join(directory, name)
            client = f"127.0.0.1:{port}"
            command = [
                self._program, "serve", "--name", name, "--data", data, "--client", client, "--peer", peer, "--cluster", founders,
                *self._serve_flags, *self._tls_flags(name),
            ]
            nodes.append(Node(name, client, command, data))
        return nodes

    def form(self):
        self.wait_until(lambda: self._ask("init", [self.nodes[0]]).returncode == 0, "cluster formed")
        self.wait_for_leader()
        if self._ask("put", self.nodes, "load/first", "1").returncode != 0:
            raise Failure("Quorate: the first write failed")

    def leaders(self):
        try:
            told = json.loads(self._ask("status", self.nodes, "--json").stdout)["nodes"]
        except (ValueError, KeyError):
            return []
        leading = {node["name"] for node in told if node.get("role") == "leader"}
        return [node for node in self.nodes if node.name in leading]

    def serves(self, node, is_linearizable):
        # Asking takes a command, which waits between its tries: not before there is somebody to ask.
        if not accepts(node):
            return False
        level = "linearizable" if is_linearizable else "stale"
        return self._ask("get", [node], "load/first", "--read-level", level, "--timeout", "200ms").returncode == 0

    def load_command(self, mode, read_level):
        command = [self._program, "bench", mode, "--endpoints", endpoints(self.nodes), "--warm-up", "0", "--json"]
        return command + (["--read-level", read_level] if mode == "read" else []) + self._tls_flags("client")

    def probe_command(self, node):
        return [sys.executable, PROBE, node.endpoint]

    def snapshot_command(self, file):
        return [self._program, "snapshot", "save", file, "--endpoints", endpoints(self.nodes), *self._tls_flags("client")]

    def _ask(self, command, nodes, *arguments):
        whole = [self._program, command, *arguments, "--endpoints", endpoints(nodes), *self._tls_flags("client")]
        return subprocess.run(whole, capture_output=True)


def version_of(program):
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()


def accepts(node):
    host, port = node.endpoint.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=0.5).close()
        return True
    except OSError:
        return False
