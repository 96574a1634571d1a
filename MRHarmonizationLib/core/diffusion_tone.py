"""The contrast of a diffusion scan told from the scan alone, and one gain per voxel that changes it.

Tissues are told apart by diffusion, which no echo time changes: relative to white matter, a voxel has a brightness
(log b0) and a diffusivity. The gain is a smooth function of both, and a smooth shading over the brain; it is the same
for every volume, so that diffusivity and anisotropy stay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import InputError

#: Numbers that describe a scan's contrast, in the order of the model's input.
FEATURES = (
    "grey_brightness",
    "fluid_brightness",
    "white_attenuation",
    "grey_attenuation",
    "grey_diffusivity",
    "fluid_diffusivity",
    "pure_fluid_brightness",
    "pure_fluid_diffusivity",
    "pure_fluid_upper_brightness",
    "slice_spacing",
    "pixel_spacing",
)
#: Terms of the tone: 1, b, d, b²/2, d²/2, b·d/2 for brightness b and diffusivity d.
TERMS = 6
#: Range of log brightness, of relative diffusivity, and of log attenuation below that of white matter.
BRIGHTNESS, DIFFUSIVITY, ATTENUATION = (-1.5, 2.5), (-1.0, 3.0), 2.5
#: Relative diffusivity from which on a voxel holds much fluid; the share of those that hold the most.
FLUID_FROM, PUREST = 1.2, 0.1
#: Degree of the polynomial that describes the shading, and what holds it back: tissues vary by themselves.
SHADING_DEGREE, SHADING_RIDGE = 2, 0.1
#: Largest log shading, and largest log gain of the tone.
SHADING_LIMIT, TONE_LIMIT = 1.0, 1.5
#: Deviation of log brightness within a tissue beyond which a voxel counts less.
WITHIN_TISSUE = 0.15
#: Brightness relative to white matter from which on a voxel is brain, and fewest voxels of each tissue.
LEAST_BRIGHTNESS, LEAST_VOXELS = 0.3, 20


@dataclass(frozen=True, eq=False)
class ScanContrast:
    """A scan's contrast.

    Attributes
    ----------
    features : float64 ndarray, shape (len(FEATURES),)
    shading : float32 ndarray, shape (K, J, I)
        Log of what the coil adds.
    white : float
        Median b0 of white matter once the shading is off, in the scan's units.
    terms : float32 ndarray, shape (TERMS, K, J, I)
    brain : bool ndarray, shape (K, J, I)
    """

    features: np.ndarray
    shading: np.ndarray
    white: float
    terms: np.ndarray
    brain: np.ndarray

    def gain(self, coefficients: np.ndarray) -> np.ndarray:
        """Return the gain that takes white matter to 1 and the other tissues where the coefficients say.

        Parameters
        ----------
        coefficients : ndarray, shape (TERMS,)

        Returns
        -------
        float32 ndarray, shape (K, J, I)
        """
        tone = np.tensordot(np.asarray(coefficients, np.float32), self.terms, axes=(0, 0))
        return np.asarray(np.exp(np.clip(tone, -TONE_LIMIT, TONE_LIMIT) - self.shading) / self.white, np.float32)


def measure_contrast(
    b0: np.ndarray,
    weighted: np.ndarray,
    white: np.ndarray,
    grey: np.ndarray,
    brain: np.ndarray,
    slice_mm: float,
    pixel_mm: float,
) -> ScanContrast:
    """Describe a scan.

    Parameters
    ----------
    b0, weighted : float32 ndarrays, shape (K, J, I)
        Mean unweighted and mean weighted image, without the noise floor.
    white, grey, brain : bool ndarrays, shape (K, J, I)
        Tissues as diffusion tells them (see ``core/diffusion_masks``).
    slice_mm, pixel_mm : float
        Voxel of the scan as it was acquired.

    Raises
    ------
    InputError
        Too little of a tissue, or weighted images that are not darker than unweighted ones.
    """
    white, grey = white & (b0 > 0), grey & (b0 > 0)
    for name, where in (("white matter", white), ("grey matter", grey)):
        _enough(name, where)
    shading = _shading(b0, white, grey)
    even = np.exp(-shading)
    level = float(np.median((b0 * even)[white]))
    relative = b0 * even / level
    attenuated = weighted * even / level
    lw = float(np.log(max(float(np.median(attenuated[white])), 1e-3)))
    if lw > -0.05:
        raise InputError(
            f"weighted white matter has {np.exp(lw):.2f} of its unweighted brightness; expected less than .95",
            "check the b-values",
        )
    bright = np.clip(np.log(np.maximum(relative, 1e-3)), *BRIGHTNESS)
    dark = np.maximum(np.log(np.maximum(attenuated, 1e-3)), lw - ATTENUATION)
    diffusivity = np.clip((bright - dark) / -lw - 1.0, *DIFFUSIVITY)
    brain = brain & (relative > LEAST_BRIGHTNESS)
    fluid = brain & (diffusivity >= FLUID_FROM)
    _enough("fluid", fluid)
    purest = float(np.quantile(diffusivity[fluid], 1.0 - PUREST))
    pure = fluid & (diffusivity >= purest)
    features = (
        np.median(bright[grey]),
        np.median(bright[fluid]),
        lw,
        np.log(max(float(np.median(attenuated[grey])), 1e-3)),
        np.median(diffusivity[grey]),
        np.median(diffusivity[fluid]),
        np.median(bright[pure]),
        purest,
        np.quantile(bright[pure], 0.8),
        slice_mm,
        pixel_mm,
    )
    return ScanContrast(
        np.array(features, float),
        shading,
        level,
        tone_terms(bright, diffusivity),
        brain,
    )


def tone_terms(brightness: np.ndarray, diffusivity: np.ndarray) -> np.ndarray:
    """Return the terms of the tone, float32, shape (TERMS, *shape)."""
    b, d = brightness, diffusivity
    return np.stack([np.ones_like(b), b, d, 0.5 * b * b, 0.5 * d * d, 0.5 * b * d]).astype(np.float32)


def _enough(name: str, where: np.ndarray) -> None:
    count = int(np.count_nonzero(where))
    if count < LEAST_VOXELS:
        raise InputError(
            f"{name} has {count} voxels by diffusivity and anisotropy, at least {LEAST_VOXELS} are needed to tell the "
            "contrast",
            "choose global_scaling, or give a mask of the whole brain",
        )


def _shading(b0: np.ndarray, white: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Fit a polynomial to log b0 over white and grey matter, each with a level of its own; float32 (K, J, I)."""
    tissue = white | grey
    places = np.argwhere(tissue)
    low, high = places.min(axis=0), places.max(axis=0)
    axes = [
        np.clip(2.0 * (np.arange(n) - a) / max(b - a, 1) - 1.0, -1.2, 1.2)
        for n, a, b in zip(b0.shape, low, high, strict=True)
    ]
    powers = [
        (i, j, k)
        for i in range(SHADING_DEGREE + 1)
        for j in range(SHADING_DEGREE + 1 - i)
        for k in range(SHADING_DEGREE + 1 - i - j)
    ]
    at = [axis[places[:, n]] for n, axis in enumerate(axes)]
    columns = [at[0] ** i * at[1] ** j * at[2] ** k for i, j, k in powers]
    matrix = np.stack([*columns, grey[tissue].astype(float)], axis=1)
    values = np.log(b0[tissue].astype(float))
    ridge = np.diag([0.0, *[SHADING_RIDGE * len(values)] * (len(powers) - 1), 0.0])
    ridge[-1, -1] = 1e-9 * len(values)
    share = np.ones(len(values))
    for _ in range(2):
        weighted = matrix * share[:, None]
        found = np.linalg.solve(weighted.T @ matrix + ridge, weighted.T @ values)
        share = 1.0 / (1.0 + ((values - matrix @ found) / WITHIN_TISSUE) ** 2)
    field = np.zeros(b0.shape)
    for (i, j, k), factor in zip(powers[1:], found[1:-1], strict=True):
        field += factor * np.multiply.outer(axes[0] ** i, np.multiply.outer(axes[1] ** j, axes[2] ** k))
    return np.clip(field, -SHADING_LIMIT, SHADING_LIMIT).astype(np.float32)
