"""What every classical harmoniser promises, tested on each one the registry knows."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import GridMismatchError, InputError, ParameterError
from MRHarmonizationLib.inference.harmonize import HarmonizeRequest, harmonize
from MRHarmonizationLib.inference.standardiser import NETWORK, TASK
from MRHarmonizationLib.inference.structure_harmonizer import METHOD as STRUCTURES
from MRHarmonizationLib.inference.undo import undo
from MRHarmonizationLib.methods.harmonizers import HARMONIZERS, FittedHarmonizer
from MRHarmonizationLib.methods.harmonizers.base import load_harmonizer, restore, save_harmonizer
from MRHarmonizationLib.methods.reference_group import ReferenceGroup, group_of_volumes
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.store import list_models

#: The network joins them as soon as a card of a standardiser comes with the library. What looks for a brain refuses
#: phantoms: it keeps the same promises on a real head, in unit/inference/test_structure_harmonizer.py.
NAMES = [n for n in HARMONIZERS.names() if n != STRUCTURES and (n != NETWORK or list_models(TASK))]
SHAPE = (18, 40, 36)
#: Intensities of fluid, grey and white matter in the reference.
TISSUES = (150.0, 420.0, 640.0)


def brain(
    seed: int = 0, tissues: tuple[float, float, float] = TISSUES, gain: float = 1.0, shape: tuple[int, ...] = SHAPE
) -> Volume:
    """Three tissues in air on an oblique grid, 2 × 2 × 4 mm, read-only."""
    rng = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2) + 0.04 * np.sin(8 * np.arctan2(y, x + 1e-9) + seed)
    image = np.zeros(shape)
    for limit, level in zip((0.9, 0.66, 0.3), (tissues[1], tissues[2], tissues[0]), strict=True):
        image[radius < limit] = level
    image = gain * (image + np.where(image > 0, rng.normal(0, 12, shape), np.abs(rng.normal(0, 4, shape))))
    array = np.maximum(image, 0).astype(np.float32)
    array.setflags(write=False)
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, -1.0]])
    grid = Grid.from_parts(shape, (2, 2, 4), (5, -7, 9), turn)
    return Volume(array, grid, f"brain{seed}", {"modality": "MR"})


@pytest.fixture(scope="module")
def group() -> ReferenceGroup:
    return group_of_volumes([brain(seed) for seed in range(4)], "t1", "phantoms")


@pytest.fixture(scope="module")
def scan() -> Volume:
    """The same anatomy in other units."""
    return brain(9, gain=3.7)


@pytest.fixture(params=NAMES)
def fitted(request: pytest.FixtureRequest, group: ReferenceGroup) -> FittedHarmonizer:
    return HARMONIZERS.get(request.param).fit(group)


def test_the_promised_harmonizers_are_there():
    promised = {"minmax", "percentile", "zscore", "n4", "curvature_diffusion", "nyul", "whitestripe"}
    assert promised | {"histogram_matching"} <= set(NAMES)


def test_geometry_and_input_stay(fitted: FittedHarmonizer, scan: Volume):
    before = scan.array.copy()
    output = fitted.apply(scan)
    assert same_grid(output.grid, scan.grid, atol_mm=0)
    assert output.array.dtype == np.float32
    assert (output.name, output.metadata["modality"]) == (scan.name, "MR")
    np.testing.assert_array_equal(scan.array, before)
    assert np.all(np.isfinite(output.array))


def test_result_is_in_units_of_the_reference(fitted: FittedHarmonizer, group: ReferenceGroup, scan: Volume):
    inside = scan.array > 300
    wanted = float(np.median(group.quantiles))
    assert np.median(fitted.apply(scan).array[inside]) == pytest.approx(wanted, rel=0.35)


def test_units_of_the_scan_do_not_matter(fitted: FittedHarmonizer, scan: Volume):
    once = fitted.apply(scan).array
    again = fitted.apply(scan.with_array(scan.array * np.float32(0.01))).array
    np.testing.assert_allclose(again, once, atol=0.02 * float(np.ptp(once)))


def test_result_is_the_same_every_time(fitted: FittedHarmonizer, scan: Volume):
    np.testing.assert_array_equal(fitted.apply(scan).array, fitted.apply(scan).array)


def test_anatomy_stays(fitted: FittedHarmonizer, scan: Volume):
    """Tissues keep their order: no harmoniser turns dark into bright."""
    output = fitted.apply(scan).array
    middle = scan.array.shape[0] // 2
    fluid, white = output[middle, 19:21, 17:19].mean(), output[middle, 19:21, 26].mean()
    assert fluid < white


def test_state_survives_json_files_and_pickle(fitted: FittedHarmonizer, scan: Volume, tmp_path):
    expected = fitted.apply(scan).array
    path = save_harmonizer(fitted, tmp_path / "state.json")
    for again in (
        load_harmonizer(path),
        restore(json.loads(json.dumps(fitted.to_dict()))),
        pickle.loads(pickle.dumps(fitted)),
    ):
        assert again == fitted
        assert again.digest() == fitted.digest()
        np.testing.assert_array_equal(again.apply(scan).array, expected)


def test_state_is_frozen(fitted: FittedHarmonizer):
    for name in fitted.to_dict()["state"]:
        with pytest.raises(AttributeError):
            setattr(fitted, name, 0)


@pytest.mark.parametrize("name", NAMES)
def test_strength_zero_is_identity_and_undo_is_exact(name: str, group: ReferenceGroup, scan: Volume):
    nothing = harmonize(scan, HarmonizeRequest(name, strength=0.0, measure=False), group=group)
    np.testing.assert_array_equal(nothing.volume.array.view(np.int32), scan.array.view(np.int32))
    for strength in (0.4, 1.0):
        request = HarmonizeRequest(name, strength=strength, keep_residual=True, measure=False)
        result = harmonize(scan, request, group=group)
        assert result.residual is not None
        back = undo(result.volume, result.residual)
        np.testing.assert_array_equal(back.array.view(np.int32), scan.array.view(np.int32))
        assert np.abs(result.volume.array - scan.array).max() > 1


@pytest.mark.parametrize("name", NAMES)
def test_half_strength_lies_half_way(name: str, group: ReferenceGroup, scan: Volume):
    half, whole = (harmonize(scan, HarmonizeRequest(name, strength=s, measure=False), group=group) for s in (0.5, 1.0))
    expected = 0.5 * (scan.array.astype(np.float64) + whole.volume.array)
    np.testing.assert_allclose(half.volume.array, expected, atol=1e-3 * float(np.ptp(scan.array)))


def test_twice_is_once(fitted: FittedHarmonizer, scan: Volume):
    once = fitted.apply(scan)
    twice = fitted.apply(once)
    change = np.abs(twice.array - once.array)[scan.array > 300].mean() / float(np.ptp(once.array))
    assert change < (0.03 if fitted.method in ("n4", "curvature_diffusion") else 0.005)


def test_slices_and_flips_do_not_matter(fitted: FittedHarmonizer, scan: Volume):
    output = fitted.apply(scan).array
    flipped = Volume(scan.array[::-1, ::-1], scan.grid, "flipped")
    np.testing.assert_allclose(fitted.apply(flipped).array[::-1, ::-1], output, atol=0.03 * float(np.ptp(output)))


@pytest.mark.parametrize("shape", [(1, 40, 36), (18, 1, 36), (2, 5, 4), (17, 33, 29)])
def test_slices_and_odd_sizes_work(fitted: FittedHarmonizer, shape: tuple[int, int, int]):
    output = fitted.apply(brain(3, gain=2.0, shape=shape))
    assert output.array.shape == shape
    assert np.all(np.isfinite(output.array))


def test_a_mask_says_where_to_measure(fitted: FittedHarmonizer, group: ReferenceGroup, scan: Volume):
    """Bright fat outside the mask changes nothing inside it."""
    array = scan.array.copy()
    edge = np.zeros(array.shape, bool)
    edge[:, :3] = True
    array[edge] = 4.0 * array.max()
    inside = (scan.array > 300) & ~edge
    if fitted.method in ("minmax", "n4", "curvature_diffusion"):
        pytest.skip("looks at the whole image by design")
    with_fat, without = (fitted.apply(scan.with_array(a), inside).array for a in (array, scan.array))
    np.testing.assert_allclose(with_fat[inside], without[inside], atol=0.02 * float(np.ptp(without[inside])))


@pytest.mark.parametrize("kind", ["nan", "infinite", "constant", "zero"])
def test_hostile_images_are_refused(fitted: FittedHarmonizer, scan: Volume, kind: str):
    array = scan.array.copy()
    if kind in ("nan", "infinite"):
        array[3, 4, 5] = np.nan if kind == "nan" else np.inf
    else:
        array[:] = 0 if kind == "zero" else 7
    with pytest.raises(InputError, match="constant" if kind in ("constant", "zero") else "1 of"):
        fitted.apply(scan.with_array(array))


def test_hostile_masks_are_refused(fitted: FittedHarmonizer, scan: Volume):
    with pytest.raises(InputError, match="empty"):
        fitted.apply(scan, np.zeros(SHAPE, bool))
    with pytest.raises(GridMismatchError, match="shape"):
        fitted.apply(scan, np.ones((2, 3, 4), bool))


def test_whole_numbers_negative_values_and_few_grey_levels_work(fitted: FittedHarmonizer, scan: Volume):
    for array in (
        np.rint(scan.array / 40).astype(np.uint8),
        (scan.array - 900).astype(np.int16),
        np.rint(scan.array / 400) * 100,
    ):
        assert np.all(np.isfinite(fitted.apply(scan.with_array(array)).array))


@pytest.mark.parametrize("name", NAMES)
def test_unknown_parameters_are_refused_by_name(name: str, group: ReferenceGroup):
    with pytest.raises(ParameterError, match="no parameter 'colour'"):
        HARMONIZERS.get(name).fit(group, colour=3)
    with pytest.raises(ParameterError, match="no parameter 'colour'"):
        HarmonizeRequest(name, parameters={"colour": 3})


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_of_one_case_or_of_volumes_will_do(name: str, scan: Volume):
    output = HARMONIZERS.get(name).fit([brain(0)]).apply(scan)
    assert np.all(np.isfinite(output.array))
    with pytest.raises(InputError, match="0 cases"):
        HARMONIZERS.get(name).fit([])


def test_a_foreign_or_altered_state_is_refused(fitted: FittedHarmonizer, tmp_path):
    values = fitted.to_dict()
    for wrong in (
        {},
        {**values, "format": "something"},
        {**values, "version": 99},
        {**values, "state": {"colour": 1}},
    ):
        with pytest.raises(InputError):
            restore(wrong)
    with pytest.raises(ParameterError, match="moonlight"):
        restore({**values, "method": "moonlight"})
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(InputError, match="broken"):
        load_harmonizer(tmp_path / "broken.json")


def test_harmonising_brings_other_units_and_contrasts_together(fitted: FittedHarmonizer):
    """What it is for: tissue means of one brain under other gains vary less afterwards."""
    gains = (0.4, 1.0, 2.6)
    images = [brain(5, gain=gain) for gain in gains]
    white = (brain(5).array > 560) & (brain(5).array < 720)
    before = [image.array[white].mean() for image in images]
    after = [fitted.apply(image).array[white].mean() for image in images]
    assert np.std(after) / np.mean(after) < 0.15 * np.std(before) / np.mean(before)
