"""Measure co-occurrence matrices, features and feature maps against pyradiomics and mahotas on the same input.

    python Testing/benchmarks/texture.py --out texture.json

First the results are compared, then the times: in one process, in turns, so that the ratios hold on a busy machine too.
The input is a head of 181 × 217 × 181 voxels with its foreground mask (``--image``, or a simulated one), 13 directions,
32 levels; the maps are those of a cube inside it, window 5³. Nothing here uses more than one thread. A package that is
not installed is left out, and said so. To install both::

    pip install mahotas numpy && pip install --no-build-isolation pyradiomics==3.0.1
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "Testing")]

HEAD_SHAPE = (181, 217, 181)
"""Of the simulated input, voxels (K, J, I)."""
LEVELS, WINDOW = 32, 5
LEAST_RATIO, LEAST_MAP_RATIO = 3.0, 20.0
"""Targets: the faster of the peers over ours; pyradiomics' voxel-based mode over ours."""
SOME_FEATURES = ("contrast", "correlation", "inverse_difference_moment", "joint_entropy")
TOLERANCE = 1e-6


def head(path: Path | None) -> tuple[np.ndarray, np.ndarray, str]:
    """Return image, mask and a name: of a file, or of a simulated head."""
    from MRHarmonizationLib.core.masks import foreground_mask

    if path is not None:
        from MRHarmonizationLib.volumes.files import read_volume

        image = read_volume(path).array
        return image, foreground_mask(image), path.name
    from scipy.ndimage import gaussian_filter

    grid = np.meshgrid(*(np.linspace(-1.15, 1.15, n, dtype=np.float32) for n in HEAD_SHAPE), indexing="ij")
    inside = sum(axis**2 for axis in grid) < 1
    texture = gaussian_filter(np.random.default_rng(0).normal(size=HEAD_SHAPE).astype(np.float32), 1.5)
    return np.where(inside, 500 + 2000 * texture, 0), inside, "simulated head"


def in_turns(runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, float]]:
    """Return the median and least wall and processor time of each run, all of them run in turns."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            spent[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: {
            "wall_s": statistics.median(wall for wall, _ in times),
            "cpu_s": statistics.median(cpu for _, cpu in times),
            "least_cpu_s": min(cpu for _, cpu in times),
        }
        for name, times in spent.items()
    }


def ratios(times: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return how many times longer the peers take, by processor time."""
    ours = times["ours"]["cpu_s"]
    return {name: entry["cpu_s"] / ours for name, entry in times.items() if name != "ours"}


def measure_matrices(levels: np.ndarray, mask: np.ndarray, peers: set[str], repeats: int) -> dict[str, Any]:
    """Compare and time the bare matrices of all 13 directions."""
    from MRHarmonizationLib.core.texture import DIRECTIONS_13, cooccurrence_matrices

    runs: dict[str, Callable[[], Any]] = {
        "ours": lambda: cooccurrence_matrices(levels, mask, LEVELS, DIRECTIONS_13, normalised=False)
    }
    ours = runs["ours"]()
    equal = {}
    if "pyradiomics" in peers:
        from radiomics import cMatrices

        whole, distance = levels.astype(np.int32), np.array([1])
        runs["pyradiomics"] = lambda: cMatrices.calculate_glcm(whole, mask, distance, LEVELS, False, 0)
        counts, angles = runs["pyradiomics"]()
        offsets = [tuple(int(step) for step in angle) for angle in angles]
        theirs = {offset: counts[0, :, :, n] + counts[0, :, :, n].T for n, offset in enumerate(offsets)}
        equal["pyradiomics"] = all(
            np.array_equal(matrix, theirs.get((k, j, i), theirs.get((-k, -j, -i))))
            for matrix, (k, j, i) in zip(ours, DIRECTIONS_13, strict=True)
        )
    if "mahotas" in peers:
        from mahotas.features.texture import cooccurence

        small, output = levels.astype(np.uint8), np.zeros((LEVELS + 1, LEVELS + 1), np.int32)

        def mahotas() -> np.ndarray:
            return np.stack([cooccurence(small, n, output=output, symmetric=True)[1:, 1:].copy() for n in range(13)])

        runs["mahotas"] = mahotas
        theirs_in_order, ours_in_order = (sorted(stack.astype(int).tolist()) for stack in (mahotas(), ours))
        equal["mahotas"] = theirs_in_order == ours_in_order  # its directions come in an order of their own
    times = in_turns(runs, repeats)
    return {"times": times, "ratios": ratios(times), "equal": equal}


def measure_features(levels: np.ndarray, mask: np.ndarray, peers: set[str], repeats: int) -> dict[str, Any]:
    """Compare and time everything from grey image and mask to averaged features."""
    from support.pyradiomics_names import OF_PYRADIOMICS

    from MRHarmonizationLib.core.texture import TextureSettings, glcm_texture

    settings = TextureSettings(bin_width=1.0, intensity_range=(0.5, LEVELS + 0.5), normalisation="none")
    runs: dict[str, Callable[[], Any]] = {"ours": lambda: glcm_texture(levels, mask, settings)}
    differences = {}
    if "pyradiomics" in peers:
        import SimpleITK as sitk
        from radiomics.glcm import RadiomicsGLCM

        whole, region = sitk.GetImageFromArray(levels.astype(np.int16)), sitk.GetImageFromArray(mask.astype(np.uint8))

        def pyradiomics() -> dict[str, Any]:
            extractor = RadiomicsGLCM(whole, region, binWidth=1)
            extractor.enableAllFeatures()
            return dict(extractor.execute())

        runs["pyradiomics"] = pyradiomics
        theirs, ours = pyradiomics(), runs["ours"]().features
        differences["pyradiomics"] = max(
            abs(float(theirs[a]) - ours[b]) / max(1, abs(ours[b])) for a, b in OF_PYRADIOMICS.items()
        )
    if "mahotas" in peers:
        from mahotas.features import haralick

        small = levels.astype(np.uint8)
        runs["mahotas"] = lambda: haralick(small, ignore_zeros=True)
        # Columns 0, 1 and 8 are angular second moment, contrast and entropy.
        asm, contrast, entropy = runs["mahotas"]().mean(axis=0)[[0, 1, 8]]
        ours = runs["ours"]().features
        pairs = ((asm, ours["asm"]), (contrast, ours["contrast"]), (entropy, ours["joint_entropy"]))
        differences["mahotas"] = max(float(abs(a - b)) / max(1, abs(b)) for a, b in pairs)
    times = in_turns(runs, repeats)
    return {"times": times, "ratios": ratios(times), "largest_relative_difference": differences}


def measure_maps(image: np.ndarray, peers: set[str], edge: int, names: tuple[str, ...]) -> dict[str, Any]:
    """Compare and time maps of a cube in the middle of the image."""
    from support.pyradiomics_names import OF_PYRADIOMICS

    from MRHarmonizationLib.core.texture import TextureSettings, discretise, texture_maps

    margin = edge // 2 + WINDOW
    cube = image[tuple(slice(n // 2 - margin, n // 2 + margin) for n in image.shape)]
    block = discretise(cube, None, TextureSettings()).levels
    mask = np.zeros(block.shape, bool)
    mask[(slice(WINDOW, WINDOW + edge),) * 3] = True
    block[WINDOW, WINDOW, WINDOW : WINDOW + 2] = 1, LEVELS  # both packages then count the same number of levels
    settings = TextureSettings(bin_width=1.0, intensity_range=(0.5, LEVELS + 0.5), normalisation="none")
    runs: dict[str, Callable[[], Any]] = {"ours": lambda: texture_maps(block, mask, names, WINDOW, settings)}
    result: dict[str, Any] = {"features": len(names), "voxels": int(mask.sum())}
    if "pyradiomics" in peers:
        import SimpleITK as sitk
        from radiomics.glcm import RadiomicsGLCM

        whole, region = sitk.GetImageFromArray(block.astype(np.int16)), sitk.GetImageFromArray(mask.astype(np.uint8))
        of_ours = {ours: theirs for theirs, ours in OF_PYRADIOMICS.items()}
        found: dict[str, Any] = {}

        def pyradiomics() -> None:
            extractor = RadiomicsGLCM(
                whole, region, voxelBased=True, kernelRadius=WINDOW // 2, binWidth=1, voxelBatch=1000, initValue=0
            )
            for name in names:
                extractor.enableFeatureByName(of_ours[name])
            found.update(extractor.execute())

        runs["pyradiomics"] = pyradiomics
    result["times"] = in_turns(runs, 1)
    result["ratios"] = ratios(result["times"])
    if "pyradiomics" in peers:
        ours = runs["ours"]()
        result["largest_relative_difference"] = max(
            float(np.max(np.abs(a - ours[name]) / np.maximum(1, np.abs(a))))
            for name in names
            for a in [sitk.GetArrayFromImage(found[of_ours[name]])]
        )
    result["ours_voxels_per_s"] = result["voxels"] / result["times"]["ours"]["cpu_s"]
    return result


def installed_peers() -> set[str]:
    """Return which packages can be compared with, and say which cannot."""
    found = set()
    for name, module in (("pyradiomics", "radiomics"), ("mahotas", "mahotas")):
        try:
            __import__(module)
            found.add(name)
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    logging.getLogger("radiomics").setLevel(logging.ERROR)
    return found


def table(results: dict[str, Any]) -> str:
    """Return the figures as a table for people."""
    lines = [
        f"{results['image']}, {results['shape']}, {results['voxels'] / 1e6:.2f} M voxels in the mask; "
        f"{results['machine']}",
        f"{'':<34}{'ours, s':>10}{'pyradiomics':>14}{'mahotas':>10}{'ratios':>18}{'target':>9}  same numbers",
    ]
    for key, title, target in (
        ("matrices", "13 matrices, 32 levels", LEAST_RATIO),
        ("features", "all features from image and mask", None),
        ("some_maps", f"maps of {len(SOME_FEATURES)} features, window 5³", LEAST_MAP_RATIO),
        ("all_maps", "maps of 23 features, window 5³", LEAST_MAP_RATIO),
    ):
        entry = results[key]
        cpu = {name: f"{times['cpu_s']:.3f}" for name, times in entry["times"].items()}
        ratio = " / ".join(
            f"{entry['ratios'][name]:.1f}" for name in ("pyradiomics", "mahotas") if name in entry["ratios"]
        )
        same = entry.get("equal", entry.get("largest_relative_difference"))
        lines.append(
            f"{title:<34}{cpu['ours']:>10}{cpu.get('pyradiomics', '-'):>14}{cpu.get('mahotas', '-'):>10}{ratio:>18}"
            f"{target or '':>9}  {same}"
        )
    speed = results["some_maps"]["ours_voxels_per_s"]
    lines.append(f"processor seconds; our maps of {len(SOME_FEATURES)} features: {speed:.0f} voxels a second")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument("--image", type=Path, help="head to measure on; simulated if omitted")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--edge", type=int, default=24, help="edge of the mapped cube, voxels")
    arguments = parser.parse_args()

    from support.pyradiomics_names import OF_PYRADIOMICS

    from MRHarmonizationLib.core.texture import MAP_FEATURES, TextureSettings, discretise

    peers = installed_peers()
    image, mask, name = head(arguments.image)
    levels = discretise(image, mask, TextureSettings()).levels
    shared = tuple(feature for feature in MAP_FEATURES if feature in OF_PYRADIOMICS.values())
    results = {
        "image": name,
        "shape": " x ".join(map(str, image.shape)),
        "voxels": int(mask.sum()),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
        "matrices": measure_matrices(levels, mask, peers, arguments.repeats),
        "features": measure_features(levels, mask, peers, max(1, arguments.repeats // 2)),
        "some_maps": measure_maps(image, peers, arguments.edge, SOME_FEATURES),
        "all_maps": measure_maps(image, peers, arguments.edge, shared),
    }
    print(table(results))
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
