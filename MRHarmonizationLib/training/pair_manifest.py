"""What ``prepare-pairs`` has written: one JSON file that names every pair, how good it is, and what was rejected."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.training.recipe import ENHANCE, Recipe, Source, digest_of
from MRHarmonizationLib.volumes.files import digest_file

MANIFEST, FORMAT, VERSION = "manifest.json", "mrharmonize-pairs", 1
#: Files of a pair's folder (and of an unpaired scan's: the first and the last).
SCAN, LOW, HIGH, VALID, RECORD = "scan.nii.gz", "low.nii.gz", "high.nii.gz", "valid.nii.gz", "record.json"
TRAIN, VALIDATION = "train", "validation"


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a folder of pairs.

    Raises
    ------
    InputError
        There is none, it is not complete, or of another version.
    """
    path = folder / MANIFEST
    try:
        values = dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"{folder} holds no {MANIFEST}", "make it with `mrharmonize prepare-pairs`") from None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read: {error}", "run `mrharmonize prepare-pairs` again") from error
    if values.get("format") != FORMAT or values.get("version") != VERSION:
        raise InputError(
            f"{path} is of format {values.get('format')} {values.get('version')}, expected {FORMAT} {VERSION}",
            "run `mrharmonize prepare-pairs` of this version",
        )
    if not values.get("complete"):
        raise InputError(f"{path} is not complete", "run the same `mrharmonize prepare-pairs` again: it goes on")
    return values


def assign_splits(subjects: Iterable[str], validation_share: float) -> dict[str, str]:
    """Return subject → 'train' or 'validation', by a digest of the name: subjects keep theirs when others join.

    At least one of two or more subjects validates, and at least one trains.

    Examples
    --------
    >>> sorted(assign_splits(["sub-01", "sub-02"], 0.2).values())
    ['train', 'validation']
    """
    drawn = {s: int(hashlib.sha256(s.encode()).hexdigest()[:8], 16) / 2**32 for s in set(subjects)}
    chosen = {s for s, value in drawn.items() if value < validation_share}
    if len(drawn) > 1 and validation_share > 0:
        chosen = chosen or {min(drawn, key=lambda s: drawn[s])}
        if len(chosen) == len(drawn):
            chosen.remove(max(drawn, key=lambda s: drawn[s]))
    return {s: VALIDATION if s in chosen and len(drawn) > 1 else TRAIN for s in sorted(drawn)}


def with_pairs(recipe: Recipe, folder: Path) -> Recipe:
    """Return a recipe that learns from prepared scans instead of its own sources.

    Parameters
    ----------
    recipe : Recipe
        Of one contrast, or of all.
    folder : Path
        Written by ``prepare-pairs``; takes the place of the data folder.

    Raises
    ------
    InputError
        No complete manifest, no scan to train on, a file that is missing or not what the manifest says.
    ParameterError
        Another contrast than the recipe's, or unpaired scans for a recipe that needs pairs.
    """
    if recipe.task != ENHANCE and recipe.specialist is None:
        raise ParameterError(f"recipe '{recipe.id}' makes its own pairs", "use it without --pairs")
    manifest = read_manifest(folder)
    known = {entry["contrast"] for entry in manifest["pairs"]} - {""}
    if recipe.contrast and known - {recipe.contrast}:
        raise ParameterError(
            f"pairs in {folder} are of contrast {', '.join(sorted(known))}, the recipe of '{recipe.contrast}'",
            "choose with --contrast",
        )
    if recipe.specialist is not None and (manifest["unpaired"] or manifest.get("synthetic")):
        raise ParameterError(f"{folder} holds no acquired pairs", "give synthetic ones with --synthetic")
    check_files(folder, manifest["pairs"])
    licence = "scans given by the user"

    def source(kind: str, split: str) -> tuple[Source, ...]:
        files = tuple(e["folder"] for e in manifest["pairs"] if e["kind"] == kind and e["split"] == split)
        return (Source(kind, files, 1.0, licence=licence, contrast=recipe.contrast),) if files else ()

    kinds = ("low", "high") if manifest["unpaired"] else ("pair",)
    sources = tuple(s for kind in kinds for s in source(kind, TRAIN))
    if len(sources) < len(kinds):
        raise InputError(f"{folder} holds no scans to train on", "see what its manifest says of rejected scans")
    text = json.dumps([entry["files"] for entry in manifest["pairs"]], sort_keys=True)
    return replace(
        recipe,
        id=f"{recipe.id}-own",
        sources=sources,
        validation=source("pair", VALIDATION),
        digest=digest_of(recipe.digest, text),
        card={**recipe.card, "title": f"{recipe.card.get('title', recipe.id)}, own scans"},
    )


def check_files(folder: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Raise InputError unless every file of the entries of a manifest is there and is what the manifest says."""
    for entry in entries:
        for name, file in entry["files"].items():
            _check_file(folder / entry["folder"] / name, file)


def _check_file(path: Path, expected: Mapping[str, Any]) -> None:
    if not path.is_file():
        raise InputError(f"{path} of the manifest is missing", "run `mrharmonize prepare-pairs` again")
    if digest_file(path) != expected["sha256"]:
        raise InputError(f"{path} is not the file of the manifest", "run `mrharmonize prepare-pairs` again")
