"""The commands for diffusion scans; here ``mrharmonize simulate-dwi``: translates words into a call, nothing more.

Whatever a command needs is imported inside it, so that ``--help`` and mistakes answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from MRHarmonizationLib.cli_dwi_harmonize import fit_dwi, harmonize_dwi
from MRHarmonizationLib.cli_output import door

JsonlOption = Annotated[bool, typer.Option("--jsonl", help="Speak JSON lines on the standard output, for programs.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the trace of an error and the library's log.")]


def register(app: typer.Typer, epilog: str) -> None:
    """Add the commands for diffusion scans to the program.

    Parameters
    ----------
    app : Typer
    epilog : str
        Last line of their help.
    """
    app.command("simulate-dwi", epilog=epilog)(simulate_dwi)
    app.command("harmonize-dwi", epilog=epilog)(harmonize_dwi)
    app.command("fit-dwi", epilog=epilog)(fit_dwi)


def simulate_dwi(
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Label map of a head, FreeSurfer numbers, 1 mm.")],
    output: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="File to write: .nii.gz, .nii or .nrrd; a folder with --all-scanners."),
    ],
    scanner: Annotated[
        str, typer.Option(metavar="ID", help="Virtual scanner, such as vendor-a-3t, or the JSON file of one.")
    ] = "canonical",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the brain, the lesion and the scan.")] = 0,
    lesion: Annotated[str, typer.Option(metavar="stroke|ms|none", help="Lesion to put into the brain.")] = "none",
    all_scanners: Annotated[
        bool, typer.Option("--all-scanners", help="The same brain on all seven virtual scanners.")
    ] = False,
    replay: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Scan again as the .mrh.json of an earlier OUT says.")
    ] = None,
    jsonl: JsonlOption = False,
    debug: DebugOption = False,
) -> None:
    """Simulate a diffusion scan of a label map: fibres are invented, everything else is physics.

    Beside OUT: gradient tables (for NIfTI), the record that replays the scan, masks of brain and lesion.
    """
    with door(jsonl, debug) as session:
        from MRHarmonizationLib.inference.dwi_simulation import simulate_dwi_file

        done = simulate_dwi_file(labels, output, scanner, seed, lesion, all_scanners, replay, session.progress)
        scans = [
            {
                "scanner": files.scanner,
                "output": str(files.output),
                "sidecar": str(files.sidecar),
                "brain_mask": str(files.brain_mask),
                "lesion_mask": None if files.lesion_mask is None else str(files.lesion_mask),
            }
            for files in done
        ]
        session.result({"scans": scans}, [f"{scan['scanner']}: {scan['output']}" for scan in scans])
