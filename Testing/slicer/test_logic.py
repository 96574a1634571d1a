"""The console: the same enhancement without a panel; where the library is found; the sample data."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_runner import FakeRunner
from slicer_support import MODULE, ROOT

from MRHarmonizationLib.core.errors import ModelNotFoundError, ParameterError
from MRHarmonizationLib.samples import LOW_FIELD_SCAN, REFERENCE
from MRHarmonizationLib.slicer_adapter import results, sample_data
from MRHarmonizationLib.slicer_adapter.nodes import volume_from_node


@pytest.fixture
def module(host: Any, panel: Any) -> Any:
    """The module's Python file, loaded."""
    return sys.modules["MRHarmonizationEnhance"]


@pytest.fixture
def logic(module: Any) -> Any:
    """A logic of its own, as a script makes one."""
    return module.MRHarmonizationEnhanceLogic(FakeRunner())


def test_process_returns_a_node(host: Any, logic: Any, scan_node: Any):
    layout = host.slicer.app.layoutManager().layout
    output = logic.process(scan_node, model="tiny", strength=0.8, keepResidual=True)
    assert output.GetName() == "Scan_tiny"
    assert results.strength_of(output) == 0.8
    assert host.slicer.app.layoutManager().layout == layout  # a script's user is not interrupted
    logic.undo(output)
    assert results.is_undone(output)
    logic.setStrength(output, 0.2)
    assert results.strength_of(output) == 0.2
    assert volume_from_node(logic.difference(output)).array.any()


def test_process_many(logic: Any, scan_node: Any):
    names = [logic.process(scan_node, model=card.id).GetName() for card in logic.models()]
    assert names == ["Scan_tiny", "Scan_wide"]


def test_process_refuses_wrong_parameters(logic: Any, scan_node: Any):
    with pytest.raises(ModelNotFoundError, match="tiny, wide"):
        logic.process(scan_node, model="none-such")
    with pytest.raises(ParameterError, match="strength"):
        logic.process(scan_node, model="tiny", strength=2.0)
    with pytest.raises(ParameterError, match="device"):
        logic.process(scan_node, model="tiny", device="tpu")
    assert logic.runner.processes == []


@pytest.mark.parametrize("layout", ["source", "installed"])
def test_library_is_found_in_both_layouts(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str):
    folder = tmp_path / "modules"
    place = folder if layout == "installed" else folder / "MRHarmonization" / "MRHarmonizationEnhance"
    place.mkdir(parents=True)
    (folder / "MRHarmonizationLib").mkdir()
    (folder / "MRHarmonizationLib" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert module.findLibrary(place / MODULE.name) == folder
    assert sys.path[0] == str(folder)
    assert module.findLibrary(place / MODULE.name) == folder
    assert sys.path.count(str(folder)) == 1
    shutil.rmtree(folder / "MRHarmonizationLib")
    with pytest.raises(ImportError, match="reinstall"):
        module.findLibrary(place / MODULE.name)


def test_library_of_the_checkout_is_used(module: Any):
    assert module.findLibrary(MODULE) == ROOT


def test_samples_match_their_digests_and_have_thumbnails():
    samples = sample_data.list_samples()
    assert {sample.path for sample in samples} == {LOW_FIELD_SCAN, REFERENCE}
    for sample in samples:
        assert hashlib.sha256(sample.path.read_bytes()).hexdigest() == sample.sha256
        assert sample.path.name in (sample.path.parent / "README.md").read_text(encoding="utf-8")
        assert (MODULE.parent / "Resources" / "Icons" / f"{sample.stem}.png").is_file()


def test_sample_button(host: Any, panel: Any):
    host.startup_completed()
    panel.enter()
    host.click(panel.ui.sampleButton)
    assert panel.ui.inputSelector.currentNode().GetName() == "colin27_T1w_lowfield"
    assert panel.ui.referenceSelector.currentNode().GetName() == "colin27_T1w_reference"
    assert panel.ui.applyButton.enabled


def test_tampered_sample_is_refused(host: Any, module: Any, tmp_path: Path):
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"something else")
    entry = {"name": "Tampered", "file": bad.name, "sha256": "0" * 64}
    index = tmp_path / "samples.json"
    index.write_text(json.dumps({"samples": [entry]}))
    sample_data.register_samples(tmp_path, index)
    if host.slicer_source is None:
        with pytest.raises(ValueError, match="checksum"):
            sample_data.load_sample(bad)
