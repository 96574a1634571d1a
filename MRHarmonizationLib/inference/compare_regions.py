"""Volumes of brain structures of the images of a comparison: found by the network, or in the user's own label maps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.brain_regions import BrainRegion, relative_error_percent
from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.compare_spectrum import ROLES
from MRHarmonizationLib.inference.curves import Curve, Drawing, Role, Series
from MRHarmonizationLib.inference.region_volumes import MM3_PER_ML, in_pairs, label_volumes_mm3, whole_labels
from MRHarmonizationLib.inference.segment import DEFAULT_MODEL, SegmentRequest, segment, segmenter
from MRHarmonizationLib.volumes.volume import Volume

#: Ids of the curves.
VOLUMES_CURVE, CHANGES_CURVE = "region_volumes", "region_changes"
#: Ids of all curves of this module.
REGION_CURVES = (VOLUMES_CURVE, CHANGES_CURVE)
GIVEN = "label maps given by the user"


@dataclass(frozen=True, eq=False)
class RegionComparison:
    """Volumes of the structures in all images.

    Attributes
    ----------
    rows : tuple of dict
        One per structure, pairs below each other: region, number, side, before_ml, after_ml, reference_ml where there
        is one, change_percent (after against before), and with a reference before_error_percent, after_error_percent
        (each against it); None where a structure is too small to say.
    source : str
        Whose labels were measured.
    curves : tuple of Curve
    """

    rows: tuple[dict[str, Any], ...]
    source: str
    curves: tuple[Curve, ...]

    def mean_absolute_percent(self, column: str) -> float | None:
        """Return the mean of the absolute values of a column of percents; None where it holds none."""
        known = [abs(row[column]) for row in self.rows if row.get(column) is not None]
        return float(np.mean(known)) if known else None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary without the curves."""
        columns = ("change_percent", "before_error_percent", "after_error_percent")
        means = {column: self.mean_absolute_percent(column) for column in columns if column in self.rows[0]}
        return {"source": self.source, "mean_absolute": means, "rows": list(self.rows)}


def check_regions(wanted: bool, segmentations: int, images: int) -> None:
    """Refuse what cannot be, before any work is done.

    Parameters
    ----------
    wanted : bool
        Whether volumes are asked for.
    segmentations, images : int
        How many label maps and how many images were given.

    Raises
    ------
    ParameterError
        Another number of label maps than of images.
    ModelNotFoundError, WeightsError
        The network is needed and not installed.
    """
    if segmentations and segmentations != images:
        order = ("before", "after", "reference")[:images]
        raise ParameterError(
            f"{segmentations} segmentations were given for {images} images",
            f"give one for each, in the order {', '.join(order)}",
        )
    if wanted and not segmentations:
        segmenter(DEFAULT_MODEL)


def region_volumes(
    images: Mapping[Role, Volume], segmentations: Sequence[Volume], notes: list[str], progress: Progress
) -> RegionComparison | None:
    """Measure the structures of every image on its own grid.

    Parameters
    ----------
    images : mapping of role to Volume
        'before', 'after' and, where there is one, 'reference', as they were given: nothing is resampled.
    segmentations : sequence of Volume
        Label maps of these images in this order (FreeSurfer numbers); empty to let the network find the structures.
    notes : list of str
        What a reader must know is added.
    progress : Progress

    Returns
    -------
    RegionComparison or None
        None where an image has no structures to measure; the notes say why.

    Raises
    ------
    InputError
        A label map given by the user is none.
    Other errors of the library
        As :func:`~MRHarmonizationLib.inference.segment.segment`.
    """
    roles = [role for role in ROLES if role in images]
    if segmentations:
        volumes = {role: _given(labels, role, notes) for role, labels in zip(roles, segmentations, strict=True)}
        return _compared(volumes, GIVEN)
    volumes, source = {}, ""
    for number, role in enumerate(roles):
        part = progress.part(number / len(roles), (number + 1) / len(roles))
        part.report(0.0, f"finding the brain structures of {role}")
        try:
            found = segment(SegmentRequest(images[role]), part)
        except InputError as problem:
            notes.append(f"the brain regions were left out: {role}: {problem.problem}")
            return None
        notes += [f"brain regions of {role}: {warning}" for warning in found.warnings]
        volumes[role] = dict(found.volumes_mm3)
        source = f"network '{found.provenance.model_id}' {found.provenance.model_version}, at 1 mm"
    if not any(volumes[role][number] for role in roles for number in volumes[role]):
        notes.append("the brain regions were left out: none was found in any image")
        return None
    return _compared(volumes, source)


def _given(labels: Volume, role: Role, notes: list[str]) -> dict[int, float]:
    name = f"segmentation of {role}"
    if whole_labels(labels, name)[1]:
        notes.append(f"parcels in the {name} count as the cortex or white matter they are parts of")
    return label_volumes_mm3(labels, name)


def _compared(volumes: Mapping[Role, Mapping[int, float]], source: str) -> RegionComparison:
    regions = list(in_pairs())
    rows = [_row(region, {role: own[region.number] for role, own in volumes.items()}) for region in regions]
    names = tuple(short_name(region) for region in regions)
    curves = (_volumes_curve(rows, names, list(volumes)), _changes_curve(rows, names))
    return RegionComparison(tuple(rows), source, tuple(curve for curve in curves if curve is not None))


def _row(region: BrainRegion, volumes_mm3: Mapping[Role, float]) -> dict[str, Any]:
    row: dict[str, Any] = {"region": region.name, "number": region.number, "side": region.side}
    row |= {f"{role}_ml": round(value / MM3_PER_ML, 4) for role, value in volumes_mm3.items()}
    row["change_percent"] = _percent(volumes_mm3["after"], volumes_mm3["before"])
    if "reference" in volumes_mm3:
        for role in ("before", "after"):
            row[f"{role}_error_percent"] = _percent(volumes_mm3[role], volumes_mm3["reference"])
    return row


def _percent(value_mm3: float, base_mm3: float) -> float | None:
    found = relative_error_percent(value_mm3, base_mm3)
    return round(found, 2) + 0.0 if math.isfinite(found) else None


def short_name(region: BrainRegion) -> str:
    """Return a structure's name for an axis: 'hippocampus L'."""
    plain = region.name.removeprefix("Left ").removeprefix("Right ")
    plain = plain[:1].lower() + plain[1:]
    return f"{plain} {region.side[0].upper()}" if region.side else plain


def _volumes_curve(rows: Sequence[Mapping[str, Any]], names: tuple[str, ...], roles: Sequence[Role]) -> Curve | None:
    series = [_series(role, role, [row[f"{role}_ml"] or None for row in rows]) for role in roles]
    return _curve(
        series,
        names,
        VOLUMES_CURVE,
        "Brain regions: volumes",
        "How large the structures are. Processing that keeps anatomy moves no point; where points lie apart, something "
        "became larger or smaller, or is found better.",
        "volume",
        "ml",
        "points",
    )


def _changes_curve(rows: Sequence[Mapping[str, Any]], names: tuple[str, ...]) -> Curve | None:
    if "after_error_percent" in rows[0]:
        roles: tuple[Role, ...] = ("before", "after")
        series = [_series(role, role, [row[f"{role}_error_percent"] for row in rows]) for role in roles]
        sentence = (
            "How much larger or smaller each structure is than in the reference: the shorter bar is nearer to it."
        )
        label = "volume against the reference"
    else:
        series = [_series("after against before", "after", [row["change_percent"] for row in rows])]
        sentence = "How much larger or smaller each structure is after processing than before."
        label = "change of volume"
    return _curve(series, names, CHANGES_CURVE, "Brain regions: changes", sentence, label, "%", "bars")


def _series(name: str, role: Role, values: Sequence[float | None]) -> Series | None:
    """Return the values that are known over their places from 1 on, None where none is."""
    known = [(place, value) for place, value in enumerate(values, start=1) if value is not None]
    return Series(name, role, *np.array(known, float).T) if known else None


def _curve(
    series: Sequence[Series | None],
    names: tuple[str, ...],
    id_: str,
    title: str,
    sentence: str,
    label: str,
    unit: str,
    drawn: Drawing,
) -> Curve | None:
    known = tuple(line for line in series if line is not None)
    if not known:
        return None
    return Curve(
        id=id_,
        title=title,
        sentence=sentence,
        x_label="structure",
        x_unit="1",
        x_log=False,
        y_label=label,
        y_unit=unit,
        y_log=drawn == "points",
        series=known,
        drawn=drawn,
        x_names=names,
    )
