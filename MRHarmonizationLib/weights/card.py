"""Model cards: what a weight file is, how it wants its input, where it holds and how it scored."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from MRHarmonizationLib.core.errors import WeightsError

LAYOUTS = ("planes-2.5d", "volume-3d", "whole-head", "diffusion", "head-labels")
"""Input layouts: stacks of adjacent planes or blocks, for the predictor; features of a head, for a standardiser;
features of a diffusion scan; blocks ``[S, A, R]`` of a head that are answered by classes, for the task ``segment``."""

INTENSITY_RULES = ("percentile", "case")
"""Ways of normalising: percentiles (:mod:`MRHarmonizationLib.core.intensity`); or as reference groups are, air to 0 and
the 99th percentile of the inside to 1 (:mod:`MRHarmonizationLib.methods.case_profile`)."""

DEFAULT_ACTIVATION_BYTES = 1024
"""Working memory of a network per voxel of its input, in bytes, when the card does not state it."""

_ID_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]*")
_DIGEST_PATTERN = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class WeightFile:
    """One weight file named by a card.

    Attributes
    ----------
    file : str
        Plain file name, in the card's folder; ``.onnx`` or ``.pt``.
    sha256 : str
        64 lower-case hexadecimal digits.
    bytes : int
        Size of the file.
    """

    file: str
    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        if Path(self.file).name != self.file or "\\" in self.file or Path(self.file).suffix not in (".onnx", ".pt"):
            raise _invalid("file", self.file, "a plain name ending in .onnx or .pt")
        if not _DIGEST_PATTERN.fullmatch(self.sha256):
            raise _invalid("sha256", self.sha256, "64 lower-case hexadecimal digits")
        if self.bytes <= 0:
            raise _invalid("bytes", self.bytes, "the size of the weight file")


@dataclass(frozen=True)
class IntensityRule:
    """How intensities are normalised before the network and restored after it.

    Attributes
    ----------
    rule : str
        One of :data:`INTENSITY_RULES`.
    lower, upper : float
        Percentiles mapped to 0 and 1, in percent.
    foreground : bool
        Whether the upper percentile is taken inside the foreground mask only.
    """

    rule: str = "percentile"
    lower: float = 0.5
    upper: float = 99.5
    foreground: bool = False

    def __post_init__(self) -> None:
        if self.rule not in INTENSITY_RULES:
            raise _invalid("input.intensity.rule", self.rule, f"one of {', '.join(INTENSITY_RULES)}")
        if not 0 <= self.lower < self.upper <= 100:
            raise _invalid("input.intensity", (self.lower, self.upper), "0 <= lower < upper <= 100")


@dataclass(frozen=True)
class InputContract:
    """What the network expects of its input.

    Attributes
    ----------
    layout : str
        One of :data:`LAYOUTS`.
    planes : int
        Adjacent planes in a stack (``planes-2.5d``), or 1 (``volume-3d``).
    orientation : str
        Anatomical frame of the axes; always ``RAS``.
    spacing_mm : float
        Isotropic spacing of the grid the network works on, in mm; without meaning for the task ``restore``, which
        works on the scan's own grid.
    interpolation : str
        How the scan is resampled on that grid.
    channels : tuple of str
        ``image`` and the conditioning channels, in order.
    stride : int
        Every spatial size must be a multiple of it.
    ensemble : bool
        Whether planes along both in-plane axes are run and averaged (``planes-2.5d``).
    intensity : IntensityRule
    halo : int
        Voxels beside a tile that the network should see for the result not to depend on the tiling.
    activation_bytes : int
        Working memory of the network per voxel of its input (one plane of a stack), in bytes.
    interpolated : str
        Id of the restorer that finds the detail of planes interpolated from half their matrix, for this one was not
        taught them; empty where it finds all itself.
    """

    layout: str
    planes: int
    orientation: str = "RAS"
    spacing_mm: float = 1.0
    interpolation: str = "cubic"
    channels: tuple[str, ...] = ("image", "slice_distance", "slice_spacing", "inplane_spacing")
    stride: int = 1
    ensemble: bool = False
    intensity: IntensityRule = field(default_factory=IntensityRule)
    halo: int = 0
    activation_bytes: int = DEFAULT_ACTIVATION_BYTES
    interpolated: str = ""

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise _invalid("input.layout", self.layout, f"one of {', '.join(LAYOUTS)}")
        if self.planes < 1 or self.planes % 2 == 0 or (self.layout != "planes-2.5d" and self.planes != 1):
            raise _invalid("input.planes", self.planes, "an odd number (1 for volume-3d)")
        if self.orientation != "RAS":
            raise _invalid("input.orientation", self.orientation, "RAS")
        if not self.spacing_mm > 0:
            raise _invalid("input.spacing_mm", self.spacing_mm, "a positive number")
        if self.stride < 1 or self.halo < 0 or self.activation_bytes < 1:
            values = {"stride": self.stride, "halo": self.halo, "activation_bytes": self.activation_bytes}
            raise _invalid("input", values, "stride >= 1, halo >= 0, activation_bytes >= 1")

    @property
    def input_channels(self) -> int:
        """All channels of the network's input."""
        return self.planes + len(self.channels) - 1


@dataclass(frozen=True)
class OutputContract:
    """What the network returns.

    Attributes
    ----------
    residual : bool
        Whether it is the change to add to the normalised image.
    channels : tuple of str
        Names of the output's channels.
    """

    residual: bool = True
    channels: tuple[str, ...] = ("change",)


@dataclass(frozen=True)
class Domain:
    """Scans the network was trained and evaluated for.

    Attributes
    ----------
    modalities : tuple of str
    slice_spacing_mm, inplane_mm : tuple of float
        Smallest and largest spacing along and across the thick axis, in mm.
    body_part : str
    """

    modalities: tuple[str, ...] = ()
    slice_spacing_mm: tuple[float, float] = (0.0, float("inf"))
    inplane_mm: tuple[float, float] = (0.0, float("inf"))
    body_part: str = ""

    def __post_init__(self) -> None:
        for name in ("slice_spacing_mm", "inplane_mm"):
            limits = getattr(self, name)
            if len(limits) != 2 or not limits[0] <= limits[1]:
                raise _invalid(f"domain.{name}", limits, "[smallest, largest]")


@dataclass(frozen=True)
class Architecture:
    """Network class in the models registry and the parameters that build it."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """A model card.

    Attributes
    ----------
    id, title, version, summary, licence, task : str
    weights : WeightFile
        The file that runs by default.
    checkpoint : WeightFile, optional
        The same weights as a torch state dict, for the torch backend.
    trained_on : tuple
        Each a text, or a mapping of ``files`` and ``licence``.
    limitations : tuple of str
    recipe, recipe_sha256 : str
        Training recipe and its digest.
    architecture : Architecture
    input, output, domain : InputContract, OutputContract, Domain
    scores : mapping
        Measured scores, as the evaluation wrote them.
    extra : mapping
        Keys this version does not know, kept as they are.
    folder : pathlib.Path
        Folder the card was read from; weight files lie beside it.
    """

    id: str
    title: str
    version: str
    summary: str
    licence: str
    task: str
    weights: WeightFile
    architecture: Architecture
    input: InputContract
    checkpoint: WeightFile | None = None
    output: OutputContract = field(default_factory=OutputContract)
    domain: Domain = field(default_factory=Domain)
    trained_on: tuple[Any, ...] = ()
    recipe: str = ""
    recipe_sha256: str = ""
    scores: Mapping[str, Any] = field(default_factory=dict)
    limitations: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    folder: Path = Path()

    def __post_init__(self) -> None:
        if not _ID_PATTERN.fullmatch(self.id):
            raise _invalid("id", self.id, "lower-case letters, digits, '.', '_' and '-'")
        for name in ("scores", "extra"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def weight_files(self) -> tuple[WeightFile, ...]:
        """All weight files the card names, the default one first."""
        return (self.weights,) if self.checkpoint is None else (self.weights, self.checkpoint)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], folder: Path = Path()) -> Card:
        """Build a card from the parsed JSON of a card file.

        Raises
        ------
        WeightsError
            Naming the key that is missing or wrong.
        """
        rest = dict(values)
        try:
            return cls(
                **{key: str(rest.pop(key)) for key in ("id", "title", "version", "summary", "licence", "task")},
                weights=WeightFile(str(rest.pop("file")), str(rest.pop("sha256")), int(rest.pop("bytes"))),
                checkpoint=_checkpoint(rest.pop("checkpoint", None)),
                architecture=Architecture(**rest.pop("architecture")),
                input=_input_contract(rest.pop("input")),
                output=OutputContract(**_tuples(rest.pop("output", {}))),
                domain=Domain(**_tuples(rest.pop("domain", {}))),
                trained_on=tuple(rest.pop("trained_on", ())),
                limitations=tuple(map(str, rest.pop("limitations", ()))),
                recipe=str(rest.pop("recipe", "")),
                recipe_sha256=str(rest.pop("recipe_sha256", "")),
                scores=rest.pop("scores", {}),
                extra=rest,
                folder=folder,
            )
        except KeyError as error:
            raise WeightsError(f"model card lacks the key {error}", "complete the card") from error
        except (TypeError, AttributeError) as error:
            raise WeightsError(f"model card is malformed: {error}", "correct the card") from error
        except ValueError as error:
            raise WeightsError(f"model card has a wrong value: {error}", "correct the card") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the card as JSON-ready values; :meth:`from_dict` reads them back."""
        contract = self.input
        checkpoint = None if self.checkpoint is None else vars(self.checkpoint)
        return {
            **{key: getattr(self, key) for key in ("id", "title", "version", "summary")},
            **vars(self.weights),
            **({} if checkpoint is None else {"checkpoint": dict(checkpoint)}),
            **{key: getattr(self, key) for key in ("licence", "recipe", "recipe_sha256", "task")},
            "trained_on": list(self.trained_on),
            "architecture": {"name": self.architecture.name, "parameters": dict(self.architecture.parameters)},
            "input": {
                **vars(contract),
                "channels": list(contract.channels),
                "intensity": dict(vars(contract.intensity)),
            },
            "output": {"residual": self.output.residual, "channels": list(self.output.channels)},
            "domain": {
                key: list(value) if isinstance(value, tuple) else value for key, value in vars(self.domain).items()
            },
            "scores": dict(self.scores),
            "limitations": list(self.limitations),
            **self.extra,
        }


def read_card(path: Path) -> Card:
    """Read a card file.

    Raises
    ------
    WeightsError
        If the file cannot be read, is no JSON object, or its content is wrong; the message names the file.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise WeightsError(f"expected a JSON object, found {type(values).__name__}", "correct the card")
        return Card.from_dict(values, path.parent)
    except OSError as error:
        raise WeightsError(f"cannot read model card '{path}': {error.strerror or error}", "check the file") from error
    except ValueError as error:
        raise WeightsError(f"model card '{path}' is no valid JSON: {error}", "correct the card") from error
    except WeightsError as error:
        raise WeightsError(f"model card '{path}': {error.problem}", error.remedy) from error


def _invalid(key: str, value: object, expected: str) -> WeightsError:
    return WeightsError(f"model card: {key} is {value!r}, expected {expected}", "correct the card")


def _checkpoint(values: Mapping[str, Any] | None) -> WeightFile | None:
    return None if values is None else WeightFile(str(values["file"]), str(values["sha256"]), int(values["bytes"]))


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _input_contract(values: Mapping[str, Any]) -> InputContract:
    plain = _tuples(values)
    if "intensity" in plain:
        plain["intensity"] = IntensityRule(**plain["intensity"])
    return InputContract(**plain)
