"""NIfTI headers: forms, units, scaling, byte orders, versions; and every header that must be refused."""

from __future__ import annotations

import logging

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from support import image_files
from support.geometry import GRIDS, corner_voxels_ras, grids, rotation, sitk_voxels_ras

from MRHarmonizationLib.core.errors import GridError, InputError
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.volume import Volume


def placed(angle_deg: float, origin=(5.0, 6.0, 7.0), zooms=(2.0, 2.0, 3.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = rotation(0, angle_deg, angle_deg) @ np.diag(zooms)
    affine[:3, 3] = origin
    return affine


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("codes", [(1, 0), (4, 0), (0, 1), (1, 1), (2, 1), (0, 2)])
def test_place_is_the_one_nibabel_finds(codes, byte_order, version, tmp_path):
    path = image_files.nifti(
        tmp_path / "a.nii", sform=placed(20), qform=placed(20.001), codes=codes, byte_order=byte_order, version=version
    )
    volume, oracle = read_volume(path), nib.load(path)
    np.testing.assert_allclose(volume.grid.affine, oracle.affine, atol=1e-4)
    np.testing.assert_array_equal(volume.array, np.asarray(oracle.dataobj).T)
    assert volume.array.dtype == np.dtype("int16")
    assert volume.array.dtype.isnative


@given(grid=grids(), left_handed=st.booleans())
def test_any_qform_is_the_one_nibabel_finds(grid, left_handed, tmp_path_factory):
    affine = grid.affine.copy()
    if left_handed:
        affine[:3, 0] *= -1
    path = image_files.nifti(tmp_path_factory.getbasetemp() / "q.nii", qform=affine, codes=(0, 1))
    np.testing.assert_allclose(read_volume(path).grid.affine, nib.load(path).affine, atol=1e-3)


@given(grid=grids())
def test_qform_we_write_is_the_affine(grid, tmp_path_factory):
    path = write_volume(Volume(np.zeros(grid.shape, np.uint8), grid), tmp_path_factory.getbasetemp() / "w.nii")
    image_files.set_bytes(path, 254, "<h", 0)  # sform_code: the qform alone must do
    extent = 1 + np.linalg.norm(grid.extent_mm)
    np.testing.assert_allclose(
        corner_voxels_ras(read_volume(path).grid), corner_voxels_ras(grid), atol=1e-3 * extent
    )  # a quaternion near a half turn keeps three digits in float32


def test_forms_that_disagree_are_reported_and_the_sform_wins(tmp_path, caplog):
    path = image_files.nifti(tmp_path / "a.nii", sform=placed(0), qform=placed(0, (5, 6, 17.0)), codes=(1, 1))
    with caplog.at_level(logging.WARNING):
        volume = read_volume(path)
    np.testing.assert_allclose(volume.grid.origin_ras, (5, 6, 7))
    assert "10.0 mm apart" in caplog.text


def test_forms_that_agree_are_not_reported(tmp_path, caplog):
    path = image_files.nifti(tmp_path / "a.nii", sform=placed(20), qform=placed(20), codes=(1, 1))
    with caplog.at_level(logging.DEBUG):
        read_volume(path)
    assert caplog.text == ""


def test_file_without_forms_lies_where_simpleitk_puts_it(tmp_path, caplog):
    path = image_files.nifti(tmp_path / "a.nii", codes=(0, 0), zooms=(1, 2, 3))
    with caplog.at_level(logging.WARNING):
        volume = read_volume(path)
    np.testing.assert_allclose(corner_voxels_ras(volume.grid), sitk_voxels_ras(sitk.ReadImage(str(path))))
    assert "does not say where it lies" in caplog.text


@pytest.mark.parametrize(("unit", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 0.001), (10, 1)])
def test_units_of_length_become_millimetres(unit, factor, tmp_path):
    path = image_files.nifti(tmp_path / "a.nii", sform=placed(0), codes=(1, 1), qform=placed(0), xyzt_units=unit)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.grid.spacing_mm, np.array([2, 2, 3]) * factor, rtol=1e-6)
    np.testing.assert_allclose(volume.grid.origin_ras, np.array([5, 6, 7]) * factor, rtol=1e-6)
    image = sitk.ReadImage(str(path))
    np.testing.assert_allclose(volume.grid.spacing_mm, image.GetSpacing(), rtol=1e-5)


@pytest.mark.parametrize(
    ("stored", "scaled"), [("uint8", "float32"), ("int16", "float32"), ("int32", "float64"), ("float64", "float64")]
)
def test_scaling_is_applied(stored, scaled, tmp_path):
    array = np.arange(60).reshape(5, 4, 3).astype(stored)
    path = image_files.nifti(tmp_path / "a.nii", array, scl_slope=0.5, scl_inter=-3)
    volume = read_volume(path)
    assert volume.array.dtype == np.dtype(scaled)
    np.testing.assert_allclose(volume.array, array.T * 0.5 - 3)
    np.testing.assert_allclose(volume.array, nib.load(path).get_fdata().T)


@pytest.mark.parametrize(("slope", "inter"), [(0, 0), (0, 9), (np.nan, 0), (np.nan, np.nan), (1, 0)])
def test_no_scaling_leaves_the_stored_values(slope, inter, tmp_path):
    path = image_files.nifti(tmp_path / "a.nii", scl_slope=slope, scl_inter=inter)
    volume = read_volume(path)
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array.ravel(), np.arange(60).reshape(5, 4, 3).T.ravel())


def test_slope_of_one_with_an_offset_counts(tmp_path):
    path = image_files.nifti(tmp_path / "a.nii", scl_slope=1, scl_inter=100)
    assert read_volume(path).array.min() == 100


@pytest.mark.parametrize("shape", [(5, 4, 3, 1), (5, 4, 3, 1, 1), (5, 4, 3, 1, 1, 1, 1)])
def test_further_axes_of_one_are_no_series(shape, tmp_path):
    array = np.arange(60, dtype=np.int16).reshape(shape)
    assert read_volume(image_files.nifti(tmp_path / "a.nii.gz", array)).array.shape == (3, 4, 5)


def test_slice_as_a_two_dimensional_file_has_one_slice(tmp_path):
    array = np.arange(20, dtype=np.int16).reshape(5, 4)
    path = image_files.nifti(tmp_path / "a.nii", array, zooms=(2, 2))
    image_files.set_bytes(path, 76, "<4f", 1, 2, 2, 3)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, array.T[None])


def test_header_extensions_are_skipped(tmp_path):
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(5, 4, 3), np.diag([2.0, 2, 3, 1]))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 1000))
    nib.save(image, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array, np.asarray(image.dataobj).T)


def test_description_is_kept_as_metadata(tmp_path):
    path = image_files.nifti(tmp_path / "a.nii", descrip=b"TE=3.2;Time=101")
    assert dict(read_volume(path).metadata) == {"description": "TE=3.2;Time=101"}
    assert dict(read_volume(image_files.nifti(tmp_path / "b.nii")).metadata) == {}


def sheared() -> np.ndarray:
    affine = placed(10)
    affine[:3, 1] += 0.3 * affine[:3, 0]
    return affine


def singular() -> np.ndarray:
    affine = placed(10)
    affine[:3, 2] = 0
    return affine


REFUSED = {
    "sheared sform": ({"sform": sheared()}, r"sform: .*sheared \(largest cosine .*0\.\d+", "resample"),
    "sheared sform beside a good qform": (
        {"sform": sheared(), "codes": (1, 1), "qform": placed(10)},
        "sform: .*sheared",
        "resample",
    ),
    "sform of zeros": ({"sform": singular(), "codes": (2, 1)}, r"sform: .*spacing \(.*0\.0\) mm", "header"),
    "sform with NaN": ({"srow_x": [np.nan, 0, 0, 0]}, "sform: .*nan", "header"),
    "sform with infinity": ({"srow_y": [0, np.inf, 0, 0]}, "sform: .*inf", "header"),
    "qform that is no rotation": ({"codes": (0, 1), "quatern_b": 0.9, "quatern_c": 0.9}, "qform: .*nan", "header"),
    "qform with NaN": ({"codes": (0, 1), "qoffset_x": np.nan}, "qform: .*nan", "header"),
    "zero spacing": ({"pixdim": [1, 0, 2, 3, 0, 0, 0, 0]}, r"spacing of \(0\.0, 2\.0, 3\.0\) mm", "spacing"),
    "NaN spacing": ({"pixdim": [1, 2, np.nan, 3, 0, 0, 0, 0]}, r"spacing of \(2\.0, nan, 3\.0\) mm", "spacing"),
    "NaN intercept": ({"scl_slope": 2, "scl_inter": np.nan}, "scl_inter is nan", "header"),
    "four dimensions": (
        {"array": np.zeros((3, 3, 3, 7), np.int16)},
        r"4-D \(dim 3 x 3 x 3 x 7\).*7 volumes",
        "choose one volume",
    ),
    "vectors": ({"array": np.zeros((3, 3, 3, 1, 3), np.float32)}, "3 values per voxel .*vectors", "component"),
    "complex": ({"array": np.zeros((3, 3, 3), np.complex64)}, "2 values per voxel .*complex", "magnitude"),
    "colour": (
        {"array": np.zeros((3, 3, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])},
        "3 values per voxel .*RGB",
        "component",
    ),
    "unknown datatype": ({"datatype": 1}, "datatype 1 is not supported", "float32"),
    "negative size": ({"dim": [3, 5, -4, 3, 1, 1, 1, 1]}, r"dim \[3, 5, -4, 3", "header"),
    "no dimensions": ({"dim": [0, 5, 4, 3, 1, 1, 1, 1]}, r"dim \[0, 5", "header"),
    "nine dimensions": ({"dim": [9, 5, 4, 3, 1, 1, 1, 1]}, r"dim \[9, 5", "header"),
    "voxels inside the header": ({"vox_offset": 100}, "vox_offset 100", "damaged"),
    "voxels behind the end": ({"vox_offset": 1e9}, "first voxel is at byte 1000000000", "damaged"),
    "voxels nowhere": ({"vox_offset": np.nan}, "vox_offset nan", "damaged"),
    "header pair": ({"magic": b"ni1"}, r"magic b'ni1.*pair", "convert"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_header_is_refused_with_its_value(case, tmp_path, capfd):
    changes, words, remedy = REFUSED[case]
    magic = changes.pop("magic", None) if "magic" in (changes := dict(changes)) else None
    path = image_files.nifti(tmp_path / "bad.nii", **changes)
    if magic is not None:
        image_files.set_bytes(path, 344, "4s", magic)
    with pytest.raises(InputError, match=words) as caught:
        read_volume(path)
    assert str(caught.value).startswith(str(path))
    assert remedy in caught.value.remedy
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_shear_is_a_grid_error(tmp_path):
    with pytest.raises(GridError):
        read_volume(image_files.nifti(tmp_path / "a.nii", sform=sheared()))


def test_file_we_write_is_valid_for_other_readers(tmp_path):
    grid = GRIDS["oblique_left_handed"]
    path = write_volume(Volume(np.zeros(grid.shape, np.float32), grid), tmp_path / "a.nii")
    image = nib.load(path)
    assert nib.Nifti1Header.diagnose_binaryblock(image.header.binaryblock) == ""
    assert path.stat().st_size == 352 + 4 * grid.shape[0] * grid.shape[1] * grid.shape[2]
