"""Lesions of a simulated brain: put into tensors, proton density and T2, so that each scanner sees them its own way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.degradations.brain_tensors import DiffusionBrain
from MRHarmonizationLib.degradations.diffusion_tissues import indices

#: Kinds of lesion that can be drawn.
LESION_KINDS = ("stroke", "ms")
#: Least volume of a stroke, mm³.
LEAST_STROKE_MM3 = 100.0
#: Volumes of strokes that are drawn, mm³, log-uniform: lacunes to parts of a territory.
_STROKE_VOLUME_MM3 = (400.0, 40000.0)
#: Distance from the cortex of the centres of MS lesions, mm: deep and periventricular white matter.
_MS_DEPTH_MM = 5.0
#: How rough borders are, relative to the radius.
_ROUGHNESS = 0.18


@dataclass(frozen=True)
class DiffusionLesionParameters:
    """Blobs with soft, rough borders, and what tissue is like in their core.

    Attributes
    ----------
    kind : str
        One of :data:`LESION_KINDS`.
    centres_ras_mm : tuple of (r, a, s) tuples
    radii_mm, softness : tuple of float
        Of each blob; softness is the width of the border relative to the radius.
    md_factor, anisotropy_factor, t2_factor, proton_density_factor : float
        Core over healthy tissue: mean diffusivity, anisotropic part of the tensor relative to it, and the rest.
    seed : int
        Of the rough borders.
    """

    kind: str
    centres_ras_mm: tuple[tuple[float, float, float], ...]
    radii_mm: tuple[float, ...]
    softness: tuple[float, ...]
    md_factor: float
    anisotropy_factor: float
    t2_factor: float
    proton_density_factor: float
    seed: int

    def __post_init__(self) -> None:
        if self.kind not in LESION_KINDS:
            raise ParameterError(f"lesion '{self.kind}' is unknown", f"choose one of: {', '.join(LESION_KINDS)}")
        if not len(self.centres_ras_mm) == len(self.radii_mm) == len(self.softness):
            raise ParameterError(
                f"{len(self.centres_ras_mm)} centres, {len(self.radii_mm)} radii, {len(self.softness)} borders",
                "give one of each per blob",
            )
        numbers = (*self.radii_mm, *self.softness, self.md_factor, self.t2_factor, self.proton_density_factor)
        if not all(np.isfinite(v) and v > 0 for v in numbers) or not 0 <= self.anisotropy_factor <= 1:
            raise ParameterError(
                f"lesion with radii {self.radii_mm} mm and factors {self.md_factor}, {self.anisotropy_factor}, "
                f"{self.t2_factor}, {self.proton_density_factor}",
                "give positive numbers, and an anisotropy factor from 0 to 1",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        values = asdict(self)
        return {
            **values,
            "centres_ras_mm": [list(c) for c in self.centres_ras_mm],
            "radii_mm": list(self.radii_mm),
            "softness": list(self.softness),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DiffusionLesionParameters:
        """Build from :meth:`to_dict`."""
        ready = dict(values)
        ready["centres_ras_mm"] = tuple(tuple(float(x) for x in c) for c in ready.get("centres_ras_mm", ()))
        return build_parameters(cls, ready)


def sample_diffusion_lesion(rng: np.random.Generator, brain: DiffusionBrain, kind: str) -> DiffusionLesionParameters:
    """Draw a lesion for a brain.

    A **stroke** is one region of cerebral tissue with about half of the diffusivity and slightly longer T2, as within
    the first days (Yang et al., Stroke 30:2382 (1999), doi 10.1161/01.str.30.11.2382). **MS-like** lesions are
    several small ones in deep white matter with higher diffusivity, less anisotropy and longer T2 (review: Sbardella
    et al., Mult. Scler. Int. 2013:671730, doi 10.1155/2013/671730).

    Parameters
    ----------
    rng : numpy Generator
    brain : DiffusionBrain
    kind : {'stroke', 'ms'}

    Raises
    ------
    ParameterError
        Unknown kind.
    InputError
        No tissue in which such a lesion could lie.
    """
    if kind not in LESION_KINDS:
        raise ParameterError(f"lesion '{kind}' is unknown", f"choose one of: {', '.join(LESION_KINDS)}")
    places = np.argwhere(_where_it_may_start(brain, kind))
    if not len(places):
        raise InputError(f"the brain holds no tissue for a lesion of kind '{kind}'", "give a whole brain")
    if kind == "stroke":
        centre = places[rng.integers(len(places))]
        volume = float(np.exp(rng.uniform(*np.log(_STROKE_VOLUME_MM3))))
        parameters = DiffusionLesionParameters(
            kind,
            (_ras(brain, centre),),
            (float((3 * volume / (4 * np.pi)) ** (1 / 3)),),
            (float(rng.uniform(0.15, 0.4)),),
            md_factor=float(rng.uniform(0.45, 0.65)),
            anisotropy_factor=float(rng.uniform(0.85, 1.0)),
            t2_factor=float(rng.uniform(1.1, 1.45)),
            proton_density_factor=float(rng.uniform(1.0, 1.05)),
            seed=int(rng.integers(2**31)),
        )
        return _grown(parameters, brain)
    count = int(rng.integers(4, 11))
    centres = places[rng.choice(len(places), count, replace=len(places) < count)]
    return DiffusionLesionParameters(
        kind,
        tuple(_ras(brain, centre) for centre in centres),
        tuple(float(r) for r in np.exp(rng.uniform(np.log(2.5), np.log(7.0), count))),
        tuple(float(s) for s in rng.uniform(0.2, 0.5, count)),
        md_factor=float(rng.uniform(1.3, 1.7)),
        anisotropy_factor=float(rng.uniform(0.5, 0.75)),
        t2_factor=float(rng.uniform(1.5, 2.1)),
        proton_density_factor=float(rng.uniform(1.05, 1.15)),
        seed=int(rng.integers(2**31)),
    )


def apply_diffusion_lesion(brain: DiffusionBrain, parameters: DiffusionLesionParameters) -> DiffusionBrain:
    """Return the brain with the lesion in it and its mask (core and inner half of the border) added to ``lesion``.

    Raises
    ------
    InputError
        The lesion lies wholly outside the brain's tissue.
    """
    weight = lesion_weight(brain, parameters)
    mask = weight > 0.5
    if not mask.any():
        raise InputError(
            f"no part of the lesion at {parameters.centres_ras_mm[:1]} mm lies in brain tissue",
            "draw it with sample_diffusion_lesion for this brain",
        )
    changed = weight > 0
    share = weight[changed]
    tensors = brain.tensors.copy()
    inside = tensors[changed]
    mean = (inside[:, 0] + inside[:, 3] + inside[:, 5]) / np.float32(3.0)
    diagonal = np.array([1, 0, 0, 1, 0, 1], np.float32)
    shape = inside - mean[:, None] * diagonal
    md = _towards(share, parameters.md_factor)
    tensors[changed] = (mean * md)[:, None] * diagonal + shape * (md * _towards(share, parameters.anisotropy_factor))[
        :, None
    ]
    maps = {}
    for name, factor in (("t2_ms", parameters.t2_factor), ("proton_density", parameters.proton_density_factor)):
        values = getattr(brain, name).copy()
        values[changed] *= _towards(share, factor)
        maps[name] = values
    lesion = mask if brain.lesion is None else mask | brain.lesion
    return replace(brain, tensors=tensors, lesion=lesion, **maps)


def lesion_weight(brain: DiffusionBrain, parameters: DiffusionLesionParameters) -> np.ndarray:
    """Return how much of the change each voxel takes, 0 to 1, float32 (K, J, I); 0 outside brain tissue."""
    from scipy.ndimage import gaussian_filter

    spacing = brain.grid.spacing_mm[::-1]
    weight = np.zeros(brain.grid.shape, np.float32)
    rng = np.random.default_rng(parameters.seed)
    for centre_ras, radius, softness in zip(
        parameters.centres_ras_mm, parameters.radii_mm, parameters.softness, strict=True
    ):
        centre = brain.grid.ras_to_ijk(np.array(centre_ras))[::-1]
        reach = np.ceil(1.8 * radius / spacing).astype(int)
        rounded = np.rint(centre).astype(int)
        size = tuple(2 * reach + 1)
        axes = np.meshgrid(
            *[
                (np.arange(n) + r - e - c) * s
                for n, r, e, c, s in zip(size, rounded, reach, centre, spacing, strict=True)
            ],
            indexing="ij",
            sparse=True,
        )
        distance = np.sqrt(axes[0] ** 2 + axes[1] ** 2 + axes[2] ** 2) / radius
        rough = gaussian_filter(rng.standard_normal(size, dtype=np.float32), np.maximum(radius / 2 / spacing, 0.5))
        distance = distance + _ROUGHNESS * rough / max(float(rough.std()), 1e-6)
        blob = np.clip((1.0 - distance) / softness + 0.5, 0.0, 1.0).astype(np.float32)
        target, source = _overlap(rounded - reach, size, brain.grid.shape)
        if target is not None:
            weight[target] = np.maximum(weight[target], blob[source])
    return np.where(brain.brain_mask, weight, np.float32(0.0))


def _grown(parameters: DiffusionLesionParameters, brain: DiffusionBrain) -> DiffusionLesionParameters:
    """Return a stroke whose mask has at least :data:`LEAST_STROKE_MM3`: fluid may have taken a part of the blob."""
    for _ in range(12):
        volume = np.count_nonzero(lesion_weight(brain, parameters) > 0.5) * brain.grid.voxel_volume_mm3
        if volume >= LEAST_STROKE_MM3:
            return parameters
        parameters = replace(parameters, radii_mm=tuple(1.25 * r for r in parameters.radii_mm))
    raise InputError(f"the brain has no room for a stroke of {LEAST_STROKE_MM3:g} mm³", "give a whole brain")


def _where_it_may_start(brain: DiffusionBrain, kind: str) -> np.ndarray:
    if brain.tissues is None:
        return brain.brain_mask
    if kind == "stroke":
        cerebral = ("white_matter", "cortex", "thalamus", "caudate", "putamen", "pallidum")
        return np.isin(brain.tissues, indices(*cerebral))
    from scipy.ndimage import distance_transform_edt

    cortex = np.isin(brain.tissues, indices("cortex"))
    white = np.isin(brain.tissues, indices("white_matter"))
    if not cortex.any():
        return white
    deep = distance_transform_edt(~cortex, sampling=brain.grid.spacing_mm[::-1]) > _MS_DEPTH_MM
    return white & deep


def _ras(brain: DiffusionBrain, index_kji: np.ndarray) -> tuple[float, float, float]:
    r, a, s = brain.grid.ijk_to_ras(index_kji[::-1]).tolist()
    return r, a, s


def _towards(share: np.ndarray, factor: float) -> np.ndarray:
    return np.asarray(1.0 + share * np.float32(factor - 1.0), np.float32)


def _overlap(
    start: np.ndarray, size: tuple[int, ...], shape: tuple[int, ...]
) -> tuple[tuple[slice, ...] | None, tuple[slice, ...]]:
    """Return where a block lies in an image, and which part of the block; None where it lies outside."""
    low = np.maximum(start, 0)
    high = np.minimum(start + np.array(size), shape)
    if np.any(high <= low):
        return None, ()
    target = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    source = tuple(slice(int(a - s), int(b - s)) for a, b, s in zip(low, high, start, strict=True))
    return target, source
