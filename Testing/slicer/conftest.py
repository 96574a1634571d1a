"""Slicer without Slicer: the host, an empty scene for each test, and no problem left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runner import FakeRunner
from slicer_support import (
    COMPARE_MODULE,
    DWI_MODULE,
    MODULE,
    add_dwi_node,
    add_node,
    settle,
    settle_comparison,
    settle_dwi,
)
from tiny_models import write_tiny_model

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


@pytest.fixture(scope="session")
def host() -> Any:
    """The host; MRH_SLICER_SOURCE and MRH_CTK_SOURCE name source trees for the strictest check."""
    pytest.importorskip("slicer_core", reason="needs the package slicer-core", exc_type=ImportError)
    pytest.importorskip("slicerhost", reason="needs PySide6 and Qt's system libraries", exc_type=ImportError)
    from slicerhost import Host

    made = Host(os.environ.get("MRH_SLICER_SOURCE"), os.environ.get("MRH_CTK_SOURCE"), size=(1000, 700))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def empty_scene(host: Any) -> Iterator[None]:
    """Start each test with an empty scene; a real Slicer must not have refused anything in it."""
    from MRHarmonizationLib.slicer_adapter.layouts import FOUR_UP

    host.slicer.mrmlScene.Clear(0)
    host.slicer.app.layoutManager().setLayout(FOUR_UP)
    host.problems.clear()
    host.answers.clear()
    yield
    problems, host.answers[:] = list(host.problems), []
    host.problems.clear()
    assert problems == []


@pytest.fixture
def scene(host: Any) -> Any:
    """The MRML scene."""
    return host.slicer.mrmlScene


@pytest.fixture
def thick_scan(head_phantom: Any) -> Any:
    """The phantom with 4 mm slices, int16, tilted and off-centre: a usual scan."""
    from MRHarmonizationLib.volumes.grid import Grid
    from MRHarmonizationLib.volumes.resampling import resample
    from MRHarmonizationLib.volumes.volume import Volume

    thick = resample(head_phantom, head_phantom.grid.with_spacing((1.0, 1.0, 4.0)))
    angle = np.deg2rad(12)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-1, -1, 1]) @ np.diag(thick.grid.spacing_mm)
    affine[:3, 3] = (31.5, 22.0, -40.25)
    return Volume(np.round(thick.array).astype(np.int16), Grid(thick.grid.shape, affine), "scan")


@pytest.fixture
def scan_node(host: Any, thick_scan: Any) -> Any:
    """The scan as a node with a window and level of its own."""
    return add_node(host, thick_scan)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two model cards, the only ones found beside the user's own; the networks are tiny."""
    from MRHarmonizationLib.weights import store

    folder = tmp_path / "weights"
    pytest.importorskip("onnx")
    write_tiny_model(folder, "tiny", title="Tiny network")
    write_tiny_model(folder, "wide", title="Wide network", domain={"slice_spacing_mm": [6, 9], "modalities": ["T2w"]})
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(folder))
    monkeypatch.setattr(store, "search_folders", lambda: (folder, store.user_folder()))
    return folder


@pytest.fixture
def panel(host: Any, models: Path) -> Iterator[Any]:
    """The module's panel, its processes replaced by a fake; set ``panel.logic.runner`` for another."""
    if host.slicer.app.moduleManager().module("MRHarmonizationEnhance") is None:
        host.load_module(str(MODULE), select=False)
    host.select("MRHarmonizationEnhance")
    widget = host.widget("MRHarmonizationEnhance")
    widget.fillModels()
    widget.logic.runner = FakeRunner()
    yield widget
    widget.run.cancel()
    settle(host, widget)
    widget.comparison.view.restore()


@pytest.fixture
def better_node(host: Any, thick_scan: Any) -> Any:
    """The scan on 1 mm voxels, float32, 'better' by an edge here and there: what its comparison has as after."""
    from MRHarmonizationLib.volumes.resampling import resample

    fine = resample(thick_scan, thick_scan.grid.isotropic(1.0))
    change = np.where(np.arange(fine.grid.shape[2]) // 8 % 2, 40.0, -25.0).astype(np.float32)
    return add_node(host, fine.with_array(np.where(fine.array > 100, fine.array + change, fine.array)), "Better")


@pytest.fixture
def compare_panel(host: Any) -> Iterator[Any]:
    """The panel of comparisons, its processes replaced by a fake; set ``panel.logic.runner`` for another."""
    if host.slicer.app.moduleManager().module("MRHarmonizationCompare") is None:
        host.load_module(str(COMPARE_MODULE), select=False)
    host.select("MRHarmonizationCompare")
    widget = host.widget("MRHarmonizationCompare")
    widget.logic.runner = FakeRunner()
    yield widget
    widget = host.widget("MRHarmonizationCompare")
    widget.run.cancel()
    settle_comparison(host, widget)
    widget.views.view.show_curves(False)
    widget.views.view.restore()
    host.opened.clear()


@pytest.fixture(scope="session")
def small_dwi() -> Any:
    """A diffusion scan of a small head, 14 volumes."""
    from support.panel_scans import small_scan

    return small_scan()


@pytest.fixture
def dwi_node(host: Any, small_dwi: Any) -> Any:
    """The diffusion scan as a node."""
    return add_dwi_node(host, small_dwi)


@pytest.fixture
def dwi_panel(host: Any, models: Path) -> Iterator[Any]:
    """The panel for diffusion scans, its processes replaced by a fake; set ``panel.logic.runner`` for another."""
    if host.slicer.app.moduleManager().module("MRHarmonizationDWI") is None:
        host.load_module(str(DWI_MODULE), select=False)
    host.select("MRHarmonizationDWI")
    widget = host.widget("MRHarmonizationDWI")
    widget.logic.runner = FakeRunner()
    yield widget
    widget = host.widget("MRHarmonizationDWI")
    widget.run.cancel()
    settle_dwi(host, widget)
    widget.views.view.restore()
    host.opened.clear()
