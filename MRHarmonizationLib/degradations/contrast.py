"""Changes of contrast: smooth tone curves and gamma, applied to intensities alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.intensity import fit_intensity_scale
from MRHarmonizationLib.degradations.base import build_parameters


@dataclass(frozen=True)
class ToneCurveParameters:
    """A tone curve on normalised intensities, followed by gamma.

    Attributes
    ----------
    values : tuple of float
        Output at equally spaced inputs from 0 to 1; joined by a shape-preserving cubic. The first is kept at 0.
    gamma : float
        Exponent applied before the curve.
    """

    values: tuple[float, ...] = (0.0, 1.0)
    gamma: float = 1.0

    def __post_init__(self) -> None:
        if len(self.values) < 2 or not 0.1 <= self.gamma <= 10:
            raise ParameterError(
                f"tone curve has {len(self.values)} values and gamma {self.gamma}",
                "give two or more values, gamma in [0.1, 10]",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ToneCurveParameters:
        """Build from :meth:`to_dict`."""
        return build_parameters(cls, values)


def sample_tone_curve(
    rng: np.random.Generator, knots: int = 5, strength: float = 0.5, gamma_sd: float = 0.2, monotone: bool = True
) -> ToneCurveParameters:
    """Draw a tone curve.

    Parameters
    ----------
    rng : numpy Generator
    knots : int
        Number of control values.
    strength : float in [0, 1]
        0 the identity; 1 any curve.
    gamma_sd : float
        Standard deviation of log gamma.
    monotone : bool
        Keep the order of intensities; otherwise the curve may fold (bright becomes dark), as between T1 and T2.
    """
    straight = np.linspace(0.0, 1.0, knots)
    if monotone:
        steps = rng.dirichlet(np.full(knots - 1, 2.0))
        drawn = np.concatenate([[0.0], np.cumsum(steps)])
    else:
        drawn = np.concatenate([[0.0], rng.uniform(0.1, 1.0, knots - 1)])
    values = (1.0 - strength) * straight + strength * drawn
    values[0] = 0.0
    gamma = float(np.exp(rng.normal(0.0, gamma_sd)))
    return ToneCurveParameters(tuple(float(v) for v in values), min(max(gamma, 0.5), 2.0))


def apply_tone_curve(array: np.ndarray, parameters: ToneCurveParameters) -> np.ndarray:
    """Return the remapped image, float32, same shape, in the input's intensity range.

    The image is normalised by its 0.5 and 99.5 percentiles; above 1 the curve goes on with its last slope,
    below 0 with slope 1.
    """
    from scipy.interpolate import PchipInterpolator

    scale = fit_intensity_scale(array)
    x = scale.normalise(array)
    knots = np.linspace(0.0, 1.0, len(parameters.values))
    curve = PchipInterpolator(knots, np.asarray(parameters.values))
    table_x = np.linspace(0.0, 1.0, 1025)
    table_y = curve(table_x**parameters.gamma)
    y = np.interp(np.clip(x, 0.0, 1.0), table_x, table_y).astype(np.float32)
    y += np.minimum(x, 0.0)
    last_slope = max(float(table_y[-1] - table_y[-2]) * 1024.0, 0.2)
    y += np.maximum(x - 1.0, 0.0) * np.float32(last_slope)
    return scale.restore(y)
