"""Lesions under harmonisation: one threshold rule before and after, and the contrast that is left of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.degradations.kspace_contrast import FAMILIES, apply_kspace_contrast
from MRHarmonizationLib.evaluation.cases import rounded
from MRHarmonizationLib.evaluation.contrast_protocol import SEEN, ContrastProtocol
from MRHarmonizationLib.evaluation.contrast_protocol_cases import draw_alteration
from MRHarmonizationLib.evaluation.contrast_protocol_figures import largest_lesion
from MRHarmonizationLib.evaluation.contrast_protocol_methods import CONTROL, Contestant, apply_fitted
from MRHarmonizationLib.evaluation.figures import display_window, planes_figure
from MRHarmonizationLib.evaluation.lesion_overlap import lesion_overlap, overlap_summary
from MRHarmonizationLib.evaluation.splits import role_of
from MRHarmonizationLib.methods.harmonizers import FittedHarmonizer
from MRHarmonizationLib.methods.reference_group import load_group
from MRHarmonizationLib.metrics.base import METRICS, default_data_range
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.volume import Volume

#: Families of the alterations of this check: what changes lesions' contrast is not blamed on the harmoniser.
LESION_FAMILIES = ("bands", "centre", "tone", "bias")
UNALTERED = "unaltered"


def lesion_task(
    protocol: ContrastProtocol, data: str, contrast: str, entries: Sequence[Contestant], picture: str | None = None
) -> list[dict[str, Any]]:
    """Harmonise a scan with lesions as it is and under some alterations, and look at the lesions before and after.

    Parameters
    ----------
    protocol : ContrastProtocol
        Its ``lesions`` name the scans, the mask and the number of alterations.
    data, contrast : str
    entries : sequence of Contestant
    picture : str, optional
        Where to draw the unaltered scan after each method, lesions outlined (PNG).

    Returns
    -------
    list of dict
        One row per method and input: ``dice``: mean overlap of the segmentations before and after, one rule for both
        (see ``lesion_overlap.THRESHOLD_RULE``); ``contrast``: lesions against their ring in shares of the image's own
        range (.5 to 99.5 % of the brain), after over before, so that no unit decides; ``contrast_to_scan``: the same
        over the unaltered scan; ``lost`` of ``visible`` lesions; role of the subject in the split.
    """
    path = protocol.lesions["images"][contrast]
    scan, lesions = (read_volume(Path(data) / f"{name}.nii.gz") for name in (path, protocol.lesions["mask"]))
    scan, lesions = _cropped(scan.with_array(np.maximum(scan.array.astype(np.float32), 0.0)), lesions)
    brain = scan.array > 0
    group = load_group(protocol.reference["groups"][contrast])
    fitted = {entry.name: entry.fit(group) for entry in entries}
    rows = []
    for name, before in _inputs(protocol, scan, contrast):
        shown = []
        for entry in entries:
            after = _harmonised(fitted[entry.name], before, brain)
            found = overlap_summary(lesion_overlap(before, after, lesions)) or {}
            rows.append(
                {
                    "image": path,
                    "role": role_of(path),
                    "input": name,
                    "method": entry.name,
                    "kind": entry.kind,
                    "lesions": found.get("lesions", 0),
                    "dice": rounded(found.get("dice_between", float("nan"))),
                    "dice_least": rounded(found.get("dice_between_least", float("nan"))),
                    **_contrast(scan, before, after, lesions, brain),
                }
            )
            shown.append((f"{entry.name}\ncontrast {rows[-1]['contrast']}", after))
        if picture is not None and name == UNALTERED:
            Path(picture).write_bytes(_picture(shown, lesions.array != 0, brain))
    return rows


def lesion_bars(rows: Sequence[Mapping[str, Any]], protocol: ContrastProtocol) -> list[dict[str, Any]]:
    """Return the verdict on lesions per method: the least of the images' means of overlap and contrast.

    For each image and input the figures are means over its lesions; the verdict is on the worst of them. Contrast
    counts against the input or the unaltered scan, whichever showed less: what undoes an alteration may take away the
    contrast that the alteration had added.
    """
    bars = protocol.lesions.get("bars", {})
    verdicts = []
    for name in dict.fromkeys(row["method"] for row in rows if row["kind"] != CONTROL):
        mine = [row for row in rows if row["method"] == name]
        dice = min((row["dice"] for row in mine if row["dice"] is not None), default=0.0)
        kept = [(row["contrast"], row["contrast_to_scan"]) for row in mine]
        contrast = min((max(pair) for pair in kept if None not in pair), default=0.0)
        verdicts.append(
            {
                "method": name,
                "least dice": dice,
                "required dice": bars.get("dice"),
                "least contrast": contrast,
                "required contrast": bars.get("contrast"),
                "lost": sum(row["lost"] for row in mine),
                "met": bool(dice >= bars.get("dice", 0.0) and contrast >= bars.get("contrast", 0.0)),
            }
        )
    return verdicts


def _inputs(protocol: ContrastProtocol, scan: Volume, contrast: str) -> list[tuple[str, Volume]]:
    """Return the scan itself and alterations of it."""
    left_out = tuple(name for name in FAMILIES if name not in LESION_FAMILIES)
    planned = protocol.planned(f"lesions-{contrast}", {SEEN: int(protocol.lesions.get("alterations", 0))})
    found = [(UNALTERED, scan)]
    for entry in planned:
        parameters = draw_alteration(entry, scan, None, None, left_out)
        found.append((f"alteration {entry.number + 1}", apply_kspace_contrast(scan, parameters)))
    return found


def _harmonised(fitted: FittedHarmonizer | None, scan: Volume, brain: np.ndarray) -> Volume:
    """Harmonise a scan that shows the brain alone: intensities are measured in the brain."""
    return apply_fitted(fitted, scan) if fitted is None else fitted.apply(scan, brain)


def _contrast(scan: Volume, before: Volume, after: Volume, lesions: Volume, brain: np.ndarray) -> dict[str, Any]:
    spacing = (float(before.grid.spacing_mm[0]), float(before.grid.spacing_mm[1]), float(before.grid.spacing_mm[2]))
    marked = lesions.array != 0
    own = [volume.array / default_data_range(volume.array, brain & ~marked) for volume in (scan, before, after)]
    retention = METRICS.get("lesion_contrast_retention")
    counted = METRICS.get("lesions_kept")(own[2], own[1], marked, spacing_mm=spacing)
    return {
        "contrast": rounded(retention(own[2], own[1], marked, spacing_mm=spacing).value, 4),
        "contrast_to_scan": rounded(retention(own[2], own[0], marked, spacing_mm=spacing).value, 4),
        "visible": counted.detail["visible"],
        "lost": counted.detail["lost"],
    }


def _cropped(scan: Volume, lesions: Volume) -> tuple[Volume, Volume]:
    """Cut both to the brain and a few voxels around it."""
    if scan.array.shape != lesions.array.shape:
        raise InputError(
            f"lesion mask shape {lesions.array.shape} differs from the scan's {scan.array.shape}",
            "resample the mask on the scan, nearest neighbour",
        )
    places = np.nonzero(scan.array > 0)
    start = [max(0, int(p.min()) - 3) for p in places]
    stop = [min(n, int(p.max()) + 4) for p, n in zip(places, scan.array.shape, strict=True)]
    shape = [b - a for a, b in zip(start, stop, strict=True)]
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    grid = scan.grid.crop(start, shape)
    return tuple(Volume(np.ascontiguousarray(v.array[box]), grid, v.name) for v in (scan, lesions))  # type: ignore[return-value]


def _picture(images: Sequence[tuple[str, Volume]], marked: np.ndarray, brain: np.ndarray) -> bytes:
    """Draw three planes through the lesions, each image in its own window."""
    shares = []
    for title, volume in images:
        low, high = display_window(volume, brain)
        shares.append((title, volume.with_array((volume.array - low) / (high - low))))
    centre = largest_lesion(marked, images[0][1].grid.spacing_mm.tolist())
    return planes_figure(shares, (0.0, 1.0), centre, outline=marked)
