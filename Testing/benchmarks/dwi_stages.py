"""Does evening out the contrast first shorten the training of the sharpening stage?

Two ways to the canonical scan are trained from the same samples with the same seeds and steps: the sharpening network
alone on scans whose contrast was made canonical before (two stages), and one network of the same kind that has to
change the contrast too, by a log gain in one more channel (one stage). For every seed: the steps until the PSNR of
held-out scans first reaches a fixed value, that of the two stages after a third of the steps.

    mrharmonize train dwi-canonical --data ../shared/data --out RUN --steps 1     # simulates the samples
    python Testing/benchmarks/dwi_stages.py --run RUN --seeds 5 --steps 300
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from MRHarmonizationLib.core.guided_filters import PER_PASS
from MRHarmonizationLib.inference.dwi_network import CHANNELS
from MRHarmonizationLib.models.dwi_filters import DwiFilters, filter_passes
from MRHarmonizationLib.training import dwi_loop
from MRHarmonizationLib.training.dwi_recipe import load_dwi_recipe
from MRHarmonizationLib.training.dwi_samples import DwiSample
from MRHarmonizationLib.training.dwi_tone import known_gain
from MRHarmonizationLib.training.optimiser import cosine_rate

CROP, PASSES = (24, 32, 32), 3


def scans(folder: Path, count: int, evened: bool) -> list[Any]:
    """Return the first samples of a folder, with or without their contrast made canonical."""
    found = []
    for path in sorted(folder.glob("*.npz"))[:count]:
        sample = DwiSample.load(path)
        scan = dwi_loop._Evened.of(sample)
        if not evened:
            gain = known_gain(sample)
            scan.guide, scan.volumes = ((image / gain).astype(np.float16) for image in (scan.guide, scan.volumes))
        found.append(scan)
    return found


def harmonised(network: nn.Module, volumes: torch.Tensor, inputs: torch.Tensor, gains: bool) -> torch.Tensor:
    """Apply what a network says."""
    said = network(inputs).float()
    if gains:
        volumes = volumes * torch.exp(said[:, :1].clamp(-1.5, 1.5))
        said = said[:, 1:]
    return filter_passes(volumes, said)


def decibel(network: nn.Module, held: list[Any], gains: bool) -> float:
    """Return the mean PSNR of the weighted volumes of held-out scans; white matter at b = 0 is 1."""
    values = []
    with torch.no_grad():
        for scan in held:
            box = tuple(slice(0, n // 4 * 4) for n in scan.weight.shape)
            guide, volumes, truth, weight = (
                torch.from_numpy(image[(..., *box)].astype(np.float32))[None]
                for image in (scan.guide, scan.volumes, scan.truth, scan.weight)
            )
            with torch.autocast("cpu", torch.bfloat16):
                inputs = dwi_loop._inputs(guide, torch.tensor([scan.numbers]))
                done = harmonised(network, volumes, inputs, gains)
            square = ((done - truth) ** 2)[:, 1:].mean(dim=1)
            values.append(float(-10 * torch.log10(square[weight > 0.5].mean())))
    return float(np.mean(values))


def curve(seed: int, steps: int, every: int, training: list[Any], held: list[Any], gains: bool) -> list[float]:
    """Train one network and return its PSNR every so many steps, the untrained first."""
    recipe = load_dwi_recipe("dwi-canonical")
    o = recipe.optimisation
    torch.manual_seed(seed)
    network = DwiFilters(len(CHANNELS), PASSES * PER_PASS + gains, (8, 16, 32), 1.5 if gains else 0.3)
    optimiser = torch.optim.AdamW(network.parameters(), lr=o.learning_rate, weight_decay=o.weight_decay)
    inside = [np.argwhere(scan.weight[::4, ::4, ::4] > 0.5) * 4 for scan in training]
    found = [decibel(network, held, gains)]
    for step in range(steps):
        rng = np.random.default_rng((seed, step))
        chosen = [int(rng.integers(len(training))) for _ in range(o.batch)]
        crops = [dwi_loop._crop(rng, training[n], inside[n], CROP) for n in chosen]
        guide, volumes, truth, weight = (torch.from_numpy(np.stack([p[k] for p, _ in crops])) for k in range(4))
        for group in optimiser.param_groups:
            group["lr"] = cosine_rate(step, steps, 30, o.learning_rate)
        with torch.autocast("cpu", torch.bfloat16):
            inputs = dwi_loop._inputs(guide, torch.tensor([numbers for _, numbers in crops]))
            done = harmonised(network, volumes, inputs, gains)
        loss = dwi_loop._error(done, truth, weight, recipe)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(network.parameters(), o.gradient_clip)
        if torch.isfinite(norm):
            optimiser.step()
        if (step + 1) % every == 0:
            found.append(decibel(network, held, gains))
    return found


def main() -> None:
    """Run the comparison and print one JSON line per seed and the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="folder of a run of `train dwi-canonical`")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--scans", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)
    every = max(options.steps // 12, 1)
    sets = {}
    for evened in (True, False):
        training = scans(options.run / "samples", options.scans, evened)
        sets[evened] = training, scans(options.run / "validation", 3, evened)
    reached: dict[str, list[float]] = {"two stages": [], "one stage": []}
    for seed in range(options.seeds):
        two = curve(seed, options.steps, every, *sets[True], gains=False)
        one = curve(seed, options.steps, every, *sets[False], gains=True)
        wanted = two[4]  # after a third of the steps
        line: dict[str, Any] = {"seed": seed, "psnr_db": round(wanted, 2), "two": two, "one": one}
        for name, values in (("two stages", two), ("one stage", one)):
            steps = next((n * every for n, value in enumerate(values) if value >= wanted), None)
            line[name] = steps
            reached[name].append(float("inf") if steps is None else steps)
        print(json.dumps(line), flush=True)
    print({name: (float(np.median(steps)), steps) for name, steps in reached.items()})


if __name__ == "__main__":
    main()
