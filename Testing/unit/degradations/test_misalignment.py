"""Misalignment: the geometry that it states, held against SimpleITK's physical points."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.misalignment import (
    LARGEST_MM,
    Misalignment,
    MisalignmentParameters,
    misalign,
    misaligned_places,
    sample_misalignment,
)
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

SHAPE, SPACING_KJI = (24, 30, 36), (2.0, 1.2, 0.9)


def test_rigid_motion_is_that_of_simpleitk():
    """A landmark is shown where SimpleITK's rigid transform, along the volume's own axes, puts it."""
    sitk = pytest.importorskip("SimpleITK")
    angle = np.deg2rad(17)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    image = sitk.Image([*SHAPE[::-1]], sitk.sitkFloat32)
    image.SetSpacing(SPACING_KJI[::-1])
    image.SetDirection(turn.ravel().tolist())
    image.SetOrigin((5.0, -7.0, 11.0))
    moved_by = MisalignmentParameters((1.5, -0.7, 2.2), (0.0, 0.0, 6.0))
    places = misaligned_places(SHAPE, SPACING_KJI, moved_by)
    # the transform from where a point is to where it is shown, in the volume's axes i, j, k
    rotation = np.deg2rad(6.0)
    # about array axis 2 (i), which turns array axis 0 (k) towards 1 (j)
    local = np.eye(3)
    local[2, 2] = local[1, 1] = np.cos(rotation)
    local[2, 1], local[1, 2] = -np.sin(rotation), np.sin(rotation)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix((turn @ local @ turn.T).ravel().tolist())
    transform.SetCenter(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in SHAPE[::-1]]))
    transform.SetTranslation((turn @ np.array([2.2, -0.7, 1.5])).tolist())
    for voxel in ((4, 5, 6), (20, 3, 30), (11, 25, 17)):
        read = [float(places[(axis, *voxel)]) for axis in (2, 1, 0)]
        shown = transform.TransformPoint(image.TransformContinuousIndexToPhysicalPoint(read))
        wanted = image.TransformIndexToPhysicalPoint([int(v) for v in voxel[::-1]])
        assert np.linalg.norm(np.subtract(shown, wanted)) < 1e-3


def test_translation_moves_what_is_shown_along_the_axis():
    array = np.zeros((16, 20, 20), np.float32)
    array[8, 6, 10] = 1.0
    moved = misalign(array, (2.0, 1.0, 1.0), MisalignmentParameters((4.0, -3.0, 0.0)))
    assert np.unravel_index(moved.argmax(), moved.shape) == (10, 3, 10)


@pytest.mark.parametrize("level", [0.5, 2.0, LARGEST_MM])
def test_level_is_about_the_displacement(level):
    shape, spacing = (40, 80, 80), (2.0, 1.0, 1.0)
    voxels = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"))
    found = []
    for seed in range(6):
        places = misaligned_places(shape, spacing, sample_misalignment(np.random.default_rng(seed), level))
        displacement = (places - voxels) * np.reshape(spacing, (3, 1, 1, 1))
        found.append(np.sqrt((displacement**2).sum(axis=0).mean()))
    assert np.mean(found) == pytest.approx(level, rel=0.2)


def test_nothing_moves_across_the_planes_if_so_asked():
    parameters = sample_misalignment(np.random.default_rng(3), 3.0, (1, 2))
    places = misaligned_places((8, 30, 30), (5.0, 1.0, 1.0), parameters)
    assert np.allclose(places[0], np.arange(8)[:, None, None], atol=1e-4)
    assert np.abs(places[1] - np.arange(30)[None, :, None]).max() > 1.0


def test_level_of_zero_is_the_identity():
    array = np.random.default_rng(0).random((10, 12, 14), np.float32)
    still = misalign(array, (1, 1, 1), sample_misalignment(np.random.default_rng(1), 0.0))
    assert np.allclose(still, array, atol=1e-5)


def test_registered_kind_takes_a_level():
    volume = Volume(np.random.default_rng(0).random((12, 14, 16)).astype(np.float32), Grid.from_parts((12, 14, 16)))
    parameters = Misalignment.sample(np.random.default_rng(1), volume, 2.5)
    assert 1.4 < np.linalg.norm(parameters.translation_mm) <= 2.5
    with pytest.raises(ParameterError, match=r"3\.5"):
        Misalignment.sample(np.random.default_rng(1), volume, 3.5)
