"""Perceived quality of one image alone, from blocks of its slices.

BRISQUE and NIQE are left out on purpose: their scores depend on models fitted to photographs, and no maintained package
brings such a model without a download, a pickle file or a licence that forbids commercial use.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.metrics.base import Outcome, Spacing, metric

#: Constants of the PIQE paper: block and edge segment in pixels, thresholds of block and segment activity.
BLOCK, SEGMENT = 16, 6
ACTIVE_VARIANCE, DULL_DEVIATION = 0.1, 0.1
#: Gaussian window of the local mean: radius and standard deviation in pixels.
WINDOW_RADIUS, WINDOW_SIGMA = 3, 7 / 6
#: Grey levels that the data range is stretched to.
GREY_LEVELS = 255.0
#: Blocks count from this share of their pixels inside the mask.
INSIDE_SHARE = 0.5


@metric("piqe", "1", "lower", needs_reference=False, uses_data_range=True)
def piqe(image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing) -> Outcome:
    """Perception-based image quality evaluator, 0 (best) to 100: share of visibly distorted blocks in the slices.

    Each slice (i, j plane) inside the mask's bounding box is cut into blocks of 16 x 16 pixels; of the blocks with
    structure those that look blocky or noisy count, by their variance. Blocks at least half inside the mask are judged;
    slices are averaged by their number of such blocks. A slice without any structure scores 100. Made for photographs:
    on MR slices it ranks versions of one image, and smoothness alone can raise it.

    Source: Venkatanath et al., Natl. Conf. Commun. 2015, doi 10.1109/NCC.2015.7084843. One choice follows the authors'
    published code rather than the text: the surround of a block's two centre columns lacks columns 8 and 10. The grey
    scale is set by the data range instead of each slice's brightest pixel.
    """
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    rows, columns = np.nonzero(mask.any(axis=0))
    box = (slice(int(rows.min()), int(rows.max()) + 1), slice(int(columns.min()), int(columns.max()) + 1))
    slices = [(image[number][box] * (GREY_LEVELS / data_range), mask[number][box]) for number in planes]
    judged = [one for one in (judge_slice(*part, INSIDE_SHARE) for part in slices) if one.blocks]
    judged = judged or [judge_slice(*part, 0.0) for part in slices]
    blocks = np.array([one.blocks for one in judged], float)
    scores = np.array([one.score for one in judged])
    detail = {
        "slices": len(judged),
        "blocks": int(blocks.sum()),
        "active": sum(one.active for one in judged),
        "blocky": sum(one.blocky for one in judged),
        "noisy": sum(one.noisy for one in judged),
    }
    return float(np.average(scores, weights=blocks)), detail


@dataclass(frozen=True)
class JudgedSlice:
    """PIQE of one slice.

    Attributes
    ----------
    score : float
        0 to 100.
    blocks, active, blocky, noisy : int
        Blocks inside the mask; of these with structure; of these with dull edges; with noise.
    """

    score: float
    blocks: int
    active: int
    blocky: int
    noisy: int


def judge_slice(grey: np.ndarray, mask: np.ndarray, inside_share: float = INSIDE_SHARE) -> JudgedSlice:
    """Return PIQE of one slice; see :data:`piqe`.

    Parameters
    ----------
    grey : ndarray, shape (J, I)
        Grey levels, about 0 to 255.
    mask : bool ndarray, shape (J, I)
    inside_share : float
        Blocks with more than this share of their pixels inside the mask are judged, or with as much if above 0.

    Returns
    -------
    JudgedSlice
    """
    pads = [(0, -n % BLOCK) for n in grey.shape]
    levels = np.round(np.pad(grey, pads, mode="symmetric"))
    mean = _smooth(levels)
    deviation = np.sqrt(np.abs(_smooth(levels * levels) - mean * mean))
    shares = _blocks(np.pad(mask, pads, mode="symmetric").astype(np.float32)).mean(axis=(1, 2))
    blocks = _blocks((levels - mean) / (deviation + 1.0))[(shares > 0) & (shares >= inside_share)]
    variance = blocks.var(axis=(1, 2), ddof=1)
    active = variance > ACTIVE_VARIANCE
    blocks, variance = blocks[active], variance[active]
    blocky, noisy = _has_dull_edge(blocks), _is_noisy(blocks, variance)
    distortion = float(np.sum(blocky * (1.0 - variance) + noisy * variance))
    return JudgedSlice(
        score=100.0 * (distortion + 1.0) / (blocks.shape[0] + 1.0),
        blocks=int(active.size),
        active=int(blocks.shape[0]),
        blocky=int(np.count_nonzero(blocky)),
        noisy=int(np.count_nonzero(noisy)),
    )


def _smooth(array: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    for axis in (0, 1):
        array = ndimage.gaussian_filter1d(array, WINDOW_SIGMA, axis=axis, mode="nearest", radius=WINDOW_RADIUS)
    return array


def _blocks(array: np.ndarray) -> np.ndarray:
    """Return the blocks of a padded array, shape (n, 16, 16)."""
    rows, columns = (n // BLOCK for n in array.shape)
    return array.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2).reshape(-1, BLOCK, BLOCK)


def _has_dull_edge(blocks: np.ndarray) -> np.ndarray:
    """Tell for each block whether a segment of one of its four edges has hardly any structure (blockiness)."""
    edges = np.stack([blocks[:, 0], blocks[:, -1], blocks[:, :, 0], blocks[:, :, -1]], axis=1)
    segments = np.lib.stride_tricks.sliding_window_view(edges, SEGMENT, axis=2)
    return np.asarray((segments.std(axis=3, ddof=1) < DULL_DEVIATION).any(axis=(1, 2)))


def _is_noisy(blocks: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Tell for each block whether its centre differs from its surround no more than noise does."""
    centre = blocks[:, :, BLOCK // 2 - 1 : BLOCK // 2 + 1].std(axis=(1, 2), ddof=1)
    kept = [column for column in range(BLOCK) if column not in (BLOCK // 2 - 1, BLOCK // 2 + 1)]
    surround = blocks[:, :, kept].std(axis=(1, 2), ddof=1)
    ratio = np.divide(centre, surround, out=np.zeros_like(centre), where=surround > 0)
    deviation = np.sqrt(variance)
    return np.asarray(deviation > 2.0 * np.abs(deviation - ratio) / np.maximum(deviation, ratio))
