"""Safety of lesions: how much of the contrast that the degraded scan still shows survives enhancement."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.evaluation.cases import rounded, run_method, run_model
from MRHarmonizationLib.evaluation.figures import display_window, planes_figure
from MRHarmonizationLib.evaluation.lowfield_protocol import LowFieldProtocol
from MRHarmonizationLib.evaluation.splits import role_of
from MRHarmonizationLib.evaluation.subjects import Subject, align, block_of, simulate
from MRHarmonizationLib.metrics.base import METRICS, Measurement
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.volume import Volume

#: The degraded scan on the fine grid, to which lesion contrast is compared.
BASELINE = "cubic"
#: Side of the block shown in pictures.
PICTURE_MM = 80.0


def lesion_task(
    protocol: LowFieldProtocol, data: str, path: str, snr: float, picture: str | None = None
) -> list[dict[str, Any]]:
    """Degrade an image with lesions, process it with every method and model, and look at the lesions.

    Parameters
    ----------
    protocol : LowFieldProtocol
        Its ``lesions`` name the mask and the acquisition.
    data, path : str
        Data folder; image relative to it, without extension.
    snr : float
    picture : str, optional
        Where to write a picture through the largest lesion (PNG).

    Returns
    -------
    list of dict
        One row per method: retention = contrast against that of the degraded scan resampled (``cubic``);
        retention_of_truth = against the undegraded image; lesions, visible and lost of at least 30 mm³, against the
        degraded scan; role of the subject in the split.
    """
    image, lesions = (read_volume(Path(data) / f"{name}.nii.gz") for name in (path, protocol.lesions["mask"]))
    truth = image.with_array(np.maximum(image.array.astype(np.float32), 0.0))
    acquisition = protocol.acquisition(protocol.lesions["acquisition"])
    subject = align(Subject(truth, lesions.array != 0, "lesions"), acquisition)
    scan, noise = simulate(subject, acquisition, snr, protocol.derived_seed(f"lesions-{path}-{snr:g}"))
    tuned = protocol.tuning.parameters.get(acquisition.id, {})
    grid = subject.truth.grid
    outputs = {name: run_method(name, scan, grid, tuned.get(name, {}), noise) for name in (BASELINE, *protocol.methods)}
    outputs.update({name: run_model(name, scan, grid) for name in protocol.models})
    rows = []
    for name, output in outputs.items():
        retention = _on_lesions("lesion_contrast_retention", output, outputs[BASELINE], subject.mask)
        of_truth = _on_lesions("lesion_contrast_retention", output, subject.truth, subject.mask)
        kept = _on_lesions("lesions_kept", output, outputs[BASELINE], subject.mask)
        rows.append(
            {
                "image": path,
                "role": role_of(path),
                "acquisition": acquisition.id,
                "snr": snr,
                "method": name,
                "retention": rounded(retention.value),
                "retention_of_truth": rounded(of_truth.value),
                "lesions": kept.detail["lesions"],
                "visible": kept.detail["visible"],
                "lost": kept.detail["lost"],
            }
        )
    if picture is not None:
        shown = {name: outputs[name] for name in (BASELINE, *protocol.models)} | {"truth": subject.truth}
        Path(picture).write_bytes(_picture(shown, subject))
    return rows


def _on_lesions(metric: str, image: Volume, reference: Volume, lesions: np.ndarray) -> Measurement:
    i, j, k = (float(s) for s in image.grid.spacing_mm)
    return METRICS.get(metric)(image.array, reference.array, lesions, spacing_mm=(i, j, k), mask_name="lesions")


def _picture(images: Mapping[str, Volume], subject: Subject) -> bytes:
    """Draw a block around the largest lesion, lesions outlined."""
    largest = _largest(subject.mask)
    i, j, k = (float(np.mean(places)) for places in np.nonzero(largest)[::-1])
    centre = subject.truth.grid.ijk_to_ras(np.array([i, j, k]))
    start, shape = block_of(subject.truth.grid, centre, (PICTURE_MM,) * 3)
    box = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
    grid = subject.truth.grid.crop(start, shape)
    cut = [(name, Volume(volume.array[box], grid, name)) for name, volume in images.items()]
    window = display_window(subject.truth, subject.truth.array > 0)
    return planes_figure(cut, window, largest[box], outline=subject.mask[box])


def _largest(mask: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    labels, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(labels.reshape(-1))
    sizes[0] = 0
    return np.asarray(labels == int(sizes.argmax()))
