"""Python packages the library needs inside Slicer: found without importing them, installed after the user agrees."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from MRHarmonizationLib.core.errors import DependencyError


@dataclass(frozen=True)
class Requirement:
    """A Python package.

    Attributes
    ----------
    module : str
        Name it is imported by.
    package : str
        Name and version range it is installed by.
    """

    module: str
    package: str


#: What every operation needs. Versions as in pyproject.toml; a test compares them.
ALWAYS = (
    Requirement("numpy", "numpy>=1.26"),
    Requirement("scipy", "scipy>=1.12"),
    Requirement("SimpleITK", "SimpleITK>=2.3"),
    Requirement("skimage", "scikit-image>=0.22"),
    Requirement("pydicom", "pydicom>=3.0"),
    Requirement("typer", "typer>=0.26"),
    Requirement("rich", "rich>=13.8"),
)
#: What the pictures of a comparison's report need beside :data:`ALWAYS`.
REPORT = (Requirement("matplotlib", "matplotlib>=3.8"), Requirement("plotly", "plotly>=5.24"))
ONNXRUNTIME = Requirement("onnxruntime", "onnxruntime>=1.18")
ONNXRUNTIME_GPU = Requirement("onnxruntime", "onnxruntime-gpu>=1.18")
TORCH = Requirement("torch", "torch>=2.4")


def requirements_for(backend: str = "auto", device: str = "auto", platform: str = sys.platform) -> list[Requirement]:
    """Return what an enhancement needs.

    Parameters
    ----------
    backend : {'auto', 'onnxruntime', 'torch'}
    device : {'auto', 'cpu', 'cuda'}
    platform : str
        As ``sys.platform``.

    Returns
    -------
    list of Requirement
        Exactly one of ``onnxruntime`` and ``onnxruntime-gpu`` (they are imported by the same name and overwrite each
        other): the GPU package where CUDA is asked for and exists, that is not on macOS.
    """
    if backend == "torch":
        return [*ALWAYS, TORCH]
    return [*ALWAYS, ONNXRUNTIME_GPU if device == "cuda" and platform != "darwin" else ONNXRUNTIME]


def requirements_for_standardising(method: str) -> list[Requirement]:
    """Return what a harmoniser of contrast needs; raises ParameterError for an unknown one."""
    from MRHarmonizationLib.methods.harmonizers import HARMONIZERS

    return [*ALWAYS, ONNXRUNTIME] if "model" in HARMONIZERS.get(method).defaults else list(ALWAYS)


def requirements_for_comparison(regions: bool = False) -> list[Requirement]:
    """Return what a comparison and its report need; finding brain regions runs a network."""
    return [*ALWAYS, *REPORT, *([ONNXRUNTIME] if regions else [])]


def is_installed(requirement: Requirement) -> bool:
    """Tell whether a package can be imported, without importing it."""
    if requirement.module in sys.modules:
        return True
    try:
        return importlib.util.find_spec(requirement.module) is not None
    except (ImportError, ValueError):
        return False


class DependencyInstaller(Protocol):
    """Finds and installs packages; tests put another one in its place."""

    def missing(self, requirements: Sequence[Requirement]) -> list[Requirement]:
        """Return those that are not installed."""

    def install(self, requirements: Sequence[Requirement]) -> None:
        """Ask the user, then install.

        Raises
        ------
        DependencyError
            The user declined, or the installation failed.
        """


class SlicerDependencyInstaller:
    """Installs into Slicer's Python, by Slicer's own means.

    Parameters
    ----------
    requester : str
        Who asks, for the dialog.
    """

    def __init__(self, requester: str = "MR Harmonization") -> None:
        self._requester = requester

    def missing(self, requirements: Sequence[Requirement]) -> list[Requirement]:
        """Return those that are not installed; see :meth:`DependencyInstaller.missing`."""
        return [requirement for requirement in requirements if not is_installed(requirement)]

    def install(self, requirements: Sequence[Requirement]) -> None:
        """Ask the user, then install; see :meth:`DependencyInstaller.install`."""
        if TORCH in requirements:
            self._install_torch()
        packages = [requirement.package for requirement in requirements if requirement != TORCH]
        if packages:
            self._install_packages(packages)
        importlib.invalidate_caches()
        still = [requirement.package for requirement in self.missing(requirements)]
        if still:
            raise DependencyError(f"not installed: {', '.join(still)}", "look at the log (menu View, Error Log)")

    def _install_packages(self, packages: list[str]) -> None:
        import slicer

        try:
            # Slicer 5.12 asks the user itself and shows the progress; earlier versions leave that to the caller.
            packaging = importlib.import_module("slicer.packaging")
            ensure = packaging.pip_ensure
        except (ImportError, AttributeError):
            ensure = None
        try:
            if ensure is not None:
                ensure(packages, requester=self._requester)
            elif slicer.util.confirmOkCancelDisplay(
                f"{self._requester} needs Python packages that are not installed yet:\n\n{chr(10).join(packages)}\n\n"
                "Install them now? This needs an internet connection and may take some minutes.",
                "Install Python packages",
            ):
                slicer.util.pip_install(packages)
            else:
                raise DependencyError(f"needed packages were not installed: {', '.join(packages)}", "press Apply again")
        except DependencyError:
            raise
        except Exception as error:  # pip fails in many ways; each means that the packages are not there
            raise DependencyError(
                f"installing {', '.join(packages)} failed: {error}",
                "check the internet connection and press Apply again",
            ) from error

    def _install_torch(self) -> None:
        try:
            utilities = importlib.import_module("PyTorchUtils")
        except ImportError as error:
            raise DependencyError(
                "this model needs PyTorch, which is not installed",
                "install the extension PyTorch and restart Slicer, or choose the engine ONNX Runtime",
            ) from error
        if utilities.PyTorchUtilsLogic().installTorch(askConfirmation=True) is None:
            raise DependencyError("PyTorch was not installed", "choose the engine ONNX Runtime, or press Apply again")
