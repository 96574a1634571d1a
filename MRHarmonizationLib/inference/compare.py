"""Compare an image before and after processing: the numbers; ``evaluation/report.py`` writes them down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from MRHarmonizationLib.core.checks import check_volume_array
from MRHarmonizationLib.core.errors import GridMismatchError, InputError
from MRHarmonizationLib.core.masks import foreground_mask
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.metrics.base import METRICS, Measurement, Spacing, default_data_range
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

#: What was measured, as headings: key, sentence.
COMPARISONS = {
    "after_vs_before": "after, held against before",
    "before_vs_reference": "before, held against the reference",
    "after_vs_reference": "after, held against the reference",
    "before": "before alone",
    "after": "after alone",
}


@dataclass(frozen=True)
class ComparisonResult:
    """Images on one grid, and what was measured on them.

    Attributes
    ----------
    before, after : Volume
        On the grid of ``after``.
    reference : Volume or None
        On the grid of ``after``.
    mask : ndarray, bool, shape (K, J, I)
        Where everything was measured.
    mask_name : str
    measurements : dict of str to list of Measurement
        Keys of :data:`COMPARISONS`.
    notes : tuple of str
        What was done to the images before they were compared.
    """

    before: Volume
    after: Volume
    reference: Volume | None
    mask: np.ndarray
    mask_name: str
    measurements: dict[str, list[Measurement]]
    notes: tuple[str, ...] = field(default=())

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat dictionary per measurement, for tables and CSV."""
        return [
            {"comparison": key, **{k: v for k, v in measurement.to_dict().items() if k != "detail"}}
            for key, measurements in self.measurements.items()
            for measurement in measurements
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary without voxels."""
        images = {"before": self.before, "after": self.after, "reference": self.reference}
        return {
            "grid": self.after.grid.to_dict(),
            "images": {
                key: {"name": volume.name, "digest": volume.digest()} for key, volume in images.items() if volume
            },
            "mask": {"name": self.mask_name, "voxels": int(np.count_nonzero(self.mask))},
            "notes": list(self.notes),
            "measurements": {key: [m.to_dict() for m in group] for key, group in self.measurements.items()},
        }


def compare(
    before: Volume,
    after: Volume,
    reference: Volume | None = None,
    mask: Volume | None = None,
    progress: Progress | None = None,
) -> ComparisonResult:
    """Measure what processing did to an image.

    Parameters
    ----------
    before, after : Volume
        The image before and after; ``before`` is brought to the grid of ``after`` by cubic interpolation if it lies on
        another one.
    reference : Volume, optional
        The truth, where there is one; brought to the same grid likewise.
    mask : Volume, optional
        Nonzero where to measure, brought to the same grid by nearest neighbour; the foreground of ``before`` when
        omitted. Voxels outside an image's field of view are left out.
    progress : Progress, optional

    Returns
    -------
    ComparisonResult
        The data range of every number is that of the reference (of ``before`` without one), .5 to 99.5 % in the mask.

    Raises
    ------
    InputError
        NaN, constant or empty images; an empty mask.
    GridMismatchError
        The images do not overlap in space.
    """
    progress = progress or Progress()
    for name, volume in (("before", before), ("after", after), ("reference", reference)):
        if volume is not None:
            check_volume_array(volume.array, name)
    notes: list[str] = []
    grid = after.grid
    inside = np.ones(grid.shape, bool)
    placed: dict[str, Volume] = {}
    for name, volume in (("before", before), ("reference", reference)):
        if volume is not None:
            placed[name] = _on_grid(volume, grid, name, "cubic", notes)
            inside &= _field_of_view(volume.grid, grid)
    if not inside.any():
        raise GridMismatchError(
            f"the images do not overlap: centres {_centre(before.grid)} and {_centre(grid)} mm (RAS)",
            "register them, or choose two images of one scan",
        )
    progress.report(0.2, "comparing")
    if mask is None:
        region, mask_name = foreground_mask(placed["before"].array), "foreground of before"
    else:
        region, mask_name = _on_grid(mask, grid, "mask", "nearest", notes).array != 0, mask.name or "mask"
    region = region & inside
    if not region.any():
        raise InputError(f"mask '{mask_name}' has no voxel where the images overlap", "choose another mask")

    truth = placed.get("reference")
    data_range = default_data_range((truth or placed["before"]).array, region)
    tasks: list[tuple[str, Volume, Volume | None]] = [("after_vs_before", after, placed["before"])]
    if truth is not None:
        tasks += [("before_vs_reference", placed["before"], truth), ("after_vs_reference", after, truth)]
    tasks += [("before", placed["before"], None), ("after", after, None)]
    measurements: dict[str, list[Measurement]] = {}
    for step, (key, image, held_against) in enumerate(tasks, start=1):
        measurements[key] = _measure(image, held_against, region, data_range, mask_name)
        progress.report(0.2 + 0.8 * step / len(tasks), f"measured {COMPARISONS[key]}")
    return ComparisonResult(placed["before"], after, truth, region, mask_name, measurements, tuple(notes))


def _measure(
    image: Volume, reference: Volume | None, mask: np.ndarray, data_range: float, mask_name: str
) -> list[Measurement]:
    """Apply every grey-image metric that fits: those with a reference, or those without."""
    spacing = image.grid.spacing_mm
    spacing_mm: Spacing = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    return [
        metric(
            image.array,
            None if reference is None else reference.array,
            mask,
            data_range if metric.uses_data_range else None,
            spacing_mm,
            mask_name,
        )
        for _, metric in METRICS.items()
        if metric.operates_on == "images" and metric.needs_reference == (reference is not None)
    ]


def _on_grid(volume: Volume, grid: Grid, name: str, interpolation: str, notes: list[str]) -> Volume:
    if same_grid(volume.grid, grid):
        return volume
    before, after = (" × ".join(f"{s:.3g}" for s in g.spacing_mm) for g in (volume.grid, grid))
    notes.append(f"{name} ({before} mm) was resampled on the grid of after ({after} mm, {interpolation})")
    return resample(volume, grid, interpolation)


def _field_of_view(source: Grid, target: Grid) -> np.ndarray:
    """Return where the target's voxel centres lie inside the source's outer voxel edges, bool (K, J, I)."""
    if same_grid(source, target):
        return np.ones(target.shape, bool)
    whole = Volume(np.ones(source.shape, np.uint8), source)
    return np.asarray(resample(whole, target, "nearest", fill=0.0).array != 0)


def _centre(grid: Grid) -> tuple[float, ...]:
    return tuple(np.round(grid.corners_ras().mean(axis=0), 1).tolist())
