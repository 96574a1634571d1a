"""Subjects of the low-field evaluation: the true image, where it is judged, and its simulated scan."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.masks import foreground_mask
from MRHarmonizationLib.degradations.label_images import BRAIN_LABELS, render_label_image, sample_label_image
from MRHarmonizationLib.degradations.lowfield import AcquisitionParameters, acquire
from MRHarmonizationLib.evaluation.lowfield_protocol import Acquisition, Case, LowFieldProtocol
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

#: Folder of real scans: environment variable and the place looked at without it.
DATA_VARIABLE, DATA_DEFAULT = "MRH_DATA", Path("../shared/data")
#: Space left around the brain when a label map is cropped.
BRAIN_MARGIN_MM = 8.0
#: A slice of a slab is full if its mean reaches this share of the largest slice mean.
FULL_SLICE_SHARE = 0.75
#: Spacing on which everything is judged.
TRUTH_SPACING_MM = 1.0


@dataclass(frozen=True)
class Subject:
    """A true image and where it is judged.

    Attributes
    ----------
    truth : Volume
        1 mm isotropic, non-negative.
    mask : ndarray, bool, shape of the truth
    mask_name : str
    level : float or None
        Mean foreground signal of the whole object where the subject is a block of it: signal-to-noise ratios refer to
        the object that was scanned, not to the block. None where the subject is the whole object.
    """

    truth: Volume
    mask: np.ndarray
    mask_name: str
    level: float | None = None


def data_folder(folder: str | Path | None = None) -> Path:
    """Return the folder of real scans: the one given, or that of MRH_DATA, or ../shared/data.

    Raises
    ------
    InputError
        It does not exist.
    """
    path = Path(folder or os.environ.get(DATA_VARIABLE) or DATA_DEFAULT).expanduser()
    if not path.is_dir():
        raise InputError(f"data folder {path} does not exist", f"pass --data DIR or set {DATA_VARIABLE}")
    return path


def load_case_subject(case: Case, protocol: LowFieldProtocol, data: Path) -> Subject:
    """Return the subject of a case, cut so that its low-field grid and the truth share voxel centres."""
    group = protocol.group(case.group)
    if group.kind == "labels":
        seed = protocol.derived_seed(f"{case.subject}-{case.contrast}")
        subject = label_subject(str(data), case.subject, case.contrast, seed)
    elif group.kind == "slab":
        subject = slab_subject(str(data), case.subject, group.extend_to_mm)
    else:
        subject = image_subject(str(data), case.subject)
    return align(subject, protocol.acquisition(case.acquisition))


@lru_cache(maxsize=2)
def label_subject(data: str, path: str, contrast: str, seed: int) -> Subject:
    """Return a label map as an image: brain and 8 mm around it, intensities of a family of contrasts.

    Parameters
    ----------
    data, path : str
        Data folder; label map relative to it, without extension.
    contrast : str
        'random', or a sequence name of the label-image generator.
    seed : int
    """
    labels = _read(data, path)
    brain = np.isin(labels.array, BRAIN_LABELS)
    margin = [math.ceil(BRAIN_MARGIN_MM / s) for s in labels.grid.spacing_mm[::-1]]
    start, stop = _bounds(brain, margin)
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    cropped = labels.array[box].astype(np.int32)
    parameters = sample_label_image(np.random.default_rng(seed), cropped, contrast)
    grid = labels.grid.crop(start, cropped.shape)
    truth = Volume(render_label_image(cropped, parameters), grid, f"{Path(path).name} {contrast}")
    return Subject(truth, brain[box], "32 brain structures")


@lru_cache(maxsize=2)
def slab_subject(data: str, path: str, extend_to_mm: float | None) -> Subject:
    """Return a slab with a tissue map (``<path>_tissues``) beside it; the mask is every tissue class above 0.

    The stored slabs are anatomy in a few slices between slices of zeros. Thick slices across that step would be judged
    by how a method treats a cliff that no scanner sees. So the full slices are cut out and mirrored on both sides up
    to ``extend_to_mm``; only the real ones are judged. With None the slab is taken as stored.
    """
    image, tissue = _read(data, path), _read(data, f"{path}_tissues")
    if tissue.array.shape != image.array.shape:
        raise InputError(f"tissue map of {path} has shape {tissue.array.shape}, the image {image.array.shape}")
    array, mask, grid = image.array.astype(np.float32), tissue.array > 0, image.grid
    if extend_to_mm is not None:
        axis = int(np.argmin(array.shape))
        others = tuple(n for n in range(3) if n != axis)
        means = array.mean(axis=others)
        full = np.flatnonzero(means >= FULL_SLICE_SHARE * means.max())
        first, count = int(full[0]), int(full[-1] - full[0] + 1)
        spacing = float(grid.spacing_mm[2 - axis])
        extra = max(0, math.ceil((extend_to_mm / spacing - count) / 2))
        real = [slice(None)] * 3
        real[axis] = slice(first, first + count)
        pads = [(extra, extra) if n == axis else (0, 0) for n in range(3)]
        array = np.pad(array[tuple(real)], pads, mode="symmetric")
        mask = np.pad(mask[tuple(real)], pads)
        start = [first - extra if n == axis else 0 for n in range(3)]
        grid = grid.crop(start, array.shape)
    return Subject(Volume(array, grid, Path(path).name), mask, "tissue map > 0")


@lru_cache(maxsize=2)
def image_subject(
    data: str, path: str, centre_ras_mm: tuple[float, ...] | None = None, size_mm: tuple[float, ...] | None = None
) -> Subject:
    """Return a real image at 1 mm, judged in its foreground; only a block of it where a centre and size are given.

    The foreground is found in the whole image: in a block of brain without air a threshold would cut off fluid.

    Parameters
    ----------
    data, path : str
    centre_ras_mm, size_mm : three floats, optional
        Centre (RAS) and size (along i, j, k) of the block.
    """
    image = _read(data, path)
    truth = resample(image.with_array(np.maximum(image.array.astype(np.float32), 0.0)), image.grid.isotropic(1.0))
    truth = truth.with_array(np.maximum(truth.array, 0.0))
    whole = Subject(truth, foreground_mask(truth.array), "foreground")
    if centre_ras_mm is None or size_mm is None:
        return whole
    return _cut(_with_level(whole), *block_of(truth.grid, centre_ras_mm, size_mm))


def tuning_subject(entry: Mapping[str, Any], protocol: LowFieldProtocol, data: Path) -> Subject:
    """Return a subject of the tuning set; see ``Tuning.subjects``."""
    path, kind = entry["path"], entry["kind"]
    if kind == "labels":
        seed = protocol.derived_seed(f"{path}-{entry['contrast']}")
        subject = label_subject(str(data), path, entry["contrast"], seed)
        return crop_subject(subject, entry["size_mm"]) if "size_mm" in entry else subject
    if kind == "image":
        return image_subject(str(data), path, tuple(entry["centre_ras_mm"]), tuple(entry["size_mm"]))
    raise ParameterError(f"tuning subject '{path}' has kind '{kind}'", "choose 'labels' or 'image'")


def crop_subject(subject: Subject, size_mm: tuple[float, ...] | list[float]) -> Subject:
    """Return the central block of a subject, of at most this size along (i, j, k)."""
    grid = subject.truth.grid
    start, shape = block_of(grid, grid.corners_ras().mean(axis=0), size_mm)
    return _cut(_with_level(subject), start, shape)


def align(subject: Subject, acquisition: Acquisition) -> Subject:
    """Cut single voxels so that the 1 mm grid over the low-field field of view shares the truth's voxel centres.

    Sizes are rounded on a change of spacing; where truth and output differ by an odd number of voxels, an image that is
    right would be judged half a voxel off.
    """
    spacing_kji = acquisition_parameters(subject.truth.grid, acquisition, 1.0, 0).spacing_kji_mm
    for _ in range(8):
        grid = subject.truth.grid
        output = grid.with_spacing(spacing_kji[::-1]).isotropic(TRUTH_SPACING_MM)
        odd = (np.array(output.shape) - np.array(grid.shape)) % 2
        if not odd.any():
            break
        shape = np.array(grid.shape) - odd
        subject = _cut(subject, (0, 0, 0), shape.tolist())
    return subject


def acquisition_parameters(grid: Grid, acquisition: Acquisition, snr: float, seed: int) -> AcquisitionParameters:
    """Return the parameters of an acquisition for an image on a grid of any orientation."""
    opposite = {"R": "L", "A": "P", "S": "I"}[acquisition.slice_direction]
    index = next(n for n, code in enumerate(grid.axis_codes) if code in (acquisition.slice_direction, opposite))
    values = {**acquisition.parameters, "slice_axis": 2 - index, "snr": snr, "noise_seed": seed}
    return AcquisitionParameters.from_dict(values)


def simulate(subject: Subject, acquisition: Acquisition, snr: float, seed: int) -> tuple[Volume, float]:
    """Return a simulated scan on its own grid and the true standard deviation of its noise, in image units.

    Parameters
    ----------
    subject : Subject
    acquisition : Acquisition
    snr : float
        Mean foreground signal of the scanned object over the deviation of the noise.
    seed : int
        Of the noise.
    """
    truth = subject.truth
    silent = acquire(truth, acquisition_parameters(truth.grid, acquisition, math.inf, seed))
    shown = abs(float(silent.array[foreground_mask(silent.array)].mean()))
    noise = (shown if subject.level is None else subject.level) / snr
    return acquire(truth, acquisition_parameters(truth.grid, acquisition, shown / noise, seed)), noise


def _read(data: str, path: str) -> Volume:
    return read_volume(Path(data) / f"{path}.nii.gz")


def _bounds(mask: np.ndarray, margin: list[int]) -> tuple[list[int], list[int]]:
    places = np.nonzero(mask)
    start = [max(0, int(p.min()) - m) for p, m in zip(places, margin, strict=True)]
    stop = [min(n, int(p.max()) + m + 1) for p, m, n in zip(places, margin, mask.shape, strict=True)]
    return start, stop


def block_of(grid: Grid, centre_ras_mm: Any, size_mm: Any) -> tuple[list[int], list[int]]:
    """Return start and shape (k, j, i) of the block around a point, moved to lie inside the grid.

    Parameters
    ----------
    grid : Grid
    centre_ras_mm : three floats
    size_mm : three floats
        Along (i, j, k); cut to the grid's.
    """
    size = np.minimum(np.rint(np.asarray(size_mm, float) / grid.spacing_mm).astype(int), grid.size_ijk)
    start = np.rint(grid.ras_to_ijk(np.asarray(centre_ras_mm, float)) - (size - 1) / 2).astype(int)
    start = np.clip(start, 0, np.array(grid.size_ijk) - size)
    return start[::-1].tolist(), size[::-1].tolist()


def _cut(subject: Subject, start: Any, shape: Any) -> Subject:
    box = tuple(slice(int(a), int(a) + n) for a, n in zip(start, shape, strict=True))
    truth = subject.truth
    cut = Volume(truth.array[box], truth.grid.crop(start, shape), truth.name, truth.metadata)
    return Subject(cut, subject.mask[box], subject.mask_name, subject.level)


def _with_level(subject: Subject) -> Subject:
    array = subject.truth.array
    return replace(subject, level=float(array[foreground_mask(array)].mean()))
