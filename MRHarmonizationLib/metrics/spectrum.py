"""Numbers read from an image's power spectrum: resolution, half-power and noise-floor frequency, slope."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np

from MRHarmonizationLib.core.spectrum import RadialSpectrum, directional_power_spectra
from MRHarmonizationLib.core.spectrum_measures import (
    effective_resolution_mm,
    half_power_frequency,
    log_slope,
    noise_floor,
    noise_floor_frequency,
    slope_band,
)
from MRHarmonizationLib.metrics.base import Outcome, Spacing, metric


@metric("effective_resolution", "mm", "lower", needs_reference=False)
def effective_resolution(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Voxel size that would just hold the image's detail: half a period of the highest frequency with structure.

    Decorrelation analysis of the power spectrum inside the mask; see ``core.spectrum_measures``. Never below the voxel
    size. ``detail`` has the value along i, j and k: thick slices show there even after interpolation. Strong noise up
    to the Nyquist frequency is taken for structure, so read it beside ``noise``.

    Source: Descloux et al., Nat. Methods 16:918 (2019), doi 10.1038/s41592-019-0515-7.
    """
    spectra = _spectra(image, mask, spacing)
    along = {f"along_{name}": effective_resolution_mm(spectra[name]) for name in "ijk" if name in spectra}
    return effective_resolution_mm(spectra["all"]), {**along, **_settings(spectra["all"])}


@metric("half_power_frequency", "cycles/mm", "none", needs_reference=False)
def half_power(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Spatial frequency below which half of the image's power lies. Detail and noise raise it, blur lowers it."""
    spectra = _spectra(image, mask, spacing)
    along = {f"along_{name}": half_power_frequency(spectra[name]) for name in "ijk" if name in spectra}
    return half_power_frequency(spectra["all"]), {**along, **_settings(spectra["all"])}


@metric("noise_floor_frequency", "cycles/mm", "none", needs_reference=False)
def floor_frequency(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Highest spatial frequency at which the spectrum stands 3 dB above its own floor near the Nyquist frequency."""
    spectrum = _spectra(image, mask, spacing)["all"]
    return noise_floor_frequency(spectrum), {"floor_over_total_mm3": noise_floor(spectrum) / spectrum.total_power}


@metric("spectral_slope", "1", "none", needs_reference=False)
def spectral_slope(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Slope of log power over log frequency between .05 and .25 cycles/mm: blur steepens it, noise flattens it.

    Images too small or coarse for that band are fitted where they can be; ``detail`` has the band.
    """
    spectrum = _spectra(image, mask, spacing)["all"]
    return log_slope(spectrum), {"band_cycles_per_mm": list(slope_band(spectrum))}


def _settings(spectrum: RadialSpectrum) -> dict[str, Any]:
    return {"window": spectrum.window, "taper_mm": spectrum.taper_mm}


class _Content:
    """An image, its mask and spacing as a key: equal where the contents are, without keeping the arrays alive."""

    def __init__(self, image: np.ndarray, mask: np.ndarray, spacing: Spacing) -> None:
        digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16)
        digest.update(np.packbits(mask).data)
        self._key = (digest.digest(), image.shape, spacing)
        self.arrays: tuple[np.ndarray, np.ndarray, Spacing] | None = (image, mask, spacing)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Content) and self._key == other._key


def _spectra(image: np.ndarray, mask: np.ndarray, spacing: Spacing) -> dict[str, RadialSpectrum]:
    """Return the spectra of an image; those of the last few are kept, as all metrics here read the same ones."""
    content = _Content(image, mask, spacing)
    try:
        return _transformed(content)
    finally:
        content.arrays = None


@lru_cache(maxsize=4)
def _transformed(content: _Content) -> dict[str, RadialSpectrum]:
    assert content.arrays is not None
    image, mask, spacing = content.arrays
    return directional_power_spectra(image, spacing, mask)
