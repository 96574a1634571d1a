"""Harmonisation of a diffusion scan: the same function behind the panel, the command line and Python.

    scan → brain → noise taken off → output grid → operator prepared once → volume by volume → MD and FA checked

Every volume gets the same operator. The strength scales the harmonisation, u·c + α·(H(c) − u·c), where c is the scan
without noise on the output grid and u the one factor between the units of c and H(c), which is no matter of strength: a
scan between two units would be comparable with neither. At strength 0 the scan itself comes back, in its units, noise
and all. MD and FA of the result are held against those of c: where they differ by more than allowed, the strength is
lowered to the largest that holds. One gain for all volumes changes neither, so that only what a method does beyond its
gain is lowered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import GridMismatchError, InputError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.dwi_measures import DwiMaps, TissueChange
from MRHarmonizationLib.inference.dwi_methods import chosen_method
from MRHarmonizationLib.inference.dwi_noise import NoiseRecord
from MRHarmonizationLib.inference.dwi_request import HarmonizeDwiRequest, output_grid
from MRHarmonizationLib.inference.dwi_work import DwiWork
from MRHarmonizationLib.inference.provenance import Provenance
from MRHarmonizationLib.inference.undo import GRID_TOLERANCE_MM
from MRHarmonizationLib.inference.undo_series import make_series_residual, series_digest
from MRHarmonizationLib.methods.dwi_harmonizers.base import FittedDwiHarmonizer, Origin
from MRHarmonizationLib.methods.dwi_target import checked_mask
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.grid import same_grid
from MRHarmonizationLib.volumes.volume import Volume

__all__ = ["HarmonizeDwiRequest", "HarmonizeDwiResult", "harmonize_dwi"]

TASK = "harmonize-dwi"


@dataclass(frozen=True)
class HarmonizeDwiResult:
    """What a harmonisation gives.

    Attributes
    ----------
    dwi : DwiVolume
        float32; b-values and directions of the scan, on its grid or the one asked for.
    residual : DwiVolume or None
        int32, same grid: :func:`~MRHarmonizationLib.inference.undo_series.undo_series` restores the scan from it.
    mask : Volume
        Brain, uint8, output grid.
    gain : Volume or None
        The contrast gain of every volume at full strength, float32; None if the method has none.
    before, after : DwiMaps
        b0, trace, MD and FA of the scan without noise, and of the result; output grid.
    table : tuple of TissueChange
        Mean MD and FA per tissue.
    strength_used : float
        The strength asked for; for a method without a gain, the largest one that keeps MD and FA.
    spatial_strength : float
        Of what is done beyond the gain (filters, shell-wise scales): the largest one that keeps MD and FA.
    noise : NoiseRecord
    provenance : Provenance
    warnings : tuple of str
    """

    dwi: DwiVolume
    residual: DwiVolume | None
    mask: Volume
    gain: Volume | None
    before: DwiMaps
    after: DwiMaps
    table: tuple[TissueChange, ...]
    strength_used: float
    spatial_strength: float
    noise: NoiseRecord
    provenance: Provenance
    warnings: tuple[str, ...]


def harmonize_dwi(
    dwi: DwiVolume,
    request: HarmonizeDwiRequest | None = None,
    mask: Volume | None = None,
    progress: Progress | None = None,
    fitted: FittedDwiHarmonizer | None = None,
) -> HarmonizeDwiResult:
    """Make a diffusion scan look like the target's.

    Beside scan and result, memory does not grow with the number of volumes, except where a scan is denoised and
    resampled at a time.

    Parameters
    ----------
    dwi : DwiVolume
        Any orientation, spacing, number and order of volumes; not changed.
    request : HarmonizeDwiRequest, optional
        Defaults throughout if omitted.
    mask : Volume, optional
        Brain, nonzero, on the scan's grid; found in the unweighted image by default.
    progress : Progress, optional
        Asked between volumes whether to go on.
    fitted : FittedDwiHarmonizer, optional
        The harmoniser itself, in place of the one that the request names.

    Returns
    -------
    HarmonizeDwiResult

    Raises
    ------
    InputError
        Values that are not finite, no brain, or MD and FA that change whatever the strength.
    GridMismatchError
        The mask lies on another grid.
    ParameterError
        A method that needs to be fitted first.
    OperationCancelled
        If ``progress`` was cancelled.
    """
    request, progress = request or HarmonizeDwiRequest(), progress or Progress()
    progress.report(0.0, "Checking the scan")
    _check_values(dwi, progress.part(0.0, 0.03))
    harmonizer = chosen_method(request, fitted)
    origin = harmonizer.origin()
    grid = output_grid(dwi.grid, request.spacing_mm)
    brain = checked_mask(dwi, _mask_array(dwi, mask))
    work = DwiWork(dwi, brain, grid, request, progress.part(0.03, 0.92))
    if request.strength == 0.0:
        work.take_input()
    else:
        work.run(harmonizer.prepare)
    progress.report(0.92, "Completing the result")
    warnings = (*work.noise.notes, *work.warnings)
    provenance = _provenance(work, request, origin, warnings)
    name = f"{dwi.name}_{origin.id}" if dwi.name else origin.id
    metadata: dict[str, str | float] = {**dwi.metadata, **provenance.to_attributes()}
    output = DwiVolume(work.out, grid, dwi.b_values_s_per_mm2, dwi.gradients_ras, name, metadata)
    result = HarmonizeDwiResult(
        dwi=output,
        residual=make_series_residual(work.input_volume, output) if request.keep_residual else None,
        mask=Volume(work.mask.astype(np.uint8), grid, f"{dwi.name}_brain".lstrip("_")),
        gain=None if work.gain is None else Volume(work.gain, grid, f"{dwi.name}_gain".lstrip("_")),
        before=work.before,
        after=work.after,
        table=work.table,
        strength_used=work.strength_used,
        spatial_strength=work.request.strength * work.share,
        noise=work.noise,
        provenance=provenance,
        warnings=warnings,
    )
    progress.report(1.0, "Done")
    return result


def _check_values(dwi: DwiVolume, progress: Progress) -> None:
    """Refuse scans with values that are not finite, or without any signal."""
    for n in range(dwi.n_volumes):
        progress.report(n / dwi.n_volumes, "Checking the scan")
        image = dwi.array[..., n]
        bad = 0 if image.dtype.kind != "f" else int(image.size - np.count_nonzero(np.isfinite(image)))
        if bad:
            raise InputError(
                f"volume {n} has {bad} of {image.size} values that are NaN or infinite",
                "replace them, for example with 0 outside the head",
            )
        if image.min() == image.max():
            raise InputError(f"volume {n} is constant (every voxel is {image.min():g})", "remove it from the series")


def _mask_array(dwi: DwiVolume, mask: Volume | None) -> np.ndarray | None:
    if mask is None:
        return None
    if not same_grid(mask.grid, dwi.grid, atol_mm=GRID_TOLERANCE_MM):
        spacing = tuple(round(float(s), 3) for s in mask.grid.spacing_mm)
        raise GridMismatchError(
            f"the mask (shape {mask.grid.shape}, spacing {spacing} mm) lies on another grid than the scan "
            f"{dwi.grid.shape}",
            "resample the mask on the scan, nearest neighbour",
        )
    return mask.array != 0


def _provenance(work: DwiWork, request: HarmonizeDwiRequest, origin: Origin, warnings: tuple[str, ...]) -> Provenance:
    from MRHarmonizationLib import __version__

    used = {
        "strength_used": work.strength_used,
        "spatial_strength": request.strength * work.share,
        "noise_handling": work.noise.to_dict(),
    }
    return Provenance(
        operation=TASK,
        model_id=origin.id,
        model_version=origin.version,
        weights_sha256=origin.digest.removeprefix("sha256:"),
        library_version=__version__,
        parameters=request.to_dict() | used,
        input_digest=work.dwi.digest(),
        output_digest=series_digest(work.out),
        input_name=work.dwi.name,
        backend=origin.backend,
        device="cpu",
        warnings=warnings,
    )
