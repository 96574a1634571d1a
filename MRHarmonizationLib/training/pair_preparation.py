"""Low- and high-field scans of the same people made ready to be learned from: matched, registered, resampled, written.

The low-field scan is brought to the grid on which ``enhance`` would see it, by the same interpolation, and nothing
else; the high-field scan is laid on it by one interpolation of its own voxels. What cannot be used is named with the
reason and left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.checks import check_volume_array
from MRHarmonizationLib.core.errors import InputError, OutputError, ParameterError
from MRHarmonizationLib.core.intensity import fit_intensity_scale
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.methods.case_profile import CaseProfile, profile_case
from MRHarmonizationLib.training.pair_contrast import least_correlation, other_contrasts
from MRHarmonizationLib.training.pair_manifest import (
    FORMAT,
    HIGH,
    LOW,
    MANIFEST,
    RECORD,
    SCAN,
    VALID,
    VERSION,
    assign_splits,
)
from MRHarmonizationLib.training.pair_names import ScanName, match_scans, named_scans, pair_contrast, pair_key
from MRHarmonizationLib.training.recipe import CONTRASTS
from MRHarmonizationLib.volumes.files import (
    check_output_path,
    digest_file,
    read_volume,
    write_json_atomic,
    write_volume,
)
from MRHarmonizationLib.volumes.pair_registration import RegistrationLimits, register_pair, resample_partner
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.staging import Staging
from MRHarmonizationLib.volumes.volume import Volume

#: Grid and interpolation on which networks see scans; see the model cards.
SPACING_MM, INTERPOLATION = 1.0, "cubic"
#: Folders of what is written: by kind of scan, and for the records of rejected pairs.
FOLDERS = {"pair": "pairs", "low": "low", "high": "high"}
REJECTED = "rejected"
#: Bytes per voxel that a pair may take on disk: two float32 arrays and a mask, hardly compressed.
WRITTEN_BYTES = 9


@dataclass(frozen=True)
class PairSettings:
    """How scans are prepared.

    Attributes
    ----------
    unpaired : bool
        Whether the folders hold scans of different people: nothing is matched or registered.
    pattern : str, optional
        Regular expression whose first group is the subject in a name.
    contrast : str, optional
        Take only scans whose names say 't1', 't2' or 'flair'.
    allow_mixed : bool
        Whether scans that look like another contrast than the rest of their folder are taken all the same.
    validation_share : float
        Share of the subjects that training only validates on.
    limits : RegistrationLimits
    """

    unpaired: bool = False
    pattern: str | None = None
    contrast: str | None = None
    allow_mixed: bool = False
    validation_share: float = 0.2
    limits: RegistrationLimits = field(default_factory=RegistrationLimits)

    def __post_init__(self) -> None:
        if self.contrast is not None and self.contrast not in CONTRASTS:
            raise ParameterError(f"contrast '{self.contrast}' is unknown", f"choose one of: {', '.join(CONTRASTS)}")
        if not 0.0 <= self.validation_share < 1.0:
            raise ParameterError(f"validation share is {self.validation_share}", "give 0 to below 1")


@dataclass(frozen=True)
class PreparedPairs:
    """What was prepared.

    Attributes
    ----------
    manifest : Path
    entries : tuple of dict
        One per pair (or unpaired scan), as in the manifest.
    rejected : tuple of dict
        Names and reasons.
    """

    manifest: Path
    entries: tuple[dict[str, Any], ...]
    rejected: tuple[dict[str, Any], ...]

    def lines(self) -> list[str]:
        """Return what a person wants to know."""
        splits = Counter(entry["split"] for entry in self.entries)
        said = ", ".join(f"{count} {name}" for name, count in sorted(splits.items()))
        kinds = Counter(entry["kind"] for entry in self.entries)
        lines = [f"prepared: {', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))} ({said})"]
        lines += [f"rejected: {entry['name']}: {'; '.join(entry['reasons'])}" for entry in self.rejected]
        return [*lines, f"manifest: {self.manifest}"]


class _NotRegistered(InputError):
    """Two scans that do not lie on each other, and by how much."""

    def __init__(self, problems: Sequence[str], quality: Mapping[str, float]) -> None:
        super().__init__(f"not registered: {'; '.join(problems)}", "check that both show the same head")
        self.quality = dict(quality)


@dataclass(frozen=True)
class _Item:
    """One pair, or one unpaired scan."""

    kind: str
    key: str
    subject: str
    contrast: str
    scans: tuple[ScanName, ...]

    @property
    def folder(self) -> str:
        return f"{FOLDERS[self.kind]}/{self.key}"

    @property
    def name(self) -> str:
        return " + ".join(scan.path.name for scan in self.scans)


def prepare_pairs(
    low: Path, high: Path, out: Path, settings: PairSettings | None = None, progress: Progress | None = None
) -> PreparedPairs:
    """Prepare two folders of scans for training.

    May be stopped and started again: what is finished, and unchanged since, is not done twice.

    Parameters
    ----------
    low, high : Path
        Folders of low- and high-field scans: image files, DICOM folders, or one folder per subject.
    out : Path
        Folder to write to; made if needed.
    settings : PairSettings, optional
    progress : Progress, optional

    Returns
    -------
    PreparedPairs

    Raises
    ------
    InputError
        No scans, several contrasts, or nothing that can be used (the manifest then says why).
    ParameterError
        Wrong settings, or an output folder that is one of the inputs.
    OutputError
        A file cannot be written; all that was finished before stays.
    """
    settings, progress = settings or PairSettings(), progress or Progress()
    if out.resolve() in (low.resolve(), high.resolve()):
        raise ParameterError(f"output folder {out} holds the scans", "choose another folder")
    items, rejected = _find(low, high, settings)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make folder {out}: {error.strerror or error}", "choose another folder") from error
    check_output_path(out / MANIFEST)
    items = _readable(items, rejected, settings, progress.part(0.0, 0.2))
    splits = assign_splits([item.subject for item in items], settings.validation_share)
    entries: list[dict[str, Any]] = []

    def write_manifest(complete: bool) -> PreparedPairs:
        pairs = [{**entry, "split": splits[entry["subject"]]} for entry in entries]
        values = {
            "format": FORMAT,
            "version": VERSION,
            "complete": complete,
            "unpaired": settings.unpaired,
            "settings": asdict(settings),
            "pairs": pairs,
            "rejected": rejected,
        }
        path = write_json_atomic(json.loads(json.dumps(values)), out / MANIFEST)
        return PreparedPairs(path, tuple(pairs), tuple(rejected))

    write_manifest(False)
    for number, item in enumerate(items):
        part = progress.part(0.2 + 0.8 * number / len(items), 0.2 + 0.8 * (number + 1) / len(items))
        part.report(0.0, f"{item.key} ({number + 1} of {len(items)})")
        part.check()
        entry = _prepared_before(item, out, settings) or _prepare(item, out, settings)
        if "reasons" in entry:
            rejected.append({name: entry[name] for name in ("name", "stage", "reasons", "quality")})
        else:
            entries.append(entry)
        write_manifest(False)
    if not settings.unpaired and not settings.allow_mixed:
        rejected += _mixed_pairs(entries)
    done = write_manifest(True)
    if not entries:
        raise InputError(
            f"none of {len(rejected)} scans and pairs can be used; the first, {rejected[0]['name']}: "
            f"{'; '.join(rejected[0]['reasons'])}",
            f"see {done.manifest}",
        )
    progress.report(1.0, "done")
    return done


def _rejection(name: str, stage: str, *reasons: str, quality: Any = None) -> dict[str, Any]:
    return {"name": name, "stage": stage, "reasons": list(reasons), "quality": quality}


def _find(low: Path, high: Path, settings: PairSettings) -> tuple[list[_Item], list[dict[str, Any]]]:
    """Return what is to be prepared, and the scans whose names keep them out of it."""
    rejected: list[dict[str, Any]] = []
    sides: list[list[ScanName]] = []
    for folder in (low, high):
        scans, unusable = named_scans(folder, settings.pattern)
        rejected += [_rejection(name, "names", reason) for name, reason in unusable]
        if settings.contrast is not None:
            other = [scan for scan in scans if scan.contrast != settings.contrast]
            rejected += [_rejection(s.path.name, "names", f"not named '{settings.contrast}'") for s in other]
            scans = [scan for scan in scans if scan.contrast == settings.contrast]
        sides.append(scans)
    named = Counter(scan.contrast for side in sides for scan in side if scan.contrast)
    if len(named) > 1 and not settings.allow_mixed:
        said = ", ".join(f"{count} {name}" for name, count in sorted(named.items()))
        raise InputError(f"the scans are of several contrasts by their names: {said}", "choose one with --contrast")
    if settings.unpaired:
        items = [
            _Item(kind, f"{scan.key}-{number:03d}", scan.subject, scan.contrast, (scan,))
            for kind, side in zip(("low", "high"), sides, strict=True)
            for number, scan in enumerate(side)
        ]
        return items, rejected
    matched = match_scans(*sides)
    rejected += [_rejection(name, "names", reason) for name, reason in matched.left]
    pairs = [_Item("pair", pair_key(*pair), pair[0].subject, pair_contrast(*pair), pair) for pair in matched.pairs]
    if not pairs:
        raise InputError(
            f"no scan of {low} has a partner of the same name in {high}",
            "name them by subject, tell the subject with --pattern, or use --unpaired",
        )
    return pairs, rejected


def _readable(
    items: Sequence[_Item], rejected: list[dict[str, Any]], settings: PairSettings, progress: Progress
) -> list[_Item]:
    """Read every scan once; leave out those that cannot be read or look like another contrast than their folder."""
    profiles: list[list[CaseProfile]] = []
    kept: list[_Item] = []
    for number, item in enumerate(items):
        progress.report(number / len(items), f"looking at {item.key} ({number + 1} of {len(items)})")
        try:
            profiles.append([profile_case(_read(scan.path)) for scan in item.scans])
            kept.append(item)
        except InputError as error:
            rejected.append(_rejection(item.name, "files", _without_paths(error.problem, item)))
    if settings.allow_mixed:
        return kept
    odd: dict[int, list[str]] = {}
    for kind in sorted({item.kind for item in kept}):
        members = [n for n, item in enumerate(kept) if item.kind == kind]
        for side in range(len(kept[members[0]].scans)):
            for place, said in other_contrasts([profiles[n][side] for n in members]).items():
                scan = kept[members[place]].scans[side]
                odd.setdefault(members[place], []).append(f"{scan.path.name} looks like another contrast: {said}")
    rejected += [_rejection(kept[n].name, "contrast", *reasons) for n, reasons in sorted(odd.items())]
    return [item for n, item in enumerate(kept) if n not in odd]


def _without_paths(text: str, item: _Item) -> str:
    """Return a message with names in place of paths: a manifest is handed on."""
    for scan in item.scans:
        text = text.replace(str(scan.path.expanduser()), scan.path.name)
    return text


def _mixed_pairs(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Take the pairs whose two scans are of different contrasts out of the entries; return their rejections."""
    found = [float(entry["quality"]["tissue_correlation"]) for entry in entries]
    limit = least_correlation(found)
    odd = [(entry, value) for entry, value in zip(entries, found, strict=True) if value < limit]
    entries[:] = [entry for entry, value in zip(entries, found, strict=True) if value >= limit]
    return [
        _rejection(
            " + ".join(source["name"] for source in entry["inputs"]["sources"]),
            "contrast",
            f"the two scans are of different contrasts: tissue correlation {value:.2f}, limit {limit:.2f}",
            quality=entry["quality"],
        )
        for entry, value in odd
    ]


def _read(path: Path) -> Volume:
    volume = read_volume(path)
    check_volume_array(volume.array, f"scan '{volume.name}'")
    return volume


def _inputs(item: _Item, settings: PairSettings) -> dict[str, Any]:
    """Return all that decides the result: names and digests of the files, and the limits."""
    sources = [{"name": scan.path.name, "sha256": _source_digest(scan.path)} for scan in item.scans]
    return {"sources": sources, "limits": asdict(settings.limits) if item.kind == "pair" else {}}


def _source_digest(path: Path) -> str:
    return digest_file(path) if path.is_file() else _read(path).digest()


def _prepared_before(item: _Item, out: Path, settings: PairSettings) -> dict[str, Any] | None:
    """Return the record of an earlier run, if it was made of the same files and what it wrote is still there."""
    for path in (out / item.folder / RECORD, out / REJECTED / f"{item.key}.json"):
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if record["inputs"] != _inputs(item, settings):
                continue
            files = record.get("files", {}).items()
            if all(digest_file(path.parent / name) == file["sha256"] for name, file in files):
                return record
        except (OSError, ValueError, KeyError, TypeError, InputError):
            continue
    return None


def _prepare(item: _Item, out: Path, settings: PairSettings) -> dict[str, Any]:
    """Prepare one pair or scan; return its record, which holds reasons where it is rejected."""
    inputs = _inputs(item, settings)
    try:
        volumes = [_read(scan.path) for scan in item.scans]
        made, values = _laid_on(volumes, settings.limits) if item.kind == "pair" else _alone(volumes[0])
    except InputError as error:
        quality = error.quality if isinstance(error, _NotRegistered) else None
        record = {
            "inputs": inputs,
            **_rejection(item.name, "registration", _without_paths(error.problem, item), quality=quality),
        }
        (out / REJECTED).mkdir(exist_ok=True)
        write_json_atomic(record, out / REJECTED / f"{item.key}.json")
        return record
    folder = out / item.folder
    folder.mkdir(parents=True, exist_ok=True)
    check_output_path(folder / RECORD, WRITTEN_BYTES * next(iter(made.values())).array.size)
    with Staging() as staging:
        files = {}
        for name, volume in made.items():
            staged = write_volume(volume, staging.place(folder / name))
            files[name] = {"sha256": digest_file(staged), "bytes": staged.stat().st_size}
        record = {
            "kind": item.kind,
            "folder": item.folder,
            "subject": item.subject,
            "contrast": item.contrast,
            "inputs": inputs,
            "files": files,
            **values,
        }
        record = json.loads(json.dumps(record))
        write_json_atomic(record, staging.place(folder / RECORD))  # last: whoever finds it finds all
    return record


def _normalised(volume: Volume, inside: np.ndarray | None = None) -> tuple[Volume, dict[str, float]]:
    """Return a volume with its .5 and 99.5 % percentiles at 0 and 1, as the networks' cards want, and the scale."""
    scale = fit_intensity_scale(volume.array if inside is None else volume.array[inside])
    return volume.with_array(scale.normalise(volume.array)), scale.to_dict()


def _alone(volume: Volume) -> tuple[dict[str, Volume], dict[str, Any]]:
    grid = volume.grid.isotropic(SPACING_MM)
    image, scale = _normalised(resample(volume, grid, INTERPOLATION))
    return {SCAN: image}, {"acquired_grid": volume.grid.to_dict(), "intensity": {SCAN: scale}}


def _laid_on(volumes: Sequence[Volume], limits: RegistrationLimits) -> tuple[dict[str, Volume], dict[str, Any]]:
    """Return the files of a pair and what its record says; raises _NotRegistered if it is no pair."""
    low, high = volumes
    found = register_pair(low, high, limits)
    problems = found.problems(limits)
    if problems:
        raise _NotRegistered(problems, found.quality.to_dict())
    grid = low.grid.isotropic(SPACING_MM)
    image, low_scale = _normalised(resample(low, grid, INTERPOLATION))
    moved, valid = resample_partner(high, grid, found.matrix)
    partner, high_scale = _normalised(moved, valid)
    # beyond the field of view of the high-field scan nothing is known, and nothing is to be learned
    partner = partner.with_array(np.where(valid, partner.array, image.array))
    made = {LOW: image, HIGH: partner, VALID: image.with_array(valid.astype(np.uint8))}
    values = {
        "low_to_high_ras": found.matrix.round(9).tolist(),
        "start": found.start,
        "quality": found.quality.to_dict(),
        "acquired_grid": low.grid.to_dict(),
        "intensity": {LOW: low_scale, HIGH: high_scale},
    }
    return made, values
