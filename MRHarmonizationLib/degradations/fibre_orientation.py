"""Fibre directions for a label map: a plausible, smooth, invented white matter.

No label map tells where fibres run. What is assumed: fibres follow the lines of steepest descent of smooth potentials
inside the white matter and the nuclei, and systems of them mix in every voxel: **projection** fibres between
brain-stem and cortex, **commissural** fibres between the two hemispheres, **pontine** fibres between the two sides of
the cerebellum, **association** fibres between parts of the cortex (a random smooth function on the cortex, mostly of
front and back). Each potential solves Laplace's equation with its values given on the cortex and no flow into fluid.
Under the cortex fibres turn into it, and the cortex itself is radial, as large parts of it are (McNab et al.,
NeuroImage 69:87 (2013), doi 10.1016/j.neuroimage.2012.11.065). Where systems cross, the dyadic is less than one
direction and the tensor less anisotropic, as in the centrum semiovale (Pierpaoli et al., Radiology 201:637 (1996),
doi 10.1148/radiology.201.3.8939209). The result has a callosum that crosses, a capsule that ascends and fans out, and
varies with the seed; it is no atlas.
"""

from __future__ import annotations

import numpy as np

from MRHarmonizationLib.degradations.diffusion_tissues import FIBROUS, indices

#: Spacing on which the field is worked out, mm.
WORKING_MM = 2.0
#: Relaxation steps on the coarse and on the working grid.
_STEPS = (260, 60)
#: Gradient of a potential, per mm, at which its system has half of its full weight.
_HALF_WEIGHT = {"projection": 0.016, "commissural": 0.012, "pontine": 0.02, "association": 0.025}
#: Full weights of the systems, and of the fibres that turn into the cortex.
_FULL_WEIGHT = {"projection": 1.2, "commissural": 1.6, "pontine": 0.5, "association": 1.0, "radial": 1.2}
#: Distance from the cortex at which the radial fibres have faded to 1/e, mm.
_RADIAL_REACH_MM = 2.0
#: Standard deviation and correlation length of the random part of the association potential.
_RANDOM_DEVIATION, _RANDOM_LENGTH_MM = 0.6, 16.0
#: Length over which front and back differ by one unit of that potential, mm.
_FRONT_BACK_MM = 45.0
#: Height over which the potential of the projection fibres rises by one unit along the cortex, mm, and by how much it
#: is lower at the foot of the brain-stem than that rise says.
_STEM_CORTEX_MM, _STEM_DROP = 75.0, 0.6
#: Smoothing of the dyadic, mm.
_DYADIC_SIGMA_MM = 1.6
#: Standard deviation of the logarithm of the random weights, and their correlation length.
_MIXING_DEVIATION, _MIXING_LENGTH_MM = 0.9, 8.0
#: Part of the random fields that is the same on both sides.
_SYMMETRY = 0.85
#: Distance from the thalamus and the stem over which projection fibres hand over to association fibres, mm.
_CAPSULE_MM = 10.0

#: Elements of the dyadic (order of ``tensor_measures.TENSOR_ELEMENTS``) as products of components.
_PRODUCTS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def fibre_dyadics(
    tissues: np.ndarray, sides: np.ndarray, spacing_kji_mm: np.ndarray, directions: np.ndarray, seed: int
) -> np.ndarray:
    """Return the mean dyadic ⟨v vᵀ⟩ of the fibres of every voxel.

    Parameters
    ----------
    tissues : uint8 ndarray, shape (K, J, I)
        See ``diffusion_tissues.tissue_map``; array axes closest to (S, A, R).
    sides : int8 ndarray, shape (K, J, I)
        See ``diffusion_tissues.side_map``.
    spacing_kji_mm : ndarray, shape (3,)
    directions : ndarray, shape (3, 3)
        RAS unit vectors of the grid's i, j and k axes, as columns.
    seed : int

    Returns
    -------
    ndarray, shape (K, J, I, 6), float32
        In RAS, trace 1; a third of the unit matrix where nothing has a direction.
    """
    rng = np.random.default_rng(seed)
    factors = np.maximum(1, np.round(WORKING_MM / np.asarray(spacing_kji_mm))).astype(int)
    share = {
        name: block_means(np.isin(tissues, indices(*members)), factors)
        for name, members in {
            "fibrous": FIBROUS,
            "grey": ("cortex", "cerebellar_cortex"),
            "stem": ("brainstem",),
            "cerebral": ("white_matter",),
            "cerebellar": ("cerebellar_white_matter", "brainstem"),
            "cerebral_cortex": ("cortex",),
            "deep": ("thalamus", "ventral_diencephalon", "brainstem"),
            "projecting": ("white_matter", "brainstem", "spinal_cord", "ventral_diencephalon", "thalamus"),
        }.items()
    }
    share["side"] = block_means(sides.astype(np.float32), factors)
    spacing = np.asarray(spacing_kji_mm) * factors
    dyadic = _mixed_systems(rng, share, spacing)
    working = _to_ras(dyadic, directions)
    return _enlarged(working, tissues.shape, factors)


def _mixed_systems(rng: np.random.Generator, share: dict[str, np.ndarray], spacing: np.ndarray) -> np.ndarray:
    """Return the dyadic (6, K, J, I) in array axes (k, j, i), trace 1, on the working grid."""
    from scipy.ndimage import gaussian_filter

    fibrous, grey = share["fibrous"], share["grey"]
    cortex = (grey >= 0.5) & (fibrous < 0.5)
    inside = (fibrous > 0.2) & ~cortex
    total = np.zeros((6, *fibrous.shape), np.float32)
    near = np.exp(-_distance(share["deep"] > 0.5, spacing) / _CAPSULE_MM)
    handover = {"projection": 1.0 + near, "association": 1.0 - near}
    for name, (fixed, conducting) in _potentials(rng, share, cortex, inside, spacing).items():
        known = np.isfinite(fixed)
        field = _gradient(_laplace(np.where(known, fixed, 0.0), known, conducting), spacing) * conducting
        strength = np.sqrt(np.sum(field**2, axis=0))
        ratio = strength / _HALF_WEIGHT[name]
        mixing = np.exp(_MIXING_DEVIATION * _smooth_noise(rng, fibrous.shape, _MIXING_LENGTH_MM / spacing))
        weight = _FULL_WEIGHT[name] * mixing * handover.get(name, 1.0) * ratio**2 / (1.0 + ratio**2)
        _add_dyadic(total, field / np.maximum(strength, 1e-9), weight)
    normal = _gradient(gaussian_filter(fibrous, 2.0 / spacing), spacing)
    normal /= np.maximum(np.sqrt(np.sum(normal**2, axis=0)), 1e-9)
    _add_dyadic(total, normal, _FULL_WEIGHT["radial"] * np.exp(-_distance(cortex, spacing) / _RADIAL_REACH_MM) * inside)
    # cortex is radial alone; it is smoothed apart from the white matter, so that neither leaks into the other
    _smooth_inside(total, inside, _DYADIC_SIGMA_MM / spacing)
    radial = np.zeros_like(total)
    _add_dyadic(radial, normal, ((grey > 0) & ~inside).astype(np.float32))
    _smooth_inside(radial, ~inside, _DYADIC_SIGMA_MM / spacing)
    return _unit_trace(total + radial)


def _potentials(
    rng: np.random.Generator,
    share: dict[str, np.ndarray],
    cortex: np.ndarray,
    inside: np.ndarray,
    spacing: np.ndarray,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return, for each system, the fixed values of its potential (NaN where free) and where its fibres run."""
    stem, side = share["stem"] > 0.5, np.clip(share["side"], -1, 1)
    nothing = np.full(cortex.shape, np.nan, np.float32)
    projection, crossing, association = nothing.copy(), nothing.copy(), nothing.copy()
    cerebral_cortex = cortex & (share["cerebral_cortex"] > 0)
    up = np.broadcast_to((np.arange(cortex.shape[0]) * spacing[0] / _STEM_CORTEX_MM)[:, None, None], cortex.shape)
    projection[cerebral_cortex] = up[cerebral_cortex]
    rows = np.flatnonzero(np.any(stem, axis=(1, 2)))
    if rows.size:
        bottom = stem.copy()
        bottom[rows[0] + max(1, rows.size // 8) :] = False
        projection[bottom] = rows[0] * spacing[0] / _STEM_CORTEX_MM - _STEM_DROP
    crossing[cortex] = side[cortex]
    along = (np.arange(cortex.shape[1]) - 0.5 * cortex.shape[1]) * spacing[1] / _FRONT_BACK_MM
    random = _RANDOM_DEVIATION * _smooth_noise(rng, cortex.shape, _RANDOM_LENGTH_MM / spacing)
    association[cortex] = (along[None, :, None] + random)[cortex]
    cerebral = inside & (share["cerebral"] > 0.2)
    return {
        "projection": (projection, inside & (share["projecting"] > 0.2)),
        "commissural": (crossing, cerebral),
        "pontine": (crossing, inside & (share["cerebellar"] > 0.2) & ~cerebral),
        "association": (association, cerebral),
    }


def _laplace(values: np.ndarray, known: np.ndarray, conducting: np.ndarray) -> np.ndarray:
    """Return the potential: given values stay, others become the mean of their conducting neighbours."""
    halves = [slice(None, n // 2 * 2) for n in values.shape]
    if min(values.shape) >= 16:
        weight = block_means(known[tuple(halves)], np.array([2, 2, 2]))
        coarse_known = weight > 0.5
        mean = block_means((values * known)[tuple(halves)], np.array([2, 2, 2])) / np.maximum(weight, 1e-6)
        coarse_conducting = block_means(conducting[tuple(halves)], np.array([2, 2, 2])) > 0.3
        coarse = _relax(np.where(coarse_known, mean, 0.0), coarse_known, coarse_conducting, _STEPS[0])
        start = np.zeros_like(values)
        start[tuple(halves)] = coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2)
        steps = _STEPS[1]
    else:
        start, steps = np.zeros_like(values), _STEPS[0]
    return _relax(np.where(known, values, start), known, conducting, steps)


def _relax(start: np.ndarray, known: np.ndarray, conducting: np.ndarray, steps: int) -> np.ndarray:
    """Run Jacobi steps inside the conducting voxels; nothing flows into the others."""
    potential = np.pad(start.astype(np.float32), 1)
    carries = np.pad((conducting | known).astype(np.float32), 1)
    inner = (slice(1, -1),) * 3
    neighbours = []
    for axis in range(3):
        for shift in (slice(0, -2), slice(2, None)):
            neighbours.append(tuple(shift if a == axis else slice(1, -1) for a in range(3)))
    count = sum(carries[n] for n in neighbours)
    free = conducting & ~known & (count > 0)
    weight = np.where(free, 1.0 / np.maximum(count, 1.0), 0.0).astype(np.float32)
    keep = np.where(free, 0.0, potential[inner]).astype(np.float32)
    potential *= carries
    for _ in range(steps):
        total = sum(potential[n] for n in neighbours)
        potential[inner] = weight * total + keep
        potential *= carries
    # beyond the border the potential goes on level, so that its gradient has no jump there
    mean = sum(potential[n] for n in neighbours) / np.maximum(count, 1.0)
    return np.where(carries[inner] > 0, potential[inner], mean)


def _distance(where: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Return the distance from a mask in mm, infinite where it is empty."""
    from scipy.ndimage import distance_transform_edt

    if not where.any():
        return np.full(where.shape, np.inf, np.float32)
    return np.asarray(distance_transform_edt(~where, sampling=spacing), np.float32)


def _gradient(array: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Return the gradient (3, K, J, I) along the array axes, per mm; 0 along axes of one voxel."""
    parts = [
        np.gradient(array, s, axis=a) if array.shape[a] > 1 else np.zeros_like(array) for a, s in enumerate(spacing)
    ]
    return np.stack(parts).astype(np.float32)


def _add_dyadic(total: np.ndarray, vectors: np.ndarray, weight: np.ndarray) -> None:
    for n, (row, column) in enumerate(_PRODUCTS):
        total[n] += weight * vectors[row] * vectors[column]


def _smooth_inside(dyadic: np.ndarray, where: np.ndarray, sigma: np.ndarray) -> None:
    """Smooth each element within a mask, in place; 0 outside it."""
    from scipy.ndimage import gaussian_filter

    share = np.maximum(gaussian_filter(where.astype(np.float32), sigma, truncate=3.0), 1e-3)
    for n in range(6):
        dyadic[n] = np.where(where, gaussian_filter(dyadic[n] * where, sigma, truncate=3.0) / share, 0.0)


def _unit_trace(dyadic: np.ndarray) -> np.ndarray:
    """Return dyadics of trace 1, isotropic where there was nothing."""
    trace = dyadic[0] + dyadic[3] + dyadic[5]
    result = dyadic / np.maximum(trace, 1e-6)
    empty = trace <= 1e-6
    for n in range(6):
        result[n][empty] = 1.0 / 3.0 if n in (0, 3, 5) else 0.0
    return np.asarray(result, np.float32)


def _to_ras(dyadic_kji: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Turn dyadics (6, ...) from array axes (k, j, i) to RAS, exactly, for any orthogonal axes."""
    turn = np.asarray(directions, np.float32)[:, ::-1]  # columns: RAS directions of k, j, i
    full = np.empty((3, 3, *dyadic_kji.shape[1:]), np.float32)
    for n, (row, column) in enumerate(_PRODUCTS):
        full[row, column] = full[column, row] = dyadic_kji[n]
    turned = np.einsum("ap,bq,pq...->ab...", turn, turn, full, optimize=True)
    return np.stack([turned[row, column] for row, column in _PRODUCTS])


def block_means(array: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return means over blocks of ``factors`` voxels, float32; incomplete blocks at the far ends count as they are."""
    result = array.astype(np.float32)
    for axis, factor in enumerate(factors.tolist()):
        starts = np.arange(0, result.shape[axis], factor)
        sizes = np.diff(np.append(starts, result.shape[axis]))
        shape = [-1 if a == axis else 1 for a in range(3)]
        result = np.asarray(np.add.reduceat(result, starts, axis=axis) / sizes.reshape(shape), np.float32)
    return result


def _enlarged(dyadic: np.ndarray, shape: tuple[int, ...], factors: np.ndarray) -> np.ndarray:
    """Interpolate dyadics (6, k, j, i) linearly to the full grid, (K, J, I, 6); block centres keep their places."""
    result = np.empty((*shape, 6), np.float32)
    places = [(np.arange(n) + 0.5) / f - 0.5 for n, f in zip(shape, factors.tolist(), strict=True)]
    for n in range(6):
        part = dyadic[n]
        for axis, where in enumerate(places):
            low = np.clip(np.floor(where).astype(int), 0, part.shape[axis] - 1)
            high = np.minimum(low + 1, part.shape[axis] - 1)
            share = np.clip(where - low, 0.0, 1.0).astype(np.float32)
            share = share.reshape([-1 if a == axis else 1 for a in range(3)])
            part = np.take(part, low, axis) * (1 - share) + np.take(part, high, axis) * share
        result[..., n] = part
    return result


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma: np.ndarray) -> np.ndarray:
    """Return smooth random values of mean 0 and unit variance, nearly the same left and right, float32."""
    from scipy.ndimage import gaussian_filter

    field = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma, mode="wrap", truncate=3.0)
    field = field + np.float32(_SYMMETRY) * field[:, :, ::-1]
    field = field - field.mean()
    return np.asarray(field / max(float(field.std()), 1e-6), np.float32)
