"""What an output node remembers: provenance, its input, its residual, its place in the subject hierarchy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from MRHarmonizationLib.inference.provenance import ATTRIBUTE_PREFIX

INPUT_ROLE = "MRHarmonization.input"
RESIDUAL_ROLE = "MRHarmonization.residual"
DIFFERENCE_ROLE = "MRHarmonization.difference"
"""Node references from an output; they survive saving and loading a scene."""

INPUT_ID_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}input_node_id"
STATE_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}state"
ENHANCED, UNDONE = "enhanced", "undone"


def write_record(node: Any, attributes: Mapping[str, str], input_node: Any = None) -> None:
    """Replace all of a node's ``MRHarmonization.*`` attributes and its reference to the input.

    Parameters
    ----------
    node : vtkMRMLNode
    attributes : mapping of str to str
        Names with the prefix, as :meth:`Provenance.to_attributes` gives them.
    input_node : vtkMRMLNode, optional
        What it was made from.
    """
    modifying = node.StartModify()
    try:
        for name in record_of(node):
            node.RemoveAttribute(name)
        for name, value in attributes.items():
            node.SetAttribute(name, value)
        node.SetNodeReferenceID(INPUT_ROLE, None if input_node is None else input_node.GetID())
        if input_node is not None:
            node.SetAttribute(INPUT_ID_ATTRIBUTE, input_node.GetID())
    finally:
        node.EndModify(modifying)


def record_of(node: Any) -> dict[str, str]:
    """Return a node's ``MRHarmonization.*`` attributes."""
    names = [name for name in node.GetAttributeNames() if name.startswith(ATTRIBUTE_PREFIX)]
    return {name: node.GetAttribute(name) for name in names}


def is_output(node: Any) -> bool:
    """Tell whether a node was made by this extension."""
    return node is not None and node.GetAttribute(f"{ATTRIBUTE_PREFIX}operation") is not None


def input_of(node: Any) -> Any:
    """Return the node an output was made from, or None."""
    return node.GetNodeReference(INPUT_ROLE)


def place_beside(node: Any, input_node: Any) -> None:
    """Put a node right after its input in the subject hierarchy, in the same folder or study."""
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    if hierarchy is None:
        return
    own, others = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(input_node)
    if not own or not others:
        return
    parent = hierarchy.GetItemParent(others)
    hierarchy.SetItemParent(own, parent)
    following = hierarchy.GetItemPositionUnderParent(others) + 1
    next_item = hierarchy.GetItemByPositionUnderParent(parent, following)
    if next_item and next_item != own:
        hierarchy.MoveItem(own, next_item)


def new_volume_node(name: str, input_node: Any) -> Any:
    """Add a scalar volume node beside an input: unique name, same parent transform.

    Parameters
    ----------
    name : str
        Made unique in the scene.
    input_node : vtkMRMLScalarVolumeNode

    Returns
    -------
    vtkMRMLScalarVolumeNode
        Without voxels yet.
    """
    scene = input_node.GetScene()
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
    node.SetAndObserveTransformNodeID(input_node.GetTransformNodeID())
    place_beside(node, input_node)
    return node
