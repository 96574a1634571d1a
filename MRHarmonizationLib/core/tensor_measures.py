"""Diffusion tensors as arrays of six numbers: what they predict, and what is read off them."""

from __future__ import annotations

import numpy as np

from MRHarmonizationLib.core.errors import InputError

#: Order of the six independent elements along the last axis of a tensor array (row-wise upper triangle, as in NRRD).
TENSOR_ELEMENTS = ("xx", "xy", "xz", "yy", "yz", "zz")
#: Where the elements stand in the 3 x 3 matrix.
_ROWS, _COLUMNS = (0, 0, 0, 1, 1, 2), (0, 1, 2, 1, 2, 2)
#: Tensors whose eigenvalues are computed at a time.
_CHUNK = 65536


def encoding_vector(b_value_s_per_mm2: float, gradient: np.ndarray) -> np.ndarray:
    """Return the six factors whose product with a tensor's elements is b · gᵀDg.

    Parameters
    ----------
    b_value_s_per_mm2 : float
    gradient : ndarray, shape (3,)
        Unit vector in the frame of the tensor.

    Returns
    -------
    ndarray, shape (6,), float64, s/mm²
        In the order of :data:`TENSOR_ELEMENTS`.
    """
    x, y, z = (float(v) for v in np.asarray(gradient, float))
    return float(b_value_s_per_mm2) * np.array([x * x, 2 * x * y, 2 * x * z, y * y, 2 * y * z, z * z])


def attenuation(tensors: np.ndarray, b_value_s_per_mm2: float, gradient: np.ndarray) -> np.ndarray:
    """Return exp(−b gᵀDg).

    Parameters
    ----------
    tensors : ndarray, shape (..., 6)
        mm²/s, see :data:`TENSOR_ELEMENTS`.
    b_value_s_per_mm2 : float
    gradient : ndarray, shape (3,)
        Unit vector in the frame of the tensors; any vector where b is 0.

    Returns
    -------
    ndarray, shape (...), type of ``tensors``

    Source
    ------
    Basser et al., J. Magn. Reson. B 103:247 (1994), doi 10.1006/jmrb.1994.1037.
    """
    factors = encoding_vector(b_value_s_per_mm2, gradient).astype(tensors.dtype)
    exponent = tensors.reshape(-1, 6) @ factors
    np.negative(exponent, out=exponent)
    return np.asarray(np.exp(exponent, out=exponent).reshape(tensors.shape[:-1]))


def as_matrices(tensors: np.ndarray) -> np.ndarray:
    """Return (..., 6) elements as symmetric (..., 3, 3) matrices."""
    matrices = np.empty((*tensors.shape[:-1], 3, 3), tensors.dtype)
    for n, (row, column) in enumerate(zip(_ROWS, _COLUMNS, strict=True)):
        matrices[..., row, column] = tensors[..., n]
        matrices[..., column, row] = tensors[..., n]
    return matrices


def from_matrices(matrices: np.ndarray) -> np.ndarray:
    """Return symmetric (..., 3, 3) matrices as (..., 6) elements."""
    return np.stack([matrices[..., row, column] for row, column in zip(_ROWS, _COLUMNS, strict=True)], axis=-1)


def rotate_tensors(tensors: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Return R D Rᵀ for every tensor, shape (..., 6): the tensors of an object turned by ``rotation`` (3, 3)."""
    turn = np.asarray(rotation, tensors.dtype)
    return from_matrices(turn @ as_matrices(tensors) @ turn.T)


def eigenvalues_of(tensors: np.ndarray) -> np.ndarray:
    """Return the eigenvalues, shape (..., 3), largest first, type of ``tensors``; work in bounded memory."""
    flat = tensors.reshape(-1, 6)
    values = np.empty((flat.shape[0], 3), tensors.dtype)
    for start in range(0, flat.shape[0], _CHUNK):
        block = as_matrices(flat[start : start + _CHUNK].astype(np.float64))
        values[start : start + _CHUNK] = np.linalg.eigvalsh(block)[:, ::-1]
    return values.reshape((*tensors.shape[:-1], 3))


def decompose(tensors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues and eigenvectors.

    Parameters
    ----------
    tensors : ndarray, shape (..., 6)

    Returns
    -------
    eigenvalues : ndarray, shape (..., 3)
        Largest first.
    eigenvectors : ndarray, shape (..., 3, 3)
        ``eigenvectors[..., :, n]`` belongs to ``eigenvalues[..., n]``; the sign of each is arbitrary.
    """
    flat = tensors.reshape(-1, 6)
    values = np.empty((flat.shape[0], 3), tensors.dtype)
    vectors = np.empty((flat.shape[0], 3, 3), tensors.dtype)
    for start in range(0, flat.shape[0], _CHUNK):
        part = slice(start, start + _CHUNK)
        ascending, columns = np.linalg.eigh(as_matrices(flat[part].astype(np.float64)))
        values[part], vectors[part] = ascending[:, ::-1], columns[:, :, ::-1]
    shape = tensors.shape[:-1]
    return values.reshape((*shape, 3)), vectors.reshape((*shape, 3, 3))


def mean_diffusivity(tensors: np.ndarray) -> np.ndarray:
    """Return a third of the trace, shape (...), mm²/s; linear in the tensor, so it may be negative where noise is."""
    return np.asarray((tensors[..., 0] + tensors[..., 3] + tensors[..., 5]) / 3.0)


def fractional_anisotropy(eigenvalues: np.ndarray) -> np.ndarray:
    """Return FA in [0, 1] of eigenvalues (..., 3); negative ones count as 0, and a zero tensor has FA 0.

    Source
    ------
    Basser & Pierpaoli, J. Magn. Reson. B 111:209 (1996), doi 10.1006/jmrb.1996.0086.
    """
    values = np.maximum(eigenvalues, 0)
    squares = np.sum(values**2, axis=-1)
    spread = np.sum((values - values.mean(axis=-1, keepdims=True)) ** 2, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(squares > 0, 1.5 * spread / squares, 0.0)
    return np.asarray(np.clip(np.sqrt(ratio), 0.0, 1.0), eigenvalues.dtype)


def anisotropy_factor(fa: np.ndarray | float) -> np.ndarray:
    """Return a such that MD · (1 + 2a, 1 − a, 1 − a) are the eigenvalues of a prolate tensor of that FA.

    Raises
    ------
    InputError
        FA outside [0, 1).
    """
    wanted = np.asarray(fa, float)
    if not np.all((wanted >= 0) & (wanted < 1)):
        raise InputError(f"FA between {wanted.min():.3g} and {wanted.max():.3g}", "give values in [0, 1)")
    return np.asarray(wanted / np.sqrt(3.0 - 2.0 * wanted**2))
