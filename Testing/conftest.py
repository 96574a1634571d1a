"""What every test gets: a home of its own, the folder of real scans, a small head to work on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep tests away from the weights and settings of whoever runs them."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    for variable in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "LOCALAPPDATA", "MRHARMONIZATION_WEIGHTS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MPLCONFIGDIR", str(home / "matplotlib"))
    return home


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real scans; tests that ask for it are skipped where it is absent."""
    folder = Path(os.environ.get("MRH_DATA", DEFAULT_DATA))
    if not (folder / "structural").is_dir():
        pytest.skip(f"needs the real scans; {folder} does not hold them (set MRH_DATA)")
    return folder


@pytest.fixture(scope="session")
def head_phantom():
    """A head-like volume of 1 mm voxels, float32 [44, 56, 48]: scalp, skull, brain with folds, ventricles."""
    from MRHarmonizationLib.volumes.grid import Grid
    from MRHarmonizationLib.volumes.volume import Volume

    shape = (44, 56, 48)
    k, j, i = (np.linspace(-1, 1, n) for n in shape)
    z, y, x = np.meshgrid(k, j, i, indexing="ij")
    radius = np.sqrt((x / 0.82) ** 2 + (y / 0.88) ** 2 + (z / 0.85) ** 2)
    folds = 0.05 * np.sin(9 * np.arctan2(y, np.abs(x))) * np.cos(6 * z)
    image = np.zeros(shape, np.float32)
    for limit, value in ((1.0, 420.0), (0.92, 40.0), (0.85, 310.0)):
        image[radius < limit] = value
    image[radius + folds < 0.62] = 520.0
    image[np.sqrt((np.abs(x) / 0.16 - 0.9) ** 2 + (y / 0.32) ** 2 + (z / 0.22) ** 2) < 1] = 90.0
    rng = np.random.default_rng(7)
    image += np.where(image > 0, rng.normal(0, 6.0, shape), np.abs(rng.normal(0, 3.0, shape))).astype(np.float32)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = (-24.0, -28.0, -22.0)
    return Volume(image, Grid(shape, affine), name="phantom")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the library, built without network from a copy of the sources."""
    pytest.importorskip("setuptools", minversion="77", reason="needs setuptools to build a wheel")
    folder = tmp_path_factory.mktemp("wheel")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "MRHarmonizationLib", folder / "source" / "MRHarmonizationLib", ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, folder / "source" / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(folder / "source")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path
