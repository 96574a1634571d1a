"""Registries: filled from the files of a package, once, at first use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.registry import Registry


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of its own whose modules register themselves; counts how often each is imported."""
    name = "registered_things"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "base.py").write_text(
        f"from MRHarmonizationLib.core.registry import Registry\nTHINGS = Registry('thing', '{name}')\nIMPORTS = []\n"
    )
    for thing in ("walnut", "apple"):
        (folder / f"{thing}.py").write_text(
            f"from {name}.base import IMPORTS, THINGS\n"
            f"IMPORTS.append('{thing}')\n"
            f"@THINGS.register('{thing}')\n"
            f"def {thing}():\n    return '{thing}!'\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        del sys.modules[module]


def test_files_of_the_package_are_found_and_imported_once(package):
    base = __import__(f"{package}.base", fromlist=["THINGS"])
    assert base.IMPORTS == []
    assert base.THINGS.names() == ["apple", "walnut"]
    assert base.THINGS.get("walnut")() == "walnut!"
    assert [name for name, _ in base.THINGS.items()] == ["apple", "walnut"]
    assert sorted(base.IMPORTS) == ["apple", "walnut"]


def test_unknown_name_lists_the_choices(package):
    base = __import__(f"{package}.base", fromlist=["THINGS"])
    with pytest.raises(ParameterError, match=r"unknown thing 'pear'; choose one of: apple, walnut"):
        base.THINGS.get("pear")


def test_one_name_for_two_things_is_refused(package):
    registry: Registry[object] = Registry("thing", package)

    @registry.register("nut")
    def first():
        return None

    with pytest.raises(ParameterError, match="'nut' is registered twice"):
        registry.register("nut")(lambda: None)
    assert registry.register("nut")(first) is first


def test_a_broken_file_is_not_hidden(package, tmp_path):
    (tmp_path / package / "broken.py").write_text("raise RuntimeError('broken file')\n")
    base = __import__(f"{package}.base", fromlist=["THINGS"])
    with pytest.raises(RuntimeError, match="broken file"):
        base.THINGS.names()


def test_a_broken_file_is_reported_again_at_the_next_use(package, tmp_path):
    (tmp_path / package / "broken.py").write_text("raise RuntimeError('broken file')\n")
    base = __import__(f"{package}.base", fromlist=["THINGS"])
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken file"):
            base.THINGS.names()
