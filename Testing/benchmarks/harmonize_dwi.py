"""Measure the cost of harmonising a diffusion scan: time against the number of volumes, memory, the headline scan.

    python Testing/benchmarks/harmonize_dwi.py --out harmonize_dwi.json
    python Testing/benchmarks/harmonize_dwi.py --method nyul --noise none

Every figure is taken in a process of its own. The scan is made up: an ellipsoid of smooth tissue in Rician noise. What
is beside scan and result is the peak memory less that of a process that only holds both (input as int16, result as
float32); it must not grow with the number of volumes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

HEADLINE_SHAPE, HEADLINE_VOLUMES = (60, 128, 128), 33
"""Voxels (K, J, I) and volumes of the headline figure."""
SMALL_SHAPE, VOLUMES = (30, 96, 96), (9, 17, 33, 65)
"""For growth with the number of volumes."""
LONGEST_S, LARGEST_RSS_GB, LARGEST_GROWTH_BYTES = 180.0, 2.0, 1.0
"""Targets: the headline scan, and memory beside scan and result per voxel and volume."""
GIB = 2**30


def made_up_scan(shape: tuple[int, int, int], volumes: int) -> Any:
    """Return a diffusion scan of one unweighted and otherwise b = 1000 volumes, int16, stored volume by volume."""
    from MRHarmonizationLib.degradations.gradient_scheme import gradient_table
    from MRHarmonizationLib.volumes.dwi import DwiVolume
    from MRHarmonizationLib.volumes.grid import Grid

    b, g = gradient_table((1000.0,), (volumes - 1,), 1)
    z, y, x = np.meshgrid(*(np.linspace(-1.15, 1.15, n, dtype=np.float32) for n in shape), indexing="ij")
    s0 = np.where(x * x + y * y + z * z < 1, 600 + 200 * np.sin(5 * x) * np.cos(4 * y), 0).astype(np.float32)
    rng = np.random.default_rng(0)
    series = np.empty((len(b), *shape), np.int16)
    for n, (value, gradient) in enumerate(zip(b, g, strict=True)):
        diffusivity = 0.6e-3 + 0.6e-3 * float(np.asarray(gradient)[0]) ** 2
        noise = rng.normal(0, 12, (2, *shape)).astype(np.float32)
        series[n] = np.hypot(s0 * np.exp(-float(value) * diffusivity) + noise[0], noise[1])
    grid = Grid.from_parts(shape, (1.75, 1.75, 2.5))
    return DwiVolume(np.moveaxis(series, 0, -1), grid, np.array(b), np.array(g, float), "benchmark")


def peak_bytes() -> int:
    """Return the largest resident memory of this process so far."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def measure(shape: tuple[int, int, int], volumes: int, method: str, noise: str) -> dict[str, Any]:
    """Harmonise one made-up scan in this process; with the method '-' only hold scan and result."""
    from MRHarmonizationLib.inference.harmonize_dwi import HarmonizeDwiRequest, harmonize_dwi

    scan = made_up_scan(shape, volumes)
    start = time.perf_counter()
    if method == "-":
        held = np.ones(scan.array.shape, np.float32)
        return {"seconds": 0.0, "peak_bytes": peak_bytes(), "held": int(held.nbytes)}
    request = HarmonizeDwiRequest(method, noise=noise)
    done = harmonize_dwi(scan, request)
    return {
        "seconds": time.perf_counter() - start,
        "peak_bytes": peak_bytes(),
        "strength": done.strength_used,
        "denoised": done.noise.denoised,
    }


def in_a_process(shape: tuple[int, int, int], volumes: int, options: argparse.Namespace, method: str) -> dict[str, Any]:
    """Return what :func:`measure` gives in a fresh process."""
    words = ["--one", ",".join(map(str, (*shape, volumes))), "--method", method]
    command = [sys.executable, __file__, *words, "--noise", options.noise]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def growth(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return time and memory at several numbers of volumes."""
    rows = []
    voxels = int(np.prod(SMALL_SHAPE))
    for volumes in VOLUMES:
        done = in_a_process(SMALL_SHAPE, volumes, options, options.method)
        bare = in_a_process(SMALL_SHAPE, volumes, options, "-")
        rows.append(
            {
                "volumes": volumes,
                "seconds": done["seconds"],
                "seconds_per_volume": done["seconds"] / volumes,
                "peak_gib": done["peak_bytes"] / GIB,
                "beside_scan_and_result_mib": (done["peak_bytes"] - bare["peak_bytes"]) / 2**20,
            }
        )
        print("  " + "  ".join(f"{key} {value:.4g}" for key, value in rows[-1].items()), flush=True)
    slope = np.polyfit(VOLUMES, [row["beside_scan_and_result_mib"] * 2**20 for row in rows], 1)[0] / voxels
    rows.append({"growth_bytes_per_voxel_and_volume": float(slope)})
    print(f"  memory beside scan and result grows by {slope:.2f} bytes per voxel and volume", flush=True)
    return rows


def main() -> None:
    """Run and print; exit status 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="b0_histogram")
    parser.add_argument("--noise", default="auto")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        k, j, i, volumes = map(int, options.one.split(","))
        print(json.dumps(measure((k, j, i), volumes, options.method, options.noise)))
        return
    print(f"{platform.machine()}, {os.cpu_count()} processors, method {options.method}, noise {options.noise}")
    print(f"growth with the number of volumes, {' x '.join(map(str, SMALL_SHAPE[::-1]))} voxels:", flush=True)
    rows = growth(options)
    head = in_a_process(HEADLINE_SHAPE, HEADLINE_VOLUMES, options, options.method)
    single = in_a_process(HEADLINE_SHAPE, 2, options, options.method)
    ratio = head["seconds"] / single["seconds"]
    print(
        f"128 x 128 x 60 x 33: {head['seconds']:.1f} s, peak {head['peak_bytes'] / GIB:.2f} GiB, "
        f"{ratio:.1f} times the scan of one weighted volume ({single['seconds']:.1f} s)"
    )
    found = {"growth": rows, "headline": head, "one_weighted_volume": single, "ratio": ratio}
    if options.out:
        options.out.write_text(json.dumps(found, indent=2), encoding="utf-8")
    slow, large = head["seconds"] > LONGEST_S, head["peak_bytes"] > LARGEST_RSS_GB * 1e9
    if slow or large or rows[-1]["growth_bytes_per_voxel_and_volume"] > LARGEST_GROWTH_BYTES:
        raise SystemExit("a target was missed")


if __name__ == "__main__":
    main()
