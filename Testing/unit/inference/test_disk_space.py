"""A disk that cannot hold the result is noticed before the network runs."""

from __future__ import annotations

from collections import namedtuple

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import OutputError
from MRHarmonizationLib.inference import file_operations, harmonize_files, restore_files
from MRHarmonizationLib.volumes import atomic
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("residual", [None, "residual.nrrd"])
def test_full_disk_stops_before_the_work(tmp_path, monkeypatch, residual):
    grid = Grid.from_parts((8, 40, 40), (1, 1, 5))
    scan = Volume(np.random.default_rng(0).random(grid.shape).astype(np.float32), grid)
    write_volume(scan, tmp_path / "scan.nrrd")
    voxels = 40 * 40 * 40
    enough_for_one = int(voxels * 4 * 1.2)
    monkeypatch.setattr(
        atomic.shutil, "disk_usage", lambda path: Usage(10**9, 10**9, enough_for_one if residual else voxels)
    )
    monkeypatch.setattr(file_operations, "enhance", lambda *_: pytest.fail("the network was run"))
    with pytest.raises(OutputError, match="free"):
        file_operations.enhance_file(
            tmp_path / "scan.nrrd", tmp_path / "out.nrrd", residual=residual and tmp_path / residual
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.nrrd"]


@pytest.mark.parametrize(("module", "function"), [(restore_files, "restore"), (harmonize_files, "harmonize")])
def test_full_disk_stops_other_operations_too(tmp_path, monkeypatch, module, function):
    """There is room for the result, and none for the residual beside it."""
    grid = Grid.from_parts((8, 40, 40), (1, 1, 5))
    scan = Volume(np.random.default_rng(0).random(grid.shape).astype(np.float32), grid)
    write_volume(scan, tmp_path / "scan.nrrd")
    free = int(scan.array.size * 4 * 1.5)
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda path: Usage(10**9, 10**9, free))
    monkeypatch.setattr(module, function, lambda *_: pytest.fail("the work was begun"))
    run = getattr(module, f"{function}_file")
    with pytest.raises(OutputError, match="free"):
        run(tmp_path / "scan.nrrd", tmp_path / "out.nrrd", residual=tmp_path / "residual.nrrd")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.nrrd"]
