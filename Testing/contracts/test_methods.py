"""What every classical method promises, tested on each one the registry knows."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.methods.base import METHODS
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.volume import Volume

METHOD_NAMES = METHODS.names()


@pytest.fixture(scope="module")
def scan() -> Volume:
    """A sphere in a box, oblique and thick-sliced, with noise; float32 [8, 26, 24] of 1.5 × 1.5 × 5 mm."""
    turn = np.deg2rad(12)
    directions = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = directions * (1.5, 1.5, 5.0)
    affine[:3, 3] = (-20, 10, 5)
    grid = Grid((8, 26, 24), affine)
    index = np.stack(np.meshgrid(np.arange(24), np.arange(26), np.arange(8), indexing="ij"), axis=-1)
    distance = np.linalg.norm(grid.ijk_to_ras(index) - grid.corners_ras().mean(axis=0), axis=-1).T
    image = np.where(distance < 15, 200.0, 20.0) + np.random.default_rng(0).normal(0, 8, grid.shape)
    return Volume(np.maximum(image, 0).astype(np.float32), grid, "sphere", {"modality": "MR"})


def test_the_acceptance_methods_are_there():
    assert {"cubic", "linear", "n4_cubic", "nlm_cubic", "tv_cubic"} <= set(METHOD_NAMES)


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_output_lies_on_the_grid_in_the_input_range(name, scan):
    grid = scan.grid.isotropic(1.0)
    before = scan.array.copy()
    output = METHODS.get(name).apply(scan, grid)
    assert same_grid(output.grid, grid)
    assert output.array.dtype == np.float32
    assert np.all(np.isfinite(output.array))
    assert (output.name, output.metadata["modality"]) == ("sphere", "MR")
    np.testing.assert_array_equal(scan.array, before)
    inside = output.array[output.array.shape[0] // 2, output.array.shape[1] // 2, output.array.shape[2] // 2]
    assert inside == pytest.approx(200, rel=0.15), "the sphere stays where it was, as bright as it was"
    assert output.array.max() < 1.3 * scan.array.max()


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_result_is_the_same_every_time(name, scan):
    grid = scan.grid.isotropic(2.0)
    first, second = (METHODS.get(name).apply(scan, grid).array for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_units_do_not_matter(name, scan):
    grid = scan.grid.isotropic(2.0)
    once = METHODS.get(name).apply(scan, grid).array
    scaled = METHODS.get(name).apply(scan.with_array(scan.array * np.float32(64)), grid).array
    np.testing.assert_allclose(scaled / 64, once, atol=2e-2 * float(np.ptp(once)))


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_unknown_parameters_are_refused_by_name(name, scan):
    with pytest.raises(ParameterError, match="no parameter 'sharpness'"):
        METHODS.get(name).apply(scan, scan.grid, sharpness=1)


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_every_candidate_uses_known_parameters(name):
    method = METHODS.get(name)
    candidates = list(method.candidates())
    assert candidates
    assert all(set(candidate) <= set(method.defaults) for candidate in candidates)
    assert len({str(candidate) for candidate in candidates}) == len(candidates)
    assert method.summary
    assert method.__doc__
