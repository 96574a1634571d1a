"""Results as lines of text for a person at a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from MRHarmonizationLib.inference.compare import ComparisonResult
    from MRHarmonizationLib.inference.compare_regions import RegionComparison
    from MRHarmonizationLib.inference.enhance import EnhanceResult
    from MRHarmonizationLib.metrics.base import Measurement
    from MRHarmonizationLib.weights.card import Card

#: Commands by the task of the models they run.
COMMANDS = {
    "enhance": "enhance",
    "restore": "restore",
    "standardise": "harmonize",
    "harmonize-dwi": "harmonize-dwi",
    "segment": "segment",
}
DIRECTION = {"higher": "higher is better", "lower": "lower is better", "none": ""}


def enhancement_lines(result: EnhanceResult) -> list[str]:
    """Return what an enhancement was, and its measurements before and after."""
    record = result.provenance
    size = " × ".join(str(count) for count in result.volume.grid.size_ijk)
    spacing = " × ".join(f"{value:g}" for value in result.volume.grid.spacing_mm.round(3))
    lines = [
        f"model {record.model_id} {record.model_version} on {record.backend} ({record.device}), "
        f"strength {record.parameters['strength']:g}: {size} voxels of {spacing} mm"
    ]
    for measurement in result.measurements:
        before = measurement.detail.get("before")
        shown = (
            f"{_number(before)} → {_number(measurement.value)}"
            if isinstance(before, float)
            else _number(measurement.value)
        )
        lines.append(f"{measurement.name}: {shown}{_unit(measurement)}, {measurement.mask}")
    return lines


def comparison_lines(comparison: ComparisonResult) -> list[str]:
    """Return the measures against the reference before → after, or after against before where there is none."""
    groups = comparison.measurements
    if "after_vs_reference" in groups:
        before = {measurement.name: measurement for measurement in groups["before_vs_reference"]}
        after, heading = groups["after_vs_reference"], "against the reference, before → after"
    else:
        before, after, heading = {}, groups["after_vs_before"], "after, against before"
    lines = [f"{heading} ({comparison.mask_name}, {after[0].voxels} voxels):"] if after else []
    for measurement in after:
        first = before.get(measurement.name)
        shown = f"{_number(first.value)} → {_number(measurement.value)}" if first else _number(measurement.value)
        direction = f"  ({DIRECTION[measurement.better]})" if first and DIRECTION[measurement.better] else ""
        lines.append(f"  {measurement.name}: {shown}{_unit(measurement)}{direction}")
    return lines if comparison.regions is None else [*lines, *region_lines(comparison.regions)]


def region_lines(regions: RegionComparison) -> list[str]:
    """Return the volumes of brain structures before → after, and how far they lie apart."""
    with_reference = "reference_ml" in regions.rows[0]
    lines = [f"brain regions, ml before → after{' (reference)' if with_reference else ''}; {regions.source}:"]
    for row in regions.rows:
        change = row["change_percent"]
        told = f"  {row['region']}: {row['before_ml']:.2f} → {row['after_ml']:.2f}"
        told += f" ({row['reference_ml']:.2f})" if with_reference else ""
        lines.append(told if change is None else f"{told}, {change:+.1f} %")
    return lines


def model_lines(cards: Sequence[Card]) -> list[str]:
    """Return one paragraph per model."""
    if not cards:
        return ["no models found"]
    lines: list[str] = []
    for card in cards:
        domain, weights = card.domain, card.weights
        contrasts = ", ".join(domain.modalities) or "any contrast"
        lines += [
            f"{card.id} {card.version}  {card.title}",
            f"  {card.summary}",
            f"  command: {COMMANDS.get(card.task, card.task)}",
            f"  for: {domain.body_part or 'any body part'}, {contrasts}, slices {_range(domain.slice_spacing_mm)}, "
            f"in plane {_range(domain.inplane_mm)}",
            f"  licence: {card.licence}; weights: {weights.file}, sha256 {weights.sha256[:12]}…, in {card.folder}",
        ]
    return lines


def _range(limits_mm: tuple[float, float]) -> str:
    return f"{limits_mm[0]:g} to {limits_mm[1]:g} mm"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _unit(measurement: Measurement) -> str:
    return "" if measurement.unit in ("", "1") else f" {measurement.unit}"
