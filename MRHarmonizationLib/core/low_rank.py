"""Denoising of image series by the part of them that volumes share (principal components, Marchenko-Pastur)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.progress import Progress

#: Side of the cubic patches, voxels; of scans with many volumes or few slices larger ones are taken.
PATCH = 5
#: Distance of neighbouring patches, voxels; every voxel is the mean of all patches that cover it.
STRIDE = 2
#: Numbers that are worked on at a time.
_BATCH_NUMBERS = 1_500_000


@dataclass(frozen=True, eq=False)
class LowRankResult:
    """A denoised series.

    Attributes
    ----------
    array : ndarray, shape (K, J, I, N), float32, not negative
        Stored volume by volume. Voxels that no patch covers are as they were.
    sigma : ndarray, shape (K, J, I), float32
        Standard deviation of the noise that was taken off; 0 where no patch was.
    components : ndarray, shape (K, J, I), float32
        Mean number of components kept.
    """

    array: np.ndarray
    sigma: np.ndarray
    components: np.ndarray


def denoise_low_rank(
    series: np.ndarray,
    mask: np.ndarray | None = None,
    patch: int | None = None,
    stride: int = STRIDE,
    progress: Progress | None = None,
) -> LowRankResult:
    """Denoise a series of volumes.

    In every patch the volumes are split into principal components; those whose variances spread like the eigenvalues
    of pure noise are dropped. Beside the result, memory does not grow with the number of volumes.

    Parameters
    ----------
    series : ndarray, shape (K, J, I, N), real, finite
        Not changed.
    mask : bool ndarray, shape (K, J, I), optional
        Patches whose centre lies farther than their reach from it are left out.
    patch : int, optional
        Side of the patches, odd. By default :data:`PATCH`, or the smallest that holds at least as many voxels as
        there are volumes.
    stride : int
        Distance of the patches, from 1 to half the patch rounded up.
    progress : Progress, optional

    Returns
    -------
    LowRankResult

    Raises
    ------
    InputError
        Not four-dimensional, too few volumes or voxels, values that are not finite.
    ParameterError
        An even patch, or a stride that leaves gaps.

    Source
    ------
    Veraart et al., NeuroImage 142:394 (2016), doi 10.1016/j.neuroimage.2016.08.016; patches weighted by the inverse of
    one more than their rank as in Manjón et al., PLoS One 8:e73021 (2013), doi 10.1371/journal.pone.0073021.
    """
    if series.ndim != 4 or series.dtype.kind not in "fiub" or series.shape[3] < 3:
        raise InputError(
            f"series of shape {series.shape}, type {series.dtype}", "give real values (K, J, I, volumes), 3 volumes up"
        )
    sizes = _patch_sizes(series.shape, patch)
    if not 1 <= stride <= (max(sizes) + 1) // 2:
        raise ParameterError(f"stride {stride} for patches of {sizes} voxels", "give 1 to half the patch")
    if mask is not None and (mask.shape != series.shape[:3] or mask.dtype != bool):
        raise ParameterError(f"mask of shape {mask.shape}, {mask.dtype}", "give a boolean mask of the image's shape")
    corners = _corners(series.shape[:3], sizes, stride, mask)
    return _denoised(series, sizes, corners, progress or Progress())


def _patch_sizes(shape: Sequence[int], patch: int | None) -> tuple[int, int, int]:
    """Return the patch along (k, j, i): clipped where the image is thinner."""
    *space, volumes = shape
    if patch is not None:
        if patch < 3 or patch % 2 == 0:
            raise ParameterError(f"patch of {patch} voxels", "give an odd number of at least 3")
        side = patch
    else:
        side = PATCH
        while int(np.prod([min(side, n) for n in space])) <= volumes and side < max(space):
            side += 2
    sizes = min(side, space[0]), min(side, space[1]), min(side, space[2])
    if int(np.prod(sizes)) < 3:
        raise InputError(f"patches of {sizes} voxels in an image of shape {tuple(shape)}", "use a larger image")
    return sizes


def _corners(shape: Sequence[int], sizes: Sequence[int], stride: int, mask: np.ndarray | None) -> np.ndarray:
    """Return the first voxels (k, j, i) of all patches, slice by slice; the last along each axis ends at its end."""
    starts = []
    for n, size in zip(shape, sizes, strict=True):
        places = list(range(0, n - size + 1, stride))
        starts.append([*places, n - size] if places[-1] != n - size else places)
    grid = np.stack(np.meshgrid(*starts, indexing="ij"), axis=-1).reshape(-1, 3)
    if mask is None:
        return grid
    # how many voxels of the mask a patch holds, by the integral image
    total = np.pad(mask.astype(np.int32).cumsum(0).cumsum(1).cumsum(2), ((1, 0),) * 3)
    count = np.zeros(len(grid), np.int64)
    for corner in np.ndindex(2, 2, 2):
        sign = (-1) ** (3 - sum(corner))
        at = grid + np.array(corner) * np.array(sizes)
        count += sign * total[tuple(at.T)]
    return grid[count > 0]


def _denoised(
    series: np.ndarray, sizes: tuple[int, int, int], corners: np.ndarray, progress: Progress
) -> LowRankResult:
    shape, volumes = series.shape[:3], series.shape[3]
    summed = np.zeros((volumes, *shape), np.float32)
    weights, variance, ranks = (np.zeros(shape, np.float32) for _ in range(3))
    for done, batch in _batches(corners, int(np.prod(sizes)), volumes):
        progress.report(done / max(len(corners), 1), "Denoising")
        values = np.stack([_block(series, corner, sizes) for corner in batch])
        if not np.all(np.isfinite(values)):
            bad = int(np.count_nonzero(~np.isfinite(values)))
            raise InputError(f"{bad} values of the series are NaN or infinite", "replace them before denoising")
        estimates, noise, rank = _shrink(values.reshape(len(batch), -1, volumes))
        weight = (1.0 / (1.0 + rank)).astype(np.float32)
        estimates *= weight[:, None, None]
        blocks = np.moveaxis(estimates.reshape(len(batch), *sizes, volumes), -1, 1)
        for n, (k, j, i) in enumerate(batch):
            here = slice(k, k + sizes[0]), slice(j, j + sizes[1]), slice(i, i + sizes[2])
            summed[(slice(None), *here)] += blocks[n]
            weights[here] += weight[n]
            variance[here] += weight[n] * noise[n]
            ranks[here] += weight[n] * rank[n]
    covered = weights > 0
    safe = np.where(covered, weights, 1.0)
    for n in range(volumes):
        summed[n] = np.where(covered, np.maximum(summed[n] / safe, 0.0), series[..., n])
    progress.report(1.0, "Denoising")
    return LowRankResult(np.moveaxis(summed, 0, -1), np.sqrt(variance / safe), ranks / safe)


def _batches(corners: np.ndarray, voxels: int, volumes: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield how many patches are done, and the next ones."""
    step = max(1, _BATCH_NUMBERS // (max(voxels, 2 * volumes) * volumes))  # the covariances are volumes × volumes
    for start in range(0, len(corners), step):
        yield start, corners[start : start + step]


def _block(series: np.ndarray, corner: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    k, j, i = (int(c) for c in corner)
    return np.asarray(series[k : k + sizes[0], j : j + sizes[1], i : i + sizes[2]], np.float32)


def _shrink(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return patches (P, V, N) without noise, their noise variance (P,) and rank (P,)."""
    mean = values.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    centred = values - mean
    voxels, volumes = values.shape[1:]
    gram = np.matmul(centred.transpose(0, 2, 1), centred).astype(np.float64) / voxels
    eigenvalues, vectors = np.linalg.eigh(gram)
    variance = _noise_variance(np.maximum(eigenvalues, 0.0), voxels)
    edge = (1.0 + np.sqrt(volumes / voxels)) ** 2 * variance
    signal = eigenvalues >= edge[:, None]
    signal |= variance[:, None] == 0  # a patch without noise is kept whole
    kept = (vectors * signal[:, None, :]).astype(np.float32)
    projected = np.matmul(np.matmul(centred, kept), kept.transpose(0, 2, 1))
    projected += mean
    return projected, variance, signal.sum(axis=1).astype(np.float32)


def _noise_variance(eigenvalues: np.ndarray, voxels: int) -> np.ndarray:
    """Return the variance of the noise (P,) from ascending eigenvalues (P, N) of covariances over ``voxels``.

    The largest set of smallest eigenvalues whose spread is that of the Marchenko-Pastur law; Veraart et al. (2016),
    eq. 12, as an upper bound of the spread.
    """
    if eigenvalues.shape[1] > voxels - 1:  # the mean was taken off: the rest are 0 by construction
        eigenvalues = eigenvalues[:, -(voxels - 1) :]
    count = np.arange(1, eigenvalues.shape[1] + 1)
    mean = np.cumsum(eigenvalues, axis=1) / count
    is_noise = eigenvalues - eigenvalues[:, :1] <= 4.0 * np.sqrt(count / voxels) * mean
    last = count[-1] - 1 - np.argmax(is_noise[:, ::-1], axis=1)
    return np.asarray(mean[np.arange(len(mean)), last])
