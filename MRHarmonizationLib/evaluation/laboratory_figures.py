"""Figures of the laboratory as PNG bytes: examples, accuracies, confusion matrices, t-SNE maps."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from MRHarmonizationLib.core.errors import DependencyError
from MRHarmonizationLib.evaluation.laboratory_runs import FROZEN, RAW, RETRAINED, SHUFFLED
from MRHarmonizationLib.evaluation.mixing import MOST_MAPPED, drawn, tsne_embedding
from MRHarmonizationLib.evaluation.probe_slices import fit_set_scale

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from MRHarmonizationLib.evaluation.laboratory import LaboratoryResult

DOTS_PER_INCH = 100
#: Colours that stay apart for colour-blind readers (Okabe & Ito); repeated from the tenth scanner on with other marks.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8a7a00", "#000000", "#7f7f7f")
MARKS = "osv^D"
#: Columns of the figures with one small panel per trial.
COLUMNS = 4


def new_figure(width_inch: float, height_inch: float) -> Figure:
    """Return an empty figure that needs no display; raise DependencyError where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise DependencyError(
            "reports need matplotlib, which is not installed", "run: pip install matplotlib"
        ) from missing
    return Figure(figsize=(width_inch, height_inch), dpi=DOTS_PER_INCH, layout="constrained")


def png(figure: Figure) -> bytes:
    """Return a figure as PNG bytes."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def examples_figure(result: LaboratoryResult) -> bytes:
    """Draw one slice of a test subject: a row per image set, a column per scanner, each set on its own scale."""
    scanners = result.cohort.scanners
    subject = _best_covered(result)
    figure = new_figure(1.5 * len(scanners) + 1.2, 1.55 * len(result.sets) + 0.3)
    grid = figure.subplots(len(result.sets), len(scanners), squeeze=False)
    for row, (name, images) in enumerate(result.sets.items()):
        slices = images.slices
        shown = fit_set_scale(slices.pixels).normalise(slices.pixels)
        for column, scanner in enumerate(scanners):
            axes = grid[row][column]
            mine = np.flatnonzero((slices.subject == subject) & (slices.scanner == column))
            if mine.size:
                plane = shown[mine[result.plan.settings.slices // 2]]
                axes.imshow(plane, cmap="gray", vmin=0, vmax=1, origin="lower")
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 0:
                axes.set_title(scanner, fontsize=9)
            if column == 0:
                axes.set_ylabel(name, fontsize=8)
    return png(figure)


def accuracy_figure(result: LaboratoryResult, probe: str) -> bytes:
    """Draw the accuracy of the frozen and the retrained probe with intervals, beside chance and the controls."""
    names = list(result.sets)
    figure = new_figure(7.0, 0.42 * len(names) + 1.5)
    axes = figure.add_subplot()
    styles = {RAW: ("#2b2b2b", "o"), SHUFFLED: ("#8c8c8c", "s"), FROZEN: ("#56b4e9", "o"), RETRAINED: ("#d55e00", "D")}
    drawn = set()
    for place, name in enumerate(names):
        for mode in (RAW, SHUFFLED) if name == RAW else (FROZEN, RETRAINED):
            row = result.row(name, mode, probe)
            colour, mark = styles[mode]
            level = place + (0.14 if mode in (RETRAINED, SHUFFLED) else -0.14)
            reach = [[row["accuracy"] - row["accuracy_low"]], [row["accuracy_high"] - row["accuracy"]]]
            label = None if mode in drawn else {RAW: "raw", SHUFFLED: "shuffled labels"}.get(mode, mode)
            axes.errorbar(
                row["accuracy"], level, xerr=np.maximum(reach, 0), color=colour, fmt=mark, markersize=5, label=label
            )
            drawn.add(mode)
    chance = result.row(RAW, RAW, probe)["chance"]
    axes.axvline(chance, color="#555555", linestyle="--", linewidth=1)
    axes.annotate("guessing", (chance, -0.75), fontsize=8, color="#555555", ha="left", va="center")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.4, -1.0)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("share of test slices whose scanner is named right (95 % interval over subjects)", fontsize=8)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def confusion_figure(result: LaboratoryResult, probe: str) -> bytes:
    """Draw the confusion matrix of every trial: rows the true scanner, shares of its test slices."""
    trials = _trials(result)
    figure, panels = _panels(len(trials), 2.0, 2.15)
    scanners = result.cohort.scanners
    for axes, (name, mode) in zip(panels, trials, strict=False):
        row = result.row(name, mode, probe)
        counts = np.array(row["confusion"], float)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        if len(scanners) <= 8:
            for (true, said), share in np.ndenumerate(shares):
                colour = "white" if share > 0.55 else "#333333"
                axes.text(said, true, f"{share:.2f}", ha="center", va="center", fontsize=6, color=colour)
        axes.set_xticks(range(len(scanners)), scanners, fontsize=6)
        axes.set_yticks(range(len(scanners)), scanners, fontsize=6)
        axes.set_title(f"{name}\n{mode}, {row['accuracy']:.2f}", fontsize=8)
    figure.supxlabel("named scanner", fontsize=8)
    figure.supylabel("true scanner", fontsize=8)
    return png(figure)


def tsne_figure(result: LaboratoryResult, probe: str) -> bytes:
    """Draw a t-SNE map of each trial's features, one dot per test slice, coloured by scanner."""
    trials = _trials(result)
    figure, panels = _panels(len(trials), 2.3, 2.4)
    scanners = result.cohort.scanners
    for axes, (name, mode) in zip(panels, trials, strict=False):
        trial, row = result.trial(name, mode, probe), result.row(name, mode, probe)
        shown = drawn(len(trial.features), MOST_MAPPED)
        place = tsne_embedding(trial.features[shown], result.plan.settings.seed)
        truth = trial.truth[shown]
        for number, scanner in enumerate(scanners):
            mine = truth == number
            mark, colour = MARKS[number // len(COLOURS) % len(MARKS)], COLOURS[number % len(COLOURS)]
            axes.scatter(*place[mine].T, s=8, color=colour, marker=mark, label=scanner, linewidths=0)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(f"{name}, {mode}\nmixed {row['acceptance']:.2f}", fontsize=8)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(scanners), 8), frameon=False, fontsize=8)
    return png(figure)


def _trials(result: LaboratoryResult) -> list[tuple[str, str]]:
    found = [(RAW, RAW), (RAW, SHUFFLED)]
    return found + [(name, mode) for name in result.sets if name != RAW for mode in (FROZEN, RETRAINED)]


def _panels(count: int, width_inch: float, height_inch: float) -> tuple[Figure, Sequence]:
    rows = math.ceil(count / COLUMNS)
    columns = min(count, COLUMNS)
    figure = new_figure(width_inch * columns, height_inch * rows + 0.4)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, panels


def _best_covered(result: LaboratoryResult) -> str:
    """Return the test subject that was seen on most scanners, the first of equals."""
    seen = {s: len({i.scanner for i in result.cohort.images if i.subject == s}) for s in result.folds[0].test}
    return max(sorted(seen), key=lambda subject: seen[subject])
