"""Invented scanners and cohorts: replayable, different from each other, lesions where the mask says."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.evaluation.cohort import read_cohort
from MRHarmonizationLib.evaluation.simulated_cohort import SimulatedCohort, make_simulated_cohort
from MRHarmonizationLib.evaluation.virtual_scanners import choose_scanners, load_virtual_scanners
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

SCANNERS = load_virtual_scanners()


@pytest.fixture(scope="module")
def label_maps(tmp_path_factory):
    """Two brains of white matter, cortex and ventricles: 40 × 48 × 44 voxels, stored as (L, I, A)."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "labelmaps").mkdir()
    affine = np.array([[-1.0, 0, 0, 20], [0, 0, 1, -22], [0, -1, 0, 24], [0, 0, 0, 1]])
    for number, stretch in enumerate((1.0, 0.92)):
        k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in (44, 48, 40)), indexing="ij")
        radius = np.sqrt((k / stretch) ** 2 + j**2 + i**2)
        labels = np.select([radius < 0.15, radius < 0.65, radius < 0.85], [4, 2, 3], 0).astype(np.int16)
        write_volume(Volume(labels, Grid(labels.shape, affine)), folder / f"labelmaps/map{number}.nii.gz")
    return folder


@pytest.fixture
def plan():
    return SimulatedCohort(
        ("labelmaps/map0", "labelmaps/map1"),
        ("labelmaps/map1",),
        SCANNERS[:2],
        block_mm=(34.0, 34.0, 30.0),
        lesions=1,
        reference="A",
        seed=2,
    )


def test_shipped_scanners_are_five_different_ones(head_phantom):
    assert len({scanner.id for scanner in SCANNERS}) == len(SCANNERS) >= 5
    scans = [scanner.scan(head_phantom, 1) for scanner in SCANNERS]
    assert len({(scan.grid.shape, round(float(scan.array.mean()))) for scan in scans}) == len(SCANNERS)


def test_the_seed_decides_a_scan(head_phantom):
    scanner = SCANNERS[0]
    once, again, other = (scanner.scan(head_phantom, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(once.array, again.array)
    assert not np.array_equal(once.array, other.array)


def test_noise_has_the_strength_asked_for(head_phantom):
    loud, quiet = (replace(SCANNERS[0], snr=snr, jitter=0.0) for snr in (5.0, 500.0))
    difference = loud.scan(head_phantom, 1).array - quiet.scan(head_phantom, 1).array
    signal = quiet.scan(head_phantom, 1).array
    inside = signal > 0.5 * signal.max()
    assert difference[inside].std() == pytest.approx(signal[signal > 0.2 * signal.max()].mean() / 5, rel=0.3)


def test_scanners_are_chosen_by_id():
    assert [scanner.id for scanner in choose_scanners(("D", "A"))] == ["D", "A"]
    assert choose_scanners(()) == SCANNERS
    with pytest.raises(ParameterError, match="'Z' is unknown; choose from: A, B"):
        choose_scanners(("Z",))


def test_broken_scanner_files_are_explained(tmp_path):
    path = tmp_path / "scanners.json"
    path.write_text("{}", "utf-8")
    with pytest.raises(ParameterError, match="cannot be read"):
        load_virtual_scanners(path)
    path.write_text(json.dumps({"scanners": [{"id": "X", "loudness": 3}]}), "utf-8")
    with pytest.raises(ParameterError, match="loudness"):
        load_virtual_scanners(path)
    with pytest.raises(ParameterError, match="scanner 'A' has snr -1"):
        replace(SCANNERS[0], snr=-1)


def test_a_simulated_cohort_is_a_cohort_with_truth_and_lesions(plan, label_maps, tmp_path):
    cohort = read_cohort(make_simulated_cohort(plan, label_maps, tmp_path))
    assert cohort.scanners == ("A", "B")
    assert {image.split for image in cohort.images if image.subject == "map1"} == {"test"}
    assert cohort.warnings[0].startswith("few subjects")
    for subject in cohort.subjects:
        kinds = ("truth", "mask", "lesion")
        truth, mask, lesion = (read_volume(tmp_path / kind / f"{subject}.nii.gz") for kind in kinds)
        assert truth.grid.shape == mask.grid.shape == lesion.grid.shape
        around = (lesion.array == 0) & (mask.array != 0) & (truth.array > 80)
        assert truth.array[lesion.array != 0].mean() > 1.2 * np.median(truth.array[around])
        scans = [read_volume(tmp_path / f"{scanner}/{subject}.nii.gz") for scanner in "AB"]
        assert scans[0].grid.shape != scans[1].grid.shape
        again = [read_volume(tmp_path / f"rescan/{scanner}/{subject}.nii.gz") for scanner in "AB"]
        assert again[0].grid.shape == again[1].grid.shape == scans[0].grid.shape
        assert np.corrcoef(again[0].array.ravel(), again[1].array.ravel())[0, 1] > 0.8
        assert not np.array_equal(again[0].array, again[1].array)


def test_the_same_plan_gives_the_same_voxels(plan, label_maps, tmp_path):
    first, second = (make_simulated_cohort(plan, label_maps, tmp_path / name) for name in ("one", "two"))
    for image in read_cohort(first).images:
        other = second.parent / image.path.relative_to(first.parent)
        np.testing.assert_array_equal(read_volume(image.path).array, read_volume(other).array)


def test_missing_and_empty_label_maps_are_refused(plan, label_maps, tmp_path):
    absent = replace(plan, subjects=("labelmaps/map9",), test=("labelmaps/map9",))
    with pytest.raises(InputError, match=r"1 label maps are not below .*map9"):
        make_simulated_cohort(absent, label_maps, tmp_path)
    empty = np.zeros((8, 8, 8), np.int16)
    write_volume(Volume(empty, Grid.from_parts(empty.shape)), tmp_path / "labelmaps.nii.gz")
    with pytest.raises(InputError, match="labelmaps holds no brain"):
        make_simulated_cohort(replace(plan, subjects=("labelmaps",), test=("labelmaps",)), tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"test": ("labelmaps/map7",)}, "map7"),
        ({"test": ()}, "none"),
        ({"block_mm": (1.0, 2.0)}, "block"),
        ({"reference": "Q"}, "'Q' is unknown"),
    ],
)
def test_impossible_plans_are_refused(plan, changes, word):
    with pytest.raises(ParameterError, match=word):
        replace(plan, **changes)
