"""Draws curves: plot_curves.py RESULTS.json DIRECTORY. Runs with a Python that has matplotlib."""

import json
import os
import sys

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402
from curves import CURVES  # noqa: E402


def draw(curve, by_setting):
    """A panel for each figure, over the settings: on an axis of powers where they are numbers."""
    figure, places = plt.subplots(
        1, len(curve.shown), figsize=(0.5 + 2.4 * len(curve.shown), 2.9), layout="constrained", squeeze=False
    )
    settings = list(by_setting)
    for axes, shown in zip(places[0], curve.shown):
        values = [shown.value(figures) for figures in by_setting.values()]
        if all(setting.isdigit() for setting in settings):
            axes.plot([int(setting) for setting in settings], values, marker="o", color="#2f8f4e")
            axes.set_xscale("log")
            axes.set_xticks([int(setting) for setting in settings], settings, fontsize=7)
            axes.minorticks_off()
        else:
            axes.bar(settings, values, 0.5, color="#2f8f4e")
        axes.set_ylim(bottom=0)
        axes.set_title(shown.unit, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(curve.title, fontsize=10)
    return figure


def main(path, directory):
    with open(path) as file:
        medians = json.load(file)["medians"]
    for name, by_setting in medians.items():
        if by_setting:
            draw(CURVES[name], by_setting).savefig(os.path.join(directory, f"{name}.svg"))


if __name__ == "__main__":
    main(*sys.argv[1:])
