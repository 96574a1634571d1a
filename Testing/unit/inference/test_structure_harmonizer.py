"""Harmonising by structures: a real head in the contrasts it could have been scanned in, any grid, hostile input."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError, ModelNotFoundError, WeightsError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.harmonize import HarmonizeRequest, HarmonizeResult, harmonize
from MRHarmonizationLib.inference.reference import ReferenceRequest, build_reference
from MRHarmonizationLib.inference.structure_harmonizer import (
    METHOD,
    TISSUE_NUMBERS,
    ScannedStructures,
    StructureHarmonizer,
    mean_levels,
    scan_structures,
)
from MRHarmonizationLib.inference.undo import undo
from MRHarmonizationLib.methods.harmonizers import HARMONIZERS
from MRHarmonizationLib.methods.harmonizers.base import load_harmonizer, save_harmonizer
from MRHarmonizationLib.methods.reference_group import ReferenceGroup, load_group
from MRHarmonizationLib.samples import REFERENCE
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def head() -> Volume:
    """A real T1 head on 2.5 mm voxels, tilted, read-only."""
    scan = read_volume(REFERENCE)
    coarse = resample(scan, scan.grid.isotropic(2.5))
    affine = coarse.grid.affine.copy()
    angle = np.deg2rad(8)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine[:3] = turn @ affine[:3]
    array = coarse.array.astype(np.float32)
    array.setflags(write=False)
    return Volume(array, Grid(coarse.grid.shape, affine), "head", {"modality": "MR"})


@pytest.fixture(scope="module")
def group() -> ReferenceGroup:
    return load_group("t1-head")


@pytest.fixture(scope="module")
def fitted(group: ReferenceGroup) -> StructureHarmonizer:
    found = HARMONIZERS.get(METHOD).fit(group)
    assert isinstance(found, StructureHarmonizer)
    return found


@pytest.fixture(scope="module")
def result(group: ReferenceGroup, head: Volume) -> HarmonizeResult:
    before = head.array.copy()
    found = harmonize(head, HarmonizeRequest(METHOD, keep_residual=True, measure=False), group=group)
    np.testing.assert_array_equal(head.array, before)
    return found


@pytest.fixture(scope="module")
def harmonised(result: HarmonizeResult) -> Volume:
    return result.volume


@pytest.fixture(scope="module")
def scanned(head: Volume) -> ScannedStructures:
    return scan_structures(head)


@pytest.fixture(scope="module")
def brain(head: Volume) -> np.ndarray:
    """Where the network sees brain, on the head's own grid."""
    from MRHarmonizationLib.inference.segment import SegmentRequest, segment

    return segment(SegmentRequest(head, refine=False)).labels.array


def test_white_and_grey_matter_have_the_brightness_of_the_reference(
    harmonised: Volume, brain: np.ndarray, group: ReferenceGroup
):
    assert harmonised.array.dtype == np.float32
    for numbers, wanted in (((2, 41), group.structures["2"]), ((10, 49), group.structures["10"])):
        found = np.median(harmonised.array[np.isin(brain, numbers)])
        assert found == pytest.approx(wanted, rel=0.06), numbers
    assert np.median(harmonised.array[brain == 0]) < 60.0


def test_another_contrast_and_shading_hardly_matter(
    fitted: StructureHarmonizer, head: Volume, harmonised: Volume, brain: np.ndarray
):
    """A negative with a tone curve and a coil's shading comes out as the head itself does; Nyúl's landmarks do not."""
    top = float(np.percentile(head.array, 99.8))
    scaled = np.clip(head.array / top, 0, 1)
    shade = np.exp(0.3 * np.linspace(-1, 1, head.array.shape[1]))[None, :, None]
    turned = np.where(scaled > 0.06, 1.0 - 0.8 * scaled**1.6, scaled) * shade
    found = fitted.apply(head.with_array((turned * 300).astype(np.float32))).array
    white = np.isin(brain, (2, 41))
    grey = np.isin(brain, (3, 42))
    for mask in (white, grey):
        assert np.median(found[mask]) == pytest.approx(np.median(harmonised.array[mask]), rel=0.1)
    assert np.median(found[white]) > np.median(found[grey]) + 60.0


def test_another_order_of_tissues_is_said(group: ReferenceGroup, head: Volume, result: HarmonizeResult):
    """Grey matter brighter than white in the reference, darker in the scan."""
    assert not [text for text in result.warnings if "order of brightness" in text]
    levels = dict(group.structures)
    levels["2"], levels["3"] = levels["3"], levels["2"]
    other = replace(group, structures=levels)
    found = harmonize(head, HarmonizeRequest(METHOD, measure=False), group=other)
    said = [text for text in found.warnings if "order of brightness" in text]
    assert said
    assert said == [text for text in found.provenance.warnings if "order of brightness" in text]
    assert not any("Left" in text for text in said)


def test_storage_does_not_matter(fitted: StructureHarmonizer, head: Volume, harmonised: Volume):
    """The same voxels stored in another order, one axis backwards."""
    axes = (2, 0, 1)  # old array axis of each new one
    affine = head.grid.affine[:, [1, 2, 0, 3]].copy()  # the new columns i, j, k
    array = np.transpose(head.array, axes)[::-1]
    affine[:3, 3] += affine[:3, 2] * (array.shape[0] - 1)
    affine[:3, 2] *= -1
    other = Volume(np.ascontiguousarray(array), Grid(array.shape, affine), "other")
    old = (5, 7, array.shape[0] - 1 - 3)  # k, j, i of what is at (3, 5, 7) now
    np.testing.assert_allclose(other.grid.affine @ [7, 5, 3, 1], head.grid.affine @ [*old[::-1], 1], atol=1e-9)
    expected = np.transpose(harmonised.array, axes)[::-1]
    np.testing.assert_allclose(fitted.apply(other).array, expected, atol=0.5)


def test_undo_and_provenance(head: Volume, result: HarmonizeResult):
    assert result.residual is not None
    back = undo(result.volume, result.residual)
    np.testing.assert_array_equal(back.array.view(np.int32), head.array.view(np.int32))
    assert result.provenance.model_id == METHOD


def test_state_survives_a_file(fitted: StructureHarmonizer, tmp_path):
    again = load_harmonizer(save_harmonizer(fitted, tmp_path / "state.json"))
    assert again == fitted
    assert again.digest() == fitted.digest()


def test_other_weights_are_refused(fitted: StructureHarmonizer, head: Volume):
    with pytest.raises(WeightsError, match="other weights now"):
        replace(fitted, weights_sha256="0" * 64).apply(head)


def test_what_is_no_head_is_refused(fitted: StructureHarmonizer):
    z, y, x = np.indices((40, 40, 40))
    rng = np.random.default_rng(0)
    ball = ((z - 20) ** 2 + (y - 20) ** 2 + (x - 20) ** 2 < 80).astype(np.float32) * 300
    small = Volume((ball + rng.random(ball.shape)).astype(np.float32), Grid.from_parts(ball.shape, (2, 2, 2)), "ball")
    with pytest.raises(InputError, match=r"'ball' shows no brain: only \d+ % of what looks like one is not air"):
        fitted.apply(small)


def test_a_group_without_structures_is_refused(group: ReferenceGroup):
    with pytest.raises(InputError, match="does not tell how bright structures"):
        HARMONIZERS.get(METHOD).fit(replace(group, structures={}))
    with pytest.raises(ModelNotFoundError):
        HARMONIZERS.get(METHOD).fit(group, model="none")


@pytest.mark.parametrize("structures", [{"two": 1.0}, {"2": float("nan")}])
def test_a_damaged_group_is_refused(group: ReferenceGroup, structures: dict[str, float]):
    with pytest.raises(InputError, match="structures"):
        ReferenceGroup.from_dict(json.loads(json.dumps(group.to_dict())) | {"structures": structures})


def test_groups_are_built_with_structures_where_there_is_a_brain(head: Volume, scanned: ScannedStructures, tmp_path):
    (tmp_path / "scans").mkdir()
    write_volume(head, tmp_path / "scans" / "head.nii.gz")
    built = build_reference(tmp_path / "scans", tmp_path / "own.json", ReferenceRequest(contrast="t1"), Progress())
    own = dict(built.group.structures)
    factor = 1000.0 / (scanned.top - scanned.air)
    for number, level in zip(TISSUE_NUMBERS, scanned.brightness.levels, strict=True):
        assert own.get(str(number), np.nan) == pytest.approx(level * factor, abs=2.0, nan_ok=True)
    assert own["2"] > own["3"] > own["4"]
    assert load_group(tmp_path / "own.json").structures == built.group.structures


def test_means_are_over_the_cases_that_show_a_structure():
    assert mean_levels([{"2": 10.0, "14": 4.0}, {"2": 20.0}]) == {"2": 15.0, "14": 4.0}
    assert mean_levels([]) == {}


def test_a_part_of_the_brain_will_do(head: Volume, scanned: ScannedStructures):
    """A slab of axial slices: structures that are cut off are not looked for."""
    third = head.array.shape[0] // 3
    grid = head.grid.crop((third, 0, 0), (third, *head.array.shape[1:]))
    slab = Volume(np.ascontiguousarray(head.array[third : 2 * third]), grid, "slab")
    found = scan_structures(slab).brightness
    whole = scanned.brightness
    both = ~np.isnan(found.levels) & ~np.isnan(whole.levels)
    assert np.count_nonzero(both) > 6
    assert np.corrcoef(found.levels[both], whole.levels[both])[0, 1] > 0.9
