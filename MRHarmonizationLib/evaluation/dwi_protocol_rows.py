"""One case of the travelling-subject protocol: one brain on one scanner, every method, measured."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.degradations.dwi_scanner import CANONICAL, load_scanner
from MRHarmonizationLib.evaluation.dwi_protocol import DwiCase, DwiProtocol
from MRHarmonizationLib.evaluation.dwi_protocol_cases import PreparedDwi, prepare_dwi_case
from MRHarmonizationLib.evaluation.dwi_protocol_measures import DwiJudge, Looked, finite_or_none
from MRHarmonizationLib.evaluation.dwi_protocol_methods import (
    CONTROL,
    CORRECTED,
    LEARNED,
    RAW,
    REFERENCE,
    DwiContestant,
)
from MRHarmonizationLib.evaluation.dwi_protocol_planes import write_planes
from MRHarmonizationLib.inference.dwi_measures import LIMITED_TISSUES
from MRHarmonizationLib.inference.dwi_request import TARGET_SPACING
from MRHarmonizationLib.inference.harmonize_dwi import HarmonizeDwiRequest, HarmonizeDwiResult, harmonize_dwi
from MRHarmonizationLib.methods.dwi_harmonizers.base import FittedDwiHarmonizer
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.grid import same_grid


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a method made of a scan.

    Attributes
    ----------
    result : HarmonizeDwiResult
        Of the noise handling alone where the method refused the scan.
    refused : str
        Why; '' where it did not.
    seconds : float
    """

    result: HarmonizeDwiResult
    refused: str
    seconds: float


def case_fingerprints(case: DwiCase, protocol: DwiProtocol, entries: Sequence[DwiContestant]) -> dict[str, str]:
    """Return a short digest per method of what decides its row: brain, scanner, what is measured, the fitted state."""
    shared = [
        protocol.version,
        protocol.brain_mm,
        protocol.directions,
        protocol.judged,
        dict(protocol.lesions),
        {key: value for key, value in asdict(case).items() if key != "scanner"},
        load_scanner(case.scanner).to_dict(),
        load_scanner(CANONICAL).to_dict(),
    ]
    digests = {}
    for entry in entries:
        state = [*shared, entry.name, entry.digest(protocol, case.scanner)]
        digests[entry.name] = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]
    return digests


def evaluate_dwi_case(
    case: DwiCase,
    protocol: DwiProtocol,
    data: str,
    fitted: str,
    entries: Sequence[DwiContestant],
    fingerprints: Mapping[str, str],
    planes: str | None = None,
) -> list[dict[str, Any]]:
    """Return one row per method.

    Parameters
    ----------
    case : DwiCase
    protocol : DwiProtocol
    data, fitted : str
        Folders of the label maps and of the harmonisers that were fitted to scanners.
    entries : sequence of DwiContestant
        Every method of the protocol.
    fingerprints : mapping
        Methods to run, and what is written into their rows: rows of another run are told by it.
    planes : str, optional
        Folder that gets one plane of each method's images, for pictures.

    Returns
    -------
    list of dict
        See :class:`~MRHarmonizationLib.evaluation.dwi_protocol_measures.DwiJudge` for the scores; ``brain_found``:
        share of the true brain in the mask that harmonisation found; ``strength`` that the safety left, largest change
        of mean MD (%) and FA in white matter and brain, whether b-values and directions are as they were, and why the
        method refused the scan, if it did.
    """
    prepared = prepare_dwi_case(case, protocol, Path(data))
    judge = DwiJudge(prepared, protocol)
    scanner = load_scanner(case.scanner)
    corrected = _run_corrected(prepared)
    before = Looked(corrected.result.dwi, corrected.result.after, False)
    inside = corrected.result.mask.array != 0
    found = float(np.count_nonzero(inside & prepared.parenchyma)) / float(np.count_nonzero(prepared.parenchyma))
    rows = []
    for entry in entries:
        if entry.name not in fingerprints:
            continue
        outcome = _outcome(entry, prepared.scan, corrected, Path(fitted), scanner.id)
        looked = judge.truth if outcome is None else _looked(entry, outcome)
        scores: dict[str, float | None] = {
            **judge.similarity(looked),
            **judge.tissues(looked),
            **judge.diffusivities(looked, inside),
            **judge.lesions(looked, before),
        }
        place = {"case": case.id, "subject": case.subject, "scanner": scanner.id, "shell": judge.shell_s_per_mm2}
        rows.append(
            {
                **place,
                "method": entry.name,
                "kind": entry.kind,
                **{name: finite_or_none(value) for name, value in scores.items()},
                "brain_found": finite_or_none(found),
                **_safety(outcome, prepared.scan),
                "fingerprint": fingerprints[entry.name],
            }
        )
        if planes is not None:
            write_planes(looked, judge.factor(looked), prepared, Path(planes), case.id, entry.name)
    return rows


def _run_corrected(prepared: PreparedDwi) -> Outcome:
    """Return the scan with its noise handled, on the grid of results."""
    started = time.perf_counter()
    request = HarmonizeDwiRequest(method=CORRECTED, spacing_mm=TARGET_SPACING)
    result = harmonize_dwi(prepared.scan, request)
    if not same_grid(result.dwi.grid, prepared.grid):
        raise InputError("the grid of results is not that of the canonical scan", "report this with the protocol")
    return Outcome(result, "", time.perf_counter() - started)


def _outcome(entry: DwiContestant, scan: DwiVolume, corrected: Outcome, fitted: Path, scanner: str) -> Outcome | None:
    """Return what a method makes of a scan; None for the canonical scan."""
    if entry.kind == REFERENCE:
        return None
    if entry.name == CORRECTED:
        return corrected
    started = time.perf_counter()
    if entry.name == RAW:
        result = harmonize_dwi(scan, HarmonizeDwiRequest(strength=0.0, spacing_mm=TARGET_SPACING))
        return Outcome(result, "", time.perf_counter() - started)
    method = entry.fit(fitted, scanner)
    if method is None:
        return corrected
    try:
        harmonise = harmonised_as_by_user if entry.kind == LEARNED else harmonised_after_correction
        result, refused = harmonise(method, scan, corrected.result), ""
    except InputError as problem:
        result, refused = corrected.result, str(problem)
    return Outcome(result, refused, time.perf_counter() - started)


def harmonised_as_by_user(
    method: FittedDwiHarmonizer, scan: DwiVolume, corrected: HarmonizeDwiResult
) -> HarmonizeDwiResult:
    """Harmonise a scan on the canonical grid with all defaults."""
    request = HarmonizeDwiRequest(method=method.method, spacing_mm=TARGET_SPACING)
    return harmonize_dwi(scan, request, fitted=method)


def harmonised_after_correction(
    method: FittedDwiHarmonizer, scan: DwiVolume, corrected: HarmonizeDwiResult
) -> HarmonizeDwiResult:
    """Return the same as :func:`harmonised_as_by_user`, bit by bit, from the scan whose noise was handled before.

    Classical methods look at the scan on the grid of results alone, so that this needs to be made only once; learned
    ones may want to know the voxels that were acquired.
    """
    request = HarmonizeDwiRequest(method=method.method, noise="none")
    return harmonize_dwi(corrected.dwi, request, mask=corrected.mask, fitted=method)


def _looked(entry: DwiContestant, outcome: Outcome) -> Looked:
    has_units = entry.kind != CONTROL and not outcome.refused
    return Looked(outcome.result.dwi, outcome.result.after, has_units)


def _safety(outcome: Outcome | None, scan: DwiVolume) -> dict[str, Any]:
    if outcome is None:
        return dict.fromkeys(("strength", "md_change_percent", "fa_change", "gradients_kept", "refused", "seconds"), "")
    result = outcome.result
    judged = [row for row in result.table if row.tissue in LIMITED_TISSUES and row.limit is not None]
    md = [abs(row.change_percent) for row in judged if row.change_percent is not None]
    fa = [abs(row.change) for row in judged if row.change_percent is None]
    kept = np.array_equal(result.dwi.b_values_s_per_mm2, scan.b_values_s_per_mm2)
    kept &= np.array_equal(result.dwi.gradients_ras, scan.gradients_ras)
    return {
        "strength": 0.0 if outcome.refused else finite_or_none(result.spatial_strength),
        "md_change_percent": finite_or_none(max(md, default=0.0)),
        "fa_change": finite_or_none(max(fa, default=0.0)),
        "gradients_kept": bool(kept),
        "refused": outcome.refused,
        "seconds": round(outcome.seconds, 2),
    }
