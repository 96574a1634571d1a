"""Files of every format: what is written is read back, by the library and by SimpleITK and nibabel."""

from __future__ import annotations

import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from support.geometry import GRIDS, corner_voxels_ras, grids, random_array, sitk_image, sitk_voxels_ras

from MRHarmonizationLib.core.errors import OutputError, ParameterError
from MRHarmonizationLib.volumes import files
from MRHarmonizationLib.volumes.files import check_volume_output, read_volume, volume_stem, write_volume
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.volume import Volume

FORMATS = [".nii", ".nii.gz", ".nrrd", ".mha"]
TYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]

#: NIfTI stores its affine in float32, the others in double precision.
PLACE_TOLERANCE_MM = {".nii": 1e-4, ".nii.gz": 1e-4, ".nrrd": 1e-9, ".mha": 1e-9}


@pytest.mark.parametrize("ending", FORMATS)
def test_round_trip_keeps_values_and_place(volume, ending, tmp_path):
    path = write_volume(volume, tmp_path / f"scan{ending}")
    again = read_volume(path)
    np.testing.assert_array_equal(again.array, volume.array)
    assert again.array.dtype == volume.array.dtype
    assert same_grid(again.grid, volume.grid, PLACE_TOLERANCE_MM[ending])
    assert again.name == "scan"


@given(grid=grids(), dtype=st.sampled_from(TYPES), ending=st.sampled_from(FORMATS))
@settings(max_examples=60)
def test_round_trip_of_any_grid_and_type(grid, dtype, ending, tmp_path_factory):
    volume = Volume(random_array(grid, dtype), grid)
    path = write_volume(volume, tmp_path_factory.getbasetemp() / f"any{ending}")
    again = read_volume(path)
    np.testing.assert_array_equal(again.array, volume.array)
    assert again.array.dtype == np.dtype(dtype)
    assert same_grid(again.grid, grid, PLACE_TOLERANCE_MM[ending])


@pytest.mark.parametrize("ending", FORMATS)
def test_simpleitk_reads_what_we_write(volume, ending, tmp_path):
    image = sitk.ReadImage(str(write_volume(volume, tmp_path / f"scan{ending}")))
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(image), volume.array)
    np.testing.assert_allclose(
        sitk_voxels_ras(image), corner_voxels_ras(volume.grid), atol=PLACE_TOLERANCE_MM[ending] + 1e-9
    )


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("compressed", [False, True])
def test_we_read_what_simpleitk_writes(volume, ending, compressed, tmp_path):
    path = tmp_path / f"scan{ending}"
    image = sitk_image(volume.array, volume.grid)
    sitk.WriteImage(image, str(path), compressed)
    again = read_volume(path)
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_allclose(
        corner_voxels_ras(again.grid), sitk_voxels_ras(image), atol=PLACE_TOLERANCE_MM[ending] + 1e-9
    )


@pytest.mark.parametrize("ending", [".mhd", ".nhdr"])
@pytest.mark.parametrize("compressed", [False, True])
def test_voxels_beside_the_header_are_found(oblique_volume, ending, compressed, tmp_path):
    path = tmp_path / f"scan{ending}"
    sitk.WriteImage(sitk_image(oblique_volume.array, oblique_volume.grid), str(path), compressed)
    again = read_volume(path)
    np.testing.assert_array_equal(again.array, oblique_volume.array)
    assert same_grid(again.grid, oblique_volume.grid, 1e-9)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_nibabel_reads_what_we_write(volume, ending, tmp_path):
    image = nib.load(write_volume(volume, tmp_path / f"scan{ending}"))
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, volume.array)
    np.testing.assert_allclose(image.affine, volume.grid.affine, atol=1e-4)
    np.testing.assert_allclose(image.get_qform(), volume.grid.affine, atol=2e-3)
    assert image.header["sform_code"] == image.header["qform_code"] == 1
    assert image.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("ending", FORMATS)
def test_simpleitk_reads_every_type_we_write(dtype, ending, tmp_path):
    volume = Volume(random_array(GRIDS["axial"], dtype), GRIDS["axial"])
    image = sitk.ReadImage(str(write_volume(volume, tmp_path / f"scan{ending}")))
    array = sitk.GetArrayViewFromImage(image)
    assert array.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(array, volume.array)


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize(("given_type", "stored_type"), [("bool", "uint8"), ("float16", "float32"), (">i2", "int16")])
def test_types_no_format_has_are_widened_without_loss(given_type, stored_type, ending, tmp_path):
    array = random_array(GRIDS["axial"], "bool").astype(given_type)
    again = read_volume(write_volume(Volume(array, GRIDS["axial"]), tmp_path / f"scan{ending}"))
    assert again.array.dtype == np.dtype(stored_type)
    np.testing.assert_array_equal(again.array, array)


@pytest.mark.parametrize("ending", FORMATS)
def test_bits_of_special_values_survive(ending, tmp_path):
    grid = GRIDS["axial"]
    bits = np.random.default_rng(3).integers(0, 2**32, grid.shape, dtype=np.uint32)
    volume = Volume(bits.view(np.float32), grid)  # NaN payloads, infinities, subnormals
    again = read_volume(write_volume(volume, tmp_path / f"scan{ending}"))
    np.testing.assert_array_equal(again.array.view(np.uint32), bits)


@pytest.mark.skipif(np.finfo(np.longdouble).bits == 64, reason="long double is double here")
@pytest.mark.parametrize("ending", FORMATS)
def test_type_that_cannot_be_stored_is_refused(ending, tmp_path):
    volume = Volume(np.zeros(GRIDS["axial"].shape, np.longdouble), GRIDS["axial"])
    with pytest.raises(OutputError, match=r"longdouble|float\d+"):
        write_volume(volume, tmp_path / f"scan{ending}")
    assert list(tmp_path.iterdir()) == []


def test_slightly_skewed_directions_survive(tmp_path):
    affine = GRIDS["oblique"].affine.copy()
    affine[:3, 1] += 4e-4 * affine[:3, 0]
    grid = Grid(GRIDS["oblique"].shape, affine)
    for ending in FORMATS:
        again = read_volume(write_volume(Volume(random_array(grid), grid), tmp_path / f"scan{ending}"))
        np.testing.assert_allclose(again.grid.affine, affine, atol=PLACE_TOLERANCE_MM[ending] / 10)


def test_nrrd_keeps_metadata_and_other_readers_see_it(oblique_volume, tmp_path):
    metadata = {
        "MRHarmonization.model": "lowfield",
        "note": "two\nlines \\ and := signs: a\\nb",
        "a:b c": "",
        "unit": "µm²",
    }
    volume = Volume(oblique_volume.array, oblique_volume.grid, metadata=metadata)
    path = write_volume(volume, tmp_path / "scan.nrrd")
    assert dict(read_volume(path).metadata) == metadata
    image = sitk.ReadImage(str(path))
    assert image.GetMetaData("MRHarmonization.model") == "lowfield"


@pytest.mark.parametrize("key", ["", "a:=b", "a: b", "two\nlines", "a\rb", "#comment", "end:", " a"])
def test_metadata_key_that_nrrd_cannot_hold_is_refused(oblique_volume, key, tmp_path):
    volume = Volume(oblique_volume.array, oblique_volume.grid, metadata={key: "value"})
    with pytest.raises(OutputError, match="metadata key"):
        write_volume(volume, tmp_path / "scan.nrrd")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", FORMATS)
def test_files_do_not_depend_on_the_time(oblique_volume, ending, tmp_path):
    first = write_volume(oblique_volume, tmp_path / f"a{ending}").read_bytes()
    os.utime(tmp_path / f"a{ending}", (0, 0))
    assert write_volume(oblique_volume, tmp_path / f"b{ending}").read_bytes() == first


def test_extension_is_found_in_any_case_and_behind_dots(oblique_volume, tmp_path):
    path = write_volume(oblique_volume, tmp_path / "sub-01.T2w.v1.5.NII.GZ")
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    assert read_volume(path).name == "sub-01.T2w.v1.5"


@pytest.mark.parametrize(
    ("path", "stem"), [("a/b.nii.gz", "b"), ("b.nii", "b"), ("b.c.nrrd", "b.c"), ("b.txt", "b.txt"), (".nii", ".nii")]
)
def test_stem_leaves_out_the_image_extension_only(path, stem):
    assert volume_stem(path) == stem


def test_compressed_nifti_is_read_whatever_its_name(oblique_volume, tmp_path):
    compressed = write_volume(oblique_volume, tmp_path / "a.nii.gz")
    plain = write_volume(oblique_volume, tmp_path / "b.nii")
    compressed.rename(tmp_path / "c.nii")
    plain.rename(tmp_path / "d.nii.gz")
    for name in ("c.nii", "d.nii.gz"):
        np.testing.assert_array_equal(read_volume(tmp_path / name).array, oblique_volume.array)


@pytest.mark.parametrize("name", ["scan", "scan.png", "scan.mhd", "scan.nhdr", "scan.dcm", ".nii.gz", "scan.gz"])
def test_extension_that_cannot_be_written_is_refused_before_anything(oblique_volume, name, tmp_path):
    for attempt in (lambda path: write_volume(oblique_volume, path), check_volume_output):
        with pytest.raises(OutputError, match=r"supported extension; use one of \.nii, \.nii\.gz, \.nrrd, \.mha"):
            attempt(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_link_to_a_file_is_followed_and_its_extension_counts(oblique_volume, tmp_path):
    (tmp_path / "store").mkdir()
    target = tmp_path / "store" / "real.nii.gz"
    link = tmp_path / "link.nii.gz"
    link.symlink_to(target)
    write_volume(oblique_volume, link)
    assert link.is_symlink()
    np.testing.assert_array_equal(read_volume(target).array, oblique_volume.array)

    hidden = tmp_path / "other.nii.gz"
    hidden.symlink_to(tmp_path / "store" / "blob")
    with pytest.raises(OutputError, match="supported extension"):
        write_volume(oblique_volume, hidden)


def test_existing_file_is_replaced_or_kept_as_asked(oblique_volume, tmp_path):
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists"):
        write_volume(oblique_volume, path, overwrite=False)
    assert path.read_bytes() == b"old"
    write_volume(oblique_volume, path)
    np.testing.assert_array_equal(read_volume(path).array, oblique_volume.array)


def test_home_folder_is_expanded(oblique_volume, own_home):
    write_volume(oblique_volume, "~/scan.nrrd")
    assert (own_home / "scan.nrrd").is_file()
    assert read_volume("~/scan.nrrd").name == "scan"


def test_series_uid_for_a_plain_file_is_refused(oblique_volume, tmp_path):
    path = write_volume(oblique_volume, tmp_path / "scan.nii.gz")
    with pytest.raises(ParameterError, match=r"1\.2\.3"):
        read_volume(path, series_uid="1.2.3")


def test_axis_too_long_for_nifti_is_refused(tmp_path):
    volume = Volume(np.zeros((1, 1, 40_000), np.uint8), Grid((1, 1, 40_000), np.eye(4)))
    with pytest.raises(OutputError, match="32767"):
        write_volume(volume, tmp_path / "scan.nii.gz")
    assert read_volume(write_volume(volume, tmp_path / "scan.nrrd")).array.shape == (1, 1, 40_000)


def test_images_are_read_and_written_without_heavy_packages(oblique_volume, tmp_path, repository):
    code = (
        "import sys\n"
        "from MRHarmonizationLib.volumes.files import read_volume, write_volume\n"
        "for ending in ('.nii.gz', '.nrrd', '.mha'):\n"
        "    write_volume(read_volume(sys.argv[1]), sys.argv[2] + ending)\n"
        "print([name for name in ('SimpleITK', 'pydicom', 'scipy', 'torch') if name in sys.modules])"
    )
    path = write_volume(oblique_volume, tmp_path / "scan.nii.gz")
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(tmp_path / "out")],
        cwd=repository, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_formats_are_named_once():
    assert set(files.WRITABLE) <= set(files.READABLE)
    assert set(FORMATS) == set(files.WRITABLE)


@pytest.mark.data
def test_real_scans_lie_where_others_put_them(data_dir):
    paths = sorted(data_dir.glob("structural/*T1w*.nii.gz"))[:2] + sorted(data_dir.glob("ms_lesions/*.nii.gz"))[:3]
    assert len(paths) >= 3
    for path in paths:
        volume, image = read_volume(path), sitk.ReadImage(str(path))
        np.testing.assert_allclose(volume.grid.affine, nib.load(path).affine, atol=1e-5)
        np.testing.assert_allclose(corner_voxels_ras(volume.grid), sitk_voxels_ras(image), atol=5e-3)  # ITK straightens
        np.testing.assert_allclose(
            volume.array[::7, ::7, ::7], sitk.GetArrayViewFromImage(image)[::7, ::7, ::7], rtol=1e-6
        )
