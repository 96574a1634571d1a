"""A brain from a real diffusion scan: tensors and unweighted signal as measured, relaxation assumed by tissue."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.masks import foreground_mask
from MRHarmonizationLib.core.noise_floor import correct_second_moment
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.core.tensor import fit_tensors
from MRHarmonizationLib.core.tensor_measures import as_matrices, from_matrices
from MRHarmonizationLib.degradations.brain_tensors import REFERENCE_FIELD_T, DiffusionBrain
from MRHarmonizationLib.degradations.diffusion_tissues import tissue_properties
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.orientation import canonical_order

#: Mean diffusivities (mm²/s) between which a voxel goes over from tissue to fluid.
TISSUE_MD, FLUID_MD = 1.1e-3, 2.4e-3
#: Fractional anisotropies between which solid tissue goes over from grey to white matter.
GREY_FA, WHITE_FA = 0.15, 0.35
#: Range that eigenvalues are kept in, mm²/s.
EIGENVALUE_RANGE = (5e-5, 4e-3)
#: Percentile of the proton density that becomes 1, that of fluid.
_FLUID_PERCENTILE = 99.5


def brain_from_dwi(
    dwi: DwiVolume,
    echo_time_ms: float | None = None,
    repetition_time_ms: float | None = None,
    sigma: float | None = None,
    progress: Progress | None = None,
) -> DiffusionBrain:
    """Return the brain whose scan this could be, so that it can be scanned again by other scanners.

    T1, T2 and T2* cannot be read off one diffusion scan: each voxel gets those of white matter, cortex and fluid,
    mixed by its mean diffusivity and anisotropy. Noise and artefacts of the scan stay in the brain, so scan it only
    at a resolution well below its own, or denoise it first.

    Parameters
    ----------
    dwi : DwiVolume
        At least six directions.
    echo_time_ms, repetition_time_ms : float, optional
        By default what the scan's metadata tell; without a repetition time relaxation is taken to be complete.
    sigma : float, optional
        Deviation of the noise: the noise floor is taken off before the fit.
    progress : Progress, optional

    Returns
    -------
    DiffusionBrain
        On the scan's grid, axes closest to RAS; tissues are not known.

    Raises
    ------
    InputError
        Too few directions; see ``core.tensor.fit_tensors``.
    ParameterError
        No echo time known, or an impossible one.
    """
    te = _known(dwi, "echo_time_ms", echo_time_ms)
    if te is None:
        raise ParameterError("the echo time of the scan is not known", "give echo_time_ms")
    tr = _known(dwi, "repetition_time_ms", repetition_time_ms)
    field = _known(dwi, "field_strength_t", None) or REFERENCE_FIELD_T
    order = canonical_order(dwi.grid)
    grid = order.apply_grid(dwi.grid)
    array = np.moveaxis(np.stack([order.apply(dwi.array[..., n]) for n in range(dwi.n_volumes)]), 0, -1)
    if sigma is not None:
        array = correct_second_moment(array, sigma)
    head = foreground_mask(np.asarray(array[..., dwi.is_b0].mean(axis=-1), np.float32))
    fit = fit_tensors(array, dwi.b_values_s_per_mm2, dwi.gradients_ras, head, progress=progress)
    if not fit.fitted.any():
        raise InputError("the scan holds no signal", "choose the magnitude images")
    md, fa = fit.md_mm2_per_s, fit.fa
    fluid = np.clip((md - TISSUE_MD) / (FLUID_MD - TISSUE_MD), 0, 1)
    white = np.clip((fa - GREY_FA) / (WHITE_FA - GREY_FA), 0, 1) * (1 - fluid)
    shares = {"csf": fluid, "white_matter": white, "cortex": 1 - fluid - white}
    table = tissue_properties()

    def mixed(name: str) -> np.ndarray:
        total = sum(share * (1.0 / getattr(table[tissue], name)) for tissue, share in shares.items())
        return np.asarray(1.0 / total, np.float32)

    t1_ms, t2_ms = mixed("t1_ms"), mixed("t2_ms")
    r2_prime = sum(share * table[tissue].r2_prime_per_s for tissue, share in shares.items())
    tensors, r2_prime = _positive(fit.tensors), np.asarray(r2_prime, np.float32)
    reference = DiffusionBrain(tensors, fit.s0, t1_ms, t2_ms, r2_prime, grid, name=dwi.name).at_field(field)
    density = fit.s0 * np.exp(te / reference.t2_ms)
    if tr is not None:
        density = density / -np.expm1(-tr / reference.t1_ms)
    density *= np.float32(1.0 / max(float(np.percentile(density[fit.fitted], _FLUID_PERCENTILE)), 1e-30))
    return replace(reference, proton_density=density.astype(np.float32))


def _known(dwi: DwiVolume, name: str, given: float | None) -> float | None:
    value = given if given is not None else dwi.metadata.get(name)
    if value is None:
        return None
    number = float(value)
    if not (np.isfinite(number) and number > 0):
        raise ParameterError(f"{name} is {number}", "give a positive number")
    return number


def _positive(tensors: np.ndarray) -> np.ndarray:
    """Return tensors with eigenvalues inside :data:`EIGENVALUE_RANGE`, (..., 6), float32."""
    flat = tensors.reshape(-1, 6)
    result = np.empty_like(flat)
    for start in range(0, flat.shape[0], 65536):
        part = slice(start, start + 65536)
        values, vectors = np.linalg.eigh(as_matrices(flat[part].astype(np.float64)))
        values = np.clip(values, *EIGENVALUE_RANGE)
        result[part] = from_matrices((vectors * values[:, None, :]) @ np.swapaxes(vectors, 1, 2))
    return result.reshape(tensors.shape)
