"""The schedule and the sampler: what they mix they take apart, and a sampler told the truth finds it."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.diffusion_schedule import SCHEDULES, DiffusionSchedule, sample_ddim
from MRHarmonizationLib.core.errors import OperationCancelled, ParameterError
from MRHarmonizationLib.core.progress import Progress


@pytest.mark.parametrize("kind", SCHEDULES)
def test_signal_falls_and_power_stays(kind):
    schedule = DiffusionSchedule(kind)
    times = np.arange(1000)
    alpha, sigma = schedule.signal(times), schedule.noise(times)
    assert np.all(np.diff(alpha) < 0)
    np.testing.assert_allclose(alpha**2 + sigma**2, 1.0, atol=1e-6)
    assert alpha[0] > 0.99
    assert alpha[-1] < 0.1


@pytest.mark.parametrize("kind", SCHEDULES)
def test_velocity_gives_back_both_parts(kind):
    schedule, rng = DiffusionSchedule(kind), np.random.default_rng(0)
    clean, noise = rng.standard_normal((2, 3, 4, 5), np.float32)
    for time in (0, 400, 999):
        mixed, velocity = schedule.mixed(clean, noise, np.full(3, time))
        found, rest = schedule.split(mixed, velocity, time)
        np.testing.assert_allclose(found, clean, atol=1e-5)
        np.testing.assert_allclose(rest, noise, atol=1e-5)


def test_sampling_times_start_at_pure_noise_and_end_near_the_image():
    times = DiffusionSchedule().sampling_times(25)
    assert times[0] == 999
    assert len(times) == len(set(times)) == 25
    assert np.all(np.diff(times) == -40)
    assert list(DiffusionSchedule(times=10).sampling_times(10)) == list(range(9, -1, -1))


def test_a_sampler_that_knows_the_truth_finds_it():
    schedule, rng = DiffusionSchedule(), np.random.default_rng(1)
    truth, noise = rng.standard_normal((2, 2, 3, 8, 8), np.float32)

    def velocity(mixed: np.ndarray, time: int) -> np.ndarray:
        alpha, sigma = schedule.signal(time), schedule.noise(time)
        return (alpha * mixed - truth) / sigma

    np.testing.assert_allclose(sample_ddim(velocity, noise, schedule, 25), truth, atol=1e-4)


def test_a_best_guess_samples_the_spread_of_coloured_noise():
    """The best answer for Gaussian data of known deviation is linear; the sampler must then return that deviation."""
    schedule, rng = DiffusionSchedule(), np.random.default_rng(2)
    deviation = np.array([1.0, 0.3, 0.05], np.float32)[:, None, None]

    def velocity(mixed: np.ndarray, time: int) -> np.ndarray:
        alpha, sigma = schedule.signal(time), schedule.noise(time)
        clean = alpha * deviation**2 / (alpha**2 * deviation**2 + sigma**2) * mixed
        return (alpha * mixed - clean) / sigma

    found = sample_ddim(velocity, rng.standard_normal((4, 3, 32, 32), np.float32), schedule, 25)
    spread = found.std(axis=(0, 2, 3)) / deviation.ravel()
    np.testing.assert_allclose(spread[:2], 1.0, rtol=0.03)
    assert 0.6 < spread[2] < 1.1, "what is 26 dB below is not followed as closely"


def test_untrained_zero_answers_return_white_noise():
    noise = np.random.default_rng(3).standard_normal((1, 2, 16, 16), np.float32)
    found = sample_ddim(lambda mixed, time: np.zeros_like(mixed), noise, DiffusionSchedule(), 25)
    assert found.std() == pytest.approx(noise.std(), rel=0.01)


def test_cancelling_stops_between_steps():
    progress = Progress()
    progress.cancel()
    with pytest.raises(OperationCancelled):
        sample_ddim(lambda mixed, time: mixed, np.zeros((1, 1, 2, 2), np.float32), DiffusionSchedule(), 5, progress)


def test_wrong_values_are_named():
    with pytest.raises(ParameterError, match="spiral"):
        DiffusionSchedule("spiral")
    with pytest.raises(ParameterError, match="1 times"):
        DiffusionSchedule(times=1)
    with pytest.raises(ParameterError, match="0 sampling steps"):
        DiffusionSchedule().sampling_times(0)
