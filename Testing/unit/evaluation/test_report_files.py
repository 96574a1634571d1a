"""Comparing files: what is read beside them, what is refused, what is told."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError, OperationCancelled, OutputError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.report_files import compare_files
from MRHarmonizationLib.inference.file_operations import degrade_file
from MRHarmonizationLib.volumes.files import write_volume


@pytest.fixture
def files(head_phantom, tmp_path):
    """A fine scan, and a degraded one with the record of its making beside it."""
    folder = tmp_path / "scans"
    folder.mkdir()
    fine = write_volume(head_phantom, folder / "fine.nrrd")
    degrade_file(fine, folder / "coarse.nrrd", seed=3)
    return {"before": folder / "coarse.nrrd", "after": fine}


def test_report_tells_where_the_images_come_from(files, tmp_path):
    done = compare_files(files["before"], files["after"], tmp_path / "report")
    summary = json.loads(done.paths.json.read_text("utf-8"))
    assert summary["provenance"]["file.before"] == "coarse.nrrd"
    record = summary["provenance"]["before"]
    assert record["operation"] == "degrade"
    assert record["parameters"]["seed"] == 3
    page = done.paths.html.read_text("utf-8")
    assert "before.parameters.seed" in page
    assert str(tmp_path) not in page, "folders of the user's machine are nobody's business"
    assert not any("record" in note for note in done.result.notes)


def test_records_that_do_not_fit_are_remarked(files, tmp_path, head_phantom):
    write_volume(head_phantom.with_array(head_phantom.array + 1), files["before"])
    (files["after"].parent / "fine.mrh.json").write_text("no JSON")
    notes = compare_files(files["before"], files["after"], tmp_path / "report").result.notes
    assert any("before is not the image its record coarse.mrh.json describes" in note for note in notes)
    assert any("fine.mrh.json beside after could not be read" in note for note in notes)


def test_maps_are_written_as_volumes(files, tmp_path):
    done = compare_files(**files, out=tmp_path / "report", maps=["contrast"], window=3)
    assert sorted(done.paths.maps) == ["after_contrast", "before_contrast"]
    assert all(path.is_file() for path in done.paths.maps.values())


def test_images_are_not_overwritten(files, tmp_path, head_phantom):
    maps = tmp_path / "report" / "maps"
    maps.mkdir(parents=True)
    before = write_volume(head_phantom, maps / "before_contrast.nrrd")
    content = before.read_bytes()
    with pytest.raises(OutputError, match="would be overwritten"):
        compare_files(before, files["after"], tmp_path / "report", maps=["contrast"])
    assert before.read_bytes() == content


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom permission bits stop")
def test_read_only_folders_are_found_before_the_work(files, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="read-only"):
        compare_files(**files, out=tmp_path / "locked")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is a folder nobody can write to")
def test_folders_that_take_no_files_are_found_before_the_work(files):
    with pytest.raises(OutputError, match="/proc"):
        compare_files(**files, out="/proc/report")


def test_wrong_words_are_found_before_the_files_are_read(tmp_path):
    with pytest.raises(ParameterError, match="beauty"):
        compare_files("missing.nrrd", "missing.nrrd", tmp_path / "report", maps=["beauty"])
    with pytest.raises(InputError, match="does not exist"):
        compare_files("missing.nrrd", "missing.nrrd", tmp_path / "report")


def test_four_dimensional_files_are_refused(files, tmp_path):
    import SimpleITK as sitk

    series = sitk.JoinSeries([sitk.GetImageFromArray(np.random.default_rng(0).random((6, 7, 8)))] * 3)
    sitk.WriteImage(series, str(tmp_path / "series.nii.gz"))
    with pytest.raises(InputError, match="4-D"):
        compare_files(tmp_path / "series.nii.gz", files["after"], tmp_path / "report")


@pytest.mark.parametrize("stop", [0.0, 0.3, 0.85])
def test_cancelling_leaves_no_file(files, tmp_path, stop):
    progress = Progress(lambda fraction, _: progress.cancel() if fraction >= stop else None)
    with pytest.raises(OperationCancelled):
        compare_files(**files, out=tmp_path / "report", progress=progress)
    assert list((tmp_path / "report").iterdir()) == []
