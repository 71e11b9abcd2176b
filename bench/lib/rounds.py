"""Rounds: each system in turn, again and again, so that what changes on the machine meanwhile meets all of them alike."""

import os
import statistics
import time

import points
from processes import Failure, machine_cpu_seconds

OTHERS_MAX = 0.2  # processors that others may take before a measurement counts as disturbed


def measure(systems, chosen, rounds, sizes, directory, say):
    """Figures by system, point and round; and what failed. `systems` are functions that make one; `sizes` are seconds and keys
    of a `Run`. A stage of a system that fails ends there, and everything else goes on."""
    found, failures = {name: {} for name in systems}, []
    for number in range(1, rounds + 1):
        for label, stage in (("few", points.FIRST_STAGE), ("all", points.SECOND_STAGE)):
            names = [name for name in stage if name in chosen]
            if not names:
                continue
            if stage is points.SECOND_STAGE and "load" not in names:
                names.insert(0, "load")
            for title, make in systems.items():
                say(f"round {number}, {title}, {label} keys")
                run = points.Run(make(), os.path.join(directory, f"{number}-{title}-{label}"), **sizes)
                try:
                    measure_stage(run, stage, names, found[title], say)
                except (Failure, OSError) as failure:
                    say(f"FAILED: {failure}")
                    failures.append(f"round {number}, {title}: {failure}")
                    run.system.processes.end_all()
    return found, failures


def measure_stage(run, stage, names, found, say):
    run.system.start(run.directory)
    if stage is points.FIRST_STAGE:
        run.system.load("import", keys=run.few_keys(), **points.LOADING)
    for name in names:
        if name not in run.system.lacks:
            figures = watched(run, stage[name])
            say(f"   {name}: {brief(figures)}")
            found.setdefault(name, []).append(figures)
    run.system.stop()
    run.system.remove_data()


def watched(run, point):
    """A point's figures, with what others took of the machine while it was measured."""
    processes = run.system.processes
    machine, own, since = machine_cpu_seconds(), processes.cpu_seconds(), time.monotonic()
    figures = point(run)
    others = (machine_cpu_seconds() - machine - processes.cpu_seconds() + own) / (time.monotonic() - since)
    figures["processorsTakenByOthers"] = round(max(0, others), 2)
    figures["isDisturbed"] = others > OTHERS_MAX
    return figures


def brief(figures):
    """The figures that matter, on one line."""
    parts = []
    for name, value in figures.items():
        if name == "latencyMicros":
            parts.append(" ".join(f"{key} {value[key]}" for key in ("p50", "p99", "p999")) + " µs")
        elif name == "isDisturbed":
            parts += ["DISTURBED"] if value else []
        elif isinstance(value, float):
            parts.append(f"{name} {value:,.3f}" if value < 100 else f"{name} {value:,.0f}")
        elif isinstance(value, int):
            parts.append(f"{name} {value:,}")
    return ", ".join(parts)


def medians(found):
    """Of each system and point: medians over the undisturbed rounds, or over all where every one was disturbed."""
    return {
        system: {name: median_of(rounds) for name, rounds in by_point.items()} for system, by_point in found.items()
    }


def median_of(rounds):
    undisturbed = [figures for figures in rounds if not figures["isDisturbed"]]
    counted = undisturbed or rounds
    middle = median_tree(counted)
    middle.update(isDisturbed=not undisturbed, roundsCounted=len(counted), rounds=len(rounds))
    return middle


def median_tree(rounds):
    """The median of every number, at whatever depth; lists, which are details of one round, are left out."""
    middle = {}
    for key, value in rounds[0].items():
        values = [figures[key] for figures in rounds]
        if isinstance(value, dict):
            middle[key] = median_tree(values)
        elif isinstance(value, (int, float)):
            middle[key] = statistics.median(values)
    return middle
