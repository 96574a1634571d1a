"""Numbered samples drawn ahead of use in background processes, always in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, Generic, TypeVar

T = TypeVar("T")


def leave_with_parent() -> None:
    """End this process when its parent ends, and only then: neither without it nor by a Ctrl-C meant for it."""
    if multiprocessing.parent_process() is None:
        return  # nothing runs in the background
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


class OrderedStream(Generic[T]):
    """Results of ``work(first)``, ``work(first + 1)``, … as an endless iterator.

    Parameters
    ----------
    work : callable
        Module-level function of a whole number, run in the background processes.
    start : callable
        Module-level function that prepares a process; called once in each with ``arguments``.
    arguments : tuple
        Picklable.
    first : int
        For resuming.
    workers : int
        Background processes; 0 does the work in this process, when it is asked for.
    """

    def __init__(
        self,
        work: Callable[[int], T],
        start: Callable[..., None],
        arguments: tuple[Any, ...],
        first: int = 0,
        workers: int = 1,
    ) -> None:
        self._pool: ProcessPoolExecutor | None = None
        if workers:
            self._pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), start, arguments)
        else:
            start(*arguments)
        self._work = work
        self._next = first
        self._ahead = 3 * workers
        self._pending: deque[Future[T]] = deque()

    def __iter__(self) -> Iterator[T]:
        while self._pool is None:
            self._next += 1
            yield self._work(self._next - 1)
        while True:
            while len(self._pending) < self._ahead:
                self._pending.append(self._pool.submit(self._work, self._next))
                self._next += 1
            yield self._pending.popleft().result()

    def close(self) -> None:
        """Stop the background processes."""
        for future in self._pending:
            future.cancel()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
