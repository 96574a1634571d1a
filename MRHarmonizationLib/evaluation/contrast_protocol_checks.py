"""What must hold of a harmoniser whatever the scan: strength 0, repetition, order of slices, no seams."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.masks import foreground_mask
from MRHarmonizationLib.degradations.kspace_contrast import apply_kspace_contrast
from MRHarmonizationLib.evaluation.cases import rounded
from MRHarmonizationLib.evaluation.contrast_protocol import ContrastCase, ContrastProtocol
from MRHarmonizationLib.evaluation.contrast_protocol_cases import PreparedCase, draw_alteration, prepare_case
from MRHarmonizationLib.evaluation.contrast_protocol_methods import CONTROL, Contestant
from MRHarmonizationLib.inference.harmonize import HarmonizeRequest, harmonize
from MRHarmonizationLib.methods.case_profile import FULL_SCALE
from MRHarmonizationLib.methods.harmonizers import FittedHarmonizer
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

#: Pairs of planes on either side whose change of contrast a pair is held against.
NEIGHBOURS = 4
#: Pairs of planes with fewer voxels of the object than this share of the fullest pair are not looked at.
FULL_PLANE_SHARE = 0.25


def check_task(
    protocol: ContrastProtocol, data: str, reference: str, entries: Sequence[Contestant]
) -> list[dict[str, Any]]:
    """Check every harmoniser on the first alteration of the first case of each group and contrast.

    Parameters
    ----------
    protocol : ContrastProtocol
    data, reference : str
        Folders of real scans and of the reference groups.
    entries : sequence of Contestant

    Returns
    -------
    list of dict
        One row per method, the worst over the cases: ``idempotence``: mean change by harmonising again, % of full
        scale, in the object; ``strength_0``: whether the scan came back bit by bit; ``reversed_order`` and
        ``shuffled_slices``: mean difference, % of full scale, when the stack is stored from the other end, and when
        its slices are shuffled, as a two-dimensional method would not notice (None where a method that needs a head
        refuses such a stack); ``seams``: see :func:`seam_strength`.
    """
    first: dict[tuple[str, str], ContrastCase] = {}
    for case in protocol.cases():
        first.setdefault((case.group, case.contrast), case)
    worst: dict[str, dict[str, Any]] = {}
    for case in first.values():
        prepared = prepare_case(case, protocol, Path(data), Path(reference))
        arguments = (prepared.image, prepared.labels, prepared.donor, protocol.held_out)
        parameters = draw_alteration(case.alterations[0], *arguments)
        altered = apply_kspace_contrast(prepared.image, parameters, prepared.labels)
        for entry in entries:
            if entry.kind == CONTROL:
                continue
            found = check_harmonizer(entry, prepared, altered)
            kept = worst.setdefault(entry.name, found)
            for name, value in found.items():
                kept[name] = _worse(value, kept[name])
    bars = protocol.checks.get("bars", {})
    return [_row(name, found, bars) for name, found in worst.items()]


def check_harmonizer(entry: Contestant, prepared: PreparedCase, altered: Volume) -> dict[str, Any]:
    """Return the figures of one method on one altered image; see :func:`check_task`."""
    fitted = entry.fit(prepared.group)
    assert fitted is not None
    request = HarmonizeRequest(str(entry.harmonizer), strength=0.0, parameters=dict(entry.parameters), measure=False)
    untouched = harmonize(altered, request, group=prepared.group).volume.array
    once = fitted.apply(altered)
    inside = foreground_mask(altered.array)
    again = fitted.apply(once).array
    return {
        "idempotence": _mean_change(again, once.array, inside),
        "strength_0": bool(np.array_equal(untouched, altered.array.astype(np.float32))),
        "reversed_order": _mean_change(reversed_stack(fitted, altered), once.array, inside),
        "shuffled_slices": None
        if (mixed := _shuffled(fitted, altered)) is None
        else _mean_change(mixed, once.array, inside),
        "seams": seam_strength(once.array, altered.array, inside),
    }


def reversed_stack(fitted: FittedHarmonizer, volume: Volume) -> np.ndarray:
    """Harmonise the same anatomy stored from the other end along k, and return it in the first order."""
    affine = volume.grid.affine.copy()
    affine[:3, 3] += affine[:3, 2] * (volume.array.shape[0] - 1)
    affine[:3, 2] *= -1.0
    flipped = Volume(np.ascontiguousarray(volume.array[::-1]), Grid(volume.grid.shape, affine), volume.name)
    return fitted.apply(flipped).array[::-1]


def seam_strength(output: np.ndarray, source: np.ndarray, inside: np.ndarray) -> float:
    """Return how far a step between two planes stands out of those beside it: 0 none, 1 twice as large.

    For every pair of neighbouring planes along each axis, the change of the output over that of the source (both mean
    absolute differences inside the object); a seam raises this ratio for one pair, anatomy does not. The largest ratio
    over the median of the four pairs on either side, minus 1, over all axes. Piecewise maps of single voxels, which
    cannot have seams, reach about 0.3 on heads: a bar should lie above that.

    Parameters
    ----------
    output, source : ndarray, shape (K, J, I)
    inside : bool ndarray, shape (K, J, I)
    """
    strongest = 0.0
    for axis in range(3):
        out, src, mask = (np.moveaxis(array, axis, 0) for array in (output, source, inside))
        both = mask[1:] & mask[:-1]
        counts = both.sum(axis=(1, 2))
        if not counts.max() > 0:
            continue
        full = counts >= FULL_PLANE_SHARE * counts.max()
        steps = [np.abs(np.diff(array.astype(np.float64), axis=0)) for array in (out, src)]
        new, old = (np.where(both, step, 0.0).sum(axis=(1, 2))[full] / counts[full] for step in steps)
        ratio = new / np.maximum(old, 1e-12)
        for place, value in enumerate(ratio):
            beside = np.delete(ratio, place)[max(0, place - NEIGHBOURS) : place + NEIGHBOURS]
            if beside.size >= NEIGHBOURS:
                strongest = max(strongest, float(value / max(float(np.median(beside)), 1e-12)) - 1.0)
    return strongest


def _worse(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return None
    return one and other if isinstance(one, bool) else max(one, other)


def _row(name: str, found: dict[str, Any], bars: dict[str, float]) -> dict[str, Any]:
    met = found["strength_0"] and all(found[key] <= limit for key, limit in bars.items() if found[key] is not None)
    return {
        "method": name,
        **{
            key: "" if value is None else value if isinstance(value, bool) else rounded(value, 4)
            for key, value in found.items()
        },
        "met": bool(met),
    }


def _shuffled(fitted: FittedHarmonizer, volume: Volume) -> np.ndarray | None:
    """Harmonise with the slices along k in another order, and return them in theirs; None if this is no head to it."""
    order = np.random.default_rng(0).permutation(volume.array.shape[0])
    try:
        mixed = fitted.apply(volume.with_array(np.ascontiguousarray(volume.array[order]))).array
    except InputError:
        return None
    return mixed[np.argsort(order)]


def _mean_change(first: np.ndarray, second: np.ndarray, inside: np.ndarray) -> float:
    return 100.0 / FULL_SCALE * float(np.mean(np.abs(first[inside] - second[inside]), dtype=np.float64))
