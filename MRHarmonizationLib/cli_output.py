"""What the command line says and how it ends: progress bars or JSON lines, one-line errors, exit codes."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import IO, Any, Protocol

from MRHarmonizationLib.core.errors import (
    DependencyError,
    InputError,
    MRHarmonizationError,
    OperationCancelled,
    OutputError,
    ResourceError,
)
from MRHarmonizationLib.core.progress import Progress

EXIT_CODES: Mapping[int, str] = {
    0: "done",
    1: "unexpected error: a defect of the program",
    2: "wrong command line or parameter",
    3: "input that cannot be read or used",
    4: "unknown model, or weights that fail their check",
    5: "output that cannot be written",
    6: "an optional package is missing",
    7: "memory or disk exhausted",
    130: "cancelled",
}
"""Exit status → what it means. The library's errors carry theirs; a test compares the two."""

UNEXPECTED_EXIT_CODE = 1

EXTRA_OF_PACKAGE: Mapping[str, str] = {"torch": "torch", "onnx": "torch", "highdicom": "dicom", "sklearn": "laboratory"}
"""Optional package → the extra of this project that brings it."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LIBRARY_LOGGER = "MRHarmonizationLib"


class Reporter(Protocol):
    """How an operation speaks to whoever started it."""

    def status(self, message: str, level: str = "info") -> None:
        """Say one thing; ``level`` is ``"info"`` or ``"warning"``."""

    def progress(self, fraction: float, message: str) -> None:
        """Show how far the operation is, 0 to 1."""

    def result(self, values: Mapping[str, Any], lines: Sequence[str]) -> None:
        """Deliver the result: ``values`` for a program, ``lines`` for a person."""

    def error(self, values: Mapping[str, Any], line: str) -> None:
        """Say why there is no result."""

    def close(self) -> None:
        """Take down what is on the screen."""


class JsonLinesReporter:
    """One JSON object a line on the standard output: ``status``, ``progress``, ``result``, ``error``."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def _emit(self, event: str, values: Mapping[str, Any]) -> None:
        # ASCII: the reader need not know which encoding this process was started with.
        self._stream.write(json.dumps({"event": event, **values}, allow_nan=False, default=str) + "\n")
        self._stream.flush()

    def status(self, message: str, level: str = "info") -> None:
        """Emit a ``status`` event."""
        self._emit("status", {"message": message, "level": level})

    def progress(self, fraction: float, message: str) -> None:
        """Emit a ``progress`` event."""
        self._emit("progress", {"fraction": round(fraction, 4), "message": message})

    def result(self, values: Mapping[str, Any], lines: Sequence[str]) -> None:
        """Emit the ``result`` event."""
        self._emit("result", finite(values))

    def error(self, values: Mapping[str, Any], line: str) -> None:
        """Emit the ``error`` event, and the line for a log on the standard error."""
        self._emit("error", values)
        _write_line(sys.stderr, line)

    def close(self) -> None:
        """Nothing to take down."""


class HumanReporter:
    """Progress bar and messages on the standard error, the result on the standard output."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._bar: Any = None
        self._task: Any = None

    def status(self, message: str, level: str = "info") -> None:
        """Print a line above the progress bar."""
        line = f"warning: {message}" if level == "warning" else message
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            _write_line(sys.stderr, line)

    def progress(self, fraction: float, message: str) -> None:
        """Move the progress bar; without a terminal nothing is shown."""
        if self._bar is None:
            if not sys.stderr.isatty():
                return
            self._open_bar()
        self._bar.update(self._task, completed=fraction, description=message or "working")

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("working", total=1.0)
        self._bar.start()

    def result(self, values: Mapping[str, Any], lines: Sequence[str]) -> None:
        """Print the lines."""
        self.close()
        for line in lines:
            _write_line(self._stream, line)

    def error(self, values: Mapping[str, Any], line: str) -> None:
        """Print the one line that says what is wrong and what to do."""
        self.close()
        _write_line(sys.stderr, line)

    def close(self) -> None:
        """Take the progress bar off the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class Door:
    """What a command gets to work with.

    Attributes
    ----------
    progress : Progress
        To hand down to the operation.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.progress = Progress(reporter.progress)

    def status(self, message: str) -> None:
        """Say one thing to the user."""
        self._reporter.status(message)

    def warn(self, message: str) -> None:
        """Say something the user should mind."""
        self._reporter.status(message, "warning")

    def result(self, values: Mapping[str, Any], lines: Sequence[str]) -> None:
        """Deliver the result: ``values`` for a program, ``lines`` for a person."""
        self._reporter.result(values, lines)


@contextlib.contextmanager
def door(jsonl: bool, debug: bool) -> Iterator[Door]:
    """Run one operation for the command line: speak, and turn every way it can end into an exit code.

    Parameters
    ----------
    jsonl : bool
        JSON lines on the standard output instead of text and a progress bar. What other code prints goes to the
        standard error meanwhile, so that every line of the output is an event.
    debug : bool
        Print the trace of an error too, and the library's log.

    Raises
    ------
    SystemExit
        With one of :data:`EXIT_CODES` if the operation fails.
    """
    stdout = sys.stdout
    reporter: Reporter = JsonLinesReporter(stdout) if jsonl else HumanReporter(stdout)
    quiet = contextlib.redirect_stdout(sys.stderr) if jsonl else contextlib.nullcontext()
    try:
        with quiet, _termination_as_interrupt(), _logging_to(reporter, debug), warnings.catch_warnings():
            if not debug:
                warnings.simplefilter("ignore")
            yield Door(reporter)
    except BrokenPipeError:
        _abandon(stdout)  # whoever read our output is gone: nobody to tell
        raise SystemExit(OperationCancelled.exit_code) from None
    except (Exception, KeyboardInterrupt) as error:
        raise SystemExit(report_failure(reporter, error, debug)) from None
    finally:
        reporter.close()


def report_failure(reporter: Reporter, error: BaseException, debug: bool = False) -> int:
    """Tell the user why there is no result and return the exit code."""
    known = as_known_error(error)
    if known is None:
        kind, code = type(error).__name__, UNEXPECTED_EXIT_CODE
        problem = " ".join(f"unexpected {kind}: {error}".split())
        remedy = "this is a defect of the program: run again with --debug and report what it prints"
    else:
        kind, code, problem, remedy = known.kind, known.exit_code, known.problem, known.remedy
    if debug and not isinstance(known, OperationCancelled):
        sys.stderr.write("".join(traceback.format_exception(type(error), error, error.__traceback__)))
    line = f"error: {problem}; {remedy}" if remedy else f"error: {problem}"
    try:
        reporter.error({"kind": kind, "problem": problem, "remedy": remedy, "exit_code": code}, line)
    except BrokenPipeError:
        _abandon(sys.stdout)
    return code


def as_known_error(error: BaseException) -> MRHarmonizationError | None:
    """Return the library's error that says what another exception means to the user, None if it means a defect."""
    if isinstance(error, MRHarmonizationError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return OperationCancelled()
    if isinstance(error, MemoryError) or _says_out_of_memory(error):
        return ResourceError("memory is exhausted", "close other programs, or enhance a smaller volume")
    if isinstance(error, ModuleNotFoundError):
        package = (error.name or "unknown").split(".")[0]
        wanted = f'"mrharmonization[{EXTRA_OF_PACKAGE[package]}]"' if package in EXTRA_OF_PACKAGE else package
        return DependencyError(f"the Python package '{package}' is not installed", f"pip install {wanted}")
    if isinstance(error, (FileNotFoundError, IsADirectoryError, NotADirectoryError)) and error.filename:
        return InputError(f"{error.filename}: {error.strerror}", "check the path")
    if isinstance(error, OSError) and (error.filename or error.errno in _FULL):
        where = error.filename or "the output"
        return OutputError(f"{where}: {error.strerror or error}", "check the folder's permissions and space")
    return None


def _says_out_of_memory(error: BaseException) -> bool:
    """Tell whether the system or the loader of shared libraries ran out of memory; they have no exception for it."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, ImportError) and "failed to map segment" in str(error)


def finite(value: Any) -> Any:
    """Return ``value`` with numbers JSON has no word for (infinite, not a number) replaced by None."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


@contextlib.contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the operation as Ctrl-C does: files half-written are removed on the way out."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: leave the cleaning up in peace
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


class _ReporterHandler(logging.Handler):
    def __init__(self, reporter: Reporter) -> None:
        super().__init__(logging.WARNING)
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        self._reporter.status(record.getMessage(), "warning")


@contextlib.contextmanager
def _logging_to(reporter: Reporter, debug: bool) -> Iterator[None]:
    """Show the library's warnings to the user; with ``debug`` its whole log on the standard error."""
    logger = logging.getLogger(_LIBRARY_LOGGER)
    handlers: list[logging.Handler] = [_ReporterHandler(reporter)]
    if debug:
        trace = logging.StreamHandler(sys.stderr)
        trace.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        handlers.append(trace)
    former, propagate = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG if debug else logging.WARNING)
    logger.propagate = False
    for handler in handlers:
        logger.addHandler(handler)
    silence = logging.NullHandler()  # what other packages log would otherwise reach the user from warnings on
    if not debug:
        logging.getLogger().addHandler(silence)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(silence)
        for handler in handlers:
            logger.removeHandler(handler)
        logger.setLevel(former)
        logger.propagate = propagate


def _write_line(stream: IO[str], line: str) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(line.encode(encoding, "replace").decode(encoding) + "\n")
    stream.flush()


def _abandon(stream: IO[str]) -> None:
    """Point a stream whose reader has gone at nothing, so that closing it at exit raises no second error."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
