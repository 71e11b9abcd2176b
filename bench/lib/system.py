"""What the three systems have in common: nodes on loopback, a load program, and the same questions to all of them."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import threading
import time

from processes import Failure, cpu_seconds, disk_bytes, ended_cpu_seconds, is_stopped, resident_bytes

CORES = os.cpu_count()
VALUE_SIZE = 256
LOAD_SECONDS_MAX = 1800


@dataclasses.dataclass
class Node:
    name: str
    endpoint: str
    command: list
    data: str
    process: subprocess.Popen = None


def endpoints(nodes):
    return ",".join(node.endpoint for node in nodes)


class System:
    """A cluster of one kind. What differs between the kinds is in the subclasses."""

    name = ""
    configuration = ""  # how it was set up, for the report
    lacks = {}  # points that it has nothing for, and why

    def __init__(self, processes, ports):
        self.processes = processes
        self.ports = ports
        self.nodes = []
        self.log = None

    # What a subclass says

    def make_nodes(self, directory):
        """Prepares the nodes' directories and returns the nodes, not started yet."""
        raise NotImplementedError

    def form(self):
        """What it takes, once the nodes run, that they are a cluster."""

    def leaders(self):
        """The nodes that hold themselves for the leader: more than one for a while where one was silent and goes on."""
        raise NotImplementedError

    def serves(self, node, is_linearizable):
        """Whether the node answers a read just now."""
        raise NotImplementedError

    def load_command(self, mode, read_level):
        """The load program with mode and endpoints; the further flags are the same for all systems."""
        raise NotImplementedError

    def probe_command(self, node):
        """A program that writes through the node, one write after the other, and prints when each began and was answered."""
        raise NotImplementedError

    def snapshot_command(self, file):
        """A command that saves a snapshot of the whole state into the file."""
        raise NotImplementedError

    # Life of the nodes

    def start(self, directory):
        os.makedirs(directory)
        self.log = open(os.path.join(directory, "log"), "ab")
        self.nodes = self.make_nodes(directory)
        for node in self.nodes:
            self.launch(node)
        self.form()
        self.wait_until_whole()

    def launch(self, node):
        node.process = self.processes.start(node.command, self.log)

    def kill(self, *nodes):
        for node in nodes:
            node.process.kill()
        for node in nodes:
            self.processes.end(node.process)

    def pause(self, node):
        """Returns when not one of its threads runs any more."""
        node.process.send_signal(signal.SIGSTOP)
        self.wait_until(lambda: is_stopped(node.process.pid), "end of the leader's threads")

    def resume(self, node):
        node.process.send_signal(signal.SIGCONT)

    def run(self, command):
        """Runs a command of this system to its end."""
        process = self.processes.start(command, self.log)
        process.wait()
        self.processes.end(process)
        self.check(process, command)

    def check(self, process, command):
        if process.returncode != 0:
            raise Failure(f"{' '.join(command)}: exit code {process.returncode}; see {self.log.name}")

    def stop(self):
        for node in self.nodes:
            self.processes.end(node.process, signal.SIGTERM)
        self.log.close()

    def remove_data(self):
        """Leaves the log."""
        for node in self.nodes:
            shutil.rmtree(node.data)

    def wait_until(self, holds, what, limit=120):
        """Asks until it holds; the seconds that it took."""
        since = time.monotonic()
        while not holds():
            if time.monotonic() - since > limit:
                raise Failure(f"{self.name}: no {what} within {limit} s; see {self.log.name}")
            time.sleep(0.002)
        return time.monotonic() - since

    def wait_for_leader(self):
        found = []

        def is_one():
            found[:] = self.leaders()
            return len(found) == 1

        self.wait_until(is_one, "leader")
        return found[0]

    def targets(self, read_level):
        """The nodes that clients are best connected to, for systems whose clients do not choose: the leader, which saves
        forwarding, but all for stale reads."""
        nodes = self.nodes if read_level == "stale" else [self.wait_for_leader()]
        return endpoints(nodes)

    def wait_until_whole(self):
        """One leader, and every node answers."""
        self.wait_until(
            lambda: len(self.leaders()) == 1 and all(self.serves(node, True) for node in self.nodes), "whole cluster"
        )

    # Load

    def begin_load(self, mode, read_level="linearizable", **flags):
        """Starts the load program; `Load.figures()` waits for it."""
        command = self.load_command(mode, read_level)
        for flag, value in {"value_size": VALUE_SIZE, **flags}.items():
            command += [f"--{flag.replace('_', '-')}", str(value)]
        return Load(self, command, self.log)

    def load(self, mode, read_level="linearizable", **flags):
        return self.begin_load(mode, read_level, **flags).figures()

    # What is measured from outside

    def cpu_seconds(self):
        return sum(cpu_seconds(node.process.pid) for node in self.nodes)

    def resident_bytes(self):
        return [resident_bytes(node.process.pid) for node in self.nodes]

    def disk_bytes(self):
        return [disk_bytes(node.data) for node in self.nodes]


class Load:
    """One run of a load program: its own figures, and what it cost the nodes and the machine."""

    def __init__(self, system, command, log):
        self._system = system
        self._command = command
        self._nodes_before, self._ended_before = system.cpu_seconds(), ended_cpu_seconds()
        self._began = time.monotonic()
        self._process = system.processes.start(command, log, stdout=subprocess.PIPE)

    def is_running(self):
        return self._process.poll() is None

    def figures(self):
        try:
            output, _ = self._process.communicate(timeout=LOAD_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            raise Failure(f"{' '.join(self._command)}: not over after {LOAD_SECONDS_MAX} s") from None
        elapsed = time.monotonic() - self._began
        self._system.processes.end(self._process)
        self._system.check(self._process, self._command)
        found = json.loads(output)
        nodes = self._system.cpu_seconds() - self._nodes_before
        generator = ended_cpu_seconds() - self._ended_before
        figures = {key: found[key] for key in ("operations", "seconds", "operationsPerSecond", "errors", "latencyMicros")}
        # quorate bench counts them by their code.
        if isinstance(found["errors"], dict):
            figures["errors"] = sum(found["errors"].values())
        figures["serverCPUMicrosPerOperation"] = round(nodes / max(1, found["operations"]) * 1e6, 2)
        figures["generatorShareOfMachine"] = round(generator / elapsed / CORES, 3)
        figures["serversShareOfMachine"] = round(nodes / elapsed / CORES, 3)
        return figures


class Probe:
    """Writes through one node, and hears when each write began and was answered."""

    def __init__(self, system, node):
        self._system = system
        self._process = system.processes.start(system.probe_command(node), system.log, stdout=subprocess.PIPE)
        self._answers = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            # The last one may be cut: the probe is killed.
            if line.endswith(b"\n"):
                began, answered = line.split()
                self._answers.append((int(began) / 1e9, int(answered) / 1e9))

    def answers(self):
        """When each write that was acknowledged began and when it was, in seconds of the wall clock."""
        return list(self._answers)

    def end(self):
        self._system.processes.end(self._process)
        self._reader.join()
