"""An enhancement from node to node: started, looked at from Qt's event loop or waited for, stored when it has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.inference.domain import check_scan
from MRHarmonizationLib.inference.enhance import EnhanceRequest
from MRHarmonizationLib.slicer_adapter import records
from MRHarmonizationLib.slicer_adapter.enhance_run import Enhancement, EnhanceRun
from MRHarmonizationLib.slicer_adapter.jobs import ProcessRunner
from MRHarmonizationLib.slicer_adapter.node_task import NodeTask, temporary_folder
from MRHarmonizationLib.slicer_adapter.nodes import volume_from_node
from MRHarmonizationLib.slicer_adapter.results import store_enhancement


class EnhanceTask(NodeTask[Enhancement]):
    """A started enhancement of a node.

    Parameters
    ----------
    input_node : vtkMRMLScalarVolumeNode
        Read once, now; never changed.
    output_node : vtkMRMLScalarVolumeNode or None
        Changed only when the enhancement has succeeded; None: a new node ``<input>_<model>`` is made then.
    request : EnhanceRequest
    runner : ProcessRunner
    on_progress : callable(fraction: float, message: str), optional

    Attributes
    ----------
    output_node : vtkMRMLScalarVolumeNode or None
    warnings : tuple of str

    Raises
    ------
    InputError
        The input cannot be enhanced.
    ParameterError
        The output is the input.
    OutputError
        There is no room for the temporary files.
    """

    def __init__(
        self,
        input_node: Any,
        output_node: Any,
        request: EnhanceRequest,
        runner: ProcessRunner,
        on_progress: Callable[[float, str], None] | None = None,
    ) -> None:
        if input_node is not None and output_node is input_node:
            raise ParameterError("the result cannot replace its input", "choose another result volume")
        volume = volume_from_node(input_node)
        check_scan(volume)
        self.input_node, self.output_node, self.request = input_node, output_node, request
        self.warnings: tuple[str, ...] = ()
        super().__init__(EnhanceRun(volume, request, runner, on_progress, temporary_folder()))

    @property
    def input_nodes(self) -> tuple[Any, ...]:
        """The scan."""
        return (self.input_node,)

    @property
    def product(self) -> Any:
        """The output node."""
        return self.output_node

    def _store(self, outcome: Enhancement) -> None:
        if self.input_node.GetScene() is None:
            raise InputError("the scan was removed while it was enhanced", "load it and press Apply again")
        if self.output_node is None or self.output_node.GetScene() is None:
            name = f"{self.input_node.GetName()}_{self.request.model}"
            self.output_node = records.new_volume_node(name, self.input_node)
        done = replace(outcome, provenance=replace(outcome.provenance, input_name=self.input_node.GetName()))
        store_enhancement(done, self.input_node, self.output_node)
        self.warnings = done.warnings
