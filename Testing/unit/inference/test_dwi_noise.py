"""Noise handling before harmonisation: which way is taken, and what it gives."""

from __future__ import annotations

import numpy as np
import pytest
from support.diffusion_scan import FLUID, brain_scan, labels

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.core.tensor import fit_tensors
from MRHarmonizationLib.inference.dwi_noise import LEAST_SNR, NoiseCorrection
from MRHarmonizationLib.volumes.dwi import DwiVolume

BRAIN = labels() > 0


def corrected(dwi: DwiVolume, choice: str) -> tuple[np.ndarray, NoiseCorrection]:
    work = NoiseCorrection(dwi, BRAIN, choice)
    return work.write(None, Progress()), work


def fluid_diffusivity(dwi: DwiVolume, array: np.ndarray) -> float:
    inside = labels() == 3
    fit = fit_tensors(array, dwi.b_values_s_per_mm2, dwi.gradients_ras, inside)
    return float(fit.md_mm2_per_s[inside].mean())


def test_nothing_is_nothing():
    scan = brain_scan(15, noise=10.0)
    array, work = corrected(scan, "none")
    np.testing.assert_array_equal(array, scan.array)
    assert not work.record.denoised
    assert not work.record.floor_corrected


@pytest.mark.parametrize(("choice", "left"), [("auto", 0.6), ("denoise", 0.6), ("floor", 0.9)])
def test_fluid_gets_its_diffusivity_back(choice: str, left: float):
    """At b 1500 the noise floor takes a part of fluid's diffusivity; of averages of many volumes most comes back."""
    scan = brain_scan(30, b_values=(1500.0,), noise=25.0)
    array, _ = corrected(scan, choice)
    raw = abs(fluid_diffusivity(scan, scan.array) / FLUID - 1)
    assert raw > 0.1
    assert abs(fluid_diffusivity(scan, array) / FLUID - 1) < left * raw


def test_few_volumes_keep_their_random_part():
    scan = brain_scan(6, noise=8.0)
    array, work = corrected(scan, "auto")
    assert not work.record.denoised
    assert any("too few" in note for note in work.record.notes)
    inside = labels() == 2
    assert np.corrcoef(array[inside].ravel(), scan.array[inside].ravel())[0, 1] > 0.99


def test_nothing_falls_below_the_least_signal():
    scan = brain_scan(15, b_values=(3000.0,), noise=15.0)
    array, work = corrected(scan, "auto")
    assert array[BRAIN].min() >= LEAST_SNR * work.record.sigma * 0.999


def test_unknown_noise_is_told_and_left_in():
    scan = brain_scan(4, shape=(3, 36, 34))
    flat = labels((3, 36, 34)) > 0
    clean = scan.with_array(np.where(flat[..., None], scan.array, 0))
    work = NoiseCorrection(clean, flat, "auto")
    assert not work.record.floor_corrected
    assert any("left in" in note for note in work.record.notes)
    with pytest.raises(InputError):
        NoiseCorrection(clean, flat, "floor")


def test_unknown_choice_is_refused():
    with pytest.raises(ParameterError, match="auto, none, floor, denoise"):
        NoiseCorrection(brain_scan(6), BRAIN, "loud")
