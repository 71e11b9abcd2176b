"""etcd: three nodes with their defaults, and its own Go client."""

import base64
import json
import os
import urllib.error
import urllib.request

from processes import Failure
from system import Node, System

QUOTA = 8 << 30
TRIALS = 2  # in turn, so that what disturbs one is not taken for the version


class Etcd(System):
    name = "etcd"
    configuration = (
        "defaults, hence fsync of every batch, with quota-backend-bytes 8 GiB, so that the loads fit. Clients talk to the "
        "leader, which saves forwarding; those of stale reads are spread over all nodes. Loading all keys takes transactions "
        "of 100 puts, keep-alives one stream a connection. The faster one of Debian's version and PyPI's."
    )

    def __init__(self, processes, ports, server, client, load_program):
        super().__init__(processes, ports)
        self._server = server
        self._client = client
        self._load_program = load_program

    def make_nodes(self, directory):
        names = ["e1", "e2", "e3"]
        peers = [f"http://127.0.0.1:{port}" for port in self.ports[3:6]]
        cluster = ",".join(f"{name}={peer}" for name, peer in zip(names, peers))
        nodes = []
        for name, port, peer in zip(names, self.ports, peers):
            data = os.path.join(directory, name)
            command = [
                self._server, "--name", name, "--data-dir", data, "--initial-cluster", cluster, "--initial-cluster-state", "new",
                "--listen-client-urls", f"http://127.0.0.1:{port}", "--advertise-client-urls", f"http://127.0.0.1:{port}",
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--quota-backend-bytes", str(QUOTA),
                "--logger", "zap", "--log-level", "warn", "--log-outputs", "stderr",
            ]
            nodes.append(Node(name, f"127.0.0.1:{port}", command, data))
        return nodes

    def leaders(self):
        answers = {node.name: ask(node, "maintenance/status", {}) for node in self.nodes}
        leading = {name for name, status in answers.items() if status and status.get("leader") == status["header"]["member_id"]}
        return [node for node in self.nodes if node.name in leading]

    def serves(self, node, is_linearizable):
        key = base64.b64encode(b"load/00000000000").decode()
        return ask(node, "kv/range", {"key": key, "serializable": not is_linearizable}) is not None

    def load_command(self, mode, read_level):
        return [self._load_program, mode, "--endpoints", self.targets(read_level), "--read-level", read_level]

    def probe_command(self, node):
        return [self._load_program, "probe", "--endpoints", node.endpoint]

    def snapshot_command(self, file):
        return ["env", "ETCDCTL_API=3", self._client, "--endpoints", self.wait_for_leader().endpoint, "snapshot", "save", file]


def ask(node, method, request):
    """The answer of the node's JSON gateway; None without one."""
    try:
        body = json.dumps(request).encode()
        with urllib.request.urlopen(f"http://{node.endpoint}/v3/{method}", body, timeout=0.5) as answer:
            return json.load(answer)
    except (OSError, urllib.error.URLError, ValueError):
        return None


def faster(versions, directory, say):
    """The one of several versions of etcd, functions that make a system, that takes more writes; the others do not count."""
    best = {}
    for trial in range(TRIALS):
        for version, make in versions.items():
            system = make()
            try:
                system.start(os.path.join(directory, f"trial-{trial}-etcd-{version}"))
                system.load("write", connections=100, in_flight=10, seconds=1)
                rate = system.load("write", connections=100, in_flight=10, seconds=2)["operationsPerSecond"]
                system.stop()
                system.remove_data()
                best[version] = max(rate, best.get(version, 0))
            except (Failure, OSError) as error:
                system.processes.end_all()
                say(f"etcd {version} does not run here: {error}")
    if not best:
        raise Failure("no etcd runs here")
    version = max(best, key=best.get)
    say("writes/s of etcd " + ", ".join(f"{name}: {rate:,.0f}" for name, rate in best.items()) + f"; {version} it is")
    return version
