"""Evaluation protocols by name: JSON data, each run by the function registered for its kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.core.registry import Registry

PROTOCOLS = Path(__file__).parent / "protocols"


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found, and where it is written.

    Attributes
    ----------
    name : str
        Of the protocol.
    summary : mapping
        JSON-ready tables and verdicts.
    paths : mapping of str to Path
        ``report`` (HTML), ``csv`` (one row per case and method), ``json`` (the summary), ``pictures`` (folder).
    text : tuple of str
        The tables for a terminal, line by line.
    """

    name: str
    summary: Mapping[str, Any]
    paths: Mapping[str, Path]
    text: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        paths = {key: str(path) for key, path in self.paths.items()}
        return {"protocol": self.name, **paths, "summary": dict(self.summary)}

    def lines(self) -> list[str]:
        """Return the tables and the paths as lines of text."""
        return [*self.text, *(f"{key}: {path}" for key, path in self.paths.items())]


class ProtocolRunner(Protocol):
    """Runs the protocols of one kind."""

    def __call__(
        self,
        values: Mapping[str, Any],
        data: Path,
        out: Path,
        *,
        quick: bool,
        models: tuple[str, ...] | None,
        jobs: int,
        retune: bool,
        progress: Progress,
    ) -> EvaluationResult:
        """See :func:`run_protocol`."""
        ...


#: What runs a protocol, by the ``kind`` it names.
PROTOCOL_KINDS: Registry[ProtocolRunner] = Registry("protocol kind", "MRHarmonizationLib.evaluation")


def run_protocol(
    protocol: str | Path,
    data: str | Path,
    out: str | Path,
    quick: bool = False,
    models: tuple[str, ...] | None = None,
    jobs: int = 2,
    retune: bool = False,
    progress: Progress | None = None,
    settings: Mapping[str, Any] | None = None,
) -> EvaluationResult:
    """Run an evaluation protocol and write its tables, pictures and report.

    Parameters
    ----------
    protocol : str or path
        Name of a protocol that comes with the library, or a JSON file.
    data : path
        Folder of real scans.
    out : path
        Made if it does not exist. Cases found there from an interrupted run of the same protocol are not run again.
    quick : bool
        Only the protocol's quick part.
    models : tuple of str, optional
        Model ids in place of the protocol's; empty for the classical methods alone.
    jobs : int
        Processes, one thread each.
    retune : bool
        Search the parameters of the classical methods again instead of taking the protocol's.
    progress : Progress, optional
    settings : mapping, optional
        Values in place of the protocol's own, by their keys: ``contrast`` and ``segmentations`` of 'lohires'.

    Returns
    -------
    EvaluationResult

    Raises
    ------
    ParameterError
        Unknown protocol, kind or setting, or a protocol that breaks the split of subjects.
    InputError
        Scans are missing.
    ModelNotFoundError, WeightsError
        A model is missing or altered.
    OutputError
        The folder cannot be written.
    OperationCancelled
    """
    from MRHarmonizationLib.evaluation.report import make_folder

    values = read_protocol(protocol)
    strange = sorted(set(settings or {}) - set(values))
    if strange:
        raise ParameterError(
            f"protocol '{values.get('name', protocol)}' has no setting '{strange[0]}'", f"leave out --{strange[0]}"
        )
    values |= dict(settings or {})
    run = PROTOCOL_KINDS.get(str(values.get("kind")))
    return run(
        values,
        Path(data),
        make_folder(out),
        quick=quick,
        models=models,
        jobs=jobs,
        retune=retune,
        progress=progress or Progress(),
    )


def protocol_names() -> list[str]:
    """Return the names of the protocols that come with the library."""
    return sorted(path.stem for path in PROTOCOLS.glob("*.json"))


def read_protocol(name_or_path: str | Path) -> dict[str, Any]:
    """Return the JSON of a protocol that comes with the library, or of a file.

    Raises
    ------
    ParameterError
        No such protocol, or not a JSON object.
    """
    path = PROTOCOLS / f"{name_or_path}.json"
    if not path.is_file():
        path = Path(name_or_path)
    if not path.is_file():
        raise ParameterError(
            f"protocol '{name_or_path}' is unknown", f"choose one of: {', '.join(protocol_names())}, or give a file"
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ParameterError(f"protocol {path} cannot be read: {error}", "correct the file") from error
    if not isinstance(values, dict):
        raise ParameterError(f"protocol {path} holds a {type(values).__name__}, not an object", "correct the file")
    return values
