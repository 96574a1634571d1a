"""What an echo-planar acquisition measures along each axis, as matrices between positions in millimetres.

In a plane the scanner measures spatial frequencies m / field of view; whatever lies outside the field of view folds
in. Frequencies are weighted by a filter, cut by partial Fourier (missing lines stay zero), turned by the Nyquist
ghost and by a shift, and decay along the readout of the phase-encoding lines. Across slices the excitation profile
weighs the object. Outside the object is air.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.degradations.encoding import slice_kernel, taper_window

#: Largest error, relative to the signal at the echo, with which decay is split into few terms.
DECAY_ERROR = 5e-3
#: Rates on which that error is tested, 1/s: up to iron-rich nuclei at 3 T (beyond them the error grows).
_LARGEST_R2, _LARGEST_R2_PRIME = 25.0, 25.0
#: Times on each side of the echo at which decay is worked out exactly.
_NODES = 4


@dataclass(frozen=True, eq=False)
class PlaneAxis:
    """One in-plane axis of an acquisition.

    Attributes
    ----------
    lines : int
        Frequencies of the full matrix.
    field_of_view_mm : float
    centre_mm : float
        Where the field of view is centred.
    """

    lines: int
    field_of_view_mm: float
    centre_mm: float

    @property
    def indices(self) -> np.ndarray:
        """Numbers m of the frequencies, −N/2 to N/2 − 1, shape (lines,)."""
        return np.arange(self.lines) - self.lines // 2

    @property
    def frequency_cycles_per_mm(self) -> np.ndarray:
        """Frequencies, shape (lines,)."""
        return self.indices / self.field_of_view_mm

    def positions_mm(self, count: int) -> np.ndarray:
        """Return the centres of ``count`` voxels that share the field of view evenly, shape (count,)."""
        return self.centre_mm + (np.arange(count) - 0.5 * (count - 1)) * self.field_of_view_mm / count

    def filter_weights(self, taper: float) -> np.ndarray:
        """Return the weights of a reconstruction filter (Tukey), shape (lines,)."""
        return taper_window(self.indices / (0.5 * self.lines + 1e-9) * (1 - 1e-6), taper)


def fourier_matrix(axis: PlaneAxis, positions_mm: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Return the matrix (lines, positions), complex128, from object samples to measured frequencies.

    Samples are boxes of ``spacing_mm``; a uniform object of 1 that fills the field of view gives ``lines`` at
    frequency 0.
    """
    frequency = axis.frequency_cycles_per_mm[:, None]
    wave = np.exp(-2j * np.pi * frequency * (positions_mm - axis.centre_mm)[None, :])
    return np.asarray(wave * np.sinc(frequency * spacing_mm) * (spacing_mm * axis.lines / axis.field_of_view_mm))


def image_matrix(axis: PlaneAxis, count: int) -> np.ndarray:
    """Return the matrix (count, lines), complex128, from frequencies to ``count`` voxels, zero-filled if more."""
    place = (axis.positions_mm(count) - axis.centre_mm)[:, None]
    return np.asarray(np.exp(2j * np.pi * place * axis.frequency_cycles_per_mm[None, :]) / axis.lines)


def measured_lines(axis: PlaneAxis, partial_fourier: float) -> np.ndarray:
    """Return which lines are measured, bool (lines,): the late ones, as long readouts leave the early ones out."""
    kept = max(axis.lines // 2 + 1, int(np.ceil(partial_fourier * axis.lines - 1e-9)))
    return np.arange(axis.lines) >= axis.lines - min(kept, axis.lines)


def ghost_weights(axis: PlaneAxis, amplitude: float) -> np.ndarray:
    """Return the factors (lines,) of a phase that alternates between lines: a ghost at half the field of view.

    ``amplitude`` is the ghost over the image.

    Source
    ------
    Odd and even echoes with phases ±φ: cos φ · I(x) + i sin φ · I(x − FOV/2). Buonocore & Gao, Magn. Reson. Med.
    38:89 (1997), doi 10.1002/mrm.1910380114.
    """
    phase = np.arctan(amplitude)
    return np.asarray(np.cos(phase) + 1j * np.sin(phase) * (-1.0) ** axis.indices)


def shift_weights(axis: PlaneAxis, shift_mm: float) -> np.ndarray:
    """Return the factors (lines,) that move the image by ``shift_mm`` towards larger positions."""
    return np.asarray(np.exp(-2j * np.pi * axis.frequency_cycles_per_mm * shift_mm))


@dataclass(frozen=True, eq=False)
class DecayTerms:
    """Relaxation around a spin echo as Σ_r course_r(τ) · map_r(R2, R2').

    Attributes
    ----------
    courses : ndarray, shape (terms, lines)
    nodes_s : ndarray, shape (nodes,)
        Times at which the decay itself is worked out to make the maps.
    mixing : ndarray, shape (nodes, terms)
        map_r = Σ_n decay(node_n) · mixing[n, r].
    error : float
        Largest error relative to the signal at the echo.
    """

    courses: np.ndarray
    nodes_s: np.ndarray
    mixing: np.ndarray
    error: float


def decay_terms(times_s: np.ndarray) -> DecayTerms:
    """Split relaxation around a spin echo into few products of a time course and a map.

    At the time τ from the echo the signal of a voxel is exp(−τ R2 − |τ| R2') of that at the echo.

    Parameters
    ----------
    times_s : ndarray, shape (lines,)
        Times from the echo.

    Source
    ------
    Time segmentation, Sutton, Noll & Fessler, IEEE Trans. Med. Imaging 22:178 (2003), doi
    10.1109/TMI.2002.808360, with relaxation in place of off-resonance, and as few terms as a singular value
    decomposition allows.
    """
    low, high = float(min(times_s.min(), 0.0)), float(max(times_s.max(), 0.0))
    if high - low < 1e-6:
        return DecayTerms(np.ones((1, times_s.size)), np.zeros(1), np.ones((1, 1)), 0.0)
    rates = np.array([(a, b) for a in np.linspace(0, _LARGEST_R2, 9) for b in np.linspace(0, _LARGEST_R2_PRIME, 9)])
    wanted = spin_echo_decay(times_s[None, :], rates[:, :1], rates[:, 1:])
    nodes = _decay_nodes(low, high)
    basis = spin_echo_decay(nodes[None, :], rates[:, :1], rates[:, 1:])
    left, size, right = np.linalg.svd(wanted, full_matrices=False)
    for terms in range(1, nodes.size + 1):
        mixing = np.linalg.lstsq(basis, left[:, :terms] * size[:terms], rcond=1e-10)[0]
        error = float(np.abs(basis @ mixing @ right[:terms] - wanted).max())
        if error < DECAY_ERROR:
            break
    return DecayTerms(right[:terms], nodes, mixing, error)


def spin_echo_decay(
    time_s: np.ndarray | float, r2_per_s: np.ndarray | float, r2_prime_per_s: np.ndarray | float
) -> np.ndarray:
    """Return exp(−τ R2 − |τ| R2'), the signal at τ from a spin echo over that at the echo."""
    return np.asarray(np.exp(-time_s * r2_per_s - np.abs(time_s) * r2_prime_per_s))


def _decay_nodes(low: float, high: float) -> np.ndarray:
    """Return times between low and high, the ends and 0 among them, closer at the ends of each side."""
    sides = [
        end * 0.5 * (1 - np.cos(np.pi * np.arange(1, _NODES + 1) / _NODES)) for end in (low, high) if abs(end) > 1e-6
    ]
    return np.concatenate([[0.0], *sides])


def slice_profile_matrix(
    centres_mm: np.ndarray, positions_mm: np.ndarray, spacing_mm: float, width_mm: float, flatness: float
) -> np.ndarray:
    """Return the matrix (slices, positions), float32, of slice-selective excitation; a full slice has weight 1.

    Parameters
    ----------
    centres_mm : ndarray, shape (slices,)
    positions_mm : ndarray, shape (positions,)
        Object samples, ``spacing_mm`` apart.
    width_mm : float
        Full width at half maximum of the profile.
    flatness : float
        0 a Gaussian, 1 nearly a box; see ``encoding.slice_kernel``.
    """
    fine = np.linspace(-2.5 * width_mm, 2.5 * width_mm, 2001)
    area = float(np.sum(slice_kernel(fine, width_mm, flatness)) * (fine[1] - fine[0]))
    # the profile is averaged over each sample, so that thin slices keep their weight wherever they lie
    parts = (np.arange(8) + 0.5) / 8 - 0.5
    distance = positions_mm[None, :, None] + spacing_mm * parts[None, None, :] - centres_mm[:, None, None]
    weights = slice_kernel(distance, width_mm, flatness).mean(axis=2) * spacing_mm / area
    return np.asarray(weights, np.float32)
