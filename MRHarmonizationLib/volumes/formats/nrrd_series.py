"""Diffusion series in NRRD: the NA-MIC convention of 3D Slicer, teem and MITK.

Directions are key:=value pairs ``DWMRI_gradient_NNNN``, told in the file's measurement frame. Weaker weightings have
shorter vectors: b = ``DWMRI_b-value`` · (|g| / longest |g|)².
Source: NA-MIC, "NRRD format for DWI", https://www.na-mic.org/wiki/NAMIC_Wiki:DTI:Nrrd_format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.volumes.formats import common, nrrd
from MRHarmonizationLib.volumes.gradients import B0_LIMIT_S_PER_MM2
from MRHarmonizationLib.volumes.grid import Grid

_MODALITY_KEY = "modality"
_MODALITY = "DWMRI"
_B_VALUE_KEY = "DWMRI_b-value"
_GRADIENT_KEY = "DWMRI_gradient_"
#: b-values of all volumes, written beside the convention's keys: vectors of length zero cannot tell a b of 1.25.
_ALL_B_KEY = "MRHarmonization_b_values_s_per_mm2"
_OWN_KEYS = ("DWMRI_", _MODALITY_KEY, _ALL_B_KEY)

#: b-values are recovered from vector lengths; this many decimals (s/mm²) remove the rounding of the square root.
_B_DECIMALS = 6

_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class NrrdSeries:
    """A diffusion series as a file holds it.

    Attributes
    ----------
    array : ndarray, shape (N, K, J, I)
    grid : Grid
    b_values : ndarray, shape (N,)
        s/mm².
    gradients_ras : ndarray, shape (N, 3)
        Unit vectors, or zero.
    metadata : dict of str to str
        All other key:=value pairs.
    """

    array: np.ndarray
    grid: Grid
    b_values: np.ndarray
    gradients_ras: np.ndarray
    metadata: dict[str, str]


def read(path: Path) -> NrrdSeries:
    """Read a .nrrd or .nhdr file of a diffusion series.

    Raises
    ------
    InputError
        As :func:`~MRHarmonizationLib.volumes.formats.nrrd.read`; also a file that is three-dimensional or says
        nothing, or not enough, of b-values, directions and their frame.
    ResourceError
        Too large for the memory.
    """
    content = nrrd.read_samples(path, _axes)
    count = content.array.shape[0]
    reference = _reference_b_value(content.metadata, path)
    vectors = _vectors(content.metadata, count, path)
    lengths = np.linalg.norm(vectors, axis=1)
    longest = float(lengths.max())
    if longest == 0:
        raise common.refusal(path, "all its gradients are zero", "choose a diffusion series")
    told = np.round(reference * (lengths / longest) ** 2, _B_DECIMALS)
    b_values = _exact_b_values(content.metadata, told, lengths > 0)
    frame = np.diag(nrrd.to_ras_signs(content.fields)) @ _measurement_frame(content.fields, path)
    directions = (vectors / np.where(lengths > 0, lengths, 1.0)[:, None]) @ frame.T
    metadata = {key: value for key, value in content.metadata.items() if not key.startswith(_OWN_KEYS)}
    return NrrdSeries(content.array, content.grid, b_values, directions, metadata)


def is_series(path: Path) -> bool:
    """Tell whether a file is an NRRD file that says it is a diffusion series."""
    try:
        return nrrd.read_metadata(path).get(_MODALITY_KEY) == _MODALITY
    except (InputError, OSError):
        return False


def encode(
    array: np.ndarray, grid: Grid, b_values: np.ndarray, gradients_ras: np.ndarray, metadata: Mapping[str, str]
) -> bytes:
    """Return the bytes of a .nrrd file of a diffusion series.

    Parameters
    ----------
    array : ndarray, shape (K, J, I, N)
    grid : Grid
    b_values : ndarray, shape (N,)
        s/mm².
    gradients_ras : ndarray, shape (N, 3)
        Unit vectors. A direction of a volume with b = 0 has no length to be written with and is lost.
    metadata : mapping of str to str

    Raises
    ------
    OutputError
        A sample type or a metadata key that NRRD cannot hold.
    """
    first = common.storable(array[..., 0], "NRRD", nrrd.SAMPLE_TYPES)
    largest = float(b_values.max())
    vectors = gradients_ras * _LPS * np.sqrt(b_values / largest)[:, None] + 0.0
    listed = " ".join(map(repr, b_values.tolist()))
    keys = {_MODALITY_KEY: _MODALITY, _B_VALUE_KEY: repr(largest), _ALL_B_KEY: listed}
    keys.update({f"{_GRADIENT_KEY}{n:04d}": " ".join(map(repr, v)) for n, v in enumerate(vectors.tolist())})
    kept = {key: value for key, value in metadata.items() if not key.startswith(_OWN_KEYS)}
    header = nrrd.encode_header(grid, first.dtype, keys | kept, array.shape[3])
    volumes = (np.ascontiguousarray(array[..., n], first.dtype) for n in range(array.shape[3]))
    return header + common.deflated_parts(volumes, gzip_wrapper=True)


def _axes(fields: dict[str, str], path: Path) -> list[int]:
    """Return the axes i, j, k and that of the volumes, which may be any."""
    sizes = nrrd.axis_sizes(fields, path)
    directions = nrrd.axis_directions(fields, path)
    spatial = [axis for axis, vector in enumerate(directions) if vector is not None]
    series = [axis for axis, size in enumerate(sizes) if axis not in spatial and size > 1]
    text = f"sizes {' x '.join(map(str, sizes))}"
    if len(spatial) == 3 and not series:
        raise common.single_volume(path, text)
    if len(spatial) != 3 or len(series) != 1:
        raise common.refusal(
            path,
            f"has {len(spatial)} axes in space and {len(series)} others ({text}); expected 3 and 1",
            "choose a diffusion series",
        )
    return [*spatial, series[0]]


def _reference_b_value(metadata: Mapping[str, str], path: Path) -> float:
    text = metadata.get(_B_VALUE_KEY)
    if text is None:
        modality = metadata.get(_MODALITY_KEY, "none")
        raise common.refusal(
            path, f"has no {_B_VALUE_KEY} (modality {modality})", "choose a diffusion series (modality:=DWMRI)"
        )
    try:
        return float(text)
    except ValueError:
        raise common.refusal(path, f"{_B_VALUE_KEY} is {text!r}, not a number", "correct the image header") from None


def _exact_b_values(metadata: Mapping[str, str], told: np.ndarray, has_length: np.ndarray) -> np.ndarray:
    """Return the b-values written by this library if they still fit the vectors (others may have edited them)."""
    try:
        listed = np.array([float(word) for word in metadata.get(_ALL_B_KEY, "").split()])
    except ValueError:
        return told
    if listed.shape != told.shape or not np.allclose(listed[has_length], told[has_length], rtol=1e-3, atol=1e-5):
        return told
    return listed if np.all(listed[~has_length] <= B0_LIMIT_S_PER_MM2) else told


def _vectors(metadata: Mapping[str, str], count: int, path: Path) -> np.ndarray:
    repeated = [key for key in metadata if key.startswith(("DWMRI_NEX", "DWMRI_B-matrix"))]
    if repeated:
        raise common.refusal(
            path, f"tells its weighting by {repeated[0]}, which is not supported", "write one gradient per volume"
        )
    numbers = {int(match[1]): key for key in metadata if (match := re.fullmatch(_GRADIENT_KEY + r"(\d+)", key))}
    if sorted(numbers) != list(range(count)):
        raise common.refusal(
            path,
            f"has {len(numbers)} gradients ({_GRADIENT_KEY}NNNN) for {count} volumes",
            "save the series again with one gradient per volume, numbered from 0",
        )
    vectors = np.zeros((count, 3))
    for number, key in numbers.items():
        try:
            vectors[number] = [float(word) for word in metadata[key].split()]
        except ValueError:
            raise common.refusal(
                path, f"{key} is {metadata[key]!r}, not three numbers", "correct the image header"
            ) from None
        if not np.all(np.isfinite(vectors[number])):
            raise common.refusal(path, f"{key} is {metadata[key]!r}", "correct the directions, or remove the volume")
    return vectors


def _measurement_frame(fields: Mapping[str, str], path: Path) -> np.ndarray:
    """Return the matrix that turns gradients into the file's space, checked to be a rotation (or mirrored one)."""
    text = fields.get("measurement frame")
    if text is None:
        raise common.refusal(
            path,
            "does not say in which frame its gradients are told",
            "add 'measurement frame: (1,0,0) (0,1,0) (0,0,1)' if they are in the file's space",
        )
    columns = [nrrd.vector_of(word) for word in re.findall(r"\([^)]*\)", text)]
    matrix = np.array(columns).T if [len(column) for column in columns] == [3, 3, 3] else np.full((3, 3), np.nan)
    if not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-2):
        raise common.refusal(path, f"measurement frame {text} is not a rotation", "correct the image header")
    return matrix
