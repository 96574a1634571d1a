from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from skimage.metrics import normalized_mutual_information

from MRHarmonizationLib.metrics.information import (
    JOINT_BINS,
    jensen_shannon,
    mutual_information,
    normalised_mutual_information,
)


@pytest.fixture
def pair():
    rng = np.random.default_rng(1)
    reference = rng.normal(100, 20, (16, 18, 20))
    return reference + rng.normal(0, 5, reference.shape), reference


def binned(array: np.ndarray) -> np.ndarray:
    low, high = np.percentile(array, (0.5, 99.5))
    return np.clip(np.floor((array - low) / (high - low) * JOINT_BINS), 0, JOINT_BINS - 1)


def test_mutual_information_is_scikit_learns_in_bits(pair):
    image, reference = pair
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle of mutual information")
    expected = sklearn.mutual_info_score(binned(image).reshape(-1), binned(reference).reshape(-1)) / np.log(2)
    assert mutual_information(image, reference).value == pytest.approx(expected, rel=1e-9)


def test_normalised_mutual_information_is_scikit_images(pair):
    image, reference = pair
    levels = np.array([0.0, *range(JOINT_BINS)])
    # one extra pair of end values makes scikit-image's own bins coincide with the levels
    first, second = (np.concatenate([binned(a).reshape(-1), levels]) for a in pair)
    expected = normalized_mutual_information(first, second, bins=JOINT_BINS)
    assert normalised_mutual_information(image, reference).value == pytest.approx(expected, rel=0.01)


def test_an_image_tells_its_own_entropy(pair):
    _, reference = pair
    measured = mutual_information(reference, reference)
    assert (
        measured.value
        == pytest.approx(measured.detail["entropy"])
        == pytest.approx(measured.detail["reference_entropy"])
    )


def test_contrast_does_not_matter_but_place_does(pair):
    _, reference = pair
    inverted = 500 - 3 * reference
    assert normalised_mutual_information(inverted, reference).value == pytest.approx(2.0, abs=0.02)
    shuffled = np.random.default_rng(0).permutation(reference.reshape(-1)).reshape(reference.shape)
    assert normalised_mutual_information(shuffled, reference).value < 1.1
    assert jensen_shannon(shuffled, reference, data_range=90.0).value == 0.0


def test_jensen_shannon_is_scipys_on_the_stated_bins(pair):
    image, reference = pair
    edges = np.concatenate([[-np.inf], np.percentile(reference, 0.5) + 90.0 * np.arange(-32, 97) / 64, [np.inf]])
    histograms = [np.histogram(array, edges)[0] for array in pair]
    expected = jensenshannon(*histograms, base=2)
    assert jensen_shannon(image, reference, data_range=90.0).value == pytest.approx(expected, rel=1e-9)
    assert 0 < expected < 1


def test_disjoint_histograms_are_at_distance_one(pair):
    _, reference = pair
    assert jensen_shannon(np.full_like(reference, 45.5), np.round(reference) + 1000, data_range=90.0).value == 1.0
