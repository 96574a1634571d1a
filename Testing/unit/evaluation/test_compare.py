from __future__ import annotations

import json

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import GridMismatchError, InputError, OperationCancelled, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.compare import COMPARISONS, compare
from MRHarmonizationLib.metrics.base import METRICS
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume


@pytest.fixture
def noisy(head_phantom) -> Volume:
    noise = np.random.default_rng(0).normal(0, 20, head_phantom.array.shape).astype(np.float32)
    return head_phantom.with_array(head_phantom.array + noise, "noisy")


def value(result, comparison: str, metric: str) -> float:
    return result.value(comparison, metric)


def test_against_a_reference_every_measure_is_there(head_phantom, noisy):
    half = noisy.with_array((noisy.array + head_phantom.array) / 2, "half")
    result = compare(noisy, half, head_phantom)
    assert set(result.measurements) == set(COMPARISONS)
    assert value(result, "after_vs_reference", "psnr") == pytest.approx(
        value(result, "before_vs_reference", "psnr") + 20 * np.log10(2), abs=0.01
    )
    assert value(result, "after", "noise") < value(result, "before", "noise")
    assert result.notes == ()
    ranges = {m.data_range for group in result.measurements.values() for m in group if m.data_range is not None}
    assert len(ranges) == 1, "one fixed data range for every number"


def test_without_a_reference_only_what_can_be_known(noisy):
    result = compare(noisy, noisy)
    assert set(result.measurements) == {"after_vs_before", "before", "after"}
    assert value(result, "after_vs_before", "ssim") == pytest.approx(1.0)
    assert result.mask_name == "foreground of before"
    expected = {n for n, m in METRICS.items() if m.operates_on == "images" and not (m.needs_reference or m.on_request)}
    assert {m.name for m in result.measurements["after"]} == expected


def test_other_grids_are_resampled_with_a_note(head_phantom, noisy):
    thick = resample(head_phantom, head_phantom.grid.with_spacing((1.5, 1.5, 4.0)))
    mask = Volume((thick.array > 200).astype(np.uint8), thick.grid, "brain")
    result = compare(thick, noisy, thick, mask)
    assert [note.split(" (")[0] for note in result.notes] == ["before", "reference", "mask"]
    assert "1.5 × 1.5 × 4 mm" in result.notes[0]
    assert result.before.array.shape == result.mask.shape == noisy.array.shape
    assert result.mask_name == "brain"


def test_foreground_of_a_resampled_image_is_that_of_its_own_grid(head_phantom):
    """Interpolation rings beside bright scalp; what it leaves in the air is no object."""
    bright = head_phantom.array * np.where(head_phantom.array > 380, 6, 1)
    thick = resample(head_phantom.with_array(bright), head_phantom.grid.with_spacing((1.4, 1.4, 4.0)), "nearest")
    result = compare(thick, head_phantom)
    assert result.before.array.min() < -100, "the interpolated image rings"
    head = np.count_nonzero(compare(thick, thick.with_array(thick.array * 2)).mask) * thick.grid.voxel_volume_mm3
    assert np.count_nonzero(result.mask) == pytest.approx(head, rel=0.03)


def test_voxels_outside_the_field_of_view_are_left_out(head_phantom):
    grid = head_phantom.grid
    part = Volume(head_phantom.array[10:34], grid.crop((10, 0, 0), (24, *grid.shape[1:])), "part")
    everywhere = Volume(np.ones(grid.shape, np.uint8), grid, "everywhere")
    result = compare(part, head_phantom, mask=everywhere)
    assert np.flatnonzero(result.mask.any(axis=(1, 2))).tolist() == list(range(10, 34))


def test_images_apart_in_space_are_refused(head_phantom):
    affine = head_phantom.grid.affine.copy()
    affine[:3, 3] += 500
    elsewhere = Volume(head_phantom.array, Grid(head_phantom.grid.shape, affine))
    with pytest.raises(GridMismatchError, match="do not overlap"):
        compare(elsewhere, head_phantom)


def test_empty_mask_and_bad_images_are_refused(head_phantom, noisy):
    empty = noisy.with_array(np.zeros(noisy.array.shape, np.uint8), "nothing")
    with pytest.raises(InputError, match="'nothing' has no voxel"):
        compare(head_phantom, noisy, mask=empty)
    spoilt = noisy.array.copy()
    spoilt[0, 0, 0] = np.nan
    with pytest.raises(InputError, match=r"after has 1 of"):
        compare(head_phantom, noisy.with_array(spoilt))


def test_label_of_a_label_map_is_measured_alone(head_phantom, noisy):
    labels = np.zeros(noisy.array.shape, np.int16)
    labels[10:20, 20:40, 15:35] = 3
    labels[22:30, 20:40, 15:35] = 17
    mask = noisy.with_array(labels, "regions")
    result = compare(head_phantom, noisy, mask=mask, label=17)
    np.testing.assert_array_equal(result.mask, labels == 17)
    assert result.mask_name == "regions, label 17"
    assert result.notes == ()
    both = compare(head_phantom, noisy, mask=mask)
    np.testing.assert_array_equal(both.mask, labels != 0)
    assert any("holds 2 labels" in note for note in both.notes)
    with pytest.raises(InputError, match=r"no label 5; choose one of: 3, 17"):
        compare(head_phantom, noisy, mask=mask, label=5)


def test_an_image_in_place_of_a_mask_is_remarked(head_phantom, noisy):
    result = compare(head_phantom, noisy, mask=head_phantom)
    assert any("as an image does" in note for note in result.notes)


def test_masks_that_miss_the_images_are_refused(head_phantom, noisy):
    far = head_phantom.grid.affine.copy()
    far[:3, 3] += 400
    mask = Volume(np.ones(head_phantom.array.shape, np.uint8), Grid(head_phantom.grid.shape, far), "elsewhere")
    with pytest.raises(InputError, match="'elsewhere' has no voxel on the grid"):
        compare(head_phantom, noisy, mask=mask)
    grid = head_phantom.grid
    part = Volume(head_phantom.array[10:34], grid.crop((10, 0, 0), (24, *grid.shape[1:])), "part")
    outside = np.zeros(grid.shape, np.uint8)
    outside[2:6, 20:30, 20:30] = 1
    with pytest.raises(InputError, match="no voxel where the images overlap"):
        compare(part, head_phantom, mask=head_phantom.with_array(outside))
    outside[12:20, 20:30, 20:30] = 1
    result = compare(part, head_phantom, mask=head_phantom.with_array(outside, "partly"))
    assert any("33.3 % of 'partly' lie outside" in note for note in result.notes)
    spoilt = head_phantom.with_array(np.full(grid.shape, np.nan, np.float32), "spoilt")
    with pytest.raises(InputError, match="'spoilt' holds values that are NaN"):
        compare(head_phantom, noisy, mask=spoilt)


@pytest.mark.parametrize("part", ["before", "after", "reference"])
def test_constant_images_and_label_maps_are_refused_by_name(head_phantom, noisy, part):
    images = {"before": head_phantom, "after": noisy, "reference": head_phantom}
    constant = head_phantom.with_array(np.full(head_phantom.array.shape, 7, np.int16))
    with pytest.raises(InputError, match=f"{part} is constant"):
        compare(**(images | {part: constant}))
    labels = head_phantom.with_array((head_phantom.array > 100).astype(np.uint8) * 3)
    with pytest.raises(InputError, match=f"{part} looks like a label map.*mask"):
        compare(**(images | {part: labels}))


def test_a_yardstick_without_range_is_explained(head_phantom, noisy):
    inside = head_phantom.array > 450
    flat = head_phantom.with_array(np.where(inside, np.float32(300), head_phantom.array))
    mask = head_phantom.with_array(inside.astype(np.uint8), "brain")
    with pytest.raises(InputError, match=r"before is constant \(300\) inside mask 'brain'"):
        compare(flat, noisy, mask=mask)
    assert compare(flat, noisy, head_phantom, mask).scale[1] > 300


def test_equal_images_are_said_to_be_equal(noisy):
    result = compare(noisy, noisy)
    assert any("equal in every voxel" in note for note in result.notes)
    assert result.value("after_vs_before", "psnr") == np.inf


def test_unlike_images_raise_doubt(head_phantom, noisy):
    turned = noisy.with_array(np.ascontiguousarray(noisy.array[:, ::-1, :]))
    moved = turned.with_array(np.roll(turned.array, 12, axis=2))
    assert any("not aligned" in note for note in compare(head_phantom, moved).notes)
    assert not any("not aligned" in note for note in compare(head_phantom, noisy).notes)


def test_what_was_not_measured_is_said_with_the_choices(noisy):
    result = compare(noisy, noisy)
    with pytest.raises(ParameterError, match="choose .*psnr"):
        result.value("after_vs_before", "beauty")
    with pytest.raises(ParameterError, match="after_vs_before"):
        result.value("after_vs_reference", "psnr")


def test_slow_metrics_are_measured_when_asked_for(head_phantom, noisy):
    slow = {n for n, m in METRICS.items() if m.operates_on == "images" and m.on_request and m.needs_reference}
    assert slow, "some metric is computed on request only"
    assert not slow & {m.name for m in compare(head_phantom, noisy).measurements["after_vs_before"]}
    everything = compare(head_phantom, noisy, extra_metrics=["all"])
    assert slow <= {m.name for m in everything.measurements["after_vs_before"]}
    one = sorted(slow)[0]
    measured = compare(head_phantom, noisy, extra_metrics=[one]).measurements["after_vs_before"]
    assert {m.name for m in measured} & slow == {one}


def test_progress_rises_to_one(head_phantom, noisy):
    seen: list[float] = []
    compare(head_phantom, noisy, maps=["contrast"], progress=Progress(lambda f, _: seen.append(f)))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


@pytest.mark.parametrize("stop", [0.3, 0.65, 0.85])
def test_every_part_can_be_cancelled(head_phantom, noisy, stop):
    progress = Progress(lambda fraction, _: progress.cancel() if fraction >= stop else None)
    with pytest.raises(OperationCancelled):
        compare(head_phantom, noisy, maps=["contrast"], progress=progress)


def test_result_becomes_strict_json(head_phantom, noisy):
    result = compare(noisy, head_phantom, head_phantom)
    text = json.dumps(result.to_dict(), allow_nan=False)
    assert json.loads(text)["images"]["before"]["digest"] == noisy.digest()
    assert {row["comparison"] for row in result.rows()} == set(COMPARISONS)


def test_cancelling_stops_it(head_phantom, noisy):
    progress = Progress()
    progress.cancel()
    with pytest.raises(OperationCancelled):
        compare(head_phantom, noisy, progress=progress)
