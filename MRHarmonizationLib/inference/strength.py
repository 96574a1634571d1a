"""How much of a model's change is applied: y = x + α·(f(x) − x)."""

from __future__ import annotations

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError


def check_strength(strength: float) -> float:
    """Return the strength as a float, or raise ParameterError unless it lies in [0, 1]."""
    if not 0.0 <= strength <= 1.0:
        raise ParameterError(
            f"strength is {strength}, expected 0 to 1", "0 keeps the input, 1 applies the whole change"
        )
    return float(strength)


def apply_strength(baseline: np.ndarray, change: np.ndarray, strength: float) -> np.ndarray:
    """Return ``baseline + strength * change``.

    Parameters
    ----------
    baseline : numpy.ndarray
        float32 ``[K, J, I]``: x, the scan on the output grid; not changed.
    change : numpy.ndarray
        float32 ``[K, J, I]``: f(x) − x in the same units; not changed.
    strength : float
        α in [0, 1]; 0 returns the baseline bit for bit.

    Returns
    -------
    numpy.ndarray
        float32 ``[K, J, I]``; always finite: where the sum is not, the baseline is kept.

    Raises
    ------
    ParameterError
        If the strength lies outside [0, 1].

    Examples
    --------
    >>> x, f = np.float32([10.0, 20.0]), np.float32([14.0, 16.0])
    >>> apply_strength(x, f - x, 0.5)
    array([12., 18.], dtype=float32)
    """
    alpha = check_strength(strength)
    if alpha == 0.0:
        return baseline.copy()
    result = np.multiply(change, np.float32(alpha), dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        result += baseline
    finite = np.isfinite(result)
    if not finite.all():
        np.copyto(result, baseline, where=~finite)
    return result
