"""The 32 structures in the images of the low- to high-field protocol: found by the model, or given by the user."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.brain_regions import REGIONS, classes_of, dice_per_region, region_volumes_mm3
from MRHarmonizationLib.core.errors import GridMismatchError, InputError, ModelNotFoundError
from MRHarmonizationLib.evaluation.cases import rounded
from MRHarmonizationLib.evaluation.lohires_cases import ProtocolKey, prepared_scan
from MRHarmonizationLib.evaluation.lohires_methods import LABEL_MAP, Contest
from MRHarmonizationLib.evaluation.lohires_protocol import LohiresProtocol
from MRHarmonizationLib.evaluation.lohires_rows import image_path
from MRHarmonizationLib.evaluation.lowfield_protocol import Case
from MRHarmonizationLib.volumes.atomic import digest_file
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.grid import same_grid
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.store import get_model

#: Endings of the user's label maps, in the order they are looked for.
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
#: Grids of images and their label maps may differ by this much.
GRID_TOLERANCE_MM = 0.01


@dataclass(frozen=True)
class Segmenter:
    """What finds the structures.

    Attributes
    ----------
    name : str
        For the report.
    model : str
        Model id; '' for the user's label maps.
    folder : str
        Of the user's label maps; '' for the model.
    marks : mapping
        Case → method → digest of what decides its label map.
    """

    name: str
    model: str
    folder: str
    marks: Mapping[str, Mapping[str, str]]


def choose_segmenter(protocol: LohiresProtocol, cases: Sequence[Case], entered: Contest) -> Segmenter:
    """Return the user's label maps, or the model.

    The user's file for a case and a method is ``DIR/CASE/METHOD`` with one of :data:`ENDINGS`, named as the images in
    the report's folder ``images``; 'truth' is one of the methods.

    Raises
    ------
    InputError
        Label maps are missing: the first one is named.
    ModelNotFoundError
        The model is not installed.
    """
    heads = [case for case in cases if protocol.is_head(case)]
    names = [method.name for method in entered.methods]
    if not protocol.segmentations:
        digest = get_model(protocol.segmentation).weights.sha256
        marks = {case.id: dict.fromkeys(names, digest) for case in heads}
        return Segmenter(f"model {protocol.segmentation} ({digest[:12]})", protocol.segmentation, "", marks)
    folder = Path(protocol.segmentations).expanduser()
    found = {case.id: {name: own_label_map(folder, case.id, name) for name in names} for case in heads}
    missing = [f"{case}/{name}" for case, files in found.items() for name, path in files.items() if path is None]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(heads) * len(names)} label maps are not in '{folder}', the first is "
            f"'{missing[0]}.nii.gz'",
            "segment the images of the same names in the folder 'images' of the report, which is made without "
            "--segmentations",
        )
    marks = {case: {n: digest_file(path) for n, path in files.items() if path} for case, files in found.items()}
    return Segmenter(f"label maps in {folder.name}", "", str(folder), marks)


def own_label_map(folder: Path, case: str, method: str) -> Path | None:
    """Return the user's label map of an image, None where there is none."""
    paths = (folder / case / f"{method}{ending}" for ending in ENDINGS)
    return next((path for path in paths if path.is_file()), None)


def region_fingerprints(segmenter: Segmenter, images: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Return case → method → digest of what decides its volumes: the image and what segments it; and the label map.

    Parameters
    ----------
    segmenter : Segmenter
    images : mapping
        Case → method → fingerprint of the image.
    """
    wanted: dict[str, dict[str, str]] = {}
    for case, marks in segmenter.marks.items():
        wanted[case] = {
            name: hashlib.sha256(json.dumps([images[case][name], segmenter.model, mark]).encode()).hexdigest()[:16]
            for name, mark in marks.items()
        }
        wanted[case][LABEL_MAP] = next(iter(images[case].values()))
    return wanted


def segment_task(
    case: Case, protocol: LohiresProtocol, data: str, out: str, segmenter: Segmenter, method: str, fingerprint: str
) -> list[dict[str, Any]]:
    """Segment one kept image and measure the structures.

    Returns
    -------
    list of dict
        The one row: ``volume_NUMBER`` in mm³ and ``dice_NUMBER`` against the true label map, of all 32 structures; an
        empty text where a number is not defined.

    Raises
    ------
    InputError, GridMismatchError
        A label map of the user's is no label map, or lies on another grid than the image.
    """
    prepared = prepared_scan(case, ProtocolKey(protocol), data)
    grid = prepared.subject.truth.grid
    if prepared.labels is None:
        raise InputError(f"case {case.id} has no known structures", "segment heads made of label maps")
    if method == LABEL_MAP:
        labels = prepared.labels
    elif segmenter.model:
        labels = _by_model(image_path(out, case.id, method), segmenter.model)
    else:
        path = own_label_map(Path(segmenter.folder), case.id, method)
        if path is None:
            raise InputError(f"label map '{case.id}/{method}' is gone from '{segmenter.folder}'", "put it back")
        given = read_own_labels(path)
        if not same_grid(given.grid, grid, GRID_TOLERANCE_MM):
            raise GridMismatchError(
                f"label map '{path}' has {given.grid.size_ijk} voxels of {given.grid.spacing_mm.tolist()} mm, its "
                f"image {grid.size_ijk} of {grid.spacing_mm.tolist()} mm",
                "segment the image as it is, or resample the labels on it (nearest)",
            )
        labels = given.array
    volumes = region_volumes_mm3(labels, grid.voxel_volume_mm3)
    dice = dice_per_region(labels, prepared.labels)
    place = {"case": case.id, "subject": case.subject, "snr": case.snr, "method": method}
    measured: dict[str, Any] = {f"volume_{r.number}": round(volumes[r.number], 3) for r in REGIONS}
    measured |= {f"dice_{r.number}": _text(dice[r.number]) for r in REGIONS}
    return [{**place, **measured, "fingerprint": fingerprint}]


def read_own_labels(path: Path) -> Volume:
    """Return a label map of the user's with whole numbers; raise InputError where it holds none of the structures."""
    volume = read_volume(path)
    whole = np.rint(volume.array)
    if not np.isfinite(whole).all() or np.abs(volume.array - whole).max() > 1e-3:
        raise InputError(f"'{path}' holds values that are no whole numbers", "give FreeSurfer numbers")
    labels = whole.astype(np.int32)
    if not classes_of(labels).any():
        raise InputError(
            f"'{path}' holds none of the 32 structures; its labels are {np.unique(labels)[:8].tolist()} …",
            "give FreeSurfer numbers: 2 and 41 for cerebral white matter, 17 and 53 for the hippocampi",
        )
    return volume.with_array(labels)


def _by_model(path: Path, model: str) -> np.ndarray:
    from MRHarmonizationLib.inference.segment import SegmentRequest, segment

    image = read_volume(path)
    scan = image.with_array(image.array.astype(np.float32))
    found = segment(SegmentRequest(scan, model, device="cpu", threads=1)).labels
    return np.asarray(found.array, np.int32)


def _text(value: float) -> float | str:
    known = rounded(value)
    return "" if known is None else known


def missing_model_words(problem: ModelNotFoundError, model: str) -> str:
    """Return what the report says where the structures cannot be found for want of the model."""
    return (
        f"Not measured: {problem.problem}. Train it (mrharmonize train {model} --out runs/{model}) or add it with "
        "mrharmonize import-weights, or segment the images in the folder 'images' with your own tool and give the "
        "folder of the label maps with --segmentations."
    )


def volumes_of(row: Mapping[str, Any]) -> dict[int, float]:
    """Return FreeSurfer number → volume in mm³ of a row of :func:`segment_task`."""
    return {r.number: float(row[f"volume_{r.number}"]) for r in REGIONS}


def dice_of(row: Mapping[str, Any]) -> dict[int, float]:
    """Return FreeSurfer number → Dice of a row of :func:`segment_task`; NaN where neither map has the structure."""
    return {r.number: float(value) if (value := row[f"dice_{r.number}"]) != "" else float("nan") for r in REGIONS}
