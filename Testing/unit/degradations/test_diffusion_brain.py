"""The simulated brain: tissues of labels, fibres, lesions, and brains taken from scans."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.diffusion import block_brain, head_labels, quiet_scan, uniform_tensor
from support.geometry import rotation

from MRHarmonizationLib.core.errors import GridError, GridMismatchError, InputError, ParameterError
from MRHarmonizationLib.core.tensor_measures import (
    decompose,
    eigenvalues_of,
    fractional_anisotropy,
    mean_diffusivity,
    rotate_tensors,
)
from MRHarmonizationLib.degradations.brain_from_dwi import brain_from_dwi
from MRHarmonizationLib.degradations.brain_tensors import DiffusionBrain, brain_from_labels
from MRHarmonizationLib.degradations.brain_tilt import tilted
from MRHarmonizationLib.degradations.diffusion_lesions import (
    LEAST_STROKE_MM3,
    DiffusionLesionParameters,
    apply_diffusion_lesion,
    lesion_weight,
    sample_diffusion_lesion,
)
from MRHarmonizationLib.degradations.diffusion_tissues import (
    PARENCHYMA,
    indices,
    side_map,
    tissue_map,
    tissue_names,
    tissue_properties,
)
from MRHarmonizationLib.degradations.dwi_simulation import simulate_dwi
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.orientation import AxisOrder
from MRHarmonizationLib.volumes.volume import Volume


@pytest.fixture(scope="module")
def brain() -> DiffusionBrain:
    return brain_from_labels(head_labels(), seed=3)


def inside(brain: DiffusionBrain, *tissues: str) -> np.ndarray:
    return np.isin(brain.tissues, indices(*tissues))


# --- tissues --------------------------------------------------------------------------------------------------------


def test_every_tissue_is_possible():
    for name, tissue in tissue_properties().items():
        assert 0.3 <= tissue.md <= 3.2, name
        assert 0 <= tissue.fa < 0.95, name
        assert 0 <= tissue.proton_density <= 1, name
        assert tissue.t2_ms < tissue.t1_ms, name
    assert set(PARENCHYMA) <= set(tissue_names())


def test_labels_become_tissues_and_sides():
    labels = np.array([[[0, 2, 41, 3, 42, 1005, 2030, 251, 506]]])
    names = [tissue_names()[t] for t in tissue_map(labels).ravel()]
    assert names == ["air", *["white_matter"] * 2, *["cortex"] * 4, "white_matter", "eye"]
    assert side_map(labels).ravel().tolist() == [0, 0, 0, -1, 1, -1, 1, 0, 0]


def test_unknown_labels_are_named_and_can_be_told():
    labels = np.zeros((3, 3, 3), int)
    labels[1] = 2
    labels[2, 2] = 888
    with pytest.raises(InputError, match=r"1 labels have no tissue: 888.*tissue_of_label"):
        tissue_map(labels)
    assert tissue_names()[tissue_map(labels, {888: "csf"})[2, 2, 0]] == "csf"
    with pytest.raises(ParameterError, match="'jelly' is unknown; choose from: air"):
        tissue_map(labels, {888: "jelly"})


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros((3, 3)), "shape"),
        (np.zeros((0, 3, 3)), "shape"),
        (np.full((3, 3, 3), 2.5), "not whole numbers"),
        (np.full((3, 3, 3), np.nan), "not whole numbers"),
        (np.full((3, 3, 3), -2), "negative"),
        (np.full((3, 3, 3), 511), "neither white matter nor cortex"),
        (np.full((3, 3, 3), 2, complex), "complex"),
    ],
)
def test_what_is_no_label_map_is_refused(labels, words):
    with pytest.raises(InputError, match=words):
        tissue_map(labels)


# --- brains from labels ---------------------------------------------------------------------------------------------


def test_tensors_are_those_of_their_tissue(brain):
    values = eigenvalues_of(brain.tensors)
    assert values.min() > 0
    md, fa = mean_diffusivity(brain.tensors), fractional_anisotropy(values)
    table = tissue_properties()
    for name in ("white_matter", "cortex", "thalamus", "csf"):
        where = inside(brain, name)
        assert md[where].mean() == pytest.approx(1e-3 * table[name].md, rel=0.02)
        assert fa[where].max() < min(1.75 * table[name].fa + 1e-3, 1)
    assert np.all(fa[inside(brain, "csf")] < 1e-3)
    assert np.allclose(md[inside(brain, "csf")], 3e-3, rtol=1e-4)
    assert fa[inside(brain, "white_matter")].mean() > 2 * fa[inside(brain, "cortex")].mean()


def test_fibres_cross_in_the_callosum_and_ascend_in_the_stem(brain):
    direction = decompose(brain.tensors)[1][..., 0]
    white = inside(brain, "white_matter")
    points = brain.grid.ijk_to_ras(
        np.stack(np.meshgrid(*[np.arange(n) for n in brain.grid.size_ijk], indexing="ij"), -1)
    )
    points = points.transpose(2, 1, 0, 3)
    middle = points[white].mean(0)
    bridge = white & (np.abs(points[..., 0] - middle[0]) < 3)
    assert np.median(np.abs(direction[bridge][:, 0])) > 0.85
    stem = inside(brain, "brainstem")
    lower = stem & (points[..., 2] < np.percentile(points[stem][:, 2], 50))
    assert np.median(np.abs(direction[lower][:, 2])) > 0.85


def test_cortex_is_radial(brain):
    grey = inside(brain, "cortex")
    direction = decompose(brain.tensors[grey])[1][..., 0]
    index = np.argwhere(grey)[:, ::-1]
    radial = brain.grid.ijk_to_ras(index) - brain.grid.ijk_to_ras(
        np.argwhere(inside(brain, "white_matter"))[:, ::-1]
    ).mean(0)
    radial /= np.linalg.norm(radial, axis=1, keepdims=True)
    assert np.median(np.abs(np.sum(direction * radial, axis=1))) > 0.85


def test_same_seed_same_brain_other_seed_other_fibres(brain):
    again, other = brain_from_labels(head_labels(), 3), brain_from_labels(head_labels(), 4)
    assert np.array_equal(again.tensors, brain.tensors)
    assert np.array_equal(again.t2_ms, brain.t2_ms)
    assert not np.allclose(other.tensors, brain.tensors, atol=1e-6)
    flat = brain_from_labels(head_labels(), 3, texture=0.0)
    assert np.unique(flat.t2_ms[inside(flat, "white_matter")]).size == 1
    assert np.unique(brain.t2_ms[inside(brain, "white_matter")]).size > 100


@settings(max_examples=6)
@given(permutation=st.permutations(range(3)), flips=st.tuples(*[st.booleans()] * 3))
def test_orientation_of_the_label_file_does_not_matter(brain, permutation, flips):
    order = AxisOrder(tuple(permutation), flips)
    labels = head_labels()
    turned = Volume(np.ascontiguousarray(order.apply(labels.array)), order.apply_grid(labels.grid))
    made = brain_from_labels(turned, 3)
    assert np.allclose(made.grid.affine, brain.grid.affine, atol=1e-9)
    assert np.array_equal(made.tissues, brain.tissues)
    assert np.allclose(made.tensors, brain.tensors, atol=1e-9)


def test_tensors_turn_with_an_oblique_grid(brain):
    turn = rotation(8, -5, 12)
    oblique = brain_from_labels(head_labels(directions=turn), 3)
    assert np.allclose(oblique.tensors, rotate_tensors(brain.tensors, turn), atol=1e-8)


def test_labels_with_other_numbers():
    labels = head_labels()
    simple = np.zeros(labels.array.shape, np.uint8)
    for number, names in ((1, ("csf",)), (2, ("cortex", "cerebellar_cortex")), (3, ("white_matter", "brainstem"))):
        simple[np.isin(tissue_map(labels.array), indices(*names))] = number
    made = brain_from_labels(labels.with_array(simple), 0, {1: "csf", 2: "cortex", 3: "white_matter"})
    assert inside(made, "white_matter").any()
    assert np.all(np.isfinite(made.tensors))


def test_coarse_labels_and_bad_numbers_are_refused():
    with pytest.raises(InputError, match=r"voxels of \(3.0, 3.0, 3.0\) mm"):
        brain_from_labels(head_labels(spacing_mm=3.0))
    with pytest.raises(ParameterError, match="seed -1"):
        brain_from_labels(head_labels(), -1)
    with pytest.raises(ParameterError, match="texture 9"):
        brain_from_labels(head_labels(), 0, texture=9)


def test_relaxation_changes_with_the_field(brain):
    low = brain.at_field(1.5)
    white, fluid = inside(brain, "white_matter"), inside(brain, "csf")
    assert np.all(low.t2_ms[white] > 1.1 * brain.t2_ms[white])
    assert np.all(low.t1_ms[white] < 0.85 * brain.t1_ms[white])
    assert np.array_equal(low.t2_ms[fluid], brain.t2_ms[fluid])
    assert np.allclose(low.r2_prime_per_s, 0.5 * brain.r2_prime_per_s)
    assert brain.at_field(3.0) is brain
    assert np.allclose(low.at_field(3.0).t2_ms, brain.t2_ms, rtol=1e-5)


def test_a_tilted_brain_stays_in_place(brain):
    turned = tilted(brain, 10.0)
    for points in ((0, 0, 0), (brain.grid.size_ijk[0] - 1, brain.grid.size_ijk[1] - 1, brain.grid.size_ijk[2] - 1)):
        place = turned.grid.ras_to_ijk(brain.grid.ijk_to_ras(np.array(points)))
        assert np.all(place >= -0.51)
        assert np.all(place <= np.array(turned.grid.size_ijk) - 0.49)
    k, j, i = np.meshgrid(*[np.arange(n) for n in (20, 24, 22)], indexing="ij")
    ball = block_brain(np.exp(-((k - 12) ** 2 + (j - 9) ** 2 + (i - 13) ** 2) / 9.0))
    there = tilted(ball, 10.0)
    weight = there.proton_density.astype(float)
    centre = [np.sum(weight * axis) / weight.sum() for axis in np.indices(weight.shape)][::-1]
    assert np.allclose(there.grid.ijk_to_ras(np.array(centre)), ball.grid.ijk_to_ras(np.array([13, 9, 12])), atol=0.02)
    assert tilted(brain, 0.0) is brain


def test_impossible_brains_are_refused():
    good = block_brain(np.ones((4, 4, 4)))
    with pytest.raises(GridMismatchError, match="t2_ms has shape"):
        replace(good, t2_ms=np.ones((3, 4, 4), np.float32))
    with pytest.raises(InputError, match="not positive"):
        replace(good, t2_ms=np.zeros((4, 4, 4), np.float32))
    with pytest.raises(InputError, match="NaN"):
        replace(good, proton_density=np.full((4, 4, 4), np.nan, np.float32))
    with pytest.raises(GridError, match="not RAS"):
        block_brain(np.ones((4, 4, 4)), directions=np.diag([-1.0, 1, 1]))
    with pytest.raises(ParameterError, match="field strength 30"):
        replace(good, field_strength_t=30.0)


# --- lesions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stroke", "ms"])
@pytest.mark.parametrize("seed", range(4))
def test_lesions_change_diffusion_as_their_kind_says(brain, kind, seed):
    parameters = sample_diffusion_lesion(np.random.default_rng(seed), brain, kind)
    ill = apply_diffusion_lesion(brain, parameters)
    core = lesion_weight(brain, parameters) == 1
    mask = ill.lesion
    assert mask.sum() * brain.grid.voxel_volume_mm3 >= (LEAST_STROKE_MM3 if kind == "stroke" else 8)
    assert np.all(brain.brain_mask[mask])
    ratio = mean_diffusivity(ill.tensors)[core] / mean_diffusivity(brain.tensors)[core]
    assert np.allclose(ratio, parameters.md_factor, rtol=1e-4)
    assert np.all(ill.t2_ms[core] > brain.t2_ms[core])
    before, after = (fractional_anisotropy(eigenvalues_of(b.tensors[core])) for b in (brain, ill))
    assert np.all(after <= before + 1e-5)
    if kind == "stroke":
        assert mean_diffusivity(ill.tensors)[core].mean() < 0.6e-3
    else:
        assert np.all(ratio > 1.25)
        assert np.all(after < 0.8 * before)
    untouched = lesion_weight(brain, parameters) == 0
    assert np.array_equal(ill.tensors[untouched], brain.tensors[untouched])
    assert eigenvalues_of(ill.tensors).min() > 0


def test_lesions_can_be_replayed_and_added(brain):
    parameters = sample_diffusion_lesion(np.random.default_rng(8), brain, "stroke")
    again = DiffusionLesionParameters.from_dict(json.loads(json.dumps(parameters.to_dict())))
    assert again == parameters
    one = apply_diffusion_lesion(brain, parameters)
    assert np.array_equal(one.tensors, apply_diffusion_lesion(brain, again).tensors)
    more = sample_diffusion_lesion(np.random.default_rng(9), brain, "ms")
    both = apply_diffusion_lesion(one, more)
    assert np.array_equal(both.lesion, one.lesion | apply_diffusion_lesion(brain, more).lesion)
    assert brain.lesion is None


def test_impossible_lesions_are_refused(brain):
    parameters = sample_diffusion_lesion(np.random.default_rng(0), brain, "stroke")
    with pytest.raises(ParameterError, match="'tumour' is unknown; choose one of: stroke, ms"):
        sample_diffusion_lesion(np.random.default_rng(0), brain, "tumour")
    with pytest.raises(InputError, match="no part of the lesion"):
        apply_diffusion_lesion(brain, replace(parameters, centres_ras_mm=((900.0, 0.0, 0.0),)))
    with pytest.raises(ParameterError, match="one of each per blob"):
        replace(parameters, radii_mm=(1.0, 2.0))
    with pytest.raises(ParameterError, match="positive numbers"):
        replace(parameters, md_factor=-1.0)
    with pytest.raises(ParameterError, match="colour"):
        DiffusionLesionParameters.from_dict(parameters.to_dict() | {"colour": 3})
    empty = block_brain(np.zeros((8, 8, 8)))
    with pytest.raises(InputError, match="no tissue for a lesion"):
        sample_diffusion_lesion(np.random.default_rng(0), empty, "stroke")


# --- brains from scans ----------------------------------------------------------------------------------------------


def test_brain_of_a_scan_scans_to_the_same_tensor():
    """Simulate, take a brain from the scan, and look: diffusion comes back, the unweighted signal keeps its shape."""
    shape = (24, 48, 44)
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    density = np.where(k**2 + j**2 + i**2 < 0.5, 0.7 + 0.2 * i, 0).astype(np.float32)
    source = block_brain(density, tensors=uniform_tensor(shape, 0.75e-3, (0, 1, 1), 3.0), t2_ms=80.0)
    dwi = simulate_dwi(source, quiet_scan(12, echo_time_ms=70.0))
    taken = brain_from_dwi(dwi)
    head = (taken.proton_density > 0.4) & (dwi.array[..., 0] > 0.5 * dwi.array[..., 0].max())
    assert head.sum() > 300
    assert np.allclose(mean_diffusivity(taken.tensors)[head], 0.75e-3, rtol=5e-3)
    again = simulate_dwi(taken, quiet_scan(12, echo_time_ms=70.0, matrix=(32, 32), slices=dwi.grid.shape[0]))
    ratio = again.array[..., 0][head] / dwi.array[..., 0][head]
    assert ratio.std() / ratio.mean() < 0.1
    with pytest.raises(ParameterError, match="echo_time_ms"):
        brain_from_dwi(replace(dwi, metadata={}))
    with pytest.raises(ParameterError, match="echo_time_ms is -3"):
        brain_from_dwi(dwi, echo_time_ms=-3)


@pytest.mark.data
@pytest.mark.slow
def test_brain_of_a_real_label_map_has_the_anisotropy_of_real_brains(data_dir):
    """White matter of healthy adults: FA about 0.45, MD 0.7e-3; cortex nearly isotropic (sources in the table)."""
    brain = brain_from_labels(read_volume(data_dir / "labelmaps" / "training_seg_02.nii.gz"), 0)
    values = eigenvalues_of(brain.tensors[brain.brain_mask])
    tissues = brain.tissues[brain.brain_mask]
    fa, md = fractional_anisotropy(values), values.mean(axis=1)
    white, cortex = (tissues == indices(name)[0] for name in ("white_matter", "cortex"))
    assert 0.38 < fa[white].mean() < 0.5
    assert np.percentile(fa[white], 95) > 0.6
    assert md[white].mean() == pytest.approx(0.7e-3, rel=0.02)
    assert fa[cortex].mean() < 0.2
