"""Running independent tasks on a few processes, one thread each, with progress and cancellation between them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

from MRHarmonizationLib.core.progress import Progress

#: Libraries that would start a thread per core in every process read these when they are loaded.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
#: Seconds between looks at the cancellation.
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Task:
    """A call: a function of a module, and its arguments, both fit for pickling."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def run_tasks(tasks: Sequence[Task], jobs: int, progress: Progress) -> Iterator[tuple[Task, Any]]:
    """Run tasks and yield (task, result) as they end.

    Parameters
    ----------
    tasks : sequence of Task
    jobs : int
        Processes; 1 runs everything in this one.
    progress : Progress
        Reported to after each task; cancellation stops before the next ones.

    Raises
    ------
    OperationCancelled
        If ``progress`` was cancelled.
    """
    results = _in_turn(tasks, progress) if jobs <= 1 else _in_pool(tasks, jobs, progress)
    for done, (task, result) in enumerate(results, start=1):
        yield task, result
        progress.report(done / len(tasks), f"{task.name} ({done} of {len(tasks)})")


def _in_turn(tasks: Sequence[Task], progress: Progress) -> Iterator[tuple[Task, Any]]:
    for task in tasks:
        progress.check()
        yield task, task.function(*task.arguments)


def _in_pool(tasks: Sequence[Task], jobs: int, progress: Progress) -> Iterator[tuple[Task, Any]]:
    context = get_context("spawn")
    with _one_thread_each(), ProcessPoolExecutor(jobs, mp_context=context, initializer=_end_with_parent) as pool:
        waiting: dict[Future[Any], Task] = {pool.submit(task.function, *task.arguments): task for task in tasks}
        try:
            while waiting:
                ended, _ = wait(waiting, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                progress.check()
                for future in ended:
                    yield waiting.pop(future), future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """End this worker as soon as its parent is gone: a killed parent would leave it working for nobody."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Set the thread variables for processes started meanwhile; what the user had set is put back."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
