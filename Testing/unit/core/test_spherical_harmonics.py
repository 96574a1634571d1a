"""Spherical harmonics against dipy, and what rotations leave alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.spherical_harmonics import (
    coefficient_orders,
    fit_matrix,
    harmonics,
    invariants,
    largest_order,
)
from MRHarmonizationLib.degradations.gradient_scheme import gradient_table


def directions(count: int) -> np.ndarray:
    return np.array(gradient_table((1000.0,), (count,), 1)[1], float)[1:]


def test_kernels_agree_with_dipy():
    """The sum over m of products does not depend on order or sign of the columns."""
    shm = pytest.importorskip("dipy.reconst.shm")
    from dipy.core.geometry import cart2sphere

    vectors = directions(30)
    _, theta, phi = cart2sphere(*vectors.T)
    theirs, _, degrees = shm.real_sh_descoteaux(4, theta, phi, legacy=False)
    ours, orders = harmonics(vectors, 4), coefficient_orders(4)
    for degree in (0, 2, 4):
        wanted = theirs[:, degrees == degree] @ theirs[:, degrees == degree].T
        found = ours[:, orders == degree] @ ours[:, orders == degree].T
        np.testing.assert_allclose(found, wanted, atol=1e-10)


def test_coefficients_come_back():
    vectors = directions(45)
    wanted = np.random.default_rng(0).normal(size=15)
    found = fit_matrix(vectors, 4, smoothness=0.0) @ (harmonics(vectors, 4) @ wanted)
    np.testing.assert_allclose(found, wanted, atol=1e-8)


def test_energies_do_not_turn_with_the_object():
    """The same signal seen from turned directions has the same energy in every order."""
    vectors = directions(60)
    turn = Rotation.from_euler("xyz", [0.4, -0.9, 1.3]).as_matrix()
    tensor = np.diag([1.7e-3, 0.3e-3, 0.3e-3])
    energies = []
    for seen in (vectors, vectors @ turn):
        signal = np.exp(-1000 * np.einsum("ni,ij,nj->n", seen, tensor, seen))
        energies.append(invariants(fit_matrix(vectors, 6, 0.0) @ signal, 6))
    np.testing.assert_allclose(energies[0][:3], energies[1][:3], rtol=2e-3)
    assert energies[0][1] > 0.01


@pytest.mark.parametrize(("count", "order"), [(5, 0), (6, 2), (15, 4), (30, 6), (60, 8)])
def test_directions_decide_the_order(count: int, order: int):
    assert largest_order(directions(count), 8) == order


def test_directions_in_a_plane_allow_none():
    angle = np.linspace(0, np.pi, 20, endpoint=False)
    assert largest_order(np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)) == 0


def test_odd_order_is_refused():
    with pytest.raises(ParameterError, match="order 3"):
        harmonics(directions(6), 3)
