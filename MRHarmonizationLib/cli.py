"""The command line ``mrharmonize …``: translates words into requests and results into words, nothing more.

Whatever a command needs is imported inside it, so that ``--help`` and mistakes answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from MRHarmonizationLib import (
    __version__,
    cli_degrade,
    cli_dwi,
    cli_harmonize,
    cli_pairs,
    cli_probe,
    cli_restore,
    cli_segment,
    cli_train,
)
from MRHarmonizationLib.cli_output import EXIT_CODES, HumanReporter, JsonLinesReporter, door, finite, report_failure
from MRHarmonizationLib.cli_train import data_folder
from MRHarmonizationLib.core.errors import ParameterError

PROGRAM = "mrharmonize"
EPILOG = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) + "."

app = typer.Typer(
    name=PROGRAM,
    help="Bring MR scans to one quality: enhance low-field and thick-slice head scans, with the proof beside them.",
    epilog=EPILOG,
    add_completion=False,
    pretty_exceptions_enable=False,
)

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Base of all mistakes on a command line; found by way of its one public child."""

InputArgument = Annotated[Path, typer.Argument(metavar="IN", help="Image file, or folder with a DICOM series.")]
OutputArgument = Annotated[Path, typer.Argument(metavar="OUT", help="File to write: .nii.gz, .nii, .nrrd or .mha.")]
SeriesOption = Annotated[str | None, typer.Option("--series", metavar="UID", help="DICOM series of the folder IN.")]
ModelOption = Annotated[str, typer.Option(metavar="ID", help="Model to use; `models` lists them.")]
StrengthOption = Annotated[float, typer.Option(metavar="A", help="Share of the model's change, 0 (none) to 1.")]
DeviceOption = Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where the network runs.")]
BackendOption = Annotated[str, typer.Option(metavar="auto|onnxruntime|torch", help="What runs the network.")]
ThreadsOption = Annotated[int | None, typer.Option(metavar="N", help="CPU threads; by default one per core.")]
DataOption = Annotated[
    Path | None, typer.Option(metavar="DIR", envvar="MRH_DATA", help="Folder of the scans (default ../shared/data).")
]
FolderOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write to; made if needed.")]
JsonlOption = Annotated[bool, typer.Option("--jsonl", help="Speak JSON lines on the standard output, for programs.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the trace of an error and the library's log.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit()


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Hold the options of the program itself."""


@app.command(epilog=EPILOG)
def demo(
    out: FolderOption = Path("mrharmonize-demo"),
    device: DeviceOption = "auto",
    backend: BackendOption = "auto",
    jsonl: JsonlOption = False,
    debug: DebugOption = False,
) -> None:
    """Enhance the embedded sample scan and write a report that holds it against the truth."""
    with door(jsonl, debug) as session:
        from MRHarmonizationLib.cli_lines import comparison_lines
        from MRHarmonizationLib.evaluation.demo import SAMPLE_NOTE, run_demo
        from MRHarmonizationLib.inference.enhance import EnhanceRequest

        done = run_demo(out, EnhanceRequest(device=device, backend=backend), session.progress)
        paths = {
            "scan": done.scan,
            "output": done.files.output,
            "residual": done.files.residual,
            "sidecar": done.files.sidecar,
            "reference": done.reference,
            "report": done.report,
        }
        values = {"comparison": done.comparison.to_dict(), "note": SAMPLE_NOTE}
        session.result(
            _texts(paths) | values, [*comparison_lines(done.comparison), "", SAMPLE_NOTE, "", *_lines(paths)]
        )


@app.command(epilog=EPILOG)
def enhance(
    source: InputArgument,
    output: OutputArgument,
    model: ModelOption = "lowfield",
    strength: StrengthOption = 1.0,
    residual: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write what `undo` needs, a .nrrd file.")
    ] = None,
    device: DeviceOption = "auto",
    backend: BackendOption = "auto",
    spacing: Annotated[
        float | None, typer.Option(metavar="MM", help="Voxel size of the result; by default the model's own, 1 mm.")
    ] = None,
    threads: ThreadsOption = None,
    max_memory: Annotated[float, typer.Option(metavar="GB", help="Memory the process should stay below.")] = 2.0,
    series: SeriesOption = None,
    jsonl: JsonlOption = False,
    debug: DebugOption = False,
) -> None:
    """Enhance a scan: a low-field, thick-slice or noisy head scan becomes a 1 mm isotropic volume.

    The provenance is written beside OUT, as .mrh.json.
    """
    with door(jsonl, debug) as session:
        from MRHarmonizationLib.cli_lines import enhancement_lines
        from MRHarmonizationLib.inference.enhance import EnhanceRequest
        from MRHarmonizationLib.inference.file_operations import enhance_file

        request = EnhanceRequest(
            model=model,
            strength=strength,
            device=device,
            backend=backend,
            output_spacing_mm=spacing,
            threads=threads,
            max_memory_gb=max_memory,
        )
        done = enhance_file(source, output, request, residual, series, session.progress)
        for warning in done.result.warnings:
            session.warn(warning)
        paths = {"output": done.output, "sidecar": done.sidecar, "residual": done.residual}
        values = {
            "measurements": [measurement.to_dict() for measurement in done.result.measurements],
            "provenance": done.result.provenance.to_dict(),
            "warnings": list(done.result.warnings),
        }
        session.result(_texts(paths) | values, [*enhancement_lines(done.result), *_lines(paths)])


@app.command(epilog=EPILOG)
def undo(
    enhanced: Annotated[
        Path, typer.Argument(metavar="CHANGED", help="The OUT file of `enhance`, `harmonize` or `harmonize-dwi`.")
    ],
    residual: Annotated[Path, typer.Argument(metavar="RESIDUAL", help="The file --residual wrote with it.")],
    output: OutputArgument,
    jsonl: JsonlOption = False,
    debug: DebugOption = False,
) -> None:
    """Bring back what an enhancement or harmonisation started from, on the output's grid, bit for bit."""
    with door(jsonl, debug) as session:
        from MRHarmonizationLib.inference.harmonize_dwi_files import undo_any_file

        paths = {"output": undo_any_file(enhanced, residual, output)}
        session.result(_texts(paths), _lines(paths))


cli_degrade.register(app, EPILOG)


@app.command(epilog=EPILOG)
def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print the model cards as JSON.")] = False,
    jsonl: JsonlOption = False,
    debug: DebugOption = False,
) -> None:
    """List the models that can be used."""
    with door(jsonl, debug) as session:
        import json

        from MRHarmonizationLib.cli_lines import model_lines
        from MRHarmonizationLib.weights.store import list_models

        cards = list_models()
        values = finite([card.to_dict() for card in cards])
        lines = [json.dumps(values, indent=2, ensure_ascii=True)] if as_json else model_lines(cards)
        session.result({"models": values}, lines)


@app.command("import-weights", epilog=EPILOG)
def import_weights(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS", help="Weight file, .onnx or .pt.")],
    card: Annotated[Path, typer.Argument(metavar="CARD", help="Its model card, .json.")],
    folder: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to put both; by default your own models' folder.")
    ] = None,
    jsonl: JsonlOption = False,
    debug: DebugOption = False,
) -> None:
    """Add a model from disk: checked against its card's SHA-256, copied whole or not at all."""
    with door(jsonl, debug) as session:
        from MRHarmonizationLib.weights.store import import_weights as import_from_disk

        added = import_from_disk(weights, card, folder)
        paths = {"card": added.folder / f"{added.id}.json", "weights": added.folder / added.weights.file}
        session.result({"id": added.id} | _texts(paths), [f"model: {added.id}", *_lines(paths)])


@app.command(epilog=EPILOG)
def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="Image before processing.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="Image after processing.")],
    out: FolderOption,
    reference: Annotated[Path | None, typer.Option(metavar="FILE", help="The truth, where there is one.")] = None,
    mask: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to measure: voxels that are not 0.")] = None,
    label: Annotated[int | None, typer.Option(metavar="N", help="Measure only where the mask is N.")] = None,
    maps: Annotated[
        list[str] | None, typer.Option(metavar="FEATURE", help="Also map this texture feature; may be repeated.")
    ] = None,
    window: Annotated[int, typer.Option(metavar="N", help="Side of the maps' window in voxels, odd.")] = 5,
    metric: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help='Also compute this slow metric, or "all"; may be repeated.')
    ] = None,
    regions: Annotated[
        bool, typer.Option("--regions", help="Also measure the volumes of 32 brain structures; takes seconds an image.")
    ] = False,
    segmentations: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Measure your own label maps (FreeSurfer numbers) instead: give it for BEFORE, for AFTER and for the "
            "reference, in this order.",
        ),
    ] = None,
    jsonl: JsonlOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure what processing did to an image: one self-contained HTML report, tables, curves, feature maps.

    Images on different grids are brought to that of AFTER, and the report says so.
    """
    with door(jsonl, debug) as session:
        from MRHarmonizationLib.cli_lines import comparison_lines
        from MRHarmonizationLib.evaluation.report_files import compare_files

        done = compare_files(
            before,
            after,
            out,
            reference,
            mask,
            label=label,
            maps=maps or (),
            window=window,
            extra_metrics=metric or (),
            regions=regions,
            segmentations=segmentations or (),
            progress=session.progress,
        )
        for note in done.result.notes:
            session.status(note)
        paths = {
            "report": done.paths.html,
            "metrics": done.paths.csv,
            "comparison": done.paths.json,
            "curves": done.paths.curves,
            "texture": done.paths.texture,
            "regions": done.paths.regions,
        }
        measured = {key: [m.to_dict() for m in group] for key, group in done.result.measurements.items()}
        values = {"maps": _texts(dict(done.paths.maps)), "measurements": measured, "notes": list(done.result.notes)}
        lines = [*comparison_lines(done.result), *_lines(paths | done.paths.maps)]
        session.result(_texts(paths) | values, lines)


@app.command(epilog=EPILOG)
def evaluate(
    protocol: Annotated[str, typer.Argument(metavar="PROTOCOL", help="Name of a shipped protocol, or path of one.")],
    out: FolderOption,
    data: DataOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small part of the protocol, to try it.")] = False,
    model: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Model in place of the protocol's; may be repeated.")
    ] = None,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Processes, one thread each.")] = 2,
    retune: Annotated[bool, typer.Option("--retune", help="Tune the classical methods anew.")] = False,
    contrast: Annotated[str | None, typer.Option(metavar="t1|t2", help="lohires: contrast, t1 by default.")] = None,
    segmentations: Annotated[
        Path | None, typer.Option(metavar="DIR", help="lohires: your own label maps, DIR/CASE/METHOD.nii.gz.")
    ] = None,
    maniqa: Annotated[
        Path | None, typer.Option(metavar="FILE", help="subtle: your MANIQA checkpoint, for a further score.")
    ] = None,
    jsonl: JsonlOption = False,
    debug: DebugOption = False,
) -> None:
    """Run an evaluation protocol on scans the model has not seen and write its table."""
    with door(jsonl, debug) as session:
        from MRHarmonizationLib.evaluation.protocol import run_protocol

        chosen = tuple(model) if model else None
        files = {"segmentations": segmentations, "maniqa": maniqa}
        given = {"contrast": contrast, **{name: path and str(path) for name, path in files.items()}}
        settings = {name: value for name, value in given.items() if value is not None}
        done = run_protocol(protocol, data_folder(data), out, quick, chosen, jobs, retune, session.progress, settings)
        session.result(done.to_dict(), done.lines())


cli_train.register(app, EPILOG)
cli_pairs.register(app, EPILOG)
cli_probe.register(app, EPILOG)
cli_harmonize.register(app, EPILOG)
cli_restore.register(app, EPILOG)
cli_segment.register(app, EPILOG)
cli_dwi.register(app, EPILOG)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words behind the program's name; those of the process by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without the letter must not end the program
    command = typer.main.get_command(app)
    try:
        code = command.main(args=words, prog_name=PROGRAM, standalone_mode=False)
    except UsageError as mistake:
        code = _report_mistake(mistake, words)
    except (typer.Abort, KeyboardInterrupt):
        code = report_failure(HumanReporter(sys.stdout), KeyboardInterrupt())
    raise SystemExit(code if isinstance(code, int) else 0)


def _report_mistake(mistake: BaseException, words: Sequence[str]) -> int:
    """Say in one line what is wrong with the command line."""
    message = " ".join(getattr(mistake, "format_message", mistake.__str__)().split()).rstrip(".")
    context: Any = getattr(mistake, "ctx", None)
    path = getattr(context, "command_path", PROGRAM)
    error = ParameterError(message, f"see {path} --help")
    reporter = JsonLinesReporter(sys.stdout) if "--jsonl" in words else HumanReporter(sys.stdout)
    return report_failure(reporter, error)


def _texts(paths: dict[str, Any]) -> dict[str, Any]:
    return {name: None if path is None else str(path) for name, path in paths.items()}


def _lines(paths: dict[str, Any]) -> list[str]:
    width = max(len(name) for name in paths) + 1
    return [f"{name.replace('_', ' ') + ':':{width}} {path}" for name, path in paths.items() if path is not None]
