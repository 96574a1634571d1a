"""The probes' networks: ResNet-50 is torchvision's, name by name; both take grey slices of any size."""

from __future__ import annotations

import hashlib

import pytest

torch = pytest.importorskip("torch")

from MRHarmonizationLib.core.errors import ParameterError  # noqa: E402
from MRHarmonizationLib.models import build_model  # noqa: E402

# Of torchvision 0.28's resnet50: parameters with 3 channels and 1,000 classes; and names and shapes of its state with
# conv1 of one channel and fc of seven classes, one "name shape" per line.
PARAMETERS_OF_TORCHVISION = 25_557_032
STATE_OF_TORCHVISION = "8c9475eba3f5057bd47d7ac58a3b804187643b97424b30f8ddf17b1776fe9975"


def test_resnet50_has_the_parameters_of_torchvision():
    network = build_model("resnet50", {"classes": 1000, "in_channels": 3})
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS_OF_TORCHVISION


def test_resnet50_has_the_state_of_torchvision():
    state = build_model("resnet50", {"classes": 7}).state_dict()
    lines = "\n".join(f"{name} {tuple(value.shape)}" for name, value in state.items())
    assert len(state) == 320
    assert hashlib.sha256(lines.encode()).hexdigest() == STATE_OF_TORCHVISION


def test_resnet50_computes_what_torchvision_computes():
    try:
        from torchvision.models import resnet50
    except (ImportError, RuntimeError) as error:  # its binaries must match torch's build
        pytest.skip(f"torchvision cannot be used here: {error}")
    torch.manual_seed(0)
    theirs = resnet50(weights=None, num_classes=7)
    theirs.conv1 = torch.nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    ours = build_model("resnet50", {"classes": 7})
    ours.load_state_dict(theirs.state_dict())
    grey = torch.randn(2, 1, 64, 48)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(grey), theirs.eval()(grey))


@pytest.mark.parametrize(("name", "width"), [("resnet50", 2048), ("small_cnn", 64)])
def test_slices_of_any_size_become_logits_and_features(name, width):
    torch.manual_seed(0)
    network = build_model(name, {"classes": 5}).eval()
    grey = torch.randn(2, 1, 33, 45)
    with torch.no_grad():
        features = network.features(grey)
        assert features.shape == (2, width)
        torch.testing.assert_close(network.fc(features), network(grey))


def test_wrong_parameters_are_refused():
    with pytest.raises(ParameterError, match="cannot be built"):
        build_model("resnet50", {"classes": 5, "depth": 101})
