from __future__ import annotations

import copy
import json

import pytest

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.evaluation.lowfield_protocol import LowFieldProtocol
from MRHarmonizationLib.evaluation.protocol import PROTOCOL_KINDS, protocol_names, read_protocol
from MRHarmonizationLib.methods.base import METHODS


@pytest.fixture
def values():
    return copy.deepcopy(read_protocol("lowfield"))


@pytest.mark.parametrize("name", protocol_names())
def test_every_shipped_protocol_has_a_runner(name):
    values = read_protocol(name)
    assert values["name"] == name
    assert PROTOCOL_KINDS.get(values["kind"])


def test_cases_are_unique_and_replayable(values):
    first, second = (list(LowFieldProtocol.from_dict(values).cases()) for _ in range(2))
    assert first == second
    assert len({case.id for case in first}) == len(first)
    assert len({case.seed for case in first}) == len(first)


def test_latin_design_gives_every_acquisition_every_snr_equally(values):
    protocol = LowFieldProtocol.from_dict(values)
    maps = [case for case in protocol.cases() if case.group == "labelmaps"]
    assert len(maps) == 4 * 3 * 3
    for acquisition in protocol.acquisitions_of(protocol.group("labelmaps")):
        snr = [case.snr for case in maps if case.acquisition == acquisition.id]
        assert [snr.count(value) for value in protocol.snr] == [4, 4, 4]


def test_the_quick_part_is_small_and_valid(values):
    quick = list(LowFieldProtocol.from_dict(values, quick=True).cases())
    assert 0 < len(quick) <= 6


def test_another_protocol_seed_gives_other_noise(values):
    once = LowFieldProtocol.from_dict(values)
    again = LowFieldProtocol.from_dict({**values, "seed": values["seed"] + 1})
    assert all(a.seed != b.seed for a, b in zip(once.cases(), again.cases(), strict=True))


def test_training_subjects_are_refused_as_test_subjects(values):
    values["groups"][0]["subjects"] = ["labelmaps/training_seg_01"]
    with pytest.raises(ParameterError, match="training_seg_01"):
        LowFieldProtocol.from_dict(values)


def test_test_subjects_are_refused_for_tuning(values):
    values["tuning"]["subjects"] = [{"path": "labelmaps/training_seg_17", "kind": "labels", "contrast": "t1"}]
    with pytest.raises(ParameterError, match="tuning"):
        LowFieldProtocol.from_dict(values)


def test_misspelt_and_missing_keys_are_named(values):
    with pytest.raises(ParameterError, match="'snrs'"):
        LowFieldProtocol.from_dict({**values, "snrs": [1]})
    values["groups"][0]["desing"] = "full"
    with pytest.raises(ParameterError, match="desing"):
        LowFieldProtocol.from_dict(values)
    del values["groups"]
    with pytest.raises(ParameterError, match="groups"):
        LowFieldProtocol.from_dict(values)


def test_tuned_parameters_are_those_of_known_methods(values):
    protocol = LowFieldProtocol.from_dict(values)
    for acquisition in protocol.acquisitions:
        tuned = protocol.tuning.parameters[acquisition.id]
        assert set(tuned) == set(protocol.methods)
        for method, parameters in tuned.items():
            assert set(parameters) <= set(METHODS.get(method).defaults)


def test_unknown_protocol_and_broken_file_are_explained(tmp_path):
    with pytest.raises(ParameterError, match=r"'highfield' is unknown; choose one of: .*lowfield"):
        read_protocol("highfield")
    broken = tmp_path / "broken.json"
    broken.write_text("{", "utf-8")
    with pytest.raises(ParameterError, match="cannot be read"):
        read_protocol(broken)
    broken.write_text(json.dumps([1]), "utf-8")
    with pytest.raises(ParameterError, match="a list"):
        read_protocol(broken)


def test_groups_choose_their_acquisitions_and_unknown_ones_are_refused():
    values = read_protocol("lowfield")
    protocol = LowFieldProtocol.from_dict(values)
    slabs = {case.acquisition for case in protocol.cases() if case.group == "slabs"}
    assert slabs == {"t1_coronal", "t2_coronal", "sagittal_thick"}
    values["groups"][0]["acquisitions"] = ["spiral"]
    with pytest.raises(ParameterError, match="spiral"):
        LowFieldProtocol.from_dict(values)
