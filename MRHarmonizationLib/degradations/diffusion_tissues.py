"""What each tissue looks like to a diffusion scanner, and which label is which tissue. Data beside this file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError

TISSUES_FILE = Path(__file__).with_suffix(".json")

#: Tissues through which fibres run.
FIBROUS = (
    "white_matter",
    "cerebellar_white_matter",
    "brainstem",
    "spinal_cord",
    "ventral_diencephalon",
    "thalamus",
    "pallidum",
    "putamen",
    "caudate",
    "nerve",
)
#: Tissues of the brain proper, without its fluid.
PARENCHYMA = (
    *[name for name in FIBROUS if name not in ("nerve", "spinal_cord")],
    "cortex",
    "cerebellar_cortex",
    "limbic",
)
#: Tissues whose relaxation does not depend on the field.
FLUID = ("csf", "eye")


@dataclass(frozen=True)
class Tissue:
    """A tissue at 3 T.

    Attributes
    ----------
    md : float
        Mean diffusivity, 1e-3 mm²/s.
    fa : float
        Fractional anisotropy where all fibres of a voxel run one way.
    proton_density : float
        Relative to cerebrospinal fluid.
    t1_ms, t2_ms : float
    r2_prime_per_s : float
        Reversible relaxation rate, 1/T2* − 1/T2.
    """

    md: float
    fa: float
    proton_density: float
    t1_ms: float
    t2_ms: float
    r2_prime_per_s: float


@lru_cache(maxsize=1)
def _table() -> Mapping[str, object]:
    table: Mapping[str, object] = json.loads(TISSUES_FILE.read_text(encoding="utf-8"))
    return table


@lru_cache(maxsize=1)
def tissue_names() -> tuple[str, ...]:
    """Return the names of the tissues; their places are the numbers in :func:`tissue_map`."""
    return tuple(_table()["tissues"])  # type: ignore[arg-type]


def tissue_properties() -> dict[str, Tissue]:
    """Return the properties of every tissue at 3 T."""
    return {name: Tissue(**values) for name, values in _table()["tissues"].items()}  # type: ignore[attr-defined]


def tissue_map(labels: np.ndarray, tissue_of_label: Mapping[int, str] | None = None) -> np.ndarray:
    """Return the tissue of every voxel, as its place in :func:`tissue_names`.

    Parameters
    ----------
    labels : ndarray of whole numbers, shape (K, J, I)
        FreeSurfer numbers, extracerebral ones too (500 to 530), unless told otherwise.
    tissue_of_label : mapping, optional
        Label → name of a tissue, for maps with other numbers; goes before the built-in table.

    Returns
    -------
    uint8 ndarray, shape (K, J, I)

    Raises
    ------
    InputError
        Not three-dimensional whole numbers, labels without a tissue, or no white matter and no cortex at all.
    ParameterError
        ``tissue_of_label`` names a tissue that does not exist.
    """
    whole = _as_whole_numbers(labels)
    values = np.unique(whole)
    lookup = np.zeros(values.size, np.uint8)
    names = tissue_names()
    for name in (tissue_of_label or {}).values():
        if name not in names:
            raise ParameterError(f"tissue '{name}' is unknown", f"choose from: {', '.join(names)}")
    unknown: list[int] = []
    for n, value in enumerate(values.tolist()):
        tissue = (tissue_of_label or {}).get(value) or _tissue_of(value)
        if tissue is None:
            unknown.append(value)
        else:
            lookup[n] = names.index(tissue)
    if unknown:
        shown = ", ".join(str(value) for value in unknown[:6])
        raise InputError(
            f"{len(unknown)} labels have no tissue: {shown}{' …' if len(unknown) > 6 else ''}",
            "use FreeSurfer numbers, or say what they are with tissue_of_label={label: tissue}",
        )
    tissues = lookup[np.searchsorted(values, whole)]
    if not np.any(np.isin(tissues, indices("white_matter", "cortex"))):
        raise InputError(
            "the label map holds neither white matter nor cortex",
            "give a whole-brain label map with FreeSurfer numbers",
        )
    return np.asarray(tissues, np.uint8)


def indices(*names: str) -> list[int]:
    """Return the numbers of tissues in :func:`tissue_map`."""
    return [tissue_names().index(name) for name in names]


def side_map(labels: np.ndarray) -> np.ndarray:
    """Return −1 in left and +1 in right cortex of cerebrum and cerebellum, 0 elsewhere, int8, shape (K, J, I)."""
    whole = _as_whole_numbers(labels)
    sides = np.zeros(whole.shape, np.int8)
    table: Mapping[str, list] = _table()["sides"]  # type: ignore[assignment]
    for name, entries in table.items():
        for entry in entries:
            low, high = entry if isinstance(entry, list) else (entry, entry)
            sides[(whole >= low) & (whole <= high)] = -1 if name.startswith("left") else 1
    return sides


@lru_cache(maxsize=4096)
def _tissue_of(label: int) -> str | None:
    table = _table()
    for name, numbers in table["labels"].items():  # type: ignore[attr-defined]
        if label in numbers:
            return str(name)
    for name, ranges in table["label_ranges"].items():  # type: ignore[attr-defined]
        if any(low <= label <= high for low, high in ranges):
            return str(name)
    return None


def _as_whole_numbers(labels: np.ndarray) -> np.ndarray:
    values = np.asarray(labels)
    if values.ndim != 3 or values.size == 0:
        raise InputError(f"label map of shape {values.shape}", "give a three-dimensional label map")
    if values.dtype.kind not in "fiub":
        raise InputError(f"label map of type {values.dtype}", "give whole numbers")
    if values.dtype.kind == "f":
        if not np.all(np.isfinite(values)) or np.any(np.mod(values, 1) != 0):
            raise InputError("the label map has values that are not whole numbers", "give labels, not an image")
        values = values.astype(np.int32)
    if values.min() < 0:
        raise InputError(f"label {int(values.min())} is negative", "give labels of 0 and more")
    return values
