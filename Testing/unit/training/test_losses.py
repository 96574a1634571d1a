"""Loss terms against their definitions and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import ParameterError

torch = pytest.importorskip("torch", reason="torch is not installed")

from MRHarmonizationLib.training.adversarial_losses import (  # noqa: E402
    cycle_loss,
    identity_loss,
    judge_loss,
    verdict_loss,
)
from MRHarmonizationLib.training.losses import (  # noqa: E402
    SSIM_STRIDE,
    SSIM_WINDOW,
    absolute_error,
    charbonnier,
    structural_dissimilarity,
)


@pytest.fixture
def images():
    rng = np.random.default_rng(4)
    first = np.clip(rng.normal(0.5, 0.2, (47, 40)).cumsum(axis=1) / 20, 0, 1)
    return first, np.clip(first + rng.normal(0, 0.08, first.shape), 0, 1)


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array))[None, None]


@pytest.mark.parametrize("stride", [1, SSIM_STRIDE])
def test_ssim_is_that_of_scikit_image(images, stride):
    from skimage.metrics import structural_similarity

    _, scores = structural_similarity(
        *images, win_size=SSIM_WINDOW, data_range=1.0, use_sample_covariance=False, full=True
    )
    edge = SSIM_WINDOW // 2
    expected = scores[edge:-edge:stride, edge:-edge:stride].mean()
    found = 1.0 - float(structural_dissimilarity(*map(tensor, images), stride))
    assert found == pytest.approx(expected, abs=1e-6)
    assert expected < 0.95


def test_absolute_error_is_weighted_and_the_limit_of_charbonnier(images):
    first, second = map(tensor, images)
    expected = np.abs(images[0] - images[1])
    weight = np.linspace(0, 2, expected.size).reshape(expected.shape)
    assert float(absolute_error(first, second)) == pytest.approx(expected.mean())
    assert float(absolute_error(first, second, tensor(weight))) == pytest.approx((expected * weight).mean())
    assert float(charbonnier(first, second, 0.0)) == pytest.approx(expected.mean())
    assert float(charbonnier(first, second, 1e-6)) == pytest.approx(expected.mean(), abs=1e-5)
    same = first.clone().requires_grad_()
    charbonnier(same, first, 0.0).backward()
    assert torch.isfinite(same.grad).all()


def test_verdicts_are_judged_as_published():
    verdict = torch.tensor([-1.0, 0.0, 0.5, 2.0])
    assert float(verdict_loss(verdict, True, "lsgan")) == pytest.approx(np.mean([4, 1, 0.25, 1]))
    assert float(verdict_loss(verdict, False, "lsgan")) == pytest.approx(np.mean([1, 0, 0.25, 4]))
    for is_real in (True, False):
        wanted = torch.full_like(verdict, float(is_real))
        expected = torch.nn.functional.binary_cross_entropy_with_logits(verdict, wanted)
        torch.testing.assert_close(verdict_loss(verdict, is_real, "vanilla"), expected)
    with pytest.raises(ParameterError, match="hinge"):
        verdict_loss(verdict, True, "hinge")


@pytest.mark.parametrize("kind", ["lsgan", "vanilla"])
def test_a_judge_that_is_right_loses_little(kind):
    real, made = torch.full((4,), 1.0), torch.full((4,), 0.0)
    right, wrong = (
        judge_loss(real * 8 - 7 * (kind == "lsgan"), made - 8 * (kind != "lsgan"), kind),
        judge_loss(made, real, kind),
    )
    assert float(right) < 0.01
    assert float(wrong) > 0.5


def test_cycles_and_identities_are_mean_absolute_errors():
    start = torch.zeros(1, 1, 2, 2)
    assert float(cycle_loss(start + 0.5, start)) == 0.5
    assert float(identity_loss(torch.tensor([-1.0, 1.0, 0.0, 0.0]))) == 0.5
