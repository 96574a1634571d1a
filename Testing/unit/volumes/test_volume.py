"""Volumes: read-only, checked against their grid, digests that tell changes."""

from __future__ import annotations

import numpy as np
import pytest
from support.geometry import GRIDS, random_array

from MRHarmonizationLib.core.errors import GridMismatchError, InputError
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

GRID = GRIDS["oblique"]


def test_array_is_read_only_and_the_callers_stays_writable():
    array = random_array(GRID)
    volume = Volume(array, GRID)
    with pytest.raises(ValueError, match="read-only"):
        volume.array[0, 0, 0] = 1
    array[0, 0, 0] = 1


def test_read_only_input_is_accepted():
    array = random_array(GRID)
    array.setflags(write=False)
    assert np.shares_memory(Volume(array, GRID).array, array)


def test_array_of_another_order_is_made_contiguous():
    array = np.asfortranarray(random_array(GRID))
    volume = Volume(array, GRID)
    assert volume.array.flags.c_contiguous
    np.testing.assert_array_equal(volume.array, array)


@pytest.mark.parametrize("dtype", ["complex64", "U3", "datetime64[s]", "object"])
def test_values_that_are_no_real_numbers_are_refused(dtype):
    with pytest.raises(InputError, match="real numbers"):
        Volume(np.zeros(GRID.shape).astype(dtype), GRID)


def test_shape_must_be_the_grids():
    with pytest.raises(GridMismatchError, match=r"\(7, 6, 5\).*\(5, 6, 7\)"):
        Volume(np.zeros((7, 6, 5)), GRID)


def test_metadata_is_a_read_only_copy():
    metadata = {"modality": "MR"}
    volume = Volume(random_array(GRID), GRID, metadata=metadata)
    metadata["modality"] = "CT"
    assert volume.metadata["modality"] == "MR"
    with pytest.raises(TypeError):
        volume.metadata["modality"] = "CT"


def test_with_array_keeps_grid_name_and_metadata():
    volume = Volume(random_array(GRID), GRID, "scan", {"modality": "MR"})
    other = volume.with_array(volume.array * 2)
    assert (other.grid, other.name, dict(other.metadata)) == (GRID, "scan", {"modality": "MR"})
    assert volume.with_array(volume.array, name="new").name == "new"


def test_digest_depends_on_values_type_shape_and_place_only():
    array = random_array(GRID)
    volume = Volume(array, GRID, "scan")
    assert volume.digest().startswith("sha256:")
    assert len(volume.digest()) == 7 + 64
    assert Volume(array.copy(), Grid(GRID.shape, GRID.affine), "other", {"a": "b"}).digest() == volume.digest()
    assert Volume(np.asfortranarray(array), GRID).digest() == volume.digest()
    assert Volume(array.astype(">f4"), GRID).digest() == volume.digest()

    changed = array.copy()
    changed[1, 2, 3] = np.nextafter(changed[1, 2, 3], np.float32(np.inf))
    moved = GRID.affine.copy()
    moved[0, 3] += 1e-3
    for other in (
        Volume(changed, GRID),
        Volume(array.astype(np.float64), GRID),
        Volume(array, Grid(GRID.shape, moved)),
        Volume(array.reshape(5, 7, 6), Grid((5, 7, 6), GRID.affine)),
    ):
        assert other.digest() != volume.digest()


def test_digest_ignores_the_last_bits_of_the_affine():
    nudged = GRID.affine * (1 + 1e-13)
    array = random_array(GRID)
    assert Volume(array, Grid(GRID.shape, nudged)).digest() == Volume(array, GRID).digest()
