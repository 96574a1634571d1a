from __future__ import annotations

import base64
import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import GridMismatchError, OutputError
from MRHarmonizationLib.evaluation import report_plots
from MRHarmonizationLib.evaluation.figures import curve_figure, display_window, plane_tiles, planes_figure
from MRHarmonizationLib.evaluation.html import HtmlPage, format_value
from MRHarmonizationLib.evaluation.report import comparison_page, flatten, write_report
from MRHarmonizationLib.evaluation.report_plots import plotly_description
from MRHarmonizationLib.evaluation.report_tables import (
    SHOWN_FEATURES,
    change_rows,
    headlines,
    meaning,
    readable,
    texture_rows,
    verdict_of,
)
from MRHarmonizationLib.inference.compare import compare
from MRHarmonizationLib.inference.curves import Curve
from MRHarmonizationLib.metrics.base import METRICS, Measurement
from MRHarmonizationLib.volumes.files import read_volume, write_volume

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
FILES = ["compare.json", "curves.json", "metrics.csv", "report.html", "texture.csv"]


@pytest.fixture(scope="module")
def result(head_phantom):
    noise = np.random.default_rng(0).normal(0, 20, head_phantom.array.shape).astype(np.float32)
    before = head_phantom.with_array(head_phantom.array + noise, "scan <1> & more")
    return compare(before, head_phantom, head_phantom, maps=["contrast"], window=3)


@pytest.fixture(scope="module")
def page(result) -> str:
    return comparison_page(result, "Title", {"after": {"model_id": "lowfield", "parameters": {"strength": 1}}})


class Outline(HTMLParser):
    """What a page consists of, and whether its elements are closed in order."""

    VOID = ("meta", "img", "input", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


def test_page_needs_nothing_else_and_may_load_nothing(page):
    outline = Outline(page)
    assert outline.open == []
    sources = [a[key] for _, a in outline.elements for key in ("src", "href") if a.get(key)]
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert not outline.all("link", "iframe", "object", "base")
    (policy,) = [a["content"] for a in outline.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert "url(" not in "".join(re.findall(r"<style>(.*?)</style>", page, re.DOTALL))
    assert "scan &lt;1&gt; &amp; more" in page
    assert "after.parameters.strength" in page


def test_page_is_accessible(page):
    outline = Outline(page)
    assert dict(outline.elements)["html"]["lang"] == "en"
    assert any(a.get("name") == "viewport" for a in outline.all("meta"))
    levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in zip(levels, levels[1:], strict=False))
    tiles = [a for a in outline.all("img") if a.get("src")]
    assert len(tiles) > 20
    assert all(a["alt"] for a in tiles)
    identifiers = [a["id"] for _, a in outline.elements if a.get("id")]
    assert len(identifiers) == len(set(identifiers))
    assert {a["href"][1:] for a in outline.all("a")} <= set(identifiers)
    assert all(a.get("aria-label") for a in outline.all("input", "select"))
    assert all(a["scope"] == "col" for a in outline.all("th"))


def test_every_picture_is_whole(page):
    pictures = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page)
    assert all(base64.b64decode(data).startswith(PNG_SIGNATURE) for data in pictures)


def test_every_number_is_explained(result, page):
    for group in result.measurements.values():
        for measurement in group:
            assert readable(measurement.name) in page
    assert all(meaning(name).endswith(".") and "\n" not in meaning(name) for name in METRICS.names())
    for curve in result.curves:
        assert curve.title in page
        assert f'id="plot-{curve.id}"' in page


def test_all_files_appear_with_one_content(result, tmp_path):
    folder = tmp_path / "new" / "folder"
    paths = write_report(result, folder, "Title", {"made": "by hand"})
    assert sorted(p.name for p in folder.iterdir()) == sorted([*FILES, "maps"])
    assert {path.name for path in (folder / "maps").iterdir()} == {f"{name}.nrrd" for name in result.maps}
    with paths.csv.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    summary = json.loads(paths.json.read_text("utf-8"))
    listed = [(key, m["name"], str(m["value"])) for key, group in summary["measurements"].items() for m in group]
    assert [(row["comparison"], row["name"], row["value"]) for row in rows] == listed
    assert all(row["unit"] and row["mask"] and row["voxels"] for row in rows)
    curves = [Curve.from_dict(values) for values in json.loads(paths.curves.read_text("utf-8"))]
    assert [curve.id for curve in curves] == summary["curves"] == [curve.id for curve in result.curves]
    with paths.texture.open(encoding="utf-8", newline="") as stream:
        texture = list(csv.DictReader(stream))
    assert len(texture) == len(result.texture) == len(summary["texture"])
    assert float(texture[0]["value"]) == pytest.approx(result.texture[0]["value"])
    assert summary["provenance"] == {"made": "by hand"}
    read = read_volume(paths.maps["after_contrast"])
    np.testing.assert_array_equal(read.array, result.maps["after_contrast"].array)


def test_what_an_earlier_report_had_and_this_one_lacks_is_removed(result, tmp_path):
    (tmp_path / "maps").mkdir()
    earlier = [tmp_path / name for name in ("regions.csv", "maps/after_contrast.nrrd", "maps/reference_energy.nrrd")]
    own = [tmp_path / "notes.csv", tmp_path / "maps" / "own.nrrd"]
    for path in (*earlier, *own):
        path.write_text("x")
    write_report(replace(result, maps={}, curves=()), tmp_path)
    assert not any(path.exists() for path in earlier)
    assert all(path.exists() for path in own)


def test_what_cannot_be_written_leaves_nothing(result, tmp_path, monkeypatch):
    result = replace(result, curves=())  # drawing them takes most of the time
    (tmp_path / "taken").write_text("x")
    with pytest.raises(OutputError, match="cannot be made"):
        write_report(result, tmp_path / "taken")
    (tmp_path / "report" / "compare.json").mkdir(parents=True)
    with pytest.raises(OutputError, match="compare.json is a folder"):
        write_report(result, tmp_path / "report")
    (tmp_path / "report" / "compare.json").rmdir()
    write_report(result, tmp_path / "report", "first")
    (tmp_path / "report" / "regions.csv").write_text("of an earlier run")
    former = {path: path.read_bytes() for path in (tmp_path / "report").rglob("*") if path.is_file()}

    def full(volume, path):
        if "after" in path.name:
            raise OutputError("the disk is full", "free some space")
        return write_volume(volume, path)

    monkeypatch.setattr("MRHarmonizationLib.evaluation.report.write_volume", full)
    with pytest.raises(OutputError, match="disk is full"):
        write_report(result, tmp_path / "report", "second")
    assert {path: path.read_bytes() for path in (tmp_path / "report").rglob("*") if path.is_file()} == former


def test_without_plotly_the_curves_are_still_there(result, monkeypatch):
    monkeypatch.setattr(report_plots, "_plotly_script", lambda: None)
    page = comparison_page(result, "Title")
    assert report_plots.NO_PLOTLY_NOTE.split(":")[0] in page
    assert "DecompressionStream" not in page
    outline = Outline(page)
    stills = [a for a in outline.all("img") if " over " in (a["alt"] or "")]
    assert len(stills) == len(result.curves)


def test_plotly_draws_all_points_with_units(result):
    curve = result.curve("psd_directional")
    drawn = plotly_description(curve)
    assert [trace["name"] for trace in drawn["data"]] == [series.name for series in curve.series]
    assert [len(trace["x"]) for trace in drawn["data"]] == [series.x.size for series in curve.series]
    np.testing.assert_allclose(drawn["data"][0]["y"], curve.series[0].y, rtol=1e-5)
    assert drawn["layout"]["xaxis"]["title"]["text"] == "frequency along the axis (cycles/mm)"
    assert drawn["layout"]["yaxis"]["type"] == "log"
    looks = {(trace["meta"], trace["line"]["dash"]) for trace in drawn["data"]}
    assert len(looks) == len(curve.series), "lines of one colour differ in their dashes"


def test_headlines_judge_by_each_metrics_own_direction(result):
    text = " ".join(headlines(result))
    assert re.search(r"PSNR to reference rises from [\d.]+ to ∞ dB: better", text)
    assert re.search(r"Noise falls from [\d.]+ to [\d.]+ % of range; the reference has [\d.]+\.", text)
    alone = compare(result.before, result.after)
    assert re.search(r"Noise falls from .*: better", " ".join(headlines(alone)))
    assert re.search(
        r"After resembles before with SSIM 0\.\d+ and correlation 0\.\d+ \(1 = equal\)", headlines(alone)[0]
    )


def test_verdicts():
    def measured(value: float, better: str) -> Measurement:
        return Measurement("x", value, "1", better, 10)

    assert verdict_of(measured(1, "higher"), measured(2, "higher")) == "better"
    assert verdict_of(measured(1, "lower"), measured(2, "lower")) == "worse"
    assert verdict_of(measured(1, "none"), measured(2, "none")) == ""
    assert verdict_of(measured(1, "higher"), measured(1.004, "higher")) == "same"
    smooth, scan, truth = (measured(value, "lower") for value in (0.1, 0.5, 0.6))
    assert verdict_of(scan, smooth) == "better"
    assert verdict_of(scan, smooth, truth) == "farther", "less noise than the truth has is no gain"
    assert verdict_of(smooth, scan, truth) == "nearer"
    assert verdict_of(measured(np.inf, "higher"), measured(np.inf, "higher")) == "same"


def test_tables_set_before_beside_after(result):
    rows = {row["measure"]: row for row in change_rows(result, "before", "after")}
    assert rows["noise"]["change"] == pytest.approx(rows["noise"]["after"] - rows["noise"]["before"])
    assert rows["noise"]["reference"] == rows["noise"]["after"], "after is the reference here"
    assert rows["noise"]["better if"] == "lower"
    where, texture = texture_rows(result.texture)
    assert where["directions"] == 13
    assert len(texture) == len(SHOWN_FEATURES)
    first = texture[0]
    assert first["change, %"] == pytest.approx(100 * (first["after"] / first["before"] - 1), abs=0.06)
    assert texture_rows(()) == ({}, [])


def test_pictures_of_any_orientation_and_thickness(head_phantom):
    slab = head_phantom.grid.crop((20, 0, 0), (4, *head_phantom.array.shape[1:]))
    thin = type(head_phantom)(head_phantom.array[20:24], slab)
    for volume in (head_phantom, thin):
        png = planes_figure([("a", volume), ("b", volume)], display_window(volume), difference=("d", volume, volume))
        assert png.startswith(PNG_SIGNATURE)
    with pytest.raises(GridMismatchError, match="'b'"):
        planes_figure([("a", head_phantom), ("b", thin)], (0.0, 1.0))


def test_tiles_show_square_millimetres_the_right_way_round(head_phantom):
    from io import BytesIO

    from PIL import Image

    marked = np.zeros(head_phantom.array.shape, np.float32)
    marked[22, 50, 40] = 100  # right (i grows to R), anterior, in the axial plane of the middle
    tiles = plane_tiles(head_phantom.with_array(marked), (0, 100))
    axial = np.asarray(Image.open(BytesIO(tiles["axial"])))
    assert axial.shape == (56, 48)
    assert np.argwhere(axial > 200).tolist() == [[56 - 1 - 50, 48 - 1 - 40]], "front up, right on the left"
    grid = head_phantom.grid.with_spacing((1.0, 1.0, 4.0))
    thick = type(head_phantom)(np.zeros(grid.shape, np.float32), grid)
    assert Image.open(BytesIO(plane_tiles(thick, (0, 1))["coronal"])).size == (48, 44)
    large = head_phantom.grid.with_spacing((0.05, 1.0, 1.0))
    wide = type(head_phantom)(np.zeros(large.shape, np.float32), large)
    assert max(Image.open(BytesIO(plane_tiles(wide, (0, 1))["axial"])).size) <= 512


def test_pictures_do_not_need_an_outlier_free_image(head_phantom, result):
    hot = head_phantom.array.copy()
    hot[0, 0, 0] = 1e6
    low, high = display_window(head_phantom.with_array(hot))
    assert high < 1000
    assert low < high
    flat = head_phantom.with_array(np.full(hot.shape, 3.0, np.float32))
    assert display_window(flat) == (3.0, 4.0)
    assert all(curve_figure(curve).startswith(PNG_SIGNATURE) for curve in result.curves)


def test_cells_read_well():
    values = [None, "", 0.123456, 12345678, True, float("inf"), float("nan"), "text"]
    assert [format_value(v) for v in values] == ["–", "–", "0.1235", "12345678", "yes", "∞", "–", "text"]


def test_page_escapes_what_it_is_given():
    page = HtmlPage("<b>")
    page.table([{"<i>": "<u>"}], [0], caption='<a "b">')
    page.picture(b"png", 'a "quote"')
    page.heading("<s>")
    page.bullets(["<em>"])
    text = page.render()
    for tag in ("<b>", "<i>", "<u>", "<a ", "<s>", "<em>"):
        assert tag not in text
    assert "&lt;u&gt;" in text
    assert 'alt="a &quot;quote&quot;"' in text


def test_pages_without_plots_carry_no_scripts():
    page = HtmlPage("Scores", "one sentence")
    page.table([{"a": 1, "b": 0.5}])
    text = page.render()
    assert "<script" not in text
    assert '<div class="scroll" role="region" tabindex="0"' in text


def test_nested_provenance_is_flattened():
    assert flatten({"a": {"b": 1, "c": {"d": "x"}}, "e": 2.5}) == {"a.b": "1", "a.c.d": "x", "e": "2.5"}
