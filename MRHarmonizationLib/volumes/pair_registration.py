"""Two scans of one head laid on each other, and numbers that tell whether that worked.

A search for the best affine map always ends somewhere. What it found is believed only where it holds against measured
criteria: :meth:`PairRegistration.problems` says which of them it misses.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.masks import foreground_mask
from MRHarmonizationLib.volumes.affine import STARTS, register_affine, resample_through
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import RAS_TO_LPS, resample, to_sitk
from MRHarmonizationLib.volumes.volume import Volume

if TYPE_CHECKING:
    import SimpleITK

#: Voxel size on which the map is searched, mm; coarser where the finer of the two scans is.
WORKING_MM = 2.0
#: Percentiles to which intensities are cut before the search: a hot voxel would take all the bins.
CUT_PERCENTILES = (0.5, 99.8)
#: How far the found map is displaced, mm and degrees, for the poses whose likeness it has to exceed.
DISPLACED_MM, DISPLACED_DEG = 12.0, 12.0
BINS, SHARE, SEED = 32, 0.5, 1
#: How deep inside the head tissue is compared, mm, and on how many voxels.
INNER_MM, FEWEST_VOXELS, MOST_VOXELS = 10.0, 50, 50_000


@dataclass(frozen=True)
class RegistrationLimits:
    """What a map must reach to be believed.

    Set on 14 pairs of one head (peak .12 to .49, Dice from .97, stretch to 3.4 %) and on pairs of different heads,
    brains with heads, and images without a head, each of which misses one or more. Two people whose heads have one
    size and shape can pass: that a pair shows one person, only the names say.

    Attributes
    ----------
    least_peak : float
        See :attr:`RegistrationQuality.peak`.
    least_overlap : float
        See :attr:`RegistrationQuality.overlap`.
    least_dice : float
        See :attr:`RegistrationQuality.dice`.
    largest_scale : float
        Largest stretch or its inverse: one head has one size, scanners differ by a few per cent.
    largest_rotation_deg : float
    """

    least_peak: float = 0.08
    least_overlap: float = 0.5
    least_dice: float = 0.7
    largest_scale: float = 1.06
    largest_rotation_deg: float = 60.0


@dataclass(frozen=True)
class RegistrationQuality:
    """How well two scans lie on each other.

    Attributes
    ----------
    likeness : float
        Mattes' mutual information at the found map, nats.
    likeness_start : float
        The same before the search, where the files' positions leave the scans; 0 where they do not meet.
    likeness_displaced : float
        The largest of twelve poses 12 mm or 12 degrees away from the found one.
    peak : float
        1 − likeness_displaced / likeness: 0 and below where the found map is no better than one beside it.
    overlap : float
        Share of the first scan's head that lies in the field of view of the second.
    dice : float
        Of the two heads, inside the field of view of both.
    scale_min, scale_max : float
        Smallest and largest stretch of the map.
    rotation_deg, translation_mm : float
        Of the map; the translation is that of the first scan's centre.
    tissue_correlation : float
        Rank correlation (Spearman) of the two scans at least 10 mm inside the head: near 1 for one contrast, near or
        below 0 for T1 with T2. No part of :meth:`PairRegistration.problems`.
    """

    likeness: float
    likeness_start: float
    likeness_displaced: float
    peak: float
    overlap: float
    dice: float
    scale_min: float
    scale_max: float
    rotation_deg: float
    translation_mm: float
    tissue_correlation: float = 0.0

    def to_dict(self) -> dict[str, float]:
        """Return a JSON-ready dictionary, rounded."""
        return {name: round(float(value), 4) for name, value in asdict(self).items()}


@dataclass(frozen=True, eq=False)
class PairRegistration:
    """The map between two scans.

    Attributes
    ----------
    matrix : ndarray, float64, shape (4, 4)
        RAS mm of the first scan → RAS mm of the second.
    quality : RegistrationQuality
    start : str
        From where the search that succeeded began; one of :data:`~MRHarmonizationLib.volumes.affine.STARTS`.
    """

    matrix: np.ndarray
    quality: RegistrationQuality
    start: str

    def problems(self, limits: RegistrationLimits | None = None) -> tuple[str, ...]:
        """Return what keeps the map from being believed, with values and limits; empty where nothing does."""
        limits, q = limits or RegistrationLimits(), self.quality
        found = []
        if q.likeness < q.likeness_start:
            found.append(f"likeness fell from {q.likeness_start:.3f} to {q.likeness:.3f}")
        if q.peak < limits.least_peak:
            found.append(f"likeness peak {q.peak:.3f} below {limits.least_peak:g}: poses beside it are as good")
        if q.overlap < limits.least_overlap:
            found.append(f"overlap {q.overlap:.2f} below {limits.least_overlap:g}")
        if q.dice < limits.least_dice:
            found.append(f"heads agree by Dice {q.dice:.2f}, below {limits.least_dice:g}")
        if max(q.scale_max, 1.0 / q.scale_min) > limits.largest_scale:
            found.append(
                f"stretched by {q.scale_min:.2f} to {q.scale_max:.2f}, beyond a factor of {limits.largest_scale:g}"
            )
        if q.rotation_deg > limits.largest_rotation_deg:
            found.append(f"turned by {q.rotation_deg:.0f} degrees, more than {limits.largest_rotation_deg:g}")
        return tuple(found)


def register_pair(first: Volume, second: Volume, limits: RegistrationLimits | None = None) -> PairRegistration:
    """Find where the anatomy of one scan lies in another of the same head: rigid, then affine, from coarse to fine.

    Begins where the centres of mass meet; where the map found is not believed, from the centres of the fields of view
    and from the files' positions too. Of several the one with the fewest problems, then the most alike, is returned.

    Parameters
    ----------
    first, second : Volume
        Any grids; contrasts may differ.
    limits : RegistrationLimits, optional

    Returns
    -------
    PairRegistration
        With its quality; ask :meth:`PairRegistration.problems` before using it.

    Raises
    ------
    InputError
        No search ended: no overlap, an empty image.

    Source
    ------
    Mattes et al., IEEE Trans. Med. Imaging 22:120 (2003), doi 10.1109/TMI.2003.809072; SimpleITK.
    """
    fixed, moving = working_image(first), working_image(second)
    found: list[PairRegistration] = []
    failure: InputError | None = None
    for start in STARTS:
        try:
            matrix = register_affine(moving, fixed, start)
            found.append(PairRegistration(matrix, judge_map(fixed, moving, matrix), start))
        except InputError as error:
            failure = error
            continue
        if not found[-1].problems(limits):
            return found[-1]
    if not found:
        assert failure is not None
        raise failure
    return min(found, key=lambda pair: (len(pair.problems(limits)), -pair.quality.likeness))


def working_image(volume: Volume) -> Volume:
    """Return the image on which maps are searched: float32, isotropic, air 0, hot voxels cut."""
    low, high = np.percentile(volume.array, CUT_PERCENTILES)
    if not high > low:
        raise InputError(f"'{volume.name}' is constant ({low:g})", "give a scan that shows a head")
    array = np.clip(volume.array.astype(np.float32), low, high) - np.float32(low)
    spacing = max(WORKING_MM, float(volume.grid.spacing_mm.min()))
    return resample(volume.with_array(array), volume.grid.isotropic(spacing), "linear", fill=0.0)


def judge_map(fixed: Volume, moving: Volume, matrix: np.ndarray) -> RegistrationQuality:
    """Measure how well two working images lie on each other under a map; see :class:`RegistrationQuality`."""
    images = (to_sitk(fixed), to_sitk(moving))
    centre = fixed.grid.corners_ras().mean(axis=0)
    likeness = _likeness(images, matrix)
    displaced = max(_likeness(images, matrix @ pose) for pose in _displacements(centre))
    inside = (
        resample_through(moving.with_array(np.ones(moving.array.shape, np.float32)), fixed.grid, matrix).array > 0.5
    )
    heads = [foreground_mask(fixed.array), foreground_mask(moving.array)]
    other = resample_through(moving.with_array(heads[1].astype(np.float32)), fixed.grid, matrix).array > 0.5
    common = heads[0] & inside
    _, stretch, _ = np.linalg.svd(matrix[:3, :3])
    return RegistrationQuality(
        likeness=likeness,
        likeness_start=_likeness(images, np.eye(4)),
        likeness_displaced=displaced,
        peak=1.0 - displaced / likeness if likeness > 0 else 0.0,
        overlap=float(common.sum() / max(heads[0].sum(), 1)),
        dice=float(2.0 * (common & other).sum() / max(common.sum() + other.sum(), 1)),
        scale_min=float(stretch.min()),
        scale_max=float(stretch.max()),
        rotation_deg=_rotation_deg(matrix),
        translation_mm=float(np.linalg.norm((matrix @ np.append(centre, 1.0))[:3] - centre)),
        tissue_correlation=_tissue_correlation(fixed, moving, matrix, common),
    )


def _tissue_correlation(fixed: Volume, moving: Volume, matrix: np.ndarray, head: np.ndarray) -> float:
    from scipy.ndimage import binary_erosion
    from scipy.stats import spearmanr

    depth = max(1, round(INNER_MM / float(fixed.grid.spacing_mm[0])))
    inner = binary_erosion(head, iterations=depth)
    inner = inner if inner.any() else head
    if int(inner.sum()) < FEWEST_VOXELS:
        return 0.0
    step = max(1, int(inner.sum()) // MOST_VOXELS)
    moved = resample_through(moving, fixed.grid, matrix).array[inner][::step]
    value = float(spearmanr(fixed.array[inner][::step], moved)[0])
    return value if np.isfinite(value) else 0.0


def _likeness(images: tuple[SimpleITK.Image, SimpleITK.Image], matrix: np.ndarray) -> float:
    """Return Mattes' mutual information under a map in nats; 0 where the images do not meet."""
    import SimpleITK as sitk

    lps = RAS_TO_LPS @ matrix @ RAS_TO_LPS
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    method: Any = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SHARE, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetInitialTransform(transform, inPlace=False)
    try:
        return max(-float(method.MetricEvaluate(*images)), 0.0)
    except RuntimeError:  # all samples lie outside
        return 0.0


def _displacements(centre: np.ndarray) -> Iterator[np.ndarray]:
    """Yield maps (4, 4) that move the first scan a little: along and about each axis, both ways."""
    from scipy.spatial.transform import Rotation

    for axis in range(3):
        for sign in (-1.0, 1.0):
            shift = np.eye(4)
            shift[axis, 3] = sign * DISPLACED_MM
            yield shift
            turn = np.eye(4)
            turn[:3, :3] = Rotation.from_rotvec(sign * DISPLACED_DEG * np.eye(3)[axis], degrees=True).as_matrix()
            turn[:3, 3] = centre - turn[:3, :3] @ centre
            yield turn


def _rotation_deg(matrix: np.ndarray) -> float:
    """Return the angle of the rotation nearest to a map; 180 for a mirror."""
    left, _, right = np.linalg.svd(matrix[:3, :3])
    rotation = left @ right
    if np.linalg.det(rotation) < 0:
        return 180.0
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) - 1.0) / 2.0, -1.0, 1.0))))


def resample_partner(second: Volume, grid: Grid, matrix: np.ndarray) -> tuple[Volume, np.ndarray]:
    """Return the second scan on a grid of the first, and where its field of view reaches.

    Parameters
    ----------
    second : Volume
    grid : Grid
    matrix : ndarray, shape (4, 4)
        RAS mm of ``grid`` → RAS mm of ``second``.

    Returns
    -------
    Volume
        float32 on ``grid``, one cubic interpolation of the original voxels; its minimum outside its field of view.
    ndarray, bool, shape of the grid
        Inside the field of view of ``second``.
    """
    ones = second.with_array(np.ones(second.array.shape, np.float32))
    inside = resample_through(ones, grid, matrix).array > 0.5
    moved = resample_through(second, grid, matrix, float(second.array.min()), "cubic")
    return moved, inside
