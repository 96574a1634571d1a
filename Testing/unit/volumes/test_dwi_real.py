"""Real diffusion scans: all are read, DICOM as dcm2niix reads it, and fibres run where fibres run."""

from __future__ import annotations

import itertools
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from support.dwi_oracles import all_centres_ras, converted, fsl_series, values_at

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.dwi_files import read_dwi, write_dwi
from MRHarmonizationLib.volumes.files import read_volume

pytestmark = pytest.mark.data

#: Name of each scan: shape (K, J, I, N), its shell, number of unweighted volumes.
SCANS = {
    "canon_galan3t_b1500_AP": ((40, 80, 80, 13), 1500, 1),
    "canon_galan3t_b1500_PA": ((40, 80, 80, 13), 1500, 1),
    "canon_galan3t_b1500_oblique_sagittal": ((40, 80, 80, 13), 1500, 1),
    "philips_achieva_b1000_32dir": ((60, 128, 128, 33), 1000, 1),
    "philips_achieva_dstream_b2000": ((40, 80, 80, 16), 2000, 1),
    "philips_ingenia_elition_b1000": ((32, 112, 112, 17), 1000, 5),
    "uih_umr770_b930_AP": ((20, 64, 64, 17), 930, 1),
    "uih_umr770_b930_PA": ((20, 64, 64, 17), 930, 1),
}
ARCHIVES = {
    "canon_enhanced_dti_1file": ("int16", 13, 1500),
    "philips_dti_680files": ("float32", 16, 2000),
    "uih_umr770_dti_17files": ("uint16", 17, 930),
}
scans = pytest.mark.parametrize("name", list(SCANS))
archives = pytest.mark.parametrize("name", list(ARCHIVES))

#: Slab around the middle of the head in which the corpus callosum crosses, and its depth below the vertex, mm.
MIDLINE_MM, DEPTH_MM, BEHIND_MM = 5.0, (35.0, 80.0), 45.0


def scan_path(data_dir: Path, name: str) -> Path:
    path = data_dir / "dwi" / f"{name}.nii.gz"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return path


@pytest.fixture(scope="module")
def dicom_folder(data_dir, tmp_path_factory):
    """Unpack an archive once."""
    folders: dict[str, Path] = {}

    def unpacked(name: str) -> Path:
        archive = data_dir / "dicom" / f"{name}.zip"
        if not archive.is_file():
            pytest.skip(f"needs {archive}")
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            with zipfile.ZipFile(archive) as files:
                files.extractall(folders[name])
        return folders[name]

    return unpacked


@pytest.fixture(scope="module")
def dicom_series(dicom_folder):
    """Read an archive once."""
    read: dict[str, DwiVolume] = {}

    def of(name: str) -> DwiVolume:
        if name not in read:
            read[name] = read_dwi(dicom_folder(name))
        return read[name]

    return of


@scans
def test_every_scan_is_read_as_nibabel_reads_it(data_dir, name):
    path = scan_path(data_dir, name)
    dwi = read_dwi(path)
    stem = str(path).removesuffix(".nii.gz")
    values, affine, b_values, directions = fsl_series(path, Path(f"{stem}.bval"), Path(f"{stem}.bvec"))
    shape, shell, unweighted = SCANS[name]
    assert dwi.array.shape == shape
    assert list(dwi.shells()) == [shell]
    assert int(dwi.is_b0.sum()) == unweighted
    np.testing.assert_allclose(dwi.array, values.transpose(2, 1, 0, 3), rtol=1e-6)
    np.testing.assert_allclose(dwi.grid.affine, affine, rtol=1e-6, atol=1e-5)
    np.testing.assert_array_equal(dwi.b_values_s_per_mm2, b_values)
    np.testing.assert_allclose(dwi.gradients_ras, directions, atol=1e-5)
    assert dwi.metadata["field_strength_t"] == 3
    assert 55 < dwi.metadata["echo_time_ms"] < 85
    dwi.check_tensor()
    with pytest.raises(InputError, match="is 4-D"):
        read_volume(path)


@scans
def test_scans_survive_nrrd(data_dir, tmp_path, name):
    dwi = read_dwi(scan_path(data_dir, name))
    small = dwi.grid.crop((10, 20, 20), (3, 20, 20))
    part = dwi.with_array(dwi.array[10:13, 20:40, 20:40], small)
    back = read_dwi(write_dwi(part, tmp_path / "out.nrrd")[0])
    np.testing.assert_array_equal(back.array, part.array)
    np.testing.assert_allclose(back.b_values_s_per_mm2, part.b_values_s_per_mm2, rtol=1e-12)
    weighted = dwi.b_values_s_per_mm2 > 0
    np.testing.assert_allclose(back.gradients_ras[weighted], dwi.gradients_ras[weighted], atol=1e-6)


@archives
def test_dicom_is_what_dcm2niix_makes_of_it(dicom_folder, dicom_series, tmp_path, name):
    values, affine, b_values, directions = converted(dicom_folder(name), tmp_path / "out")
    dwi = dicom_series(name)
    dtype, count, shell = ARCHIVES[name]
    assert (dwi.array.dtype, dwi.n_volumes, list(dwi.shells())) == (np.dtype(dtype), count, [shell])
    np.testing.assert_allclose(dwi.b_values_s_per_mm2, b_values, rtol=1e-5)  # bval files have six digits
    assert np.abs(dwi.gradients_ras - directions).max() < 1e-3
    there = values_at(values, affine, all_centres_ras(dwi.grid)).reshape(dwi.array.shape)
    if dtype == "float32":  # the factor is applied in other orders: the same stored integers
        factor = float(dwi.array.max() / np.rint(dwi.array.max() * 0.003298636991530657))
        stored, stored_there = (np.rint(array / factor).astype(int) for array in (dwi.array, there))
        np.testing.assert_array_equal(stored, stored_there)
        np.testing.assert_allclose(dwi.array, there, rtol=2e-7)
    else:
        np.testing.assert_array_equal(dwi.array, there)


@pytest.mark.parametrize(
    ("name", "scan"),
    [
        ("canon_enhanced_dti_1file", "canon_galan3t_b1500_PA"),
        ("philips_dti_680files", "philips_achieva_dstream_b2000"),
        ("uih_umr770_dti_17files", "uih_umr770_b930_PA"),
    ],
)
def test_dicom_and_its_conversion_are_one_scan(data_dir, dicom_series, name, scan):
    """The converted files beside the archives: the same voxels in space, directions and b-values (no oracle runs)."""
    dwi, other = dicom_series(name), read_dwi(scan_path(data_dir, scan))
    np.testing.assert_allclose(dwi.b_values_s_per_mm2, other.b_values_s_per_mm2, rtol=1e-5)
    assert np.abs(dwi.gradients_ras - other.gradients_ras).max() < 1e-3
    index = other.grid.ras_to_ijk(all_centres_ras(dwi.grid))
    i, j, k = np.rint(index).astype(int).T
    assert np.abs(index - np.stack([i, j, k], axis=1)).max() < 0.02
    np.testing.assert_allclose(dwi.array.reshape(-1, dwi.n_volumes), other.array[k, j, i], rtol=2e-7)


# -- what the brain says of the convention


def fitted(dwi: DwiVolume) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Brain mask, FA, MD in mm²/s and principal direction in RAS, by dipy."""
    gradients = pytest.importorskip("dipy.core.gradients", reason="needs the package dipy")
    dti = pytest.importorskip("dipy.reconst.dti", reason="needs the package dipy")
    image = dwi.mean_b0().array
    mask = ndimage.binary_erosion(ndimage.binary_opening(image > 0.12 * np.percentile(image, 99)))
    labels, _ = ndimage.label(mask)
    mask = labels == np.argmax(np.bincount(labels.ravel())[1:]) + 1
    vectors = np.where(dwi.is_b0[:, None], 0.0, dwi.gradients_ras)
    table = gradients.gradient_table(dwi.b_values_s_per_mm2, bvecs=vectors, b0_threshold=50)
    fit = dti.TensorModel(table, fit_method="OLS").fit(dwi.array[mask].astype(float))
    fa, md, direction = np.zeros(mask.shape), np.zeros(mask.shape), np.zeros((*mask.shape, 3))
    fa[mask], md[mask], direction[mask] = np.nan_to_num(fit.fa), fit.md, fit.evecs[..., 0]
    return mask, fa, md, direction


def callosum(dwi: DwiVolume, mask: np.ndarray, fa: np.ndarray, md: np.ndarray) -> np.ndarray:
    """Strongly anisotropic voxels in the midline, at the depth of the corpus callosum below the vertex."""
    points = all_centres_ras(dwi.grid).reshape(*mask.shape, 3)
    centre, top = np.median(points[mask], axis=0), np.percentile(points[mask][:, 2], 98)
    x, y, z = np.moveaxis(points - [centre[0], centre[1], top], -1, 0)
    deep = (-z > DEPTH_MM[0]) & (-z < DEPTH_MM[1])
    return mask & (np.abs(x) < MIDLINE_MM) & (np.abs(y) < BEHIND_MM) & deep & (fa > 0.5) & (md < 1.2e-3)


def coherences(dwi: DwiVolume, fa: np.ndarray, md: np.ndarray, direction: np.ndarray) -> dict:
    """How well neighbours along each fibre agree, for every permutation and flip of the directions' voxel axes.

    The fibre coherence index of Schilling et al., Magn Reson Imaging 2019, doi 10.1016/j.mri.2018.12.004: mistaken
    axes or signs in the gradient table lower it.
    """
    fibres = (fa > 0.3) & (md < 1.3e-3)
    index = np.argwhere(fibres)
    along = direction[fibres] @ np.linalg.inv(dwi.grid.directions).T
    offsets = [offset for offset in itertools.product((-1, 0, 1), repeat=3) if offset > (0, 0, 0)]
    found = {}
    for axes, flip in itertools.product(itertools.permutations(range(3)), np.vstack([[1, 1, 1], 1 - 2 * np.eye(3)])):
        turned = along[:, axes] * flip
        field = np.zeros((*fibres.shape, 3))
        field[fibres] = turned
        total = 0.0
        for offset in offsets:
            way = np.array(offset) * dwi.grid.spacing_mm
            near = np.abs(turned @ (way / np.linalg.norm(way))) > np.cos(np.deg2rad(30))
            there = index[near] + np.array(offset)[::-1]
            inside = np.all((there >= 0) & (there < fibres.shape), axis=1)
            total += float(np.abs((field[tuple(there[inside].T)] * turned[near][inside]).sum(axis=1)).sum())
        found[(axes, tuple(flip.astype(int).tolist()))] = total
    return found


def check_physics(dwi: DwiVolume) -> None:
    mask, fa, md, direction = fitted(dwi)
    chosen = callosum(dwi, mask, fa, md)
    assert chosen.sum() > 50
    dominant = np.argmax(np.abs(direction[chosen]), axis=1)
    shares = np.bincount(dominant, minlength=3) / chosen.sum()
    assert shares[0] > 0.6, f"left-right, front-back, up-down: {shares}"
    assert np.median(np.abs(direction[chosen][:, 0])) > 0.8
    found = coherences(dwi, fa, md, direction)
    best, second = sorted(found, key=lambda key: -found[key])[:2]
    assert best == ((0, 1, 2), (1, 1, 1)), f"fibres fit together better with the directions' axes {best}"
    assert found[best] > 1.04 * found[second]


@scans
def test_fibres_cross_the_callosum_from_left_to_right(data_dir, name):
    check_physics(read_dwi(scan_path(data_dir, name)))


@archives
def test_fibres_of_the_dicom_import(dicom_series, name):
    check_physics(dicom_series(name))


def test_the_physical_check_sees_a_wrong_convention(data_dir):
    """An oblique scan whose table is taken without its rotation, or with one axis reversed, does not pass."""
    dwi = read_dwi(scan_path(data_dir, "canon_galan3t_b1500_oblique_sagittal"))
    unrotated = dwi.gradients_ras @ dwi.grid.directions
    mirrored = dwi.gradients_ras @ (dwi.grid.directions * [-1, 1, 1]) @ dwi.grid.directions.T
    for vectors in (unrotated, mirrored):
        with pytest.raises(AssertionError):
            check_physics(DwiVolume(dwi.array, dwi.grid, dwi.b_values_s_per_mm2, vectors))
