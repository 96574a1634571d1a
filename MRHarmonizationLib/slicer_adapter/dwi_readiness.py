"""Whether a diffusion scan can be harmonised, and what is to be said about it before. Voxels are not looked at."""

from __future__ import annotations

from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.slicer_adapter import records, texts
from MRHarmonizationLib.slicer_adapter.dwi_nodes import weighting_of_node
from MRHarmonizationLib.slicer_adapter.dwi_sources import DWI_CLASS
from MRHarmonizationLib.slicer_adapter.nodes import frame_transform, grid_of_node
from MRHarmonizationLib.slicer_adapter.readiness import Readiness
from MRHarmonizationLib.volumes.gradients import (
    B0_LIMIT_S_PER_MM2,
    check_tensor_directions,
    count_directions,
    find_shells,
)


def readiness(scan: Any, result: Any, mask: Any = None, missing: str = "") -> Readiness:
    """Look at a panel's choices.

    Parameters
    ----------
    scan, result : vtkMRMLDiffusionWeightedVolumeNode or None
        None as result means a new node.
    mask : vtkMRMLNode or None
    missing : str
        What the chosen method still needs.
    """
    if scan is None:
        return Readiness(missing="select a diffusion scan")
    try:
        b_values, directions = weighting_of_node(scan)
        info = f"{texts.grid_text(grid_of_node(scan))}\n{scheme_text(b_values, directions)}"
        if result is scan:
            return Readiness(info, refusal="the result cannot replace its scan; choose another result volume")
        if mask is not None:
            frame_transform(mask, scan)
    except MRHarmonizationError as error:
        return Readiness(refusal=str(error))
    warnings: list[str] = []
    try:
        check_tensor_directions(directions[b_values > B0_LIMIT_S_PER_MM2])
    except MRHarmonizationError as error:
        warnings.append(f"no tensor can be fitted ({error.problem}): only diffusivity is watched, not anisotropy")
    if records.is_output(scan):
        warnings.append(f"'{scan.GetName()}' is a harmonised scan already")
    return Readiness(info, tuple(warnings), missing=missing)


def scheme_text(b_values: np.ndarray, directions: np.ndarray) -> str:
    """Return how a scan is weighted.

    Examples
    --------
    >>> axes = np.vstack([np.zeros((2, 3)), np.eye(3)])
    >>> scheme_text(np.array([0.0, 5.0, 1000.0, 1000.0, 2000.0]), axes)
    '5 volumes: 2 with b ≈ 0, 2 with b = 1000 s/mm², 1 with b = 2000 s/mm²; 3 directions'
    """
    unweighted = int(np.count_nonzero(b_values <= B0_LIMIT_S_PER_MM2))
    parts = [f"{unweighted} with b ≈ 0"]
    parts += [f"{len(indices)} with b = {b} s/mm²" for b, indices in find_shells(b_values).items()]
    count = count_directions(directions[b_values > B0_LIMIT_S_PER_MM2])
    return f"{b_values.size} volumes: {', '.join(parts)}; {count} direction{'' if count == 1 else 's'}"


def volume_text(index: int, b_values: np.ndarray, directions: np.ndarray) -> str:
    """Return what one volume of a scan shows.

    Examples
    --------
    >>> volume_text(1, np.array([0.0, 1000.0]), np.array([[0.0, 0.0, 0.0], [0.6, -0.8, 0.0]]))
    'Volume 2 of 2: b = 1000 s/mm² along (R 0.60, A −0.80, S 0.00)'
    >>> volume_text(0, np.array([0.0, 1000.0]), np.array([[0.0, 0.0, 0.0], [0.6, -0.8, 0.0]]))
    'Volume 1 of 2: b = 0 s/mm²'
    """
    text = f"Volume {index + 1} of {b_values.size}: b = {b_values[index]:.0f} s/mm²"
    if b_values[index] > B0_LIMIT_S_PER_MM2:
        text += " along (R {:.2f}, A {:.2f}, S {:.2f})".format(*(directions[index] + 0.0)).replace("-", "−")
    return text


def shell_name(index: int, b_values: np.ndarray) -> str:
    """Return the shell a volume belongs to, such as 'b1000'; 'b0' without weighting."""
    for b, indices in find_shells(b_values).items():
        if index in indices:
            return f"b{b}"
    return "b0"


def first_diffusion_scan(scene: Any) -> Any:
    """Return the first diffusion volume of the scene that is no result, or None."""
    for index in range(scene.GetNumberOfNodesByClass(DWI_CLASS)):
        node = scene.GetNthNodeByClass(index, DWI_CLASS)
        if not node.GetHideFromEditors() and not records.is_output(node):
            return node
    return None
