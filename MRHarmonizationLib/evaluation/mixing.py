"""How well the images of different scanners mix in a feature space: silhouette, neighbourhoods, t-SNE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import DependencyError, InputError

#: Neighbours looked at, at most; and as a share of the mean number of images per scanner.
MOST_NEIGHBOURS, NEIGHBOUR_SHARE = 50, 0.25
#: A neighbourhood whose scanners deviate from the whole with a smaller p value counts as not mixed.
SIGNIFICANCE = 0.05
#: Most images that scores and maps are made of; of more, this many are drawn.
MOST_SCORED, MOST_MAPPED = 4000, 1500
#: Largest perplexity of t-SNE; it must stay below a third of the number of images.
PERPLEXITY = 30.0


@dataclass(frozen=True)
class Mixing:
    """How well scanners mix.

    Attributes
    ----------
    silhouette : float
        −1 to 1: 1 where every scanner is a cluster of its own, about 0 or below where scanners overlap.
    acceptance : float
        Share of images whose neighbourhood holds the scanners in about the proportion of all images (kBET's
        acceptance rate): 1 well mixed, 0 separated.
    neighbours : int
        Size of a neighbourhood.
    images : int
    """

    silhouette: float
    acceptance: float
    neighbours: int
    images: int


def mixing_scores(features: np.ndarray, scanner: np.ndarray) -> Mixing:
    """Return silhouette and kBET-like acceptance of scanners in a feature space.

    Parameters
    ----------
    features : ndarray, shape (N, F)
        One row per image; columns are brought to unit variance first. Of more than 4,000 images so many are drawn.
    scanner : int ndarray, shape (N,)

    Raises
    ------
    InputError
        Fewer than two scanners, or values that are not finite.
    DependencyError
        scikit-learn is not installed.

    Source
    ------
    Rousseeuw, J. Comput. Appl. Math. 20:53 (1987), doi 10.1016/0377-0427(87)90125-7; Büttner et al., Nat. Methods
    16:43 (2019), doi 10.1038/s41592-018-0254-1 (kBET; here every image is a test point, neighbours by Euclidean
    distance, one neighbourhood size).
    """
    chosen = drawn(len(features), MOST_SCORED)
    values, labels = standardised(np.asarray(features)[chosen]), np.asarray(scanner)[chosen]
    if np.unique(labels).size < 2:
        raise InputError(f"{np.unique(labels).size} scanner among {labels.size} images", "give two scanners or more")
    need_scikit_learn("mixing scores")
    from sklearn.metrics import silhouette_score

    constant = not np.any(np.ptp(values, axis=0) > 0)
    silhouette = 0.0 if constant else float(silhouette_score(values, labels))
    count = neighbourhood_size(labels)
    return Mixing(silhouette, acceptance_rate(values, labels, count), count, int(labels.size))


def neighbourhood_size(scanner: np.ndarray) -> int:
    """Return how many neighbours :func:`acceptance_rate` looks at: a quarter of the mean images per scanner, 5–50."""
    mean = np.asarray(scanner).size / np.unique(scanner).size
    return int(min(max(5, round(NEIGHBOUR_SHARE * mean)), MOST_NEIGHBOURS, np.asarray(scanner).size - 1))


def acceptance_rate(features: np.ndarray, scanner: np.ndarray, neighbours: int) -> float:
    """Return the share of images whose neighbourhood is mixed as the whole: χ² test, p ≥ .05.

    Parameters
    ----------
    features : ndarray, shape (N, F)
    scanner : ndarray, shape (N,)
    neighbours : int
        Without the image itself.
    """
    from scipy import stats

    names, labels = np.unique(scanner, return_inverse=True)
    squares = np.einsum("ij,ij->i", features, features)
    distance = squares[:, None] + squares[None, :] - 2 * features @ features.T
    np.fill_diagonal(distance, np.inf)
    # ties (identical images) are broken at random, else by the order of the files, hence by scanner
    order = np.random.default_rng(0).permutation(len(features))
    nearest = order[np.argsort(np.round(distance[:, order], 6), axis=1, kind="stable")[:, :neighbours]]
    observed = np.stack([(labels[nearest] == n).sum(axis=1) for n in range(names.size)], axis=1)
    expected = neighbours * np.bincount(labels) / labels.size
    statistic = ((observed - expected) ** 2 / expected).sum(axis=1)
    return float(np.mean(stats.chi2.sf(statistic, names.size - 1) >= SIGNIFICANCE))


def tsne_embedding(features: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return a two-dimensional t-SNE map, shape (N, 2), float64; the same for the same features and seed.

    Parameters
    ----------
    features : ndarray, shape (N, F)
        N ≥ 4; columns are brought to unit variance first.
    seed : int

    Source
    ------
    van der Maaten & Hinton, J. Mach. Learn. Res. 9:2579 (2008); ``sklearn.manifold.TSNE``.
    """
    values = standardised(features)
    if len(values) < 4:
        raise InputError(f"{len(values)} images, t-SNE needs at least 4", "test on more images")
    need_scikit_learn("t-SNE maps")
    from sklearn.manifold import TSNE

    if not np.any(np.ptp(values, axis=0) > 0):
        return np.zeros((len(values), 2))
    perplexity = min(PERPLEXITY, (len(values) - 1) / 3)
    return np.asarray(TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(values), float)


def drawn(count: int, most: int, seed: int = 0) -> np.ndarray:
    """Return the positions of at most ``most`` of ``count`` images, drawn without replacement, sorted."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def standardised(features: np.ndarray) -> np.ndarray:
    """Return features with columns of mean 0 and standard deviation 1 (constant columns become 0), float64."""
    values = np.asarray(features, np.float64)
    if not np.all(np.isfinite(values)):
        raise InputError("features hold NaN or infinite values", "train the probe again with a smaller learning rate")
    deviation = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(deviation > 1e-12, deviation, np.inf))


def need_scikit_learn(purpose: str) -> None:
    """Raise DependencyError with the remedy where scikit-learn is missing."""
    try:
        import sklearn  # noqa: F401
    except ImportError as missing:
        raise DependencyError(
            f"{purpose} need scikit-learn, which is not installed", 'run: pip install "mrharmonization[laboratory]"'
        ) from missing
