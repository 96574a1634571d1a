"""MANIQA with a tiny checkpoint of random weights: sizes are read from it, wrong files are named."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError, WeightsError
from MRHarmonizationLib.evaluation.maniqa import load_maniqa, sizes_of

torch = pytest.importorskip("torch")

from MRHarmonizationLib.models.maniqa import Maniqa, ManiqaSizes  # noqa: E402

TINY = ManiqaSizes(
    image=32, patch=4, width=16, heads=1, embed=16, hidden=12, stages=(2, 1), window=4, window_heads=2, channel_blocks=1
)


@pytest.fixture
def checkpoint(tmp_path):
    """A network of random weights, with parts of the authors' network that a score does not need."""
    torch.manual_seed(3)
    network = Maniqa(TINY)
    state = network.state_dict() | {"vit.head.weight": torch.zeros(3, 16), "vit.blocks.11.norm1.weight": torch.ones(16)}
    torch.save(state, tmp_path / "tiny.pt")
    return tmp_path / "tiny.pt"


def test_sizes_are_read_from_the_checkpoint(checkpoint):
    assert sizes_of(torch.load(checkpoint, weights_only=True)) == TINY


def test_score_is_finite_and_depends_on_the_image_alone(checkpoint):
    judge = load_maniqa(checkpoint)
    plane = np.random.default_rng(0).random((30, 40)) * 100
    plane.flags.writeable = False
    score = judge.score(plane, 0.0, 100.0)
    assert np.isfinite(score)
    assert judge.score(plane * 3 + 7, 7.0, 307.0) == pytest.approx(score, abs=1e-4)
    assert judge.score(plane[::-1], 0.0, 100.0) != score
    with pytest.raises(InputError, match="white 5"):
        judge.score(plane, 5.0, 5.0)


def test_windows_that_only_touch_by_rolling_are_kept_apart():
    """A shifted block may not carry anything from one rim of the image to the other."""
    torch.manual_seed(1)
    network = Maniqa(TINY).eval()
    block = network.swintransformer1.layers[0].blocks[1]
    assert block.shift == 2
    tokens = torch.rand(1, 64, 16)
    changed = tokens.clone()
    changed[:, 0] += 1.0  # first row, first column
    with torch.inference_mode():
        moved = (block(tokens) - block(changed)).abs().amax(dim=2).reshape(8, 8) > 1e-6
    assert moved[0, 0]
    assert not moved[6:].any()
    assert not moved[:, 6:].any()


def test_attention_across_channels_is_laid_out_as_published():
    """Attention (N × C)ᵀ is read as C × N without transposing back, as the published network does."""
    torch.manual_seed(2)
    block = Maniqa(TINY).tablock1[0]
    x = torch.rand(1, 5, 64)
    q, k, v = (linear(x)[0] for linear in (block.c_q, block.c_k, block.c_v))
    mixed = torch.softmax(q @ k.T / 8.0, dim=1) @ v
    assert torch.allclose(block(x)[0], x[0] + mixed.T.reshape(5, 64), atol=1e-5)


@pytest.mark.parametrize("content", [b"nothing", None])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "other.pt"
    if content is None:
        torch.save({"conv1.weight": torch.zeros(2, 4, 1, 1)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"other\.pt"):
        load_maniqa(path)


def test_a_checkpoint_that_lacks_parameters_is_refused(checkpoint, tmp_path):
    state = torch.load(checkpoint, weights_only=True)
    del state["fc_score.3.bias"]
    torch.save(state, tmp_path / "part.pt")
    with pytest.raises(WeightsError, match=r"fc_score\.3\.bias"):
        load_maniqa(tmp_path / "part.pt")
