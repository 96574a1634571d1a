"""Targets of diffusion harmonisation: measured, saved, shipped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.diffusion_scan import brain_scan, labels

from MRHarmonizationLib.core.errors import GridMismatchError, InputError, ParameterError
from MRHarmonizationLib.methods.dwi_target import (
    DwiTarget,
    checked_mask,
    load_target,
    save_target,
    shipped_targets,
    target_of_scans,
)

BRAIN = labels() > 0


def test_median_is_that_of_the_unweighted_brain():
    scans = [brain_scan(6, gain=gain) for gain in (1.0, 3.0)]
    found = target_of_scans(scans, [BRAIN, None], "mine")
    wanted = np.mean([np.median(scan.mean_b0().array[BRAIN]) for scan in scans])
    assert found.median_b0 == pytest.approx(wanted, rel=0.02)
    assert (found.cases, found.shells_s_per_mm2, found.id) == (2, (1000,), "mine")


def test_saved_and_read_back(tmp_path: Path):
    target = target_of_scans([brain_scan(6)], name="mine", source="phantom")
    assert load_target(save_target(target, tmp_path / "mine.json")) == target


def test_shipped_target_is_the_canonical_scan():
    assert "canonical" in shipped_targets()
    target = load_target("canonical")
    assert target.cases >= 5
    assert "Apache-2.0" in target.source
    assert 100 < target.median_b0 < 1000


@pytest.mark.parametrize("name", ["nowhere", "nowhere.json"])
def test_unknown_target_is_refused(name: str, tmp_path: Path):
    with pytest.raises((ParameterError, InputError), match="nowhere"):
        load_target(name)


def test_other_files_are_refused(tmp_path: Path):
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"format": "something"}))
    with pytest.raises(InputError, match=r"other\.json: the values are no target"):
        load_target(path)


def test_quantiles_must_rise():
    with pytest.raises(InputError, match="do not rise"):
        DwiTarget("x", "x", tuple(np.linspace(100, 0, 101)), (1000,), 1)


def test_masks_must_fit():
    scan = brain_scan(6)
    with pytest.raises(GridMismatchError, match=r"\(2, 2, 2\)"):
        checked_mask(scan, np.ones((2, 2, 2)))
    with pytest.raises(InputError, match="has 1 voxels"):
        checked_mask(scan, np.arange(scan.array[..., 0].size).reshape(scan.grid.shape) == 7)
    with pytest.raises(ParameterError, match="1 masks for 2 scans"):
        target_of_scans([scan, scan], [None])
    with pytest.raises(InputError, match="no target scan"):
        target_of_scans([])
