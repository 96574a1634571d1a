"""Real DICOM series of three vendors: found, placed as SimpleITK places them, and refused where they are 4-D."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from support.geometry import corner_voxels_ras, sitk_voxels_ras

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.volumes.dicom import list_series, read_series
from MRHarmonizationLib.volumes.files import read_volume

pytestmark = pytest.mark.data

#: Diffusion b-value (0018,9087) and image position (0020,0032), explicit little endian, up to their values.
B_VALUE = b"\x18\x00\x87\x90FD\x08\x00"
POSITION = b"\x20\x00\x32\x00DS"


def unpacked(data_dir: Path, name: str, folder: Path, wanted=lambda content: True) -> Path:
    """Unpack those files of an archive whose content is wanted."""
    archive = data_dir / "dicom" / name
    if not archive.is_file():
        pytest.skip(f"needs {archive}")
    with zipfile.ZipFile(archive) as files:
        for member in files.namelist():
            if not member.endswith("/") and wanted(content := files.read(member)):
                (folder / Path(member).name).write_bytes(content)
    return folder


def height(path: Path) -> float:
    """Where a slice lies along the normal of its rows and columns."""
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    orientation = np.array(dataset.ImageOrientationPatient, float)
    return float(np.cross(orientation[:3], orientation[3:]) @ np.array(dataset.ImagePositionPatient, float))


@pytest.fixture(scope="module")
def philips(data_dir, tmp_path_factory) -> Path:
    """One volume (b = 0) of a diffusion series of 17."""
    seen = set()

    def unweighted(content: bytes) -> bool:
        start = content.index(B_VALUE) + len(B_VALUE)
        position = content[(at := content.index(POSITION)) : at + 60]
        is_new = content[start : start + 8] == bytes(8) and position not in seen
        seen.update([position] if is_new else [])
        return is_new

    return unpacked(data_dir, "philips_dti_680files.zip", tmp_path_factory.mktemp("philips"), unweighted)


def test_oblique_philips_volume_is_the_one_simpleitk_reads(philips):
    volume = read_volume(philips)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(philips)))
    image = reader.Execute()
    assert volume.array.shape == (40, 80, 80)
    np.testing.assert_allclose(volume.array, sitk.GetArrayViewFromImage(image), rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(corner_voxels_ras(volume.grid), sitk_voxels_ras(image), atol=1e-3)
    assert np.abs(volume.grid.directions).max() < 0.99995, "this series is oblique"
    assert volume.metadata["magnetic_field_strength_t"] == "3"


def test_philips_volume_with_a_slice_missing(philips, tmp_path):
    files = list_series(philips)[0].files
    order = sorted(files, key=height)
    for path in order[:20] + order[21:]:
        shutil.copy(path, tmp_path)
    with pytest.raises(InputError, match=r"1 of 40 slices are missing, after slice 20"):
        read_series(tmp_path)


def test_uih_mosaics_are_a_series_of_volumes(data_dir, tmp_path):
    folder = unpacked(data_dir, "uih_umr770_dti_17files.zip", tmp_path)
    assert [series.n_images for series in list_series(folder)] == [17]
    with pytest.raises(InputError, match=r"17 files, each the montage.*17 volumes"):
        read_volume(folder)


def test_canon_enhanced_file_is_a_series_of_volumes(data_dir, tmp_path):
    folder = unpacked(data_dir, "canon_enhanced_dti_1file.zip", tmp_path)
    with pytest.raises(InputError, match=r"520 images at 40 positions, differing in DiffusionBValue.*13 volumes"):
        read_volume(folder)


def test_one_volume_of_the_canon_file_lies_where_its_frames_say(data_dir, tmp_path):
    path = unpacked(data_dir, "canon_enhanced_dti_1file.zip", tmp_path) / "3000.dcm"
    dataset = pydicom.dcmread(path)
    per_frame, pixels = list(dataset.PerFrameFunctionalGroupsSequence), dataset.pixel_array
    keep = [n for n, frame in enumerate(per_frame) if frame.FrameContentSequence[0].TemporalPositionIndex == 2]
    dataset.PerFrameFunctionalGroupsSequence = [per_frame[n] for n in keep]
    dataset.NumberOfFrames = len(keep)
    dataset.PixelData = pixels[keep].tobytes()
    dataset.save_as(path)
    volume = read_volume(path)
    assert volume.array.shape == (40, 80, 80)
    for n in (0, 17, 39):
        position = [float(v) for v in per_frame[keep[n]].PlanePositionSequence[0].ImagePositionPatient]
        index = np.rint(volume.grid.ras_to_ijk(np.array(position) * (-1, -1, 1))).astype(int)
        assert tuple(index[:2]) == (0, 0)
        np.testing.assert_array_equal(volume.array[index[2]], pixels[keep[n]])
