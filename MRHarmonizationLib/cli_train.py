"""The command ``mrharmonize train``: translates words into a training run, nothing more.

Whatever it needs is imported inside it, so that ``--help`` and mistakes answer at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from MRHarmonizationLib.cli_output import door
from MRHarmonizationLib.core.errors import InputError, ParameterError

if TYPE_CHECKING:
    from MRHarmonizationLib.core.progress import Progress

DataOption = Annotated[
    Path | None, typer.Option(metavar="DIR", envvar="MRH_DATA", help="Folder of the scans (default ../shared/data).")
]


def register(app: typer.Typer, epilog: str) -> None:
    """Add the command to the program.

    Parameters
    ----------
    app : Typer
    epilog : str
        Last line of its help.
    """
    app.command(epilog=epilog)(train)


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="Name of a shipped recipe, or path of one.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write to; made if needed.")] = Path(
        "runs"
    ),
    data: DataOption = None,
    reference: Annotated[
        str | None, typer.Option(metavar="GROUP", help="contrast: reference group whose look is to be learned.")
    ] = None,
    cases: Annotated[
        Path | None, typer.Option(metavar="DIR", help="contrast: folder with the scans of the reference group.")
    ] = None,
    scratch: Annotated[
        bool, typer.Option("--from-scratch", help="contrast: do not start from an installed standardiser.")
    ] = False,
    contrast: Annotated[
        str | None, typer.Option(metavar="t1|t2|flair", help="lohires…: contrast of the model, t1 by default.")
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Learn from your own scans, made ready by `prepare-pairs`.")
    ] = None,
    training_set: Annotated[
        str | None,
        typer.Option("--set", metavar="acquired|synthetic|combined", help="…-cnn: pairs to train on; acquired ones."),
    ] = None,
    synthetic: Annotated[
        Path | None, typer.Option(metavar="DIR", help="…-cnn: synthetic pairs, written by `synthesize-pairs`.")
    ] = None,
    misalign: Annotated[
        float | None, typer.Option(metavar="MM", help="…-cnn: put simulated pairs out of place, 0 to 3 mm.")
    ] = None,
    distil: Annotated[
        str | None, typer.Option(metavar="MODEL", help="…-cnn: teacher to follow too: a restorer's id, .onnx or card.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where the network runs.")] = "auto",
    steps: Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop after this step.")] = None,
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="Processes that simulate scans.")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the checkpoint in DIR stopped.")] = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Speak JSON lines on the standard output, for programs.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the trace of an error and the library's log.")] = False,
) -> None:
    """Train a recipe; needs the extra "torch".

    `train contrast --reference GROUP --cases DIR` teaches a standardiser the look of your own reference group;
    `train lohiresgan --contrast t2 --pairs DIR` teaches a network your own pairs of low- and high-field scans;
    `train denoise-cnn --pairs DIR` your own fast and slow scans.
    """
    with door(jsonl, debug) as session:
        checkpoint = out / "checkpoint.pt"
        if checkpoint.exists() and not resume:
            raise ParameterError(f"{checkpoint} exists", "add --resume to go on with it, or choose another --out")
        from MRHarmonizationLib.training.recipe import CONTRAST, DEGRADER, DIFFUSION, REGIONS, RESTORATION, recipe_kind

        notes: tuple[str, ...] = ()
        kind = recipe_kind(recipe)
        special = {"training_set": training_set, "synthetic": synthetic, "misalign_mm": misalign, "teacher": distil}
        special = {name: value for name, value in special.items() if value is not None}
        if special and kind != RESTORATION:
            raise ParameterError(
                f"recipe '{recipe}' is of no specialist",
                "--set, --synthetic, --misalign and --distil are for denoise-cnn and super-resolve-cnn",
            )
        if kind == CONTRAST:
            if contrast is not None or pairs is not None:
                raise ParameterError(f"recipe '{recipe}' takes no pairs", "use --reference and --cases")
            paths, model, notes = _contrast(
                recipe, out, data, reference, cases, scratch, device, steps, workers, session.progress
            )
        elif kind in (DIFFUSION, REGIONS):
            given = (reference, cases, contrast, pairs)
            if scratch or any(value is not None for value in given):
                raise ParameterError(f"recipe '{recipe}' learns from label maps alone", "leave the other options out")
            run = _diffusion if kind == DIFFUSION else _regions
            paths, model = run(recipe, out, data, device, steps, workers, session.progress)
        else:
            if reference is not None or cases is not None or scratch:
                raise ParameterError(
                    f"recipe '{recipe}' takes no reference group", "use --reference and --cases with `train contrast`"
                )
            if kind == DEGRADER and contrast is not None:
                raise ParameterError(f"recipe '{recipe}' is for all contrasts", "leave --contrast out")
            learn = _degrader if kind == DEGRADER else partial(_restoration, special=special)
            paths, model = learn(recipe, out, data, contrast, pairs, device, steps, workers, session.progress)
        texts = {name: str(path) for name, path in paths.items()}
        lines = [*(f"note: {note}" for note in notes), *(f"{name}: {path}" for name, path in texts.items())]
        session.result(texts | {"recipe": model, "notes": list(notes)}, lines)


def _restoration(
    recipe: str,
    out: Path,
    data: Path | None,
    contrast: str | None,
    pairs: Path | None,
    device: str,
    steps: int | None,
    workers: int,
    progress: Progress,
    special: Mapping[str, Any],
) -> tuple[dict[str, Path], str]:
    from MRHarmonizationLib.training.pair_manifest import with_pairs
    from MRHarmonizationLib.training.recipe import load_recipe

    plan = load_recipe(recipe, contrast)
    if pairs is not None:
        plan, scans = with_pairs(plan, pairs), pairs
    else:
        scans = data_folder(data)
    if special:
        from MRHarmonizationLib.training.specialist_recipe import specialised

        plan = specialised(plan, **special)
    from MRHarmonizationLib.training.export import publish
    from MRHarmonizationLib.training.loop import train as run_training

    best = run_training(plan, scans, out, device, steps, workers, progress)
    weights, card = publish(plan, best, out)
    return {"weights": weights, "card": card, "log": out / "log.jsonl", "checkpoint": out / "checkpoint.pt"}, plan.id


def _degrader(
    recipe: str,
    out: Path,
    data: Path | None,
    contrast: str | None,
    pairs: Path | None,
    device: str,
    steps: int | None,
    workers: int,
    progress: Progress,
) -> tuple[dict[str, Path], str]:
    from MRHarmonizationLib.training.latent_recipe import load_latent_recipe, with_real_pairs

    plan = load_latent_recipe(recipe)
    if pairs is not None:
        plan, scans, images = with_real_pairs(plan, pairs), pairs, data
    else:
        scans, images = data_folder(data), None
    from MRHarmonizationLib.training.latent_export import train_degrader

    weights, card = train_degrader(plan, scans, out, device, steps, workers, progress, images)
    return {"weights": weights, "card": card, "log": out / "log.jsonl", "checkpoint": out / "checkpoint.pt"}, plan.id


def _diffusion(
    recipe: str, out: Path, data: Path | None, device: str, steps: int | None, workers: int, progress: Progress
) -> tuple[dict[str, Path], str]:
    from MRHarmonizationLib.training.dwi_recipe import load_dwi_recipe

    plan = load_dwi_recipe(recipe)
    if steps is not None:
        plan = plan.with_steps(steps)
    scans = data_folder(data)
    from MRHarmonizationLib.training.dwi_export import publish_dwi
    from MRHarmonizationLib.training.dwi_loop import train_dwi

    best, tone = train_dwi(plan, scans, out, device, workers, progress)
    weights, card = publish_dwi(plan, best, tone, out)
    return {"weights": weights, "card": card, "log": out / "log.jsonl", "checkpoint": out / "checkpoint.pt"}, plan.id


def _regions(
    recipe: str, out: Path, data: Path | None, device: str, steps: int | None, workers: int, progress: Progress
) -> tuple[dict[str, Path], str]:
    from MRHarmonizationLib.training.region_recipe import load_region_recipe

    plan, scans = load_region_recipe(recipe), data_folder(data)
    from MRHarmonizationLib.training.region_export import publish_regions
    from MRHarmonizationLib.training.region_loop import train_regions

    best = train_regions(plan, scans, out, device, steps, workers, progress)
    weights, card = publish_regions(plan, best, out)
    return {"weights": weights, "card": card, "log": out / "log.jsonl", "checkpoint": out / "checkpoint.pt"}, plan.id


def _contrast(
    recipe: str,
    out: Path,
    data: Path | None,
    reference: str | None,
    cases: Path | None,
    scratch: bool,
    device: str,
    steps: int | None,
    workers: int,
    progress: Progress,
) -> tuple[dict[str, Path], str, tuple[str, ...]]:
    from MRHarmonizationLib.training.contrast_recipe import load_contrast_recipe

    plan = load_contrast_recipe(recipe)
    if (reference is None) != (cases is None):
        raise ParameterError(
            f"reference {reference} with cases {cases}",
            "give both: --reference GROUP --cases FOLDER with its scans; or neither, for the shipped looks",
        )
    options: dict[str, Any] = {"device": device, "workers": workers, "progress": progress}
    from MRHarmonizationLib.training.contrast_site import train_looks, train_site

    if reference is not None and cases is not None:
        done = train_site(plan, reference, cases, out, steps=steps, from_scratch=scratch, **options)
    else:
        done = train_looks(plan if steps is None else plan.with_steps(steps), data_folder(data), out, **options)
    paths = {"weights": done.weights, "card": done.card, "log": out / "log.jsonl", "checkpoint": out / "checkpoint.pt"}
    return paths, done.model, done.warnings


def data_folder(given: Path | None) -> Path:
    """Return the folder of the scans; raises InputError where there is none."""
    folder = given or Path("..") / "shared" / "data"
    if not folder.is_dir():
        raise InputError(f"data folder {folder} does not exist", "name it with --data or the variable MRH_DATA")
    return folder
