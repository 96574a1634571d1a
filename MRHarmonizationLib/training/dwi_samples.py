"""Training samples of diffusion harmonisation: a scan of a simulated brain, and what the canonical scanner sees."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from MRHarmonizationLib.degradations.brain_tensors import DiffusionBrain, brain_from_labels
from MRHarmonizationLib.degradations.diffusion_lesions import apply_diffusion_lesion, sample_diffusion_lesion
from MRHarmonizationLib.degradations.diffusion_tissues import tissue_names
from MRHarmonizationLib.degradations.dwi_parameters import DwiScannerParameters
from MRHarmonizationLib.degradations.dwi_scanner import canonical_twin, sample_dwi_scanner
from MRHarmonizationLib.degradations.dwi_simulation import simulate_images
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import resample, resample_parallel
from MRHarmonizationLib.volumes.volume import Volume

#: Spacing at which brains are simulated for training, mm.
BRAIN_MM = 1.5
#: Directions that are averaged into what guides the network, and volumes (b = 0 first) on which it is judged.
GUIDING, JUDGED = 6, 3
#: Brightness of white matter in the canonical b = 0 image: what counts as 1.
UNIT = 278.5
#: Brightness of the canonical b = 0 image, in units, from which on a voxel counts fully; what the others count.
BRIGHT, REST = 0.5, 0.1
#: Share of a voxel that a tissue must fill to be measured in it.
PURE = 0.9
#: Noise is lowered by up to this factor: scans come to the network denoised.
QUIETER = 3.0
_ARRAYS = ("tensors", "proton_density", "t1_ms", "t2_ms", "r2_prime_per_s", "tissues")


@dataclass(frozen=True, eq=False)
class DwiSample:
    """One scan on the canonical grid.

    Attributes
    ----------
    guide : float16 ndarray, shape (2, K, J, I)
        Mean b = 0 and mean weighted volume; white matter is 1.
    volumes : float16 ndarray, shape (JUDGED, K, J, I)
        The scan, on the same scale.
    contrast, truth : float16 ndarrays, shape (JUDGED, K, J, I)
        The same scan with canonical contrast and without noise or shading; the canonical scan. In :data:`UNIT`.
    weight : float16 ndarray, shape (K, J, I)
    white, grey : bool ndarrays, shape (K, J, I)
        Voxels that one tissue fills.
    spacing : float64 ndarray, shape (2,)
        Of the scan's slices and of its pixels, mm.
    """

    guide: np.ndarray
    volumes: np.ndarray
    contrast: np.ndarray
    truth: np.ndarray
    weight: np.ndarray
    white: np.ndarray
    grey: np.ndarray
    spacing: np.ndarray

    def save(self, path: Path) -> None:
        """Write the sample as .npz, whole or not at all."""
        temporary = path.with_name(f"{path.stem}-{os.getpid()}.part.npz")
        np.savez(temporary, **{entry.name: getattr(self, entry.name) for entry in fields(self)})
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path) -> DwiSample:
        """Read what :meth:`save` wrote."""
        with np.load(path) as stored:
            return cls(**{entry.name: stored[entry.name] for entry in fields(cls)})


def load_brain(path: Path, seed: int, cache: Path | None = None) -> DiffusionBrain:
    """Make the brain of a label map at :data:`BRAIN_MM`, or read it from the cache.

    Parameters
    ----------
    path : Path
        Label map.
    seed : int
        Of fibres and texture.
    cache : Path, optional
        Folder; made if needed.
    """
    stored = None if cache is None else cache / f"{path.name.split('.')[0]}-{seed}.npz"
    if stored is not None and stored.is_file():
        with np.load(stored) as found:
            shape = (int(found["shape"][0]), int(found["shape"][1]), int(found["shape"][2]))
            values = {name: found[name] for name in _ARRAYS}
            return DiffusionBrain(grid=Grid(shape, found["affine"]), name=path.name, **values)
    labels = read_volume(path)
    brain = brain_from_labels(resample(labels, labels.grid.isotropic(BRAIN_MM), "nearest"), seed)
    if stored is not None:
        stored.parent.mkdir(parents=True, exist_ok=True)
        temporary = stored.with_name(f"{stored.stem}-{os.getpid()}.part.npz")
        values = {name: getattr(brain, name) for name in _ARRAYS}
        np.savez(temporary, shape=brain.grid.shape, affine=brain.grid.affine, **values)
        os.replace(temporary, stored)
    return brain


def draw_dwi_sample(rng: np.random.Generator, brains: Sequence[DiffusionBrain]) -> DwiSample:
    """Draw one scan by a made-up scanner, half of them with a lesion; a function of the generator's state."""
    brain = brains[int(rng.integers(len(brains)))]
    if rng.random() < 0.5:
        kind = "stroke" if rng.random() < 0.5 else "ms"
        brain = apply_diffusion_lesion(brain, sample_diffusion_lesion(rng, brain, kind))
    parameters = sample_dwi_scanner(rng, directions=GUIDING)
    quiet = float(rng.uniform(1.0, QUIETER))
    return simulate_sample(brain, replace(parameters, snr_b0=parameters.snr_b0 * quiet))


def simulate_sample(brain: DiffusionBrain, parameters: DwiScannerParameters) -> DwiSample:
    """Return the sample of a brain and a scan."""
    b_values = np.array(parameters.b_values_s_per_mm2)
    unweighted, weighted = np.flatnonzero(b_values <= 50), np.flatnonzero(b_values > 50)[:GUIDING]
    judged = [int(unweighted[0]), *(int(n) for n in weighted[: JUDGED - 1])]
    wanted = [*judged, *(int(n) for n in weighted[JUDGED - 1 :])]
    twin = canonical_twin(parameters)
    ideal = replace(twin.clean(), gain=twin.gain, phase_shift_px=twin.phase_shift_px)
    shared = ("echo_time_ms", "repetition_time_ms", "field_strength_t", "gain")
    canonical = {name: getattr(twin, name) for name in shared}
    even = replace(parameters, snr_b0=float("inf"), bias_field=None, whole_numbers=False, **canonical)
    scan, grid = simulate_images(brain, parameters, wanted)
    contrast, _ = simulate_images(brain, even, judged)
    truth, target_grid = simulate_images(brain, ideal, judged)

    def moved(images: np.ndarray) -> np.ndarray:
        volumes = [Volume(np.ascontiguousarray(images[..., n]), grid) for n in range(images.shape[3])]
        return np.stack([np.maximum(resample_parallel(v, target_grid).array, 0.0) for v in volumes])

    on_grid = moved(scan)
    white, grey = (_filled(brain, name, target_grid) for name in ("white_matter", "cortex"))
    level = float(np.median(on_grid[0][white])) if white.any() else 1.0
    on_grid /= max(level, 1e-6)
    return DwiSample(
        np.stack([on_grid[0], on_grid[1:].mean(axis=0)]).astype(np.float16),
        on_grid[:JUDGED].astype(np.float16),
        (moved(contrast) / UNIT).astype(np.float16),
        (np.moveaxis(truth, 3, 0) / UNIT).astype(np.float16),
        np.where(truth[..., 0] / UNIT > BRIGHT, 1.0, REST).astype(np.float16),
        white,
        grey,
        np.array([grid.spacing_mm[2], grid.spacing_mm[0]]),
    )


def _filled(brain: DiffusionBrain, tissue: str, grid: Grid) -> np.ndarray:
    """Return the voxels of a grid that a tissue fills."""
    assert brain.tissues is not None
    here = brain.tissues == tissue_names().index(tissue)
    share = resample(Volume(here.astype(np.float32), brain.grid), grid, "linear").array
    return np.asarray(share >= PURE)
