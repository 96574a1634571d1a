"""The simulated diffusion scanner against physics that can be worked out on paper."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.diffusion import block_brain, quiet_scan, uniform_tensor
from support.geometry import rotation

from MRHarmonizationLib.core.errors import GridMismatchError, InputError, OperationCancelled, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.core.tensor import fit_tensors
from MRHarmonizationLib.degradations.bias_field import BiasFieldParameters
from MRHarmonizationLib.degradations.dwi_parameters import DwiScannerParameters
from MRHarmonizationLib.degradations.dwi_simulation import seen_mask, simulate_dwi, simulate_images

SHAPE = (24, 48, 44)


def box(shape=SHAPE, j=(14, 34), i=(10, 34), k=(4, 20)) -> np.ndarray:
    density = np.zeros(shape, np.float32)
    density[k[0] : k[1], j[0] : j[1], i[0] : i[1]] = 1.0
    return density


def smooth_ball(shape=SHAPE, centre=(12, 24, 22), radius=9.0) -> np.ndarray:
    k, j, i = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    distance2 = (k - centre[0]) ** 2 + (j - centre[1]) ** 2 + (i - centre[2]) ** 2
    ball = np.exp(-distance2 / radius**2)
    return np.where(ball > 1e-4, ball, 0).astype(np.float32)


def first_volume(brain, parameters) -> np.ndarray:
    return simulate_images(brain, parameters, [0])[0][..., 0]


def centre_ras(brain, parameters) -> np.ndarray:
    images, grid = simulate_images(brain, parameters, [0])
    weight = images[..., 0].astype(float)
    weight = np.where(weight > 0.05 * weight.max(), weight, 0)
    index = np.array([np.sum(weight * axis) for axis in np.indices(weight.shape)]) / weight.sum()
    return grid.ijk_to_ras(index[::-1])


# --- the signal equation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "acquisition",
    [
        {},
        {"partial_fourier": 0.65, "readout_ms": 50.0, "interpolation": 2},
        {"filter_taper": 0.6, "phase_encoding": "RL", "ghost": 0.04, "phase_shift_px": 1.3},
        {"slice_thickness_mm": 6.0, "slice_flatness": 0.2, "tilt_deg": 9.0},
    ],
)
def test_noise_free_scan_gives_back_md_fa_and_direction(acquisition):
    """Encoding is linear and the same for every volume: one tensor comes out as it went in, whatever the scanner."""
    towards = np.array([1.0, 2.0, -0.5]) / np.linalg.norm([1.0, 2.0, -0.5])
    brain = block_brain(
        smooth_ball(), tensors=uniform_tensor(SHAPE, 0.8e-3, towards, 3.0), t2_ms=80.0, r2_prime_per_s=6.0, t1_ms=900.0
    )
    dwi = simulate_dwi(brain, quiet_scan(12, **acquisition))
    mask = dwi.array[..., 0] > 0.05 * dwi.array[..., 0].max()
    fit = fit_tensors(dwi.array, dwi.b_values_s_per_mm2, dwi.gradients_ras, mask)
    across, along = 0.8e-3 * 3 / 5, 0.8e-3 * 9 / 5
    fa = (along - across) / np.sqrt(along**2 + 2 * across**2)
    assert np.abs(fit.md_mm2_per_s[mask] - 0.8e-3).max() < 2e-6
    assert np.abs(fit.fa[mask] - fa).max() < 2e-3
    assert np.abs(fit.principal_direction()[mask] @ towards).min() > 0.9999


def test_echo_and_repetition_time_and_field():
    def level(te, tr, field):
        brain = block_brain(box(), t1_ms=1000.0, t2_ms=75.0)
        scan = quiet_scan(echo_time_ms=te, repetition_time_ms=tr, field_strength_t=field)
        return first_volume(brain, scan)[6, 16, 16]

    assert level(90, 9000, 3.0) / level(60, 9000, 3.0) == pytest.approx(np.exp(-30 / 75), rel=1e-4)
    assert level(60, 2000, 3.0) / level(60, 60000, 3.0) == pytest.approx(1 - np.exp(-2), rel=1e-4)
    longer = 75 * 0.5**-0.18
    assert level(75, 60000, 1.5) / level(75, 60000, 3.0) == pytest.approx(np.exp(1 - 75 / longer), rel=1e-3)


def test_a_full_voxel_has_the_signal_of_its_tissue():
    brain = block_brain(box())
    # the middle of a uniform block, far from its edges; ringing is left out by the filter
    assert first_volume(brain, quiet_scan(filter_taper=1.0))[6, 15, 15] == pytest.approx(1.0, abs=0.01)


def test_coil_shading_and_gain_multiply():
    brain = block_brain(box())
    bias = BiasFieldParameters((0.0, 0.4, *[0.0] * 25))
    plain = first_volume(brain, quiet_scan(filter_taper=1.0))
    shaded = first_volume(brain, quiet_scan(filter_taper=1.0, bias_field=bias, gain=7.0))
    ratio = shaded[6, 15, 12:20] / plain[6, 15, 12:20]
    assert np.all(np.diff(ratio) < 0)  # cos falls along the last axis
    middle = np.exp(0.4 * np.cos(np.pi * (np.array([21, 22]) + 0.5) / SHAPE[2])).mean()
    assert ratio[3:5].mean() == pytest.approx(7.0 * middle, rel=0.01)


# --- encoding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase_encoding", ["PA", "LR"])
def test_sharp_edges_ring_by_nine_percent(phase_encoding):
    """Gibbs: a step overshoots by 8.9 % whatever the resolution. Interpolated finely to meet the peak."""
    density = np.zeros((12, 96, 96), np.float32)
    density[:, 30:66, 30:66] = 1.0
    brain = block_brain(density, 1.0)
    scan = quiet_scan(
        matrix=(64, 64), field_of_view_mm=(192.0, 192.0), interpolation=2, phase_encoding=phase_encoding, slices=1
    )
    image = first_volume(brain, scan)[0]
    row = image[:, image.shape[1] // 2] if phase_encoding == "PA" else image[image.shape[0] // 2]
    plateau = np.median(row[row > 0.5])
    assert row.max() / plateau - 1 == pytest.approx(0.0895, abs=0.035)
    calm = first_volume(brain, quiet_scan(matrix=(64, 64), field_of_view_mm=(192.0, 192.0), filter_taper=1.0, slices=1))
    assert calm.max() < 1.03


@pytest.mark.parametrize("amplitude", [0.02, 0.05, 0.2])
def test_ghost_has_its_amplitude_at_half_the_field_of_view(amplitude):
    density = np.zeros((12, 32, 32), np.float32)
    density[:, 12:20, 12:20] = 1.0  # 16 mm wide in a field of view of 128
    brain = block_brain(density)
    scan = quiet_scan(ghost=amplitude, filter_taper=1.0, slices=1)
    image, clean = first_volume(brain, scan)[0], first_volume(brain, quiet_scan(filter_taper=1.0, slices=1))[0]
    there = np.roll(clean, 16, axis=0)
    strong = there > 0.5
    assert np.allclose(image[strong] / there[strong], amplitude / np.hypot(1, amplitude), atol=0.003)
    assert image[15:17, 15:17].mean() == pytest.approx(clean[15:17, 15:17].mean() / np.hypot(1, amplitude), rel=0.01)


@pytest.mark.parametrize(
    ("phase_encoding", "towards"), [("PA", (0, 1, 0)), ("AP", (0, -1, 0)), ("LR", (1, 0, 0)), ("RL", (-1, 0, 0))]
)
def test_shift_moves_the_image_along_phase_encoding(phase_encoding, towards):
    brain = block_brain(smooth_ball(radius=5.0))
    still = quiet_scan(filter_taper=0.5, phase_encoding=phase_encoding)
    moved = replace(still, phase_shift_px=2.5)
    assert np.allclose(centre_ras(brain, moved) - centre_ras(brain, still), 2.5 * 4.0 * np.array(towards), atol=0.05)
    assert np.array_equal(simulate_images(brain, moved)[1].affine, simulate_images(brain, still)[1].affine)


def test_partial_fourier_blurs_along_phase_encoding_only():
    brain = block_brain(box())

    def steepest(parameters):
        image = first_volume(brain, parameters)[6]
        return [np.abs(np.diff(image, axis=axis)).max() for axis in (0, 1)]

    full, partial = steepest(quiet_scan()), steepest(quiet_scan(partial_fourier=0.6))
    assert partial[0] < 0.85 * full[0]
    assert partial[1] == pytest.approx(full[1], rel=0.06)


def test_partial_fourier_leaves_what_is_smooth():
    brain = block_brain(smooth_ball(radius=9.0))
    assert np.allclose(
        first_volume(brain, quiet_scan()), first_volume(brain, quiet_scan(partial_fourier=0.75)), atol=2e-3
    )


def test_decay_during_the_readout_blurs_short_t2_more():
    def peak(t2, r2_prime, readout):
        density = np.zeros((12, 48, 44), np.float32)
        density[:, 23:25, 10:34] = 1.0  # a thin bar across phase encoding
        brain = block_brain(density, t2_ms=t2, r2_prime_per_s=r2_prime)
        return first_volume(brain, quiet_scan(readout_ms=readout, echo_time_ms=5.0, slices=1))[0].max()

    assert peak(80.0, 20.0, 80.0) < 0.85 * peak(80.0, 20.0, 1.0)
    assert peak(500.0, 1.0, 80.0) > 0.95 * peak(500.0, 1.0, 1.0)


@pytest.mark.parametrize("phase_encoding", ["PA", "RL"])
def test_interpolation_keeps_the_band_limit_and_the_image(phase_encoding):
    """Zero-filling adds no frequency beyond the measured ones, and passes through the same image."""
    brain = block_brain(smooth_ball(radius=6.0))
    common = {"filter_taper": 1.0, "phase_encoding": phase_encoding}
    coarse = first_volume(brain, quiet_scan(**common))
    fine = first_volume(brain, quiet_scan(interpolation=2, **common))
    assert fine.shape[1:] == (64, 64)
    spectrum = np.abs(np.fft.fft2(fine[fine.shape[0] // 2]))
    beyond = np.abs(np.fft.fftfreq(64)) > 0.25 + 1e-9
    assert spectrum[beyond].max() < 1e-4 * spectrum.max()
    assert spectrum[:, beyond].max() < 1e-4 * spectrum.max()
    back = np.fft.fft2(fine, axes=(1, 2)) / 4
    keep = np.r_[0:16, 48:64]
    place = np.exp(2j * np.pi * np.fft.fftfreq(32) * 0.25)  # voxels share the field of view: a quarter voxel apart
    again = np.fft.ifft2(back[:, keep][:, :, keep] * (place[:, None] * place[None, :]), axes=(1, 2)).real
    assert np.allclose(again, coarse, atol=1e-3 * coarse.max())


def test_what_lies_outside_the_field_of_view_folds_in():
    density = np.zeros((12, 80, 44), np.float32)
    density[:, 2:6, 18:26] = 1.0  # near the back: 70 mm from the middle, the field of view ends at 64
    brain = block_brain(density)
    image = first_volume(brain, quiet_scan(filter_taper=1.0, slices=1))[0]
    rows = np.flatnonzero(image.max(axis=1) > 0.5)
    assert rows.min() >= 28  # folded in at the front


def test_slices_are_weighted_with_their_profile():
    density = np.zeros((40, 48, 44), np.float32)
    density[20] = 1.0  # one thin sheet of 2 mm
    density[[4, 35]] = 1e-3  # so that there is an object above and below
    brain = block_brain(density)
    images = first_volume(
        brain, quiet_scan(slice_thickness_mm=8.0, slice_spacing_mm=2.0, slice_flatness=0.0, slices=31)
    )
    profile = images[:, 16, 16]
    half = np.flatnonzero(profile > 0.5 * profile.max())
    assert (half[-1] - half[0]) * 2.0 == pytest.approx(8.0, abs=2.0)
    assert profile.sum() * 2.0 == pytest.approx(2.0, rel=0.05)  # the sheet's thickness, 2 mm, is kept


# --- noise ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "acquisition",
    [
        {},
        {"partial_fourier": 0.625},
        {"filter_taper": 0.8},
        {"interpolation": 2},
        {"interpolation": 2, "partial_fourier": 0.7, "filter_taper": 0.3, "phase_encoding": "LR"},
    ],
)
def test_noise_has_the_deviation_that_the_snr_says(acquisition):
    """In air the magnitude is Rayleigh-distributed with σ = mean signal of tissue / SNR, however it was measured."""
    density = box()
    brain = block_brain(density)
    scan = quiet_scan(
        snr_b0=20.0, gain=50.0, noise_seed=3, matrix=(64, 64), field_of_view_mm=(256.0, 256.0), **acquisition
    )
    image = first_volume(brain, scan)
    factor = acquisition.get("interpolation", 1)
    air = np.concatenate([image[:, : 12 * factor].ravel(), image[:, -12 * factor :].ravel()])
    sigma = 50.0 / 20.0
    assert np.sqrt(np.mean(air**2) / 2) == pytest.approx(sigma, rel=0.05)
    assert air.mean() / air.std() == pytest.approx(1.9131, rel=0.08)
    quiet = first_volume(brain, DwiScannerParameters.from_dict(scan.to_dict() | {"snr_b0": None}))
    bright = quiet > 0.9 * 50
    assert (image - quiet)[bright].std() == pytest.approx(sigma, rel=0.1)


def test_noise_differs_between_volumes_and_slices():
    brain = block_brain(box())
    scan = quiet_scan(2, snr_b0=5.0)
    dwi = simulate_dwi(brain, scan.with_scheme(np.array([0.0, 0, 1000]), np.array([[0, 0, 0], [0, 0, 0], [1.0, 0, 0]])))
    one, two = dwi.array[0, :8, :, 0].ravel(), dwi.array[0, :8, :, 1].ravel()
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.2
    assert abs(np.corrcoef(one, dwi.array[1, :8, :, 0].ravel())[0, 1]) < 0.2


def test_stored_whole_numbers():
    image = first_volume(block_brain(box()), quiet_scan(whole_numbers=True, gain=300.0, snr_b0=20.0))
    assert np.array_equal(image, np.round(image))
    assert image.max() > 250


# --- geometry -------------------------------------------------------------------------------------------------------


@settings(max_examples=12)
@given(
    tilt=st.floats(-15, 15),
    offset=st.tuples(*[st.floats(-6, 6)] * 3),
    phase_encoding=st.sampled_from(["AP", "PA", "LR", "RL"]),
    interpolation=st.sampled_from([1, 2]),
    turn=st.tuples(*[st.floats(-12, 12)] * 3),
    place=st.tuples(st.integers(10, 14), st.integers(18, 30), st.integers(16, 28)),
)
def test_landmarks_stay_where_they_are_in_the_scanner(tilt, offset, phase_encoding, interpolation, turn, place):
    """A blob at a known place in millimetres is found there, on any grid the scan may have."""
    brain = block_brain(smooth_ball(centre=place, radius=2.5), directions=rotation(*turn))
    scan = quiet_scan(
        tilt_deg=tilt,
        offset_mm=offset,
        phase_encoding=phase_encoding,
        interpolation=interpolation,
        filter_taper=0.7,
        slice_spacing_mm=2.0,
        slices=40,
    )
    assert np.allclose(centre_ras(brain, scan), brain.grid.ijk_to_ras(np.array(place[::-1])), atol=0.25)


def test_grid_of_a_scan():
    brain = block_brain(box())
    grid = simulate_images(brain, quiet_scan(interpolation=2, matrix=(32, 24), field_of_view_mm=(128.0, 120.0)))[1]
    assert np.allclose(grid.spacing_mm, (2.0, 2.5, 4.0))
    assert grid.shape[1:] == (48, 64)
    assert grid.axis_codes == ("R", "A", "S")
    middle = grid.corners_ras().mean(0)
    assert np.allclose(middle[:2], brain.grid.corners_ras().mean(0)[:2])
    low, high = np.flatnonzero(box().any(axis=(1, 2)))[[0, -1]] * 2.0 - 10
    corners = grid.corners_ras()[:, 2]
    assert corners.min() <= low
    assert corners.max() >= high


def test_mask_is_seen_where_the_image_is():
    """A structure's mask follows resolution, tilt and shift: it covers the bright part of that structure's image."""
    density = box()
    brain = block_brain(density)
    scan = quiet_scan(
        filter_taper=0.5,
        phase_shift_px=1.7,
        tilt_deg=6.0,
        slice_spacing_mm=3.0,
        slice_thickness_mm=3.0,
        offset_mm=(1, 2, 3),
    )
    image, grid = simulate_images(brain, scan)
    seen = seen_mask(brain, density > 0, scan)
    bright = image[..., 0] > 0.5
    overlap = 2 * np.sum(seen.array & bright) / (seen.array.sum() + bright.sum())
    assert overlap > 0.93
    assert np.array_equal(seen.grid.affine, grid.affine)
    with pytest.raises(GridMismatchError, match="mask of shape"):
        seen_mask(brain, np.ones((2, 2, 2), bool), scan)


# --- replay, cancelling, hostile input ------------------------------------------------------------------------------


def test_same_record_same_voxels_also_through_json():
    brain = block_brain(box())
    scan = quiet_scan(6, snr_b0=12.0, bias_field=BiasFieldParameters(tuple([0.05] * 27)), ghost=0.02)
    again = DwiScannerParameters.from_dict(json.loads(json.dumps(scan.to_dict())))
    assert again == scan
    assert np.array_equal(simulate_dwi(brain, scan).array, simulate_dwi(brain, again).array)
    quiet = quiet_scan()
    assert DwiScannerParameters.from_dict(json.loads(json.dumps(quiet.to_dict()))) == quiet


def test_some_volumes_are_those_of_the_whole_scan():
    brain = block_brain(box())
    scan = quiet_scan(6, snr_b0=12.0)
    whole, part = simulate_dwi(brain, scan), simulate_images(brain, scan, [4, 0])[0]
    assert np.array_equal(part, whole.array[..., [4, 0]])
    with pytest.raises(ParameterError, match=r"\[9\] of 7"):
        simulate_images(brain, scan, [9])


def test_brain_is_not_changed():
    brain = block_brain(box(), t2_ms=80.0)
    maps = (brain.tensors, brain.proton_density, brain.t2_ms)
    before = [array.copy() for array in maps]
    simulate_dwi(brain, quiet_scan(1, tilt_deg=5.0, field_strength_t=1.5))
    assert all(
        np.array_equal(a, b) for a, b in zip(before, (brain.tensors, brain.proton_density, brain.t2_ms), strict=True)
    )
    with pytest.raises(ValueError, match="read-only"):
        brain.tensors[0] = 0


def test_cancelling_stops_the_scan():
    progress = Progress()
    progress.cancel()
    with pytest.raises(OperationCancelled):
        simulate_images(block_brain(box()), quiet_scan(), progress=progress)


def test_metadata_tells_the_protocol():
    dwi = simulate_dwi(block_brain(box()), quiet_scan(1, phase_encoding="AP", echo_time_ms=77.0, scanner="x"))
    assert dwi.metadata["echo_time_ms"] == 77.0
    assert dwi.metadata["phase_encoding"] == "j-"
    assert dwi.metadata["model"] == "x"


def test_voxels_finer_than_the_brain_are_refused():
    with pytest.raises(ParameterError, match="finer than the brain's"):
        simulate_images(block_brain(box()), quiet_scan(matrix=(128, 128)))
    with pytest.raises(ParameterError, match="finer than the brain's"):
        simulate_images(block_brain(box()), quiet_scan(slice_thickness_mm=1.0))


def test_empty_and_missed_brains_are_refused():
    with pytest.raises(InputError, match="no tissue"):
        simulate_images(block_brain(np.zeros(SHAPE)), quiet_scan())
    with pytest.raises(InputError, match="field of view"):
        simulate_images(block_brain(box()), quiet_scan(offset_mm=(0.0, 0.0, 190.0)))


def test_seed_goes_with_a_scanner_and_not_with_a_record():
    brain = block_brain(box())
    with pytest.raises(ParameterError, match="leave the seed out"):
        simulate_dwi(brain, quiet_scan(), seed=3)
    with pytest.raises(ParameterError, match="seed None for a scanner"):
        simulate_dwi(brain, "vendor-a-3t")
    with pytest.raises(ParameterError, match=r"unknown; choose one of: canonical, vendor-a-1.5t"):
        simulate_dwi(brain, "no-such-scanner", seed=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("echo_time_ms", -1.0),
        ("echo_time_ms", float("nan")),
        ("partial_fourier", 0.4),
        ("interpolation", 3),
        ("phase_encoding", "up"),
        ("snr_b0", 0.0),
        ("matrix", (8, 32)),
        ("field_of_view_mm", (0.0, 128.0)),
        ("ghost", 0.9),
        ("slices", 0),
        ("gain", 0.0),
        ("offset_mm", (float("nan"), 0.0, 0.0)),
        ("tilt_deg", 80.0),
        ("b_values_s_per_mm2", ()),
        ("filter_taper", 1.5),
    ],
)
def test_impossible_records_are_refused(name, value):
    values = quiet_scan().to_dict() | {name: value}
    with pytest.raises((ParameterError, InputError)):
        DwiScannerParameters.from_dict(values)


def test_unknown_keys_are_named():
    with pytest.raises(ParameterError, match="colour"):
        DwiScannerParameters.from_dict(quiet_scan().to_dict() | {"colour": 1})
