"""Classic and enhanced DICOM series: each voxel at the place its attributes give it, as SimpleITK finds it."""

from __future__ import annotations

import itertools

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from pydicom.data import get_testdata_file
from support import dicom_files
from support.geometry import GRIDS, corner_voxels_ras, grids, random_array, sitk_voxels_ras, value_at_ras

from MRHarmonizationLib.volumes import dicom
from MRHarmonizationLib.volumes.dicom import list_series, read_file, read_series
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.grid import Grid, same_grid

SEVERAL_SLICES = [name for name in GRIDS if name != "single_slice"]


@pytest.fixture(params=SEVERAL_SLICES, ids=SEVERAL_SLICES)
def scan(request):
    """(array, grid) of 16-bit values on each kind of grid with several slices."""
    grid = GRIDS[request.param]
    return random_array(grid, "int16"), grid


def assert_each_voxel_in_place(volume, array, grid):
    for index in itertools.product(*(range(n) for n in grid.shape)):
        point = np.asarray(grid.affine) @ [*index[::-1], 1.0]
        assert value_at_ras(volume, point[:3]) == array[index]


def read_with_simpleitk(folder) -> sitk.Image:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def test_classic_series_keeps_every_voxel_in_place(scan, tmp_path):
    dicom_files.classic(tmp_path, *scan)
    volume = read_series(tmp_path)
    assert volume.array.dtype == np.int16
    assert_each_voxel_in_place(volume, *scan)


def test_classic_series_is_the_one_simpleitk_reads(scan, tmp_path):
    dicom_files.classic(tmp_path, *scan)
    volume, image = read_series(tmp_path), read_with_simpleitk(tmp_path)
    np.testing.assert_array_equal(volume.array, sitk.GetArrayViewFromImage(image))
    np.testing.assert_allclose(corner_voxels_ras(volume.grid), sitk_voxels_ras(image), atol=1e-4)


def test_enhanced_series_keeps_every_voxel_in_place(scan, tmp_path):
    order = np.random.default_rng(0).permutation(len(scan[0])).tolist()
    path = dicom_files.enhanced(tmp_path / "e.dcm", *scan, order=order)
    for volume in (read_series(tmp_path), read_file(path), read_volume(path)):
        assert volume.array.dtype == np.int16
        assert_each_voxel_in_place(volume, *scan)


@pytest.mark.parametrize("name", ["axial", "anisotropic", "lps", "sagittal", "coronal", "oblique", "oblique_sagittal"])
def test_enhanced_series_is_the_one_simpleitk_reads(name, tmp_path):
    grid = GRIDS[name]  # right-handed: SimpleITK leaves the frames in their stored order
    volume = read_volume(dicom_files.enhanced(tmp_path / "e.dcm", random_array(grid, "int16"), grid))
    image = sitk.ReadImage(str(tmp_path / "e.dcm"))
    np.testing.assert_array_equal(volume.array, sitk.GetArrayViewFromImage(image))
    np.testing.assert_allclose(corner_voxels_ras(volume.grid), sitk_voxels_ras(image), atol=1e-3)


@given(grid=grids(smallest=2, largest=4))
@settings(max_examples=15)
def test_any_placement_is_kept(grid, tmp_path_factory):
    array = random_array(grid, "uint16")
    classic, enhanced = tmp_path_factory.mktemp("classic"), tmp_path_factory.mktemp("enhanced")
    dicom_files.classic(classic, array, grid)
    dicom_files.enhanced(enhanced / "e.dcm", array, grid)
    for folder in (classic, enhanced):
        assert_each_voxel_in_place(read_series(folder), array, grid)


def test_slices_run_along_the_normal_of_rows_and_columns(scan, tmp_path):
    dicom_files.classic(tmp_path, *scan)
    affine = read_series(tmp_path).grid.affine
    assert np.linalg.det(affine[:3, :3]) > 0


def test_single_slice_takes_the_stated_spacing(tmp_path):
    grid = GRIDS["single_slice"]
    array = random_array(grid, "int16")
    dicom_files.classic(tmp_path / "c", array, grid)
    assert same_grid(read_series(tmp_path / "c").grid, grid)
    dicom_files.enhanced(tmp_path / "e" / "e.dcm", array, grid)
    assert same_grid(read_series(tmp_path / "e").grid, grid)


def test_each_slice_is_rescaled_by_its_own_slope(tmp_path):
    grid = GRIDS["oblique"]
    array = random_array(grid, "int16") // 8
    slopes = 0.5 + np.arange(len(array))

    def scaled(dataset, k):
        dataset.RescaleSlope, dataset.RescaleIntercept = dicom_files.ds([slopes[k], -k])

    dicom_files.classic(tmp_path / "c", array, grid, change=scaled)
    dicom_files.enhanced(tmp_path / "e" / "e.dcm", array, grid, scaling=lambda k: (slopes[k], -k))
    expected = array * slopes[:, None, None] - np.arange(len(array))[:, None, None]
    for folder in ("c", "e"):
        volume = read_series(tmp_path / folder)
        assert volume.array.dtype == np.float32
        np.testing.assert_allclose(volume.array, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32"])
def test_stored_types_are_kept(dtype, tmp_path):
    grid = GRIDS["axial"]
    array = random_array(grid, dtype)
    dicom_files.classic(tmp_path, array[:, :, :6], Grid((*grid.shape[:2], 6), grid.affine))  # pixels fill even bytes
    volume = read_series(tmp_path)
    assert volume.array.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(volume.array, array[:, :, :6])


def test_place_may_be_given_frame_by_frame(tmp_path):
    grid = GRIDS["oblique"]
    array = random_array(grid, "int16")
    volume = read_volume(dicom_files.enhanced(tmp_path / "e.dcm", array, grid, shared_place=False))
    assert_each_voxel_in_place(volume, array, grid)


def test_files_of_one_enhanced_series_are_put_together(tmp_path):
    grid = GRIDS["oblique"]
    array = random_array(grid, "int16")
    dicom_files.enhanced(tmp_path / "a.dcm", array, grid, order=[0, 2, 4])
    dicom_files.enhanced(tmp_path / "b.dcm", array, grid, order=[3, 1])
    assert_each_voxel_in_place(read_series(tmp_path), array, grid)


def test_name_and_harmless_metadata_are_kept_identity_is_not(tmp_path):
    grid = GRIDS["oblique"]
    array = random_array(grid, "int16")

    def identify(dataset, k=0):
        dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Secret^Name", "Secret-ID", "19700101"
        dataset.InstitutionName, dataset.StudyDate = "Secret Hospital", "20200101"

    dicom_files.classic(tmp_path / "c", array, grid, description="T2 tra", change=identify)
    volume = read_series(tmp_path / "c")
    assert volume.name == "T2 tra"
    assert dict(volume.metadata) == {
        "modality": "MR", "series_description": "T2 tra", "magnetic_field_strength_t": "0.064",
        "repetition_time_ms": "4000.0", "echo_time_ms": "90.5",
    }  # fmt: skip
    dicom_files.enhanced(tmp_path / "e" / "e.dcm", array, grid, change=identify)
    metadata = read_series(tmp_path / "e").metadata
    assert metadata["echo_time_ms"] == "12.5"
    assert "Secret" not in str(dict(metadata))


def test_name_is_the_folder_without_a_description(tmp_path):
    dicom_files.classic(tmp_path / "scans", random_array(GRIDS["axial"], "int16"), GRIDS["axial"], description="")
    assert read_volume(tmp_path / "scans").name == "scans"


def test_series_of_nested_folders_are_listed_by_number(tmp_path):
    grid = GRIDS["axial"]
    array = random_array(grid, "int16")
    dicom_files.classic(tmp_path / "b" / "deep", array, grid, "1.2.9", "later", 12)
    dicom_files.classic(tmp_path / "a", array, grid, "1.2.8", "sooner", 3)
    dicom_files.enhanced(tmp_path / "many.dcm", array, grid, "1.2.7", "enhanced")
    found = list_series(tmp_path)
    assert [(series.uid, series.number, series.description) for series in found] == [
        ("1.2.8", 3, "sooner"), ("1.2.7", 7, "enhanced"), ("1.2.9", 12, "later"),
    ]  # fmt: skip
    assert [series.n_files for series in found] == [5, 1, 5]
    assert [series.n_images for series in found] == [5, 5, 5]
    assert str(found[0]) == "3 'sooner' (MR, 5 images, 1.2.8)"
    assert read_series(tmp_path, "1.2.9").name == "later"
    assert read_volume(tmp_path, series_uid="1.2.8").name == "sooner"


def test_what_is_no_scan_is_passed_over(tmp_path):
    grid = GRIDS["axial"]
    array = random_array(grid, "int16")
    dicom_files.classic(tmp_path, array, grid)
    dicom_files.not_an_image(tmp_path / "report.dcm")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").touch()
    (tmp_path / "broken_link").symlink_to(tmp_path / "nowhere")

    def screenshot(dataset, k):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
        del dataset.ImageOrientationPatient, dataset.ImagePositionPatient

    def segmentation(dataset, k):
        dataset.Modality = "SEG"

    dicom_files.classic(tmp_path / "shots", array, grid, "1.9", change=screenshot)
    dicom_files.classic(tmp_path / "seg", array, grid, "1.10", change=segmentation)
    assert [series.uid for series in list_series(tmp_path)] == ["1.2.3.5"]
    np.testing.assert_array_equal(read_series(tmp_path).array, array)


def test_directory_file_is_passed_over(tmp_path):
    from pydicom.fileset import FileSet

    grid = GRIDS["axial"]
    array = random_array(grid, "int16")

    def complete(dataset, k):
        dataset.PatientID, dataset.PatientName, dataset.StudyDate, dataset.StudyTime = "1", "a", "20200101", "101010"
        dataset.StudyID, dataset.AccessionNumber = "1", ""

    paths = dicom_files.classic(tmp_path / "in", array, grid, change=complete)
    media = FileSet()
    for path in paths:
        media.add(path)
    media.write(tmp_path / "media")
    assert (tmp_path / "media" / "DICOMDIR").is_file()
    np.testing.assert_array_equal(read_series(tmp_path / "media").array, array)


def test_copies_of_one_object_count_once(tmp_path):
    grid = GRIDS["axial"]
    array = random_array(grid, "int16")
    for path in dicom_files.classic(tmp_path, array, grid):
        (tmp_path / f"copy_of_{path.name}").write_bytes(path.read_bytes())
    np.testing.assert_array_equal(read_series(tmp_path).array, array)
    assert list_series(tmp_path)[0].n_files == len(array)


def test_odd_values_elsewhere_are_no_obstacle_and_make_no_noise(tmp_path, capfd, recwarn, caplog):
    grid = GRIDS["axial"]
    array = random_array(grid, "int16")

    def odd(dataset, k):
        dataset.add_new(0x00080020, "DA", "***")
        dataset.SeriesNumber, dataset.EchoTime = 7777, 8888

    with pydicom.config.disable_value_validation():
        paths = dicom_files.classic(tmp_path, array, grid, change=odd)
    for path in paths:  # an anonymiser's stars where numbers belong
        content = path.read_bytes()
        assert all(content.count(number) == 1 for number in (b"7777", b"8888"))
        path.write_bytes(content.replace(b"7777", b"****").replace(b"8888", b"****"))
    recwarn.clear()
    caplog.clear()
    np.testing.assert_array_equal(read_series(tmp_path).array, array)
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list
    assert not caplog.records
    assert list_series(tmp_path)[0].number is None
    assert "echo_time_ms" not in read_series(tmp_path).metadata


@pytest.mark.parametrize("ending", ["", ".dcm", ".IMA", ".123"])
def test_one_file_is_recognised_by_its_content(ending, tmp_path):
    grid = GRIDS["oblique"]
    array = random_array(grid, "int16")
    path = dicom_files.enhanced(tmp_path / f"scan{ending}", array, grid)
    assert dicom.looks_like_dicom(path)
    assert_each_voxel_in_place(read_volume(path), array, grid)


@pytest.mark.parametrize(
    ("compressed", "plain"),
    [
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("MR_small_implicit.dcm", "MR_small.dcm"),
    ],
)
def test_transfer_syntaxes_hold_the_same_values(compressed, plain, capfd):
    from MRHarmonizationLib.volumes.dicom_frames import IMAGE_KEYWORDS, read_object, stored_values

    paths = [get_testdata_file(name, download=False) for name in (compressed, plain)]
    if None in paths:
        pytest.skip(f"pydicom does not ship {compressed}")
    values = [stored_values(read_object(path, IMAGE_KEYWORDS), path) for path in paths]
    np.testing.assert_array_equal(values[0], values[1])
    assert values[0].std() > 10
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("compressor", ["JPEG", "JPEG2000"])
def test_compressed_enhanced_file_is_read(compressor, tmp_path, capfd):
    grid = Grid((5, 32, 32), GRIDS["oblique"].affine)  # smaller pictures make GDCM's encoder fail
    array = random_array(grid, "uint8").astype(np.uint16) * 11
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetFileName(str(tmp_path / "jpeg.dcm"))
    writer.SetUseCompression(True)
    writer.SetCompressor(compressor)
    writer.Execute(sitk.GetImageFromArray(array))
    jpeg = pydicom.dcmread(tmp_path / "jpeg.dcm")
    assert jpeg.file_meta.TransferSyntaxUID.is_compressed

    def compressed(dataset):
        dataset.file_meta.TransferSyntaxUID = jpeg.file_meta.TransferSyntaxUID
        dataset["PixelData"] = jpeg["PixelData"]

    path = dicom_files.enhanced(tmp_path / "e.dcm", array, grid, change=compressed, scaling=lambda k: (2.0, k))
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, array * 2.0 + np.arange(len(array))[:, None, None])
    assert same_grid(volume.grid, grid)
    assert capfd.readouterr() == ("", "")


def test_run_length_encoded_enhanced_file_is_read(tmp_path):
    grid = GRIDS["oblique"]
    array = random_array(grid, "uint16")
    path = dicom_files.enhanced(tmp_path / "e.dcm", array, grid)
    dataset = pydicom.dcmread(path)
    dataset.compress(pydicom.uid.RLELossless)
    dataset.save_as(path)
    assert_each_voxel_in_place(read_volume(path), array, grid)


def test_compressed_series_is_read(tmp_path):
    source = get_testdata_file("MR_small_jp2klossless.dcm", download=False)
    if source is None:
        pytest.skip("pydicom does not ship MR_small_jp2klossless.dcm")
    for k in range(3):
        dataset = pydicom.dcmread(source)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{k}"
        dataset.ImagePositionPatient = [0, 0, 2.5 * k]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, 1
        dataset.save_as(tmp_path / f"{k}.dcm")
    volume = read_series(tmp_path)
    plain = pydicom.dcmread(get_testdata_file("MR_small.dcm", download=False)).pixel_array
    np.testing.assert_array_equal(volume.array[1], plain * 2.0 + 1)
    assert volume.grid.spacing_mm[2] == pytest.approx(2.5)
