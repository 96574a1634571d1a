"""Checkpoints: written whole or not at all, and refused where they belong to another recipe."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

from MRHarmonizationLib.core.errors import InputError, WeightsError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.volumes.files import write_bytes_atomic, write_text_atomic


def save_checkpoint(path: Path, recipe_digest: str, values: Mapping[str, Any]) -> None:
    """Write values (tensors, numbers, state dictionaries) with the digest of their recipe, atomically.

    Raises
    ------
    OutputError
        The file cannot be written, the disk is full; the checkpoint written before is kept.
    """
    _save(path, {**values, "recipe": recipe_digest})


def save_weights(path: Path, network: nn.Module) -> None:
    """Write the weights of a network as :func:`save_checkpoint` writes its values."""
    _save(path, network.state_dict())


def _save(path: Path, values: Mapping[str, Any]) -> None:
    content = io.BytesIO()
    torch.save(values, content)
    write_bytes_atomic(content.getvalue(), path)


def load_weights(network: nn.Module, path: Path) -> nn.Module:
    """Give a network the weights that :func:`save_weights` wrote, and return it in evaluation mode.

    Raises
    ------
    WeightsError
        The file cannot be read, or holds other weights.
    """
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, OSError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(
            f"{path} does not hold weights of '{type(network).__name__}': {reason[0]}", "train again"
        ) from error
    return network.eval()


def load_checkpoint(path: Path, recipe_id: str, recipe_digest: str, device: torch.device) -> dict[str, Any]:
    """Return what :func:`save_checkpoint` wrote.

    Raises
    ------
    InputError
        It belongs to another version of the recipe.
    """
    values: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    if values["recipe"] != recipe_digest:
        raise InputError(
            f"checkpoint {path.name} belongs to another version of recipe '{recipe_id}'",
            "train into another folder with --out",
        )
    return values


def trim_log(path: Path, step: int) -> None:
    """Remove what a run that was killed wrote into its log behind its last checkpoint, torn lines among it.

    Parameters
    ----------
    path : Path
        JSON lines with the key ``step``; need not exist.
    step : int
        Of the checkpoint from which the run goes on.
    """
    if not path.is_file():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    kept = []
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            if int(json.loads(line)["step"]) <= step:
                kept.append(line)
    if kept != lines:
        write_text_atomic("".join(line + "\n" for line in kept), path)


@contextlib.contextmanager
def stop_between_steps(progress: Progress) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end a run at its next check of ``progress`` instead of in the midst of a step.

    A second one ends it at once. Does nothing outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    former = {number: handler for number, handler in handlers.items() if handler is not None}

    def stop(number: int, frame: FrameType | None) -> None:
        progress.cancel()
        for each, handler in former.items():
            signal.signal(each, handler)

    try:
        for number in former:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
