"""Diffusion DICOM that is incomplete, mixed or something else: a clear refusal, or the right series."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pydicom
import pytest
from support import dicom_files
from support import dwi_dicom_files as vendors
from support.geometry import GRIDS, random_array

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.volumes.dwi_files import read_dwi
from MRHarmonizationLib.volumes.siemens_csa import read_csa

GRID = GRIDS["lps"]
B_VALUES, VECTORS = vendors.weightings()
ARRAY = vendors.samples(GRID)

WRITERS = {
    "siemens mosaics": vendors.siemens_mosaics,
    "uih mosaics": vendors.uih_mosaics,
    "siemens slices": vendors.siemens_slices,
    "philips slices": vendors.philips_slices,
}
write = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
write_slices = pytest.mark.parametrize(
    "write", [vendors.siemens_slices, vendors.philips_slices], ids=["siemens", "philips"]
)


def refused(folder: Path, message: str) -> InputError:
    with pytest.raises(InputError, match=message) as caught:
        read_dwi(folder)
    assert str(folder) in str(caught.value)
    assert caught.value.remedy
    return caught.value


@write_slices
def test_one_slice_of_one_volume_missing(tmp_path, write):
    folder = write(tmp_path, ARRAY, GRID, B_VALUES, VECTORS)
    (folder / "0002_0001.dcm").unlink()
    refused(folder, r"1 of 7 volumes lack slices \(3 of 4; the first has b = 1000 s/mm²")


@write_slices
def test_one_slice_of_every_volume_missing(tmp_path, write):
    folder = write(tmp_path, ARRAY, GRID, B_VALUES, VECTORS)
    for n in range(7):
        (folder / f"{n:04d}_0001.dcm").unlink()
    refused(folder, "1 of 4 slices are missing")


@write
def test_a_whole_volume_missing_is_a_shorter_series(tmp_path, write):
    folder = write(tmp_path, ARRAY, GRID, B_VALUES, VECTORS)
    for path in folder.glob("0003*"):
        path.unlink()
    assert read_dwi(folder).n_volumes == 6


@write
def test_two_series_in_a_folder(tmp_path, write):
    write(tmp_path, ARRAY, GRID, B_VALUES, VECTORS)
    dicom_files.classic(tmp_path, random_array(GRID, "int16"), GRID)
    problem = refused(tmp_path, "holds 2 DICOM series")
    assert "1.2.3.5" in str(problem)
    uid = pydicom.dcmread(next(iter(tmp_path.glob("0000*")))).SeriesInstanceUID
    assert read_dwi(tmp_path, series_uid=uid).n_volumes == 7
    with pytest.raises(InputError, match="tells no b-values: it is not a diffusion series"):
        read_dwi(tmp_path, series_uid="1.2.3.5")


@pytest.mark.parametrize(
    "kind", [["DERIVED", "PRIMARY", "DIFFUSION", "ADC", "ND"], ["ORIGINAL", "PRIMARY", "DIFFUSION", "TRACEW", "ND"]]
)
def test_computed_maps_in_the_series_are_left_out(tmp_path, kind, caplog):
    def change(dataset, n, _):
        if n == 6:
            dataset.ImageType = kind

    folder = vendors.siemens_slices(tmp_path, ARRAY, GRID, B_VALUES, VECTORS, change)
    with caplog.at_level(logging.WARNING):
        dwi = read_dwi(folder)
    assert dwi.n_volumes == 6
    assert kind[3].lower() in caplog.text
    assert "4 " in caplog.text


def test_philips_isotropic_image_is_left_out(tmp_path, caplog):
    """Philips appends the mean of all directions with their b-value and no direction."""
    vectors = VECTORS.copy()
    vectors[6] = 0
    folder = vendors.philips_slices(tmp_path, ARRAY, GRID, B_VALUES, vectors)
    with caplog.at_level(logging.WARNING):
        dwi = read_dwi(folder)
    assert dwi.n_volumes == 6
    np.testing.assert_array_equal(np.sort(dwi.array, axis=None), np.sort(ARRAY[..., :6], axis=None))
    assert "4 trace" in caplog.text


def test_maps_alone(tmp_path):
    def change(dataset, *_):
        dataset.ImageType = ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW", "ND"]

    vendors.siemens_slices(tmp_path, ARRAY, GRID, B_VALUES, VECTORS, change)
    refused(tmp_path, "tells no b-values|holds no acquired, diffusion-weighted image")


def test_phase_images_beside_magnitudes_are_left_out(tmp_path):
    def change(dataset, n, _):
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "P" if n >= 4 else "M", "ND"]

    assert read_dwi(vendors.siemens_slices(tmp_path, ARRAY, GRID, B_VALUES, VECTORS, change)).n_volumes == 4


def test_some_images_without_weighting(tmp_path):
    def change(dataset, n, _):
        if n == 3:
            del dataset[0x0019100C]

    vendors.siemens_slices(tmp_path, ARRAY, GRID, B_VALUES, VECTORS, change)
    refused(tmp_path, r"4 of 28 images tell no b-value")


def test_no_weighting_at_all(tmp_path):
    dicom_files.classic(tmp_path, random_array(GRID, "int16"), GRID)
    refused(tmp_path, "tells no b-values")


def test_direction_lost(tmp_path):
    """Without any direction every weighted image passes for a trace image."""
    vendors.siemens_slices(tmp_path, ARRAY, GRID, B_VALUES, np.zeros_like(VECTORS))
    refused(tmp_path, "holds no acquired, diffusion-weighted image with a direction")


def test_ge_without_known_phase_direction(tmp_path):
    def change(dataset, *_):
        dataset.InPlanePhaseEncodingDirection = "ROW"

    vendors.ge_slices(tmp_path, ARRAY, GRID, B_VALUES, VECTORS, change)
    refused(tmp_path, "phase encoding along 'ROW'")


def test_volumes_at_different_places(tmp_path):
    def change(dataset, n, _):
        if n == 5:
            dataset.ImagePositionPatient = [float(v) + 7 for v in dataset.ImagePositionPatient]

    vendors.siemens_mosaics(tmp_path, ARRAY, GRID, B_VALUES, VECTORS, change)
    refused(tmp_path, "volume 5 does not lie where volume 0 lies")


@pytest.mark.parametrize("write", [vendors.siemens_mosaics, vendors.uih_mosaics], ids=["siemens", "uih"])
def test_mosaic_with_an_empty_slice(tmp_path, write):
    array = ARRAY[:3].copy()
    array[1, :, :, 4] = 0
    grid = GRID.crop((0, 0, 0), (3, *GRID.shape[1:]))
    write(tmp_path, array, grid, B_VALUES, VECTORS)
    refused(tmp_path, r"slice 1 of volume 4 is empty, in other volumes it is not \(1 such slices\)")


def test_mosaics_of_different_slice_counts(tmp_path):
    vendors.siemens_mosaics(tmp_path, ARRAY, GRID, B_VALUES, VECTORS)
    shorter = GRID.crop((0, 0, 0), (3, *GRID.shape[1:]))
    vendors.siemens_mosaics(tmp_path / "one", ARRAY[:3, ..., :2], shorter, B_VALUES[:2], VECTORS[:2])
    (tmp_path / "one" / "0001.dcm").replace(tmp_path / "0003.dcm")
    (tmp_path / "one" / "0000.dcm").unlink()
    refused(tmp_path, r"1 of 7 volumes lack slices \(3 of 4")


def test_mosaic_holds_more_slices_than_it_tells(tmp_path):
    def change(dataset, n, _):
        entries = {"NumberOfImagesInMosaic": [3], "SliceNormalVector": [0.0, 0.0, 1.0], "B_value": [round(B_VALUES[n])]}
        direction = {"DiffusionGradientDirection": VECTORS[n].tolist()} if n else {}
        dataset[0x00291010].value = vendors.csa(entries | direction)

    vendors.siemens_mosaics(tmp_path, ARRAY, GRID, B_VALUES, VECTORS, change)
    refused(tmp_path, "tells of 3 slices, but the montage holds more")


def test_uih_mosaic_with_a_place_missing(tmp_path):
    def change(dataset, n, _):
        if n == 2:
            del dataset[0x00651051].value[1]

    vendors.uih_mosaics(tmp_path, ARRAY, GRID, B_VALUES, VECTORS, change)
    refused(tmp_path, "montage of 4 slices, of which 3 are placed")


def test_siemens_mosaic_without_its_header(tmp_path):
    def change(dataset, *_):
        del dataset[0x00291010]

    vendors.siemens_mosaics(tmp_path, ARRAY, GRID, B_VALUES, VECTORS, change)
    refused(tmp_path, "does not tell its number of slices")


def test_montage_that_is_cut(tmp_path):
    def change(dataset, *_):
        dataset.Rows = dataset.Rows - 1
        dataset.PixelData = dataset.PixelData[: 2 * dataset.Rows * dataset.Columns]

    vendors.siemens_mosaics(tmp_path, ARRAY, GRID, B_VALUES, VECTORS, change)
    refused(tmp_path, "do not divide evenly")


@write
def test_truncated_file(tmp_path, write):
    folder = write(tmp_path, ARRAY, GRID, B_VALUES, VECTORS)
    path = sorted(folder.iterdir())[3]
    path.write_bytes(path.read_bytes()[:-20])
    refused(path.parent, "truncated or damaged")


def test_enhanced_file_with_an_image_missing(tmp_path):
    def change(dataset):
        del dataset.PerFrameFunctionalGroupsSequence[9]
        dataset.NumberOfFrames -= 1

    path = vendors.enhanced_series(tmp_path / "all.dcm", ARRAY, GRID, B_VALUES, VECTORS, change)
    refused(path, "1 of 7 volumes lack slices")


def test_one_slice_alone(tmp_path):
    folder = vendors.siemens_slices(tmp_path, ARRAY, GRID, B_VALUES, VECTORS)
    refused(folder / "0000_0000.dcm", "is one slice of a DICOM series")


def test_b_value_of_zero_everywhere(tmp_path):
    vendors.siemens_slices(tmp_path, ARRAY, GRID, np.zeros(7), np.zeros((7, 3)))
    refused(tmp_path, "holds no acquired, diffusion-weighted image")


def test_no_b0(tmp_path):
    vendors.siemens_slices(tmp_path, ARRAY[..., 1:], GRID, B_VALUES[1:], VECTORS[1:])
    refused(tmp_path, "add the b = 0 volume of the same session")


@pytest.mark.parametrize("modern", [True, False])
def test_csa_header_there_and_back(modern):
    entries = {"B_value": [1000], "DiffusionGradientDirection": [0.6, -0.8, 0.0], "Empty": []}
    read = read_csa(vendors.csa(entries, modern))
    assert {name: [float(text) for text in texts] for name, texts in read.items()} == {
        "B_value": [1000],
        "DiffusionGradientDirection": [0.6, -0.8, 0],
    }


@pytest.mark.parametrize("data", [b"", b"SV10", b"\0" * 400, b"SV10\4\3\2\1\xff\xff\xff\xff", b"SV10" + b"\1" * 300])
def test_bytes_that_are_no_csa_header(data):
    assert read_csa(data) == {}


def test_csa_header_cut_anywhere():
    whole = vendors.csa({"B_value": [1000], "NumberOfImagesInMosaic": [40], "SliceNormalVector": [0.0, 0.0, 1.0]})
    for length in range(0, len(whole), 7):
        assert set(read_csa(whole[:length])) <= {"B_value", "NumberOfImagesInMosaic", "SliceNormalVector"}
