"""The rows of the comparison: what is shown of each point, what the goal is, and whether it is met."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Figure:
    """One number of a point's figures, and how it is written."""

    path: str
    unit: str
    scale: float = 1
    digits: int = 0

    def value(self, figures):
        for key in self.path.split("."):
            figures = figures[key]
        return figures * self.scale

    def number(self, value):
        return f"{value:,.{self.digits}f}"

    def text(self, value):
        return f"{self.number(value)} {self.unit}"


RATE = Figure("operationsPerSecond", "/s")
CPU = Figure("serverCPUMicrosPerOperation", "µs", digits=1)
P50 = Figure("latencyMicros.p50", "ms p50", 1e-3, 2)
P99 = Figure("latencyMicros.p99", "ms p99", 1e-3, 2)
SECONDS = Figure("seconds", "s", digits=1)
RECOVERY = Figure("recoverySeconds", "s", digits=2)
ONE_RESTART = Figure("oneSeconds", "s one", digits=2)
ALL_RESTART = Figure("allSeconds", "s all", digits=2)
RESIDENT = Figure("residentBytes", "MiB", 2**-20)
DISK = Figure("diskBytes", "MB", 1e-6)
SAVE = Figure("saveSeconds", "s", digits=1)
TAIL = Figure("p999During", "ms p99.9", 1e-3, 1)
TAIL_RATIO = Figure("p999Ratio", "× before and after", digits=1)


@dataclasses.dataclass(frozen=True)
class Goal:
    """A bound for Quorate's figure: absolute, or so many times that of another system."""

    figure: Figure
    bound: float
    at_least: bool = False
    times: str = ""

    def text(self):
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.bound:g} × {self.times}" if self.times else f"{sign} {self.bound:g} {self.figure.unit}"

    def is_met(self, by_system):
        """None where a figure is missing."""
        if "Quorate" not in by_system or self.times and self.times not in by_system:
            return None
        bound = self.bound * (self.figure.value(by_system[self.times]) if self.times else 1)
        value = self.figure.value(by_system["Quorate"])
        return value >= bound if self.at_least else value <= bound


@dataclasses.dataclass(frozen=True)
class Row:
    title: str
    point: str
    shown: tuple
    goals: tuple


def times(bound, system):
    return Goal(RATE, bound, at_least=True, times=system)


ROWS = (
    Row("writes, 100 connections × 10 in flight", "writes", (RATE,), (times(7, "etcd"), times(9, "ZooKeeper"))),
    Row("CPU of all three servers per write", "writes", (CPU,), (Goal(CPU, 15),)),
    Row("writes, 64 clients × 1", "writes-64", (RATE, P99), (times(7, "etcd"), Goal(P99, 3))),
    Row("write latency, one client", "write-one", (P50, P99), (Goal(P50, 0.33), Goal(P99, 0.55))),
    Row("linearizable reads, 100 × 10", "reads", (RATE,), (times(6, "etcd"),)),
    Row("stale reads, 100 × 10", "stale-reads", (RATE,), (times(6, "etcd"),)),
    Row("watch events delivered, 1,000 watchers of one key", "watch", (RATE,), (times(4, "etcd"),)),
    Row("session or lease keep-alives", "keep-alive", (RATE,), (times(10, "etcd"),)),
    Row("load of all keys", "load", (SECONDS,), (Goal(SECONDS, 20),)),
    Row("restart with all keys, SIGKILL → serving", "restart", (ONE_RESTART, ALL_RESTART), (Goal(ONE_RESTART, 0.3),)),
    Row("resident memory per node, all keys", "size", (RESIDENT,), (Goal(RESIDENT, 150),)),
    Row("disk per node, all keys", "size", (DISK,), (Goal(DISK, 450),)),
    Row("leader SIGKILL → next acknowledged write", "failover", (RECOVERY,), (Goal(RECOVERY, 0.2),)),
    Row("the same with all keys", "failover-loaded", (RECOVERY,), (Goal(RECOVERY, 0.2),)),
    Row("leader silent (SIGSTOP) → next acknowledged write", "silent-leader", (RECOVERY,), (Goal(RECOVERY, 2.5),)),
    Row("snapshot save, all keys", "snapshot", (SAVE, TAIL), (Goal(SAVE, 1), Goal(TAIL_RATIO, 2))),
)


def judge(medians, lacks):
    """The rows with figures, ratios and verdicts, as they go into the results. `lacks` says what a system has nothing for."""
    return [judged(row, {system: of[row.point] for system, of in medians.items() if row.point in of}, lacks)
            for row in ROWS if any(row.point in of for of in medians.values())]


def judged(row, by_system, lacks):
    met = [goal.is_met(by_system) for goal in row.goals]
    verdict = "not measured" if None in met else "met" if all(met) else "missed"
    shown = [*row.shown, *(goal.figure for goal in row.goals if goal.figure not in row.shown)]
    cells = {}
    for system in lacks:
        if system in by_system:
            mark = " (disturbed)" if by_system[system]["isDisturbed"] else ""
            cells[system] = ", ".join(figure.text(figure.value(by_system[system])) for figure in shown) + mark
        else:
            cells[system] = "–"
    return {
        "row": row.title, "point": row.point, "goal": ", ".join(goal.text() for goal in row.goals), "figures": cells,
        "ratio": ratios(row.shown[0], by_system), "verdict": verdict,
    }


def ratios(figure, by_system):
    """Quorate's first figure as so many times that of each other system."""
    if "Quorate" not in by_system:
        return {}
    own = figure.value(by_system["Quorate"])
    others = {system: figure.value(figures) for system, figures in by_system.items() if system != "Quorate"}
    return {system: own / value for system, value in others.items() if value}
