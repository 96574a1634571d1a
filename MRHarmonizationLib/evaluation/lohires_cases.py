"""Subjects of the low- to high-field protocol: heads in a known look with known structures and lesions, real slabs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.degradations.label_images import BRAIN_LABELS, render_label_image
from MRHarmonizationLib.degradations.lesions import LesionParameters, apply_lesions
from MRHarmonizationLib.degradations.lowfield import AcquisitionParameters
from MRHarmonizationLib.degradations.reference_look import sample_reference_look
from MRHarmonizationLib.evaluation.cases import run_method
from MRHarmonizationLib.evaluation.lohires_protocol import HeadBox, LohiresProtocol
from MRHarmonizationLib.evaluation.lowfield_protocol import Case
from MRHarmonizationLib.evaluation.simulated_cohort import WHITE_MATTER, draw_lesions
from MRHarmonizationLib.evaluation.subjects import (
    Subject,
    acquisition_parameters,
    align,
    block_of,
    simulate,
    slab_subject,
)
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.orientation import to_canonical
from MRHarmonizationLib.volumes.volume import Volume

#: The low-field image on the grid of results.
BASELINE = "cubic"
#: Structures that reach out of the head downwards and do not decide its box: brain-stem and fluid.
REACHING_DOWN = (16, 24)
#: Distance of lesion centres from the border of white matter.
LESION_DEPTH_MM = 2.0
#: A drawn lesion is where it changes the image by more than this share of its contrast.
LESION_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class LabelledHead:
    """A head and what is known of it.

    Attributes
    ----------
    subject : Subject
        Image in canonical order (axes superior, anterior, right), judged in the 32 structures.
    labels : int32 ndarray, shape of the image
        FreeSurfer (and CHARM) numbers.
    lesions : bool ndarray, shape of the image
    """

    subject: Subject
    labels: np.ndarray
    lesions: np.ndarray


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """One case: the truth, the simulated scan, and how it was made.

    Attributes
    ----------
    subject : Subject
    scan : Volume
        On its own coarse grid.
    cubic : Volume
        The scan on the grid of the truth: the low-field image that everything is held against.
    noise : float
        True standard deviation, image units.
    silent : AcquisitionParameters
        The acquisition without noise: what measures an image again.
    labels, lesions : ndarray or None
        As in :class:`LabelledHead`; None for real slabs.
    """

    subject: Subject
    scan: Volume
    cubic: Volume
    noise: float
    silent: AcquisitionParameters
    labels: np.ndarray | None
    lesions: np.ndarray | None


@lru_cache(maxsize=1)
def prepared_scan(case: Case, protocol_key: ProtocolKey, data: str) -> PreparedScan:
    """Return the truth and the scan of a case.

    Parameters
    ----------
    case : Case
    protocol_key : ProtocolKey
        The protocol, wrapped to be hashable.
    data : str
        Folder of label maps and slabs.

    Raises
    ------
    InputError
        A file is missing or holds no brain.
    """
    protocol = protocol_key.protocol
    scans = protocol.scans()
    group, acquisition = scans.group(case.group), scans.acquisition(case.acquisition)
    labels = lesions = None
    if group.kind == "labels":
        head = look_head(case, protocol, data)
        subject = align(head.subject, acquisition)
        k, j, i = subject.truth.array.shape  # cut at the far ends alone
        labels, lesions = head.labels[:k, :j, :i], head.lesions[:k, :j, :i]
    else:
        subject = align(_canonical(slab_subject(data, case.subject, group.extend_to_mm)), acquisition)
    scan, noise = simulate(subject, acquisition, case.snr, case.seed)
    silent = acquisition_parameters(subject.truth.grid, acquisition, float("inf"), case.seed)
    cubic = run_method(BASELINE, scan, subject.truth.grid, {}, noise)
    return PreparedScan(subject, scan, cubic, noise, silent, labels, lesions)


class ProtocolKey:
    """A protocol as a key of caches: equal where name, seed and everything else are."""

    def __init__(self, protocol: LohiresProtocol) -> None:
        self.protocol = protocol

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProtocolKey) and self.protocol == other.protocol

    def __hash__(self) -> int:
        return hash((self.protocol.name, self.protocol.version, self.protocol.seed, self.protocol.contrast))


def look_head(case: Case, protocol: LohiresProtocol, data: str) -> LabelledHead:
    """Return a label map as a head in the reference look, with lesions in white matter.

    The head, its texture and its lesions are the same at every SNR.
    """
    scans = protocol.scans()
    labels = head_labels(data, case.subject, protocol.head)
    rng = np.random.default_rng(scans.derived_seed(f"{case.subject}-{case.contrast}"))
    array = render_label_image(labels.array, sample_reference_look(rng, labels.array, case.contrast))
    lesions = np.zeros(array.shape, bool)
    k, j, i = (float(s) for s in labels.grid.spacing_mm[::-1])
    if protocol.lesions:
        drawn = _lesions(rng, labels, int(protocol.lesions["count"]), protocol.lesions["contrast"][case.contrast])
        array = apply_lesions(array, drawn, (k, j, i))
        flat = replace(drawn, contrasts=(1.0,) * len(drawn.centres))
        lesions = apply_lesions(np.ones(array.shape, np.float32), flat, (k, j, i)) > 1.0 + LESION_SHARE
    truth = Volume(array, labels.grid, f"{Path(case.subject).name} {case.contrast}")
    return LabelledHead(
        Subject(truth, np.isin(labels.array, BRAIN_LABELS), "32 brain structures"), labels.array, lesions
    )


@lru_cache(maxsize=2)
def head_labels(data: str, path: str, head: HeadBox) -> Volume:
    """Return a label map in canonical order (superior, anterior, right), int32, cut to the brain and a margin.

    Parameters
    ----------
    data, path : str
        Data folder; label map relative to it, without extension.
    head : HeadBox

    Raises
    ------
    InputError
        It holds no structure of the brain.
    """
    labels, _ = to_canonical(read_volume(Path(data) / f"{path}.nii.gz"))
    array = np.rint(labels.array).astype(np.int32)
    brain = np.isin(array, [number for number in BRAIN_LABELS if number not in REACHING_DOWN])
    if not brain.any():
        raise InputError(f"label map {path} holds no structure of the brain", "give FreeSurfer numbers")
    places = np.nonzero(brain)
    low, high = (np.array([float(f(p)) for p in places])[::-1] for f in (np.min, np.max))
    centre = labels.grid.ijk_to_ras((low + high) / 2)
    size = np.minimum((high - low + 1) * labels.grid.spacing_mm + 2 * head.margin_mm, head.box_mm)
    start, shape = block_of(labels.grid, centre, size)
    box = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
    return Volume(np.ascontiguousarray(array[box]), labels.grid.crop(start, shape), Path(path).name)


def _lesions(rng: np.random.Generator, labels: Volume, count: int, contrast: tuple[float, float]) -> LesionParameters:
    """Draw lesions inside white matter; relative contrasts from a range, dark ones below 0."""
    from scipy import ndimage

    white = np.isin(labels.array, WHITE_MATTER)
    depth = ndimage.distance_transform_edt(white, sampling=labels.grid.spacing_mm[::-1])
    drawn = draw_lesions(rng, depth > LESION_DEPTH_MM, count)
    low, high = (float(value) for value in contrast)
    return replace(drawn, contrasts=tuple(float(c) for c in rng.uniform(low, high, len(drawn.centres))))


def _canonical(subject: Subject) -> Subject:
    truth, order = to_canonical(subject.truth)
    return replace(subject, truth=truth, mask=order.apply(subject.mask))
