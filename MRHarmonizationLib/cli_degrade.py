"""The command ``mrharmonize degrade``: simulators of known physics, and latent diffusion models.

Whatever it needs is imported inside it, so that ``--help`` and mistakes answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from MRHarmonizationLib.cli_output import door
from MRHarmonizationLib.core.errors import ParameterError

if TYPE_CHECKING:
    from MRHarmonizationLib.core.progress import Progress

#: Start of the kinds that a network makes.
DIFFUSION = "diffusion-"


def register(app: typer.Typer, epilog: str) -> None:
    """Add the command to the program.

    Parameters
    ----------
    app : Typer
    epilog : str
        Last line of its help.
    """
    app.command(epilog=epilog)(degrade)


def degrade(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Image file, or folder with a DICOM series.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="File to write: .nii.gz, .nii, .nrrd or .mha.")],
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="What to simulate; diffusion-noise and diffusion-blur use a network.")
    ] = "lowfield",
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of the draw.")] = None,
    level: Annotated[
        float | None, typer.Option(metavar="L", help="diffusion-…: how much worse, 0 (not at all) to 1.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="diffusion-…: steps of the sampler, 25 by default.")
    ] = None,
    ringing: Annotated[
        float | None,
        typer.Option(metavar="R", help="diffusion-blur: 0 (none) to 1 (a sharp crop of k-space); else drawn."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="ID", help="diffusion-…: a degrader of your own; `models` lists them.")
    ] = None,
    parameters: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="FILE",
            help="Replay the parameters in FILE (or in the .mrh.json of an earlier OUT) exactly; if FILE does not "
            "exist, save there what is sampled with --seed.",
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Label map (FreeSurfer numbers), for kspace-contrast.")
    ] = None,
    donor: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Another case that lends amplitudes, for kspace-contrast.")
    ] = None,
    preview: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Also draw images and their spectra, with four further draws.")
    ] = None,
    series: Annotated[
        str | None, typer.Option("--series", metavar="UID", help="DICOM series of the folder IN.")
    ] = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Speak JSON lines on the standard output, for programs.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error and the library's log.")] = False,
) -> None:
    """Change a scan in a known way, for tests and training; every random draw can be replayed."""
    with door(jsonl, debug) as session:
        if kind.startswith(DIFFUSION):
            useless = {"--json": parameters, "--labels": labels, "--donor": donor, "--preview": preview}
            _refuse(kind, useless)
            request = _request(kind, level, seed, steps, ringing, model)
            values, lines, warnings = _diffusion(source, output, request, series, session.progress)
            for warning in warnings:
                session.warn(warning)
        else:
            _refuse(kind, {"--level": level, "--steps": steps, "--ringing": ringing, "--model": model})
            companions = {"labels": labels, "donor": donor}
            options = (kind, seed, parameters, series, session.progress, companions)
            values, lines = _simulation(source, output, preview, options)
        session.result(values, lines)


def _refuse(kind: str, options: dict[str, Any]) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ParameterError(f"kind '{kind}' has no use for {', '.join(given)}", "leave it out")


def _request(
    kind: str, level: float | None, seed: int | None, steps: int | None, ringing: float | None, model: str | None
) -> Any:
    from MRHarmonizationLib.inference.latent_degrader import LatentDegradeRequest
    from MRHarmonizationLib.inference.latent_input import KINDS

    if kind.removeprefix(DIFFUSION) not in KINDS:
        known = ", ".join(DIFFUSION + name for name in KINDS)
        raise ParameterError(f"degradation '{kind}' is unknown", f"choose one of: {known}")
    if level is None or seed is None:
        missing = "no level" if level is None else "no seed"
        raise ParameterError(f"{missing} given", f"kind '{kind}' needs --level from 0 to 1 and --seed")
    chosen: dict[str, Any] = {} if steps is None else {"steps": steps}
    return LatentDegradeRequest(kind.removeprefix(DIFFUSION), level, seed, model=model or "", ringing=ringing, **chosen)


def _diffusion(
    source: Path, output: Path, request: Any, series: str | None, progress: Progress
) -> tuple[dict[str, Any], list[str], tuple[str, ...]]:
    from MRHarmonizationLib.inference.latent_degrader_files import degrade_scan_file

    done = degrade_scan_file(source, output, request, series, progress)
    paths = {"output": str(done.output), "sidecar": str(done.sidecar)}
    lines = [f"{request.kind}, level {request.level:g}", *_lines(paths)]
    warnings = done.result.warnings
    record = done.result.provenance
    values = paths | {"parameters": dict(record.parameters), "provenance": record.to_dict(), "warnings": list(warnings)}
    return values, lines, warnings


def _simulation(
    source: Path, output: Path, preview: Path | None, options: tuple[Any, ...]
) -> tuple[dict[str, Any], list[str]]:
    from MRHarmonizationLib.inference.file_operations import degrade_file

    if preview is not None:
        from MRHarmonizationLib.evaluation.contrast_preview import check_preview_path, write_preview

        check_preview_path(preview)
    done = degrade_file(source, output, *options)
    paths = {"output": done.output, "sidecar": done.sidecar, "parameters_file": done.parameters_file}
    if preview is not None:
        paths["preview"] = write_preview(preview, done, options[0])
    texts = {name: None if path is None else str(path) for name, path in paths.items()}
    return texts | {"parameters": dict(done.parameters)}, _lines(texts)


def _lines(paths: dict[str, Any]) -> list[str]:
    width = max(len(name) for name in paths) + 1
    return [f"{name.replace('_', ' ') + ':':{width}} {path}" for name, path in paths.items() if path is not None]
