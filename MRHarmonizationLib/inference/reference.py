"""Building a reference group from a folder: judge every scan, take the best, average what they look like."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import InputError, ModelNotFoundError, OutputError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.case_quality import BETTER, CaseQuality, judge_case, rank_cases
from MRHarmonizationLib.inference.scan_folder import list_scans
from MRHarmonizationLib.inference.structure_harmonizer import mean_levels, structure_levels
from MRHarmonizationLib.methods.case_profile import CONTRASTS, CaseProfile, profile_case
from MRHarmonizationLib.methods.reference_group import (
    LEAST_LIMITS,
    ReferenceGroup,
    average_cases,
    other_resolutions,
    save_group,
    unlike_cases,
)
from MRHarmonizationLib.volumes.files import check_output_path, read_volume
from MRHarmonizationLib.volumes.volume import Volume

#: Cases of the published group.
USUAL_CASES = 13
#: Below this many cases a group says little of how much scans of one site differ.
FEW_CASES = 5


@dataclass(frozen=True)
class ReferenceRequest:
    """What a user asks for; refuses wrong values when it is made.

    Attributes
    ----------
    cases : int
        How many of the best are taken, at most.
    contrast : str
        't1', 't2', 'flair', 'pd' or 'other'.
    subjects : int, optional
        How many people the scans are of, where it is known.
    title : str
    source : str
        Where the scans come from and under which licence; written into the group.
    with_names : bool
        Whether file names and digests of the scans are written into the group; both can identify people.
    allow_mixed : bool
        Whether scans that look like another contrast are taken all the same.

    Raises
    ------
    ParameterError
        A value lies outside its range.
    """

    cases: int = USUAL_CASES
    contrast: str = "other"
    subjects: int | None = None
    title: str = ""
    source: str = ""
    with_names: bool = False
    allow_mixed: bool = False

    def __post_init__(self) -> None:
        if self.cases < 1:
            raise ParameterError(f"{self.cases} cases were asked for", "ask for at least 1, better 10 or more")
        if self.contrast not in CONTRASTS:
            raise ParameterError(f"contrast '{self.contrast}' is unknown", f"choose one of: {', '.join(CONTRASTS)}")
        if self.subjects is not None and self.subjects < 1:
            raise ParameterError(f"{self.subjects} subjects were stated", "leave it out where it is not known")


@dataclass(frozen=True)
class BuiltReference:
    """A group and what it was built from.

    Attributes
    ----------
    output : Path
        The group file.
    group : ReferenceGroup
    chosen : tuple of str
        Names of the scans taken, best first.
    left_out : tuple of (str, str)
        Names of the others, and why.
    warnings : tuple of str
    """

    output: Path
    group: ReferenceGroup
    chosen: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Case:
    name: str
    digest: str
    profile: CaseProfile
    quality: CaseQuality
    structures: Mapping[str, float]


def build_reference(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    request: ReferenceRequest | None = None,
    progress: Progress | None = None,
) -> BuiltReference:
    """Write the reference group of the best scans of a folder.

    Parameters
    ----------
    folder : path-like
        Scans of one contrast; see :func:`~MRHarmonizationLib.inference.scan_folder.list_scans`.
    output : path-like
        A ``.json`` file; its name becomes the group's id.
    request : ReferenceRequest, optional
    progress : Progress, optional

    Returns
    -------
    BuiltReference

    Raises
    ------
    InputError
        No usable scan, or scans of mixed contrasts.
    OutputError
        The group cannot be written there.
    """
    request, progress = request or ReferenceRequest(), progress or Progress()
    if not os.fspath(output).lower().endswith(".json"):
        raise OutputError(f"reference group {os.fspath(output)} does not end with .json", "name a .json file")
    target = check_output_path(output)
    scans = list_scans(folder)
    cases, failed = _judge_all(scans, request, progress.part(0.0, 0.95))
    order = rank_cases([case.quality for case in cases])
    chosen = [cases[n] for n in order[: request.cases]]
    beyond = [(cases[n].name, f"rank {place}") for place, n in enumerate(order, 1) if place > request.cases]
    warnings = _warnings(chosen, request)
    group = average_cases(
        [case.profile for case in chosen],
        request.contrast,
        re.sub(r"\.json$", "", target.name, flags=re.IGNORECASE),
        request.title,
        subjects=request.subjects,
        quality=tuple(case.quality.to_dict() | _names(case, request) for case in chosen),
        selection=(
            f"best {len(chosen)} of {len(scans)} scans by the mean of their ranks in "
            + ", ".join(f"{name} ({better} is better)" for name, better in BETTER.items())
        ),
        provenance=_provenance(request),
        notes=warnings,
        structures=mean_levels([case.structures for case in chosen if case.structures]),
    )
    save_group(group, target)
    progress.report(1.0, "Done")
    return BuiltReference(target, group, tuple(case.name for case in chosen), (*failed, *beyond), warnings)


def _judge_all(
    scans: Sequence[Path], request: ReferenceRequest, progress: Progress
) -> tuple[list[_Case], list[tuple[str, str]]]:
    """Measure every scan; those that cannot be are returned with the reason."""
    cases: list[_Case] = []
    failed: list[tuple[str, str]] = []
    for number, path in enumerate(scans):
        progress.report(number / len(scans), f"Judging scan {number + 1} of {len(scans)}")
        try:
            volume = read_volume(path)
            profile = profile_case(volume, None, request.contrast)
            cases.append(_Case(path.name, volume.digest(), profile, judge_case(volume), _structures(volume)))
        except InputError as error:
            failed.append((path.name, error.problem))
    if not cases:
        raise InputError(
            f"none of the {len(scans)} scans can be used; the first, {failed[0][0]}: {failed[0][1]}",
            "give a folder of three-dimensional MR scans",
        )
    return cases, failed


def _structures(volume: Volume) -> Mapping[str, float]:
    """Return how bright structures of the brain are in a scan; nothing where it shows no brain."""
    try:
        return structure_levels(volume)
    except (InputError, ModelNotFoundError):  # another part of the body; no segmentation network is installed
        return {}


def _warnings(chosen: Sequence[_Case], request: ReferenceRequest) -> tuple[str, ...]:
    """Return what a user should know of the chosen cases; refuse mixed contrasts."""
    profiles = [case.profile for case in chosen]
    found = []
    unlike = unlike_cases(profiles)
    if unlike:
        worst = max(unlike, key=lambda n: unlike[n].histogram / LEAST_LIMITS["histogram"])
        distance = unlike[worst]
        said = (
            f"{len(unlike)} of {len(chosen)} cases look unlike the rest (histogram distance up to "
            f"{distance.histogram:.0f} %, limit {LEAST_LIMITS['histogram']:.0f} %)"
        )
        if not request.allow_mixed:
            names = ", ".join(chosen[n].name for n in sorted(unlike))
            raise InputError(
                f"mixed contrasts: {said}: {names}",
                "keep one contrast and preparation per folder, or allow it with --allow-mixed",
            )
        found.append(f"{said}: the group is a compromise between looks")
    others = other_resolutions(profiles)
    if others:
        found.append(
            f"{len(others)} of {len(chosen)} cases have other voxel sizes than the rest (factor above 1.6): "
            "noise, sharpness and spectrum of the group mix resolutions"
        )
    if len(chosen) == 1:
        found.append("the group has a single case: its peculiarities become the reference, and no spread is known")
    elif len(chosen) < FEW_CASES:
        found.append(f"the group has only {len(chosen)} cases: it says little of how much scans of one kind differ")
    if len(chosen) < request.cases:
        found.append(f"{request.cases} cases were asked for, the folder holds {len(chosen)} that can be used")
    if request.subjects is not None and request.subjects < len(chosen):
        found.append(f"the {len(chosen)} cases are of {request.subjects} people only")
    return tuple(found)


def _names(case: _Case, request: ReferenceRequest) -> dict[str, Any]:
    return {"name": case.name, "digest": case.digest} if request.with_names else {}


def _provenance(request: ReferenceRequest) -> dict[str, Any]:
    from MRHarmonizationLib import __version__

    today = datetime.now(timezone.utc).date().isoformat()
    made = {"library_version": __version__, "created_utc": today, "made_by": "mrharmonize reference build"}
    return made | ({"source": request.source} if request.source else {})
