"""What Quorate costs as the work grows: each curve measures the same at several settings of one thing.

A setting may need a cluster of its own; the others of a curve are measured on one cluster, in order."""

import dataclasses
import os
import time
from typing import Callable

import points
import report
from points import MANY, ONE, Run
from processes import Failure
from rounds import brief, watched
from table import DISK, P50, P99, Figure

WATCH_EVENTS = 20_000  # a second, over all watchers, where their latency is measured
KEPT_ALIVE_EVERY = 10 / 3  # seconds: a third of the timeout of `quorate bench session`
CONNECTIONS_MAX = 12_000  # more than the default, which would refuse the last of them

RATE = Figure("operationsPerSecond", "operations/s")
CPU = Figure("serverCPUMicrosPerOperation", "µs of CPU each", digits=1)
RESIDENT = Figure("residentBytes", "MiB resident", 2**-20)
EVENT_P99 = Figure("latencyAtFixedRate.p99", "ms p99", 1e-3, 1)
P999 = Figure("latencyMicros.p999", "ms p99.9", 1e-3, 1)
DUE = Figure("rate", "/s due")
LOAD_SECONDS = Figure("loadSeconds", "s to load", digits=1)
READS = Figure("readsPerSecond", "reads/s")
RESTART = Figure("oneSeconds", "s to restart", digits=2)
BYTES_RATE = Figure("bytesPerSecond", "MB/s", 1e-6)
BESIDE_P50 = Figure("oneClient.p50", "ms p50 of one client", 1e-3, 2)
BESIDE_P99 = Figure("oneClient.p99", "ms p99 of one client", 1e-3, 2)


@dataclasses.dataclass(frozen=True)
class Curve:
    title: str
    settings: tuple
    measure: Callable[[Run, object], dict]
    # Figures, in the order of the columns.
    shown: tuple
    # Setting → what its cluster is made with; without it all settings share one with its defaults.
    cluster: Callable[[object], dict] = None


def with_memory(run, figures):
    resident = run.system.resident_bytes()
    return {**figures, "residentBytes": max(resident), "residentBytesEach": resident}


def writes(run, _setting):
    return with_memory(run, run.load("write", **MANY))


def values(run, size):
    figures = run.load("write", value_size=size, **MANY)
    return {**figures, "bytesPerSecond": figures["operationsPerSecond"] * size}


def connections(run, count):
    return with_memory(run, run.load("write", connections=count, in_flight=1))


def idle(run, count):
    """Writes of one client while so many sessions, each over a connection of its own to one of the nodes, are kept alive."""
    before = run.system.resident_bytes()
    beside = run.system.begin_load(
        "session", sessions=count, connections=count, in_flight=1, rate=max(1, round(count / KEPT_ALIVE_EVERY)),
        seconds=3 * run.seconds, ttl="10s", target="all",
    )
    time.sleep(run.seconds)  # until all are open
    figures = run.system.load("write", keys=run.few_keys(), seconds=run.seconds, **ONE)
    resident = run.system.resident_bytes()
    kept = beside.figures()
    return {
        **kept, "oneClient": figures["latencyMicros"], "residentBytes": max(resident), "residentBytesEach": resident,
        "residentBytesBefore": before,
    }


def watchers(run, count):
    most = run.load("watch", watchers=count, connections=1, in_flight=10)
    rate = max(1, WATCH_EVENTS // count)
    paced = run.system.load("watch", watchers=count, connections=1, rate=rate, keys=run.few_keys(), seconds=run.seconds)
    return with_memory(run, {**most, "latencyAtFixedRate": paced["latencyMicros"], "changesPerSecondAtFixedRate": rate})


def keys(run, count):
    run = dataclasses.replace(run, keys=count)
    loaded = points.load(run)
    size = points.size(run)
    reads = run.load("read", keys=count, **MANY)
    written = run.load("write", keys=count, **MANY)
    restart = points.restart(run)
    return {
        **written, **size, **restart, "loadSeconds": loaded["seconds"], "readsPerSecond": reads["operationsPerSecond"],
        "readLatencyMicros": reads["latencyMicros"],
    }


class Share:
    """Open loop at a share of what the closed loop gave, which is measured first and anew in each round."""

    def __init__(self):
        self._most = {}

    def __call__(self, run, percent):
        if run.directory not in self._most:
            self._most = {run.directory: run.load("write", **MANY)["operationsPerSecond"]}
        rate = max(1, round(self._most[run.directory] * percent / 100))
        return {**run.load("write", rate=rate, **MANY), "rate": rate}


def many_connections(_count):
    most = str(CONNECTIONS_MAX)
    return {"serve_flags": ["--connections-max", most, "--connections-per-address", most]}


CURVES = {
    "nodes": Curve("nodes", (1, 3, 5), writes, (RATE, CPU, P50, P99), lambda count: {"node_count": count}),
    "engine": Curve(
        "engine", ("rocksdb", "memory"), writes, (RATE, CPU, P50, P99, RESIDENT), lambda name: {"serve_flags": ["--engine", name]}
    ),
    "tls": Curve(
        "TLS", ("without", "with"), writes, (RATE, CPU, P50, P99),
        lambda setting: {"uses_tls": setting == "with"},
    ),
    "values": Curve("bytes of a value", (64, 256, 1024, 4096, 16384, 65536), values, (RATE, BYTES_RATE, CPU, P50, P99)),
    "load": Curve("percent of the closed loop's rate", (25, 50, 75, 90), Share(), (DUE, RATE, P50, P99, P999)),
    "connections": Curve(
        "connections, each with one write under way", (1, 10, 100, 1000, 10_000), connections, (RATE, CPU, P50, P99, RESIDENT),
        many_connections,
    ),
    "idle": Curve(
        "connections with a session that is kept alive", (10, 1000, 10_000), idle,
        (RATE, CPU, BESIDE_P50, BESIDE_P99, RESIDENT), many_connections,
    ),
    "watchers": Curve(
        "watchers of one key", (1, 10, 100, 1000, 10_000), watchers, (RATE, CPU, EVENT_P99, RESIDENT), lambda _: {}
    ),
    "keys": Curve(
        "keys", (10_000, 1_000_000, 10_000_000), keys, (LOAD_SECONDS, RATE, CPU, P99, READS, RESIDENT, DISK, RESTART), lambda _: {}
    ),
}


@dataclasses.dataclass(frozen=True)
class Bound:
    """What is asked of a setting of a curve: of its figure, or of so many times that of another setting."""

    curve: str
    setting: object
    figure: Figure
    bound: float
    at_least: bool = False
    base: object = None

    def text(self):
        sign = "≥" if self.at_least else "≤"
        what = f"{self.figure.unit} of {CURVES[self.curve].title} {self.setting}"
        return f"{what} {sign} {self.bound:.2g}" + ("" if self.base is None else f" × that of {self.base}")

    def judged(self, by_setting):
        """Value and verdict; None where a setting was not measured."""
        wanted = [setting for setting in (self.setting, self.base) if setting is not None]
        if any(setting not in by_setting for setting in wanted):
            return None
        found = [self.figure.value(by_setting[setting]) for setting in wanted]
        value = found[0] if self.base is None else found[0] / found[1]
        is_met = value >= self.bound if self.at_least else value <= self.bound
        return {"bound": self.text(), "value": value, "verdict": "met" if is_met else "missed"}


BOUNDS = (
    Bound("nodes", 5, RATE, 0.6, at_least=True, base=3),
    Bound("engine", "rocksdb", RATE, 1 / 1.5, at_least=True, base="memory"),
    Bound("tls", "with", RATE, 0.7, at_least=True, base="without"),
    Bound("load", 50, P99, 5),
    Bound("keys", 10_000_000, RESTART, 0.3),
)



def judge(medians):
    """The bounds whose settings were measured, with value and verdict."""
    return [found for bound in BOUNDS if (found := bound.judged(medians.get(bound.curve, {})))]


def markdown(results):
    sizes = results["sizes"]
    lines = [
        f"# Curves of {results['date'][:10]}", "",
        f"{report.machine_line(results['machine'])}; {results['version']}. Rounds: {results['rounds']}; {sizes['seconds']:g} s a "
        "measurement; 100 connections × 10 in flight and 256-byte values but where it says otherwise.", "",
        "| asked | value | verdict |", "|---|---|---|",
        *(f"| {bound['bound']} | {bound['value']:.3g} | {bound['verdict']} |" for bound in results["bounds"]),
    ]
    for name, by_setting in results["medians"].items():
        curve = CURVES[name]
        lines += ["", f"| {curve.title} | " + " | ".join(figure.unit for figure in curve.shown) + " |"]
        lines.append("|---" * (1 + len(curve.shown)) + "|")
        for setting, figures in by_setting.items():
            cells = [f"{setting:,}" if isinstance(setting, int) else setting]
            cells += [figure.number(figure.value(figures)) for figure in curve.shown]
            lines.append("| " + " | ".join(cells) + (" (disturbed) |" if figures["isDisturbed"] else " |"))
    lines += report.failure_lines(results)
    return "\n".join(lines) + "\n"


def measure(make, chosen, rounds, sizes, directory, say):
    """Figures by curve and setting, a list of all rounds; and what failed. `make` makes a cluster."""
    found, failures = {name: {} for name in chosen}, []
    for number in range(1, rounds + 1):
        for name in chosen:
            curve = CURVES[name]
            settings = [setting for setting in curve.settings if name != "keys" or setting <= sizes["keys"]]
            for group in [[setting] for setting in settings] if curve.cluster else [settings]:
                say(f"round {number}, {name} {', '.join(map(str, group))}")
                options = curve.cluster(group[0]) if curve.cluster else {}
                run = Run(make(**options), os.path.join(directory, f"{number}-{name}-{group[0]}"), **sizes)
                try:
                    measure_group(run, curve, group, found[name], say)
                except (Failure, OSError) as failure:
                    say(f"FAILED: {failure}")
                    failures.append(f"round {number}, {name}: {failure}")
                    run.system.processes.end_all()
    return found, failures


def measure_group(run, curve, group, found, say):
    run.system.start(run.directory)
    run.system.load("import", keys=run.few_keys(), **points.LOADING)
    for setting in group:
        figures = watched(run, lambda run: curve.measure(run, setting))
        say(f"   {setting}: {brief(figures)}")
        found.setdefault(setting, []).append(figures)
    run.system.stop()
    run.system.remove_data()
