"""Optimisers: what Muon's step is, and that it learns."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from MRHarmonizationLib.training.optimiser import Muon, build_optimiser, orthogonalise  # noqa: E402


@pytest.mark.parametrize("shape", [(8, 40), (40, 8), (16, 16)])
def test_orthogonalised_matrices_keep_directions_and_level_the_singular_values(shape):
    torch.manual_seed(0)
    left, values, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    result = orthogonalise(left @ torch.diag(torch.logspace(0, -1.5, len(values))) @ right).float()
    assert result.shape == shape
    found = torch.linalg.svdvals(result)
    assert found.min() > 0.5
    assert found.max() < 1.3
    # the singular directions are those of the input: U' X V is close to diagonal
    turned = left.T @ result @ right.T
    off = turned - torch.diag(torch.diag(turned))
    assert off.abs().max() < 0.1
    assert torch.diag(turned).min() > 0.5


def test_kernels_go_to_muon_and_the_rest_to_adam():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ConvTranspose2d(4, 2, 2), torch.nn.Conv2d(2, 5, 1, bias=False)
    )
    optimiser = build_optimiser("muon", network, 1e-3, 0.0)
    kernels, others = (group["params"] for group in optimiser.param_groups)
    assert {id(p) for p in kernels} == {id(network[0].weight), id(network[2].weight)}
    assert {id(p) for p in others} == {id(network[0].bias), id(network[1].weight), id(network[1].bias)}


def test_a_step_has_the_size_of_the_learning_rate():
    torch.manual_seed(1)
    kernel, bias = torch.nn.Parameter(torch.randn(32, 16, 3, 3)), torch.nn.Parameter(torch.zeros(32))
    before = kernel.detach().clone()
    optimiser = Muon([kernel], [bias], learning_rate=0.01)
    kernel.grad, bias.grad = torch.randn_like(kernel), torch.full_like(bias, 3.0)
    optimiser.step()
    update = (kernel.detach() - before).pow(2).mean().sqrt()
    # root mean square .2 times the learning rate for a matrix that is orthogonal
    assert float(update) == pytest.approx(0.2 * 0.01, rel=0.25)
    torch.testing.assert_close(bias.detach(), torch.full((32,), -0.01))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_optimisers_fit_a_small_network(name):
    torch.manual_seed(2)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 1, 1))
    image = torch.randn(4, 1, 16, 16)
    target = torch.nn.functional.avg_pool2d(image, 3, 1, 1)
    optimiser = build_optimiser(name, network, 1e-2, 0.0)
    losses = []
    for _ in range(60):
        loss = ((network(image) - target) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_resuming_muon_continues_the_same_run():
    def build():
        torch.manual_seed(3)
        network = torch.nn.Conv2d(2, 3, 3)
        return network, build_optimiser("muon", network, 1e-2, 1e-3)

    def step(network, optimiser, seed):
        torch.manual_seed(seed)
        loss = (network(torch.randn(2, 2, 6, 6)) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    network, optimiser = build()
    step(network, optimiser, 10)
    weights, state = copy.deepcopy((network.state_dict(), optimiser.state_dict()))
    other, resumed = build()
    other.load_state_dict(weights)
    resumed.load_state_dict(state)
    step(network, optimiser, 11)
    step(other, resumed, 11)
    torch.testing.assert_close(other.weight, network.weight)
    torch.testing.assert_close(other.bias, network.bias)
