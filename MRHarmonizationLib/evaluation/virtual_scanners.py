"""Invented scanners: what one object would look like on each of them. Data in ``virtual_scanners.json``."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.degradations.bias_field import apply_bias_field, sample_bias_field
from MRHarmonizationLib.degradations.contrast import ToneCurveParameters, apply_tone_curve
from MRHarmonizationLib.degradations.lowfield import AcquisitionParameters, acquire
from MRHarmonizationLib.volumes.volume import Volume

SCANNERS_FILE = Path(__file__).with_suffix(".json")


@dataclass(frozen=True)
class VirtualScanner:
    """A scanner: contrast, shading, gain, and how it samples the object.

    Attributes
    ----------
    id, title : str
    snr : float
        Mean foreground signal over the deviation of the noise.
    gain : float
        Factor on all intensities.
    jitter : float
        Standard deviation, from scan to scan, of the logarithm of ``gain`` and ``snr``.
    gamma, tone : float, tuple of float
        Of the tone curve; see ``ToneCurveParameters``.
    shading, shading_seed : float, int
        Standard deviation of the logarithm of the coil's field, and the seed of its shape.
    acquisition : mapping
        Of ``AcquisitionParameters``, without slice axis (axial), SNR and noise seed.
    """

    id: str
    title: str
    snr: float
    gain: float
    jitter: float
    gamma: float
    tone: tuple[float, ...]
    shading: float
    shading_seed: int
    acquisition: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not (self.snr > 0 and self.gain > 0 and self.jitter >= 0 and self.shading >= 0):
            raise ParameterError(
                f"scanner '{self.id}' has snr {self.snr}, gain {self.gain}, jitter {self.jitter}, "
                f"shading {self.shading}",
                "give positive numbers",
            )

    def scan(self, truth: Volume, seed: int) -> Volume:
        """Return the scan of an object.

        Parameters
        ----------
        truth : Volume
            Non-negative, array axes along (S, A, R), no voxel larger than the scanner's.
        seed : int
            Of the noise and of what changes from scan to scan; the same seed gives the same voxels.

        Returns
        -------
        Volume
            float32 on the scanner's own grid.
        """
        rng = np.random.default_rng((seed, zlib.crc32(self.id.encode())))
        gain, snr = (value * float(np.exp(rng.normal(0.0, self.jitter))) for value in (self.gain, self.snr))
        seen = apply_tone_curve(truth.array, ToneCurveParameters(tuple(self.tone), self.gamma))
        field = sample_bias_field(np.random.default_rng(self.shading_seed), self.shading)
        seen = apply_bias_field(np.maximum(seen, 0.0), field)
        values = {**self.acquisition, "slice_axis": 0, "snr": snr, "noise_seed": int(rng.integers(2**31))}
        scan = acquire(truth.with_array(seen), AcquisitionParameters.from_dict(values))
        return scan.with_array(scan.array * np.float32(gain), f"{truth.name} {self.id}".strip())


def load_virtual_scanners(path: str | Path | None = None) -> tuple[VirtualScanner, ...]:
    """Return the scanners of a JSON file, by default those that come with the library.

    Raises
    ------
    ParameterError
        The file cannot be read, or keys are unknown or missing.
    """
    source = Path(path) if path is not None else SCANNERS_FILE
    try:
        entries = json.loads(source.read_text(encoding="utf-8"))["scanners"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ParameterError(f"scanners cannot be read from {source}: {error}", "correct the file") from error
    return tuple(build_parameters(VirtualScanner, entry) for entry in entries)


def choose_scanners(ids: tuple[str, ...], path: str | Path | None = None) -> tuple[VirtualScanner, ...]:
    """Return the scanners with these ids, in this order; all of the file where none are named.

    Raises
    ------
    ParameterError
        An id is unknown.
    """
    known = {scanner.id: scanner for scanner in load_virtual_scanners(path)}
    unknown = sorted(set(ids) - set(known))
    if unknown:
        raise ParameterError(f"virtual scanner '{unknown[0]}' is unknown", f"choose from: {', '.join(known)}")
    return tuple(known[name] for name in ids) if ids else tuple(known.values())
