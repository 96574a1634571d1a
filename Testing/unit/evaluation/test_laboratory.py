"""The laboratory on tiny cohorts: its controls hold, it repeats itself, it goes on where it stopped."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from support.cohorts import SCANNERS, write_cohort

from MRHarmonizationLib.core.errors import InputError, OperationCancelled, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation import laboratory, laboratory_runs, laboratory_sets
from MRHarmonizationLib.evaluation.cohort import read_cohort
from MRHarmonizationLib.evaluation.harmonizers import FromFiles
from MRHarmonizationLib.evaluation.laboratory import LaboratoryPlan, run_laboratory
from MRHarmonizationLib.evaluation.laboratory_page import write_laboratory
from MRHarmonizationLib.evaluation.laboratory_runs import FROZEN, RAW, RETRAINED, SHUFFLED, shuffled_scanners
from MRHarmonizationLib.evaluation.probe_cohort import probe_cohort
from MRHarmonizationLib.evaluation.probe_settings import ProbeSettings
from MRHarmonizationLib.evaluation.probe_slices import SliceSet
from MRHarmonizationLib.evaluation.probes import PROBES
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

pytest.importorskip("sklearn")

SETTINGS = ProbeSettings(slices=2, size=32, draws=200, epochs=8, test_share=0.34)
CHANCE = 1 / len(SCANNERS)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    return write_cohort(folder, 6, lesions=True, harmonised=lambda row: f"truth/{row['subject']}.nrrd")


@pytest.fixture(scope="module")
def plan():
    return LaboratoryPlan(("identity", "zscore", "files"), ("texture",), SETTINGS)


@pytest.fixture(scope="module")
def result(source, plan, tmp_path_factory):
    return run_laboratory(read_cohort(source), plan, tmp_path_factory.mktemp("out"))


def test_raw_scanners_are_told_apart_and_unchanged_images_as_well(result):
    assert result.row(RAW, RAW)["accuracy"] >= 0.9
    assert result.row("identity", FROZEN)["accuracy"] == result.row(RAW, RAW)["accuracy"]
    assert result.row("identity", RETRAINED)["accuracy"] >= 0.9
    assert result.row("identity", FROZEN)["mcnemar_p"] == 1.0


def test_a_perfect_harmonizer_falls_to_exactly_chance(result):
    for mode in (FROZEN, RETRAINED):
        row = result.row("files", mode)
        assert row["accuracy"] == row["accuracy_low"] == row["accuracy_high"] == pytest.approx(CHANCE)
        assert row["acceptance"] == 1.0
        assert row["mcnemar_p"] < 0.05


def test_shuffled_labels_stay_around_chance(result):
    row = result.row(RAW, SHUFFLED)
    assert row["accuracy_low"] <= CHANCE
    assert row["accuracy"] < 0.7
    assert not any("shuffled" in note for note in result.notes)


def test_scaling_alone_leaves_the_scanners_apart(result):
    """Blur and noise differ: the frozen probe is misled by the new contrast, the retrained one is not."""
    assert result.row("zscore", RETRAINED)["accuracy"] > 0.8


def test_no_subject_is_on_both_sides(result):
    (fold,) = result.folds
    assert len(fold.test) == 2
    for trial in result.trials:
        tested = set(result.sets[trial.images].slices.subject[trial.index])
        assert tested == set(fold.test)
        assert tested.isdisjoint(fold.train)


def test_lesions_are_compared_for_every_harmonizer_but_not_for_raw_images(result):
    assert set(result.lesions) == {"identity", "zscore", "files"}
    assert result.lesions["identity"]["dice_between"] == 1.0
    assert result.lesions["identity"]["lesions"] == 18
    assert result.lesions["files"]["dice_after"] > result.lesions["files"]["dice_before"]


def test_the_same_plan_gives_the_same_figures(source, plan, result, tmp_path):
    small = replace(plan, harmonizers=("zscore",))
    again = run_laboratory(read_cohort(source), small, tmp_path)
    for images, mode in ((RAW, RAW), (RAW, SHUFFLED), ("zscore", FROZEN), ("zscore", RETRAINED)):
        first, second = (dict(found.row(images, mode), seconds=0) for found in (result, again))
        assert first == second


def test_an_interrupted_run_goes_on_where_it_stopped(source, plan, tmp_path, monkeypatch):
    small = replace(plan, harmonizers=("identity",))
    first = run_laboratory(read_cohort(source), small, tmp_path)

    def must_not_run(*arguments):
        raise AssertionError("done again what was done")

    monkeypatch.setattr(laboratory_sets, "sample_image", must_not_run)
    monkeypatch.setattr(laboratory_runs.Bench, "train", must_not_run)
    second = run_laboratory(read_cohort(source), small, tmp_path)
    assert second.rows == first.rows
    with pytest.raises(AssertionError, match="again"):
        run_laboratory(read_cohort(source), replace(small, settings=replace(SETTINGS, seed=1)), tmp_path)
    image = read_cohort(source).images[0].path
    os.utime(image, ns=(1, 1))
    with pytest.raises(AssertionError, match="again"):
        run_laboratory(read_cohort(source), small, tmp_path)


def test_cancellation_stops_the_run_and_progress_grows(source, plan, tmp_path):
    seen = []

    def watch(fraction, message):
        seen.append(fraction)
        if fraction > 0.5:
            progress.cancel()

    progress = Progress(watch)
    with pytest.raises(OperationCancelled):
        run_laboratory(read_cohort(source), replace(plan, harmonizers=("identity",)), tmp_path, progress)
    assert seen == sorted(seen)
    assert seen[-1] < 0.8


def test_a_network_probe_does_as_well(source, tmp_path):
    pytest.importorskip("torch")
    plan = LaboratoryPlan((), ("small_cnn",), replace(SETTINGS, epochs=10))
    found = run_laboratory(read_cohort(source), plan, tmp_path)
    assert found.row(RAW, RAW)["accuracy"] >= 0.9


def test_folds_test_every_subject(source, plan, tmp_path):
    cohort = read_cohort(source)
    found = run_laboratory(cohort, replace(plan, harmonizers=(), settings=replace(SETTINGS, folds=3)), tmp_path)
    row = found.row(RAW, RAW)
    assert row["subjects"] == len(cohort.subjects)
    assert row["slices"] == len(cohort.images) * SETTINGS.slices
    assert sorted(found.trial(RAW, RAW).index.tolist()) == list(range(row["slices"]))


def test_report_tables_and_figures_are_written(result, tmp_path):
    paths, summary = write_laboratory(result, tmp_path, "A trial", ["A remark."])
    page = paths.report.read_text("utf-8")
    assert "<h1>A trial</h1>" in page
    assert "A remark." in page
    assert page.count("data:image/png;base64,") == 4
    assert "http://" not in page
    assert "https://" not in page
    with paths.scores.open(encoding="utf-8", newline="") as stream:
        scores = list(csv.DictReader(stream))
    assert [(row["images"], row["mode"]) for row in scores] == [(row["images"], row["mode"]) for row in result.rows]
    with paths.predictions.open(encoding="utf-8", newline="") as stream:
        predictions = list(csv.DictReader(stream))
    assert len(predictions) == sum(len(trial.truth) for trial in result.trials)
    right = [row["scanner"] == row["predicted"] for row in predictions if (row["images"], row["mode"]) == (RAW, RAW)]
    assert np.mean(right) == pytest.approx(result.row(RAW, RAW)["accuracy"])
    with paths.lesions.open(encoding="utf-8", newline="") as stream:
        assert len(list(csv.DictReader(stream))) == 3 * 18
    assert json.loads(paths.summary.read_text("utf-8")) == json.loads(json.dumps(summary, allow_nan=False))
    assert {path.name for path in paths.figures.iterdir()} == {
        "accuracy-texture.png",
        "confusion-texture.png",
        "tsne-texture.png",
        "examples.png",
    }
    assert any("files" in sentence and "cannot be told apart" in sentence for sentence in summary["verdicts"])


def test_different_sizes_few_test_subjects_and_confounding_are_said(tmp_path):
    source = write_cohort(tmp_path, 8)
    for image in read_cohort(source).images:
        if image.scanner == "plain":
            volume = read_volume(image.path)
            grid = volume.grid.crop((1, 2, 0), (6, 37, 40))
            write_volume(Volume(volume.array[1:7, 2:39], grid), image.path)
    notes = run_laboratory(read_cohort(source), LaboratoryPlan((), ("texture",), SETTINGS), tmp_path / "out").notes
    assert any("2 different sizes" in note and "32 × 32 pixels" in note for note in notes)
    assert any("only 3 test subjects" in note for note in notes)
    lines = source.read_text("utf-8").splitlines()
    alone = {"blurry": "p0p1p2", "noisy": "p3p4", "plain": "p5p6p7"}
    kept = [line for line in lines[1:] if line.split(",")[1] in alone[line.split(",")[2]]]
    source.write_text("\n".join([lines[0], *kept]) + "\n", "utf-8")
    confounded = run_laboratory(read_cohort(source), LaboratoryPlan((), ("texture",), SETTINGS), tmp_path / "out")
    assert any("no subject was seen on two scanners" in note for note in confounded.notes)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (None, "constant")])
def test_bad_images_are_named(tmp_path, value, word):
    source = write_cohort(tmp_path, 4)
    image = read_cohort(source).images[4]
    array = read_volume(image.path).array.copy()
    array[:] = 7.0 if value is None else array
    array[2, 3, 4] = 7.0 if value is None else value
    write_volume(Volume(array, Grid.from_parts(array.shape, (1.0, 1.0, 3.0))), image.path)
    with pytest.raises(InputError, match=rf"p1 noisy p1 \(.*p1.nrrd\): .*{word}"):
        run_laboratory(read_cohort(source), LaboratoryPlan((), ("texture",), SETTINGS), tmp_path / "out")


def test_a_harmonizer_that_returns_nonsense_is_named(source, tmp_path):
    cohort = read_cohort(source)
    flat = write_volume(Volume(np.ones((4, 4, 4), np.float32), Grid.from_parts((4, 4, 4))), tmp_path / "flat.nrrd")
    plan = LaboratoryPlan(
        (), ("texture",), SETTINGS, extra={"flat": FromFiles({image.path: flat for image in cohort.images})}
    )
    with pytest.raises(InputError, match="p0 blurry p0 .*constant"):
        run_laboratory(cohort, plan, tmp_path / "out")


def test_raw_images_that_look_alike_are_said_to_prove_nothing(tmp_path):
    source = write_cohort(tmp_path, 6)
    for image in read_cohort(source).images:
        write_volume(read_volume(tmp_path / "truth" / image.path.name), image.path)
    found = run_laboratory(read_cohort(source), LaboratoryPlan((), ("texture",), SETTINGS), tmp_path / "out")
    assert any("say nothing about harmonisation" in note for note in found.notes)


def test_labels_are_shuffled_among_images_not_among_slices(rng):
    image, scanner = np.repeat(np.arange(10), 3), np.repeat([0, 1], 15)
    slices = SliceSet(rng.normal(size=(30, 4, 4)), image, scanner, np.repeat("a", 30))
    dealt = shuffled_scanners(slices, 3).scanner
    assert (np.bincount(dealt) == np.bincount(slices.scanner)).all()
    assert all(len(set(dealt[slices.image == number])) == 1 for number in range(10))
    assert not np.array_equal(dealt, slices.scanner)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"probes": ("vgg",)}, "unknown probe 'vgg'; choose one of: .*resnet50"),
        ({"probes": ()}, "probes none"),
        ({"harmonizers": ("cubic", "cubic")}, "each harmonizer once"),
        ({"harmonizers": ("raw",)}, "raw"),
    ],
)
def test_impossible_plans_are_refused(plan, changes, word):
    with pytest.raises(ParameterError, match=word):
        replace(plan, **changes)


def test_an_unknown_reference_scanner_is_refused(source, plan, tmp_path):
    with pytest.raises(ParameterError, match="reference scanner 'west' .*blurry, noisy, plain"):
        run_laboratory(read_cohort(source), replace(plan, reference="west"), tmp_path)


def test_every_probe_is_named_as_in_the_documentation():
    assert {"resnet50", "small_cnn", "texture"} == set(PROBES.names())


def test_the_entry_point_takes_the_files_column_by_default(source, tmp_path):
    plan = LaboratoryPlan((), ("texture",), SETTINGS)
    by_default = probe_cohort(source, tmp_path / "a", plan)
    assert list(by_default.result.sets) == [RAW, "files"]
    assert by_default.paths.report.is_file()
    assert any("raw images" in line for line in by_default.lines())
    with pytest.raises(ParameterError, match="'none' is among others"):
        probe_cohort(source, tmp_path / "b", replace(plan, harmonizers=("none", "cubic")))


def test_a_probe_that_learned_less_than_another_is_pointed_out():
    def row(probe, images, value):
        return {
            "probe": probe,
            "images": images,
            "mode": RETRAINED,
            "accuracy": value,
            "accuracy_low": value - 0.1,
            "accuracy_high": value + 0.1,
        }

    rows = (row("deep", "a", 0.4), row("deep", "b", 0.9), row("texture", "a", 0.8), row("texture", "b", 0.95))
    (note,) = laboratory._weak_probe_notes(rows, ("deep", "texture"))
    assert note.startswith("a: texture, retrained, tells more scanners apart (0.80) than deep (0.40)")
