"""What the stand-in for processes answers to ``harmonize-dwi``: the formats of the command line, simple numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.inference.provenance import Provenance, sidecar_path
from MRHarmonizationLib.inference.undo_series import make_series_residual, series_digest
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.dwi_files import read_dwi, write_dwi
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.volume import Volume

#: Gain of everything at full strength, and the largest strength that this scan is said to bear.
GAIN, MOST_STRENGTH = 1.5, 0.8
WARNING = "strength 1 would change FA in white matter +0.0140 (limit 0.01): reduced to 0.8, the largest that holds"


def harmonize_dwi_simply(process: Any) -> dict[str, Any]:
    """Brighten every volume by the same gain; a strength above 0.8 is reduced to it."""
    source, output = Path(process.command[4]), Path(process.command[5])
    scan = read_dwi(source)
    grid = scan.grid
    spacing = process.option("--spacing")
    if spacing and spacing != "target":
        grid = grid.with_spacing([float(value) for value in spacing.split(",")])
    strength = float(process.option("--strength", "1"))
    used = min(strength, MOST_STRENGTH)
    before = np.zeros((*grid.shape, scan.n_volumes), np.float32)
    common = tuple(slice(min(a, b)) for a, b in zip(grid.shape, scan.grid.shape, strict=True))
    before[common] = scan.array[common]
    after = scan.with_array(before * np.float32(1 + used * (GAIN - 1)), grid)
    if process.option("--residual"):
        write_dwi(make_series_residual(lambda n: before[..., n], after), process.option("--residual"))
    write_dwi(after, output)
    warnings = [WARNING] if used < strength else []
    provenance = Provenance(
        operation="harmonize-dwi",
        model_id=process.option("--method"),
        model_version="1",
        weights_sha256="0" * 64,
        library_version="0",
        parameters={"method": process.option("--method"), "strength": strength, "target": process.option("--target")},
        input_digest=scan.digest(),
        output_digest=series_digest(after.array),
        input_name=scan.name,
        warnings=tuple(warnings),
    )
    record = provenance.to_dict() | {"table": table(used), "strength_used": used, "noise": {"requested": "auto"}}
    sidecar_path(output).write_text(json.dumps(record), encoding="utf-8")
    if process.option("--maps"):
        write_maps(scan.with_array(before, grid), after, Path(process.option("--maps")))
    if process.option("--report"):
        folder = Path(process.option("--report"))
        folder.mkdir()
        (folder / "report.html").write_text(f"<html><title>{source.name}</title></html>", encoding="utf-8")
        (folder / "report.csv").write_text("tissue,measure\n", encoding="utf-8")
    return {"output": str(output), "strength_used": used}


def table(strength: float) -> list[dict[str, Any]]:
    """Rows as the command line tells them: FA changes with the strength, and grey matter by more than white."""
    rows = []
    for tissue, judged, md, fa in (
        ("white matter", True, 8.0e-4, 0.45),
        ("grey matter", False, 9.0e-4, 0.15),
        ("brain", True, 9.5e-4, 0.25),
    ):
        for measure, before, change in (("MD", md, 0.01 * md * strength), ("FA", fa, -0.005 * strength)):
            rows.append(
                {
                    "tissue": tissue,
                    "measure": measure,
                    "unit": "mm²/s" if measure == "MD" else "1",
                    "voxels": 1234,
                    "before": before,
                    "after": before + change,
                    "change": change,
                    "change_percent": 100 * change / before if measure == "MD" else None,
                    "limit": ({"MD": 2.0, "FA": 0.01}[measure] if judged else None),
                    "holds": True,
                }
            )
    return rows


def write_maps(before: DwiVolume, after: DwiVolume, folder: Path) -> None:
    """Write maps that can be told from each other: b0, twice and half of it, and constants."""
    folder.mkdir()
    for side, dwi in (("before", before), ("after", after)):
        b0 = dwi.mean_b0().array
        values = {"b0": b0, "trace": b0 / 2, "fa": np.full_like(b0, 0.4), "md": np.full_like(b0, 8e-4)}
        for name, array in values.items():
            write_volume(Volume(array, dwi.grid), folder / f"{name}_{side}.nrrd")
    write_volume(Volume(np.full_like(b0, GAIN), after.grid), folder / "gain.nrrd")
    write_volume(Volume((b0 > 0).astype(np.uint8), after.grid), folder / "brain.nrrd")
