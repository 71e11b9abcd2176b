"""What is left of a run: results.json, table.md and plots in a directory of their own."""

import json
import os
import platform
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))


def machine():
    with open("/proc/cpuinfo") as lines:
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "processor": model, "cores": os.cpu_count(), "kernel": platform.release(),
        "memoryBytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def machine_line(on):
    return f"{on['cores']} × {on['processor']}, {on['memoryBytes'] >> 30} GiB, Linux {on['kernel']}"


def write(results, directory, text, plotter, plotting_python, say):
    """Writes them, the text about them, and the plots that `plotter` makes of them."""
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, "results.json")
    with open(path, "w") as file:
        json.dump(results, file, indent=1, ensure_ascii=False)
        file.write("\n")
    with open(os.path.join(directory, "table.md"), "w") as file:
        file.write(text)
    plots = [os.path.join(HERE, plotter), path, directory]
    if not plotting_python or subprocess.run([plotting_python, *plots]).returncode != 0:
        say("no plots")


def markdown(results):
    systems = results["systems"]
    sizes = results["sizes"]
    lines = [
        f"# Comparison of {results['date'][:10]}", "",
        f"{machine_line(results['machine'])}. Rounds: {results['rounds']}; "
        f"{sizes['seconds']:g} s a measurement, {sizes['keys']:,} keys where all are loaded; medians of undisturbed rounds.", "",
        "| | goal | " + " | ".join(systems) + " | Quorate to these | verdict |", "|---|---|" + "---|" * (len(systems) + 2),
    ]
    for row in results["rows"]:
        cells = [row["figures"][system] for system in systems]
        ratio = ", ".join(f"{value:.3g} × {system}" for system, value in row["ratio"].items())
        lines.append("| " + " | ".join([row["row"], row["goal"], *cells, ratio or "–", row["verdict"]]) + " |")
    lines += ["", "How each was set up:", ""]
    for system, about in systems.items():
        lines.append(f"- {system} {about['version']}: {about['configuration']}")
        lines += [f"  Not measured: {point}: {reason}." for point, reason in about["lacks"].items()]
    lines += ["", "What the load programs took of the machine at most, beside the servers:", "", *generator_lines(results)]
    lines += ["", "Disturbed (others took processors; the figures say little) or bound by the load program:", ""]
    lines += doubts(results) or ["- nothing"]
    lines += failure_lines(results)
    lines += ["", "What the machine allows (`bench/floor`):", "", *floor_lines(results)]
    return "\n".join(lines) + "\n"


def failure_lines(results):
    return ["", "Failed:", "", *(f"- {failure}" for failure in results["failures"])] if results["failures"] else []


def generator_lines(results):
    lines = []
    for system, by_point in results["medians"].items():
        shares = {point: figures for point, figures in by_point.items() if "generatorShareOfMachine" in figures}
        if shares:
            point = max(shares, key=lambda name: shares[name]["generatorShareOfMachine"])
            own, servers = shares[point]["generatorShareOfMachine"], shares[point]["serversShareOfMachine"]
            lines.append(f"- {system}: {own:.0%}, its servers {servers:.0%} ({point})")
    return lines


def doubts(results):
    found = []
    for system, by_point in results["medians"].items():
        for point, figures in by_point.items():
            if figures["isDisturbed"]:
                found.append(f"- {system}, {point}: every one of {figures['rounds']} rounds was disturbed")
            elif figures["roundsCounted"] < figures["rounds"]:
                found.append(f"- {system}, {point}: {figures['rounds'] - figures['roundsCounted']} of {figures['rounds']} rounds")
            if figures.get("generatorShareOfMachine", 0) > figures.get("serversShareOfMachine", 1):
                found.append(
                    f"- {system}, {point}: the load program took {figures['generatorShareOfMachine']:.0%} of the machine, the "
                    f"servers {figures['serversShareOfMachine']:.0%}"
                )
    return found


def floor_lines(results):
    floor = results["floor"]
    lines = [f"- {name}: " + ", ".join(f"{key} {value:g}" for key, value in figures.items()) for name, figures in floor.items()]
    least = floor["sync4KPreallocated"]["p50Micros"] + 2 * floor["loopbackRoundTrip"]["p50Micros"]
    for system, by_point in results["medians"].items():
        if "write-one" in by_point:
            share = by_point["write-one"]["latencyMicros"]["p50"] / least
            floor_text = f"the floor of one sync and two round trips, {least:g} µs"
            lines.append(f"- one client's write of {system}: {share:.1f} × {floor_text}")
    return lines
