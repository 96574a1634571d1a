"""Affine registration of brains, and reading a volume through a map."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from support.diffusion_scan import brain_scan, labels

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.volumes.affine import register_affine, resample_through
from MRHarmonizationLib.volumes.volume import Volume


def brain() -> Volume:
    """The unweighted brain with a bright spot off its middle, so that no turn of it looks the same."""
    scan = brain_scan(6)
    image = np.array(scan.mean_b0().array)
    image[4:7, 8:13, 9:15] = 1500.0
    return Volume(np.where(labels() > 0, image, 0).astype(np.float32), scan.grid, "brain")


def moved_by() -> np.ndarray:
    """A small turn, growth and shift, RAS mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [5, -4, 7], degrees=True).as_matrix() * 1.05
    matrix[:3, 3] = (4.0, -3.0, 2.0)
    return matrix


def test_reading_through_the_identity_is_resampling():
    image = brain()
    np.testing.assert_allclose(resample_through(image, image.grid, np.eye(4)).array, image.array, atol=1e-3)


def test_map_is_found_again():
    fixed = brain()
    truth = moved_by()
    moving = resample_through(fixed, fixed.grid, np.linalg.inv(truth))
    found = register_affine(moving, fixed)
    points = fixed.grid.ijk_to_ras(np.argwhere(labels() > 0)[::40][:, ::-1])
    apart = np.linalg.norm((points @ (found - truth)[:3, :3].T) + (found - truth)[:3, 3], axis=1)
    unregistered = np.linalg.norm((points @ (np.eye(4) - truth)[:3, :3].T) - truth[:3, 3], axis=1)
    assert apart.mean() < 0.8  # mm, of voxels of 2 × 2 × 3 mm
    assert unregistered.mean() > 3


def test_same_images_same_map():
    moving, fixed = brain(), brain()
    np.testing.assert_array_equal(register_affine(moving, fixed), register_affine(moving, fixed))


def test_empty_image_is_refused():
    image = brain()
    with pytest.raises(InputError, match="could not be registered"):
        register_affine(image.with_array(np.zeros_like(image.array), "nothing"), image)
