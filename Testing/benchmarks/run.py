"""Measure the cost of an enhancement: time against the bare network, memory, growth with size, import time.

    python Testing/benchmarks/run.py --out benchmarks.json

Every figure is taken in a process of its own. Times are compared only within one process, the whole pipeline and the
bare network in turns, so that the ratio holds on a busy machine too; absolute times hold for the machine they were
taken on. ``--model`` names a card that the store finds (see MRHARMONIZATION_WEIGHTS).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

HEAD_SHAPE = (184, 224, 184)
"""Output of the headline figures, voxels (K, J, I) of 1 mm."""
SPACING_MM = (1.6, 1.6, 4.0)
"""Of the simulated input, along (i, j, k)."""
LARGEST_RATIO, LARGEST_RSS_GB, LONGEST_IMPORT_S = 1.3, 2.0, 0.3
"""Targets: pipeline over bare network, peak memory for a head, importing the package."""
HEAVY_PACKAGES = ("torch", "onnxruntime", "SimpleITK", "slicer", "scipy", "skimage")


def simulated_scan(shape: tuple[int, int, int]) -> Any:
    """Return a noisy ellipsoid of thick slices whose 1 mm grid has the given shape."""
    from MRHarmonizationLib.volumes.grid import Grid
    from MRHarmonizationLib.volumes.volume import Volume

    size = [round(count / spacing) for count, spacing in zip(shape, SPACING_MM[::-1], strict=True)]
    z, y, x = np.meshgrid(*(np.linspace(-1.1, 1.1, count, dtype=np.float32) for count in size), indexing="ij")
    noise = np.random.default_rng(0).normal(0, 20, size).astype(np.float32)
    array = np.where(x * x + y * y + z * z < 1, 400 + 150 * np.sin(9 * x) * np.cos(7 * y), 0) + np.abs(noise)
    return Volume(array.astype(np.int16), Grid.from_parts(array.shape, SPACING_MM), "benchmark")


def measure_time(model: str, shape: tuple[int, int, int], repeats: int, threads: int | None) -> dict[str, Any]:
    """Return the time of the whole pipeline and of the bare network on batches of the same shapes."""
    from MRHarmonizationLib.inference.backends import OnnxBackend, choose_backend
    from MRHarmonizationLib.inference.enhance import EnhanceRequest, enhance
    from MRHarmonizationLib.weights.store import get_model

    shapes: list[tuple[int, ...]] = []
    spent: list[float] = []
    original = OnnxBackend.run

    def recorded(self: OnnxBackend, batch: np.ndarray) -> np.ndarray:
        start = time.perf_counter()
        output = original(self, batch)
        spent.append(time.perf_counter() - start)
        shapes.append(batch.shape)
        return output

    scan = simulated_scan(shape)
    request = EnhanceRequest(model=model, device="cpu", backend="onnxruntime", threads=threads)
    bare_backend = choose_backend(get_model(model), "onnxruntime", "cpu", threads)
    session, name = bare_backend._session, bare_backend._input  # type: ignore[attr-defined]
    OnnxBackend.run = recorded  # type: ignore[method-assign]
    rounds = []
    for _ in range(repeats):
        shapes.clear()
        spent.clear()
        start, cpu_start = time.perf_counter(), time.process_time()
        enhance(scan, request)
        pipeline, pipeline_cpu = time.perf_counter() - start, time.process_time() - cpu_start
        batches = {shape: np.random.default_rng(0).normal(size=shape).astype(np.float32) for shape in set(shapes)}
        start, cpu_start = time.perf_counter(), time.process_time()
        for batch_shape in shapes:
            session.run(None, {name: batches[batch_shape]})
        bare, bare_cpu = time.perf_counter() - start, time.process_time() - cpu_start
        rounds.append(
            {
                "ratio": pipeline / bare,
                "cpu_ratio": pipeline_cpu / bare_cpu,
                "pipeline_s": pipeline,
                "bare_s": bare,
                "overhead_s": pipeline - sum(spent),
                "pipeline_cpu_s": pipeline_cpu,
                "bare_cpu_s": bare_cpu,
            }
        )
    median = {key: statistics.median(entry[key] for entry in rounds) for key in rounds[0]}
    return {"shape": shape, "batches": len(shapes), "batch": list(shapes[0]), **median, "rounds": rounds}


def measure_memory(model: str, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Return the peak resident memory of a process that enhances one scan, and how long it took."""
    from MRHarmonizationLib.inference.enhance import EnhanceRequest, enhance

    scan = simulated_scan(shape)
    start = time.perf_counter()
    enhance(scan, EnhanceRequest(model=model, device="cpu", backend="onnxruntime", keep_residual=True))
    return {"shape": shape, "pipeline_s": time.perf_counter() - start, "peak_rss_gb": peak_rss_gb()}


def peak_rss_gb() -> float:
    """Return the largest resident memory this process has had, in 10⁹ bytes."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def measure_import(repeats: int = 7) -> dict[str, Any]:
    """Return the median time of importing the package beyond starting Python, and what heavy packages it loads."""
    code = (
        "import time, sys; start = time.perf_counter(); import MRHarmonizationLib; "
        "print(time.perf_counter() - start); print(*sys.modules)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for _ in range(repeats)
    ]
    loaded = set(runs[0][1].split())
    return {
        "seconds": statistics.median(float(run[0]) for run in runs),
        "heavy_packages": [package for package in HEAVY_PACKAGES if package in loaded],
    }


def environment() -> dict[str, str]:
    """Return the environment of child processes: this checkout first."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}


def in_child(
    measurement: str, model: str, shape: tuple[int, int, int], repeats: int = 1, threads: int | None = None
) -> dict[str, Any]:
    """Run one measurement in a process of its own and return what it printed."""
    size = "x".join(map(str, shape))
    command = [sys.executable, __file__, "--child", measurement, "--model", model, "--shape", size]
    command += ["--repeats", str(repeats), *(["--threads", str(threads)] if threads else [])]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def voxels(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape))


def table(results: dict[str, Any]) -> str:
    """Return the figures as a table for people."""
    head, imported = results["time"], results["import"]
    memory = {tuple(entry["shape"]): entry for entry in results["growth"]}
    lines = [
        f"model {results['model']}, {results['machine']}",
        f"{'figure':<46}{'measured':>12}{'target':>10}",
        f"{'pipeline / bare network':<46}{head['ratio']:>12.2f}{LARGEST_RATIO:>10}",
        f"{'  the same in CPU time':<46}{head['cpu_ratio']:>12.2f}",
        f"{'  pipeline, s':<46}{head['pipeline_s']:>12.2f}",
        f"{'  bare network, s':<46}{head['bare_s']:>12.2f}",
        f"{'  everything but the network, s':<46}{head['overhead_s']:>12.2f}",
        f"{'peak memory, GB':<46}{memory[HEAD_SHAPE]['peak_rss_gb']:>12.2f}{LARGEST_RSS_GB:>10}",
        f"{'import, s':<46}{imported['seconds']:>12.3f}{LONGEST_IMPORT_S:>10}",
        f"{'  heavy packages loaded':<46}{len(imported['heavy_packages']):>12}{0:>10}",
        "",
        f"{'output':<18}{'Mvoxels':>9}{'s':>9}{'µs/voxel':>10}{'GB':>8}{'bytes/voxel':>13}",
    ]
    for entry in results["growth"]:
        count, size = voxels(entry["shape"]), "x".join(map(str, entry["shape"]))
        lines.append(
            f"{size:<18}{count / 1e6:>9.2f}{entry['pipeline_s']:>9.2f}{entry['pipeline_s'] / count * 1e6:>10.2f}"
            f"{entry['peak_rss_gb']:>8.2f}{entry['peak_rss_gb'] * 1e9 / count:>13.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--model", default="lowfield")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, help="CPU threads of the network; one per core if omitted")
    parser.add_argument("--sizes", type=int, nargs="*", default=[96, 128], help="edges of further cubes (up to 400)")
    parser.add_argument("--child", choices=("time", "memory"), help=argparse.SUPPRESS)
    parser.add_argument("--shape", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        k, j, i = (int(part) for part in arguments.shape.split("x"))
        if arguments.child == "time":
            print(json.dumps(measure_time(arguments.model, (k, j, i), arguments.repeats, arguments.threads)))
        else:
            print(json.dumps(measure_memory(arguments.model, (k, j, i))))
        return
    shapes = sorted({HEAD_SHAPE, *((edge, edge, edge) for edge in arguments.sizes)}, key=voxels)
    results = {
        "model": arguments.model,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
        "time": in_child("time", arguments.model, HEAD_SHAPE, arguments.repeats, arguments.threads),
        "growth": [in_child("memory", arguments.model, shape) for shape in shapes],
        "import": measure_import(),
    }
    print(table(results))
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
