"""Mixing scores: 0 where scanners are apart, 1 where they are mixed, in between otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.evaluation import mixing
from MRHarmonizationLib.evaluation.mixing import (
    acceptance_rate,
    drawn,
    mixing_scores,
    neighbourhood_size,
    tsne_embedding,
)

pytest.importorskip("sklearn")


def features(rng, distance, images=60, scanners=3):
    scanner = np.repeat(np.arange(scanners), images)
    return rng.normal(size=(scanner.size, 8)) + distance * scanner[:, None], scanner


def test_scanners_apart_are_told_and_mixed_ones_are_not(rng):
    apart, mixed = (mixing_scores(*features(rng, distance)) for distance in (8.0, 0.0))
    assert apart.silhouette > 0.7
    assert apart.acceptance == 0.0
    assert abs(mixed.silhouette) < 0.05
    assert mixed.acceptance > 0.9
    assert apart.neighbours == mixed.neighbours == 15
    between = mixing_scores(*features(rng, 0.7))
    assert 0.0 < between.acceptance < 0.9


def test_identical_images_of_all_scanners_count_as_mixed(rng):
    """Ties must not be broken by the order of the files, which is that of the scanners."""
    one = rng.normal(size=(40, 2048))
    scanner = np.repeat(np.arange(4), 40)
    assert mixing_scores(np.concatenate([one] * 4), scanner).acceptance > 0.9


def test_unequal_numbers_of_images_are_allowed_for(rng):
    scanner = np.repeat([0, 1], [200, 40])
    assert acceptance_rate(rng.normal(size=(240, 5)), scanner, 30) > 0.9


def test_constant_features_have_no_clusters():
    found = mixing_scores(np.ones((30, 4)), np.repeat([0, 1, 2], 10))
    assert found.silhouette == 0.0
    assert found.images == 30


def test_neighbourhoods_stay_within_their_limits():
    assert neighbourhood_size(np.repeat([0, 1], 8)) == 5
    assert neighbourhood_size(np.repeat([0, 1], 2000)) == 50
    assert neighbourhood_size(np.array([0, 1, 0])) == 2


def test_of_very_many_images_some_are_drawn(rng, monkeypatch):
    assert drawn(10, 10).tolist() == list(range(10))
    chosen = drawn(100, 30)
    assert len(set(chosen.tolist())) == 30
    np.testing.assert_array_equal(chosen, drawn(100, 30))
    monkeypatch.setattr(mixing, "MOST_SCORED", 200)
    scanner = rng.integers(0, 2, 300)
    found = mixing_scores(rng.normal(size=(scanner.size, 2)) + 20 * scanner[:, None], scanner)
    assert found.images == 200
    assert found.acceptance == 0.0


def test_tsne_keeps_groups_apart_and_repeats_itself(rng):
    values, group = features(rng, 10.0, images=15, scanners=2)
    once, again = (tsne_embedding(values, seed=3) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert once.shape == (30, 2)
    centres = np.stack([once[group == n].mean(axis=0) for n in (0, 1)])
    spread = max(once[group == n].std() for n in (0, 1))
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * spread


def test_what_cannot_be_judged_is_refused(rng):
    with pytest.raises(InputError, match="1 scanner"):
        mixing_scores(rng.normal(size=(10, 3)), np.zeros(10))
    with pytest.raises(InputError, match="NaN"):
        mixing_scores(np.full((4, 2), np.nan), np.array([0, 0, 1, 1]))
    with pytest.raises(InputError, match="3 images, t-SNE"):
        tsne_embedding(rng.normal(size=(3, 2)))
