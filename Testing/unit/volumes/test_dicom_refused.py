"""DICOM folders that are not one regular volume: each an InputError that says what and where."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import dicom_files, image_files
from support.geometry import GRIDS, random_array

from MRHarmonizationLib.core.errors import GridError, InputError
from MRHarmonizationLib.volumes.dicom import list_series, read_series
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.grid import Grid

GRID = Grid((8, 6, 4), GRIDS["oblique"].affine)
ARRAY = random_array(GRID, "int16")


def refused(path, words, capfd, kind=InputError, uid=None):
    with pytest.raises(kind, match=words) as caught:
        read_volume(path, uid)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    return caught.value


def test_empty_folder(tmp_path, capfd):
    refused(tmp_path, "no DICOM images", capfd)


def test_folder_of_other_files(tmp_path, capfd):
    (tmp_path / "a.txt").write_text("x" * 200)
    image_files.nifti(tmp_path / "b.nii")
    refused(tmp_path, "no DICOM images", capfd)


def test_folder_of_reports(tmp_path, capfd):
    dicom_files.not_an_image(tmp_path / "a.dcm")
    refused(tmp_path, "no DICOM images", capfd)


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        list_series(tmp_path / "none")


def test_several_series_are_listed(tmp_path, capfd):
    dicom_files.classic(tmp_path, ARRAY, GRID, "1.2.8", "T1 sag", 3)
    dicom_files.classic(tmp_path, ARRAY, GRID, "1.2.9", "T2 tra", 5, prefix="b")
    error = refused(
        tmp_path, r"2 DICOM series: 3 'T1 sag' \(MR, 8 images, 1\.2\.8\); 5 'T2 tra' \(MR, 8 images, 1\.2\.9\)", capfd
    )
    assert "series_uid" in error.remedy


def test_many_series_are_listed_in_part(tmp_path, capfd):
    for n in range(15):
        dicom_files.classic(tmp_path / str(n), ARRAY[:1], GRID, f"1.2.{n}", number=n)
    refused(tmp_path, "15 DICOM series: .* and 3 more", capfd)


def test_unknown_series_lists_those_there(tmp_path, capfd):
    dicom_files.classic(tmp_path, ARRAY, GRID, "1.2.8", "T1 sag")
    refused(tmp_path, r"no series 1\.2\.7; it has .*'T1 sag'", capfd, uid="1.2.7")


@pytest.mark.parametrize("gone", [[3], [1, 2], [2, 5]])
def test_missing_slices_are_counted_and_placed(gone, tmp_path, capfd):
    paths = dicom_files.classic(tmp_path, ARRAY, GRID)
    for k in gone:
        paths[k].unlink()
    words = rf"{len(gone)} of 8 slices are missing, after slice {gone[0]} \({paths[gone[0] - 1].name}\)"
    refused(tmp_path, words, capfd)


def test_missing_frames_of_an_enhanced_file(tmp_path, capfd):
    path = dicom_files.enhanced(tmp_path / "e.dcm", ARRAY, GRID, order=[0, 1, 2, 5, 6, 7])
    refused(path, "2 of 8 slices are missing, after slice 3", capfd)


def moved_by(k_moved, millimetres):
    """Return a change that moves one slice, or all from it on, along a direction (LPS)."""

    def change(dataset, k):
        if k == k_moved:
            position = [float(value) for value in dataset.ImagePositionPatient]
            dataset.ImagePositionPatient = dicom_files.ds(np.array(position) + millimetres)

    return change


NORMAL = np.cross(GRID.affine[:3, 0], GRID.affine[:3, 1])
NORMAL_LPS = NORMAL / np.linalg.norm(NORMAL) * (-1, -1, 1)
ROW_LPS = GRID.directions[:, 0] * (-1, -1, 1)


def test_uneven_spacing(tmp_path, capfd):
    dicom_files.classic(tmp_path, ARRAY, GRID, change=moved_by(4, 1.5 * NORMAL_LPS))
    refused(tmp_path, "unevenly spaced, between 3.50 and 6.50 mm apart", capfd)


def test_slice_beside_the_stack(tmp_path, capfd):
    dicom_files.classic(tmp_path, ARRAY, GRID, change=moved_by(4, 2.0 * ROW_LPS))
    refused(tmp_path, r"slice 5 of 8 \(im\d+\) lies 2.00 mm astray", capfd)


def test_rounded_positions_are_no_irregularity(tmp_path):
    def rounded(dataset, k):
        dataset.ImagePositionPatient = [f"{float(value):.2f}" for value in dataset.ImagePositionPatient]

    dicom_files.classic(tmp_path, ARRAY, GRID, change=rounded)
    assert read_series(tmp_path).array.shape == GRID.shape


def test_tilted_gantry_is_a_sheared_grid(tmp_path, capfd):
    def tilted(dataset, k):
        moved_by(k, 0.5 * k * ROW_LPS)(dataset, k)

    dicom_files.classic(tmp_path, ARRAY, GRID, change=tilted)
    refused(tmp_path, "sheared", capfd, GridError)


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("DiffusionBValue", (0.0, 1000.0, 2000.0)),
        ("EchoTime", (10, 20, 30)),
        ("TemporalPositionIdentifier", (1, 2, 3)),
        ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"], ["ORIGINAL", "PRIMARY", "R"])),
    ],
)
def test_several_images_per_position_are_a_series_of_volumes(keyword, values, tmp_path, capfd):
    for n, value in enumerate(values):
        dicom_files.classic(
            tmp_path, ARRAY, GRID, prefix=f"v{n}_", change=lambda dataset, k, v=value: setattr(dataset, keyword, v)
        )
    error = refused(tmp_path, f"4-D .24 images at 8 positions, differing in {keyword}.: it holds 3 volumes", capfd)
    assert "choose one volume" in error.remedy


def test_incomplete_series_of_volumes(tmp_path, capfd):
    dicom_files.classic(tmp_path, ARRAY, GRID, prefix="a")
    dicom_files.classic(tmp_path, ARRAY, GRID, prefix="b")[3].unlink()
    refused(tmp_path, "15 images at 8 positions.*2 volumes", capfd)


def test_enhanced_series_of_volumes(tmp_path, capfd):
    path = dicom_files.enhanced(tmp_path / "e.dcm", ARRAY, GRID, volumes=4)
    refused(path, "32 images at 8 positions, differing in TemporalPositionIndex.: it holds 4 volumes", capfd)


@pytest.mark.parametrize("kind", ["MOSAIC", "VFRAME"])
def test_montages_are_volumes_not_slices(kind, tmp_path, capfd):
    def montage(dataset, k):
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", kind]
        del dataset.ImagePositionPatient

    paths = dicom_files.classic(tmp_path, ARRAY, GRID, change=montage)
    refused(tmp_path, "8 files, each the montage.*8 volumes", capfd)
    refused(paths[0], "montage", capfd)


def test_localizer_of_several_orientations(tmp_path, capfd):
    dicom_files.classic(tmp_path, ARRAY[:3], GRID, prefix="a")
    dicom_files.classic(tmp_path, ARRAY[:2], GRIDS["lps"], prefix="b")
    refused(tmp_path, r"2 orientations, as a localizer.*\(3 images\).*\(2 images\)", capfd)


def test_different_matrix_sizes(tmp_path, capfd):
    dicom_files.classic(tmp_path, ARRAY[:3], GRID, prefix="a")
    dicom_files.classic(tmp_path, ARRAY[:2, :, :3], GRID, prefix="b")
    refused(tmp_path, r"different matrix sizes: \(6, 4\) \(3 images\), \(6, 3\) \(2 images\)", capfd)


def test_different_pixel_spacings(tmp_path, capfd):
    def coarser(dataset, k):
        if k > 5:
            dataset.PixelSpacing = [2, 2]

    dicom_files.classic(tmp_path, ARRAY, GRID, change=coarser)
    refused(tmp_path, r"different pixel spacings: \(1.6, 1.6\) \(6 images\), \(2.0, 2.0\) \(2 images\)", capfd)


def set_or_delete(keyword, value):
    def change(dataset, k):
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)

    return change


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("ImagePositionPatient", None, "im0000.*no usable ImagePositionPatient"),
        ("ImagePositionPatient", [1, 2], "no usable ImagePositionPatient"),
        ("PixelSpacing", None, "no usable PixelSpacing"),
        ("PixelSpacing", [0, 1], r"PixelSpacing is \[0.0, 1.0\] mm"),
        ("PixelSpacing", [-1, 1], r"PixelSpacing is \[-1.0, 1.0\] mm"),
        ("ImageOrientationPatient", [0, 0, 0, 0, 1, 0], r"ImageOrientationPatient is \[0.0, 0.0, 0.0"),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0], "position|sheared|slice|4-D"),
        ("ImageOrientationPatient", [1, 0, 0, 0.3, 1, 0], "sheared|slice|astray"),
        ("RescaleSlope", 0, "slope 0.0"),
        ("SamplesPerPixel", 3, "3 values per voxel .*colour"),
        ("PhotometricInterpretation", "PALETTE COLOR", "colour, PALETTE COLOR"),
        ("NumberOfFrames", 2, "2 images without saying where"),
    ],
)
def test_attribute_that_is_missing_or_impossible(keyword, value, words, tmp_path, capfd):
    dicom_files.classic(tmp_path, ARRAY, GRID, change=set_or_delete(keyword, value))
    refused(tmp_path, words, capfd)


def test_series_without_orientation_is_not_listed(tmp_path, capfd):
    dicom_files.classic(tmp_path, ARRAY, GRID, change=set_or_delete("ImageOrientationPatient", None))
    refused(tmp_path, "no DICOM images with a position", capfd)


def test_single_slice_without_any_spacing(tmp_path, capfd):
    def flat(dataset, k):
        del dataset.SliceThickness, dataset.SpacingBetweenSlices

    dicom_files.classic(tmp_path, ARRAY[:1], Grid((1, 6, 4), GRID.affine), change=flat)
    refused(tmp_path, "one slice without SliceThickness", capfd)


def test_one_file_of_a_classic_series(tmp_path, capfd):
    path = dicom_files.classic(tmp_path, ARRAY, GRID)[0]
    assert "folder" in refused(path, "is one slice of a DICOM series", capfd).remedy


def test_one_file_that_is_a_report(tmp_path, capfd):
    refused(dicom_files.not_an_image(tmp_path / "a.dcm"), "without a placed image .*SR Storage", capfd)


def test_uid_given_for_one_file_must_be_its_own(tmp_path, capfd):
    path = dicom_files.enhanced(tmp_path / "e.dcm", ARRAY, GRID, uid="1.2.6")
    assert read_volume(path, "1.2.6").array.shape == GRID.shape
    refused(path, r"no series 1\.2\.7", capfd, uid="1.2.7")


@pytest.mark.parametrize("keep", [140, 300, 0.5, -1, -20])
def test_truncated_slice(keep, tmp_path, capfd):
    path = dicom_files.classic(tmp_path, ARRAY, GRID)[-1]
    image_files.cut(path, keep)
    refused(tmp_path, f"{path.name}.*(ends inside|cannot be read).*truncated or damaged", capfd)


@pytest.mark.parametrize("keep", [140, 0.3, 0.9, -1, -50])
def test_truncated_enhanced_file(keep, tmp_path, capfd):
    path = image_files.cut(dicom_files.enhanced(tmp_path / "e.dcm", ARRAY, GRID), keep)
    refused(path, "truncated or damaged", capfd)


def test_fewer_frames_than_described(tmp_path, capfd):
    def fewer(dataset):
        dataset.NumberOfFrames = 5
        dataset.PixelData = dataset.PixelData[: 5 * 6 * 4 * 2]

    path = dicom_files.enhanced(tmp_path / "e.dcm", ARRAY, GRID, change=fewer)
    refused(path, "holds 5 images, its header describes 6", capfd)


def test_compressed_pixels_that_are_rubbish(tmp_path, capfd):
    from pydicom.encaps import encapsulate

    def rubbish(dataset, k):
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"
        dataset.PixelData = encapsulate([b"no JPEG here" * 4])
        dataset["PixelData"].is_undefined_length = True

    dicom_files.classic(tmp_path, ARRAY, GRID, change=rubbish)
    refused(tmp_path, "its pixels .*JPEG Lossless.*cannot be read", capfd)


@given(place=st.floats(0, 1, exclude_max=True), new=st.binary(min_size=1, max_size=4), enhanced=st.booleans())
@settings(max_examples=30)
def test_no_damage_ends_in_another_error(place, new, enhanced, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    if enhanced:
        path = dicom_files.enhanced(folder / "e.dcm", ARRAY[:3], GRID)
    else:
        path = dicom_files.classic(folder, ARRAY[:3], GRID)[1]
    content = bytearray(path.read_bytes())
    start = int(place * len(content))
    content[start : start + len(new)] = new
    path.write_bytes(bytes(content))
    try:
        read_volume(folder)
        message = None
    except InputError as error:
        message = str(error)
    assert message is None or str(folder) in message
