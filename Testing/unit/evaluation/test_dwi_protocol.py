"""The travelling-subject protocol's records, its truth, its measures and its tables: everything but a whole run."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from support.diffusion import block_brain
from support.travelling import SPACING_MM, small_protocol, write_travelling

from MRHarmonizationLib.core.errors import InputError, ModelNotFoundError, ParameterError
from MRHarmonizationLib.core.tensor_measures import eigenvalues_of, fractional_anisotropy
from MRHarmonizationLib.degradations.dwi_scanner import sample_dwi_scanner
from MRHarmonizationLib.degradations.dwi_simulation import seen_mask, seen_share
from MRHarmonizationLib.degradations.scan_plan import phase_shift_mm, plan_scan
from MRHarmonizationLib.evaluation.dwi_protocol import DwiProtocol
from MRHarmonizationLib.evaluation.dwi_protocol_cases import (
    APART_MM,
    TISSUES,
    ideal_twin,
    large_enough,
    load_brain,
    on_grid,
    prepare_dwi_case,
    true_measures,
)
from MRHarmonizationLib.evaluation.dwi_protocol_measures import DwiJudge, Looked, lesion_scores
from MRHarmonizationLib.evaluation.dwi_protocol_methods import contestants, is_learned
from MRHarmonizationLib.evaluation.dwi_protocol_rows import (
    case_fingerprints,
    harmonised_after_correction,
    harmonised_as_by_user,
)
from MRHarmonizationLib.evaluation.dwi_protocol_tables import stricter, subject_scores, summarise
from MRHarmonizationLib.evaluation.protocol import read_protocol
from MRHarmonizationLib.inference.dwi_measures import measure_maps
from MRHarmonizationLib.inference.harmonize_dwi import HarmonizeDwiRequest, harmonize_dwi
from MRHarmonizationLib.methods.dwi_harmonizers.base import DWI_HARMONIZERS, DwiHarmonizer
from MRHarmonizationLib.methods.dwi_harmonizers.scaling import GlobalScaling
from MRHarmonizationLib.methods.dwi_target import load_target
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.volume import Volume


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_travelling(tmp_path_factory.mktemp("heads"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return DwiProtocol.from_dict(small_protocol(tmp_path_factory.mktemp("scanners")))


@pytest.fixture(scope="module")
def prepared(data, small):
    return prepare_dwi_case(next(small.cases()), small, data)


@pytest.fixture
def values():
    return copy.deepcopy(read_protocol("dwi"))


def test_each_brain_is_scanned_once_by_every_scanner(values):
    protocol = DwiProtocol.from_dict(values)
    cases = list(protocol.cases())
    assert len({case.id for case in cases}) == len(cases) == 4 * 7
    assert len({case.scan_seed for case in cases}) == len(cases)
    assert len({(case.subject, case.brain_seed) for case in cases}) == 4
    other = DwiProtocol.from_dict({**values, "seed": values["seed"] + 1})
    assert all(a.scan_seed != b.scan_seed for a, b in zip(cases, other.cases(), strict=True))
    assert 0 < len(list(DwiProtocol.from_dict(values, quick=True).cases())) <= 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subjects": ["labelmaps/training_seg_01"]}, "training_seg_01"),
        ({"subjects": ["labelmaps/training_seg_16"]}, "validation"),
        ({"fitting": {"maps": ["labelmaps/training_seg_17"]}}, "training_seg_17"),
        ({"fitting": {}}, "0 maps"),
        ({"scanners": ["vendor-d-3t"]}, "vendor-d-3t"),
        ({"scanners": ["vendor-d-3t", "vendor-d-3t"]}, "each once"),
        ({"scanners": ["vendor-e-3t", "vendor-d-3t"]}, "vendor-e-3t"),
        ({"directions": 5}, "5 directions"),
        ({"judged": 13}, "13 are judged"),
        ({"brain_mm": 3.0}, "3.0"),
        ({"lesions": {"images": {"tumour": ["b0"]}}}, "tumour"),
        ({"lesions": {"images": {"ms": ["fa"]}}}, "fa"),
        ({"bars": {"beauty": 1.0}}, "beauty"),
        ({"direction": 12}, "direction"),
    ],
)
def test_wrong_protocols_are_refused(values, changes, said):
    with pytest.raises(ParameterError, match=said):
        DwiProtocol.from_dict({**values, **changes})


def test_the_canonical_scan_lies_on_the_grid_of_results(data):
    brain = load_brain(data, "labelmaps/training_seg_17", SPACING_MM, 1)
    for name, tilt in (("vendor-b-1.5t", 0.0), ("vendor-d-3t", 0.0), ("vendor-b-3t", 9.0)):
        scan = replace(sample_dwi_scanner(np.random.default_rng(0), name, 6), tilt_deg=tilt)
        grid = plan_scan(brain, scan).grid.with_spacing((1.75, 1.75, 2.0))
        ideal = on_grid(ideal_twin(scan), grid)
        assert same_grid(plan_scan(brain, ideal).grid, grid, 1e-6)
        assert phase_shift_mm(ideal) == pytest.approx(phase_shift_mm(scan), abs=1e-9)
        assert np.isinf(ideal.snr_b0)
        assert ideal.b_values_s_per_mm2 == scan.b_values_s_per_mm2


def test_true_measures_are_those_of_the_tensors_weighted_with_their_signal():
    density = np.zeros((24, 40, 40), np.float32)
    density[6:18, 8:32, 8:32] = 1.0
    brain = block_brain(density)
    fa = float(fractional_anisotropy(eigenvalues_of(brain.tensors[:1, 0, 0]))[0])
    scan = ideal_twin(replace(sample_dwi_scanner(np.random.default_rng(0), "vendor-d-3t", 6), offset_mm=(0, 0, 0)))
    scan = replace(scan, matrix=(32, 32), field_of_view_mm=(96.0, 96.0), slice_spacing_mm=3.0, slice_thickness_mm=3.0)
    md, found = true_measures(brain, scan)
    assert md.max() == pytest.approx(0.8e-3, rel=1e-4)
    assert md[md > 0] == pytest.approx(0.8e-3, rel=1e-4)
    assert found[md > 0] == pytest.approx(fa, abs=1e-4)
    # half of every voxel along I is three times as bright and diffuses twice as fast
    bright, tensors = density.copy(), brain.tensors.copy()
    bright[..., ::2] *= 3
    tensors[..., ::2, :] *= 2
    mixed, _ = true_measures(
        block_brain(bright, tensors=tensors),
        replace(scan, matrix=(24, 24), field_of_view_mm=(96.0, 96.0)),
    )
    inside = seen_share(brain, density, replace(scan, matrix=(24, 24))).array > 0.999
    assert np.median(mixed[inside]) == pytest.approx(0.8e-3 * (3 * 2 + 1) / 4, rel=0.02)


def test_shares_are_means_over_voxels_and_masks_their_half(data):
    brain = load_brain(data, "labelmaps/training_seg_17", SPACING_MM, 1)
    scan = sample_dwi_scanner(np.random.default_rng(0), "vendor-d-3t", 6)
    share = seen_share(brain, brain.brain_mask, scan)
    assert share.array.max() == pytest.approx(1.0, abs=0.02)
    assert np.array_equal(seen_mask(brain, brain.brain_mask, scan).array, share.array >= 0.5)
    volume = share.array.sum() * share.grid.voxel_volume_mm3
    assert volume == pytest.approx(brain.brain_mask.sum() * brain.grid.voxel_volume_mm3, rel=0.02)


def test_a_case_holds_scan_truth_tissues_and_lesions_in_one_place(prepared, small):
    assert prepared.truth.grid.shape == prepared.brain.shape == prepared.md.shape
    assert prepared.scan.grid.shape != prepared.grid.shape
    assert np.array_equal(prepared.truth.gradients_ras, prepared.scan.gradients_ras)
    assert set(prepared.tissues) == set(TISSUES)
    means = {name: prepared.truth.mean_b0().array[mask].mean() for name, mask in prepared.tissues.items()}
    assert means["white"] < means["grey"] < means["fluid"]
    stroke, ms = prepared.lesions["stroke"], prepared.lesions["ms"]
    assert stroke.any()
    assert np.median(prepared.md[stroke]) < 0.8 * prepared.md[prepared.tissues["white"]].mean()
    if ms.any():
        assert prepared.md[ms].mean() > 1.1 * prepared.md[prepared.tissues["white"]].mean()
        distance = distance_transform_edt(~stroke, sampling=prepared.grid.spacing_mm[::-1])
        assert distance[ms].min() > 0.5 * APART_MM
    for mask in prepared.tissues.values():
        assert not np.any(mask & (stroke | ms))


def test_a_missing_label_map_is_named(small, tmp_path):
    with pytest.raises(InputError, match="training_seg_17"):
        prepare_dwi_case(next(small.cases()), small, tmp_path)


def test_small_lesions_are_left_out():
    mask = np.zeros((10, 20, 20), bool)
    mask[2:4, 2:4, 2:4] = True
    mask[5:9, 10:16, 10:16] = True
    kept = large_enough(Volume(mask, Grid(mask.shape, np.eye(4))), 100.0)
    assert kept.sum() == 4 * 36
    assert not kept[2:4, 2:4, 2:4].any()


def looked_at(prepared, array, has_units):
    dwi = prepared.truth.with_array(array.astype(np.float32))
    return Looked(dwi, measure_maps(dwi, prepared.brain), has_units)


def test_the_canonical_scan_in_another_unit_is_perfect_but_for_its_unit(prepared, small):
    judge = DwiJudge(prepared, small)
    copy_ = looked_at(prepared, 7.0 * prepared.truth.array, True)
    assert judge.factor(copy_) == pytest.approx(1 / 7, rel=1e-5)
    scores = judge.similarity(copy_)
    assert scores["psnr_b0"] < 10
    assert scores["psnr_b0_scaled"] > 90
    assert scores["ssim_dw_scaled"] == pytest.approx(1.0, abs=1e-5)
    rng = np.random.default_rng(0)
    noise = 30.0 * rng.normal(size=prepared.truth.array.shape)
    noisy = looked_at(prepared, np.abs(prepared.truth.array + noise), False)
    worse = judge.similarity(noisy)
    assert worse["psnr_dw"] is None
    assert worse["psnr_dw_scaled"] < 30
    assert worse["ssim_dw_scaled"] < 0.99
    inside = np.ones(prepared.brain.shape, bool)
    errors = [judge.diffusivities(one, inside) for one in (copy_, noisy)]
    for name in ("fa_error_white", "md_error_brain"):
        assert errors[1][name] > errors[0][name]
    assert errors[0]["fa_error_white"] < 0.1
    lesions = judge.lesions(copy_, copy_)
    assert lesions["stroke_trace_dice"] == lesions["stroke_md_dice_kept"] == 1.0
    assert lesions["stroke_trace_lost"] == lesions["stroke_md_flipped"] == 0.0


def test_traces_are_referred_to_one_b_value(prepared, small):
    """A scan whose signal decays alike in every direction refers to the signal that it would have at b 1000."""
    judge, shell = DwiJudge(prepared, small), float(max(prepared.truth.shells()))
    assert shell != 1000
    decay = np.exp(-prepared.truth.b_values_s_per_mm2 * 0.7e-3)
    even = looked_at(prepared, 500.0 * np.ones((*prepared.brain.shape, 1)) * decay, True)
    means = judge.tissues(even)
    assert means["trace_white"] == pytest.approx(500 * np.exp(-shell * 0.7e-3), rel=1e-3)
    assert means["referred_grey"] == pytest.approx(500 * np.exp(-0.7), rel=1e-3)
    assert means["median_b0"] == pytest.approx(500.0)


def test_lost_and_flipped_lesions_are_counted():
    image = np.full((20, 30, 30), 100.0, np.float32)
    image += np.random.default_rng(0).normal(0, 0.5, image.shape).astype(np.float32)
    mask = np.zeros(image.shape, bool)
    mask[6:12, 6:12, 6:12] = mask[8:14, 20:26, 20:26] = True
    truth = Volume(image + 50.0 * mask, Grid(image.shape, np.eye(4)))
    same = lesion_scores(truth, truth, truth, mask)
    assert same["lesions"] == same["visible"] == 2
    assert same["dice"] == same["dice_kept"] == 1.0
    assert same["lost"] == same["flipped"] == 0
    gone = image + 10.0 * mask.astype(np.float32)
    gone[6:12, 6:12, 6:12] -= 50.0
    after = lesion_scores(truth.with_array(gone), truth, truth, mask)
    assert after["lost"] == after["lost_kept"] == 2
    assert after["flipped"] == 1
    assert after["dice"] < 0.8
    assert set(lesion_scores(None, None, None, mask).values()) == {None}


@pytest.mark.parametrize(
    "name", [name for name, entry in DWI_HARMONIZERS.items() if not entry.needs_source and not is_learned(name)]
)
def test_the_shared_noise_correction_changes_nothing(prepared, name):
    corrected = harmonize_dwi(prepared.scan, HarmonizeDwiRequest(method="none", spacing_mm="target"))
    method = DWI_HARMONIZERS.get(name).fit(load_target("canonical"))
    whole, short = (f(method, prepared.scan, corrected) for f in (harmonised_as_by_user, harmonised_after_correction))
    assert whole.strength_used == short.strength_used
    assert np.array_equal(whole.dwi.array, short.dwi.array)
    assert same_grid(whole.dwi.grid, prepared.grid)


def test_a_network_takes_part_as_soon_as_it_has_a_model(small, monkeypatch):
    known = {"has_model": False}

    def fit(target, model=""):
        if not known["has_model"]:
            raise ModelNotFoundError("no network", "install one")
        return GlobalScaling.fit(target)

    entry = DwiHarmonizer("network", "Network", "trained", GlobalScaling, fit, defaults={"model": ""})
    DWI_HARMONIZERS.names()
    monkeypatch.setitem(DWI_HARMONIZERS._entries, "network", entry)
    classical = [c.name for c in contestants(small, None)]
    assert classical[:2] == ["raw", "none"]
    assert classical[-1] == "canonical"
    assert "network" not in classical
    assert {"b0_histogram", "global_scaling", "nyul", "linear_rish"} <= set(classical)
    known["has_model"] = True
    assert [c.name for c in contestants(small, None) if c.kind == "learned"] == ["network"]
    assert [c.name for c in contestants(small, ("one", "two")) if c.kind == "learned"] == ["network:one", "network:two"]
    assert [c.name for c in contestants(small, ())] == classical


def test_fingerprints_follow_what_decides_a_row(small):
    case, entries = next(small.cases()), contestants(small, ())
    marks = case_fingerprints(case, small, entries)
    assert len(set(marks.values())) == len(entries)
    fewer = replace(small, subjects=small.subjects[:1], bars={}, title="another")
    assert case_fingerprints(case, fewer, entries) == marks
    newer = replace(small, version=small.version + 1)
    for changed in (replace(small, directions=7), newer, replace(small, lesions={})):
        assert not set(case_fingerprints(case, changed, entries).values()) & set(marks.values())
    refitted = replace(small, fitting={"maps": ("labelmaps/training_seg_12",)})
    again = case_fingerprints(case, refitted, entries)
    assert {name for name in marks if again[name] != marks[name]} == {"linear_rish"}


IMAGES = ("b0", "trace", "referred")


def rows_of(method, kind, means, shells, subject="s", **scores):
    """Rows of one method on some scanners, all tissues and images with the same mean."""
    rows = []
    for number, (mean, shell) in enumerate(zip(means, shells, strict=True)):
        row = {"case": f"{subject}-{number}", "subject": subject, "scanner": f"{number}", "shell": shell}
        row |= {
            "method": method,
            "kind": kind,
            "strength": 1.0,
            "brain_found": 0.9,
            "refused": "",
            "gradients_kept": True,
        }
        for image in IMAGES:
            row[f"median_{image}"] = 2.0 * mean
            row |= {f"{image}_{tissue}": mean for tissue in TISSUES}
        values = {"psnr": 20.0, "ssim": 0.8}
        for ending in ("", "_scaled"):
            row |= {f"{m}_{s}{ending}": v for m, v in values.items() for s in ("b0", "dw")}
        row |= {f"{m}_error_{r}": 0.1 for m in ("fa", "md") for r in ("white", "brain")}
        row |= {"fa_bias_white": 0.0, "md_bias_white": 0.0, "md_change_percent": 0.5, "fa_change": 0.002}
        for kind_, images in (("stroke", ("trace", "md")), ("ms", ("b0", "md"))):
            for image in images:
                row |= {f"{kind_}_{image}_{n}": 0.9 for n in ("dice", "dice_kept")}
                row |= {f"{kind_}_{image}_{n}": 1.0 for n in ("lesions", "visible", "visible_kept")}
                row |= {f"{kind_}_{image}_{n}": 0.0 for n in ("lost", "flipped", "lost_kept")}
        rows.append(row | scores)
    return rows


def test_variation_is_between_scanners_and_per_shell(values):
    protocol = DwiProtocol.from_dict(values)
    rows = rows_of("raw", "control", (1.0, 2.0, 3.0), (1000, "1000", 800))
    scores = subject_scores(rows, protocol)
    assert scores["cv_b0"] == pytest.approx(50.0)
    assert scores["cv_b0_scaled"] == pytest.approx(0.0, abs=1e-9), "each is twice its own median"
    assert scores["cv_shell"] == pytest.approx(100 * np.std([1, 2], ddof=1) / 1.5)
    assert scores["lesions"] == 3 * 4
    assert scores["dice"] == pytest.approx(0.9)


def test_bars_hold_a_network_to_the_stricter_figure(values):
    protocol = DwiProtocol.from_dict(values)
    shells = (1000, 1000, 1000)
    rows = rows_of("raw", "control", (1.0, 2.0, 3.0), shells)
    for row, median in zip(rows, (1.0, 2.0, 2.5), strict=True):
        row |= {f"median_{image}": median for image in IMAGES}
    rows += rows_of("nyul", "classical", (1.9, 2.0, 2.1), shells, psnr_b0_scaled=21.0)
    better = {f"psnr_{s}{e}": 25.0 for s in ("b0", "dw") for e in ("", "_scaled")}
    better |= {f"ssim_{s}{e}": 0.9 for s in ("b0", "dw") for e in ("", "_scaled")}
    better |= {f"{m}_error_{r}": 0.05 for m in ("fa", "md") for r in ("white", "brain")}
    rows += rows_of("network", "learned", (1.99, 2.0, 2.01), shells, **better)
    summary = summarise(rows, protocol)
    raw = summary["methods"]["raw"]["scores"]
    assert raw["cv_b0_scaled"]["mean"] < raw["cv_b0"]["mean"]
    fall = summary["reduction"]["nyul"]
    assert stricter(fall, "b0") == fall["b0_scaled"] < fall["b0"]
    assert summary["best"]["psnr_b0_scaled"] == "nyul"
    assert {bar["method"] for bar in summary["bars"]} == {"network"}
    assert all(bar["met"] for bar in summary["bars"])
    gain = next(bar for bar in summary["bars"] if bar["bar"] == "gain, psnr_b0_scaled")
    assert gain["reached"] == pytest.approx(4.0)
    spoilt = [dict(row) for row in rows]
    spoilt[-1] |= {"psnr_dw": 10.0, "ms_md_flipped": 1.0, "fa_change": 0.02, "md_error_white": 0.3, "refused": "no"}
    failed = {bar["bar"] for bar in summarise(spoilt, protocol)["bars"] if not bar["met"]}
    assert failed == {
        "gain, psnr_dw",
        "lesions with another sign",
        "largest fa_change",
        "md_error_white",
        "scans refused",
    }
