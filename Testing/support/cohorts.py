"""Tiny cohorts on disk: the same made-up heads on scanners that differ in blur, noise and gain."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

SHAPE = (8, 40, 40)
#: Name → blur in voxels, noise, gain.
SCANNERS = {"blurry": (1.6, 2.0, 1.0), "noisy": (0.0, 25.0, 1.3), "plain": (0.5, 4.0, 0.8)}


def head(seed: int) -> np.ndarray:
    """Return a made-up head, float32, shape SHAPE: smooth structure inside an ellipsoid, a bright lesion in it."""
    rng = np.random.default_rng(seed)
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    inside = (k / 1.4) ** 2 + j**2 + i**2 < 0.8
    structure = gaussian_filter(rng.normal(size=SHAPE), 1.5)
    image = np.where(inside, 200 + 60 * structure / structure.std(), 10)
    image[lesion(seed)] += 250
    return image.astype(np.float32)


def lesion(seed: int) -> np.ndarray:
    """Return where the lesion of a head is: a ball of radius 3 voxels."""
    centre = np.array([4, 14 + seed % 10, 20])
    return ((np.indices(SHAPE).T - centre) ** 2).sum(-1).T <= 9


def scan(image: np.ndarray, scanner: str, seed: int) -> np.ndarray:
    """Return what a scanner makes of a head."""
    blur, noise, gain = SCANNERS[scanner]
    rng = np.random.default_rng([seed, list(SCANNERS).index(scanner)])
    seen = gaussian_filter(image, (0, blur, blur)) + rng.normal(0, noise, image.shape)
    return np.asarray(gain * np.maximum(seen, 0), np.float32)


def write_cohort(folder: Path, subjects: int = 6, lesions: bool = False, **changes: Any) -> Path:
    """Write scans, truth, masks and ``cohort.csv``; ``changes`` are further columns: text, or a function of a row."""
    columns = ["path", "subject", "scanner", "mask", *(["lesion"] if lesions else []), *changes]
    rows = []
    for number in range(subjects):
        subject, truth = f"p{number}", head(number)
        files = {"truth": truth, "mask": (truth > 50).astype(np.uint8), "lesion": lesion(number).astype(np.uint8)}
        files |= {scanner: scan(truth, scanner, number) for scanner in SCANNERS}
        for name, array in files.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            write_volume(Volume(array, Grid.from_parts(SHAPE, (1.0, 1.0, 3.0))), folder / name / f"{subject}.nrrd")
        for scanner in SCANNERS:
            row = {"path": f"{scanner}/{subject}.nrrd", "subject": subject, "scanner": scanner}
            row |= {"mask": f"mask/{subject}.nrrd", "lesion": f"lesion/{subject}.nrrd"}
            row |= {name: value(row) if callable(value) else value for name, value in changes.items()}
            rows.append([row[name] for name in columns])
    path = folder / "cohort.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([columns, *rows])
    return path
