from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from MRHarmonizationLib.core.spectrum import directional_power_spectra
from MRHarmonizationLib.core.spectrum_measures import (
    effective_resolution_mm,
    half_power_frequency,
    log_slope,
    noise_floor_frequency,
)
from MRHarmonizationLib.metrics import spectrum
from MRHarmonizationLib.metrics.base import METRICS

SPACING = (0.9, 1.1, 2.0)


@pytest.fixture
def head() -> tuple[np.ndarray, np.ndarray]:
    """A blurred random image and a round mask."""
    image = 100 + 50 * gaussian_filter(np.random.default_rng(2).normal(size=(40, 44, 48)), (0.6, 1.0, 1.0))
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in image.shape), indexing="ij")
    return image, k**2 + j**2 + i**2 < 0.8


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("effective_resolution", effective_resolution_mm),
        ("half_power_frequency", half_power_frequency),
        ("spectral_slope", log_slope),
        ("noise_floor_frequency", noise_floor_frequency),
    ],
)
def test_metrics_are_those_of_the_masked_spectrum(head, name, function):
    image, mask = head
    spectra = directional_power_spectra(image, SPACING, mask)
    measured = METRICS.get(name)(image, mask=mask, spacing_mm=SPACING)
    assert measured.value == function(spectra["all"])
    for axis in "ijk":
        if f"along_{axis}" in measured.detail:
            assert measured.detail[f"along_{axis}"] == function(spectra[axis])


def test_blur_is_seen_by_all_of_them(head):
    image, mask = head
    blurred = gaussian_filter(image, 1.5)

    def change(name: str) -> float:
        before, after = (METRICS.get(name)(a, mask=mask, spacing_mm=(1, 1, 1)).value for a in (image, blurred))
        return after - before

    assert change("effective_resolution") > 0
    assert change("half_power_frequency") < 0
    assert change("spectral_slope") < 0


def test_one_transform_serves_all_and_another_image_gets_its_own(head, monkeypatch):
    image, mask = head
    calls = []

    def counted(*arguments, **more):
        calls.append(1)
        return directional_power_spectra(*arguments, **more)

    spectrum._transformed.cache_clear()
    monkeypatch.setattr(spectrum, "directional_power_spectra", counted)
    names = ("effective_resolution", "half_power_frequency", "spectral_slope", "noise_floor_frequency")
    first = [METRICS.get(name)(image, mask=mask, spacing_mm=SPACING).value for name in names]
    assert len(calls) == 1
    changed = image.copy()
    changed[20, 22, 24] += 500
    second = [METRICS.get(name)(changed, mask=mask, spacing_mm=SPACING).value for name in names]
    METRICS.get("spectral_slope")(image, mask=np.roll(mask, 1, axis=0), spacing_mm=SPACING)
    METRICS.get("spectral_slope")(image, mask=mask, spacing_mm=(1, 1, 1))
    assert len(calls) == 4
    assert first != second


def test_kept_spectra_do_not_keep_images():
    image = np.random.default_rng(0).normal(size=(12, 12, 12))
    kept = weakref.ref(image)
    spectrum._spectra(image, np.ones(image.shape, bool), SPACING)
    del image
    gc.collect()
    assert kept() is None
