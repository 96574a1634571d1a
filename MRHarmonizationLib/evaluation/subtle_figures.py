"""Figures of the specialists' protocol: SSIM of two trainings against each other, and boxes of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from MRHarmonizationLib.evaluation.agreement import bland_altman_figure
from MRHarmonizationLib.evaluation.laboratory_figures import COLOURS, new_figure, png
from MRHarmonizationLib.evaluation.subtle_protocol import DETAIL, NOISE, TRAININGS, SubtleProtocol
from MRHarmonizationLib.evaluation.subtle_tables import AGREED, of_task, slice_pairs, values_of

Figure = tuple[str, str, bytes]
#: What a task is called in captions.
TASK_NAMES = {NOISE: "denoising", DETAIL: "super-resolution"}


def agreement_figures(rows: Sequence[Mapping[str, Any]], protocol: SubtleProtocol) -> list[Figure]:
    """Return, for every two trainings of each task, a scatter of SSIM and its Bland–Altman plot: stem, caption, PNG."""
    figures = []
    for task in (NOISE, DETAIL):
        for first, second in AGREED:
            pairs = slice_pairs(of_task(rows, protocol, task), first, second, "ssim")
            if sum(len(values) for values in pairs.values()) < 2:
                continue
            what = f"SSIM of {TASK_NAMES[task]}, {first}- and {second}-trained"
            figures.append((f"scatter-{task}-{second}", f"{what}: one dot per slice", _scatter(pairs, first, second)))
            whole = np.concatenate(list(pairs.values()))
            drawn = bland_altman_figure(whole[:, 0], whole[:, 1], "SSIM", names=(first, second))
            figures.append((f"bland-altman-{task}-{second}", f"{what}: Bland–Altman, intervals over slices", drawn))
    return figures


def _scatter(pairs: Mapping[str, np.ndarray], first: str, second: str) -> bytes:
    figure = new_figure(4.6, 4.2)
    axes = figure.add_subplot()
    for number, (person, values) in enumerate(pairs.items()):
        colour = COLOURS[number % len(COLOURS)]
        axes.scatter(values[:, 0], values[:, 1], s=10, color=colour, alpha=0.7, label=person.rsplit("/", 1)[-1])
    whole = np.concatenate(list(pairs.values()))
    ends = [float(whole.min()), float(whole.max())]
    axes.plot(ends, ends, color="#2b2b2b", linewidth=1.0)
    axes.set_xlabel(f"SSIM, {first}-trained")
    axes.set_ylabel(f"SSIM, {second}-trained")
    axes.legend(fontsize=7, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def box_figures(rows: Sequence[Mapping[str, Any]], protocol: SubtleProtocol) -> list[Figure]:
    """Return, for each task and no-reference score, boxes of the trainings over slices: stem, caption, PNG."""
    figures = []
    for task in (NOISE, DETAIL):
        mine = of_task(rows, protocol, task)
        for score, better in (("piqe", "lower"), ("maniqa", "higher")):
            found = {
                name: list(values_of([row for row in mine if row["method"] == name], score).values())
                for name in ("input", "cubic", *TRAININGS)
            }
            found = {name: values for name, values in found.items() if values}
            if not set(found) & set(TRAININGS):
                continue
            caption = f"{score.upper()} of {TASK_NAMES[task]}, over slices ({better} is better)"
            figures.append((f"{score}-{task}", caption, _boxes(found, score.upper())))
    return figures


def _boxes(found: Mapping[str, Sequence[float]], label: str) -> bytes:
    figure = new_figure(1.0 + 0.9 * len(found), 3.4)
    axes = figure.add_subplot()
    places = list(range(1, len(found) + 1))
    axes.boxplot(list(found.values()), positions=places, widths=0.55, showfliers=False)
    axes.set_xticks(places, list(found), fontsize=8)
    axes.set_ylabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)
