"""Harmonisation of one scan's contrast: the same function behind the panel, the command line and Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import GridMismatchError, InputError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference import (  # noqa: F401  (makes the networks known among the harmonisers)
    standardiser,
    structure_harmonizer,
)
from MRHarmonizationLib.inference.provenance import Provenance
from MRHarmonizationLib.inference.strength import apply_strength, check_strength
from MRHarmonizationLib.inference.undo import GRID_TOLERANCE_MM, make_residual, voxel_digest
from MRHarmonizationLib.methods.case_profile import CaseProfile, profile_case
from MRHarmonizationLib.methods.harmonizers.base import HARMONIZERS
from MRHarmonizationLib.methods.reference_group import (
    LEAST_LIMITS,
    RESOLUTION_FACTOR,
    GroupDistance,
    ReferenceGroup,
    load_group,
    shipped_groups,
)
from MRHarmonizationLib.metrics.base import Measurement
from MRHarmonizationLib.volumes.grid import same_grid
from MRHarmonizationLib.volumes.volume import Volume

TASK = "harmonize"
#: Stands for the shipped reference group that is most like the scan.
NEAREST = "nearest"
#: The nearest group is clearly the right one if the next is this much further in its borders.
CLEAR_CHOICE = 0.03
UNITS: Mapping[str, str] = MappingProxyType({"histogram": "% of full scale", "edges": "1", "spectrum": "decades"})


@dataclass(frozen=True)
class HarmonizeRequest:
    """What a user asks for; refuses wrong values when it is made.

    Attributes
    ----------
    method : str
        Name in the registry of harmonisers.
    reference : str
        Id of a shipped reference group, path of a group file, or 'nearest': the shipped group most like the scan.
    strength : float
        How much of the change is applied, 0 (nothing) to 1. Between the two the result is a mixture of the scan's own
        values and of the reference's, units included.
    keep_residual : bool
        Whether the result carries the residual that undoes the harmonisation exactly.
    parameters : mapping
        Of the method, by name; its defaults where absent.
    measure : bool
        Whether the distance to the reference is measured again after harmonisation.

    Raises
    ------
    ParameterError
        Unknown method or parameter, strength out of range.
    """

    method: str = "nyul"
    reference: str = NEAREST
    strength: float = 1.0
    keep_residual: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    measure: bool = True

    def __post_init__(self) -> None:
        check_strength(self.strength)
        known = HARMONIZERS.get(self.method).defaults
        unknown = sorted(set(self.parameters) - set(known))
        if unknown:
            raise ParameterError(
                f"harmonizer '{self.method}' has no parameter {', '.join(map(repr, unknown))}",
                f"use: {', '.join(known) or 'none'}",
            )
        object.__setattr__(self, "parameters", dict(self.parameters))

    def to_dict(self) -> dict[str, Any]:
        """Return the request as JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True)
class HarmonizeResult:
    """What a harmonisation gives.

    Attributes
    ----------
    volume : Volume
        float32 on the scan's own grid; in units of the reference (0 air, 1000 full scale) at strength 1.
    baseline : Volume
        float32, same grid: the scan, which strength 0 gives.
    residual : Volume or None
        int32, same grid: :func:`~MRHarmonizationLib.inference.undo.undo` restores ``baseline`` from it.
    provenance : Provenance
    measurements : tuple of Measurement
        Distances to the reference after harmonisation, with the value before as ``detail['before']``.
    warnings : tuple of str
        Ways in which the scan is unlike the reference.
    group : ReferenceGroup
        The reference that was used.
    distance : GroupDistance
        Of the scan before harmonisation.
    """

    volume: Volume
    baseline: Volume
    residual: Volume | None
    provenance: Provenance
    measurements: tuple[Measurement, ...]
    warnings: tuple[str, ...]
    group: ReferenceGroup
    distance: GroupDistance


def harmonize(
    volume: Volume,
    request: HarmonizeRequest | None = None,
    mask: Volume | None = None,
    progress: Progress | None = None,
    group: ReferenceGroup | None = None,
) -> HarmonizeResult:
    """Give a scan the contrast of a reference group.

    Parameters
    ----------
    volume : Volume
        Any orientation and spacing, a single slice too; not changed.
    request : HarmonizeRequest, optional
        Defaults throughout if omitted.
    mask : Volume, optional
        On the scan's grid; nonzero where intensities are measured. The object's inside by default.
    progress : Progress, optional
    group : ReferenceGroup, optional
        The reference itself, in place of the one that the request names.

    Returns
    -------
    HarmonizeResult

    Raises
    ------
    InputError
        The scan is not finite or constant, the mask empty, the reference no group.
    GridMismatchError
        The mask lies on another grid.
    ParameterError
        A parameter of the method is out of range.
    OperationCancelled
        If ``progress`` was cancelled.
    """
    request, progress = request or HarmonizeRequest(), progress or Progress()
    inside = _checked_mask(volume, mask)
    progress.report(0.0, "Measuring the scan")
    group, doubts = _reference(volume, inside, request, group)
    profile = profile_case(volume, inside, group.contrast)
    distance = group.distance(profile)
    fitted = HARMONIZERS.get(request.method).fit(group, **request.parameters)
    progress.report(0.3, "Harmonising")
    baseline = volume.with_array(volume.array.astype(np.float32))
    # the method judges the scan even where nothing is to be changed, so that errors do not depend on the strength
    made, doubts_of_method = fitted.apply_with_doubts(volume, inside)
    proposed = made.array
    if request.strength < 1.0:
        array = apply_strength(baseline.array, proposed - baseline.array, request.strength)
    else:  # without the rounding of x + (f(x) - x)
        array = proposed
    progress.report(0.7, "Completing the result")
    warnings = (*doubts, *domain_warnings(distance, profile, group), *doubts_of_method)
    provenance = _provenance(volume, array, request, group, fitted.digest(), warnings)
    name = f"{volume.name}_{request.method}" if volume.name else request.method
    output = Volume(array, volume.grid, name, {**volume.metadata, **provenance.to_attributes()})
    result = HarmonizeResult(
        volume=output,
        baseline=baseline,
        residual=make_residual(baseline, output) if request.keep_residual else None,
        provenance=provenance,
        measurements=_measured(output, inside, group, distance) if request.measure else (),
        warnings=warnings,
        group=group,
        distance=distance,
    )
    progress.report(1.0, "Done")
    return result


def nearest_groups(volume: Volume, mask: np.ndarray | None = None) -> list[tuple[ReferenceGroup, GroupDistance]]:
    """Return the shipped reference groups with their distances, the one most like a scan first.

    Ordered by the borders between intensities alone: histograms of one contrast differ more with the share of fat and
    with contrast agent than those of two contrasts do.

    Parameters
    ----------
    volume : Volume
    mask : ndarray, shape (K, J, I), optional

    Raises
    ------
    InputError
        The scan cannot be measured.
    """
    profile = profile_case(volume, mask)
    groups = [load_group(name) for name in shipped_groups()]
    found = [(group, group.distance(profile)) for group in groups]
    return sorted(found, key=lambda entry: entry[1].edges)


def domain_warnings(distance: GroupDistance, profile: CaseProfile, group: ReferenceGroup) -> tuple[str, ...]:
    """Return one sentence for each way in which a scan is unlike a reference group."""
    said = {
        "histogram": "the shape of its histogram differs by {value:.0f} % of full scale (limit {limit:.0f} %)",
        "edges": "its borders lie between other intensities (distance {value:.3f}, limit {limit:.3f})",
        "spectrum": "its spectrum differs by {value:.2f} decades (limit {limit:.2f})",
    }
    found = [
        f"the scan is unlike reference '{group.id}': "
        + said[name].format(value=getattr(distance, name), limit=distance.limits[name])
        + ("; another resolution or sharpness?" if name == "spectrum" else "; another contrast or body part?")
        for name in distance.exceeded
    ]
    factor = RESOLUTION_FACTOR
    limits = zip(profile.spacing_mm, group.finest_mm, group.coarsest_mm, strict=True)
    if any(not low / factor <= own <= high * factor for own, low, high in limits):
        own, low, high = (
            " x ".join(f"{s:g}" for s in spacing)
            for spacing in (profile.spacing_mm, group.finest_mm, group.coarsest_mm)
        )
        found.append(f"the scan's voxels of {own} mm are unlike those of reference '{group.id}', {low} to {high} mm")
    return tuple(found)


def _reference(
    volume: Volume, inside: np.ndarray | None, request: HarmonizeRequest, group: ReferenceGroup | None
) -> tuple[ReferenceGroup, tuple[str, ...]]:
    """Return the group to use, and what is to be said about the choice."""
    if group is not None:
        return group, ()
    if request.reference != NEAREST:
        return load_group(request.reference), ()
    (first, near), (second, far), *_ = nearest_groups(volume, inside)
    if far.edges - near.edges >= CLEAR_CHOICE:
        return first, ()
    return first, (f"the scan is about as like reference '{second.id}' as '{first.id}', which was used: name the one",)


def _checked_mask(volume: Volume, mask: Volume | None) -> np.ndarray | None:
    if mask is None:
        return None
    if not same_grid(mask.grid, volume.grid, atol_mm=GRID_TOLERANCE_MM):
        spacing = tuple(round(float(s), 3) for s in mask.grid.spacing_mm)
        raise GridMismatchError(
            f"the mask (shape {mask.grid.shape}, spacing {spacing} mm) lies on another grid than the scan "
            f"{volume.grid.shape}",
            "resample the mask on the scan, nearest neighbour",
        )
    if mask.array.dtype.kind == "f" and not np.all(np.isfinite(mask.array)):
        raise InputError(f"mask '{mask.name}' has values that are not finite", "use a mask of 0 and 1")
    return mask.array != 0


def _measured(
    output: Volume, inside: np.ndarray | None, group: ReferenceGroup, before: GroupDistance
) -> tuple[Measurement, ...]:
    profile = profile_case(output, inside, group.contrast)
    after = group.distance(profile)
    return tuple(
        Measurement(
            name=f"distance_{name}",
            value=getattr(after, name),
            unit=UNITS[name],
            better="lower",
            voxels=profile.voxels,
            mask="object's inside" if inside is None else "mask",
            detail={"before": getattr(before, name), "limit": before.limits[name], "reference": group.id},
        )
        for name in LEAST_LIMITS
    )


def _provenance(
    volume: Volume,
    array: np.ndarray,
    request: HarmonizeRequest,
    group: ReferenceGroup,
    state_digest: str,
    warnings: tuple[str, ...],
) -> Provenance:
    from MRHarmonizationLib import __version__

    return Provenance(
        operation=TASK,
        model_id=request.method,
        model_version=__version__,
        weights_sha256=state_digest.removeprefix("sha256:"),
        library_version=__version__,
        parameters=request.to_dict() | {"reference": group.id},  # not its path
        input_digest=volume.digest(),
        output_digest=voxel_digest(array),
        input_name=volume.name,
        backend="numpy",
        device="cpu",
        warnings=warnings,
    )
