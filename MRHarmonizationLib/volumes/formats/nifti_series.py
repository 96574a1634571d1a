"""NIfTI files of several volumes; see :mod:`~MRHarmonizationLib.volumes.formats.nifti`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from MRHarmonizationLib.volumes.formats import common, nifti
from MRHarmonizationLib.volumes.grid import Grid


def read(path: Path) -> tuple[np.ndarray, Grid]:
    """Read all volumes of a 4-D .nii or .nii.gz file.

    Returns
    -------
    array : ndarray, shape (N, K, J, I)
        Scaled as :func:`~MRHarmonizationLib.volumes.formats.nifti.read` does.
    grid : Grid

    Raises
    ------
    InputError
        As that function, except that one volume is refused and several are not.
    ResourceError
        Too large for the memory.
    """
    _, grid, array = nifti.read_samples(path, _shape)
    return array, grid


def encode(array: np.ndarray, grid: Grid, compress: bool) -> bytes:
    """Return the bytes of a 4-D NIfTI-1 file.

    Parameters
    ----------
    array : ndarray, shape (K, J, I, N)
    grid : Grid
    compress : bool

    Raises
    ------
    OutputError
        A sample type or a size that NIfTI-1 cannot hold.
    """
    first = common.storable(array[..., 0], "NIfTI", nifti.SAMPLE_TYPES)
    header = nifti.encode_header(grid, first.dtype, array.shape[3])
    volumes = (np.ascontiguousarray(array[..., n], first.dtype) for n in range(array.shape[3]))
    if compress:
        return common.deflated_parts(volumes, prefix=header, gzip_wrapper=True)
    return b"".join((header, *(volume.tobytes() for volume in volumes)))


def _shape(header: nifti.NiftiHeader, path: Path) -> tuple[int, int, int, int]:
    """Return (N, K, J, I); the volumes lie along the fourth axis, or the fifth (how ITK stores vectors)."""
    rank, sizes = header.dim[0], header.dim[1:]
    if not 1 <= rank <= 7 or min(sizes[:rank]) < 1:
        raise common.refusal(path, f"dim {list(header.dim)} is not a valid size", "correct the image header")
    used = [*sizes[:rank], *([1] * (7 - rank))]
    text = " x ".join(str(n) for n in sizes[:rank])
    series = [size for size in used[3:] if size > 1]
    if not series:
        raise common.single_volume(path, f"dim {text}")
    if len(series) > 1:
        raise common.several_values(path, series[-1], f"two series axes, dim {text}")
    return series[0], used[2], used[1], used[0]
