"""Fixtures of the unit tests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from support.geometry import GRIDS, random_array

from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

# Derandomised: a failure seen by one is seen by all; the number of examples is kept for two cores.
settings.register_profile(
    "units", max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("units")


@pytest.fixture(params=list(GRIDS), ids=list(GRIDS))
def grid(request: pytest.FixtureRequest) -> Grid:
    """Each kind of grid in turn."""
    return GRIDS[request.param]


@pytest.fixture
def volume(grid: Grid) -> Volume:
    """A float32 volume on each kind of grid, every voxel different."""
    return Volume(random_array(grid), grid, "scan")


@pytest.fixture
def oblique_volume() -> Volume:
    """One oblique, anisotropic float32 volume, for tests in which the grid is not the subject."""
    grid = GRIDS["oblique"]
    return Volume(random_array(grid), grid, "scan")


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(20)
