"""Reading and writing diffusion series: NIfTI with bval and bvec, NRRD, and DICOM for reading."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import InputError, OutputError, ParameterError, ResourceError
from MRHarmonizationLib.volumes import dwi_dicom
from MRHarmonizationLib.volumes.atomic import check_output_path, write_bytes_atomic, write_text_atomic
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.files import volume_stem
from MRHarmonizationLib.volumes.formats import common, gradient_tables, nifti_series, nrrd_series
from MRHarmonizationLib.volumes.gradients import fsl_to_ras, ras_to_fsl
from MRHarmonizationLib.volumes.staging import Staging

#: Endings of diffusion files that can be written; .nhdr, DICOM files and folders can be read too.
WRITABLE: tuple[str, ...] = (".nii", ".nii.gz", ".nrrd")

_NRRD_ENDINGS = (".nrrd", ".nhdr")

#: Names under which FSL itself keeps tables, beside those named like the image.
_TABLE_NAMES = {"bval": (".bval", ".bvals", "bvals", "bval"), "bvec": (".bvec", ".bvecs", "bvecs", "bvec")}

#: What is kept of a BIDS sidecar: its key, name here, factor to the unit in the name (None for text).
_SIDECAR: tuple[tuple[str, str, float | None], ...] = (
    ("EchoTime", "echo_time_ms", 1000.0),
    ("RepetitionTime", "repetition_time_ms", 1000.0),
    ("MagneticFieldStrength", "field_strength_t", 1.0),
    ("Manufacturer", "manufacturer", None),
    ("ManufacturersModelName", "model", None),
    ("SeriesDescription", "series_description", None),
    ("PhaseEncodingAxis", "phase_encoding", None),
    ("PhaseEncodingDirection", "phase_encoding", None),
)

#: Metadata that are numbers, for formats that keep text only.
_NUMBERS = tuple(name for _, name, factor in _SIDECAR if factor is not None)


def read_dwi(
    path: str | os.PathLike[str],
    bval: str | os.PathLike[str] | None = None,
    bvec: str | os.PathLike[str] | None = None,
    series_uid: str | None = None,
) -> DwiVolume:
    """Read a diffusion series.

    Parameters
    ----------
    path : path-like
        A 4-D .nii or .nii.gz file, a .nrrd or .nhdr file, an enhanced DICOM file, or a folder with a DICOM series.
    bval, bvec : path-like, optional
        Text files of a NIfTI image; by default those beside it, named like it or ``bvals`` and ``bvecs``. Directions
        are in FSL's convention, in three rows or three columns.
    series_uid : str, optional
        Which DICOM series of the folder.

    Returns
    -------
    DwiVolume
        Values as :func:`~MRHarmonizationLib.volumes.files.read_volume` gives them. Of NIfTI files, what a BIDS
        sidecar of the same name tells of the scan becomes metadata.

    Raises
    ------
    InputError
        Whatever keeps the file from being a diffusion series; the message names the value and the remedy.
    ParameterError
        ``bval`` or ``bvec`` with a format that holds them itself, or ``series_uid`` without DICOM.
    ResourceError
        Too large for the memory.
    """
    source = Path(path).expanduser()
    try:
        mode = source.stat().st_mode
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            raise common.refusal(source, "is a device or a pipe, not a file", "give an image file or a DICOM folder")
        is_nifti = stat.S_ISREG(mode) and source.name.lower().endswith((".nii", ".nii.gz"))
        is_nrrd = stat.S_ISREG(mode) and source.name.lower().endswith(_NRRD_ENDINGS)
        if not is_nifti and (bval is not None or bvec is not None):
            raise ParameterError(f"bval or bvec given, but {source} is not NIfTI", "leave them out")
        if (is_nifti or is_nrrd) and series_uid is not None:
            raise ParameterError(f"series_uid {series_uid} given, but {source} is not DICOM", "leave series_uid out")
        if is_nifti:
            dwi = _read_nifti(source, bval, bvec)
        elif is_nrrd:
            dwi = _read_nrrd(source)
        else:
            dwi = dwi_dicom.read_dwi_series(source, series_uid)
    except MemoryError:
        raise ResourceError(f"{source}: the series does not fit in memory", "close other programs") from None
    except (InputError, ParameterError):
        raise
    except FileNotFoundError as problem:
        raise common.refusal(problem.filename or source, "does not exist", "check the path") from None
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise common.refusal(source, f"cannot be read ({reason})", "check the path and its permissions") from problem
    return replace(dwi, name=dwi.name or volume_stem(source))


def write_dwi(dwi: DwiVolume, path: str | os.PathLike[str], overwrite: bool = True) -> list[Path]:
    """Write a diffusion series so that all its files appear complete, or none.

    .nii and .nii.gz come with a .bval and a .bvec file of the same name; their geometry is stored in float32 and
    metadata is not kept. .nrrd holds everything, except a direction told for a volume with b = 0.

    Parameters
    ----------
    dwi : DwiVolume
    path : path-like
        Ends with .nii.gz, .nii or .nrrd.
    overwrite : bool
        Whether existing files may be replaced.

    Returns
    -------
    list of Path
        The absolute paths written, the image first.

    Raises
    ------
    OutputError
        Unsupported extension or sample type, or a file cannot be written.
    """
    targets = check_dwi_output(path, overwrite=overwrite)
    image = targets[0]
    with Staging() as staging:
        if image.name.lower().endswith(".nrrd"):
            metadata = {key: str(value) for key, value in dwi.metadata.items()}
            data = nrrd_series.encode(dwi.array, dwi.grid, dwi.b_values_s_per_mm2, dwi.gradients_ras, metadata)
            write_bytes_atomic(data, staging.place(image))
        else:
            data = nifti_series.encode(dwi.array, dwi.grid, image.name.lower().endswith(".gz"))
            write_bytes_atomic(data, staging.place(image))
            directions = ras_to_fsl(dwi.gradients_ras, dwi.grid)
            write_text_atomic(gradient_tables.b_values_text(dwi.b_values_s_per_mm2), staging.place(targets[1]))
            write_text_atomic(gradient_tables.directions_text(directions), staging.place(targets[2]))
    return targets


def check_dwi_output(path: str | os.PathLike[str], bytes_needed: int = 0, overwrite: bool = True) -> list[Path]:
    """Make sure, before any work, that :func:`write_dwi` can write here; return the paths it would write.

    Raises
    ------
    OutputError
        As :func:`~MRHarmonizationLib.volumes.atomic.check_output_path`, for any of the files, and for an extension
        that cannot be written.
    """
    given = Path(path)
    ending = _ending(given)
    for name in (given, given.expanduser().resolve()):  # a link must not hide another extension
        if not ending or _ending(name) != ending:
            raise OutputError(
                f"output {name} does not end with a supported extension", f"use one of {', '.join(WRITABLE)}"
            )
    image = check_output_path(given, bytes_needed, overwrite)
    if ending == ".nrrd":
        return [image]
    stem = given.name[: -len(ending)]
    tables = [check_output_path(given.with_name(stem + table), 0, overwrite) for table in (".bval", ".bvec")]
    return [image, *tables]


def _ending(path: Path) -> str:
    name = path.name.lower()
    return max((end for end in WRITABLE if name.endswith(end) and len(name) > len(end)), key=len, default="")


def _read_nifti(source: Path, bval: str | os.PathLike[str] | None, bvec: str | os.PathLike[str] | None) -> DwiVolume:
    array, grid = nifti_series.read(source)
    count = array.shape[0]
    b_path, v_path = _table(source, "bval", bval), _table(source, "bvec", bvec)
    b_values = gradient_tables.read_b_values(b_path)
    if b_values.size != count:
        raise common.refusal(
            b_path,
            f"holds {b_values.size} b-values for {count} volumes of {source.name}",
            "use the bval file that was written with this scan, complete and unchanged",
        )
    directions = fsl_to_ras(gradient_tables.read_directions(v_path, count), grid)
    return _made(source, lambda: DwiVolume(_last(array), grid, b_values, directions, metadata=_sidecar(source)))


def _read_nrrd(source: Path) -> DwiVolume:
    series = nrrd_series.read(source)
    metadata: dict[str, str | float] = dict(series.metadata)
    for key in _NUMBERS:
        number = _number(metadata.get(key))
        if number is not None:
            metadata[key] = number
    return _made(
        source,
        lambda: DwiVolume(_last(series.array), series.grid, series.b_values, series.gradients_ras, metadata=metadata),
    )


def _last(array: Any) -> Any:
    """Move the volumes from the first axis to the last, without copying."""
    return array.transpose(1, 2, 3, 0)


def _made(source: Path, make: Callable[[], DwiVolume]) -> DwiVolume:
    """Make a series; refusals name the file."""
    try:
        return make()
    except InputError as problem:
        raise type(problem)(f"{source}: {problem.problem}", problem.remedy) from None


def _table(source: Path, kind: str, given: str | os.PathLike[str] | None) -> Path:
    """Return the text file of b-values or directions; raise InputError naming what was looked for."""
    if given is not None:
        path = Path(given).expanduser()
        if not path.is_file():
            raise common.refusal(path, "is not a file", f"give the {kind} file of {source.name}")
        return path
    stem = volume_stem(source)
    candidates = [source.with_name(stem + name if name.startswith(".") else name) for name in _TABLE_NAMES[kind]]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    what = "b-values" if kind == "bval" else "gradient directions"
    raise common.refusal(
        source,
        f"has no {what}: none of {', '.join(path.name for path in candidates)} lies beside it",
        f"give the {kind} file that was written with the scan",
    )


def _sidecar(source: Path) -> dict[str, str | float]:
    """Return what the JSON file of the same name tells, nothing where there is none or it cannot be understood."""
    path = source.with_name(volume_stem(source) + ".json")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    metadata: dict[str, str | float] = {}
    for key, name, factor in _SIDECAR:
        value = content.get(key) if isinstance(content, dict) else None
        if factor is None:
            if isinstance(value, str) and value:
                metadata[name] = value
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            metadata[name] = float(value) * factor
    return metadata


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
