"""The command ``mrharmonize restore``: translates words into a request, nothing more.

Whatever it needs is imported inside it, so that ``--help`` and mistakes answer at once.
"""

from __future__ import annotations

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
    app.command(epilog=epilog)(restore)


def restore(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Image file, or folder with a DICOM series.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="File to write: .nii.gz, .nii, .nrrd or .mha.")],
    denoise: Annotated[float, typer.Option(metavar="D", help="Share of the noise taken away, 0 (none) to 1.")] = 0.8,
    sharpen: Annotated[
        float, typer.Option(metavar="S", help="Share of the missing detail given back, 0 (none) to 1.")
    ] = 0.3,
    noise_level: Annotated[
        float | None,
        typer.Option(metavar="PERCENT", help="Noise in % of the intensity range; estimated from the scan by default."),
    ] = None,
    blur_level: Annotated[
        float | None,
        typer.Option(metavar="PIXELS", help="Resolution in pixels, 1 (sharp) to 4; estimated by default."),
    ] = None,
    finer: Annotated[
        int, typer.Option(metavar="1|2", help="2 first interpolates planes to twice their matrix, to super-resolve.")
    ] = 1,
    interpolated: Annotated[
        bool, typer.Option("--interpolated", help="The scanner interpolated the planes from half their matrix.")
    ] = False,
    model: Annotated[str, typer.Option(metavar="ID", help="Restorer to use; `models` lists them.")] = "restore-any",
    residual: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write what `undo` needs, a .nrrd file.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where the network runs.")] = "auto",
    backend: Annotated[str, typer.Option(metavar="auto|onnxruntime|torch", help="What runs the network.")] = "auto",
    threads: Annotated[int | None, typer.Option(metavar="N", min=1, help="CPU threads of the network.")] = None,
    max_memory: Annotated[float, typer.Option(metavar="GB", help="Memory the process should stay below.")] = 2.0,
    series: Annotated[
        str | None, typer.Option("--series", metavar="UID", help="DICOM series of the folder IN.")
    ] = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Speak JSON lines on the standard output, for programs.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error and the library's log.")] = False,
) -> None:
    """Denoise and sharpen a scan of any contrast on its own grid, each as much as you say.

    The provenance is written beside OUT, as .mrh.json; `undo` brings the scan back exactly.
    """
    with door(jsonl, debug) as session:
        from MRHarmonizationLib.inference.restore import RestoreRequest
        from MRHarmonizationLib.inference.restore_files import restore_file

        request = RestoreRequest(
            denoise=denoise,
            sharpen=sharpen,
            noise_level=noise_level,
            blur_level=blur_level,
            finer=finer,
            interpolated=interpolated,
            model=model,
            device=device,
            backend=backend,
            threads=threads,
            max_memory_gb=max_memory,
        )
        done = restore_file(source, output, request, residual, series, session.progress)
        result = done.result
        for warning in result.warnings:
            session.warn(warning)
        paths = {"output": done.output, "sidecar": done.sidecar, "residual": done.residual}
        quality = result.quality
        lines = [
            f"denoise {denoise:g}, sharpen {sharpen:g}",
            f"noise: {quality.noise_percent:.2g} % of the range, resolution: {quality.resolution_voxels:.2g} pixels "
            "(estimated)",
        ]
        for measured in result.measurements:
            unit = "" if measured.unit == "1" else f" {measured.unit}"
            lines.append(f"{measured.name}: {measured.detail['before']:.3g} → {measured.value:.3g}{unit}")
        lines += [f"{name}: {path}" for name, path in paths.items() if path is not None]
        values: dict[str, Any] = {name: None if path is None else str(path) for name, path in paths.items()}
        values |= {
            "measurements": [measured.to_dict() for measured in result.measurements],
            "provenance": result.provenance.to_dict(),
            "quality": quality.to_dict(),
            "warnings": list(result.warnings),
        }
        session.result(values, lines)
