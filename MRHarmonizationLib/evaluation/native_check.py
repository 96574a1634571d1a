"""Real thick-slice scans without truth: how plausible the result is, and how well it agrees with the scan."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.masks import foreground_mask
from MRHarmonizationLib.degradations.encoding import FWHM_PER_SIGMA
from MRHarmonizationLib.evaluation.cases import rounded
from MRHarmonizationLib.evaluation.figures import display_window, planes_figure
from MRHarmonizationLib.evaluation.splits import role_of
from MRHarmonizationLib.inference.enhance import EnhanceRequest, enhance
from MRHarmonizationLib.metrics.base import METRICS, default_data_range
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

#: Depth at both ends of the slice stack that is held against the middle.
END_DEPTH_MM = 6.0


def native_task(data: str, path: str, model: str, picture: str | None = None) -> dict[str, Any]:
    """Enhance a real scan and describe the result beside cubic interpolation.

    Parameters
    ----------
    data, path : str
        Data folder; scan relative to it, without extension.
    model : str
    picture : str, optional
        Where to write before | after | difference (PNG).

    Returns
    -------
    dict
        Noise and sharpness before and after; consistency (NRMSE of the result measured again, against the scan, and
        the same of cubic interpolation); change at the ends of the stack over that in its middle (root mean squares;
        ringing would raise it); intensity range after over before.
    """
    scan = read_volume(Path(data) / f"{path}.nii.gz")
    result = enhance(scan, EnhanceRequest(model=model, device="cpu", threads=1, measure=False))
    before, after = result.baseline, result.volume
    mask = foreground_mask(before.array)
    i, j, k = (float(s) for s in after.grid.spacing_mm)
    row: dict[str, Any] = {"image": path, "role": role_of(path), "model": model}
    data_range = default_data_range(before.array, mask)
    for name in ("noise", "sharpness"):
        for when, volume in (("before", before), ("after", after)):
            measured = METRICS.get(name)(volume.array, None, mask, data_range, (i, j, k), "foreground")
            row[f"{name}_{when}"] = rounded(measured.value)
    row["consistency_cubic"] = rounded(measured_again_error(before, scan))
    row["consistency"] = rounded(measured_again_error(after, scan))
    row["end_change"] = rounded(end_change(before, after, mask, scan.grid.thick_axis))
    row["range_ratio"] = rounded(default_data_range(after.array, mask) / data_range)
    if picture is not None:
        images = [("acquired", resample(scan, after.grid, "nearest")), ("cubic", before), (model, after)]
        figure = planes_figure(images, display_window(before, mask), mask, (f"{model} - cubic", after, before))
        Path(picture).write_bytes(figure)
    return row


def measured_again_error(output: Volume, scan: Volume) -> float:
    """Return the NRMSE between a scan and an image measured as the scan was.

    The image is smoothed by a Gaussian slice profile as wide as the scan's slices and read at the scan's slice centres;
    in plane both are compared on the coarser of the two spacings.

    Parameters
    ----------
    output : Volume
        Image on a fine grid parallel to the scan's.
    scan : Volume

    Returns
    -------
    float
        Of the scan's range (.5 to 99.5 %) in its foreground.
    """
    from scipy import ndimage

    grid = _comparison_grid(scan.grid, output.grid)
    measured = resample(scan, grid, "linear")
    axis = scan.grid.thick_axis
    sigma = [0.0, 0.0, 0.0]
    sigma[2 - axis] = float(scan.grid.spacing_mm[axis]) / FWHM_PER_SIGMA / float(output.grid.spacing_mm[axis])
    smoothed = output.with_array(ndimage.gaussian_filter(output.array, sigma, mode="nearest"))
    again = resample(smoothed, grid, "linear")
    mask = foreground_mask(measured.array)
    return METRICS.get("nrmse")(again.array, measured.array, mask).value


def end_change(before: Volume, after: Volume, mask: np.ndarray, thick_axis: int) -> float:
    """Return the root mean square change within 6 mm of the stack's ends, over that in between.

    Parameters
    ----------
    before, after : Volume
        On one grid.
    mask : bool ndarray, shape (K, J, I)
    thick_axis : int
        In (i, j, k) order.
    """
    axis = 2 - thick_axis
    depth = max(1, math.ceil(END_DEPTH_MM / float(after.grid.spacing_mm[thick_axis])))
    place = np.arange(after.array.shape[axis])
    ends = ((place < depth) | (place >= place.size - depth)).reshape([-1 if n == axis else 1 for n in range(3)])
    squares = (after.array.astype(np.float64) - before.array) ** 2
    outer, inner = mask & ends, mask & ~ends
    if not outer.any() or not inner.any():
        return math.nan
    return float(np.sqrt(squares[outer].mean() / max(float(squares[inner].mean()), np.finfo(float).tiny)))


def _comparison_grid(scan: Grid, output: Grid) -> Grid:
    """Return the scan's grid, in plane no finer than the output."""
    spacing = np.maximum(scan.spacing_mm, output.spacing_mm)
    return scan if np.allclose(spacing, scan.spacing_mm) else scan.with_spacing(spacing.tolist())
