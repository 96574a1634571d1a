"""Loss terms on normalised intensities."""

from __future__ import annotations

import torch
from torch.nn import functional

#: SSIM constants for data range 1. Source: Wang et al., IEEE TIP 13:600 (2004), doi 10.1109/TIP.2003.819861.
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
#: Edge of the uniform SSIM window, and the distance of the scored windows (scoring all costs more than the network).
SSIM_WINDOW, SSIM_STRIDE = 7, 3


def charbonnier(
    prediction: torch.Tensor, target: torch.Tensor, epsilon: float, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Return mean(w · (sqrt(d² + ε²) − ε)): squared for errors below ε, absolute above; w is 1 when omitted.

    With ε = 0 it is :func:`absolute_error`.
    """
    if epsilon == 0:
        return absolute_error(prediction, target, weight)
    error = torch.sqrt((prediction - target) ** 2 + epsilon**2) - epsilon
    return error.mean() if weight is None else (error * weight).mean()


def absolute_error(prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Return mean(w · abs(d)), the L1 loss; w is 1 when omitted."""
    error = (prediction - target).abs()
    return error.mean() if weight is None else (error * weight).mean()


def gradient_difference(prediction: torch.Tensor, target: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Return the mean Charbonnier distance of finite differences along every spatial axis of (N, C, …)."""
    difference = prediction - target
    terms = []
    for axis in range(2, difference.ndim):
        step = torch.diff(difference, dim=axis)
        terms.append((torch.sqrt(step**2 + epsilon**2) - epsilon).mean())
    return torch.stack(terms).mean()


def structural_dissimilarity(prediction: torch.Tensor, target: torch.Tensor, stride: int = SSIM_STRIDE) -> torch.Tensor:
    """Return 1 − SSIM with a uniform window on (N, 1, …), data range 1; every ``stride``-th window counts."""
    pool = functional.avg_pool2d if prediction.ndim == 4 else functional.avg_pool3d

    def mean(x: torch.Tensor) -> torch.Tensor:
        return pool(x, SSIM_WINDOW, stride=stride)

    mean_p, mean_t = mean(prediction), mean(target)
    variance_p, variance_t = mean(prediction**2) - mean_p**2, mean(target**2) - mean_t**2
    covariance = mean(prediction * target) - mean_p * mean_t
    ssim = ((2 * mean_p * mean_t + SSIM_C1) * (2 * covariance + SSIM_C2)) / (
        (mean_p**2 + mean_t**2 + SSIM_C1) * (variance_p + variance_t + SSIM_C2)
    )
    return 1.0 - ssim.mean()
