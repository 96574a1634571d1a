"""The loss of a specialist: of its restored image alone, and of the soft target of a teacher where there is one."""

from __future__ import annotations

import torch

from MRHarmonizationLib.training.losses import (
    absolute_error,
    charbonnier,
    gradient_difference,
    structural_dissimilarity,
)
from MRHarmonizationLib.training.recipe import Recipe


def specialist_loss(
    parts: torch.Tensor, image: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, recipe: Recipe
) -> torch.Tensor:
    """Return the loss of a specialist's restored image, its soft target counted where there is one.

    Parameters
    ----------
    parts : Tensor, shape (N, 2, H, W)
        Noise and detail.
    image : Tensor, shape (N, 1, H, W)
    target : Tensor, shape (N, 2 or 3, H, W)
        Blurred and sharp truth; the teacher's restored image.
    weight : Tensor, shape (N, 1, H, W)
    recipe : Recipe
    """
    o = recipe.optimisation
    restored, sharp = image - parts[:, :1] + parts[:, 1:], target[:, 1:2]
    loss = charbonnier(restored, sharp, o.charbonnier_epsilon, weight)
    if o.gradient_weight:
        loss = loss + o.gradient_weight * gradient_difference(restored, sharp, o.charbonnier_epsilon)
    if o.ssim_weight:
        loss = loss + o.ssim_weight * structural_dissimilarity(restored, sharp)
    if target.shape[1] < 3:
        return loss
    assert recipe.specialist is not None
    share = recipe.specialist.distil_weight
    return (1.0 - share) * loss + share * absolute_error(restored, target[:, 2:], weight)
