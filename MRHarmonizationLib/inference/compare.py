"""Compare an image before and after processing: the numbers and curves; ``evaluation/report.py`` writes them down.

Examples
--------
Everything in one line, and from it a number, a curve and a feature map::

    from MRHarmonizationLib import compare, read_volume

    result = compare(read_volume("before.nii.gz"), read_volume("after.nii.gz"), maps=["contrast"])
    result.value("after_vs_before", "ssim")
    result.curve("psd_radial").series[0].y
    result.maps["after_contrast"].array
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.compare_inputs import Subjects, place
from MRHarmonizationLib.inference.compare_regions import RegionComparison, check_regions, region_volumes
from MRHarmonizationLib.inference.curves import Curve, Role
from MRHarmonizationLib.metrics.base import METRICS, Measurement, Metric, Spacing
from MRHarmonizationLib.volumes.volume import Volume

#: What was measured, as headings: key, sentence.
COMPARISONS = {
    "after_vs_before": "after, held against before",
    "before_vs_reference": "before, held against the reference",
    "after_vs_reference": "after, held against the reference",
    "before": "before alone",
    "after": "after alone",
    "reference": "the reference alone",
}
#: Side of the window of feature maps, voxels.
MAP_WINDOW_VOXELS = 5
#: Below this correlation two images are hardly one head in one place and one contrast.
UNRELATED_CORRELATION = 0.8
#: Asks for every metric there is.
ALL = "all"
#: Parts of the progress at which placing, measuring, texture and spectra end; the rest are the maps.
PLACED, MEASURED, TEXTURED, DRAWN = 0.1, 0.6, 0.75, 0.8
#: Part of the progress that a network takes that finds the brain's structures in all images.
SEGMENTED = 0.5


@dataclass(frozen=True)
class ComparisonResult:
    """Images on one grid, and what was measured on them.

    Attributes
    ----------
    before, after : Volume
        On the grid of ``after``.
    reference : Volume or None
        On the grid of ``after``.
    mask : ndarray, bool, shape (K, J, I)
        Where everything was measured.
    mask_name : str
    measurements : dict of str to list of Measurement
        Keys of :data:`COMPARISONS`.
    notes : tuple of str
        What was done to the images before they were compared, and what a reader must know.
    curves : tuple of Curve
        Histogram, power spectra and texture over distance.
    texture : tuple of dict
        One row per image, feature and distance; the keys are the columns of ``texture.csv``.
    maps : dict of str to Volume
        ``<before|after|reference>_<feature>``: features in a window around each voxel, where they were asked for.
    regions : RegionComparison or None
        Volumes of brain structures, where they were asked for.
    scale : tuple of float
        (low, high): the intensities everything refers to, .5 and 99.5 % of the reference (of before without one)
        inside the mask.
    """

    before: Volume
    after: Volume
    reference: Volume | None
    mask: np.ndarray
    mask_name: str
    measurements: dict[str, list[Measurement]]
    notes: tuple[str, ...] = field(default=())
    curves: tuple[Curve, ...] = field(default=())
    texture: tuple[dict[str, Any], ...] = field(default=())
    maps: dict[str, Volume] = field(default_factory=dict)
    regions: RegionComparison | None = None
    scale: tuple[float, float] = (0.0, 1.0)

    @property
    def images(self) -> dict[str, Volume]:
        """The images by their part: 'before', 'after' and, where there is one, 'reference'."""
        images = {"before": self.before, "after": self.after}
        return images if self.reference is None else images | {"reference": self.reference}

    def value(self, comparison: str, metric: str) -> float:
        """Return one measured number.

        Parameters
        ----------
        comparison : str
            Key of :data:`COMPARISONS`.
        metric : str
            Name in the registry of metrics.

        Raises
        ------
        ParameterError
            It was not measured.
        """
        group = self.measurements.get(comparison, [])
        for measurement in group:
            if measurement.name == metric:
                return measurement.value
        measured = ", ".join(m.name for m in group) or f"one of the comparisons {', '.join(self.measurements)}"
        raise ParameterError(f"'{metric}' of '{comparison}' was not measured", f"choose {measured}")

    def curve(self, curve_id: str) -> Curve:
        """Return the curve with an id; raise ParameterError naming the choices otherwise."""
        for curve in self.curves:
            if curve.id == curve_id:
                return curve
        raise ParameterError(f"there is no curve '{curve_id}'", f"choose of: {', '.join(c.id for c in self.curves)}")

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat dictionary per measurement, for tables and CSV."""
        return [
            {"comparison": key, **{k: v for k, v in measurement.to_dict().items() if k != "detail"}}
            for key, measurements in self.measurements.items()
            for measurement in measurements
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary without voxels, curves and texture."""
        return {
            "grid": self.after.grid.to_dict(),
            "images": {key: {"name": volume.name, "digest": volume.digest()} for key, volume in self.images.items()},
            "mask": {"name": self.mask_name, "voxels": int(np.count_nonzero(self.mask))},
            "scale": list(self.scale),
            "notes": list(self.notes),
            "measurements": {key: [m.to_dict() for m in group] for key, group in self.measurements.items()},
            "curves": [curve.id for curve in self.curves],
            "maps": sorted(self.maps),
            "regions": None if self.regions is None else self.regions.to_dict(),
        }


def compare(
    before: Volume,
    after: Volume,
    reference: Volume | None = None,
    mask: Volume | None = None,
    progress: Progress | None = None,
    *,
    label: int | None = None,
    maps: Sequence[str] = (),
    window: int = MAP_WINDOW_VOXELS,
    extra_metrics: Sequence[str] = (),
    regions: bool = False,
    segmentations: Sequence[Volume] = (),
) -> ComparisonResult:
    """Measure what processing did to an image.

    Parameters
    ----------
    before, after : Volume
        The image before and after; ``before`` is brought to the grid of ``after`` by cubic interpolation if it lies on
        another one.
    reference : Volume, optional
        The truth, where there is one; brought to the same grid likewise.
    mask : Volume, optional
        Nonzero where to measure, brought to the same grid by nearest neighbour; the foreground of ``before`` when
        omitted. Voxels outside an image's field of view are left out.
    progress : Progress, optional
    label : int, optional
        Measure only where ``mask`` has this value.
    maps : sequence of str, optional
        Texture features to compute around every voxel of the mask as well, for all images ("contrast").
    window : int
        Side of the cube around a voxel for the maps; odd, voxels.
    extra_metrics : sequence of str, optional
        Metrics that are computed only on request because they take long, by name; "all" for every one of them.
    regions : bool
        Whether the volumes of 32 brain structures are measured too, each image on its own grid: a network finds them,
        which takes seconds for every image.
    segmentations : sequence of Volume, optional
        Label maps of before, after and the reference, in this order (FreeSurfer numbers), measured instead.

    Returns
    -------
    ComparisonResult
        The data range of every number is that of the reference (of ``before`` without one), .5 to 99.5 % in the mask;
        texture is counted in 32 bins of that range. What cannot be measured is left out and named in the notes.

    Raises
    ------
    InputError
        NaN, constant or empty images; label maps in place of images; an empty mask, or one without the label.
    GridMismatchError
        The images do not overlap in space.
    ParameterError
        An unknown feature or metric, an even window, a label without a mask, not one label map for every image.
    ModelNotFoundError, WeightsError, DependencyError
        Regions are asked for, and the network is not installed.
    """
    from MRHarmonizationLib.inference.compare_spectrum import histogram_curve, spectrum_curves
    from MRHarmonizationLib.inference.compare_texture import check_maps, feature_maps, texture_over_distance

    progress = progress or Progress()
    if label is not None and mask is None:
        raise ParameterError(f"label {label} was given without a mask", "name the mask that holds it")
    check_maps(maps, window)
    metrics = chosen_metrics(extra_metrics)
    given: dict[Role, Volume] = {"before": before, "after": after}
    if reference is not None:
        given["reference"] = reference
    check_regions(regions, len(segmentations), len(given))
    progress.report(0.0, "bringing the images together")
    subjects = place(before, after, reference, mask, label)
    notes = list(subjects.notes)
    found_regions = None
    if regions or segmentations:
        found_regions = region_volumes(given, segmentations, notes, progress.part(0.0, SEGMENTED))
        progress = progress.part(SEGMENTED, 1.0)
    progress.report(PLACED, "measuring")
    measurements = _measure_all(subjects, metrics, notes, progress.part(PLACED, MEASURED))
    texture = texture_over_distance(subjects, notes, progress.part(MEASURED, TEXTURED))
    progress.report(TEXTURED, "measuring the power spectra")
    spectra = spectrum_curves(subjects, notes)
    found = feature_maps(subjects, maps, window, progress.part(DRAWN, 1.0))
    images = subjects.images
    progress.report(1.0, "compared")
    return ComparisonResult(
        images["before"],
        images["after"],
        images.get("reference"),
        subjects.mask,
        subjects.mask_name,
        measurements,
        tuple(notes),
        (histogram_curve(subjects), *spectra, *texture.curves, *(found_regions.curves if found_regions else ())),
        texture.rows,
        found,
        found_regions,
        subjects.scale,
    )


def chosen_metrics(extra: Sequence[str]) -> list[Metric]:
    """Return the metrics of grey images, those computed on request only where they are named (or "all" is).

    Raises
    ------
    ParameterError
        An unknown name.
    """
    found = {name: metric for name, metric in METRICS.items() if metric.operates_on == "images"}
    for name in extra:
        if name != ALL and name not in found:
            on_request = [known for known, metric in found.items() if metric.on_request]
            raise ParameterError(f"there is no metric '{name}'", f"choose of: {', '.join([ALL, *on_request])}")
    return [m for name, m in found.items() if not m.on_request or name in extra or ALL in extra]


def _measure_all(
    subjects: Subjects, metrics: Sequence[Metric], notes: list[str], progress: Progress
) -> dict[str, list[Measurement]]:
    """Apply every grey-image metric that fits to every pairing; what has no value becomes a note."""
    pairs: list[tuple[str, str, str | None]] = [("after_vs_before", "after", "before")]
    if "reference" in subjects.images:
        pairs += [("before_vs_reference", "before", "reference"), ("after_vs_reference", "after", "reference")]
    pairs += [(name, name, None) for name in subjects.images]
    tasks = [
        (key, image, held_against, metric)
        for key, image, held_against in pairs
        for metric in metrics
        if metric.needs_reference == (held_against is not None)
    ]
    measurements: dict[str, list[Measurement]] = {key: [] for key, _, _ in pairs}
    for step, (key, image, held_against, metric) in enumerate(tasks):
        progress.report(step / len(tasks), f"measuring {metric.name}, {COMPARISONS[key]}")
        try:
            measured = _measure(metric, subjects, image, held_against)
        except (InputError, ParameterError) as problem:  # too small a mask for what the metric fits
            notes.append(f"{metric.name} ({COMPARISONS[key]}) was left out: {problem.problem}")
            continue
        if np.isnan(measured.value):
            notes.append(f"{metric.name} ({COMPARISONS[key]}) was left out: it has no value for these images")
        else:
            measurements[key].append(measured)
    if "reference" not in subjects.images:
        notes += _doubts(measurements["after_vs_before"])
    return measurements


def _doubts(measured: Sequence[Measurement]) -> list[str]:
    """Return what makes a voxel by voxel comparison doubtful."""
    found = {measurement.name: measurement.value for measurement in measured}
    value = found.get("correlation", 1.0)
    if value >= UNRELATED_CORRELATION:
        return []
    return [
        f"before and after correlate by {value:.2f} only; if they show one head in one contrast they are not aligned: "
        "nothing is registered here"
    ]


def _measure(metric: Metric, subjects: Subjects, image: str, held_against: str | None) -> Measurement:
    spacing = subjects.images[image].grid.spacing_mm
    spacing_mm: Spacing = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    return metric(
        subjects.images[image].array,
        None if held_against is None else subjects.images[held_against].array,
        subjects.mask,
        subjects.data_range if metric.uses_data_range else None,
        spacing_mm,
        subjects.mask_name,
    )
