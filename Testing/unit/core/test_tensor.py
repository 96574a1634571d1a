"""The tensor fit: exact without noise, equal to dipy on noisy data, kind to bad samples, clear about bad schemes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from MRHarmonizationLib.core import tensor
from MRHarmonizationLib.core.errors import InputError, OperationCancelled, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.core.tensor import check_scheme, count_directions, fit_adc, fit_tensors
from MRHarmonizationLib.core.tensor_measures import (
    anisotropy_factor,
    as_matrices,
    attenuation,
    decompose,
    eigenvalues_of,
    fractional_anisotropy,
    from_matrices,
    mean_diffusivity,
    rotate_tensors,
)


def scheme(directions: int = 12, shells: tuple[float, ...] = (1000.0,), unweighted: int = 1, seed: int = 0):
    rng = np.random.default_rng(seed)
    g = rng.normal(size=(directions * len(shells), 3))
    g /= np.linalg.norm(g, axis=1, keepdims=True)
    b = np.repeat(shells, directions)
    return np.concatenate([np.zeros(unweighted), b]), np.concatenate([np.zeros((unweighted, 3)), g])


def random_tensors(count: int, seed: int = 0) -> np.ndarray:
    """Positive definite tensors with eigenvalues of 0.1 to 3e-3 mm²/s in random directions, float64."""
    rng = np.random.default_rng(seed)
    turns = np.linalg.qr(rng.normal(size=(count, 3, 3)))[0]
    values = rng.uniform(1e-4, 3e-3, (count, 3))
    return from_matrices(turns @ (values[..., None] * np.swapaxes(turns, 1, 2)))


def predicted(tensors, s0, b, g):
    return np.stack([s0 * attenuation(tensors, *pair) for pair in zip(b, g, strict=True)], axis=-1)


@pytest.mark.parametrize("method", ["wls", "ols"])
@pytest.mark.parametrize("shells", [(1000.0,), (700.0, 2000.0), (3000.0,)])
def test_noise_free_signal_gives_back_its_tensor(method, shells):
    b, g = scheme(shells=shells)
    truth = random_tensors(500)
    s0 = np.random.default_rng(1).uniform(50, 5e6, 500)
    fit = fit_tensors(predicted(truth, s0, b, g), b, g, method=method, min_signal=1e-9)
    assert np.allclose(fit.tensors, truth, atol=2e-9)
    assert np.allclose(fit.s0, s0, rtol=1e-5)
    assert np.allclose(fit.md_mm2_per_s, np.trace(as_matrices(truth), axis1=1, axis2=2) / 3, rtol=1e-5)
    assert fit.fitted.all()
    assert not fit.floored.any()


def test_second_shell_can_stand_in_for_the_unweighted_volume():
    b, g = scheme(shells=(500.0, 1500.0), unweighted=0)
    truth = random_tensors(50)
    assert np.allclose(fit_tensors(predicted(truth, 100.0, b, g), b, g).tensors, truth, atol=2e-9)


def test_agrees_with_dipy_on_noisy_data():
    """Oracle: dipy's weighted fit. MD differs by design where noise made an eigenvalue negative: dipy cuts it at 0."""
    gradients = pytest.importorskip("dipy.core.gradients", reason="needs dipy, the oracle")
    dti = pytest.importorskip("dipy.reconst.dti")
    b, g = scheme(30, (1000.0,), 3)
    rng = np.random.default_rng(3)
    truth = random_tensors(2000, 4)
    clean = predicted(truth, 1000.0, b, g)
    noisy = np.hypot(clean + rng.normal(0, 25, clean.shape), rng.normal(0, 25, clean.shape)).astype(np.float32)
    own = fit_tensors(noisy, b, g)
    table = gradients.gradient_table(b, bvecs=g, b0_threshold=50)
    theirs = dti.TensorModel(table, fit_method="WLS", return_S0_hat=True).fit(noisy.astype(float))
    positive = own.eigenvalues.min(axis=1) > 0
    assert positive.mean() > 0.5
    assert np.abs(own.fa - theirs.fa)[positive].max() < 1e-5
    assert np.abs(own.md_mm2_per_s - theirs.md)[positive].max() < 1e-8
    assert np.abs(own.s0 / theirs.S0_hat - 1).max() < 1e-5
    cosine = np.abs(np.sum(own.principal_direction() * theirs.evecs[..., 0], axis=1))
    clear = positive & (own.eigenvalues[:, 0] > 1.2 * own.eigenvalues[:, 1])
    assert cosine[clear].min() > 1 - 1e-4
    ordinary = dti.TensorModel(table, fit_method="OLS").fit(noisy.astype(float))
    assert np.abs(fit_tensors(noisy, b, g, method="ols").fa - ordinary.fa)[positive].max() < 1e-5


@given(seed=st.integers(0, 10_000))
def test_turning_the_gradients_turns_the_tensor_and_keeps_md_and_fa(seed):
    b, g = scheme(seed=seed)
    truth = random_tensors(5, seed)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    signal = predicted(truth, 1000.0, b, g)
    fit, turned = fit_tensors(signal, b, g), fit_tensors(signal, b, g @ turn.T)
    assert np.allclose(turned.tensors, rotate_tensors(truth, turn), atol=1e-8)
    assert np.allclose(turned.fa, fit.fa, atol=1e-4)
    assert np.allclose(turned.md_mm2_per_s, fit.md_mm2_per_s, rtol=1e-4)


@given(order=st.permutations(range(13)), factor=st.floats(1e-4, 1e6))
def test_order_of_volumes_and_scale_do_not_matter(order, factor):
    b, g = scheme()
    rng = np.random.default_rng(0)
    signal = predicted(random_tensors(20), 1000.0, b, g) + rng.uniform(0, 20, (20, 13))
    one = fit_tensors(signal, b, g)
    other = fit_tensors(factor * signal[:, order], b[order], g[order])
    assert np.allclose(one.tensors, other.tensors, atol=1e-9)
    assert np.allclose(other.s0, factor * one.s0, rtol=1e-4)


def test_shape_mask_and_read_only_input_are_kept():
    b, g = scheme()
    truth = random_tensors(24).reshape(2, 3, 4, 6)
    signal = predicted(truth, 500.0, b, g).astype(np.float32)
    signal.setflags(write=False)
    mask = np.zeros((2, 3, 4), bool)
    mask[0, 1:] = True
    fit = fit_tensors(signal, b, g, mask)
    assert fit.tensors.shape == (2, 3, 4, 6)
    assert np.array_equal(fit.fitted, mask)
    assert not fit.tensors[~mask].any()
    assert not fit.fa[~mask].any()
    assert np.allclose(fit.tensors[mask], truth[mask], atol=1e-8)
    assert fit.eigenvectors().shape == (2, 3, 4, 3, 3)


def test_zero_and_negative_samples():
    b, g = scheme()
    signal = predicted(random_tensors(4), 1000.0, b, g)
    signal[0] = 0.0
    signal[1, 5] = 0.0
    signal[2, 6] = -40.0
    fit = fit_tensors(signal, b, g)
    assert fit.fitted.tolist() == [False, True, True, True]
    assert fit.floored.tolist() == [False, True, True, False]
    assert np.all(np.isfinite(fit.tensors))
    assert np.all((fit.fa >= 0) & (fit.fa <= 1))
    assert fit.md_mm2_per_s[0] == 0


def test_integers_and_memory_order_do_not_matter():
    b, g = scheme()
    signal = np.round(predicted(random_tensors(60).reshape(3, 4, 5, 6), 2000.0, b, g)).astype(np.uint16)
    fit = fit_tensors(signal, b, g)
    assert np.array_equal(fit.tensors, fit_tensors(np.asfortranarray(signal), b, g).tensors)
    assert np.array_equal(fit.tensors, fit_tensors(signal.astype(np.float64), b, g).tensors)


def test_chunks_do_not_change_the_result(monkeypatch):
    b, g = scheme()
    signal = predicted(random_tensors(100), 1000.0, b, g)
    whole = fit_tensors(signal, b, g).tensors
    monkeypatch.setattr(tensor, "_CHUNK_SAMPLES", 7 * len(b))
    assert np.allclose(fit_tensors(signal, b, g).tensors, whole, atol=1e-12)


def test_cancelling_stops_the_fit():
    b, g = scheme()
    progress = Progress()
    progress.cancel()
    with pytest.raises(OperationCancelled):
        fit_tensors(predicted(random_tensors(3), 1.0, b, g), b, g, progress=progress)


# --- schemes that do not determine a tensor -------------------------------------------------------------------------


def test_one_direction_is_refused_with_its_count_and_a_remedy():
    b = np.array([0, 1000, 1000, 1000.0])
    g = np.array([[0, 0, 0], [0, 0, 1], [0, 0, -1], [0, 0, 1.0]])
    with pytest.raises(InputError, match=r"1 different gradient direction among 4 volumes.*at least 6.*fit_adc"):
        fit_tensors(np.ones((2, 4)), b, g)


def test_five_directions_are_refused():
    b, g = scheme(5)
    with pytest.raises(InputError, match="5 different gradient directions"):
        fit_tensors(np.ones((2, 6)), b, g)


def test_directions_on_a_plane_are_refused():
    angle = np.linspace(0, np.pi, 9)[:-1]
    g = np.concatenate([np.zeros((1, 3)), np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)])
    with pytest.raises(InputError, match="cone or plane"):
        fit_tensors(np.ones((2, 9)), np.r_[0, np.full(8, 1000.0)], g)


def test_one_shell_without_unweighted_volume_is_refused():
    b, g = scheme(unweighted=0)
    with pytest.raises(InputError, match=r"near 1000 s/mm.*none is unweighted"):
        fit_tensors(np.ones((2, 12)), b, g)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b, g: (b[:-1], g), "13 volumes, but 12 b-values"),
        (lambda b, g: (b, g[:-1]), "gradients of shape"),
        (lambda b, g: (b, g.T), "gradients of shape"),
        (lambda b, g: (-b, g), "negative"),
        (lambda b, g: (np.where(b > 0, np.nan, b), g), "not finite"),
        (lambda b, g: (b, np.where(g > 0.5, np.inf, g)), "not finite"),
        (lambda b, g: (b, 1.5 * g), "not unit vectors"),
        (lambda b, g: (b, 0.0 * g), "not unit vectors"),
    ],
)
def test_bad_tables_are_refused(change, words):
    b, g = change(*scheme())
    with pytest.raises(InputError, match=words):
        fit_tensors(np.ones((2, 13)), b, g)


def test_rounded_gradients_and_small_b_values_pass():
    b, g = scheme()
    b[0] = 5.0
    checked_b, checked_g = check_scheme(b, np.round(g, 2), 13)
    assert checked_b[0] == 5
    assert np.allclose(np.linalg.norm(checked_g[1:], axis=1), 1)
    assert not checked_g[0].any()


def test_opposite_gradients_count_once():
    b, g = scheme(10)
    assert count_directions(np.r_[b, b], np.r_[g, -g]) == 10
    assert count_directions(np.zeros(3), np.zeros((3, 3))) == 0


def test_bad_values_and_options_are_refused():
    b, g = scheme()
    signal = predicted(random_tensors(3), 1.0, b, g)
    broken = signal.copy()
    broken[1, 2] = np.nan
    with pytest.raises(InputError, match="1 voxels in the mask"):
        fit_tensors(broken, b, g)
    assert fit_tensors(broken, b, g, mask=np.array([True, False, True])).fitted.sum() == 2
    with pytest.raises(ParameterError, match="magic"):
        fit_tensors(signal, b, g, method="magic")
    with pytest.raises(ParameterError, match="boolean mask"):
        fit_tensors(signal, b, g, mask=np.ones(4, bool))
    with pytest.raises(ParameterError, match="min_signal is 0"):
        fit_tensors(signal, b, g, min_signal=0)
    with pytest.raises(InputError, match="complex"):
        fit_tensors(signal.astype(complex), b, g)


# --- the coefficient and the measures -------------------------------------------------------------------------------


def test_adc_of_one_direction():
    adc, s0 = fit_adc(np.array([[100.0, 100 * np.exp(-0.8)]]), np.array([0, 1000.0]))
    assert adc[0] == pytest.approx(8e-4, rel=1e-5)
    assert s0[0] == pytest.approx(100, rel=1e-5)
    with pytest.raises(InputError, match="two different b-values"):
        fit_adc(np.ones((1, 3)), np.array([1000.0, 1000, 1010]))


def test_adc_of_isotropic_tissue_is_its_mean_diffusivity():
    b, g = scheme()
    isotropic = np.array([[9e-4, 0, 0, 9e-4, 0, 9e-4]])
    assert fit_adc(predicted(isotropic, 10.0, b, g), b)[0] == pytest.approx(9e-4, rel=1e-5)


@given(fa=st.floats(0.0, 0.99), md=st.floats(1e-4, 3e-3))
def test_anisotropy_factor_makes_the_fa_it_says(fa, md):
    a = float(anisotropy_factor(fa))
    values = md * np.array([1 + 2 * a, 1 - a, 1 - a])
    assert float(fractional_anisotropy(values)) == pytest.approx(fa, abs=1e-6)


def test_measures_of_simple_tensors():
    assert fractional_anisotropy(np.array([1.0, 0, 0])) == 1
    assert fractional_anisotropy(np.array([1.0, 1, 1])) == 0
    assert fractional_anisotropy(np.zeros(3)) == 0
    assert fractional_anisotropy(np.array([1.0, -1, -1])) == 1
    assert mean_diffusivity(np.array([1.0, 9, 9, 2, 9, 3])) == 2
    with pytest.raises(InputError, match="FA"):
        anisotropy_factor(1.0)


def test_matrices_and_eigenvectors_fit_together():
    tensors = random_tensors(40)
    assert np.array_equal(from_matrices(as_matrices(tensors)), tensors)
    values, vectors = decompose(tensors)
    rebuilt = vectors @ (values[..., None] * np.swapaxes(vectors, -1, -2))
    assert np.allclose(from_matrices(rebuilt), tensors, atol=1e-12)
    assert np.all(np.diff(values, axis=1) <= 0)
    assert np.allclose(eigenvalues_of(tensors), values)
