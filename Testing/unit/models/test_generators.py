"""Generators and judge: shapes, where they start, how far a voxel reaches, and what their parameters refuse."""

from __future__ import annotations

import pytest

from MRHarmonizationLib.core.errors import ParameterError

torch = pytest.importorskip("torch", reason="torch is not installed")

from MRHarmonizationLib.models import MODELS, build_model  # noqa: E402
from MRHarmonizationLib.training.export import halo_of  # noqa: E402
from MRHarmonizationLib.training.recipe import TRANSLATION, list_recipes, load_recipe  # noqa: E402

SMALL = {
    "unet": {"features": [4, 6, 8]},
    "resnet_generator": {"width": 4, "blocks": 2},
    "lohires_generator": {"features": [4, 6, 8], "blocks": [1, 1, 2]},
    "cyclegan_pair": {"parameters": {"width": 4, "blocks": 2}, "in_channels": 4, "planes": 1},
}
REDUCED = {"features": [2] * 4, "width": 2, "parameters": {"width": 2, "blocks": 6}}
"""Parameters that change the cost of a network, not its reach."""


@pytest.fixture(params=sorted(SMALL))
def network(request):
    torch.manual_seed(0)
    return build_model(request.param, SMALL[request.param])


def channels_of(network) -> int:
    return 8 if network.planes == 5 else 4


def test_the_output_is_one_small_correction_per_pixel(network):
    image = torch.rand(2, channels_of(network), 3 * network.stride, 5 * network.stride)
    output = network(image)
    assert output.shape == (2, 1, *image.shape[2:])
    assert 0 < output.abs().max() < 0.5


def test_the_output_depends_on_every_channel(network):
    image = torch.rand(1, channels_of(network), 32, 32, requires_grad=True)
    network(image).square().sum().backward()
    assert (image.grad.abs().amax(dim=(0, 2, 3)) > 0).all()


def test_all_weights_learn_but_those_of_the_way_back(network):
    network(torch.rand(2, channels_of(network), 32, 32)).square().sum().backward()
    still = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().any()}
    assert not {name for name in still if not name.startswith("to_low.")}


def test_a_tile_sees_what_the_whole_plane_sees(network):
    """No normalisation over the plane: far from a cut the result is the same."""
    margin = -(-network.halo // network.stride) * network.stride
    plane = torch.rand(1, channels_of(network), 2 * margin + 16, 16)
    with torch.inference_mode():
        whole, part = network(plane), network(plane[:, :, : margin + 16])
    torch.testing.assert_close(whole[:, :, :16], part[:, :, :16], atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", list_recipes(TRANSLATION))
def test_no_pixel_reaches_further_than_the_recipe_says(name):
    recipe = load_recipe(name)
    changes = {key: value for key, value in REDUCED.items() if key in recipe.architecture_parameters}
    network = build_model(recipe.architecture, {**recipe.architecture_parameters, **changes}).eval()
    halo = halo_of(recipe)
    assert halo % network.stride == 0
    size = 2 * halo + 2 * network.stride
    image = torch.rand((1, recipe.architecture_parameters["in_channels"], size, 8), requires_grad=True)
    middle = size // 2
    network(image)[:, :, middle].sum().backward()
    reached = torch.nonzero(image.grad.abs().sum((0, 1, 3)))
    assert middle - int(reached.min()) <= halo
    assert int(reached.max()) - middle <= halo


@pytest.mark.parametrize(
    ("name", "parameters", "named"),
    [
        ("unet", {"features": []}, "levels"),
        ("resnet_generator", {"blocks": 0}, "0 blocks"),
        ("lohires_generator", {"blocks": [1]}, "blocks"),
        ("cyclegan_pair", {"planes": 5}, "5 planes"),
        ("patch_discriminator", {"layers": 0}, "0 layers"),
        ("unet", {"colour": 1}, "colour"),
    ],
)
def test_wrong_parameters_are_named(name, parameters, named):
    assert name in MODELS.names()
    with pytest.raises(ParameterError, match=named):
        build_model(name, parameters)


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_the_judge_sees_patches_of_the_published_size(layers, field):
    judge = build_model("patch_discriminator", {"in_channels": 2, "width": 4, "layers": layers})
    assert judge.field == field
    convolutions = [m for m in judge.modules() if isinstance(m, torch.nn.Conv2d)]
    size = 1
    for convolution in reversed(convolutions):
        size = (size - 1) * convolution.stride[0] + convolution.kernel_size[0]
    assert size == field
    verdicts = judge(torch.rand(3, 2, judge.smallest, 64))
    assert verdicts.shape == (3, 1, judge.smallest // 2**layers - 2, 64 // 2**layers - 2)
    with pytest.raises(RuntimeError):
        judge(torch.rand(1, 2, 2**layers, 64))
