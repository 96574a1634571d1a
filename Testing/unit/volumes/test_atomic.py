"""Atomic writing: a file is there whole or not at all, and what cannot be written is known beforehand."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from support.geometry import GRIDS, random_array

from MRHarmonizationLib.core.errors import InputError, OutputError
from MRHarmonizationLib.volumes import atomic
from MRHarmonizationLib.volumes.atomic import (
    ABANDONED_S,
    PART_PREFIX,
    check_output_path,
    digest_file,
    part_path,
    write_bytes_atomic,
    write_json_atomic,
    write_text_atomic,
)
from MRHarmonizationLib.volumes.files import check_volume_output, write_volume
from MRHarmonizationLib.volumes.volume import Volume

Usage = namedtuple("Usage", "total used free")


def test_bytes_are_written_and_the_absolute_path_returned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert write_bytes_atomic(b"content", "name.bin") == tmp_path / "name.bin"
    assert (tmp_path / "name.bin").read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["name.bin"]


def test_new_file_gets_the_usual_permissions(tmp_path):
    mask = os.umask(0o027)
    try:
        path = write_bytes_atomic(b"content", tmp_path / "name")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_replaced_file_keeps_its_permissions(tmp_path):
    path = tmp_path / "name"
    path.write_bytes(b"old")
    path.chmod(0o604)
    write_bytes_atomic(b"new", path)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o604)


def test_json_is_strict_indented_and_utf8(tmp_path):
    path = write_json_atomic({"spacing_µm": [1, 2.5], "name": "Ü"}, tmp_path / "a.json")
    assert json.loads(path.read_text(encoding="utf-8")) == {"spacing_µm": [1, 2.5], "name": "Ü"}
    assert path.read_bytes().endswith(b"}\n")
    assert "Ü".encode() in path.read_bytes()


@pytest.mark.parametrize("obj", [{"a": float("nan")}, {"a": float("inf")}, {"a": np.float32(1)}, {"a": {1, 2}}])
def test_what_json_cannot_hold_is_refused_before_anything_is_written(obj, tmp_path):
    with pytest.raises(OutputError, match="JSON"):
        write_json_atomic(obj, tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []


def test_digest_is_the_sha256_of_the_bytes(tmp_path):
    content = os.urandom(3 * 2**20 + 7)
    path = write_bytes_atomic(content, tmp_path / "a")
    assert digest_file(path) == "sha256:" + hashlib.sha256(content).hexdigest()


def test_digest_of_a_missing_file_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="none"):
        digest_file(tmp_path / "none")


# --- what cannot be written is refused -----------------------------------------------------------------------------


def refused(path, words, **options) -> OutputError:
    with pytest.raises(OutputError, match=words) as caught:
        check_output_path(path, **options)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    with pytest.raises(OutputError, match=words):
        write_bytes_atomic(b"x" * options.pop("bytes_needed", 1), path, **options)
    return caught.value


def test_good_path_is_returned_absolute_and_nothing_is_left(tmp_path):
    assert check_output_path(tmp_path / "a" / ".." / "scan.nii.gz") == tmp_path / "scan.nii.gz"
    assert list(tmp_path.iterdir()) == []


def test_missing_folder(tmp_path):
    refused(tmp_path / "none" / "a.nii", f"folder {tmp_path}/none does not exist")


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    refused(tmp_path / "file" / "a.nii", f"folder {tmp_path}/file is a file")
    refused(tmp_path / "file" / "deeper" / "a.nii", "file")


def test_target_that_is_a_folder(tmp_path):
    (tmp_path / "a.nii").mkdir()
    refused(tmp_path / "a.nii", "is a folder")


def test_target_that_is_a_device_or_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "device or a pipe")
    refused("/dev/null", "device or a pipe")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_existing_target_that_must_stay(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"old")
    refused(tmp_path / "a.nii", "exists", overwrite=False)
    check_output_path(tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes() == b"old"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs Linux's /proc, which nobody can write to")
def test_folder_that_not_even_root_can_write_to():
    error = refused("/proc/self/a.nii", "cannot write /proc/self/a.nii|read-only")
    assert "folder you may write to" in error.remedy


def test_folder_without_write_permission(tmp_path, monkeypatch):
    real = os.access
    monkeypatch.setattr(atomic.os, "access", lambda path, mode: Path(path) != tmp_path and real(path, mode))
    refused(tmp_path / "a.nii", "read-only")


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root writes to read-only folders")
def test_folder_made_read_only(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    refused(folder / "a.nii", "read-only")


def test_read_only_target(tmp_path, monkeypatch):
    (tmp_path / "a.nii").write_bytes(b"old")
    real = os.access
    monkeypatch.setattr(atomic.os, "access", lambda path, mode: Path(path).name != "a.nii" and real(path, mode))
    refused(tmp_path / "a.nii", r"a\.nii is read-only")


def test_read_only_file_system_is_found_by_trying(tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(atomic, "open", fail, raising=False)
    refused(tmp_path / "a.nii", "Read-only file system")


def test_full_disk_is_found_beforehand(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 1000))
    error = refused(tmp_path / "a.nii", r"0\.0 MiB free, 1\.0 MiB are needed", bytes_needed=2**20)
    assert "free some space" in error.remedy
    check_output_path(tmp_path / "a.nii", bytes_needed=1000)


def test_volume_is_not_written_to_a_full_disk(tmp_path, monkeypatch):
    grid = GRIDS["oblique"]
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 100))
    with pytest.raises(OutputError, match="MiB free"):
        write_volume(Volume(random_array(grid), grid), tmp_path / "a.nii")
    with pytest.raises(OutputError, match="MiB free"):
        check_volume_output(tmp_path / "a.nii.gz", bytes_needed=101)
    assert list(tmp_path.iterdir()) == []


def test_name_too_long(tmp_path):
    refused(tmp_path / ("a" * 300 + ".nii"), "name too long")


def test_loop_of_links(tmp_path):
    (tmp_path / "a.nii").symlink_to(tmp_path / "b.nii")
    (tmp_path / "b.nii").symlink_to(tmp_path / "a.nii")
    refused(tmp_path / "a.nii", "cannot write .*a.nii|loop")


# --- interrupted writing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "problem", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), MemoryError()]
)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_interruption_leaves_the_old_file_and_no_part(step, problem, tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def interrupted(*_):
        raise problem

    monkeypatch.setattr(atomic.os, step, interrupted)
    expected = OutputError if isinstance(problem, OSError) else type(problem)
    with pytest.raises(expected):
        write_bytes_atomic(b"new", path)
    assert os.listdir(tmp_path) == ["a.bin"]
    assert path.read_bytes() == b"old"


def test_full_disk_during_writing_says_so(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device; free some space"):
        write_bytes_atomic(b"new", tmp_path / "a.bin")


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EACCES])
def test_folder_that_cannot_be_synced_is_no_error(code, tmp_path, monkeypatch):
    real = os.fsync

    def only_files(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))
        real(handle)

    monkeypatch.setattr(atomic.os, "fsync", only_files)
    assert write_bytes_atomic(b"new", tmp_path / "a.bin").read_bytes() == b"new"


KILLED = """
import os, signal, sys
import numpy as np
from MRHarmonizationLib.volumes import atomic
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

real = os.{step}
def killed(*arguments):
    if not {after}:
        os.kill(os.getpid(), signal.{signal})
    real(*arguments)
    os.kill(os.getpid(), signal.{signal})
atomic.os.{step} = killed
volume = Volume(np.ones((8, 8, 8), np.float32), Grid((8, 8, 8), np.eye(4)))
write_volume(volume, sys.argv[1])
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize(("step", "after"), [("fsync", False), ("fsync", True), ("replace", False)])
@pytest.mark.parametrize("old", [None, b"the former file"])
def test_killed_process_leaves_nothing_half_written(step, after, old, tmp_path, repository):
    path = tmp_path / "scan.nii.gz"
    if old is not None:
        path.write_bytes(old)
    code = KILLED.format(step=step, after=after, signal="SIGKILL")
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=repository, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert (path.read_bytes() if path.exists() else None) == old
    left = [name for name in os.listdir(tmp_path) if name != path.name]
    assert len(left) == 1
    assert left[0].startswith(PART_PREFIX)
    assert "." not in left[0][1:], "what is left must not look like an image"


def test_part_is_in_the_same_folder_so_that_the_last_step_is_a_renaming(tmp_path, monkeypatch):
    moves = []
    real = os.replace

    def recorded(source, target):
        moves.append((Path(source), Path(target)))
        real(source, target)

    monkeypatch.setattr(atomic.os, "replace", recorded)
    write_text_atomic("text", tmp_path / "a.txt")
    [(source, target)] = moves
    assert source.parent == target.parent == tmp_path
    assert source.name.startswith(PART_PREFIX)


def test_free_space_is_that_of_the_folder(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    check_output_path(tmp_path / "a", bytes_needed=free // 2)
    with pytest.raises(OutputError, match="free"):
        check_output_path(tmp_path / "a", bytes_needed=free * 4)


def abandoned(folder, process, age_s, content=None):
    name = part_path(folder).name.split("-")
    part = folder / "-".join([*name[:-2], str(process), name[-1]])
    if content is None:
        part.mkdir()
        (part / "inside").write_bytes(b"x")
    else:
        part.write_bytes(content)
    os.utime(part, times=(time.time() - age_s,) * 2)
    return part


@pytest.mark.skipif(os.name != "posix", reason="processes are told apart on POSIX systems only")
def test_parts_of_killed_processes_are_removed_and_no_others(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead_file = abandoned(tmp_path, child.pid, 2 * ABANDONED_S, b"half")
    dead_folder = abandoned(tmp_path, child.pid, 2 * ABANDONED_S)
    young = abandoned(tmp_path, child.pid, 1.0, b"half")
    alive = abandoned(tmp_path, os.getpid(), 2 * ABANDONED_S, b"half")
    elsewhere = tmp_path / f"{PART_PREFIX}0123abcd-{child.pid}-00ff"
    users = tmp_path / f"{PART_PREFIX}notes"
    for path in (elsewhere, users):
        path.write_bytes(b"x")
        os.utime(path, times=(0, 0))
    write_bytes_atomic(b"data", tmp_path / "file")
    assert not dead_file.exists()
    assert not dead_folder.exists()
    assert {p.name for p in tmp_path.iterdir()} == {young.name, alive.name, elsewhere.name, users.name, "file"}
