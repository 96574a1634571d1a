"""Loss terms of generators and their judges."""

from __future__ import annotations

import torch
from torch.nn import functional

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.training.losses import absolute_error

#: What an LSGAN judge is taught to say of real and of made planes.
REAL, MADE = 1.0, 0.0


def verdict_loss(verdict: torch.Tensor, is_real: bool, kind: str) -> torch.Tensor:
    """Return how far a judge's verdicts are from what they should be.

    The judge is trained with real planes as real and made ones as made; the generator with its own as real.

    Parameters
    ----------
    verdict : Tensor, any shape
        One number per patch, large for real.
    is_real : bool
        What the verdicts should say.
    kind : {'lsgan', 'vanilla'}
        Mean of squares to 1 or 0; or the cross-entropy of the verdicts' sigmoids, whose generator form is the
        non-saturating one.

    Raises
    ------
    ParameterError
        Unknown kind.

    Source
    ------
    Mao et al., ICCV 2017, doi 10.1109/ICCV.2017.304; Goodfellow et al., NeurIPS 2014, arXiv 1406.2661.
    """
    if kind == "lsgan":
        return ((verdict - (REAL if is_real else MADE)) ** 2).mean()
    if kind == "vanilla":
        return functional.softplus(-verdict if is_real else verdict).mean()
    raise ParameterError(f"adversary loss '{kind}' is unknown", "choose 'lsgan' or 'vanilla'")


def judge_loss(real: torch.Tensor, made: torch.Tensor, kind: str) -> torch.Tensor:
    """Return the loss of a judge from its verdicts on real and on made planes: half the sum of both."""
    return 0.5 * (verdict_loss(real, True, kind) + verdict_loss(made, False, kind))


def cycle_loss(there_and_back: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute error of planes that two generators have brought to the other field and back.

    Source: Zhu et al., ICCV 2017, doi 10.1109/ICCV.2017.244.
    """
    return absolute_error(there_and_back, start)


def identity_loss(correction: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute correction of planes that are of the wanted field already: it should be none.

    Source: Taigman et al., ICLR 2017, arXiv 1611.02200, as used by Zhu et al.
    """
    return correction.abs().mean()
