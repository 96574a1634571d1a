"""What a harmoniser of diffusion scans is: fitted to target scans, its state frozen, prepared for scan after scan.

Diffusion measures are ratios of volumes. A gain g(x) that is the same for every volume leaves them as they are, and so
does, nearly, one linear operator in space: S'ₙ = K(g·Sₙ). Whatever treats volumes or shells differently changes them;
of the methods here only LinearRISH does, as published.

There is no ComBat here: it adjusts features, or voxels of maps such as FA, of many aligned scans of every scanner at a
time. Of the packages for it none treats the volumes of a diffusion scan, and a new scan alone cannot be adjusted
without its scanner's others.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.registry import Registry
from MRHarmonizationLib.methods.dwi_target import DwiTarget, target_of_scans
from MRHarmonizationLib.volumes.atomic import write_bytes_atomic, write_json_atomic
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.staging import Staging

FORMAT = "MRHarmonization diffusion harmonizer"
FORMAT_VERSION = 1
#: Ending of the arrays of a saved harmoniser, beside its JSON.
ARRAYS_SUFFIX = ".npz"

F = TypeVar("F", bound="FittedDwiHarmonizer")
Masks = Sequence["np.ndarray | None"]


class DwiOperator(Protocol):
    """What a harmoniser does to one scan; the same for a volume whatever the others are and in whatever order."""

    def apply(self, image: np.ndarray, index: int) -> np.ndarray:
        """Return the harmonised volume.

        Parameters
        ----------
        image : ndarray, shape (K, J, I), float32
            Volume ``index`` of the scan that the operator was prepared for; not changed.
        index : int

        Returns
        -------
        ndarray, shape (K, J, I), float32
        """


@dataclass(frozen=True, eq=False)
class GainOperator:
    """One gain for every volume.

    Attributes
    ----------
    gain : ndarray, shape (K, J, I), float32
    """

    gain: np.ndarray

    def apply(self, image: np.ndarray, index: int) -> np.ndarray:
        """Return the volume times the gain."""
        return np.asarray(image * self.gain, np.float32)


@dataclass(frozen=True)
class Origin:
    """What is recorded of the harmoniser that made a result.

    Attributes
    ----------
    id, version, digest : str
        Of the method and its fitted state, or of a model and its weights.
    backend : str
        What it ran on.
    """

    id: str
    version: str
    digest: str
    backend: str = "numpy"


@dataclass(frozen=True, eq=False)
class FittedDwiHarmonizer(ABC):
    """A harmoniser whose state is fixed: numbers, strings, tuples of numbers, and arrays for large maps."""

    #: Name in the registry; set when the class is registered.
    method: ClassVar[str] = ""

    @abstractmethod
    def prepare(self, dwi: DwiVolume, mask: np.ndarray, acquired: Grid | None = None) -> DwiOperator:
        """Measure a scan and return what is to be done to its volumes.

        Parameters
        ----------
        dwi : DwiVolume
            Noise-corrected; not changed. Any number and order of volumes.
        mask : bool ndarray, shape (K, J, I)
            Brain: where intensities are measured.
        acquired : Grid, optional
            Of the scan before it was resampled; its own if omitted.

        Raises
        ------
        InputError
            The scan cannot be measured.
        """

    def origin(self) -> Origin:
        """Return what is recorded of it in results."""
        from MRHarmonizationLib import __version__

        return Origin(self.method, __version__, self.digest())

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state that is arrays."""
        return {e.name: getattr(self, e.name) for e in fields(self) if isinstance(getattr(self, e.name), np.ndarray)}

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values with the digests of the arrays; :func:`restore` reads them back."""
        arrays = self.arrays()
        plain = {e.name: _plain(getattr(self, e.name)) for e in fields(self) if e.name not in arrays}
        digests = {name: _digest(values) for name, values in arrays.items()}
        return {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "method": self.method,
            "state": plain,
            "arrays": digests,
        }

    def digest(self) -> str:
        """Return ``sha256:<hex>`` of the state: the same for the same harmoniser."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@dataclass(frozen=True)
class DwiHarmonizer:
    """A kind of harmoniser.

    Attributes
    ----------
    name, title, summary : str
        Id, name for lists, one line.
    kind : type
        Of the fitted harmoniser.
    function : callable
        ``function(target, **parameters)`` for methods that need statistics of the target only; for others
        ``function(target_scans, source_scans, target_masks, source_masks, **parameters)``.
    needs_source : bool
        Whether scans of the source scanner, matched to the target's, are needed to fit it.
    defaults : mapping
        Every parameter with the value used when it is not given.
    """

    name: str
    title: str
    summary: str
    kind: type[FittedDwiHarmonizer]
    function: Callable[..., FittedDwiHarmonizer]
    needs_source: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def fit(
        self,
        target: DwiTarget | Sequence[DwiVolume],
        source: Sequence[DwiVolume] | None = None,
        target_masks: Masks | None = None,
        source_masks: Masks | None = None,
        **parameters: Any,
    ) -> FittedDwiHarmonizer:
        """Fit to target scans.

        Parameters
        ----------
        target : DwiTarget or sequence of DwiVolume
            What scans are to look like.
        source : sequence of DwiVolume, optional
            Scans of the scanner that is to be harmonised, of people like those of the target.
        target_masks, source_masks : sequences of ndarray (K, J, I) or None, optional
            Brain masks; found in the scans where missing.
        **parameters
            Names from :attr:`defaults`.

        Raises
        ------
        ParameterError
            Unknown parameter; a method that learns from both groups without one of them.
        InputError
            No scan, or one that cannot be measured.
        """
        unknown = sorted(set(parameters) - set(self.defaults))
        if unknown:
            raise ParameterError(
                f"diffusion harmonizer '{self.name}' has no parameter {', '.join(map(repr, unknown))}",
                f"use: {', '.join(self.defaults) or 'none'}",
            )
        chosen = {**self.defaults, **parameters}
        if not self.needs_source:
            summary = target if isinstance(target, DwiTarget) else target_of_scans(target, target_masks)
            return self.function(summary, **chosen)
        if isinstance(target, DwiTarget) or not source:
            raise ParameterError(
                f"diffusion harmonizer '{self.name}' learns from scans of both scanners; "
                f"{'statistics of the target' if isinstance(target, DwiTarget) else 'no source scan'} given",
                "give scans of the target and matched scans of the source scanner (mrharmonize fit-dwi)",
            )
        return self.function(list(target), list(source), target_masks, source_masks, **chosen)


#: Every classical harmoniser of diffusion scans by name; filled by the files of this folder.
DWI_HARMONIZERS: Registry[DwiHarmonizer] = Registry(
    "diffusion harmonizer", "MRHarmonizationLib.methods.dwi_harmonizers"
)


def dwi_harmonizer(
    name: str, title: str, summary: str, needs_source: bool = False, defaults: Mapping[str, Any] | None = None
) -> Callable[[type[F]], type[F]]:
    """Return a decorator that registers a fitted harmoniser's class, which has a class method ``fit``."""

    def build(kind: type[F]) -> type[F]:
        kind.method = name
        entry = DwiHarmonizer(name, title, summary, kind, kind.fit, needs_source, dict(defaults or {}))  # type: ignore[attr-defined]
        DWI_HARMONIZERS.register(name)(entry)
        return kind

    return build


def restore(values: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> FittedDwiHarmonizer:
    """Build a fitted harmoniser from :meth:`FittedDwiHarmonizer.to_dict` and its arrays.

    Raises
    ------
    InputError
        It is none, of a later version, its state does not fit, or arrays are missing or altered.
    ParameterError
        Unknown method, naming the choices.
    """
    stored = values.get("state") if isinstance(values, Mapping) and values.get("format") == FORMAT else None
    if not isinstance(stored, Mapping):
        raise InputError("the values are no fitted diffusion harmonizer", "use a file written by save_dwi_harmonizer")
    if values.get("version") != FORMAT_VERSION:
        raise InputError(
            f"the harmonizer has version {values.get('version')}, expected {FORMAT_VERSION}", "fit it anew"
        )
    kind = DWI_HARMONIZERS.get(str(values.get("method"))).kind
    found = dict(arrays or {})
    for name, digest in dict(values.get("arrays", {})).items():
        if name not in found or _digest(found[name]) != digest:
            trouble = "is missing" if name not in found else "was altered"
            raise InputError(
                f"array '{name}' of harmonizer '{kind.method}' {trouble}", "keep the .npz beside the .json"
            )
        found[name].setflags(write=False)
    state: dict[str, Any] = {key: _tuples(value) for key, value in stored.items()} | found
    known = {entry.name for entry in fields(kind)}
    if set(state) != known:
        raise InputError(
            f"state of harmonizer '{kind.method}' has the keys {sorted(state)}, expected {sorted(known)}", "fit it anew"
        )
    return kind(**state)


def save_dwi_harmonizer(fitted: FittedDwiHarmonizer, path: str | os.PathLike[str]) -> list[Path]:
    """Write a fitted harmoniser: a .json, and an .npz beside it where it has arrays; raises OutputError."""
    target = Path(path).expanduser()
    written = [target]
    with Staging() as staging:
        arrays = fitted.arrays()
        if arrays:
            stream = io.BytesIO()
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
            written.append(target.with_suffix(ARRAYS_SUFFIX))
            write_bytes_atomic(stream.getvalue(), staging.place(written[1]))
        write_json_atomic(fitted.to_dict(), staging.place(target))
    return written


def load_dwi_harmonizer(path: str | os.PathLike[str]) -> FittedDwiHarmonizer:
    """Read what :func:`save_dwi_harmonizer` wrote; raises InputError for anything else."""
    source = Path(path).expanduser()
    try:
        values = json.loads(source.read_text(encoding="utf-8"))
        arrays: dict[str, np.ndarray] = {}
        if isinstance(values, dict) and values.get("arrays"):
            with np.load(source.with_suffix(ARRAYS_SUFFIX), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError) as error:
        raise InputError(f"diffusion harmonizer {source} cannot be read ({error})", "check the path") from error
    try:
        return restore(values, arrays)
    except InputError as error:
        raise InputError(f"{source}: {error.problem}", error.remedy) from None


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _digest(array: np.ndarray) -> str:
    little = array.dtype.newbyteorder("<")
    state = hashlib.sha256(f"{little.str}{array.shape}".encode())
    state.update(np.ascontiguousarray(array, little).data)
    return f"sha256:{state.hexdigest()}"
