"""Two folders of scans become pairs to learn from; what cannot is named, and nothing is half-written."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.heads import face_labels

from MRHarmonizationLib.core.errors import InputError, OperationCancelled, OutputError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.degradations.lowfield import AcquisitionParameters, acquire
from MRHarmonizationLib.degradations.reference_look import render_reference_look
from MRHarmonizationLib.inference.preparation import prepare
from MRHarmonizationLib.training.pair_manifest import assign_splits, read_manifest
from MRHarmonizationLib.training.pair_names import match_scans, read_name
from MRHarmonizationLib.training.pair_preparation import PairSettings, prepare_pairs
from MRHarmonizationLib.volumes.files import digest_file, read_volume, write_volume
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

SPACING_MM, SLICE_MM = 2.0, 5.0
SHAPE = (36, 42, 38)


def high_scan(subject: int, contrast: str = "t1") -> Volume:
    return render_reference_look(face_labels(subject, SHAPE, SPACING_MM), contrast, subject)


def low_scan(subject: int, contrast: str = "t1") -> Volume:
    """The same head, 30 mm away, in thick slices and noise, in other units."""
    scan = high_scan(subject, contrast)
    affine = scan.grid.affine.copy()
    affine[:3, 3] += (-20.0, 15.0, 20.0)
    away = Volume(scan.array * 0.1, Grid(scan.grid.shape, affine))
    return acquire(away, AcquisitionParameters(0, SLICE_MM, SLICE_MM, in_plane_spacing_mm=(2.0, 2.0), snr=20))


def write_folders(root: Path, subjects=(1, 2), odd: int | None = None) -> tuple[Path, Path]:
    """Write LOW and HIGH folders; subject ``odd`` has a T2 in the high folder."""
    for name in ("low", "high"):
        (root / name).mkdir(parents=True)
    for n in subjects:
        write_volume(low_scan(n), root / "low" / f"sub-{n:02d}_64mT.nii.gz")
        write_volume(high_scan(n, "t2" if n == odd else "t1"), root / "high" / f"sub-{n:02d}_3T.nii.gz")
    return root / "low", root / "high"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    low, high = write_folders(root)
    (low / "sub-03_64mT.nii.gz").write_bytes((low / "sub-01_64mT.nii.gz").read_bytes()[:3000])
    write_volume(high_scan(3), high / "sub-03_3T.nii.gz")
    write_volume(high_scan(4), high / "sub-04_3T.nii.gz")
    noise = np.abs(np.random.default_rng(0).normal(0, 100, SHAPE)).astype(np.float32)
    write_volume(low_scan(5), low / "sub-05_64mT.nii.gz")
    write_volume(Volume(noise, high_scan(5).grid), high / "sub-05_3T.nii.gz")
    # the contrast check of single scans would take the noise out before it is registered
    return root, prepare_pairs(low, high, root / "out", PairSettings(allow_mixed=True))


def test_pairs_lie_on_each_other_on_the_grid_that_enhance_sees(prepared):
    root, done = prepared
    assert [entry["subject"] for entry in done.entries] == ["sub-01", "sub-02"]
    assert sorted(entry["split"] for entry in done.entries) == ["train", "validation"]
    for entry, number in zip(done.entries, (1, 2), strict=True):
        image, partner, valid = (read_volume(root / "out" / entry["folder"] / name) for name in entry["files"])
        scan = low_scan(number)
        assert same_grid(image.grid, scan.grid.isotropic(1.0))
        assert same_grid(Grid.from_dict(entry["acquired_grid"]), scan.grid)
        seen = prepare(resample(scan, image.grid), scan.grid)
        np.testing.assert_allclose(seen.order.apply(image.array), seen.array, atol=1e-4)
        truth = resample(Volume(high_scan(number).array, _moved(high_scan(number).grid)), image.grid)
        inside = valid.array > 0
        assert inside.mean() > 0.9
        assert np.corrcoef(partner.array[inside], truth.array[inside])[0, 1] > 0.97
        assert 0.9 < np.percentile(partner.array[inside], 99.5) < 1.1
        assert np.array_equal(partner.array[~inside], image.array[~inside])


def _moved(grid: Grid) -> Grid:
    affine = grid.affine.copy()
    affine[:3, 3] += (-20.0, 15.0, 20.0)
    return Grid(grid.shape, affine)


def test_the_manifest_says_what_was_made_of_what_and_what_was_rejected(prepared):
    root, done = prepared
    manifest = read_manifest(root / "out")
    for entry in manifest["pairs"]:
        for name, file in entry["files"].items():
            assert digest_file(root / "out" / entry["folder"] / name) == file["sha256"]
        assert {source["name"] for source in entry["inputs"]["sources"]} == {
            f"{entry['subject']}_64mT.nii.gz",
            f"{entry['subject']}_3T.nii.gz",
        }
        found = np.array(entry["low_to_high_ras"])
        assert np.allclose(found[:3, 3], (20, -15, -20), atol=3.0)
        assert entry["quality"]["tissue_correlation"] > 0.7
    reasons = {entry["name"]: (entry["stage"], " ".join(entry["reasons"])) for entry in manifest["rejected"]}
    assert reasons["sub-04_3T.nii.gz"] == ("names", "no low-field scan has this name")
    assert reasons["sub-03_64mT.nii.gz + sub-03_3T.nii.gz"][0] == "files"
    stage, said = reasons["sub-05_64mT.nii.gz + sub-05_3T.nii.gz"]
    assert stage == "registration"
    assert "peak" in said
    assert str(root) not in (root / "out" / "manifest.json").read_text()
    assert any("rejected: sub-05" in line for line in done.lines())


def test_a_second_run_does_nothing_twice_and_writes_the_same(prepared):
    root, _ = prepared
    before = {path: path.stat().st_mtime_ns for path in (root / "out").rglob("*.nii.gz")}
    content = (root / "out" / "manifest.json").read_bytes()
    started = time.process_time()
    prepare_pairs(root / "low", root / "high", root / "out", PairSettings(allow_mixed=True))
    assert time.process_time() - started < 5.0
    assert {path: path.stat().st_mtime_ns for path in (root / "out").rglob("*.nii.gz")} == before
    assert (root / "out" / "manifest.json").read_bytes() == content


def test_a_full_disk_keeps_what_is_finished_and_leaves_nothing_else(tmp_path, monkeypatch):
    low, high = write_folders(tmp_path)
    real, calls = os.fsync, []

    def fills_up(handle):
        calls.append(os.fstat(handle).st_size)
        if len(calls) > 16:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    with monkeypatch.context() as context:
        context.setattr("os.fsync", fills_up)
        with pytest.raises(OutputError, match="free some space"):
            prepare_pairs(low, high, tmp_path / "out")
    out = tmp_path / "out"
    finished = {path.parent.name for path in out.glob("pairs/*/record.json")}
    assert finished == {"sub-01"}
    assert not list(out.rglob(".mrh-part-*"))
    assert not json.loads((out / "manifest.json").read_text())["complete"]
    with pytest.raises(InputError, match="not complete"):
        read_manifest(out)
    first = (out / "pairs" / "sub-01" / "low.nii.gz").stat().st_mtime_ns
    assert len(prepare_pairs(low, high, out).entries) == 2
    assert (out / "pairs" / "sub-01" / "low.nii.gz").stat().st_mtime_ns == first


def test_a_killed_process_leaves_whole_pairs_only(tmp_path):
    low, high = write_folders(tmp_path)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "MRHarmonizationLib", "prepare-pairs", str(low), str(high), "--out", str(out)]
    process = subprocess.Popen([*command, "--jsonl"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if '"sub-02 (2 of 2)' in line:
            process.send_signal(signal.SIGKILL)
            break
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    assert {path.parent.name for path in out.glob("pairs/*/record.json")} == {"sub-01"}
    assert not json.loads((out / "manifest.json").read_text())["complete"]
    assert len(prepare_pairs(low, high, out).entries) == 2


def test_cancelling_stops_between_pairs(tmp_path):
    low, high = write_folders(tmp_path)
    progress = Progress(lambda fraction, message: progress.cancel() if message.startswith("sub-02") else None)
    with pytest.raises(OperationCancelled):
        prepare_pairs(low, high, tmp_path / "out", progress=progress)
    assert (tmp_path / "out" / "pairs" / "sub-01" / "record.json").is_file()
    assert not (tmp_path / "out" / "pairs" / "sub-02").exists()


def test_a_pair_of_two_contrasts_is_found(tmp_path):
    low, high = write_folders(tmp_path, (1, 2, 3), odd=2)
    done = prepare_pairs(low, high, tmp_path / "out")
    assert [entry["subject"] for entry in done.entries] == ["sub-01", "sub-03"]
    (rejected,) = done.rejected
    assert rejected["stage"] == "contrast"
    assert "sub-02_3T" in rejected["name"]


def test_contrasts_in_names_are_not_mixed(tmp_path):
    low, high = tmp_path / "low", tmp_path / "high"
    for folder in (low, high):
        folder.mkdir()
        for contrast in ("T1w", "T2w"):
            (folder / f"sub-01_{contrast}.nii.gz").touch()
    with pytest.raises(InputError, match=r"2 t1, 2 t2.*--contrast"):
        prepare_pairs(low, high, tmp_path / "out")
    with pytest.raises(InputError, match="none of"):
        prepare_pairs(low, high, tmp_path / "out", PairSettings(contrast="t1"))
    reasons = json.loads((tmp_path / "out" / "manifest.json").read_text())["rejected"]
    assert {entry["stage"] for entry in reasons} == {"names", "files"}


def test_unpaired_folders_need_no_partners(tmp_path):
    low, high = write_folders(tmp_path, (1,))
    write_volume(high_scan(7), high / "other person.nii.gz")
    done = prepare_pairs(low, high, tmp_path / "out", PairSettings(unpaired=True, allow_mixed=True))
    assert sorted(entry["kind"] for entry in done.entries) == ["high", "high", "low"]
    assert read_manifest(tmp_path / "out")["unpaired"]


def test_folders_that_hold_nothing_to_pair_are_refused(tmp_path):
    (tmp_path / "low").mkdir()
    with pytest.raises(InputError, match="holds no scans"):
        prepare_pairs(tmp_path / "low", tmp_path / "low", tmp_path / "out")
    low, high = write_folders(tmp_path / "more", (1,))
    (high / "sub-01_3T.nii.gz").rename(high / "sub-09_3T.nii.gz")
    with pytest.raises(InputError, match="--unpaired"):
        prepare_pairs(low, high, tmp_path / "out")
    with pytest.raises(ParameterError, match="holds the scans"):
        prepare_pairs(low, high, high)
    with pytest.raises(OutputError):
        prepare_pairs(low, low, low / "sub-01_64mT.nii.gz" / "out")
    for values, named in (({"contrast": "pd"}, "pd"), ({"validation_share": 1.0}, "1.0")):
        with pytest.raises(ParameterError, match=named):
            PairSettings(**values)


@pytest.mark.parametrize(
    ("name", "subject", "contrast", "key"),
    [
        ("sub-07_ses-2_acq-lowfield_T1w.nii.gz", "sub-07", "t1", "sub-07_ses-2_t1"),
        ("Patient 12 T2 FLAIR 64mT.nrrd", "patient-12", "flair", "patient-12_flair"),
        ("P003_0.064T_T2.nii", "p003", "t2", "p003_t2"),
        ("sub-07/anat/scan_3T.nii.gz", "sub-07", "", "sub-07"),
        ("T1w.nii.gz", "t1w", "t1", "t1w_t1"),
    ],
)
def test_names_tell_subject_session_and_contrast(name, subject, contrast, key):
    found = read_name(Path("root") / name, Path("root"))
    assert (found.subject, found.contrast, found.key) == (subject, contrast, key)


def test_a_pattern_tells_the_subject():
    assert read_name(Path("r/x/MR_0042_a.nii"), Path("r"), r"_(\d+)_").subject == "0042"
    with pytest.raises(InputError, match="finds no subject"):
        read_name(Path("r/a.nii"), Path("r"), r"(\d+)")
    for pattern in ("(", r"\d+"):
        with pytest.raises(ParameterError, match="pattern"):
            read_name(Path("r/1.nii"), Path("r"), pattern)


def test_ambiguous_and_unequal_names_are_left_out_and_named():
    def scans(*names):
        return [read_name(Path("r") / name, Path("r")) for name in names]

    low = scans("a_T1.nii", "b.nii", "c_64mT.nii", "c_low.nii", "d_T1.nii", "d_T2.nii")
    high = scans("a_T2.nii", "b_T1.nii", "c_3T.nii", "d_T1_3T.nii", "d_T2_3T.nii", "e.nii")
    matched = match_scans(low, high)
    assert [(one.path.name, other.path.name) for one, other in matched.pairs] == [
        ("b.nii", "b_T1.nii"),
        ("d_T1.nii", "d_T1_3T.nii"),
        ("d_T2.nii", "d_T2_3T.nii"),
    ]
    left = dict(matched.left)
    assert set(left) == {"a_T1.nii", "a_T2.nii", "c_64mT.nii", "c_low.nii", "c_3T.nii", "e.nii"}
    assert "another contrast" in left["a_T1.nii"]
    assert "ambiguous" in left["c_low.nii"]


def test_subjects_keep_their_split_when_others_join():
    few = assign_splits([f"s{n}" for n in range(40)], 0.25)
    many = assign_splits([f"s{n}" for n in range(80)], 0.25)
    assert {s: many[s] for s in few} == few
    assert 4 <= list(few.values()).count("validation") <= 16
    assert set(assign_splits(["alone"], 0.5).values()) == {"train"}
    assert set(assign_splits(["a", "b"], 0.0).values()) == {"train"}
