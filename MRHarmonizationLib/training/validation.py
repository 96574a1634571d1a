"""Validation during training: fixed simulated scans of anatomy that is not trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from MRHarmonizationLib.core.intensity import fit_intensity_scale
from MRHarmonizationLib.degradations.label_images import BRAIN_LABELS, render_label_image, sample_label_image
from MRHarmonizationLib.degradations.lowfield import AcquisitionParameters, acquire
from MRHarmonizationLib.inference.preparation import conditioning, conditioning_channels, plane_stacks, thick_axis_order
from MRHarmonizationLib.training.paired_samples import validation_cases
from MRHarmonizationLib.training.recipe import Recipe
from MRHarmonizationLib.training.samples import Sample, load_sources
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

#: Fixed acquisitions, as portable and clinical scanners make them; slices across array axis 0 (superior) or 2 (right).
ACQUISITIONS = {
    "t1_like": AcquisitionParameters(0, 5.0, 5.0, in_plane_spacing_mm=(1.6, 1.6), taper=1.0, snr=20.0, noise_seed=1),
    "t2_like": AcquisitionParameters(0, 5.0, 5.0, in_plane_spacing_mm=(1.5, 1.5), taper=0.5, snr=15.0, noise_seed=2),
    "sagittal": AcquisitionParameters(2, 5.0, 5.0, in_plane_spacing_mm=(1.0, 1.0), taper=0.5, snr=20.0, noise_seed=3),
}
#: Edge of the validated block in mm, about the centre of the head.
BLOCK = 96
#: Voxels left out at the block's ends, where no method has both sides of the anatomy.
MARGIN = 8
#: How far the block lies above the centre of a scan's head, so that it holds brain rather than neck.
RAISE_MM = 16.0
#: Planes of each stack direction that are scored.
SCORED_PLANES = 16


@dataclass(frozen=True)
class ValidationSet:
    """Fixed scans with their truth.

    Attributes
    ----------
    cases : dict of str to (Sample, mask)
        Mask (T, A, B) of the head.
    recipe : Recipe
    """

    cases: dict[str, tuple[Sample, np.ndarray]]
    recipe: Recipe

    @classmethod
    def build(cls, recipe: Recipe, data: Path) -> ValidationSet:
        """Simulate the validation scans of a recipe, or read its validation pairs."""
        if recipe.is_prepared:
            return cls(validation_cases(recipe.validation, data), replace(recipe))
        cases = {}
        names = [Path(f).name.split(".")[0] for s in recipe.validation for f in s.files]
        for name, anatomy in zip(names, load_sources(recipe.validation, data), strict=True):
            centre = np.median(anatomy.centres, axis=0)
            if anatomy.source.kind == "image":
                centre[0] += RAISE_MM / anatomy.spacing_kji_mm[0]
            start = [
                int(np.clip(c - BLOCK // 2, 0, max(n - BLOCK, 0)))
                for c, n in zip(centre, anatomy.array.shape, strict=True)
            ]
            block = anatomy.array[tuple(slice(s, s + BLOCK) for s in start)]
            if anatomy.source.kind == "labels":
                rng = np.random.default_rng(16)
                contrast = anatomy.source.contrast or "t1"
                truth = render_label_image(block, sample_label_image(rng, block, contrast))
                mask = np.isin(block, BRAIN_LABELS)
            else:
                from scipy.ndimage import map_coordinates

                lines = np.meshgrid(
                    *[s + np.arange(n, dtype=np.float32) for s, n in zip(start, block.shape, strict=True)],
                    indexing="ij",
                )
                truth = map_coordinates(anatomy.array, np.stack(lines), order=3, prefilter=False, mode="mirror")
                mask = (truth > 0.25) & (truth < 1.0)
            inner = np.zeros_like(mask)
            inner[(slice(MARGIN, -MARGIN),) * 3] = True
            mask &= inner
            for key, acquisition in ACQUISITIONS.items():
                cases[f"{name}/{key}"] = _simulate(np.maximum(truth, 0), mask, acquisition)
        return cls(cases, replace(recipe))

    def score(self, network: nn.Module) -> dict[str, dict[str, float]]:
        """Return, per case, the PSNR of interpolation and the gain of the network over it in dB, inside the mask."""
        network.eval()
        scores = {}
        for name, (sample, mask) in self.cases.items():
            before, after = (
                self._errors(network, sample, mask)
                if self.recipe.layout == "planes-2.5d"
                else self._block_errors(network, sample, mask)
            )
            span = float(np.ptp(np.percentile(sample.target[mask].astype(np.float32), (0.5, 99.5))))
            scores[name] = {
                "cubic_db": round(10 * np.log10(span**2 / before), 3),
                "gain_db": round(10 * np.log10(before / after), 3),
            }
        network.train()
        return scores

    def _errors(self, network: nn.Module, sample: Sample, mask: np.ndarray) -> tuple[float, float]:
        device = next(network.parameters()).device
        before, after, count = 0.0, 0.0, 0
        for axis in (1, 2):
            n = sample.image.shape[axis]
            indices = np.linspace(n * 0.1, n * 0.9, SCORED_PLANES).astype(int)
            stacks = plane_stacks(sample.image, axis, indices, self.recipe.planes)
            channels = conditioning_channels(sample.condition, stacks.shape[3:])
            inputs = np.concatenate([stacks, np.broadcast_to(channels, (len(indices), *channels.shape))], axis=1)
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
                correction = network(torch.from_numpy(inputs.astype(np.float32)).to(device)).float().cpu().numpy()[:, 0]
            truth = np.moveaxis(np.take(sample.target, indices, axis), axis, 0).astype(np.float32)
            inside = np.moveaxis(np.take(mask, indices, axis), axis, 0)
            image = stacks[:, self.recipe.planes // 2]
            before += float((((image - truth) ** 2) * inside).sum())
            after += float((((image + correction - truth) ** 2) * inside).sum())
            count += int(inside.sum())
        return before / count, after / count

    def _block_errors(self, network: nn.Module, sample: Sample, mask: np.ndarray) -> tuple[float, float]:
        device = next(network.parameters()).device
        channels = conditioning_channels(sample.condition, sample.image.shape[1:])
        inputs = np.concatenate([sample.image[None].astype(np.float32), channels])[None]
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            correction = network(torch.from_numpy(inputs).to(device)).float().cpu().numpy()[0, 0]
        truth, image = sample.target.astype(np.float32), sample.image.astype(np.float32)
        inside = mask
        return (
            float((((image - truth) ** 2) * inside).sum() / inside.sum()),
            float((((image + correction - truth) ** 2) * inside).sum() / inside.sum()),
        )


def _simulate(truth: np.ndarray, mask: np.ndarray, acquisition: AcquisitionParameters) -> tuple[Sample, np.ndarray]:
    volume = Volume(np.asarray(truth, np.float32), Grid.from_parts(truth.shape))
    scan = acquire(volume, acquisition)
    image = resample(scan, volume.grid)
    order = thick_axis_order(scan.grid)
    scale = fit_intensity_scale(image.array)
    sample = Sample(
        scale.normalise(order.apply(image.array)).astype(np.float16),
        scale.normalise(order.apply(volume.array)).astype(np.float16),
        conditioning(scan.grid, volume.grid),
        (1, 2),
        np.zeros(mask.shape, bool),
    )
    return sample, np.ascontiguousarray(order.apply(mask))
