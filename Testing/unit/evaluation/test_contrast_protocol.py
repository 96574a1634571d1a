"""The protocol's records, its cases and alterations, its tables: everything but a whole run."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from support.heads import SPACING_MM, head_labels, write_heads

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.degradations.kspace_contrast import apply_kspace_contrast
from MRHarmonizationLib.degradations.reference_look import render_reference_look
from MRHarmonizationLib.evaluation.contrast_protocol import SEEN, ContrastProtocol
from MRHarmonizationLib.evaluation.contrast_protocol_cases import (
    build_references,
    draw_alteration,
    own_units_profile,
    prepare_case,
    rendered_head,
)
from MRHarmonizationLib.evaluation.contrast_protocol_methods import contestants, is_learned
from MRHarmonizationLib.evaluation.contrast_protocol_rows import case_fingerprints, evaluate_contrast_case
from MRHarmonizationLib.evaluation.contrast_protocol_tables import case_scores, markdown_tables, summarise
from MRHarmonizationLib.evaluation.protocol import read_protocol
from MRHarmonizationLib.evaluation.splits import role_of
from MRHarmonizationLib.methods.harmonizers import HARMONIZERS
from MRHarmonizationLib.methods.reference_group import load_group
from MRHarmonizationLib.volumes.files import write_volume


@pytest.fixture
def values():
    return copy.deepcopy(read_protocol("contrast"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_heads(tmp_path_factory.mktemp("heads"))


@pytest.fixture(scope="module")
def small():
    quick = ContrastProtocol.from_dict(read_protocol("contrast"), quick=True)
    assert quick.spacing_mm == SPACING_MM
    return quick


@pytest.fixture(scope="module")
def prepared(data, small, tmp_path_factory):
    reference = build_references(small, data, tmp_path_factory.mktemp("out") / "reference", Progress())
    return prepare_case(next(small.cases()), small, data, reference)


def test_every_subject_gets_fifty_alterations_of_which_a_part_is_held_out(values):
    protocol = ContrastProtocol.from_dict(values)
    cases = list(protocol.cases())
    assert len({case.id for case in cases}) == len(cases)
    for group in protocol.groups:
        for subject in group.subjects:
            mine = [a for case in cases if case.subject == subject for a in case.alterations]
            families = [alteration.family for alteration in mine]
            assert len(mine) >= 50
            assert {*families} == {SEEN, "sequence", "fold"}
            assert families.count(SEEN) >= 0.5 * len(mine)
            assert len({a.seed for a in mine}) == len(mine)
    assert cases == list(ContrastProtocol.from_dict(values).cases())


def test_published_figures_come_from_test_subjects_alone(values):
    protocol = ContrastProtocol.from_dict(values)
    for group in protocol.groups:
        if group.bars:
            assert {role_of(subject) for subject in group.subjects} == {"test"}
    values["groups"][0]["subjects"] = ["labelmaps/training_seg_16"]
    with pytest.raises(ParameterError, match="training_seg_16"):
        ContrastProtocol.from_dict(values)
    values["groups"][0]["subjects"] = ["labelmaps/training_seg_17"]
    values["reference"]["maps"] = ["labelmaps/training_seg_18"]
    with pytest.raises(ParameterError, match="training_seg_18"):
        ContrastProtocol.from_dict(values)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"held_out": ["seqence"]}, "seqence"),
        ({"held_out": ["sequence"]}, "fold"),
        ({"reference": {"maps": []}}, "maps"),
        ({"strength": 1.0}, "strength"),
    ],
)
def test_a_protocol_that_cannot_be_run_is_refused(values, change, said):
    with pytest.raises(ParameterError, match=said):
        ContrastProtocol.from_dict({**values, **change})


def test_a_variation_of_one_alteration_is_refused(values):
    values["groups"][0]["alterations"] = {"seen": 1}
    with pytest.raises(ParameterError, match="at least 2"):
        ContrastProtocol.from_dict(values)


def test_a_render_keeps_partial_volumes_and_tissues(data):
    fine = head_labels(17, (88, 104, 92), 2.0)
    (data / "labelmaps" / "fine.nii.gz").unlink(missing_ok=True)
    write_volume(fine, data / "labelmaps" / "fine.nii.gz")
    image, labels, tissues, brain = rendered_head(data, "labelmaps/fine", "t1", 4.0, 1)
    assert image.array.shape == labels.shape == brain.shape
    assert image.grid.spacing_mm.tolist() == [4.0, 4.0, 4.0]
    assert not np.any(tissues["white"] & tissues["grey"])
    means = {name: image.array[mask].mean() for name, mask in tissues.items()}
    look = render_reference_look(fine, "t1", 1)
    for name, label in (("white", 2), ("grey", 3)):
        assert means[name] == pytest.approx(look.array[fine.array == label].mean(), rel=0.05)
    mixed = brain & ~tissues["white"] & ~tissues["grey"] & ~tissues["fluid"]
    between = (image.array > means["fluid"]) & (image.array < means["white"])
    assert mixed.any()
    assert between[mixed].mean() > 0.8
    # a voxel lies where its block of fine voxels lies
    point = image.grid.ijk_to_ras(np.array([10.0, 12.0, 11.0]))
    near = np.rint(fine.grid.ras_to_ijk(point)).astype(int)[::-1]
    assert labels[11, 12, 10] in fine.array[tuple(slice(n - 1, n + 2) for n in near)]


def test_voxels_that_do_not_fit_are_refused(data):
    with pytest.raises(ParameterError, match="whole multiple"):
        rendered_head(data, "labelmaps/training_seg_17", "t1", 6.0, 1)


def test_the_reference_group_is_in_the_units_of_the_look(data, prepared):
    image = prepared.image
    profile = own_units_profile(image, "t1")
    assert profile.quantiles[50] == pytest.approx(prepared.group.quantiles[50], rel=0.1)
    matched = HARMONIZERS.get("nyul").fit(prepared.group).apply(image)
    shift = np.abs(matched.array - image.array)[prepared.mask].mean()
    assert shift < 30, "an unaltered head must nearly keep its values, on the scale of 0 to 1000"


def test_references_of_an_earlier_run_are_kept(data, small, tmp_path):
    folder = build_references(small, data, tmp_path / "reference", Progress())
    group = load_group(folder / "t1.json")
    assert (group.id, group.cases) == ("t1-head", 2), "the look of the shipped group"
    assert group.contrast == "t1"
    written = (folder / "t1.json").stat().st_mtime_ns
    build_references(small, data, tmp_path / "reference", Progress())
    assert (folder / "t1.json").stat().st_mtime_ns == written
    other = ContrastProtocol.from_dict({**read_protocol("contrast"), "seed": 99}, quick=True)
    build_references(other, data, tmp_path / "reference", Progress())
    assert (folder / "t1.json").stat().st_mtime_ns != written


def test_alterations_hold_their_family_and_no_other_that_was_held_out(small, prepared):
    case = next(small.cases())
    arguments = (prepared.image, prepared.labels, prepared.donor, small.held_out)
    for planned in small.planned("a test", {"seen": 6, "sequence": 3, "fold": 3}):
        drawn = draw_alteration(planned, *arguments)
        changed_times = drawn.tissue_gains is not None and drawn.tissue_gains.origin != "drawn"
        assert changed_times == (planned.family == "sequence")
        if planned.family == "fold":
            assert drawn.tone_curve is not None
        assert drawn == draw_alteration(planned, *arguments), "every draw can be replayed"
    altered = apply_kspace_contrast(prepared.image, draw_alteration(case.alterations[0], *arguments), prepared.labels)
    assert np.abs(altered.array - prepared.image.array).max() > 10


def test_a_family_that_needs_labels_says_so(small, prepared):
    planned = small.planned("a test", {"sequence": 2})[0]
    with pytest.raises((InputError, ParameterError), match="sequence"):
        draw_alteration(planned, prepared.image, None, None, small.held_out)


def test_contestants_are_all_registered_methods_and_two_controls(small):
    found = contestants(small, ())
    assert [entry.name for entry in found[:2]] == ["unscaled", "raw"]
    assert {entry.name for entry in found[2:]} == {name for name in HARMONIZERS.names() if not is_learned(name)}
    assert all(entry.kind == "classical" for entry in found[2:])


def rows_of(means: dict[str, list[float]], ssim: dict[str, float], subject: str = "a") -> list[dict]:
    """Rows of methods whose tissue means are given for every alteration; the first half counts as seen."""
    kinds = {"raw": "control", "nyul": "classical", "zscore": "classical", "network": "learned"}
    return [
        {
            "case": f"labelmaps-{subject}-t1", "group": "labelmaps", "subject": subject, "contrast": "t1",
            "alteration": number, "held_out": number >= len(values) // 2, "method": name, "kind": kinds[name],
            **{f"{kind}_{tissue}": value for kind in ("mean", "share") for tissue in ("white", "grey", "fluid")},
            "wasserstein": value / 100, "psnr": 20.0, "ssim": ssim[name], "dice": 0.9,
        }
        for name, values in means.items()
        for number, value in enumerate(values)
    ]  # fmt: skip


def test_tables_hold_reductions_against_raw_and_the_best_classical_method(small):
    values = {**read_protocol("contrast"), **read_protocol("contrast")["quick"]}
    values["groups"][0]["bars"] = {"cv_vs_raw": 70.0, "cv_vs_classical": 40.0, "ssim_gain": 0.03}
    protocol = ContrastProtocol.from_dict(values)
    means = {
        "raw": [50.0, 150.0, 50.0, 150.0],
        "nyul": [80.0, 120.0, 80.0, 120.0],
        "zscore": [70.0, 130.0, 70.0, 130.0],
        "network": [90.0, 110.0, 90.0, 110.0],
    }
    ssim = {"raw": 0.8, "nyul": 0.90, "zscore": 0.93, "network": 0.95}
    rows = rows_of(means, ssim) + rows_of(means, ssim, "b")
    summary = summarise(rows, protocol)
    assert [cell["set"] for cell in summary["cells"]] == ["all", "seen", "held-out"]
    cell = summary["cells"][0]
    assert (cell["subjects"], cell["alterations"]) == (2, 8)
    network = cell["methods"]["network"]
    assert case_scores([row for row in rows if row["method"] == "nyul"][:4])["cv"] == pytest.approx(
        100 * np.std(means["nyul"], ddof=1) / 100
    )
    assert network["against"]["cv"]["raw"]["change"] == pytest.approx(80.0)
    assert network["against"]["cv"]["classical"] == {
        "change": pytest.approx(50.0), "worst": pytest.approx(50.0), "method": "nyul"
    }  # fmt: skip
    assert network["against"]["ssim"]["classical"]["method"] == "zscore", "the best one is chosen for each score"
    verdicts = {(bar["set"], bar["bar"]): bar["met"] for bar in summary["bars"]}
    assert verdicts["all", "cv_vs_raw"]
    assert verdicts["all", "cv_vs_classical"]
    assert not verdicts["all", "ssim_gain"]
    text = markdown_tables(summary)
    assert "| network | learned | 8 | 11.5 ± 0.0 |" in text
    assert text.count("**labelmaps") == 3


def test_learned_methods_are_told_their_models(small):
    from MRHarmonizationLib.inference.standardiser import NETWORK, TASK
    from MRHarmonizationLib.inference.structure_harmonizer import METHOD
    from MRHarmonizationLib.weights.store import list_models

    own = [(METHOD, {})]  # brings its network along

    def learned(models):
        return [(e.name, dict(e.parameters)) for e in contestants(small, models) if e.kind == "learned"]

    network = [(NETWORK, {})] if list_models(TASK) else []
    assert learned(None) == network + own, "left out where there is no model at all"
    two = [(f"{NETWORK}:one", {"model": "one"}), (f"{NETWORK}:two", {"model": "two"})]
    assert learned(("one", "two")) == two + own
    assert learned(()) == []


def test_slow_methods_are_run_on_a_part_of_each_family(values):
    values["thinned"] = {"n4": 3}
    protocol = ContrastProtocol.from_dict(values)
    case = next(protocol.cases())
    assert protocol.alterations_of(case, "nyul") == tuple(range(18))
    assert protocol.alterations_of(case, "n4") == (0, 3, 6, 9, 10, 13, 14, 17)  # of 10 seen, 4 sequence, 4 fold
    with pytest.raises(ParameterError, match="every 4th"):
        ContrastProtocol.from_dict({**values, "thinned": {"n4": 4}})


def test_rows_of_a_thinned_method_are_fewer_and_the_same(small, data, tmp_path):
    group = replace(small.groups[0], alterations={"seen": 3})
    whole, thin = replace(small, groups=(group,)), replace(small, groups=(group,), thinned={"zscore": 2})
    reference = build_references(small, data, tmp_path / "reference", Progress())
    entries = [entry for entry in contestants(small, ()) if entry.name in ("raw", "zscore")]
    case = next(whole.cases())
    marks = case_fingerprints(case, thin, entries, reference)
    assert marks["raw"] == case_fingerprints(case, whole, entries, reference)["raw"]
    assert marks["zscore"] != case_fingerprints(case, whole, entries, reference)["zscore"]
    arguments = (str(data), str(reference), entries, dict.fromkeys(marks, "same"))
    rows = {
        name: {(row["method"], row["alteration"]): row["ssim"] for row in evaluate_contrast_case(case, one, *arguments)}
        for name, one in (("whole", whole), ("thin", thin))
    }
    assert set(rows["whole"]) - set(rows["thin"]) == {("zscore", 1)}
    assert rows["thin"].items() <= rows["whole"].items()


def test_a_thinned_method_is_compared_on_the_alterations_it_has(small):
    values = [100.0, 101.0, 50.0, 150.0]
    rows = rows_of({"raw": values, "nyul": [0.5 * v + 50 for v in values]}, {"raw": 0.8, "nyul": 0.9})
    thinned = rows_of({"zscore": values}, {"zscore": 0.8})[2:]  # the same as raw, but only where the spread is large
    cell = summarise([*rows, *thinned], small)["cells"][0]
    zscore = cell["methods"]["zscore"]
    assert zscore["alterations"] == 2
    assert zscore["cv"]["mean"] > cell["methods"]["raw"]["cv"]["mean"]
    assert zscore["against"]["cv"]["raw"]["change"] == pytest.approx(0.0)
    assert zscore["against"]["cv"]["classical"]["method"] == "nyul"
    assert zscore["against"]["cv"]["classical"]["change"] == pytest.approx(-100.0)
