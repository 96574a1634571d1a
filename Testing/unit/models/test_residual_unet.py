"""The network: shapes, scale of the first correction, and what a voxel can reach."""

from __future__ import annotations

import pytest

from MRHarmonizationLib.core.errors import ParameterError

torch = pytest.importorskip("torch", reason="torch is not installed")

from MRHarmonizationLib.models import MODELS, build_model  # noqa: E402
from MRHarmonizationLib.models.residual_unet import DETAIL_GAIN, DETAIL_STEPS, second_differences  # noqa: E402
from MRHarmonizationLib.training.export import halo_of  # noqa: E402
from MRHarmonizationLib.training.recipe import list_recipes, load_recipe  # noqa: E402

SMALL = {"features": [8, 12], "blocks": [1, 1]}


@pytest.mark.parametrize(("dimensions", "planes", "shape"), [(2, 5, (2, 8, 16, 24)), (3, 1, (1, 4, 8, 12, 16))])
def test_output_is_one_correction_per_voxel(dimensions, planes, shape):
    network = build_model(
        "residual_unet", {"dimensions": dimensions, "in_channels": shape[1], "planes": planes, **SMALL}
    )
    output = network(torch.rand(shape))
    assert output.shape == (shape[0], 1, *shape[2:])
    assert output.abs().max() < 0.5


def test_second_differences_of_a_straight_line_are_zero_inside():
    line = torch.arange(20.0).expand(1, 1, 12, 20)
    details = second_differences(line)
    assert details.shape == (1, 2 * len(DETAIL_STEPS), 12, 20)
    assert details[..., 4:-4].abs().max() < 1e-5
    spike = torch.zeros(1, 1, 9, 9)
    spike[0, 0, 4, 4] = 1
    assert second_differences(spike)[0, 0, 4, 4] == 2 * DETAIL_GAIN


def test_wrong_parameters_are_named():
    with pytest.raises(ParameterError, match="colour"):
        build_model("residual_unet", {"colour": 1})
    with pytest.raises(ParameterError, match="residual_unet"):
        build_model("unknown", {})
    with pytest.raises(ParameterError, match="blocks"):
        build_model("residual_unet", {"features": [8], "blocks": [1, 1]})


@pytest.mark.parametrize("name", list_recipes())
def test_recipes_build_their_network_and_know_its_reach(name):
    """No input voxel further away than the stated halo may change an output voxel."""
    recipe = load_recipe(name)
    assert recipe.architecture in MODELS.names()
    narrow = 4 if isinstance(recipe.architecture_parameters["features"], int) else [4] * 3
    network = build_model(recipe.architecture, {**recipe.architecture_parameters, "features": narrow}).eval()
    halo = halo_of(recipe)
    size = 2 * halo + 32
    flat = recipe.layout == "planes-2.5d"
    channels = recipe.architecture_parameters["in_channels"]
    shape = (1, channels, size, 16) if flat else (1, channels, size, 16, 16)
    image = torch.rand(shape, requires_grad=True)
    middle = size // 2
    network(image)[:, :, middle].sum().backward()
    reached = torch.nonzero(image.grad.abs().flatten(3).sum((0, 1, 3)))
    assert middle - int(reached.min()) <= halo
    assert int(reached.max()) - middle <= halo
