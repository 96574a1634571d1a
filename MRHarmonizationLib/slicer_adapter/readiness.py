"""Whether a panel's choices can be run, and what is to be said about them before they are. Voxels are not looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.inference.domain import domain_warnings, own_grid_warnings
from MRHarmonizationLib.inference.harmonize import NEAREST
from MRHarmonizationLib.inference.restore_parts import slice_axis
from MRHarmonizationLib.methods.reference_group import load_group
from MRHarmonizationLib.slicer_adapter import records, texts
from MRHarmonizationLib.slicer_adapter.nodes import check_scalar_node, grid_of_node
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.weights.card import Card


@dataclass(frozen=True)
class Readiness:
    """What the panel shows before a run.

    Attributes
    ----------
    info : str
        Size and spacing of the scan.
    warnings : tuple of str
        What lies outside the model's domain.
    refusal : str
        Why the choices cannot be run; empty where they can.
    missing : str
        What is still to be chosen; empty where nothing is.
    """

    info: str = ""
    warnings: tuple[str, ...] = ()
    refusal: str = ""
    missing: str = ""


def readiness(scan: Any, result: Any, card: Card | None, output_spacing_mm: float | None = None) -> Readiness:
    """Look at a panel's choices.

    Parameters
    ----------
    scan, result : vtkMRMLScalarVolumeNode or None
        None as result means a new node.
    card : Card or None
    output_spacing_mm : float, optional
        The model's own if omitted.
    """
    if card is None:
        return Readiness(refusal="there is no model; add one under Advanced")

    def warnings(grid: Grid) -> tuple[str, ...]:
        return domain_warnings(grid, grid.isotropic(output_spacing_mm or card.input.spacing_mm), card.domain)

    return _looked_at(scan, result, warnings)


def standardise_readiness(scan: Any, result: Any, reference: str) -> Readiness:
    """Look at a panel's choices for standardising contrast.

    Parameters
    ----------
    scan, result : vtkMRMLScalarVolumeNode or None
        None as result means a new node.
    reference : str
        As in :class:`~MRHarmonizationLib.inference.harmonize.HarmonizeRequest`; a file is read.
    """

    def warnings(grid: Grid) -> tuple[str, ...]:
        if reference != NEAREST:
            load_group(reference)  # whether the scan is like it, the run measures
        return ()

    return _looked_at(scan, result, warnings)


def restore_readiness(scan: Any, result: Any, card: Card | None) -> Readiness:
    """Look at a panel's choices for denoising and sharpening.

    Parameters
    ----------
    scan, result : vtkMRMLScalarVolumeNode or None
        None as result means a new node.
    card : Card or None
    """
    if card is None:
        return Readiness(missing="no network that denoises and sharpens is installed; add one under Advanced")

    def warnings(grid: Grid) -> tuple[str, ...]:
        return own_grid_warnings(grid, card.domain, slice_axis(grid))

    return _looked_at(scan, result, warnings)


def _looked_at(scan: Any, result: Any, warnings_for: Callable[[Grid], tuple[str, ...]]) -> Readiness:
    """Return what can be said of scan and result; the other choices are looked at by a function of the scan's grid."""
    if scan is None:
        return Readiness(missing="select a scan")
    try:
        check_scalar_node(scan)
        grid = grid_of_node(scan)
        info = texts.grid_text(grid)
        if result is scan:
            return Readiness(info, refusal="the result cannot replace its scan; choose another result volume")
        warnings = warnings_for(grid)
    except MRHarmonizationError as error:
        return Readiness(refusal=str(error))
    if is_sequence_item(scan):
        warnings += ("the scan is one item of a sequence: only the item shown now is worked on",)
    return Readiness(info, warnings)


def is_sequence_item(node: Any) -> bool:
    """Tell whether a node shows the selected item of a sequence."""
    import slicer

    sequences = getattr(slicer.modules, "sequences", None)
    return bool(sequences and sequences.logic().GetFirstBrowserNodeForProxyNode(node))


def first_scan(scene: Any) -> Any:
    """Return the first volume of the scene that could be a scan, or None."""
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLScalarVolumeNode")
        plain = node.GetClassName() == "vtkMRMLScalarVolumeNode" and not node.GetHideFromEditors()
        if plain and not records.is_output(node):
            return node
    return None
