"""The report of a diffusion harmonisation: everything in it, nothing loaded, escaped, whole or not at all."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from support.diffusion_scan import brain_scan

from MRHarmonizationLib.core.errors import OutputError
from MRHarmonizationLib.evaluation.dwi_report import write_dwi_report
from MRHarmonizationLib.inference.harmonize_dwi import HarmonizeDwiRequest, HarmonizeDwiResult, harmonize_dwi
from MRHarmonizationLib.volumes.dwi import DwiVolume


@pytest.fixture(scope="module")
def result() -> HarmonizeDwiResult:
    return harmonize_dwi(brain_scan(6, noise=4.0, gain=20.0), HarmonizeDwiRequest("nyul", strength=0.5))


def test_page_holds_pictures_tables_and_record(result: HarmonizeDwiResult, tmp_path: Path):
    paths = write_dwi_report(result, tmp_path / "new" / "report", "<b>scan</b>", "out.nrrd")
    page = paths.html.read_text(encoding="utf-8")
    shown = set(re.findall(r'alt="([^"]+), axial plane"', page))
    wanted = {f"{name} {when}" for name in ("b0", "trace", "FA", "MD") for when in ("before", "after")}
    assert shown == wanted | {"FA change", "MD change", "gain"}
    assert "<b>scan</b>" not in page
    assert "strength 0.5" in page
    assert "too few to be denoised" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_tables_hold_the_same_numbers(result: HarmonizeDwiResult, tmp_path: Path):
    paths = write_dwi_report(result, tmp_path)
    rows = list(csv.DictReader(paths.csv.read_text(encoding="utf-8").splitlines()))
    values = json.loads(paths.json.read_text(encoding="utf-8"))
    assert len(rows) == len(values["table"]) == len(result.table)
    for row, change in zip(rows, result.table, strict=True):
        assert row["tissue"] == change.tissue
        assert float(row["before"]) == pytest.approx(change.before)
    assert values["strength_used"] == 0.5


def test_scan_without_tensor_has_a_report_too(tmp_path: Path):
    whole = brain_scan(6, noise=4.0)
    few = DwiVolume(
        np.ascontiguousarray(whole.array[..., :4]), whole.grid, whole.b_values_s_per_mm2[:4], whole.gradients_ras[:4]
    )
    done = harmonize_dwi(few, HarmonizeDwiRequest("global_scaling", noise="none"))
    page = write_dwi_report(done, tmp_path).html.read_text(encoding="utf-8")
    assert "ADC change" in page
    assert "FA before" not in page
    assert "everywhere" in page  # one gain, no picture of it


def test_folder_that_is_a_file_is_refused(result: HarmonizeDwiResult, tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        write_dwi_report(result, tmp_path / "file")
