"""The points that can be measured, and how: the same for every system.

A point is a function of a `Run` that returns its figures. Those of the first stage are measured on a cluster with a few
thousand keys, those of the second on one into which all keys were loaded just before."""

import dataclasses
import os
import statistics
import time

from processes import Failure
from system import Load, Probe, System

MANY = {"connections": 100, "in_flight": 10}
SOME = {"connections": 64, "in_flight": 1}
ONE = {"connections": 1, "in_flight": 1}
LOADING = {"connections": 20, "in_flight": 5}
FEW_KEYS = 10_000
WATCHERS = 1_000
RATE = 2_000  # writes a second while a snapshot is saved: what every system takes easily
FAILURES = 3  # leaders lost at a point; elections are a matter of chance
WINDOW_MAX = 120


@dataclasses.dataclass
class Run:
    """One system, started, and the sizes to measure with."""

    system: System
    directory: str
    seconds: float
    keys: int

    def few_keys(self):
        return min(FEW_KEYS, self.keys)

    def load(self, mode, keys=None, **flags):
        """One load, after a warm-up with the same shape."""
        flags["keys"] = keys or self.few_keys()
        self.system.load(mode, seconds=self.seconds / 2, **flags)
        return self.system.load(mode, seconds=self.seconds, **flags)


def writes(run):
    return run.load("write", **MANY)


def writes_64(run):
    return run.load("write", **SOME)


def write_one(run):
    return run.load("write", **ONE)


def reads(run):
    return run.load("read", **MANY)


def stale_reads(run):
    return run.load("read", read_level="stale", **MANY)


def watch(run):
    return run.load("watch", watchers=WATCHERS, **MANY)


def keep_alive(run):
    return run.load("session", **MANY)


def losing_the_leader(run, lose, recover):
    """How long no write is acknowledged by whichever of the other nodes, after the leader is lost."""
    found = []
    for _ in range(FAILURES):
        leader = run.system.wait_for_leader()
        found.append(outage(run.system, leader, lose))
        recover(leader)
        run.system.wait_until_whole()
    return {"recoverySeconds": statistics.median(found), "recoverySecondsMax": max(found), "recoverySecondsEach": found}


def outage(system, leader, lose):
    """The longest pause between acknowledgements from the loss to the first write that began when it was over for certain."""
    probes = [Probe(system, node) for node in system.nodes if node is not leader]
    system.wait_until(lambda: all(probe.answers() for probe in probes), "write before the leader is lost")
    since = time.time()
    lose(leader)
    lost = time.time()
    system.wait_until(
        lambda: any(began >= lost for probe in probes for began, _ in probe.answers()), "write after the leader was lost"
    )
    for probe in probes:
        probe.end()
    times = sorted(answered for probe in probes for _, answered in probe.answers() if answered > since)
    return max(later - earlier for earlier, later in zip([since, *times], times))


def failover(run):
    return losing_the_leader(run, run.system.kill, run.system.launch)


def silent_leader(run):
    return losing_the_leader(run, run.system.pause, run.system.resume)


def load(run):
    return run.system.load("import", keys=run.keys, **LOADING)


def size(run):
    time.sleep(2)  # what the load has left to flush
    resident, disk = run.system.resident_bytes(), run.system.disk_bytes()
    return {
        "residentBytes": max(resident), "residentBytesEach": resident, "diskBytes": max(disk), "diskBytesEach": disk,
    }


def snapshot(run):
    """Saves snapshots one after the other while writes come in at a fixed rate, and compares these with before and after."""
    file = os.path.join(run.directory, "snapshot")
    shape = {**MANY, "rate": RATE, "keys": run.keys}
    before = run.load("write", **shape)
    saves = []
    # The window is as long as one save at least.
    window = run.seconds
    while True:
        load = run.system.begin_load("write", seconds=window, **shape)
        saves += save_while(run, load, file)
        during = load.figures()
        if saves or window >= WINDOW_MAX:
            break
        window *= 2
    after = run.system.load("write", seconds=run.seconds, **shape)
    if not saves:
        raise Failure(f"{run.system.name}: no snapshot was saved within {WINDOW_MAX} s")
    tails = [figures["latencyMicros"]["p999"] for figures in (before, during, after)]
    return {
        "saveSeconds": statistics.median(saves), "saves": len(saves), "p999Before": tails[0], "p999During": tails[1],
        "p999After": tails[2], "p999Ratio": tails[1] / max(1, min(tails[0], tails[2])),
        "operationsPerSecond": during["operationsPerSecond"], "errors": before["errors"] + during["errors"] + after["errors"],
    }


def save_while(run, load: Load, file):
    """How long each save took that was over before the load was."""
    took = []
    while load.is_running():
        since = time.monotonic()
        run.system.run(run.system.snapshot_command(file))
        if load.is_running():
            took.append(time.monotonic() - since)
        os.remove(file)
    return took


def restart(run):
    """One follower killed and started again, then all nodes: seconds from SIGKILL to a read. The first read is the node's own."""
    system = run.system
    leader = system.wait_for_leader()
    follower = next(node for node in system.nodes if node is not leader)
    one = restart_of(system, [follower], is_linearizable=False)
    system.wait_until_whole()
    return {"oneSeconds": one, "allSeconds": restart_of(system, system.nodes, is_linearizable=True)}


def restart_of(system, nodes, is_linearizable):
    since = time.monotonic()
    system.kill(*nodes)
    for node in nodes:
        system.launch(node)
    system.wait_until(lambda: any(system.serves(node, is_linearizable) for node in nodes), "read after a restart")
    return time.monotonic() - since


FIRST_STAGE = {
    "writes": writes, "writes-64": writes_64, "write-one": write_one, "reads": reads, "stale-reads": stale_reads,
    "watch": watch, "keep-alive": keep_alive, "failover": failover, "silent-leader": silent_leader,
}
SECOND_STAGE = {"load": load, "size": size, "snapshot": snapshot, "failover-loaded": failover, "restart": restart}
NAMES = [*FIRST_STAGE, *SECOND_STAGE]
