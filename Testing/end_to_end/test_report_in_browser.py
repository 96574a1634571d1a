"""The comparison report opened in headless Chromium: nothing overflows, plots draw and answer, nothing is loaded."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MRHarmonizationLib.evaluation.report import write_report
from MRHarmonizationLib.inference.compare import ComparisonResult, compare

pytest.importorskip("plotly", reason="the curves of the report are drawn by plotly")

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TIMEOUT_S = 400
WAIT_MS = 60_000
"""Of the browser's own clock, which runs ahead while nothing happens."""
LEAST_CONTRAST = 4.5
"""WCAG 2 level AA, normal text."""

WATCH = """<script>
window.problems = [];
addEventListener("error", (event) => problems.push(String(event.message)));
addEventListener("unhandledrejection", (event) => problems.push(String(event.reason)));
document.addEventListener("securitypolicyviolation", (event) => problems.push("policy: " + event.blockedURI));
</script>"""

PROBE = """<script>
(() => {
  const figures = [...document.querySelectorAll("figure.plot")];
  const drawn = () => figures.filter((figure) => figure.querySelector("svg.main-svg .scatterlayer .trace"));
  const seen = (element) => element.getClientRects().length > 0;
  const luminance = (colour) => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const contrast = (selector) => {
    const element = document.querySelector(selector);
    const text = luminance(getComputedStyle(element).color);
    let ground = element;
    while (ground && /, 0\\)|transparent/.test(getComputedStyle(ground).backgroundColor)) ground = ground.parentElement;
    const paper = ground ? luminance(getComputedStyle(ground).backgroundColor) : 1;
    return (Math.max(text, paper) + 0.05) / (Math.min(text, paper) + 0.05);
  };
  const measure = () => {
    const hovered = {};
    for (const figure of drawn()) {
      const live = figure.querySelector(".live");
      Plotly.Fx.hover(live, [{ curveNumber: 0, pointNumber: 1 }]);
      hovered[live.id] = live.querySelector(".hoverlayer").textContent;
    }
    const slider = document.querySelector(".slider"), range = slider.querySelector("input");
    range.value = "80";
    range.dispatchEvent(new Event("input"));
    const right = document.querySelector("select.right");
    const shown = slider.querySelectorAll("img")[1], before = shown.src;
    right.value = right.options[0].value;
    right.dispatchEvent(new Event("change"));
    const report = {
      width: innerWidth, needed: document.documentElement.scrollWidth, problems,
      wide: [...document.querySelectorAll("body *")].filter((element) => !element.closest(".scroll, svg, .live")
        && element.getBoundingClientRect().right > innerWidth + 1).map((element) => element.outerHTML.slice(0, 80)),
      scrolling: [...document.querySelectorAll(".scroll")].map((box) => box.scrollWidth > box.clientWidth),
      figures: figures.length, drawn: drawn().length, hovered,
      stills: figures.filter((figure) => seen(figure.querySelector("img"))).length,
      axes: figures.map((figure) => [...figure.querySelectorAll(".xtitle, .ytitle")].map((t) => t.textContent)),
      loaded: performance.getEntriesByType("resource").map((entry) => entry.name.slice(0, 60)),
      pictures: [...document.images].filter((image) => seen(image)).map((image) => image.naturalWidth),
      cut: getComputedStyle(slider).getPropertyValue("--cut").trim(), swapped: shown.src !== before,
      dark: matchMedia("(prefers-color-scheme: dark)").matches,
      contrasts: Object.fromEntries(["body", "p.lead", "td.long", "a", "p.note"].filter((selector) =>
        document.querySelector(selector)).map((selector) => [selector, contrast(selector)])),
    };
    parent.postMessage(JSON.stringify(report), "*");
  };
  let turns = 0;
  const clock = setInterval(() => {
    if (drawn().length < figures.length && ++turns < 1500) return;
    clearInterval(clock);
    measure();
  }, 25);
})();
</script>"""

FRAME = """<!DOCTYPE html><body style="margin:0"><iframe src="watched.html" style="border:0;width:%dpx;height:900px">
</iframe><pre></pre><script>addEventListener("message", (event) => {
document.querySelector("pre").textContent = event.data; });</script></body>"""


@pytest.fixture(scope="session")
def chromium() -> str:
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.skip("needs Chromium (Debian and Ubuntu: apt-get install chromium)")
    return found


@pytest.fixture(scope="module")
def result(head_phantom) -> ComparisonResult:
    noise = np.random.default_rng(0).normal(0, 20, head_phantom.array.shape).astype(np.float32)
    before = head_phantom.with_array(head_phantom.array + noise, "a_scan_with_a_rather_long_name_as_scanners_give_them")
    return compare(before, head_phantom, head_phantom, maps=["contrast"], window=3)


@pytest.fixture(scope="module")
def report(result, tmp_path_factory) -> Path:
    provenance = {"after": {"model_id": "lowfield", "input_digest": "sha256:" + 64 * "f"}}
    folder = tmp_path_factory.mktemp("report")
    title = "a_scan_with_a_rather_long_name_as_scanners_give_them.nii.gz and what_became_of_it.nii.gz"
    return write_report(result, folder, title, provenance).html


def browse(chromium: str, page: Path, folder: Path, *flags: str) -> str:
    """Return the document as it stands after its scripts have run."""
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--virtual-time-budget={WAIT_MS}", *flags]
    command += ["--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True).stdout


def measured(chromium: str, report: Path, folder: Path, width: int, *flags: str) -> dict[str, Any]:
    """Open the report in a frame of a width and return what its elements measure; windows are never below 500 px."""
    text = report.read_text("utf-8").replace("<title>", WATCH + "<title>", 1)
    end = text.rindex("</body>")
    (folder / "watched.html").write_text(text[:end] + PROBE + text[end:], "utf-8")
    (folder / "frame.html").write_text(FRAME % width, "utf-8")
    document = browse(chromium, folder / "frame.html", folder, "--window-size=1400,1000", *flags)
    (found,) = re.findall(r"<pre>(.*?)</pre>", document, re.DOTALL)
    assert found, "the report did not answer in time"
    return json.loads(html.unescape(found))


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_report_fits_draws_and_answers(chromium, report, result, tmp_path, width, scheme):
    flag = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"
    seen = measured(chromium, report, tmp_path, width, flag)
    assert seen["width"] == width
    assert seen["needed"] <= width
    assert seen["wide"] == []
    assert seen["problems"] == []
    assert all(name.startswith(("data:", "blob:")) for name in seen["loaded"])
    assert seen["figures"] == seen["drawn"] == len(result.curves)
    assert seen["stills"] == 0
    for curve in result.curves:
        assert any(text == [curve.x_title, curve.y_title] for text in seen["axes"])
        assert curve.series[0].name in seen["hovered"][f"plot-{curve.id}"]
    assert len(seen["pictures"]) >= 3 * 4 + 2 * 3
    assert all(pixels > 20 for pixels in seen["pictures"])
    assert seen["cut"] == "80%"
    assert seen["swapped"]
    assert len(seen["contrasts"]) >= 4
    assert min(seen["contrasts"].values()) >= LEAST_CONTRAST, seen["contrasts"]
    assert seen["dark"] == (scheme == "dark")
    if width < 600:
        assert any(seen["scrolling"]), "wide tables scroll inside their box"


@pytest.mark.slow
def test_without_scripts_the_still_pictures_are_seen(chromium, report, result, tmp_path):
    """As in a browser that runs none: the page's own scripts are taken out, one is put in that counts."""
    text = re.sub(
        r'<script(?! type="application/json")[^>]*>.*?</script>', "", report.read_text("utf-8"), flags=re.DOTALL
    )
    count = """<script>
      const seen = (element) => element.getClientRects().length > 0;
      const controls = [...document.querySelectorAll("input, select, .live")];
      const pictures = [...document.images].filter((image) => seen(image) && image.naturalWidth);
      document.title = [pictures.length, controls.length, controls.filter(seen).length].join(" ");
    </script>"""
    (tmp_path / "still.html").write_text(text.replace("</body>", count + "</body>"), "utf-8")
    document = browse(chromium, tmp_path / "still.html", tmp_path, "--window-size=1280,900")
    pictures, controls, seen = map(int, re.findall(r"<title>(.*?)</title>", document)[0].split())
    assert pictures == len(result.curves) + 3 * 4 + 3 * 3, "curves, planes of the images, planes of the maps"
    assert controls > 0
    assert seen == 0, "what needs scripts is not shown"
