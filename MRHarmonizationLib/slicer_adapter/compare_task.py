"""A comparison from nodes to nodes: started, looked at from Qt's event loop or waited for, stored when it has ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from MRHarmonizationLib.core.checks import check_volume_array
from MRHarmonizationLib.core.errors import GridMismatchError, InputError, ParameterError
from MRHarmonizationLib.inference.provenance import ATTRIBUTE_PREFIX
from MRHarmonizationLib.slicer_adapter import records
from MRHarmonizationLib.slicer_adapter.compare_readiness import disjoint
from MRHarmonizationLib.slicer_adapter.compare_run import DEFAULT_WINDOW, CompareRequest, CompareRun, Comparison
from MRHarmonizationLib.slicer_adapter.comparisons import StoredComparison, store_comparison
from MRHarmonizationLib.slicer_adapter.jobs import ProcessRunner
from MRHarmonizationLib.slicer_adapter.masks import label_volume, mask_volume
from MRHarmonizationLib.slicer_adapter.node_task import NodeTask, temporary_folder
from MRHarmonizationLib.slicer_adapter.nodes import volume_from_node, volume_in_frame_of


class CompareTask(NodeTask[Comparison]):
    """A started comparison of nodes.

    Everything is measured in the frame of ``after``: parent transforms of the other nodes are followed.

    Parameters
    ----------
    before, after : vtkMRMLScalarVolumeNode
        Read once, now; never changed.
    reference : vtkMRMLScalarVolumeNode or None
    mask : vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode or None
    segment : str
        Part of the mask, as :func:`~MRHarmonizationLib.slicer_adapter.masks.parts_of` names it; '' for the whole.
    runner : ProcessRunner
    features : sequence of str
        Texture features to map.
    window : int
        Of the maps, voxels.
    extra_metrics : sequence of str
        Slow metrics to measure as well; "all" for every one.
    regions : bool
        Whether the volumes of brain structures are measured.
    segmentations : sequence of vtkMRMLLabelMapVolumeNode
        Label maps of before, after and the reference to measure instead of those the network finds.
    table : vtkMRMLTableNode or None
        An earlier comparison to overwrite; None: a new one.
    on_progress : callable(fraction: float, message: str), optional

    Attributes
    ----------
    table : vtkMRMLTableNode or None
    stored : StoredComparison or None
        When it has succeeded.

    Raises
    ------
    InputError
        An image cannot be compared, the mask is empty.
    GridMismatchError
        The images do not overlap, or a transform between them is not linear.
    ParameterError
        The same node twice; an unknown feature; not one label map for every image.
    ModelNotFoundError
        Brain structures are asked for and their network is not installed.
    OutputError
        There is no room for the temporary files.
    """

    def __init__(
        self,
        before: Any,
        after: Any,
        runner: ProcessRunner,
        reference: Any = None,
        mask: Any = None,
        segment: str = "",
        features: Sequence[str] = (),
        window: int = DEFAULT_WINDOW,
        extra_metrics: Sequence[str] = (),
        regions: bool = False,
        segmentations: Sequence[Any] = (),
        table: Any = None,
        on_progress: Callable[[float, str], None] | None = None,
    ) -> None:
        from MRHarmonizationLib.inference.compare_regions import check_regions
        from MRHarmonizationLib.inference.compare_texture import check_maps

        if before is not None and before is after:
            raise ParameterError(f"'{after.GetName()}' is both before and after", "choose two volumes")
        check_maps(features, window)
        check_regions(regions, len(segmentations), 2 if reference is None else 3)
        result = volume_from_node(after)
        volumes = {"before": _placed(before, after, "before"), "after": result}
        if reference is not None:
            volumes["reference"] = _placed(reference, after, "reference")
        for role, volume in volumes.items():
            check_volume_array(volume.array, role)
            if disjoint(volume.grid, result.grid):
                raise GridMismatchError(f"{role} and after do not overlap in space", "register them first")
        region = None if mask is None else mask_volume(mask, segment, after)
        self._images = {"before": before, "after": after, "reference": reference, "mask": mask}
        known = {role: making_of(node) for role, node in self._images.items() if node is not None and role != "mask"}
        request = CompareRequest(
            volumes["before"],
            result,
            volumes.get("reference"),
            region,
            tuple(features),
            int(window),
            tuple(extra_metrics),
            regions,
            tuple(label_volume(node, after) for node in segmentations),
            {role: record for role, record in known.items() if record},
        )
        self.before, self.after, self.table = before, after, table
        self.stored: StoredComparison | None = None
        self._window = int(window)
        super().__init__(CompareRun(request, runner, on_progress, temporary_folder()))

    @property
    def input_nodes(self) -> tuple[Any, ...]:
        """Before and after, and the reference and the mask where there are any."""
        return tuple(node for node in self._images.values() if node is not None)

    @property
    def product(self) -> StoredComparison | None:
        """The stored comparison."""
        return self.stored

    def _store(self, outcome: Comparison) -> None:
        if any(node.GetScene() is None for node in self.input_nodes):
            raise InputError("a volume was removed while it was compared", "load it and press Apply again")
        self.stored = store_comparison(outcome, self._images, self.table, self._window)
        self.table = self.stored.table


def making_of(node: Any) -> dict[str, str]:
    """Return what a result remembers of its making, without the prefix; nothing of other nodes."""
    if not records.is_output(node):
        return {}
    return {name.removeprefix(ATTRIBUTE_PREFIX): text for name, text in records.record_of(node).items()}


def _placed(node: Any, after: Any, role: str) -> Any:
    if node is None:
        raise InputError(f"no volume is selected as {role}", "select a volume")
    return volume_in_frame_of(node, after)
