from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from MRHarmonizationLib.metrics.perception import judge_slice, piqe

#: Scores of pypiqe 1.2 (with OpenCV 5.0) for the pictures below, by name.
PYPIQE_SCORES = {"smooth": 85.176619159, "noisy": 43.755213003, "blocky": 82.338270155}


def picture(name: str) -> np.ndarray:
    """Return a picture of odd size in grey levels 0 to 255: with structure, with noise, or with blocks of 8 pixels."""
    rng = np.random.default_rng(6)
    image = gaussian_filter(rng.normal(size=(101, 139)), 2.5)
    if name == "noisy":
        image = image + rng.normal(0, 0.5 * image.std(), image.shape)
    if name == "blocky":
        image = np.kron(image[::8, ::8], np.ones((8, 8)))[:101, :139]
    image = np.round(255 * (image - image.min()) / np.ptp(image))
    return image


@pytest.mark.parametrize("name", list(PYPIQE_SCORES))
def test_a_slice_scores_what_pypiqe_gives(name):
    image = picture(name)
    assert piqe(image[None], data_range=255.0).value == pytest.approx(PYPIQE_SCORES[name], abs=1e-6)


@pytest.mark.parametrize("name", list(PYPIQE_SCORES))
def test_pypiqe_still_agrees(name):
    pypiqe = pytest.importorskip("pypiqe", reason="pypiqe (which needs OpenCV) is the oracle of PIQE")
    expected = pypiqe.piqe(picture(name))[0]
    assert piqe(picture(name)[None], data_range=255.0).value == pytest.approx(expected, abs=1e-6)


def test_counts_name_the_kind_of_distortion():
    judged = {name: judge_slice(picture(name), np.ones((101, 139), bool)) for name in PYPIQE_SCORES}
    assert judged["smooth"].blocks == 7 * 9
    assert judged["noisy"].noisy > judged["smooth"].noisy
    assert judged["blocky"].blocky > judged["smooth"].blocky


def test_slices_are_averaged_by_their_blocks():
    stack = np.stack([picture("smooth"), picture("noisy")])
    mask = np.ones(stack.shape, bool)
    mask[1, 48:] = False
    halves = [judge_slice(stack[n], mask[n]) for n in (0, 1)]
    assert [half.blocks for half in halves] == [63, 27]
    expected = (63 * halves[0].score + 27 * halves[1].score) / 90
    measured = piqe(stack, mask=mask, data_range=255.0)
    assert measured.value == pytest.approx(expected)
    assert measured.detail["blocks"] == 90


def test_outside_the_masks_box_nothing_counts():
    image = picture("noisy")[None]
    mask = np.zeros(image.shape, bool)
    mask[0, 10:74, 20:100] = True
    spoilt = np.where(mask, image, 0.0)
    assert piqe(spoilt, mask=mask, data_range=255.0).value == piqe(image, mask=mask, data_range=255.0).value
    assert piqe(image[:, 10:74, 20:100], data_range=255.0).value == piqe(image, mask=mask, data_range=255.0).value


def test_masks_thinner_than_half_a_block_are_still_judged():
    image = picture("noisy")[None]
    mask = np.zeros(image.shape, bool)
    mask[0, np.arange(96), np.arange(96)] = True
    measured = piqe(image, mask=mask, data_range=255.0)
    assert measured.detail["blocks"] == 6
    assert np.isfinite(measured.value)


def test_a_uniform_slice_scores_worst():
    assert piqe(np.full((2, 40, 40), 9.0), data_range=100.0).value == 100.0
