"""Two real visits of one patient: whether they come closer where nothing changed, and whether the change stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.regions import inner_region
from MRHarmonizationLib.core.spectrum import RadialSpectrum, radial_power_spectrum
from MRHarmonizationLib.core.texture import glcm_texture
from MRHarmonizationLib.evaluation.cases import rounded
from MRHarmonizationLib.evaluation.contrast_protocol import ContrastProtocol
from MRHarmonizationLib.evaluation.contrast_protocol_figures import largest_lesion
from MRHarmonizationLib.evaluation.contrast_protocol_methods import CONTROL, LEARNED, Contestant, apply_fitted
from MRHarmonizationLib.evaluation.contrast_variation import RAW
from MRHarmonizationLib.evaluation.figures import curve_figure, planes_figure
from MRHarmonizationLib.evaluation.rigid_registration import Halfway, register_halfway
from MRHarmonizationLib.evaluation.splits import role_of
from MRHarmonizationLib.inference.curves import Curve, Role, Series
from MRHarmonizationLib.methods.reference_group import load_group
from MRHarmonizationLib.metrics.base import METRICS, default_data_range
from MRHarmonizationLib.volumes.affine import resample_through
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.volume import Volume

#: Tissue nearer to a marked change than this does not count as unchanged, mm.
CHANGE_MARGIN_MM = 5.0
#: Texture features that are compared.
FEATURES = ("contrast", "homogeneity", "correlation")
#: A change of less than this share of the range is too faint for its contrast to be followed.
FAINTEST_CHANGE = 0.05


@dataclass(frozen=True, eq=False)
class _Scene:
    """The visits of one contrast, where they lie halfway, and where nothing and something changed."""

    first: Volume
    second: Volume
    halfway: Halfway
    change: Volume
    unchanged: np.ndarray

    @property
    def marked(self) -> np.ndarray:
        """Where change was marked, bool."""
        return np.asarray(self.change.array != 0)


@dataclass(frozen=True, eq=False)
class _Pair:
    """Both visits after one method, halfway, in shares of their range."""

    first: Volume
    second: Volume
    spectra: tuple[RadialSpectrum, RadialSpectrum]
    features: tuple[dict[str, float], dict[str, float]]

    @property
    def change(self) -> np.ndarray:
        """Second visit minus the first."""
        return np.asarray(self.second.array - self.first.array)


def visit_task(
    protocol: ContrastProtocol, data: str, entries: Sequence[Contestant], pictures: str
) -> list[dict[str, Any]]:
    """Harmonise both visits in every contrast with every method, and compare them halfway between their positions.

    Parameters
    ----------
    protocol : ContrastProtocol
        Its ``visits`` name the scans, the mask of marked change (halfway between the visits) and the contrast by which
        they are registered; the motion is found once, on the scans as they are.
    data : str
    entries : sequence of Contestant
    pictures : str
        Folder for pictures of the visits and their spectra.

    Returns
    -------
    list of dict
        One row per contrast and method, all in shares of the range of both visits in unchanged tissue:
        ``difference``: mean absolute difference there, %; ``histogram``: Wasserstein distance there, %; ``spectrum``:
        RMS difference of log10 power, decades; ``texture``: mean relative difference of the GLCM features, %;
        ``change``: contrast of the marked change to the tissue around it over that of the raw scans, None where that is
        below 5 % of the range; effective resolution and features of both visits.
    """
    settings, folder = protocol.visits, Path(data)
    change = read_volume(folder / f"{settings['change']}.nii.gz")
    marked = change.with_array((change.array != 0).astype(np.float32))
    spacing = protocol.spacing_mm
    grid = change.grid.with_spacing((spacing, spacing, spacing))
    on_grid = resample_through(marked, grid, np.eye(4))
    on_grid = on_grid.with_array((on_grid.array >= 0.5).astype(np.uint8))
    anchor = [
        read_volume(folder / f"{settings[visit][settings['register_by']]}.nii.gz") for visit in ("first", "second")
    ]
    halfway = register_halfway(anchor[0], anchor[1], grid)
    rows = []
    for contrast in settings["first"]:
        visits = [read_volume(folder / f"{settings[visit][contrast]}.nii.gz") for visit in ("first", "second")]
        unchanged = _unchanged(visits[0], visits[1], halfway, on_grid)
        scene = _Scene(visits[0], visits[1], halfway, on_grid, unchanged)
        rows += _contrast_rows(protocol, contrast, scene, entries, Path(pictures))
    return rows


def visit_bars(rows: Sequence[Mapping[str, Any]], protocol: ContrastProtocol) -> list[dict[str, Any]]:
    """Return per method whether the visits came closer than raw in every contrast while the change stayed."""
    raw = {row["contrast"]: row for row in rows if row["method"] == RAW}
    required = protocol.visits.get("bars", {}).get("change", 0.0)
    verdicts = []
    for name in dict.fromkeys(row["method"] for row in rows if row["kind"] != CONTROL):
        mine = [row for row in rows if row["method"] == name]
        closer = [row["contrast"] for row in mine if row["difference"] < raw[row["contrast"]]["difference"]]
        kept = min((row["change"] for row in mine if row["change"] is not None), default=None)
        verdicts.append(
            {
                "method": name,
                "closer in": ", ".join(closer) or "none",
                "least change kept": kept,
                "required": required,
                "met": bool(len(closer) == len(mine) and kept is not None and kept >= required),
            }
        )
    return verdicts


def _contrast_rows(
    protocol: ContrastProtocol, contrast: str, scene: _Scene, entries: Sequence[Contestant], pictures: Path
) -> list[dict[str, Any]]:
    group = load_group(protocol.reference["groups"][contrast])
    raw = next(entry for entry in entries if entry.name == RAW)
    before = _pair(raw, raw.fit(group), scene)
    rows, shown = [], {RAW: before}
    best = float("inf")
    for entry in entries:
        after = before if entry is raw else _pair(entry, entry.fit(group), scene)
        found = _figures(before, after, scene)
        path = protocol.visits["first"][contrast]
        rows.append(
            {"contrast": contrast, "role": role_of(path), "method": entry.name, "kind": entry.kind}
            | {name: None if value is None else rounded(value, 4) for name, value in found.items()}
        )
        if entry.kind == LEARNED:
            shown[entry.name] = after
        elif entry.kind != CONTROL and float(found["difference"] or 0.0) < best:  # keep the best classical one
            best = float(found["difference"] or 0.0)
            shown["best"] = after
            title = f"best classical: {entry.name}"
    named = {(title if name == "best" else name): pair for name, pair in shown.items()}
    (pictures / f"visits-{contrast}.png").write_bytes(_picture(named, scene))
    (pictures / f"visits-{contrast}-spectra.png").write_bytes(curve_figure(_spectra(contrast, named)))
    return rows


def _pair(entry: Contestant, fitted: Any, scene: _Scene) -> _Pair:
    """Harmonise both visits on their own grids and bring them halfway, in shares of their common range."""
    moves = (scene.halfway.to_first, scene.halfway.to_second)
    grid, mask = scene.change.grid, scene.unchanged
    moved = [
        resample_through(apply_fitted(fitted, visit), grid, move)
        for visit, move in zip((scene.first, scene.second), moves, strict=True)
    ]
    both = np.concatenate([volume.array[mask] for volume in moved]).reshape(1, 1, -1)
    scale = default_data_range(both)
    first, second = (volume.with_array(volume.array / np.float32(scale), name=entry.name) for volume in moved)
    i, j, k = (float(s) for s in grid.spacing_mm)
    spectra = tuple(radial_power_spectrum(volume.array, (i, j, k), mask) for volume in (first, second))
    textures = [glcm_texture(volume.array, mask).features for volume in (first, second)]
    kept = tuple({name: float(found[name]) for name in FEATURES} for found in textures)
    return _Pair(first, second, (spectra[0], spectra[1]), (kept[0], kept[1]))


def _figures(before: _Pair, after: _Pair, scene: _Scene) -> dict[str, float | None]:
    mask = scene.unchanged
    first, second = (np.sort(volume.array[mask].astype(np.float64)) for volume in (after.first, after.second))
    i, j, k = (float(s) for s in scene.change.grid.spacing_mm)
    metric = METRICS.get("lesion_contrast_retention")
    kept = metric(after.change, before.change, scene.marked, spacing_mm=(i, j, k))
    faint = abs(float(kept.detail.get("contrast_reference", 0.0))) < FAINTEST_CHANGE
    power = [np.log10(np.maximum(found.normalised_power, 1e-30)) for found in after.spectra]
    usable = after.spectra[0].frequency_cycles_per_mm <= after.spectra[0].limit_cycles_per_mm
    relative = [
        abs(after.features[0][name] - after.features[1][name])
        / max(abs(after.features[0][name] + after.features[1][name]) / 2, 1e-12)
        for name in FEATURES
    ]
    found: dict[str, float | None] = {
        "difference": 100.0 * float(np.mean(np.abs(after.change[mask]), dtype=np.float64)),
        "histogram": 100.0 * float(np.mean(np.abs(first - second))),
        "change": None if faint else kept.value,
        "spectrum": float(np.sqrt(np.mean((power[0] - power[1])[usable] ** 2))),
        "texture": 100.0 * float(np.mean(relative)),
    }
    for name in FEATURES:
        found |= {f"{name}_{number}": values[name] for number, values in enumerate(after.features, start=1)}
    return found


def _unchanged(first: Volume, second: Volume, halfway: Halfway, change: Volume) -> np.ndarray:
    """Return the inside of the head that both visits show, away from the marked change."""
    from scipy import ndimage

    spacing = change.grid.spacing_mm[::-1].tolist()
    seen = np.ones(change.array.shape, bool)
    for visit, move in ((first, halfway.to_first), (second, halfway.to_second)):
        seen &= inner_region(resample_through(visit, change.grid, move).array, spacing)
    if change.array.any():
        seen &= ndimage.distance_transform_edt(change.array == 0, sampling=spacing) > CHANGE_MARGIN_MM
    return seen


def _picture(pairs: Mapping[str, _Pair], scene: _Scene) -> bytes:
    """Draw both visits raw, after the best classical method and after each learned one, the change outlined."""
    shown = [
        (f"{name}\nvisit {number}", volume.with_array(volume.array - np.percentile(volume.array, 0.5)))
        for name, pair in pairs.items()
        for number, volume in enumerate((pair.first, pair.second), start=1)
    ]
    high = float(np.percentile(shown[0][1].array[scene.unchanged], 99.8))
    return planes_figure(
        shown, (0.0, high), largest_lesion(scene.marked, scene.change.grid.spacing_mm.tolist()), outline=scene.marked
    )


def _spectra(contrast: str, pairs: Mapping[str, _Pair]) -> Curve:
    series = []
    for name, pair in pairs.items():
        for number, found in enumerate(pair.spectra, start=1):
            usable = found.frequency_cycles_per_mm <= found.limit_cycles_per_mm
            x, y = found.frequency_cycles_per_mm[usable], found.normalised_power[usable]
            role: Role = "before" if name == RAW else "after"
            series.append(Series(f"{name}, visit {number}", role, x[y > 0], y[y > 0]))
    return Curve(
        id=f"visits_{contrast}",
        title=f"Power spectra of both visits, {contrast}",
        sentence="Normalised by the total power in unchanged tissue; the two visits should agree.",
        x_label="frequency",
        x_unit="cycles/mm",
        x_log=True,
        y_label="normalised power",
        y_unit="mm³",
        y_log=True,
        series=tuple(series),
    )
