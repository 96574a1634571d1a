"""Text files of b-values and gradient directions, as FSL, dcm2niix and MRtrix write them (bval, bvec)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from MRHarmonizationLib.volumes.formats import common

#: A table of text is smaller than this; larger files are something else.
_LARGEST_BYTES = 4 << 20


def read_b_values(path: Path) -> np.ndarray:
    """Read b-values written in one row or one column.

    Returns
    -------
    ndarray, shape (N,)

    Raises
    ------
    InputError
        Not a table of numbers, or more than one row and column.
    """
    rows = _read_rows(path)
    if len(rows) > 1 and max(map(len, rows)) > 1:
        raise common.refusal(
            path,
            f"holds {len(rows)} rows of up to {max(map(len, rows))} numbers; expected one row of b-values",
            "give the bval file here and the bvec file as the directions",
        )
    return np.array([number for row in rows for number in row])


def read_directions(path: Path, count: int) -> np.ndarray:
    """Read directions written in three rows (FSL) or in three columns.

    Parameters
    ----------
    path : Path
    count : int
        Number of volumes, which tells the layouts apart.

    Returns
    -------
    ndarray, shape (N, 3)
        As written; NaN stays NaN.

    Raises
    ------
    InputError
        Not a table of numbers, rows of different lengths, or neither three rows nor three columns of ``count``.
    """
    rows = _read_rows(path)
    lengths = [len(row) for row in rows]
    if len(set(lengths)) > 1:
        raise common.refusal(
            path,
            f"has rows of {', '.join(map(str, lengths[:8]))} numbers; expected three rows of {count}",
            "the file is cut short or altered: copy it again",
        )
    table = np.array(rows)
    if table.shape == (3, 3) and count == 3:
        return _unit_rows(table)
    if table.shape == (3, count):
        return np.ascontiguousarray(table.T)
    if table.shape == (count, 3):
        return table
    raise common.refusal(
        path,
        f"holds {table.shape[0]} x {table.shape[1]} numbers; expected 3 x {count}, one direction for each volume",
        "use the bvec file that was written with this scan",
    )


def _unit_rows(table: np.ndarray) -> np.ndarray:
    """Of three directions, take the columns (FSL's layout) unless only the rows are unit vectors or zero."""

    def plausible(vectors: np.ndarray) -> bool:
        lengths = np.linalg.norm(np.nan_to_num(vectors), axis=1)
        return bool(np.all((np.abs(lengths - 1) < 0.02) | (lengths == 0)))

    return table if plausible(table) and not plausible(table.T) else table.T


def b_values_text(b_values: np.ndarray) -> str:
    """Return the text of a bval file: one row, no digit lost."""
    return " ".join(_number_text(value) for value in b_values) + "\n"


def directions_text(directions: np.ndarray) -> str:
    """Return the text of a bvec file: three rows, no digit lost.

    Parameters
    ----------
    directions : ndarray, shape (N, 3)
        In FSL's convention.
    """
    return "".join(" ".join(_number_text(value) for value in row) + "\n" for row in directions.T)


def _number_text(value: float) -> str:
    return repr(float(value)).removesuffix(".0")


def _read_rows(path: Path) -> list[list[float]]:
    size = common.file_size(path)
    data = path.read_bytes() if size <= _LARGEST_BYTES else b"\0"
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise common.refusal(
            path, f"is not a table of numbers but {common.describe_content(data)}", "give a bval or bvec text file"
        )
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.replace(",", " ").replace(";", " ").strip("[]() \t").split()
        try:
            row = [float(word) for word in words]
        except ValueError as problem:
            raise common.refusal(
                path, f"line {number} is not a row of numbers ({problem})", "give a bval or bvec text file"
            ) from None
        if row:
            rows.append(row)
    if not rows:
        raise common.refusal(path, "holds no numbers", "the file is truncated or damaged: copy it again")
    return rows
