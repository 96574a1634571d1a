from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_models import card_dict

from MRHarmonizationLib.core.errors import WeightsError
from MRHarmonizationLib.weights.card import Card, WeightFile, read_card


def values(**changes):
    return card_dict(b"content", **changes)


@pytest.mark.parametrize("layout", ["planes-2.5d", "volume-3d"])
def test_a_card_survives_its_json(layout):
    checkpoint = {"file": "tiny.pt", "sha256": "cd" * 32, "bytes": 12}
    card = Card.from_dict(values(layout=layout, checkpoint=checkpoint, scores={"psnr": 31.5}), Path("folder"))
    again = Card.from_dict(json.loads(json.dumps(card.to_dict())), Path("folder"))
    assert again.to_dict() == card.to_dict()
    assert again.checkpoint == WeightFile("tiny.pt", "cd" * 32, 12)
    assert again.scores["psnr"] == 31.5


def test_unknown_keys_are_kept():
    card = Card.from_dict(values(thumbnail="a.png"))
    assert card.extra == {"thumbnail": "a.png"}
    assert card.to_dict()["thumbnail"] == "a.png"


def test_a_card_cannot_be_changed():
    card = Card.from_dict(values())
    with pytest.raises(AttributeError):
        card.id = "other"
    with pytest.raises(TypeError):
        card.scores["psnr"] = 99


def test_the_channels_of_the_network_are_counted():
    assert Card.from_dict(values()).input.input_channels == 8
    assert Card.from_dict(values(layout="volume-3d")).input.input_channels == 4


@pytest.mark.parametrize("key", ["id", "title", "version", "licence", "task", "file", "sha256", "bytes", "input"])
def test_a_missing_key_is_named(key):
    incomplete = values()
    del incomplete[key]
    with pytest.raises(WeightsError, match=f"lacks the key '{key}'"):
        Card.from_dict(incomplete)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "../evil"}, "'../evil'"),
        ({"id": ""}, "id is ''"),
        ({"file": "../evil.onnx"}, "file is '../evil.onnx'"),
        ({"file": "..\\evil.onnx"}, "file is"),
        ({"file": "weights.pkl"}, "ending in .onnx or .pt"),
        ({"sha256": "abc"}, "64 lower-case hexadecimal digits"),
        ({"bytes": 0}, "bytes is 0"),
        ({"bytes": "many"}, "many"),
        ({"input": {"layout": "planes-4d"}}, "'planes-4d'"),
        ({"input": {"planes": 4}}, "planes is 4"),
        ({"input": {"orientation": "LPS"}}, "orientation is 'LPS'"),
        ({"input": {"spacing_mm": 0}}, "spacing_mm is 0"),
        ({"input": {"stride": 0}}, "'stride': 0"),
        ({"input": {"intensity": {"rule": "zscore"}}}, "'zscore'"),
        ({"input": {"intensity": {"lower": 99, "upper": 1}}}, "lower < upper"),
        ({"input": {"colour": "red"}}, "colour"),
        ({"input": "none"}, "malformed"),
        ({"domain": {"slice_spacing_mm": [9, 1]}}, "smallest, largest"),
        ({"domain": {"slice_spacing_mm": [9]}}, "smallest, largest"),
        ({"checkpoint": {"file": "a.pt"}}, "sha256"),
    ],
    ids=str,
)
def test_a_wrong_value_is_named(change, message):
    card = values()
    if isinstance(change.get("input"), dict):
        change = {"input": {**card["input"], **change["input"]}}
    with pytest.raises(WeightsError, match="(?s)" + message.replace("\\", "\\\\")):
        Card.from_dict({**card, **change})


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"id": "tiny"}'])
def test_a_broken_card_file_is_named(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_text(content)
    with pytest.raises(WeightsError, match=r"broken\.json"):
        read_card(path)


def test_a_missing_card_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"no\.json"):
        read_card(tmp_path / "no.json")
