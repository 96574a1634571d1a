"""What the travelling-subject protocol holds against each other, and fitting what learns from both scanners."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import MRHarmonizationLib.inference.harmonize_dwi  # noqa: F401  (makes learned harmonisers known)
from MRHarmonizationLib.core.errors import ModelNotFoundError
from MRHarmonizationLib.degradations.dwi_scanner import CANONICAL, load_scanner
from MRHarmonizationLib.evaluation.dwi_protocol import DwiProtocol
from MRHarmonizationLib.evaluation.dwi_protocol_cases import load_brain, matched_pair
from MRHarmonizationLib.inference.harmonize_dwi import HarmonizeDwiRequest, harmonize_dwi
from MRHarmonizationLib.methods.dwi_harmonizers.base import (
    DWI_HARMONIZERS,
    FittedDwiHarmonizer,
    load_dwi_harmonizer,
    save_dwi_harmonizer,
)
from MRHarmonizationLib.methods.dwi_target import load_target
from MRHarmonizationLib.volumes.atomic import write_json_atomic

#: The scan itself on the canonical grid; the scan without noise there; the canonical scan.
RAW, CORRECTED, TRUTH = "raw", "none", CANONICAL
CONTROL, CLASSICAL, LEARNED, REFERENCE = "control", "classical", "learned", "reference"
#: Parameter by which a learned harmoniser is told its model card, and the name under which one is expected.
MODEL_PARAMETER, NETWORK = "model", "network"


@dataclass(frozen=True)
class DwiContestant:
    """One row of the tables; fit for pickling.

    Attributes
    ----------
    name : str
        In tables; unique.
    kind : {'control', 'classical', 'learned', 'reference'}
    harmonizer : str or None
        Name in the registry; None for the scan itself and for the canonical scan.
    parameters : mapping
        Of the harmoniser.
    needs_source : bool
        Whether it is fitted to matched scans of the scanner, beforehand.
    """

    name: str
    kind: str
    harmonizer: str | None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    needs_source: bool = False

    def fit(self, folder: Path, scanner: str) -> FittedDwiHarmonizer | None:
        """Return the fitted harmoniser for a scanner (its id); None where there is nothing to fit.

        Raises
        ------
        InputError
            A method that learns from both scanners was not fitted to this one.
        ModelNotFoundError, WeightsError
            A learned harmoniser lacks its model.
        """
        if self.harmonizer is None:
            return None
        if self.needs_source:
            return load_dwi_harmonizer(fitted_path(folder, self.harmonizer, scanner))
        return DWI_HARMONIZERS.get(self.harmonizer).fit(load_target(CANONICAL), **self.parameters)

    def digest(self, protocol: DwiProtocol, scanner: str) -> str:
        """Return what decides its results for a scanner (name or file): the fitted state, or what it is fitted to."""
        if self.harmonizer is None:
            return self.name
        if self.needs_source:
            return fitting_mark(protocol, self.harmonizer, scanner)
        fitted = self.fit(Path(), scanner)
        return fitted.digest() if fitted is not None else ""


def contestants(protocol: DwiProtocol, models: Sequence[str] | None) -> tuple[DwiContestant, ...]:
    """Return everything that the protocol holds against each other: controls, classical, learned, canonical scan.

    Parameters
    ----------
    protocol : DwiProtocol
        Its ``methods`` (all harmonisers when empty) and ``models``.
    models : sequence of str, optional
        Model cards in place of the protocol's; empty leaves learned harmonisers out.

    Raises
    ------
    ParameterError
        Unknown method, naming the choices.
    """
    names = protocol.methods or tuple(DWI_HARMONIZERS.names())
    found = [DwiContestant(RAW, CONTROL, None), DwiContestant(CORRECTED, CONTROL, CORRECTED)]
    for name in names:
        if name != CORRECTED and not is_learned(name):
            found.append(DwiContestant(name, CLASSICAL, name, {}, DWI_HARMONIZERS.get(name).needs_source))
    cards = protocol.models if models is None else tuple(models)
    for name in filter(is_learned, names):
        if cards:
            found += [DwiContestant(f"{name}:{card}", LEARNED, name, {MODEL_PARAMETER: card}) for card in cards]
        elif models is None and _has_model(DwiContestant(name, LEARNED, name)):
            found.append(DwiContestant(name, LEARNED, name))
    return (*found, DwiContestant(TRUTH, REFERENCE, None))


def is_learned(name: str) -> bool:
    """Tell whether a harmoniser runs a trained model: it has a parameter that names one, or is the network."""
    return name == NETWORK or MODEL_PARAMETER in DWI_HARMONIZERS.get(name).defaults


def _has_model(entry: DwiContestant) -> bool:
    try:
        entry.fit(Path(), "")
    except ModelNotFoundError:
        return False
    return True


def fitted_path(folder: Path, method: str, scanner: str) -> Path:
    """Return where the harmoniser fitted to a scanner (its id) lies."""
    return folder / f"{method}-{scanner}.json"


def fitting_mark(protocol: DwiProtocol, method: str, scanner: str) -> str:
    """Return a digest of what a method is fitted to for a scanner."""
    state = [
        method,
        dict(DWI_HARMONIZERS.get(method).defaults),
        dict(protocol.fitting),
        protocol.version,
        protocol.seed,
        protocol.brain_mm,
        protocol.directions,
        load_scanner(scanner).to_dict(),
        load_scanner(CANONICAL).to_dict(),
    ]
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def is_fitted(protocol: DwiProtocol, folder: Path, method: str, scanner: str) -> bool:
    """Tell whether an earlier run fitted a method to a scanner (name or file) in the same way."""
    path = fitted_path(folder, method, load_scanner(scanner).id)
    try:
        stored = json.loads(_mark_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return path.is_file() and stored == {"mark": fitting_mark(protocol, method, scanner)}


def fit_task(protocol: DwiProtocol, data: str, folder: str, method: str, scanner: str) -> str:
    """Fit a method that learns from both scanners to scans of training brains, and keep it as a file.

    The target group are canonical scans without noise, which is more than a user has; the noise of the source group is
    taken off as it is off the scans that are harmonised.

    Parameters
    ----------
    protocol : DwiProtocol
    data, folder : str
        Of the label maps, and of the fitted harmonisers.
    method, scanner : str
        Name in the registry; name or file of a scanner.

    Returns
    -------
    str
        The file.
    """
    chosen = load_scanner(scanner)
    targets, sources, masks = [], [], []
    for path in protocol.fitting["maps"]:
        brain = load_brain(Path(data), path, protocol.brain_mm, protocol.derived_seed(f"brain {path}"))
        seed = protocol.derived_seed(f"fitting {path} {chosen.id}")
        scan, twin = matched_pair(brain, chosen, seed, protocol.directions)
        clean = harmonize_dwi(scan, HarmonizeDwiRequest(method=CORRECTED))
        targets.append(twin)
        sources.append(clean.dwi)
        masks.append(clean.mask.array != 0)
    fitted = DWI_HARMONIZERS.get(method).fit(targets, sources, None, masks)
    path = fitted_path(Path(folder), method, chosen.id)
    _mark_path(path).unlink(missing_ok=True)
    save_dwi_harmonizer(fitted, path)
    write_json_atomic({"mark": fitting_mark(protocol, method, scanner)}, _mark_path(path))
    return str(path)


def _mark_path(path: Path) -> Path:
    return path.with_suffix(".mark.json")


def method_records(entries: Sequence[DwiContestant]) -> list[dict[str, Any]]:
    """Return the methods as JSON-ready values."""
    return [asdict(entry) for entry in entries]
