"""The image sets of the laboratory: slices of the raw images and of what each harmonizer makes of them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib import __version__
from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.cohort import Cohort, CohortImage
from MRHarmonizationLib.evaluation.harmonizers import Harmonizer
from MRHarmonizationLib.evaluation.lesion_overlap import lesion_overlap
from MRHarmonizationLib.evaluation.probe_settings import ProbeSettings
from MRHarmonizationLib.evaluation.probe_slices import SliceSet, slices_of
from MRHarmonizationLib.evaluation.tasks import Task, run_tasks
from MRHarmonizationLib.volumes.atomic import write_bytes_atomic
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.grid import Grid

#: Settings of a probe that decide which voxels it sees.
SAMPLING = ("plane", "slices", "size", "spacing_mm")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """One version of a cohort's images.

    Attributes
    ----------
    name : str
        'raw', or the harmonizer's.
    slices : SliceSet
    lesions : tuple of dict
        Rows of ``lesion_overlap`` with subject and scanner; empty for 'raw'.
    grids : tuple of Grid
        Of the raw images.
    seconds : float
        Mean time of the harmonizer per image.
    """

    name: str
    slices: SliceSet
    lesions: tuple[dict[str, Any], ...]
    grids: tuple[Grid, ...]
    seconds: float


def collect_set(
    name: str,
    cohort: Cohort,
    harmonizer: Harmonizer | None,
    settings: ProbeSettings,
    store: Path,
    identity: Mapping[str, Any],
    jobs: int = 1,
    progress: Progress | None = None,
) -> ImageSet:
    """Harmonise every image of a cohort and keep what a probe and the lesion check need of it.

    Parameters
    ----------
    name : str
    cohort : Cohort
    harmonizer : Harmonizer or None
        None for the raw images.
    settings : ProbeSettings
    store : Path
        Folder in which the slices are kept; a set found there that was made from the same files in the same way is
        not made again.
    identity : mapping
        What tells this harmonizer from another version of it (parameters, checksum of weights); JSON-ready.
    jobs : int
        Processes.
    progress : Progress, optional

    Returns
    -------
    ImageSet

    Raises
    ------
    MRHarmonizationError
        Of the first image that cannot be read, harmonised or sampled; names it.
    """
    progress = progress or Progress()
    fingerprint = _fingerprint(name, cohort, settings, identity)
    path = store / f"{name}.npz"
    kept = _kept(path, fingerprint)
    if kept is None:
        tasks = [
            Task(f"{name}: {image.name}", sample_image, (image, harmonizer, settings, number))
            for number, image in enumerate(cohort.images)
        ]
        found = {result["number"]: result for _, result in run_tasks(tasks, jobs, progress)}
        kept = [found[number] for number in range(len(cohort.images))]
        _keep(path, fingerprint, kept)
    progress.report(1.0, name)
    return _as_set(name, cohort, settings, kept)


def sample_image(
    image: CohortImage, harmonizer: Harmonizer | None, settings: ProbeSettings, number: int
) -> dict[str, Any]:
    """Return slices, grid of the raw image, lesion rows and time of one image; see :func:`collect_set`."""
    try:
        raw = read_volume(image.path)
        mask = read_volume(image.mask) if image.mask is not None else None
        started = time.perf_counter()
        shown = raw if harmonizer is None else harmonizer(image, raw)
        seconds = time.perf_counter() - started
        pixels = slices_of(shown, mask, settings)
        rows: list[dict[str, Any]] = []
        if harmonizer is not None and image.lesion is not None:
            rows = lesion_overlap(raw, shown, read_volume(image.lesion))
    except MRHarmonizationError as error:
        raise type(error)(f"{image.name} ({image.path}): {error.problem}", error.remedy) from error
    return {"number": number, "pixels": pixels, "grid": raw.grid.to_dict(), "lesions": rows, "seconds": seconds}


def _as_set(name: str, cohort: Cohort, settings: ProbeSettings, found: Sequence[Mapping[str, Any]]) -> ImageSet:
    count = settings.slices
    classes = {scanner: number for number, scanner in enumerate(cohort.scanners)}
    slices = SliceSet(
        np.concatenate([result["pixels"] for result in found]),
        np.repeat(np.arange(len(found)), count),
        np.repeat([classes[image.scanner] for image in cohort.images], count),
        np.repeat([image.subject for image in cohort.images], count),
    )
    rows = tuple(
        {"subject": image.subject, "scanner": image.scanner, "harmonizer": name, **row}
        for image, result in zip(cohort.images, found, strict=True)
        for row in result["lesions"]
    )
    grids = tuple(Grid.from_dict(result["grid"]) for result in found)
    return ImageSet(name, slices, rows, grids, float(np.mean([result["seconds"] for result in found])))


def digest_of(values: Any) -> str:
    """Return a short digest of JSON-ready values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _fingerprint(name: str, cohort: Cohort, settings: ProbeSettings, identity: Mapping[str, Any]) -> str:
    """Return a digest of all that decides the slices: files (path, size, time), sampling and harmonizer."""
    files = [_file_state(f) for i in cohort.images for f in (i.path, i.mask, i.lesion, i.harmonised)]
    sampling = {key: getattr(settings, key) for key in SAMPLING}
    return digest_of([name, __version__, files, sampling, dict(identity)])


def _file_state(path: Path | None) -> list[Any]:
    if path is None:
        return []
    state = path.stat()
    return [str(path), state.st_size, state.st_mtime_ns]


def _keep(path: Path, fingerprint: str, found: Iterable[Mapping[str, Any]]) -> None:
    import io

    rows = list(found)
    record = [{key: row[key] for key in ("number", "grid", "lesions", "seconds")} for row in rows]
    stream = io.BytesIO()
    np.savez(
        stream,
        fingerprint=np.array(fingerprint),
        record=np.array(json.dumps(record)),
        pixels=np.stack([row["pixels"] for row in rows]),
    )
    write_bytes_atomic(stream.getvalue(), path)


def _kept(path: Path, fingerprint: str) -> list[dict[str, Any]] | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["fingerprint"]) != fingerprint:
                return None
            record = json.loads(str(stored["record"]))
            pixels = stored["pixels"]
    except (OSError, ValueError, KeyError):  # a file of another make: do the work again
        return None
    return [{**row, "pixels": plane} for row, plane in zip(record, pixels, strict=True)]
