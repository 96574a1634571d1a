"""The command ``mrharmonize probe``: translates words into a plan of the laboratory, nothing more.

Whatever it needs is imported inside it, so that ``--help`` and mistakes answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from MRHarmonizationLib.cli_output import door

DEFAULT_PROBE = "resnet50"


def register(app: typer.Typer, epilog: str) -> None:
    """Add the command to the program.

    Parameters
    ----------
    app : Typer
    epilog : str
        Last line of its help.
    """
    app.command(epilog=epilog)(probe)


def probe(
    cohort: Annotated[
        Path,
        typer.Argument(
            metavar="COHORT",
            help="CSV file with the columns path, subject, scanner and, if wanted, mask, lesion, harmonised, split; "
            "or a folder of the form SCANNER/SUBJECT.nii.gz.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write to; made if needed.")],
    harmonizer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help='Model or classical method to judge, "identity" for the control, "files" for the column harmonised '
            '(the default where it is filled in), "none"; may be repeated.',
        ),
    ] = None,
    probes: Annotated[
        list[str] | None,
        typer.Option("--probe", metavar="NAME", help="resnet50 (default), small_cnn, texture; may be repeated."),
    ] = None,
    epochs: Annotated[int, typer.Option(metavar="N", help="Epochs of the networks; 0 for their own.")] = 0,
    slices: Annotated[int, typer.Option(metavar="N", help="Slices of each image.")] = 8,
    size: Annotated[int, typer.Option(metavar="N", help="Side of a slice in pixels.")] = 96,
    spacing: Annotated[float, typer.Option(metavar="MM", help="Size of a pixel.")] = 1.0,
    plane: Annotated[str, typer.Option(metavar="NAME", help="axial, coronal or sagittal.")] = "axial",
    normalisation: Annotated[
        str,
        typer.Option(
            metavar="set|image", help='One intensity scale for all images of a set, or "image" for each its own.'
        ),
    ] = "set",
    folds: Annotated[
        int, typer.Option(metavar="N", help="1 tests on a quarter of the subjects; from 2 on everyone is tested once.")
    ] = 1,
    reference: Annotated[
        str, typer.Option(metavar="SCANNER", help="Scanner that fitted methods make the others look like.")
    ] = "",
    seed: Annotated[int, typer.Option(metavar="N", help="Of splits, weights and intervals.")] = 0,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where networks are trained.")] = "auto",
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Processes that harmonise.")] = 1,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Speak JSON lines on the standard output, for programs.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error and the library's log.")] = False,
) -> None:
    """Measure whether scanners can be told apart, before and after harmonisation, and write one HTML report.

    A probe learns the scanners from some subjects and is tested on others: on raw images, on harmonised images
    (frozen), and after learning anew from harmonised images (retrained), which is the figure to trust. A control with
    shuffled labels must end at chance.
    """
    with door(jsonl, debug) as session:
        from MRHarmonizationLib.evaluation.laboratory import LaboratoryPlan
        from MRHarmonizationLib.evaluation.probe_cohort import probe_cohort
        from MRHarmonizationLib.evaluation.probe_settings import ProbeSettings

        settings = ProbeSettings(
            plane=plane,
            slices=slices,
            size=size,
            spacing_mm=spacing,
            normalisation=normalisation,
            folds=folds,
            epochs=epochs,
            seed=seed,
            device=device,
        )
        plan = LaboratoryPlan(
            tuple(harmonizer or ()), tuple(probes or (DEFAULT_PROBE,)), settings, reference, jobs=jobs
        )
        done = probe_cohort(cohort, out, plan, session.progress)
        for note in done.result.notes:
            session.warn(note)
        paths = {name: str(path) for name, path in done.paths.to_dict().items()}
        lines = [*done.lines(), *(f"{name}: {path}" for name, path in paths.items())]
        session.result(paths | {"verdicts": done.summary["verdicts"], "rows": done.summary["rows"]}, lines)
