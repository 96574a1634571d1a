from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tiny_models import write_tiny_model

from MRHarmonizationLib.core.errors import ModelNotFoundError, OutputError, WeightsError
from MRHarmonizationLib.weights import store
from MRHarmonizationLib.weights.card import read_card
from MRHarmonizationLib.weights.store import get_model, import_weights, list_models, search_folders, user_folder, verify


@pytest.fixture
def folders(tmp_path, own_home, monkeypatch):
    """Two folders named by the environment, the first with the models 'one' and 'two'."""
    first, second = tmp_path / "first", tmp_path / "second"
    write_tiny_model(first, "one")
    write_tiny_model(first, "two", task="segment")
    second.mkdir()
    monkeypatch.setenv(store.FOLDERS_VARIABLE, os.pathsep.join([str(first), "", str(second), "/no/such/folder"]))
    return first, second


def ids(task=None) -> set[str]:
    return {card.id for card in list_models(task)}


def test_folders_are_searched_in_order(folders):
    first, second = folders
    assert search_folders()[:2] == (first, second)
    assert search_folders()[-2:] == (user_folder(), Path(store.__file__).parent)


def test_models_are_listed_by_task(folders):
    assert {"one", "two"} <= ids()
    assert "two" not in ids("enhance")
    assert "one" in ids("enhance")


def test_the_first_folder_wins(folders):
    first, second = folders
    write_tiny_model(second, "one", title="hidden")
    write_tiny_model(second, "three")
    assert get_model("one").folder == first
    assert get_model("three").folder == second


def test_the_users_folder_is_found_without_the_environment(own_home, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(own_home / "data"))
    write_tiny_model(user_folder(), "mine")
    assert get_model("mine").folder == user_folder()


def test_an_unknown_model_names_those_there_are(folders):
    with pytest.raises(ModelNotFoundError, match="'nine'.*one.*two") as caught:
        get_model("nine")
    assert caught.value.exit_code == 4


def test_a_broken_card_hides_no_other_and_says_what_is_wrong_when_asked_for(folders, caplog):
    (folders[0] / "broken.json").write_text("{")
    assert {"one", "two"} <= ids()
    assert "broken.json" in caplog.text
    with pytest.raises(WeightsError, match=r"broken\.json"):
        get_model("broken")


def test_verification_accepts_the_file_of_the_card(folders):
    assert verify(get_model("one")) == folders[0] / "one.onnx"


def test_a_changed_byte_is_found_also_after_a_first_verification(folders):
    card = get_model("one")
    path = verify(card)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    with pytest.raises(WeightsError, match="SHA-256"):
        verify(card)


def test_a_truncated_file_is_found_by_its_size(folders):
    card = get_model("one")
    path = verify(card)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match=f"has {card.weights.bytes - 1} bytes, its card says {card.weights.bytes}"):
        verify(card)


def test_a_missing_file_is_named(folders):
    card = get_model("one")
    (folders[0] / "one.onnx").unlink()
    with pytest.raises(WeightsError, match="missing"):
        verify(card)


def test_the_hash_is_remembered_while_the_file_stays_the_same(folders, monkeypatch):
    card = get_model("one")
    verify(card)
    monkeypatch.setattr(store, "digest_file", lambda _: pytest.fail("hashed again"))
    verify(card)


@pytest.fixture
def downloaded(tmp_path, own_home, monkeypatch):
    """A model as downloaded: the weight file has another name than its card gives it."""
    card = write_tiny_model(tmp_path / "download", "fresh")
    weights = (card.parent / "fresh.onnx").rename(card.parent / "fresh (1).onnx")
    return weights, card


def test_an_imported_model_is_found_and_verified(downloaded):
    card = import_weights(*downloaded)
    assert card.folder == user_folder()
    assert get_model("fresh").to_dict() == read_card(downloaded[1]).to_dict()
    assert verify(get_model("fresh")) == user_folder() / "fresh.onnx"
    assert sorted(path.name for path in user_folder().iterdir()) == ["fresh.json", "fresh.onnx"]


def test_the_wrong_weight_file_is_not_imported(downloaded, tmp_path):
    weights, card = downloaded
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(WeightsError, match="belongs to this card"):
        import_weights(weights, card, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_missing_weight_file_is_named(downloaded):
    with pytest.raises(WeightsError, match=r"none\.onnx"):
        import_weights(Path("none.onnx"), downloaded[1])


def test_an_unwritable_folder_is_an_output_error(downloaded, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OutputError):
        import_weights(*downloaded, blocked)
    with pytest.raises(OutputError):
        import_weights(*downloaded, blocked / "below")


def test_importing_one_of_two_weight_files_leaves_a_card_of_that_one(downloaded, tmp_path):
    weights, card = downloaded
    values = json.loads(card.read_text())
    onnx = {key: values[key] for key in ("file", "sha256", "bytes")}
    checkpoint = {"file": "fresh.pt", "sha256": "cd" * 32, "bytes": 12}
    card.write_text(json.dumps({**values, **checkpoint, "checkpoint": onnx}))
    imported = import_weights(weights, card, tmp_path / "target")
    assert imported.weight_files == (imported.weights,)
    assert imported.weights.file == "fresh.onnx"
    assert verify(imported).is_file()
