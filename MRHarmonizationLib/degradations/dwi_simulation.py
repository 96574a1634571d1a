"""A diffusion scan of a simulated brain: signal equation, echo-planar encoding, noise, magnitude.

S = ρ (1 − e^(−TR/T1)) e^(−TE/T2) e^(−b gᵀDg), weighted with the coil, on the fine grid of the brain; then slices,
readout and phase encoding as matrices, complex noise on the measured lines, and the magnitude on the scanner's grid.

Assumed: the object has no phase of its own, one diffusion compartment with Gaussian diffusion per fine voxel, one
receive channel, perfect fat suppression as in the tissue table, no motion, eddy currents or local distortion.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import GridMismatchError, InputError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.core.tensor_measures import attenuation
from MRHarmonizationLib.degradations.bias_field import bias_field
from MRHarmonizationLib.degradations.brain_tensors import DiffusionBrain
from MRHarmonizationLib.degradations.brain_tilt import sampled, tilted, tilted_grid
from MRHarmonizationLib.degradations.dwi_parameters import PHASE_ENCODINGS, DwiScannerParameters
from MRHarmonizationLib.degradations.dwi_scanner import DwiScanner, load_scanner, sample_dwi_scanner, scanner_ids
from MRHarmonizationLib.degradations.epi_encoding import (
    decay_terms,
    fourier_matrix,
    ghost_weights,
    image_matrix,
    measured_lines,
    shift_weights,
    slice_profile_matrix,
    spin_echo_decay,
)
from MRHarmonizationLib.degradations.scan_plan import ScanPlan, phase_shift_mm, plan_scan
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume


@dataclass(frozen=True, eq=False)
class _Encoder:
    """The matrices of a scan; see :func:`_encoder`."""

    slices: np.ndarray  # (S, K)
    readout: np.ndarray  # (N, I): to measured readout positions
    lines: np.ndarray  # (terms, 2, L, J): to measured lines, real and imaginary part
    image: np.ndarray  # (rows, L) complex: from lines to image rows
    columns: np.ndarray | None  # (columns, N): readout interpolation; None for none
    noise_filter: np.ndarray | None  # (N, N): the filter's effect on noise along the readout
    line_noise: float  # deviation of a line's noise for unit deviation of the image's


def simulate_dwi(
    brain: DiffusionBrain,
    scanner: DwiScannerParameters | DwiScanner | str,
    seed: int | None = None,
    progress: Progress | None = None,
) -> DwiVolume:
    """Scan a brain.

    Parameters
    ----------
    brain : DiffusionBrain
    scanner : DwiScannerParameters, DwiScanner or str
        The record of one scan, which replays it; or a scanner, its name or its file, of which a scan is drawn.
    seed : int, optional
        Of the draw; only and always with a scanner.
    progress : Progress, optional

    Returns
    -------
    DwiVolume
        float32, (K, J, I, N), on the scanner's grid, gradients in RAS.

    Raises
    ------
    ParameterError
        A seed missing or too much, voxels finer than the brain's.
    InputError
        The brain has no signal in the field of view; a record without weighted or without unweighted volumes.
    """
    parameters = draw_scan(scanner, seed)
    array, grid = simulate_images(brain, parameters, progress=progress)
    name = f"{brain.name} {parameters.scanner}".strip()
    b_values, gradients = np.array(parameters.b_values_s_per_mm2), np.array(parameters.gradients_ras, float)
    return DwiVolume(array, grid, b_values, gradients, name, _metadata(parameters))


def simulate_images(
    brain: DiffusionBrain,
    parameters: DwiScannerParameters,
    volumes: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> tuple[np.ndarray, Grid]:
    """Return some or all volumes of a scan as an array.

    Parameters
    ----------
    brain : DiffusionBrain
    parameters : DwiScannerParameters
    volumes : sequence of int, optional
        Which volumes of the scheme, all by default; each is the same as in the whole scan, noise included.
    progress : Progress, optional

    Returns
    -------
    images : ndarray, shape (K, J, I, volumes), float32
    grid : Grid

    Raises
    ------
    ParameterError, InputError
        As :func:`simulate_dwi`; unknown volumes.
    """
    progress = progress or Progress()
    count = len(parameters.b_values_s_per_mm2)
    chosen = list(range(count)) if volumes is None else [int(v) for v in volumes]
    if not chosen or min(chosen) < 0 or max(chosen) >= count:
        raise ParameterError(f"volumes {chosen[:8]} of {count}", f"choose some from 0 to {count - 1}")
    progress.report(0.0, "Preparing the brain")
    plan = plan_scan(brain, parameters)
    turned = tilted(brain, parameters.tilt_deg).at_field(parameters.field_strength_t)
    tensors, maps, encoder, sigma = _prepare(turned, parameters, plan)
    result = np.empty((*plan.grid.shape, len(chosen)), np.float32)
    for n, volume in enumerate(chosen):
        progress.report(0.1 + 0.9 * n / len(chosen), f"Volume {n + 1} of {len(chosen)}")
        gradient = np.array(parameters.gradients_ras[volume])
        weighting = attenuation(tensors, parameters.b_values_s_per_mm2[volume], gradient)
        rng = np.random.default_rng((parameters.noise_seed, volume))
        image = _measure(maps, weighting, encoder, sigma, rng) * np.float32(parameters.gain)
        if parameters.whole_numbers:
            np.rint(image, out=image)
        result[..., n] = image if plan.phase_axis == 1 else image.transpose(0, 2, 1)
    progress.report(1.0, "Done")
    return result, plan.grid


def travelling_subject(
    brain: DiffusionBrain,
    seed: int,
    scanners: Sequence[DwiScanner | str] | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[DwiScannerParameters, DwiVolume]]:
    """Scan one brain on several scanners, all seven by default; yields each scan with its record.

    Every scanner draws from its own stream, so that leaving one out does not change the others.
    """
    chosen = list(scanners or scanner_ids())
    progress = progress or Progress()
    for n, scanner in enumerate(chosen):
        parameters = draw_scan(scanner, seed)
        part = progress.part(n / len(chosen), (n + 1) / len(chosen))
        yield parameters, simulate_dwi(brain, parameters, progress=part)


def draw_scan(scanner: DwiScannerParameters | DwiScanner | str, seed: int | None = None) -> DwiScannerParameters:
    """Return the record of one scan: as it is, or drawn for a scanner with a seed.

    Raises
    ------
    ParameterError
        A seed with a record, none with a scanner, or a negative one.
    """
    if isinstance(scanner, DwiScannerParameters):
        if seed is not None:
            raise ParameterError(f"seed {seed} with the record of a scan", "leave the seed out: the record replays it")
        return scanner
    if seed is None or seed < 0:
        raise ParameterError(f"seed {seed} for a scanner", "give a whole number of at least 0")
    chosen = scanner if isinstance(scanner, DwiScanner) else load_scanner(scanner)
    return sample_dwi_scanner(np.random.default_rng((seed, zlib.crc32(chosen.id.encode()))), chosen)


def seen_mask(brain: DiffusionBrain, mask: np.ndarray, parameters: DwiScannerParameters) -> Volume:
    """Return where a structure of the brain lies in a scan.

    Parameters
    ----------
    brain : DiffusionBrain
    mask : bool ndarray, shape (K, J, I)
        On the brain's grid: a lesion, a tissue.
    parameters : DwiScannerParameters

    Returns
    -------
    Volume
        bool on the scan's grid: voxels at least half filled, moved along phase encoding as the scan is.

    Raises
    ------
    GridMismatchError
        The mask has another shape.
    """
    share = seen_share(brain, mask, parameters)
    return Volume(share.array >= 0.5, share.grid, "mask")


def seen_share(brain: DiffusionBrain, values: np.ndarray, parameters: DwiScannerParameters) -> Volume:
    """Return the mean of a map of the brain over each voxel of a scan: of a mask, the share that it fills.

    Parameters
    ----------
    brain : DiffusionBrain
    values : bool or real ndarray, shape (K, J, I)
        On the brain's grid.
    parameters : DwiScannerParameters

    Returns
    -------
    Volume
        float32 on the scan's grid, moved along phase encoding as the scan is.

    Raises
    ------
    GridMismatchError
        The map has another shape.
    """
    if values.shape != brain.grid.shape:
        raise GridMismatchError(f"mask of shape {values.shape} for a brain of {brain.grid.shape}", "use its grid")
    plan = plan_scan(brain, parameters)
    share, grid = values.astype(np.float32), brain.grid
    if parameters.tilt_deg:
        grid = tilted_grid(brain.grid, parameters.tilt_deg)
        share = sampled(share, brain.grid, grid, 1, 0.0)
    order = plan.array_order
    spacing = grid.spacing_mm[::-1][list(order)]
    shift = phase_shift_mm(parameters)
    rows, columns = (n * parameters.interpolation for n in (plan.phase.lines, plan.readout.lines))
    centres = (plan.slices_mm, plan.phase.positions_mm(rows) - shift, plan.readout.positions_mm(columns))
    widths = (
        max(parameters.slice_thickness_mm, parameters.slice_spacing_mm),
        plan.phase.field_of_view_mm / rows,
        plan.readout.field_of_view_mm / columns,
    )
    share = share.transpose(order)
    for axis in range(3):
        positions = np.arange(share.shape[axis]) * spacing[axis]
        matrix = slice_profile_matrix(centres[axis], positions, spacing[axis], widths[axis], 1.0)
        share = np.moveaxis(np.tensordot(matrix, share, (1, axis)), 0, axis)
    return Volume(share.transpose(order).astype(np.float32), plan.grid, "share")


def _prepare(
    brain: DiffusionBrain, parameters: DwiScannerParameters, plan: ScanPlan
) -> tuple[np.ndarray, list[np.ndarray], _Encoder, float]:
    """Return tensors and signal maps in axes (slice, phase, readout), cropped to the signal, matrices and σ."""
    brightness = brain.proton_density * -np.expm1(-np.float32(parameters.repetition_time_ms) / brain.t1_ms)
    brightness *= np.exp(-np.float32(parameters.echo_time_ms) / brain.t2_ms)
    if parameters.bias_field is not None:
        brightness *= bias_field(brain.grid.shape, parameters.bias_field)
    inside = brain.brain_mask
    level = float(brightness[inside].mean())
    spacing = brain.grid.spacing_mm[::-1]
    reach = 2.5 * parameters.slice_thickness_mm
    rows = np.arange(brain.grid.shape[0]) * spacing[0]
    near = (rows >= plan.slices_mm[0] - reach) & (rows <= plan.slices_mm[-1] + reach)
    bright = (brightness > 0) & near[:, None, None]
    if level <= 0 or not bright.any():
        raise InputError("the brain has no signal in the field of view", "move the field of view, or use its default")
    block = tuple(
        slice(int(where[0]), int(where[-1]) + 1)
        for where in (np.flatnonzero(bright.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3))
    )
    order = plan.array_order
    cut = {name: getattr(brain, name)[block].transpose(order) for name in ("t2_ms", "r2_prime_per_s")}
    phase_times = plan.phase.indices * parameters.readout_ms / 1000.0 / plan.phase.lines
    kept = measured_lines(plan.phase, parameters.partial_fourier)
    terms = decay_terms(phase_times[kept])
    signal = np.ascontiguousarray(brightness[block].transpose(order))
    rate = 1000.0 / cut["t2_ms"]
    maps = [np.zeros(signal.shape, np.float32) for _ in range(terms.courses.shape[0])]
    for node, shares in zip(terms.nodes_s, terms.mixing, strict=True):
        decayed = signal * spin_echo_decay(float(node), rate, cut["r2_prime_per_s"])
        for total, share in zip(maps, shares, strict=True):
            total += np.float32(share) * decayed
    tensors = np.ascontiguousarray(brain.tensors[block].transpose((*order, 3)))
    starts = np.array([part.start for part in block])[list(order)]
    encoder = _encoder(parameters, plan, spacing[list(order)], starts, signal.shape, terms.courses, kept)
    return tensors, maps, encoder, level / parameters.snr_b0


def _encoder(
    parameters: DwiScannerParameters,
    plan: ScanPlan,
    spacing: np.ndarray,
    starts: np.ndarray,
    shape: tuple[int, ...],
    courses: np.ndarray,
    kept: np.ndarray,
) -> _Encoder:
    """Return the matrices of a scan for an object block that starts at ``starts`` (slice, phase, readout)."""
    places = [(start + np.arange(n)) * s for start, n, s in zip(starts, shape, spacing, strict=True)]
    slices = slice_profile_matrix(
        plan.slices_mm, places[0], spacing[0], parameters.slice_thickness_mm, parameters.slice_flatness
    )
    window = plan.readout.filter_weights(parameters.filter_taper)
    to_readout = image_matrix(plan.readout, plan.readout.lines) * window
    readout = (to_readout @ fourier_matrix(plan.readout, places[2], spacing[2])).real.astype(np.float32)
    weights = ghost_weights(plan.phase, parameters.ghost) * shift_weights(plan.phase, phase_shift_mm(parameters))
    measured = (weights[:, None] * fourier_matrix(plan.phase, places[1], spacing[1]))[kept]
    lines = np.stack([course[:, None] * measured for course in courses])
    phase_window = plan.phase.filter_weights(parameters.filter_taper)
    image = (image_matrix(plan.phase, plan.phase.lines * parameters.interpolation) * phase_window)[:, kept]
    columns = noise_filter = None
    unfiltered = image_matrix(plan.readout, plan.readout.lines)
    analysis = unfiltered.conj().T * plan.readout.lines
    if parameters.interpolation > 1:
        wide = image_matrix(plan.readout, plan.readout.lines * parameters.interpolation)
        columns = (wide @ analysis).real.astype(np.float32)
    if parameters.filter_taper > 0:
        noise_filter = ((to_readout @ analysis).real / np.sqrt(np.mean(window**2))).astype(np.float32)
    return _Encoder(
        slices,
        readout,
        np.stack([lines.real, lines.imag], axis=1).astype(np.float32),
        image.astype(np.complex64),
        columns,
        noise_filter,
        float(plan.phase.lines / np.sqrt(np.sum(phase_window[kept] ** 2))),
    )


def _measure(
    maps: list[np.ndarray], weighting: np.ndarray, encoder: _Encoder, sigma: float, rng: np.random.Generator
) -> np.ndarray:
    """Return one magnitude image (slices, rows, columns), float32, gain 1."""
    parts = []
    for term in maps:
        weighted = (term * weighting).reshape(term.shape[0], -1)
        in_slices = (encoder.slices @ weighted).reshape(-1, *term.shape[1:])
        parts.append(in_slices @ encoder.readout.T)
    stacked = np.concatenate(parts, axis=1)  # (slices, terms · J, N)
    real, imaginary = (np.concatenate(list(encoder.lines[:, n]), axis=1) @ stacked for n in (0, 1))
    lines = (real + 1j * imaginary).astype(np.complex64)
    if sigma > 0:
        lines += _line_noise(rng, lines.shape, encoder, sigma)
    image = encoder.image @ lines
    if encoder.columns is not None:
        image = image @ encoder.columns.T
    return np.abs(image)


def _line_noise(rng: np.random.Generator, shape: tuple[int, ...], encoder: _Encoder, sigma: float) -> np.ndarray:
    """Return complex noise of the measured lines at every readout position, complex64."""
    pair = rng.standard_normal((2, *shape), dtype=np.float32)
    if encoder.noise_filter is not None:
        pair = pair @ encoder.noise_filter.T
    scale = np.float32(sigma * encoder.line_noise)
    return np.asarray(scale * (pair[0] + 1j * pair[1]), np.complex64)


def _metadata(parameters: DwiScannerParameters) -> dict[str, str | float]:
    axis, sign = PHASE_ENCODINGS[parameters.phase_encoding]
    return {
        "echo_time_ms": parameters.echo_time_ms,
        "repetition_time_ms": parameters.repetition_time_ms,
        "field_strength_t": parameters.field_strength_t,
        "manufacturer": "simulated",
        "model": parameters.scanner,
        "phase_encoding": axis if sign > 0 else f"{axis}-",
    }
