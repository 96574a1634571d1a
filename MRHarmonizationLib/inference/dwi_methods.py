"""The method that a request names, ready to be prepared for a scan: a classical one, or the trained network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import MRHarmonizationLib.inference.dwi_network  # noqa: F401  (makes the network known)
from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.dwi_noise import NoiseCorrection
from MRHarmonizationLib.inference.dwi_request import HarmonizeDwiRequest
from MRHarmonizationLib.methods.dwi_harmonizers.base import (
    DWI_HARMONIZERS,
    FittedDwiHarmonizer,
    load_dwi_harmonizer,
)
from MRHarmonizationLib.methods.dwi_target import checked_mask, load_target
from MRHarmonizationLib.volumes.dwi import DwiVolume


def chosen_method(request: HarmonizeDwiRequest, fitted: FittedDwiHarmonizer | None = None) -> FittedDwiHarmonizer:
    """Return the harmoniser that a request names, fitted.

    Parameters
    ----------
    request : HarmonizeDwiRequest
    fitted : FittedDwiHarmonizer, optional
        Used in place of the request's file or target.

    Raises
    ------
    ParameterError
        A fitted harmoniser of another method; a method that learns from both scanners and was not fitted.
    InputError
        The file of the fitted harmoniser cannot be used.
    """
    if fitted is None and request.fitted is not None:
        fitted = load_dwi_harmonizer(request.fitted)
    if fitted is None:
        fitted = DWI_HARMONIZERS.get(request.method).fit(load_target(request.target))
    if fitted.method != request.method:
        raise ParameterError(
            f"the fitted harmoniser is of method '{fitted.method}', not '{request.method}'", "name its method"
        )
    return fitted


def fit_harmonizer(
    method: str,
    target: Sequence[DwiVolume],
    source: Sequence[DwiVolume] = (),
    noise: str = "auto",
    progress: Progress | None = None,
    **parameters: Any,
) -> FittedDwiHarmonizer:
    """Fit a classical harmoniser to scans whose noise is taken off first, as it is off those that are harmonised.

    Parameters
    ----------
    method : str
        Name in the registry.
    target, source : sequences of DwiVolume
        Scans of the scanner that is aimed at, and, for methods that learn from both, of the other.
    noise : str
        As for a request.
    progress : Progress, optional
    **parameters
        Of the method.

    Raises
    ------
    ParameterError, InputError
        As :meth:`~MRHarmonizationLib.methods.dwi_harmonizers.base.DwiHarmonizer.fit`.
    """
    progress, scans = progress or Progress(), [*target, *source]
    masks = [checked_mask(scan, None) for scan in scans]
    clean = []
    for number, (scan, mask) in enumerate(zip(scans, masks, strict=True)):
        part = progress.part(0.8 * number / len(scans), 0.8 * (number + 1) / len(scans))
        clean.append(scan.with_array(NoiseCorrection(scan, mask, noise).write(None, part)))
    progress.report(0.8, "Fitting")
    count = len(target)
    groups = (clean[:count], clean[count:] or None, masks[:count], masks[count:] or None)
    return DWI_HARMONIZERS.get(method).fit(*groups, **parameters)
