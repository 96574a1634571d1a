"""A folder of small synthetic heads laid out as the real data are: label maps, a T1 head, lesions, two visits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from MRHarmonizationLib.degradations.reference_look import render_reference_look
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

SPACING_MM = 4.0
SHAPE = (44, 52, 46)
#: Scalp and skull of the label maps.
OUTSIDE = 516
#: How far the second visit has moved, mm along R.
MOVED_MM = 4.0


def head_labels(seed: int, shape: tuple[int, int, int] = SHAPE, spacing_mm: float = SPACING_MM) -> Volume:
    """Return a label map: scalp, cortex with folds, white matter, ventricles; another shape for another seed."""
    rng = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, n) for n in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    wide = rng.uniform(0.97, 1.03, 3)
    radius = np.sqrt((x / (0.8 * wide[0])) ** 2 + (y / (0.86 * wide[1])) ** 2 + (z / (0.82 * wide[2])) ** 2)
    folds = 0.06 * np.sin(11 * np.arctan2(y, np.abs(x)) + rng.uniform(0, 3)) * np.cos(7 * z)
    labels = np.zeros(shape, np.int32)
    labels[radius < 1.0] = OUTSIDE
    labels[radius < 0.9] = 24
    labels[radius + folds < 0.84] = 3
    labels[radius + folds < 0.64] = 2
    labels[np.sqrt((np.abs(x) / 0.2 - 0.9) ** 2 + (y / 0.36) ** 2 + (z / 0.3) ** 2) < 1] = 4
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = [-spacing_mm * (n - 1) / 2 for n in shape[::-1]]
    return Volume(labels, Grid(shape, affine), f"head {seed}")


def face_labels(seed: int, shape: tuple[int, int, int] = SHAPE, spacing_mm: float = SPACING_MM) -> Volume:
    """Return :func:`head_labels` with a nose, eyes, a cerebellum and a neck: no axis about which it looks the same."""
    plain = head_labels(seed, shape, spacing_mm)
    axes = [np.linspace(-1, 1, n) for n in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    labels = np.array(plain.array)
    empty = labels == 0
    labels[empty & (np.abs(x) < 0.12) & (y > 0.6) & (np.abs(z + 0.25) < 0.2)] = OUTSIDE
    labels[empty & (x**2 + (y + 0.2) ** 2 < 0.25) & (z < -0.5)] = OUTSIDE
    for side in (-1, 1):
        labels[((x - 0.35 * side) / 0.16) ** 2 + ((y - 0.6) / 0.14) ** 2 + ((z + 0.15) / 0.16) ** 2 < 1] = 24
    labels[(x / 0.5) ** 2 + ((y + 0.5) / 0.22) ** 2 + ((z + 0.5) / 0.2) ** 2 < 1] = 8
    labels[((x - 0.3) / 0.18) ** 2 + ((y + 0.1) / 0.3) ** 2 + ((z - 0.35) / 0.15) ** 2 < 1] = 12
    return plain.with_array(labels)


def write_heads(folder: Path) -> Path:
    """Write the folder and return it."""
    for name in ("labelmaps", "structural", "ms_lesions"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in (1, 2, 14, 17, 18):
        write_volume(head_labels(number), folder / "labelmaps" / f"training_seg_{number:02d}.nii.gz")
    scan = render_reference_look(head_labels(40), "t1", 40)
    write_volume(scan.with_array(0.4 * scan.array), folder / "structural" / "colin27_T1w.nii.gz")
    _write_lesions(folder / "ms_lesions")
    _write_visits(folder / "ms_lesions")
    return folder


def _write_lesions(folder: Path) -> None:
    """Write a brain without skull with two bright lesions in its white matter, and their mask."""
    labels = head_labels(41)
    lesions = np.zeros(SHAPE, bool)
    lesions[20:23, 12:15, 20:24] = True
    lesions[26:29, 36:39, 22:25] = True
    brain = np.isin(labels.array, (2, 3, 4, 24))
    scan = render_reference_look(labels, "flair", 41)
    array = np.where(brain, scan.array, 0.0)
    array[lesions] += 250.0
    write_volume(scan.with_array(array.astype(np.float32)), folder / "patient07_FLAIR.nii.gz")
    write_volume(labels.with_array(lesions.astype(np.uint8)), folder / "patient07_lesions.nii.gz")


def _write_visits(folder: Path) -> None:
    """Write two visits in other units, the second moved and with a new lesion marked halfway between both."""
    labels = head_labels(42)
    first = render_reference_look(labels, "flair", 42)
    second = np.array(first.array) * 2.0
    second[20:24, 12:16, 20:24] += 700.0
    change = np.zeros(SHAPE, np.uint8)
    change[20:24, 12:16, 20:24] = 1
    write_volume(first, folder / "patient01_visit1_FLAIR.nii.gz")
    write_volume(Volume(second, _moved(labels.grid, MOVED_MM)), folder / "patient01_visit2_FLAIR.nii.gz")
    write_volume(Volume(change, _moved(labels.grid, MOVED_MM / 2)), folder / "patient01_lesion_change.nii.gz")


def _moved(grid: Grid, right_mm: float) -> Grid:
    affine = grid.affine.copy()
    affine[0, 3] += right_mm
    return Grid(grid.shape, affine)
