"""One subject of the degraders' protocol: the model and the simulator on the same planes, each measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.degradations.noise_blur import blur
from MRHarmonizationLib.degradations.receiver_noise import noisy_plane, sample_window
from MRHarmonizationLib.evaluation.degrader_measures import (
    low_pass_ssim,
    measured_effect,
    neighbour_correlations,
    plane_power,
)
from MRHarmonizationLib.evaluation.degrader_protocol import DegraderProtocol
from MRHarmonizationLib.evaluation.restore_cases import load_judged
from MRHarmonizationLib.evaluation.splits import role_of
from MRHarmonizationLib.inference.latent_degrader import (
    LatentDegrader,
    LatentDegradeRequest,
    degrader_card,
    magnitude_scale,
)
from MRHarmonizationLib.inference.latent_input import (
    NOISE,
    SCALES,
    Acquisition,
    blur_acquisition,
    noise_acquisition,
    plane_resolution,
    sample_acquisition,
    sample_gain,
    sample_point_spread,
)
from MRHarmonizationLib.metrics.base import default_data_range

#: Ways of degrading that are compared; the second is a second draw of the simulator: how alike two draws are.
MODEL, AGAIN, WHITE, UNDEGRADED = "model", "simulator again", "white noise", "undegraded"


@dataclass(frozen=True, eq=False)
class JudgedPlanes:
    """Normalised planes of an unseen subject.

    Attributes
    ----------
    planes : ndarray, shape (N, A, B), float32
    mask : bool ndarray, same shape
    """

    planes: np.ndarray
    mask: np.ndarray


def judged_planes(protocol: DegraderProtocol, number: int, data: Path) -> JudgedPlanes:
    """Return the planes in the middle of a subject's block."""
    judged = load_judged(protocol.subjects[number], protocol, data)
    array = judged.truth.array
    planes = magnitude_scale(array, 99.5).normalise(array)
    start = max((planes.shape[0] - protocol.planes) // 2, 0)
    chosen = slice(start, start + protocol.planes)
    return JudgedPlanes(planes[chosen], judged.mask[chosen])


def subject_task(protocol: DegraderProtocol, data: str, number: int, kind: str) -> dict[str, Any]:
    """Judge one degrader on one subject.

    Parameters
    ----------
    protocol : DegraderProtocol
    data : str
    number : int
        Of the subject.
    kind : {'noise', 'blur'}

    Returns
    -------
    dict
        ``ladder``: one row per level with the measured effect, and their rank correlation; ``spectra``: one entry per
        acquisition with the powers and correlations of every way of degrading; ``anatomy``: one row per acquisition.
    """
    subject = protocol.subjects[number]
    judged = judged_planes(protocol, number, Path(data))
    common: dict[str, Any] = {"subject": subject.name, "role": role_of(subject.path), "kind": kind}
    ladder, rank = _ladder(protocol, judged, kind, protocol.derived_seed(f"{subject.name}-ladder"))
    spectra, anatomy = [], []
    for draw in range(protocol.acquisitions):
        level = protocol.levels[draw % len(protocol.levels)]
        entry, row = _acquisition(protocol, judged, kind, level, protocol.derived_seed(f"{subject.name}-{draw}"))
        spectra.append({**common, "draw": draw, "level": level, **entry})
        anatomy.append({**common, "draw": draw, "level": level, **row})
    return {**common, "rank": rank, "ladder": [common | row for row in ladder], "spectra": spectra, "anatomy": anatomy}


def _degraded(
    protocol: DegraderProtocol, judged: JudgedPlanes, kind: str, level: float, seed: int, acquisition: Acquisition
) -> np.ndarray:
    """Return the model's planes, not negative."""
    request = LatentDegradeRequest(kind, level, seed, protocol.steps, model=protocol.models[kind])
    degrader = LatentDegrader(degrader_card(request), request)
    total = len(judged.planes)
    found = degrader.degrade(judged.planes, list(range(total)), total, acquisition, Progress())
    return np.asarray(np.maximum(found, 0.0))


def _ladder(
    protocol: DegraderProtocol, judged: JudgedPlanes, kind: str, seed: int
) -> tuple[list[dict[str, float]], float]:
    """Return the measured effect at every level of one seed, and its rank correlation with the level."""
    acquisition = sample_acquisition(np.random.default_rng(seed), kind)
    span = default_data_range(judged.planes, judged.mask)
    rows = []
    for level in protocol.ladder:
        planes = _degraded(protocol, judged, kind, level, seed, acquisition) if level else judged.planes
        rows.append({"level": level, "measured": round(measured_effect(planes, kind, judged.mask, span), 5)})
    rank = spearmanr([row["level"] for row in rows], [row["measured"] for row in rows])[0]
    return rows, round(float(rank), 4)


def _acquisition(
    protocol: DegraderProtocol, judged: JudgedPlanes, kind: str, level: float, seed: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return spectra and correlations of one simulated acquisition and of those that should be like it; and anatomy."""
    rng = np.random.default_rng(seed)
    planes, mask = judged.planes, judged.mask
    simulated, again, acquisition = _simulated(rng, planes, kind, level)
    model = _degraded(protocol, judged, kind, level, seed, acquisition)
    ways = {"simulator": simulated, MODEL: model}
    if kind == NOISE:
        deviation = float(np.std((simulated - planes)[mask]))
        white = planes + deviation * rng.standard_normal(planes.shape, np.float32)
        ways = {name: way - planes for name, way in (ways | {AGAIN: again, WHITE: white}).items()}
    else:
        ways[UNDEGRADED] = planes
    entry = {
        "power": {name: plane_power(way, mask).tolist() for name, way in ways.items()},
        "correlation": {name: neighbour_correlations(way, mask, protocol.lags).tolist() for name, way in ways.items()},
    }
    row = {
        f"low_pass_ssim_{name}": round(low_pass_ssim(way, planes, mask, protocol.low_pass_mm), 5)
        for name, way in (("model", model), ("simulator", simulated))
    }
    return entry, row


def _simulated(
    rng: np.random.Generator, planes: np.ndarray, kind: str, level: float
) -> tuple[np.ndarray, np.ndarray, Acquisition]:
    """Return planes degraded by the simulator, the same with other noise, and what the model is told of it."""
    if kind == NOISE:
        window, gain = sample_window(rng), sample_gain(rng)
        acquisition = noise_acquisition(window, gain)
        deviation = np.float32(SCALES[NOISE] * level)
        size = (planes.shape[1], planes.shape[2])
        gains = [acquisition.gain_at((n + 0.5) / len(planes), size) for n in range(len(planes))]

        def noisy() -> np.ndarray:
            done = [noisy_plane(rng, p, deviation * g, window) for p, g in zip(planes, gains, strict=True)]
            return np.stack(done)

        return noisy(), noisy(), acquisition
    profile, taper, unevenness = sample_point_spread(rng)
    rows, columns = plane_resolution(level, unevenness)
    blurred = np.abs(blur(planes, (1.0, rows, columns), profile, taper))
    return blurred, blurred, blur_acquisition(profile, taper, unevenness)
