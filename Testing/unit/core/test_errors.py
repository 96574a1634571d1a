"""Errors: one line with the remedy, exit codes, survival of pickling."""

from __future__ import annotations

import pickle

import pytest

from MRHarmonizationLib.core import errors

KINDS = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.MRHarmonizationError)
]

EXIT_CODES = {
    "MRHarmonizationError": 1, "ParameterError": 2, "InputError": 3, "GridError": 3, "GridMismatchError": 3,
    "ModelNotFoundError": 4, "WeightsError": 4, "OutputError": 5, "DependencyError": 6, "ResourceError": 7,
    "OperationCancelled": 130,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_message_is_one_line_with_the_remedy(kind):
    error = kind("the image\nhas 0 mm", "resample\n   it")
    assert str(error) == "the image has 0 mm; resample it"
    assert (error.problem, error.remedy) == ("the image has 0 mm", "resample it")
    assert error.kind == kind.__name__


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_without_remedy_the_message_is_the_problem(kind):
    assert str(kind("no space left")) == "no space left"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_errors_cross_processes_whole(kind):
    again = pickle.loads(pickle.dumps(kind("a problem", "a remedy")))
    assert type(again) is kind
    assert (str(again), again.exit_code) == ("a problem; a remedy", kind.exit_code)


def test_exit_codes_are_the_documented_ones():
    assert {kind.__name__: kind.exit_code for kind in KINDS} == EXIT_CODES


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (errors.InputError, ValueError),
        (errors.ParameterError, ValueError),
        (errors.OutputError, OSError),
        (errors.DependencyError, ImportError),
        (errors.ModelNotFoundError, LookupError),
        (errors.GridMismatchError, errors.InputError),
    ],
)
def test_python_code_can_catch_the_usual_kinds(kind, base):
    assert issubclass(kind, base)


def test_cancellation_has_a_default_message():
    assert "cancelled" in str(errors.OperationCancelled())
