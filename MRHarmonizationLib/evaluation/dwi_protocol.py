"""The travelling-subject protocol: which brains, which scanners, which methods, as JSON data read into a record."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.degradations.diffusion_lesions import LESION_KINDS
from MRHarmonizationLib.degradations.dwi_scanner import DwiScanner, load_scanner, scanner_ids
from MRHarmonizationLib.evaluation.splits import HELD_OUT_ROLES, require_roles

#: Images on which lesions are segmented, by their names among the maps of a scan.
LESION_IMAGES = ("b0", "trace", "md")
#: Bars that can be set.
BARS = ("cv_vs_raw", "psnr_gain", "ssim_gain", "lesion_dice", "md_percent", "fa")
#: Finest brain that is offered, mm.
FINEST_BRAIN_MM = 0.5


@dataclass(frozen=True)
class DwiCase:
    """One brain on one scanner.

    Attributes
    ----------
    id : str
        Unique, and stable as long as the protocol is.
    subject : str
        Data path of the label map, without extension.
    scanner : str
        Name of a virtual scanner, or path of its JSON file.
    brain_seed, scan_seed : int
        Of the brain with its lesions, the same on all scanners, and of the scan.
    """

    id: str
    subject: str
    scanner: str
    brain_seed: int
    scan_seed: int


@dataclass(frozen=True)
class DwiProtocol:
    """Protocol of the evaluation with travelling subjects; see ``protocols/dwi.json``.

    Attributes
    ----------
    name, title : str
    version, seed : int
    brain_mm : float
        Voxels of the simulated brains; at most the pixel of the finest scanner.
    directions : int
        Of every shell of every scanner, in place of their own numbers.
    judged : int
        Weighted volumes per scan, evenly spread over its directions, in which PSNR and SSIM are measured beside the
        first unweighted one.
    subjects : tuple of str
        Label maps of subjects whose role is for published figures.
    fitting : mapping
        ``maps``: label maps of training subjects, scanned to fit methods that learn from both scanners.
    scanners : tuple of str
        Names or files; all seven when empty.
    methods : tuple of str
        Harmonisers; all that are registered when empty.
    models : tuple of str
        Model cards for learned harmonisers; the harmoniser's own choice when empty.
    lesions : mapping
        ``images``: kind of lesion → maps in which it is segmented; ``least_mm3``: smallest lesion that is judged.
        Empty for healthy brains.
    bars : mapping of str to float
        What a learned method must reach: ``cv_vs_raw`` (reduction, %), ``psnr_gain`` (dB), ``ssim_gain``,
        ``lesion_dice``, ``md_percent`` and ``fa`` (largest change of the means).
    """

    name: str
    title: str
    version: int
    seed: int
    brain_mm: float
    directions: int
    judged: int
    subjects: tuple[str, ...]
    fitting: Mapping[str, Any]
    scanners: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    lesions: Mapping[str, Any] = field(default_factory=dict)
    bars: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.subjects or not self.fitting.get("maps"):
            raise ParameterError(
                f"the protocol has {len(self.subjects)} subjects and {len(self.fitting.get('maps', ()))} maps to fit "
                "methods to",
                "name one or more of each; compare with protocols/dwi.json",
            )
        if not 6 <= self.directions <= 256 or not 1 <= self.judged <= self.directions:
            raise ParameterError(
                f"{self.directions} directions, of which {self.judged} are judged",
                "give 6 directions or more, for a tensor, and judge 1 up to all of them",
            )
        if not FINEST_BRAIN_MM <= self.brain_mm <= 2.5:
            raise ParameterError(f"brain_mm is {self.brain_mm}", f"give {FINEST_BRAIN_MM:g} to 2.5 mm")
        strange = {k: v for k, v in self.lesion_images.items() if k not in LESION_KINDS or set(v) - set(LESION_IMAGES)}
        if strange:
            raise ParameterError(
                f"lesions are to be looked at as {strange}",
                f"kinds: {', '.join(LESION_KINDS)}; images: {', '.join(LESION_IMAGES)}",
            )
        unknown = sorted(set(self.bars) - set(BARS))
        if unknown:
            raise ParameterError(f"bars {unknown} are unknown", f"choose of: {', '.join(BARS)}")
        if len({load_scanner(name).id for name in self.scanner_names}) < max(2, len(self.scanner_names)):
            raise ParameterError(
                f"scanners {list(self.scanner_names)}", "name two or more, each once: a variation needs two values"
            )
        require_roles(self.subjects, HELD_OUT_ROLES, f"the figures of protocol '{self.name}'")
        require_roles(self.fitting["maps"], ("train",), f"fitting the methods of protocol '{self.name}'")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], quick: bool = False) -> DwiProtocol:
        """Build a protocol from its JSON; ``quick`` applies the overrides under that key.

        Raises
        ------
        ParameterError
            Unknown or missing keys, values out of range, or subjects that may not be used.
        """
        ready = {key: value for key, value in values.items() if key not in ("kind", "quick")}
        if quick:
            ready.update(values.get("quick", {}))
        return build_parameters(cls, ready)

    @property
    def scanner_names(self) -> tuple[str, ...]:
        """Names or files of the scanners."""
        return self.scanners or scanner_ids()

    @property
    def lesion_images(self) -> dict[str, tuple[str, ...]]:
        """Kind of lesion → maps in which it is segmented."""
        return {kind: tuple(images) for kind, images in dict(self.lesions.get("images", {})).items()}

    @property
    def least_lesion_mm3(self) -> float:
        """Volume of the smallest lesion that is judged."""
        return float(self.lesions.get("least_mm3", 100.0))

    def scanner(self, name: str) -> DwiScanner:
        """Return a scanner by its name or file."""
        return load_scanner(name)

    def cases(self) -> Iterator[DwiCase]:
        """Iterate over every case, brain by brain."""
        for subject in self.subjects:
            for name in self.scanner_names:
                case_id = f"{subject.rsplit('/', 1)[-1]}-{load_scanner(name).id}"
                brain = self.derived_seed(f"brain {subject}")
                yield DwiCase(case_id, subject, name, brain, self.derived_seed(f"scan {case_id}"))

    def derived_seed(self, name: str) -> int:
        """Return a seed fixed by the protocol's seed and a name."""
        return zlib.crc32(f"{self.seed}/{name}".encode())
