"""The commands ``mrharmonize harmonize-dwi`` and ``fit-dwi``: translate words into requests, nothing more.

Whatever a command needs is imported inside it, so that ``--help`` and mistakes answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from MRHarmonizationLib.cli_output import door
from MRHarmonizationLib.core.errors import ParameterError

if TYPE_CHECKING:
    from MRHarmonizationLib.inference.harmonize_dwi import HarmonizeDwiResult

JsonlOption = Annotated[bool, typer.Option("--jsonl", help="Speak JSON lines on the standard output, for programs.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the trace of an error and the library's log.")]
TABLE_HEADING = f"{'tissue':<14} {'':<4} {'before':>10} {'after':>10} {'change':>10}  limit"


def harmonize_dwi(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="Diffusion scan: 4-D NIfTI, NRRD, or a folder with a DICOM series.")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="File to write: .nii.gz, .nii or .nrrd.")],
    bval: Annotated[
        Path | None, typer.Option(metavar="FILE", help="b-values of a NIfTI file; by default beside it.")
    ] = None,
    bvec: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Directions of a NIfTI file; by default beside it.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="global_scaling (default), b0_histogram, nyul, linear_rish (with --fitted), none.",
        ),
    ] = None,
    target: Annotated[
        str, typer.Option(metavar="ID", help="What scans are to look like: a shipped target, or the file of one.")
    ] = "canonical",
    fitted: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A harmoniser that `fit-dwi` wrote; its method is used.")
    ] = None,
    strength: Annotated[
        float, typer.Option(metavar="A", help="Share of the harmonisation, 0 (the scan itself) to 1.")
    ] = 1.0,
    noise: Annotated[
        str, typer.Option(metavar="auto|none|floor|denoise", help="What is done about noise before.")
    ] = "auto",
    spacing: Annotated[
        str | None,
        typer.Option(metavar="MM|I,J,K|target", help="Voxels of the result; by default those of the scan."),
    ] = None,
    mask: Annotated[Path | None, typer.Option(metavar="FILE", help="Brain: voxels that are not 0.")] = None,
    residual: Annotated[
        Path | None,
        typer.Option(
            "--keep-residual", "--residual", metavar="FILE", help="Also write what `undo` needs, a .nrrd file."
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write a report: pictures, maps, tables.")
    ] = None,
    maps: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write maps of b0, trace, MD and FA before and after.")
    ] = None,
    max_md_change: Annotated[
        float, typer.Option(metavar="PERCENT", help="How far mean MD of white matter and brain may move.")
    ] = 2.0,
    max_fa_change: Annotated[
        float, typer.Option(metavar="X", help="How far mean FA of white matter and brain may move.")
    ] = 0.01,
    ignore_limits: Annotated[
        bool, typer.Option("--ignore-limits", help="Only warn where MD or FA move further.")
    ] = False,
    series: Annotated[
        str | None, typer.Option("--series", metavar="UID", help="DICOM series of the folder IN.")
    ] = None,
    jsonl: JsonlOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a diffusion scan look like the target's: one contrast gain and one spatial operator for all volumes.

    MD and FA are checked; where they would move too far, less is done. Directions and b-values stay as they are.
    """
    with door(jsonl, debug) as session:
        from MRHarmonizationLib.inference.harmonize_dwi import HarmonizeDwiRequest
        from MRHarmonizationLib.inference.harmonize_dwi_files import harmonize_dwi_file

        request = HarmonizeDwiRequest(
            method=method or _method_of(fitted),
            fitted=None if fitted is None else str(fitted),
            target=target,
            strength=strength,
            noise=noise,
            spacing_mm=_spacing(spacing),
            max_md_change_percent=max_md_change,
            max_fa_change=max_fa_change,
            enforce_safety=not ignore_limits,
        )
        if report is not None:
            from MRHarmonizationLib.evaluation.dwi_report import check_dwi_report, write_dwi_report

            check_dwi_report(report)
            maps = maps or report / "maps"
        done = harmonize_dwi_file(
            source,
            output,
            request,
            bval=bval,
            bvec=bvec,
            mask=mask,
            residual=residual,
            maps=maps,
            series_uid=series,
            progress=session.progress if report is None else session.progress.part(0.0, 0.9),
        )
        for warning in done.result.warnings:
            session.warn(warning)
        paths: dict[str, Path | None] = {
            "output": done.output,
            "bval": done.bval,
            "bvec": done.bvec,
            "sidecar": done.sidecar,
            "residual": done.residual,
        }
        if report is not None:
            session.progress.report(0.92, "Writing the report")
            written = write_dwi_report(done.result, report, source.name, done.output.name)
            paths |= {"report": written.html, "report_json": written.json, "report_csv": written.csv}
        texts = {name: None if path is None else str(path) for name, path in (paths | dict(done.maps)).items()}
        values = {
            "table": [row.to_dict() for row in done.result.table],
            "strength_requested": strength,
            "strength_used": done.result.strength_used,
            "noise": done.result.noise.to_dict(),
            "warnings": list(done.result.warnings),
            "provenance": done.result.provenance.to_dict(),
        }
        shown = [f"{name.replace('_', ' ') + ':':<13} {text}" for name, text in texts.items() if text and name in paths]
        session.result(texts | values, [*result_lines(done.result), *shown])


def fit_dwi(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="global_scaling, b0_histogram, nyul or linear_rish.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Harmoniser to write, .json (and .npz beside it).")],
    target: Annotated[
        list[Path], typer.Option(metavar="SCAN", help="Scan of the scanner that is aimed at; to be repeated.")
    ],
    source: Annotated[
        list[Path] | None,
        typer.Option(metavar="SCAN", help="Scan of the scanner to be harmonised, for linear_rish; to be repeated."),
    ] = None,
    noise: Annotated[
        str, typer.Option(metavar="auto|none|floor|denoise", help="What is done about the scans' noise before.")
    ] = "auto",
    jsonl: JsonlOption = False,
    debug: DebugOption = False,
) -> None:
    """Fit a classical harmoniser of diffusion scans to your own target scans."""
    with door(jsonl, debug) as session:
        from MRHarmonizationLib.inference.dwi_methods import fit_harmonizer
        from MRHarmonizationLib.inference.dwi_noise import check_noise_choice
        from MRHarmonizationLib.methods.dwi_harmonizers.base import DWI_HARMONIZERS, save_dwi_harmonizer
        from MRHarmonizationLib.volumes.atomic import check_output_path
        from MRHarmonizationLib.volumes.dwi_files import read_dwi

        DWI_HARMONIZERS.get(method)
        if output.suffix.lower() != ".json":
            raise ParameterError(f"output {output} does not end with .json", "name a .json file")
        check_noise_choice(noise)
        check_output_path(output)
        session.progress.report(0.0, "Reading the scans")
        groups = [[read_dwi(path) for path in paths] for paths in (target, source or ())]
        fitted = fit_harmonizer(method, groups[0], groups[1], noise, session.progress.part(0.1, 1.0))
        written = save_dwi_harmonizer(fitted, output)
        session.result(
            {"output": str(written[0]), "files": [str(path) for path in written], "method": method},
            [f"{method}, {len(groups[0])} target and {len(groups[1])} source scans: {written[0]}"],
        )


def result_lines(result: HarmonizeDwiResult) -> list[str]:
    """Return what a harmonisation did to the scan, as lines for a person."""
    noise = result.noise
    done = [word for word, was_done in (("denoised", noise.denoised), ("floor", noise.floor_corrected)) if was_done]
    sigma = "" if noise.sigma is None else f" (sigma {noise.sigma:.4g} from {noise.sigma_method})"
    lines = [
        f"method {result.provenance.model_id}, strength {result.strength_used:.3g}; noise: "
        f"{' and '.join(done) or 'left as it is'}{sigma}",
        TABLE_HEADING,
    ]
    for row in result.table:
        percent = row.change_percent is not None
        change = f"{row.change_percent:+.2f} %" if percent else f"{row.change:+.4f}"
        limit = "" if row.limit is None else f"{row.limit:g}{' %' if percent else ''}"
        lines.append(f"{row.tissue:<14} {row.measure:<4} {row.before:>10.4g} {row.after:>10.4g} {change:>10}  {limit}")
    return lines


def _method_of(fitted: Path | None) -> str:
    from MRHarmonizationLib.inference.dwi_request import DEFAULT_METHOD

    if fitted is None:
        return DEFAULT_METHOD
    from MRHarmonizationLib.methods.dwi_harmonizers.base import load_dwi_harmonizer

    return load_dwi_harmonizer(fitted).method


def _spacing(text: str | None) -> Any:
    """Return the words of an option as what a request takes; it judges them."""
    if text is None or text == "target":
        return text
    parts: list[Any] = []
    for word in text.replace("x", ",").split(","):
        try:
            parts.append(float(word))
        except ValueError:
            parts.append(word)
    return parts[0] if len(parts) == 1 else tuple(parts)
