"""What a specialist is trained on: acquired or synthetic pairs or both, aligned or not, with a teacher or without."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.degradations.misalignment import LARGEST_MM

if TYPE_CHECKING:
    from MRHarmonizationLib.training.recipe import Recipe

#: What a specialist finds, and the sets it can be trained on.
NOISE, DETAIL = "noise", "detail"
ACQUIRED, SYNTHETIC, COMBINED = "acquired", "synthetic", "combined"
SETS = (ACQUIRED, SYNTHETIC, COMBINED)


@dataclass(frozen=True)
class Specialist:
    """What a specialist does and what it is trained on.

    Attributes
    ----------
    part : {'noise', 'detail'}
        Denoises, or super-resolves.
    training_set : {'acquired', 'synthetic', 'combined'}
        Pairs that were measured (or simulated by the physics of a measurement, where there are none), pairs whose
        low-quality scans a degrader made, or both.
    synthetic_share : float in (0, 1)
        Of the combined set.
    misalign_mm : float
        By how much low- and high-quality scans of simulated acquired pairs do not lie on each other, root mean square.
    distil_weight : float in [0, 1)
        What the teacher's answer counts, beside 1 − ``distil_weight`` of the pairs; of use with a teacher only.
    teacher : str
        Id of the restorer whose answers are the soft targets, or the path of its card; empty for none.
    teacher_sha256 : str
        Of its weights.
    synthetic_folder : str
        Folder of the synthetic pairs.
    synthetic_pairs : tuple of str
        Their folders, relative to it; those to train on.
    origin : tuple of mapping
        What the synthetic pairs were made of, for the card: each ``files`` and ``licence``.
    """

    part: str
    training_set: str = ACQUIRED
    synthetic_share: float = 0.5
    misalign_mm: float = 0.0
    distil_weight: float = 0.3
    teacher: str = ""
    teacher_sha256: str = ""
    synthetic_folder: str = ""
    synthetic_pairs: tuple[str, ...] = ()
    origin: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)

    def __post_init__(self) -> None:
        if self.part not in (NOISE, DETAIL):
            raise ParameterError(f"a specialist of '{self.part}' is unknown", f"choose '{NOISE}' or '{DETAIL}'")
        if self.training_set not in SETS:
            raise ParameterError(f"training set '{self.training_set}' is unknown", f"choose one of: {', '.join(SETS)}")
        if not 0.0 < self.synthetic_share < 1.0 or not 0.0 <= self.distil_weight < 1.0:
            raise ParameterError(
                f"synthetic_share is {self.synthetic_share}, distil_weight {self.distil_weight}", "give shares of 1"
            )
        if not 0.0 <= self.misalign_mm <= LARGEST_MM:
            raise ParameterError(f"misalignment is {self.misalign_mm} mm", f"give 0 to {LARGEST_MM:g}")

    @property
    def words(self) -> list[str]:
        """What tells this training from that on aligned acquired pairs without a teacher."""
        words = [] if self.training_set == ACQUIRED else [self.training_set]
        words += [f"misaligned {self.misalign_mm:g}mm"] if self.misalign_mm else []
        return words + (["distilled"] if self.teacher else [])

    @property
    def suffix(self) -> str:
        """The same behind the id of a model."""
        return "".join(f"-{word.replace(' ', '-')}" for word in self.words)

    def describe(self, simulated: bool) -> str:
        """Return a sentence for the card; ``simulated`` tells that no scanner took part in the acquired pairs."""
        acquired = "pairs simulated by the physics of the measurement" if simulated else "acquired pairs"
        if self.misalign_mm:
            acquired += f", {self.misalign_mm:g} mm out of place"
        synthetic = "pairs that a degrader made"
        said = {
            ACQUIRED: f"Trained on {acquired}",
            SYNTHETIC: f"Trained on {synthetic}",
            COMBINED: f"Trained on {acquired}, and {synthetic} ({100 * self.synthetic_share:.0f} % of samples)",
        }[self.training_set]
        if self.teacher:
            said += f", with the answers of '{Path(self.teacher).stem}' counting {self.distil_weight:g}"
        return f"{said}."


def specialised(
    recipe: Recipe,
    training_set: str | None = None,
    synthetic: Path | None = None,
    misalign_mm: float | None = None,
    teacher: str | None = None,
) -> Recipe:
    """Return a specialist's recipe for another training set; its id, digest and card say so.

    Parameters
    ----------
    recipe : Recipe
        With a specialist; of its own sources or, through
        :func:`~MRHarmonizationLib.training.pair_manifest.with_pairs`, of acquired pairs that a user gave.
    training_set : {'acquired', 'synthetic', 'combined'}, optional
        The recipe's own if omitted.
    synthetic : Path, optional
        Folder of synthetic pairs, by :func:`~MRHarmonizationLib.training.synthetic_pairs.make_synthetic_pairs`.
    misalign_mm : float, optional
        Misalignment of simulated acquired pairs.
    teacher : str, optional
        Id of a restorer, or the path of its card or weights.

    Raises
    ------
    ParameterError
        The recipe is of no specialist, options that do not fit each other, or a teacher that is no restorer.
    InputError
        Synthetic pairs that cannot be used.
    ModelNotFoundError, WeightsError
        The teacher is missing or altered.
    """
    from MRHarmonizationLib.training.recipe import digest_of

    if recipe.specialist is None:
        raise ParameterError(
            f"recipe '{recipe.id}' is of no specialist",
            "use --set, --synthetic, --misalign and --distil with `train denoise-cnn` or `train super-resolve-cnn`",
        )
    chosen = replace(
        recipe.specialist,
        training_set=training_set or recipe.specialist.training_set,
        misalign_mm=recipe.specialist.misalign_mm if misalign_mm is None else misalign_mm,
    )
    if (chosen.training_set != ACQUIRED) != (synthetic is not None):
        raise ParameterError(
            f"set '{chosen.training_set}' with synthetic pairs in {synthetic}",
            "the sets synthetic and combined need --synthetic DIR, which `synthesize-pairs` writes; acquired has none",
        )
    if chosen.misalign_mm and (chosen.training_set == SYNTHETIC or recipe.is_prepared):
        raise ParameterError(
            f"misalignment of {chosen.misalign_mm:g} mm", "only simulated acquired pairs can be put out of place"
        )
    parts = [recipe.digest, chosen.training_set, f"{chosen.misalign_mm:g}"]
    if synthetic is not None:
        chosen, contents = _with_synthetic(chosen, synthetic)
        parts.append(contents)
    if teacher:
        from MRHarmonizationLib.training.distillation import teacher_card

        card = teacher_card(teacher, recipe.planes)
        chosen = replace(chosen, teacher=teacher, teacher_sha256=card.weights.sha256)
        parts += [card.weights.sha256, f"{chosen.distil_weight:g}"]
    if not chosen.suffix:
        return recipe
    summary = f"{recipe.card.get('summary', '')} {chosen.describe(not recipe.is_prepared)}".strip()
    title = f"{recipe.card.get('title', recipe.id)}: {', '.join(chosen.words)}"
    return replace(
        recipe,
        id=recipe.id + chosen.suffix,
        specialist=chosen,
        digest=digest_of(*parts),
        card={**recipe.card, "title": title, "summary": summary},
    )


def _with_synthetic(specialist: Specialist, folder: Path) -> tuple[Specialist, str]:
    """Return a specialist that knows its synthetic pairs, and what tells them from others."""
    from MRHarmonizationLib.training.pair_manifest import TRAIN, check_files, read_manifest

    manifest = read_manifest(folder)
    pairs = [entry for entry in manifest["pairs"] if entry["kind"] == "pair" and entry["split"] == TRAIN]
    if not pairs:
        raise InputError(f"{folder} holds no pairs to train on", "make them with `mrharmonize synthesize-pairs`")
    check_files(folder, pairs)
    made = manifest.get("synthetic")
    if not made:
        raise InputError(f"pairs in {folder} were not synthesised", "give acquired pairs with --pairs")
    origin = [{**entry, "licence": f"{entry['licence']}; degraded by {made['kind']}"} for entry in made["origin"]]
    known = replace(
        specialist,
        synthetic_folder=str(folder.resolve()),
        synthetic_pairs=tuple(entry["folder"] for entry in pairs),
        origin=tuple(origin),
    )
    return known, json.dumps([entry["files"] for entry in pairs], sort_keys=True)
