"""A standardisation's command line, its units, and what the panel says of it; no Slicer."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from fake_runner import FakeRunner

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.inference.harmonize import HarmonizeRequest, harmonize
from MRHarmonizationLib.methods.reference_group import load_group
from MRHarmonizationLib.slicer_adapter import dependencies, texts
from MRHarmonizationLib.slicer_adapter.measures import BeforeAfter, measure_distances
from MRHarmonizationLib.slicer_adapter.standardise_run import StandardiseRun, standardise_command
from MRHarmonizationLib.slicer_adapter.units import in_units_of
from MRHarmonizationLib.volumes.volume import Volume


def test_command_says_what_the_request_says():
    pytest.importorskip("typer")
    request = HarmonizeRequest("percentile", "t1-head", 0.25, parameters={"upper": 98})
    command = standardise_command(request, Path("in.nrrd"), Path("out.nrrd"), Path("r.nrrd"), Path("m.nrrd"))
    assert command[:4] == [sys.executable, "-m", "MRHarmonizationLib", "harmonize"]
    assert " ".join(command[4:]) == (
        "in.nrrd out.nrrd --method percentile --reference t1-head --strength 0.25 --parameter upper=98 --mask m.nrrd "
        "--residual r.nrrd --jsonl"
    )
    plain = standardise_command(HarmonizeRequest(), Path("a"), Path("b"))
    assert not {"--mask", "--residual", "--parameter"} & set(plain)


def test_outcome_holds_the_reference_and_the_folder_is_gone(head_phantom: Volume, tmp_path: Path):
    request = HarmonizeRequest("minmax", "t2-head", keep_residual=True)
    mask = head_phantom.with_array((head_phantom.array > 50).astype(np.uint8))
    done = StandardiseRun(head_phantom, request, mask, FakeRunner(), folder=tmp_path).wait()
    assert done.group.id == "t2-head"
    assert done.residual is not None
    assert done.provenance.model_id == "minmax"
    np.testing.assert_array_equal(done.volume.array, harmonize(head_phantom, request, mask).volume.array)
    assert not list(tmp_path.iterdir())


def test_unreadable_group_is_refused_before_anything_is_written(head_phantom: Volume, tmp_path: Path):
    runner = FakeRunner()
    with pytest.raises(InputError, match="t1-head"):
        StandardiseRun(head_phantom, HarmonizeRequest(reference="gone.json"), None, runner, folder=tmp_path)
    assert runner.processes == []
    assert not list(tmp_path.iterdir())


def test_units_are_taken_away_by_a_straight_line(head_phantom: Volume):
    scaled = head_phantom.with_array((-3.5 * head_phantom.array + 70).astype(np.float32))
    np.testing.assert_allclose(in_units_of(scaled, head_phantom), scaled.array, atol=1e-2)
    bent = head_phantom.with_array(np.sqrt(np.maximum(head_phantom.array, 0)).astype(np.float32))
    assert np.abs(in_units_of(bent, head_phantom) - bent.array).max() > 1
    constant = head_phantom.with_array(np.full_like(head_phantom.array, 4))
    np.testing.assert_array_equal(in_units_of(scaled, constant), np.float32(scaled.array.mean(dtype=np.float64)))


def test_distances_are_those_of_the_library(head_phantom: Volume):
    group = load_group("t1-head")
    result = harmonize(head_phantom, HarmonizeRequest("histogram_matching", "t1-head"))
    found = measure_distances(result.baseline, result.volume, group)
    assert [(item.name, item.before, item.after) for item in found] == [
        (item.name, pytest.approx(item.detail["before"]), pytest.approx(item.value)) for item in result.measurements
    ]


def test_texts():
    same = BeforeAfter("distance_edges", "1", "lower", 0.203, 0.205)
    better = BeforeAfter("distance_histogram", "% of full scale", "lower", 9.0, 2.0)
    said = texts.distances_text((better, same), "<mine>", "inside the object")
    assert "Distance to <b>&lt;mine&gt;</b>, inside the object" in said
    assert f"<b style='color:{texts.GOOD}'>2</b>" in said
    assert "<b>0.205</b>" in said  # neither good nor bad
    assert "borders lie" in texts.measures_help((same,))
    assert texts.group_text(load_group("t1-head")).startswith("2 scans of 2 people")


def test_only_networks_need_a_network_runtime():
    assert dependencies.ONNXRUNTIME not in dependencies.requirements_for_standardising("nyul")
    with pytest.raises(ParameterError, match="magic"):
        dependencies.requirements_for_standardising("magic")
