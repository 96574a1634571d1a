"""The autoencoder and the denoiser of the degraders: what they can carry, and what they heed."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from MRHarmonizationLib.core.errors import ParameterError  # noqa: E402
from MRHarmonizationLib.inference.latent_input import TOLD, fold, unfold  # noqa: E402
from MRHarmonizationLib.models import build_model  # noqa: E402
from MRHarmonizationLib.models import latent_denoiser as denoiser_module  # noqa: E402
from MRHarmonizationLib.models.kl_autoencoder import cosine_basis  # noqa: E402


def test_cosine_basis_is_orthonormal_and_starts_with_the_mean():
    basis = cosine_basis()
    torch.testing.assert_close(basis @ basis.T, torch.eye(16), atol=1e-6, rtol=0)
    torch.testing.assert_close(basis[0], torch.full((16,), 0.25))


@pytest.mark.parametrize(("channels", "share"), [(4, 0.25), (8, 0.5), (16, 1.0)])
def test_white_noise_needs_as_many_channels_as_pixels(channels, share):
    torch.manual_seed(0)
    network = build_model("kl_autoencoder", {"channels": channels})
    cells = torch.randn(4, 16, 12, 12)
    with torch.no_grad():
        mean, spread = network.encode(cells)
        lost = ((network.decode(mean) - cells) ** 2).mean()
        both = network(torch.cat([cells, mean], dim=1))
    assert float(1 - lost) == pytest.approx(share, abs=0.03)
    assert mean.shape == spread.shape == (4, channels, 12, 12)
    torch.testing.assert_close(both[:, :channels], mean)
    torch.testing.assert_close(both[:, channels:], network.decode(mean))


def test_unfolding_and_folding_are_inverse():
    planes = np.random.default_rng(0).standard_normal((2, 12, 20)).astype(np.float32)
    cells = unfold(planes)
    assert cells.shape == (2, 16, 3, 5)
    np.testing.assert_array_equal(fold(cells), planes)
    np.testing.assert_array_equal(cells[0, :4, 0, 0], planes[0, 0, :4])


def denoiser(head: float = 0.1) -> torch.nn.Module:
    torch.manual_seed(0)
    network = build_model("latent_denoiser", {"given": 9, "channels": 4, "features": [8, 8], "blocks": 1, "told": 8})
    torch.nn.init.normal_(network.head.weight, std=head)
    return network.eval()


def test_untrained_denoiser_answers_nothing():
    network = build_model("latent_denoiser", {"features": [8, 8], "blocks": 1, "told": 8})
    with torch.no_grad():
        assert float(network(torch.randn(2, 55, 8, 8)).abs().max()) == 0.0


@pytest.mark.parametrize("channel", range(4 + 9 + len(TOLD)))
def test_denoiser_heeds_everything_it_is_given(channel):
    network = denoiser()
    inputs = torch.rand(1, 4 + 9 + len(TOLD), 8, 8)
    changed = inputs.clone()
    changed[:, channel] += 0.5
    with torch.no_grad():
        assert not torch.allclose(network(inputs), network(changed))


def test_number_of_told_values_is_the_same_for_training_and_use():
    assert len(TOLD) == denoiser_module.TOLD


def test_wrong_sizes_are_refused():
    with pytest.raises(ParameterError, match="17 channels"):
        build_model("kl_autoencoder", {"channels": 17})
    with pytest.raises(ParameterError, match="16 channels with 20 given"):
        build_model("latent_denoiser", {"given": 20})
    with pytest.raises(ParameterError, match="0 blocks"):
        build_model("latent_denoiser", {"blocks": 0})
