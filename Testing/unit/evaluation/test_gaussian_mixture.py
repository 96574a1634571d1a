from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.evaluation.gaussian_mixture import (
    TissueMixture,
    class_overlap,
    class_shares,
    fit_tissue_mixture,
    variation,
)

pytest.importorskip("sklearn", reason="needs scikit-learn")


@pytest.fixture
def image():
    """Three tissues of 4000 voxels each, of other widths, in one volume, and where they are."""
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(800, 20, 4000), rng.normal(600, 50, 4000), rng.normal(200, 90, 4000)])
    numbers = np.repeat([0, 1, 2], 4000)
    order = rng.permutation(12000)
    array, numbers = values[order].reshape(20, 30, 20), numbers[order].reshape(20, 30, 20)
    array.setflags(write=False)
    return array, {name: numbers == n for n, name in enumerate(("white", "grey", "fluid"))}, numbers


def test_the_mixture_finds_means_widths_and_classes(image):
    array, tissues, numbers = image
    mixture = fit_tissue_mixture(array, tissues)
    assert mixture.tissues == ("white", "grey", "fluid")
    assert mixture.means == pytest.approx((800, 600, 200), abs=8)
    assert mixture.deviations == pytest.approx((20, 50, 90), rel=0.15)
    classes = mixture.classify(array)
    assert classes.shape == array.shape
    assert min(class_overlap(classes, numbers, 3)) > 0.97
    assert class_shares(classes, 3) == pytest.approx([1 / 3] * 3, abs=0.02)


def test_classes_follow_the_order_of_their_means_even_where_one_is_broad():
    mixture = TissueMixture(("a", "b", "c"), (300.0, 420.0, 870.0), (12.0, 55.0, 130.0), (0.3, 0.4, 0.3))
    found = mixture.classify(np.arange(-500.0, 2000.0))
    assert found[0] == 0, "far below every mean the broad bright class must not win"
    assert np.all(np.diff(found) >= 0)
    assert set(found) == {0, 1, 2}


def test_a_fixed_mixture_is_fooled_by_another_contrast(image):
    array, tissues, _ = image
    mixture = fit_tissue_mixture(array, tissues)
    same, other = mixture.classify(array), mixture.classify(0.7 * array)
    assert min(class_overlap(same, same, 3)) == 1.0
    assert min(class_overlap(other, same, 3)) < 0.7


def test_what_cannot_be_fitted_is_refused(image):
    array, tissues, _ = image
    with pytest.raises(InputError, match="fluid"):
        fit_tissue_mixture(array, {**tissues, "fluid": np.zeros(array.shape, bool)})
    with pytest.raises(InputError, match="medians"):
        fit_tissue_mixture(np.full(array.shape, 7.0), tissues)
    with pytest.raises(InputError, match="NaN"):
        fit_tissue_mixture(np.where(tissues["white"], np.nan, array), tissues)
    with pytest.raises(ParameterError, match="2 means"):
        TissueMixture(("a", "b", "c"), (1.0, 2.0), (1.0, 1.0, 1.0), (0.3, 0.3, 0.4))


def test_overlap_and_variation_of_known_values():
    first, second = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    assert class_overlap(first, second, 3) == pytest.approx([2 / 3, 0.8, 1.0])
    assert variation([9.0, 11.0]) == pytest.approx(100 * np.sqrt(2) / 10)
    assert np.isnan(variation([3.0]))
