"""Training a standardiser for the shipped looks, or for the look of a site's own reference group."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.degradations.reference_look import LOOKS
from MRHarmonizationLib.inference.scan_folder import list_scans
from MRHarmonizationLib.inference.standardiser import TASK, looks_of
from MRHarmonizationLib.methods.case_profile import profile_case
from MRHarmonizationLib.methods.harmonizers import HARMONIZERS
from MRHarmonizationLib.methods.harmonizers.landmarks import LANDMARKS
from MRHarmonizationLib.methods.reference_group import ReferenceGroup, load_group
from MRHarmonizationLib.training.contrast_export import publish_contrast, start_of
from MRHarmonizationLib.training.contrast_loop import train_contrast
from MRHarmonizationLib.training.contrast_recipe import ContrastRecipe
from MRHarmonizationLib.training.contrast_samples import Head, head_of_scan
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.weights.store import list_models, verify

#: Steps of a site's training, by default: it starts from weights that know heads.
SITE_STEPS = 800
#: Steps where there is nothing to start from.
SCRATCH_STEPS = 2500
#: Cases below which a site's training is refused: one for validation, three to learn from.
FEWEST_CASES = 4
#: Method that gives a case its group's look.
ALIGNMENT = "nyul"


@dataclass(frozen=True)
class TrainedStandardiser:
    """Where a trained standardiser is.

    Attributes
    ----------
    model : str
        Id of its card.
    weights, card : Path
    cases : int
        Scans it was trained and validated on; 0 for label maps.
    warnings : tuple of str
    """

    model: str
    weights: Path
    card: Path
    cases: int = 0
    warnings: tuple[str, ...] = ()


def train_looks(recipe: ContrastRecipe, data: Path, out: Path, **options: Any) -> TrainedStandardiser:
    """Train the recipe on label maps in the reference look and publish it into ``out``.

    Parameters
    ----------
    recipe : ContrastRecipe
    data : Path
        Folder its label maps are relative to.
    out : Path
    **options
        ``device``, ``workers``, ``progress`` of ``contrast_loop.train_contrast``.
    """
    best = train_contrast(recipe, data, out, **options)
    weights, card = publish_contrast(recipe, best, out, ({"files": list(recipe.labels), "licence": recipe.licence},))
    return TrainedStandardiser(recipe.id, weights, card)


def train_site(
    recipe: ContrastRecipe,
    reference: str | os.PathLike[str],
    cases: Path,
    out: Path,
    steps: int | None = None,
    from_scratch: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> TrainedStandardiser:
    """Teach a standardiser the look of a reference group from its scans, and publish it into ``out``.

    Every scan, brought to the group's mean look, is a target; its alterations are what the network sees. ``out`` then
    serves as MRHARMONIZATION_WEIGHTS, and the model is chosen for the group by itself.

    Parameters
    ----------
    recipe : ContrastRecipe
        Its network and optimisation are used; its label maps are not.
    reference : str or path-like
        Group file, or id of a shipped group.
    cases : Path
        Folder with the group's scans.
    out : Path
    steps : int, optional
        800 by default, 2,500 from scratch; training stops earlier when it no longer helps.
    from_scratch : bool
        Do not start from an installed standardiser; where none knows the contrast, training starts from scratch anyway.
    progress : Progress, optional
    **options
        ``device``, ``workers``.

    Raises
    ------
    InputError
        Fewer than four usable scans in the folder; scans that are unlike the group.
    """
    progress = progress or Progress()
    group = load_group(reference)
    heads, warnings = _heads(group, cases, progress.part(0.0, 0.1))
    known = group.contrast in recipe.contrasts and group.contrast in LOOKS
    contrasts = recipe.contrasts if known else (group.contrast,)
    model = f"standardiser-{_plain(group.id)}"
    site = replace(
        recipe,
        id=model,
        labels=(),
        validation_labels=(),
        contrasts=contrasts,
        references={group.contrast: group.id},
        landmarks={group.contrast: tuple(float(v) for v in group.at_percentiles(LANDMARKS))},
        licence="the site's own scans",
        card=_card(group, len(heads)),
        digest="",
    )
    start = None if from_scratch or not known else _installed_start(site, out)
    site = site.with_steps(steps or (SITE_STEPS if start is not None else SCRATCH_STEPS))
    best = train_contrast(site, Path(), out, heads, start, progress=progress.part(0.1, 1.0), **options)
    source: Mapping[str, Any] = {"files": f"{len(heads)} scans of reference group '{group.id}'", "licence": "private"}
    weights, card = publish_contrast(site, best, out, (source,))
    return TrainedStandardiser(model, weights, card, len(heads), warnings)


def _heads(group: ReferenceGroup, cases: Path, progress: Progress) -> tuple[list[Head], tuple[str, ...]]:
    paths = list_scans(cases)
    align = HARMONIZERS.get(ALIGNMENT).fit(group)
    heads: list[Head] = []
    warnings: list[str] = []
    for n, path in enumerate(paths):
        progress.report(n / len(paths), f"reading {path.name}")
        volume = read_volume(path)
        exceeded = group.distance(profile_case(volume, None, group.contrast)).exceeded
        if exceeded:
            warnings.append(f"{path.name} was left out: unlike the group in {', '.join(exceeded)}")
            continue
        heads.append(head_of_scan(align.apply(volume), group.contrast))
    if len(heads) < FEWEST_CASES:
        raise InputError(
            f"folder {cases} holds {len(paths)} scans, of which {len(heads)} are like reference group '{group.id}'",
            f"give at least {FEWEST_CASES}, better 13" + (f" ({warnings[0]})" if warnings else ""),
        )
    progress.report(1.0, f"{len(heads)} scans")
    return heads, tuple(warnings)


def _installed_start(recipe: ContrastRecipe, out: Path) -> Path | None:
    for card in list_models(TASK):
        if list(looks_of(card)) == list(recipe.contrasts):
            return start_of(verify(card), recipe, out)
    return None


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name.lower()).strip("._-") or "site"


def _card(group: ReferenceGroup, cases: int) -> dict[str, Any]:
    return {
        "title": f"Standardiser of '{group.title}'",
        "version": "1.0.0",
        "summary": f"Gives {group.contrast} scans the look of reference group '{group.id}' ({cases} cases).",
        "licence": "private",
        "limitations": ["trained at a site on its own cases; evaluate it with `mrharmonize evaluate contrast`"],
    }
