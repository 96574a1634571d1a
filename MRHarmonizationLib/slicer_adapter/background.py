"""Work in a thread, so that the window stays responsive: arrays only, nothing of Qt, MRML or VTK."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from MRHarmonizationLib.core.errors import MRHarmonizationError

Found = TypeVar("Found")


class BackgroundCall(Generic[Found]):
    """A function called in a thread of its own.

    Parameters
    ----------
    function : callable()
        Must touch arrays only.
    doing : str
        What it does, for the text of an unexpected error ("measuring").

    Attributes
    ----------
    found : object or None
        What the function returned.
    error : MRHarmonizationError or None
    """

    def __init__(self, function: Callable[[], Found], doing: str = "measuring") -> None:
        self.found: Found | None = None
        self.error: MRHarmonizationError | None = None
        self._function, self._doing = function, doing
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.found = self._function()
        except MRHarmonizationError as error:
            self.error = error
        except Exception as error:  # whatever it is, the panel must hear of it
            self.error = MRHarmonizationError(f"{self._doing} failed: {error}")

    def is_done(self, wait_s: float = 0.02) -> bool:
        """Tell whether it has ended; gives the thread ``wait_s`` seconds of the interpreter."""
        self._thread.join(wait_s)
        return not self._thread.is_alive()
