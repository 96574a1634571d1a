"""Random lesions, drawn into the object itself so that input and target of training both hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.degradations.base import build_parameters


@dataclass(frozen=True)
class LesionParameters:
    """Blobs with rough borders and one relative contrast each.

    Attributes
    ----------
    centres : tuple of (k, j, i) tuples
        In voxels.
    radii_mm : tuple of float
        Mean radius of each.
    contrasts : tuple of float
        Relative change of intensity at the core: +0.5 makes it 1.5 times as bright.
    softness : tuple of float
        Width of the border relative to the radius.
    seed : int
        Seed of the rough borders.
    """

    centres: tuple[tuple[float, float, float], ...] = ()
    radii_mm: tuple[float, ...] = ()
    contrasts: tuple[float, ...] = ()
    softness: tuple[float, ...] = ()
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "centres": [list(c) for c in self.centres],
            "radii_mm": list(self.radii_mm),
            "contrasts": list(self.contrasts),
            "softness": list(self.softness),
            "seed": self.seed,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LesionParameters:
        """Build from :meth:`to_dict`."""
        ready = dict(values)
        ready["centres"] = tuple(tuple(float(x) for x in c) for c in ready.get("centres", ()))
        return build_parameters(cls, ready)


def sample_lesions(rng: np.random.Generator, where: np.ndarray, most: int = 6) -> LesionParameters:
    """Draw up to ``most`` lesions with centres inside a mask (K, J, I); radii 1.5–9 mm, bright or dark."""
    candidates = np.flatnonzero(where.reshape(-1))
    count = int(rng.integers(1, most + 1)) if candidates.size else 0
    centres = (
        np.stack(np.unravel_index(rng.choice(candidates, count), where.shape), axis=1) if count else np.zeros((0, 3))
    )
    bright = rng.random(count) < 0.6
    contrasts = np.where(bright, rng.uniform(0.15, 1.2, count), -rng.uniform(0.15, 0.7, count))
    return LesionParameters(
        tuple((float(k), float(j), float(i)) for k, j, i in centres),
        tuple(float(r) for r in np.exp(rng.uniform(np.log(1.5), np.log(9.0), count))),
        tuple(float(c) for c in contrasts),
        tuple(float(s) for s in rng.uniform(0.1, 0.5, count)),
        int(rng.integers(2**31)),
    )


def apply_lesions(
    array: np.ndarray, parameters: LesionParameters, spacing_kji_mm: tuple[float, float, float]
) -> np.ndarray:
    """Return the image with lesions, float32, same shape (K, J, I)."""
    from scipy.ndimage import gaussian_filter

    result = array.astype(np.float32)
    rng = np.random.default_rng(parameters.seed)
    for centre, radius, contrast, softness in zip(
        parameters.centres, parameters.radii_mm, parameters.contrasts, parameters.softness, strict=True
    ):
        reach = [int(np.ceil(1.8 * radius / s)) for s in spacing_kji_mm]
        block = tuple(
            slice(max(int(c) - r, 0), min(int(c) + r + 1, n))
            for c, r, n in zip(centre, reach, array.shape, strict=True)
        )
        axes = [(np.arange(b.start, b.stop) - c) * s for b, c, s in zip(block, centre, spacing_kji_mm, strict=True)]
        squared = axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None, :] ** 2
        rough = gaussian_filter(rng.standard_normal(squared.shape), [max(radius / 2 / s, 0.5) for s in spacing_kji_mm])
        rough /= max(float(rough.std()), 1e-6)
        distance = np.sqrt(squared) / radius + 0.15 * rough
        weight = np.clip((1.0 - distance) / softness + 0.5, 0.0, 1.0)
        result[block] *= (1.0 + contrast * weight).astype(np.float32)
    return np.maximum(result, 0.0, out=result)
