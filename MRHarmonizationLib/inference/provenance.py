"""Where a result comes from: recorded beside files and on nodes."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.volumes.atomic import write_json_atomic

ATTRIBUTE_PREFIX = "MRHarmonization."
SIDECAR_SUFFIX = ".mrh.json"
SIDECAR_FORMAT = 1

_IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


@dataclass(frozen=True)
class Provenance:
    """Everything needed to make a result again, and to know that it is the same.

    Attributes
    ----------
    operation : str
        ``enhance`` and others to come.
    model_id, model_version, weights_sha256 : str
        Of the network that ran.
    library_version : str
    parameters : mapping
        The request, JSON-ready.
    input_digest, output_digest : str
        ``Volume.digest()`` of the scan that went in; ``voxel_digest`` of the voxels that came out.
    input_name : str
        Name of the scan that went in.
    backend, device : str
        What the network ran on.
    created_utc : str
        ISO 8601, to the second.
    warnings : tuple of str
        What the user was warned of.
    platform : str
        Operating system and processor family.
    """

    operation: str
    model_id: str
    model_version: str
    weights_sha256: str
    library_version: str
    parameters: Mapping[str, Any]
    input_digest: str
    output_digest: str
    input_name: str = ""
    backend: str = ""
    device: str = ""
    created_utc: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    warnings: tuple[str, ...] = ()
    platform: str = field(default_factory=lambda: f"{platform.system()} {platform.machine()}".strip())

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))
        object.__setattr__(self, "warnings", tuple(self.warnings))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; :meth:`from_dict` reads them back."""
        values: dict[str, Any] = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        values.update(parameters=dict(self.parameters), warnings=list(self.warnings))
        return {"format": SIDECAR_FORMAT, **values}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Provenance:
        """Build a provenance from :meth:`to_dict`; keys of later versions are ignored.

        Raises
        ------
        InputError
            If a key is missing.
        """
        known = {entry.name: values[entry.name] for entry in fields(cls) if entry.name in values}
        try:
            return cls(**known)
        except TypeError as error:
            raise InputError(
                f"provenance is incomplete: {error}", "choose a sidecar written by MRHarmonization"
            ) from error

    def to_attributes(self) -> dict[str, str]:
        """Return node attributes ``MRHarmonization.<name>``, all text; parameters become one attribute each."""
        plain = {key: value for key, value in self.to_dict().items() if key not in ("format", "parameters", "warnings")}
        plain["model"] = plain.pop("model_id")
        plain["warnings"] = " | ".join(self.warnings)
        plain.update({f"parameter.{key}": value for key, value in self.parameters.items()})
        return {f"{ATTRIBUTE_PREFIX}{key}": _text(value) for key, value in plain.items()}


def sidecar_path(image_path: Path) -> Path:
    """Return where the provenance of an image file lies: beside it, ``.mrh.json`` in place of its extension.

    >>> sidecar_path(Path("out/scan.nii.gz")).as_posix()
    'out/scan.mrh.json'
    """
    path = Path(image_path)
    for suffix in _IMAGE_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.with_name(path.name[: -len(suffix)] + SIDECAR_SUFFIX)
    return path.with_name(path.name + SIDECAR_SUFFIX)


def write_sidecar(provenance: Provenance, image_path: Path) -> Path:
    """Write the provenance beside an image file, atomically, and return where.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    return write_json_atomic(provenance.to_dict(), sidecar_path(image_path))


def _text(value: object) -> str:
    return "" if value is None else str(value)
