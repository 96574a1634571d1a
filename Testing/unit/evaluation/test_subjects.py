from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.degradations.lowfield import AcquisitionParameters
from MRHarmonizationLib.evaluation.lowfield_protocol import Acquisition
from MRHarmonizationLib.evaluation.subjects import (
    Subject,
    acquisition_parameters,
    align,
    crop_subject,
    data_folder,
    label_subject,
    simulate,
    slab_subject,
)
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

AXIAL = Acquisition(
    "axial", "axial", "S", {"slice_spacing_mm": 5.0, "slice_fwhm_mm": 5.0, "in_plane_spacing_mm": [1.6, 1.6]}
)
SAGITTAL = Acquisition(
    "sagittal", "sagittal", "R", {"slice_spacing_mm": 5.0, "slice_fwhm_mm": 5.0, "in_plane_spacing_mm": [1.0, 1.0]}
)
#: Axes stored as (P, S, R): slices run along j.
PSR = np.array([[0, 0, 1.0, 0], [-1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1]])


def gradient_volume(shape, affine=None) -> Volume:
    k, j, i = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij")
    return Volume(50 + k + 2 * j + 3 * i, Grid(shape, np.eye(4) if affine is None else affine))


@pytest.mark.parametrize("acquisition", [AXIAL, SAGITTAL])
@pytest.mark.parametrize("shape", [(182, 30, 217), (41, 53, 37), (50, 50, 50)])
@pytest.mark.parametrize("affine", [np.eye(4), PSR])
def test_aligned_truth_shares_voxel_centres_with_the_output(acquisition, shape, affine):
    truth = gradient_volume(shape, affine)
    subject = align(Subject(truth, np.ones(shape, bool), "all"), acquisition)
    spacing = acquisition_parameters(truth.grid, acquisition, 10, 0).spacing_kji_mm[::-1]
    output = subject.truth.grid.with_spacing(spacing).isotropic(1.0)
    index = output.ras_to_ijk(subject.truth.grid.origin_ras)
    np.testing.assert_allclose(index, np.rint(index), atol=1e-6)
    assert max(np.array(shape) - subject.truth.array.shape) <= 2
    assert subject.mask.shape == subject.truth.array.shape


@pytest.mark.parametrize(("affine", "axis"), [(np.eye(4), 0), (PSR, 1)])
def test_slices_follow_anatomy_and_not_storage(affine, axis):
    grid = Grid((40, 40, 40), affine)
    parameters = acquisition_parameters(grid, AXIAL, 20, 3)
    assert isinstance(parameters, AcquisitionParameters)
    assert (parameters.slice_axis, parameters.snr, parameters.noise_seed) == (axis, 20, 3)


def test_simulated_noise_is_as_stated():
    array = np.full((40, 60, 60), 100.0, np.float32)
    array[:, :, :6] = 0
    flat = Volume(array, Grid((40, 60, 60), np.eye(4)))
    subject = Subject(flat, flat.array > 0, "all")
    scan, noise = simulate(subject, SAGITTAL, 20.0, 1)
    silent, _ = simulate(subject, SAGITTAL, 1e9, 1)
    assert noise == pytest.approx(100 / 20, rel=0.1)
    inside = silent.array > 95
    assert np.std((scan.array - silent.array)[inside]) == pytest.approx(noise, rel=0.1)


def test_a_block_gets_the_noise_of_the_object_it_was_cut_from():
    array = np.full((40, 40, 60), 20.0, np.float32)
    array[10:30, 10:30, 20:40] = 100.0
    whole = Subject(Volume(array, Grid(array.shape, np.eye(4))), array > 0, "all")
    block = crop_subject(whole, [30, 30, 30])
    assert block.level is not None
    scan, noise = simulate(block, SAGITTAL, 10.0, 1)
    silent, _ = simulate(block, SAGITTAL, 1e9, 1)
    assert noise == pytest.approx(block.level / 10)
    inside = silent.array > 95
    assert np.std((scan.array - silent.array)[inside]) == pytest.approx(noise, rel=0.15)


def test_slab_is_cut_to_its_full_slices_and_mirrored(tmp_path):
    shape = (24, 18, 26)
    image = np.zeros(shape, np.float32)
    image[:, 5:13] = gradient_volume((24, 8, 26)).array
    image[:, 4] = 0.4 * image[:, 5]
    tissue = np.zeros(shape, np.float32)
    tissue[2:20, 4:14, 3:22] = 2
    for name, array in (("slab", image), ("slab_tissues", tissue)):
        write_volume(Volume(array, Grid(shape, PSR)), tmp_path / f"{name}.nii.gz")
    subject = slab_subject(str(tmp_path), "slab", 30.0)
    assert subject.truth.array.shape == (24, 30, 26)
    np.testing.assert_array_equal(subject.truth.array[:, 11:19], image[:, 5:13])
    np.testing.assert_array_equal(subject.truth.array[:, 10], image[:, 5])
    assert set(np.flatnonzero(subject.mask.any(axis=(0, 2)))) == set(range(11, 19)), "only real slices are judged"
    place = Grid(shape, PSR).ijk_to_ras(np.array([3, 5, 7]))
    np.testing.assert_allclose(subject.truth.grid.ras_to_ijk(place), [3, 11, 7], atol=1e-5)
    stored = slab_subject(str(tmp_path), "slab", None)
    np.testing.assert_array_equal(stored.truth.array, image)


def test_label_map_becomes_an_image_around_the_brain(tmp_path):
    labels = np.zeros((60, 60, 60), np.int16)
    labels[10:50, 10:50, 10:50] = 258
    labels[24:36, 24:36, 24:36] = 2
    labels[28:32, 28:32, 28:32] = 4
    write_volume(Volume(labels, Grid(labels.shape, np.eye(4))), tmp_path / "map.nii.gz")
    first, other = (label_subject(str(tmp_path), "map", "t1", seed) for seed in (1, 2))
    assert first.truth.array.shape == (28, 28, 28), "brain and 8 mm on each side"
    assert first.mask.sum() == 12**3
    assert first.truth.array.min() >= 0
    np.testing.assert_allclose(first.truth.grid.origin_ras, [16, 16, 16])
    assert not np.array_equal(first.truth.array, other.truth.array)
    again = label_subject.__wrapped__(str(tmp_path), "map", "t1", 1)
    np.testing.assert_array_equal(first.truth.array, again.truth.array)


def test_block_is_central():
    volume = gradient_volume((30, 30, 30))
    block = crop_subject(Subject(volume, np.ones((30, 30, 30), bool), "all"), [10, 12, 14])
    assert block.truth.array.shape == (14, 12, 10)
    np.testing.assert_allclose(
        block.truth.grid.corners_ras().mean(axis=0), volume.grid.corners_ras().mean(axis=0), atol=0.5001
    )


def test_missing_data_folder_is_explained(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="MRH_DATA"):
        data_folder(tmp_path / "nowhere")
    monkeypatch.setenv("MRH_DATA", str(tmp_path))
    assert data_folder() == tmp_path
