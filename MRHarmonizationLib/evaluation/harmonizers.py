"""Everything that can be held to the scanner probe, by one name each: controls, classical methods, models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.evaluation.cohort import CohortImage
from MRHarmonizationLib.methods.base import METHODS
from MRHarmonizationLib.methods.harmonizers.base import HARMONIZERS, FittedHarmonizer
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.store import get_model, list_models

#: The positive control: images as they are. And the files of the cohort's column ``harmonised``.
IDENTITY, FILES = "identity", "files"
#: Task of the model cards that harmonise.
TASK = "enhance"
#: Spacing of the grid to which classical upsampling methods bring a scan, as models do.
OUTPUT_SPACING_MM = 1.0


class Harmonizer(Protocol):
    """Makes the harmonised version of a cohort's image; fit for pickling."""

    def __call__(self, image: CohortImage, volume: Volume) -> Volume:
        """Return the harmonised volume of an image that has been read."""
        ...


@dataclass(frozen=True)
class Identity:
    """Returns every image as it is."""

    def __call__(self, image: CohortImage, volume: Volume) -> Volume:
        """Return the volume."""
        return volume


@dataclass(frozen=True)
class FromFiles:
    """Reads what other software made of an image.

    Attributes
    ----------
    files : mapping of Path to Path
        Path of an image → its harmonised version.
    """

    files: Mapping[Path, Path]

    def __call__(self, image: CohortImage, volume: Volume) -> Volume:
        """Return the file's volume."""
        return read_volume(self.files[image.path])


@dataclass(frozen=True)
class Upsampling:
    """A classical upsampling method, to 1 mm."""

    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, image: CohortImage, volume: Volume) -> Volume:
        """Return the volume on its 1 mm grid."""
        return METHODS.get(self.method).apply(volume, volume.grid.isotropic(OUTPUT_SPACING_MM), **self.parameters)


@dataclass(frozen=True)
class Enhancement:
    """A published model, on the CPU with a given number of threads."""

    model: str
    threads: int | None = None

    def __call__(self, image: CohortImage, volume: Volume) -> Volume:
        """Return the enhanced volume."""
        from MRHarmonizationLib.inference.enhance import EnhanceRequest, enhance

        return enhance(volume, EnhanceRequest(self.model, threads=self.threads, measure=False)).volume


@dataclass(frozen=True)
class Contrast:
    """A harmonizer of contrast that has been fitted to the reference scanner."""

    fitted: FittedHarmonizer

    def __call__(self, image: CohortImage, volume: Volume) -> Volume:
        """Return the volume with other intensities."""
        return self.fitted.apply(volume)


def harmonizer_names() -> list[str]:
    """Return every name that :func:`make_harmonizer` knows without files: controls, classical methods, models.

    Networks of :data:`HARMONIZERS` are left out: each was taught certain contrasts, and a cohort does not name its own.
    """
    models = [card.id for card in list_models(TASK)]
    contrast = [name for name, entry in HARMONIZERS.items() if "model" not in entry.defaults]
    return [IDENTITY, *contrast, *METHODS.names(), *models]


def make_harmonizer(
    name: str,
    images: Sequence[CohortImage],
    references: Sequence[CohortImage] = (),
    parameters: Mapping[str, Any] | None = None,
    threads: int | None = None,
) -> Harmonizer:
    """Return a harmonizer, fitted where it needs to be.

    Parameters
    ----------
    name : str
        See :func:`harmonizer_names`; 'files' for the cohort's column ``harmonised``.
    images : sequence of CohortImage
        The whole cohort.
    references : sequence of CohortImage
        Training scans of the reference scanner, for methods that are fitted.
    parameters : mapping, optional
        Of a classical method.
    threads : int, optional
        Of a model.

    Raises
    ------
    ParameterError
        Unknown name, naming the choices; or parameters that it does not take.
    InputError
        Images without a harmonised file; unreadable references.
    ModelNotFoundError, WeightsError
        A model is missing or altered.
    """
    if parameters and name not in (*HARMONIZERS.names(), *METHODS.names()):
        raise ParameterError(f"harmonizer '{name}' takes no parameters, got {dict(parameters)}", "leave them out")
    if name == IDENTITY:
        return Identity()
    if name == FILES:
        return FromFiles(_harmonised_files(images))
    if name in HARMONIZERS.names():
        scans = [read_volume(image.path) for image in references]
        return Contrast(HARMONIZERS.get(name).fit(scans, **(parameters or {})))
    if name in METHODS.names():
        return Upsampling(name, dict(parameters or {}))
    if name not in harmonizer_names():
        raise ParameterError(
            f"harmonizer '{name}' is unknown", f"choose one of: {', '.join(harmonizer_names())}; or none"
        )
    return Enhancement(get_model(name).id, threads)


def _harmonised_files(images: Sequence[CohortImage]) -> dict[Path, Path]:
    found = {image.path: image.harmonised for image in images if image.harmonised is not None}
    lacking = [image.name for image in images if image.path not in found]
    if lacking:
        raise InputError(
            f"{len(lacking)} of {len(images)} images have no harmonised file, the first is '{lacking[0]}'",
            "fill in the column 'harmonised' for every image, or leave it out",
        )
    return found
