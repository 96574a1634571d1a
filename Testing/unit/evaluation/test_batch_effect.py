"""The batch-effect protocol: what is shipped is valid and honest, and a small one runs from label maps to report."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError, ModelNotFoundError, ParameterError
from MRHarmonizationLib.evaluation import batch_effect
from MRHarmonizationLib.evaluation.batch_effect import BatchEffectProtocol
from MRHarmonizationLib.evaluation.harmonizers import harmonizer_names
from MRHarmonizationLib.evaluation.probe_settings import ProbeSettings
from MRHarmonizationLib.evaluation.probes import PROBES
from MRHarmonizationLib.evaluation.protocol import read_protocol, run_protocol
from MRHarmonizationLib.evaluation.splits import role_of
from MRHarmonizationLib.methods.base import METHODS
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.store import list_models


@pytest.fixture
def values():
    return copy.deepcopy(read_protocol("batch-effect"))


@pytest.mark.parametrize("quick", [False, True])
def test_the_shipped_protocol_names_what_exists(values, quick):
    protocol = BatchEffectProtocol.from_dict(values, quick)
    assert {*protocol.harmonizers, *protocol.models} <= set(harmonizer_names())
    assert set(protocol.probes) <= set(PROBES.names())
    assert protocol.reference in {scanner.id for scanner in protocol.simulation().scanners}
    ProbeSettings.from_dict(protocol.settings)


def test_the_shipped_protocol_holds_models_and_upsampling_methods_to_the_published_probe(values):
    protocol = BatchEffectProtocol.from_dict(values)
    assert values["cohort"]["contrast"] == "flair"  # models of other contrasts alone cannot take part
    every = {card.id for card in list_models("enhance") if "FLAIR" in card.domain.modalities}
    shipped = every | set(METHODS.names()) - {"linear"}
    assert "lowfield" in shipped
    assert shipped | {"zscore", "percentile", "histogram_matching"} <= {*protocol.harmonizers, *protocol.models}
    assert protocol.probes[0] == "resnet50"
    assert protocol.bars == {"raw": 0.9, "identity": 0.9}


def test_no_model_was_fitted_on_a_test_subject(values):
    simulation = BatchEffectProtocol.from_dict(values).simulation()
    assert {role_of(subject) for subject in simulation.test} <= {"test", "validation"}
    values["cohort"]["test"] = ["labelmaps/training_seg_01"]
    with pytest.raises(ParameterError, match="training_seg_01.* may not be used for testing"):
        BatchEffectProtocol.from_dict(values).simulation()


def test_misspelt_keys_are_named(values, tmp_path):
    with pytest.raises(ParameterError, match="harmonisers"):
        BatchEffectProtocol.from_dict({**values, "harmonisers": []})
    values["cohort"]["slab_mm"] = 3
    with pytest.raises(ParameterError, match="slab_mm"):
        BatchEffectProtocol.from_dict(values).simulation()


def test_what_it_cannot_do_is_refused_before_any_work(tmp_path):
    with pytest.raises(ParameterError, match="nothing to tune"):
        run_protocol("batch-effect", tmp_path, tmp_path / "out", retune=True)
    with pytest.raises(ModelNotFoundError, match="nonsense"):
        run_protocol("batch-effect", tmp_path, tmp_path / "out", models=("nonsense",))
    assert not list((tmp_path / "out").iterdir())


@pytest.fixture
def data(tmp_path):
    """Five brains with the names of shipped label maps, so that their roles are known: 17 and 18 are test subjects."""
    folder = tmp_path / "data" / "labelmaps"
    folder.mkdir(parents=True)
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 52, 52)), indexing="ij")
    for number in (1, 2, 3, 17, 18):
        rng = np.random.default_rng(number)
        bumps = 0.06 * np.sin(7 * np.arctan2(j, i) + rng.uniform(0, 6)) * np.cos(4 * k)
        radius = np.sqrt(k**2 + (j / rng.uniform(0.9, 1)) ** 2 + i**2) + bumps
        labels = np.select([radius < 0.2, radius < 0.6, radius < 0.85], [4, 2, 3], 0).astype(np.int16)
        write_volume(Volume(labels, Grid.from_parts(labels.shape)), folder / f"training_seg_{number:02d}.nii.gz")
    return tmp_path / "data"


def test_a_small_protocol_runs_from_label_maps_to_report(values, data, tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    values["quick"] |= {
        "harmonizers": ["identity"],
        "probes": ["texture"],
        "settings": {"slices": 4, "size": 40, "draws": 200},
    }
    values["quick"]["cohort"] |= {"block_mm": [44, 44, 30], "offset_mm": [0, 0, 0]}
    values["bars"] = {"raw": 0.6, "identity": 0.6}  # a handful of tiny slices
    path = tmp_path / "small.json"
    path.write_text(json.dumps(values), "utf-8")
    result = run_protocol(path, data, tmp_path / "out", quick=True, models=(), jobs=1)
    bars = {bar["control"]: bar for bar in result.summary["bars"]}
    assert set(bars) == {"raw", "identity", "shuffled labels", "truth", "rescan"}
    assert bars["raw"]["met"], bars["raw"]
    assert bars["identity"]["met"]
    assert bars["truth"]["accuracy"] == pytest.approx(1 / 3, abs=1e-4)
    assert bars["truth"]["met"]
    for kind in ("report", "csv", "json"):
        assert result.paths[kind].is_file()
    page = result.paths["report"].read_text("utf-8")
    assert "quick part" in page
    assert any(line.startswith("raw: accuracy") and line.endswith(": met") for line in result.lines())

    def must_not_run(*arguments):
        raise AssertionError("simulated again what was there")

    def reached(cohort, *arguments):
        raise InputError(f"{len(cohort.images)} images are there")

    monkeypatch.setattr(batch_effect, "make_simulated_cohort", must_not_run)
    monkeypatch.setattr(batch_effect, "run_laboratory", reached)
    with pytest.raises(InputError, match="15 images are there"):
        run_protocol(path, data, tmp_path / "out", quick=True, models=(), jobs=1)


@pytest.mark.data
@pytest.mark.slow
def test_the_quick_part_shows_what_it_must_on_real_label_maps(data_dir, tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("torch")
    result = run_protocol("batch-effect", data_dir, tmp_path / "out", quick=True, models=(), jobs=1)
    unmet = [bar for bar in result.summary["bars"] if not bar["met"]]
    assert not unmet
