"""Live preview of denoising and sharpening: the slice that is on the screen, restored while the sliders move.

The network runs once per slice, in a thread; a slider only mixes what it found. What is shown lies over the scan as a
volume of one slice, which is never saved.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import DependencyError, ModelNotFoundError, MRHarmonizationError
from MRHarmonizationLib.inference.backends import Backend, choose_backend
from MRHarmonizationLib.inference.restore import blend, check_restorable, expert_for
from MRHarmonizationLib.inference.restore_parts import Expert, Parts, Quality, assess, split_slice
from MRHarmonizationLib.slicer_adapter.background import BackgroundCall
from MRHarmonizationLib.slicer_adapter.node_task import Poller
from MRHarmonizationLib.slicer_adapter.nodes import (
    copy_display,
    grid_of_node,
    matrix_to_array,
    set_node_volume,
    volume_from_node,
)
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.card import Card

#: How long a view must rest before the network runs, and how often is looked whether it is done.
REST_MS, LOOK_MS = 120, 30
#: Slices of the network's results that are kept, so that turning back is immediate.
KEPT_SLICES = 32
#: Tilt of a view against the scan's planes, 1 − cosine, from which it is turned: half a degree.
LARGEST_TILT = 4e-5


@dataclass(frozen=True)
class Levels:
    """What the network is told; None: estimated from the scan.

    Attributes
    ----------
    noise_percent, resolution : float or None
    interpolated : bool
        The slices were interpolated from half their matrix.
    """

    noise_percent: float | None = None
    resolution: float | None = None
    interpolated: bool = False


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A scan ready for the network."""

    volume: Volume
    quality: Quality
    card: Card
    backend: Backend
    expert: Expert | None


class RestorePreview:
    """Shows the restored slice in the slice view that was moved last.

    Parameters
    ----------
    on_found : callable(noise_percent, resolution)
        Called with what was estimated, when a slice was restored.
    on_error : callable(Exception)
    """

    def __init__(self, on_found: Callable[[float, float], None], on_error: Callable[[Exception], None]) -> None:
        self._on_found, self._on_error = on_found, on_error
        self._scan: Any = None
        self._node: Any = None
        self._card: Card | None = None
        self._levels, self._strengths = Levels(), (0.0, 0.0)
        self._key: tuple[Any, ...] = ()
        self._asked: tuple[Any, Any] = ((), None)
        self._prepared: _Prepared | None = None
        self._parts: dict[tuple[str, int, int], Parts] = {}
        self._job: BackgroundCall[tuple[_Prepared, Parts]] | None = None
        self._wanted: tuple[str, int, int] | None = None
        self._poller: Poller | None = None
        self._observed: list[tuple[Any, int]] = []
        self._view = ""
        self._before: dict[str, tuple[str | None, float]] = {}
        self._tilted: dict[str, Any] = {}
        self._turning = False

    @property
    def is_shown(self) -> bool:
        """Whether a preview is wanted."""
        return self._scan is not None

    @property
    def is_working(self) -> bool:
        """Whether a slice is still to come."""
        return self._poller is not None

    def show(self, scan: Any, card: Card, levels: Levels, denoise: float, sharpen: float) -> None:
        """Show the slice of a scan; the same call again brings the preview up to date.

        Parameters
        ----------
        scan : vtkMRMLScalarVolumeNode
        card : Card
            Of a restorer.
        levels : Levels
        denoise, sharpen : float
        """
        if scan is not self._scan:
            self.hide()
        if importlib.util.find_spec("onnxruntime") is None:
            self._on_error(
                DependencyError("the preview needs the package onnxruntime", "press Apply once: it installs it")
            )
            return
        key = (scan.GetID(), scan.GetImageData().GetMTime() if scan.GetImageData() else 0, card.id, levels)
        if key != self._key:
            self._parts.clear()
            self._prepared = None
        self._scan, self._card, self._levels, self._key = scan, card, levels, key
        self._strengths = (denoise, sharpen)
        if not self._observed:
            self._observe()
        self._update()

    def hide(self) -> None:
        """Give the views back as they were."""
        self._stop()
        for node, tag in self._observed:
            node.RemoveObserver(tag)
        self._observed = []
        self._take_off()
        self._turn_back()
        self._scan, self._prepared, self._key = None, None, ()
        self._parts.clear()
        self._view = ""

    # -- which slice
    def _observe(self) -> None:
        """Listen to the slice views that there are."""
        import vtk

        for name in _view_names():
            node = _slice_widget(name).mrmlSliceNode()
            tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_, view=name: self._on_moved(view))
            self._observed.append((node, tag))

    def _on_moved(self, view: str) -> None:
        if self._shows_scan(view) and not self._turning:
            self._view = view
            self._update()

    def _shows_scan(self, view: str) -> bool:
        if self._scan is None or view not in _view_names():
            return False
        return _composite(view).GetBackgroundVolumeID() == self._scan.GetID()

    def _chosen_view(self) -> str:
        if self._shows_scan(self._view):
            return self._view
        return next((name for name in _view_names() if self._shows_scan(name)), "")

    def _update(self) -> None:
        """Show what is known of the slice, or start what is missing."""
        view = self._chosen_view()
        if view:
            self._turn_to_scan(view)
        place = slice_of_view(self._scan, _slice_widget(view).mrmlSliceNode()) if view else None
        if place is None:
            self._take_off()
            return
        wanted = (view, *place)
        parts = self._parts.get(wanted)
        if parts is not None and self._prepared is not None:
            self._wanted = None
            self._put_on(wanted, parts, self._prepared)
        elif wanted != self._wanted:
            self._wanted = wanted
            if self._poller is None:
                self._poller = Poller(self._look, REST_MS)

    # -- the network
    def _look(self) -> None:
        if self._job is None:
            self._begin()
            return
        if not self._job.is_done():
            return
        job, self._job = self._job, None
        if job.error is not None:
            self._stop()
            self._wanted = None
            self._on_error(job.error)
        elif job.found is not None:
            self._take_in(*job.found)

    def _begin(self) -> None:
        scan, card, wanted = self._scan, self._card, self._wanted
        if scan is None or card is None or wanted is None or scan.GetScene() is None:
            self._stop()
            return
        prepared, levels, (_, axis, index) = self._prepared, self._levels, wanted
        try:
            volume = prepared.volume if prepared is not None else volume_from_node(scan)
        except MRHarmonizationError as error:
            self._stop()
            self._on_error(error)
            return
        self._asked = (self._key, wanted)

        def compute() -> tuple[_Prepared, Parts]:
            ready = prepared or _prepare(volume, card, levels)
            return ready, split_slice(
                ready.volume, axis, index, ready.quality, ready.card, ready.backend, expert=ready.expert
            )

        self._job = BackgroundCall(compute, "making the preview")

    def _take_in(self, prepared: _Prepared, parts: Parts) -> None:
        key, place = self._asked
        if key == self._key:
            self._prepared = prepared
            while len(self._parts) >= KEPT_SLICES:
                self._parts.pop(next(iter(self._parts)))
            self._parts[place] = parts
            self._on_found(prepared.quality.noise_percent, prepared.quality.resolution_voxels)
        if self._wanted == place:
            self._stop()
        self._update()

    def _stop(self) -> None:
        if self._poller is not None:
            self._poller.stop()
        self._poller, self._job, self._wanted = None, None, None

    # -- on the screen
    def _put_on(self, place: tuple[str, int, int], parts: Parts, prepared: _Prepared) -> None:
        view, axis, index = place
        volume = prepared.volume
        plane = np.take(volume.array, index, 2 - axis).astype(np.float32)
        restored = np.expand_dims(blend(plane, parts, *self._strengths), 2 - axis)
        start = [0, 0, 0]
        start[2 - axis] = index
        shown = Volume(restored, volume.grid.crop(start, restored.shape))
        if self._node is None or self._node.GetScene() is None:
            self._node = _preview_node(self._scan)
        set_node_volume(self._node, shown)
        self._node.SetAndObserveTransformNodeID(self._scan.GetTransformNodeID())
        copy_display(self._scan, self._node)
        for name in [name for name in self._before if name != view]:
            self._give_back(name)
        composite = _composite(view)
        if composite.GetForegroundVolumeID() != self._node.GetID():
            self._before[view] = (composite.GetForegroundVolumeID(), composite.GetForegroundOpacity())
            composite.SetForegroundVolumeID(self._node.GetID())
        composite.SetForegroundOpacity(1.0)

    def _turn_to_scan(self, view: str) -> None:
        """Turn a view that is tilted into the scan's own planes: its slices are what is restored."""
        node = _slice_widget(view).mrmlSliceNode()
        if tilt_of_view(self._scan, node) < LARGEST_TILT:
            return
        import vtk

        self._turning = True
        if view not in self._tilted:
            self._tilted[view] = vtk.vtkMatrix4x4()
            self._tilted[view].DeepCopy(node.GetSliceToRAS())
        node.RotateToVolumePlane(self._scan)
        self._turning = False

    def _turn_back(self) -> None:
        """Tilt the views again as they were; where they are stays."""
        for view, matrix in self._tilted.items():
            if view in _view_names():
                node = _slice_widget(view).mrmlSliceNode()
                for row in range(3):
                    for column in range(3):
                        node.GetSliceToRAS().SetElement(row, column, matrix.GetElement(row, column))
                node.UpdateMatrices()
        self._tilted = {}

    def _give_back(self, view: str) -> None:
        volume, opacity = self._before.pop(view)
        if view in _view_names():
            composite = _composite(view)
            composite.SetForegroundVolumeID(volume)
            composite.SetForegroundOpacity(opacity)

    def _take_off(self) -> None:
        for view in list(self._before):
            self._give_back(view)
        if self._node is not None and self._node.GetScene() is not None:
            self._node.GetScene().RemoveNode(self._node)
        self._node = None


def slice_of_view(scan: Any, slice_node: Any) -> tuple[int, int] | None:
    """Return which slice of a scan a view shows: axis (0 i, 1 j, 2 k) and index; None where it shows none.

    A view that is tilted against the voxels gets the slice through its centre that is tilted the least.

    Parameters
    ----------
    scan : vtkMRMLScalarVolumeNode
    slice_node : vtkMRMLSliceNode
    """
    grid = grid_of_node(scan)
    plane = _world_to_node(scan) @ matrix_to_array(slice_node.GetSliceToRAS())
    axis = int(np.argmax(_alignment(grid, plane)))
    index = round(float(np.asarray(grid.ras_to_ijk(plane[:3, 3]))[axis]))
    return (axis, index) if 0 <= index < grid.size_ijk[axis] else None


def tilt_of_view(scan: Any, slice_node: Any) -> float:
    """Return how far a view is tilted against the nearest planes of a scan: 1 − cosine of the angle."""
    plane = _world_to_node(scan) @ matrix_to_array(slice_node.GetSliceToRAS())
    return 1.0 - float(np.max(_alignment(grid_of_node(scan), plane)))


def _alignment(grid: Grid, plane: np.ndarray) -> np.ndarray:
    """Return the cosines between the normal of a plane (4, 4) and the axes i, j, k of a grid."""
    normal = plane[:3, 2] / max(float(np.linalg.norm(plane[:3, 2])), 1e-12)
    return np.abs(np.asarray(grid.directions).T @ normal)


def _world_to_node(node: Any) -> np.ndarray:
    """Return what takes points of the world to a node's own frame, (4, 4); the identity under a curved transform."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    parent = node.GetParentTransformNode()
    if parent is not None and parent.IsTransformToWorldLinear():
        parent.GetMatrixTransformFromWorld(matrix)
    return matrix_to_array(matrix)


def _prepare(volume: Volume, card: Card, levels: Levels) -> _Prepared:
    check_restorable(volume)
    quality = assess(volume, card, levels.noise_percent, levels.resolution)
    backend, expert = choose_backend(card, "onnxruntime", "cpu", None), None
    if levels.interpolated:
        with suppress(ModelNotFoundError):  # a run says so
            expert = expert_for(volume, card, levels.noise_percent, backend)
    return _Prepared(volume, quality, card, backend, expert)


def _preview_node(scan: Any) -> Any:
    """Add the volume that holds the preview: not listed, not saved."""
    scene = scan.GetScene()
    node = scene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    node.UnRegister(None)
    node.SetName(scene.GenerateUniqueName(f"{scan.GetName()}_preview"))
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    scene.AddNode(node)
    return node


def _view_names() -> tuple[str, ...]:
    import slicer

    manager = slicer.app.layoutManager()
    return () if manager is None else tuple(manager.sliceViewNames())


def _slice_widget(name: str) -> Any:
    import slicer

    return slicer.app.layoutManager().sliceWidget(name)


def _composite(view: str) -> Any:
    return _slice_widget(view).sliceLogic().GetSliceCompositeNode()
