"""Harmonisation of diffusion scans in files: scan, tables, record, residual and maps, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from MRHarmonizationLib.core.errors import OutputError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.dwi_request import HarmonizeDwiRequest, output_grid
from MRHarmonizationLib.inference.file_operations import undo_file
from MRHarmonizationLib.inference.file_targets import (
    READING_PART,
    RESIDUAL_SUFFIX,
    WRITING_ALLOWANCE,
    AnyPath,
    checked_residual_path,
    refuse_same_file,
)
from MRHarmonizationLib.inference.harmonize_dwi import HarmonizeDwiResult, harmonize_dwi
from MRHarmonizationLib.inference.provenance import sidecar_path
from MRHarmonizationLib.inference.undo_series import undo_series
from MRHarmonizationLib.volumes.dwi_files import check_dwi_output, read_dwi, write_dwi
from MRHarmonizationLib.volumes.files import check_output_path, read_volume, write_json_atomic, write_volume
from MRHarmonizationLib.volumes.formats import nrrd_series
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.staging import Staging
from MRHarmonizationLib.volumes.volume import Volume

#: What follows the name of the result in that of its residual.
RESIDUAL_ENDING = "_residual.nrrd"
#: Ending of the maps.
MAP_ENDING = ".nrrd"
#: Names of the maps that every scan can have; MD is an apparent diffusion coefficient where no tensor can be fitted.
MAP_NAMES = ("b0", "trace", "md", "fa")
#: Fraction of the progress at which the harmonisation itself ends; the rest is writing.
WORKED = 0.85


@dataclass(frozen=True)
class HarmonizedDwiFiles:
    """Where :func:`harmonize_dwi_file` put its result.

    Attributes
    ----------
    output, sidecar : Path
        The harmonised scan and the record of where it comes from.
    bval, bvec : Path or None
        Its tables, for NIfTI.
    residual : Path or None
        What :func:`undo_dwi_file` needs, if it was asked for.
    maps : dict of str to Path
        ``b0_before``, ``b0_after`` and so on, ``gain`` and ``brain``, if they were asked for.
    result : HarmonizeDwiResult
    """

    output: Path
    sidecar: Path
    bval: Path | None
    bvec: Path | None
    residual: Path | None
    maps: Mapping[str, Path]
    result: HarmonizeDwiResult = field(repr=False)


def harmonize_dwi_file(
    source: AnyPath,
    output: AnyPath,
    request: HarmonizeDwiRequest | None = None,
    *,
    bval: AnyPath | None = None,
    bvec: AnyPath | None = None,
    mask: AnyPath | None = None,
    residual: AnyPath | None = None,
    maps: AnyPath | None = None,
    series_uid: str | None = None,
    progress: Progress | None = None,
) -> HarmonizedDwiFiles:
    """Harmonise a diffusion scan in a file or a DICOM folder.

    Parameters
    ----------
    source, bval, bvec, series_uid
        As for :func:`~MRHarmonizationLib.volumes.dwi_files.read_dwi`.
    output : path-like
        Ends with .nii.gz, .nii or .nrrd. Its provenance is written beside it, ``.mrh.json`` in place of the extension.
    request : HarmonizeDwiRequest, optional
        Defaults throughout if omitted.
    mask : path-like, optional
        Brain, nonzero, on the scan's grid.
    residual : path-like, optional
        Where to write the residual, a ``.nrrd`` file; by default beside ``output``, ``_residual.nrrd`` in place of
        its extension, if the request keeps one.
    maps : path-like, optional
        Folder for maps of b0, trace, MD and FA before and after, gain and brain; made if needed.
    progress : Progress, optional

    Raises
    ------
    InputError, OutputError, ParameterError
        Checked before the work begins as far as it can be known then.
    Other errors of the library
        As :func:`~MRHarmonizationLib.inference.harmonize_dwi.harmonize_dwi`.
    """
    progress, request = progress or Progress(), request or HarmonizeDwiRequest()
    targets = check_dwi_output(output)
    if residual is None and request.keep_residual:
        residual = residual_path(targets[0])
    residual_target = checked_residual_path(residual)
    request = replace(request, keep_residual=residual_target is not None)
    sidecar = check_output_path(sidecar_path(targets[0]))
    folder = None if maps is None else _made_folder(maps)
    map_paths = {} if folder is None else _map_paths(folder)
    given = {"input": source, "bval": bval, "bvec": bvec, "mask": mask, "fitted harmoniser": request.fitted}
    read = {name: None if path is None else Path(path) for name, path in given.items()}
    written = {"output": targets[0], "residual": residual_target, "sidecar": sidecar, **map_paths}
    tables = dict(zip(("output bval", "output bvec"), targets[1:], strict=False))
    refuse_same_file({**read, **written, **tables})
    progress.report(0.0, "Reading the scan")
    scan = read_dwi(source, bval, bvec, series_uid)
    region = None if mask is None else read_volume(mask)
    _check_space(output_grid(scan.grid, request.spacing_mm), scan.n_volumes, targets[0], residual_target)
    result = harmonize_dwi(scan, request, region, progress.part(READING_PART, WORKED))
    progress.report(WORKED, "Writing the result")
    with Staging() as staging:
        done = _write(result, targets[0], residual_target, sidecar, map_paths, staging, progress.part(WORKED, 1.0))
        progress.check()
    progress.report(1.0, "Done")
    return done


def residual_path(output: Path) -> Path:
    """Return where the residual of a result lies by default.

    >>> residual_path(Path("out/scan.nii.gz")).as_posix()
    'out/scan_residual.nrrd'
    """
    return sidecar_path(output).with_name(sidecar_path(output).name.removesuffix(".mrh.json") + RESIDUAL_ENDING)


def undo_dwi_file(
    harmonized: AnyPath,
    residual: AnyPath,
    output: AnyPath,
    bval: AnyPath | None = None,
    bvec: AnyPath | None = None,
) -> Path:
    """Write the scan that a harmonisation started from, on the output grid, bit for bit.

    Parameters
    ----------
    harmonized, residual : path-like
        The two files :func:`harmonize_dwi_file` wrote together.
    output : path-like
        Ends with .nii.gz, .nii or .nrrd.
    bval, bvec : path-like, optional
        Tables of a NIfTI file that do not lie beside it.

    Returns
    -------
    Path
        The absolute path written.

    Raises
    ------
    InputError
        If the two do not belong together or one is altered.
    OutputError
        If the output cannot be written.
    """
    targets = check_dwi_output(output)
    refuse_same_file({"harmonised": Path(harmonized), "residual": Path(residual), "output": targets[0]})
    restored = undo_series(read_dwi(harmonized, bval, bvec), read_dwi(residual))
    return write_dwi(restored, targets[0])[0]


def undo_any_file(changed: AnyPath, residual: AnyPath, output: AnyPath) -> Path:
    """Undo an enhancement or a harmonisation, of one volume or of a series, as the residual says; see the two."""
    source = Path(residual).expanduser()
    if source.name.lower().endswith(RESIDUAL_SUFFIX) and nrrd_series.is_series(source):
        return undo_dwi_file(changed, residual, output)
    return undo_file(changed, residual, output)


def _write(
    result: HarmonizeDwiResult,
    target: Path,
    residual: Path | None,
    sidecar: Path,
    map_paths: Mapping[str, Path],
    staging: Staging,
    progress: Progress,
) -> HarmonizedDwiFiles:
    """Write everything aside; leaving the staging puts it in place."""
    maps: dict[str, Path] = {}
    for name, volume in result_maps(result).items():
        if name in map_paths:
            maps[name] = map_paths[name]
            write_volume(volume, staging.place(maps[name]))
    if residual is not None and result.residual is not None:
        write_dwi(result.residual, staging.place(residual))
    progress.report(0.4, "Writing the result")
    record = result.provenance.to_dict() | {
        "table": [row.to_dict() for row in result.table],
        "strength_used": result.strength_used,
        "spatial_strength": result.spatial_strength,
        "noise": result.noise.to_dict(),
    }
    write_json_atomic(record, staging.place(sidecar))
    written = write_dwi(result.dwi, staging.place(target))
    paths = [staging_target(target, path) for path in written]
    for path in paths[1:]:
        staging.place(path)
    bval, bvec = (paths[1], paths[2]) if len(paths) == 3 else (None, None)
    return HarmonizedDwiFiles(target, sidecar, bval, bvec, residual, maps, result)


def staging_target(target: Path, staged: Path) -> Path:
    """Return where a file written aside will appear: beside the target, under its own name."""
    return target.with_name(staged.name)


def result_maps(result: HarmonizeDwiResult) -> dict[str, Volume]:
    """Return every map of a result by name: ``b0_before`` … ``fa_after``, ``gain`` and ``brain``."""
    maps = {f"{name}_before": volume for name, volume in result.before.named().items()}
    maps |= {f"{name}_after": volume for name, volume in result.after.named().items()}
    if result.gain is not None:
        maps["gain"] = result.gain
    return maps | {"brain": result.mask}


def _map_paths(folder: Path) -> dict[str, Path]:
    names = [f"{name}_{when}" for when in ("before", "after") for name in MAP_NAMES]
    return {name: check_output_path(folder / f"{name}{MAP_ENDING}") for name in (*names, "gain", "brain")}


def _made_folder(path: AnyPath) -> Path:
    folder = Path(path).expanduser().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"folder {folder} cannot be made: {error.strerror}", "choose another folder") from error
    return folder


def _check_space(grid: Grid, volumes: int, target: Path, residual: Path | None) -> None:
    """Refuse to begin work whose result will not fit on the disk; raises OutputError."""
    needed = int(np.prod(grid.shape, dtype=np.int64) * volumes * 4 * WRITING_ALLOWANCE)
    shared = residual is not None and residual.parent == target.parent
    check_output_path(target, needed * 2 if shared else needed)
    if residual is not None and not shared:
        check_output_path(residual, needed)
