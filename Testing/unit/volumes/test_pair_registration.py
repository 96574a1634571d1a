"""Two scans of one head are laid on each other, and scans that cannot be are told."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from support.heads import face_labels

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.degradations.lowfield import AcquisitionParameters, acquire
from MRHarmonizationLib.degradations.reference_look import render_reference_look
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.pair_registration import RegistrationLimits, register_pair, resample_partner
from MRHarmonizationLib.volumes.volume import Volume

LABELS = face_labels(3)


def scan_of(contrast="t1", seed=3):
    return render_reference_look(LABELS, contrast, seed)


def low_field(scan):
    return acquire(scan, AcquisitionParameters(0, 8.0, 8.0, in_plane_spacing_mm=(4.0, 4.0), snr=15, noise_seed=1))


def moved(scan, shift_mm=(12.0, -9.0, 15.0), turn_deg=(4.0, -6.0, 8.0)):
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix()
    motion[:3, 3] = shift_mm
    return Volume(scan.array, Grid(scan.grid.shape, motion @ scan.grid.affine), "moved"), motion


@pytest.mark.parametrize("contrast", ["t1", "t2"])
def test_the_motion_between_low_and_high_field_is_found(contrast):
    other, motion = moved(scan_of(contrast))
    found = register_pair(low_field(scan_of()), other)
    assert found.problems() == ()
    head = LABELS.grid.ijk_to_ras(np.argwhere(LABELS.array > 0)[:, ::-1])
    error = head @ (found.matrix - motion)[:3, :3].T + (found.matrix - motion)[:3, 3]
    assert np.linalg.norm(error, axis=1).mean() < 2.5  # voxels of 4 mm, slices of 8
    assert found.quality.likeness > found.quality.likeness_start
    assert found.quality.dice > 0.9
    assert (found.quality.tissue_correlation > 0.6) == (contrast == "t1")


def test_the_partner_is_laid_on_the_grid_of_the_first():
    scan = scan_of()
    other, motion = moved(scan)
    partner, inside = resample_partner(other, scan.grid, motion)
    assert inside.mean() > 0.95
    np.testing.assert_allclose(partner.array[inside], scan.array[inside], atol=1.0)
    half = Volume(scan.array[22:], scan.grid.crop((22, 0, 0), (22, *scan.array.shape[1:])), "half")
    _, inside = resample_partner(half, scan.grid, np.eye(4))
    assert not inside[:21].any()
    assert inside[23:].all()


def test_what_is_no_head_is_told():
    scan = low_field(scan_of())
    noise = np.abs(np.random.default_rng(0).normal(0, 100, LABELS.array.shape)).astype(np.float32)
    found = register_pair(scan, Volume(noise, LABELS.grid, "noise"))
    assert any("peak" in problem for problem in found.problems())
    with pytest.raises(InputError, match="constant"):
        register_pair(scan, LABELS.with_array(np.zeros(LABELS.array.shape, np.float32), "nothing"))


def test_each_limit_names_its_value():
    found = register_pair(low_field(scan_of()), moved(scan_of())[0])
    strict = RegistrationLimits(0.99, 1.01, 1.01, 1.0, 0.0)
    problems = " ".join(found.problems(strict))
    for word in ("peak", "overlap", "Dice", "stretched", "turned"):
        assert word in problems


def test_a_head_of_another_size_is_no_partner():
    scan = scan_of()
    large = Volume(scan.array, Grid.from_parts(scan.array.shape, scan.grid.spacing_mm * 1.15), "large")
    found = register_pair(low_field(scan), large)
    assert any("stretched" in problem for problem in found.problems())
