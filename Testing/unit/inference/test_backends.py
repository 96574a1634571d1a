from __future__ import annotations

import builtins
import hashlib
import json

import numpy as np
import pytest
from tiny_models import STRIDE, card_dict, write_tiny_model

from MRHarmonizationLib.core.errors import DependencyError, ParameterError, WeightsError
from MRHarmonizationLib.inference import backends
from MRHarmonizationLib.inference.backends import BackendOutOfMemory, choose_backend
from MRHarmonizationLib.weights.store import get_model

PARAMETERS = {"dimensions": 2, "in_channels": 8, "features": [4, 4], "blocks": [1, 1]}


def batch(channels: int = 8, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, channels, 4 * STRIDE, 5 * STRIDE)).astype(np.float32)


def test_onnxruntime_runs_a_batch_on_the_cpu(tiny):
    backend = choose_backend(get_model("tiny"), device="cpu")
    assert (backend.name, backend.device) == ("onnxruntime", "cpu")
    output = backend.run(batch())
    assert output.shape == (2, 1, 4 * STRIDE, 5 * STRIDE)
    assert output.dtype == np.float32


def test_the_number_of_threads_does_not_change_the_result(tiny):
    outputs = [choose_backend(get_model("tiny"), threads=threads).run(batch()) for threads in (None, 1, 2)]
    for output in outputs[1:]:
        np.testing.assert_allclose(output, outputs[0], atol=1e-6)


def test_a_batch_that_does_not_fit_the_network_is_a_weights_error(tiny):
    with pytest.raises(WeightsError, match=r"refused a batch of shape \(2, 7, 16, 20\)"):
        choose_backend(get_model("tiny")).run(batch(channels=7))


def test_a_card_that_does_not_fit_the_network_is_found_at_loading(tiny):
    write_tiny_model(tiny, "wrong", input={"planes": 3})
    with pytest.raises(WeightsError, match="one input of 6 channels"):
        choose_backend(get_model("wrong"))


def test_a_file_that_is_no_network_is_a_weights_error(tiny):
    content = b"not a network"
    (tiny / "junk.onnx").write_bytes(content)
    (tiny / "junk.json").write_text(json.dumps(card_dict(content, "junk")))
    with pytest.raises(WeightsError, match="cannot load"):
        choose_backend(get_model("junk"))


def test_cuda_is_refused_kindly_where_there_is_none(tiny):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(DependencyError, match="onnxruntime-gpu"):
        choose_backend(get_model("tiny"), device="cuda")


@pytest.mark.parametrize(
    ("cores", "affinity", "quota", "expected"),
    [
        (8, 8, "max 100000", None),
        (8, 2, "max 100000", 2),
        (64, 64, "200000 100000", 2),
        (64, 64, "50000 100000", 1),
        (64, 4, "800000 100000", 4),
        (4, 4, "800000 100000", None),
        (4, 4, None, None),
    ],
)
def test_only_the_allotted_cpus_are_used(tmp_path, monkeypatch, cores, affinity, quota, expected):
    limits = tmp_path / "cpu.max"
    if quota is not None:
        limits.write_text(quota + "\n")
    monkeypatch.setattr(backends, "_CGROUP_QUOTA", limits)
    monkeypatch.setattr(backends.os, "cpu_count", lambda: cores)
    monkeypatch.setattr(backends.os, "sched_getaffinity", lambda _: set(range(affinity)), raising=False)
    assert backends.allotted_cpus() == expected


@pytest.mark.parametrize(("backend", "device"), [("tensorflow", "cpu"), ("auto", "tpu")])
def test_unknown_backends_and_devices_are_refused(tiny, backend, device):
    with pytest.raises(ParameterError, match="choose a backend of"):
        choose_backend(get_model("tiny"), backend, device)


def test_a_missing_onnxruntime_names_the_command(tiny, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DependencyError, match="pip install onnxruntime"):
        choose_backend(get_model("tiny"))


@pytest.mark.parametrize(
    "message",
    [
        "std::bad_alloc",
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 99",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "CUDA failure 2: out of memory",
        "[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: not enough memory",
    ],
)
def test_what_allocators_say_is_recognised(tiny, monkeypatch, message):
    backend = choose_backend(get_model("tiny"))

    class Session:
        def run(self, *_args):
            raise RuntimeError(message)

    monkeypatch.setattr(backend, "_session", Session())
    with pytest.raises(BackendOutOfMemory):
        backend.run(batch())


def test_a_real_allocation_failure_of_onnxruntime_is_recognised(tiny):
    backend = choose_backend(get_model("tiny"))
    impossible = np.broadcast_to(np.float32(0), (2, 8, 2_000_000, 2_000_000))

    class Session:
        def run(self, _outputs, inputs):
            return [np.empty(next(iter(inputs.values())).shape, np.float32)]

    backend._session = Session()
    with pytest.raises(BackendOutOfMemory):
        backend.run(impossible)


@pytest.fixture
def checkpoint(tiny):
    """A card whose only file is a state dict of the residual U-Net, and the network itself."""
    torch = pytest.importorskip("torch", reason="the torch backend needs torch")
    from MRHarmonizationLib.models import build_model

    torch.manual_seed(0)
    model = build_model("residual_unet", PARAMETERS).eval()
    path = tiny / "unet.pt"
    torch.save(model.state_dict(), path)
    content = path.read_bytes()
    card = card_dict(content, "unet", file="unet.pt", architecture={"name": "residual_unet", "parameters": PARAMETERS})
    (tiny / "unet.json").write_text(json.dumps(card))
    return model


def test_a_checkpoint_runs_on_torch(tiny, checkpoint):
    import torch

    backend = choose_backend(get_model("unet"), device="cpu")
    assert (backend.name, backend.device) == ("torch", "cpu")
    with torch.no_grad():
        expected = checkpoint(torch.from_numpy(batch())).numpy()
    np.testing.assert_allclose(backend.run(batch()), expected, atol=1e-6)


def test_a_checkpoint_that_would_run_code_is_not_unpickled(tiny, checkpoint, capsys):
    import torch

    class Payload:
        def __reduce__(self):
            return (print, ("code ran",))

    torch.save({"first.weight": Payload()}, tiny / "unet.pt")
    rewrite_digest(tiny, "unet", "unet.pt")
    with pytest.raises(WeightsError, match="holds no weights of architecture 'residual_unet'"):
        choose_backend(get_model("unet"))
    assert "code ran" not in capsys.readouterr().out


def test_weights_of_another_architecture_are_refused(tiny, checkpoint):
    import torch

    torch.save({"other": torch.zeros(1)}, tiny / "unet.pt")
    rewrite_digest(tiny, "unet", "unet.pt")
    with pytest.raises(WeightsError, match="holds no weights"):
        choose_backend(get_model("unet"))


def test_a_backend_without_a_weight_file_is_refused(tiny, checkpoint):
    with pytest.raises(WeightsError, match=r"no \.onnx file"):
        choose_backend(get_model("unet"), backend="onnxruntime")
    with pytest.raises(WeightsError, match=r"no \.pt file"):
        choose_backend(get_model("tiny"), backend="torch")


def test_out_of_memory_of_torch_is_recognised(tiny, checkpoint):
    import torch

    backend = choose_backend(get_model("unet"))

    class Exhausted(torch.nn.Module):
        def forward(self, _):
            return torch.empty(2**62, dtype=torch.uint8)

    backend._model = Exhausted()
    with pytest.raises(BackendOutOfMemory):
        backend.run(batch())


def test_cuda_runs_where_it_is_and_agrees_with_the_cpu(tiny, checkpoint):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    card = get_model("unet")
    cpu, cuda = (choose_backend(card, device=device) for device in ("cpu", "cuda"))
    assert cuda.device == "cuda"
    np.testing.assert_allclose(cuda.run(batch()), cpu.run(batch()), atol=1e-4)


def test_torch_is_asked_for_cuda_only_where_onnxruntime_has_none(monkeypatch):
    monkeypatch.setattr(backends.importlib.metadata, "version", lambda _: "2.5.0+cpu")
    assert backends._only_torch_has_cuda("auto") is False
    assert backends._only_torch_has_cuda("cpu") is False


def rewrite_digest(folder, model_id, file):
    path = folder / f"{model_id}.json"
    content = (folder / file).read_bytes()
    card = {**json.loads(path.read_text()), "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    path.write_text(json.dumps(card))
