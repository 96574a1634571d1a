"""Writing files so that they exist whole or not at all, and asking beforehand whether they can be written."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import platform
import re
import secrets
import shutil
import stat
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import InputError, OutputError

#: Start of the names of files still being written; what a killed process leaves is known by it.
PART_PREFIX = ".mrh-part-"
#: Age from which the part of a process that is gone may be removed: a machine of the same name may share the folder.
ABANDONED_S = 600.0

#: Bytes per MiB, for messages.
MIB = 2**20

_HASH_BLOCK_BYTES = 1 << 20


def check_output_path(path: str | os.PathLike[str], bytes_needed: int = 0, overwrite: bool = True) -> Path:
    """Make sure that a file can be written, before any work is done for it.

    Creates and removes an empty file beside the target, which finds what permission bits do not tell (read-only
    mounts, quotas, pseudo file systems).

    Parameters
    ----------
    path : path-like
        The file to be written.
    bytes_needed : int
        Free space that must be left in the folder.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The absolute path, links followed: writing there replaces the file, not a link to it.

    Raises
    ------
    OutputError
        The folder is missing, not a folder, not writable or full, or the target is not a replaceable file.
    """
    given = Path(path).expanduser()
    try:
        target = given.resolve()
        _check_folder(target.parent)
        _check_target(target, overwrite)
        free = shutil.disk_usage(target.parent).free
        if free < bytes_needed:
            raise OutputError(
                f"folder {target.parent} has {free / MIB:.1f} MiB free, {bytes_needed / MIB:.1f} MiB are needed",
                "free some space or choose another folder",
            )
        remove_abandoned_parts(target.parent)
        probe = part_path(target.parent)
        open(probe, "xb").close()
        os.unlink(probe)
    except OutputError:
        raise
    except (OSError, RuntimeError) as problem:  # RuntimeError: a loop of links, before Python 3.13
        raise _output_error(given, problem) from problem
    return target


def write_bytes_atomic(data: bytes, path: str | os.PathLike[str], overwrite: bool = True) -> Path:
    """Write a file that appears under its name only when it is complete and on disk.

    The bytes go to a file named ``.mrh-part-*`` in the same folder, which then takes the target's name in one step.
    An exception, also a cancellation, removes it; the target keeps its former content.

    Parameters
    ----------
    data : bytes
        The whole content.
    path : path-like
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The absolute path written.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    target = check_output_path(path, len(data), overwrite)
    part = part_path(target.parent)
    try:
        try:
            with open(part, "xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            if target.exists():
                os.chmod(part, stat.S_IMODE(os.stat(target).st_mode))
            os.replace(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)
    except OSError as problem:
        raise _output_error(target, problem) from problem
    return target


def write_text_atomic(text: str, path: str | os.PathLike[str], overwrite: bool = True) -> Path:
    """Write a UTF-8 text file as :func:`write_bytes_atomic` does."""
    return write_bytes_atomic(text.encode("utf-8"), path, overwrite)


def write_json_atomic(obj: Any, path: str | os.PathLike[str], overwrite: bool = True) -> Path:
    """Write strict JSON (no NaN, no Infinity), indented, as :func:`write_bytes_atomic` does.

    Raises
    ------
    OutputError
        The object holds what JSON cannot, or the file cannot be written.
    """
    try:
        text = json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as problem:
        raise OutputError(f"{path}: not representable as JSON ({problem})", "pass plain, finite values") from problem
    return write_text_atomic(text + "\n", path, overwrite)


def write_csv(rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> Path:
    """Write rows with the columns of the first as CSV, whole or not at all; no rows make an empty file."""
    stream = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return write_bytes_atomic(stream.getvalue().encode("utf-8"), path)


def digest_file(path: str | os.PathLike[str]) -> str:
    """Return ``sha256:<hex>`` of a file's bytes.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    state = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while block := stream.read(_HASH_BLOCK_BYTES):
                state.update(block)
    except OSError as problem:
        raise InputError(f"{path}: {problem.strerror or problem}", "check the path and its permissions") from problem
    return f"sha256:{state.hexdigest()}"


def _check_folder(folder: Path) -> None:
    try:
        mode = os.stat(folder).st_mode
    except FileNotFoundError:
        raise OutputError(f"output folder {folder} does not exist", "create it or choose another") from None
    if not stat.S_ISDIR(mode):
        raise OutputError(f"output folder {folder} is a file", "choose a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"output folder {folder} is read-only", "choose a folder you may write to")


def _check_target(target: Path, overwrite: bool) -> None:
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise OutputError(f"output {target} is a folder", "give a file name")
    if not stat.S_ISREG(mode):
        raise OutputError(f"output {target} is a device or a pipe", "give the name of an ordinary file")
    if not overwrite:
        raise OutputError(f"output {target} exists", "choose another name or allow it to be replaced")
    if not os.access(target, os.W_OK):
        raise OutputError(f"output {target} is read-only", "choose another name or make the file writable")


def part_path(folder: Path) -> Path:
    """Return a new hidden name in a folder that tells which process on which machine writes there."""
    return folder / f"{PART_PREFIX}{_machine()}-{os.getpid()}-{secrets.token_hex(8)}"


def remove_abandoned_parts(folder: Path) -> None:
    """Remove what killed processes of this machine left in a folder; never raises."""
    mine = re.compile(rf"{re.escape(PART_PREFIX)}{_machine()}-(\d+)-[0-9a-f]+")
    try:
        for entry in os.scandir(folder):
            found = mine.fullmatch(entry.name)
            if found is None or _is_running(int(found[1])):
                continue
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > ABANDONED_S:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    os.unlink(entry.path)
    except OSError:
        return  # the folder cannot be listed, or somebody else was faster


def _machine() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _is_running(process: int) -> bool:
    if os.name != "posix":
        return True  # signal 0 would end a process on Windows: leave it to the user there
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """Put the new name itself on disk where the system lets a folder be opened and synced; the file is whole anyway."""
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as problem:
        # Network file systems cannot, and a folder one may only write to cannot be opened.
        if problem.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM):
            raise


def _output_error(path: Path, problem: BaseException) -> OutputError:
    code = getattr(problem, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT):
        remedy = "free some space or choose another folder"
    elif code == errno.ENAMETOOLONG:
        remedy = "choose a shorter name"
    else:
        remedy = "choose a folder you may write to"
    return OutputError(f"cannot write {path}: {getattr(problem, 'strerror', None) or problem}", remedy)
