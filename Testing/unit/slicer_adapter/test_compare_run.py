"""One comparison from volumes to results, with the real command line and without; the temporary folder never stays."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fake_runner import FakeRunner

from MRHarmonizationLib.core.errors import InputError, OutputError
from MRHarmonizationLib.slicer_adapter.compare_run import (
    REPORT_FILES,
    CompareRequest,
    CompareRun,
    compare_command,
    file_stem,
)
from MRHarmonizationLib.slicer_adapter.jobs import SubprocessRunner
from MRHarmonizationLib.volumes.grid import same_grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume


@pytest.fixture
def request_of(head_phantom: Volume) -> CompareRequest:
    thick = resample(head_phantom, head_phantom.grid.with_spacing((1.0, 1.0, 4.0)))
    before = Volume(thick.array, thick.grid, "a/b: scan")
    mask = head_phantom.with_array((head_phantom.array > 200).astype(np.uint8), "brain")
    return CompareRequest(before, head_phantom, head_phantom, mask, ("contrast",), 3)


@pytest.mark.slow
def test_real_command_line(request_of: CompareRequest, tmp_path: Path):
    seen: list[float] = []
    run = CompareRun(request_of, SubprocessRunner(), lambda fraction, _: seen.append(fraction), tmp_path)
    done = run.wait()
    assert not list(tmp_path.iterdir())
    assert seen == sorted(seen)
    assert set(done.files) == set(REPORT_FILES)
    assert done.summary["mask"]["name"] == "brain"
    assert done.summary["images"]["before"]["name"] == "a_b_ scan"
    assert {"psd_radial", "psd_ratio", "histogram", "glcm_contrast"} <= {curve.id for curve in done.curves}
    assert set(done.maps) >= {"before_contrast", "after_contrast"}
    assert all(same_grid(volume.grid, request_of.after.grid) for volume in done.maps.values())
    assert any("resampled" in note for note in done.notes)
    page = done.files["report.html"].decode("utf-8")
    assert page.lstrip().lower().startswith("<!doctype html")


def test_error_of_the_command_line_arrives(head_phantom: Volume, tmp_path: Path):
    constant = head_phantom.with_array(np.full(head_phantom.array.shape, 3, np.float32))
    with pytest.raises(InputError, match="constant"):
        CompareRun(CompareRequest(head_phantom, constant), SubprocessRunner(), folder=tmp_path).wait()
    assert not list(tmp_path.iterdir())


def test_records_lie_beside_the_images(request_of: CompareRequest, tmp_path: Path):
    found: dict[str, str] = {}

    def look(command: Sequence[str]) -> None:
        for path in Path(command[4]).parent.parent.glob("*/*.mrh.json"):
            found[path.parent.name] = json.loads(path.read_text(encoding="utf-8"))["model"]

    request = CompareRequest(request_of.before, request_of.after, records={"after": {"model": "tiny"}, "before": {}})
    CompareRun(request, FakeRunner(afterwards=look), folder=tmp_path).wait()
    assert found == {"after": "tiny"}


@pytest.mark.parametrize("name", ["curves.json", "compare.json", "report.html"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_result_that_does_not_load_is_a_failure(request_of: CompareRequest, tmp_path: Path, name: str, damage: str):
    def spoil(command: Sequence[str]) -> None:
        path = Path(command[command.index("--out") + 1]) / name
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    run = CompareRun(request_of, FakeRunner(afterwards=spoil), folder=tmp_path)
    if (name, damage) == ("report.html", "cut"):
        assert run.wait().files[name]  # a page is not looked into
    else:
        with pytest.raises(OutputError, match=r"wrote no|does not load"):
            run.wait()
    assert not list(tmp_path.iterdir())


def test_curves_that_are_none_are_a_failure(request_of: CompareRequest, tmp_path: Path):
    def spoil(command: Sequence[str]) -> None:
        path = Path(command[command.index("--out") + 1]) / "curves.json"
        path.write_text(json.dumps([{"id": "psd_radial", "series": [{"name": "x"}]}]), encoding="utf-8")

    with pytest.raises(OutputError, match="does not load"):
        CompareRun(request_of, FakeRunner(afterwards=spoil), folder=tmp_path).wait()


def test_command_says_what_the_request_says(request_of: CompareRequest):
    paths = {"before": Path("b.nrrd"), "after": Path("a.nrrd"), "reference": Path("r.nrrd"), "mask": Path("m.nrrd")}
    request = CompareRequest(request_of.before, request_of.after, None, None, ("contrast", "asm"), 7, ("ms_ssim",))
    command = compare_command(request, paths, Path("out"))
    assert command[:4] == [sys.executable, "-m", "MRHarmonizationLib", "compare"]
    assert " ".join(command[4:]) == (
        "b.nrrd a.nrrd --out out --reference r.nrrd --mask m.nrrd --maps contrast --maps asm --window 7 "
        "--metric ms_ssim --jsonl"
    )
    plain = compare_command(CompareRequest(request_of.before, request_of.after), paths, Path("out"))
    assert "--window" not in plain
    assert "--maps" not in plain
    assert "--regions" not in plain
    regions = CompareRequest(request_of.before, request_of.after, regions=True)
    assert compare_command(regions, paths, Path("out"))[-2:] == ["--regions", "--jsonl"]
    labels = (request_of.before, request_of.after)
    given = CompareRequest(request_of.before, request_of.after, segmentations=labels)
    command = compare_command(given, paths | {"labels0": Path("x.nrrd"), "labels1": Path("y.nrrd")}, Path("out"))
    assert " ".join(command[-5:]) == "--segmentations x.nrrd --segmentations y.nrrd --jsonl"


@pytest.mark.parametrize(
    ("name", "stem"),
    [("Scan_lowfield", "Scan_lowfield"), ("2: T1 / MPRAGE", "2_ T1 _ MPRAGE"), ("..", "after"), ("", "after"),
     ("x" * 300, "x" * 80), ("Größe µ", "Größe µ")],
)  # fmt: skip
def test_names_of_nodes_as_names_of_files(name: str, stem: str):
    assert file_stem(name, "after") == stem
