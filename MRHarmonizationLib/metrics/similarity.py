"""Similarity to a reference image, inside a mask and on a fixed data range."""

from __future__ import annotations

import math

import numpy as np

from MRHarmonizationLib.metrics.base import Outcome, Spacing, metric


@metric("psnr", "dB", "higher", perfect=math.inf, uses_data_range=True)
def psnr(image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing) -> Outcome:
    """Peak signal-to-noise ratio, 10·log10(range² / mean squared error inside the mask), in dB."""
    error = float(np.mean((image[mask] - reference[mask]) ** 2))
    value = math.inf if error == 0 else 10.0 * math.log10(data_range**2 / error)
    return value, {"mean_squared_error": error}


@metric("nrmse", "1", "lower", perfect=0.0, uses_data_range=True)
def nrmse(image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing) -> Outcome:
    """Root mean squared error inside the mask, divided by the data range."""
    return math.sqrt(float(np.mean((image[mask] - reference[mask]) ** 2))) / data_range, {}


@metric("mae", "1", "lower", perfect=0.0, uses_data_range=True)
def mae(image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing) -> Outcome:
    """Mean absolute error inside the mask, divided by the data range."""
    error = float(np.mean(np.abs(image[mask] - reference[mask])))
    return error / data_range, {"mean_absolute_error": error}


@metric("correlation", "1", "higher", perfect=1.0)
def correlation(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Pearson correlation of the intensities inside the mask; 0 where one of them is constant."""
    a, b = image[mask] - image[mask].mean(), reference[mask] - reference[mask].mean()
    norm = math.sqrt(float(np.dot(a, a)) * float(np.dot(b, b)))
    return (float(np.dot(a, b)) / norm if norm > 0 else 0.0), {}


@metric("histogram_distance", "1", "lower", perfect=0.0, uses_data_range=True)
def histogram_distance(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Earth mover's (first Wasserstein) distance of the two intensity distributions, divided by the data range.

    The mean absolute difference of sorted intensities inside the mask: the average shift, in parts of the range, that
    turns one histogram into the other.
    """
    shift = float(np.mean(np.abs(np.sort(image[mask]) - np.sort(reference[mask]))))
    return shift / data_range, {}
