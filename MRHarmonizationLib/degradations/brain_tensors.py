"""A brain as a diffusion scanner sees it: tensors, proton density and relaxation on one fine grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from MRHarmonizationLib.core.errors import GridError, GridMismatchError, InputError, ParameterError
from MRHarmonizationLib.core.tensor_measures import anisotropy_factor
from MRHarmonizationLib.degradations.diffusion_tissues import (
    FLUID,
    PARENCHYMA,
    indices,
    side_map,
    tissue_map,
    tissue_names,
    tissue_properties,
)
from MRHarmonizationLib.degradations.fibre_orientation import fibre_dyadics
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.orientation import canonical_order
from MRHarmonizationLib.volumes.volume import Volume

#: Field at which the tissue table holds, tesla.
REFERENCE_FIELD_T = 3.0
#: Exponents of the field with which T1 and T2 of solid tissue change between 1.5 and 3 T: T1 of white matter rises by
#: about a quarter (Stanisz et al. 2005, doi 10.1002/mrm.20605), its T2 falls by an eighth (Cox & Gowland 2010,
#: doi 10.1002/mrm.22522: 80 and 71 ms); the reversible rate is taken to be proportional to the field, as the whole
#: rate R2* nearly is (Peters et al. 2007, doi 10.1016/j.mri.2007.02.014).
T1_EXPONENT, T2_EXPONENT, R2_PRIME_EXPONENT = 0.33, -0.18, 1.0
#: T1 from which on a voxel counts as fluid, whose relaxation does not depend on the field, ms.
FLUID_T1_MS = 3000.0
#: Relative deviation of the texture within a tissue, and its correlation lengths, mm.
TEXTURE_DEVIATION = {"md": 0.05, "anisotropy": 0.12, "proton_density": 0.03, "t2": 0.05}
TEXTURE_LENGTHS_MM = (1.2, 4.0)
#: What is kept of the head around the brain: above and below it, mm.
_MARGIN_MM = 12.0
#: Largest spacing of a label map that still shows white matter, mm.
COARSEST_LABELS_MM = 2.5


@dataclass(frozen=True, eq=False)
class DiffusionBrain:
    """Everything the signal equation of a diffusion scan needs, on one grid.

    Attributes
    ----------
    tensors : ndarray, shape (K, J, I, 6), float32, mm²/s
        In RAS; order of ``tensor_measures.TENSOR_ELEMENTS``.
    proton_density : ndarray, shape (K, J, I), float32
        Signal at no echo time, endless repetition time and no weighting; 1 is cerebrospinal fluid, 0 air.
    t1_ms, t2_ms, r2_prime_per_s : ndarrays, shape (K, J, I), float32
        At ``field_strength_t``.
    grid : Grid
        Axes closest to RAS, so that slices are axial.
    tissues : uint8 ndarray, shape (K, J, I), or None
        See ``diffusion_tissues.tissue_map``; None where tissues are not known.
    lesion : bool ndarray, shape (K, J, I), or None
        Where a lesion was put in.
    field_strength_t : float
    name : str

    Raises
    ------
    GridMismatchError
        Shapes differ.
    GridError
        Axes not in the order of RAS.
    InputError
        Values that are not finite, or times that are not positive.
    """

    tensors: np.ndarray
    proton_density: np.ndarray
    t1_ms: np.ndarray
    t2_ms: np.ndarray
    r2_prime_per_s: np.ndarray
    grid: Grid
    tissues: np.ndarray | None = None
    lesion: np.ndarray | None = None
    field_strength_t: float = REFERENCE_FIELD_T
    name: str = ""

    def __post_init__(self) -> None:
        if self.grid.axis_codes != ("R", "A", "S"):
            raise GridError(
                f"axes of the brain point to {''.join(self.grid.axis_codes)}, not RAS", "use to_canonical first"
            )
        if not 0.2 <= self.field_strength_t <= 12:
            raise ParameterError(f"field strength {self.field_strength_t} T", "give tesla, such as 1.5 or 3")
        for name in ("tensors", "proton_density", "t1_ms", "t2_ms", "r2_prime_per_s", "tissues", "lesion"):
            values = getattr(self, name)
            if values is None:
                continue
            expected = (*self.grid.shape, 6) if name == "tensors" else self.grid.shape
            if values.shape != expected:
                raise GridMismatchError(f"{name} has shape {values.shape}, the grid {expected}", "use one grid")
            if values.dtype.kind == "f" and not np.all(np.isfinite(values)):
                raise InputError(f"{name} has values that are NaN or infinite", "replace them")
            view = values.view()
            view.setflags(write=False)
            object.__setattr__(self, name, view)
        if min(float(self.t1_ms.min()), float(self.t2_ms.min())) <= 0 or float(self.r2_prime_per_s.min()) < 0:
            raise InputError("relaxation times that are not positive", "give milliseconds above 0 everywhere")

    @property
    def brain_mask(self) -> np.ndarray:
        """Brain tissue without fluid; everything that has signal where tissues are not known. Bool (K, J, I)."""
        if self.tissues is None:
            return np.asarray(self.proton_density > 0)
        return np.isin(self.tissues, indices(*PARENCHYMA))

    def at_field(self, field_strength_t: float) -> DiffusionBrain:
        """Return the brain at another field: relaxation changes as :data:`T1_EXPONENT` and the others tell."""
        ratio = field_strength_t / self.field_strength_t
        if ratio == 1:
            return self
        solid = self.t1_ms < FLUID_T1_MS
        return replace(
            self,
            t1_ms=np.where(solid, self.t1_ms * np.float32(ratio**T1_EXPONENT), self.t1_ms),
            t2_ms=np.where(solid, self.t2_ms * np.float32(ratio**T2_EXPONENT), self.t2_ms),
            r2_prime_per_s=self.r2_prime_per_s * np.float32(ratio**R2_PRIME_EXPONENT),
            field_strength_t=field_strength_t,
        )

    def tissue_volume(self) -> Volume | None:
        """Return the tissues as a label volume, None where they are not known."""
        return None if self.tissues is None else Volume(self.tissues, self.grid, f"{self.name} tissues".strip())

    def lesion_volume(self) -> Volume | None:
        """Return the mask of the lesion, None where there is none."""
        return None if self.lesion is None else Volume(self.lesion, self.grid, f"{self.name} lesion".strip())


def brain_from_labels(
    labels: Volume, seed: int = 0, tissue_of_label: Mapping[int, str] | None = None, texture: float = 1.0
) -> DiffusionBrain:
    """Make a brain from a label map: literature values for each tissue, invented fibre directions, texture.

    Parameters
    ----------
    labels : Volume
        FreeSurfer numbers, unless ``tissue_of_label`` tells otherwise; any orientation.
    seed : int
        Of fibre directions and texture: the same seed gives the same brain.
    tissue_of_label : mapping, optional
        See ``diffusion_tissues.tissue_map``.
    texture : float
        Factor on :data:`TEXTURE_DEVIATION`; 0 makes every tissue uniform (its anisotropy still follows the fibres).

    Returns
    -------
    DiffusionBrain
        Cropped to the head around the brain, axes closest to RAS, voxels of the label map.

    Raises
    ------
    InputError
        No label map of a head; voxels above :data:`COARSEST_LABELS_MM`.
    """
    if float(labels.grid.spacing_mm.max()) > COARSEST_LABELS_MM:
        raise InputError(
            f"the label map has voxels of {tuple(np.round(labels.grid.spacing_mm, 2).tolist())} mm",
            f"give one of at most {COARSEST_LABELS_MM:g} mm; 1 mm is best",
        )
    if seed < 0:
        raise ParameterError(f"seed {seed}", "give a whole number of at least 0")
    if not 0 <= texture <= 3:
        raise ParameterError(f"texture {texture}", "give a factor from 0 to 3")
    order = canonical_order(labels.grid)
    array, grid = order.apply(labels.array), order.apply_grid(labels.grid)
    tissues = tissue_map(array, tissue_of_label)
    block = _head_block(tissues, grid)
    tissues = np.ascontiguousarray(tissues[block])
    grid = grid.crop([part.start for part in block], tissues.shape)
    sides = side_map(array[block]) if tissue_of_label is None else _sides_by_place(tissues)
    dyadics = fibre_dyadics(tissues, sides, grid.spacing_mm[::-1], grid.directions, seed)
    return _painted(tissues, dyadics, grid, seed, texture, labels.name)


def _painted(
    tissues: np.ndarray, dyadics: np.ndarray, grid: Grid, seed: int, texture: float, name: str
) -> DiffusionBrain:
    """Return the brain of a tissue map and the dyadics of its fibres (overwritten)."""
    table = tissue_properties()
    columns = {
        key: np.array([getattr(table[t], key) for t in tissue_names()], np.float32)
        for key in ("md", "fa", "proton_density", "t1_ms", "t2_ms", "r2_prime_per_s")
    }
    rng = np.random.default_rng((seed, 1))
    solid = ~np.isin(tissues, indices(*FLUID))
    factors = {
        key: _texture(rng, tissues.shape, grid, texture * deviation) * solid + ~solid
        for key, deviation in TEXTURE_DEVIATION.items()
    }
    diffusivity = (1e-3 * columns["md"])[tissues] * factors["md"]
    shape = np.minimum(anisotropy_factor(columns["fa"]).astype(np.float32)[tissues] * factors["anisotropy"], 0.99)
    tensors = dyadics
    for n in (0, 3, 5):
        tensors[..., n] -= np.float32(1 / 3)
    tensors *= (3.0 * shape)[..., None]
    for n in (0, 3, 5):
        tensors[..., n] += 1.0
    tensors *= diffusivity[..., None]
    return DiffusionBrain(
        tensors,
        columns["proton_density"][tissues] * factors["proton_density"],
        columns["t1_ms"][tissues],
        columns["t2_ms"][tissues] * factors["t2"],
        columns["r2_prime_per_s"][tissues],
        grid,
        tissues,
        None,
        REFERENCE_FIELD_T,
        name,
    )


def _texture(rng: np.random.Generator, shape: tuple[int, ...], grid: Grid, deviation: float) -> np.ndarray:
    """Return a positive factor of mean 1 that varies smoothly, float32."""
    from scipy.ndimage import gaussian_filter

    total = np.zeros(shape, np.float32)
    for length in TEXTURE_LENGTHS_MM:
        field = rng.standard_normal(shape, dtype=np.float32)
        sigma = length / grid.spacing_mm[::-1] / 2.0
        field = gaussian_filter(field, sigma, mode="wrap", truncate=3.0)
        total += field / np.float32(max(float(field.std()), 1e-6) * np.sqrt(len(TEXTURE_LENGTHS_MM)))
    return np.asarray(np.clip(1.0 + np.float32(deviation) * total, 0.4, 1.6), np.float32)


def _head_block(tissues: np.ndarray, grid: Grid) -> tuple[slice, slice, slice]:
    """Return the part of the image that holds the brain, and the head around it in its slices."""
    brain = np.isin(tissues, indices(*PARENCHYMA))
    rows = np.flatnonzero(brain.any(axis=(1, 2)))
    margin = int(np.ceil(_MARGIN_MM / grid.spacing_mm[2]))
    low, high = max(int(rows[0]) - margin, 0), min(int(rows[-1]) + margin + 1, tissues.shape[0])
    head = tissues[low:high] != indices("air")[0]
    blocks = [slice(low, high)]
    for axis in (1, 2):
        where = np.flatnonzero(head.any(axis=tuple(a for a in range(3) if a != axis)))
        blocks.append(slice(max(int(where[0]) - 2, 0), min(int(where[-1]) + 3, tissues.shape[axis])))
    return blocks[0], blocks[1], blocks[2]


def _sides_by_place(tissues: np.ndarray) -> np.ndarray:
    """Return −1 left and +1 right of the brain's middle in cortex, for label maps that do not tell the sides."""
    grey = np.isin(tissues, indices("cortex", "cerebellar_cortex"))
    brain = np.isin(tissues, indices(*PARENCHYMA))
    middle = float(np.mean(np.nonzero(brain)[2]))
    right = np.arange(tissues.shape[2]) > middle
    return np.where(grey, np.where(right, 1, -1), 0).astype(np.int8)
