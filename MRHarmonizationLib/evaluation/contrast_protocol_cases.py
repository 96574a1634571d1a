"""Cases of the contrast protocol: the unaltered image, its tissues, what harmonisers are fitted to, the alterations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.degradations.kspace_contrast import (
    EXCLUSIVE,
    FAMILIES,
    KSpaceContrastParameters,
    sample_kspace_contrast,
)
from MRHarmonizationLib.degradations.label_images import LabelImageParameters, render_label_image
from MRHarmonizationLib.degradations.reference_look import sample_reference_look
from MRHarmonizationLib.degradations.signal_equations import tissue_of
from MRHarmonizationLib.evaluation.contrast_protocol import SEEN, ContrastCase, ContrastProtocol, PlannedAlteration
from MRHarmonizationLib.evaluation.contrast_variation import CLASS_LABELS, TISSUES, tissue_classes, tissue_mask
from MRHarmonizationLib.evaluation.report import make_folder
from MRHarmonizationLib.inference.segment import segmenter
from MRHarmonizationLib.inference.structure_harmonizer import mean_levels, structure_levels
from MRHarmonizationLib.methods.case_profile import FULL_SCALE, CaseProfile, measured_values, profile_case
from MRHarmonizationLib.methods.harmonizers import HARMONIZERS
from MRHarmonizationLib.methods.reference_group import ReferenceGroup, average_cases, load_group, save_group
from MRHarmonizationLib.volumes.atomic import write_json_atomic
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

#: Space left around the head, mm.
HEAD_MARGIN_MM = 6.0
#: A voxel counts as a tissue, or as brain, from this share of it on.
TISSUE_SHARE, BRAIN_SHARE = 0.75, 0.5
#: Beside the reference groups: what they were made of.
STATE_FILE = "state.json"
#: Draws of an alteration before its family is given up.
MOST_ATTEMPTS = 40


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """Everything that the alterations of one case share.

    Attributes
    ----------
    image : Volume
        Unaltered, float32, in units of the reference group.
    labels : int32 ndarray, shape (K, J, I)
        FreeSurfer numbers, for gains of tissues.
    tissues : mapping of str to bool ndarray
        Where 'white', 'grey' and 'fluid' are measured.
    mask : bool ndarray, shape (K, J, I)
        Where images are compared: the brain, or the classes of a real image.
    group : ReferenceGroup
        What harmonisers are fitted to.
    donor : Volume
        Another case of the same contrast.
    """

    image: Volume
    labels: np.ndarray
    tissues: Mapping[str, np.ndarray]
    mask: np.ndarray
    group: ReferenceGroup
    donor: Volume


@dataclass(frozen=True, eq=False)
class _FineHead:
    """Labels of a head at the data's resolution, cut to whole blocks, and the grid of the blocks."""

    labels: np.ndarray
    coarse: np.ndarray
    factor: int
    grid: Grid


def prepare_case(case: ContrastCase, protocol: ContrastProtocol, data: Path, reference: Path) -> PreparedCase:
    """Return a case, ready to be altered.

    Parameters
    ----------
    case : ContrastCase
    protocol : ContrastProtocol
    data : Path
        Folder of real scans.
    reference : Path
        Folder of the groups made by :func:`build_references`.

    Raises
    ------
    InputError
        A file is missing or lacks a tissue; voxels do not fit the protocol's.
    """
    donor_path, spacing = str(protocol.reference["donor"]), protocol.spacing_mm
    donor_seed = protocol.derived_seed(f"donor-{case.contrast}")
    donor = rendered_head(data, donor_path, case.contrast, spacing, donor_seed)[0]
    if protocol.group(case.group).kind == "labels":
        group = load_group(reference / f"{case.contrast}.json")
        image, labels, tissues, mask = rendered_head(data, case.subject, case.contrast, spacing, case.seed)
    else:
        group = load_group(protocol.reference["groups"][case.contrast])
        scan = _averaged(read_volume(data / f"{case.subject}.nii.gz"), spacing)
        image = HARMONIZERS.get("percentile").fit(group).apply(scan)
        labels, tissues, mask = _image_tissues(image)
    empty = [name for name in TISSUES if not np.any(tissues[name])]
    if empty:
        raise InputError(f"'{case.subject}' shows no {' and no '.join(empty)} tissue", "use a head with its label map")
    return PreparedCase(image, labels, tissues, mask, group, donor)


def rendered_head(
    data: Path, path: str, contrast: str, spacing_mm: float, seed: int
) -> tuple[Volume, np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Return a label map in the reference look, with the partial volumes of its finer grid.

    Parameters
    ----------
    data, path : Path and str
        Data folder; label map relative to it, without extension.
    contrast : {'t1', 't2', 'flair'}
    spacing_mm : float
        A whole multiple of the label map's.
    seed : int

    Returns
    -------
    image : Volume
        float32, 0 (air) to about 1000; the head and 6 mm around it.
    labels : int32 ndarray
        One of the labels in each voxel.
    tissues : dict of str to bool ndarray
        Voxels of which at least three quarters are the tissue.
    brain : bool ndarray
        Voxels of which at least half is brain.
    """
    head = _fine_head(str(data), path, float(spacing_mm))
    parameters = sample_reference_look(np.random.default_rng(seed), head.labels, contrast)
    table = np.zeros(max(parameters.labels) + 1, np.float32)
    table[list(parameters.labels)] = parameters.means
    mixed = _block_means(table[head.labels], head.factor)
    image = np.maximum(mixed + _texture(head.coarse, parameters), 0.0).astype(np.float32)
    shares = {name: _block_means(_of_tissue(head.labels, name), head.factor) for name in TISSUES}
    tissues = {name: share >= TISSUE_SHARE for name, share in shares.items()}
    brain = np.sum(list(shares.values()), axis=0) >= BRAIN_SHARE
    name = f"{Path(path).name} {contrast}"
    return Volume(image, head.grid, name), head.coarse, tissues, brain


def build_references(protocol: ContrastProtocol, data: Path, folder: Path, progress: Progress) -> Path:
    """Write the reference group of each contrast of the label maps, and return their folder.

    The groups are in the units of the look itself (its white matter, not its 99th percentile, is at a fixed value), so
    that no method is judged by how its scale differs from the look's. Each carries the id of the shipped group whose
    look it is: a network that was trained for it needs no further mapping. Groups of an earlier run of the same
    reference are kept.

    Parameters
    ----------
    protocol : ContrastProtocol
    data, folder : Path
    progress : Progress
    """
    contrasts = sorted({c for group in protocol.groups if group.kind == "labels" for c in group.contrasts})
    maps = protocol.reference["maps"]
    looks = [str(protocol.reference["groups"].get(contrast, contrast)) for contrast in contrasts]
    marks = [protocol.version, protocol.seed, protocol.spacing_mm, list(maps), contrasts, looks]
    marks.append(segmenter().weights.sha256)
    state, mark = folder / STATE_FILE, hashlib.sha256(json.dumps(marks).encode()).hexdigest()
    if state.is_file() and mark in state.read_text(encoding="utf-8"):
        return folder
    make_folder(folder)
    profiles: dict[str, list[CaseProfile]] = {contrast: [] for contrast in contrasts}
    structures: dict[str, list[dict[str, float]]] = {contrast: [] for contrast in contrasts}
    for number, path in enumerate(maps):
        progress.report(number / len(maps), f"reference {path} ({number + 1} of {len(maps)})")
        for contrast, found in profiles.items():
            seed = protocol.derived_seed(f"reference-{path}-{contrast}")
            image = rendered_head(data, path, contrast, protocol.spacing_mm, seed)[0]
            found.append(own_units_profile(image, contrast))
            structures[contrast].append(own_units_structures(image))
    for contrast, found in profiles.items():
        look = str(protocol.reference["groups"].get(contrast, contrast))
        title = f"{len(found)} label maps in the look of {look}"
        levels = mean_levels(structures[contrast])
        group = average_cases(found, contrast, look, title, subjects=len(found), structures=levels)
        save_group(group, folder / f"{contrast}.json")
    write_json_atomic({"mark": mark}, state)
    return folder


def own_units_profile(volume: Volume, contrast: str) -> CaseProfile:
    """Return the profile of an image with its intensities as they are instead of 0 to 1000."""
    profile, scale = profile_case(volume, None, contrast), measured_values(volume).scale
    factor = scale.scale / FULL_SCALE

    def own(value: float) -> float:
        return value * factor + scale.offset

    return replace(
        profile,
        quantiles=tuple(own(q) for q in profile.quantiles),
        mean=own(profile.mean),
        deviation=profile.deviation * factor,
        maximum=own(profile.maximum),
        stripe_mean=own(profile.stripe_mean),
        stripe_deviation=profile.stripe_deviation * factor,
    )


def own_units_structures(volume: Volume) -> dict[str, float]:
    """Return how bright structures are in an image with its intensities as they are; nothing without a brain."""
    scale = measured_values(volume).scale
    try:
        levels = structure_levels(volume)
    except InputError:
        return {}
    return {number: level * scale.scale / FULL_SCALE + scale.offset for number, level in levels.items()}


def draw_alteration(
    planned: PlannedAlteration, image: Volume, labels: np.ndarray | None, donor: Volume | None, held_out: Sequence[str]
) -> KSpaceContrastParameters:
    """Draw an alteration in which its family takes part, beside families used in training.

    Parameters
    ----------
    planned : PlannedAlteration
    image : Volume
    labels : int ndarray, optional
    donor : Volume, optional
    held_out : sequence of str
        Families of which none but the planned one takes part.

    Raises
    ------
    InputError
        The family found nothing to do with this image.
    """
    lacking = {"tissue", "sequence"} if labels is None else set()
    lacking |= {"swap"} if donor is None else set()
    for attempt in range(MOST_ATTEMPTS):
        rng = np.random.default_rng([planned.seed, attempt])
        families = _families(rng, planned.family, {*held_out, *lacking})
        drawn = sample_kspace_contrast(rng, image, labels, donor, families)
        if _took_part(drawn, planned.family):
            return drawn
    raise InputError(
        f"no alteration of family '{planned.family}' suits '{image.name}' in {MOST_ATTEMPTS} draws",
        "leave the family out for this group",
    )


def _families(rng: np.random.Generator, forced: str, left_out: set[str]) -> tuple[str, ...]:
    """Return families drawn by their usual shares, without those left out, with the forced one."""
    draws = rng.random(len(FAMILIES))
    drawn = {name for name, draw in zip(FAMILIES, draws, strict=True) if name not in left_out and draw < FAMILIES[name]}
    if forced != SEEN:
        drawn.add(forced)
    for kept, dropped in EXCLUSIVE:
        if forced == dropped:
            drawn.discard(kept)
        elif kept in drawn:
            drawn.discard(dropped)
    return tuple(name for name in FAMILIES if name in drawn) or ("bands",)


def _took_part(drawn: KSpaceContrastParameters, family: str) -> bool:
    """Tell whether a draw holds its family: curves and gains are left alone where none suits the image."""
    if family in ("fold", "tone"):
        return drawn.tone_curve is not None
    if family in ("sequence", "tissue"):
        return drawn.tissue_gains is not None
    return drawn != KSpaceContrastParameters()


@lru_cache(maxsize=2)
def _fine_head(data: str, path: str, spacing_mm: float) -> _FineHead:
    volume = read_volume(Path(data) / f"{path}.nii.gz")
    labels = np.rint(volume.array).astype(np.int32)
    if not np.any(labels > 0):
        raise InputError(f"label map '{path}' is empty", "use a map with FreeSurfer numbers")
    factor = _whole_factor(volume.grid, spacing_mm, path)
    places = [np.flatnonzero(labels.any(axis=tuple(n for n in range(3) if n != axis))) for axis in range(3)]
    margin = [int(round(HEAD_MARGIN_MM / s)) for s in volume.grid.spacing_mm[::-1]]
    start = [max(0, int(p[0]) - m) for p, m in zip(places, margin, strict=True)]
    stop = [min(n, int(p[-1]) + m + 1) for p, m, n in zip(places, margin, labels.shape, strict=True)]
    shape = [(b - a) // factor * factor for a, b in zip(start, stop, strict=True)]
    cut = np.ascontiguousarray(labels[tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))])
    grid = volume.grid.crop(start, shape)
    half = slice(factor // 2, None, factor)
    return _FineHead(cut, np.ascontiguousarray(cut[half, half, half]), factor, _block_grid(grid, factor))


def _texture(labels: np.ndarray, parameters: LabelImageParameters) -> np.ndarray:
    """Return the texture alone of a label image, float32, shape (K, J, I)."""
    flat = replace(parameters, widths=(0.0,) * len(parameters.widths))
    return render_label_image(labels, parameters) - render_label_image(labels, flat)


def _of_tissue(labels: np.ndarray, tissue: str) -> np.ndarray:
    table = np.zeros(int(labels.max()) + 1, np.float32)
    table[[int(v) for v in np.unique(labels) if tissue_of(int(v)) == tissue]] = 1.0
    return np.asarray(table[labels])


def _image_tissues(image: Volume) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Return labels, tissues and mask of a T1-like image, from thresholds of its intensities.

    Gains reach beyond the inside in which tissues are measured, so that they make no border there.
    """
    from skimage.filters import threshold_multiotsu

    inner = tissue_classes(image)
    thresholds = threshold_multiotsu(image.array[inner > 0], len(CLASS_LABELS))
    labels = np.asarray(CLASS_LABELS)[np.digitize(image.array, thresholds)].astype(np.int32)
    return labels, {name: tissue_mask(inner, name) for name in TISSUES}, inner > 0


def _averaged(volume: Volume, spacing_mm: float) -> Volume:
    """Return a scan averaged over blocks of voxels, float32."""
    factor = _whole_factor(volume.grid, spacing_mm, volume.name)
    shape = [n // factor * factor for n in volume.array.shape]
    array = volume.array[tuple(slice(0, n) for n in shape)].astype(np.float32)
    grid = _block_grid(volume.grid.crop((0, 0, 0), shape), factor)
    return Volume(_block_means(array, factor), grid, volume.name)


def _whole_factor(grid: Grid, spacing_mm: float, name: str) -> int:
    ratios = spacing_mm / np.asarray(grid.spacing_mm, np.float64)
    factor = int(round(float(ratios[0])))
    if factor < 1 or not np.allclose(ratios, factor, rtol=0.02):
        own = " x ".join(f"{s:g}" for s in grid.spacing_mm)
        raise ParameterError(
            f"voxels of {spacing_mm:g} mm are no whole multiple of those of '{name}', {own} mm",
            "choose another spacing_mm in the protocol",
        )
    return factor


def _block_grid(grid: Grid, factor: int) -> Grid:
    i, j, k = (float(s) * factor for s in grid.spacing_mm)
    return grid if factor == 1 else grid.with_spacing((i, j, k))


def _block_means(array: np.ndarray, factor: int) -> np.ndarray:
    if factor == 1:
        return np.asarray(array, np.float32)
    k, j, i = (n // factor for n in array.shape)
    return np.asarray(array.reshape(k, factor, j, factor, i, factor).mean(axis=(1, 3, 5), dtype=np.float32))
