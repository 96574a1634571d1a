"""Choices a panel offers in lists. They are stored in scenes by name: never rename a member."""

from __future__ import annotations

import enum


class Mode(enum.Enum):
    """What the panel MR Enhance does."""

    ENHANCE = "enhance"
    STANDARDISE = "standardise"
    RESTORE = "restore"

    def label(self) -> str:
        """Return what the list shows."""
        return _translated(_MODE_LABELS[self.name])


_MODE_LABELS = {"ENHANCE": "Enhance", "STANDARDISE": "Standardise contrast", "RESTORE": "Denoise and sharpen"}


class Device(enum.Enum):
    """Where a network runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"

    def label(self) -> str:
        """Return what the list shows."""
        return _translated({"AUTO": "Automatic", "CPU": "Processor (CPU)", "CUDA": "NVIDIA GPU (CUDA)"}[self.name])


class Backend(enum.Enum):
    """What runs a network."""

    AUTO = "auto"
    ONNXRUNTIME = "onnxruntime"
    TORCH = "torch"

    def label(self) -> str:
        """Return what the list shows."""
        return _translated({"AUTO": "Automatic", "ONNXRUNTIME": "ONNX Runtime", "TORCH": "PyTorch"}[self.name])


class Planes(enum.Enum):
    """Planes of the comparison; values are keys of :data:`~MRHarmonizationLib.slicer_adapter.layouts.PLANES`."""

    AXIAL_SAGITTAL = "axial_sagittal"
    AXIAL = "axial"
    SAGITTAL = "sagittal"
    CORONAL = "coronal"
    ALL = "all"

    def label(self) -> str:
        """Return what the list shows."""
        if self is Planes.ALL:
            return _translated("Axial, sagittal and coronal")
        return _translated(self.name.replace("_", " and ").capitalize())


def _translated(text: str) -> str:
    from slicer.i18n import translate

    return str(translate("MRHarmonization", text))
