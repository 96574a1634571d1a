"""Files that must not be read: each an InputError that names the value, nothing on the error stream."""

from __future__ import annotations

import os
import zlib

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from support import image_files
from support.geometry import GRIDS, corner_voxels_ras, random_array, sitk_voxels_ras

from MRHarmonizationLib.core.errors import GridError, InputError, ResourceError
from MRHarmonizationLib.volumes.files import WRITABLE, read_volume, write_volume
from MRHarmonizationLib.volumes.formats import nifti
from MRHarmonizationLib.volumes.volume import Volume

DAMAGE = "truncated or damaged|is not a"


def refused(path, words, capfd, kind=InputError):
    """Read a file, which must be refused in one line and without a sound; return the error."""
    with pytest.raises(kind, match=words) as caught:
        read_volume(path)
    assert str(caught.value).startswith(str(path))
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    return caught.value


def written(tmp_path, ending, dtype="float32"):
    grid = GRIDS["oblique"]
    return write_volume(Volume(random_array(grid, dtype), grid), tmp_path / f"scan{ending}")


@pytest.mark.parametrize("ending", [*WRITABLE, ".nhdr", ".mhd", ".dcm", ""])
def test_missing_file(ending, tmp_path, capfd):
    refused(tmp_path / f"none{ending}", "does not exist", capfd)


def test_missing_folder_above(tmp_path, capfd):
    refused(tmp_path / "none" / "scan.nii.gz", "does not exist", capfd)


def test_file_as_a_folder_above(tmp_path, capfd):
    (tmp_path / "file").write_bytes(b"x")
    refused(tmp_path / "file" / "scan.nii.gz", "cannot be read|does not exist", capfd)


@pytest.mark.parametrize("ending", [*WRITABLE, ".nhdr", ".mhd", ".dcm", ".ima", ""])
def test_empty_file(ending, tmp_path, capfd):
    path = tmp_path / f"empty{ending}"
    path.touch()
    refused(path, r"empty \(0 bytes\)", capfd)


@pytest.mark.parametrize("ending", WRITABLE)
@pytest.mark.parametrize("keep", [1, 3, 0.1, 0.3, 0.6, 0.9, 0.99, -1, -5, -9])
def test_truncated_file(ending, keep, tmp_path, capfd):
    refused(image_files.cut(written(tmp_path, ending), keep), DAMAGE, capfd)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("place", [0.4, 0.7, 0.95])
def test_altered_byte_in_compressed_voxels(ending, place, tmp_path, capfd):
    path = written(tmp_path, ending)
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 0xFF
    path.write_bytes(bytes(content))
    refused(path, DAMAGE, capfd)


def test_altered_checksum_of_gzip(tmp_path, capfd):
    path = written(tmp_path, ".nii.gz")
    content = bytearray(path.read_bytes())
    content[-8] ^= 1
    path.write_bytes(bytes(content))
    refused(path, "checksum", capfd)


@pytest.mark.parametrize("name", ["a.png", "a.txt", "a.nii.bz2", "a.mgz", "a.hdr", "a.zip", "noextension", ".nii.gz"])
def test_unsupported_extension_lists_the_supported(name, tmp_path, capfd):
    path = tmp_path / name
    path.write_bytes(b"something")
    assert ".nrrd" in refused(path, "not the extension", capfd).remedy


@pytest.mark.parametrize(
    ("real", "wanted"),
    [
        (real, wanted)
        for real in (".nii", ".nrrd", ".mha")
        for wanted in (".nii", ".nii.gz", ".nrrd", ".mha", ".dcm")
        if not wanted.startswith(real)
    ],
)
def test_content_of_another_format_is_named(real, wanted, tmp_path, capfd):
    path = written(tmp_path, real).rename(tmp_path / f"other{wanted}")
    names = {".nii": "NIfTI-1 or ANALYZE", ".nrrd": "NRRD", ".mha": "MetaImage"}
    refused(path, f"but a.* {names[real]} file", capfd)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89PNG\r\n\x1a\n0000", "PNG"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"PK\x03\x04....", "ZIP"),
        (b"rubbish, not an image", "b'rubbish,'"),
    ],
)
@pytest.mark.parametrize("ending", [".nii", ".nrrd", ".mha", ".dcm"])
def test_content_that_is_no_image_is_named(content, words, ending, tmp_path, capfd):
    path = tmp_path / f"scan{ending}"
    path.write_bytes(content)
    refused(path, words, capfd)


def test_pipe_does_not_block(tmp_path, capfd):
    path = tmp_path / "pipe.nii.gz"
    os.mkfifo(path)
    refused(path, "device or a pipe", capfd)


def test_folder_with_an_image_name_is_searched_for_dicom(tmp_path, capfd):
    path = tmp_path / "folder.nii.gz"
    path.mkdir()
    refused(path, "no DICOM images", capfd)


def test_unreadable_file(tmp_path, capfd, monkeypatch):
    path = written(tmp_path, ".nii.gz")

    def denied(*_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(nifti.common, "file_size", denied)
    refused(path, "Permission denied", capfd)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha"])
def test_absurd_size_is_refused_before_memory_is_asked_for(ending, tmp_path, capfd):
    if ending == ".mha":
        path = image_files.mha(tmp_path / "a.mha", DimSize="30000 30000 30000")
    else:
        path = image_files.nifti(tmp_path / f"a{ending}", dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])
    refused(path, "54000000000000", capfd)


def test_compressed_absurd_size_is_refused_before_memory_is_asked_for(tmp_path, capfd):
    path = image_files.mha(
        tmp_path / "a.mha", zlib.compress(image_files.SAMPLES), CompressedData="True", DimSize="30000 30000 30000"
    )
    refused(path, "54000000000000", capfd)


def test_image_larger_than_the_memory(tmp_path, capfd, monkeypatch):
    path = written(tmp_path, ".nii")
    real = np.empty

    def empty(shape, *rest):
        if np.prod(shape) > 100:
            raise MemoryError
        return real(shape, *rest)

    monkeypatch.setattr(nifti.common.np, "empty", empty)
    refused(path, "GiB of voxels do not fit", capfd, ResourceError)


PLAIN = {"space": None, "space_directions": None, "space_origin": None}

NRRD_REFUSED = {
    "zero spacing": ({"space_directions": "(2,0,0) (0,0,0) (0,0,3)"}, r"axis 1 is \(0,0,0\)"),
    "NaN spacing": ({"space_directions": "(nan,0,0) (0,2,0) (0,0,3)"}, r"axis 0 is \(nan,0,0\)"),
    "NaN origin": ({"space_origin": "(0,nan,0)"}, r"origin is \(0,nan,0\)"),
    "zero plain spacing": ({**PLAIN, "spacings": "2 0 3"}, "axis 1 is 0"),
    "shear": ({"space_directions": "(2,0,0) (1,2,0) (0,0,3)"}, "sheared"),
    "diffusion": (
        {"dimension": "4", "sizes": "2 5 3 2", "space_directions": "none (2,0,0) (0,2,0) (0,0,3)",
         "kinds": "list domain domain domain"}, r"4-D \(sizes 2 x 5 x 3 x 2, axis of kind list\).*2 volumes",
    ),
    "colour": (
        {"dimension": "4", "sizes": "3 5 2 2", "space_directions": "none (2,0,0) (0,2,0) (0,0,3)",
         "kinds": "RGB-color domain domain domain"}, "3 values per voxel",
    ),
    "complex": (
        {"dimension": "4", "sizes": "2 5 3 2", "space_directions": "none (2,0,0) (0,2,0) (0,0,3)",
         "kinds": "complex domain domain domain"}, "2 values per voxel .*complex",
    ),
    "series": (
        {**PLAIN, "dimension": "4", "sizes": "5 3 2 2", "spacings": "1 1 1 1", "kinds": "domain domain domain time"},
        r"4-D \(sizes 5 x 3 x 2 x 2, axis of kind time\).* 2 volumes",
    ),
    "series of domains": (
        {**PLAIN, "dimension": "4", "sizes": "5 3 2 2", "kinds": None}, "2 volumes",
    ),
    "slice": (
        {"dimension": "2", "sizes": "12 5", "space_directions": "(2,0,0) (0,2,0)", "kinds": "domain domain"},
        r"2 axes in space \(sizes 12 5\)",
    ),
    "plane coordinates": ({"space": None, "space_directions": "(2,0) (0,2) (1,1)"}, "three coordinates"),
    "minima": ({"space_origin": None, "axis_mins": "7 8 9"}, "axis mins: 7 8 9"),
    "blocks": ({"type": "block"}, "type 'block' is not supported"),
    "no sizes": ({"sizes": None}, "sizes: None"),
    "negative size": ({"sizes": "5 -4 3"}, "sizes: '5 -4 3'"),
    "other dimension": ({"dimension": "4"}, "sizes: '5 4 3' does not fit dimension: '4'"),
    "no dimension": ({"dimension": "many"}, "dimension: 'many'"),
    "two directions": ({"space_directions": "(2,0,0) (0,2,0)"}, "2 axes .* of 3"),
    "no type": ({"type": "strange"}, "type 'strange'"),
    "no byte order": ({"endian": None}, "endian ''"),
    "odd skip": ({"line_skip": "many"}, "line skip is 'many'"),
    "text encoding": ({"encoding": "ascii"}, "encoding 'ascii'"),
    "voxels elsewhere": ({"data_file": "none.raw"}, "'none.raw'"),
    "list of files": ({"data_file": "LIST"}, "'LIST'"),
}  # fmt: skip


@pytest.mark.parametrize("case", NRRD_REFUSED)
def test_bad_nrrd(case, tmp_path, capfd):
    changes, words = NRRD_REFUSED[case]
    refused(image_files.nrrd(tmp_path / "bad.nrrd", **changes), words, capfd)


def test_good_nrrd_written_by_hand_is_read(tmp_path):
    volume = read_volume(image_files.nrrd(tmp_path / "a.nrrd", extra="DWMRI_b-value:=1000\n"))
    np.testing.assert_allclose(
        volume.grid.affine, np.array([[-2, 0, 0, -1], [0, -2, 0, -2], [0, 0, 3, 3], [0, 0, 0, 1]])
    )
    np.testing.assert_array_equal(volume.array.ravel(), np.arange(60))
    assert dict(volume.metadata) == {"DWMRI_b-value": "1000"}


NRRD_VARIANTS = {
    "RAS": {"space": "RAS"},
    "right-anterior-superior": {"space": "right-anterior-superior"},
    "left-anterior-superior": {"space": "left-anterior-superior"},
    "LPS": {"space": "LPS"},
    "oblique": {"space_directions": "(1.2,0.9,0) (-0.9, 1.2,0)  (0,0,-4)"},
    "no directions": {**PLAIN, "spacings": "2 3 4"},
    "no spacing": {**PLAIN, "kinds": None},
    "space dimension": {"space": None, "space_dimension": "3"},
    "single value axis": {
        "dimension": "4", "sizes": "1 5 4 3", "space_directions": "none (2,0,0) (0,2,0) (0,0,3)",
        "kinds": "vector domain domain domain",
    },
    "big endian": {"endian": "big"},
    "unsigned": {"type": "unsigned short"},
}  # fmt: skip


@pytest.mark.parametrize("case", NRRD_VARIANTS)
def test_nrrd_variants_are_read_as_simpleitk_does(case, tmp_path):
    path = image_files.nrrd(tmp_path / "a.nrrd", **NRRD_VARIANTS[case])
    volume, image = read_volume(path), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(volume.array.ravel(), sitk.GetArrayViewFromImage(image).ravel())
    np.testing.assert_allclose(corner_voxels_ras(volume.grid), sitk_voxels_ras(image), atol=1e-9)


def test_nrrd_lines_and_bytes_before_the_voxels_are_skipped(tmp_path):
    path = image_files.nrrd(tmp_path / "a.nrrd", b"one\ntwo\n##" + image_files.SAMPLES, line_skip="2", byte_skip="2")
    np.testing.assert_array_equal(read_volume(path).array.ravel(), np.arange(60))
    path = image_files.nrrd(tmp_path / "b.nrrd", b"whatever" + image_files.SAMPLES, byte_skip="-1")
    np.testing.assert_array_equal(read_volume(path).array.ravel(), np.arange(60))


def test_nrrd_header_in_windows_lines(tmp_path):
    path = image_files.nrrd(tmp_path / "a.nrrd", b"")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + image_files.SAMPLES)
    np.testing.assert_array_equal(read_volume(path).array.ravel(), np.arange(60))


def test_detached_nrrd_header_may_end_without_an_empty_line(tmp_path):
    (tmp_path / "a.raw").write_bytes(image_files.SAMPLES)
    path = image_files.nrrd(tmp_path / "a.nhdr", b"", data_file="a.raw")
    path.write_bytes(path.read_bytes().rstrip(b"\n") + b"\n")
    np.testing.assert_array_equal(read_volume(path).array.ravel(), np.arange(60))


MHA_REFUSED = {
    "zero spacing": ({"ElementSpacing": "2 0 3"}, r"\(2\.0, 0\.0, 3\.0\) mm"),
    "NaN spacing": ({"ElementSpacing": "2 nan 3"}, r"\(2\.0, nan, 3\.0\) mm"),
    "two spacings": ({"ElementSpacing": "2 2"}, "'2 2' is not 3 numbers"),
    "words": ({"Offset": "a b c"}, "'a b c' is not 3 numbers"),
    "NaN origin": ({"Offset": "0 nan 0"}, "nan"),
    "shear": ({"TransformMatrix": "1 0 0 .5 1 0 0 0 1"}, "sheared"),
    "series": (
        {"NDims": "4", "DimSize": "5 3 2 2", "ElementSpacing": "1 1 1 1", "Offset": "0 0 0 0", "TransformMatrix": None},
        r"4-D \(DimSize 5 3 2 2\).* 2 volumes",
    ),
    "channels": ({"ElementNumberOfChannels": "3"}, "3 values per voxel"),
    "type": ({"ElementType": "MET_STRING"}, "'MET_STRING' is not supported"),
    "no size": ({"DimSize": None}, "DimSize = None"),
    "negative size": ({"DimSize": "5 -4 3"}, "'5 -4 3' is not 3 sizes"),
    "size of words": ({"DimSize": "5 x 3"}, "DimSize = '5 x 3'"),
    "text voxels": ({"BinaryData": "False"}, "as text"),
    "no data": ({"ElementDataFile": None}, "no line 'ElementDataFile'"),
    "data elsewhere": ({"ElementDataFile": "none.raw"}, "'none.raw'"),
    "list of slices": ({"ElementDataFile": "LIST"}, "'LIST'"),
    "scaling": ({"ElementToIntensityFunctionSlope": "2"}, "slope 2"),
}


@pytest.mark.parametrize("case", MHA_REFUSED)
def test_bad_metaimage(case, tmp_path, capfd):
    changes, words = MHA_REFUSED[case]
    refused(image_files.mha(tmp_path / "bad.mha", **changes), words, capfd)


def test_good_metaimage_written_by_hand_is_read(tmp_path):
    volume = read_volume(image_files.mha(tmp_path / "a.mha"))
    np.testing.assert_allclose(
        volume.grid.affine, np.array([[-2, 0, 0, -1], [0, -2, 0, -2], [0, 0, 3, 3], [0, 0, 0, 1]])
    )
    np.testing.assert_array_equal(volume.array.ravel(), np.arange(60))


def test_big_endian_metaimage_is_read(tmp_path):
    samples = np.arange(60, dtype=">i2").tobytes()
    volume = read_volume(image_files.mha(tmp_path / "a.mha", samples, BinaryDataByteOrderMSB="True"))
    np.testing.assert_array_equal(volume.array.ravel(), np.arange(60))


@pytest.mark.parametrize(("header_size", "before"), [("16", b"0" * 16), ("-1", b"0" * 33)])
def test_metaimage_with_a_foreign_header_before_the_voxels(header_size, before, tmp_path):
    (tmp_path / "a.raw").write_bytes(before + image_files.SAMPLES)
    path = image_files.mha(tmp_path / "a.mhd", b"", HeaderSize=header_size, ElementDataFile="a.raw")
    np.testing.assert_array_equal(read_volume(path).array.ravel(), np.arange(60))


def test_more_compressed_voxels_than_promised_are_refused(tmp_path, capfd):
    samples = zlib.compress(image_files.SAMPLES + b"more")
    refused(image_files.mha(tmp_path / "a.mha", samples, CompressedData="True"), "header promises 120", capfd)


def original(ending, folder):
    """A small file of a format, uncompressed where the format allows it, so that any byte of its header can change."""
    path = folder / f"original{ending}"
    write = {
        ".nii": image_files.nifti,
        ".nii.gz": image_files.nifti,
        ".nrrd": image_files.nrrd,
        ".mha": image_files.mha,
    }
    return write[ending](path)


@given(
    ending=st.sampled_from([".nii", ".nii.gz", ".nrrd", ".mha"]),
    place=st.floats(0, 1, exclude_max=True),
    new=st.binary(min_size=1, max_size=4),
    keep=st.one_of(st.just(1.0), st.floats(0, 1)),
)
@settings(max_examples=150)
def test_no_damage_ends_in_another_error(ending, place, new, keep, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    content = bytearray(original(ending, folder).read_bytes())
    start = int(place * len(content))
    content[start : start + len(new)] = new
    path = folder / f"damaged{ending}"
    path.write_bytes(bytes(content[: max(1, int(keep * len(content)))]))
    try:
        read_volume(path)
        message = None
    except InputError as error:
        message = str(error)
    assert message is None or message.startswith(str(path))


def test_grid_problems_are_grid_errors(tmp_path):
    for path in (
        image_files.mha(tmp_path / "a.mha", TransformMatrix="1 0 0 .5 1 0 0 0 1"),
        image_files.nrrd(tmp_path / "a.nrrd", space_directions="(2,0,0) (1,2,0) (0,0,3)"),
    ):
        with pytest.raises(GridError, match="sheared"):
            read_volume(path)
