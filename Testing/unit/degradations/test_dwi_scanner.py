"""The virtual scanners, gradient tables, and the pieces of echo-planar encoding."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.diffusion import block_brain, head_labels

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.tensor import fit_tensors
from MRHarmonizationLib.core.tensor_measures import mean_diffusivity
from MRHarmonizationLib.degradations.brain_tensors import brain_from_labels
from MRHarmonizationLib.degradations.dwi_parameters import DwiScannerParameters
from MRHarmonizationLib.degradations.dwi_scanner import (
    CANONICAL,
    SCANNERS_FOLDER,
    DwiScanner,
    canonical_twin,
    load_scanner,
    sample_dwi_scanner,
    sample_protocol,
    scanner_ids,
)
from MRHarmonizationLib.degradations.dwi_simulation import (
    draw_scan,
    seen_mask,
    simulate_dwi,
    simulate_images,
    travelling_subject,
)
from MRHarmonizationLib.degradations.epi_encoding import (
    PlaneAxis,
    decay_terms,
    fourier_matrix,
    image_matrix,
    measured_lines,
    slice_profile_matrix,
    spin_echo_decay,
)
from MRHarmonizationLib.degradations.gradient_scheme import gradient_table, spread_directions

# --- scanners -------------------------------------------------------------------------------------------------------


def test_seven_scanners_of_four_manufacturers_at_both_fields():
    scanners = [load_scanner(name) for name in scanner_ids()]
    assert len(scanners) == 7
    assert len({scanner.manufacturer for scanner in scanners}) == 4
    assert {scanner.field_strength_t for scanner in scanners} == {1.5, 3.0}
    assert CANONICAL not in scanner_ids()
    assert load_scanner(CANONICAL).role == "canonical"


@pytest.mark.parametrize("path", sorted(SCANNERS_FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_scanner_files_are_named_like_their_scanner_and_can_be_drawn(path):
    scanner = load_scanner(path)
    assert scanner.id == path.stem
    assert DwiScanner.from_dict(json.loads(json.dumps(scanner.to_dict()))) == scanner
    scan = sample_dwi_scanner(np.random.default_rng(1), scanner)
    assert DwiScannerParameters.from_dict(json.loads(json.dumps(scan.to_dict()))) == scan
    assert len(scan.b_values_s_per_mm2) == sum(scanner.directions) + scanner.unweighted
    assert scanner.ghost[0] <= scan.ghost <= scanner.ghost[1]


def test_scans_differ_between_seeds_and_scanners_but_not_between_calls():
    one, two = draw_scan("vendor-a-3t", 1), draw_scan("vendor-a-3t", 2)
    assert one == draw_scan("vendor-a-3t", 1)
    assert one.noise_seed != two.noise_seed
    assert one.phase_shift_px != two.phase_shift_px
    assert len({draw_scan(name, 1).noise_seed for name in scanner_ids()}) == 7
    assert one.b_values_s_per_mm2 == two.b_values_s_per_mm2
    own, other = (np.array(scan.bias_field.coefficients) for scan in (one, two))
    assert np.corrcoef(own, other)[0, 1] > 0.7  # the coil stays the coil


def test_number_of_directions_can_be_chosen():
    assert len(sample_dwi_scanner(np.random.default_rng(0), "vendor-d-3t", directions=6).gradients_ras) == 7


@pytest.mark.parametrize("name", ["vendor-b-1.5t", "vendor-a-3t"])
def test_canonical_twin_shows_the_same_anatomy_in_the_same_place(name):
    brain = block_brain(np.exp(-np.sum([((n - 30) / 12) ** 2 for n in np.indices((60, 60, 60))], axis=0)), 1.75)
    scan = draw_scan(name, 4)
    twin = canonical_twin(scan)
    assert twin.b_values_s_per_mm2 == scan.b_values_s_per_mm2
    assert twin.gradients_ras == scan.gradients_ras
    places = []
    for parameters in (replace(scan.clean(), phase_shift_px=scan.phase_shift_px), twin):
        images, grid = simulate_images(brain, parameters, [0])
        weight = np.where(images[..., 0] > 0.2 * images.max(), images[..., 0].astype(float), 0)
        index = [np.sum(weight * axis) / weight.sum() for axis in np.indices(weight.shape)]
        places.append(grid.ijk_to_ras(np.array(index[::-1])))
    assert np.allclose(places[0], places[1], atol=0.3)


@given(seed=st.integers(0, 100_000))
def test_random_scanners_are_possible_and_within_the_recipe(seed):
    scanner = sample_protocol(np.random.default_rng(seed))
    scan = sample_dwi_scanner(np.random.default_rng(seed))
    assert DwiScannerParameters.from_dict(json.loads(json.dumps(scan.to_dict()))) == scan
    assert 60 <= scanner.echo_time_ms <= 110
    assert 700 <= scanner.b_shells_s_per_mm2[0] <= 1500
    assert 10 <= scanner.snr_b0 <= 40
    assert 0.625 <= scan.partial_fourier <= 1
    assert abs(scan.phase_shift_px) <= 4
    assert max(scan.measured_pixel_mm) < 3.2


def test_what_is_no_scanner_is_refused(tmp_path):
    with pytest.raises(ParameterError, match="'mine' is unknown; choose one of: canonical"):
        load_scanner("mine")
    with pytest.raises(ParameterError, match="cannot be read"):
        load_scanner(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[1, 2]")
    with pytest.raises(ParameterError, match="does not describe a scanner"):
        load_scanner(tmp_path / "list.json")
    values = load_scanner("vendor-a-3t").to_dict()
    (tmp_path / "odd.json").write_text(json.dumps(values | {"colour": "red"}))
    with pytest.raises(ParameterError, match="colour"):
        load_scanner(tmp_path / "odd.json")
    for name, value in (("role", "king"), ("ghost", [0.5, 0.1]), ("jitter", -1)):
        with pytest.raises(ParameterError, match=name):
            DwiScanner.from_dict(values | {name: value})


@pytest.mark.slow
def test_travelling_subject():
    """One brain on all seven: same anatomy and diffusion, different looks; MD of clean scans agrees."""
    brain = brain_from_labels(head_labels(spacing_mm=1.75), seed=1)
    levels, diffusivities = [], []
    for parameters, dwi in travelling_subject(brain, 5):
        mask = seen_mask(brain, brain.brain_mask, parameters).array
        b0 = dwi.mean_b0().array[mask].mean()
        clean = simulate_dwi(brain, parameters.clean())
        fit = fit_tensors(clean.array, clean.b_values_s_per_mm2, clean.gradients_ras, mask)
        levels.append(b0 / parameters.gain)
        diffusivities.append(np.median(fit.md_mm2_per_s[mask]))
        assert dwi.metadata["model"] == parameters.scanner
        assert dwi.array.min() >= 0
    assert len(levels) == 7
    assert max(levels) > 1.15 * min(levels)
    truth = np.median(mean_diffusivity(brain.tensors)[brain.brain_mask])
    assert np.allclose(diffusivities, truth, rtol=0.06)


# --- gradient tables ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "angle_deg"), [(2, 85.0), (3, 85.0), (6, 60.0), (12, 36.0), (30, 24.0), (64, 16.0)])
def test_directions_are_spread(count, angle_deg):
    directions = spread_directions(count)
    assert np.allclose(np.linalg.norm(directions, axis=1), 1)
    assert np.all(directions[:, 2] >= 0)
    cosines = np.abs(directions @ directions.T) - 2 * np.eye(count)
    assert np.rad2deg(np.arccos(cosines.max())) > angle_deg
    assert np.array_equal(spread_directions(count), directions)


def test_gradient_table_mixes_unweighted_volumes_in():
    b, g = gradient_table((500.0, 1500.0), (6, 12), 3)
    assert b.size == 21
    assert b[0] == 0
    assert np.sum(b == 0) == 3
    assert np.diff(np.flatnonzero(b == 0)).min() >= 5
    assert not g[b == 0].any()
    assert np.allclose(np.linalg.norm(g[b > 0], axis=1), 1)


@pytest.mark.parametrize("arguments", [((), (), 1), ((1000.0,), (6, 6), 1), ((1000.0,), (6,), 0), ((-5.0,), (6,), 1)])
def test_impossible_tables_are_refused(arguments):
    with pytest.raises(ParameterError, match="shells"):
        gradient_table(*arguments)
    with pytest.raises(ParameterError, match="0 gradient directions"):
        spread_directions(0)


# --- encoding -------------------------------------------------------------------------------------------------------


@given(lines=st.integers(16, 65), view=st.floats(100.0, 300.0), centre=st.floats(-50, 50))
def test_imaging_undoes_encoding_for_what_is_band_limited(lines, view, centre):
    axis = PlaneAxis(lines, view, centre)
    fine = axis.positions_mm(4 * lines)
    wave = 1 + 0.5 * np.cos(2 * np.pi * 3 * (fine - centre) / view)
    image = image_matrix(axis, lines) @ (fourier_matrix(axis, fine, view / lines / 4) @ wave)
    expected = 1 + 0.5 * np.cos(2 * np.pi * 3 * (axis.positions_mm(lines) - centre) / view) * np.sinc(3 / 4 / lines)
    assert np.allclose(image, expected, atol=1e-9)


@pytest.mark.parametrize(("share", "kept"), [(1.0, 64), (0.75, 48), (0.625, 40), (0.5, 33)])
def test_partial_fourier_keeps_the_late_lines_and_the_middle(share, kept):
    axis = PlaneAxis(64, 200.0, 0.0)
    lines = measured_lines(axis, share)
    assert lines.sum() == kept
    assert lines[-1]
    assert lines[np.flatnonzero(axis.indices == 0)[0]]


@pytest.mark.parametrize("readout_s", [0.02, 0.05, 0.08])
@pytest.mark.parametrize("share", [0.6, 1.0])
@pytest.mark.parametrize(("r2", "r2_prime"), [(14.0, 5.0), (1.0, 1.0), (22.0, 18.0), (11.0, 25.0)])
def test_decay_is_split_accurately(readout_s, share, r2, r2_prime):
    axis = PlaneAxis(112, 224.0, 0.0)
    times = axis.indices[measured_lines(axis, share)] * readout_s / 112
    terms = decay_terms(times)
    split = spin_echo_decay(terms.nodes_s, r2, r2_prime) @ terms.mixing @ terms.courses
    assert np.abs(split - spin_echo_decay(times, r2, r2_prime)).max() < 5e-3
    assert terms.courses.shape[0] <= 6


def test_decay_has_its_echo():
    """Before the echo the reversible part still grows back: the signal is largest where R2' outweighs R2."""
    times = np.linspace(-0.02, 0.02, 41)
    assert np.argmax(spin_echo_decay(times, 5.0, 30.0)) == 20
    assert np.argmax(spin_echo_decay(times, 30.0, 5.0)) == 0
    assert decay_terms(np.zeros(5)).courses.shape == (1, 5)


@given(width=st.floats(1.0, 8.0), flatness=st.floats(0, 1), shift=st.floats(-0.5, 0.5))
def test_slices_keep_the_signal_of_a_uniform_object(width, flatness, shift):
    positions = np.arange(-40, 41) * 1.0
    matrix = slice_profile_matrix(np.array([shift, 2.3]), positions, 1.0, width, flatness)
    assert np.allclose(matrix.sum(axis=1), 1, atol=0.02)
    assert np.allclose(matrix @ positions, [shift, 2.3], atol=0.05)
