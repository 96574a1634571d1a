"""Virtual diffusion scanners: what a site's protocol is, how it varies from scan to scan, and drawing one scan.

Seven invented scanners of four invented manufacturers, and the scan that harmonisation aims at, lie as JSON files in
``scanners``. None of them describes a real product.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.degradations.bias_field import BiasFieldParameters, sample_bias_field
from MRHarmonizationLib.degradations.dwi_parameters import PHASE_ENCODINGS, DwiScannerParameters
from MRHarmonizationLib.degradations.gradient_scheme import gradient_table

SCANNERS_FOLDER = Path(__file__).with_name("scanners")
#: Name of the scan that harmonisation aims at.
CANONICAL = "canonical"
#: Part of a coil's shading that differs from scan to scan (another head, another place in the coil).
_SHADING_CHANGE = 0.3
#: Numbers handed from the protocol to the scan as they are.
_COPIED = (
    "field_strength_t",
    "echo_time_ms",
    "repetition_time_ms",
    "slice_spacing_mm",
    "slice_thickness_mm",
    "slice_flatness",
    "slices",
    "phase_encoding",
    "partial_fourier",
    "readout_ms",
    "interpolation",
    "filter_taper",
    "whole_numbers",
)


@dataclass(frozen=True)
class DwiScanner:
    """A virtual scanner with its protocol.

    Attributes
    ----------
    id, title : str
    role : {'site', 'canonical'}
        One of the scanners, or what they are brought to.
    manufacturer : str
    b_shells_s_per_mm2, directions : tuples
        b-value and number of directions of every shell.
    unweighted : int
        Volumes with b = 0.
    ghost : (float, float)
        Range of the ghost's amplitude.
    phase_shift_px : (float, float)
        Range of the shift.
    snr_b0, gain : float
        Typical values; ``jitter`` is the standard deviation of their logarithm from scan to scan.
    shading, shading_seed : float, int
        Standard deviation of the logarithm of the coil's sensitivity, and the seed of its shape.
    position_mm, tilt_deg : float
        Standard deviations of the placement of the field of view and of the turn of the slices.
    field_strength_t and others
        See ``DwiScannerParameters``.
    """

    id: str
    title: str
    manufacturer: str
    field_strength_t: float
    echo_time_ms: float
    repetition_time_ms: float
    b_shells_s_per_mm2: tuple[float, ...]
    directions: tuple[int, ...]
    unweighted: int
    matrix: tuple[int, int]
    field_of_view_mm: tuple[float, float]
    slice_spacing_mm: float
    slice_thickness_mm: float
    slice_flatness: float
    phase_encoding: str
    partial_fourier: float
    readout_ms: float
    interpolation: int
    filter_taper: float
    ghost: tuple[float, float]
    phase_shift_px: tuple[float, float]
    snr_b0: float
    gain: float
    jitter: float
    shading: float
    shading_seed: int
    whole_numbers: bool = True
    slices: int | None = None
    position_mm: float = 3.0
    tilt_deg: float = 0.0
    role: str = "site"

    def __post_init__(self) -> None:
        if self.role not in ("site", CANONICAL):
            raise ParameterError(f"role '{self.role}' of scanner '{self.id}'", f"choose 'site' or '{CANONICAL}'")
        for name in ("ghost", "phase_shift_px"):
            pair = getattr(self, name)
            if len(pair) != 2 or not pair[0] <= pair[1]:
                raise ParameterError(f"{name} of scanner '{self.id}' is {pair}", "give a range: lowest, highest")
        for name in ("jitter", "shading", "position_mm", "tilt_deg"):
            if not 0 <= getattr(self, name) < 100:
                raise ParameterError(f"{name} of scanner '{self.id}' is {getattr(self, name)}", "give 0 or more")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DwiScanner:
        """Build from :meth:`to_dict`; unknown keys and values out of range raise ParameterError."""
        return build_parameters(cls, values)


def scanner_ids() -> tuple[str, ...]:
    """Return the names of the virtual scanners, without the canonical one."""
    return tuple(scanner.id for scanner in _shipped().values() if scanner.role == "site")


def load_scanner(name: str | Path) -> DwiScanner:
    """Return a virtual scanner by its name, or from a JSON file.

    Raises
    ------
    ParameterError
        No such scanner, or a file that does not describe one.
    """
    text = str(name)
    if not text.lower().endswith(".json"):
        known = _shipped()
        if text not in known:
            raise ParameterError(f"virtual scanner '{text}' is unknown", f"choose one of: {', '.join(known)}")
        return known[text]
    return _read(Path(name))


def sample_dwi_scanner(
    rng: np.random.Generator, scanner: DwiScanner | str | None = None, directions: int | None = None
) -> DwiScannerParameters:
    """Draw one scan.

    Parameters
    ----------
    rng : numpy Generator
    scanner : DwiScanner or str, optional
        Scanner, its name, or the JSON file of one; omitted, a scanner is made up from wide ranges of everything.
    directions : int, optional
        Directions of every shell, in place of the protocol's.

    Returns
    -------
    DwiScannerParameters
    """
    if scanner is None:
        chosen = sample_protocol(rng)
    else:
        chosen = scanner if isinstance(scanner, DwiScanner) else load_scanner(scanner)
    counts = chosen.directions if directions is None else (int(directions),) * len(chosen.b_shells_s_per_mm2)
    seed = zlib.crc32(chosen.id.encode())
    b_values, gradients = gradient_table(chosen.b_shells_s_per_mm2, counts, chosen.unweighted, seed)
    gain, snr = (value * float(np.exp(rng.normal(0.0, chosen.jitter))) for value in (chosen.gain, chosen.snr_b0))
    offset = rng.normal(0.0, 1.0, 3) * chosen.position_mm
    return DwiScannerParameters(
        scanner=chosen.id,
        b_values_s_per_mm2=tuple(b_values.tolist()),
        gradients_ras=tuple((r, a, s) for r, a, s in gradients.tolist()),
        matrix=chosen.matrix,
        field_of_view_mm=chosen.field_of_view_mm,
        ghost=float(rng.uniform(*chosen.ghost)),
        phase_shift_px=float(rng.uniform(*chosen.phase_shift_px)),
        snr_b0=snr,
        noise_seed=int(rng.integers(2**31)),
        bias_field=_shading(rng, chosen),
        gain=gain,
        offset_mm=(float(offset[0]), float(offset[1]), float(offset[2])),
        tilt_deg=float(np.clip(rng.normal(0.0, 1.0) * chosen.tilt_deg, -30.0, 30.0)),
        **{name: getattr(chosen, name) for name in _COPIED},
    )


def canonical_twin(parameters: DwiScannerParameters, seed: int = 0) -> DwiScannerParameters:
    """Return the canonical scan of the same object in the same place: what a scan would ideally be turned into.

    Parameters
    ----------
    parameters : DwiScannerParameters
        Of a scan.
    seed : int
        Of the twin's (slight) noise.

    Returns
    -------
    DwiScannerParameters
        Protocol of the canonical scanner with the scan's weightings, placement, tilt, and the displacement along phase
        encoding in millimetres, which harmonisation does not undo.
    """
    twin = sample_dwi_scanner(np.random.default_rng(seed), CANONICAL)
    shift_mm = parameters.phase_shift_px * parameters.measured_pixel_mm[1]
    return replace(
        twin,
        b_values_s_per_mm2=parameters.b_values_s_per_mm2,
        gradients_ras=parameters.gradients_ras,
        offset_mm=parameters.offset_mm,
        tilt_deg=parameters.tilt_deg,
        phase_encoding=parameters.phase_encoding,
        phase_shift_px=shift_mm / twin.measured_pixel_mm[1],
    )


def sample_protocol(rng: np.random.Generator) -> DwiScanner:
    """Draw a scanner of its own: TE 60–110 ms, b 700–1500 s/mm², pixels 1.7–3 mm, slices 2–6 mm, and so on."""
    field = 3.0 if rng.random() < 0.6 else 1.5
    pixel = float(rng.uniform(1.7, 3.0))
    view = float(rng.uniform(215.0, 256.0))
    lines = int(2 * round(view / pixel / 2))
    spacing = float(rng.uniform(max(2.0, 0.8 * pixel), 6.0))
    low = float(rng.uniform(-4.0, 4.0))
    return DwiScanner(
        id=f"random-{int(rng.integers(10**9)):09d}",
        title="drawn at random",
        manufacturer="random",
        field_strength_t=field,
        echo_time_ms=float(rng.uniform(60.0, 110.0)),
        repetition_time_ms=float(rng.uniform(4000.0, 12000.0)),
        b_shells_s_per_mm2=(float(50 * round(rng.uniform(700.0, 1500.0) / 50)),),
        directions=(int(rng.integers(6, 33)),),
        unweighted=int(rng.integers(1, 4)),
        matrix=(lines, lines),
        field_of_view_mm=(view, view),
        slice_spacing_mm=spacing,
        slice_thickness_mm=spacing * float(rng.uniform(0.8, 1.05)),
        slice_flatness=float(rng.uniform(0.3, 1.0)),
        phase_encoding=str(rng.choice(list(PHASE_ENCODINGS), p=[0.45, 0.45, 0.05, 0.05])),
        partial_fourier=float(rng.choice([0.625, 0.7, 0.75, 0.875, 1.0])),
        readout_ms=float(rng.uniform(25.0, 80.0)),
        interpolation=2 if rng.random() < 0.35 else 1,
        filter_taper=float(rng.choice([0.0, 0.0, rng.uniform(0.1, 0.8)])),
        ghost=(0.0, 0.05),
        phase_shift_px=(low, low),
        snr_b0=float(np.exp(rng.uniform(np.log(10.0), np.log(40.0)))),
        gain=float(np.exp(rng.uniform(np.log(100.0), np.log(10000.0)))),
        jitter=0.05,
        shading=float(rng.uniform(0.0, 0.25)),
        shading_seed=int(rng.integers(2**31)),
        tilt_deg=float(rng.choice([0.0, 8.0])),
    )


def _shading(rng: np.random.Generator, scanner: DwiScanner) -> BiasFieldParameters | None:
    """Return the scanner's own shading with a little of another mixed in."""
    change = np.array(sample_bias_field(rng, scanner.shading).coefficients)
    if scanner.shading == 0:
        return None
    own = np.array(sample_bias_field(np.random.default_rng(scanner.shading_seed), scanner.shading).coefficients)
    return BiasFieldParameters(tuple((own + _SHADING_CHANGE * change).tolist()))


@lru_cache(maxsize=1)
def _shipped() -> Mapping[str, DwiScanner]:
    scanners = [_read(path) for path in sorted(SCANNERS_FOLDER.glob("*.json"))]
    return {scanner.id: scanner for scanner in scanners}


def _read(path: Path) -> DwiScanner:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ParameterError(f"scanner cannot be read from {path}: {error}", "name a scanner or its file") from error
    if not isinstance(values, dict):
        raise ParameterError(f"{path} does not describe a scanner", "see the files that come with the library")
    return DwiScanner.from_dict(values)
