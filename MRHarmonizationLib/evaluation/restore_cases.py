"""One subject of the restorer's protocol: degrade it, run every method, measure each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from MRHarmonizationLib.core.intensity import fit_intensity_scale
from MRHarmonizationLib.degradations.label_images import BRAIN_LABELS, render_label_image, sample_label_image
from MRHarmonizationLib.degradations.noise_blur import NoiseBlur, NoiseBlurParameters, blur
from MRHarmonizationLib.evaluation.restore_protocol import RestoreProtocol, UnseenSubject
from MRHarmonizationLib.evaluation.splits import role_of
from MRHarmonizationLib.evaluation.subjects import block_of
from MRHarmonizationLib.inference.backends import choose_backend
from MRHarmonizationLib.inference.restore import DEFAULT_DENOISE, DEFAULT_SHARPEN, blend, restorer
from MRHarmonizationLib.inference.restore_parts import Parts, assess, split
from MRHarmonizationLib.metrics.base import METRICS, default_data_range
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

#: Scale of unsharp masking, voxels.
UNSHARP_SIGMA = 1.0
#: Voxels at the block's ends that are not judged, and what lies around lesions in their block.
MARGIN, LESION_MARGIN = 6, 8


@dataclass(frozen=True)
class Judged:
    """A true image and where it is judged.

    Attributes
    ----------
    truth : Volume
        Non-negative, float32.
    mask : bool ndarray, shape of the truth
    """

    truth: Volume
    mask: np.ndarray


class JudgedSettings(Protocol):
    """What of a protocol shapes the judged block of a subject."""

    @property
    def block_mm(self) -> float:
        """Edge of the block."""
        ...

    @property
    def texture(self) -> float:
        """Factor on the texture of label images."""
        ...

    def derived_seed(self, name: str) -> int:
        """Return a seed fixed by the protocol and a name."""
        ...


def load_judged(subject: UnseenSubject, protocol: JudgedSettings, data: Path) -> Judged:
    """Return the judged block of a subject, label maps as images."""
    volume = read_volume(data / f"{subject.path}.nii.gz")
    if subject.kind == "labels":
        inside = np.isin(volume.array, BRAIN_LABELS)
        box, grid = _block(volume, inside, protocol.block_mm)
        labels = volume.array[box].astype(np.int32)
        rng = np.random.default_rng(protocol.derived_seed(subject.name))
        parameters = sample_label_image(rng, labels, subject.contrast, protocol.texture)
        truth, mask = render_label_image(labels, parameters), inside[box]
    else:
        array = np.maximum(volume.array.astype(np.float32), 0.0)
        inside = array > 0.25 * np.percentile(array, 99)
        box, grid = _block(volume, inside, protocol.block_mm)
        truth, mask = array[box], inside[box]
    inner = np.zeros(mask.shape, bool)
    inner[(slice(MARGIN, -MARGIN),) * 3] = True
    return Judged(Volume(np.ascontiguousarray(truth), grid, subject.name), mask & inner)


def _block(volume: Volume, inside: np.ndarray, edge_mm: float) -> tuple[tuple[slice, ...], Any]:
    centre = volume.grid.ijk_to_ras(np.median(np.argwhere(inside), axis=0)[::-1])
    start, shape = block_of(volume.grid, centre, (edge_mm,) * 3)
    return tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True)), volume.grid.crop(start, shape)


def subject_task(protocol: RestoreProtocol, data: str, number: int) -> list[dict[str, Any]]:
    """Run every method on every degradation of one subject.

    Parameters
    ----------
    protocol : RestoreProtocol
    data : str
    number : int
        Of the subject.

    Returns
    -------
    list of dict
        One row per degradation and method: PSNR, SSIM, seconds; of the model also the estimated levels, the
        consistency and whether the sliders were monotone.
    """
    subject = protocol.subjects[number]
    judged = load_judged(subject, protocol, Path(data))
    rows = []
    for percent in protocol.noise_percent:
        parameters = protocol.noisy(subject.name, percent)
        scan = NoiseBlur.apply(judged.truth, parameters)
        classical = classical_denoisers(scan, percent, protocol.nlm_h_factors, protocol.tv_weight_factors)
        rows += _rows(judged, scan, f"noise_{percent:g}", parameters, protocol, classical)
    parameters = protocol.blurred(subject.name)
    scan = NoiseBlur.apply(judged.truth, parameters)
    rows += _rows(judged, scan, "blur", parameters, protocol, _sharpeners(scan, protocol))
    return [{"subject": subject.name, "role": role_of(subject.path), **row} for row in rows]


def _rows(
    judged: Judged,
    scan: Volume,
    degraded: str,
    parameters: NoiseBlurParameters,
    protocol: RestoreProtocol,
    classical: dict[str, list[Callable[[], np.ndarray]]],
) -> list[dict[str, Any]]:
    """Return one row per method of one degraded scan; classical methods with the strength that suits it best."""
    rows = [{"scan": degraded, "method": "input", **_scores(scan.array, judged)}]
    for name, variants in classical.items():
        started = time.perf_counter()
        found = [_scores(variant(), judged) for variant in variants]
        best = max(found, key=lambda scores: scores["psnr"])
        rows.append({"scan": degraded, "method": name, **best, "seconds": (time.perf_counter() - started) / len(found)})
    if protocol.model:
        rows += _model_rows(judged, scan, degraded, parameters, protocol)
    return [{**dict.fromkeys(COLUMNS, ""), **row} for row in rows]


def _model_rows(
    judged: Judged, scan: Volume, degraded: str, parameters: NoiseBlurParameters, protocol: RestoreProtocol
) -> list[dict[str, Any]]:
    card = restorer(protocol.model)
    backend = choose_backend(card, "auto", "auto", None)
    started = time.perf_counter()
    quality = assess(scan, card)
    parts = split(scan, quality, card, backend)
    seconds = time.perf_counter() - started
    strengths = {"denoise": (1.0, 0.0), "sharpen": (0.0, 1.0), "both": (1.0, 1.0), "default": ()}
    strengths["default"] = (DEFAULT_DENOISE, DEFAULT_SHARPEN)
    common = {
        "seconds": seconds,
        "told_noise_percent": round(100 * quality.told_noise, 3),
        "told_resolution": round(quality.told_resolution_voxels, 3),
        **_slider_verdicts(scan, parts, judged.mask, protocol.slider_steps),
    }
    rows = []
    for name, (denoise, sharpen) in strengths.items():
        array = blend(scan.array, parts, denoise, sharpen)
        row = {"scan": degraded, "method": f"{protocol.model} {name}", **_scores(array, judged)}
        rows.append(row | common | {"consistency": _consistency(array, scan.array, judged, parameters)})
    return rows


def _slider_verdicts(scan: Volume, parts: Parts, mask: np.ndarray, steps: tuple[float, ...]) -> dict[str, Any]:
    """Return whether two sliders at 0 give the scan bit for bit, and whether each slider works one way only."""
    scale = default_data_range(scan.array, mask)
    i, j, k = (float(s) for s in scan.grid.spacing_mm)

    def measured(metric: str, denoise: float, sharpen: float) -> float:
        array = blend(scan.array, parts, denoise, sharpen)
        return float(METRICS.get(metric)(array, mask=mask, data_range=scale, spacing_mm=(i, j, k)).value)

    noise = [measured("noise", step, 0.0) for step in steps]
    # judged without the noise, which hides edges
    sharpness = [measured("sharpness", 1.0, step) for step in steps]
    return {
        "identity": bool(np.array_equal(blend(scan.array, parts, 0.0, 0.0), scan.array)),
        "denoise_monotone": bool(np.all(np.diff(noise) <= 0)),
        "sharpen_monotone": bool(np.all(np.diff(sharpness) >= 0)),
    }


def _consistency(array: np.ndarray, scan: np.ndarray, judged: Judged, parameters: NoiseBlurParameters) -> float:
    """Return ‖degrade(result) − scan‖ over ‖degrade(truth) − scan‖ in the mask: 1 is as consistent as the truth."""
    degraded = (parameters.resolution_voxels, parameters.profile, parameters.taper)
    result, truth = (blur(image, *degraded) for image in (array, judged.truth.array))
    mine, best = (float(np.mean((image - scan)[judged.mask] ** 2)) for image in (result, truth))
    return float(np.sqrt(mine / best))


def _scores(array: np.ndarray, judged: Judged) -> dict[str, float]:
    truth, mask = judged.truth.array, judged.mask
    i, j, k = (float(s) for s in judged.truth.grid.spacing_mm)
    options: dict[str, Any] = {
        "mask": mask,
        "data_range": default_data_range(truth, mask),
        "spacing_mm": (i, j, k),
    }
    return {name: round(float(METRICS.get(name)(array, truth, **options).value), 4) for name in ("psnr", "ssim")}


def classical_denoisers(
    scan: Volume, percent: float, nlm_h_factors: Sequence[float], tv_weight_factors: Sequence[float]
) -> dict[str, list[Callable[[], np.ndarray]]]:
    """Return non-local means and total variation, three-dimensional, told the true noise, at every strength."""
    from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

    scale = fit_intensity_scale(scan.array)
    image, sigma = scale.normalise(scan.array), 0.01 * percent

    def nlm(factor: float) -> np.ndarray:
        options = {"patch_size": 3, "patch_distance": 3, "fast_mode": True}
        return scale.restore(denoise_nl_means(image, h=factor * sigma, sigma=sigma, **options))

    def tv(factor: float) -> np.ndarray:
        return scale.restore(denoise_tv_chambolle(image, weight=factor * sigma, max_num_iter=100))

    return {
        "nlm": [lambda f=factor: nlm(f) for factor in nlm_h_factors],  # type: ignore[misc]
        "tv": [lambda f=factor: tv(f) for factor in tv_weight_factors],  # type: ignore[misc]
    }


def _sharpeners(scan: Volume, protocol: RestoreProtocol) -> dict[str, list[Callable[[], np.ndarray]]]:
    """Return unsharp masking at every strength, and interpolations of the scan measured with half the matrix."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(scan.array, UNSHARP_SIGMA)
    coarse = resample(scan, scan.grid.with_spacing((scan.grid.spacing_mm * 2.0).tolist()), "lanczos")

    def unsharp(amount: float) -> np.ndarray:
        return np.asarray(scan.array + np.float32(amount) * (scan.array - smooth), np.float32)

    return {
        "unsharp": [lambda a=amount: unsharp(a) for amount in protocol.unsharp_amounts],  # type: ignore[misc]
        "cubic": [lambda: resample(coarse, scan.grid, "cubic").array],
        "lanczos": [lambda: resample(coarse, scan.grid, "lanczos").array],
    }


def lesion_task(protocol: RestoreProtocol, data: str, path: str, percent: float) -> list[dict[str, Any]]:
    """Add noise to an image with lesions, restore it at the default strengths, and look at the lesions.

    Returns
    -------
    list of dict
        One row: retention = contrast against that of the noisy scan; lesions, visible and lost of at least 30 mm³;
        role of the subject in the split.
    """
    truth, lesions = _lesion_block(data, path, str(protocol.lesions["mask"]))
    scan = NoiseBlur.apply(truth, protocol.noisy(path, percent))
    card = restorer(protocol.model)
    parts = split(scan, assess(scan, card), card, choose_backend(card, "auto", "auto", None))
    array = blend(scan.array, parts, DEFAULT_DENOISE, DEFAULT_SHARPEN)
    i, j, k = (float(s) for s in truth.grid.spacing_mm)
    options: dict[str, Any] = {"spacing_mm": (i, j, k), "mask_name": "lesions"}
    retention = METRICS.get("lesion_contrast_retention")(array, scan.array, lesions, **options)
    kept = METRICS.get("lesions_kept")(array, scan.array, lesions, **options)
    return [
        {
            "image": path,
            "role": role_of(path),
            "noise_percent": percent,
            "method": f"{protocol.model} default",
            "retention": round(float(retention.value), 4),
            **{name: kept.detail[name] for name in ("lesions", "visible", "lost")},
        }
    ]


@lru_cache(maxsize=1)
def _lesion_block(data: str, path: str, mask: str) -> tuple[Volume, np.ndarray]:
    """Return the part of an image around its lesions, and the lesions."""
    image, lesions = (read_volume(Path(data) / f"{name}.nii.gz") for name in (path, mask))
    places = np.argwhere(lesions.array != 0)
    start = np.maximum(places.min(axis=0) - LESION_MARGIN, 0)
    stop = np.minimum(places.max(axis=0) + LESION_MARGIN + 1, lesions.array.shape)
    box = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    cut = np.ascontiguousarray(np.maximum(image.array[box].astype(np.float32), 0.0))
    return Volume(cut, image.grid.crop(start.tolist(), cut.shape), image.name), lesions.array[box] != 0


#: Columns of the table of cases.
COLUMNS = (
    *("scan", "method", "psnr", "ssim", "seconds", "told_noise_percent", "told_resolution"),
    *("consistency", "identity", "denoise_monotone", "sharpen_monotone"),
)
