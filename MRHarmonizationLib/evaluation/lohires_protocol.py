"""The protocol of the low- to high-field networks: JSON data, read into a frozen record that checks itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from MRHarmonizationLib.core.brain_regions import REGION_BY_NUMBER
from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.degradations.reference_look import LOOKS
from MRHarmonizationLib.evaluation.lowfield_protocol import Acquisition, Case, Group, LowFieldProtocol
from MRHarmonizationLib.evaluation.protocol import read_protocol

#: Bars that can be set: by how much the volumes' error must fall against the low-field images, %.
BARS = ("volume_error_reduction_percent",)


@dataclass(frozen=True)
class HeadBox:
    """What is kept of a whole head.

    Attributes
    ----------
    margin_mm : float
        Space around the brain (without brain-stem and fluid, which reach down the neck).
    box_mm : tuple of three floats
        Largest size along (right, anterior, superior); the middle is kept.
    """

    margin_mm: float
    box_mm: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.margin_mm < 0 or len(self.box_mm) != 3 or min(self.box_mm) < 16:
            raise ParameterError(
                f"head box {self.box_mm} mm with {self.margin_mm} mm around the brain",
                "give a margin from 0 on and three sizes of at least 16 mm",
            )


@dataclass(frozen=True)
class LohiresProtocol:
    """Protocol of the low- to high-field networks; see ``protocols/lohires.json``.

    Attributes
    ----------
    name, title : str
    version, seed : int
    contrast : {'t1', 't2', 'flair'}
        Of the subjects and of the networks.
    scans_of : str
        Protocol whose acquisitions and tuned parameters of the classical methods are taken.
    snr : tuple of float
    picture_snr : float
        SNR of the case that is drawn.
    methods : tuple of str
        Classical methods; the first stands for the low-field image itself.
    foundation : str
        Model that is no network of one contrast; empty for none.
    networks : tuple of str
        Recipes; the model of a contrast is called ``<recipe>-<contrast>``.
    plain, proposed : str
        The network without adversary, and the one that is claimed to be best.
    head : HeadBox
    groups : mapping
        Contrast → groups of subjects.
    lesions : mapping
        ``count`` per head and range of relative ``contrast``, by contrast; empty for none.
    segmentation : str
        Model that finds the 32 structures.
    segmentations : str
        Folder of the user's own label maps in place of the model's; empty for the model.
    plotted_regions : tuple of int
        FreeSurfer numbers whose agreement is drawn.
    bars : mapping of str to float
    """

    name: str
    title: str
    version: int
    seed: int
    contrast: str
    scans_of: str
    snr: tuple[float, ...]
    picture_snr: float
    methods: tuple[str, ...]
    foundation: str
    networks: tuple[str, ...]
    plain: str
    proposed: str
    head: HeadBox
    groups: Mapping[str, Sequence[Mapping[str, Any]]]
    lesions: Mapping[str, Any] = field(default_factory=dict)
    segmentation: str = "brain-regions"
    segmentations: str = ""
    plotted_regions: tuple[int, ...] = ()
    bars: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.contrast not in self.groups or self.contrast not in LOOKS:
            raise ParameterError(
                f"contrast '{self.contrast}' has no subjects in protocol '{self.name}'",
                f"choose one of: {', '.join(c for c in self.groups if c in LOOKS)}",
            )
        if not self.methods or not {self.plain, self.proposed} <= set(self.networks):
            raise ParameterError(
                f"methods {list(self.methods)}, networks {list(self.networks)}, plain '{self.plain}', proposed "
                f"'{self.proposed}'",
                "name a classical method, and let the plain and the proposed network be among the networks",
            )
        strange = sorted(set(self.plotted_regions) - set(REGION_BY_NUMBER)), sorted(set(self.bars) - set(BARS))
        if strange[0] or strange[1]:
            raise ParameterError(
                f"plotted regions {strange[0]} or bars {strange[1]} are unknown",
                f"give FreeSurfer numbers of the 32 structures; bars: {', '.join(BARS)}",
            )
        if self.lesions and self.contrast not in self.lesions.get("contrast", {}):
            raise ParameterError(
                f"lesions {dict(self.lesions)} have no contrast for '{self.contrast}'", "give a range under that name"
            )
        self.scans()  # raises what is wrong with the groups

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], quick: bool = False) -> LohiresProtocol:
        """Build a protocol from its JSON; ``quick`` applies the overrides under that key.

        Raises
        ------
        ParameterError
            Unknown or missing keys, values out of range, or subjects that may not be used.
        """
        ready = {key: value for key, value in values.items() if key not in ("kind", "quick")}
        if quick:
            ready.update(values.get("quick", {}))
        if not isinstance(ready.get("head"), Mapping):
            raise ParameterError("the protocol has no object 'head'", "compare it with protocols/lohires.json")
        ready["head"] = build_parameters(HeadBox, ready["head"])
        return build_parameters(cls, ready)

    def scans(self) -> LowFieldProtocol:
        """Return the low-field protocol that simulates the scans of this one: its cases, acquisitions and tuning."""
        base = {key: value for key, value in read_protocol(self.scans_of).items() if key not in ("kind", "quick")}
        own = {"name": self.name, "title": self.title, "version": self.version, "seed": self.seed}
        own |= {"snr": list(self.snr), "picture_snr": self.picture_snr, "methods": list(self.methods)}
        own |= {"models": [], "lesions": {}, "native": {}, "groups": list(self.groups[self.contrast])}
        return LowFieldProtocol.from_dict({**base, **own})

    def cases(self) -> Iterator[Case]:
        """Iterate over every case, subject by subject."""
        return self.scans().cases()

    def group_of(self, case: Case) -> Group:
        """Return the group of a case."""
        return self.scans().group(case.group)

    def acquisition_of(self, case: Case) -> Acquisition:
        """Return the acquisition of a case."""
        return self.scans().acquisition(case.acquisition)

    def is_head(self, case: Case) -> bool:
        """Tell whether a case is a whole head with known structures."""
        return self.group_of(case).kind == "labels"

    def model_of(self, network: str) -> str:
        """Return the id of the model that a recipe gives for this contrast."""
        return f"{network}-{self.contrast}"
