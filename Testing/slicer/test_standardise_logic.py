"""The console: contrast standardised without a panel; and once with the real command line."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from fake_runner import FakeRunner
from slicer_support import add_node, values

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.inference.harmonize import HarmonizeRequest, harmonize
from MRHarmonizationLib.slicer_adapter import results, units
from MRHarmonizationLib.slicer_adapter.jobs import SubprocessRunner
from MRHarmonizationLib.slicer_adapter.nodes import volume_from_node
from MRHarmonizationLib.volumes.volume import Volume


@pytest.fixture
def logic(host: Any, panel: Any) -> Any:
    """A logic of its own, as a script makes one."""
    return sys.modules["MRHarmonizationEnhance"].MRHarmonizationEnhanceLogic(FakeRunner())


def test_real_command_line(host: Any, logic: Any, scan_node: Any):
    logic.runner = SubprocessRunner()
    before = values(scan_node).copy()
    seen: list[float] = []
    output = logic.standardise(
        scan_node,
        method="percentile",
        reference="t2-head",
        strength=0.8,
        keepResidual=True,
        parameters={"upper": 95},
        onProgress=lambda fraction, message: seen.append(fraction),
    )
    request = HarmonizeRequest("percentile", "t2-head", 0.8, parameters={"upper": 95})
    np.testing.assert_array_equal(values(output), harmonize(volume_from_node(scan_node), request).volume.array)
    assert np.array_equal(output.GetSpacing(), scan_node.GetSpacing())
    assert units.group_of(output).id == "t2-head"
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    logic.undo(output)
    assert np.array_equal(values(output), before)
    logic.undo(output)
    logic.setStrength(output, 0.0)
    assert np.array_equal(values(output), before)
    assert np.array_equal(values(scan_node), before)


def test_every_listed_method_runs_on_a_given_node(logic: Any, scan_node: Any, host: Any):
    target = add_node(host, volume_from_node(scan_node), "Target")
    for method in logic.harmonizers():
        if "model" in method.defaults or method.name in ("n4", "curvature_diffusion"):
            continue  # what needs a network, and the slow filters
        assert logic.standardise(scan_node, target, method=method.name, reference="t1-head") is target
        assert target.GetAttribute("MRHarmonization.model") == method.name
        assert results.residual_node_of(target) is None


def test_single_slice(host: Any, logic: Any, thick_scan: Any):
    grid = thick_scan.grid
    node = add_node(host, Volume(thick_scan.array[6:7], grid.crop((6, 0, 0), (1, *grid.shape[1:]))), "Slice")
    output = logic.standardise(node, method="minmax", reference="t1-head")
    assert values(output).shape == (1, *grid.shape[1:])


def test_mistakes_are_named_before_a_process_starts(host: Any, logic: Any, scan_node: Any, thick_scan: Any):
    labels = add_node(host, thick_scan.with_array((thick_scan.array > 200).astype(np.int16)), "Labels")
    wrong: list[tuple[type[Exception], str, Any, dict[str, Any]]] = [
        (ParameterError, "magic", scan_node, {"method": "magic"}),
        (ParameterError, "strength", scan_node, {"strength": 1.5}),
        (ParameterError, "no parameter 'upper'", scan_node, {"method": "nyul", "parameters": {"upper": 3}}),
        (ParameterError, "cannot replace", scan_node, {"outputNode": scan_node}),
        (InputError, "cannot be read", scan_node, {"reference": "no such group"}),
        (InputError, "looks like a label map", labels, {}),
        (InputError, "select a volume", None, {}),
    ]
    for kind, text, node, options in wrong:
        with pytest.raises(kind, match=text):
            logic.standardise(node, **options)
    assert logic.runner.processes == []
    with pytest.raises(ParameterError, match="upper percentile is 10"):
        logic.standardise(scan_node, method="percentile", reference="t1-head", parameters={"upper": 10})


def test_what_can_be_chosen(logic: Any):
    methods = {method.name: method for method in logic.harmonizers()}
    assert methods["percentile"].defaults == {"upper": 99.0}
    assert {group.id for group in logic.referenceGroups()} >= {"t1-head", "t2-head", "flair-head"}
    assert logic.standardisers() == []
