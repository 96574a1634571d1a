"""One small object handed down through long operations: reports progress, carries cancellation."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from MRHarmonizationLib.core.errors import OperationCancelled

ProgressCallback = Callable[[float, str], None]


class Progress:
    """Progress reporting and cancellation of one operation.

    Parameters
    ----------
    callback : callable(fraction: float, message: str), optional
        Called in the thread of the operation; ``fraction`` lies in [0, 1].

    Examples
    --------
    >>> seen = []
    >>> whole = Progress(lambda fraction, message: seen.append((fraction, message)))
    >>> whole.part(0.5, 1.0).report(0.5, "second half")
    >>> seen
    [(0.75, 'second half')]
    """

    def __init__(self, callback: ProgressCallback | None = None) -> None:
        self._callback = callback
        self._start, self._stop = 0.0, 1.0
        self._cancelled = Event()

    def part(self, start: float, stop: float) -> Progress:
        """Return a view that maps its own [0, 1] to [start, stop] of this one and shares its cancellation."""
        child = Progress(self._callback)
        width = self._stop - self._start
        child._start, child._stop = self._start + width * start, self._start + width * stop
        child._cancelled = self._cancelled
        return child

    def report(self, fraction: float, message: str = "") -> None:
        """Report a fraction in [0, 1] (clipped) and a message.

        Raises
        ------
        OperationCancelled
            If :meth:`cancel` was called.
        """
        self.check()
        if self._callback is not None:
            inside = min(max(float(fraction), 0.0), 1.0)
            self._callback(self._start + (self._stop - self._start) * inside, message)

    def check(self) -> None:
        """Raise OperationCancelled if the operation was cancelled."""
        if self._cancelled.is_set():
            raise OperationCancelled()

    def cancel(self) -> None:
        """Ask the operation to stop at its next check; may be called from another thread."""
        self._cancelled.set()
