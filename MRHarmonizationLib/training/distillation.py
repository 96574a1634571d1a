"""Knowledge distillation: beside the pairs, a network follows the answers of a teacher to the same scans.

The answers of a teacher lie where the scan lies, also where the high-quality partner does not: so they pull a network
that is trained on misaligned pairs away from the mean over all places, which is blurred.

Source: Hinton et al. (2015), arXiv 1503.02531, soft targets; for regression with L1 as here compare Saputra et al.,
ICCV 2019, arXiv 1908.00858.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from MRHarmonizationLib.core.errors import ParameterError, WeightsError
from MRHarmonizationLib.inference.backends import Backend, choose_backend
from MRHarmonizationLib.inference.restore import restorer
from MRHarmonizationLib.training.loop import TrainingState, train_step
from MRHarmonizationLib.training.patches import draw_batch
from MRHarmonizationLib.training.recipe import Recipe
from MRHarmonizationLib.training.restore_samples import RestoreSample
from MRHarmonizationLib.training.samples import Sample
from MRHarmonizationLib.weights.card import read_card

if TYPE_CHECKING:
    from MRHarmonizationLib.weights.card import Card


def teacher_card(teacher: str, planes: int) -> Card:
    """Return the card of a teacher.

    Parameters
    ----------
    teacher : str
        Id of a model, or the path of a card (.json) or of weights (.onnx) that lie beside their card.
    planes : int
        Planes of a stack that the pupil sees.

    Raises
    ------
    ParameterError
        It is no restorer, or sees other planes than the pupil.
    ModelNotFoundError, WeightsError
        There is none, or its card is malformed.
    """
    path = Path(teacher)
    if path.suffix in (".json", ".onnx"):
        described = path.with_suffix(".json")
        if not described.is_file():
            raise WeightsError(f"teacher '{teacher}' has no card {described.name} beside it", "publish it with a card")
        card = read_card(described)
    else:
        card = restorer(teacher)
    if card.task != "restore" or card.input.planes != planes:
        raise ParameterError(
            f"teacher '{card.id}' is made for '{card.task}' and sees {card.input.planes} planes",
            f"choose a restorer that sees {planes}",
        )
    return card


@dataclass
class DistilledState(TrainingState):
    """A training state with a teacher.

    Attributes
    ----------
    teacher : Backend or None
    """

    teacher: Backend | None = None

    @staticmethod
    def teacher_of(recipe: Recipe, device: torch.device) -> Backend:
        """Return the teacher of a recipe, ready to run.

        Raises
        ------
        WeightsError
            Its weights are not those the recipe was made with.
        """
        assert recipe.specialist is not None
        card = teacher_card(recipe.specialist.teacher, recipe.planes)
        if card.weights.sha256 != recipe.specialist.teacher_sha256:
            raise WeightsError(f"teacher '{card.id}' has changed since the run began", "train into another folder")
        return choose_backend(card, "auto", "auto" if device.type == "cuda" else "cpu", torch.get_num_threads())

    def advance(
        self, rng: np.random.Generator, buffer: deque[Sample | RestoreSample], recipe: Recipe, device: torch.device
    ) -> float:
        """Draw a batch, ask the teacher about it, and do one step; return the loss."""
        inputs, target, weight = draw_batch(rng, buffer, recipe)
        return train_step(self, (inputs, self.with_soft_targets(inputs, target), weight), recipe, device)

    def with_soft_targets(self, inputs: np.ndarray, target: np.ndarray) -> np.ndarray:
        """Return targets (N, 3, H, W): blurred and sharp truth, and the image that the teacher restores."""
        assert self.teacher is not None
        planes = inputs.shape[1] - 2
        parts = self.teacher.run(np.ascontiguousarray(inputs, np.float32))
        image = inputs[:, planes // 2 : planes // 2 + 1]
        return np.concatenate([target, image - parts[:, :1] + parts[:, 1:]], axis=1).astype(np.float32)
