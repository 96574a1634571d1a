"""Validation of the adjustable restorer during training: fixed degradations of anatomy that is not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from MRHarmonizationLib.degradations.label_images import BRAIN_LABELS, render_label_image, sample_label_image
from MRHarmonizationLib.degradations.noise_blur import NoiseBlurParameters
from MRHarmonizationLib.inference.preparation import plane_stacks
from MRHarmonizationLib.inference.restore_input import restore_channels
from MRHarmonizationLib.training.recipe import Recipe
from MRHarmonizationLib.training.restore_samples import TEXTURE, RestoreSample, degraded_sample
from MRHarmonizationLib.training.samples import Anatomy, load_sources
from MRHarmonizationLib.training.specialist_validation import specialist_cases

#: Fixed degradations.
DEGRADED = {
    "noise_3": NoiseBlurParameters(noise_percent=3.0, seed=1),
    "noise_8": NoiseBlurParameters(noise_percent=8.0, seed=2),
    "blur_2": NoiseBlurParameters((2.0, 2.0, 2.0), noise_percent=1.0, seed=3),
    "both": NoiseBlurParameters((1.6, 1.6, 1.6), noise_percent=4.0, seed=4),
}
#: Edge of the validated block in voxels, and how far it lies above the centre of a scan's head.
BLOCK, RAISE_MM = 96, 16.0
#: Planes of each case that are scored, and the voxels at the block's ends that are not.
SCORED_PLANES, MARGIN = 12, 8


@dataclass(frozen=True)
class RestoreValidationSet:
    """Fixed scans with their truth.

    Attributes
    ----------
    cases : dict of str to (RestoreSample, mask)
        Mask (S, A, B) of the head.
    planes : int
        Planes of a stack.
    """

    cases: dict[str, tuple[RestoreSample, np.ndarray]]
    planes: int

    @classmethod
    def build(cls, recipe: Recipe, data: Path) -> RestoreValidationSet:
        """Simulate the validation scans of a recipe; those of a specialist show what it restores."""
        if recipe.specialist is not None:
            return cls(specialist_cases(recipe, data), recipe.planes)
        cases = {}
        names = [Path(f).name.split(".")[0] for s in recipe.validation for f in s.files]
        for name, anatomy in zip(names, load_sources(recipe.validation, data), strict=True):
            truth, mask = middle_block(anatomy)
            nothing = np.zeros(truth.shape, bool)
            for key, parameters in DEGRADED.items():
                cases[f"{name}/{key}"] = (degraded_sample(None, truth, nothing, parameters, (0,)), mask)
        return cls(cases, recipe.planes)

    def score(self, network: nn.Module) -> dict[str, dict[str, float]]:
        """Return, per case, the PSNR of the scan and the gain of the restored one over it in dB, in the mask.

        Where no detail is missing noise is taken away and nothing added: nobody sharpens a sharp scan.
        """
        network.eval()
        device = next(network.parameters()).device
        scores = {}
        for name, (sample, mask) in self.cases.items():
            chosen = np.linspace(MARGIN, len(mask) - 1 - MARGIN, SCORED_PLANES).astype(int)
            stacks = plane_stacks(np.moveaxis(sample.image, 0, 2), 2, chosen, self.planes)
            told = np.moveaxis(restore_channels(sample.noise[chosen].astype(np.float32), sample.resolution), 0, 1)
            inputs = torch.from_numpy(np.concatenate([stacks, told], axis=1)).to(device)
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
                parts = network(inputs).float().cpu().numpy()
            truth, inside = sample.sharp[chosen].astype(np.float32), mask[chosen]
            image = stacks[:, self.planes // 2]
            before = float(np.mean((image - truth)[inside] ** 2))
            lacks_detail = not np.array_equal(sample.blurred, sample.sharp)
            detail = parts[:, 1] if lacks_detail else 0.0
            after = float(np.mean((image - parts[:, 0] + detail - truth)[inside] ** 2))
            span = float(np.ptp(np.percentile(truth[inside], (0.5, 99.5))))
            scores[name] = {
                "input_db": round(10 * np.log10(span**2 / before), 3),
                "gain_db": round(10 * np.log10(before / after), 3),
            }
        network.train()
        return scores


def middle_block(anatomy: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """Return an image block about the centre of a head, and where it is scored."""
    from scipy.ndimage import map_coordinates

    centre = np.median(anatomy.centres, axis=0)
    if anatomy.source.kind == "image":
        centre[0] += RAISE_MM / anatomy.spacing_kji_mm[0]
    lines = [
        int(np.clip(c - BLOCK // 2, 0, max(n - BLOCK, 0))) + np.arange(min(BLOCK, n))
        for c, n in zip(centre, anatomy.array.shape, strict=True)
    ]
    if anatomy.source.kind == "labels":
        labels = anatomy.array[np.ix_(*lines)]
        rng = np.random.default_rng(16)
        truth = render_label_image(labels, sample_label_image(rng, labels, "t1", TEXTURE))
        mask = np.isin(labels, BRAIN_LABELS)
    else:
        places = np.stack(np.meshgrid(*lines, indexing="ij")).astype(np.float32)
        truth = map_coordinates(anatomy.array, places, order=3, prefilter=False, mode="mirror")
        mask = (truth > 0.25) & (truth < 1.0)
    inner = np.zeros(mask.shape, bool)
    inner[(slice(MARGIN, -MARGIN),) * 3] = True
    return np.maximum(truth, 0.0).astype(np.float32), mask & inner
