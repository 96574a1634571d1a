"""Cases of the travelling-subject protocol: the brain with its lesions, its scan, and what is true of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.tensor_measures import eigenvalues_of, fractional_anisotropy, mean_diffusivity
from MRHarmonizationLib.degradations.brain_tensors import DiffusionBrain, brain_from_labels
from MRHarmonizationLib.degradations.diffusion_lesions import (
    DiffusionLesionParameters,
    apply_diffusion_lesion,
    lesion_weight,
    sample_diffusion_lesion,
)
from MRHarmonizationLib.degradations.diffusion_tissues import indices
from MRHarmonizationLib.degradations.dwi_parameters import PHASE_ENCODINGS, DwiScannerParameters
from MRHarmonizationLib.degradations.dwi_scanner import DwiScanner, canonical_twin, sample_dwi_scanner
from MRHarmonizationLib.degradations.dwi_simulation import seen_mask, seen_share, simulate_dwi
from MRHarmonizationLib.evaluation.dwi_protocol import DwiCase, DwiProtocol
from MRHarmonizationLib.inference.dwi_request import TARGET_SPACING, output_grid
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

#: Tissues whose means are followed, and what of the simulated brain belongs to them.
TISSUES: Mapping[str, tuple[str, ...]] = {
    "white": ("white_matter", "cerebellar_white_matter"),
    "grey": ("cortex", "cerebellar_cortex", "thalamus", "caudate", "putamen"),
    "fluid": ("csf",),
}
#: A voxel counts as a tissue, as brain with its fluid, or as brain without fluid from this share of it on.
TISSUE_SHARE, BRAIN_SHARE, PARENCHYMA_SHARE = 0.75, 0.5, 0.9
#: Distance kept between lesions of two kinds, mm: no lesion lies in the ring of another.
APART_MM = 6.0
#: Draws of lesions before a brain is given up.
MOST_DRAWS = 30


@dataclass(frozen=True, eq=False)
class PreparedDwi:
    """One case, ready to be harmonised and judged.

    Attributes
    ----------
    scan : DwiVolume
        As the scanner gives it, on its own grid.
    truth : DwiVolume
        The canonical scan of the same brain in the same place with the scan's weightings, without noise, on the grid
        of results.
    brain, parenchyma : bool ndarray, shape (K, J, I)
        Brain with its fluid, and voxels nearly free of it; grid of results, as the masks that follow.
    tissues : mapping of str to bool ndarray
        Keys of :data:`TISSUES`; voxels of which at least three quarters are the tissue, outside lesions.
    md, fa : float32 ndarray, shape (K, J, I)
        True MD (mm²/s) and FA of the brain's tensors, averaged over each voxel with the weight of their unweighted
        canonical signal.
    lesions : mapping of str to bool ndarray
        Kind → where its lesions lie; those too small to be judged are left out.
    """

    scan: DwiVolume
    truth: DwiVolume
    brain: np.ndarray
    parenchyma: np.ndarray
    tissues: Mapping[str, np.ndarray]
    md: np.ndarray
    fa: np.ndarray
    lesions: Mapping[str, np.ndarray]

    @property
    def grid(self) -> Grid:
        """The grid of results."""
        return self.truth.grid


@dataclass(frozen=True, eq=False)
class _Patient:
    """A brain with lesions, and where those of each kind lie on its grid that are large enough to be judged."""

    brain: DiffusionBrain
    lesions: Mapping[str, np.ndarray]


@lru_cache(maxsize=2)
def load_brain(data: Path, path: str, brain_mm: float, seed: int) -> DiffusionBrain:
    """Return the healthy brain of a label map at a resolution; raises InputError if the map cannot be used."""
    file = data / f"{path}.nii.gz"
    if not file.is_file():
        raise InputError(f"label map {file} does not exist", "give the folder of the data with --data")
    labels = read_volume(file)
    if np.abs(labels.grid.spacing_mm - brain_mm).max() > 1e-3:
        labels = resample(labels, labels.grid.isotropic(brain_mm), "nearest")
    return brain_from_labels(labels, seed)


def matched_pair(brain: DiffusionBrain, scanner: DwiScanner, seed: int, directions: int) -> tuple[DwiVolume, DwiVolume]:
    """Return the scan of a brain and the canonical scan in the same place, without noise, each on its own grid."""
    parameters = sample_dwi_scanner(np.random.default_rng(seed), scanner, directions)
    return simulate_dwi(brain, parameters), simulate_dwi(brain, ideal_twin(parameters))


def prepare_dwi_case(case: DwiCase, protocol: DwiProtocol, data: Path) -> PreparedDwi:
    """Simulate one case.

    Raises
    ------
    InputError
        The label map is missing or lacks a tissue, or no room for lesions.
    """
    kinds, least = tuple(protocol.lesion_images), protocol.least_lesion_mm3
    patient = _patient(data, case.subject, protocol.brain_mm, case.brain_seed, kinds, least)
    scanner = protocol.scanner(case.scanner)
    parameters = sample_dwi_scanner(np.random.default_rng(case.scan_seed), scanner, protocol.directions)
    scan = simulate_dwi(patient.brain, parameters)
    ideal = on_grid(ideal_twin(parameters), output_grid(scan.grid, TARGET_SPACING))
    truth = simulate_dwi(patient.brain, ideal)
    if not same_grid(truth.grid, output_grid(scan.grid, TARGET_SPACING)):
        raise InputError(
            f"the canonical scan of '{case.id}' does not lie on the grid of results",
            "use a scanner whose slices are its thickest axis",
        )
    return _described(patient, scan, truth, ideal)


def ideal_twin(parameters: DwiScannerParameters) -> DwiScannerParameters:
    """Return the canonical scan in the place of a scan, without noise; a shift along phase encoding stays."""
    twin = canonical_twin(parameters)
    return replace(twin.clean(), gain=twin.gain, phase_shift_px=twin.phase_shift_px)


def on_grid(parameters: DwiScannerParameters, grid: Grid) -> DwiScannerParameters:
    """Return a scan with other matrix, field of view and slices, so that it comes out on a grid in the same place."""
    slices, rows, columns = grid.shape
    right, anterior, upward = (float(s) for s in grid.spacing_mm)
    along_j, along_i = (rows, rows * anterior), (columns, columns * right)
    phase, readout = (along_j, along_i) if PHASE_ENCODINGS[parameters.phase_encoding][0] == "j" else (along_i, along_j)
    shift_mm = parameters.phase_shift_px * parameters.measured_pixel_mm[1]
    moved = replace(
        parameters,
        matrix=(readout[0], phase[0]),
        field_of_view_mm=(readout[1], phase[1]),
        slices=slices,
        slice_spacing_mm=upward,
    )
    return replace(moved, phase_shift_px=shift_mm / moved.measured_pixel_mm[1])


@lru_cache(maxsize=2)
def _patient(data: Path, path: str, brain_mm: float, seed: int, kinds: tuple[str, ...], least_mm3: float) -> _Patient:
    """Return a brain with lesions of every kind, those of one kind away from those of the others."""
    healthy = load_brain(data, path, brain_mm, seed)
    rng = np.random.default_rng((seed, 2))
    brain, lesions, judged = healthy, dict[str, np.ndarray](), dict[str, np.ndarray]()
    for kind in kinds:
        parameters = _apart(rng, healthy, kind, list(lesions.values()))
        brain = apply_diffusion_lesion(brain, parameters)
        lesions[kind] = lesion_weight(healthy, parameters) > 0.5
        judged[kind] = large_enough(Volume(lesions[kind], healthy.grid), least_mm3)
    return _Patient(brain, judged)


def _apart(
    rng: np.random.Generator, brain: DiffusionBrain, kind: str, others: list[np.ndarray]
) -> DiffusionLesionParameters:
    """Draw lesions of one kind and leave out those that come near the others."""
    from scipy.ndimage import distance_transform_edt

    if not others:
        return sample_diffusion_lesion(rng, brain, kind)
    distance = distance_transform_edt(~np.any(others, axis=0), sampling=brain.grid.spacing_mm[::-1])
    for _ in range(MOST_DRAWS):
        drawn = sample_diffusion_lesion(rng, brain, kind)
        kept = []
        for number, (centre, radius) in enumerate(zip(drawn.centres_ras_mm, drawn.radii_mm, strict=True)):
            k, j, i = np.rint(brain.grid.ras_to_ijk(np.array(centre)))[::-1].astype(int)
            if distance[k, j, i] > 1.5 * radius + APART_MM:
                kept.append(number)
        if kept:
            return replace(
                drawn,
                centres_ras_mm=tuple(drawn.centres_ras_mm[n] for n in kept),
                radii_mm=tuple(drawn.radii_mm[n] for n in kept),
                softness=tuple(drawn.softness[n] for n in kept),
            )
    raise InputError(f"the brain has no room for lesions of kind '{kind}'", "give a whole brain, or fewer kinds")


def _described(patient: _Patient, scan: DwiVolume, truth: DwiVolume, ideal: DwiScannerParameters) -> PreparedDwi:
    brain = patient.brain
    if brain.tissues is None:
        raise InputError("the tissues of the brain are not known", "use a label map")
    parenchyma = seen_share(brain, brain.brain_mask, ideal).array
    fluid = seen_share(brain, np.isin(brain.tissues, indices(*TISSUES["fluid"])), ideal).array
    lesions = {kind: seen_mask(brain, mask, ideal).array for kind, mask in patient.lesions.items()}
    changed = np.zeros(brain.grid.shape, bool) if brain.lesion is None else brain.lesion
    healthy = ~seen_mask(brain, changed, ideal).array
    tissues = {}
    for name, members in TISSUES.items():
        share = seen_share(brain, np.isin(brain.tissues, indices(*members)), ideal).array
        tissues[name] = (share >= TISSUE_SHARE) & healthy
        if not tissues[name].any():
            raise InputError(f"'{brain.name}' shows no {name} tissue", "use the label map of a whole head")
    md, fa = true_measures(brain, ideal)
    return PreparedDwi(
        scan,
        truth,
        (parenchyma + fluid) >= BRAIN_SHARE,
        parenchyma >= PARENCHYMA_SHARE,
        tissues,
        md,
        fa,
        lesions,
    )


def true_measures(brain: DiffusionBrain, parameters: DwiScannerParameters) -> tuple[np.ndarray, np.ndarray]:
    """Return MD (mm²/s) and FA of a brain's own tensors on a scan's grid; 0 where there is no signal.

    Tensors are averaged over each voxel, weighted with their unweighted signal in this scan: what any scan would
    measure with weak weighting, without noise, at this resolution.
    """
    signal = brain.proton_density * -np.expm1(-np.float32(parameters.repetition_time_ms) / brain.t1_ms)
    signal *= np.exp(-np.float32(parameters.echo_time_ms) / brain.t2_ms)
    total = seen_share(brain, signal, parameters).array
    seen = total > 1e-3 * float(total.max())
    tensors = np.zeros((*total.shape, 6), np.float32)
    for n in range(6):
        weighted = seen_share(brain, signal * brain.tensors[..., n], parameters).array
        tensors[..., n][seen] = weighted[seen] / total[seen]
    md, fa = np.zeros(total.shape, np.float32), np.zeros(total.shape, np.float32)
    md[seen] = mean_diffusivity(tensors[seen])
    fa[seen] = fractional_anisotropy(eigenvalues_of(tensors[seen]))
    return md, fa


def large_enough(mask: Volume, least_mm3: float) -> np.ndarray:
    """Return a mask without its components (26 neighbours) below a volume."""
    from scipy.ndimage import label

    labels, _ = label(mask.array, structure=np.ones((3, 3, 3)))
    volumes = np.bincount(labels.ravel()) * mask.grid.voxel_volume_mm3
    volumes[0] = 0.0
    return np.asarray((volumes >= least_mm3)[labels])
