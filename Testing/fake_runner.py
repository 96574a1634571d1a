"""A stand-in for the process that enhances, standardises or compares: at once, and it can be told to fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from fake_dwi import harmonize_dwi_simply

from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.compare_regions import region_volumes
from MRHarmonizationLib.inference.curves import Curve, Series
from MRHarmonizationLib.inference.harmonize import HarmonizeRequest
from MRHarmonizationLib.inference.harmonize_files import harmonize_file
from MRHarmonizationLib.inference.provenance import Provenance, write_sidecar
from MRHarmonizationLib.inference.restore import RestoreRequest
from MRHarmonizationLib.inference.restore_files import restore_file
from MRHarmonizationLib.inference.strength import apply_strength
from MRHarmonizationLib.inference.undo import make_residual, voxel_digest
from MRHarmonizationLib.volumes.atomic import write_csv
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume


class FakeRunner:
    """A ``ProcessRunner`` without processes.

    Parameters
    ----------
    steps : int
        Looks at the process before it ends.
    error : MRHarmonizationError, optional
        What it fails with.
    afterwards : callable(command), optional
        Called when the files are written.
    """

    def __init__(
        self,
        steps: int = 3,
        error: MRHarmonizationError | None = None,
        afterwards: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        self.steps, self.error, self.afterwards = steps, error, afterwards
        self.processes: list[FakeProcess] = []

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> FakeProcess:
        self.processes.append(FakeProcess(self, list(command)))
        return self.processes[-1]


class FakeProcess:
    """A ``RunningProcess``: each look is one step."""

    def __init__(self, runner: FakeRunner, command: list[str]) -> None:
        self.command, self.killed = command, False
        self._runner, self._looks, self._error = runner, 0, runner.error

    def option(self, name: str, default: str = "") -> str:
        return self.command[self.command.index(name) + 1] if name in self.command else default

    def lines(self) -> list[str]:
        self._looks += 1
        done = self._looks / self._runner.steps
        events: list[dict[str, Any]] = [{"event": "progress", "fraction": min(done, 1.0), "message": "Working"}]
        if self._looks == self._runner.steps:
            events.append(self._outcome())
        return [json.dumps(event) for event in events]

    def _outcome(self) -> dict[str, Any]:
        try:
            if self._error is not None:
                raise self._error
            found = ANSWERS[self.command[3]](self)
        except MRHarmonizationError as error:
            self._error = error
            said = {"problem": error.problem, "remedy": error.remedy, "exit_code": error.exit_code}
            return {"event": "error", "kind": error.kind, **said}
        if self._runner.afterwards is not None:
            self._runner.afterwards(self.command)
        return {"event": "result", **found}

    def exit_code(self) -> int | None:
        if self._looks < self._runner.steps:
            return None
        return 0 if self._error is None else self._error.exit_code

    def error_output(self) -> str:
        return ""

    def kill(self) -> None:
        self.killed = True


def enhance_simply(process: FakeProcess) -> dict[str, Any]:
    """Write what the command line would: 'enhanced' is the scan with 20 % more contrast at each second slice."""
    source, target = Path(process.command[4]), Path(process.command[5])
    scan = read_volume(source)
    baseline = resample(scan, scan.grid.isotropic(float(process.option("--spacing", "1"))))
    change = np.float32(0.2) * baseline.array
    change[::2] = 0
    strength = float(process.option("--strength", "1"))
    enhanced = baseline.with_array(apply_strength(baseline.array, change, strength))
    residual = process.option("--residual")
    if residual:
        write_volume(make_residual(baseline, enhanced), residual)
    write_volume(enhanced, target)
    provenance = Provenance(
        operation="enhance",
        model_id=process.option("--model"),
        model_version="1",
        weights_sha256="0" * 64,
        library_version="0",
        parameters={"model": process.option("--model"), "strength": strength},
        input_digest=scan.digest(),
        output_digest=voxel_digest(enhanced.array),
        input_name=scan.name,
    )
    write_sidecar(provenance, target)
    return {"measurements": [], "provenance": provenance.to_dict(), "warnings": []}


def standardise(process: FakeProcess) -> dict[str, Any]:
    """Do what the command line would, here and now: the classical methods are quick."""
    words = [value for name, value in pairwise(process.command) if name == "--parameter"]
    request = HarmonizeRequest(
        method=process.option("--method"),
        reference=process.option("--reference"),
        strength=float(process.option("--strength")),
        parameters={name: float(value) for name, _, value in (word.partition("=") for word in words)},
    )
    residual, mask = process.option("--residual") or None, process.option("--mask") or None
    done = harmonize_file(process.command[4], process.command[5], request, residual, mask)
    return {"warnings": list(done.result.warnings), "provenance": done.result.provenance.to_dict()}


def restore_tiny(process: FakeProcess) -> dict[str, Any]:
    """Do what the command line would, here and now: the network of the tests is tiny."""

    def level(name: str) -> float | None:
        return float(process.option(name)) if process.option(name) else None

    request = RestoreRequest(
        denoise=float(process.option("--denoise")),
        sharpen=float(process.option("--sharpen")),
        noise_level=level("--noise-level"),
        blur_level=level("--blur-level"),
        interpolated="--interpolated" in process.command,
        model=process.option("--model"),
    )
    done = restore_file(process.command[4], process.command[5], request, process.option("--residual") or None)
    return {"warnings": list(done.result.warnings), "provenance": done.result.provenance.to_dict()}


def compare_simply(process: FakeProcess) -> dict[str, Any]:
    """Write what the command line would, by its formats: a few measurements, two curves, maps of what is asked for."""
    before, after = (read_volume(path) for path in process.command[4:6])
    out = Path(process.option("--out"))
    (out / "maps").mkdir(parents=True)
    before = resample(before, after.grid)
    images = {"before": before, "after": after}
    if process.option("--reference"):
        images["reference"] = resample(read_volume(process.option("--reference")), after.grid)
    mask = process.option("--mask")
    inside = resample(read_volume(mask), after.grid, "nearest").array > 0 if mask else after.array > 0
    summary: dict[str, Any] = {
        "images": {name: {"name": volume.name, "digest": volume.digest()} for name, volume in images.items()},
        "mask": {"name": Path(mask).stem if mask else "foreground of before", "voxels": int(np.count_nonzero(inside))},
        "notes": ["measured simply; 50 % | of “everything” is ≥ nothing"],
        "measurements": measure_simply(images, inside),
    }
    curves = [curve.to_dict() for curve in curves_simply(images, inside)]
    given = [value for name, value in pairwise(process.command) if name == "--segmentations"]
    if "--regions" in process.command or given:
        notes: list[str] = []
        labels = [read_volume(path) for path in given] or [label_simply(volume) for volume in images.values()]
        regions = region_volumes(images, labels, notes, Progress())
        assert regions is not None
        curves += [curve.to_dict() for curve in regions.curves]
        summary |= {"notes": [*summary["notes"], *notes], "regions": regions.to_dict()}
        write_csv(regions.rows, out / "regions.csv")
    (out / "compare.json").write_text(json.dumps(summary), encoding="utf-8")
    (out / "curves.json").write_text(json.dumps(curves), encoding="utf-8")
    names = f"{Path(process.command[4]).name} and {Path(process.command[5]).name}"
    (out / "report.html").write_text(f"<html><title>{names}</title></html>", encoding="utf-8")
    (out / "metrics.csv").write_text("comparison,name,value\n", encoding="utf-8")
    (out / "texture.csv").write_text("image,feature,value\n", encoding="utf-8")
    features = [
        value for option, value in zip(process.command, process.command[1:], strict=False) if option == "--maps"
    ]
    for feature in features:
        for name, volume in images.items():
            slope = np.abs(np.gradient(volume.array.astype(np.float32), axis=2))
            write_volume(volume.with_array(np.where(inside, slope, 0)), out / "maps" / f"{name}_{feature}.nrrd")
    return {"report": str(out / "report.html"), "curves": str(out / "curves.json")}


def label_simply(volume: Volume) -> Volume:
    """Name the halves of what is not dark: left and right white matter, and a little hippocampus on the left."""
    labels = np.where(volume.array > 100, 2, 0).astype(np.int16)
    right = slice(labels.shape[2] // 2, None)
    labels[:, :, right][labels[:, :, right] == 2] = 41
    labels[:3, :, :5] = 17
    return volume.with_array(labels)


def measure_simply(images: dict[str, Volume], inside: np.ndarray) -> dict[str, list[dict[str, Any]]]:
    """Measure mean differences and deviations, by the names of real metrics."""

    def said(name: str, value: float, unit: str, better: str) -> dict[str, Any]:
        voxels = int(np.count_nonzero(inside))
        return {"name": name, "value": value, "unit": unit, "better": better, "voxels": voxels, "detail": {}}

    def against(image: Volume, truth: Volume) -> list[dict[str, Any]]:
        error = float(np.mean(np.abs(image.array[inside] - truth.array[inside])))
        return [
            said("psnr", "inf" if error == 0 else 100 / error, "dB", "higher"),
            said("ssim", 1 - error / 1e4, "1", "higher"),
        ]

    found = {
        name: [said("noise", float(np.std(volume.array[inside])), "%", "lower")] for name, volume in images.items()
    }
    found["after_vs_before"] = against(images["after"], images["before"])
    if "reference" in images:
        for name in ("before", "after"):
            found[f"{name}_vs_reference"] = against(images[name], images["reference"])
    return found


def curves_simply(images: dict[str, Volume], inside: np.ndarray) -> list[Curve]:
    """Draw a histogram with one x for all images, and a spectrum with one each, as interpolated images may have."""
    edges = np.linspace(0, 700, 33)
    centres = (edges[1:] + edges[:-1]) / 2
    bars = [
        Series(name, name, centres, np.histogram(volume.array[inside], edges)[0] / np.count_nonzero(inside))
        for name, volume in images.items()
    ]
    frequency = np.linspace(0.02, 0.5, 25)
    falls = [
        Series(name, name, frequency * (1 + 0.1 * number), np.exp(-12 * frequency) / (1 + number))
        for number, name in enumerate(images)
    ]
    limit = Series("Nyquist", "limit", [0.5, 0.5], [1e-3, 1.0])
    ratio = Series("after / before", "ratio", frequency, np.full(25, 0.5))
    return [
        Curve("histogram", "Histogram", "How often.", "intensity", "1", False, "share", "1", False, tuple(bars)),
        Curve(
            "psd_radial",
            "Power spectrum",
            "How much detail of which size.",
            "frequency",
            "cycles/mm",
            False,
            "power",
            "mm",
            True,
            (*falls, limit),
        ),
        Curve("psd_ratio", "Ratio", "Where it went.", "frequency", "cycles/mm", True, "ratio", "1", True, (ratio,)),
    ]


#: What answers to which command.
ANSWERS = {
    "compare": compare_simply,
    "harmonize": standardise,
    "enhance": enhance_simply,
    "harmonize-dwi": harmonize_dwi_simply,
    "restore": restore_tiny,
}
