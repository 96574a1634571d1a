"""The commands ``mrharmonize prepare-pairs`` and ``synthesize-pairs``: translate words into settings, nothing more.

Whatever they need is imported inside them, so that ``--help`` and mistakes answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from MRHarmonizationLib.cli_output import door
from MRHarmonizationLib.cli_train import DataOption, data_folder
from MRHarmonizationLib.core.errors import ParameterError


def register(app: typer.Typer, epilog: str) -> None:
    """Add the commands to the program.

    Parameters
    ----------
    app : Typer
    epilog : str
        Last line of their help.
    """
    app.command("prepare-pairs", epilog=epilog)(prepare)
    app.command("synthesize-pairs", epilog=epilog)(synthesize)


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


def synthesize(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write to; made if needed.")],
    high: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of good scans to degrade.")] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="Degrade blocks of a recipe's anatomy instead.")
    ] = None,
    count: Annotated[int, typer.Option(metavar="N", min=1, help="How many blocks of the recipe.")] = 100,
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="diffusion-noise, diffusion-blur, or any kind of `degrade`.")
    ] = "diffusion-noise",
    levels: Annotated[
        tuple[float, float] | None, typer.Option(metavar="LOW HIGH", help="diffusion-…: range of the levels drawn.")
    ] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="diffusion-…: steps of the sampler.")] = None,
    ringing: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="diffusion-blur: range of the ringing drawn, 0 (none) to 1."),
    ] = None,
    model: Annotated[str, typer.Option(metavar="ID", help="diffusion-…: a degrader of your own.")] = "",
    coarser: Annotated[
        float, typer.Option(metavar="FACTOR", help="Store what was degraded with pixels so many times as large.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of all draws.")] = 0,
    data: DataOption = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Speak JSON lines on the standard output, for programs.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error and the library's log.")] = False,
) -> None:
    """Make pairs for `train --synthetic` of good scans alone: a degrader makes the partner of lower quality.

    Started again, it goes on where it stopped.
    """
    with door(jsonl, debug) as session:
        if (high is None) == (recipe is None):
            raise ParameterError(f"scans of {high} and of recipe {recipe}", "give one: --high DIR or --recipe NAME")
        from MRHarmonizationLib.training.recipe import load_recipe
        from MRHarmonizationLib.training.synthetic_pairs import (
            degrader_of,
            make_synthetic_pairs,
            scans_of_folder,
            scans_of_recipe,
        )

        degrade = degrader_of(kind, levels, steps, model, ringing, coarser)
        if high is not None:
            scans = scans_of_folder(high)
        else:
            scans = scans_of_recipe(load_recipe(str(recipe)), data_folder(data), count)
        done = make_synthetic_pairs(scans, degrade, kind, out, seed, session.progress)
        for text in done.left_out:
            session.warn(f"left out {text}")
        session.result({"manifest": str(done.manifest), "pairs": list(done.entries)}, done.lines())
