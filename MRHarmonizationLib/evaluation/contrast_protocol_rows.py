"""One case of the contrast protocol: every alteration, every method, measured against the unaltered image."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.degradations.kspace_contrast import apply_kspace_contrast
from MRHarmonizationLib.evaluation.contrast_protocol import SEEN, ContrastCase, ContrastProtocol
from MRHarmonizationLib.evaluation.contrast_protocol_cases import PreparedCase, draw_alteration, prepare_case
from MRHarmonizationLib.evaluation.contrast_protocol_figures import Sample, samples_figure
from MRHarmonizationLib.evaluation.contrast_protocol_methods import RAW_SCALING, Contestant, apply_fitted
from MRHarmonizationLib.evaluation.gaussian_mixture import (
    TissueMixture,
    class_overlap,
    class_shares,
    fit_tissue_mixture,
)
from MRHarmonizationLib.methods.case_profile import FULL_SCALE
from MRHarmonizationLib.methods.harmonizers import HARMONIZERS
from MRHarmonizationLib.methods.reference_group import load_group
from MRHarmonizationLib.metrics.base import METRICS, default_data_range
from MRHarmonizationLib.volumes.volume import Volume

#: Voxels around the mask that the window of SSIM reaches.
WINDOW_REACH = 6
#: PSNR of an image without error, dB.
HIGHEST_PSNR_DB = 99.0
#: Alterations of each family that are drawn.
DRAWN_PER_FAMILY = 1


def case_fingerprints(
    case: ContrastCase, protocol: ContrastProtocol, entries: Sequence[Contestant], reference: Path
) -> dict[str, str]:
    """Return a short digest per method of what decides its rows: case, alterations, units, the fitted state."""
    image = protocol.group(case.group).kind == "image"
    group = load_group(protocol.reference["groups"][case.contrast] if image else reference / f"{case.contrast}.json")
    units = HARMONIZERS.get(RAW_SCALING).fit(group).digest()
    shared = [
        units,
        protocol.version,
        protocol.spacing_mm,
        protocol.held_out,
        protocol.reference["donor"],
        asdict(case),
    ]
    digests = {}
    for entry in entries:
        fitted = entry.fit(group)
        state = [
            *shared,
            entry.name,
            fitted.digest() if fitted is not None else "",
            protocol.thinned.get(entry.name, 1),
        ]
        digests[entry.name] = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]
    return digests


def evaluate_contrast_case(
    case: ContrastCase,
    protocol: ContrastProtocol,
    data: str,
    reference: str,
    entries: Sequence[Contestant],
    fingerprints: Mapping[str, str],
    picture: str | None = None,
) -> list[dict[str, Any]]:
    """Return one row per method and alteration on which it is run.

    Parameters
    ----------
    case : ContrastCase
    protocol : ContrastProtocol
    data, reference : str
        Folders of real scans and of the reference groups.
    entries : sequence of Contestant
        Every method of the picture.
    fingerprints : mapping
        Methods to measure, and what is written into their rows: rows of another run are told by it.
    picture : str, optional
        Where to draw the first alteration of each family with every method (PNG).

    Returns
    -------
    list of dict
        Means of the tissues; ``wasserstein``: mean over the tissues of the distance of the histograms to those of the
        unaltered image, % of full scale; PSNR and SSIM to it inside the mask; ``dice``: mean overlap of the classes of
        a Gaussian mixture, fitted once to the unaltered image, with its classes there; shares of the classes.
    """
    prepared = prepare_case(case, protocol, Path(data), Path(reference))
    judge = _Judge(prepared)
    fitted = {entry.name: entry.fit(prepared.group) for entry in entries}
    wanted = {name: protocol.alterations_of(case, name) for name in fingerprints}
    states = {name: one.digest() if one is not None else "" for name, one in fitted.items()}
    drawn: dict[str, int] = {}
    rows, samples = [], []
    for planned in case.alterations:
        parameters = draw_alteration(planned, prepared.image, prepared.labels, prepared.donor, protocol.held_out)
        altered = apply_kspace_contrast(prepared.image, parameters, prepared.labels)
        keep = picture is not None and drawn.get(planned.family, 0) < DRAWN_PER_FAMILY
        drawn[planned.family] = drawn.get(planned.family, 0) + 1
        outputs = []
        made: dict[str, tuple[Volume, dict[str, float], float]] = {}
        for entry in entries:
            measured = planned.number in wanted.get(entry.name, ())
            if not keep and not measured:
                continue
            state = states[entry.name]
            if state not in made:  # raw images are scaled as one of the methods does
                started = time.perf_counter()
                output = apply_fitted(fitted[entry.name], altered)
                seconds = time.perf_counter() - started
                made[state] = (output, judge.scores(output), seconds)
            output, scores, seconds = made[state]
            if keep:
                outputs.append((entry.name, output, scores["ssim"]))
            if not measured:
                continue
            rows.append(
                {
                    "case": case.id,
                    "group": case.group,
                    "subject": case.subject,
                    "contrast": case.contrast,
                    "alteration": planned.number,
                    "family": planned.family,
                    "held_out": planned.family != SEEN,
                    "method": entry.name,
                    "kind": entry.kind,
                    **{name: round(value, 6) for name, value in scores.items()},
                    "seconds": round(seconds, 3),
                    "fingerprint": fingerprints[entry.name],
                }
            )
        if keep:
            samples.append(Sample(planned.family, altered, tuple(outputs)))
    if picture is not None:
        Path(picture).write_bytes(samples_figure(prepared.image, samples, prepared.mask))
    return rows


class _Judge:
    """Measures images against the unaltered one of a case."""

    def __init__(self, prepared: PreparedCase) -> None:
        places = np.nonzero(prepared.mask)
        shape = prepared.mask.shape
        self._box = tuple(
            slice(max(0, int(p.min()) - WINDOW_REACH), min(n, int(p.max()) + WINDOW_REACH + 1))
            for p, n in zip(places, shape, strict=True)
        )
        self._reference = prepared.image.array[self._box].astype(np.float64)
        self._mask = prepared.mask[self._box]
        self._tissues = {name: mask[self._box] for name, mask in prepared.tissues.items()}
        self._range = default_data_range(self._reference, self._mask)
        self._mixture: TissueMixture = fit_tissue_mixture(self._reference, self._tissues)
        self._classes = self._mixture.classify(self._reference[self._mask])

    def scores(self, output: Volume) -> dict[str, float]:
        """Return the scores of one image."""
        image = output.array[self._box].astype(np.float64)
        found = {f"mean_{name}": float(image[mask].mean()) for name, mask in self._tissues.items()}
        distance = METRICS.get("histogram_distance")
        shifts = [
            distance(_line(image[mask]), _line(self._reference[mask]), data_range=FULL_SCALE).value
            for mask in self._tissues.values()
        ]
        found["wasserstein"] = 100.0 * float(np.mean(shifts))
        psnr = METRICS.get("psnr")(image, self._reference, self._mask, self._range).value
        found["psnr"] = psnr if math.isfinite(psnr) else HIGHEST_PSNR_DB
        found["ssim"] = METRICS.get("ssim")(image, self._reference, self._mask, self._range).value
        classes, count = self._mixture.classify(image[self._mask]), len(self._tissues)
        found["dice"] = float(np.mean(class_overlap(classes, self._classes, count)))
        shares = class_shares(classes, count)
        return (
            found
            | {f"share_{name}": share for name, share in zip(self._tissues, shares, strict=True)}
            | {"data_range": self._range}
        )


def _line(values: np.ndarray) -> np.ndarray:
    return values.reshape(1, 1, -1)
