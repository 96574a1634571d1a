"""Measurements as rows: before and after side by side, nothing lost, nothing invented."""

from __future__ import annotations

import math
from typing import Any

import pytest

from MRHarmonizationLib.metrics.base import METRICS
from MRHarmonizationLib.slicer_adapter import texts
from MRHarmonizationLib.slicer_adapter.metric_rows import MetricRow, metric_rows, metric_title, number_text


def said(name: str, value: Any, better: str = "higher", unit: str = "1") -> dict[str, Any]:
    return {"name": name, "value": value, "unit": unit, "better": better, "voxels": 100}


def test_pairs_are_found():
    rows = metric_rows(
        {
            "after_vs_before": [said("ssim", 0.9)],
            "before_vs_reference": [said("psnr", 20.0, unit="dB"), said("ssim", 0.7)],
            "after_vs_reference": [said("psnr", "inf", unit="dB"), said("ssim", 0.8)],
            "before": [said("noise", 3.0, "lower"), said("piqe", 40.0, "lower")],
            "after": [said("noise", 2.0, "lower")],
        }
    )
    assert [(row.name, row.held_against) for row in rows] == [
        ("psnr", "reference"), ("ssim", "reference"), ("noise", ""), ("piqe", ""), ("ssim", "before"),
    ]  # fmt: skip
    assert (rows[0].before, rows[0].after) == (20.0, math.inf)
    assert math.isnan(rows[3].after)  # measured on one image only
    assert math.isnan(rows[4].before)
    assert [row.improved for row in rows] == [True, True, True, None, None]


@pytest.mark.parametrize(
    ("before", "after", "better", "improved"),
    [(1.0, 2.0, "higher", True), (1.0, 2.0, "lower", False), (1.0, 2.0, "none", None), (1.0, 1.0, "higher", None)],
)
def test_better_and_worse(before: float, after: float, better: str, improved: bool | None):
    assert MetricRow("x", "1", "", before, after, better, 1).improved is improved


def test_empty_and_unknown_groups():
    assert metric_rows({}) == []
    assert metric_rows({"something_new": [said("psnr", 1.0)]}) == []


def test_every_metric_has_a_title_and_says_what_it_means():
    for name in METRICS.names():
        metric = METRICS.get(name)
        row = MetricRow(name, metric.unit, "", 1.0, 2.0, metric.better, 1234)
        assert row.title[0].isupper() or row.title[0].isdigit(), row.title
        assert "_" not in row.title
        told = texts.metric_help(row)
        assert len(told) > 30
        assert "1,234 voxels" in told
    assert "7 voxels" in texts.metric_help(MetricRow("of_a_later_version", "1", "", 1.0, 2.0, "higher", 7))


def test_names_and_numbers_for_people():
    assert metric_title("ms_ssim") == "MS-SSIM"
    assert metric_title("glcm_contrast") == "GLCM contrast"
    assert [number_text(value) for value in (0.123456, 12345.6, -math.inf, math.nan, 0.0)] == [
        "0.1235", "12346", "−∞", "–", "0",
    ]  # fmt: skip
