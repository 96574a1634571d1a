"""Training a probe: learns what can be learned, the same for the same seed, stops when asked to."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from MRHarmonizationLib.core.errors import OperationCancelled, ParameterError  # noqa: E402
from MRHarmonizationLib.core.progress import Progress  # noqa: E402
from MRHarmonizationLib.training.probe_loop import (  # noqa: E402
    SHIFT_PIXELS,
    ClassifierPlan,
    augment,
    rate_factor,
    train_classifier,
)


@pytest.fixture
def slices(rng):
    """Noise of two strengths: forty slices."""
    labels = np.tile([0, 1], 20)
    pixels = 0.5 + rng.normal(size=(40, 32, 32)) * np.where(labels, 0.3, 0.1)[:, None, None]
    return pixels.astype(np.float32), labels


PLAN = ClassifierPlan("small_cnn", 2, epochs=4, batch=8, seed=1)


def test_a_small_network_learns_and_repeats_itself(slices):
    pixels, labels = slices
    before = pixels.copy()
    state = torch.get_rng_state()
    once, again = (train_classifier(pixels, labels, PLAN) for _ in range(2))
    assert once.losses == again.losses
    assert once.losses[-1] < once.losses[0]
    probabilities, features = once.predict(pixels)
    assert np.mean(probabilities.argmax(1) == labels) > 0.9
    np.testing.assert_array_equal(probabilities, again.predict(pixels)[0])
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert features.shape == (40, 64)
    np.testing.assert_array_equal(pixels, before)
    assert torch.equal(torch.get_rng_state(), state), "the caller's random numbers were used"


def test_another_seed_is_another_network(slices):
    pixels, labels = slices
    other = ClassifierPlan("small_cnn", 2, epochs=1, batch=8, seed=2)
    first = ClassifierPlan("small_cnn", 2, epochs=1, batch=8, seed=1)
    assert train_classifier(pixels, labels, first).losses != train_classifier(pixels, labels, other).losses


def test_the_resnet_trains_on_a_handful_of_slices(slices):
    pixels, labels = slices
    trained = train_classifier(pixels[:8], labels[:8], ClassifierPlan("resnet50", 2, epochs=1, batch=4))
    assert np.isfinite(trained.losses).all()
    probabilities, features = trained.predict(pixels[:3])
    assert probabilities.shape == (3, 2)
    assert features.shape == (3, 2048)


def test_a_trained_resnet_says_what_it_learned(slices):
    """In a deep network the averages of small batches' statistics do not fit together: this fell to guessing."""
    pixels, labels = slices
    trained = train_classifier(pixels, labels, ClassifierPlan("resnet50", 2, epochs=5, batch=8, seed=3))
    assert np.mean(trained.predict(pixels)[0].argmax(1) == labels) > 0.85


def test_cancellation_stops_before_the_next_step(slices):
    seen = []

    def cancel_soon(fraction, message):
        seen.append(message)
        if len(seen) == 3:
            progress.cancel()

    progress = Progress(cancel_soon)
    with pytest.raises(OperationCancelled):
        train_classifier(*slices, PLAN, progress)
    assert len(seen) == 3
    assert seen[0] == "epoch 1 of 4"


def test_an_unknown_device_is_refused(slices):
    with pytest.raises(ParameterError, match="device 'tpu'"):
        train_classifier(*slices, ClassifierPlan("small_cnn", 2, 1, device="tpu"))


@pytest.mark.parametrize("steps", [1, 2, 4, 100])
def test_the_learning_rate_rises_and_falls_however_short_the_training(steps):
    factors = [rate_factor(step, steps) for step in range(steps)]
    assert max(factors) == 1.0
    assert all(0 <= factor <= 1 for factor in factors)
    assert factors[-1] < 0.2 or steps == 1
    top = factors.index(1.0)
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


def test_augmentation_moves_and_mirrors_only(rng):
    plane = rng.normal(size=(20, 24)).astype(np.float32)
    for moved in augment(np.stack([plane] * 12), rng):
        middle = moved[SHIFT_PIXELS:-SHIFT_PIXELS, SHIFT_PIXELS:-SHIFT_PIXELS]
        found = False
        for turned in (plane, plane[:, ::-1]):
            windows = np.lib.stride_tricks.sliding_window_view(turned, middle.shape)
            found |= bool((windows == middle).all(axis=(2, 3)).any())
        assert found
