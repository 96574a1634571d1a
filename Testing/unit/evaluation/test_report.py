from __future__ import annotations

import base64
import csv
import json
import re

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import GridMismatchError, OutputError
from MRHarmonizationLib.evaluation.figures import display_window, histogram_figure, planes_figure
from MRHarmonizationLib.evaluation.html import HtmlPage, format_value
from MRHarmonizationLib.evaluation.report import flatten, write_report
from MRHarmonizationLib.inference.compare import compare

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def result(head_phantom):
    noise = np.random.default_rng(0).normal(0, 20, head_phantom.array.shape).astype(np.float32)
    before = head_phantom.with_array(head_phantom.array + noise, "scan <1> & more")
    return compare(before, head_phantom, head_phantom)


def test_report_is_one_file_that_needs_nothing_else(result, tmp_path):
    paths = write_report(
        result, tmp_path / "new" / "folder", "Title", {"model_id": "lowfield", "parameters": {"strength": 1}}
    )
    page = paths.html.read_text("utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "<script" not in page
    assert "scan &lt;1&gt; &amp; more" in page
    pictures = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page)
    assert len(pictures) == 2
    assert all(base64.b64decode(data).startswith(PNG_SIGNATURE) for data in pictures)
    assert "parameters.strength" in page
    assert sorted(p.name for p in (tmp_path / "new" / "folder").iterdir()) == [
        "compare.json",
        "metrics.csv",
        "report.html",
    ]


def test_csv_and_json_hold_the_same_numbers(result, tmp_path):
    paths = write_report(result, tmp_path)
    with paths.csv.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    summary = json.loads(paths.json.read_text("utf-8"))
    listed = [(key, m["name"], str(m["value"])) for key, group in summary["measurements"].items() for m in group]
    assert [(row["comparison"], row["name"], row["value"]) for row in rows] == listed
    assert all(row["unit"] and row["mask"] and row["voxels"] for row in rows)


def test_a_file_in_place_of_the_folder_is_refused(result, tmp_path):
    (tmp_path / "taken").write_text("x")
    with pytest.raises(OutputError, match="cannot be made"):
        write_report(result, tmp_path / "taken")


def test_pictures_of_any_orientation_and_thickness(head_phantom):
    slab = head_phantom.grid.crop((20, 0, 0), (4, *head_phantom.array.shape[1:]))
    thin = type(head_phantom)(head_phantom.array[20:24], slab)
    for volume in (head_phantom, thin):
        png = planes_figure([("a", volume), ("b", volume)], display_window(volume), difference=("d", volume, volume))
        assert png.startswith(PNG_SIGNATURE)
    with pytest.raises(GridMismatchError, match="'b'"):
        planes_figure([("a", head_phantom), ("b", thin)], (0.0, 1.0))


def test_pictures_do_not_need_an_outlier_free_image(head_phantom):
    hot = head_phantom.array.copy()
    hot[0, 0, 0] = 1e6
    low, high = display_window(head_phantom.with_array(hot))
    assert high < 1000
    assert low < high
    flat = head_phantom.with_array(np.full(hot.shape, 3.0, np.float32))
    assert display_window(flat) == (3.0, 4.0)
    assert histogram_figure([("flat", flat.array.ravel())], (3.0, 4.0)).startswith(PNG_SIGNATURE)


def test_cells_read_well():
    values = [None, "", 0.123456, 12345678, True, float("inf"), float("nan"), "text"]
    assert [format_value(v) for v in values] == ["–", "–", "0.1235", "12345678", "yes", "∞", "–", "text"]


def test_page_escapes_what_it_is_given():
    page = HtmlPage("<b>")
    page.table([{"<i>": "<u>"}], [0])
    page.picture(b"png", 'a "quote"')
    text = page.render()
    assert "<b>" not in text.replace("<body>", "")
    assert "&lt;u&gt;" in text
    assert 'alt="a &quot;quote&quot;"' in text


def test_nested_provenance_is_flattened():
    assert flatten({"a": {"b": 1, "c": {"d": "x"}}, "e": 2.5}) == {"a.b": "1", "a.c.d": "x", "e": "2.5"}
