"""What MRHarmonizationEnhanceLogic does: enhance, standardise contrast, denoise and sharpen, and what comes afterwards.

Names are those of the module's Python face, in Slicer's style.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from MRHarmonizationLib.inference.enhance import EnhanceRequest
from MRHarmonizationLib.inference.harmonize import NEAREST, HarmonizeRequest
from MRHarmonizationLib.inference.restore import TASK as RESTORE
from MRHarmonizationLib.inference.restore import RestoreRequest
from MRHarmonizationLib.inference.segment import TASK as SEGMENT
from MRHarmonizationLib.methods.harmonizers import HARMONIZERS, Harmonizer
from MRHarmonizationLib.methods.reference_group import ReferenceGroup, load_group, shipped_groups
from MRHarmonizationLib.slicer_adapter import results, units
from MRHarmonizationLib.slicer_adapter.dependencies import (
    DependencyInstaller,
    Requirement,
    SlicerDependencyInstaller,
    requirements_for,
    requirements_for_standardising,
)
from MRHarmonizationLib.slicer_adapter.jobs import ProcessRunner, SubprocessRunner
from MRHarmonizationLib.slicer_adapter.tasks import EnhanceTask, RestoreTask, StandardiseTask
from MRHarmonizationLib.weights.card import Card, read_card
from MRHarmonizationLib.weights.store import get_model, import_weights, list_models

DEFAULT_MODEL = EnhanceRequest().model
DEFAULT_METHOD = HarmonizeRequest().method
DEFAULT_RESTORER = RestoreRequest().model


class EnhanceOperations:
    """Enhance volumes, standardise their contrast, denoise and sharpen them from Python, with or without the panel.

    Parameters
    ----------
    runner, installer : ProcessRunner, DependencyInstaller
        What starts processes and installs packages; tests pass others.
    """

    def __init__(self, runner: ProcessRunner | None = None, installer: DependencyInstaller | None = None) -> None:
        self.runner = runner or SubprocessRunner()
        self.installer = installer or SlicerDependencyInstaller()
        self._blender = results.StrengthBlender()

    # What there is to choose from

    def models(self) -> list[Card]:
        """Return the cards of the models that can be used."""
        return list_models("enhance")

    def importModel(self, cardPath: str | Path) -> Card:
        """Add a model from disk; its weight file lies beside the card. Returns the card in its new place."""
        path = Path(cardPath)
        return import_weights(path.parent / read_card(path).weights.file, path)

    def harmonizers(self) -> list[Harmonizer]:
        """Return the methods that standardise contrast, with ``name``, ``title``, ``summary``, ``defaults``."""
        return [entry for _, entry in HARMONIZERS.items()]

    def standardisers(self) -> list[Card]:
        """Return the cards of the networks that standardise contrast, for ``parameters={"model": id}``."""
        return list_models("standardise")

    def segmenters(self) -> list[Card]:
        """Return the cards of the networks that find structures of the brain."""
        return list_models(SEGMENT)

    def restorers(self) -> list[Card]:
        """Return the cards of the networks that denoise and sharpen."""
        return list_models(RESTORE)

    def referenceGroups(self) -> list[ReferenceGroup]:
        """Return the reference groups that come with the extension, each with ``id`` and ``title``."""
        return [load_group(name) for name in shipped_groups()]

    # Packages

    def ensureDependencies(self, backend: str = "auto", device: str = "auto") -> None:
        """Install what an enhancement needs, after asking the user; raises DependencyError."""
        self._ensure(requirements_for(backend, device))

    def ensureDependenciesToStandardise(self, method: str = DEFAULT_METHOD) -> None:
        """Install what a standardisation needs, after asking the user; raises DependencyError."""
        self._ensure(requirements_for_standardising(method))

    def _ensure(self, requirements: list[Requirement]) -> None:
        missing = self.installer.missing(requirements)
        if missing:
            self.installer.install(missing)

    # Enhancing

    def process(
        self,
        inputNode: Any,
        outputNode: Any = None,
        model: str = DEFAULT_MODEL,
        strength: float = 1.0,
        device: str = "auto",
        **options: Any,
    ) -> Any:
        """Enhance a volume and wait for the result.

        Parameters
        ----------
        inputNode : vtkMRMLScalarVolumeNode
            Not changed.
        outputNode : vtkMRMLScalarVolumeNode, optional
            Overwritten; a new node ``<input>_<model>`` beside the input if omitted.
        model, strength, device
            As on the command line.
        **options
            backend, keepResidual, outputSpacingMm, onProgress: see ``start``.

        Returns
        -------
        vtkMRMLScalarVolumeNode

        Raises
        ------
        MRHarmonizationError
            With the problem and the remedy.
        """
        return self.start(inputNode, outputNode, model, strength, device, **options).wait()

    def start(
        self,
        inputNode: Any,
        outputNode: Any = None,
        model: str = DEFAULT_MODEL,
        strength: float = 1.0,
        device: str = "auto",
        backend: str = "auto",
        keepResidual: bool = False,
        outputSpacingMm: float | None = None,
        onProgress: Callable[[float, str], None] | None = None,
    ) -> EnhanceTask:
        """Start enhancing a volume and return the task at once; call its ``step()`` until it has ended."""
        request = EnhanceRequest(
            model=get_model(model).id,
            strength=strength,
            device=device,
            backend=backend,
            output_spacing_mm=outputSpacingMm or None,
            keep_residual=keepResidual,
        )
        return EnhanceTask(inputNode, outputNode, request, self.runner, onProgress)

    # Standardising contrast

    def standardise(
        self,
        inputNode: Any,
        outputNode: Any = None,
        method: str = DEFAULT_METHOD,
        reference: str | Path = NEAREST,
        strength: float = 1.0,
        **options: Any,
    ) -> Any:
        """Give a volume the contrast of a reference group and wait for the result.

        Parameters
        ----------
        inputNode : vtkMRMLScalarVolumeNode
            Not changed; any orientation and spacing, a single slice too.
        outputNode : vtkMRMLScalarVolumeNode, optional
            Overwritten; a new node ``<input>_<method>`` beside the input if omitted.
        method : str
            Name of one of :meth:`harmonizers`.
        reference : str or path
            Id of one of :meth:`referenceGroups`, a file written by ``mrharmonize reference build``, or 'nearest': the
            group of the extension that is most like the scan.
        strength : float
            Share of the change that is applied, 0 to 1.
        **options
            maskNode, segmentID, keepResidual, parameters, onProgress: see ``startStandardising``.

        Returns
        -------
        vtkMRMLScalarVolumeNode
            float32 on the scan's own grid, in units of the reference (0 air, 1000 full scale) at strength 1.

        Raises
        ------
        MRHarmonizationError
            With the problem and the remedy.
        """
        return self.startStandardising(inputNode, outputNode, method, reference, strength, **options).wait()

    def startStandardising(
        self,
        inputNode: Any,
        outputNode: Any = None,
        method: str = DEFAULT_METHOD,
        reference: str | Path = NEAREST,
        strength: float = 1.0,
        maskNode: Any = None,
        segmentID: str | None = None,
        keepResidual: bool = False,
        parameters: Mapping[str, Any] | None = None,
        onProgress: Callable[[float, str], None] | None = None,
    ) -> StandardiseTask:
        """Start standardising a volume and return the task at once; call its ``step()`` until it has ended.

        Intensities are measured in ``maskNode`` (segmentation, label map, or volume that is 0 outside) or in its part
        ``segmentID``; without one inside the object. ``parameters`` are those of the method, by name.
        """
        request = HarmonizeRequest(
            method=method,
            reference=str(reference),
            strength=strength,
            keep_residual=keepResidual,
            parameters=parameters or {},
        )
        segment = "" if segmentID is None else str(segmentID)
        return StandardiseTask(inputNode, outputNode, request, self.runner, onProgress, maskNode, segment)

    # Denoising and sharpening

    def restore(
        self, inputNode: Any, outputNode: Any = None, denoise: float = 0.8, sharpen: float = 0.3, **options: Any
    ) -> Any:
        """Take noise from a volume and give detail back, on its own grid, and wait for the result.

        Parameters
        ----------
        inputNode : vtkMRMLScalarVolumeNode
            Not changed; any contrast, orientation and spacing, a single slice too.
        outputNode : vtkMRMLScalarVolumeNode, optional
            Overwritten; a new node ``<input>_<model>`` beside the input if omitted.
        denoise, sharpen : float
            Shares of the noise taken away and of the missing detail given back, 0 to 1.
        **options
            model, noiseLevel, blurLevel, interpolated, device, backend, keepResidual, onProgress: see
            ``startRestoring``.

        Returns
        -------
        vtkMRMLScalarVolumeNode

        Raises
        ------
        MRHarmonizationError
            With the problem and the remedy.
        """
        return self.startRestoring(inputNode, outputNode, denoise, sharpen, **options).wait()

    def startRestoring(
        self,
        inputNode: Any,
        outputNode: Any = None,
        denoise: float = 0.8,
        sharpen: float = 0.3,
        model: str = DEFAULT_RESTORER,
        noiseLevel: float | None = None,
        blurLevel: float | None = None,
        interpolated: bool = False,
        device: str = "auto",
        backend: str = "auto",
        keepResidual: bool = False,
        onProgress: Callable[[float, str], None] | None = None,
    ) -> RestoreTask:
        """Start denoising and sharpening a volume and return the task at once; call its ``step()`` until it has ended.

        ``noiseLevel`` (in % of the intensity range) and ``blurLevel`` (resolution in pixels, 1 to 4) are estimated
        from the scan if omitted. ``interpolated`` says that the scanner interpolated the slices from half their
        matrix.
        """
        request = RestoreRequest(
            denoise=denoise,
            sharpen=sharpen,
            noise_level=noiseLevel,
            blur_level=blurLevel,
            interpolated=interpolated,
            model=get_model(model).id,
            device=device,
            backend=backend,
            keep_residual=keepResidual,
        )
        return RestoreTask(inputNode, outputNode, request, self.runner, onProgress)

    # Afterwards

    def canSetStrength(self, outputNode: Any) -> bool:
        """Whether a result's strength can be changed without another run."""
        return self._blender.can_blend(outputNode) and not units.is_restored(outputNode)

    def setStrength(self, outputNode: Any, strength: float) -> None:
        """Change the strength of a result that was made with keepResidual."""
        self._blender.blend(outputNode, strength)

    def undo(self, outputNode: Any) -> None:
        """Put the (resampled) input into a result made with keepResidual, bit for bit; again: put the result back."""
        results.toggle_undo(outputNode)

    def difference(self, outputNode: Any) -> Any:
        """Make or update the volume result − resampled input; returns its node."""
        return results.update_difference(outputNode)

    def forget(self) -> None:
        """Free the memory held for changes of strength."""
        self._blender.forget()
