"""Changes of contrast made in k-space, and those that k-space alone cannot make; anatomy stays where it is.

In this order: gains of tissues (drawn, or from a change of echo and repetition times), a tone curve, a coil's bias
field, then gains on the amplitudes of k-space with all phases kept. The last are linear filters, so that they alone
could not imitate a change of echo time, which depends on the tissue.

A curve that folds may make bright tissue dark, but none may make two tissues alike: draws that would are drawn anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import GridMismatchError, InputError, ParameterError
from MRHarmonizationLib.core.masks import foreground_mask
from MRHarmonizationLib.core.regions import inner_region, thinning_steps
from MRHarmonizationLib.degradations.amplitude_swap import AmplitudeSwap, measure_amplitudes, swap_amplitudes
from MRHarmonizationLib.degradations.base import DEGRADATIONS, build_parameters
from MRHarmonizationLib.degradations.bias_field import BiasFieldParameters, apply_bias_field, sample_bias_field
from MRHarmonizationLib.degradations.contrast import ToneCurveParameters, apply_tone_curve, sample_tone_curve
from MRHarmonizationLib.degradations.kspace_filter import (
    KSpaceFilter,
    filter_spectrum,
    frequency_radius,
    sample_filter,
)
from MRHarmonizationLib.degradations.tissue_gains import (
    TissueGains,
    apply_tissue_gains,
    sample_sequence_gains,
    sample_tissue_gains,
    tissue_means,
)
from MRHarmonizationLib.volumes.grid import same_grid
from MRHarmonizationLib.volumes.volume import Volume

#: Families of alterations and the share of draws in which each takes part.
FAMILIES: Mapping[str, float] = {
    "bands": 0.7,
    "centre": 0.5,
    "dc": 0.5,
    "jitter": 0.4,
    "swap": 0.5,
    "tone": 0.5,
    "fold": 0.2,
    "tissue": 0.4,
    "sequence": 0.3,
    "bias": 0.5,
}
#: Of these pairs only one takes part in a draw.
EXCLUSIVE = (("fold", "tone"), ("sequence", "tissue"))
#: Tissues and classes of intensity keep at least this share of their separation under gains and tone curves.
LEAST_SEPARATION = 0.5
#: A curve that folds may make mixtures of two classes this share of the contrast brighter or darker than both.
LARGEST_RIM = 0.15
#: Curves, or gains, drawn before they are left alone.
MOST_DRAWS = 20
#: Classes of intensity that stand for tissues where no labels are given.
CLASSES = 3
#: Width, mm, over which an alteration fades out beyond the object: air stays dark.
FADE_MM = 2.0
#: Voxels looked at to judge a tone curve.
JUDGED_VOXELS = 60_000


@dataclass(frozen=True)
class KSpaceContrastParameters:
    """Every draw of one alteration; what is None or neutral takes no part.

    Attributes
    ----------
    tissue_gains : TissueGains or None
        Need the label map they were drawn for.
    tone_curve : ToneCurveParameters or None
    bias_field : BiasFieldParameters or None
    kspace : KSpaceFilter
    swap : AmplitudeSwap or None
    """

    tissue_gains: TissueGains | None = None
    tone_curve: ToneCurveParameters | None = None
    bias_field: BiasFieldParameters | None = None
    kspace: KSpaceFilter = field(default_factory=KSpaceFilter)
    swap: AmplitudeSwap | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: None if value is None else value.to_dict() for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KSpaceContrastParameters:
        """Build from :meth:`to_dict`."""
        kinds: dict[str, Any] = {
            "tissue_gains": TissueGains,
            "tone_curve": ToneCurveParameters,
            "bias_field": BiasFieldParameters,
            "kspace": KSpaceFilter,
            "swap": AmplitudeSwap,
        }
        ready = dict(values)
        for name, kind in kinds.items():
            if ready.get(name) is not None:
                ready[name] = kind.from_dict(ready[name])
        return build_parameters(cls, ready)


def sample_kspace_contrast(
    rng: np.random.Generator,
    volume: Volume,
    labels: np.ndarray | None = None,
    donor: Volume | None = None,
    families: Sequence[str] | None = None,
    strength: float = 1.0,
) -> KSpaceContrastParameters:
    """Draw an alteration of a volume.

    Parameters
    ----------
    rng : numpy Generator
    volume : Volume
        Finite; one slice will do.
    labels : int ndarray, shape (K, J, I), optional
        FreeSurfer numbers; without it the families 'tissue' and 'sequence' take no part.
    donor : Volume, optional
        Another case of the same contrast; without it the family 'swap' takes no part.
    families : sequence of str, optional
        Families of :data:`FAMILIES` that all take part; drawn when omitted, at least one.
    strength : float in [0, 1]
        Scales every change.

    Raises
    ------
    ParameterError
        Unknown family, strength out of range, a family whose label map or donor is missing.
    """
    if not 0.0 <= strength <= 1.0:
        raise ParameterError(f"strength of an alteration is {strength}", "give 0 (none) to 1")
    _check_finite(volume)
    chosen = _chosen_families(rng, labels is not None, donor is not None, families)
    array: np.ndarray = volume.array.astype(np.float32)
    gains = None
    if labels is not None and ("tissue" in chosen or "sequence" in chosen):
        gains = _sample_gains(rng, array, _checked_labels(labels, array), "tissue" in chosen, strength)
    curve = None
    if "tone" in chosen or "fold" in chosen:
        if gains is not None and labels is not None:  # the curve must suit what it will be applied to
            spacing = volume.grid.spacing_mm[::-1].tolist()
            array = apply_tissue_gains(array, _checked_labels(labels, array), gains, spacing)
        curve = _sample_curve(rng, volume.with_array(array), "fold" not in chosen, strength)
    bias = sample_bias_field(rng, 0.3 * strength) if "bias" in chosen else None
    kspace = sample_filter(rng, chosen, strength)
    swap = None
    if donor is not None and "swap" in chosen:
        swap = measure_amplitudes(donor, float(rng.uniform(0.01, 0.1)), strength * float(rng.uniform(0.1, 0.5)))
    return KSpaceContrastParameters(gains, curve, bias, kspace, swap)


def apply_kspace_contrast(
    volume: Volume, parameters: KSpaceContrastParameters, labels: np.ndarray | None = None
) -> Volume:
    """Alter the contrast of a volume.

    Parameters
    ----------
    volume : Volume
        Finite; constant images and single slices too.
    parameters : KSpaceContrastParameters
    labels : int ndarray, shape (K, J, I), optional
        Needed where the parameters hold gains of tissues.

    Returns
    -------
    Volume
        float32 on the same grid; air beyond the object keeps its values; never below 0 where the input was not.

    Raises
    ------
    ParameterError
        Gains of tissues without a label map.
    InputError
        Values that are not finite; a label map of another shape.
    """
    _check_finite(volume)
    array: np.ndarray = volume.array.astype(np.float32)
    spacing_kji: list[float] = volume.grid.spacing_mm[::-1].tolist()
    lowest = min(float(array.min()), 0.0)
    if parameters.tissue_gains is not None:
        array = apply_tissue_gains(array, _checked_labels(labels, array), parameters.tissue_gains, spacing_kji)
    if parameters.tone_curve is not None and array.max() > array.min():
        array = apply_tone_curve(array, parameters.tone_curve)
    if parameters.bias_field is not None:
        array = apply_bias_field(array, parameters.bias_field)
    if not parameters.kspace.is_identity or parameters.swap is not None:
        altered = alter_amplitudes(volume.with_array(array), parameters)
        weight = _object_weight(volume.array, spacing_kji)
        array = array + weight * (altered - array)
    return volume.with_array(np.maximum(array, np.float32(lowest)))


def alter_amplitudes(volume: Volume, parameters: KSpaceContrastParameters) -> np.ndarray:
    """Return the image after the changes in k-space alone, float32, shape (K, J, I); every phase is kept.

    Parameters
    ----------
    volume : Volume
    parameters : KSpaceContrastParameters
        Of which only ``kspace`` and ``swap`` are used.
    """
    from scipy import fft

    spectrum = fft.rfftn(volume.array.astype(np.float32), workers=1)
    radius = frequency_radius(volume.grid.shape, volume.grid.spacing_mm[::-1].tolist())
    if parameters.swap is not None:
        spectrum = swap_amplitudes(spectrum, radius, volume.grid, parameters.swap)
    spectrum = filter_spectrum(spectrum, radius, volume.grid.shape[2], parameters.kspace)
    return np.asarray(fft.irfftn(spectrum, s=volume.grid.shape, workers=1), np.float32)


def _chosen_families(
    rng: np.random.Generator, has_labels: bool, has_donor: bool, wanted: Sequence[str] | None
) -> tuple[str, ...]:
    possible = [
        name
        for name in FAMILIES
        if (has_labels or name not in ("tissue", "sequence")) and (has_donor or name != "swap")
    ]
    if wanted is not None:
        unknown = sorted(set(wanted) - set(FAMILIES))
        if unknown:
            raise ParameterError(f"unknown alterations {unknown}", f"choose of: {', '.join(FAMILIES)}")
        lacking = sorted(set(wanted) - set(possible))
        if lacking:
            raise ParameterError(
                f"alterations {lacking} need a label map (tissue, sequence) or another case (swap)", "give it"
            )
        return tuple(wanted)
    draws = rng.random(len(FAMILIES))
    drawn = {name for name, draw in zip(FAMILIES, draws, strict=True) if name in possible and draw < FAMILIES[name]}
    for kept, dropped in EXCLUSIVE:
        if kept in drawn:
            drawn.discard(dropped)
    return tuple(name for name in FAMILIES if name in drawn) or ("bands",)


def _sample_gains(
    rng: np.random.Generator, array: np.ndarray, labels: np.ndarray, drawn: bool, strength: float
) -> TissueGains | None:
    """Draw gains, free or from a change of sequence, that keep the tissues apart; None where none are found."""
    thin = thinning_steps(array.shape, JUDGED_VOXELS)
    image, few = array[thin], labels[thin]
    before = tissue_means(image, few)
    for _ in range(MOST_DRAWS):
        if drawn:
            gains: TissueGains | None = sample_tissue_gains(rng, labels, strength)
        else:
            gains = sample_sequence_gains(rng, image, few, strength)
        if gains is None:
            return None
        table = dict(zip(gains.labels, gains.gains, strict=True))
        factors = np.array([table.get(int(v), 1.0) for v in np.unique(few)], np.float32)
        after = tissue_means(image * factors[np.searchsorted(np.unique(few), few)], few)
        pairs = [(a, b) for a in before for b in before if a < b]
        gaps = [abs(after[a] - after[b]) >= LEAST_SEPARATION * abs(before[a] - before[b]) for a, b in pairs]
        if all(gaps):
            return gains
    return None


def _sample_curve(
    rng: np.random.Generator, volume: Volume, monotone: bool, strength: float
) -> ToneCurveParameters | None:
    """Draw a curve that keeps the classes of intensity of an image apart; None where none is found."""
    sample, classes = _judged_values(volume)
    if classes is None:
        return None
    before, separation = _class_separation(sample, classes)
    for _ in range(MOST_DRAWS):
        curve = sample_tone_curve(rng, strength=(0.8 if monotone else 0.9) * strength, monotone=monotone)
        mapped = apply_tone_curve(sample, curve)
        after, kept = _class_separation(mapped, classes)
        if np.all(kept >= LEAST_SEPARATION * separation) and (monotone or not _has_rims(sample, mapped, before, after)):
            return curve
    return None


def _class_separation(values: np.ndarray, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of each class and, for every pair, the distance of means over the sum of deviations."""
    groups = [values[classes == n].astype(np.float64) for n in range(CLASSES)]
    means, deviations = np.array([g.mean() for g in groups]), np.array([g.std() for g in groups])
    return means, np.abs(means[:, None] - means) / np.maximum(deviations[:, None] + deviations, 1e-12)


def _has_rims(sample: np.ndarray, mapped: np.ndarray, before: np.ndarray, after: np.ndarray) -> bool:
    """Tell whether mixtures of two neighbouring classes get darker or brighter than both: a rim at every border."""
    slack = LARGEST_RIM * float(np.ptp(after))
    for low, high in zip(range(CLASSES - 1), range(1, CLASSES), strict=True):
        mixed = mapped[(sample > before[low]) & (sample < before[high])]
        ends = after[[low, high]]
        if mixed.size and (mixed.min() < ends.min() - slack or mixed.max() > ends.max() + slack):
            return True
    return False


def _judged_values(volume: Volume) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a sample of intensities with air, and the class of each (-1 outside); None where there are no classes."""
    from skimage.filters import threshold_multiotsu

    thin = thinning_steps(volume.array.shape, JUDGED_VOXELS)
    array = volume.array[thin].astype(np.float32)
    if not array.max() > array.min():
        return array, None
    spacing = [float(s) * (part.step or 1) for s, part in zip(volume.grid.spacing_mm[::-1], thin, strict=True)]
    inside = inner_region(array, spacing)
    values = array[inside]
    if np.unique(values).size <= CLASSES:
        return array, None
    try:
        thresholds = threshold_multiotsu(values, CLASSES)
    except ValueError:  # too few distinct grey levels
        return array, None
    classes = np.where(inside, np.digitize(array, thresholds), -1)
    return array, classes if all(np.any(classes == n) for n in range(CLASSES)) else None


def _object_weight(array: np.ndarray, spacing_kji_mm: Sequence[float]) -> np.ndarray:
    """Return 1 on the object, falling to 0 within a few mm outside; float32."""
    from scipy.ndimage import gaussian_filter

    mask = foreground_mask(array)
    if mask.all():
        return np.ones(array.shape, np.float32)
    sigmas = [FADE_MM / 2 / float(s) if n > 1 else 0.0 for s, n in zip(spacing_kji_mm, array.shape, strict=True)]
    return np.asarray(np.maximum(mask, gaussian_filter(mask.astype(np.float32), sigmas, truncate=3.0)), np.float32)


def _check_finite(volume: Volume) -> None:
    if volume.array.dtype.kind == "f" and not np.all(np.isfinite(volume.array)):
        bad = int(np.count_nonzero(~np.isfinite(volume.array)))
        raise InputError(f"image '{volume.name}' has {bad} values that are NaN or infinite", "replace them first")


def _checked_labels(labels: np.ndarray | None, array: np.ndarray) -> np.ndarray:
    if labels is None:
        raise ParameterError(
            "the parameters hold gains of tissues, but no label map was given", "give the map they were drawn with"
        )
    if labels.shape != array.shape:
        raise InputError(f"label map shape {labels.shape} differs from the image's {array.shape}", "resample it")
    whole = labels if labels.dtype.kind in "iu" else np.rint(labels).astype(np.int32)
    if whole.min() < 0:
        raise InputError(f"label map has the label {int(whole.min())}", "use labels of 0 and above")
    return whole


@DEGRADATIONS.register("kspace-contrast")
class KSpaceContrast:
    """Another look of the same anatomy, on the same grid."""

    #: Further volumes that :meth:`sample` and :meth:`apply` can take.
    companions = ("labels", "donor")

    @staticmethod
    def sample(
        rng: np.random.Generator, volume: Volume, labels: Volume | None = None, donor: Volume | None = None
    ) -> KSpaceContrastParameters:
        """Draw an alteration; see :func:`sample_kspace_contrast`."""
        return sample_kspace_contrast(rng, volume, _labels_on(volume, labels), donor)

    @staticmethod
    def apply(
        volume: Volume, parameters: KSpaceContrastParameters, labels: Volume | None = None, donor: Volume | None = None
    ) -> Volume:
        """Return the altered volume; the donor's part is in the parameters. See :func:`apply_kspace_contrast`."""
        return apply_kspace_contrast(volume, parameters, _labels_on(volume, labels))

    @staticmethod
    def parameters_from_dict(values: Mapping[str, Any]) -> KSpaceContrastParameters:
        """Build parameters from their dictionary."""
        return KSpaceContrastParameters.from_dict(values)


def _labels_on(volume: Volume, labels: Volume | None) -> np.ndarray | None:
    if labels is None:
        return None
    if not same_grid(labels.grid, volume.grid, atol_mm=1e-2):
        raise GridMismatchError(
            f"label map '{labels.name}' (shape {labels.grid.shape}) lies on another grid than the image",
            "resample it on the image, nearest neighbour",
        )
    return _checked_labels(labels.array, volume.array)
