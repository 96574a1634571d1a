"""Brain and tissues of a diffusion scan, told from the scan."""

from __future__ import annotations

import numpy as np
import pytest
from support.diffusion_scan import brain_scan, labels

from MRHarmonizationLib.core.diffusion_masks import TISSUES, brain_mask, tissue_masks
from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.tensor import fit_tensors


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * np.count_nonzero(found & truth) / (np.count_nonzero(found) + np.count_nonzero(truth)))


@pytest.mark.parametrize(("gain", "noise"), [(1.0, 0.0), (500.0, 20.0)])
def test_brain_is_found_in_any_unit(gain: float, noise: float):
    scan = brain_scan(6, gain=gain, noise=noise)
    assert overlap(brain_mask(scan.mean_b0().array), labels() > 0) > 0.95


def test_scalp_is_left_out():
    b0 = np.array(brain_scan(6).mean_b0().array)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in b0.shape), indexing="ij")
    radius = np.sqrt(x**2 + y**2)
    scalp = (radius > 0.97) & (radius < 1.03)
    b0[scalp] = 500.0
    assert np.count_nonzero(brain_mask(b0) & scalp & (labels() == 0)) < 0.05 * np.count_nonzero(scalp)


def test_single_slice_has_a_brain():
    scan = brain_scan(6, shape=(1, 36, 34))
    assert overlap(brain_mask(scan.mean_b0().array), labels((1, 36, 34)) > 0) > 0.9


def test_constant_image_has_none():
    with pytest.raises(InputError, match="no object"):
        brain_mask(np.full((5, 20, 20), 7.0))


def test_tissues_are_what_they_are():
    scan = brain_scan(15)
    truth = labels()
    fit = fit_tensors(scan.array, scan.b_values_s_per_mm2, scan.gradients_ras, truth > 0)
    found = tissue_masks(fit.md_mm2_per_s, fit.fa, truth > 0)
    assert tuple(found) == TISSUES
    for name, number in (("white matter", 1), ("grey matter", 2), ("fluid", 3)):
        inside = found[name]
        assert np.count_nonzero(inside & (truth == number)) > 0.9 * np.count_nonzero(inside), name
        assert np.count_nonzero(inside) > 0.5 * np.count_nonzero(truth == number), name


def test_shaded_tissue_beside_bright_fluid_is_brain():
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (16, 60, 60)), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + 0.5 * z**2)
    tissue = np.where(np.sin(9 * x) * np.cos(8 * y) > 0.6, 1000.0, 300.0)  # fluid is much brighter
    image = np.where(radius < 0.8, tissue * np.exp(-0.5 * y), 12.0).astype(np.float32)
    found = brain_mask(image)
    inside = radius < 0.75
    assert np.count_nonzero(found & inside) > 0.98 * np.count_nonzero(inside)
    assert np.count_nonzero(found & (radius > 0.9)) < 0.01 * np.count_nonzero(inside)
