"""What runs a network: onnxruntime by default, torch for checkpoints; both on the CPU or on CUDA."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import os
import re
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from MRHarmonizationLib.core.errors import DependencyError, ParameterError, WeightsError
from MRHarmonizationLib.weights.card import Card, WeightFile
from MRHarmonizationLib.weights.store import verify

BACKENDS = ("auto", "onnxruntime", "torch")
DEVICES = ("auto", "cpu", "cuda")

#: How allocators of onnxruntime, torch, CUDA, ITK and the C++ library say that memory is exhausted.
_OUT_OF_MEMORY = re.compile(r"alloc|out of memory|not enough memory", re.IGNORECASE)
_ORT_ERROR_LOG_LEVEL = 3
_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_CUDA_PROVIDER = "CUDAExecutionProvider"


class BackendOutOfMemory(Exception):
    """A backend could not allocate what a batch needs; the predictor retries with less."""


class Backend(Protocol):
    """Runs one network on batches.

    Attributes
    ----------
    name : str
        ``onnxruntime`` or ``torch``.
    device : str
        ``cpu`` or ``cuda``: what it really runs on.
    """

    name: str
    device: str

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Return the network's output for one batch.

        Parameters
        ----------
        batch : numpy.ndarray
            float32 ``[N, C, ...]``, contiguous, spatial sizes multiples of the card's stride.

        Returns
        -------
        numpy.ndarray
            float32 ``[N, 1, ...]``.

        Raises
        ------
        BackendOutOfMemory
            If memory does not suffice for this batch.
        WeightsError
            If the network refuses the batch: it does not fit its card.
        """
        ...


class OnnxBackend:
    """Runs an ONNX file with onnxruntime.

    Parameters
    ----------
    card : Card
    path : pathlib.Path
        Verified weight file.
    device : {'auto', 'cpu', 'cuda'}
        ``auto`` takes CUDA where the installed onnxruntime offers it.
    threads : int, optional
        CPU threads; if omitted, one per core that this process may use.

    Raises
    ------
    DependencyError
        If onnxruntime, or its CUDA version for ``device='cuda'``, is not installed.
    WeightsError
        If the file is no usable network, or its input does not fit the card.
    """

    name = "onnxruntime"

    def __init__(self, card: Card, path: Path, device: str = "auto", threads: int | None = None) -> None:
        ort = _import_onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = _ORT_ERROR_LOG_LEVEL
        threads = threads or allotted_cpus()
        if threads is not None:
            options.intra_op_num_threads = threads
        providers = _providers(ort, device)
        try:
            self._session = ort.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise _translated(error, f"onnxruntime cannot load '{path}'") from error
        self.device = "cuda" if self._session.get_providers()[0] == _CUDA_PROVIDER else "cpu"
        if device == "cuda" and self.device == "cpu":
            raise DependencyError(
                "CUDA was asked for, but onnxruntime could not start it",
                "install the CUDA and cuDNN libraries onnxruntime-gpu names, or choose device 'cpu'",
            )
        self._input = self._checked_input(card, path)

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Return the network's output for one batch; see :class:`Backend`."""
        try:
            output = self._session.run(None, {self._input: batch})[0]
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise _translated(error, f"the network refused a batch of shape {batch.shape}") from error
        return np.asarray(output, np.float32)

    def _checked_input(self, card: Card, path: Path) -> str:
        inputs = self._session.get_inputs()
        channels = inputs[0].shape[1] if len(inputs) == 1 and len(inputs[0].shape) > 1 else None
        if len(inputs) != 1 or (isinstance(channels, int) and channels != card.input.input_channels):
            found = ", ".join(f"{entry.name} {entry.shape}" for entry in inputs)
            raise WeightsError(
                f"network '{path}' takes {found}; its card says one input of {card.input.input_channels} channels",
                "install the card and the weight file of the same model",
            )
        return str(inputs[0].name)


class TorchBackend:
    """Runs a state dict with torch.

    Parameters
    ----------
    card : Card
        Names the architecture in the models registry.
    path : pathlib.Path
        Verified weight file; read with ``weights_only=True``, so that it cannot run code.
    device : {'auto', 'cpu', 'cuda'}
    threads : int, optional
        CPU threads; torch's own default if omitted.

    Raises
    ------
    DependencyError
        If torch is not installed, or sees no CUDA device for ``device='cuda'``.
    WeightsError
        If the file is no state dict of the card's architecture.
    """

    name = "torch"

    def __init__(self, card: Card, path: Path, device: str = "auto", threads: int | None = None) -> None:
        torch = _import_torch()
        from MRHarmonizationLib.models import build_model

        if device == "cuda" and not torch.cuda.is_available():
            raise DependencyError("CUDA was asked for, but torch sees no CUDA device", "choose device 'cpu'")
        self.device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        if threads is not None:
            torch.set_num_threads(threads)
        try:
            model = build_model(card.architecture.name, card.architecture.parameters)
            state = torch.load(path, map_location="cpu", weights_only=True)
            model.load_state_dict(state)
        except Exception as error:  # torch.load raises what pickle, zipfile and load_state_dict raise
            raise _translated(error, f"'{path}' holds no weights of architecture '{card.architecture.name}'") from error
        self._torch: Any = torch
        self._model = model.to(self.device).eval()

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Return the network's output for one batch; see :class:`Backend`."""
        torch = self._torch
        exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        try:
            with torch.inference_mode(), exact:
                output = self._model(torch.from_numpy(batch).to(self.device))
                return np.asarray(output.float().cpu().numpy())
        except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if self.device == "cuda":
                torch.cuda.empty_cache()
            raise _translated(error, f"the network refused a batch of shape {batch.shape}") from error


def choose_backend(card: Card, backend: str = "auto", device: str = "auto", threads: int | None = None) -> Backend:
    """Return the backend that runs a model, its weight file verified.

    ``auto`` takes onnxruntime for an ONNX file, except where only torch can reach a CUDA device that ``device`` allows
    and the card also names a checkpoint; a card with a checkpoint alone runs on torch.

    Parameters
    ----------
    card : Card
    backend : {'auto', 'onnxruntime', 'torch'}
    device : {'auto', 'cpu', 'cuda'}
    threads : int, optional

    Raises
    ------
    ParameterError
        If the backend or device is unknown.
    WeightsError
        If the card names no weight file for the backend, or the file is not the one the card describes.
    DependencyError
        If a package the backend needs is missing.
    """
    if backend not in BACKENDS or device not in DEVICES:
        raise ParameterError(
            f"backend '{backend}' on device '{device}' is unknown",
            f"choose a backend of {', '.join(BACKENDS)} and a device of {', '.join(DEVICES)}",
        )
    onnx, checkpoint = _weights(card, ".onnx"), _weights(card, ".pt")
    if backend == "auto":
        backend = "torch" if onnx is None or (checkpoint and _only_torch_has_cuda(device)) else "onnxruntime"
    if backend == "torch":
        return TorchBackend(card, _verified(card, checkpoint, "torch", ".pt"), device, threads)
    return OnnxBackend(card, _verified(card, onnx, "onnxruntime", ".onnx"), device, threads)


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether an exception of any of the libraries says that memory is exhausted."""
    return isinstance(error, (MemoryError, BackendOutOfMemory)) or bool(_OUT_OF_MEMORY.search(str(error)))


def allotted_cpus() -> int | None:
    """Return how many CPUs this process may use, or None if it may use all.

    onnxruntime starts a thread for every core of the machine; in a container or under an affinity that allows fewer,
    its waiting threads would take the time of the working ones.
    """
    everything = os.cpu_count() or 1
    allotted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else everything
    try:
        quota, period = _CGROUP_QUOTA.read_text(encoding="ascii").split()
        allotted = min(allotted, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no Linux, no control group, or "max": no quota
        pass
    return max(1, allotted) if allotted < everything else None


def _weights(card: Card, suffix: str) -> WeightFile | None:
    return next((weights for weights in card.weight_files if weights.file.endswith(suffix)), None)


def _verified(card: Card, weights: WeightFile | None, backend: str, suffix: str) -> Path:
    if weights is None:
        raise WeightsError(
            f"model '{card.id}' has no {suffix} file, which backend '{backend}' needs", "choose backend 'auto'"
        )
    return verify(card, weights)


def _import_onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(
            "running a model needs onnxruntime, which is not installed", "pip install onnxruntime"
        ) from error
    return onnxruntime


def _import_torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise DependencyError(
            "running a model with backend 'torch' needs torch, which is not installed",
            "pip install torch, or choose backend 'onnxruntime'",
        ) from error
    return torch


def _providers(ort: Any, device: str) -> list[str]:
    offered = _CUDA_PROVIDER in ort.get_available_providers()
    if device == "cuda" and not offered:
        raise DependencyError(
            "CUDA was asked for, but the installed onnxruntime has no CUDA support",
            "replace onnxruntime by onnxruntime-gpu, or choose device 'cpu'",
        )
    return [_CUDA_PROVIDER, "CPUExecutionProvider"] if offered and device != "cpu" else ["CPUExecutionProvider"]


def _only_torch_has_cuda(device: str) -> bool:
    """Tell whether CUDA is wanted and torch has it but onnxruntime does not; imports torch only if it may have it."""
    if device == "cpu" or sys.platform == "darwin" or importlib.util.find_spec("torch") is None:
        return False
    if "+cpu" in importlib.metadata.version("torch"):
        return False
    has_onnxruntime = importlib.util.find_spec("onnxruntime") is not None
    if has_onnxruntime and _CUDA_PROVIDER in _import_onnxruntime().get_available_providers():
        return False
    return bool(_import_torch().cuda.is_available())


def _translated(error: Exception, problem: str) -> Exception:
    """Return the exception to raise for one that a runtime raised."""
    if is_out_of_memory(error):
        return BackendOutOfMemory(str(error))
    return WeightsError(f"{problem}: {error}", "import the model again, or update the runtime")
