"""Volumes of brain structures in a comparison: found by the network or given, in JSON, CSV, page and plots."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_models import write_tiny_segmenter
from typer.testing import CliRunner

from MRHarmonizationLib.cli import app
from MRHarmonizationLib.core.brain_regions import REGIONS
from MRHarmonizationLib.core.errors import InputError, ModelNotFoundError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.figures import curve_figure
from MRHarmonizationLib.evaluation.report_files import compare_files
from MRHarmonizationLib.evaluation.report_plots import plotly_description
from MRHarmonizationLib.inference.compare import compare
from MRHarmonizationLib.inference.compare_regions import REGION_CURVES, short_name
from MRHarmonizationLib.inference.curves import Curve
from MRHarmonizationLib.inference.segment import SegmentRequest, segment
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights import store


@pytest.fixture
def weights(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("onnx")
    write_tiny_segmenter(tmp_path / "weights", classes=(0, 18, 2, 1))
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "search_folders", lambda: (tmp_path / "empty",))


@pytest.fixture(scope="module")
def scans(head_phantom: Volume) -> dict[str, Volume]:
    """A thick scan, one whose voxels are 1 mm, and the truth."""
    noise = np.random.default_rng(0).normal(0, 10, head_phantom.array.shape).astype(np.float32)
    return {
        "before": resample(head_phantom, head_phantom.grid.with_spacing((1.5, 1.5, 4.0))),
        "after": head_phantom.with_array(head_phantom.array + noise, "after"),
        "reference": head_phantom,
    }


def drawn(like: Volume, counts: dict[int, int]) -> Volume:
    """A label map on a scan's grid with so many voxels of each number."""
    array = np.zeros(like.array.size, np.int16)
    numbers = np.repeat(list(counts), list(counts.values()))
    array[: numbers.size] = numbers
    return Volume(array.reshape(like.array.shape), like.grid, "labels")


def block(like: Volume) -> Volume:
    """A small mask: all but the regions is measured quickly."""
    array = np.zeros(like.array.shape, np.uint8)
    array[16:28, 20:36, 16:32] = 1
    return Volume(array, like.grid, "block")


def row_of(result, number: int) -> dict:
    return next(row for row in result.regions.rows if row["number"] == number)


def test_every_image_is_measured_on_its_own_grid(weights, scans):
    result = compare(**scans, mask=block(scans["after"]), regions=True)
    for role, volume in scans.items():
        own = segment(SegmentRequest(volume)).volumes_mm3
        for row in result.regions.rows:
            assert row[f"{role}_ml"] == pytest.approx(own[row["number"]] / 1000, abs=1e-4)
    first = REGIONS[1].number
    row = row_of(result, first)
    assert row["change_percent"] == pytest.approx(100 * (row["after_ml"] / row["before_ml"] - 1), abs=0.05)
    assert row["after_error_percent"] == pytest.approx(100 * (row["after_ml"] / row["reference_ml"] - 1), abs=0.05)
    assert row_of(result, REGIONS[4].number)["change_percent"] is None, "not there at all"
    assert "network 'brain-regions' 1" in result.regions.source
    assert any(note.startswith("brain regions of before:") for note in result.notes)
    assert result.to_dict()["regions"]["mean_absolute"]["after_error_percent"] == pytest.approx(
        np.mean([abs(r["after_error_percent"]) for r in result.regions.rows if r["after_error_percent"] is not None])
    )


def test_without_asking_nothing_is_measured(nothing_installed, scans):
    result = compare(scans["before"], scans["after"])
    assert result.regions is None
    assert result.to_dict()["regions"] is None
    assert not {curve.id for curve in result.curves} & set(REGION_CURVES)


def test_given_label_maps_need_no_network(nothing_installed, scans):
    before = drawn(scans["before"], {17: 100, 53: 120, 24: 1})
    after = drawn(scans["after"], {17: 1080, 53: 1200, 1020: 500})
    result = compare(scans["before"], scans["after"], segmentations=[before, after])
    row = row_of(result, 17)
    assert row["before_ml"] == pytest.approx(0.9)  # 100 voxels of 9 mm³
    assert row["after_ml"] == pytest.approx(1.08)
    assert row["change_percent"] == pytest.approx(20.0)
    assert "reference_ml" not in row
    assert row_of(result, 3)["after_ml"] == pytest.approx(0.5)
    assert any("parcels in the segmentation of after" in note for note in result.notes)
    assert row_of(result, 24)["change_percent"] is None, "9 mm³ are too little to tell"
    changes = result.curve("region_changes")
    names = [changes.x_names[int(place) - 1] for place in changes.series[0].x]
    assert dict(zip(names, changes.series[0].y, strict=True)) == {
        "hippocampus L": pytest.approx(20.0),
        "hippocampus R": pytest.approx(100 * (1.2 / 1.08 - 1), abs=0.01),
    }


def test_mistakes_are_found_before_the_work(nothing_installed, scans):
    labels = drawn(scans["after"], {17: 9})
    seen: list[float] = []
    progress = Progress(lambda fraction, message: seen.append(fraction))
    with pytest.raises(ParameterError, match="2 segmentations were given for 3 images"):
        compare(**scans, segmentations=[labels, labels], progress=progress)
    with pytest.raises(ModelNotFoundError, match="brain-regions"):
        compare(scans["before"], scans["after"], regions=True, progress=progress)
    assert not seen
    with pytest.raises(InputError, match="segmentation of after holds values"):
        compare(scans["before"], scans["after"], segmentations=[labels, scans["after"]])


def test_images_without_a_brain_have_no_regions_but_all_the_rest(weights, scans):
    write_tiny_segmenter(weights, classes=(0, 0, 0, 0))
    result = compare(scans["before"], scans["after"], mask=block(scans["after"]), regions=True)
    assert result.regions is None
    assert "the brain regions were left out: none was found in any image" in result.notes
    assert result.measurements["after"]


def test_the_report_holds_them(weights, scans, tmp_path: Path):
    files = {role: write_volume(volume, tmp_path / f"{role}.nrrd") for role, volume in scans.items()}
    mask = write_volume(block(scans["after"]), tmp_path / "mask.nrrd")
    done = compare_files(**files, mask=mask, out=tmp_path / "report", regions=True)
    rows = list(csv.DictReader(done.paths.regions.read_text("utf-8").splitlines()))
    assert len(rows) == 32
    assert float(rows[0]["before_ml"]) == done.result.regions.rows[0]["before_ml"]
    summary = json.loads(done.paths.json.read_text("utf-8"))
    assert summary["regions"]["rows"] == [dict(row) for row in done.result.regions.rows]
    page = done.paths.html.read_text("utf-8")
    assert "Brain regions" in page
    assert "Left hippocampus" in page
    assert "plot-region_changes" in page
    assert page.count('id="plot-region_volumes"') == 1
    assert "differ in volume from the reference by" in page
    curves = [Curve.from_dict(values) for values in json.loads(done.paths.curves.read_text("utf-8"))]
    assert [curve.id for curve in curves][-2:] == list(REGION_CURVES)
    assert curves[-1].drawn == "bars"
    assert curves[-1].x_names[0].endswith(" L")
    plain = compare_files(files["before"], files["after"], tmp_path / "report", mask=mask)
    assert plain.paths.regions is None
    assert not done.paths.regions.exists(), "volumes of another comparison would lie beside this one"
    assert "Brain regions" not in plain.paths.html.read_text("utf-8")


def test_plots_name_the_structures(nothing_installed, scans):
    pair = [drawn(scans[role], {17: 500, 53: 510}) for role in ("before", "after")]
    result = compare(scans["before"], scans["after"], segmentations=pair)
    names = {short_name(region) for region in REGIONS}
    for curve in result.curves[-2:]:
        described = plotly_description(curve)
        assert set(described["layout"]["xaxis"]["ticktext"]) == names
        assert {trace["type"] for trace in described["data"]} == ({"bar"} if curve.drawn == "bars" else {"scatter"})
        assert curve_figure(curve).startswith(b"\x89PNG")
    assert all(trace["mode"] == "markers" for trace in plotly_description(result.curve("region_volumes"))["data"])


def test_the_command(weights, scans, tmp_path: Path):
    paths = [str(write_volume(scans[role], tmp_path / f"{role}.nrrd")) for role in ("before", "after")]
    labels = [
        str(write_volume(drawn(scans[role], {17: 300}), tmp_path / f"{role}_labels.nii.gz"))
        for role in ("before", "after")
    ]
    mask = write_volume(block(scans["after"]), tmp_path / "mask.nrrd")
    words = ["compare", *paths, "--out", str(tmp_path / "report"), "--mask", str(mask)]
    found = CliRunner().invoke(app, [*words, "--regions"])
    assert found.exit_code == 0, found.output
    assert "brain regions, ml before → after; network 'brain-regions'" in found.output
    given = CliRunner().invoke(app, [*words, "--segmentations", labels[0], "--segmentations", labels[1], "--jsonl"])
    assert given.exit_code == 0, given.output
    told = json.loads(given.stdout.splitlines()[-1])
    assert Path(told["regions"]).is_file()
    summary = json.loads(Path(told["comparison"]).read_text("utf-8"))
    assert summary["regions"]["source"] == "label maps given by the user"
    one = CliRunner().invoke(app, [*words, "--segmentations", labels[0]])
    assert one.exit_code == 2
    assert "1 segmentations were given for 2 images" in " ".join(one.output.split())
