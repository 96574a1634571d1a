"""What diffusion scans are to look like: statistics of the unweighted brain over a few target scans."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.diffusion_masks import brain_mask
from MRHarmonizationLib.core.errors import GridMismatchError, InputError, ParameterError
from MRHarmonizationLib.volumes.atomic import write_json_atomic
from MRHarmonizationLib.volumes.dwi import DwiVolume

FORMAT = "MRHarmonization diffusion target"
FORMAT_VERSION = 1
#: Percentiles kept of the unweighted brain.
PERCENTILES = tuple(float(p) for p in range(101))
#: Fewest voxels of a brain mask.
LEAST_VOXELS = 200
#: Where the shipped targets lie.
TARGET_FOLDER = Path(__file__).with_name("dwi_targets")


@dataclass(frozen=True)
class DwiTarget:
    """Statistics of target scans.

    Attributes
    ----------
    id, title : str
    b0_quantiles : tuple of float
        Values of the brain in the mean unweighted image at each percent, 0 to 100, averaged over the scans.
    shells_s_per_mm2 : tuple of int
        Of the first scan.
    cases : int
        Scans that were averaged.
    source : str
        Where they come from, and their licence.
    """

    id: str
    title: str
    b0_quantiles: tuple[float, ...]
    shells_s_per_mm2: tuple[int, ...]
    cases: int
    source: str = ""

    def __post_init__(self) -> None:
        quantiles = np.asarray(self.b0_quantiles, float)
        if quantiles.shape != (len(PERCENTILES),) or not np.all(np.isfinite(quantiles)):
            raise InputError(f"target '{self.id}' has {quantiles.size} quantiles", f"give {len(PERCENTILES)} numbers")
        if np.any(np.diff(quantiles) < 0) or not quantiles[50] > 0:
            raise InputError(f"quantiles of target '{self.id}' do not rise from 0", "measure it again")

    @property
    def median_b0(self) -> float:
        """Median of the unweighted brain, in the target's units."""
        return self.b0_quantiles[50]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        values = asdict(self)
        values.update(b0_quantiles=list(self.b0_quantiles), shells_s_per_mm2=list(self.shells_s_per_mm2))
        return {"format": FORMAT, "version": FORMAT_VERSION, **values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DwiTarget:
        """Build a target from :meth:`to_dict`; raises InputError for anything else."""
        names = [entry.name for entry in fields(cls)]
        if not isinstance(values, Mapping) or values.get("format") != FORMAT or any(n not in values for n in names):
            raise InputError("the values are no target of diffusion scans", "use a file written by save_target")
        if values.get("version") != FORMAT_VERSION:
            raise InputError(f"the target has version {values.get('version')}, expected {FORMAT_VERSION}", "measure it")
        known = {name: values[name] for name in names}
        known["b0_quantiles"] = tuple(float(v) for v in values["b0_quantiles"])
        known["shells_s_per_mm2"] = tuple(int(v) for v in values["shells_s_per_mm2"])
        return cls(**known)


def checked_mask(dwi: DwiVolume, mask: np.ndarray | None) -> np.ndarray:
    """Return a brain mask (K, J, I) that fits a scan: the given one, or the one found in its unweighted image.

    Raises
    ------
    GridMismatchError
        A mask of another shape.
    InputError
        Too few voxels, or no brain can be found.
    """
    if mask is None:
        found = brain_mask(dwi.mean_b0().array)
    else:
        found = np.asarray(mask) != 0
        if found.shape != dwi.grid.shape:
            raise GridMismatchError(
                f"mask of shape {found.shape} for a scan of {dwi.grid.shape}", "resample the mask on the scan"
            )
    if np.count_nonzero(found) < LEAST_VOXELS:
        raise InputError(
            f"the brain mask has {int(np.count_nonzero(found))} voxels, at least {LEAST_VOXELS} are needed",
            "give a mask of the brain" if mask is None else "give a larger mask",
        )
    return np.asarray(found, bool)


def b0_quantiles(dwi: DwiVolume, mask: np.ndarray) -> np.ndarray:
    """Return the mean unweighted image's quantiles at every percent inside a mask; raises InputError if all are 0."""
    quantiles = np.percentile(dwi.mean_b0().array[mask], PERCENTILES)
    if not (np.all(np.isfinite(quantiles)) and quantiles[50] > 0):
        raise InputError(
            f"the median of the unweighted brain of '{dwi.name}' is {quantiles[50]:g}; expected a positive number",
            "give the magnitude images and a mask of the brain",
        )
    return np.maximum(quantiles, 0.0)


def target_of_scans(
    scans: Sequence[DwiVolume],
    masks: Sequence[np.ndarray | None] | None = None,
    name: str = "own",
    title: str = "",
    source: str = "",
) -> DwiTarget:
    """Measure target scans.

    Parameters
    ----------
    scans : sequence of DwiVolume
    masks : sequence of ndarray (K, J, I) or None, optional
        Brain masks; found in the scans where missing.
    name, title, source : str

    Raises
    ------
    InputError
        No scan, or one without a brain.
    ParameterError
        Not one mask per scan.
    """
    if not scans:
        raise InputError("no target scan was given", "give at least one")
    given = list(masks) if masks is not None else [None] * len(scans)
    if len(given) != len(scans):
        raise ParameterError(f"{len(given)} masks for {len(scans)} scans", "give one mask per scan, or None")
    found = [b0_quantiles(scan, checked_mask(scan, mask)) for scan, mask in zip(scans, given, strict=True)]
    mean = np.mean(found, axis=0)
    shells = tuple(scans[0].shells())
    return DwiTarget(name, title or name, tuple(float(v) for v in mean), shells, len(scans), source)


def save_target(target: DwiTarget, path: str | os.PathLike[str]) -> Path:
    """Write a target as JSON and return where; raises OutputError."""
    return write_json_atomic(target.to_dict(), Path(path))


def shipped_targets() -> tuple[str, ...]:
    """Return the ids of the targets that come with the library."""
    return tuple(sorted(path.stem for path in TARGET_FOLDER.glob("*.json")))


def load_target(name: str | os.PathLike[str]) -> DwiTarget:
    """Return a shipped target by its id, or one from a file.

    Raises
    ------
    ParameterError
        No shipped target of that id, and no such file.
    InputError
        The file is no target.
    """
    text = os.fspath(name)
    path = Path(text).expanduser() if text.endswith(".json") else TARGET_FOLDER / f"{text}.json"
    if not text.endswith(".json") and text not in shipped_targets():
        raise ParameterError(
            f"unknown target '{text}'", f"choose one of: {', '.join(shipped_targets())}, or the path of a .json file"
        )
    try:
        return DwiTarget.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise InputError(f"{path}: {error.problem}", error.remedy) from None
        raise InputError(f"target {path} cannot be read ({error})", "check the path") from error
