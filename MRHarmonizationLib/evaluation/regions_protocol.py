"""The protocol of the brain's 32 structures: unseen label maps as images, as JSON data read into a frozen record."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.evaluation.lohires_protocol import HeadBox
from MRHarmonizationLib.evaluation.lowfield_protocol import Acquisition
from MRHarmonizationLib.evaluation.protocol import read_protocol
from MRHarmonizationLib.evaluation.splits import HELD_OUT_ROLES, require_roles


@dataclass(frozen=True)
class RegionSet:
    """Images that are made and judged alike.

    Attributes
    ----------
    id, title : str
    contrasts : tuple of str
        Families of contrast of the label-image generator: 'random', 't1', 't2', 'flair'.
    draws : int
        Images per contrast and SNR, each with other intensities.
    acquisition : str
        Id of the simulated acquisition; '' for the image at 1 mm as it is.
    snr : tuple of float
        Of the acquisition.
    bar : float or None
        Mean Dice over the structures that must be reached.
    """

    id: str
    title: str
    contrasts: tuple[str, ...]
    draws: int = 1
    acquisition: str = ""
    snr: tuple[float, ...] = ()
    bar: float | None = None

    def __post_init__(self) -> None:
        if self.draws < 1 or not self.contrasts or bool(self.acquisition) != bool(self.snr):
            raise ParameterError(
                f"set '{self.id}' has {self.draws} draws, contrasts {list(self.contrasts)}, acquisition "
                f"'{self.acquisition}', SNR {list(self.snr)}",
                "give a draw and a contrast or more, and SNR with an acquisition alone",
            )


@dataclass(frozen=True)
class RegionCase:
    """One image of one subject.

    Attributes
    ----------
    id : str
        Unique, and stable as long as the protocol is.
    set, subject, contrast, acquisition : str
    snr : float
        0 where nothing is acquired.
    image_seed, noise_seed : int
    """

    id: str
    set: str
    subject: str
    contrast: str
    acquisition: str
    snr: float
    image_seed: int
    noise_seed: int


@dataclass(frozen=True)
class RegionsProtocol:
    """Protocol of the brain's structures; see ``protocols/regions.json``.

    Attributes
    ----------
    name, title : str
    version, seed : int
    model : str
    scans_of : str
        Protocol whose acquisitions are taken.
    subjects : tuple of str
        Unseen label maps.
    head : HeadBox
    sets : tuple of RegionSet
    """

    name: str
    title: str
    version: int
    seed: int
    model: str
    scans_of: str
    subjects: tuple[str, ...]
    head: HeadBox
    sets: tuple[RegionSet, ...]

    def __post_init__(self) -> None:
        require_roles(self.subjects, HELD_OUT_ROLES, f"the figures of protocol '{self.name}'")
        for entry in self.sets:
            if entry.acquisition:
                self.acquisition(entry.acquisition)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], quick: bool = False) -> RegionsProtocol:
        """Build a protocol from its JSON; ``quick`` applies the overrides under that key.

        Raises
        ------
        ParameterError
            Unknown or missing keys, values out of range, or subjects that may not be used.
        """
        ready = {key: value for key, value in values.items() if key not in ("kind", "quick")}
        if quick:
            ready.update(values.get("quick", {}))
        try:
            ready["head"] = build_parameters(HeadBox, ready["head"])
            ready["sets"] = tuple(build_parameters(RegionSet, entry) for entry in ready["sets"])
        except KeyError as missing:
            raise ParameterError(
                f"the protocol has no key {missing}", "compare it with protocols/regions.json"
            ) from missing
        return build_parameters(cls, ready)

    def acquisition(self, acquisition_id: str) -> Acquisition:
        """Return the acquisition of that id; raise ParameterError where there is none."""
        entries = {entry["id"]: entry for entry in read_protocol(self.scans_of)["acquisitions"]}
        if acquisition_id not in entries:
            raise ParameterError(
                f"protocol '{self.scans_of}' has no acquisition '{acquisition_id}'",
                f"choose one of: {', '.join(entries)}",
            )
        return build_parameters(Acquisition, entries[acquisition_id])

    def cases(self) -> Iterator[RegionCase]:
        """Iterate over every case, set by set and subject by subject."""
        for entry in self.sets:
            for subject in self.subjects:
                name = subject.rsplit("/", 1)[-1]
                for contrast in entry.contrasts:
                    for draw in range(entry.draws):
                        image = f"{name}-{contrast}-{draw + 1}"
                        for snr in entry.snr or (0.0,):
                            case = f"{entry.id}-{image}" + (f"-snr{snr:g}" if snr else "")
                            seeds = self.derived_seed(image), self.derived_seed(case)
                            yield RegionCase(case, entry.id, subject, contrast, entry.acquisition, float(snr), *seeds)

    def derived_seed(self, name: str) -> int:
        """Return a seed fixed by the protocol's seed and a name."""
        return zlib.crc32(f"{self.seed}/{name}".encode())
