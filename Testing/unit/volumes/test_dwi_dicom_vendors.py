"""Diffusion DICOM as each vendor writes it: what was written comes back, and dcm2niix says the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ImplicitVRLittleEndian
from support import dwi_dicom_files as vendors
from support.dwi_oracles import all_centres_ras, converted, same_lines, values_at
from support.geometry import GRIDS, build, rotation

from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.dwi_files import read_dwi

_SAGITTAL = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], float)  # i: P, j: I, k: R (the plane's own normal)
_CORONAL = np.array([[-1, 0, 0], [0, 0, -1], [0, -1, 0]], float)  # i: L, j: I, k: P
PLANES = {
    "axial": build((5, 6, 8), (2, 2, 3), (80, 90, -60), np.diag([-1.0, -1.0, 1.0])),
    "axial_tilted": build((5, 6, 8), (2, 2, 3), (80, 90, -60), rotation(14, -8, 5) @ np.diag([-1.0, -1.0, 1.0])),
    "axial_from_top": build((5, 6, 8), (2, 2, 3), (80, 90, 60), rotation(9, 4, 0) @ np.diag([-1.0, -1.0, -1.0])),
    "sagittal": build((5, 6, 8), (2, 2, 3), (-50, 90, 80), rotation(3, 6, -10) @ _SAGITTAL),
    "coronal": build((5, 6, 8), (2, 2, 3), (80, 90, 70), rotation(-7, 0, 6) @ _CORONAL),
}


def check_written(dwi: DwiVolume, grid, array, b_values, vectors_ras, tolerance: float = 1e-4) -> None:
    """The series read is the one written: values where they were, b-values, directions up to their sign."""
    affine = np.asarray(grid.affine)
    read = values_at(array.transpose(2, 1, 0, 3), affine, all_centres_ras(dwi.grid))
    np.testing.assert_array_equal(dwi.array.reshape(-1, dwi.n_volumes), read)
    np.testing.assert_allclose(dwi.b_values_s_per_mm2, b_values, atol=1e-3)
    assert same_lines(dwi.gradients_ras, vectors_ras).max() < tolerance


def check_converted(dwi: DwiVolume, folder: Path, out: Path) -> None:
    """dcm2niix gives the same values at the same places, the same b-values and directions."""
    values, affine, b_values, directions = converted(folder, out)
    np.testing.assert_array_equal(
        dwi.array.reshape(-1, dwi.n_volumes), values_at(values, affine, all_centres_ras(dwi.grid))
    )
    np.testing.assert_allclose(dwi.b_values_s_per_mm2, b_values, atol=1e-2)
    assert same_lines(dwi.gradients_ras, directions).max() < 1e-3


@pytest.mark.parametrize("plane", list(PLANES))
@pytest.mark.parametrize("modern", [True, False], ids=["csa2", "csa1"])
def test_siemens_mosaics(tmp_path, plane, modern):
    grid, (b_values, vectors) = PLANES[plane], vendors.weightings()
    array = vendors.samples(grid)
    folder = vendors.siemens_mosaics(tmp_path / "in", array, grid, b_values, vectors, modern=modern)
    dwi = read_dwi(folder)
    check_written(dwi, grid, array, b_values, vectors)
    assert dwi.array.dtype == np.int16
    assert dwi.metadata["manufacturer"] == "SIEMENS"
    assert dwi.metadata["echo_time_ms"] == 80
    if modern:  # dcm2niix does not read the older layout
        check_converted(dwi, folder, tmp_path / "out")


@pytest.mark.parametrize("plane", list(PLANES))
def test_siemens_slices(tmp_path, plane):
    grid, (b_values, vectors) = PLANES[plane], vendors.weightings()
    array = vendors.samples(grid)
    folder = vendors.siemens_slices(tmp_path / "in", array, grid, b_values, vectors)
    dwi = read_dwi(folder)
    check_written(dwi, grid, array, b_values, vectors)
    check_converted(dwi, folder, tmp_path / "out")


@pytest.mark.parametrize("plane", list(PLANES))
def test_uih_mosaics(tmp_path, plane):
    grid, (b_values, vectors) = PLANES[plane], vendors.weightings(b=928.289)
    array = vendors.samples(grid)
    folder = vendors.uih_mosaics(tmp_path / "in", array, grid, b_values, vectors)
    dwi = read_dwi(folder)
    check_written(dwi, grid, array, b_values, vectors)
    assert list(dwi.shells()) == [930]


def test_uih_mosaics_as_dcm2niix_reads_them(tmp_path):
    grid, (b_values, vectors) = PLANES["axial_tilted"], vendors.weightings()
    folder = vendors.uih_mosaics(tmp_path / "in", vendors.samples(grid), grid, b_values, vectors)
    check_converted(read_dwi(folder), folder, tmp_path / "out")


@pytest.mark.parametrize("plane", list(PLANES))
@pytest.mark.parametrize("reverse", [False, True], ids=["upward", "downward"])
def test_ge_slices_as_dcm2niix_reads_them(tmp_path, plane, reverse):
    """GE tells directions along frequency, phase and slice, and weaker weighting by length."""
    grid, (b_values, told) = PLANES[plane], vendors.weightings()
    told[2] *= np.sqrt(0.5)
    array = vendors.samples(grid)
    folder = vendors.ge_slices(tmp_path / "in", array, grid, b_values, told, reverse=reverse)
    dwi = read_dwi(folder)
    check_converted(dwi, folder, tmp_path / "out")
    assert sorted(dwi.shells()) == [500, 1000]


@pytest.mark.parametrize("public", [True, False], ids=["public", "private"])
@pytest.mark.parametrize("plane", ["axial_tilted", "sagittal"])
def test_philips_slices(tmp_path, plane, public):
    grid, (b_values, vectors) = PLANES[plane], vendors.weightings()
    array = vendors.samples(grid)
    folder = vendors.philips_slices(tmp_path / "in", array, grid, b_values, vectors, public=public)
    dwi = read_dwi(folder)
    check_written(dwi, grid, array, b_values, vectors)
    check_converted(dwi, folder, tmp_path / "out")


def test_philips_scales_differ_between_volumes(tmp_path):
    """Display scaling is different for each volume; the measured signal is (stored · RS + RI) / (RS · SS)."""
    grid, (b_values, vectors) = GRIDS["lps"], vendors.weightings(4)
    array, scale = vendors.samples(grid, 4), np.array([4.1e-7, 3e-3, 0.02, 1.5])
    folder = vendors.philips_slices(tmp_path / "in", array, grid, b_values, vectors, scale_slopes=scale)
    dwi = read_dwi(folder)
    slope = 1.5 + np.arange(4)
    signal = (array * slope + 2.0) / (slope * np.float32(scale))
    np.testing.assert_allclose(dwi.array, signal, rtol=1e-6)
    assert dwi.array.max() > 2.4e6
    assert dwi.array.dtype == np.float32


def test_canon_comments(tmp_path):
    grid, (b_values, vectors) = PLANES["axial_tilted"], vendors.weightings(b=1500)
    array = vendors.samples(grid)
    folder = vendors.canon_slices(tmp_path / "in", array, grid, b_values, vectors)
    check_written(read_dwi(folder), grid, array, b_values, vectors, tolerance=1e-3)


@pytest.mark.parametrize("plane", list(PLANES))
def test_enhanced_multi_frame(tmp_path, plane):
    grid, (b_values, vectors) = PLANES[plane], vendors.weightings()
    array = vendors.samples(grid)
    path = vendors.enhanced_series(tmp_path / "in" / "all.dcm", array, grid, b_values, vectors)
    dwi = read_dwi(path)
    check_written(dwi, grid, array, b_values, vectors, tolerance=1e-6)
    assert dwi.metadata["echo_time_ms"] == 85
    np.testing.assert_array_equal(read_dwi(path.parent).array, dwi.array)


def test_enhanced_philips_scales(tmp_path):
    grid, (b_values, vectors) = GRIDS["lps"], vendors.weightings(4)
    array, scale = vendors.samples(grid, 4), np.array([4e-3, 3e-3, 0.02, 1.5])
    path = vendors.enhanced_series(
        tmp_path / "all.dcm", array, grid, b_values, vectors, vendor="Philips", scale_slopes=scale
    )
    np.testing.assert_allclose(read_dwi(path).array, array / np.float32(scale), rtol=1e-6)


def test_repeated_volumes_stay_apart(tmp_path):
    """Two repetitions of one direction and two unweighted volumes keep their own values."""
    grid, (b_values, vectors) = GRIDS["lps"], vendors.weightings(5)
    vectors[2], b_values[4], vectors[4] = vectors[1], 0, 0
    array = vendors.samples(grid, 5)
    folder = vendors.siemens_slices(tmp_path / "in", array, grid, b_values, vectors)
    check_written(read_dwi(folder), grid, array, b_values, vectors)


@pytest.mark.parametrize(
    "write",
    [vendors.siemens_mosaics, vendors.uih_mosaics, vendors.siemens_slices, vendors.philips_slices],
    ids=["siemens mosaics", "uih mosaics", "siemens slices", "philips slices"],
)
def test_files_that_do_not_tell_the_types_of_private_attributes(tmp_path, write):
    """Implicit VR, as many archives store it."""
    grid, (b_values, vectors) = PLANES["axial_tilted"], vendors.weightings(4)
    array = vendors.samples(grid, 4)
    folder = write(tmp_path, array, grid, b_values, vectors)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        dataset.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=True)
    check_written(read_dwi(folder), grid, array, b_values, vectors)


def test_private_attributes_in_another_block(tmp_path):
    """A creator may own any block of its group."""
    grid, (b_values, vectors) = PLANES["axial"], vendors.weightings(4)
    array = vendors.samples(grid, 4)

    def move(dataset, *_):
        for element in (0x0C, 0x0E):
            if (old := 0x00191000 + element) in dataset:
                dataset.add_new(0x00191100 + element, dataset[old].VR, dataset[old].value)
                dataset.add_new(old, "LO", "something else")
        dataset.add_new(0x00190010, "LO", "OTHER")
        dataset.add_new(0x00190011, "LO", "SIEMENS MR HEADER")

    folder = vendors.siemens_slices(tmp_path, array, grid, b_values, vectors, move)
    check_written(read_dwi(folder), grid, array, b_values, vectors)


def test_isotropic_images_of_an_enhanced_file_are_left_out(tmp_path):
    grid, (b_values, vectors) = PLANES["axial"], vendors.weightings(5)
    array = vendors.samples(grid, 5)

    def change(dataset):
        for frame in dataset.PerFrameFunctionalGroupsSequence[-array.shape[0] :]:
            frame.MRDiffusionSequence[0].DiffusionDirectionality = "ISOTROPIC"

    path = vendors.enhanced_series(tmp_path / "all.dcm", array, grid, b_values, vectors, change)
    check_written(read_dwi(path), grid, array[..., :4], b_values[:4], vectors[:4])
