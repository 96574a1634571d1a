"""Reference groups: which cases are taken, what the file holds, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError, OutputError, ParameterError
from MRHarmonizationLib.inference.case_quality import BETTER, CaseQuality, judge_case, rank_cases
from MRHarmonizationLib.inference.reference import ReferenceRequest, build_reference
from MRHarmonizationLib.inference.scan_folder import holds_several_scans, list_scans
from MRHarmonizationLib.methods.case_profile import profile_case
from MRHarmonizationLib.methods.reference_group import (
    ReferenceGroup,
    average_cases,
    group_of_volumes,
    load_group,
    other_resolutions,
    save_group,
    shipped_groups,
    unlike_cases,
)
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

T1 = (0.25, 0.6, 0.9)
T2 = (0.95, 0.5, 0.3)


def head(
    seed: int = 0,
    tissues: tuple[float, float, float] = T1,
    noise: float = 0.02,
    spacing: tuple[float, float, float] = (2.0, 2.0, 3.0),
    ghost: float = 0.0,
    bias: float = 0.0,
) -> Volume:
    """Fluid, grey and white matter in air."""
    rng = np.random.default_rng(seed)
    shape = (20, 48, 44)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2) + 0.05 * np.sin(7 * np.arctan2(y, x) + seed)
    image = np.select([radius < 0.28, radius < 0.55, radius < 0.75], tissues, 0.0) * np.exp(bias * x)
    image = image + ghost * np.roll(image, shape[1] // 2, axis=1)
    image = np.hypot(image + rng.normal(0, noise, shape), rng.normal(0, noise, shape))
    return Volume((800 * image).astype(np.float32), Grid.from_parts(shape, spacing), f"secret-name-{seed}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six scans, two of them noisy."""
    scans = tmp_path / "scans"
    scans.mkdir()
    for seed in range(6):
        write_volume(head(seed, noise=0.12 if seed in (1, 4) else 0.02), scans / f"secret-name-{seed}.nii.gz")
    return scans


# --- quality --------------------------------------------------------------------------------------------------------


def test_scores_see_what_they_are_named_after():
    good = judge_case(head())
    assert judge_case(head(noise=0.08)).noise > 1.5 * good.noise
    assert judge_case(head(ghost=0.1)).artefact > 3 * good.artefact
    assert judge_case(head(bias=0.4)).bias > good.bias + 5
    smooth = head().with_array(
        np.apply_along_axis(lambda a: np.convolve(a, [0.25, 0.5, 0.25], "same"), 2, head().array)
    )
    assert judge_case(smooth.with_array(smooth.array.astype(np.float32))).sharpness < good.sharpness


def test_scores_of_a_slice_are_ranked_where_they_are_known():
    one = Volume(head().array[10:11], Grid.from_parts((1, 48, 44), (2, 2, 3)))
    scores = judge_case(one)
    assert np.isfinite(scores.noise)
    assert np.isnan(scores.bias)
    assert rank_cases([scores, judge_case(head())])


def test_ranks_follow_the_stated_directions():
    good = {name: 1.0 if better == "lower" else 9.0 for name, better in BETTER.items()}
    bad = {name: 9.0 if better == "lower" else 1.0 for name, better in BETTER.items()}
    unknown = dict.fromkeys(BETTER, float("nan"))
    assert rank_cases([CaseQuality(**bad), CaseQuality(**good), CaseQuality(**unknown)]) == [1, 0, 2]
    assert rank_cases([CaseQuality(**good)] * 3) == [0, 1, 2]


# --- building -------------------------------------------------------------------------------------------------------


def test_the_best_cases_are_taken_and_no_name_is_written(folder: Path, tmp_path: Path):
    done = build_reference(folder, tmp_path / "site.json", ReferenceRequest(cases=4, contrast="t1", subjects=3))
    assert {name for name, _ in done.left_out} == {"secret-name-1.nii.gz", "secret-name-4.nii.gz"}
    assert len(done.chosen) == 4
    text = (tmp_path / "site.json").read_text()
    assert "secret" not in text
    assert "sha256" not in text
    assert str(tmp_path) not in text
    values = json.loads(text)
    assert values["format"] == "MRHarmonization reference group"
    assert (values["id"], values["cases"], values["subjects"]) == ("site", 4, 3)
    assert "noise (lower is better)" in values["selection"]
    assert "best 4 of 6" in values["selection"]
    assert any("3 people" in note for note in values["notes"])
    assert len(values["quality"]) == 4
    assert set(values["quality"][0]) == set(BETTER)
    assert load_group(tmp_path / "site.json") == done.group


def test_names_are_written_when_asked_for(folder: Path, tmp_path: Path):
    build_reference(folder, tmp_path / "site.json", ReferenceRequest(cases=1, contrast="t1", with_names=True))
    (case,) = json.loads((tmp_path / "site.json").read_text())["quality"]
    assert case["name"].startswith("secret-name")
    assert case["digest"].startswith("sha256:")


def test_group_is_the_average_of_its_cases():
    profiles = [profile_case(head(seed), contrast="t1") for seed in range(3)]
    group = average_cases(profiles, "t1", "g")
    np.testing.assert_allclose(group.quantiles, np.mean([p.quantiles for p in profiles], axis=0), atol=1e-3)
    assert group.stripe_mean == pytest.approx(np.mean([p.stripe_mean for p in profiles]), abs=1e-3)
    assert group.distance(profiles[0]).exceeded == ()
    assert group.at_percentiles([50])[0] == pytest.approx(group.quantiles[50])


def test_one_case_is_taken_with_a_warning(tmp_path: Path):
    (tmp_path / "scans").mkdir()
    write_volume(head(), tmp_path / "scans" / "a.nrrd")
    done = build_reference(tmp_path / "scans", tmp_path / "g.json", ReferenceRequest(contrast="t1"))
    assert any("single case" in warning for warning in done.warnings)
    assert done.group.spread["histogram"] == 0


def test_mixed_contrasts_are_refused_by_name_unless_allowed(folder: Path, tmp_path: Path):
    write_volume(head(7, T2), folder / "stranger.nii.gz")
    with pytest.raises(InputError, match=r"mixed contrasts.*stranger\.nii\.gz.*--allow-mixed"):
        build_reference(folder, tmp_path / "g.json", ReferenceRequest(contrast="t1"))
    assert not (tmp_path / "g.json").exists()
    done = build_reference(folder, tmp_path / "g.json", ReferenceRequest(contrast="t1", allow_mixed=True))
    assert any("compromise" in warning for warning in done.warnings)


def test_other_resolutions_are_warned_of(folder: Path, tmp_path: Path):
    write_volume(head(8, spacing=(2.0, 2.0, 6.0)), folder / "thick.nii.gz")
    done = build_reference(folder, tmp_path / "g.json", ReferenceRequest(contrast="t1"))
    assert any("voxel sizes" in warning for warning in done.warnings)
    assert other_resolutions([profile_case(head()), profile_case(head(1))]) == ()


def test_unlike_cases_are_told_from_the_rest():
    profiles = [profile_case(head(seed), contrast="t1") for seed in range(4)]
    assert unlike_cases(profiles) == {}
    assert 4 in unlike_cases([*profiles, profile_case(head(5, T2))])
    assert unlike_cases(profiles[:1]) == {}


def test_unusable_scans_are_left_out_with_the_reason(folder: Path, tmp_path: Path):
    write_volume(head().with_array(np.full((20, 48, 44), 3, np.float32)), folder / "flat.nii.gz")
    (folder / "broken.nii.gz").write_bytes(b"")
    (folder / "notes.txt").write_text("no scan")
    done = build_reference(folder, tmp_path / "g.json", ReferenceRequest(contrast="t1"))
    reasons = dict(done.left_out)
    assert "constant" in reasons["flat.nii.gz"]
    assert "broken.nii.gz" in reasons
    assert "notes.txt" not in reasons


def test_bad_requests_and_folders_are_refused(tmp_path: Path, folder: Path):
    for wrong in ({"cases": 0}, {"contrast": "moonlight"}, {"subjects": 0}):
        with pytest.raises(ParameterError):
            ReferenceRequest(**wrong)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no scans"):
        build_reference(tmp_path / "empty", tmp_path / "g.json")
    with pytest.raises(InputError, match="not a folder"):
        build_reference(tmp_path / "nowhere", tmp_path / "g.json")
    with pytest.raises(OutputError, match=r"\.json"):
        build_reference(folder, tmp_path / "g.toml")
    (tmp_path / "flat").mkdir()
    write_volume(head().with_array(np.zeros((20, 48, 44), np.float32)), tmp_path / "flat" / "a.nrrd")
    with pytest.raises(InputError, match="none of the 1 scans"):
        build_reference(tmp_path / "flat", tmp_path / "g.json")


# --- the file -------------------------------------------------------------------------------------------------------


def test_groups_survive_their_file(tmp_path: Path):
    group = group_of_volumes([head(seed) for seed in range(2)], "t1", "g")
    save_group(group, tmp_path / "g.json")
    assert load_group(tmp_path / "g.json") == group


def test_altered_and_foreign_files_are_refused(tmp_path: Path):
    group = group_of_volumes([head()], "t1", "g").to_dict()
    for change, word in (
        ({"format": "else"}, "no reference group"),
        ({"version": 9}, "version 9"),
        ({"quantiles": [1, 2]}, "2 quantiles"),
        ({"quantiles": group["quantiles"][::-1]}, "fall"),
        ({"deviation": 0}, "deviations 0"),
        ({"mean": float("nan")}, "finite"),
    ):
        with pytest.raises(InputError, match=word):
            ReferenceGroup.from_dict({**group, **change})
    with pytest.raises(ParameterError, match="moonlight"):
        ReferenceGroup.from_dict({**group, "contrast": "moonlight"})
    with pytest.raises(InputError, match="incomplete"):
        ReferenceGroup.from_dict({k: v for k, v in group.items() if k != "mean"})
    with pytest.raises(InputError, match="t1-head"):
        load_group(tmp_path / "nowhere.json")


@pytest.mark.parametrize("name", ["t1-head", "t2-head", "flair-head"])
def test_shipped_groups_say_how_few_people_they_are_of(name: str):
    assert name in shipped_groups()
    group = load_group(name)
    assert group.id == name
    assert group.contrast == name.split("-")[0]
    assert group.subjects == 2
    assert group.notes
    assert "CC BY" in group.provenance["source"]
    assert all(set(scores) == set(BETTER) for scores in group.quality)


# --- folders --------------------------------------------------------------------------------------------------------


def test_folders_of_scans_are_told_from_dicom_series(tmp_path: Path, folder: Path):
    assert holds_several_scans(folder)
    assert [path.name for path in list_scans(folder)] == [f"secret-name-{n}.nii.gz" for n in range(6)]
    series = tmp_path / "series"
    series.mkdir()
    (series / "0001.dcm").write_bytes(b"x")
    assert not holds_several_scans(series)
    assert not holds_several_scans(tmp_path / "nowhere")
    study = tmp_path / "study"
    (study / "a").mkdir(parents=True)
    (study / "a" / "0001.dcm").write_bytes(b"x")
    (study / "empty").mkdir()
    assert holds_several_scans(study)
    assert [path.name for path in list_scans(study)] == ["a"]
