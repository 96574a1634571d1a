"""What the low- to high-field protocol measures: flicker, consistency, lesions lost and added."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.lohires import small_lohires, write_heads

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.evaluation.lohires_cases import BASELINE, ProtocolKey, head_labels, prepared_scan
from MRHarmonizationLib.evaluation.lohires_measures import (
    added_lesions,
    consistency,
    flicker,
    image_scores,
    lesion_counts,
    second_difference,
)
from MRHarmonizationLib.evaluation.lohires_protocol import LohiresProtocol
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume


@pytest.fixture(scope="module")
def protocol():
    return LohiresProtocol.from_dict(small_lohires())


@pytest.fixture(scope="module")
def prepared(protocol, tmp_path_factory):
    data = write_heads(tmp_path_factory.mktemp("heads"))
    case = next(iter(protocol.cases()))
    return prepared_scan(case, ProtocolKey(protocol), str(data))


def test_truth_scan_labels_and_lesions_belong_together(prepared):
    truth = prepared.subject.truth
    assert prepared.labels.shape == prepared.lesions.shape == prepared.subject.mask.shape == truth.array.shape
    assert truth.grid.axis_codes == ("R", "A", "S")
    assert prepared.scan.grid.spacing_mm == pytest.approx([1.6, 1.6, 5.0], rel=0.15)
    white = np.isin(prepared.labels, (2, 41)) & ~prepared.lesions
    assert np.median(truth.array[white]) == pytest.approx(870, rel=0.03), "the look of the reference"
    drawn = np.median(truth.array[prepared.lesions & np.isin(prepared.labels, (2, 41))])
    assert 0.45 * 870 < drawn < 0.75 * 870
    assert prepared.noise > 0
    assert np.isfinite(prepared.cubic.array).all()


def test_the_head_is_the_same_at_every_snr(protocol, tmp_path):
    data = str(write_heads(tmp_path, (17,)))
    case = next(iter(protocol.cases()))
    key = ProtocolKey(protocol)
    one, other = (prepared_scan(replace(case, snr=snr), key, data) for snr in (10.0, 30.0))
    assert np.array_equal(one.subject.truth.array, other.subject.truth.array)
    assert one.noise == pytest.approx(3 * other.noise)
    again = LohiresProtocol.from_dict({**small_lohires(), "seed": 34})
    assert not np.array_equal(
        prepared_scan(case, ProtocolKey(again), data).subject.truth.array, one.subject.truth.array
    )


def test_a_map_without_brain_is_refused(protocol, tmp_path):
    (tmp_path / "labelmaps").mkdir()
    skin = Volume(np.full((20, 20, 20), 511, np.uint16), Grid.from_parts((20, 20, 20)))
    write_volume(skin, tmp_path / "labelmaps" / "training_seg_17.nii.gz")
    with pytest.raises(InputError, match="no structure of the brain"):
        head_labels(str(tmp_path), "labelmaps/training_seg_17", protocol.head)


def test_scores_of_the_truth_are_its_own(prepared):
    truth = prepared.subject.truth.array
    own = image_scores(truth, prepared, is_truth=True)
    assert (own["psnr"], own["ssim"], own["nrmse"]) == ("", "", "")
    assert own["piqe"] is not None
    low = image_scores(prepared.cubic.array, prepared)
    assert 5 < low["psnr"] < 40
    assert 0 < low["ssim"] < 1
    assert low["psnr"] == pytest.approx(-20 * np.log10(low["nrmse"]), abs=1e-3), "one range for both"


def test_flicker_tells_the_axis_and_bright_planes(prepared):
    truth = prepared.subject.truth.array
    own = flicker(truth, prepared)
    assert all(own[f"flicker_{axis}"] == 1 and own[f"step_{axis}"] == 0 for axis in ("superior", "anterior", "right"))
    striped = truth + 100.0 * (np.arange(truth.shape[0]) % 2)[:, None, None]
    found = flicker(striped, prepared)
    assert found["flicker_superior"] > 1.5
    assert found["flicker_anterior"] == pytest.approx(1, abs=1e-3)
    assert found["step_superior"] > 5 > 1 > found["step_right"]
    assert flicker(prepared.cubic.array, prepared)["flicker_superior"] < 1


def test_second_difference_by_hand():
    image = np.zeros((5, 1, 1))
    image[2] = 3.0
    everywhere = np.ones(image.shape, bool)
    assert second_difference(image, everywhere, 0) == pytest.approx((3 + 6 + 3) / 3)
    assert np.isnan(second_difference(image, everywhere, 1))


def test_consistency_is_one_for_the_truth_and_more_for_an_invention(prepared):
    truth = prepared.subject.truth
    assert consistency(truth, prepared) == pytest.approx(1.0)
    invented = np.array(truth.array)
    invented[10:30, 10:30, 10:30] += 400.0
    assert consistency(truth.with_array(invented), prepared) > 1.5


def test_lesions_are_lost_and_added_where_they_are(prepared):
    truth = prepared.subject.truth
    own = lesion_counts(truth, prepared)
    assert own["lesions"] == 1
    assert (own["lost"], own["lost_visible"], own["added"]) == (0, 0, 0)
    healed = np.array(truth.array)
    healed[prepared.lesions] = 870.0
    assert lesion_counts(truth.with_array(healed), prepared)["lost"] == 1
    spot = np.array(truth.array)
    far = np.isin(prepared.labels, (2, 41)) & ~prepared.lesions
    k, j, i = np.nonzero(far)
    inside = [n for n in range(k.size) if far[k[n] - 4 : k[n] + 5, j[n] - 4 : j[n] + 5, i[n] - 4 : i[n] + 5].all()]
    away = max(inside, key=lambda n: np.linalg.norm(np.argwhere(prepared.lesions).mean(axis=0) - (k[n], j[n], i[n])))
    spot[k[away] - 2 : k[away] + 3, j[away] - 2 : j[away] + 3, i[away] - 2 : i[away] + 3] += 400.0
    assert added_lesions(truth.with_array(spot), prepared) == 1
    assert added_lesions(truth.with_array(truth.array + 400.0), prepared) == 0, "another level is no lesion"
    assert lesion_counts(truth, replace(prepared, lesions=None))["lesions"] == ""


def test_settings_are_json():
    assert json.loads(json.dumps(small_lohires()))["methods"][0] == BASELINE
