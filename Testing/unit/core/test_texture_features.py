from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.pyradiomics_names import OF_PYRADIOMICS

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.texture import DIRECTIONS_13, FEATURES, cooccurrence_matrices, texture_features

counts = st.integers(1, 7).flatmap(
    lambda n: hnp.arrays(np.int64, (2, n, n), elements=st.integers(0, 9)).filter(lambda m: m.any(axis=(1, 2)).all())
)


def by_definition(p: np.ndarray) -> dict[str, float]:
    """The features, one cell of the matrix after the other."""
    n = len(p)
    cells = [(i + 1, j + 1, p[i, j]) for i in range(n) for j in range(n) if p[i, j] > 0]
    mi, mj = sum(i * w for i, _, w in cells), sum(j * w for _, j, w in cells)
    vi, vj = sum((i - mi) ** 2 * w for i, _, w in cells), sum((j - mj) ** 2 * w for _, j, w in cells)
    cov = sum((i - mi) * (j - mj) * w for i, j, w in cells)
    px, py = p.sum(axis=1), p.sum(axis=0)
    hxy = -sum(w * math.log2(w) for _, _, w in cells)
    hxy1 = -sum(w * math.log2(px[i - 1] * py[j - 1]) for i, j, w in cells)
    hxy2 = -sum(a * b * math.log2(a * b) for a in px for b in py if a * b > 0)
    hx, hy = (-sum(a * math.log2(a) for a in q if a > 0) for q in (px, py))
    mean_d = sum(abs(i - j) * w for i, j, w in cells)
    return {
        "joint_variance": vi,
        "joint_entropy": hxy,
        "difference_variance": sum((abs(i - j) - mean_d) ** 2 * w for i, j, w in cells),
        "sum_average": mi + mj,
        "contrast": sum((i - j) ** 2 * w for i, j, w in cells),
        "inverse_difference_normalised": sum(w / (1 + abs(i - j) / n) for i, j, w in cells),
        "inverse_variance": sum(w / (i - j) ** 2 for i, j, w in cells if i != j),
        "correlation": cov / math.sqrt(vi * vj) if vi * vj > 1e-12 else 1.0,
        "autocorrelation": sum(i * j * w for i, j, w in cells),
        "cluster_shade": sum((i + j - mi - mj) ** 3 * w for i, j, w in cells),
        "cluster_prominence": sum((i + j - mi - mj) ** 4 * w for i, j, w in cells),
        "imc1": (hxy - hxy1) / max(hx, hy) if max(hx, hy) > 0 else 0.0,
        "imc2": math.sqrt(max(0.0, 1 - math.exp(-2 * (hxy2 - hxy)))),
    }


@given(counts)
def test_features_follow_their_definitions(matrices):
    features = texture_features(matrices)
    for place, matrix in enumerate(matrices):
        for name, expected in by_definition(matrix / matrix.sum()).items():
            assert features[name][place] == pytest.approx(expected, rel=1e-9, abs=1e-7), name


@given(counts)
def test_every_feature_is_finite_and_within_its_bounds(matrices):
    features = texture_features(matrices)
    assert set(features) == set(FEATURES)
    assert all(values.shape == (2,) and np.isfinite(values).all() for values in features.values())
    n = matrices.shape[1]
    for name, low, high in (
        ("joint_entropy", 0, 2 * math.log2(n)),
        ("asm", 1 / n**2, 1),
        ("correlation", -1, 1),
        ("imc1", -1, 0),
        ("imc2", 0, 1),
        ("mcc", 0, 1),
        ("homogeneity", 0, 1),
        ("joint_average", 1, n),
    ):
        assert low - 1e-9 <= features[name].min() <= features[name].max() <= high + 1e-9, name
    np.testing.assert_allclose(features["energy"] ** 2, features["asm"])


@given(counts)
def test_maximal_correlation_is_the_second_eigenvalue_of_haralicks_matrix(matrices):
    for matrix, measured in zip(matrices, texture_features(matrices)["mcc"], strict=True):
        p = (matrix + matrix.T) / (2 * matrix.sum())
        symmetric = texture_features(p[None])["mcc"][0]
        p = p[np.ix_(p.any(axis=1), p.any(axis=1))]
        if len(p) < 2:
            assert symmetric == measured == 1
            continue
        marginal = p.sum(axis=1)
        q = (p / marginal[:, None]) @ (p / marginal[:, None])
        second = np.sort(np.linalg.eigvals(q).real)[-2]
        assert symmetric == pytest.approx(math.sqrt(max(second, 0)), abs=1e-6)


def test_independent_levels_share_no_information():
    level = np.array([0.1, 0.4, 0.3, 0.2])
    features = texture_features(np.outer(level, level)[None])
    for name in ("correlation", "imc1", "imc2", "mcc"):
        assert features[name][0] == pytest.approx(0, abs=1e-7)


def test_a_single_level_has_the_stated_values():
    single = np.zeros((1, 4, 4))
    single[0, 2, 2] = 17
    features = {name: values[0] for name, values in texture_features(single).items()}
    ones = ("correlation", "mcc", "asm", "energy", "homogeneity", "joint_maximum", "inverse_difference")
    zeros = ("contrast", "joint_entropy", "imc1", "imc2", "cluster_shade", "inverse_variance", "joint_variance")
    assert [features[name] for name in ones] == [1] * 7
    assert [features[name] for name in zeros] == [0] * 7
    assert features["joint_average"] == 3


def test_features_are_those_of_scikit_image(rng):
    from skimage.feature import graycomatrix, graycoprops

    picture = rng.integers(0, 12, (30, 41)).astype(np.uint8)
    theirs = graycomatrix(picture, [1], [0, np.pi / 2], 12, symmetric=True, normed=True)
    ours = texture_features(cooccurrence_matrices(picture[None] + 1, None, 12, [(0, 0, 1), (0, 1, 0)]))
    names = {"ASM": "asm", **{n: n for n in ("contrast", "dissimilarity", "homogeneity", "energy", "correlation")}}
    for theirs_name, name in names.items():
        np.testing.assert_allclose(ours[name], graycoprops(theirs, theirs_name)[0], rtol=1e-12)


def test_features_of_a_masked_volume_are_those_of_pyradiomics(rng):
    glcm = pytest.importorskip("radiomics.glcm", reason="pyradiomics is not installed: no comparison with it")
    import SimpleITK as sitk
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(rng.normal(size=(12, 14, 13)), 1.0)
    levels = np.clip(np.floor((smooth - smooth.min()) / np.ptp(smooth) * 16), 0, 15).astype(np.int32) + 1
    mask = rng.uniform(size=levels.shape) < 0.7
    mask[np.unravel_index([levels.argmin(), levels.argmax()], levels.shape)] = True
    extractor = glcm.RadiomicsGLCM(
        sitk.GetImageFromArray(levels), sitk.GetImageFromArray(mask.astype(np.uint8)), binWidth=1
    )
    extractor.enableAllFeatures()
    theirs = extractor.execute()
    ours = texture_features(cooccurrence_matrices(levels, mask, 16, DIRECTIONS_13))
    assert set(theirs) == set(OF_PYRADIOMICS)
    for theirs_name, name in OF_PYRADIOMICS.items():
        assert ours[name].mean() == pytest.approx(float(theirs[theirs_name]), rel=1e-6, abs=1e-6), name


@pytest.mark.parametrize(
    ("matrices", "said"),
    [
        (np.ones((3, 3)), r"shape \(3, 3\)"),
        (np.ones((1, 3, 4)), r"shape \(1, 3, 4\)"),
        (np.ones((0, 3, 3)), "expected"),
        (np.array([np.eye(2), np.zeros((2, 2))]), "matrix 1 of 2 counts no pair"),
        (-np.ones((1, 2, 2)), "negative"),
        (np.full((1, 2, 2), np.nan), "NaN"),
    ],
)
def test_what_is_no_matrix_is_refused(matrices, said):
    with pytest.raises(InputError, match=said):
        texture_features(matrices)
