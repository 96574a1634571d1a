"""Measure how long denoising and sharpening take: the preview of a slice and a whole volume, over bare network time.

    python Testing/benchmarks/restore.py --threads 2 --out restore.json

The scan is noise on a smooth object; times do not depend on what is shown.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from MRHarmonizationLib.inference.backends import choose_backend  # noqa: E402
from MRHarmonizationLib.inference.restore import blend, restorer  # noqa: E402
from MRHarmonizationLib.inference.restore_parts import assess, plane_directions, split, split_slice  # noqa: E402
from MRHarmonizationLib.volumes.grid import Grid  # noqa: E402
from MRHarmonizationLib.volumes.volume import Volume  # noqa: E402


def best_of(function: Callable[[], object], repeats: int = 5) -> float:
    """Return the shortest time in seconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="restore-any")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=3, default=(64, 256, 256), metavar=("K", "J", "I"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    shape = tuple(options.size)
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    noise = np.random.default_rng(0).standard_normal(shape)
    array = np.maximum(600 * np.exp(-2 * (k**2 + j**2 + i**2)) + 20 * noise, 0).astype(np.float32)
    scan = Volume(array, Grid.from_parts(shape))
    card = restorer(options.model)
    backend = choose_backend(card, "auto", "cpu", options.threads)
    quality = assess(scan, card)
    stack = np.zeros((1, card.input.input_channels, *shape[1:]), np.float32)
    network = best_of(lambda: backend.run(stack))
    parts = split_slice(scan, 2, shape[0] // 2, quality, card, backend)
    plane = array[shape[0] // 2]
    found = {
        "threads": options.threads,
        "network_slice_s": network,
        "preview_slice_s": best_of(lambda: split_slice(scan, 2, shape[0] // 2, quality, card, backend)),
        "slider_s": best_of(lambda: blend(plane, parts, 0.7, 0.4)),
        "assess_s": best_of(lambda: assess(scan, card), 2),
        "volume_s": best_of(lambda: split(scan, quality, card, backend), 1),
    }
    bare = network * shape[0] * len(plane_directions(scan.grid, card))
    found |= {"preview_ratio": found["preview_slice_s"] / network, "volume_ratio": found["volume_s"] / bare}
    for name, value in found.items():
        print(f"{name:18} {value:.4g}")
    if options.out:
        options.out.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
