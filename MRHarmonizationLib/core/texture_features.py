"""Haralick's and IBSI's features of grey-level co-occurrence matrices."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np

from MRHarmonizationLib.core.errors import InputError

#: Variances below this, in levels², are those of a single level.
NO_VARIANCE = 1e-12

#: What each feature is. p(i, j): share of pairs with levels i and j = 1 … N; μ, σ: mean and deviation of a level in
#: a pair; d = |i − j|; H: entropy in bits. Code in brackets: that of the IBSI manual.
FEATURES: MappingProxyType[str, str] = MappingProxyType(
    {
        "joint_maximum": "share of the commonest pair of levels (GYBY)",
        "joint_average": "mean level of a pair's first voxel, Σ i·p (60VM)",
        "joint_variance": "variance of the level of a pair's first voxel, Σ (i − μ)²·p (UR99)",
        "joint_entropy": "entropy of the pairs of levels, −Σ p·log2 p, in bits (TU9B)",
        "difference_average": "mean of d (TF7R); equals dissimilarity",
        "difference_variance": "variance of d (D3YU)",
        "difference_entropy": "entropy of d, in bits (NTRS)",
        "sum_average": "mean of i + j (ZGXS)",
        "sum_variance": "variance of i + j (OEEB); equals cluster_tendency",
        "sum_entropy": "entropy of i + j, in bits (P6QZ)",
        "asm": "angular second moment, Σ p² (8ZQL); called energy or uniformity by some, JointEnergy by pyradiomics",
        "energy": "square root of asm, as in scikit-image",
        "contrast": "mean squared difference of levels, Σ d²·p (ACUI)",
        "dissimilarity": "mean difference of levels, Σ d·p (8S9J)",
        "inverse_difference": "Σ p / (1 + d) (IB1Z)",
        "inverse_difference_normalised": "Σ p / (1 + d/N) (NDRX)",
        "inverse_difference_moment": "Σ p / (1 + d²) (WF0Z)",
        "inverse_difference_moment_normalised": "Σ p / (1 + d²/N²) (1QCO)",
        "homogeneity": "Σ p / (1 + d²), as in scikit-image; equals inverse_difference_moment",
        "inverse_variance": "Σ p / d² over pairs of unequal levels (E8JP)",
        "correlation": "correlation of the two levels of a pair (NI2N); 1 where a level does not vary",
        "autocorrelation": "Σ i·j·p (QWB0)",
        "cluster_tendency": "Σ (i + j − μi − μj)²·p (DG8W)",
        "cluster_shade": "third central moment of i + j, Σ (i + j − μi − μj)³·p (7NFM)",
        "cluster_prominence": "fourth central moment of i + j, Σ (i + j − μi − μj)⁴·p (AE86)",
        "imc1": "first information correlation, (H − H1) / max(Hi, Hj) (R8DG); 0 where a level does not vary",
        "imc2": "second information correlation, √(1 − exp(−2·(H2 − H))), 0 where H > H2 (JN9H)",
        "mcc": "maximal correlation coefficient, Haralick's f14: 0 for independent levels, 1 for a single level",
    }
)


def texture_features(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """Compute every feature of co-occurrence matrices.

    Parameters
    ----------
    matrices : ndarray, shape (D, N, N)
        Counts or shares of pairs; each is divided by its sum. Row and column 0 belong to level 1.

    Returns
    -------
    dict of str to ndarray of float64, shape (D,)
        Names and definitions: :data:`FEATURES`. Finite always.

    Raises
    ------
    InputError
        Not a stack of square matrices, negative or not finite entries, a matrix without pairs.

    Notes
    -----
    Conventions where a definition is silent, those of pyradiomics: of a single grey level correlation and mcc are 1,
    imc1 and imc2 are 0. N of the normalised features is the number of levels of the discretisation, as in IBSI.

    Source
    ------
    IBSI reference manual, arXiv:1612.07003, section 3.6; Haralick et al., IEEE Trans. Syst. Man Cybern. 3:610 (1973),
    doi 10.1109/TSMC.1973.4309314.
    """
    stack = np.asarray(matrices, np.float64)
    if stack.ndim != 3 or stack.shape[1] != stack.shape[2] or stack.size == 0:
        raise InputError(f"matrices have shape {stack.shape}; expected (D, N, N)", "use cooccurrence_matrices()")
    if not np.isfinite(stack).all() or stack.min() < 0:
        raise InputError("matrices hold negative or infinite entries or NaN", "pass counts or shares of pairs")
    totals = stack.sum(axis=(1, 2))
    if not totals.all():
        raise InputError(
            f"matrix {int(np.argmin(totals))} of {len(stack)} counts no pair of voxels",
            "leave out displacements that are longer than the mask",
        )
    grids = _LevelGrids(stack.shape[1])
    rows = [_features(matrix / total, grids) for matrix, total in zip(stack, totals, strict=True)]
    return {name: np.array([row[name] for row in rows]) for name in FEATURES}


class _LevelGrids:
    """Functions of the two levels of a cell that every matrix of one size shares."""

    def __init__(self, n_levels: int) -> None:
        self.level = np.arange(1, n_levels + 1, dtype=np.float64)
        places = np.arange(n_levels)
        self.difference = np.abs(places[:, None] - places[None, :])
        self.sum = places[:, None] + places[None, :]


def _features(p: np.ndarray, grids: _LevelGrids) -> dict[str, float]:
    """Return all features of one matrix of shares."""
    n = len(p)
    level, d = grids.level, np.arange(n)
    by_difference = np.bincount(grids.difference.ravel(), weights=p.ravel(), minlength=n)
    by_sum = np.bincount(grids.sum.ravel(), weights=p.ravel(), minlength=2 * n - 1)
    first, second = p.sum(axis=1), p.sum(axis=0)
    mean_first, mean_second = float(level @ first), float(level @ second)
    variance_first = float((level - mean_first) ** 2 @ first)
    variance_second = float((level - mean_second) ** 2 @ second)
    autocorrelation = float(level @ p @ level)
    covariance = float((level - mean_first) @ p @ (level - mean_second))
    varies = min(variance_first, variance_second) > NO_VARIANCE
    dissimilarity = float(d @ by_difference)
    sums = np.arange(2, 2 * n + 1)
    centred = sums - (mean_first + mean_second)
    asm = float(np.vdot(p, p))
    homogeneity = float(np.sum(by_difference / (1.0 + d**2)))
    tendency = float(centred**2 @ by_sum)
    return {
        "joint_maximum": float(p.max()),
        "joint_average": mean_first,
        "joint_variance": variance_first,
        "joint_entropy": _entropy(p),
        "difference_average": dissimilarity,
        "difference_variance": float((d - dissimilarity) ** 2 @ by_difference),
        "difference_entropy": _entropy(by_difference),
        "sum_average": float(sums @ by_sum),
        "sum_variance": tendency,
        "sum_entropy": _entropy(by_sum),
        "asm": asm,
        "energy": asm**0.5,
        "contrast": float(d**2 @ by_difference),
        "dissimilarity": dissimilarity,
        "inverse_difference": float(np.sum(by_difference / (1.0 + d))),
        "inverse_difference_normalised": float(np.sum(by_difference / (1.0 + d / n))),
        "inverse_difference_moment": homogeneity,
        "inverse_difference_moment_normalised": float(np.sum(by_difference / (1.0 + (d / n) ** 2))),
        "homogeneity": homogeneity,
        "inverse_variance": float(np.sum(by_difference[1:] / d[1:] ** 2)),
        "correlation": covariance / (variance_first * variance_second) ** 0.5 if varies else 1.0,
        "autocorrelation": autocorrelation,
        "cluster_tendency": tendency,
        "cluster_shade": float(centred**3 @ by_sum),
        "cluster_prominence": float(centred**4 @ by_sum),
        **_information(p, first, second),
        "mcc": _maximal_correlation(p, first, second),
    }


def _entropy(p: np.ndarray) -> float:
    """Return the entropy of shares in bits; −0 becomes 0."""
    present = p[p > 0]
    return max(0.0, float(-np.sum(present * np.log2(present))))


def _information(p: np.ndarray, first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Return both information correlations."""
    entropy, entropy_first, entropy_second = _entropy(p), _entropy(first), _entropy(second)
    # Σ p·log2(p_i·p_j) and Σ p_i·p_j·log2(p_i·p_j) are both the negative sum of the marginal entropies.
    independent = entropy_first + entropy_second
    larger = max(entropy_first, entropy_second)
    excess = max(0.0, independent - entropy)
    return {
        "imc1": -excess / larger if larger > 0 else 0.0,
        "imc2": float(np.sqrt(-np.expm1(-2.0 * excess))),
    }


def _maximal_correlation(p: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Return the second singular value of p / √(p_i·p_j), whose square is the second eigenvalue of Haralick's Q."""
    rows, columns = first > 0, second > 0
    if min(np.count_nonzero(rows), np.count_nonzero(columns)) < 2:
        return 1.0
    scaled = p[np.ix_(rows, columns)] / np.sqrt(np.outer(first[rows], second[columns]))
    return min(1.0, float(np.linalg.svd(scaled, compute_uv=False)[1]))
