"""Every degradation of the registry: replays exactly, keeps geometry, mutates nothing, refuses wrong parameters."""

from __future__ import annotations

import json

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations import DEGRADATIONS
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume


def head() -> Volume:
    """A smooth head-like object on an oblique, flipped 1 mm grid."""
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n) for n in (40, 44, 48)], indexing="ij")
    radius = np.sqrt(k**2 + j**2 + i**2)
    array = np.where(radius < 0.8, 400 + 100 * np.cos(9 * j) * np.cos(7 * i), 0).astype(np.float32)
    angle = np.deg2rad(12)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return Volume(array, Grid.from_parts(array.shape, (1, 1, 1), (10, -20, 30), turn @ np.diag([-1, 1, 1])), "head")


@pytest.fixture(params=DEGRADATIONS.names())
def degradation(request):
    return DEGRADATIONS.get(request.param)


def test_same_parameters_give_the_same_voxels(degradation):
    parameters = degradation.sample(np.random.default_rng(4), head())
    first, second = degradation.apply(head(), parameters), degradation.apply(head(), parameters)
    assert np.array_equal(first.array, second.array)


def test_parameters_survive_json(degradation):
    parameters = degradation.sample(np.random.default_rng(5), head())
    again = degradation.parameters_from_dict(json.loads(json.dumps(parameters.to_dict())))
    assert np.array_equal(degradation.apply(head(), parameters).array, degradation.apply(head(), again).array)


def test_another_seed_gives_another_image(degradation):
    one, two = (degradation.apply(head(), degradation.sample(np.random.default_rng(seed), head())) for seed in (1, 2))
    assert one.array.shape != two.array.shape or not np.allclose(one.array, two.array)


def test_centre_and_directions_stay(degradation):
    source = head()
    result = degradation.apply(source, degradation.sample(np.random.default_rng(6), source))
    assert np.allclose(result.grid.corners_ras().mean(0), source.grid.corners_ras().mean(0), atol=1e-6)
    assert np.allclose(result.grid.directions, source.grid.directions, atol=1e-9)
    assert np.all(np.isfinite(result.array))
    assert result.array.dtype == np.float32


def test_centre_of_mass_stays_in_place(degradation):
    """Voxels may change, anatomy may not move: compared in scanner space."""
    source = head()
    result = degradation.apply(source, degradation.sample(np.random.default_rng(7), source))
    places = []
    for volume in (source, result):
        weight = np.where(volume.array > 0.3 * np.percentile(volume.array, 99), 1.0, 0.0)
        index = np.argwhere(weight > 0)[:, ::-1]
        places.append(volume.grid.ijk_to_ras(index).mean(0))
    assert np.linalg.norm(places[0] - places[1]) < 1.0


def test_unknown_parameter_is_refused(degradation):
    parameters = degradation.sample(np.random.default_rng(8), head()).to_dict()
    with pytest.raises(ParameterError, match="colour"):
        degradation.parameters_from_dict({**parameters, "colour": 3})
