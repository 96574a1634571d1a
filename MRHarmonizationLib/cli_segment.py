"""The command ``mrharmonize segment``: translates words into a request, nothing more.

Whatever it needs is imported inside it, so that ``--help`` and mistakes answer at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from MRHarmonizationLib.cli_output import door


def register(app: typer.Typer, epilog: str) -> None:
    """Add the command to the program.

    Parameters
    ----------
    app : Typer
    epilog : str
        Last line of its help.
    """
    app.command(epilog=epilog)(segment)


def segment(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Image file, or folder with a DICOM series.")],
    output: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="Label map to write: .nii.gz, .nii, .nrrd or .mha.")
    ] = None,
    volumes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write the volumes of the structures, a .csv file.")
    ] = None,
    model: Annotated[str, typer.Option(metavar="ID", help="Network to use; `models` lists them.")] = "brain-regions",
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where the network runs.")] = "auto",
    backend: Annotated[str, typer.Option(metavar="auto|onnxruntime|torch", help="What runs the network.")] = "auto",
    threads: Annotated[int | None, typer.Option(metavar="N", min=1, help="CPU threads of the network.")] = None,
    refine: Annotated[
        bool, typer.Option("--refine/--no-refine", help="Let the brightness of voxels draw the borders.")
    ] = True,
    series: Annotated[
        str | None, typer.Option("--series", metavar="UID", help="DICOM series of the folder IN.")
    ] = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Speak JSON lines on the standard output, for programs.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error and the library's log.")] = False,
) -> None:
    """Find 32 structures of the brain in a scan of any contrast and measure their volumes.

    The labels are FreeSurfer numbers on the scan's own grid; the provenance is written beside OUT, as .mrh.json.
    """
    with door(jsonl, debug) as session:
        from MRHarmonizationLib.inference.region_volumes import volume_rows
        from MRHarmonizationLib.inference.segment_files import segment_file

        done = segment_file(
            source,
            output,
            volumes,
            model=model,
            series_uid=series,
            progress=session.progress,
            device=device,
            backend=backend,
            threads=threads,
            refine=refine,
        )
        for warning in done.result.warnings:
            session.warn(warning)
        paths = {"output": done.output, "volumes": done.table, "sidecar": done.sidecar}
        rows = volume_rows(done.result.volumes_mm3)
        values: dict[str, Any] = {name: None if path is None else str(path) for name, path in paths.items()}
        values |= {
            "regions": rows,
            "provenance": done.result.provenance.to_dict(),
            "warnings": list(done.result.warnings),
        }
        lines = [*_table(rows), *(f"{name}: {path}" for name, path in paths.items() if path is not None)]
        session.result(values, lines)


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return volumes for a terminal: a structure of both sides in one line."""
    lines = [f"{'volume in ml':<28}{'left':>9}{'right':>9}"]
    for number, row in enumerate(rows):
        if row["side"] == "left":
            name = row["region"].removeprefix("Left ")
            lines.append(f"{name:<28}{row['volume_ml']:>9.2f}{rows[number + 1]['volume_ml']:>9.2f}")
        elif not row["side"]:
            lines.append(f"{row['region']:<28}{row['volume_ml']:>18.2f}")
    total = sum(row["volume_ml"] for row in rows)
    return [*lines, f"{'all together':<28}{total:>18.2f}"]
