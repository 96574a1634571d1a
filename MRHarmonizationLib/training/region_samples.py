"""Training samples of the segmentation: heads in any contrast, well or badly scanned, and their structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.brain_regions import MIRRORED_CLASSES, classes_of
from MRHarmonizationLib.core.intensity import fit_intensity_scale
from MRHarmonizationLib.degradations.bias_field import apply_bias_field, sample_bias_field
from MRHarmonizationLib.degradations.deformation import block_coordinates, rotation_matrix, sample_deformation
from MRHarmonizationLib.degradations.label_images import BRAIN_LABELS, render_label_image, sample_label_image
from MRHarmonizationLib.degradations.lesions import apply_lesions, sample_lesions
from MRHarmonizationLib.degradations.lowfield import acquire, sample_acquisition
from MRHarmonizationLib.degradations.reference_look import LOOKS, sample_reference_look
from MRHarmonizationLib.inference.region_input import region_input
from MRHarmonizationLib.training.samples import Anatomy, draw_anatomy
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import resample_parallel
from MRHarmonizationLib.volumes.volume import Volume

#: Voxels of the samples, in mm.
VOXEL_MM = 2.0
#: Largest distance of a sample's middle from the brain's, in mm.
OFFSET_MM = 20.0
#: Shares of the families of contrast: the reference looks, sequences drawn about them, anything.
LOOK_SHARE, RANDOM_SHARE = 0.25, 0.25
#: Shares of samples that are scanned with thick slices, stripped of their skull, with lesions.
LOWFIELD_SHARE, STRIPPED_SHARE, LESION_SHARE = 0.4, 0.2, 0.3
#: Standard deviations (superior, anterior, right) of the error of the brain's middle, in mm: guessed from the head, in
#: a share of the samples, and from a first segmentation.
FIRST_GUESS_SHARE, FIRST_GUESS_MM, SECOND_GUESS_MM = 0.2, (20.0, 12.0, 6.0), (5.0, 5.0, 2.5)
#: Standard deviation of the logarithm of the tone's exponent.
GAMMA_DEVIATION = 0.25


@dataclass(frozen=True)
class RegionSample:
    """One head.

    Attributes
    ----------
    image : ndarray, shape (K, J, I), float16
        Normalised by its percentiles.
    classes : ndarray, shape (K, J, I), uint8
    centre : tuple of three floats
        Voxel that is taken for the brain's middle; need not lie inside.
    voxel_mm : float
    """

    image: np.ndarray
    classes: np.ndarray
    centre: tuple[float, float, float]
    voxel_mm: float

    def network_input(self) -> np.ndarray:
        """Return image and positions, (4, K, J, I), float32."""
        return region_input(self.image, self.centre, self.voxel_mm)


def draw_region_sample(
    rng: np.random.Generator,
    anatomies: Sequence[Anatomy],
    shape: tuple[int, int, int],
    general: float = 0.3,
    voxel_mm: float = VOXEL_MM,
) -> RegionSample:
    """Draw a head.

    Parameters
    ----------
    rng : numpy Generator
        The sample is a function of its state.
    anatomies : sequence of Anatomy
        Label maps.
    shape : three ints
        Of the sample (K, J, I), voxels.
    general : float
        Share of the wide domain among scans with thick slices.
    voxel_mm : float
        Of the sample.
    """
    anatomy = draw_anatomy(rng, anatomies)
    deformation = sample_deformation(rng, scale=(0.85, 1.15), elastic_mm=float(rng.uniform(0.0, 4.0)))
    spacing = np.asarray(anatomy.spacing_kji_mm)
    middle = (anatomy.centres.min(axis=0) + anatomy.centres.max(axis=0)) / 2.0
    about = middle + rng.uniform(-OFFSET_MM, OFFSET_MM, 3) / spacing
    coordinates = block_coordinates(
        shape, about.tolist(), anatomy.spacing_kji_mm, deformation, block_spacing_mm=voxel_mm
    )
    nearest = np.rint(coordinates, out=coordinates).astype(np.int16)
    outside = np.zeros(shape, bool)
    for axis, size in enumerate(anatomy.array.shape):
        outside |= (nearest[axis] < 0) | (nearest[axis] >= size)
        np.clip(nearest[axis], 0, size - 1, out=nearest[axis])
    labels = anatomy.array[nearest[0], nearest[1], nearest[2]]
    labels[outside] = 0
    image = scan_labels(rng, labels, general, voxel_mm)
    classes = classes_of(labels)
    step = rotation_matrix(deformation.rotation_deg) @ np.diag(deformation.scale) * voxel_mm
    centre = (np.asarray(shape) - 1) / 2.0 + np.linalg.solve(step, (middle - about) * spacing)
    if rng.random() < 0.5:
        image, classes = image[:, :, ::-1], MIRRORED_CLASSES[classes[:, :, ::-1]]
        centre[2] = shape[2] - 1 - centre[2]
    return RegionSample(
        np.ascontiguousarray(image), np.ascontiguousarray(classes), as_it_is_known(rng, centre, voxel_mm), voxel_mm
    )


def as_it_is_known(rng: np.random.Generator, centre: np.ndarray, voxel_mm: float) -> tuple[float, float, float]:
    """Return the middle of the brain, voxel (K, J, I), as well or as badly as it is known when a network is used."""
    deviation = np.asarray(FIRST_GUESS_MM if rng.random() < FIRST_GUESS_SHARE else SECOND_GUESS_MM)
    k, j, i = centre + deviation / voxel_mm * rng.standard_normal(3)
    return float(k), float(j), float(i)


def scan_labels(rng: np.random.Generator, labels: np.ndarray, general: float, voxel_mm: float) -> np.ndarray:
    """Return a scan of a label map (K, J, I) on its voxels in a contrast that is drawn, normalised, float16."""
    kind = rng.random()
    if kind < LOOK_SHARE:
        parameters = sample_reference_look(rng, labels, str(rng.choice(LOOKS)))
    elif kind < LOOK_SHARE + RANDOM_SHARE:
        parameters = sample_label_image(rng, labels, "random")
    else:
        parameters = sample_label_image(rng, labels, str(rng.choice(LOOKS, p=(0.5, 0.3, 0.2))))
    image = render_label_image(labels, parameters)
    inside = np.isin(labels, BRAIN_LABELS)
    if rng.random() < LESION_SHARE and inside.any():
        image = apply_lesions(image, sample_lesions(rng, inside), (voxel_mm, voxel_mm, voxel_mm))
    if rng.random() < STRIPPED_SHARE:
        image = np.where(inside, image, 0.0).astype(np.float32)
    image = apply_bias_field(image, sample_bias_field(rng, 0.4))
    if rng.random() < LOWFIELD_SHARE:
        truth = Volume(np.ascontiguousarray(image), Grid.from_parts(image.shape, (voxel_mm,) * 3))
        scan = acquire(truth, sample_acquisition(rng, np.full(3, voxel_mm), general))
        image = resample_parallel(scan, truth.grid).array
    else:
        noise = float(np.exp(rng.uniform(np.log(0.005), np.log(0.08)))) * float(np.percentile(image, 95))
        image = np.abs(image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(noise))
    values = fit_intensity_scale(image).normalise(image)
    exponent = float(np.exp(rng.normal(0.0, GAMMA_DEVIATION)))
    return np.asarray(np.clip(values, 0.0, 2.0) ** exponent, np.float16)
