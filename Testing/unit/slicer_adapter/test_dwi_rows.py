"""Rows of the table of diffusivity and anisotropy, from what the library tells to what the panel shows."""

from __future__ import annotations

import math

import fake_dwi
import pytest

from MRHarmonizationLib.inference.dwi_measures import ChangeLimits, changes_of_means
from MRHarmonizationLib.slicer_adapter.dwi_rows import TissueRow, tissue_rows


def test_rows_of_the_librarys_table():
    limits = ChangeLimits(2.0, 0.01)
    table = [row.to_dict() for row in changes_of_means("brain", 400, (9e-4, 0.25), (9.3e-4, 0.255), limits)]
    table += [row.to_dict() for row in changes_of_means("white matter", 300, (8e-4, 0.45), (8e-4, 0.43), limits)]
    white, brain = tissue_rows(table)
    assert (white.tissue, white.voxels, brain.tissue) == ("white matter", 300, "brain")
    assert white.fa_change == pytest.approx(-0.02)
    assert not white.fa_holds
    assert white.md_holds
    assert brain.md_change_percent == pytest.approx(100 / 30)
    assert not brain.md_holds
    assert brain.fa_holds
    md, fa = brain.lines()
    assert (md.cells, md.limit, md.holds) == (("Brain MD", "0.900", "0.930", "+3.3 %"), "2 %", False)
    assert (fa.cells, fa.limit, fa.holds) == (("Brain FA", "0.250", "0.255", "+0.005"), "0.01", True)


def test_rows_without_tensor_tell_no_anisotropy():
    table = changes_of_means("brain", 400, (9e-4, None), (8.9e-4, None), ChangeLimits(2.0, 0.01))
    (row,) = tissue_rows(entry.to_dict() for entry in table)
    assert math.isnan(row.fa_before)
    assert row.fa_holds
    assert row.lines()[1].cells[1:] == ("–", "–", "–")


def test_what_is_not_judged_holds():
    grey = TissueRow("grey matter", 10, 9e-4, 5e-4, 0.1, 0.5)
    assert grey.md_holds
    assert grey.fa_holds
    assert grey.lines()[0].cells[3] == "−44.4 %"
    assert grey.lines()[0].limit == ""


def test_rounded_zero_has_no_sign():
    changes = [line.cells[3] for line in TissueRow("fluid", 10, 3e-3, 2.99999e-3, 0.1, 0.10001).lines()]
    assert changes == ["0.0 %", "0.000"]
    assert TissueRow("fluid", 10, 0.0, 1e-3).lines()[0].cells[3] == "–"


def test_the_stand_in_tells_what_the_library_tells():
    real = changes_of_means("brain", 400, (9e-4, 0.25), (9e-4, 0.25), ChangeLimits(2.0, 0.01))[0].to_dict()
    assert set(fake_dwi.table(1.0)[0]) == set(real)
