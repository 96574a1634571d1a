"""A reference group: what the best cases of a contrast look like on average, in a file that holds no patient data."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.methods.case_profile import CONTRASTS, FREQUENCIES, PERCENTILES, CaseProfile, profile_case
from MRHarmonizationLib.volumes.atomic import write_json_atomic
from MRHarmonizationLib.volumes.volume import Volume

FORMAT = "MRHarmonization reference group"
FORMAT_VERSION = 1
#: Folder of the groups that come with the library.
SHIPPED = Path(__file__).parent / "reference_groups"
#: Distances from which on a case is called unlike a group, whatever the group's own spread: histogram shape (% of full
#: scale), borders by rank, log10 spectrum. Set on twelve T1, T2 and FLAIR scans of four people: nearly all lie beyond
#: one of the first two from the groups of the other contrasts, and most within both from their own.
LEAST_LIMITS: Mapping[str, float] = MappingProxyType({"histogram": 18.0, "edges": 0.175, "spectrum": 0.45})
#: Limits grow with the group's own spread: times the largest distance of a case to the others.
SPREAD_FACTOR = 1.2
#: Voxels whose finer spacing or slice spacing differs by more than this factor are another resolution.
RESOLUTION_FACTOR = 1.6


@dataclass(frozen=True)
class GroupDistance:
    """How unlike a group a case is.

    Attributes
    ----------
    histogram : float
        Mean difference of the quantiles, in % of full scale (Wasserstein distance of the normalised histograms).
    edges : float
        Root mean square difference of the border strengths by rank of intensity.
    spectrum : float
        Root mean square difference of log10 power where both have it; 0 where they share no frequency.
    limits : mapping
        Of each, from which on the case is called unlike.
    """

    histogram: float
    edges: float
    spectrum: float
    limits: Mapping[str, float]

    @property
    def exceeded(self) -> tuple[str, ...]:
        """Names of the distances beyond their limit."""
        return tuple(name for name in LEAST_LIMITS if getattr(self, name) > self.limits[name])

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {name: getattr(self, name) for name in LEAST_LIMITS} | {"limits": dict(self.limits)}


@dataclass(frozen=True)
class ReferenceGroup:
    """Means over the cases of a group; intensities from 0 (air) to 1000 (99th percentile of the object's inside).

    Attributes
    ----------
    id, title : str
    contrast : str
        One of :data:`~MRHarmonizationLib.methods.case_profile.CONTRASTS`.
    cases : int
    subjects : int or None
        People behind the cases, None where it is not known.
    quantiles, quantile_deviations : tuple of float
        At ``PERCENTILES``; deviation between the cases.
    mean, deviation, maximum, stripe_mean, stripe_deviation : float
        See :class:`~MRHarmonizationLib.methods.case_profile.CaseProfile`.
    edges : tuple of float
    log_power, log_power_deviations : tuple of float or None
        At ``FREQUENCIES``.
    finest_mm, coarsest_mm : tuple of three floats
        Smallest and largest of the sorted spacings.
    spread : mapping
        Largest distance of a case to the others, by kind of distance; 0 for a single case.
    quality : tuple of mapping
        Scores of each case, in the order of selection; without names unless asked for.
    selection : str
        By what the cases were chosen, out of how many.
    provenance : mapping
        Library version, date; names and digests of the cases only where asked for.
    notes : tuple of str
        What a user should know: few subjects, mixed resolutions.
    structures : mapping of str to float
        FreeSurfer number (left side) → mean brightness of the structure; empty where no brain was found.
    """

    id: str
    title: str
    contrast: str
    cases: int
    subjects: int | None
    quantiles: tuple[float, ...]
    quantile_deviations: tuple[float, ...]
    mean: float
    deviation: float
    maximum: float
    stripe_mean: float
    stripe_deviation: float
    edges: tuple[float, ...]
    log_power: tuple[float | None, ...]
    log_power_deviations: tuple[float | None, ...]
    finest_mm: tuple[float, ...]
    coarsest_mm: tuple[float, ...]
    spread: Mapping[str, float]
    quality: tuple[Mapping[str, Any], ...] = ()
    selection: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    structures: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.contrast not in CONTRASTS:
            raise ParameterError(f"contrast '{self.contrast}' is unknown", f"choose one of: {', '.join(CONTRASTS)}")
        sizes = {"quantiles": len(PERCENTILES), "log_power": len(FREQUENCIES), "finest_mm": 3, "coarsest_mm": 3}
        for name, size in sizes.items():
            if len(getattr(self, name)) != size:
                raise InputError(
                    f"reference group '{self.id}' has {len(getattr(self, name))} {name}, expected {size}",
                    "use a group file written by `reference build`",
                )
        numbers = [*self.quantiles, self.mean, self.deviation, self.maximum, self.stripe_mean, self.stripe_deviation]
        if not all(math.isfinite(number) for number in numbers) or np.any(np.diff(self.quantiles) < 0):
            raise InputError(
                f"reference group '{self.id}' has quantiles that fall or numbers that are not finite",
                "use an unaltered group file",
            )
        if not (self.deviation > 0 and self.stripe_deviation > 0 and self.cases >= 1):
            raise InputError(
                f"reference group '{self.id}' has {self.cases} cases, deviations {self.deviation:g} and "
                f"{self.stripe_deviation:g}",
                "use an unaltered group file",
            )
        wrong = [n for n, value in self.structures.items() if not (n.isdecimal() and math.isfinite(value))]
        if wrong:
            raise InputError(
                f"reference group '{self.id}' has the structures {', '.join(wrong)} without a number",
                "use an unaltered group file",
            )

    def at_percentiles(self, percentiles: Sequence[float]) -> np.ndarray:
        """Return the group's quantiles at percentiles (interpolated), float64."""
        return np.interp(percentiles, PERCENTILES, self.quantiles)

    def distance(self, profile: CaseProfile) -> GroupDistance:
        """Return how unlike the group a case is."""
        limits = {name: max(least, SPREAD_FACTOR * self.spread.get(name, 0.0)) for name, least in LEAST_LIMITS.items()}
        found = _distances(profile.quantiles, profile.edges, profile.log_power, self)
        return GroupDistance(**found, limits=MappingProxyType(limits))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values that say what they are."""
        values = {entry.name: _plain(getattr(self, entry.name)) for entry in fields(self)}
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "units": "0 is air, 1000 the 99th percentile of the object's inside; frequencies in cycles/mm",
            "percentiles": list(PERCENTILES),
            "frequencies_cycles_per_mm": list(FREQUENCIES),
            **values,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ReferenceGroup:
        """Build a group from :meth:`to_dict`.

        Raises
        ------
        InputError
            It is no group, of a later version, or incomplete.
        """
        if not isinstance(values, Mapping) or values.get("format") != FORMAT:
            raise InputError("the file is no reference group", "choose one written by `mrharmonize reference build`")
        if values.get("version") != FORMAT_VERSION:
            raise InputError(
                f"the reference group has version {values.get('version')}, this program reads {FORMAT_VERSION}",
                "build it anew",
            )
        known = {entry.name: _frozen(values[entry.name]) for entry in fields(cls) if entry.name in values}
        try:
            return cls(**known)
        except TypeError as error:
            raise InputError(f"the reference group is incomplete: {error}", "build it anew") from error


def average_cases(
    profiles: Sequence[CaseProfile],
    contrast: str,
    group_id: str,
    title: str = "",
    **further: Any,
) -> ReferenceGroup:
    """Return the group of some cases.

    Parameters
    ----------
    profiles : sequence of CaseProfile
        At least one.
    contrast, group_id, title : str
    **further
        ``subjects``, ``quality``, ``selection``, ``provenance``, ``notes`` of :class:`ReferenceGroup`.

    Raises
    ------
    InputError
        No case.
    """
    if not profiles:
        raise InputError("a reference group was asked for of 0 cases", "give at least one, better ten or more")
    quantiles = np.array([p.quantiles for p in profiles])
    power, power_spread = _mean_power([p.log_power for p in profiles])

    def mean(name: str) -> float:
        return float(np.mean([getattr(p, name) for p in profiles]))

    return ReferenceGroup(
        id=group_id,
        title=title or group_id,
        contrast=contrast,
        cases=len(profiles),
        quantiles=_tuple(np.maximum.accumulate(quantiles.mean(axis=0))),
        quantile_deviations=_tuple(quantiles.std(axis=0)),
        mean=mean("mean"),
        deviation=mean("deviation"),
        maximum=mean("maximum"),
        stripe_mean=mean("stripe_mean"),
        stripe_deviation=mean("stripe_deviation"),
        edges=_tuple(np.mean([p.edges for p in profiles], axis=0)),
        log_power=power,
        log_power_deviations=power_spread,
        finest_mm=_tuple(np.min([p.spacing_mm for p in profiles], axis=0)),
        coarsest_mm=_tuple(np.max([p.spacing_mm for p in profiles], axis=0)),
        spread=_spread(profiles),
        **{"subjects": None, **further},
    )


def group_of_volumes(volumes: Sequence[Volume], contrast: str = "other", group_id: str = "given") -> ReferenceGroup:
    """Return the group of all given volumes, without judging their quality.

    Raises
    ------
    InputError
        No volume, or one that cannot be measured.
    """
    return average_cases([profile_case(volume, None, contrast) for volume in volumes], contrast, group_id)


def unlike_cases(profiles: Sequence[CaseProfile]) -> dict[int, GroupDistance]:
    """Return the cases that look like another contrast or preparation: index → distance to the average of the rest.

    Judged by :data:`LEAST_LIMITS` for histogram and borders; with fewer than two cases there are none.
    """
    found = {}
    for index, profile in enumerate(profiles):
        rest = [p for n, p in enumerate(profiles) if n != index]
        if not rest:
            continue
        values = _distances_to(profile, rest)
        if any(values[name] > LEAST_LIMITS[name] for name in ("histogram", "edges")):
            found[index] = GroupDistance(**values, limits=LEAST_LIMITS)
    return found


def other_resolutions(profiles: Sequence[CaseProfile]) -> tuple[int, ...]:
    """Return the cases whose voxels differ from the median by more than a factor of 1.6 along an axis."""
    spacing = np.array([p.spacing_mm for p in profiles], float)
    ratio = np.abs(np.log(spacing / np.median(spacing, axis=0)))
    return tuple(int(n) for n in np.flatnonzero((ratio > math.log(RESOLUTION_FACTOR)).any(axis=1)))


def shipped_groups() -> list[str]:
    """Return the ids of the groups that come with the library, sorted."""
    return sorted(path.stem for path in SHIPPED.glob("*.json"))


def load_group(reference: str | os.PathLike[str]) -> ReferenceGroup:
    """Return a reference group by its id among those shipped, or by the path of its file.

    Raises
    ------
    InputError
        There is no such file, or it is no group; the message names the shipped ones.
    """
    name = os.fspath(reference)
    path = SHIPPED / f"{name}.json" if name in shipped_groups() else Path(name).expanduser()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"reference group '{name}' cannot be read ({error})",
            f"give a file written by `reference build`, or one of: {', '.join(shipped_groups())}",
        ) from error
    return ReferenceGroup.from_dict(values)


def save_group(group: ReferenceGroup, path: str | os.PathLike[str]) -> Path:
    """Write a group as JSON, whole or not at all, and return where; raises OutputError."""
    return write_json_atomic(group.to_dict(), Path(path))


def _spread(profiles: Sequence[CaseProfile]) -> Mapping[str, float]:
    """Return the largest distance of a case to the average of the others, by kind."""
    largest = dict.fromkeys(LEAST_LIMITS, 0.0)
    for index, profile in enumerate(profiles):
        rest = [p for n, p in enumerate(profiles) if n != index]
        if rest:
            for name, value in _distances_to(profile, rest).items():
                largest[name] = max(largest[name], value)
    return MappingProxyType(largest)


@dataclass(frozen=True)
class _Average:
    quantiles: tuple[float, ...]
    edges: tuple[float, ...]
    log_power: tuple[float | None, ...]


def _distances_to(profile: CaseProfile, rest: Sequence[CaseProfile]) -> dict[str, float]:
    average = _Average(
        _tuple(np.mean([p.quantiles for p in rest], axis=0)),
        _tuple(np.mean([p.edges for p in rest], axis=0)),
        _mean_power([p.log_power for p in rest])[0],
    )
    return _distances(profile.quantiles, profile.edges, profile.log_power, average)


def _distances(
    quantiles: Sequence[float],
    edges: Sequence[float],
    log_power: Sequence[float | None],
    other: ReferenceGroup | _Average,
) -> dict[str, float]:
    shared = [(a, b) for a, b in zip(log_power, other.log_power, strict=True) if a is not None and b is not None]
    power = np.array(shared, float).reshape(-1, 2)
    return {
        "histogram": float(np.mean(np.abs(np.subtract(quantiles, other.quantiles)))) / 10.0,
        "edges": float(np.sqrt(np.mean(np.subtract(edges, other.edges) ** 2))),
        "spectrum": float(np.sqrt(np.mean((power[:, 0] - power[:, 1]) ** 2))) if shared else 0.0,
    }


def _mean_power(
    spectra: Sequence[Sequence[float | None]],
) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
    """Return mean and deviation over the spectra that reach each frequency; None where none does."""
    columns = [[v for v in column if v is not None] for column in zip(*spectra, strict=True)]
    means = tuple(float(np.mean(c)) if c else None for c in columns)
    return means, tuple(float(np.std(c)) if c else None for c in columns)


def _tuple(values: Any) -> tuple[float, ...]:
    return tuple(round(float(v), 5) for v in values)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return MappingProxyType({key: _frozen(entry) for key, entry in value.items()})
    if isinstance(value, list):
        return tuple(_frozen(entry) for entry in value)
    return value
