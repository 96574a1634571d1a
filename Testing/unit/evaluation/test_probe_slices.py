"""What a probe sees: the same places in every image, whatever its grid; bad images refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.evaluation.probe_settings import ProbeSettings
from MRHarmonizationLib.evaluation.probe_slices import (
    SliceSet,
    describe_sizes,
    fit_set_scale,
    normalise_each,
    slices_of,
)
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.orientation import AxisOrder
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

SETTINGS = ProbeSettings(slices=3, size=32)


@pytest.fixture(scope="module")
def brain(head_phantom):
    return head_phantom.with_array((head_phantom.array > 200).astype(np.uint8))


def test_the_middle_of_the_mask_is_sampled_without_interpolation_in_plane(head_phantom):
    mask = np.zeros(head_phantom.array.shape, np.uint8)
    mask[10:31, 10:43, 8:41] = 1  # 21 slices; 70 % of the extent in three slices: 13, 20, 27
    found = slices_of(head_phantom, head_phantom.with_array(mask), SETTINGS)
    assert found.shape == (3, 32, 32)
    np.testing.assert_allclose(found, head_phantom.array[[13, 20, 27], 10:42, 8:40], rtol=1e-4, atol=0.5)


def test_storage_does_not_matter(head_phantom, brain):
    order = AxisOrder((2, 0, 1), (True, False, True))

    def stored(volume):
        return Volume(order.apply(volume.array), order.apply_grid(volume.grid), volume.name)

    expected = slices_of(head_phantom, brain, SETTINGS)
    np.testing.assert_allclose(slices_of(stored(head_phantom), stored(brain), SETTINGS), expected, atol=1e-2)
    np.testing.assert_allclose(slices_of(stored(head_phantom), brain, SETTINGS), expected, atol=1e-2)


def test_images_of_other_size_and_spacing_show_the_same_places(brain):
    """A ramp is the same function of place on every grid."""

    def ramp(grid):
        k, j, i = np.indices(grid.shape)
        place = grid.ijk_to_ras(np.stack([i, j, k], axis=-1))
        return Volume((place @ [1.0, 2.0, 3.0] + 500).astype(np.float32), grid)

    grid = brain.grid
    fine = slices_of(ramp(grid), brain, SETTINGS)
    for other in (grid.with_spacing((1.3, 1.7, 2.2)), grid.with_spacing((1.5, 1.5, 1.5)).crop((1, 2, 1), (26, 33, 29))):
        found = slices_of(ramp(other), brain, SETTINGS)
        # the pixels of the first are laid on its voxels: up to half a voxel of 1 mm to the side
        assert np.abs(found - fine).max() < 0.5 * (1 + 2) + 0.1


@pytest.mark.parametrize(("plane", "axis"), [("axial", 0), ("coronal", 1), ("sagittal", 2)])
def test_planes_are_what_they_are_called(head_phantom, brain, plane, axis):
    found = slices_of(head_phantom, brain, ProbeSettings(slices=1, size=32, plane=plane))[0]
    inside = np.nonzero(brain.array)[axis]
    middle = (inside.min() + inside.max()) / 2
    expected = np.take(head_phantom.array, [int(np.floor(middle)), int(np.ceil(middle))], axis=axis).mean(axis=axis)
    rows = (expected.shape[0] - 32) // 2
    assert np.corrcoef(found[:, 16], expected[rows : rows + 32, expected.shape[1] // 2])[0, 1] > 0.9


def test_the_field_of_view_ends_in_the_minimum(head_phantom, brain):
    found = slices_of(head_phantom, brain, ProbeSettings(slices=1, size=96))[0]
    assert found[0, 0] == head_phantom.array.min()


def test_the_foreground_stands_in_for_a_mask(head_phantom):
    assert slices_of(head_phantom, None, SETTINGS).std() > 10


def test_the_input_is_not_changed(head_phantom, brain):
    digest = head_phantom.digest()
    slices_of(head_phantom, brain, SETTINGS)
    assert head_phantom.digest() == digest


def test_nan_constant_and_masks_elsewhere_are_refused(head_phantom, brain):
    holed = head_phantom.array.copy()
    holed[3, 4, 5] = np.nan
    with pytest.raises(InputError, match="image 'phantom' has 1 of .* NaN"):
        slices_of(head_phantom.with_array(holed), brain, SETTINGS)
    with pytest.raises(InputError, match="image 'phantom' is constant"):
        slices_of(head_phantom.with_array(np.full(holed.shape, 7.0)), brain, SETTINGS)
    with pytest.raises(InputError, match="mask of image 'phantom' is empty"):
        slices_of(head_phantom, brain.with_array(np.zeros(holed.shape, np.uint8)), SETTINGS)
    affine = head_phantom.grid.affine.copy()
    affine[:3, 3] += 500
    with pytest.raises(InputError, match="lies outside the image"):
        slices_of(head_phantom, Volume(brain.array, Grid(holed.shape, affine)), SETTINGS)


def test_different_sizes_are_put_into_words(head_phantom):
    grid = head_phantom.grid
    assert describe_sizes([grid, grid], SETTINGS) == ""
    text = describe_sizes([grid, grid.isotropic(2.0), grid], SETTINGS)
    assert "2 different sizes" in text
    assert "24 × 28 × 22 to 48 × 56 × 44 voxels" in text
    assert "32 × 32 pixels of 1 mm" in text


def test_one_scale_for_a_set_keeps_gains_apart_and_one_for_each_image_does_not(head_phantom, brain):
    plane = slices_of(head_phantom, brain, SETTINGS)
    pixels, image = np.concatenate([plane, 3 * plane]), np.repeat([0, 1], 3)
    together = fit_set_scale(pixels).normalise(pixels)
    assert together[3:].max() / together[:3].max() == pytest.approx(3, rel=0.1)
    each = normalise_each(pixels, image)
    np.testing.assert_allclose(each[:3], each[3:], atol=1e-5)


def test_a_set_knows_its_subjects_and_keeps_its_pixels(head_phantom, brain):
    plane = slices_of(resample(head_phantom, head_phantom.grid), brain, SETTINGS)
    found = SliceSet(plane, np.array([0, 0, 1]), np.array([0, 0, 1]), np.array(["a", "a", "b"]))
    assert found.of_subjects(("b", "z")).tolist() == [2]
    assert not found.pixels.flags.writeable
    assert found.with_scanner(np.array([1, 1, 0])).pixels is not None


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"plane": "oblique"}, "plane is 'oblique'; choose one of: axial"),
        ({"normalisation": "none"}, "normalisation is 'none'"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"size": 16}, "size is 16, expected at least 32"),
        ({"slices": 0}, "slices is 0"),
        ({"epochs": -1}, "epochs is -1"),
        ({"batch": 1}, "batch is 1"),
        ({"spacing_mm": 0.0}, "spacing 0.0 mm"),
        ({"test_share": 1.5}, "test share 1.5"),
    ],
)
def test_impossible_settings_are_refused(changes, word):
    with pytest.raises(ParameterError, match=word):
        ProbeSettings(**changes)


def test_settings_survive_json_and_refuse_unknown_keys():
    settings = ProbeSettings(slices=3, seed=9)
    assert ProbeSettings.from_dict(settings.to_dict()) == settings
    with pytest.raises(ParameterError, match="slicse"):
        ProbeSettings.from_dict({"slicse": 3})
