"""ZooKeeper: three nodes with their defaults, and a C program on its own client library."""

import os
import socket

from system import Node, System

JAR = "/usr/share/java/zookeeper.jar"
HEAP = "3g"
SETTINGS = """\
tickTime=2000
initLimit=10
syncLimit=5
snapCount=100000
maxClientCnxns=0
globalOutstandingLimit=100000
autopurge.snapRetainCount=3
autopurge.purgeInterval=1
admin.enableServer=false
4lw.commands.whitelist=srvr
"""


class ZooKeeper(System):
    name = "ZooKeeper"
    configuration = (
        f"defaults, hence forceSync, with a heap of up to {HEAP}, so that all keys do not keep the collector busy; "
        "maxClientCnxns 0 and globalOutstandingLimit 100,000, so that nothing throttles the load; snapCount 100,000, autopurge "
        "3 snapshots. Sessions are with the leader, which saves forwarding; those of stale reads are spread over all nodes. A "
        "linearizable read is a sync with the get right behind it. Loading all keys takes multi-operations of 100 creates, "
        "a thousand keys to a directory."
    )
    lacks = {
        "watch": "its watches fire once, and the C client of 3.8 has no others",
        "keep-alive": "its client library pings by itself, a few times in a session's timeout",
        "snapshot": "3.8 has no command that saves one",
    }

    def __init__(self, processes, ports, load_program):
        super().__init__(processes, ports)
        self._load_program = load_program

    def make_nodes(self, directory):
        members = "".join(
            f"server.{number + 1}=127.0.0.1:{self.ports[3 + number]}:{self.ports[6 + number]}\n" for number in range(3)
        )
        nodes = []
        for number in range(3):
            name = f"z{number + 1}"
            data = os.path.join(directory, name)
            os.mkdir(data)
            with open(os.path.join(data, "myid"), "w") as file:
                file.write(f"{number + 1}\n")
            settings = os.path.join(directory, f"{name}.cfg")
            with open(settings, "w") as file:
                file.write(f"{SETTINGS}dataDir={data}\nclientPort={self.ports[number]}\nclientPortAddress=127.0.0.1\n{members}")
            command = ["java", f"-Xmx{HEAP}", "-cp", JAR, "org.apache.zookeeper.server.quorum.QuorumPeerMain", settings]
            nodes.append(Node(name, f"127.0.0.1:{self.ports[number]}", command, data))
        return nodes

    def leaders(self):
        return [node for node in self.nodes if "Mode: leader" in server_status(node)]

    def serves(self, node, is_linearizable):
        # A node tells its mode only while it is in a quorum and takes requests.
        return "Mode: " in server_status(node)

    def load_command(self, mode, read_level):
        return [self._load_program, mode, "--endpoints", self.targets(read_level), "--read-level", read_level]

    def probe_command(self, node):
        return [self._load_program, "probe", "--endpoints", node.endpoint]


def server_status(node):
    """What the four-letter word `srvr` tells; empty without an answer."""
    host, port = node.endpoint.split(":")
    try:
        with socket.create_connection((host, int(port)), timeout=0.5) as connection:
            connection.settimeout(0.5)
            connection.sendall(b"srvr")
            answer = b""
            while part := connection.recv(4096):
                answer += part
            return answer.decode()
    except OSError:
        return ""
