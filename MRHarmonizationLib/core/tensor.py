"""Diffusion tensor fit by weighted linear least squares, on arrays of any size in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.core.tensor_measures import (
    decompose,
    eigenvalues_of,
    encoding_vector,
    fractional_anisotropy,
    mean_diffusivity,
)

#: Below this b-value (s/mm²) a volume counts as unweighted and needs no direction.
UNWEIGHTED_LIMIT = 50.0
#: Length by which a gradient may differ from 1.
UNIT_TOLERANCE = 0.02
#: Directions closer than this, in degrees and up to their sign, count as one.
SAME_DIRECTION_DEG = 1.0
#: Directions a tensor needs at least.
DIRECTIONS_NEEDED = 6
#: Samples below this share of the voxel's largest one are raised to it before the logarithm.
RELATIVE_FLOOR = 1e-4
#: Weights below this share of the voxel's largest one are raised to it, so that the equations stay solvable.
_WEIGHT_FLOOR = 1e-3
#: Smallest ratio of singular values of the scaled design at which all unknowns are still determined.
_RANK_TOLERANCE = 1e-4
#: Samples (voxels times volumes) fitted at a time, so that memory does not grow with the number of volumes.
_CHUNK_SAMPLES = 500_000


@dataclass(frozen=True, eq=False)
class TensorFit:
    """Tensors of a scan, and what is read off them; zero where nothing was fitted.

    Attributes
    ----------
    tensors : ndarray, shape (..., 6), float32, mm²/s
        In the frame of the gradients; see ``tensor_measures.TENSOR_ELEMENTS``.
    s0 : ndarray, shape (...), float32
        Signal without diffusion weighting, in the scan's units.
    eigenvalues : ndarray, shape (..., 3), float32, mm²/s
        Largest first, as fitted: noise can make them negative.
    fitted : bool ndarray, shape (...)
        Voxels inside the mask with a positive sample.
    floored : bool ndarray, shape (...)
        Fitted voxels in which a sample was raised to the floor.
    """

    tensors: np.ndarray
    s0: np.ndarray
    eigenvalues: np.ndarray
    fitted: np.ndarray
    floored: np.ndarray

    @property
    def md_mm2_per_s(self) -> np.ndarray:
        """Mean diffusivity, shape (...), float32."""
        return mean_diffusivity(self.tensors)

    @property
    def fa(self) -> np.ndarray:
        """Fractional anisotropy, shape (...), float32, in [0, 1]; negative eigenvalues count as 0."""
        return fractional_anisotropy(self.eigenvalues)

    def eigenvectors(self) -> np.ndarray:
        """Return the eigenvectors as columns, shape (..., 3, 3), float32, in the order of the eigenvalues."""
        return decompose(self.tensors)[1]

    def principal_direction(self) -> np.ndarray:
        """Return the unit vector of the largest eigenvalue, shape (..., 3), float32; its sign is arbitrary."""
        return self.eigenvectors()[..., 0]


def check_scheme(b_values_s_per_mm2: np.ndarray, gradients: np.ndarray, volumes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return b-values (N,) and unit gradients (N, 3) as float64, zero where unweighted.

    Raises
    ------
    InputError
        Wrong lengths, values that are not finite, negative b-values, gradients that are not unit vectors.
    """
    b = np.asarray(b_values_s_per_mm2, np.float64).reshape(-1)
    g = np.asarray(gradients, np.float64)
    if b.shape != (volumes,) or g.shape != (volumes, 3):
        raise InputError(
            f"{volumes} volumes, but {b.size} b-values and gradients of shape {g.shape}",
            "give one b-value and one gradient (x, y, z) per volume",
        )
    if not (np.all(np.isfinite(b)) and np.all(np.isfinite(g))):
        bad = int(np.sum(~np.isfinite(b)) + np.sum(~np.isfinite(g)))
        raise InputError(f"{bad} of the b-values and gradients are not finite", "correct the gradient table")
    if np.any(b < 0):
        raise InputError(f"b-value {b.min():g} s/mm² is negative", "correct the gradient table")
    length = np.linalg.norm(g, axis=1)
    weighted = b > UNWEIGHTED_LIMIT
    wrong = weighted & (np.abs(length - 1) > UNIT_TOLERANCE)
    if np.any(wrong):
        first = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{int(wrong.sum())} gradients are not unit vectors (volume {first}, b {b[first]:g}: length "
            f"{length[first]:.3g})",
            "normalise the gradients, and set the b-value to 0 where there is none",
        )
    unit = np.where((weighted | (length > 0.5))[:, None], g / np.maximum(length, 1e-12)[:, None], 0.0)
    return b, unit


def count_directions(b_values_s_per_mm2: np.ndarray, gradients: np.ndarray) -> int:
    """Return how many different axes (opposite gradients count once) the weighted volumes measure."""
    b = np.asarray(b_values_s_per_mm2, float).reshape(-1)
    left = np.asarray(gradients, float)[b > UNWEIGHTED_LIMIT]
    count = 0
    limit = np.cos(np.deg2rad(SAME_DIRECTION_DEG))
    while left.size:
        count += 1
        left = left[np.abs(left @ left[0]) < limit]
    return count


def design_matrix(b_values_s_per_mm2: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Return the (N, 7) matrix of log S = X (log S0, Dxx, Dxy, Dxz, Dyy, Dyz, Dzz)."""
    rows = [-encoding_vector(b, g) for b, g in zip(b_values_s_per_mm2, gradients, strict=True)]
    return np.column_stack([np.ones(len(rows)), np.array(rows).reshape(-1, 6)])


def fit_tensors(
    signal: np.ndarray,
    b_values_s_per_mm2: np.ndarray,
    gradients: np.ndarray,
    mask: np.ndarray | None = None,
    method: str = "wls",
    min_signal: float | None = None,
    progress: Progress | None = None,
) -> TensorFit:
    """Fit a diffusion tensor to every voxel.

    Parameters
    ----------
    signal : ndarray, shape (..., N), real
        Magnitude; also a memory-mapped file. Any order and number of volumes, shells and directions.
    b_values_s_per_mm2 : ndarray, shape (N,)
    gradients : ndarray, shape (N, 3)
        Unit vectors; the tensors come out in their frame.
    mask : bool ndarray, shape (...), optional
        Where to fit; everywhere by default.
    method : {'wls', 'ols'}
        Weighted with the squared signal that ordinary least squares predicts, or not weighted.
    min_signal : float, optional
        Samples below it, zero and negative ones too, are raised to it before the logarithm. By default
        :data:`RELATIVE_FLOOR` times the largest sample of the voxel.
    progress : Progress, optional

    Returns
    -------
    TensorFit
        Voxels without any positive sample are not fitted.

    Raises
    ------
    InputError
        Bad gradient table, samples in the mask that are not finite, too few directions or b-values for a tensor: the
        message names their count.
    ParameterError
        Unknown method, a mask of another shape, a floor that is not positive.

    Source
    ------
    Salvador et al., Hum. Brain Mapp. 24:144 (2005), doi 10.1002/hbm.20076; Veraart et al., NeuroImage 81:335 (2013),
    doi 10.1016/j.neuroimage.2013.05.028 (weights from the predicted signal).
    """
    if signal.ndim < 1 or signal.dtype.kind not in "fiub":
        raise InputError(f"signal of shape {signal.shape}, type {signal.dtype}", "give real values (..., volumes)")
    b, g = check_scheme(b_values_s_per_mm2, gradients, signal.shape[-1])
    _check_directions(b, g)
    shape = signal.shape[:-1]
    unknowns, fitted, floored = _solve_log_linear(signal, design_matrix(b, g), mask, method, min_signal, progress)
    tensors = np.ascontiguousarray(unknowns[:, 1:]).reshape((*shape, 6))
    s0 = np.where(fitted, np.exp(np.minimum(unknowns[:, 0], 80.0)), 0.0).astype(np.float32).reshape(shape)
    eigenvalues = np.zeros((*shape, 3), np.float32)
    eigenvalues.reshape(-1, 3)[fitted] = eigenvalues_of(tensors.reshape(-1, 6)[fitted])
    return TensorFit(tensors, s0, eigenvalues, fitted.reshape(shape), floored.reshape(shape))


def fit_adc(
    signal: np.ndarray,
    b_values_s_per_mm2: np.ndarray,
    mask: np.ndarray | None = None,
    method: str = "wls",
    min_signal: float | None = None,
    progress: Progress | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit one apparent diffusion coefficient per voxel, whatever the directions.

    For scans with too few directions for a tensor. Of volumes in several directions it is the coefficient of their
    average attenuation.

    Parameters
    ----------
    signal, b_values_s_per_mm2, mask, method, min_signal, progress
        As for :func:`fit_tensors`.

    Returns
    -------
    adc : ndarray, shape (...), float32, mm²/s
    s0 : ndarray, shape (...), float32

    Raises
    ------
    InputError
        As :func:`fit_tensors`; fewer than two different b-values.
    """
    b = np.asarray(b_values_s_per_mm2, float).reshape(-1)
    check_scheme(b, np.tile([1.0, 0.0, 0.0], (b.size, 1)), signal.shape[-1])
    if np.ptp(b) <= UNWEIGHTED_LIMIT:
        raise InputError(
            f"all b-values lie between {b.min():g} and {b.max():g} s/mm²",
            "an apparent diffusion coefficient needs two different b-values, such as 0 and 1000",
        )
    design = np.column_stack([np.ones(b.size), -b])
    unknowns, fitted, _ = _solve_log_linear(signal, design, mask, method, min_signal, progress)
    s0 = np.where(fitted, np.exp(np.minimum(unknowns[:, 0], 80.0)), 0.0).astype(np.float32)
    shape = signal.shape[:-1]
    return np.ascontiguousarray(unknowns[:, 1]).reshape(shape), s0.reshape(shape)


def _check_directions(b: np.ndarray, g: np.ndarray) -> None:
    """Refuse schemes that do not determine a tensor; raises InputError."""
    count = count_directions(b, g)
    if count < DIRECTIONS_NEEDED:
        raise InputError(
            f"{count} different gradient direction{'' if count == 1 else 's'} among {b.size} volumes; a diffusion "
            f"tensor needs at least {DIRECTIONS_NEEDED}",
            "use a scan with more directions, or fit_adc for an apparent diffusion coefficient",
        )
    scaled = design_matrix(b / b.max(), g)
    singular = np.linalg.svd(scaled, compute_uv=False)
    if singular.size < scaled.shape[1] or singular[-1] < _RANK_TOLERANCE * singular[0]:
        if np.ptp(b) <= UNWEIGHTED_LIMIT:
            raise InputError(
                f"all {b.size} volumes have b-values near {b.mean():.0f} s/mm², none is unweighted",
                "add a volume with b = 0, or a second shell",
            )
        raise InputError(
            f"the {count} gradient directions do not determine a tensor (they lie on one cone or plane)",
            "use directions spread over the sphere",
        )


def _chunks(mask: np.ndarray, volumes: int) -> Iterator[np.ndarray]:
    """Yield the flat indices of a mask, as many at a time as make :data:`_CHUNK_SAMPLES` samples."""
    inside = np.flatnonzero(mask.reshape(-1))
    step = max(1, _CHUNK_SAMPLES // max(volumes, 1))
    for start in range(0, inside.size, step):
        yield inside[start : start + step]


def _solve_log_linear(
    signal: np.ndarray,
    design: np.ndarray,
    mask: np.ndarray | None,
    method: str,
    min_signal: float | None,
    progress: Progress | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return unknowns (V, P) float32 with the logarithm of S0 first, and the flat masks fitted and floored."""
    shape = signal.shape[:-1]
    where = np.ones(shape, bool) if mask is None else np.asarray(mask)
    if where.shape != shape or where.dtype != bool:
        raise ParameterError(
            f"mask of shape {where.shape} and type {where.dtype} for an image of shape {shape}",
            "give a boolean mask of the image's shape",
        )
    if method not in ("wls", "ols"):
        raise ParameterError(f"method '{method}' of the fit is unknown", "choose 'wls' or 'ols'")
    if min_signal is not None and not (np.isfinite(min_signal) and min_signal > 0):
        raise ParameterError(f"min_signal is {min_signal}", "give a positive number, or leave it out")
    scale = np.maximum(np.abs(design).max(axis=0), 1e-30)
    scaled = design / scale
    count = int(np.prod(shape, dtype=int))
    unknowns = np.zeros((count, design.shape[1]), np.float32)
    fitted, floored = np.zeros(count, bool), np.zeros(count, bool)
    progress = progress or Progress()
    total, done = max(int(np.count_nonzero(where)), 1), 0
    for index in _chunks(where, signal.shape[-1]):
        block = np.asarray(signal[np.unravel_index(index, shape)], np.float64)
        if not np.all(np.isfinite(block)):
            bad = int(np.sum(~np.isfinite(block).all(axis=1)))
            raise InputError(f"{bad} voxels in the mask have values that are NaN or infinite", "replace or mask them")
        top = block.max(axis=1)
        usable = top > 0
        floor = np.full(top.shape, min_signal) if min_signal is not None else RELATIVE_FLOOR * top
        below = block < floor[:, None]
        logarithm = np.log(np.where(below, floor[:, None], block)[usable])
        unknowns[index[usable]] = _solve_block(logarithm, scaled, method) / scale
        fitted[index], floored[index] = usable, usable & below.any(axis=1)
        done += index.size
        progress.report(done / total, "Fitting")
    return unknowns, fitted, floored


def _solve_block(logarithm: np.ndarray, design: np.ndarray, method: str) -> np.ndarray:
    """Solve one block: logarithms (V, N), design (N, P) with columns of order one; returns (V, P)."""
    first = logarithm @ np.linalg.pinv(design).T
    if method == "ols" or not logarithm.size:
        return np.asarray(first)
    predicted = first @ design.T
    weight = np.exp(predicted - predicted.max(axis=1, keepdims=True))
    weight = np.maximum(weight, _WEIGHT_FLOOR) ** 2
    size = design.shape[1]
    upper = np.triu_indices(size)
    products = design[:, upper[0]] * design[:, upper[1]]
    normal = np.empty((logarithm.shape[0], size, size))
    normal[:, upper[0], upper[1]] = weight @ products
    normal[:, upper[1], upper[0]] = normal[:, upper[0], upper[1]]
    right = (weight * logarithm) @ design
    return np.asarray(np.linalg.solve(normal, right[..., None])[..., 0])
