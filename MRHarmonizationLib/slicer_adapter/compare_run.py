"""One comparison in a process of its own: volumes in, numbers, curves, maps and the report's files out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from MRHarmonizationLib.inference.curves import Curve
from MRHarmonizationLib.inference.provenance import sidecar_path
from MRHarmonizationLib.slicer_adapter.jobs import ProcessRunner, python_executable
from MRHarmonizationLib.slicer_adapter.process_run import ProcessRun
from MRHarmonizationLib.volumes.atomic import write_json_atomic
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.volume import Volume

REPORT, METRICS_CSV, COMPARISON, CURVES, TEXTURE_CSV = (
    "report.html",
    "metrics.csv",
    "compare.json",
    "curves.json",
    "texture.csv",
)
#: What a comparison promises to write; all of it is offered for export.
REPORT_FILES = (REPORT, METRICS_CSV, COMPARISON, CURVES, TEXTURE_CSV)
#: Written too where brain regions were measured.
REGIONS_CSV = "regions.csv"
DEFAULT_WINDOW = 5
_LONGEST_FILE_STEM = 80


@dataclass(frozen=True)
class CompareRequest:
    """What to compare, in one frame; the command line checks it.

    Attributes
    ----------
    before, after : Volume
    reference, mask : Volume or None
    features : tuple of str
        Texture features to map.
    window : int
        Side of the maps' window, voxels.
    extra_metrics : tuple of str
        Slow metrics to measure as well; "all" for every one.
    regions : bool
        Whether the volumes of brain structures are measured, found by the network.
    segmentations : tuple of Volume
        Label maps of before, after and the reference to measure instead, each in its image's place.
    records : mapping of str to mapping
        What is known of the making of 'before', 'after', 'reference'; shown in the report.
    """

    before: Volume
    after: Volume
    reference: Volume | None = None
    mask: Volume | None = None
    features: tuple[str, ...] = ()
    window: int = DEFAULT_WINDOW
    extra_metrics: tuple[str, ...] = ()
    regions: bool = False
    segmentations: tuple[Volume, ...] = ()
    records: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """What a run gave.

    Attributes
    ----------
    summary : mapping
        What ``compare.json`` holds: ``measurements``, ``notes``, ``mask``, ``regions`` …
    curves : tuple of Curve
    maps : dict of str to Volume
        ``before_<feature>``, ``after_<feature>``, ``reference_<feature>``, in the frame of the volumes that went in.
    files : dict of str to bytes
        The report's files by name, :data:`REPORT_FILES` and :data:`REGIONS_CSV` where there is one.
    seconds : float
    """

    summary: Mapping[str, Any]
    curves: tuple[Curve, ...]
    maps: dict[str, Volume] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the images, and what a reader must know."""
        return tuple(self.summary.get("notes", ()))


def compare_command(request: CompareRequest, paths: Mapping[str, Path], out: Path) -> list[str]:
    """Return the command line of a comparison.

    Parameters
    ----------
    request : CompareRequest
    paths : mapping of str to path
        Where the volumes lie, by 'before', 'after', 'reference', 'mask', and the label maps by 'labels0', 'labels1' ….
    out : path
        Folder for everything that is written.
    """
    command = [python_executable(), "-m", "MRHarmonizationLib", "compare", str(paths["before"]), str(paths["after"])]
    command += ["--out", str(out)]
    for role in ("reference", "mask"):
        if role in paths:
            command += [f"--{role}", str(paths[role])]
    for feature in request.features:
        command += ["--maps", feature]
    if request.features:
        command += ["--window", str(int(request.window))]
    for metric in request.extra_metrics:
        command += ["--metric", metric]
    if request.regions:
        command += ["--regions"]
    for number in range(len(request.segmentations)):
        command += ["--segmentations", str(paths[f"labels{number}"])]
    return [*command, "--jsonl"]


class CompareRun(ProcessRun[Comparison]):
    """A started comparison.

    Parameters
    ----------
    request : CompareRequest
    runner, on_progress, folder
        As for :class:`~MRHarmonizationLib.slicer_adapter.process_run.ProcessRun`.

    Raises
    ------
    OutputError
        If the volumes cannot be written to the temporary folder, or the process not be started.
    """

    def __init__(
        self,
        request: CompareRequest,
        runner: ProcessRunner,
        on_progress: Callable[[float, str], None] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.request = request
        super().__init__(runner, on_progress, folder)

    def _prepare(self, folder: Path) -> tuple[list[str], list[Path]]:
        request, out = self.request, folder / "out"
        given = {
            "before": request.before,
            "after": request.after,
            "reference": request.reference,
            "mask": request.mask,
            **{f"labels{number}": labels for number, labels in enumerate(request.segmentations)},
        }
        paths: dict[str, Path] = {}
        for role, volume in given.items():
            if volume is not None:
                place = folder / role  # each in a folder of its own: two volumes may have one name
                place.mkdir()
                paths[role] = write_volume(volume, place / f"{file_stem(volume.name, role)}.nrrd")
                if self.request.records.get(role):
                    write_json_atomic(dict(self.request.records[role]), sidecar_path(paths[role]))
        return compare_command(request, paths, out), [out / name for name in REPORT_FILES]

    def _read(self, folder: Path) -> Comparison:
        out = folder / "out"
        promised = [*REPORT_FILES, *([REGIONS_CSV] if (out / REGIONS_CSV).is_file() else [])]
        files = {name: (out / name).read_bytes() for name in promised}
        summary = json.loads(files[COMPARISON])
        curves = tuple(Curve.from_dict(values) for values in json.loads(files[CURVES]))
        maps = {path.stem: read_volume(path) for path in sorted((out / "maps").glob("*.nrrd"))}
        return Comparison(summary, curves, maps, files, self.elapsed_s)


def file_stem(name: str, otherwise: str) -> str:
    """Return a name as the stem of a file on any system; the report shows it.

    >>> file_stem("T1: scan/2", "before"), file_stem("...", "before")
    ('T1_ scan_2', 'before')
    """
    plain = re.sub(r'[\x00-\x1f<>:"/\\|?*.]', "_", name).strip("_ ")[:_LONGEST_FILE_STEM].strip()
    return plain or otherwise
