"""The low- to high-field protocol: unseen subjects only, everything drawn from its seed, claims that can fail."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from support.lohires import NETWORKS

from MRHarmonizationLib.core.errors import ModelNotFoundError, ParameterError
from MRHarmonizationLib.evaluation.lohires_methods import NETWORK, budget_words, contest, training_rows
from MRHarmonizationLib.evaluation.lohires_protocol import LohiresProtocol
from MRHarmonizationLib.evaluation.lohires_tables import claim_words, comparisons, mean_sd, paired_rows, paired_table
from MRHarmonizationLib.evaluation.protocol import read_protocol, run_protocol
from MRHarmonizationLib.training.recipe import RECIPES
from MRHarmonizationLib.weights.store import list_models


@pytest.fixture
def values():
    return copy.deepcopy(read_protocol("lohires"))


def test_every_contrast_has_unseen_subjects_and_replayable_cases(values):
    for contrast, subjects in (("t1", 10), ("t2", 4)):
        protocol = LohiresProtocol.from_dict({**values, "contrast": contrast})
        cases = list(protocol.cases())
        assert cases == list(LohiresProtocol.from_dict({**values, "contrast": contrast}).cases())
        assert len({case.subject for case in cases}) == subjects
        assert len(cases) == subjects  # one SNR each, all of them together
        assert {case.snr for case in cases} == set(protocol.snr)
        assert len({case.seed for case in cases}) == len(cases)
        assert {case.contrast for case in cases if protocol.is_head(case)} == {contrast}
        assert 0 < len(list(LohiresProtocol.from_dict(values, quick=True).cases())) <= 2


def test_its_networks_are_recipes_and_its_methods_are_tuned(values):
    protocol = LohiresProtocol.from_dict(values)
    assert set(protocol.networks) == set(NETWORKS) <= {path.stem for path in RECIPES.glob("*.json")}
    for case in protocol.cases():
        assert set(protocol.methods) <= set(protocol.scans().tuning.parameters[case.acquisition])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"contrast": "flair"}, "flair"),
        ({"contrats": "t1"}, "contrats"),
        ({"proposed": "other"}, "other"),
        ({"bars": {"dice": 1}}, "dice"),
        ({"plotted_regions": [1000]}, "1000"),
        ({"lesions": {"count": 3, "contrast": {}}}, "lesions"),
        ({"head": {"margin_mm": -1, "box_mm": [170, 200, 170]}}, "-1"),
    ],
)
def test_mistakes_are_named(values, change, named):
    with pytest.raises(ParameterError, match=named):
        LohiresProtocol.from_dict({**values, **change})


def test_subjects_that_were_trained_on_are_refused(values):
    values["groups"]["t1"][0]["subjects"] = ["labelmaps/training_seg_03"]
    with pytest.raises(ParameterError, match="training_seg_03"):
        LohiresProtocol.from_dict(values)


def test_settings_of_other_protocols_are_refused(tmp_path):
    with pytest.raises(ParameterError, match="'lowfield' has no setting 'contrast'; leave out --contrast"):
        run_protocol("lowfield", tmp_path, tmp_path / "out", settings={"contrast": "t2"})


def test_networks_that_are_not_there_are_listed_with_their_command(values):
    entered = contest(LohiresProtocol.from_dict({**values, "contrast": "t2"}), None)
    assert set(entered.missing) == {f"{network}-t2" for network in NETWORKS} - {card.id for card in list_models()}
    rows = {row["model"]: row for row in training_rows(entered)}
    assert "mrharmonize train lohires-gan --contrast t2 --out" in rows["lohires-gan-t2"]["note"]
    nobody = replace(entered, methods=tuple(m for m in entered.methods if m.kind != NETWORK))
    assert budget_words(nobody) == "No network took part."
    with pytest.raises(ModelNotFoundError, match="lohires-gan-t1"):
        contest(LohiresProtocol.from_dict(values), ("lohires-gan-t1",))
    with pytest.raises(ParameterError, match="restore"):
        contest(LohiresProtocol.from_dict(values), ("restore-any",))


@pytest.fixture
def protocol(values):
    return LohiresProtocol.from_dict(values)


MEANS = {"lohiresgan-t1": 5.0, "lohires-gan-t1": 4.0, "lohires-cgan-t1": 3.0, "lohires-cyclegan-t1": 2.0}


def against_plain(p: float | None) -> list[dict]:
    return [{"first": name, "second": "lohires-unet-t1", "t_holm": p} for name in MEANS]


@pytest.mark.parametrize(
    ("plain", "p", "beat", "best"),
    [
        (1.0, 0.01, "confirmed", "confirmed in the means"),
        (1.0, 0.20, "in the means only", "confirmed in the means"),
        (1.0, None, "in the means only", "confirmed in the means"),
        (3.5, 0.01, "refuted: 2 of 4", "confirmed in the means"),
        (6.0, 0.01, "refuted: 0 of 4", "refuted: lohires-unet-t1 is best, lohiresgan-t1 is number 2"),
    ],
)
def test_the_claim_is_judged(protocol, plain, p, beat, best):
    words = claim_words({**MEANS, "lohires-unet-t1": plain}, True, against_plain(p), protocol)
    assert words["gans_beat_unet"].startswith(beat)
    assert words["lohiresgan_is_best"] == best


def test_the_claim_turns_round_where_less_is_better_and_waits_for_every_network(protocol):
    lower = claim_words({**MEANS, "lohires-unet-t1": 6.0}, False, against_plain(0.01), protocol)
    assert lower["gans_beat_unet"] == "confirmed"
    assert lower["lohiresgan_is_best"].startswith("refuted: lohires-cyclegan-t1 is best")
    assert claim_words(MEANS, True, [], protocol)["gans_beat_unet"] == "not judged"


def test_tests_are_over_subjects_and_corrected_together(protocol, monkeypatch):
    entered = contest(protocol, ("lowfield",))
    pairs = comparisons(protocol, entered)
    assert {pair.second for pair in pairs} == {"cubic"}
    assert {pair.first for pair in pairs} == {"linear", "n4_cubic", "nlm_cubic", "tv_cubic", "lowfield"}
    gains = {"cubic": 0.0, "linear": -1.0, "lowfield": 2.0}
    rows = [
        {"method": name, "subject": f"s{n}", "psnr": 20 + n + gain * (1 + 0.1 * n * n) + scan}
        for name, gain in gains.items()
        for n in range(4)
        for scan in (-1, 1)
    ]
    found = {row["first"]: row for row in paired_rows("heads", rows, protocol, entered, ("psnr",))}
    assert set(found) == {"linear", "lowfield"}
    assert found["lowfield"]["subjects"] == 4, "two scans of one subject are one value"
    assert found["lowfield"]["difference"] == pytest.approx(2 * (1 + 0.1 * 14 / 4))
    assert found["lowfield"]["t_holm"] == pytest.approx(2 * found["lowfield"]["t_p"])
    assert found["lowfield"]["wilcoxon_p"] is None
    assert paired_table(list(found.values()))[0]["score"] == "PSNR dB"
    assert mean_sd([1.0]) == {"mean": 1.0, "sd": None}
