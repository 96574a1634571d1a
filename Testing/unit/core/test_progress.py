"""Progress: fractions of nested parts, cancellation shared by all of them."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from MRHarmonizationLib.core.errors import OperationCancelled
from MRHarmonizationLib.core.progress import Progress


def collecting() -> tuple[Progress, list[tuple[float, str]]]:
    seen: list[tuple[float, str]] = []
    return Progress(lambda fraction, message: seen.append((fraction, message))), seen


def test_reports_reach_the_callback_with_their_message():
    progress, seen = collecting()
    progress.report(0.25, "loading")
    progress.report(1.0)
    assert seen == [(0.25, "loading"), (1.0, "")]


def test_parts_of_parts_map_into_the_whole():
    progress, seen = collecting()
    progress.part(0.2, 0.6).part(0.5, 1.0).report(0.5)
    assert seen[0][0] == pytest.approx(0.5)


unit = st.floats(0, 1)


@given(ends=st.tuples(unit, unit), inner=st.tuples(unit, unit), fractions=st.lists(st.floats(-2, 3), min_size=1))
def test_nested_fractions_stay_inside_their_part_and_in_order(ends, inner, fractions):
    progress, seen = collecting()
    start, stop = sorted(ends)
    part = progress.part(start, stop).part(*sorted(inner))
    for fraction in sorted(fractions):
        part.report(fraction)
    values = [value for value, _ in seen]
    assert values == sorted(values)
    assert all(start - 1e-9 <= value <= stop + 1e-9 for value in values)


def test_without_a_callback_reporting_is_harmless():
    Progress().part(0, 0.5).report(0.5, "nobody listens")


def test_cancellation_reaches_parts_made_before_and_after():
    progress, seen = collecting()
    before = progress.part(0, 0.5)
    progress.cancel()
    for each in (progress, before, progress.part(0.5, 1.0)):
        with pytest.raises(OperationCancelled):
            each.check()
        with pytest.raises(OperationCancelled):
            each.report(0.1)
    assert seen == []


def test_cancelling_a_part_cancels_the_whole():
    progress, _ = collecting()
    progress.part(0, 0.5).cancel()
    with pytest.raises(OperationCancelled):
        progress.check()


def test_another_thread_can_cancel():
    progress, _ = collecting()
    progress.check()
    thread = threading.Thread(target=progress.cancel)
    thread.start()
    thread.join()
    with pytest.raises(OperationCancelled):
        progress.report(0.5)


def test_an_error_in_the_callback_is_not_swallowed():
    def broken(fraction: float, message: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Progress(broken).report(0.5)
