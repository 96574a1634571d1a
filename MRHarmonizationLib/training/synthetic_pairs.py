"""Pairs without a second acquisition: good scans, and what a degrader makes of them, in the folders of prepared pairs.

The two scans of such a pair lie on each other voxel by voxel, which acquired pairs never do.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.checks import check_volume_array
from MRHarmonizationLib.core.errors import InputError, OutputError, ParameterError
from MRHarmonizationLib.core.intensity import fit_intensity_scale
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.degradations.base import DEGRADATIONS
from MRHarmonizationLib.degradations.coarse_matrix import (
    LARGEST_FACTOR,
    CoarseMatrix,
    sample_coarse_matrix,
)
from MRHarmonizationLib.training.pair_manifest import (
    FORMAT,
    HIGH,
    LOW,
    MANIFEST,
    RECORD,
    TRAIN,
    VALID,
    VERSION,
)
from MRHarmonizationLib.training.pair_names import named_scans
from MRHarmonizationLib.training.recipe import Recipe
from MRHarmonizationLib.training.restore_samples import draw_truth, is_thick
from MRHarmonizationLib.training.samples import load_sources
from MRHarmonizationLib.volumes.files import (
    check_output_path,
    digest_file,
    read_volume,
    write_json_atomic,
    write_volume,
)
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.staging import Staging
from MRHarmonizationLib.volumes.volume import Volume

#: Makes a scan worse: (scan, seed) → scan of lower quality, the same for the same seed.
Degrade = Callable[[Volume, int], Volume]
#: What the names of learned degraders start with, and the levels drawn for them: noise of 1 to 10 % of the range; blur
#: about that of half the matrix.
LEARNED = "diffusion-"
LEVELS = {"noise": (0.1, 1.0), "blur": (0.4, 0.6)}
#: Slices of a block that a recipe's anatomy is cut into: many short blocks show more anatomy than few long ones.
SLICES = 24
#: Bytes per voxel that a pair may take on disk.
WRITTEN_BYTES = 9
FOLDER = "pairs"


@dataclass(frozen=True)
class SyntheticPairs:
    """What was made.

    Attributes
    ----------
    manifest : Path
    entries : tuple of dict
        One per pair, as in the manifest.
    left_out : tuple of str
        Scans that could not be used, and why.
    """

    manifest: Path
    entries: tuple[dict[str, Any], ...]
    left_out: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return what a person wants to know."""
        return [f"synthesised: {len(self.entries)} pairs", f"manifest: {self.manifest}"]


@dataclass(frozen=True)
class GoodScans:
    """Scans to be degraded, one by one.

    Attributes
    ----------
    names : tuple of str
        Unlike each other; folders are called by them.
    read : callable
        Number → Volume.
    inputs : tuple of str
        What tells each from others: digests of files, or of recipe and number.
    origin : tuple of dict
        Files and licences, for cards.
    left_out : tuple of str
    """

    names: tuple[str, ...]
    read: Callable[[int], Volume]
    inputs: tuple[str, ...]
    origin: tuple[dict[str, Any], ...]
    left_out: tuple[str, ...] = ()


def scans_of_folder(folder: Path) -> GoodScans:
    """Return the scans of a folder: image files, DICOM folders, or one folder per subject.

    Raises
    ------
    InputError
        There are none.
    """
    found, unusable = named_scans(folder, None)
    if not found:
        raise InputError(f"{folder} holds no scans", "name a folder with images")
    paths = [scan.path for scan in found]
    names = tuple(f"{scan.key}-{number:03d}" for number, scan in enumerate(found))
    inputs = tuple(digest_file(p) if p.is_file() else read_volume(p).digest() for p in paths)
    origin = {"files": [path.name for path in paths], "licence": "scans given by the user"}
    left = tuple(f"{name}: {reason}" for name, reason in unusable)
    return GoodScans(names, lambda number: read_volume(paths[number]), inputs, (origin,), left)


def scans_of_recipe(recipe: Recipe, data: Path, count: int) -> GoodScans:
    """Return blocks of a recipe's anatomy, as it draws them for its own simulations.

    Parameters
    ----------
    recipe : Recipe
        Of a restorer, with sources of its own.
    data : Path
    count : int

    Raises
    ------
    ParameterError
        The recipe learns from pairs; fewer than one scan.
    InputError
        Files are missing.
    """
    if recipe.is_prepared or count < 1:
        raise ParameterError(f"{count} scans of recipe '{recipe.id}'", "ask for 1 or more, of a recipe with images")
    anatomies = load_sources(recipe.sources, data)

    def read(number: int) -> Volume:
        rng = np.random.default_rng((recipe.seed, 2, number))
        truth, _, spacing = draw_truth(rng, anatomies, recipe.block)
        if not is_thick(spacing):  # planes of any direction
            truth = np.ascontiguousarray(np.moveaxis(truth, int(rng.integers(3)), 0))
        start = int(rng.integers(max(len(truth) - SLICES, 0) + 1))
        cut = np.ascontiguousarray(truth[start : start + SLICES])
        # slices lie across the last axis, also of cubes: the largest spacing, or the last of equal ones
        return Volume(cut, Grid.from_parts(cut.shape, spacing[::-1]))

    names = tuple(f"block-{number:03d}" for number in range(count))
    inputs = tuple(f"{recipe.digest}/{number}" for number in range(count))
    origin = tuple({"files": list(s.files), "licence": s.licence} for s in recipe.sources)
    return GoodScans(names, read, inputs, origin)


def degrader_of(
    kind: str,
    levels: tuple[float, float] | None = None,
    steps: int | None = None,
    model: str = "",
    ringing: tuple[float, float] | None = None,
    coarser: float = 1.0,
) -> Degrade:
    """Return a function that degrades: a simulation of ``degradations/``, or a learned degrader.

    What comes out on another grid is brought back to that of the scan by cubic splines.

    Parameters
    ----------
    kind : str
        Name of a degradation, or 'diffusion-noise', 'diffusion-blur'.
    levels : (low, high), optional
        Range of the level of a learned degrader, whose logarithm is uniform; :data:`LEVELS` if omitted.
    steps : int, optional
        Of its sampler.
    model : str
        Id of its model; the one of its kind if empty.
    ringing : (low, high), optional
        Range of the ringing of learned blur, 0 to 1; of every sort if omitted.
    coarser : float
        How many times larger pixels the degraded planes are stored with, with the receiver's noise of such a scan,
        before cubic splines bring them back. A degraded image on its old grid still holds traces of detail that no fast
        scan has, and a network learns to amplify those.

    Raises
    ------
    ParameterError
        Unknown kind, or options that it has no use for.
    """
    if not 1.0 <= coarser <= LARGEST_FACTOR:
        raise ParameterError(f"pixels {coarser:g} times as large", f"give a factor from 1 to {LARGEST_FACTOR:g}")
    if coarser > 1.0:
        fine = degrader_of(kind, levels, steps, model, ringing)
        return lambda volume, seed: stored_coarser(fine(volume, seed), coarser, seed)
    if not kind.startswith(LEARNED):
        if levels is not None or steps is not None or model or ringing is not None:
            raise ParameterError(f"kind '{kind}' has no use for levels, steps, ringing or a model", "leave them out")
        degradation = DEGRADATIONS.get(kind)

        def simulate(volume: Volume, seed: int) -> Volume:
            degraded = degradation.apply(volume, degradation.sample(np.random.default_rng(seed), volume))
            return degraded if same_grid(degraded.grid, volume.grid) else resample(degraded, volume.grid, "cubic")

        return simulate
    from MRHarmonizationLib.inference.latent_degrader import LatentDegradeRequest, degrade_scan

    what = kind.removeprefix(LEARNED)
    low, high = levels or LEVELS.get(what, (0.0, 1.0))
    options: dict[str, Any] = {"model": model, **({} if steps is None else {"steps": steps})}
    for level, ring in zip((low, high), ringing or (None, None), strict=True):
        LatentDegradeRequest(what, level, ringing=ring, **options)  # refuses what is wrong before the work begins
    if not 0.0 < low <= high:
        raise ParameterError(f"levels are {low} to {high}", "give two numbers above 0, the lower one first")
    if ringing is not None and ringing[0] > ringing[1]:
        raise ParameterError(f"ringing is {ringing[0]} to {ringing[1]}", "give the lower number first")

    def degrade(volume: Volume, seed: int) -> Volume:
        rng = np.random.default_rng(seed)
        level = float(np.exp(rng.uniform(np.log(low), np.log(high))))  # weak degradations are as frequent as strong
        ring = None if ringing is None else float(rng.uniform(*ringing))
        return degrade_scan(volume, LatentDegradeRequest(what, level, seed, ringing=ring, **options)).volume

    return degrade


def stored_coarser(volume: Volume, factor: float, seed: int) -> Volume:
    """Return a scan as a smaller matrix within its planes holds it, brought back to its grid by cubic splines, float32.

    Parameters
    ----------
    volume : Volume
    factor : float
        How many times larger pixels become.
    seed : int
        Of the receiver's noise and its strength, drawn as for 'coarse-matrix'.

    Raises
    ------
    InputError
        The planes are too small.
    """
    axis = 2 - volume.grid.thick_axis
    drawn = sample_coarse_matrix(np.random.default_rng((seed, 3)), axis)
    k, j, i = (1.0 if a == axis else factor for a in range(3))
    coarse = CoarseMatrix.apply(volume, replace(drawn, factors=(k, j, i), taper=0.0))
    return resample(coarse, volume.grid, "cubic")


def make_synthetic_pairs(
    scans: GoodScans, degrade: Degrade, kind: str, out: Path, seed: int = 0, progress: Progress | None = None
) -> SyntheticPairs:
    """Write a folder of pairs that ``train --synthetic`` reads; started again, it goes on where it stopped.

    Parameters
    ----------
    scans : GoodScans
    degrade : callable
        See :data:`Degrade` and :func:`degrader_of`.
    kind : str
        What it does, for the manifest.
    out : Path
        Made if needed.
    seed : int
        Each scan is degraded with a seed drawn from it and the scan's name.
    progress : Progress, optional

    Raises
    ------
    InputError
        Not one scan can be used.
    OutputError
        A file cannot be written; all that was finished before stays.
    """
    progress = progress or Progress()
    try:
        (out / FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make folder {out}: {error.strerror or error}", "choose another folder") from error
    entries: list[dict[str, Any]] = []
    left_out = list(scans.left_out)

    def write_manifest(complete: bool) -> Path:
        values = {
            "format": FORMAT,
            "version": VERSION,
            "complete": complete,
            "unpaired": False,
            "synthetic": {"kind": kind, "seed": seed, "origin": list(scans.origin)},
            "pairs": entries,
            "rejected": [{"name": text} for text in left_out],
        }
        return write_json_atomic(json.loads(json.dumps(values)), out / MANIFEST)

    write_manifest(False)
    for number, name in enumerate(scans.names):
        progress.report(number / len(scans.names), f"{name} ({number + 1} of {len(scans.names)})")
        progress.check()
        inputs = {"scan": scans.inputs[number], "kind": kind, "seed": zlib.crc32(f"{seed}/{name}".encode())}
        folder = out / FOLDER / name
        try:
            record = _made_before(folder, inputs) or _make(folder, scans.read(number), degrade, inputs)
        except InputError as error:
            left_out.append(f"{name}: {error.problem}")
            continue
        entries.append({**record, "split": TRAIN})
    if not entries:
        raise InputError(f"none of {len(left_out)} scans can be used; {left_out[0]}", "choose other scans")
    progress.report(1.0, "done")
    return SyntheticPairs(write_manifest(True), tuple(entries), tuple(left_out))


def _made_before(folder: Path, inputs: dict[str, Any]) -> dict[str, Any] | None:
    """Return the record of an earlier run, if it was made of the same and its files are still there."""
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        same = record["inputs"] == inputs and all(
            digest_file(folder / name) == file["sha256"] for name, file in record["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError, InputError):
        return None
    return record if same else None


def _make(folder: Path, scan: Volume, degrade: Degrade, inputs: dict[str, Any]) -> dict[str, Any]:
    check_volume_array(scan.array, f"scan '{folder.name}'")
    high = scan.with_array(scan.array.astype(np.float32))
    low = degrade(high, int(inputs["seed"]))
    scale = fit_intensity_scale(low.array)
    made = dict(_files(low, high, scale.normalise))
    folder.mkdir(parents=True, exist_ok=True)
    check_output_path(folder / RECORD, WRITTEN_BYTES * high.array.size)
    with Staging() as staging:
        files = {}
        for name, volume in made.items():
            staged = write_volume(volume, staging.place(folder / name))
            files[name] = {"sha256": digest_file(staged), "bytes": staged.stat().st_size}
        record = {
            "kind": "pair",
            "folder": f"{FOLDER}/{folder.name}",
            "subject": folder.name,
            "contrast": "",
            "inputs": inputs,
            "files": files,
            "acquired_grid": high.grid.to_dict(),
            "intensity": {LOW: scale.to_dict(), HIGH: scale.to_dict()},
        }
        record = json.loads(json.dumps(record))
        write_json_atomic(record, staging.place(folder / RECORD))  # last: whoever finds it finds all
    return record


def _files(low: Volume, high: Volume, normalise: Callable[[np.ndarray], np.ndarray]) -> Iterator[tuple[str, Volume]]:
    """Yield the files of a pair: both scans on the scale of the degraded one, and where the good one is known."""
    yield LOW, high.with_array(normalise(low.array))
    yield HIGH, high.with_array(normalise(high.array))
    yield VALID, high.with_array(np.ones(high.array.shape, np.uint8))
