"""A cohort with known truth: the same subjects, made from label maps, on every virtual scanner."""

from __future__ import annotations

import csv
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.degradations.label_images import BRAIN_LABELS, render_label_image, sample_label_image
from MRHarmonizationLib.degradations.lesions import LesionParameters, apply_lesions
from MRHarmonizationLib.evaluation.report import make_folder
from MRHarmonizationLib.evaluation.subjects import block_of
from MRHarmonizationLib.evaluation.tasks import Task, run_tasks
from MRHarmonizationLib.evaluation.virtual_scanners import VirtualScanner
from MRHarmonizationLib.volumes.atomic import write_text_atomic
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.orientation import to_canonical
from MRHarmonizationLib.volumes.volume import Volume

#: Space left around the brain in plane, and around the block across the slices, when a subject is scanned.
MARGIN_MM = 8.0
#: Folders of the true images and of the scans that a perfect harmoniser to one scanner would give.
TRUTH, RESCAN = "truth", "rescan"
#: Cerebral white matter (FreeSurfer numbers), where lesions are drawn.
WHITE_MATTER = (2, 41)
#: Radii and relative contrasts of the drawn lesions, and the width of their borders relative to the radius.
LESION_RADII_MM, LESION_CONTRASTS, LESION_SOFTNESS = (3.0, 6.0), (0.5, 0.9), 0.2


@dataclass(frozen=True)
class SimulatedCohort:
    """What decides every voxel of a simulated cohort.

    Attributes
    ----------
    subjects : tuple of str
        Label maps, as paths below the data folder without extension.
    test : tuple of str
        Those of them a probe is tested on.
    scanners : tuple of VirtualScanner
    contrast : str
        Family of contrast of the label images; 'flair' has lesions brighter than white matter.
    block_mm : tuple of three floats
        Size along (R, A, S) of what is kept of each scan.
    offset_mm : tuple of three floats
        Centre of the block from the centre of the brain, RAS.
    lesions : int
        Drawn into every subject's white matter.
    reference : str
        Scanner on which every subject is also scanned once more per scanner, with other noise: what a harmoniser would
        make that brings all scans to that scanner. Empty for none.
    seed : int
    """

    subjects: tuple[str, ...]
    test: tuple[str, ...]
    scanners: tuple[VirtualScanner, ...]
    contrast: str = "flair"
    block_mm: tuple[float, ...] = (88.0, 104.0, 40.0)
    offset_mm: tuple[float, ...] = (0.0, 0.0, 0.0)
    lesions: int = 3
    reference: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        strange = sorted(set(self.test) - set(self.subjects))
        if strange or not self.test:
            raise ParameterError(
                f"test subjects {strange or 'none'} are not among the subjects", "name some of the cohort's subjects"
            )
        if len(self.block_mm) != 3 or len(self.offset_mm) != 3 or min(self.block_mm) <= 0 or self.lesions < 0:
            raise ParameterError(
                f"block {self.block_mm} mm, offset {self.offset_mm} mm, lesions {self.lesions}",
                "give three positive sizes, three offsets and a count",
            )
        ids = [scanner.id for scanner in self.scanners]
        if self.reference and self.reference not in ids:
            raise ParameterError(f"reference scanner '{self.reference}' is unknown", f"choose from: {', '.join(ids)}")

    def seed_of(self, subject: str) -> int:
        """Return the seed of a subject's intensities, lesions and scans."""
        return zlib.crc32(f"{self.seed}/{subject}".encode())


def make_simulated_cohort(
    plan: SimulatedCohort, data: Path, out: Path, jobs: int = 1, progress: Progress | None = None
) -> Path:
    """Write a cohort: ``SCANNER/SUBJECT.nii.gz``; ``truth/``, ``mask/``, ``lesion/`` at 1 mm; ``rescan/SCANNER/``.

    Parameters
    ----------
    plan : SimulatedCohort
    data : Path
        Folder the label maps are relative to.
    out : Path
        Made if needed; scans found there are written again.
    jobs : int
        Processes.
    progress : Progress, optional

    Returns
    -------
    Path
        ``out/cohort.csv``.

    Raises
    ------
    InputError
        Label maps are missing or hold no brain.
    OutputError, OperationCancelled
    """
    missing = [subject for subject in plan.subjects if not (data / f"{subject}.nii.gz").is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} label maps are not below {data}: {', '.join(missing[:3])} …",
            "give the data folder with --data",
        )
    ids = [scanner.id for scanner in plan.scanners]
    for name in (*ids, TRUTH, "mask", "lesion", *([f"{RESCAN}/{name}" for name in ids] if plan.reference else [])):
        make_folder(out / name)
    tasks = [Task(f"scan {name_of(s)}", scan_subject, (plan, str(data), s, str(out))) for s in plan.subjects]
    for _ in run_tasks(tasks, jobs, progress or Progress()):
        pass
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["path", "subject", "scanner", "mask", "lesion", "split"])
    for subject in plan.subjects:
        file, split = f"{name_of(subject)}.nii.gz", "test" if subject in plan.test else "train"
        lesion = f"lesion/{file}" if plan.lesions else ""
        for scanner in plan.scanners:
            writer.writerow([f"{scanner.id}/{file}", name_of(subject), scanner.id, f"mask/{file}", lesion, split])
    return write_text_atomic(stream.getvalue(), out / "cohort.csv")


def name_of(subject: str) -> str:
    """Return the name of a subject: its data path without folders."""
    return subject.rsplit("/", 1)[-1]


def scan_subject(plan: SimulatedCohort, data: str, subject: str, out: str) -> None:
    """Write truth, masks and every scanner's scan of one subject; see :func:`make_simulated_cohort`."""
    folder, file = Path(out), f"{name_of(subject)}.nii.gz"
    truth, brain, lesions, centre = simulated_subject(plan, data, subject)
    write_volume(_block(truth, centre, plan.block_mm), folder / TRUTH / file)
    write_volume(_block(brain, centre, plan.block_mm), folder / "mask" / file)
    if plan.lesions:
        write_volume(_block(lesions, centre, plan.block_mm), folder / "lesion" / file)
    for scanner in plan.scanners:
        scan = scanner.scan(truth, plan.seed_of(subject))
        write_volume(_block(scan, centre, plan.block_mm), folder / scanner.id / file)
        for reference in (other for other in plan.scanners if other.id == plan.reference):
            again = reference.scan(truth, zlib.crc32(f"{plan.seed_of(subject)}/{scanner.id}".encode()))
            write_volume(_block(again, centre, plan.block_mm), folder / RESCAN / scanner.id / file)


def simulated_subject(plan: SimulatedCohort, data: str, subject: str) -> tuple[Volume, Volume, Volume, np.ndarray]:
    """Return image, brain mask, lesion mask (uint8) on one 1 mm grid, and the centre of the block in RAS mm."""
    labels, _ = to_canonical(read_volume(Path(data) / f"{subject}.nii.gz"))
    brain = np.isin(labels.array, BRAIN_LABELS)
    if not brain.any():
        raise InputError(f"label map {subject} holds no brain label", "remove it from the cohort")
    bounds = [(int(p.min()), int(p.max()) + 1) for p in np.nonzero(brain)]
    middle = np.array([(low + high - 1) / 2 for low, high in bounds])[::-1]
    centre = labels.grid.ijk_to_ras(middle) + np.asarray(plan.offset_mm)
    start, shape = _scanned_box(labels.grid, bounds, centre, plan.block_mm)
    box = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
    grid, cut, inside = labels.grid.crop(start, shape), labels.array[box].astype(np.int32), brain[box]
    rng = np.random.default_rng(plan.seed_of(subject))
    array = render_label_image(cut, sample_label_image(rng, cut, plan.contrast))
    k, j, i = grid.spacing_mm[::-1]
    where = _in_block(grid, centre, plan.block_mm, max(LESION_RADII_MM)) & np.isin(cut, WHITE_MATTER)
    drawn = draw_lesions(rng, where, plan.lesions)
    flat = LesionParameters(drawn.centres, drawn.radii_mm, (1.0,) * len(drawn.centres), drawn.softness, drawn.seed)
    lesions = apply_lesions(np.ones(shape, np.float32), flat, (k, j, i)) > 1.5
    array = apply_lesions(array, drawn, (k, j, i))
    name = name_of(subject)
    return (
        Volume(array, grid, name),
        Volume(inside.astype(np.uint8), grid, name),
        Volume(lesions.astype(np.uint8), grid, name),
        centre,
    )


def draw_lesions(rng: np.random.Generator, where: np.ndarray, count: int) -> LesionParameters:
    """Draw bright lesions whose centres lie inside a mask (K, J, I) and apart from each other."""
    candidates = np.argwhere(where).astype(float)
    centres: list[np.ndarray] = []
    for point in rng.permutation(candidates) if len(candidates) else candidates:
        if len(centres) == count:
            break
        if all(np.linalg.norm(point - other) > 3 * max(LESION_RADII_MM) for other in centres):
            centres.append(point)
    found = len(centres)
    return LesionParameters(
        tuple((float(k), float(j), float(i)) for k, j, i in centres),
        tuple(float(r) for r in rng.uniform(*LESION_RADII_MM, found)),
        tuple(float(c) for c in rng.uniform(*LESION_CONTRASTS, found)),
        (LESION_SOFTNESS,) * found,
        int(rng.integers(2**31)),
    )


def _scanned_box(
    grid: Grid, bounds: Sequence[tuple[int, int]], centre: np.ndarray, block_mm: Sequence[float]
) -> tuple[list[int], list[int]]:
    """Return start and shape (k, j, i): the whole brain in plane, the block and a margin across the slices."""
    start, shape = block_of(grid, centre, [*block_mm[:2], block_mm[2] + 2 * MARGIN_MM])
    for axis in (1, 2):
        margin = math.ceil(MARGIN_MM / float(grid.spacing_mm[2 - axis]))
        low, high = max(0, bounds[axis][0] - margin), min(grid.shape[axis], bounds[axis][1] + margin)
        start[axis], shape[axis] = low, high - low
    return start, shape


def _in_block(grid: Grid, centre: np.ndarray, block_mm: Sequence[float], margin_mm: float) -> np.ndarray:
    """Return the mask of the voxels that lie in the block and not within a margin of its faces."""
    start, shape = block_of(grid, centre, [size - 2 * margin_mm for size in block_mm])
    inside = np.zeros(grid.shape, bool)
    inside[tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))] = True
    return inside


def _block(volume: Volume, centre: np.ndarray, block_mm: Sequence[float]) -> Volume:
    start, shape = block_of(volume.grid, centre, block_mm)
    box = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
    return Volume(volume.array[box], volume.grid.crop(start, shape), volume.name)
