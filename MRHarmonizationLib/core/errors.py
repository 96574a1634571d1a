"""The errors a user can meet: each names the problem with its value, and the remedy."""

from __future__ import annotations


class MRHarmonizationError(Exception):
    """Base of all errors raised on purpose.

    Parameters
    ----------
    problem : str
        What was expected and what came, with the offending value.
    remedy : str
        What the user can do about it.

    Attributes
    ----------
    exit_code : int
        Exit status of the command line for this kind of error.
    """

    exit_code = 1

    def __init__(self, problem: str, remedy: str = "") -> None:
        self.problem = " ".join(str(problem).split())
        self.remedy = " ".join(str(remedy).split())
        super().__init__(f"{self.problem}; {self.remedy}" if self.remedy else self.problem)

    def __reduce__(self) -> tuple[type[MRHarmonizationError], tuple[str, str]]:
        return type(self), (self.problem, self.remedy)

    @property
    def kind(self) -> str:
        """Name of the error class, for machine-readable output."""
        return type(self).__name__


class ParameterError(MRHarmonizationError, ValueError):
    """An argument has a value outside its documented range."""

    exit_code = 2


class InputError(MRHarmonizationError, ValueError):
    """An input image or file cannot be used."""

    exit_code = 3


class GridError(InputError):
    """A geometry is impossible: zero spacing, sheared axes, non-finite affine."""


class GridMismatchError(GridError):
    """Two images that must lie on one grid do not."""


class ModelNotFoundError(MRHarmonizationError, LookupError):
    """No model card has the requested id."""

    exit_code = 4


class WeightsError(MRHarmonizationError):
    """A weight file is missing, altered or does not fit its card."""

    exit_code = 4


class OutputError(MRHarmonizationError, OSError):
    """The result cannot be written where it was asked for."""

    exit_code = 5

    def __str__(self) -> str:
        return f"{self.problem}; {self.remedy}" if self.remedy else self.problem


class DependencyError(MRHarmonizationError, ImportError):
    """An optional package is needed for this feature."""

    exit_code = 6


class ResourceError(MRHarmonizationError):
    """Memory or disk is exhausted even after retrying with less."""

    exit_code = 7


class OperationCancelled(MRHarmonizationError):
    """The user cancelled the operation."""

    exit_code = 130

    def __init__(self, problem: str = "the operation was cancelled", remedy: str = "") -> None:
        super().__init__(problem, remedy)
