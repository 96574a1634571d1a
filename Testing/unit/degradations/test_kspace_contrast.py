"""Alterations of contrast in k-space: what each does, on any grid, replayed from JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import ndimage

from MRHarmonizationLib.core.errors import GridMismatchError, InputError, ParameterError
from MRHarmonizationLib.degradations import DEGRADATIONS
from MRHarmonizationLib.degradations.amplitude_swap import AmplitudeSwap, measure_amplitudes
from MRHarmonizationLib.degradations.kspace_contrast import (
    FAMILIES,
    KSpaceContrastParameters,
    alter_amplitudes,
    apply_kspace_contrast,
    sample_kspace_contrast,
)
from MRHarmonizationLib.degradations.kspace_filter import (
    AmplitudeJitter,
    CentreGain,
    GainBand,
    KSpaceFilter,
    frequency_radius,
    jitter_gain,
    radial_gain,
    sample_filter,
)
from MRHarmonizationLib.degradations.label_images import LabelImageParameters
from MRHarmonizationLib.degradations.signal_equations import (
    RELAXATION_1_5_T,
    USUAL,
    PulseSequence,
    relative_signals,
    sequence_label_image,
    signal,
    vary_sequence,
)
from MRHarmonizationLib.degradations.tissue_gains import (
    TissueGains,
    apply_tissue_gains,
    contrast_family,
    sample_sequence_gains,
    sample_tissue_gains,
)
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

#: One slice, two dimensions along another axis, odd and even, anisotropic.
SHAPES = {
    "one slice": ((1, 40, 37), (0.9, 0.9, 5.0)),
    "one column": ((33, 40, 1), (4.0, 1.0, 1.0)),
    "odd": ((15, 33, 41), (1.0, 1.0, 1.0)),
    "even thick": ((12, 48, 50), (0.8, 0.8, 5.0)),
    "two": ((2, 2, 2), (1.0, 1.0, 1.0)),
}


def noise_volume(shape: tuple[int, int, int], spacing: tuple[float, float, float], seed: int = 0) -> Volume:
    array = np.random.default_rng(seed).random(shape).astype(np.float32) * 200 + 50
    array.setflags(write=False)
    return Volume(array, Grid.from_parts(shape, spacing), "noise")


@pytest.fixture(params=list(SHAPES), ids=list(SHAPES))
def volume(request: pytest.FixtureRequest) -> Volume:
    return noise_volume(*SHAPES[request.param])


FILTER = KSpaceFilter(
    (GainBand(0.1, 0.03, 0.8), GainBand(0.3, 0.05, -0.5)),
    CentreGain(0.04, 1.6),
    1.1,
    AmplitudeJitter(0.2, 1.5, 0.02, 7),
)


def half_spectrum(array: np.ndarray) -> np.ndarray:
    return np.fft.rfftn(array.astype(np.float64))


# --- k-space --------------------------------------------------------------------------------------------------------


def test_phases_are_kept_exactly_and_amplitudes_get_their_gain(volume: Volume):
    donor = noise_volume((9, 20, 21), (1.5, 1.5, 3.0), seed=3)
    swap = measure_amplitudes(donor, 0.08, 0.6)
    altered = alter_amplitudes(volume, KSpaceContrastParameters(kspace=FILTER, swap=swap))
    before, after = half_spectrum(volume.array), half_spectrum(altered)
    strong = np.abs(before) > 1e-3 * np.abs(before).max()
    turned = np.angle(after[strong] / before[strong])
    assert np.abs(turned).max() < 2e-3
    assert np.abs(np.abs(after[strong]) / np.abs(before[strong]) - 1).max() > 0.05


def test_bands_act_on_physical_frequencies(volume: Volume):
    bands = KSpaceFilter(FILTER.bands, FILTER.centre)
    altered = alter_amplitudes(volume, KSpaceContrastParameters(kspace=bands))
    radius = frequency_radius(volume.grid.shape, volume.grid.spacing_mm[::-1])
    expected = radial_gain(radius, bands)
    expected[0, 0, 0] = 1.0
    before, after = half_spectrum(volume.array), half_spectrum(altered)
    strong = np.abs(before) > 1e-3 * np.abs(before).max()
    np.testing.assert_allclose((np.abs(after) / np.abs(before))[strong], expected[strong], rtol=5e-3)


def test_radius_is_in_cycles_per_mm_on_anisotropic_grids():
    radius = frequency_radius((10, 8, 6), (5.0, 2.0, 0.5))
    assert radius.max() == pytest.approx(np.sqrt(0.1**2 + 0.25**2 + 1.0**2))
    assert radius[1, 0, 0] == pytest.approx(1 / 50)
    assert radius[0, 1, 0] == pytest.approx(1 / 16)
    assert radius[0, 0, 1] == pytest.approx(1 / 3)


def test_a_wave_gets_the_same_gain_whatever_the_voxels():
    gains = []
    for spacing, count in ((0.5, 128), (1.0, 64), (2.0, 32)):
        wave = 100 + 10 * np.cos(2 * np.pi * 0.125 * spacing * np.arange(count))
        volume = Volume(
            np.broadcast_to(wave, (4, 6, count)).astype(np.float32), Grid.from_parts((4, 6, count), (spacing, 1, 3))
        )
        altered = alter_amplitudes(volume, KSpaceContrastParameters(kspace=KSpaceFilter((GainBand(0.125, 0.02, 0.7),))))
        gains.append(np.ptp(altered) / np.ptp(volume.array))
        assert altered.mean() == pytest.approx(100, rel=1e-4)
    np.testing.assert_allclose(gains, 1.7, rtol=1e-3)


def test_zero_frequency_is_apart():
    volume = noise_volume((6, 10, 11), (1, 1, 1))
    altered = alter_amplitudes(volume, KSpaceContrastParameters(kspace=KSpaceFilter(centre=CentreGain(0.05, 2.0))))
    assert altered.mean() == pytest.approx(volume.array.mean(), rel=1e-5)
    shifted = alter_amplitudes(volume, KSpaceContrastParameters(kspace=KSpaceFilter(dc_gain=1.2)))
    np.testing.assert_allclose(shifted - volume.array, 0.2 * volume.array.mean(), rtol=1e-3)


@pytest.mark.parametrize("columns", [20, 21])
def test_jitter_has_the_stated_deviation_and_grows_with_frequency(columns: int):
    radius = frequency_radius((24, 30, columns), (1, 1, 1))
    gain = jitter_gain(radius, columns, AmplitudeJitter(0.3, 1.0, 0.02, 1))
    inner, outer = (radius > 0.05) & (radius < 0.15), (radius > 0.4) & (radius < 0.5)
    assert gain[inner].std() == pytest.approx(2 * 0.3 * 0.1 + 0.02, rel=0.15)
    assert gain[outer].std() == pytest.approx(2 * 0.3 * 0.45 + 0.02, rel=0.1)
    assert gain.min() > 0


def test_swap_with_itself_changes_little_and_with_another_moves_towards_it():
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in (24, 30, 28)), indexing="ij")
    wide = Volume(np.exp(-(k**2 + j**2 + i**2)).astype(np.float32), Grid.from_parts((24, 30, 28), (2, 2, 2)))
    narrow = wide.with_array(np.exp(-6 * (k**2 + j**2 + i**2)).astype(np.float32))
    own = alter_amplitudes(wide, KSpaceContrastParameters(swap=measure_amplitudes(wide, 0.06, 1.0)))
    assert np.abs(own - wide.array).max() < 0.1 * np.ptp(wide.array)
    swapped = alter_amplitudes(wide, KSpaceContrastParameters(swap=measure_amplitudes(narrow, 0.06, 1.0)))
    peaked = [np.ptp(image) / image.mean() for image in (wide.array, swapped, narrow.array)]
    assert peaked[0] < peaked[1]
    assert abs(peaked[1] - peaked[0]) > 0.3 * abs(peaked[2] - peaked[0])


def test_swap_sees_the_donor_in_scanner_space():
    """The same donor stored along other axes lends the same amplitudes."""
    donor = noise_volume((10, 14, 18), (1.0, 1.5, 2.0), seed=4)
    turned = np.ascontiguousarray(donor.array.transpose(2, 0, 1)[:, ::-1])
    i, j, k = donor.grid.directions.T  # axes of the turned array: (K, J, I) = (i, k flipped, j)
    spacing = donor.grid.spacing_mm
    grid = Grid.from_parts(turned.shape, (spacing[1], spacing[2], spacing[0]), directions=np.stack([j, -k, i], axis=1))
    first, second = (measure_amplitudes(v, 0.05, 0.5) for v in (donor, Volume(turned, grid)))
    np.testing.assert_allclose(first.amplitudes, second.amplitudes, rtol=2e-3, atol=1e-5)


# --- the whole alteration -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("shape", list(SHAPES))
def test_every_family_works_on_every_grid(family: str, shape: str):
    volume = noise_volume(*SHAPES[shape])
    labels = (np.arange(volume.array.size).reshape(volume.array.shape) % 4 + 1).astype(np.int16)
    donor = noise_volume((6, 12, 13), (3, 2, 2), seed=9)
    parameters = sample_kspace_contrast(np.random.default_rng(2), volume, labels, donor, [family])
    altered = apply_kspace_contrast(volume, parameters, labels)
    assert altered.grid is volume.grid
    assert altered.array.dtype == np.float32
    assert np.all(np.isfinite(altered.array))
    again = KSpaceContrastParameters.from_dict(json.loads(json.dumps(parameters.to_dict())))
    np.testing.assert_array_equal(apply_kspace_contrast(volume, again, labels).array, altered.array)


@pytest.mark.parametrize("level", [0.0, 7.0, -3.0])
def test_constants_stay_finite(level: float):
    volume = Volume(np.full((5, 7, 9), level, np.float32), Grid.from_parts((5, 7, 9)))
    donor = noise_volume((6, 12, 13), (3, 2, 2), seed=9)
    for seed in range(6):
        parameters = sample_kspace_contrast(np.random.default_rng(seed), volume, np.ones((5, 7, 9), int) * 2, donor)
        assert np.all(np.isfinite(apply_kspace_contrast(volume, parameters, np.ones((5, 7, 9), int) * 2).array))


def test_nothing_is_changed_without_parameters_or_strength(head_phantom: Volume):
    same = apply_kspace_contrast(head_phantom, KSpaceContrastParameters())
    np.testing.assert_array_equal(same.array, head_phantom.array)
    weak = sample_kspace_contrast(
        np.random.default_rng(0),
        head_phantom,
        families=list(set(FAMILIES) - {"tissue", "sequence", "swap"}),
        strength=0.0,
    )
    changed = apply_kspace_contrast(head_phantom, weak).array - head_phantom.array
    # gamma is drawn apart from the curve's strength and stays
    assert weak.kspace.centre is not None
    assert weak.kspace.centre.gain == 1.0
    assert np.abs(changed).max() < 0.35 * np.ptp(head_phantom.array)


def test_air_stays_dark_and_values_do_not_turn_negative(head_phantom: Volume):
    k, j, i = (np.linspace(-1, 1, n) for n in head_phantom.array.shape)
    air = np.zeros(head_phantom.array.shape, bool)
    air[:2, :4, :4] = True
    for seed in range(5):
        parameters = sample_kspace_contrast(
            np.random.default_rng(seed), head_phantom, families=["bands", "centre", "dc"]
        )
        altered = apply_kspace_contrast(head_phantom, parameters).array
        assert altered.min() >= min(0, head_phantom.array.min())
        np.testing.assert_allclose(altered[air], head_phantom.array[air], atol=1e-3)


def test_families_are_drawn_without_contradiction(head_phantom: Volume):
    taken = {"tone": 0, "kspace": 0, "bias": 0}
    for seed in range(40):
        drawn = sample_kspace_contrast(np.random.default_rng(seed), head_phantom)
        assert drawn.tissue_gains is None
        assert drawn.swap is None
        assert drawn != KSpaceContrastParameters()
        taken["tone"] += drawn.tone_curve is not None
        taken["kspace"] += not drawn.kspace.is_identity
        taken["bias"] += drawn.bias_field is not None
    assert all(5 < count <= 40 for count in taken.values()), taken


def test_another_seed_changes_the_look_much(head_phantom: Volume):
    images = []
    for seed in range(6):
        parameters = sample_kspace_contrast(np.random.default_rng(seed), head_phantom)
        images.append(apply_kspace_contrast(head_phantom, parameters).array)
    for n, image in enumerate(images):
        for other in images[:n]:
            assert np.abs(image - other).mean() > 1.0


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"kspace": {"dc_gain": 0.0}}, ParameterError),
        (
            {"kspace": {"bands": [{"centre_cycles_per_mm": 0.1, "width_cycles_per_mm": 0, "amplitude": 1}]}},
            ParameterError,
        ),
        ({"kspace": {"colour": 1}}, ParameterError),
        ({"tissue_gains": {"labels": [2], "gains": [9.0]}}, ParameterError),
        ({"tissue_gains": {"labels": [2, 3], "gains": [1.0]}}, ParameterError),
        ({"swap": {"radius_cycles_per_mm": 0.1, "share": 2, "amplitudes": [1.0]}}, ParameterError),
    ],
)
def test_wrong_parameters_are_refused(change: dict, kind: type[Exception]):
    with pytest.raises(kind):
        KSpaceContrastParameters.from_dict(change)


def test_wrong_input_is_refused(head_phantom: Volume):
    rng = np.random.default_rng(0)
    broken = head_phantom.array.copy()
    broken[3, 4, 5] = np.nan
    with pytest.raises(InputError, match="1 values"):
        apply_kspace_contrast(head_phantom.with_array(broken), KSpaceContrastParameters())
    with pytest.raises(ParameterError, match="label map"):
        apply_kspace_contrast(head_phantom, KSpaceContrastParameters(TissueGains((2,), (1.1,))))
    with pytest.raises(InputError, match="shape"):
        apply_kspace_contrast(
            head_phantom, KSpaceContrastParameters(TissueGains((2,), (1.1,))), np.ones((2, 2, 2), int)
        )
    for families, word in ((["colour"], "colour"), (["tissue"], "label map"), (["swap"], "another case")):
        with pytest.raises(ParameterError, match=word):
            sample_kspace_contrast(rng, head_phantom, families=families)
    with pytest.raises(ParameterError, match="strength"):
        sample_kspace_contrast(rng, head_phantom, strength=1.5)
    elsewhere = Volume(np.ones((4, 4, 4), np.int16), Grid.from_parts((4, 4, 4)), "elsewhere")
    with pytest.raises(GridMismatchError, match="elsewhere"):
        DEGRADATIONS.get("kspace-contrast").sample(rng, head_phantom, labels=elsewhere)  # type: ignore[call-arg]


def test_swap_keeps_a_fixed_number_of_amplitudes():
    with pytest.raises(ParameterError, match="3 amplitudes"):
        AmplitudeSwap(0.05, 0.5, (1.0, 1.0, 1.0))
    with pytest.raises(ParameterError, match="mean"):
        measure_amplitudes(Volume(np.zeros((3, 3, 3), np.float32), Grid.from_parts((3, 3, 3))), 0.05, 0.5)


# --- tissues and signal equations -----------------------------------------------------------------------------------


def test_signal_equations_order_the_tissues_as_their_contrast_does():
    values = {c: {t: signal(RELAXATION_1_5_T[t], s) for t in ("white", "grey", "fluid")} for c, s in USUAL.items()}
    assert values["t1"]["white"] > values["t1"]["grey"] > values["t1"]["fluid"]
    assert values["t2"]["fluid"] > values["t2"]["grey"] > values["t2"]["white"]
    assert values["flair"]["grey"] > values["flair"]["white"] > values["flair"]["fluid"]


def test_signal_equations_in_their_limits():
    tissue = RELAXATION_1_5_T["grey"]
    assert signal(tissue, PulseSequence("spin-echo", 1e7, 1e-6)) == pytest.approx(tissue.proton_density, rel=1e-6)
    nulled = PulseSequence("inversion-recovery", 1e7, 10.0, tissue.t1_ms * np.log(2))
    assert signal(tissue, nulled) == pytest.approx(0, abs=1e-9)
    ernst = np.rad2deg(np.arccos(np.exp(-30 / tissue.t1_ms)))
    at = [signal(tissue, PulseSequence("spoiled-gradient-echo", 30, 5, 0, a)) for a in (ernst - 2, ernst, ernst + 2)]
    assert max(at) == at[1]


def test_longer_echo_time_darkens_white_matter_against_fluid():
    longer = PulseSequence("spin-echo", 4500.0, 150.0)
    ratios = relative_signals(USUAL["t2"], longer)
    assert ratios["fluid"] > 1.1 > 1.0 > ratios["grey"] > ratios["white"]


def test_sequences_vary_around_the_usual_one():
    rng = np.random.default_rng(0)
    for usual in USUAL.values():
        drawn = [vary_sequence(rng, usual) for _ in range(30)]
        assert all(0.6 * usual.tr_ms < s.tr_ms < 1.55 * usual.tr_ms for s in drawn)
        assert len({s.te_ms for s in drawn}) == 30
    for wrong in (("spin-echo", 10.0, 20.0), ("moonlight", 100.0, 10.0)):
        with pytest.raises(ParameterError):
            PulseSequence(*wrong)


def test_label_images_follow_the_sequence():
    before = LabelImageParameters((0, 2, 3, 4, 507), (5.0, 60.0, 70.0, 80.0, 99.0), (1.0,) * 5, (1.0, 0.0, 0.0), 0.5, 1)
    means = dict(zip(before.labels, sequence_label_image(before, USUAL["t2"]).means, strict=True))
    assert means[4] == pytest.approx(210)
    assert means[4] > means[3] > means[2]
    assert (means[0], means[507]) == (5.0, 99.0)


@pytest.mark.parametrize(("levels", "family"), [((3, 2, 1), "t1"), ((1, 2, 3), "t2"), ((2, 3, 1), "flair")])
def test_contrast_is_told_from_the_order_of_tissues(levels: tuple[int, int, int], family: str):
    labels = np.array([[[2, 3, 4]]])
    image = np.array([[levels]], np.float32)
    assert contrast_family(image, labels) == family
    gains = sample_sequence_gains(np.random.default_rng(0), image, labels)
    assert gains is not None
    assert gains.origin.startswith(family)
    assert contrast_family(image, np.zeros((1, 1, 3), int)) is None
    assert sample_sequence_gains(np.random.default_rng(0), image, np.zeros((1, 1, 3), int)) is None


def test_left_and_right_share_their_gain_and_air_has_none():
    labels = np.array([0, 2, 41, 3, 42, 17, 53])
    gains = sample_tissue_gains(np.random.default_rng(1), labels)
    table = dict(zip(gains.labels, gains.gains, strict=True))
    assert 0 not in table
    assert table[2] == table[41]
    assert table[17] == table[53]
    assert table[17] != table[3]


def two_tissues(share: np.ndarray, levels: tuple[float, float]) -> np.ndarray:
    return np.asarray(levels[0] * (1 - share) + levels[1] * share, np.float32)


@pytest.mark.parametrize("gains", [(2.0, 1.0), (0.4, 3.5), (1.3, 1.3)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 3.0)])
def test_borders_are_the_same_mixture_of_what_tissues_become(gains: tuple[float, float], spacing: tuple):
    """White and grey matter with a blurred border: what comes out is painted with the new intensities."""
    labels = np.full((16, 24, 20), 2, np.int16)
    labels[:, 12:] = 3
    labels[4:9, 9:12, 5:13] = 3
    share = np.asarray(ndimage.gaussian_filter((labels == 3).astype(np.float32), 0.6))
    image = two_tissues(share, (600.0, 200.0))
    changed = apply_tissue_gains(image, labels, TissueGains((2, 3), gains), spacing)
    np.testing.assert_allclose(changed, two_tissues(share, (600.0 * gains[0], 200.0 * gains[1])), rtol=0.02)


def test_no_voxel_of_a_border_is_brighter_than_both_tissues():
    """Thin fluid between grey matter and bone, which became brighter than anything else."""
    rng = np.random.default_rng(4)
    labels = np.full((12, 24, 24), 3, np.int16)
    labels[:, 12:15] = 24
    labels[:, 15:] = 515
    levels = {3: 760.0, 24: 200.0, 515: 100.0}
    gains = TissueGains((3, 24), (0.5, 3.7))
    sharp = np.vectorize(levels.get)(labels).astype(np.float32)
    image = ndimage.gaussian_filter(sharp, 1.0) * rng.normal(1, 0.02, labels.shape)
    changed = apply_tissue_gains(image, labels, gains, (2.0, 2.0, 2.0))
    assert changed.max() < 1.2 * 200.0 * 3.7  # 1.9 where gains follow the labels


def test_inside_a_tissue_and_beside_what_is_alike_gains_follow_the_labels():
    labels = np.full((9, 9, 9), 2, np.int16)
    labels[:, 5:] = 3
    image = np.random.default_rng(0).uniform(95, 105, labels.shape).astype(np.float32)
    changed = apply_tissue_gains(image, labels, TissueGains((2, 3), (2.0, 1.0)), (1.0, 1.0, 1.0))
    np.testing.assert_allclose(changed[:, :2] / image[:, :2], 2.0, rtol=1e-5)
    np.testing.assert_allclose(changed[:, 8:] / image[:, 8:], 1.0, rtol=1e-5)
    np.testing.assert_array_equal(
        apply_tissue_gains(np.zeros_like(image), labels, TissueGains((2,), (2.0,)), (1, 1, 1)), 0
    )


def test_filters_without_families_do_nothing():
    assert sample_filter(np.random.default_rng(0), ()).is_identity
