"""Packages: found without importing, installed after a yes, never two of the same name."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from MRHarmonizationLib.core.errors import DependencyError
from MRHarmonizationLib.slicer_adapter import dependencies
from MRHarmonizationLib.slicer_adapter.dependencies import (
    ALWAYS,
    ONNXRUNTIME,
    ONNXRUNTIME_GPU,
    REPORT,
    TORCH,
    Requirement,
    SlicerDependencyInstaller,
    requirements_for,
    requirements_for_comparison,
)

MISSING = Requirement("a_package_nobody_has", "a-package-nobody-has>=1")


@pytest.fixture
def slicer(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """A slicer module that records what it is asked and told to install."""
    record = types.SimpleNamespace(asked=[], installed=[], answer=True)
    util = types.ModuleType("slicer.util")
    util.confirmOkCancelDisplay = lambda text, title: record.asked.append(text) or record.answer

    def install(packages: list[str]) -> None:
        record.installed += packages
        monkeypatch.setitem(sys.modules, MISSING.module, types.ModuleType(MISSING.module))

    util.pip_install = install
    module = types.ModuleType("slicer")
    module.util, module.__path__ = util, []
    monkeypatch.setitem(sys.modules, "slicer", module)
    monkeypatch.setitem(sys.modules, "slicer.util", util)
    monkeypatch.delitem(sys.modules, "slicer.packaging", raising=False)
    monkeypatch.delitem(sys.modules, MISSING.module, raising=False)
    return record


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda"])
@pytest.mark.parametrize("backend", ["auto", "onnxruntime", "torch"])
@pytest.mark.parametrize("platform", ["linux", "win32", "darwin"])
def test_exactly_one_runtime(backend: str, device: str, platform: str):
    wanted = requirements_for(backend, device, platform)
    runtimes = [requirement for requirement in wanted if requirement.module == "onnxruntime"]
    assert len(runtimes) == (0 if backend == "torch" else 1)
    assert (TORCH in wanted) == (backend == "torch")
    if platform == "darwin":
        assert ONNXRUNTIME_GPU not in wanted


def test_a_comparison_needs_no_network():
    modules = {requirement.module for requirement in requirements_for_comparison()}
    assert "matplotlib" in modules
    assert not modules & {"onnxruntime", "torch"}
    found = {requirement.module for requirement in requirements_for_comparison(regions=True)}
    assert found == {requirement.module for requirement in requirements_for_comparison()} | {"onnxruntime"}


def test_gpu_package_is_not_put_beside_the_cpu_package():
    pytest.importorskip("onnxruntime")
    assert SlicerDependencyInstaller().missing([ONNXRUNTIME, ONNXRUNTIME_GPU]) == []


def test_versions_are_those_of_the_project(repository: Path):
    declared = (repository / "pyproject.toml").read_text(encoding="utf-8")
    for requirement in (*ALWAYS, *REPORT, ONNXRUNTIME, TORCH):
        assert f'"{requirement.package}"' in declared, f"{requirement.package} differs from pyproject.toml"


def test_looking_imports_nothing():
    before = set(sys.modules)
    SlicerDependencyInstaller().missing(requirements_for("torch") + requirements_for())
    assert not {"torch", "onnxruntime"} & (set(sys.modules) - before)


def test_user_agrees(slicer: types.SimpleNamespace):
    installer = SlicerDependencyInstaller("Tester")
    assert installer.missing([MISSING, ALWAYS[0]]) == [MISSING]
    installer.install([MISSING])
    assert slicer.installed == [MISSING.package]
    assert "Tester" in slicer.asked[0]
    assert MISSING.package in slicer.asked[0]
    assert installer.missing([MISSING]) == []


def test_user_declines(slicer: types.SimpleNamespace):
    slicer.answer = False
    with pytest.raises(DependencyError, match="were not installed"):
        SlicerDependencyInstaller().install([MISSING])
    assert slicer.installed == []


def test_installation_fails(slicer: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    def fail(packages: list[str]) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(sys.modules["slicer.util"], "pip_install", fail)
    with pytest.raises(DependencyError, match="no network"):
        SlicerDependencyInstaller().install([MISSING])


def test_installed_but_not_there(slicer: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys.modules["slicer.util"], "pip_install", lambda packages: None)
    with pytest.raises(DependencyError, match="not installed"):
        SlicerDependencyInstaller().install([MISSING])


def test_newer_slicer_asks_itself(slicer: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    packaging = types.ModuleType("slicer.packaging")

    def ensure(packages: list[str], requester: str) -> None:
        sys.modules["slicer.util"].pip_install(packages)
        slicer.asked.append(requester)

    packaging.pip_ensure = ensure
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    SlicerDependencyInstaller("Tester").install([MISSING])
    assert slicer.asked == ["Tester"]
    assert slicer.installed == [MISSING.package]


def test_torch_comes_through_its_extension(slicer: types.SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dependencies, "is_installed", lambda requirement: requirement != TORCH)
    with pytest.raises(DependencyError, match="extension PyTorch"):
        SlicerDependencyInstaller().install([TORCH])
    utilities = types.ModuleType("PyTorchUtils")

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation: bool) -> None:
            slicer.asked.append(askConfirmation)

    utilities.PyTorchUtilsLogic = PyTorchUtilsLogic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", utilities)
    with pytest.raises(DependencyError, match="PyTorch was not installed"):
        SlicerDependencyInstaller().install([TORCH])
    assert slicer.asked == [True]
    assert slicer.installed == []
