"""Where an operation on a file writes, checked before the work; and the writing, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MRHarmonizationLib.core.errors import OutputError
from MRHarmonizationLib.inference.provenance import sidecar_path
from MRHarmonizationLib.volumes.files import check_output_path, check_volume_output, write_json_atomic, write_volume
from MRHarmonizationLib.volumes.staging import Staging

if TYPE_CHECKING:
    from MRHarmonizationLib.core.progress import Progress
    from MRHarmonizationLib.volumes.volume import Volume

AnyPath = str | os.PathLike[str]

RESIDUAL_SUFFIX = ".nrrd"
"""A residual is an int32 image whose metadata must survive; of the formats written only NRRD keeps them."""

WRITING_ALLOWANCE = 1.1
"""Disk space asked for, over the four bytes of each voxel: float32 and int32 images hardly compress."""

READING_PART, WORKING_PART = 0.03, 0.95
"""Fractions of the progress at which reading and the operation itself end; the rest is writing."""


@dataclass(frozen=True)
class Targets:
    """The files that an operation writes.

    Attributes
    ----------
    output, sidecar : Path
        The volume, and the record of where it comes from beside it.
    residual : Path or None
    """

    output: Path
    sidecar: Path
    residual: Path | None

    @classmethod
    def checked(cls, output: AnyPath, residual: AnyPath | None, read: Mapping[str, AnyPath | None]) -> Targets:
        """Return the targets of an operation that reads ``read``, files by what they are.

        Raises
        ------
        OutputError
            One cannot be written, or would overwrite another or what is read.
        """
        target = check_volume_output(output)
        targets = cls(target, check_output_path(sidecar_path(target)), checked_residual_path(residual))
        given = {name: None if path is None else Path(path) for name, path in read.items()}
        written = {"output": target, "residual": targets.residual, "sidecar": targets.sidecar}
        refuse_same_file({**given, **written})
        return targets

    def check_space(self, voxels: int) -> None:
        """Refuse to begin work whose result of so many voxels will not fit on the disk; raises OutputError."""
        needed = int(voxels * 4 * WRITING_ALLOWANCE)
        shared = self.residual is not None and self.residual.parent == self.output.parent
        check_output_path(self.output, needed * 2 if shared else needed)
        if self.residual is not None and not shared:
            check_output_path(self.residual, needed)

    def write(
        self, volume: Volume, residual: Volume | None, record: Mapping[str, Any], progress: Progress | None = None
    ) -> None:
        """Write all files, or none when the disk is full or the user cancels; the residual if there is a place for it.

        Raises
        ------
        OutputError, OperationCancelled
        """
        with Staging() as staging:
            if self.residual is not None and residual is not None:
                write_volume(residual, staging.place(self.residual))
            write_json_atomic(dict(record), staging.place(self.sidecar))
            write_volume(volume, staging.place(self.output))
            if progress is not None:
                progress.check()


def checked_residual_path(residual: AnyPath | None) -> Path | None:
    """Return the absolute path of a residual to be written, None for None; raises OutputError."""
    if residual is None:
        return None
    if not os.fspath(residual).lower().endswith(RESIDUAL_SUFFIX):
        raise OutputError(f"residual {os.fspath(residual)} does not end with {RESIDUAL_SUFFIX}", "name a .nrrd file")
    return check_volume_output(residual)


def refuse_same_file(named: Mapping[str, Path | None]) -> None:
    """Refuse to overwrite what is read, or to write two things to one place; raises OutputError."""
    seen: dict[Path, str] = {}
    for name, path in _resolved(named.items()):
        if path in seen:
            raise OutputError(f"{seen[path]} and {name} are the same file {path}", "choose another name")
        seen[path] = name


def _resolved(named: Iterable[tuple[str, Path | None]]) -> Iterable[tuple[str, Path]]:
    return ((name, path.expanduser().resolve()) for name, path in named if path is not None)
