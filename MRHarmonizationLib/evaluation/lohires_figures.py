"""Figures of the low- to high-field protocol: scores of subjects, agreement of volumes, one case by all methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.brain_regions import REGION_BY_NUMBER
from MRHarmonizationLib.evaluation.agreement import bland_altman_figure
from MRHarmonizationLib.evaluation.figures import display_window, planes_figure
from MRHarmonizationLib.evaluation.laboratory_figures import new_figure, png
from MRHarmonizationLib.evaluation.lohires_cases import BASELINE, ProtocolKey, prepared_scan
from MRHarmonizationLib.evaluation.lohires_methods import FOUNDATION, NETWORK, TRUTH, Contest
from MRHarmonizationLib.evaluation.lohires_protocol import LohiresProtocol
from MRHarmonizationLib.evaluation.lohires_regions import volumes_of
from MRHarmonizationLib.evaluation.lohires_rows import image_path
from MRHarmonizationLib.evaluation.lohires_tables import TESTED, subject_means
from MRHarmonizationLib.evaluation.lowfield_protocol import Case
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.resampling import resample

Row = Mapping[str, Any]
#: Images beside each other in one picture.
COLUMNS = 5
#: Colours by kind (Okabe & Ito).
COLOURS = {"classical": "#8c8c8c", FOUNDATION: "#0072b2", NETWORK: "#d55e00", "reference": "#009e73"}
CUBIC_MM_PER_ML = 1000.0


def score_figure(rows: Sequence[Row], group: str) -> bytes:
    """Draw mean and standard deviation over subjects per method and score, every subject a dot, as PNG bytes.

    Parameters
    ----------
    rows : sequence of mapping
        From ``evaluate_method``, of one group.
    group : str
        For the title.
    """
    kinds = {row["method"]: row["kind"] for row in rows}
    figure = new_figure(3.1 * len(TESTED), 0.3 * len(kinds) + 1.3)
    panels = figure.subplots(1, len(TESTED), sharey=True, squeeze=False)[0]
    for axes, (column, (title, _, higher)) in zip(panels, TESTED.items(), strict=True):
        means = subject_means(rows, column)
        for place, (name, kind) in enumerate(kinds.items()):
            values = np.array(list(means.get(name, {}).values()))
            if values.size == 0:
                continue
            colour = COLOURS[kind]
            spread = float(values.std(ddof=1)) if values.size > 1 else 0.0
            axes.errorbar(values.mean(), place, xerr=spread, fmt="|", color=colour, markersize=13, linewidth=1.4)
            axes.plot(values, np.full(values.size, place), "o", color=colour, markersize=3, alpha=0.7)
        axes.set_title(f"{title} ({'higher' if higher else 'lower'} is better)", fontsize=9)
        axes.set_yticks(range(len(kinds)), list(kinds), fontsize=8)
        axes.tick_params(axis="x", labelsize=8)
        axes.set_ylim(len(kinds) - 0.4, -0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(group, fontsize=10)
    return png(figure)


def agreement_figures(rows: Sequence[Row], protocol: LohiresProtocol, entered: Contest) -> list[tuple[str, str, bytes]]:
    """Draw Bland–Altman figures of the plotted structures, the low-field image and the proposed network.

    Returns
    -------
    list of (file stem, caption, PNG)
        One dot per scan. The foundation's model stands for the network where that is not installed.
    """
    wanted = protocol.model_of(protocol.proposed)
    present = {row["method"] for row in rows}
    shown = [wanted] if wanted in present else [n for n in entered.of_kind(NETWORK, FOUNDATION) if n in present][-1:]
    found = []
    volumes = {(row["case"], row["method"]): volumes_of(row) for row in rows}
    cases = [case for case, method in volumes if method == TRUTH]
    for region_number in protocol.plotted_regions:
        region = REGION_BY_NUMBER[region_number]
        for method in (BASELINE, *shown):
            pairs = [
                (volumes[case, TRUTH][region_number], volumes[case, method][region_number])
                for case in cases
                if (case, method) in volumes
            ]
            if len(pairs) < 2:
                continue
            true, mine = (np.array(column) / CUBIC_MM_PER_ML for column in zip(*pairs, strict=True))
            picture = bland_altman_figure(true, mine, region.name, "ml", ("truth", method))
            caption = f"{region.name}: {method} against the truth, one dot per scan"
            found.append((f"volumes-{region_number}-{method}", caption, picture))
    return found


def montage_figures(
    case: Case, protocol: LohiresProtocol, data: str, out: Path, entered: Contest
) -> list[tuple[str, str, bytes]]:
    """Draw one kept case by all methods, five images in a picture, the truth last in each.

    Returns
    -------
    list of (file stem, caption, PNG)
    """
    prepared = prepared_scan(case, ProtocolKey(protocol), data)
    truth, mask = prepared.subject.truth, prepared.subject.mask
    names = [m.name for m in entered.methods if m.name != TRUTH and image_path(out, case.id, m.name).is_file()]
    images = [("acquired", resample(prepared.scan, truth.grid, "nearest"))]
    images += [(name, read_volume(image_path(out, case.id, name))) for name in names]
    window = display_window(truth, mask)
    found = []
    for start in range(0, len(images), COLUMNS - 1):
        part = [*images[start : start + COLUMNS - 1], (TRUTH, truth)]
        caption = f"{case.id}: {', '.join(name for name, _ in part)}"
        found.append((f"{case.id}-{start // (COLUMNS - 1) + 1}", caption, planes_figure(part, window, mask)))
    return found
