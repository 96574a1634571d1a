"""LinearRISH: per shell, the energies of the spherical harmonics of one scanner brought to those of another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.spherical_harmonics import (
    coefficient_orders,
    fit_matrix,
    harmonics,
    invariants,
    largest_order,
)
from MRHarmonizationLib.methods.dwi_harmonizers.base import FittedDwiHarmonizer, Masks, dwi_harmonizer
from MRHarmonizationLib.methods.dwi_target import checked_mask
from MRHarmonizationLib.volumes.affine import register_affine, resample_through
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

#: Shells of two scanners are the same if their b-values differ by at most this share.
SHELL_TOLERANCE = 0.1
#: A local scale may differ from that of the whole brain by at most this factor.
LARGEST_RATIO = 3.0


@dwi_harmonizer(
    "linear_rish",
    "LinearRISH",
    "per shell, energies of spherical harmonics to the target's; needs matched scans of both scanners",
    needs_source=True,
    defaults={"max_order": 4, "spacing_mm": 3.0, "smoothing_mm": 1.5},
)
@dataclass(frozen=True, eq=False)
class LinearRish(FittedDwiHarmonizer):
    """Maps of scales in the space of the first target scan.

    Shells are scaled apart from each other and from the unweighted volumes, so that diffusivities change where the two
    groups differ in them; that is the method, and what the safety check is for.

    Attributes
    ----------
    shells_s_per_mm2 : tuple of int
        Of the target.
    order : int
        Largest order of the spherical harmonics, even.
    cases : (int, int)
        Scans of the target and of the source.
    template : ndarray, shape (K, J, I), float32
        Unweighted brain that scans are registered to.
    template_affine : tuple of 16 float
        Rows of the template's affine, (i, j, k) to RAS mm.
    b0_scale : ndarray, shape (K, J, I), float32
    shell_scales : ndarray, shape (shells, orders, K, J, I), float32
        Factors of the coefficients of order 0, 2, …

    Source
    ------
    Mirzaalian et al., NeuroImage 135:311 (2016), doi 10.1016/j.neuroimage.2016.04.041; De Luca et al., NeuroImage
    259:119439 (2022), doi 10.1016/j.neuroimage.2022.119439 (linear, per shell, without normalising by b = 0). Other
    than there, scans are aligned affinely, not elastically, and signal that the harmonics do not hold is scaled like
    order 0.
    """

    shells_s_per_mm2: tuple[int, ...]
    order: int
    cases: tuple[int, int]
    template: np.ndarray
    template_affine: tuple[float, ...]
    b0_scale: np.ndarray
    shell_scales: np.ndarray

    @classmethod
    def fit(
        cls,
        target: Sequence[DwiVolume],
        source: Sequence[DwiVolume],
        target_masks: Masks | None,
        source_masks: Masks | None,
        max_order: int,
        spacing_mm: float,
        smoothing_mm: float,
    ) -> LinearRish:
        """Learn the scales from two groups.

        Raises
        ------
        ParameterError
            An order, spacing or smoothing out of range; masks that are not one per scan.
        InputError
            Shells of different b-values, directions too few for order 2, a scan that cannot be registered.
        """
        if max_order not in (2, 4, 6, 8) or not 1.0 <= spacing_mm <= 8.0 or not 0.0 <= smoothing_mm <= 20.0:
            raise ParameterError(
                f"max_order {max_order}, spacing {spacing_mm} mm, smoothing {smoothing_mm} mm",
                "give an order of 2, 4, 6 or 8, a spacing of 1 to 8 mm, a smoothing of 0 to 20 mm",
            )
        scans = [*target, *source]
        shells = tuple(target[0].shells())
        order = min(_order(scan, shells, max_order) for scan in scans)
        if order == 0:
            raise InputError("a shell has too few directions for harmonics of order 2", "use scans of 6 or more each")
        masks = [*_masks(target, target_masks), *_masks(source, source_masks)]
        template = _template(target[0], masks[0], spacing_mm)
        groups: list[list[tuple[np.ndarray, np.ndarray]]] = [[], []]
        for number, (scan, mask) in enumerate(zip(scans, masks, strict=True)):
            groups[number >= len(target)].append(_energies(scan, mask, template, shells, order))
        scales = _scales(groups[0], groups[1], smoothing_mm / spacing_mm)
        return cls(
            shells,
            order,
            (len(target), len(source)),
            template.array,
            tuple(float(v) for v in template.grid.affine.ravel()),
            scales[0],
            scales[1:].reshape(len(shells), order // 2 + 1, *template.grid.shape),
        )

    def prepare(self, dwi: DwiVolume, mask: np.ndarray, acquired: Grid | None = None) -> RishOperator:
        """Register the scan to the template and find its coefficients, shell by shell.

        Raises
        ------
        InputError
            A shell the harmoniser was not fitted to, too few directions, or a scan that cannot be registered.
        """
        shape = (int(self.template.shape[0]), int(self.template.shape[1]), int(self.template.shape[2]))
        grid = Grid(shape, np.reshape(self.template_affine, (4, 4)))
        members = _members(dwi, self.shells_s_per_mm2)
        if _order(dwi, self.shells_s_per_mm2, self.order) < self.order:
            raise InputError(
                f"a shell of '{dwi.name}' has too few directions for harmonics of order {self.order}",
                "fit the harmoniser with a lower max_order",
            )
        # template ← scan is asked of the registration, scan ← template is what maps are read through
        to_template = np.linalg.inv(register_affine(_brain(dwi, mask), Volume(self.template, grid, "template")))

        def here(scale: np.ndarray) -> np.ndarray:
            middle = float(np.median(scale))
            return np.asarray(resample_through(Volume(scale, grid), dwi.grid, to_template, middle).array)

        shells = []
        for scales, indices in zip(self.shell_scales, members, strict=True):
            coefficients = _coefficients(dwi, mask, indices, self.order)
            shells.append((indices, coefficients, [here(scale) for scale in scales]))
        return RishOperator(dwi, mask, self.order, here(self.b0_scale), shells)


class RishOperator:
    """Scales of one scan; memory grows with the order of the harmonics, not with the number of volumes."""

    def __init__(
        self,
        dwi: DwiVolume,
        mask: np.ndarray,
        order: int,
        b0_scale: np.ndarray,
        shells: Sequence[tuple[np.ndarray, np.ndarray, Sequence[np.ndarray]]],
    ) -> None:
        orders = coefficient_orders(order)
        self._mask, self._b0_scale, self._orders = mask, b0_scale, orders
        self._basis = harmonics(dwi.gradients_ras, order)
        self._shell_of = {int(n): number for number, (indices, _, _) in enumerate(shells) for n in indices}
        self._zeroth = [scales[0] for _, _, scales in shells]
        self._changes = []
        for _, coefficients, scales in shells:
            zeroth = scales[0][mask]
            for number, scale in enumerate(scales):
                coefficients[:, orders == 2 * number] *= (scale[mask] - zeroth)[:, None]
            self._changes.append(coefficients)

    def apply(self, image: np.ndarray, index: int) -> np.ndarray:
        """Return α₀·S + Σ (αₗ − α₀)·Sₗ, or the unweighted volume times its scale."""
        shell = self._shell_of.get(index)
        if shell is None:
            return np.asarray(image * self._b0_scale, np.float32)
        result = np.asarray(image * self._zeroth[shell], np.float32)
        result[self._mask] += self._changes[shell] @ self._basis[index].astype(np.float32)
        return np.maximum(result, 0.0)


def _masks(scans: Sequence[DwiVolume], masks: Masks | None) -> list[np.ndarray]:
    given = [None] * len(scans) if masks is None else list(masks)
    if len(given) != len(scans):
        raise ParameterError(f"{len(given)} masks for {len(scans)} scans", "give one mask per scan, or None")
    return [checked_mask(scan, mask) for scan, mask in zip(scans, given, strict=True)]


def _members(dwi: DwiVolume, shells: Sequence[int]) -> list[np.ndarray]:
    """Return the volumes of each shell; raises InputError unless the scan has exactly these shells."""
    own = dwi.shells()
    found = [[indices for b, indices in own.items() if abs(b - shell) <= SHELL_TOLERANCE * shell] for shell in shells]
    if len(own) != len(shells) or any(len(entry) != 1 for entry in found):
        raise InputError(
            f"'{dwi.name}' has shells of b = {', '.join(map(str, own))} s/mm², expected {', '.join(map(str, shells))}",
            "LinearRISH harmonises scans of the same b-values: use another method",
        )
    return [entry[0] for entry in found]


def _order(dwi: DwiVolume, shells: Sequence[int], at_most: int) -> int:
    return min(largest_order(dwi.gradients_ras[indices], at_most) for indices in _members(dwi, shells))


def _coefficients(dwi: DwiVolume, mask: np.ndarray, indices: np.ndarray, order: int) -> np.ndarray:
    """Return the coefficients of a shell in the mask's voxels, shape (V, C), float32; one volume at a time."""
    matrix = fit_matrix(dwi.gradients_ras[indices], order).astype(np.float32)
    total = np.zeros((int(np.count_nonzero(mask)), matrix.shape[0]), np.float32)
    for column, n in enumerate(indices):
        total += dwi.array[..., n][mask].astype(np.float32)[:, None] * matrix[:, column]
    return total


def _brain(dwi: DwiVolume, mask: np.ndarray) -> Volume:
    b0 = dwi.mean_b0()
    top = float(np.percentile(b0.array[mask], 99.0))
    return Volume(np.where(mask, np.clip(b0.array / top, 0.0, 1.0), 0.0).astype(np.float32), dwi.grid, dwi.name)


def _template(dwi: DwiVolume, mask: np.ndarray, spacing_mm: float) -> Volume:
    return resample_through(_brain(dwi, mask), dwi.grid.isotropic(spacing_mm), np.eye(4))


def _energies(
    dwi: DwiVolume, mask: np.ndarray, template: Volume, shells: Sequence[int], order: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the unweighted image and the energies of all shells and orders, in template space, and the mask there.

    The unweighted image is averaged as it is: of its square, fluid would decide over the tissue beside it.
    """
    matrix = register_affine(_brain(dwi, mask), template)
    maps = [dwi.mean_b0().array]
    for indices in _members(dwi, shells):
        found = invariants(_coefficients(dwi, mask, indices, order), order)
        for column in range(found.shape[1]):
            image = np.zeros(dwi.grid.shape, np.float32)
            image[mask] = found[:, column]
            maps.append(image)
    moved = [resample_through(Volume(image * mask, dwi.grid), template.grid, matrix).array for image in maps]
    weight = resample_through(Volume(mask.astype(np.float32), dwi.grid), template.grid, matrix).array
    return np.stack(moved), weight


def _scales(
    target: list[tuple[np.ndarray, np.ndarray]], source: list[tuple[np.ndarray, np.ndarray]], sigma: float
) -> np.ndarray:
    """Return the groups' ratios, smoothed: of energies their roots; the whole brain's where a group is missing."""
    from scipy.ndimage import gaussian_filter

    means, weights = [], []
    for group in (target, source):
        weight = np.sum([w for _, w in group], axis=0)
        energy = np.sum([maps for maps, _ in group], axis=0)
        means.append([gaussian_filter(image, sigma) for image in energy])
        weights.append(gaussian_filter(weight, sigma))
    known = (weights[0] > 0.5 * len(target)) & (weights[1] > 0.5 * len(source))
    if not known.any():
        raise InputError("the brains of the two groups do not overlap after registration", "check the brain masks")
    scales = []
    for number, (to, own) in enumerate(zip(*means, strict=True)):
        power = 1.0 if number == 0 else 0.5
        pairs = zip((to, own), weights, strict=True)
        levels = [float(image[known].sum() / weight[known].sum()) for image, weight in pairs]
        whole = (levels[0] / max(levels[1], 1e-30)) ** power
        ratio = (to / np.maximum(weights[0], 1e-6)) / np.maximum(own / np.maximum(weights[1], 1e-6), 1e-6 * levels[1])
        local = np.clip(np.maximum(ratio, 0.0) ** power, whole / LARGEST_RATIO, whole * LARGEST_RATIO)
        scales.append(np.where(known, local, whole).astype(np.float32))
    return np.stack(scales)
