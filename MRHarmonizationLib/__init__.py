"""Bring MR scans to one quality: enhance low-field head scans, with the proof beside the result.

Importing this package loads nothing heavy; the names below are fetched from their modules at first use.

Examples
--------
Enhance a file and keep what is needed to undo it::

    from MRHarmonizationLib import EnhanceRequest, enhance, read_volume, write_volume

    result = enhance(read_volume("scan.nii.gz"), EnhanceRequest(model="lowfield", strength=0.8))
    write_volume(result.volume, "enhanced.nii.gz")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME_OF_NAME = {
    "Volume": "volumes.volume",
    "Grid": "volumes.grid",
    "read_volume": "volumes.files",
    "write_volume": "volumes.files",
    "EnhanceRequest": "inference.enhance",
    "EnhanceResult": "inference.enhance",
    "enhance": "inference.enhance",
    "enhance_file": "inference.file_operations",
    "HarmonizeRequest": "inference.harmonize",
    "HarmonizeResult": "inference.harmonize",
    "harmonize": "inference.harmonize",
    "harmonize_file": "inference.harmonize_files",
    "SegmentRequest": "inference.segment",
    "SegmentResult": "inference.segment",
    "segment": "inference.segment",
    "segment_file": "inference.segment_files",
    "undo": "inference.undo",
    "undo_file": "inference.file_operations",
    "compare": "inference.compare",
    "list_models": "weights.store",
    "get_model": "weights.store",
    "Progress": "core.progress",
    "MRHarmonizationError": "core.errors",
}

__all__ = [
    "EnhanceRequest",
    "EnhanceResult",
    "Grid",
    "HarmonizeRequest",
    "HarmonizeResult",
    "MRHarmonizationError",
    "Progress",
    "SegmentRequest",
    "SegmentResult",
    "Volume",
    "__version__",
    "compare",
    "enhance",
    "enhance_file",
    "get_model",
    "harmonize",
    "harmonize_file",
    "list_models",
    "read_volume",
    "segment",
    "segment_file",
    "undo",
    "undo_file",
    "write_volume",
]

if TYPE_CHECKING:
    from MRHarmonizationLib.core.errors import MRHarmonizationError
    from MRHarmonizationLib.core.progress import Progress
    from MRHarmonizationLib.inference.compare import compare
    from MRHarmonizationLib.inference.enhance import EnhanceRequest, EnhanceResult, enhance
    from MRHarmonizationLib.inference.file_operations import enhance_file, undo_file
    from MRHarmonizationLib.inference.harmonize import HarmonizeRequest, HarmonizeResult, harmonize
    from MRHarmonizationLib.inference.harmonize_files import harmonize_file
    from MRHarmonizationLib.inference.segment import SegmentRequest, SegmentResult, segment
    from MRHarmonizationLib.inference.segment_files import segment_file
    from MRHarmonizationLib.inference.undo import undo
    from MRHarmonizationLib.volumes.files import read_volume, write_volume
    from MRHarmonizationLib.volumes.grid import Grid
    from MRHarmonizationLib.volumes.volume import Volume
    from MRHarmonizationLib.weights.store import get_model, list_models


def __getattr__(name: str) -> Any:
    """Fetch a public name from its module at first use (PEP 562)."""
    if name not in _HOME_OF_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOME_OF_NAME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF_NAME})
