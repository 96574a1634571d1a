"""What the networks of the latent-diffusion degraders are given: the same for training and for use.

A degrader makes what is to be added to a good plane: out = image + unit · residual, the residual being what the
diffusion model samples. So anatomy is kept by construction, and nothing that the code cannot hold is lost from the
image. The unit rises with the level; for blur also with how much detail there is around a pixel, for what blur
takes away is a thousand times more at an edge than in white matter, and a model of such values would learn edges alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.coil_array import coarse_gain, interpolated, sample_coil_array
from MRHarmonizationLib.degradations.receiver_noise import ACCELERATED_SHARE, SamplingWindow, sample_window

TASK = "degrade"
#: Pixels along each axis for one position of a code, and all of them.
FACTOR, CELL = 4, 16
#: Kinds of degraders.
NOISE, BLUR = "noise", "blur"
KINDS = (NOISE, BLUR)
#: Unit of the residual at level 1: of noise its deviation, in units of the intensity range; of blur a factor on the
#: detail around a pixel.
SCALES = {NOISE: 0.10, BLUR: 0.5}
#: Power of the level that the unit follows (measured on simulated blur: the first loss of resolution changes most).
EXPONENTS = {NOISE: 1.0, BLUR: 0.6}
#: Detail of a plane: what is finer than the first deviation in pixels, its root mean square over the second; the least.
DETAIL_PIXELS, DETAIL_AROUND, LEAST_DETAIL = 1.5, 4.0, 0.005
#: Resolution in voxels that blur of level 1 leaves (level 0 leaves 1).
COARSEST_VOXELS = 3.0
#: Largest ratio of what is lost along rows (or columns) to the mean, as a logarithm.
UNEVENNESS = 0.35
#: Level below which the network is told this one: the residual is as good as independent of it.
LEAST_LEVEL = 0.05
#: Numbers told beside the code: time, level, two of the acquisition, whether those are known, whether all is known.
TOLD = ("time", "level", "first", "second", "acquisition_known", "condition_known")


@dataclass(frozen=True, eq=False)
class Acquisition:
    """How a degraded scan is measured, drawn once for all its planes.

    Attributes
    ----------
    first, second : float in [0, 1]
        Noise: correlation of neighbours along rows and columns. Blur: ringing of the point spread (0 a Gaussian, 1 a
        sharp crop of k-space), and how much coarser rows are than columns (0.5 equally).
    gain : ndarray, shape (S, A, B), or None
        Coarse map of the relative deviation of the noise over the field of view; None for 1 everywhere.
    known : bool
        Whether the two numbers are told.
    """

    first: float
    second: float
    gain: np.ndarray | None = None
    known: bool = True

    def gain_at(self, place: float, size: tuple[int, int]) -> np.ndarray:
        """Return the relative deviation of one plane, float32, shape ``size``; ``place`` is 0 to 1 along the slices."""
        if self.gain is None:
            return np.ones(size, np.float32)
        places = [np.array([place]), *((np.arange(n) + 0.5) / n for n in size)]
        return interpolated(self.gain, places)[0]


def noise_acquisition(window: SamplingWindow, gain: np.ndarray | None = None) -> Acquisition:
    """Return what the network is told of a window of k-space and a coarse map of relative noise."""
    first, second = (float(np.clip(window.correlation(axis), 0.0, 1.0)) for axis in (0, 1))
    return Acquisition(first, second, gain)


def blur_acquisition(profile: str, taper: float, unevenness: float) -> Acquisition:
    """Return what the network is told of a point spread; ``unevenness`` is from -1 to 1."""
    return Acquisition(0.0 if profile == "gaussian" else 1.0 - 0.75 * taper, 0.5 + 0.5 * unevenness)


def sample_gain(rng: np.random.Generator) -> np.ndarray | None:
    """Draw a coarse map of relative noise, root mean square 1; None where nothing is unfolded."""
    if rng.random() >= ACCELERATED_SHARE:
        return None
    gain = coarse_gain(sample_coil_array(rng))
    return np.asarray(gain / np.sqrt(np.mean(gain**2)), np.float32)


def sample_point_spread(rng: np.random.Generator) -> tuple[str, float, float]:
    """Draw profile, taper and unevenness of a blur."""
    profile = "gaussian" if rng.random() < 0.5 else "kspace"
    return profile, float(rng.uniform(0.0, 1.0)), float(rng.uniform(-1.0, 1.0))


def sample_acquisition(rng: np.random.Generator, kind: str) -> Acquisition:
    """Draw how a degraded scan is measured; the simulator draws the same way."""
    if kind == NOISE:
        window = sample_window(rng)
        return noise_acquisition(window, sample_gain(rng))
    return blur_acquisition(*sample_point_spread(rng))


def plane_resolution(level: float, unevenness: float) -> tuple[float, float]:
    """Return the resolution in voxels along rows and columns of a blur."""
    lost = (COARSEST_VOXELS - 1.0) * level
    ratio = float(np.exp(UNEVENNESS * unevenness))
    return 1.0 + lost * ratio, 1.0 + lost / ratio


def check_level(level: float) -> None:
    """Refuse levels outside [0, 1]."""
    if not 0.0 <= level <= 1.0:
        raise ParameterError(f"level is {level}, expected 0 to 1", "0 changes nothing, 1 is the strongest")


def detail(planes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the detail of planes (N, A, B), and its root mean square around every pixel; float32, same shape."""
    fine = planes - gaussian_filter(planes, (0.0, DETAIL_PIXELS, DETAIL_PIXELS))
    power = gaussian_filter(fine * fine, (0.0, DETAIL_AROUND, DETAIL_AROUND))
    around = np.sqrt(np.maximum(power, 0.0)) + np.float32(LEAST_DETAIL)
    return np.asarray(fine, np.float32), np.asarray(around, np.float32)


def residual_unit(planes: np.ndarray, kind: str, level: float, scale: float) -> np.ndarray:
    """Return the unit in which the residual of planes is measured.

    Parameters
    ----------
    planes : ndarray, shape (N, A, B), float32
        Good planes, normalised.
    kind : {'noise', 'blur'}
    level : float
    scale : float
        Of level 1, see :data:`SCALES`; a model keeps the one it was trained with.

    Returns
    -------
    ndarray, shape (N, A, B), float32
    """
    strength = np.float32(scale * level ** EXPONENTS[kind])
    return np.full(planes.shape, strength, np.float32) if kind == NOISE else strength * detail(planes)[1]


def guide(planes: np.ndarray, kind: str, level: float) -> np.ndarray:
    """Return what the residual follows most directly, to be encoded beside the planes.

    Of noise, the planes as they compare with noise of the level: where they are dark, noise is one-sided (Rician). Of
    blur, their detail in units of what is around it: that is what blur takes away.

    Parameters
    ----------
    planes : ndarray, shape (N, A, B), float32
        Normalised.
    kind : {'noise', 'blur'}
    level : float
    """
    if kind == BLUR:
        fine, around = detail(planes)
        return np.asarray(fine / around, np.float32)
    signal = np.maximum(planes, 0.0)
    return np.asarray(signal / (signal + np.float32(2.0 * SCALES[NOISE] * max(level, LEAST_LEVEL))), np.float32)


def unfold(planes: np.ndarray) -> np.ndarray:
    """Return the 4 × 4 cells of planes as channels: (N, A, B) to (N, 16, A / 4, B / 4)."""
    n, rows, columns = planes.shape
    cells = planes.reshape(n, rows // FACTOR, FACTOR, columns // FACTOR, FACTOR).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(cells.reshape(n, CELL, rows // FACTOR, columns // FACTOR), np.float32)


def fold(cells: np.ndarray) -> np.ndarray:
    """Undo :func:`unfold`: (N, 16, a, b) to (N, 4 a, 4 b)."""
    n, _, rows, columns = cells.shape
    planes = cells.reshape(n, FACTOR, FACTOR, rows, columns).transpose(0, 3, 1, 4, 2)
    return np.ascontiguousarray(planes.reshape(n, rows * FACTOR, columns * FACTOR), np.float32)


def gain_map(gain: np.ndarray) -> np.ndarray:
    """Return the logarithm of the relative deviation on the grid of codes: (N, A, B) to (N, 1, A / 4, B / 4)."""
    return np.asarray(np.log(unfold(gain)).mean(axis=1, keepdims=True), np.float32)


def told_numbers(time: float, level: float, acquisition: Acquisition) -> tuple[float, ...]:
    """Return the six numbers of :data:`TOLD`; ``time`` from 0 to 1."""
    known = float(acquisition.known)
    return time, max(level, LEAST_LEVEL), acquisition.first * known, acquisition.second * known, known, 1.0


def denoiser_input(noisy: np.ndarray, condition: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Return the input of a denoiser.

    Parameters
    ----------
    noisy : ndarray, shape (N, C, a, b)
        Noisy codes.
    condition : ndarray, shape (N, 2 C + 1, a, b)
        Codes of image and guide, and the gain map.
    told : ndarray, shape (N, 6)
        See :func:`told_numbers`; all zeros where nothing is told, and then the condition is left out too.

    Returns
    -------
    ndarray, shape (N, 3 C + 7, a, b), float32
    """
    present = (told[:, -1] > 0).astype(np.float32)[:, None, None, None]
    planes = np.broadcast_to(told[:, :, None, None], (*told.shape, *noisy.shape[2:]))
    return np.ascontiguousarray(np.concatenate([noisy, condition * present, planes], axis=1), np.float32)
