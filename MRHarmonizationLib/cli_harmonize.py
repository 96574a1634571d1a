"""The commands ``mrharmonize harmonize`` and ``reference``: translate words into requests, nothing more.

Whatever a command needs is imported inside it, so that ``--help`` and mistakes answer at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from MRHarmonizationLib.cli_output import Door, door
from MRHarmonizationLib.core.errors import InputError, MRHarmonizationError, ParameterError

if TYPE_CHECKING:
    from MRHarmonizationLib.inference.harmonize import HarmonizeRequest

JsonlOption = Annotated[bool, typer.Option("--jsonl", help="Speak JSON lines on the standard output, for programs.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the trace of an error and the library's log.")]


def register(app: typer.Typer, epilog: str) -> None:
    """Add the commands to the program.

    Parameters
    ----------
    app : Typer
    epilog : str
        Last line of their help.
    """
    app.command(epilog=epilog)(harmonize)
    group = typer.Typer(help="Reference groups: what scans are to look like.", epilog=epilog, no_args_is_help=True)
    group.command("build", epilog=epilog)(build)
    group.command("list", epilog=epilog)(list_groups)
    app.add_typer(group, name="reference")


def harmonize(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="Image file, folder with a DICOM series, or folder of scans.")
    ],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="File to write: .nii.gz, .nii, .nrrd or .mha; a folder if IN is one of scans."
        ),
    ],
    method: Annotated[str, typer.Option(metavar="ID", help="Harmoniser to use; `reference list` shows them.")] = "nyul",
    reference: Annotated[
        str,
        typer.Option(
            metavar="GROUP",
            help="Reference group: a file of `reference build`, or the id of a shipped one; by default the shipped one "
            "most like the scan.",
        ),
    ] = "nearest",
    strength: Annotated[float, typer.Option(metavar="A", help="Share of the change, 0 (none) to 1.")] = 1.0,
    mask: Annotated[
        Path | None,
        typer.Option(
            metavar="M",
            help="Where intensities are measured: voxels that are not 0; a folder of masks with the names of the scans "
            "if IN is one of scans. By default the inside of the object.",
        ),
    ] = None,
    residual: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also write what `undo` needs, a .nrrd file (a folder if IN is one of scans)."
        ),
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Parameter of the method; may be repeated.")
    ] = None,
    series: Annotated[
        str | None, typer.Option("--series", metavar="UID", help="DICOM series of the folder IN.")
    ] = None,
    jsonl: JsonlOption = False,
    debug: DebugOption = False,
) -> None:
    """Give a scan, or every scan of a folder, the contrast of a reference group.

    The provenance is written beside OUT, as .mrh.json; `undo` brings the scan back exactly.
    """
    with door(jsonl, debug) as session:
        from MRHarmonizationLib.inference.harmonize import HarmonizeRequest
        from MRHarmonizationLib.inference.scan_folder import holds_several_scans

        request = HarmonizeRequest(
            method=method, reference=reference, strength=strength, parameters=_parameters(parameter or (), method)
        )
        if series is None and holds_several_scans(source):
            _harmonize_folder(session, source, output, request, residual, mask)
        else:
            _harmonize_one(session, source, output, request, residual, mask, series)


def build(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Scans of one contrast: files, or DICOM folders.")],
    out: Annotated[Path, typer.Option("--out", metavar="GROUP", help="Group file to write, .json.")],
    cases: Annotated[int, typer.Option(metavar="N", help="How many of the best scans are taken, at most.")] = 13,
    contrast: Annotated[str, typer.Option(metavar="NAME", help="t1, t2, flair, pd or other.")] = "other",
    subjects: Annotated[
        int | None, typer.Option(metavar="N", help="How many people the scans are of, if you know.")
    ] = None,
    title: Annotated[str, typer.Option(metavar="TEXT", help="Name for lists.")] = "",
    origin: Annotated[
        str, typer.Option("--source", metavar="TEXT", help="Where the scans come from, and their licence.")
    ] = "",
    with_names: Annotated[
        bool, typer.Option("--with-names", help="Write file names and digests of the scans into the group.")
    ] = False,
    allow_mixed: Annotated[
        bool, typer.Option("--allow-mixed", help="Take scans that look like another contrast all the same.")
    ] = False,
    jsonl: JsonlOption = False,
    debug: DebugOption = False,
) -> None:
    """Pick the best scans of a folder and write what they look like on average: a reference group.

    Scans are ranked by noise, sharpness, artefacts, bias field and PIQE. The file holds statistics only.
    """
    with door(jsonl, debug) as session:
        from MRHarmonizationLib.inference.reference import ReferenceRequest, build_reference

        request = ReferenceRequest(cases, contrast, subjects, title, origin, with_names, allow_mixed)
        done = build_reference(folder, out, request, session.progress)
        for warning in done.warnings:
            session.warn(warning)
        group = done.group
        lines = [
            f"group {group.id}: {group.cases} cases, contrast {group.contrast}",
            group.selection,
            *(f"  taken: {name}" for name in done.chosen),
            *(f"  left out: {name} ({reason})" for name, reason in done.left_out),
            f"output: {done.output}",
        ]
        values = {
            "output": str(done.output),
            "group": group.to_dict(),
            "chosen": list(done.chosen),
            "left_out": [list(entry) for entry in done.left_out],
            "warnings": list(done.warnings),
        }
        session.result(values, lines)


def list_groups(jsonl: JsonlOption = False, debug: DebugOption = False) -> None:
    """List the harmonisers and the reference groups that come with the program."""
    with door(jsonl, debug) as session:
        from MRHarmonizationLib.methods.harmonizers import HARMONIZERS
        from MRHarmonizationLib.methods.reference_group import load_group, shipped_groups

        groups = [load_group(name) for name in shipped_groups()]
        methods = [
            {"id": name, "title": entry.title, "summary": entry.summary, "parameters": dict(entry.defaults)}
            for name, entry in HARMONIZERS.items()
        ]
        lines = ["harmonisers:", *(f"  {m['id']}: {m['summary']}" for m in methods), "reference groups:"]
        for group in groups:
            people = "an unknown number of" if group.subjects is None else str(group.subjects)
            lines.append(f"  {group.id}: {group.title}; {group.cases} cases of {people} people")
        kept = ("id", "title", "contrast", "cases", "subjects", "notes")
        values = [{key: value for key, value in group.to_dict().items() if key in kept} for group in groups]
        session.result({"methods": methods, "groups": values}, lines)


def _harmonize_one(
    session: Door,
    source: Path,
    output: Path,
    request: HarmonizeRequest,
    residual: Path | None,
    mask: Path | None,
    series: str | None,
) -> None:
    from MRHarmonizationLib.inference.harmonize_files import harmonize_file

    done = harmonize_file(source, output, request, residual, mask, series, session.progress)
    result = done.result
    for warning in result.warnings:
        session.warn(warning)
    paths = {"output": done.output, "sidecar": done.sidecar, "residual": done.residual}
    lines = [f"{request.method} to reference '{result.group.id}', strength {request.strength:g}"]
    for measured in result.measurements:
        unit = "" if measured.unit == "1" else f" {measured.unit}"
        lines.append(f"{measured.name}: {measured.detail['before']:.3g} → {measured.value:.3g}{unit}")
    lines += [f"{name}: {path}" for name, path in paths.items() if path is not None]
    values: dict[str, Any] = {name: None if path is None else str(path) for name, path in paths.items()}
    values |= {
        "reference": result.group.id,
        "measurements": [measured.to_dict() for measured in result.measurements],
        "distance": result.distance.to_dict(),
        "provenance": result.provenance.to_dict(),
        "warnings": list(result.warnings),
    }
    session.result(values, lines)


def _harmonize_folder(
    session: Door, source: Path, output: Path, request: HarmonizeRequest, residual: Path | None, mask: Path | None
) -> None:
    from MRHarmonizationLib.inference.harmonize_files import harmonize_folder

    done = harmonize_folder(source, output, request, residual, mask, session.progress)
    for scan in done.files:
        for warning in scan.warnings:
            session.warn(f"{scan.name}: {warning}")
    references = sorted({scan.reference for scan in done.files})
    if len(references) > 1:
        session.warn(f"the scans were brought to different references: {', '.join(references)}; name one to use it")
    for name, error in done.failed:
        session.warn(f"{name}: {error}")
    if done.failed:
        raise _failure(done.failed, len(done.files))
    files = [
        {
            "name": scan.name,
            "output": str(scan.output),
            "sidecar": str(scan.sidecar),
            "residual": None if scan.residual is None else str(scan.residual),
            "reference": scan.reference,
            "warnings": list(scan.warnings),
        }
        for scan in done.files
    ]
    lines = [f"{scan.name}: {scan.output} (reference {scan.reference})" for scan in done.files]
    session.result({"output": str(output), "files": files}, lines)


def _failure(failed: Sequence[tuple[str, MRHarmonizationError]], done: int) -> MRHarmonizationError:
    """Return the error of a folder in which some scans failed: of the kind of the first."""
    name, first = failed[0]
    problem = f"{len(failed)} of {len(failed) + done} scans failed, the first is '{name}': {first.problem}"
    remedy = f"{first.remedy or 'see the warnings'}; the other {done} are done"
    return type(first)(problem, remedy) if isinstance(first, InputError) else InputError(problem, remedy)


def _parameters(words: Sequence[str], method: str) -> dict[str, Any]:
    """Return NAME=VALUE words by name: numbers, or text where the method's own value is text."""
    from MRHarmonizationLib.methods.harmonizers import HARMONIZERS

    values: dict[str, Any] = {}
    for word in words:
        name, separator, text = word.partition("=")
        if separator and isinstance(HARMONIZERS.get(method).defaults.get(name), str):
            values[name] = text
            continue
        try:
            number = float(text)
        except ValueError:
            separator = ""
        if not separator:
            raise ParameterError(f"parameter '{word}' is not NAME=NUMBER", "write, for example, upper=98")
        values[name] = int(number) if number.is_integer() else number
    return values
