"""The low-field protocol: a seed table as JSON data, read into frozen records that check themselves."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.evaluation.splits import HELD_OUT_ROLES, require_roles

GROUP_KINDS = ("labels", "slab", "image")
DESIGNS = ("full", "latin")


@dataclass(frozen=True)
class Acquisition:
    """One simulated acquisition.

    Attributes
    ----------
    id, title : str
    slice_direction : {'R', 'A', 'S'}
        Anatomical direction across the slices.
    parameters : mapping
        Of ``AcquisitionParameters``, without slice axis, SNR and noise seed.
    """

    id: str
    title: str
    slice_direction: str
    parameters: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.slice_direction not in ("R", "A", "S"):
            raise ParameterError(f"slice direction '{self.slice_direction}' is unknown", "choose R, A or S")


@dataclass(frozen=True)
class Group:
    """Subjects that are prepared and judged alike.

    Attributes
    ----------
    id, title : str
    kind : {'labels', 'slab', 'image'}
        Label maps turned into images; slabs with a tissue map beside them; whole images.
    subjects : tuple of str
        Data paths without extension.
    contrasts : tuple of str
        Label maps: families of contrast to draw from. Other kinds: ("native",).
    acquisitions : tuple of str
        Ids of the acquisitions to simulate; empty for all.
    design : {'full', 'latin'}
        Every SNR with every acquisition, or one SNR each, balanced over subjects and contrasts.
    extend_to_mm : float or None
        Slabs: cut to the slices that are full and mirrored to this thickness; None takes them as stored.
    bars : mapping of str to float
        Gain over the best classical method that must be reached, by metric; empty for none.
    """

    id: str
    title: str
    kind: str
    subjects: tuple[str, ...]
    contrasts: tuple[str, ...] = ("native",)
    acquisitions: tuple[str, ...] = ()
    design: str = "full"
    extend_to_mm: float | None = None
    bars: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in GROUP_KINDS or self.design not in DESIGNS:
            raise ParameterError(
                f"group '{self.id}' has kind '{self.kind}' and design '{self.design}'",
                f"kinds: {', '.join(GROUP_KINDS)}; designs: {', '.join(DESIGNS)}",
            )


@dataclass(frozen=True)
class Case:
    """One simulated scan of one subject: everything that decides its voxels.

    Attributes
    ----------
    id : str
        Unique, and stable as long as the protocol is.
    group, subject, contrast, acquisition : str
    snr : float
    seed : int
        Of the noise; derived from the protocol's seed and the id.
    """

    id: str
    group: str
    subject: str
    contrast: str
    acquisition: str
    snr: float
    seed: int


@dataclass(frozen=True)
class Tuning:
    """How the classical methods get their parameters.

    Attributes
    ----------
    subjects : tuple of mapping
        ``path``, ``kind``, ``contrast`` and, for a block of the image, ``centre_ras_mm`` and ``size_mm``.
    parameters : mapping
        acquisition id → method → parameters: the best of the methods' grids by mean PSNR on these subjects.
    """

    subjects: tuple[Mapping[str, Any], ...]
    parameters: Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class LowFieldProtocol:
    """Protocol of the low-field evaluation; see ``protocols/lowfield.json``.

    Attributes
    ----------
    name, title : str
    version, seed : int
    models, methods : tuple of str
        Model ids and classical methods to hold against each other.
    snr : tuple of float
    acquisitions : tuple of Acquisition
    groups : tuple of Group
    tuning : Tuning
    lesions, native : mapping
        Settings of the lesion check and of the native scans; empty to leave them out.
    picture_snr : float
        SNR of the cases that are drawn.
    """

    name: str
    title: str
    version: int
    seed: int
    models: tuple[str, ...]
    methods: tuple[str, ...]
    snr: tuple[float, ...]
    acquisitions: tuple[Acquisition, ...]
    groups: tuple[Group, ...]
    tuning: Tuning
    lesions: Mapping[str, Any]
    native: Mapping[str, Any]
    picture_snr: float

    def __post_init__(self) -> None:
        known = {acquisition.id for acquisition in self.acquisitions}
        for group in self.groups:
            unknown = sorted(set(group.acquisitions) - known)
            if unknown:
                raise ParameterError(
                    f"group '{group.id}' names the acquisitions {unknown}",
                    f"the protocol has: {', '.join(sorted(known))}",
                )
            require_roles(group.subjects, HELD_OUT_ROLES, f"group '{group.id}' of protocol '{self.name}'")
        require_roles(
            (s["path"] for s in self.tuning.subjects), ("train", "validation"), "tuning the classical methods"
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], quick: bool = False) -> LowFieldProtocol:
        """Build a protocol from its JSON; ``quick`` applies the overrides under that key.

        Raises
        ------
        ParameterError
            Unknown or missing keys, or subjects that may not be used.
        """
        ready = {key: value for key, value in values.items() if key not in ("kind", "quick")}
        if quick:
            ready.update(values.get("quick", {}))
        try:
            ready["acquisitions"] = tuple(build_parameters(Acquisition, entry) for entry in ready["acquisitions"])
            ready["groups"] = tuple(build_parameters(Group, entry) for entry in ready["groups"])
            ready["tuning"] = build_parameters(Tuning, ready["tuning"])
        except KeyError as missing:
            raise ParameterError(
                f"the protocol has no key {missing}", "compare it with protocols/lowfield.json"
            ) from missing
        return build_parameters(cls, ready)

    def acquisition(self, acquisition_id: str) -> Acquisition:
        """Return the acquisition of that id."""
        return next(entry for entry in self.acquisitions if entry.id == acquisition_id)

    def acquisitions_of(self, group: Group) -> tuple[Acquisition, ...]:
        """Return the acquisitions simulated for a group, in the protocol's order."""
        return tuple(a for a in self.acquisitions if not group.acquisitions or a.id in group.acquisitions)

    def group(self, group_id: str) -> Group:
        """Return the group of that id."""
        return next(entry for entry in self.groups if entry.id == group_id)

    def cases(self) -> Iterator[Case]:
        """Iterate over every case, subject by subject."""
        for group in self.groups:
            for s, subject in enumerate(group.subjects):
                for c, contrast in enumerate(group.contrasts):
                    for a, acquisition in enumerate(self.acquisitions_of(group)):
                        chosen = self.snr if group.design == "full" else (self.snr[(s + c + a) % len(self.snr)],)
                        for snr in chosen:
                            yield self._case(group.id, subject, contrast, acquisition.id, snr)

    def _case(self, group: str, subject: str, contrast: str, acquisition: str, snr: float) -> Case:
        name = subject.rsplit("/", 1)[-1]
        parts = [group, name] + ([contrast] if contrast != "native" else []) + [acquisition, f"snr{snr:g}"]
        case_id = "-".join(parts)
        return Case(case_id, group, subject, contrast, acquisition, float(snr), self.derived_seed(case_id))

    def derived_seed(self, name: str) -> int:
        """Return a seed fixed by the protocol's seed and a name."""
        return zlib.crc32(f"{self.seed}/{name}".encode())
