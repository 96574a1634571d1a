"""Tissue classes of an image by a Gaussian mixture that is fitted once and then stays as it is.

A stand-in for whatever segments scans downstream: trained on one look, it knows no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import DependencyError, InputError, ParameterError

#: Voxels that a mixture is fitted to, at most.
FITTED_VOXELS = 20_000
#: Iterations of expectation maximisation, at most.
MOST_ITERATIONS = 200


@dataclass(frozen=True)
class TissueMixture:
    """A mixture of normal distributions of one intensity, one component per tissue.

    Values beyond the lowest and the highest mean are classified as these are: a broad component would take both ends
    of the intensities otherwise.

    Attributes
    ----------
    tissues : tuple of str
    means : tuple of float
        Image units.
    deviations : tuple of float
    weights : tuple of float
        Share of each; sum 1.
    """

    tissues: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        counts = [len(entry) for entry in (self.tissues, self.means, self.deviations, self.weights)]
        if len(set(counts)) > 1 or counts[0] < 2:
            raise ParameterError(
                "{} tissues have {} means, {} deviations and {} weights".format(*counts), "give two or more of each"
            )
        if not min(self.deviations) > 0 or min(self.weights) < 0:
            raise ParameterError(
                f"deviations {self.deviations}, weights {self.weights}", "give positive deviations, no negative weight"
            )

    def classify(self, values: np.ndarray) -> np.ndarray:
        """Return the number of the most probable tissue of every value, int8, same shape."""
        within = np.clip(np.asarray(values, np.float64), min(self.means), max(self.means))
        scores = [
            np.log(max(weight, 1e-300) / deviation) - 0.5 * ((within - mean) / deviation) ** 2
            for mean, deviation, weight in zip(self.means, self.deviations, self.weights, strict=True)
        ]
        return np.argmax(scores, axis=0).astype(np.int8)


def fit_tissue_mixture(image: np.ndarray, tissues: Mapping[str, np.ndarray]) -> TissueMixture:
    """Fit a mixture to an image whose tissues are known roughly.

    Parameters
    ----------
    image : ndarray, shape (K, J, I)
    tissues : mapping of str to bool ndarray, shape (K, J, I)
        Two or more; where each begins its search. The fit itself sees intensities alone.

    Returns
    -------
    TissueMixture

    Raises
    ------
    InputError
        A tissue without voxels, tissues of one brightness, values that are not finite.
    DependencyError
        scikit-learn is not installed.

    Source
    ------
    Dempster, Laird & Rubin, J. R. Stat. Soc. B 39:1 (1977); ``sklearn.mixture.GaussianMixture`` (spherical).
    """
    try:
        from sklearn.mixture import GaussianMixture
    except ImportError as missing:
        raise DependencyError(
            "tissue classification needs scikit-learn, which is not installed",
            "run: pip install 'mrharmonization[laboratory]'",
        ) from missing
    empty = [name for name, mask in tissues.items() if not mask.any()]
    if empty or len(tissues) < 2:
        raise InputError(f"tissues {sorted(tissues)}, of which {empty or 'none'} are empty", "give two or more tissues")
    inside = np.logical_or.reduce(list(tissues.values()))
    values = image[inside].astype(np.float64)
    if not np.all(np.isfinite(values)):
        raise InputError("the image has values that are NaN or infinite", "replace them first")
    values = values[:: max(1, values.size // FITTED_VOXELS)]
    starts = np.array([float(np.median(image[mask])) for mask in tissues.values()])
    spread = float(values.std())
    if len(np.unique(starts)) < len(starts) or not spread > 0:
        raise InputError(
            f"tissues {sorted(tissues)} have the medians {starts.tolist()}", "choose an image with contrast"
        )
    mixture = GaussianMixture(
        len(tissues),
        covariance_type="spherical",
        means_init=starts[:, None],
        weights_init=np.full(len(tissues), 1 / len(tissues)),
        precisions_init=np.full(len(tissues), (4.0 / spread) ** 2),
        max_iter=MOST_ITERATIONS,
        random_state=0,
    ).fit(values[:, None])
    return TissueMixture(
        tuple(tissues),
        tuple(float(v) for v in mixture.means_[:, 0]),
        tuple(float(np.sqrt(v)) for v in mixture.covariances_),
        tuple(float(v) for v in mixture.weights_),
    )


def class_overlap(first: np.ndarray, second: np.ndarray, count: int) -> list[float]:
    """Return the Dice overlap of each of ``count`` classes of two class maps of one shape; 1 where both have none."""
    found = []
    for number in range(count):
        a, b = first == number, second == number
        total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
        found.append(2.0 * int(np.count_nonzero(a & b)) / total if total else 1.0)
    return found


def class_shares(classes: np.ndarray, count: int) -> list[float]:
    """Return the share of the voxels that each of ``count`` classes has."""
    return [float(share) for share in np.bincount(classes.ravel(), minlength=count)[:count] / max(classes.size, 1)]


def variation(values: Sequence[float]) -> float:
    """Return the coefficient of variation, %: standard deviation over the mean; NaN for fewer than two values."""
    array = np.asarray(values, np.float64)
    if array.size < 2:
        return float("nan")
    return 100.0 * float(array.std(ddof=1)) / max(abs(float(array.mean())), 1e-12)
