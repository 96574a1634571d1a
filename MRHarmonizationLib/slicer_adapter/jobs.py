"""Running the command line in a process of its own: start, look without waiting, cancel with all its children.

The process speaks JSON lines (``status``, ``progress``, ``result``, ``error``). It has succeeded when its exit code is
0 and the files it promised exist.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from MRHarmonizationLib.core import errors
from MRHarmonizationLib.core.errors import MRHarmonizationError, OperationCancelled, OutputError, ResourceError

RUNNING, SUCCEEDED, FAILED, CANCELLED = "running", "succeeded", "failed", "cancelled"
#: How long one look may wait for the reader threads, which get no time of their own while Qt waits for events.
READER_SLICE_S = 0.005
#: Lines of the standard error that are kept to explain a failure.
KEPT_ERROR_LINES = 40
#: How long output may keep coming after the process has ended: a child it left behind may hold the pipes for ever.
LAST_OUTPUT_S = 2.0
_KILLED_BY_SYSTEM = (-9, 137)


class RunningProcess(Protocol):
    """A started process, as seen by whoever waits for it."""

    def lines(self) -> list[str]:
        """Return what it said since the last call; never waits for more."""

    def exit_code(self) -> int | None:
        """Return how it ended, or None while it runs or its output is not read to the end."""

    def error_output(self) -> str:
        """Return the last lines of its standard error."""

    def kill(self) -> None:
        """End it and everything it started."""


class ProcessRunner(Protocol):
    """Starts processes; tests put another one in its place."""

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> RunningProcess:
        """Start a command.

        Raises
        ------
        OSError
            If it cannot be started.
        """


class SubprocessRunner:
    """The real :class:`ProcessRunner`."""

    def start(self, command: Sequence[str], environment: Mapping[str, str]) -> RunningProcess:
        """Start a command in a process group of its own; see :meth:`ProcessRunner.start`."""
        return _Subprocess(command, environment)


class _Subprocess:
    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        options: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
        self._process = subprocess.Popen(
            list(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            **options,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._errors: deque[str] = deque(maxlen=KEPT_ERROR_LINES)
        self._readers = [
            threading.Thread(target=_read, args=(self._process.stdout, self._queue.put), daemon=True),
            threading.Thread(target=_read, args=(self._process.stderr, self._errors.append), daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        self._ended: float | None = None

    def lines(self) -> list[str]:
        found = []
        with contextlib.suppress(queue.Empty):
            found.append(self._queue.get(timeout=READER_SLICE_S))
            while True:
                found.append(self._queue.get_nowait())
        return found

    def exit_code(self) -> int | None:
        code = self._process.poll()
        if code is None:
            return None
        if self._ended is None:
            self._ended = time.monotonic()
        reading = any(reader.is_alive() for reader in self._readers)
        if not self._queue.empty() or (reading and time.monotonic() - self._ended < LAST_OUTPUT_S):
            return None
        return code

    def error_output(self) -> str:
        return "\n".join(self._errors)

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                command = ["taskkill", "/F", "/T", "/PID", str(self._process.pid)]
                flags = subprocess.CREATE_NO_WINDOW
                subprocess.run(command, capture_output=True, check=False, creationflags=flags)
            else:
                os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)


def _read(stream: IO[str], deliver: Callable[[str], None]) -> None:
    with stream, contextlib.suppress(ValueError, OSError):
        for line in stream:
            deliver(line.rstrip("\r\n"))


class Job:
    """One run of the command line, looked at from time to time.

    Parameters
    ----------
    process : RunningProcess
    promised : sequence of path
        Files that exist when it has succeeded.
    on_progress : callable(fraction: float, message: str), optional
        Called from :meth:`step`.

    Attributes
    ----------
    state : {'running', 'succeeded', 'failed', 'cancelled'}
    result : dict
        What the ``result`` event said.
    error : MRHarmonizationError or None
        Why there is no result.
    warnings : list of str
        ``status`` events of level ``warning``.
    """

    def __init__(
        self,
        process: RunningProcess,
        promised: Sequence[Path] = (),
        on_progress: Callable[[float, str], None] | None = None,
    ) -> None:
        self._process = process
        self._promised = tuple(promised)
        self._on_progress = on_progress
        self._reported: MRHarmonizationError | None = None
        self._fraction = 0.0
        self.state = RUNNING
        self.result: dict[str, Any] = {}
        self.error: MRHarmonizationError | None = None
        self.warnings: list[str] = []

    def step(self) -> str:
        """Take in what the process has said and return the state; waits for nothing."""
        if self.state != RUNNING:
            return self.state
        for line in self._process.lines():
            self._take(line)
        code = self._process.exit_code()
        if code is not None:
            self.error = self._failure(code)
            self.state = SUCCEEDED if self.error is None else FAILED
            if isinstance(self.error, OperationCancelled):
                self.state = CANCELLED
        return self.state

    def cancel(self) -> None:
        """End the process and all it started; afterwards nothing of it runs."""
        if self.state == RUNNING:
            self._process.kill()
            self.error = OperationCancelled()
            self.state = CANCELLED

    def _take(self, line: str) -> None:
        try:
            event = json.loads(line)
            kind = event["event"]
        except (ValueError, TypeError, KeyError):
            return  # something else that prints: not ours
        if kind == "progress":
            self._fraction = float(event.get("fraction", self._fraction))
            self._report(str(event.get("message", "")))
        elif kind == "status" and event.get("level") == "warning":
            self.warnings.append(str(event.get("message", "")))
        elif kind == "status":
            self._report(str(event.get("message", "")))
        elif kind == "result":
            self.result = event
        elif kind == "error":
            self._reported = error_from_event(event)

    def _report(self, message: str) -> None:
        if self._on_progress is not None:
            self._on_progress(self._fraction, message)

    def _failure(self, code: int) -> MRHarmonizationError | None:
        if self._reported is not None:
            return self._reported
        if code in _KILLED_BY_SYSTEM:
            return ResourceError(
                "the operating system ended the process, usually because memory ran out",
                "close other programs, choose a larger output spacing, or crop the volume",
            )
        if code != 0:
            last = next((line for line in reversed(self._process.error_output().splitlines()) if line.strip()), "")
            return MRHarmonizationError(
                f"the process ended with code {code}{': ' + last if last else ''}",
                "look at the log (menu View, Error Log)",
            )
        for path in self._promised:
            if not path.is_file():
                return OutputError(f"the process ended well but wrote no {path.name}", "run it again")
        return None


def error_from_event(event: Mapping[str, Any]) -> MRHarmonizationError:
    """Return the library's error that an ``error`` event stands for."""
    kind = getattr(errors, str(event.get("kind", "")), MRHarmonizationError)
    if not (isinstance(kind, type) and issubclass(kind, MRHarmonizationError)):
        kind = MRHarmonizationError
    return kind(str(event.get("problem", "unknown problem")), str(event.get("remedy", "")))


def library_parent() -> Path:
    """Return the folder that holds the package: what PYTHONPATH must name for ``-m MRHarmonizationLib``."""
    return Path(__file__).resolve().parents[2]


def process_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of the process: the given one (this process's), the library on its path, UTF-8."""
    environment = dict(os.environ if base is None else base)
    paths = [str(library_parent()), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    environment.update(PYTHONUTF8="1", PYTHONUNBUFFERED="1")
    return environment


def python_executable() -> str:
    """Return the Python that runs the library: Slicer's own inside Slicer, else this one."""
    import shutil

    return shutil.which("PythonSlicer") or sys.executable
