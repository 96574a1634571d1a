"""What a harmoniser of contrast is: fitted to a reference group, its state frozen, applied to scan after scan."""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.registry import Registry
from MRHarmonizationLib.methods.reference_group import ReferenceGroup, group_of_volumes
from MRHarmonizationLib.volumes.atomic import write_json_atomic
from MRHarmonizationLib.volumes.volume import Volume

FORMAT = "MRHarmonization harmonizer"
FORMAT_VERSION = 1

F = TypeVar("F", bound="FittedHarmonizer")


@dataclass(frozen=True)
class FittedHarmonizer(ABC):
    """A harmoniser whose state is fixed: plain numbers in a frozen dataclass, fit for JSON and for pickling.

    Subclasses hold their state as fields (numbers, strings, tuples of numbers) and say how to map an array.
    """

    #: Name in the registry; set when the class is registered.
    method: ClassVar[str] = ""

    @abstractmethod
    def map_array(self, volume: Volume, mask: np.ndarray | None) -> np.ndarray:
        """Return the new values, shape (K, J, I), any real type; the volume is not changed."""

    def map_with_doubts(self, volume: Volume, mask: np.ndarray | None) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return the new values, and a sentence for each reason to doubt them; for methods that can tell."""
        return self.map_array(volume, mask), ()

    def apply(self, volume: Volume, mask: np.ndarray | None = None) -> Volume:
        """Harmonise a scan.

        Parameters
        ----------
        volume : Volume
            Any orientation and spacing, a single slice too; not changed.
        mask : ndarray, shape (K, J, I), optional
            Nonzero where intensities are measured, for example the brain; the object's inside when omitted. The
            mapping found there is applied everywhere.

        Returns
        -------
        Volume
            float32 on the same grid, in units of the reference group.

        Raises
        ------
        InputError
            Values that are not finite, a constant image, an empty mask.
        GridMismatchError
            The mask has another shape.
        """
        return self.apply_with_doubts(volume, mask)[0]

    def apply_with_doubts(self, volume: Volume, mask: np.ndarray | None = None) -> tuple[Volume, tuple[str, ...]]:
        """Harmonise a scan as :meth:`apply` does, and return also a sentence for each reason to doubt the result."""
        values, doubts = self.map_with_doubts(volume, mask)
        mapped = np.asarray(values, np.float32)
        if not np.all(np.isfinite(mapped)):
            bad = int(np.count_nonzero(~np.isfinite(mapped)))
            raise InputError(
                f"harmonising '{volume.name}' with {self.method} gave {bad} values that are not finite",
                "check the image's intensity range",
            )
        return volume.with_array(mapped), doubts

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values that say what they are; :func:`restore` reads them back."""
        return {"format": FORMAT, "version": FORMAT_VERSION, "method": self.method, "state": _plain(asdict(self))}

    def digest(self) -> str:
        """Return ``sha256:<hex>`` of the state: the same for the same mapping."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@dataclass(frozen=True)
class Harmonizer:
    """A kind of harmoniser.

    Attributes
    ----------
    name, title, summary : str
        Id, name for lists, one line.
    kind : type
        Of the fitted harmoniser.
    function : callable
        ``function(group, **parameters) -> FittedHarmonizer`` with every parameter given.
    defaults : mapping
        Every parameter with the value used when it is not given.
    """

    name: str
    title: str
    summary: str
    kind: type[FittedHarmonizer]
    function: Callable[..., FittedHarmonizer]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def fit(self, reference: ReferenceGroup | Sequence[Volume], **parameters: Any) -> FittedHarmonizer:
        """Fit to a reference.

        Parameters
        ----------
        reference : ReferenceGroup or sequence of Volume
            Volumes are averaged to a group first, without judging their quality.
        **parameters
            Names from :attr:`defaults`.

        Raises
        ------
        ParameterError
            Unknown name of a parameter, or a value out of range.
        InputError
            No volume, or one that cannot be measured.
        """
        unknown = sorted(set(parameters) - set(self.defaults))
        if unknown:
            raise ParameterError(
                f"harmonizer '{self.name}' has no parameter {', '.join(map(repr, unknown))}",
                f"use: {', '.join(self.defaults) or 'none'}",
            )
        group = reference if isinstance(reference, ReferenceGroup) else group_of_volumes(reference)
        return self.function(group, **{**self.defaults, **parameters})


#: Every classical harmoniser by name; filled by the files of this folder.
HARMONIZERS: Registry[Harmonizer] = Registry("harmonizer", "MRHarmonizationLib.methods.harmonizers")


def harmonizer(
    name: str, title: str, summary: str, defaults: Mapping[str, Any] | None = None
) -> Callable[[type[F]], type[F]]:
    """Return a decorator that registers a fitted harmoniser's class, which has a class method ``fit(group, …)``."""

    def build(kind: type[F]) -> type[F]:
        kind.method = name
        HARMONIZERS.register(name)(Harmonizer(name, title, summary, kind, kind.fit, dict(defaults or {})))  # type: ignore[attr-defined]
        return kind

    return build


def restore(values: Mapping[str, Any]) -> FittedHarmonizer:
    """Build a fitted harmoniser from :meth:`FittedHarmonizer.to_dict`.

    Raises
    ------
    InputError
        It is none, of a later version, or its state does not fit.
    ParameterError
        Unknown method, naming the choices.
    """
    if (
        not isinstance(values, Mapping)
        or values.get("format") != FORMAT
        or not isinstance(values.get("state"), Mapping)
    ):
        raise InputError("the values are no fitted harmonizer", "use a file written by save_harmonizer")
    if values.get("version") != FORMAT_VERSION:
        raise InputError(
            f"the harmonizer has version {values.get('version')}, this program reads {FORMAT_VERSION}", "fit it anew"
        )
    kind = HARMONIZERS.get(str(values.get("method"))).kind
    state = {key: tuple(value) if isinstance(value, list) else value for key, value in values["state"].items()}
    known = {entry.name for entry in fields(kind)}
    if set(state) != known:
        raise InputError(
            f"state of harmonizer '{kind.method}' has the keys {sorted(state)}, expected {sorted(known)}", "fit it anew"
        )
    return kind(**state)


def save_harmonizer(fitted: FittedHarmonizer, path: str | os.PathLike[str]) -> Path:
    """Write a fitted harmoniser as JSON, whole or not at all, and return where; raises OutputError."""
    return write_json_atomic(fitted.to_dict(), Path(path))


def load_harmonizer(path: str | os.PathLike[str]) -> FittedHarmonizer:
    """Read what :func:`save_harmonizer` wrote; raises InputError for anything else."""
    try:
        values = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"harmonizer {os.fspath(path)} cannot be read ({error})", "check the path") from error
    return restore(values)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
