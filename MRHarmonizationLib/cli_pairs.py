"""The command ``mrharmonize prepare-pairs``: translates words into settings, nothing more.

Whatever it needs is imported inside it, so that ``--help`` and mistakes answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    app.command("prepare-pairs", epilog=epilog)(prepare)


def prepare(
    low: Annotated[Path, typer.Argument(metavar="LOW_DIR", help="Folder of low-field scans.")],
    high: Annotated[Path, typer.Argument(metavar="HIGH_DIR", help="Folder of high-field scans of the same people.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write to; made if needed.")],
    contrast: Annotated[
        str | None, typer.Option(metavar="t1|t2|flair", help="Take only scans with this contrast in their names.")
    ] = None,
    unpaired: Annotated[
        bool, typer.Option("--unpaired", help="The folders hold different people: nothing is matched (CycleGAN).")
    ] = False,
    pattern: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Regular expression whose first group is the subject in a name.")
    ] = None,
    allow_mixed: Annotated[
        bool, typer.Option("--allow-mixed", help="Also take scans that look like another contrast than the rest.")
    ] = False,
    validation: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the subjects that training only validates on.")
    ] = 0.2,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Speak JSON lines on the standard output, for programs.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error and the library's log.")] = False,
) -> None:
    """Make your own low- and high-field scans ready for `train --pairs`: matched by name, registered, resampled.

    What cannot be used is named with the reason and left out. Started again, it goes on where it stopped.
    """
    with door(jsonl, debug) as session:
        from MRHarmonizationLib.training.pair_preparation import PairSettings, prepare_pairs

        settings = PairSettings(
            unpaired=unpaired,
            pattern=pattern,
            contrast=contrast,
            allow_mixed=allow_mixed,
            validation_share=validation,
        )
        done = prepare_pairs(low, high, out, settings, session.progress)
        for entry in done.rejected:
            session.warn(f"rejected {entry['name']}: {'; '.join(entry['reasons'])}")
        values = {"manifest": str(done.manifest), "pairs": list(done.entries), "rejected": list(done.rejected)}
        session.result(values, done.lines())
