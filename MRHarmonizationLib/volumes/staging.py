"""Several files that belong together appear together or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType

from MRHarmonizationLib.core.errors import OutputError
from MRHarmonizationLib.volumes.atomic import part_path, remove_abandoned_parts


class Staging:
    """A context in which files are written aside; leaving it without an exception puts all of them in place.

    On an exception, a cancellation or Ctrl-C nothing appears and files that were there before stay as they were.

    Examples
    --------
    ::

        with Staging() as staging:
            write_volume(volume, staging.place("scan.nii.gz"))
            write_json_atomic(record, staging.place("scan.mrh.json"))
    """

    def __init__(self) -> None:
        self._folders: dict[Path, Path] = {}
        self._moves: dict[Path, Path] = {}
        self._removed: list[Path] = []

    def place(self, target: str | os.PathLike[str]) -> Path:
        """Return the path to write to for a file that shall appear at ``target``.

        Raises
        ------
        OutputError
            If the target's folder cannot be written to.
        """
        final = Path(target).expanduser().resolve()
        try:
            if final.parent not in self._folders:
                remove_abandoned_parts(final.parent)
                # known before it exists: a signal between the two must not leave the folder behind
                self._folders[final.parent] = part_path(final.parent)
                self._folders[final.parent].mkdir(mode=0o700)
        except OSError as error:
            raise OutputError(
                f"cannot write to folder {final.parent}: {error.strerror or error}", "choose a folder you may write to"
            ) from error
        self._moves[final] = self._folders[final.parent] / final.name
        return self._moves[final]

    def remove(self, target: str | os.PathLike[str]) -> None:
        """Take away a file of an earlier run, if there is one, once all files are in place."""
        self._removed.append(Path(target).expanduser())

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for final, staged in self._moves.items():
                    os.replace(staged, final)
                for left in self._removed:
                    if left.is_file():
                        left.unlink()
        except OSError as problem:
            raise OutputError(f"cannot write {problem.filename2 or problem.filename}: {problem.strerror}") from problem
        finally:
            for folder in self._folders.values():
                shutil.rmtree(folder, ignore_errors=True)
