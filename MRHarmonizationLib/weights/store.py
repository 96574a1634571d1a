"""Where model cards are found, and the check every weight file passes before it runs."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from pathlib import Path

from MRHarmonizationLib.core.errors import ModelNotFoundError, OutputError, WeightsError
from MRHarmonizationLib.volumes.atomic import digest_file, write_bytes_atomic, write_json_atomic
from MRHarmonizationLib.weights.card import Card, WeightFile, read_card

FOLDERS_VARIABLE = "MRHARMONIZATION_WEIGHTS"
"""Environment variable: folders searched before all others, separated like PATH."""

_LOGGER = logging.getLogger(__name__)
_VERIFIED: dict[tuple[str, int, int, str], Path] = {}


def user_folder() -> Path:
    """Return the folder of the user's own models (it need not exist)."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "MRHarmonization" / "weights"


def search_folders() -> tuple[Path, ...]:
    """Return the folders searched for cards, first match first: environment, user, package."""
    named = os.environ.get(FOLDERS_VARIABLE, "")
    folders = [Path(entry).expanduser() for entry in named.split(os.pathsep) if entry.strip()]
    return (*folders, user_folder(), Path(__file__).parent)


def list_models(task: str | None = None) -> list[Card]:
    """Return the cards of all models that can be found, sorted by id.

    A card that cannot be read is left out and logged as a warning, so that one broken file does not hide the others;
    asking for it by name with :func:`get_model` raises what is wrong with it.

    Parameters
    ----------
    task : str, optional
        Only models for this task, for example ``"enhance"``.
    """
    cards: dict[str, Card] = {}
    for path in _card_paths():
        try:
            card = read_card(path)
        except WeightsError as error:
            _LOGGER.warning("%s", error)
            continue
        if card.id in cards:
            _LOGGER.debug("model '%s' in '%s' is hidden by '%s'", card.id, path.parent, cards[card.id].folder)
        cards.setdefault(card.id, card)
    return sorted((card for card in cards.values() if task in (None, card.task)), key=lambda card: card.id)


def get_model(model_id: str) -> Card:
    """Return the card of one model.

    Raises
    ------
    ModelNotFoundError
        If no folder has such a card; the message names the models there are.
    WeightsError
        If its card is malformed.
    """
    cards = list_models()
    for card in cards:
        if card.id == model_id:
            return card
    for path in _card_paths():
        if path.stem == model_id:
            read_card(path)  # raises what is wrong with the card that list_models left out
    available = ", ".join(card.id for card in cards) or "none"
    raise ModelNotFoundError(
        f"there is no model '{model_id}' (available: {available})",
        f"choose one of them, or name the folder of your models in {FOLDERS_VARIABLE}",
    )


def verify(card: Card, weights: WeightFile | None = None) -> Path:
    """Return the path of a card's weight file after checking its size and SHA-256.

    The result is remembered for as long as path, time and size of the file stay the same.

    Parameters
    ----------
    card : Card
    weights : WeightFile, optional
        One of ``card.weight_files``; the default one if omitted.

    Raises
    ------
    WeightsError
        If the file is missing, has another size (a truncated download) or other content than the card says.
    """
    wanted = card.weights if weights is None else weights
    path = card.folder / wanted.file
    remedy = "download or import the model again"
    try:
        status = path.stat()
    except OSError as error:
        raise WeightsError(f"weight file '{path}' of model '{card.id}' is missing", remedy) from error
    key = (str(path.resolve()), status.st_mtime_ns, status.st_size, wanted.sha256)
    if key in _VERIFIED:
        return _VERIFIED[key]
    if status.st_size != wanted.bytes:
        raise WeightsError(
            f"weight file '{path}' of model '{card.id}' has {status.st_size} bytes, its card says {wanted.bytes}",
            remedy,
        )
    actual = digest_file(path).removeprefix("sha256:")
    if actual != wanted.sha256:
        raise WeightsError(
            f"weight file '{path}' of model '{card.id}' has SHA-256 {actual}, its card says {wanted.sha256}", remedy
        )
    _VERIFIED[key] = path
    return path


def import_weights(weights_path: Path, card_path: Path, folder: Path | None = None) -> Card:
    """Copy a model from disk into the user's folder, checked and atomically.

    Parameters
    ----------
    weights_path : pathlib.Path
        Weight file, ``.onnx`` or ``.pt``; it may have another name than the card gives it.
    card_path : pathlib.Path
        Its card.
    folder : pathlib.Path, optional
        Where to put both; :func:`user_folder` by default.

    Returns
    -------
    Card
        The card in its new place.

    Raises
    ------
    WeightsError
        If the card is malformed or no weight file it names has the content of ``weights_path``.
    OutputError
        If the folder cannot be written; nothing is left half-written.
    """
    card = read_card(Path(card_path))
    source = Path(weights_path)
    try:
        content = source.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"cannot read weight file '{source}': {error.strerror or error}",
            "choose the .onnx or .pt file of the model",
        ) from error
    actual = hashlib.sha256(content).hexdigest()
    matching = [weights for weights in card.weight_files if weights.sha256 == actual]
    if not matching:
        named = ", ".join(weights.sha256 for weights in card.weight_files)
        raise WeightsError(
            f"weight file '{source}' has SHA-256 {actual}, card '{card_path}' names {named}",
            "choose the weight file that belongs to this card",
        )
    values = card.to_dict()
    if matching[0] is not card.weights:
        values.update(vars(matching[0]), checkpoint=None)
    elif card.checkpoint is not None:
        values["checkpoint"] = None
    target = user_folder() if folder is None else Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot create '{target}': {error.strerror or error}", "choose a writable folder") from error
    # The card comes last: a model without its card is not listed, a card without its weights would be.
    write_bytes_atomic(content, target / matching[0].file)
    return read_card(write_json_atomic(values, target / f"{card.id}.json"))


def _card_paths() -> list[Path]:
    return [path for folder in search_folders() if folder.is_dir() for path in sorted(folder.glob("*.json"))]
