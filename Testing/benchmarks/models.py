"""Compare what models cost on one scan: time in turns within one process, peak memory of a process each.

    python Testing/benchmarks/models.py lowfield lohiresgan-t1

The first model is what the others are held against. Absolute times hold for the machine they were taken on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

from run import in_child, simulated_scan

#: Output, voxels (K, J, I) of 1 mm: a whole head with its field of view.
SHAPE = (160, 256, 256)
#: Longest time of one scan, in s, on two cores.
LONGEST_S = 90.0


def times_in_turns(models: list[str], shape: tuple[int, int, int], repeats: int) -> dict[str, list[float]]:
    """Return the seconds of every run, the models in turns."""
    from MRHarmonizationLib.inference.enhance import EnhanceRequest, enhance

    scan = simulated_scan(shape)
    found: dict[str, list[float]] = {model: [] for model in models}
    for _ in range(repeats):
        for model in models:
            start = time.perf_counter()
            enhance(scan, EnhanceRequest(model=model, device="cpu", backend="onnxruntime", measure=False))
            found[model].append(time.perf_counter() - start)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="cards that the store finds")
    parser.add_argument("--shape", default="x".join(map(str, SHAPE)), help="of the output, KxJxI voxels of 1 mm")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print the figures for programs")
    arguments = parser.parse_args()
    k, j, i = (int(part) for part in arguments.shape.split("x"))
    seconds = times_in_turns(arguments.models, (k, j, i), arguments.repeats)
    first = seconds[arguments.models[0]]
    rows = [
        {
            "model": model,
            "seconds": statistics.median(runs),
            "ratio": statistics.median(a / b for a, b in zip(runs, first, strict=True)),
            "peak_rss_gb": in_child("memory", model, (k, j, i))["peak_rss_gb"],
        }
        for model, runs in seconds.items()
    ]
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{arguments.shape} voxels; at most {LONGEST_S:.0f} s wanted")
    print(f"{'model':<24}{'s':>8}{'ratio':>8}{'GB':>8}")
    for row in rows:
        print(f"{row['model']:<24}{row['seconds']:>8.1f}{row['ratio']:>8.2f}{row['peak_rss_gb']:>8.2f}")


if __name__ == "__main__":
    main()
