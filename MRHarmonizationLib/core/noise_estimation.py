"""How strong the noise of a diffusion scan is: from air, from the residuals of a tensor, from local redundancy.

No way is right for every scan, so each says when it cannot be used. Air is best where the scanner kept it; parallel
imaging makes noise vary over the image, and then air says little about the brain. Residuals hold motion and model
errors too: an upper bound. Redundancy (Marchenko-Pastur) needs many volumes and noise that differs from voxel to
voxel; of interpolated images take every second voxel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.masks import foreground_mask
from MRHarmonizationLib.core.noise_floor import variance_factor
from MRHarmonizationLib.core.tensor import design_matrix, fit_tensors

#: Fewest voxels of air that make an estimate.
AIR_VOXELS = 500
#: Relative difference between the shape of the air's histogram and that of noise at which it does not count as noise.
SHAPE_TOLERANCE = 0.15
#: Distance from the head, in voxels, from which on air is looked for (ghosts and skin lie nearer).
_AIR_MARGIN = 4
#: Signal over noise from which on residuals are Gaussian enough.
_GAUSSIAN_SNR = 3.0
#: Volumes beyond the seven unknowns of a tensor from which on residuals say something.
_SPARE_VOLUMES = 5
#: Fewest volumes for the Marchenko-Pastur law.
_MP_VOLUMES = 10


@dataclass(frozen=True)
class NoiseEstimate:
    """Strength of the noise.

    Attributes
    ----------
    sigma : float
        Standard deviation per channel, in the scan's units.
    method : {'air', 'residuals', 'redundancy'}
    voxels : int
        Voxels, or windows for 'redundancy', that took part.
    spread : float
        Relative spread (half the distance of the quartiles over the median) of the estimate over volumes, voxels or
        windows.
    """

    sigma: float
    method: str
    voxels: int
    spread: float


def estimate_sigma(
    signal: np.ndarray, b_values_s_per_mm2: np.ndarray, gradients: np.ndarray, mask: np.ndarray | None = None
) -> NoiseEstimate:
    """Estimate the noise in the first way that the scan allows: air, redundancy of every second voxel, residuals.

    Parameters
    ----------
    signal : ndarray, shape (K, J, I, N)
    b_values_s_per_mm2, gradients : ndarrays, shapes (N,) and (N, 3)
    mask : bool ndarray, shape (K, J, I), optional
        Head or brain; found in the first volume by default.

    Raises
    ------
    InputError
        None of the ways can be used; the message is that of the last.
    """
    if signal.ndim != 4:
        raise InputError(f"signal of shape {signal.shape}", "give four dimensions (K, J, I, volumes)")
    b = np.asarray(b_values_s_per_mm2, float)
    strongest = np.argsort(-b, kind="stable")[:3]
    try:
        return estimate_sigma_from_air(signal[..., np.sort(strongest)])
    except InputError:
        pass
    head = foreground_mask(np.asarray(signal[..., int(np.argmin(b))], np.float32)) if mask is None else mask
    try:
        return estimate_sigma_from_redundancy(signal, head, step=2)
    except InputError:
        return estimate_sigma_from_residuals(signal, b, gradients, head)


def estimate_sigma_from_air(magnitude: np.ndarray, air: np.ndarray | None = None, coils: int = 1) -> NoiseEstimate:
    """Estimate the noise from the air around the head.

    Parameters
    ----------
    magnitude : ndarray, shape (K, J, I) or (K, J, I, N)
        Of several volumes the median of their estimates is returned; give the strongly weighted ones, their ghosts
        are the weakest.
    air : bool ndarray, shape (K, J, I), optional
        Where there is air; by default what lies away from the head and is not exactly 0.
    coils : int
        Channels combined as a root of the sum of squares.

    Returns
    -------
    NoiseEstimate

    Raises
    ------
    InputError
        Fewer than :data:`AIR_VOXELS` voxels (the scanner wrote zeros, or cut the head out), or values not
        distributed like noise (filtered, masked, or signal among them).

    Source
    ------
    Quantiles of the chi distribution; Gudbjartsson & Patz, Magn. Reson. Med. 34:910 (1995), doi
    10.1002/mrm.1910340618.
    """
    from scipy.stats import chi

    if magnitude.ndim not in (3, 4):
        raise InputError(f"image of shape {magnitude.shape}", "give (K, J, I) or (K, J, I, volumes)")
    volumes = magnitude[..., None] if magnitude.ndim == 3 else magnitude
    where = _air_around(volumes[..., 0]) if air is None else np.asarray(air, bool)
    if where.shape != volumes.shape[:3]:
        raise ParameterError(f"mask of shape {where.shape} for {volumes.shape[:3]}", "give a mask of the image's shape")
    quantiles = chi.ppf([0.25, 0.5, 0.75], 2 * coils)
    estimates, used = [], 0
    for n in range(volumes.shape[3]):
        values = np.asarray(volumes[..., n], float)[where]
        values = values[np.isfinite(values) & (values > 0)]
        if values.size < AIR_VOXELS:
            raise InputError(
                f"{values.size} voxels of air that are not 0; at least {AIR_VOXELS} are needed",
                "estimate the noise from the residuals or from redundancy instead",
            )
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        shape = (high / max(low, 1e-30)) / (quantiles[2] / quantiles[0])
        if abs(shape - 1) > SHAPE_TOLERANCE:
            raise InputError(
                f"the air of volume {n} is not distributed like the noise of {coils} coil(s): its upper over lower "
                f"quartile is {shape:.2f} times what it should be",
                "estimate the noise from the residuals or from redundancy instead",
            )
        estimates.append(middle / quantiles[1])
        used += values.size
    return NoiseEstimate(float(np.median(estimates)), "air", used, _spread(np.array(estimates)))


def estimate_sigma_from_residuals(
    signal: np.ndarray,
    b_values_s_per_mm2: np.ndarray,
    gradients: np.ndarray,
    mask: np.ndarray,
    most_voxels: int = 20000,
) -> NoiseEstimate:
    """Estimate the noise from what a tensor fit leaves over: an upper bound, as motion and model errors add to it.

    Parameters
    ----------
    signal : ndarray, shape (K, J, I, N)
    b_values_s_per_mm2, gradients : ndarrays, shapes (N,) and (N, 3)
    mask : bool ndarray, shape (K, J, I)
        Brain, white matter at best.
    most_voxels : int
        Evenly spaced voxels of the mask that are used.

    Returns
    -------
    NoiseEstimate

    Raises
    ------
    InputError
        As :func:`~MRHarmonizationLib.core.tensor.fit_tensors`; too few volumes beyond the seven unknowns; no voxel
        well above the noise.
    """
    volumes = signal.shape[-1]
    if volumes < 7 + _SPARE_VOLUMES:
        raise InputError(
            f"{volumes} volumes leave {max(volumes - 7, 0)} residuals per voxel; at least {_SPARE_VOLUMES} are needed",
            "estimate the noise from the air instead",
        )
    inside = np.flatnonzero(np.asarray(mask, bool).reshape(-1))
    chosen = inside[:: max(1, inside.size // most_voxels)]
    values = np.asarray(signal[np.unravel_index(chosen, signal.shape[:-1])], float)
    fit = fit_tensors(values, b_values_s_per_mm2, gradients)
    unknowns = np.concatenate([np.log(np.maximum(fit.s0, 1e-30))[:, None], fit.tensors], axis=1)
    predicted = np.exp(unknowns @ design_matrix(np.asarray(b_values_s_per_mm2, float), np.asarray(gradients, float)).T)
    deviation = np.sqrt(np.sum((values - predicted) ** 2, axis=1) / (volumes - 7))
    usable = fit.fitted & ~fit.floored & (predicted.min(axis=1) > _GAUSSIAN_SNR * deviation)
    if np.count_nonzero(usable) < 100:
        raise InputError(
            f"{int(np.count_nonzero(usable))} voxels lie well above the noise; at least 100 are needed",
            "give a mask of the brain, or estimate the noise from the air",
        )
    found = deviation[usable]
    from scipy.stats import chi

    middle = float(chi.ppf(0.5, volumes - 7)) / np.sqrt(volumes - 7)
    return NoiseEstimate(float(np.median(found) / middle), "residuals", int(found.size), _spread(found))


def estimate_sigma_from_redundancy(
    signal: np.ndarray,
    mask: np.ndarray | None = None,
    window: int = 5,
    step: int = 1,
    windows: int = 300,
    seed: int = 0,
) -> NoiseEstimate:
    """Estimate the noise from the part of the volumes that no other volume explains (Marchenko-Pastur law).

    Parameters
    ----------
    signal : ndarray, shape (K, J, I, N)
    mask : bool ndarray, shape (K, J, I), optional
        Where the windows' centres lie; everywhere by default.
    window : int
        Side of the cubic windows in samples, odd.
    step : int
        Distance of the samples in voxels: 1, or 2 where the scanner interpolated its images to twice the matrix.
    windows : int
        Windows drawn at random; the median of their estimates is returned.
    seed : int
        Of the draw.

    Returns
    -------
    NoiseEstimate

    Raises
    ------
    InputError
        Fewer than :data:`_MP_VOLUMES` volumes, or no window that fits.
    ParameterError
        An even or small window, a step below 1.

    Source
    ------
    Veraart et al., NeuroImage 142:394 (2016), doi 10.1016/j.neuroimage.2016.08.016, with the deviation of a
    magnitude brought to that of its channels by the factor of Koay & Basser (2006).
    """
    if signal.ndim != 4 or signal.shape[3] < _MP_VOLUMES:
        raise InputError(
            f"signal of shape {signal.shape}; at least {_MP_VOLUMES} volumes of three dimensions are needed",
            "estimate the noise from the air instead",
        )
    if window < 3 or window % 2 == 0 or step < 1 or windows < 1:
        raise ParameterError(
            f"window {window}, step {step}, {windows} windows", "give an odd window of at least 3, and 1 or more"
        )
    reach = (window // 2) * step
    centres = np.zeros(signal.shape[:3], bool)
    inner = tuple(slice(min(reach, size // 2), max(size - reach, size // 2 + 1)) for size in signal.shape[:3])
    centres[inner] = True if mask is None else np.asarray(mask, bool)[inner]
    places = np.argwhere(centres)
    if not len(places):
        raise InputError("no window lies inside the mask", "give a larger mask or a smaller window")
    rng = np.random.default_rng(seed)
    chosen = places[rng.choice(len(places), min(windows, len(places)), replace=False)]
    found = []
    for centre in chosen:
        block = signal[tuple(slice(max(c - reach, 0), c + reach + 1, step) for c in centre)]
        samples = np.asarray(block, float).reshape(-1, signal.shape[3])
        sigma = _marchenko_pastur_sigma(samples)
        if sigma > 0:
            found.append(_channel_deviation(sigma, float(samples.mean())))
    if not found:
        raise InputError("no window holds noise (constant or empty values)", "give a mask of the head")
    values = np.array(found)
    return NoiseEstimate(float(np.median(values)), "redundancy", int(values.size), _spread(values))


def _marchenko_pastur_sigma(samples: np.ndarray) -> float:
    """Return the deviation of the noise in a (voxels, volumes) matrix."""
    rows, columns = samples.shape
    small, large = min(rows, columns), max(rows, columns)
    gram = samples.T @ samples if columns <= rows else samples @ samples.T
    eigenvalues = np.maximum(np.linalg.eigvalsh(gram), 0.0) / large  # ascending
    count = np.arange(1, small + 1)
    mean = np.cumsum(eigenvalues) / count
    width = (eigenvalues - eigenvalues[0]) / (4.0 * np.sqrt(count / (large - (small - count))))
    noise = np.flatnonzero(width < mean)
    return float(np.sqrt(mean[noise[-1]])) if noise.size else 0.0


def _channel_deviation(deviation: float, mean: float) -> float:
    """Return σ of the channels from the deviation of magnitudes around a mean; they differ at low signal."""
    sigma = deviation
    for _ in range(3):
        snr = np.sqrt(max((mean / sigma) ** 2 - 1.0, 0.0))
        sigma = deviation / float(np.sqrt(variance_factor(snr)))
    return sigma


def _air_around(image: np.ndarray) -> np.ndarray:
    """Return the voxels away from the head, shape (K, J, I)."""
    from scipy.ndimage import binary_dilation, generate_binary_structure

    head = foreground_mask(np.asarray(image, np.float32))
    flat = generate_binary_structure(3, 1)
    flat[0], flat[2] = False, False  # slices may be few: margins within them only
    return np.asarray(~binary_dilation(head, flat, iterations=_AIR_MARGIN))


def _spread(values: np.ndarray) -> float:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return float(0.5 * (high - low) / max(middle, 1e-30))
