"""Diffusion files: written and read in every placement, tables in every layout, good and bad."""

from __future__ import annotations

import gzip
import itertools
import json
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import image_files
from support.dwi_dicom_files import samples, weightings
from support.dwi_oracles import fsl_series
from support.geometry import GRIDS, grids

from MRHarmonizationLib.core.errors import InputError, OutputError, ParameterError
from MRHarmonizationLib.volumes import dwi_files
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.dwi_files import check_dwi_output, read_dwi, write_dwi
from MRHarmonizationLib.volumes.grid import same_grid

ENDINGS = (".nii.gz", ".nii", ".nrrd")
BVAL, BVEC = "0 1000 1000 1000\n", "0 1 0 0\n0 0 1 0\n0 0 0 1\n"


def series(grid=GRIDS["oblique"], dtype=np.int16, n: int = 7, seed: int = 0) -> DwiVolume:
    b_values, vectors = weightings(n, seed=seed)
    array = samples(grid, n, seed).astype(dtype)
    return DwiVolume(array, grid, b_values, vectors, "dti", {"echo_time_ms": 80.0, "manufacturer": "Any"})


def nifti(folder: Path, bval: str | None = BVAL, bvec: str | None = BVEC, n: int = 4, **options) -> Path:
    """A 4-D file of nibabel with its tables."""
    array = np.arange(60 * n, dtype=np.int16).reshape(n, 3, 4, 5).T
    for ending, text in ((".bval", bval), (".bvec", bvec)):
        if text is not None:
            (folder / f"dti{ending}").write_text(text, encoding="utf-8")
    return image_files.nifti(folder / "dti.nii", array, **options)


def check_same(a: DwiVolume, b: DwiVolume) -> None:
    np.testing.assert_array_equal(a.array, b.array)
    assert a.array.dtype == b.array.dtype
    assert same_grid(a.grid, b.grid)
    np.testing.assert_allclose(a.b_values_s_per_mm2, b.b_values_s_per_mm2, rtol=0, atol=1e-9)
    np.testing.assert_allclose(a.gradients_ras, b.gradients_ras, atol=2e-7)


@given(
    grids(smallest=1, largest=5),
    st.sampled_from(ENDINGS),
    st.sampled_from(["uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"]),
    st.integers(0, 100),
)
def test_there_and_back_in_every_placement(grid, ending, dtype, seed):
    """Oblique, flipped, permuted, left-handed: the same voxels bit by bit, the same directions in RAS."""
    dwi = series(grid, dtype, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_dwi(dwi, Path(folder) / f"out{ending}")
        check_same(read_dwi(paths[0]), dwi)


@given(grids(smallest=2, largest=4), st.integers(0, 100))
def test_written_tables_follow_the_convention_of_fsl(grid, seed):
    """Read by nibabel and the convention written down, not by the library."""
    dwi = series(grid, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        values, affine, b_values, directions = fsl_series(*write_dwi(dwi, Path(folder) / "out.nii"))
    np.testing.assert_array_equal(values.transpose(2, 1, 0, 3), dwi.array)
    np.testing.assert_allclose(affine, grid.affine, rtol=1e-6, atol=1e-4)
    np.testing.assert_array_equal(b_values, dwi.b_values_s_per_mm2)
    np.testing.assert_allclose(directions, dwi.gradients_ras, atol=1e-6)


@pytest.mark.parametrize("ending", ENDINGS)
def test_from_format_to_format(tmp_path, grid, ending):
    dwi = series(grid)
    first = read_dwi(write_dwi(dwi, tmp_path / f"a{ending}")[0])
    for other in ENDINGS:
        check_same(read_dwi(write_dwi(first, tmp_path / f"b{other}")[0]), dwi)


def test_several_shells_and_small_b_values_survive(tmp_path):
    b_values = np.array([0.001, 5, 700, 928.289, 2000, 3000, 0])
    _, vectors = weightings(7)
    vectors[0] = (0.6, 0, 0.8)
    dwi = DwiVolume(samples(GRIDS["lps"]), GRIDS["lps"], b_values, vectors)
    for ending in ENDINGS:
        back = read_dwi(write_dwi(dwi, tmp_path / f"out{ending}")[0])
        np.testing.assert_allclose(back.b_values_s_per_mm2, b_values, rtol=0, atol=1e-6)
        kept = b_values > 0 if ending == ".nrrd" else slice(None)  # NRRD has no room for a direction where b is 0
        np.testing.assert_allclose(back.gradients_ras[kept], dwi.gradients_ras[kept], atol=1e-6)


def test_nrrd_edited_by_others_is_told_by_its_vectors(tmp_path):
    """The library's own list of b-values counts only while it fits the convention's vectors."""
    own = "MRHarmonization_b_values_s_per_mm2:=1.25 1000 1000 1000\n"
    assert read_dwi(nrrd(tmp_path / "a.nrrd", gradient_keys(VECTORS) + own)).b_values_s_per_mm2[0] == 1.25
    for other in ("1.25 1000 1000", "1.25 1000 1000 2000", "700 1000 1000 1000", "0 1000 1000 x"):
        own = f"MRHarmonization_b_values_s_per_mm2:={other}\n"
        dwi = read_dwi(nrrd(tmp_path / "a.nrrd", gradient_keys(VECTORS) + own))
        assert dwi.b_values_s_per_mm2.tolist() == [0, 1000, 1000, 1000]
        assert dwi.metadata == {}


def test_metadata_is_kept_in_nrrd_and_read_from_a_sidecar(tmp_path):
    dwi = series()
    assert dict(read_dwi(write_dwi(dwi, tmp_path / "out.nrrd")[0]).metadata) == dict(dwi.metadata)
    (tmp_path / "dti.json").write_text(
        json.dumps({"EchoTime": 0.079, "RepetitionTime": 10, "Manufacturer": "Canon", "PhaseEncodingDirection": "j-"})
    )
    metadata = read_dwi(nifti(tmp_path)).metadata
    assert metadata == {
        "echo_time_ms": pytest.approx(79),
        "repetition_time_ms": 10_000,
        "manufacturer": "Canon",
        "phase_encoding": "j-",
    }
    (tmp_path / "dti.json").write_text("{ not json")
    assert read_dwi(nifti(tmp_path)).metadata == {}


@pytest.mark.parametrize(
    ("bval", "bvec"),
    [
        (BVAL, BVEC),
        ("0\n1000\n1000\n1000\n", "0 0 0\n1 0 0\n0 1 0\n0 0 1\n"),
        ("0, 1000, 1000, 1000", "0,1,0,0\n0,0,1,0\n0,0,0,1"),
        ("\ufeff0\t1e3\t1000.0\t1000 \r\n\r\n", "0 1 0 0 \r\n0 0 1 0 \r\n0 0 0 1 \r\n"),
        ("0 1000 1000 1000", "nan 1 0 0\nnan 0 1 0\nNaN 0 0 1\n"),
        ("[0 1000 1000 1000]", "0.0 1.01 0 0\n0 0 1 0\n0 0 0 .99\n"),
    ],
    ids=["rows", "columns", "commas", "windows", "nan for b0", "brackets and rounding"],
)
def test_layouts_of_tables(tmp_path, bval, bvec):
    dwi = read_dwi(nifti(tmp_path, bval, bvec))
    assert dwi.b_values_s_per_mm2.tolist() == [0, 1000, 1000, 1000]
    np.testing.assert_allclose(np.abs(dwi.gradients_ras), np.vstack([[0, 0, 0], np.eye(3)]), atol=1e-9)


def test_three_volumes_leave_the_layout_to_the_lengths(tmp_path):
    """Three directions in three columns: only the rows are unit vectors."""
    bvec = "0 0 0\n0.6 0.8 0\n0 0.6 0.8\n"
    dwi = read_dwi(nifti(tmp_path, "0 1000 1000", bvec, n=3))
    np.testing.assert_allclose(np.abs(dwi.gradients_ras), [[0, 0, 0], [0.6, 0.8, 0], [0, 0.6, 0.8]], atol=1e-9)
    dwi = read_dwi(nifti(tmp_path, "0 1000 1000", "0 0.6 0\n0 0.8 0.6\n0 0 0.8\n", n=3))
    np.testing.assert_allclose(np.abs(dwi.gradients_ras), [[0, 0, 0], [0.6, 0.8, 0], [0, 0.6, 0.8]], atol=1e-9)


def test_tables_elsewhere(tmp_path):
    path = nifti(tmp_path, None, None)
    (tmp_path / "bvals").write_text(BVAL)
    (tmp_path / "bvecs").write_text(BVEC)
    beside = read_dwi(path)
    (tmp_path / "other").mkdir()
    for name in ("bvals", "bvecs"):
        (tmp_path / name).rename(tmp_path / "other" / name)
    given_paths = read_dwi(path, tmp_path / "other" / "bvals", tmp_path / "other" / "bvecs")
    check_same(beside, given_paths)
    assert beside.name == "dti"


def test_philips_scale_factors(tmp_path):
    """Values of up to 2.4e6 by the header's factor, as nibabel reads them."""
    path = nifti(tmp_path, scl_slope=704.172, scl_inter=12.5)
    image = image_files.set_bytes(path, 352, "<h", 3470)
    dwi = read_dwi(image)
    expected = np.asarray(nib.load(image).dataobj).transpose(2, 1, 0, 3)
    np.testing.assert_allclose(dwi.array, expected, rtol=1e-6)
    assert dwi.array.max() > 2.4e6
    check_same(read_dwi(write_dwi(dwi, tmp_path / "back.nii.gz")[0]), dwi)


def test_fifth_axis_of_itk(tmp_path):
    array = np.arange(240, dtype=np.int16).reshape(4, 1, 3, 4, 5).T
    for ending, text in ((".bval", BVAL), (".bvec", BVEC)):
        (tmp_path / f"dti{ending}").write_text(text)
    dwi = read_dwi(image_files.nifti(tmp_path / "dti.nii", array))
    np.testing.assert_array_equal(dwi.array, array[:, :, :, 0].transpose(2, 1, 0, 3))


BAD_TABLES = {
    "b-values missing": (None, BVEC, r"has no b-values: none of dti\.bval, .* lies beside it"),
    "directions missing": (BVAL, None, r"has no gradient directions: none of dti\.bvec"),
    "truncated bval": ("0 1000 1000", BVEC, "holds 3 b-values for 4 volumes"),
    "too many b-values": ("0 1000 1000 1000 1000", BVEC, "holds 5 b-values for 4 volumes"),
    "empty bval": ("", BVEC, "is empty"),
    "blank bval": ("\n \n", BVEC, "holds no numbers"),
    "all zero": ("0 0 0 0", BVEC, "all 4 b-values are 0"),
    "ms/µm²": ("0 1 1 1", BVEC, "multiply the b-values by 1000"),
    "s/m²": ("0 1e9 1e9 1e9", BVEC, "divide the b-values by 1,000,000"),
    "no b0": ("1000 1000 1000 1000", "1 1 0 0\n0 0 1 0\n0 0 0 1\n", "add the b = 0 volume"),
    "words": ("b=0 1000 1000 1000", BVEC, "line 1 is not a row of numbers"),
    "directions as b-values": (BVEC, BVEC, "holds 3 rows of up to 4 numbers; expected one row"),
    "truncated bvec": (BVAL, "0 1 0 0\n0 0 1 0\n0 0 0", r"rows of 4, 4, 3 numbers"),
    "bvec of another scan": (BVAL, "0 1 0\n0 0 1\n0 0 0", "holds 3 x 3 numbers; expected 3 x 4"),
    "bvec of two rows": (BVAL, "0 1 0 0\n0 0 1 0\n", "holds 2 x 4 numbers; expected 3 x 4"),
    "not unit": (BVAL, "0 2 0 0\n0 0 1 0\n0 0 0 1\n", "volume 1.*has length 2"),
    "NaN": (BVAL, "0 nan 0 0\n0 0 1 0\n0 0 0 1\n", r"volume 1 \(b = 1000 s/mm²\) is \["),
    "trace image": (BVAL, "0 0 0 0\n0 0 1 0\n0 0 0 1\n", "volume 1.*a trace or ADC image"),
}


@pytest.mark.parametrize("case", list(BAD_TABLES))
def test_bad_tables_are_named(tmp_path, case):
    bval, bvec, message = BAD_TABLES[case]
    path = nifti(tmp_path, bval, bvec)
    with pytest.raises(InputError, match=message) as caught:
        read_dwi(path)
    assert str(tmp_path) in str(caught.value), "the message names the file"
    assert caught.value.remedy


def test_tables_that_are_no_text(tmp_path):
    path = nifti(tmp_path)
    (tmp_path / "dti.bval").write_bytes(gzip.compress(b"0 1000 1000 1000"))
    with pytest.raises(InputError, match="is not a table of numbers but a gzip-compressed file"):
        read_dwi(path)
    (tmp_path / "dti.bval").write_bytes(b"0 1000\0 1000 1000")
    with pytest.raises(InputError, match="is not a table of numbers"):
        read_dwi(path)


def test_other_bad_input(tmp_path):
    path = nifti(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        read_dwi(tmp_path / "none.nii.gz")
    with pytest.raises(InputError, match="is not a file; give the bval file of dti.nii"):
        read_dwi(path, bval=tmp_path / "none.bval")
    with pytest.raises(ParameterError, match="not DICOM"):
        read_dwi(path, series_uid="1.2.3")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="holds no DICOM images"):
        read_dwi(tmp_path / "folder")
    nrrd = write_dwi(series(), tmp_path / "out.nrrd")[0]
    with pytest.raises(ParameterError, match="not NIfTI"):
        read_dwi(nrrd, bval=tmp_path / "dti.bval")
    for name in ("dti.txt", "dti.mha"):
        (tmp_path / name).write_text("nothing")
        with pytest.raises(InputError, match="is not a DICOM file"):
            read_dwi(tmp_path / name)


def test_three_dimensions_given_as_four(tmp_path):
    image = image_files.nifti(tmp_path / "t1.nii")
    with pytest.raises(InputError, match=r"is 3-D \(dim 5 x 4 x 3\)"):
        read_dwi(image)
    with pytest.raises(InputError, match=r"is 3-D \(sizes 5 x 4 x 3\)"):
        read_dwi(image_files.nrrd(tmp_path / "t1.nrrd"))


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("ending", ENDINGS)
def test_truncated_images(tmp_path, ending, keep):
    path = image_files.cut(write_dwi(series(), tmp_path / f"out{ending}")[0], keep)
    with pytest.raises(InputError, match="truncated or damaged"):
        read_dwi(path)


NRRD_FIELDS = {
    "dimension": "4",
    "sizes": "5 4 3 4",
    "space_directions": "(2,0,0) (0,2,0) (0,0,3) none",
    "kinds": "domain domain domain list",
    "measurement_frame": "(1,0,0) (0,1,0) (0,0,1)",
}
NRRD_SAMPLES = np.arange(240, dtype="<i2").tobytes()


def gradient_keys(vectors, b_value: str | None = "1000") -> str:
    lines = ["modality:=DWMRI"] + ([f"DWMRI_b-value:={b_value}"] if b_value is not None else [])
    return "\n".join([*lines, *(f"DWMRI_gradient_{n:04d}:={vector}" for n, vector in enumerate(vectors))]) + "\n"


def nrrd(path: Path, extra: str, **changes: str | None) -> Path:
    return image_files.nrrd(path, NRRD_SAMPLES, extra, **(NRRD_FIELDS | changes))


VECTORS = ["0 0 0", "1 0 0", "0 1 0", "0 0.6 0.8"]


def test_nrrd_lengths_tell_weaker_weighting(tmp_path):
    """b = nominal · (|g| / longest |g|)²: the NA-MIC convention, also where the longest vector is not a unit vector."""
    vectors = ["0 0 0", "0.7071067811865476 0 0", "0 -2 0", "0 0 1"]
    dwi = read_dwi(nrrd(tmp_path / "a.nrrd", gradient_keys(vectors, "4000")))
    assert dwi.b_values_s_per_mm2.tolist() == [0, 500, 4000, 1000]
    np.testing.assert_allclose(dwi.gradients_ras, [[0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, 0, 1]], atol=1e-12)


@pytest.mark.parametrize("space", ["left-posterior-superior", "RAS", "left-anterior-superior"])
def test_nrrd_measurement_frame_is_in_the_files_space(tmp_path, space):
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])  # columns are the frame's axes
    frame = " ".join(f"({','.join(map(str, column))})" for column in turn.T)
    dwi = read_dwi(nrrd(tmp_path / "a.nrrd", gradient_keys(VECTORS), measurement_frame=frame, space=space))
    signs = {"l": [-1, -1, 1], "R": [1, 1, 1]}[space[0]] if "anterior" not in space else [-1, 1, 1]
    told = np.array([[float(word) for word in vector.split()] for vector in VECTORS])
    np.testing.assert_allclose(dwi.gradients_ras, (told @ turn.T) * signs, atol=1e-12)


@pytest.mark.parametrize("position", range(4))
def test_nrrd_volumes_along_any_axis(tmp_path, position):
    """Slicer writes the volumes as the fastest axis, DWIConvert as the slowest."""
    order = [0, 1, 2]
    order.insert(position, 3)
    fields = {
        name: " ".join(np.array(NRRD_FIELDS[name].split())[order]) for name in ("sizes", "space_directions", "kinds")
    }
    values = np.arange(240, dtype="<i2").reshape(4, 3, 4, 5)  # volumes, k, j, i
    stored = values.transpose([[3, 2, 1, 0][axis] for axis in order[::-1]])
    path = image_files.nrrd(
        tmp_path / "a.nrrd",
        np.ascontiguousarray(stored).tobytes(),
        gradient_keys(VECTORS),
        **(NRRD_FIELDS | fields),
    )
    np.testing.assert_array_equal(read_dwi(path).array, np.moveaxis(values, 0, -1))


BAD_NRRD = {
    "no b-value": (gradient_keys(VECTORS, None), {}, "has no DWMRI_b-value"),
    "b-value of words": (gradient_keys(VECTORS, "high"), {}, "'high', not a number"),
    "b-value in ms/µm²": (gradient_keys(VECTORS, "1"), {}, "multiply the b-values by 1000"),
    "gradient missing": (gradient_keys(VECTORS[:3]), {}, "has 3 gradients .* for 4 volumes"),
    "gradients all zero": (gradient_keys(["0 0 0"] * 4), {}, "all its gradients are zero"),
    "gradient NaN": (gradient_keys([*VECTORS[:3], "nan 0 1"]), {}, "DWMRI_gradient_0003 is 'nan 0 1'"),
    "gradient of words": (gradient_keys([*VECTORS[:3], "left"]), {}, "'left', not three numbers"),
    "repetitions": (gradient_keys(VECTORS) + "DWMRI_NEX_0001:=2\n", {}, "DWMRI_NEX_0001, which is not supported"),
    "no frame": (gradient_keys(VECTORS), {"measurement_frame": None}, "does not say in which frame"),
    "bad frame": (gradient_keys(VECTORS), {"measurement_frame": "(1,0,0) (0,0,0) (0,0,1)"}, "is not a rotation"),
    "no b0": (gradient_keys(["0 0 1", *VECTORS[1:]]), {}, "add the b = 0 volume"),
    "not diffusion": ("", {}, "has no DWMRI_b-value"),
}


@pytest.mark.parametrize("case", list(BAD_NRRD))
def test_bad_nrrd_is_named(tmp_path, case):
    extra, changes, message = BAD_NRRD[case]
    with pytest.raises(InputError, match=message):
        read_dwi(nrrd(tmp_path / "a.nrrd", extra, **changes))


@pytest.mark.parametrize("name", ["out.mha", "out.txt", "out", ".nrrd"])
def test_formats_that_cannot_be_written(tmp_path, name):
    with pytest.raises(OutputError, match="supported extension"):
        write_dwi(series(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_replaced_unasked(tmp_path):
    (tmp_path / "out.bvec").write_text("mine")
    with pytest.raises(OutputError, match=r"out\.bvec exists"):
        write_dwi(series(), tmp_path / "out.nii.gz", overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["out.bvec"]
    (tmp_path / "dir.bval").mkdir()
    with pytest.raises(OutputError, match=r"dir\.bval is a folder"):
        check_dwi_output(tmp_path / "dir.nii")


@pytest.mark.parametrize("failing", ["b_values_text", "directions_text"])
def test_all_files_or_none(tmp_path, monkeypatch, failing):
    """A failure after the image was written leaves the former files as they were."""
    old = write_dwi(series(seed=1), tmp_path / "out.nii.gz")
    before = [path.read_bytes() for path in old]

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(dwi_files.gradient_tables, failing, stop)
    with pytest.raises(KeyboardInterrupt):
        write_dwi(series(seed=2), tmp_path / "out.nii.gz")
    assert [path.read_bytes() for path in old] == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in old)


def test_written_paths(tmp_path):
    names = {ending: [p.name for p in write_dwi(series(), tmp_path / f"scan{ending}")] for ending in ENDINGS}
    assert names[".nii.gz"] == ["scan.nii.gz", "scan.bval", "scan.bvec"]
    assert names[".nrrd"] == ["scan.nrrd"]
    assert (tmp_path / "scan.bval").read_text() == "0 1000 1000 1000 1000 1000 1000\n"
    rows = (tmp_path / "scan.bvec").read_text().splitlines()
    assert [len(row.split()) for row in rows] == [7, 7, 7]
    assert list(itertools.chain(*(row.split()[:1] for row in rows))) == ["0", "0", "0"]
