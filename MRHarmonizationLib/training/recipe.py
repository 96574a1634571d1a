"""Recipes: everything a training run needs, as one JSON file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.training.specialist_recipe import Specialist

RECIPES = Path(__file__).parent / "recipes"
#: Kinds of recipes: networks that restore scans, and those that standardise their contrast.
RESTORATION, CONTRAST = "restoration", "contrast"
#: Networks for diffusion scans.
DIFFUSION = "diffusion"
#: Networks that name the structures of the brain.
REGIONS = "regions"
#: Networks that make scans worse: the autoencoder and the denoisers of the latent-diffusion degraders.
DEGRADER = "degrader"
#: Networks from low to high field, one contrast each, with or without an adversary: the same loop as restoration.
TRANSLATION = "translation"
#: Tasks of restoration networks: the correction of an interpolated scan, or noise and detail of a scan on its own grid.
ENHANCE, RESTORE = "enhance", "restore"

#: Mode of an adversary with two generators; what sources are of; contrasts that a recipe may be limited to.
CYCLE, CYCLE_ARCHITECTURE = "cycle", "cyclegan_pair"
PREPARED_KINDS = ("pair", "low", "high")
SOURCE_KINDS = ("labels", "image", *PREPARED_KINDS)
CONTRASTS = ("t1", "t2", "flair")


@dataclass(frozen=True)
class Source:
    """One kind of training images.

    Attributes
    ----------
    kind : {'labels', 'image', 'pair', 'low', 'high'}
        Label maps turned into images, or real scans, of both of which a low-field scan is simulated; pairs of scans;
        low- and high-field scans that are no pairs. The last three are what ``prepare-pairs`` writes.
    files : tuple of str
        Paths relative to the data folder; of a pair or an unpaired scan, its folder.
    weight : float
        Share of samples drawn from this source.
    in_plane_only : bool
        The scan has thick slices: only its planes hold 1 mm detail, so slices are simulated within them.
    licence : str
        Where the data come from and what allows their use.
    contrast : str
        't1', 't2' or 'flair': what the scan is, or the label map is made to look like; empty for any.
    """

    kind: str
    files: tuple[str, ...]
    weight: float
    in_plane_only: bool = False
    licence: str = ""
    contrast: str = ""

    def __post_init__(self) -> None:
        if self.kind not in SOURCE_KINDS:
            raise ParameterError(f"source kind '{self.kind}' is unknown", f"choose one of: {', '.join(SOURCE_KINDS)}")
        if self.contrast not in ("", *CONTRASTS):
            raise ParameterError(f"contrast '{self.contrast}' is unknown", f"choose one of: {', '.join(CONTRASTS)}")
        if not self.files or not self.weight > 0:
            raise ParameterError(
                f"source has {len(self.files)} files and weight {self.weight}", "give files and a positive weight"
            )


@dataclass(frozen=True)
class Optimisation:
    """How the network is fitted.

    Attributes
    ----------
    steps, batch, patch : int
        Optimiser steps, patches per step, patch size in voxels along each trained axis.
    optimiser : {'adamw', 'muon', 'adam'}
        Muon moves the convolutions, Adam the rest; 'adam' is that of adversarial training; see
        ``training/optimiser.py``.
    schedule : {'cosine', 'linear'}
        Cosine decay to 1 % of the learning rate; or a constant rate, then a linear decay to 1 % over the last
        ``decay_share`` of the steps.
    decay_share : float
        See ``schedule``.
    learning_rate, weight_decay, warmup_steps, gradient_clip : float
    ema_decay : float
        Of the averaged weights, which are what is validated and exported.
    buffer, refresh_steps : int
        Samples kept in memory, and steps between replacements of the oldest.
    ssim_weight, gradient_weight : float
        Weights of the loss terms beside the Charbonnier term.
    charbonnier_epsilon : float
        Errors below it count squared, above it linearly (normalised intensity); at 0 all count linearly (L1).
    lesion_weight : float
        What a voxel of a drawn lesion counts, where others count 1: lesions are rare, and must not be smoothed away.
    """

    steps: int = 5000
    batch: int = 24
    patch: int = 96
    optimiser: str = "adamw"
    schedule: str = "cosine"
    decay_share: float = 0.8
    learning_rate: float = 8e-4
    weight_decay: float = 1e-3
    warmup_steps: int = 100
    gradient_clip: float = 1.0
    ema_decay: float = 0.998
    buffer: int = 96
    refresh_steps: int = 2
    ssim_weight: float = 0.05
    gradient_weight: float = 0.1
    charbonnier_epsilon: float = 0.02
    lesion_weight: float = 1.0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("optimiser", self.optimiser, ("adamw", "muon", "adam")),
            ("schedule", self.schedule, ("cosine", "linear")),
        ):
            if value not in known:
                raise ParameterError(f"{name} '{value}' is unknown", f"choose one of: {', '.join(known)}")
        if self.charbonnier_epsilon == 0 and self.gradient_weight > 0:
            raise ParameterError(
                f"charbonnier_epsilon is 0 and gradient_weight {self.gradient_weight}",
                "give an epsilon, or no gradients",
            )


@dataclass(frozen=True)
class Adversary:
    """Who judges the generator, and what that counts.

    Attributes
    ----------
    mode : {'gan', 'cgan', 'cycle'}
        The judge sees the made plane alone; or beside the low-field plane (pix2pix); or two generators and two judges
        in a cycle, which needs no pairs (CycleGAN).
    loss : {'lsgan', 'vanilla'}
        Squares (Mao et al., ICCV 2017), or the logarithms of the first GAN.
    pixel_weight : float
        Of the pixel loss of the optimisation, beside a weight of 1 of the judge; of no use in a cycle.
    cycle_weight, identity_weight : float
        Of there and back, and of leaving alone what is high (or low) already; of use in a cycle only.
    start_step : int
        First step at which the judge has a say.
    learning_rate : float
        Of the judges; follows the schedule of the generator.
    pool : int
        Made planes kept to show to the judges later (cycle).
    discriminator : mapping
        Keyword arguments of ``patch_discriminator`` beside ``in_channels``.
    """

    mode: str
    loss: str = "lsgan"
    pixel_weight: float = 100.0
    cycle_weight: float = 10.0
    identity_weight: float = 5.0
    start_step: int = 0
    learning_rate: float = 2e-4
    pool: int = 50
    discriminator: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value, known in (
            ("adversary mode", self.mode, ("gan", "cgan", CYCLE)),
            ("adversary loss", self.loss, ("lsgan", "vanilla")),
        ):
            if value not in known:
                raise ParameterError(f"{name} '{value}' is unknown", f"choose one of: {', '.join(known)}")
        for name in ("pixel_weight", "cycle_weight", "identity_weight", "start_step", "learning_rate", "pool"):
            if getattr(self, name) < 0:
                raise ParameterError(f"{name} of the adversary is {getattr(self, name)}", "give 0 or more")


@dataclass(frozen=True)
class Recipe:
    """A training run.

    Attributes
    ----------
    id : str
        Also the id of the published model.
    layout : {'planes-2.5d', 'volume-3d'}
    planes : int
        Planes per stack of the first layout.
    architecture, architecture_parameters
        Network and its keyword arguments.
    seed : int
        Seed of all draws.
    block : int
        Edge of the simulated blocks in voxels of 1 mm.
    sources, validation : tuple of Source
        Training and validation images; no subject may be in both.
    task : {'enhance', 'restore'}
        Correct interpolated scans of thick slices; or split scans on their own grid into noise, image and detail.
    optimisation : Optimisation
    degradation : mapping
        Options of the sampler: ``general`` (share of the wide domain).
    card : mapping
        What only people can say of the model, for its card: title, version, summary, licence, domain, limitations.
    digest : str
        ``sha256:<hex>`` of everything in the recipe that shapes the weights.
    adversary : Adversary, optional
        None trains by the pixel loss alone.
    contrast : str
        The one contrast that is trained, 't1', 't2' or 'flair'; empty for all at once.
    specialist : Specialist, optional
        A restorer that does one thing, and what it is trained on.
    """

    id: str
    layout: str
    architecture: str
    architecture_parameters: Mapping[str, Any]
    sources: tuple[Source, ...]
    validation: tuple[Source, ...]
    task: str = ENHANCE
    planes: int = 5
    seed: int = 0
    block: int = 104
    optimisation: Optimisation = field(default_factory=Optimisation)
    degradation: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    adversary: Adversary | None = None
    contrast: str = ""
    specialist: Specialist | None = None

    @property
    def is_prepared(self) -> bool:
        """Whether the sources are what ``prepare-pairs`` wrote."""
        return any(s.kind in PREPARED_KINDS for s in (*self.sources, *self.validation))

    def __post_init__(self) -> None:
        if self.is_prepared and not all(s.kind in PREPARED_KINDS for s in (*self.sources, *self.validation)):
            raise ParameterError(f"recipe '{self.id}' mixes prepared pairs with other sources", "give one of the two")
        if self.adversary is not None and self.layout != "planes-2.5d":
            raise ParameterError(f"layout '{self.layout}' has no adversary", "choose 'planes-2.5d'")
        paired = self.adversary is None or self.adversary.mode != CYCLE
        if paired == (self.architecture == CYCLE_ARCHITECTURE):
            raise ParameterError(
                f"architecture '{self.architecture}' does not fit the adversary of recipe '{self.id}'",
                f"use '{CYCLE_ARCHITECTURE}' with the adversary mode '{CYCLE}', and only there",
            )
        if paired and any(s.kind in ("low", "high") for s in self.sources):
            raise ParameterError(f"recipe '{self.id}' learns from pairs", "only a CycleGAN learns from unpaired scans")
        if self.layout not in ("planes-2.5d", "volume-3d"):
            raise ParameterError(f"layout '{self.layout}' is unknown", "choose 'planes-2.5d' or 'volume-3d'")
        if self.task not in (ENHANCE, RESTORE):
            raise ParameterError(f"task '{self.task}' is unknown", f"choose '{ENHANCE}' or '{RESTORE}'")
        if self.task == RESTORE and self.layout != "planes-2.5d":
            raise ParameterError(f"layout '{self.layout}' cannot be used to {RESTORE}", "choose 'planes-2.5d'")
        if self.specialist is not None and self.task != RESTORE:
            raise ParameterError(f"a specialist is not for the task '{self.task}'", f"choose '{RESTORE}'")
        train = {f for s in self.sources for f in s.files}
        shared = sorted(train & {f for s in self.validation for f in s.files})
        if shared:
            raise ParameterError(f"recipe '{self.id}' trains and validates on {shared}", "split by subject")


def list_recipes(kind: str | None = RESTORATION) -> list[str]:
    """Return the names of the shipped recipes of a kind; of all kinds for None."""
    names = sorted(path.stem for path in RECIPES.glob("*.json"))
    return [name for name in names if kind is None or recipe_kind(name) == kind]


def recipe_kind(name_or_path: str | Path) -> str:
    """Return what a recipe trains, for example :data:`RESTORATION`; raises as :func:`read_recipe` does."""
    return str(read_recipe(name_or_path)[0].get("kind", RESTORATION))


def read_recipe(name_or_path: str | Path) -> tuple[dict[str, Any], str]:
    """Read a shipped recipe by name or any recipe by its path.

    A recipe that ``extends`` another takes over all that it does not say itself; of ``optimisation`` and ``card``, key
    by key. Recipes to be compared so differ in nothing but what their files say.

    Returns
    -------
    values : dict
        As the file holds them, together with those it extends.
    digest : str
        ``sha256:<hex>`` of all of them but ``card``.

    Raises
    ------
    ParameterError
        Unknown name, unreadable file.
    """
    path = Path(name_or_path)
    if path.suffix != ".json":
        path = RECIPES / f"{name_or_path}.json"
    if not path.is_file():
        shipped = ", ".join(list_recipes(None))
        raise ParameterError(f"recipe '{name_or_path}' does not exist", f"shipped recipes: {shipped}; or a .json path")
    text = path.read_bytes()
    try:
        values = dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise ParameterError(f"recipe '{path}' is not a JSON object: {error}", "correct the file") from error
    if "extends" in values:
        base, _ = read_recipe(str(values.pop("extends")))
        merged = {key: {**base.get(key, {}), **values.get(key, {})} for key in ("optimisation", "card")}
        values = {**base, **values, **merged}
    shaping = json.dumps({k: v for k, v in values.items() if k != "card"}, sort_keys=True)
    return values, f"sha256:{hashlib.sha256(shaping.encode()).hexdigest()}"


def load_recipe(name_or_path: str | Path, contrast: str | None = None) -> Recipe:
    """Load a shipped recipe by name or any recipe by its path.

    Parameters
    ----------
    name_or_path : str or Path
    contrast : {'t1', 't2', 'flair'}, optional
        What a recipe of one contrast is to be trained for, in place of the contrast that it names.

    Raises
    ------
    ParameterError
        Unknown name, unreadable file, unknown or missing keys, another kind of recipe; a contrast for a recipe of all
        contrasts, or without data.
    """
    values, digest = read_recipe(name_or_path)
    if values.pop("kind", RESTORATION) not in (RESTORATION, TRANSLATION):
        raise ParameterError(f"recipe '{name_or_path}' trains no restoration network", "use `mrharmonize train`")
    for key in ("sources", "validation"):
        values[key] = tuple(build_parameters(Source, s) for s in values.get(key, ()))
    values["optimisation"] = build_parameters(Optimisation, values.get("optimisation", {}))
    if values.get("adversary") is not None:
        values["adversary"] = build_parameters(Adversary, values["adversary"])
    if values.get("specialist") is not None:
        values["specialist"] = build_parameters(Specialist, values["specialist"])
    if contrast is not None and not values.get("contrast"):
        raise ParameterError(f"recipe '{name_or_path}' is for all contrasts, not for '{contrast}'", "leave it out")
    chosen = contrast or values.get("contrast")
    recipe = build_parameters(Recipe, {**values, "contrast": "", "digest": digest})
    return for_contrast(recipe, str(chosen)) if chosen else recipe


def for_contrast(recipe: Recipe, contrast: str) -> Recipe:
    """Return a recipe of one contrast: with it in its name, without the sources of others, label maps made to look so.

    Raises
    ------
    ParameterError
        Unknown contrast, or no source of it.
    """
    if contrast not in CONTRASTS:
        raise ParameterError(f"contrast '{contrast}' is unknown", f"choose one of: {', '.join(CONTRASTS)}")
    kept = [
        tuple(replace(s, contrast=contrast) for s in sources if s.contrast in ("", contrast))
        for sources in (recipe.sources, recipe.validation)
    ]
    if not kept[0]:
        raise ParameterError(f"recipe '{recipe.id}' has no source of contrast '{contrast}'", "add one to its file")
    modality = {"t1": "T1w", "t2": "T2w", "flair": "FLAIR"}[contrast]
    domain = {**recipe.card.get("domain", {}), "modalities": [modality]}
    card = {**recipe.card, "title": f"{recipe.card.get('title', recipe.id)}, {modality}", "domain": domain}
    return replace(
        recipe,
        id=f"{recipe.id}-{contrast}",
        contrast=contrast,
        sources=kept[0],
        validation=kept[1],
        card=card,
        digest=digest_of(recipe.digest, contrast),
    )


def digest_of(*parts: str) -> str:
    """Return ``sha256:<hex>`` of texts that together shape weights."""
    return f"sha256:{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}"
