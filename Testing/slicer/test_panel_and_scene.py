"""The panel and the scene: closed, saved, loaded or emptied while something runs; models from disk; reload."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runner import FakeRunner
from slicer_support import apply, baseline, choose, settle, values

from MRHarmonizationLib.slicer_adapter import records


def test_input_removed_during_a_run(host: Any, panel: Any, scene: Any, scan_node: Any):
    panel.enter()
    panel.logic.runner = FakeRunner(steps=10_000)
    host.click(panel.ui.applyButton)
    scene.RemoveNode(scan_node)
    host.process(200)
    assert panel.run.task is None
    assert panel.logic.runner.processes[0].killed


def test_scene_closed_during_a_run(host: Any, panel: Any, scene: Any, scan_node: Any):
    panel.enter()
    panel.logic.runner = FakeRunner(steps=10_000)
    host.click(panel.ui.applyButton)
    host.process(200)
    scene.Clear(0)
    host.process(200)
    assert panel.run.task is None
    assert panel.logic.runner.processes[0].killed
    assert panel.ui.inputSelector.currentNode() is None
    assert not panel.ui.progressBar.visible


def test_scene_closed_while_comparing(host: Any, panel: Any, scene: Any, scan_node: Any):
    panel.enter()
    apply(host, panel)
    host.click(panel.ui.rockButton)
    scene.Clear(0)
    host.process(900)
    assert not panel.ui.rockButton.enabled
    assert panel.ui.measuresLabel.text == ""


def test_saved_and_loaded_scene(host: Any, panel: Any, scene: Any, scan_node: Any, tmp_path: Path):
    ui = panel.ui
    panel.enter()
    choose(ui.modelComboBox, "wide")
    ui.strengthSlider.value = 0.6
    apply(host, panel)
    expected = baseline(scan_node)
    assert host.slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    host.slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    settle(host, panel)
    assert ui.inputSelector.currentNode().GetName() == "Scan"
    assert ui.outputSelector.currentNode().GetName() == "Scan_wide"
    assert ui.strengthSlider.value == 0.6
    assert panel.chosenModel().id == "wide"
    assert "Noise" in ui.measuresLabel.text
    host.click(ui.undoButton)
    assert np.array_equal(values(ui.outputSelector.currentNode()), expected)
    settle(host, panel)


def test_leaving_and_coming_back_during_a_run(host: Any, panel: Any, scan_node: Any):
    panel.enter()
    panel.logic.runner = FakeRunner(steps=8)
    host.click(panel.ui.applyButton)
    panel.exit()
    settle(host, panel)
    panel.enter()
    assert panel.ui.outputSelector.currentNode().GetName() == "Scan_tiny"
    settle(host, panel)


def test_model_from_disk(host: Any, panel: Any, scan_node: Any, models: Path, tmp_path: Path, own_home: Path):
    source = tmp_path / "download"
    source.mkdir()
    card = json.loads((models / "tiny.json").read_text())
    card.update(id="imported", title="Imported network")
    (source / "imported.json").write_text(json.dumps(card))
    shutil.copy(models / "tiny.onnx", source)
    panel.enter()
    panel.ui.advancedSection.collapsed = False
    host.answers.append(str(source / "imported.json"))
    host.click(panel.ui.importModelButton)
    assert panel.chosenModel().title == "Imported network"
    assert panel.chosenModel().folder.is_relative_to(own_home)
    (source / "tiny.onnx").write_bytes(b"tampered")
    host.answers.append(str(source / "imported.json"))
    host.click(panel.ui.importModelButton)
    assert "SHA-256" in panel.ui.statusLabel.text
    panel.ui.advancedSection.collapsed = True


def test_no_model_at_all(host: Any, panel: Any, scan_node: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(panel.logic, "models", list)
    panel.enter()
    assert not panel.ui.applyButton.enabled
    assert "no model" in panel.ui.statusLabel.text


@pytest.fixture
def reloading(host: Any) -> Iterator[None]:
    """Put the library back as it was after a test that loads it anew."""
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "MRHarmonizationLib"}
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "MRHarmonizationLib"]:
        del sys.modules[name]
    sys.modules.update(kept)
    host.slicer.util.reloadScriptedModule("MRHarmonizationEnhance")


def test_reload_of_the_module(host: Any, panel: Any, reloading: None, scan_node: Any):
    panel.enter()
    panel.logic.runner = runner = FakeRunner(steps=10_000)
    host.click(panel.ui.applyButton)
    panel.onReload()
    host.process(100)
    assert runner.processes[0].killed
    fresh = host.widget("MRHarmonizationEnhance")
    assert fresh is not panel
    assert sys.modules["MRHarmonizationLib.slicer_adapter.records"] is not records
    fresh.logic.runner = FakeRunner()
    assert fresh.ui.inputSelector.currentNode() is scan_node
    choose(fresh.ui.modelComboBox, "tiny")
    assert apply(host, fresh).GetName() == "Scan_tiny"
    fresh.comparison.view.restore()
