"""What is recorded of a result that a network made of one scan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from MRHarmonizationLib.inference.backends import Backend
from MRHarmonizationLib.inference.provenance import Provenance
from MRHarmonizationLib.inference.undo import voxel_digest
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.card import Card


def model_provenance(
    operation: str,
    card: Card,
    backend: Backend,
    parameters: Mapping[str, Any],
    scan: Volume,
    result: np.ndarray,
    warnings: tuple[str, ...],
) -> Provenance:
    """Return the record of a result.

    Parameters
    ----------
    operation : str
    card : Card
    backend : Backend
        Tells which of the card's weight files ran.
    parameters : mapping
        The request, JSON-ready.
    scan : Volume
        That went in.
    result : ndarray, shape (K, J, I)
        Voxels that came out.
    warnings : tuple of str
    """
    from MRHarmonizationLib import __version__

    suffix = ".pt" if backend.name == "torch" else ".onnx"
    weights = next(weights for weights in card.weight_files if weights.file.endswith(suffix))
    return Provenance(
        operation=operation,
        model_id=card.id,
        model_version=card.version,
        weights_sha256=weights.sha256,
        library_version=__version__,
        parameters=parameters,
        input_digest=scan.digest(),
        output_digest=voxel_digest(result),
        input_name=scan.name,
        backend=backend.name,
        device=backend.device,
        warnings=warnings,
    )
