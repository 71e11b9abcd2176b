"""Draws the plots of a comparison: plots.py RESULTS.json DIRECTORY. Runs with a Python that has matplotlib."""

import json
import os
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

COLOURS = {"etcd": "#4c78a8", "ZooKeeper": "#e6842a", "Quorate": "#2f8f4e"}
RATES = ["writes", "writes-64", "reads", "stale-reads", "watch", "keep-alive"]


def value(figures, path):
    for key in path.split("."):
        figures = figures.get(key, {})
    return figures or None


def label_of(number):
    if number is None:
        return "–"
    return f"{number:,.0f}" if number >= 100 else f"{number:.2g}"


def bars(medians, title, unit, groups):
    """A group of bars, one a system, for each of `groups`: label → (point, path of the figure, scale). None without any."""
    found = {
        label: {system: number * scale for system, of in medians.items() if (number := value(of.get(point, {}), path))}
        for label, (point, path, scale) in groups.items()
    }
    found = {label: numbers for label, numbers in found.items() if numbers}
    if not found:
        return None
    figure, axes = plt.subplots(figsize=(1.8 + 1.5 * len(found), 3.6), layout="constrained")
    width = 0.8 / len(medians)
    for place, system in enumerate(medians):
        at = [group + (place - (len(medians) - 1) / 2) * width for group in range(len(found))]
        drawn = axes.bar(at, [numbers.get(system, 0) for numbers in found.values()], width, label=system, color=COLOURS[system])
        axes.bar_label(drawn, [label_of(numbers.get(system)) for numbers in found.values()], fontsize=6)
    axes.set_xticks(range(len(found)), found)
    axes.set_ylabel(unit)
    axes.set_title(title)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7)
    return figure


def latencies(medians):
    points = [point for point in ("write-one", "writes-64", "writes", "reads") if any(point in of for of in medians.values())]
    if not points:
        return None
    figure, places = plt.subplots(1, len(points), figsize=(1 + 2.8 * len(points), 3.4), layout="constrained", squeeze=False)
    for axes, point in zip(places[0], points):
        for system, of in medians.items():
            if point in of:
                found = of[point]["latencyMicros"]
                names = ["p50", "p90", "p99", "p999"]
                axes.plot(names, [found[name] / 1000 for name in names], marker="o", label=system, color=COLOURS[system])
        axes.set_yscale("log")
        axes.set_title(point)
        axes.spines[["top", "right"]].set_visible(False)
    places[0][0].set_ylabel("latency, ms")
    places[0][-1].legend(frameon=False, fontsize=7)
    return figure


def main(path, directory):
    with open(path) as file:
        medians = json.load(file)["medians"]
    plots = {
        "throughput": bars(medians, "operations a second", "1/s", {p: (p, "operationsPerSecond", 1) for p in RATES}),
        "latency": latencies(medians),
        "cpu": bars(
            medians, "CPU of all three servers", "µs an operation",
            {p: (p, "serverCPUMicrosPerOperation", 1) for p in ("writes", "reads", "stale-reads")},
        ),
        "memory": bars(
            medians, "a node with all keys", "MiB",
            {"resident": ("size", "residentBytes", 2**-20), "disk": ("size", "diskBytes", 2**-20)},
        ),
        "recovery": bars(
            medians, "SIGKILL → serving, with all keys", "s",
            {"one node": ("restart", "oneSeconds", 1), "all nodes": ("restart", "allSeconds", 1)},
        ),
        "failover": bars(
            medians, "loss of the leader → next write", "s",
            {p: (p, "recoverySeconds", 1) for p in ("failover", "failover-loaded", "silent-leader")},
        ),
    }
    for name, figure in plots.items():
        if figure:
            figure.savefig(os.path.join(directory, f"{name}.svg"))


if __name__ == "__main__":
    main(*sys.argv[1:])
