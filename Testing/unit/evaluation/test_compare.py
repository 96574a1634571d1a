from __future__ import annotations

import json

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import GridMismatchError, InputError, OperationCancelled
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
    return next(m.value for m in result.measurements[comparison] if m.name == metric)


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
    expected = {n for n, m in METRICS.items() if m.operates_on == "images" and not m.needs_reference}
    assert {m.name for m in result.measurements["after"]} == expected


def test_other_grids_are_resampled_with_a_note(head_phantom, noisy):
    thick = resample(head_phantom, head_phantom.grid.with_spacing((1.5, 1.5, 4.0)))
    mask = Volume((thick.array > 200).astype(np.uint8), thick.grid, "brain")
    result = compare(thick, noisy, thick, mask)
    assert [note.split(" (")[0] for note in result.notes] == ["before", "reference", "mask"]
    assert "1.5 × 1.5 × 4 mm" in result.notes[0]
    assert result.before.array.shape == result.mask.shape == noisy.array.shape
    assert result.mask_name == "brain"


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
