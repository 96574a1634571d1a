"""One degraded scan and one method of the specialists' protocol: restored, and measured slice by slice."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ModelNotFoundError
from MRHarmonizationLib.degradations.coarse_matrix import CoarseMatrix
from MRHarmonizationLib.degradations.noise_blur import NoiseBlur
from MRHarmonizationLib.evaluation.maniqa import load_maniqa
from MRHarmonizationLib.evaluation.restore_cases import Judged, classical_denoisers, load_judged
from MRHarmonizationLib.evaluation.restore_protocol import UnseenSubject
from MRHarmonizationLib.evaluation.splits import role_of
from MRHarmonizationLib.evaluation.subtle_protocol import COARSE, Entrant, SubtleProtocol, person_of
from MRHarmonizationLib.inference.backends import choose_backend
from MRHarmonizationLib.inference.restore import blend, expert_for, restorer
from MRHarmonizationLib.inference.restore_parts import assess, slice_axis, split
from MRHarmonizationLib.metrics.base import METRICS, default_data_range
from MRHarmonizationLib.volumes.files import digest_file
from MRHarmonizationLib.volumes.orientation import AxisOrder
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

#: Least share of a slice's pixels that lie in the mask for it to be judged.
LEAST_SHARE = 0.1
#: Scores of a slice.
SCORES = ("psnr", "ssim", "piqe", "maniqa")


class ProtocolKey:
    """A protocol as the key of a cache: two are the same if their settings are."""

    def __init__(self, protocol: SubtleProtocol) -> None:
        self.protocol = protocol
        self._text = json.dumps(asdict(protocol), sort_keys=True)

    def __hash__(self) -> int:
        return hash(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProtocolKey) and other._text == self._text


def case_name(subject: UnseenSubject, scan: str) -> str:
    """Return what a degraded scan of a subject is called."""
    return f"{subject.name}/{scan}"


def fingerprint(protocol: SubtleProtocol, subject: UnseenSubject, scan: str, entrant: Entrant) -> str:
    """Return a short digest of what decides the rows of a case and a method: settings and weights."""
    strengths = (protocol.nlm_h_factors, protocol.tv_weight_factors) if not entrant.model else ()
    state = [
        *(protocol.version, protocol.seed, protocol.block_mm, protocol.slice_step, protocol.texture),
        *(asdict(subject), scan, dict(protocol.coarse), protocol.tell_noise, strengths, asdict(entrant)),
        [digest_file(Path(protocol.maniqa)), protocol.maniqa_slices] if protocol.maniqa else "",
    ]
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]


def case_task(
    protocol: SubtleProtocol, data: str, subject: UnseenSubject, scan: str, entrant: Entrant, mark: str
) -> list[dict[str, Any]]:
    """Run one method on one degraded scan.

    Parameters
    ----------
    protocol : SubtleProtocol
    data : str
        Folder of the subjects.
    subject : UnseenSubject
    scan : str
        One of ``protocol.scans``.
    entrant : Entrant
    mark : str
        Fingerprint of the rows.

    Returns
    -------
    list of dict
        One row per judged slice.
    """
    judged, degraded = _degraded(ProtocolKey(protocol), data, subject, scan)
    started = time.perf_counter()
    image = _restored(protocol, judged, degraded, scan, entrant)
    seconds = time.perf_counter() - started
    planes = judged_planes(judged.mask, protocol.slice_step)
    common = {
        "case": case_name(subject, scan),
        "method": entrant.name,
        "fingerprint": mark,
        "subject": subject.name,
        "person": person_of(subject.path),
        "role": role_of(subject.path),
        "scan": scan,
        "slices": len(planes),
        "seconds": round(seconds, 2),
    }
    few = np.linspace(0, len(planes) - 1, min(protocol.maniqa_slices, len(planes))).round().astype(int)
    seen = {planes[n] for n in few} if protocol.maniqa else set()
    return [{**common, "slice": n, **_scores(image, judged, n, protocol.maniqa if n in seen else "")} for n in planes]


def judged_planes(mask: np.ndarray, step: int) -> list[int]:
    """Return the slices along the first axis that are judged: every ``step``-th of those with enough head in them.

    Raises
    ------
    InputError
        There is none.
    """
    share = mask.mean(axis=(1, 2))
    planes = [int(n) for n in np.flatnonzero(share >= min(LEAST_SHARE, float(share.max()) or 1.0))]
    if not planes:
        raise InputError("the mask of a subject is empty", "give a larger block_mm")
    return planes[::step]


def _scores(image: np.ndarray, judged: Judged, plane: int, checkpoint: str) -> dict[str, Any]:
    truth, mask = judged.truth.array, judged.mask
    i, j, k = (float(s) for s in judged.truth.grid.spacing_mm)
    one = slice(plane, plane + 1)
    options: dict[str, Any] = {
        "mask": mask[one],
        "data_range": default_data_range(truth, mask),
        "spacing_mm": (i, j, k),
    }
    found: dict[str, Any] = {
        name: round(float(METRICS.get(name)(image[one], truth[one], **options).value), 4) for name in ("psnr", "ssim")
    }
    found["piqe"] = round(float(METRICS.get("piqe")(image[one], **options).value), 3)
    found["maniqa"] = ""
    if checkpoint:
        low, high = (float(v) for v in np.percentile(truth[mask], (0.5, 99.5)))
        found["maniqa"] = round(load_maniqa(Path(checkpoint)).score(image[plane], low, high), 5)
    return found


def _restored(protocol: SubtleProtocol, judged: Judged, degraded: Volume, scan: str, entrant: Entrant) -> np.ndarray:
    """Return what a method makes of a degraded scan; classical methods with the strength that suits it best."""
    grid = judged.truth.grid
    if entrant.model:
        return _by_network(protocol, degraded, scan, entrant.model)
    if scan == COARSE:
        if entrant.name == "cubic":
            return degraded.array
        axis = 2 - slice_axis(grid)
        coarse = CoarseMatrix.apply(judged.truth, protocol.measured(judged.truth.name, axis))
        return resample(coarse, grid, entrant.name).array
    if entrant.name == "input":
        return degraded.array
    strengths = (protocol.nlm_h_factors, protocol.tv_weight_factors)
    variants = classical_denoisers(degraded, protocol.percent_of(scan), *strengths)[entrant.name]
    made = [variant() for variant in variants]
    return min(made, key=lambda image: float(np.mean((image - judged.truth.array)[judged.mask] ** 2)))


def _by_network(protocol: SubtleProtocol, degraded: Volume, scan: str, model: str) -> np.ndarray:
    """Return the scan restored with both strengths at 1."""
    card = restorer(model)
    # interpolation smooths what noise the coarse scan had: nobody is told more than there is to see
    told = protocol.percent_of(scan) if protocol.tell_noise and scan != COARSE else None
    quality, backend = assess(degraded, card, told), choose_backend(card, "auto", "auto", None)
    expert = None
    if scan == COARSE:
        with suppress(ModelNotFoundError):
            expert = expert_for(degraded, card, told, backend)
    parts = split(degraded, quality, card, backend, expert=expert)
    sharpen = 1.0 if scan == COARSE else 0.0
    return blend(degraded.array, parts, 1.0, sharpen)


@lru_cache(maxsize=4)
def _degraded(key: ProtocolKey, data: str, subject: UnseenSubject, scan: str) -> tuple[Judged, Volume]:
    """Return a subject, slices first, and its degraded scan on the same grid."""
    protocol = key.protocol
    judged = _slices_first(load_judged(subject, protocol, Path(data)))
    if scan != COARSE:
        return judged, NoiseBlur.apply(judged.truth, protocol.noisy(subject.name, protocol.percent_of(scan)))
    axis = 2 - slice_axis(judged.truth.grid)
    coarse = CoarseMatrix.apply(judged.truth, protocol.measured(judged.truth.name, axis))
    return judged, resample(coarse, judged.truth.grid, "cubic")


def _slices_first(judged: Judged) -> Judged:
    """Return a block with its shortest axis first, as of a slab: what is judged are its large planes."""
    shape = judged.truth.array.shape
    shortest = int(np.argmin(shape))
    if shortest == 0 or shape[shortest] == shape[0]:
        return judged
    rest = [axis for axis in range(3) if axis != shortest]
    order = AxisOrder((shortest, rest[0], rest[1]), (False, False, False))
    array, mask = (np.ascontiguousarray(order.apply(part)) for part in (judged.truth.array, judged.mask))
    return Judged(Volume(array, order.apply_grid(judged.truth.grid), judged.truth.name), mask)
