"""Pictures of the travelling subject: one plane of every scanner's scan, as it is, harmonised, and canonical."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from MRHarmonizationLib.core.errors import DependencyError
from MRHarmonizationLib.evaluation.dwi_protocol_cases import PreparedDwi
from MRHarmonizationLib.evaluation.dwi_protocol_measures import Looked
from MRHarmonizationLib.volumes.atomic import write_bytes_atomic

#: Images that are drawn, and their windows where these are fixed: FA, and MD in mm²/s.
DRAWN: Mapping[str, tuple[float, float] | None] = {"b0": None, "trace": None, "fa": (0.0, 0.8), "md": (0.0, 3.0e-3)}
#: Percentile of the canonical scan's brain that is white.
WHITE_PERCENTILE = 99.5
#: Voxels drawn around the brain.
BORDER = 10
DOTS_PER_INCH = 110
#: Side of one picture, and room for words beside and above all of them, inch.
SIDE_INCH, LABEL_INCH = 1.6, 0.25
Planes = Mapping[str, np.ndarray]


def write_planes(looked: Looked, factor: float, prepared: PreparedDwi, folder: Path, case_id: str, method: str) -> Path:
    """Keep one axial plane of a scan's maps: through the stroke, or where the brain is widest.

    Parameters
    ----------
    looked : Looked
    factor : float
        Brings scans without canonical units to them.
    prepared : PreparedDwi
    folder : Path
    case_id, method : str

    Returns
    -------
    Path
        An .npz with ``b0``, ``trace``, ``fa``, ``md``, float32 (J, I), and ``white``: the bright ends of b0 and trace.
    """
    lesion = prepared.lesions.get("stroke")
    wide = prepared.brain if lesion is None or not lesion.any() else lesion
    place = int(np.argmax(wide.sum(axis=(1, 2))))
    scale = 1.0 if looked.has_units else factor
    maps = looked.maps.named()
    values = {}
    for name in DRAWN:
        plane = maps[name].array[place] if name in maps else np.zeros(prepared.grid.shape[1:])
        values[name] = np.asarray(plane * (scale if name in ("b0", "trace") else 1.0), np.float32)
    inside = prepared.brain[place]
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    box = tuple(slice(max(0, int(w[0]) - BORDER), int(w[-1]) + 1 + BORDER) for w in (rows, columns))
    white = [float(np.percentile(values[name][inside], WHITE_PERCENTILE)) for name in ("b0", "trace")]
    stream = io.BytesIO()
    np.savez_compressed(stream, white=np.array(white), **{n: v[box] for n, v in values.items()})  # type: ignore[arg-type]
    return write_bytes_atomic(stream.getvalue(), planes_path(folder, case_id, method))


def planes_path(folder: Path, case_id: str, method: str) -> Path:
    """Return where the planes of a case and method lie."""
    return folder / f"{case_id}--{method.replace(':', '_')}.npz"


def read_planes(folder: Path, case_id: str, method: str) -> Planes | None:
    """Return what :func:`write_planes` kept; None where there is nothing."""
    path = planes_path(folder, case_id, method)
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def planes_figure(
    rows: Sequence[tuple[str, Mapping[str, Planes]]], methods: Sequence[str], image: str, reference: str
) -> bytes:
    """Draw one image in radiological view: a row per scanner, a column per method.

    Parameters
    ----------
    rows : sequence of (scanner, method → planes)
    methods : sequence of str
        Columns; a method that a row lacks is left empty.
    image : str
        Key of :data:`DRAWN`.
    reference : str
        Method whose bright end is white in its row.

    Returns
    -------
    bytes
        PNG.

    Raises
    ------
    DependencyError
        matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise DependencyError("pictures need matplotlib, which is not installed", "pip install matplotlib") from missing
    width, height = SIDE_INCH * len(methods) + LABEL_INCH, SIDE_INCH * len(rows) + LABEL_INCH
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH)
    axes = figure.subplots(len(rows), len(methods), squeeze=False)
    edges = {"left": LABEL_INCH / width, "right": 1.0, "bottom": 0.0, "top": 1.0 - LABEL_INCH / height}
    figure.subplots_adjust(**edges, wspace=0.03, hspace=0.03)
    for line, (scanner, planes) in zip(axes, rows, strict=True):
        window = DRAWN[image]
        if window is None:
            place = ("b0", "trace").index(image)
            known = planes.get(reference) or next(iter(planes.values()))
            window = (0.0, float(known["white"][place]))
        for cell, method in zip(line, methods, strict=True):
            cell.set_xticks([])
            cell.set_yticks([])
            if method in planes:
                plane = planes[method][image]
                cell.imshow(plane[:, ::-1], cmap="gray", vmin=window[0], vmax=window[1], origin="lower")
            if scanner == rows[0][0]:
                cell.set_title(method, fontsize=8)
        line[0].set_ylabel(scanner, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
