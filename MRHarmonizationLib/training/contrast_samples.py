"""Training samples of a standardiser: a head in the reference look, and the same head altered.

Everything happens at 2 mm. Label maps are kept as shares of tissues, so that a head in any look is a weighted sum, with
its partial volumes. The alterations are those of ``degradations/kspace_contrast``; families that are named as held out
are never drawn, so that an evaluation can ask how a network does on what it has not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.local_tone import FEATURE_MM, detail_bands, local_features
from MRHarmonizationLib.degradations.deformation import block_coordinates, sample_deformation
from MRHarmonizationLib.degradations.kspace_contrast import (
    EXCLUSIVE,
    FAMILIES,
    apply_kspace_contrast,
    sample_kspace_contrast,
)
from MRHarmonizationLib.degradations.label_images import TISSUE_PAIRS
from MRHarmonizationLib.degradations.lesions import apply_lesions, sample_lesions
from MRHarmonizationLib.degradations.reference_look import LOOKS, OUTSIDE_DEVIATION, look_landmarks, look_of_labels
from MRHarmonizationLib.methods.case_profile import FULL_SCALE, measured_values
from MRHarmonizationLib.methods.harmonizers.landmarks import LANDMARKS, Nyul
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.orientation import to_canonical
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

#: Voxels of the box in which a head is placed, at half the features' spacing.
BOX, BOX_MM = (96, 112, 96), FEATURE_MM / 2
#: Tissues of the loss: FreeSurfer numbers whose mean is to be right.
TISSUES = ("white", "grey", "fluid")
#: Share of heads whose labels each get a gain of their own before the alteration, and its deviation (of the logarithm).
OWN_GAINS_SHARE, OWN_GAINS_DEVIATION = 0.35, 0.25
#: Shares of heads: left as they are, without skull, cut off below or above, noisy, with thick slices, with lesions.
UNALTERED, STRIPPED, CUT, NOISY, THICK, DISEASED = 0.08, 0.3, 0.25, 0.5, 0.35, 0.4


@dataclass(frozen=True, eq=False)
class Head:
    """An anatomy to train on, at 2 mm in a box of its own.

    Attributes
    ----------
    shares : uint8 ndarray, shape (T, K, J, I), or None
        Share of each tissue in a voxel, of 255; None for a real scan.
    labels : int16 ndarray, shape (K, J, I), or None
        The most frequent label.
    keys : tuple of int
        Label of each of the T tissues.
    image : float32 ndarray, shape (K, J, I), or None
        A real scan in the reference look, normalised.
    contrast : str
        Of the scan; '' for a label map, which can be any.
    """

    shares: np.ndarray | None
    labels: np.ndarray | None
    keys: tuple[int, ...]
    image: np.ndarray | None = None
    contrast: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels of the box."""
        array = self.image if self.image is not None else self.labels
        assert array is not None
        return tuple(array.shape)


@dataclass(frozen=True, eq=False)
class ContrastSample:
    """One head for the network.

    Attributes
    ----------
    features : float16 ndarray, shape (FEATURES, 48, 56, 48)
    bands : float16 ndarray, shape (BANDS, 96, 112, 96)
    target : float16 ndarray, shape (96, 112, 96)
    weight : float16 ndarray, shape (96, 112, 96)
        What a voxel counts.
    tissues : uint8 ndarray, shape (96, 112, 96)
        1, 2, 3 for :data:`TISSUES`, 0 elsewhere.
    contrast : str
    """

    features: np.ndarray
    bands: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    tissues: np.ndarray
    contrast: str


@dataclass(frozen=True)
class Drawing:
    """How samples are drawn.

    Attributes
    ----------
    contrasts : tuple of str
    held_out : tuple of str
        Families of alterations that are never drawn.
    landmarks : mapping of str to tuple of float
        Contrast → the look's intensities at Nyúl's percentiles; those of the shipped look where absent.
    box : three ints
        Voxels of 2 mm in which a head is placed; multiples of 16.
    families : tuple of str
        Those that are drawn.
    """

    contrasts: tuple[str, ...] = LOOKS
    held_out: tuple[str, ...] = ("sequence", "fold")
    landmarks: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    box: tuple[int, int, int] = BOX
    families: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.held_out) - set(FAMILIES))
        if unknown:
            raise InputError(f"families of alterations {unknown} are unknown", f"choose of: {', '.join(FAMILIES)}")
        object.__setattr__(self, "families", tuple(name for name in FAMILIES if name not in self.held_out))

    def landmarks_of(self, contrast: str) -> tuple[float, ...]:
        """Return the landmarks of a contrast's look."""
        return self.landmarks.get(contrast) or look_landmarks(contrast)


def head_of_labels(path: Path) -> Head:
    """Read a label map (about 1 mm) as shares of tissues at 2 mm; raises InputError where it shows no head."""
    volume, _ = to_canonical(read_volume(path))
    whole = np.rint(volume.array).astype(np.int16)
    step = tuple(max(round(BOX_MM / float(s)), 1) for s in volume.grid.spacing_mm[::-1])
    filled = np.argwhere(whole > 0)
    if not len(filled):
        raise InputError(f"{path.name} shows no head", "give a label map with FreeSurfer numbers")
    low, high = filled.min(axis=0), filled.max(axis=0) + 1
    block = whole[tuple(slice(a, a + (b - a) // s * s) for a, b, s in zip(low, high, step, strict=True))]
    shape = tuple(n // s for n, s in zip(block.shape, step, strict=True))
    cells = block.reshape(shape[0], step[0], shape[1], step[1], shape[2], step[2])
    pairs = np.arange(int(block.max()) + 1, dtype=np.int16)
    for right, left in TISSUE_PAIRS.items():
        if right < pairs.size:
            pairs[right] = left
    keys = tuple(int(v) for v in np.unique(pairs[block]) if v != 0)
    shares = np.empty((len(keys), *shape), np.uint8)
    paired = pairs[cells]
    for n, key in enumerate(keys):
        shares[n] = np.rint(255.0 * (paired == key).mean(axis=(1, 3, 5), dtype=np.float32))
    most = np.asarray(keys, np.int16)[np.argmax(shares, axis=0)]
    labels = np.where(shares.sum(axis=0, dtype=np.int32) >= 128, most, 0).astype(np.int16)
    return Head(shares, labels, keys)


def head_of_scan(volume: Volume, contrast: str) -> Head:
    """Take a real scan as it is for one in the reference look, at 2 mm.

    Raises
    ------
    InputError
        Not finite, or constant.
    """
    scale = measured_values(volume).scale
    canonical, _ = to_canonical(volume)
    small = resample(canonical, canonical.grid.isotropic(BOX_MM), "linear")
    image = np.clip((small.array - scale.offset) / scale.scale, 0.0, 3.0).astype(np.float32)
    return Head(None, None, (), image, contrast)


def draw_contrast_sample(rng: np.random.Generator, heads: Sequence[Head], drawing: Drawing) -> ContrastSample:
    """Draw one training sample.

    Parameters
    ----------
    rng : numpy Generator
        The sample is a function of its state.
    heads : sequence of Head
    drawing : Drawing
    """
    while True:
        head = heads[int(rng.integers(len(heads)))]
        contrast = head.contrast or str(rng.choice(list(drawing.contrasts)))
        target, source, labels = _place_head(rng, head, contrast, drawing.box)
        if float(np.mean(target > 0.1)) > 0.02:  # not all of it moved out of the box
            break
    target, source, labels = _spoil_head(rng, target, source, labels)
    grid = Grid.from_parts(drawing.box, spacing_mm=(BOX_MM,) * 3)
    volume = Volume(source, grid)
    altered = source
    if rng.random() >= UNALTERED:
        donor = None
        if rng.random() < 0.5:
            other = heads[int(rng.integers(len(heads)))]
            if other.contrast in ("", contrast):
                donor = Volume(_place_head(rng, other, contrast, drawing.box)[0], grid)
        families = _draw_families(rng, drawing, labels is not None, donor is not None)
        strength = 1.0 if rng.random() < 0.6 else float(rng.uniform(0.3, 1.0))
        parameters = sample_kspace_contrast(rng, volume, labels, donor, families, strength)
        altered = apply_kspace_contrast(volume, parameters, labels).array
    altered_volume = volume.with_array(np.ascontiguousarray(altered, np.float32))
    normalised = matched_to_landmarks(altered_volume, drawing.landmarks_of(contrast))
    return _sample(normalised, target, labels, contrast)


def matched_to_landmarks(volume: Volume, landmarks: Sequence[float]) -> np.ndarray:
    """Return what the network is given: a scan whose deciles are those of the look, air 0, full scale 1; float32.

    What one tone curve for the whole scan can put right is put right before the network sees it; see
    ``methods/harmonizers/landmarks``.
    """
    return np.asarray(Nyul(LANDMARKS, tuple(landmarks)).map_array(volume, None) / FULL_SCALE, np.float32)


def _sample(image: np.ndarray, target: np.ndarray, labels: np.ndarray | None, contrast: str) -> ContrastSample:
    from MRHarmonizationLib.degradations.signal_equations import tissue_of

    tissues = np.zeros(target.shape, np.uint8)
    if labels is not None:
        table = np.zeros(int(labels.max()) + 1, np.uint8)
        for label in np.unique(labels):
            name = tissue_of(int(label))
            table[label] = TISSUES.index(name) + 1 if name in TISSUES else 0
        tissues = table[labels]
    weight = np.where(tissues > 0, 1.0, np.where(target > 0.05, 0.4, 0.05))
    bands = np.stack(detail_bands(image, (BOX_MM,) * 3))
    return ContrastSample(
        local_features(image).astype(np.float16),
        bands.astype(np.float16),
        target.astype(np.float16),
        weight.astype(np.float16),
        tissues,
        contrast,
    )


def _draw_families(rng: np.random.Generator, drawing: Drawing, labelled: bool, donated: bool) -> tuple[str, ...]:
    """Draw families as ``kspace_contrast`` does, without those held out."""
    possible = [
        name
        for name in drawing.families
        if (labelled or name not in ("tissue", "sequence")) and (donated or name != "swap")
    ]
    drawn = [name for name in possible if rng.random() < FAMILIES[name]]
    for kept, dropped in EXCLUSIVE:
        if kept in drawn and dropped in drawn:
            drawn.remove(dropped)
    return tuple(drawn) or ("bands",)


def _place_head(
    rng: np.random.Generator, head: Head, contrast: str, box: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return target, source and labels of a head, turned and stretched at random, in the box."""
    from scipy.ndimage import map_coordinates

    deformation = sample_deformation(rng, scale=(0.88, 1.14), elastic_mm=float(rng.uniform(0.0, 4.0)))
    centre = [n / 2 + float(shift) for n, shift in zip(head.shape, rng.normal(0.0, 3.0, 3), strict=True)]
    places = block_coordinates(box, centre, (BOX_MM,) * 3, deformation, block_spacing_mm=BOX_MM)
    mirror = rng.random() < 0.5

    def moved(array: np.ndarray, order: int) -> np.ndarray:
        found = map_coordinates(array, places, order=order, mode="constant", cval=0, prefilter=False)
        return np.ascontiguousarray(found[:, :, ::-1]) if mirror else np.asarray(found)

    if head.image is not None:
        image = moved(head.image, 1)
        return image, image, None
    assert head.shares is not None
    assert head.labels is not None
    clean, changed = _looks(rng, head.keys, contrast)
    flat = head.shares.reshape(len(head.keys), -1)
    texture = _texture(rng, head.shape) * 0.05
    source: np.ndarray | None = None
    target = moved(_weighted(flat, clean, head.shape) * (1.0 + texture), 1)
    if changed is not None:
        source = moved(_weighted(flat, changed, head.shape) * (1.0 + texture), 1)
    return target, target if source is None else source, moved(head.labels, 0).astype(np.int32)


def _looks(rng: np.random.Generator, keys: Sequence[int], contrast: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the brightness of every tissue in the reference look, and with gains of its own or None."""
    look = look_of_labels(contrast)
    means = np.empty(len(keys), np.float32)
    for n, key in enumerate(keys):
        mean, _, brain = look.get(key, (float(rng.uniform(200.0, 800.0)), 30.0, True))
        spread = 0.01 if brain else OUTSIDE_DEVIATION
        means[n] = mean * float(np.exp(rng.normal(0.0, spread))) / FULL_SCALE
    changed = None
    if rng.random() < OWN_GAINS_SHARE:
        changed = means * np.exp(rng.normal(0.0, OWN_GAINS_DEVIATION, len(keys))).astype(np.float32)
    return means, changed


def _weighted(shares: np.ndarray, means: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    total = np.zeros(shares.shape[1], np.float32)
    for part, mean in zip(shares, means, strict=True):
        total += part * (mean / np.float32(255.0))
    return total.reshape(shape)


def _texture(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), float(rng.uniform(0.3, 1.0)), truncate=2.5)
    return np.asarray(noise / max(float(noise.std()), 1e-6) * rng.uniform(0.3, 1.5), np.float32)


def _spoil_head(
    rng: np.random.Generator, target: np.ndarray, source: np.ndarray, labels: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return both with what is not contrast and is to stay, and the labels of what is left.

    Lesions, missing parts, thick slices, noise.
    """
    from scipy.ndimage import gaussian_filter1d

    pair = [target, source]
    if rng.random() < DISEASED:
        inside = labels == 2 if labels is not None else target > 0.4
        lesions = sample_lesions(rng, inside, most=10)
        pair = [apply_lesions(image, lesions, (BOX_MM,) * 3) for image in pair]
    if labels is not None and rng.random() < STRIPPED:
        outside = (labels == 0) | (labels > 500)
        if rng.random() < 0.3:
            outside |= labels == 24
        labels = np.where(outside, 0, labels)
        pair = [np.where(outside, np.float32(0.0), image) for image in pair]
    if rng.random() < CUT:
        cut = int(rng.integers(5, 41) * target.shape[0] // 96)
        part = slice(0, cut) if rng.random() < 0.8 else slice(target.shape[0] - cut // 2, None)
        pair = [image.copy() for image in pair]
        for image in pair:
            image[part] = 0.0
        if labels is not None:
            labels = labels.copy()
            labels[part] = 0
    if rng.random() < THICK:
        axis, sigma = int(rng.integers(3)), float(rng.uniform(2.0, 6.0)) / 2.355 / BOX_MM
        pair = [gaussian_filter1d(image, sigma, axis, mode="nearest") for image in pair]
    if rng.random() < NOISY:
        sigma = float(rng.uniform(0.005, 0.04))
        noise = rng.normal(0.0, sigma, (2, *target.shape)).astype(np.float32)
        pair = [np.hypot(image + noise[0], noise[1]) for image in pair]
    return np.asarray(pair[0], np.float32), np.asarray(pair[1], np.float32), labels
