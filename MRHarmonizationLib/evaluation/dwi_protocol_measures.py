"""What the travelling-subject protocol measures of one scan on the grid of results, against the canonical scan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from MRHarmonizationLib.evaluation.contrast_protocol_rows import HIGHEST_PSNR_DB, WINDOW_REACH
from MRHarmonizationLib.evaluation.dwi_protocol import DwiProtocol
from MRHarmonizationLib.evaluation.dwi_protocol_cases import PreparedDwi
from MRHarmonizationLib.evaluation.lesion_overlap import lesion_overlap
from MRHarmonizationLib.inference.dwi_measures import DwiMaps, measure_maps
from MRHarmonizationLib.metrics.base import METRICS, default_data_range
from MRHarmonizationLib.metrics.lesion import find_lesions
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.volume import Volume

#: Images whose tissue means are followed: unweighted, trace, and the trace as it would be at :data:`REFERENCE_B`.
IMAGES = ("b0", "trace", "referred")
#: b-value to which traces of different shells are referred, s/mm².
REFERENCE_B = 1000.0
#: Volumes that are compared: the unweighted one, and the weighted ones.
SHELLS = ("b0", "dw")
#: Least signal of the unweighted image, in shares of its brain's median, of which a ratio is taken.
LEAST_SIGNAL = 1e-3


@dataclass(frozen=True, eq=False)
class Looked:
    """A scan on the grid of results, with its maps.

    Attributes
    ----------
    dwi : DwiVolume
    maps : DwiMaps
    has_units : bool
        Whether its values are meant to be in the canonical scan's units.
    """

    dwi: DwiVolume
    maps: DwiMaps
    has_units: bool


class DwiJudge:
    """Measures scans of one case; all on the case's grid of results."""

    def __init__(self, prepared: PreparedDwi, protocol: DwiProtocol) -> None:
        self._case, self._protocol = prepared, protocol
        truth = prepared.truth
        unweighted, weighted = np.flatnonzero(truth.is_b0), np.flatnonzero(~truth.is_b0)
        chosen = np.linspace(0, weighted.size, protocol.judged, endpoint=False).astype(int)
        self._volumes = {"b0": [int(unweighted[0])], "dw": [int(n) for n in weighted[chosen]]}
        self._shell, self._members = max(truth.shells().items(), key=lambda entry: len(entry[1]))
        places = np.nonzero(prepared.brain)
        self._box = tuple(
            slice(max(0, int(p.min()) - WINDOW_REACH), min(n, int(p.max()) + WINDOW_REACH + 1))
            for p, n in zip(places, prepared.brain.shape, strict=True)
        )

    @property
    def shell_s_per_mm2(self) -> int:
        """b-value of the trace."""
        return int(self._shell)

    @cached_property
    def truth(self) -> Looked:
        """The canonical scan."""
        maps = measure_maps(self._case.truth, self._case.brain)
        return Looked(self._case.truth, maps, True)

    def factor(self, looked: Looked) -> float:
        """Return the factor that brings a scan's judged volumes closest to the canonical scan's, in the brain."""
        own_truth = own_own = 0.0
        for n in (n for shell in SHELLS for n in self._volumes[shell]):
            own, truth = (s.array[..., n][self._case.brain].astype(np.float64) for s in (looked.dwi, self._case.truth))
            own_truth += float(own @ truth)
            own_own += float(own @ own)
        return own_truth / max(own_own, 1e-30)

    def similarity(self, looked: Looked) -> dict[str, float | None]:
        """Return PSNR (dB) and SSIM per shell, in own units (None where there are none) and with the best factor."""
        scales = {"": 1.0 if looked.has_units else None, "_scaled": self.factor(looked)}
        found: dict[str, float | None] = {}
        for ending, scale in scales.items():
            for shell in SHELLS:
                scores = (None, None) if scale is None else self._similarity(looked, shell, scale)
                found.update({f"{m}_{shell}{ending}": v for m, v in zip(("psnr", "ssim"), scores, strict=True)})
        return found

    def _similarity(self, looked: Looked, shell: str, scale: float) -> tuple[float, float]:
        """Return PSNR and SSIM of a scan times a factor, means over the judged volumes of a shell."""
        mask = self._case.brain[self._box]
        psnr, ssim = [], []
        for n in self._volumes[shell]:
            truth = self._case.truth.array[..., n][self._box].astype(np.float64)
            image = looked.dwi.array[..., n][self._box].astype(np.float64) * scale
            data_range = default_data_range(truth, mask)
            psnr.append(min(METRICS.get("psnr")(image, truth, mask, data_range).value, HIGHEST_PSNR_DB))
            ssim.append(METRICS.get("ssim")(image, truth, mask, data_range).value)
        return float(np.mean(psnr)), float(np.mean(ssim))

    def tissues(self, looked: Looked) -> dict[str, float]:
        """Return the mean of every image in every tissue, and its median in the brain; the scan's units."""
        found = {}
        for name, image in self._images(looked).items():
            found[f"median_{name}"] = float(np.median(image[self._case.brain]))
            for tissue, mask in self._case.tissues.items():
                found[f"{name}_{tissue}"] = float(image[mask].mean(dtype=np.float64))
        return found

    def diffusivities(self, looked: Looked, inside: np.ndarray) -> dict[str, float | None]:
        """Return mean absolute errors of MD (10⁻³ mm²/s) and FA, and mean errors in white matter.

        Parameters
        ----------
        looked : Looked
        inside : bool ndarray, shape (K, J, I)
            Where the scan's brain was found: nothing was fitted outside.
        """
        regions = {"white": self._case.tissues["white"] & inside, "brain": self._case.parenchyma & inside}
        found: dict[str, float | None] = {}
        pairs = {"md": (looked.maps.md, self._case.md, 1000.0), "fa": (looked.maps.fa, self._case.fa, 1.0)}
        for name, (own, truth, unit) in pairs.items():
            for region, mask in regions.items():
                error = None if own is None else unit * (own.array[mask].astype(np.float64) - truth[mask])
                found[f"{name}_error_{region}"] = None if error is None else float(np.abs(error).mean())
                if region == "white":
                    found[f"{name}_bias_white"] = None if error is None else float(error.mean())
        return found

    def lesions(self, looked: Looked, before: Looked) -> dict[str, float | None]:
        """Return what became of lesions, per kind and image; see :func:`lesion_scores`.

        Parameters
        ----------
        looked, before : Looked
            After harmonisation, and the scan without noise.
        """
        found: dict[str, float | None] = {}
        for kind, images in self._protocol.lesion_images.items():
            for image in images:
                scores = self._lesion_scores(kind, image, looked, before)
                found.update({f"{kind}_{image}_{name}": value for name, value in scores.items()})
        return found

    def _lesion_scores(self, kind: str, image: str, looked: Looked, before: Looked) -> dict[str, float | None]:
        mask = self._case.lesions[kind]
        if not mask.any():
            return lesion_scores(None, None, None, mask)

        def of(one: Looked) -> Volume:
            factor = 1.0 if image == "md" else self.factor(one)
            volume: Volume = getattr(one.maps, image)
            return volume.with_array(np.asarray(volume.array * np.float32(factor), np.float32))

        return lesion_scores(of(looked), of(before), of(self.truth), mask)

    def _images(self, looked: Looked) -> dict[str, np.ndarray]:
        b0, trace = looked.maps.b0.array, looked.maps.trace.array
        floor = LEAST_SIGNAL * float(np.median(b0[self._case.brain]))
        level = np.maximum(b0, floor)
        ratio = np.clip(trace / level, LEAST_SIGNAL, None)
        return {"b0": b0, "trace": trace, "referred": level * ratio ** np.float32(REFERENCE_B / self._shell)}


def lesion_scores(
    after: Volume | None, before: Volume | None, truth: Volume | None, mask: np.ndarray
) -> dict[str, float | None]:
    """Return what became of the lesions of one kind in one image.

    Parameters
    ----------
    after, before, truth : Volume
        Harmonised, before it, and canonical; one grid, comparable units.
    mask : bool ndarray, shape (K, J, I)
        Where the lesions are; none makes every score None, and the images may be None then.

    Returns
    -------
    dict
        ``lesions``: how many. ``dice``: mean overlap of the segmentation with that of the canonical scan, one rule for
        both (``lesion_overlap.THRESHOLD_RULE``), 0 for contrast of the other sign; ``dice_kept``: with that before.
        ``visible`` in the canonical scan, and of these ``lost`` (less than half of the contrast there) and ``flipped``
        (contrast of the other sign); ``visible_kept`` and ``lost_kept``: the same against the image before.
    """
    names = ("lesions", "dice", "dice_kept", "visible", "lost", "flipped", "visible_kept", "lost_kept")
    if after is None or before is None or truth is None:
        return dict.fromkeys(names)
    marked = after.with_array(mask.astype(np.uint8))
    overlaps = [lesion_overlap(reference, after, marked) for reference in (truth, before)]
    found: dict[str, float | None] = {"lesions": float(len(overlaps[0]))}
    for name, rows in zip(("dice", "dice_kept"), overlaps, strict=True):
        kept = same_side(after, before if name == "dice_kept" else truth, mask)
        scores = [row["dice_between"] if side else 0.0 for row, side in zip(rows, kept, strict=True)]
        found[name] = float(np.mean(scores)) if scores else None
    for ending, reference in (("", truth), ("_kept", before)):
        detail: Mapping[str, object] = METRICS.get("lesions_kept")(
            after.array, reference.array, mask, spacing_mm=_spacing(after)
        ).detail
        retentions = [float(r) for r in detail["retentions"]]  # type: ignore[attr-defined]
        found[f"visible{ending}"], found[f"lost{ending}"] = float(len(retentions)), float(str(detail["lost"]))
        if not ending:
            found["flipped"] = float(sum(r < 0 for r in retentions))
    return {name: found[name] for name in names}


def same_side(image: Volume, reference: Volume, mask: np.ndarray) -> list[bool]:
    """Return for each lesion of a mask whether it is brighter than its ring in both images, or darker in both."""
    found = []
    for lesion in find_lesions(mask, _spacing(image)):
        if lesion.ring.any():
            boxes = [volume.array[lesion.box] for volume in (image, reference)]
            first, second = (float(np.median(box[lesion.body]) - np.median(box[lesion.ring])) for box in boxes)
            found.append(first * second > 0)
    return found


def _spacing(volume: Volume) -> tuple[float, float, float]:
    i, j, k = (float(s) for s in volume.grid.spacing_mm)
    return i, j, k


def finite_or_none(value: float | None, digits: int = 6) -> float | None:
    """Return a number for tables, rounded; None where it is not finite."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{digits}g}")
