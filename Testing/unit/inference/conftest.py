from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_models import write_tiny_model

from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume


@pytest.fixture
def tiny(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights folder with the models 'tiny' (planes) and 'tiny3d' (blocks)."""
    folder = tmp_path / "weights"
    write_tiny_model(folder, "tiny", "planes-2.5d")
    write_tiny_model(folder, "tiny3d", "volume-3d")
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(folder))
    return folder


@pytest.fixture(scope="session")
def thick_scan(head_phantom: Volume) -> Volume:
    """The phantom in 4 mm slices, int16, oblique, with negative axes."""
    coarse = resample(head_phantom, head_phantom.grid.with_spacing((1.5, 1.6, 4.0)))
    grid = Grid.from_parts(coarse.grid.shape, (1.5, 1.6, 4.0), (30.0, 20.0, -10.0), np.diag([-1.0, -1.0, 1.0]))
    return Volume(np.rint(coarse.array).astype(np.int16), grid, "thick", {"modality": "MR"})
