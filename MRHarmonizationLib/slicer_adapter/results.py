"""An enhanced node afterwards: undo and redo, another strength, difference, measurements.

All of it follows from the node, its residual node and its input, so it works on a scene that was saved and loaded. The
model's change is remembered while Slicer runs, so that strengths can be tried without rounding adding up.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.inference.provenance import ATTRIBUTE_PREFIX
from MRHarmonizationLib.inference.strength import apply_strength, check_strength
from MRHarmonizationLib.inference.undo import (
    BASELINE_DIGEST_KEY,
    ENHANCED_DIGEST_KEY,
    float_of_ordered_bits,
    make_residual,
    ordered_bits,
    undo,
    voxel_digest,
)
from MRHarmonizationLib.slicer_adapter import records
from MRHarmonizationLib.slicer_adapter.enhance_run import Enhancement
from MRHarmonizationLib.slicer_adapter.nodes import copy_display, set_node_volume, volume_from_node
from MRHarmonizationLib.slicer_adapter.units import in_units_of, is_standardised, show_in_units
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

PARAMETER_PREFIX = f"{ATTRIBUTE_PREFIX}parameter."
STRENGTH_ATTRIBUTE = f"{PARAMETER_PREFIX}strength"
DIGEST_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}output_digest"
WARNINGS_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}warnings"
#: Between the warnings of a record, see :meth:`Provenance.to_attributes`.
WARNING_SEPARATOR = " | "
#: A smaller strength says too little about the whole change to tell it from rounding.
LEAST_STRENGTH_TO_EXTEND = 0.05
#: Colours of the difference: blue where the result is darker, red where it is brighter.
DIFFERENCE_COLOURS = "vtkMRMLColorTableNodeFileDivergingBlueRed.txt"


def store_enhancement(enhancement: Enhancement, input_node: Any, output_node: Any) -> None:
    """Write a result into its output node: voxels, geometry, display, provenance, residual.

    Parameters
    ----------
    enhancement : Enhancement
    input_node, output_node : vtkMRMLScalarVolumeNode
        Two different nodes; the input is not changed.
    """
    set_node_volume(output_node, enhancement.volume)
    output_node.SetAndObserveTransformNodeID(input_node.GetTransformNodeID())
    copy_display(input_node, output_node)
    records.write_record(output_node, enhancement.provenance.to_attributes(), input_node)
    output_node.SetAttribute(records.STATE_ATTRIBUTE, records.ENHANCED)
    _store_residual(output_node, enhancement.residual)
    show_in_units(output_node, input_node, strength_of(output_node))


def residual_node_of(node: Any) -> Any:
    """Return the node that holds what undoes an output, or None."""
    return None if node is None else node.GetNodeReference(records.RESIDUAL_ROLE)


def is_undone(node: Any) -> bool:
    """Tell whether an output currently holds its resampled input."""
    return bool(node.GetAttribute(records.STATE_ATTRIBUTE) == records.UNDONE)


def strength_of(node: Any) -> float:
    """Return the strength an output was made with."""
    return float(node.GetAttribute(STRENGTH_ATTRIBUTE) or 1.0)


def warnings_of(node: Any) -> tuple[str, ...]:
    """Return what the user was warned of when an output was made."""
    return tuple(text for text in (node.GetAttribute(WARNINGS_ATTRIBUTE) or "").split(WARNING_SEPARATOR) if text)


def toggle_undo(node: Any) -> None:
    """Put the resampled input into an output node, bit for bit; or the enhanced values back.

    Raises
    ------
    InputError
        No residual was kept, or the voxels were changed since.
    """
    residual = _residual_of(node)
    current = volume_from_node(node)
    if is_undone(node):
        _require_digest(node, current, residual.metadata[BASELINE_DIGEST_KEY])
        numbers = ordered_bits(current.array)
        np.add(numbers, residual.array, out=numbers)
        array, state = float_of_ordered_bits(numbers), records.ENHANCED
    else:
        array, state = undo(current, residual).array, records.UNDONE
    set_node_volume(node, current.with_array(array))
    node.SetAttribute(records.STATE_ATTRIBUTE, state)
    node.SetAttribute(DIGEST_ATTRIBUTE, voxel_digest(array))
    show_in_units(node, records.input_of(node), 0.0 if is_undone(node) else strength_of(node))


def baseline_of(node: Any) -> Volume:
    """Return what an output would be at strength 0: its input, resampled.

    Taken from the residual where one was kept, else from the input node.

    Raises
    ------
    InputError
        There is neither.
    """
    current = volume_from_node(node)
    if residual_node_of(node) is not None:
        return current if is_undone(node) else undo(current, _residual_of(node))
    input_node = node.GetNodeReference(records.INPUT_ROLE)
    if input_node is None:
        raise InputError(
            f"the input of '{node.GetName()}' is no longer in the scene and no residual was kept", "run it again"
        )
    return resample(volume_from_node(input_node), current.grid)


class StrengthBlender:
    """Gives an output another strength without running the network: y = x + α·(f(x) − x)."""

    def __init__(self) -> None:
        self._node_id, self._digest = "", ""
        self._remembered: tuple[Volume, np.ndarray] | None = None

    def forget(self) -> None:
        """Free the memory."""
        self._node_id, self._digest, self._remembered = "", "", None

    @staticmethod
    def can_blend(node: Any) -> bool:
        """Tell whether a node has what is needed (cheap; the voxels are not looked at)."""
        return residual_node_of(node) is not None

    def blend(self, node: Any, strength: float) -> None:
        """Write ``x + strength·(f(x) − x)`` into an output node and bring its residual and record up to date.

        Parameters
        ----------
        node : vtkMRMLScalarVolumeNode
            An output with a residual.
        strength : float
            0 to 1.

        Raises
        ------
        ParameterError
            The strength lies outside [0, 1].
        InputError
            No residual, changed voxels, or made with too small a strength to be extended.
        """
        check_strength(strength)
        baseline, change = self._terms(node)
        enhanced = baseline.with_array(apply_strength(baseline.array, change, strength))
        set_node_volume(node, enhanced)
        _store_residual(node, make_residual(baseline, enhanced))
        self._digest = voxel_digest(enhanced.array)
        node.SetAttribute(STRENGTH_ATTRIBUTE, str(float(strength)))
        node.SetAttribute(DIGEST_ATTRIBUTE, self._digest)
        node.SetAttribute(records.STATE_ATTRIBUTE, records.ENHANCED)
        show_in_units(node, records.input_of(node), strength)

    def _terms(self, node: Any) -> tuple[Volume, np.ndarray]:
        current = volume_from_node(node)
        if self._remembered is not None and node.GetID() == self._node_id and not is_undone(node):
            _require_digest(node, current, self._digest)
            return self._remembered
        if is_undone(node):
            toggle_undo(node)
            current = volume_from_node(node)
        strength = strength_of(node)
        if strength < LEAST_STRENGTH_TO_EXTEND:
            raise InputError(
                f"'{node.GetName()}' was made with strength {strength:g}: too little to be extended",
                "press Apply again",
            )
        baseline = undo(current, _residual_of(node))
        change = current.array - baseline.array
        if strength < 1.0:
            change /= np.float32(strength)
        self._node_id, self._remembered = node.GetID(), (baseline, change)
        return baseline, change


def update_difference(node: Any) -> Any:
    """Make or update the difference volume of an output (result − resampled input) and return its node.

    A standardised result has other units than its input, which is brought to them by the best straight line first.

    Raises
    ------
    InputError
        The input is gone and no residual was kept.
    """
    current, baseline = volume_from_node(node), baseline_of(node)
    difference = node.GetNodeReference(records.DIFFERENCE_ROLE)
    if difference is None:
        difference = records.new_volume_node(f"{node.GetName()}_difference", node)
        node.SetNodeReferenceID(records.DIFFERENCE_ROLE, difference.GetID())
    before = in_units_of(current, baseline) if is_standardised(node) else baseline.array.astype(np.float32)
    values = current.array.astype(np.float32) - before
    set_node_volume(difference, replace(current, array=values))
    difference.SetAndObserveTransformNodeID(node.GetTransformNodeID())
    show_as_difference(difference, values)
    return difference


def show_as_difference(node: Any, values: np.ndarray) -> None:
    """Show a volume node in two colours around 0: blue where its values are below, red where they are above.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode
    values : ndarray, shape (K, J, I)
        Its voxels.
    """
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetScalarVolumeDisplayNode()
    limit = float(np.percentile(np.abs(values[:: max(1, values.shape[0] // 32)]), 99.5)) or 1.0
    if node.GetScene().GetNodeByID(DIFFERENCE_COLOURS) is not None:
        display.SetAndObserveColorNodeID(DIFFERENCE_COLOURS)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(2 * limit, 0.0)


def _store_residual(node: Any, residual: Volume | None) -> None:
    """Keep a residual in a hidden node beside the output, or remove the one of an earlier run."""
    scene, old = node.GetScene(), residual_node_of(node)
    if residual is None:
        node.SetNodeReferenceID(records.RESIDUAL_ROLE, None)
        if old is not None:
            scene.RemoveNode(old)
        return
    if old is None:
        old = scene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
        old.UnRegister(None)
        old.SetName(scene.GenerateUniqueName(f"{node.GetName()}_residual"))
        old.SetHideFromEditors(True)
        scene.AddNode(old)
        node.SetNodeReferenceID(records.RESIDUAL_ROLE, old.GetID())
    set_node_volume(old, residual)
    for key, value in residual.metadata.items():
        old.SetAttribute(key, value)


def _residual_of(node: Any) -> Volume:
    holder = residual_node_of(node)
    if holder is None:
        raise InputError(f"no residual was kept for '{node.GetName()}'", "tick 'Keep residual' and press Apply again")
    volume = volume_from_node(holder)
    keys = (ENHANCED_DIGEST_KEY, BASELINE_DIGEST_KEY)
    return Volume(volume.array, volume.grid, volume.name, {key: holder.GetAttribute(key) or "" for key in keys})


def _require_digest(node: Any, volume: Volume, expected: str) -> None:
    if voxel_digest(volume.array) != expected:
        raise InputError(f"the voxels of '{node.GetName()}' were changed since it was made", "press Apply again")
