"""Training samples: a block of anatomy, its simulated scan, and what the network sees of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.intensity import IntensityScale, fit_intensity_scale
from MRHarmonizationLib.degradations.bias_field import apply_bias_field, sample_bias_field
from MRHarmonizationLib.degradations.contrast import apply_tone_curve, sample_tone_curve
from MRHarmonizationLib.degradations.deformation import block_coordinates, sample_deformation
from MRHarmonizationLib.degradations.label_images import (
    BRAIN_LABELS,
    LabelImageParameters,
    render_label_image,
    sample_label_image,
)
from MRHarmonizationLib.degradations.lesions import apply_lesions, sample_lesions
from MRHarmonizationLib.degradations.lowfield import acquire, sample_acquisition
from MRHarmonizationLib.degradations.reference_look import sample_reference_look
from MRHarmonizationLib.inference.preparation import Conditioning, conditioning, thick_axis_order
from MRHarmonizationLib.training.recipe import Source
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.orientation import to_canonical
from MRHarmonizationLib.volumes.resampling import resample_parallel
from MRHarmonizationLib.volumes.volume import Volume

#: Relative change of intensity from which a voxel counts as part of a drawn lesion.
LESION_EDGE = 0.05


@dataclass(frozen=True)
class Sample:
    """One simulated scan, thick axis first.

    Attributes
    ----------
    image, target : ndarray, shape (T, A, B), float16
        Interpolated scan and truth, normalised by the scan's percentiles.
    condition : Conditioning
    stack_axes : tuple of int
        Axes (1, 2) along which planes may be stacked.
    lesions : ndarray, shape (T, A, B), bool
        Where lesions were drawn.
    valid : ndarray, shape (T, A, B), bool, optional
        Where the target is known; everywhere if omitted.
    """

    image: np.ndarray
    target: np.ndarray
    condition: Conditioning
    stack_axes: tuple[int, ...]
    lesions: np.ndarray
    valid: np.ndarray | None = None


@dataclass(frozen=True)
class Anatomy:
    """A source image ready for sampling.

    Attributes
    ----------
    array : ndarray, shape (S, A, R)
        Labels (int16), or spline coefficients of a scan (float32, scaled to about 0–1).
    spacing_kji_mm : tuple of float
    centres : ndarray, shape (N, 3)
        Voxels of the head from which block centres are drawn.
    source : Source
    """

    array: np.ndarray
    spacing_kji_mm: tuple[float, float, float]
    centres: np.ndarray
    source: Source


def load_anatomy(path: Path, source: Source) -> Anatomy:
    """Read a source image and prepare it for sampling.

    Raises
    ------
    InputError
        Unreadable file.
    """
    from scipy.ndimage import spline_filter

    volume, _ = to_canonical(read_volume(path))
    spacing = tuple(float(s) for s in volume.grid.spacing_mm[::-1])
    if source.kind == "labels":
        array = np.rint(volume.array).astype(np.int16)
        inside = np.isin(array, BRAIN_LABELS)
    else:
        values = np.maximum(volume.array.astype(np.float32), 0.0)
        scale = fit_intensity_scale(values, lower_percentile=0.0, upper_percentile=99.8)
        values = np.clip(values / np.float32(scale.scale), 0.0, 1.5)
        inside = values > 0.25 * float(np.percentile(values[values > 0.05], 90))
        array = np.asarray(spline_filter(values, order=3, output=np.float32, mode="mirror"), np.float32)
    centres = np.argwhere(inside)
    if not len(centres):
        raise InputError(f"{path.name} shows no head", "remove it from the recipe")
    picked = centres[np.random.default_rng(0).choice(len(centres), min(len(centres), 50_000), replace=False)]
    return Anatomy(array, (spacing[0], spacing[1], spacing[2]), picked.astype(np.float32), source)


def load_sources(sources: Sequence[Source], data: Path) -> list[Anatomy]:
    """Load every file of the sources below the data folder.

    Raises
    ------
    InputError
        Naming the files that are missing.
    """
    missing = [f for s in sources for f in s.files if not (data / f).is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} training files are not below {data}: {missing[:3]} …", "give the data folder with --data"
        )
    return [load_anatomy(data / f, s) for s in sources for f in s.files]


def sample_look(
    rng: np.random.Generator, labels: np.ndarray, contrast: str, texture: float = 1.0
) -> LabelImageParameters:
    """Draw intensities for a label map, of any contrast where it is empty; else every other time the reference look."""
    if contrast and rng.random() < 0.5:
        return sample_reference_look(rng, labels, contrast)
    return sample_label_image(rng, labels, contrast or None, texture)


def draw_anatomy(rng: np.random.Generator, anatomies: Sequence[Anatomy]) -> Anatomy:
    """Draw a source by weight, then one of its images."""
    sources = list(dict.fromkeys(a.source for a in anatomies))
    weights = np.array([s.weight for s in sources])
    chosen = sources[int(rng.choice(len(sources), p=weights / weights.sum()))]
    images = [a for a in anatomies if a.source == chosen]
    return images[int(rng.integers(len(images)))]


def draw_object(
    rng: np.random.Generator, anatomy: Anatomy, block: int, voxel_mm: float = 1.0, texture: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return a block of anatomy in random contrast, deformed, with lesions, and where the lesions are.

    Both have the shape (block, block, block), at ``voxel_mm``; the image is float32, the mask of the lesions bool.
    ``texture`` is a factor on the texture of label images.
    """
    from scipy.ndimage import map_coordinates

    flat = anatomy.source.in_plane_only
    axes = (1, 2) if flat else (0, 1, 2)
    scale = (0.85, 1.15) if anatomy.source.kind == "labels" else (0.75, 1.2)
    deformation = sample_deformation(rng, scale=scale, elastic_mm=float(rng.uniform(0, 4)), axes=axes)
    shape = (block if not flat else min(block, 24), block, block)
    centre = anatomy.centres[rng.integers(len(anatomy.centres))]
    coordinates = block_coordinates(shape, centre, anatomy.spacing_kji_mm, deformation, axes, voxel_mm)
    if anatomy.source.kind == "labels":
        labels = map_coordinates(anatomy.array, coordinates, order=0, mode="constant", cval=0)
        image = render_label_image(labels, sample_look(rng, labels, anatomy.source.contrast, texture))
        inside = np.isin(labels, BRAIN_LABELS)
    else:
        image = map_coordinates(anatomy.array, coordinates, order=3, prefilter=False, mode="constant", cval=0)
        image = np.maximum(image, 0.0, out=image)
        inside = image > 0.25
    lesions = np.zeros(shape, bool)
    if rng.random() < 0.5:
        healthy = image
        image = apply_lesions(image, sample_lesions(rng, inside), (voxel_mm, voxel_mm, voxel_mm))
        lesions = np.abs(image - healthy) > LESION_EDGE * np.abs(healthy)
    if anatomy.source.kind == "image" and rng.random() < 0.7 and image.max() > image.min():
        if anatomy.source.contrast:  # the contrast is to stay what it is
            curve = sample_tone_curve(rng, strength=0.25, gamma_sd=0.1)
        else:
            curve = sample_tone_curve(rng, strength=0.5, monotone=rng.random() < 0.75)
        image = apply_tone_curve(image, curve)
        image = np.maximum(image, 0.0)
    if rng.random() < 0.5:
        image = apply_bias_field(image, sample_bias_field(rng, 0.25))
    return np.asarray(image, np.float32), lesions


def draw_sample(rng: np.random.Generator, anatomies: Sequence[Anatomy], block: int, general: float = 0.3) -> Sample:
    """Draw one training sample.

    Parameters
    ----------
    rng : numpy Generator
        The sample is a function of its state.
    anatomies : sequence of Anatomy
    block : int
        Edge in voxels of 1 mm.
    general : float
        Share of the wide acquisition domain.

    Returns
    -------
    Sample
    """
    while True:
        anatomy = draw_anatomy(rng, anatomies)
        target, lesions = draw_object(rng, anatomy, block)
        if np.percentile(target, 90) > np.percentile(target, 5):  # not a block of air
            break
    flips = tuple(slice(None, None, int(rng.choice((-1, 1)))) for _ in range(3))
    target, lesions = target[flips], lesions[flips]
    acquisition = sample_acquisition(rng, np.ones(3), general)
    flat = anatomy.source.in_plane_only
    if flat:
        # simulated slices lie across an in-plane axis; the native thick axis keeps its samples
        axis = int(rng.integers(1, 3))
        fine = acquisition.in_plane_spacing_mm[0]
        spacing = (1.0, fine)
        acquisition = replace(acquisition, slice_axis=axis, in_plane_spacing_mm=spacing)
    truth = Volume(np.ascontiguousarray(target), Grid.from_parts(target.shape))
    scan = acquire(truth, acquisition)
    interpolated = resample_parallel(scan, truth.grid)
    order = thick_axis_order(scan.grid)
    condition = conditioning(scan.grid, truth.grid)
    if flat:
        condition = condition._replace(inplane_spacing_mm=acquisition.in_plane_spacing_mm[1])
    scale = jittered_scale(rng, interpolated.array)
    stack_axes: tuple[int, ...] = (order.permutation.index(0),) if flat else (1, 2)
    return Sample(
        image=scale.normalise(order.apply(interpolated.array)).astype(np.float16),
        target=scale.normalise(order.apply(truth.array)).astype(np.float16),
        condition=condition,
        stack_axes=stack_axes,
        lesions=np.ascontiguousarray(order.apply(lesions)),
    )


def jittered_scale(rng: np.random.Generator, array: np.ndarray) -> IntensityScale:
    """Return the percentile scale of a block, jittered as scans with more or less air and fat would move it."""
    scale = fit_intensity_scale(array)
    low = scale.offset * float(rng.uniform(0.0, 1.0))
    width = max(scale.offset + scale.scale - low, 1e-6) * float(np.exp(rng.uniform(np.log(0.85), np.log(1.5))))
    return IntensityScale(low, width)
