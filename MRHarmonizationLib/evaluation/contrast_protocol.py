"""The contrast protocol: which subjects, which alterations, which methods, as JSON data read into frozen records."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.degradations.kspace_contrast import FAMILIES
from MRHarmonizationLib.degradations.reference_look import LOOKS
from MRHarmonizationLib.evaluation.splits import HELD_OUT_ROLES, require_roles

GROUP_KINDS = ("labels", "image")
#: Family of an alteration that was made of families used in training.
SEEN = "seen"
#: Subjects that no network was fitted on; those that chose when training stopped are among them.
UNSEEN_ROLES = (*HELD_OUT_ROLES, "validation")


@dataclass(frozen=True)
class ContrastGroup:
    """Subjects that are prepared and judged alike.

    Attributes
    ----------
    id, title : str
    kind : {'labels', 'image'}
        Label maps rendered in the reference look; real images, tissues by thresholds of the unaltered image.
    subjects : tuple of str
        Data paths without extension.
    contrasts : tuple of str
        Label maps: looks to render. Images: the one contrast they have.
    alterations : mapping of str to int
        Number of alterations of each subject in each contrast, by family: 'seen', or a held-out family.
    bars : mapping of str to float
        What a learned method must reach: ``cv_vs_raw`` and ``cv_vs_classical`` (reduction, %), ``ssim_gain``. Only
        subjects with a role for published figures may have bars.
    """

    id: str
    title: str
    kind: str
    subjects: tuple[str, ...]
    contrasts: tuple[str, ...]
    alterations: Mapping[str, int]
    bars: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = [name for name in self.contrasts if name not in LOOKS]
        if self.kind not in GROUP_KINDS or wrong or not self.contrasts or not self.subjects:
            raise ParameterError(
                f"group '{self.id}' has kind '{self.kind}', contrasts {list(self.contrasts)} and "
                f"{len(self.subjects)} subjects",
                f"kinds: {', '.join(GROUP_KINDS)}; contrasts: {', '.join(LOOKS)}; name one subject or more",
            )
        if self.kind == "image" and len(self.contrasts) > 1:
            raise ParameterError(f"images of group '{self.id}' have {len(self.contrasts)} contrasts", "name one")
        few = {name: count for name, count in self.alterations.items() if count < 2}
        if not self.alterations or few:
            raise ParameterError(
                f"group '{self.id}' has the alterations {dict(self.alterations)}",
                "give at least 2 of each family: a variation needs two values",
            )


@dataclass(frozen=True)
class PlannedAlteration:
    """One alteration of one case.

    Attributes
    ----------
    number, seed : int
    family : str
        'seen', or the held-out family that takes part; families used in training are drawn beside it.
    """

    number: int
    family: str
    seed: int


@dataclass(frozen=True)
class ContrastCase:
    """One unaltered image of one subject, and its alterations.

    Attributes
    ----------
    id : str
        Unique, and stable as long as the protocol is.
    group, subject, contrast : str
    seed : int
        Of the unaltered image.
    alterations : tuple of PlannedAlteration
    """

    id: str
    group: str
    subject: str
    contrast: str
    seed: int
    alterations: tuple[PlannedAlteration, ...]


@dataclass(frozen=True)
class ContrastProtocol:
    """Protocol of the contrast evaluation; see ``protocols/contrast.json``.

    Attributes
    ----------
    name, title : str
    version, seed : int
    spacing_mm : float
        Voxels of the cases, a whole multiple of the data's.
    methods : tuple of str
        Harmonisers; all that are registered when empty.
    models : tuple of str
        Model cards for learned harmonisers; the harmoniser's own choice when empty.
    held_out : tuple of str
        Families of alterations that no network was trained with.
    reference : mapping
        ``maps``: label maps whose renders the harmonisers are fitted to; ``donor``: the one whose low frequencies are
        swapped in; ``groups``: contrast → reference group for real images.
    groups : tuple of ContrastGroup
    thinned : mapping of str to int
        Methods that are slow: run on every n-th alteration of each family alone.
    lesions, visits, checks : mapping
        Settings of the further parts; empty to leave them out.
    """

    name: str
    title: str
    version: int
    seed: int
    spacing_mm: float
    methods: tuple[str, ...]
    models: tuple[str, ...]
    held_out: tuple[str, ...]
    reference: Mapping[str, Any]
    groups: tuple[ContrastGroup, ...]
    thinned: Mapping[str, int] = field(default_factory=dict)
    lesions: Mapping[str, Any] = field(default_factory=dict)
    visits: Mapping[str, Any] = field(default_factory=dict)
    checks: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.held_out) - set(FAMILIES))
        if unknown:
            raise ParameterError(f"held-out families {unknown} are unknown", f"choose of: {', '.join(FAMILIES)}")
        missing = [key for key in ("maps", "donor", "groups") if not self.reference.get(key)]
        if missing:
            raise ParameterError(f"the protocol's reference lacks {missing}", "compare with protocols/contrast.json")
        for group in self.groups:
            strange = sorted(set(group.alterations) - {SEEN, *self.held_out})
            if strange:
                raise ParameterError(
                    f"group '{group.id}' has alterations of the families {strange}",
                    f"name '{SEEN}' or a held-out family: {', '.join(self.held_out) or 'none'}",
                )
            for method, every in self.thinned.items():
                if every < 1 or any(count <= every for count in group.alterations.values()):
                    raise ParameterError(
                        f"every {every}th alteration for '{method}' leaves group '{group.id}' fewer than two of "
                        f"{dict(group.alterations)}",
                        "thin less, or give more alterations",
                    )
            roles = HELD_OUT_ROLES if group.bars else UNSEEN_ROLES
            require_roles(group.subjects, roles, f"group '{group.id}' of protocol '{self.name}'")
        used = (*self.reference["maps"], self.reference["donor"])
        require_roles(used, ("train",), f"the reference group of protocol '{self.name}'")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], quick: bool = False) -> ContrastProtocol:
        """Build a protocol from its JSON; ``quick`` applies the overrides under that key.

        Raises
        ------
        ParameterError
            Unknown or missing keys, or subjects that may not be used.
        """
        ready = {key: value for key, value in values.items() if key not in ("kind", "quick")}
        if quick:
            ready.update(values.get("quick", {}))
        if "groups" not in ready:
            raise ParameterError("the protocol has no key 'groups'", "compare it with protocols/contrast.json")
        ready["groups"] = tuple(build_parameters(ContrastGroup, entry) for entry in ready["groups"])
        return build_parameters(cls, ready)

    def group(self, group_id: str) -> ContrastGroup:
        """Return the group of that id."""
        return next(entry for entry in self.groups if entry.id == group_id)

    def cases(self) -> Iterator[ContrastCase]:
        """Iterate over every case, subject by subject."""
        for group in self.groups:
            for subject in group.subjects:
                for contrast in group.contrasts:
                    case_id = f"{group.id}-{subject.rsplit('/', 1)[-1]}-{contrast}"
                    planned = self.planned(case_id, group.alterations)
                    seed = self.derived_seed(case_id)
                    yield ContrastCase(case_id, group.id, subject, contrast, seed, planned)

    def planned(self, name: str, counts: Mapping[str, int]) -> tuple[PlannedAlteration, ...]:
        """Return alterations of these numbers per family, their seeds fixed by the protocol's seed and a name."""
        families = [family for family, count in counts.items() for _ in range(int(count))]
        return tuple(
            PlannedAlteration(number, family, self.derived_seed(f"{name}-{family}-{number}"))
            for number, family in enumerate(families)
        )

    def alterations_of(self, case: ContrastCase, method: str) -> tuple[int, ...]:
        """Return the numbers of the alterations on which a method is run: all, or every n-th of each family."""
        every, met, chosen = int(self.thinned.get(method, 1)), dict[str, int](), []
        for planned in case.alterations:
            place = met.get(planned.family, 0)
            met[planned.family] = place + 1
            if place % every == 0:
                chosen.append(planned.number)
        return tuple(chosen)

    def derived_seed(self, name: str) -> int:
        """Return a seed fixed by the protocol's seed and a name."""
        return zlib.crc32(f"{self.seed}/{name}".encode())
