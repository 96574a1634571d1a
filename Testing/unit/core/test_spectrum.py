from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.spectrum import directional_power_spectra, radial_power_spectrum

SPACING = (0.9, 1.2, 3.0)  # (i, j, k)


@pytest.fixture
def image(rng) -> np.ndarray:
    """Correlated noise on an offset, odd and prime sizes, read-only."""
    array = 50 + 10 * gaussian_filter(rng.normal(size=(23, 37, 41)), (0.5, 1.0, 1.5))
    array.setflags(write=False)
    return array


@pytest.fixture
def ball() -> np.ndarray:
    """A round mask away from the image's borders, [48, 48, 48]."""
    distance = np.sqrt(sum(axis**2 for axis in np.ogrid[-24:24, -24:24, -24:24]))
    return distance < 18


def hann(n: int) -> np.ndarray:
    return np.sin(np.pi * np.arange(1, n + 1) / (n + 1)) ** 2


def windowed_variance(image: np.ndarray, window: str, axes: tuple[int, ...]) -> float:
    """Return the weighted variance about the weighted mean, of each plane about its own."""
    weight = np.ones(image.shape)
    for axis in axes if window == "hann" else ():
        weight = weight * hann(image.shape[axis]).reshape([-1 if n == axis else 1 for n in range(3)])
    mean = (weight * image).sum(axis=axes, keepdims=True) / weight.sum(axis=axes, keepdims=True)
    return float(np.sum((weight * (image - mean)) ** 2) / np.sum(weight**2))


@pytest.mark.parametrize("window", ["hann", "none"])
@pytest.mark.parametrize(("plane", "axes"), [("3d", (0, 1, 2)), ("ij", (1, 2)), ("ik", (0, 2)), ("jk", (0, 1))])
def test_the_spectrum_sums_to_the_windowed_variance(image, plane, axes, window):
    spectrum = radial_power_spectrum(image, SPACING, plane=plane, window=window)
    expected = windowed_variance(image, window, axes)
    assert spectrum.total_power == pytest.approx(expected, rel=1e-5)
    assert np.sum(spectrum.power * spectrum.counts) * spectrum.sample_volume == pytest.approx(expected, rel=1e-5)
    assert spectrum.power_fraction.sum() == pytest.approx(1.0, rel=1e-6)
    assert spectrum.axes == tuple("kji"[axis] for axis in axes)


def test_without_window_it_is_the_variance_of_the_image(image):
    assert radial_power_spectrum(image, SPACING, window="none").total_power == pytest.approx(image.var(), rel=1e-5)


def test_samples_and_density_agree_with_numpys_transform():
    # lengths that need no padding: the same samples as a plain double-precision transform
    image = np.random.default_rng(1).normal(100, 5, (12, 16, 20))
    spectrum = radial_power_spectrum(image, (1.0, 1.5, 2.0), window="none", n_bins=9)
    transformed = np.abs(np.fft.fftn(image - image.mean())) ** 2 * (1.0 * 1.5 * 2.0) / image.size
    axes = [np.fft.fftfreq(n, s) for n, s in zip(image.shape, (2.0, 1.5, 1.0), strict=True)]
    radius = np.sqrt(sum(f**2 for f in np.meshgrid(*axes, indexing="ij")))
    index = np.floor(radius / spectrum.bin_width_cycles_per_mm + 0.5).astype(int)
    index[0, 0, 0] = -1
    kept = [b for b in range(index.max() + 1) if (index == b).any()]
    assert spectrum.counts.tolist() == [int((index == b).sum()) for b in kept]
    assert spectrum.power == pytest.approx([transformed[index == b].mean() for b in kept], rel=1e-4)
    assert spectrum.amplitude == pytest.approx([np.sqrt(transformed[index == b]).mean() for b in kept], rel=1e-4)
    assert spectrum.frequency_cycles_per_mm == pytest.approx([radius[index == b].mean() for b in kept], rel=1e-6)


def test_counts_cover_the_whole_fourier_box(image):
    spectrum = radial_power_spectrum(image, SPACING)
    box = spectrum.sample_volume * (spectrum.counts.sum() + 1)  # the mean is not a sample
    assert box == pytest.approx(1 / np.prod(SPACING))


@pytest.mark.parametrize(("axis", "spacing_mm"), [(0, 3.0), (1, 1.2), (2, 0.9)])
def test_a_wave_is_found_at_its_physical_frequency(axis, spacing_mm):
    frequency = 0.11
    phase = 2 * np.pi * frequency * spacing_mm * np.arange(64)
    wave = np.broadcast_to(np.cos(phase).reshape([-1 if n == axis else 1 for n in range(3)]), (64, 64, 64))
    spectrum = radial_power_spectrum(wave, SPACING)
    peak = spectrum.frequency_cycles_per_mm[spectrum.power_fraction.argmax()]
    assert peak == pytest.approx(frequency, abs=1.5 * spectrum.bin_width_cycles_per_mm)
    near = np.abs(spectrum.frequency_cycles_per_mm - frequency) < 2.5 / (64 * spacing_mm)
    assert spectrum.power_fraction[near].sum() > 0.97


def test_white_noise_is_flat_at_its_variance_times_the_voxel_volume(rng):
    noise = rng.normal(1000, 3, (40, 50, 60)).astype(np.float32)
    spectrum = radial_power_spectrum(noise, SPACING)
    counted = spectrum.counts > 500
    assert spectrum.power[counted] == pytest.approx(9 * np.prod(SPACING), rel=0.25)
    assert np.average(spectrum.power, weights=spectrum.counts) == pytest.approx(9 * np.prod(SPACING), rel=0.02)
    # complex normal samples: mean modulus over root mean square
    assert np.average(spectrum.amplitude, weights=spectrum.counts) == pytest.approx(
        np.sqrt(np.pi / 4 * 9 * np.prod(SPACING)), rel=0.02
    )


def test_interpolating_to_a_finer_grid_leaves_the_curve_where_it_was(rng):
    n = 32
    coarse = np.fft.fftn(gaussian_filter(rng.normal(size=(n, n, n)), 1.2, mode="wrap"))
    shifted = np.fft.fftshift(coarse)
    fine = np.fft.ifftn(np.fft.ifftshift(np.pad(shifted, n // 2))).real * 8
    first = radial_power_spectrum(np.fft.ifftn(coarse).real, (2.0, 2.0, 2.0))
    second = radial_power_spectrum(fine, (1.0, 1.0, 1.0))
    shared = first.frequency_cycles_per_mm < 0.2
    again = np.interp(first.frequency_cycles_per_mm[shared], second.frequency_cycles_per_mm, second.power)
    assert again == pytest.approx(first.power[shared], rel=0.15)
    assert second.limit_cycles_per_mm == 2 * first.limit_cycles_per_mm == 0.5


def test_large_offsets_do_not_cost_precision(image):
    plain, offset = (radial_power_spectrum(image + shift, SPACING) for shift in (0.0, 1e6))
    strong = plain.power > 1e-6 * plain.power.max()
    assert strong.sum() > 20
    assert offset.power[strong] == pytest.approx(plain.power[strong], rel=1e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_integers_and_floats_give_the_same(image, dtype):
    whole = np.round(image)
    expected = radial_power_spectrum(whole, SPACING)
    assert radial_power_spectrum(whole.astype(dtype), SPACING).power == pytest.approx(expected.power, rel=1e-4)


def test_outside_the_mask_nothing_counts(rng, ball):
    image = gaussian_filter(rng.normal(size=ball.shape), 1.0)
    spoilt = np.where(ball, image, 1e6)
    first, second = (radial_power_spectrum(a, (1, 1, 1), ball) for a in (image, spoilt))
    assert second.power == pytest.approx(first.power, rel=1e-4)


def test_more_air_around_the_mask_changes_nothing(rng, ball):
    image = gaussian_filter(rng.normal(size=ball.shape), 1.0)
    wider = radial_power_spectrum(np.pad(image, 9), (1, 1, 1), np.pad(ball, 9))
    assert wider.power == pytest.approx(radial_power_spectrum(image, (1, 1, 1), ball).power, rel=1e-6)


def test_the_tapered_mask_hides_its_own_edge(ball):
    k, j, _ = np.meshgrid(*(np.arange(48),) * 3, indexing="ij")
    smooth = np.cos(2 * np.pi * k / 24) + np.sin(2 * np.pi * j / 30)  # nothing above .05 cycles/mm
    sharp, tapered = (radial_power_spectrum(smooth, (1, 1, 1), ball, window="none", taper_mm=mm) for mm in (0.0, 8.0))
    high = tapered.frequency_cycles_per_mm > 0.2
    assert tapered.power_fraction[high].sum() < 0.1 * sharp.power_fraction[high].sum()
    assert (sharp.taper_mm, tapered.taper_mm) == (0.0, 8.0)


def test_thin_masks_keep_their_edge_and_say_so(rng):
    mask = np.zeros((30, 30, 30), bool)
    mask[10, 5:25, 5:25] = mask[20, 5:25, 5:25] = True
    spectrum = radial_power_spectrum(rng.normal(size=mask.shape), (1, 1, 1), mask)
    assert spectrum.taper_mm == 0.0
    assert spectrum.total_power > 0


def test_directions_tell_blur_along_one_axis(rng):
    image = gaussian_filter(rng.normal(size=(48, 48, 48)), (2.0, 0, 0))
    spectra = directional_power_spectra(image, (1, 1, 1))
    assert set(spectra) == {"all", "k", "j", "i"}

    def high_share(name: str) -> float:
        spectrum = spectra[name]
        return float(spectrum.power_fraction[spectrum.frequency_cycles_per_mm > 0.25].sum())

    assert high_share("k") < 0.01 * high_share("j")
    assert high_share("j") == pytest.approx(high_share("i"), rel=0.2)
    alone = radial_power_spectrum(image, (1, 1, 1))
    assert np.array_equal(spectra["all"].power, alone.power)


def test_cones_of_ninety_degrees_hold_everything_and_narrow_ones_do_not_overlap(image):
    wide = directional_power_spectra(image, SPACING, half_angle_deg=90)
    for name in "kji":
        assert wide[name].power == pytest.approx(wide["all"].power, rel=1e-12)
        assert wide[name].counts.tolist() == wide["all"].counts.tolist()
    narrow = directional_power_spectra(image, SPACING, half_angle_deg=45)
    assert sum(narrow[name].counts.sum() for name in "kji") < narrow["all"].counts.sum()
    assert narrow["k"].limit_cycles_per_mm == pytest.approx(0.5 / 3.0)
    assert narrow["all"].limit_cycles_per_mm == pytest.approx(0.5 / 0.9)
    assert narrow["k"].total_power == narrow["all"].total_power


def test_planes_by_anatomical_name_are_those_of_the_canonical_array(image):
    for name, axes in (("axial", "ij"), ("coronal", "ik"), ("sagittal", "jk")):
        named, plain = (radial_power_spectrum(image, SPACING, plane=plane) for plane in (name, axes))
        assert np.array_equal(named.power, plain.power)
    assert radial_power_spectrum(image, SPACING, plane="ij").planes == image.shape[0]


def test_a_single_slice_is_transformed_in_two_dimensions(image):
    spectrum = radial_power_spectrum(image[:1], SPACING)
    assert spectrum.axes == ("j", "i")
    assert np.array_equal(spectrum.power, radial_power_spectrum(image[:1], SPACING, plane="ij").power)


def test_a_slice_constant_in_its_plane_adds_nothing(image):
    stack = image.copy()
    stack[5] = 3.0
    spectrum = radial_power_spectrum(stack, SPACING, plane="ij")
    assert spectrum.total_power == pytest.approx(windowed_variance(stack, "hann", (1, 2)), rel=1e-5)


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, 1e8])
def test_a_constant_image_has_no_spectrum(value):
    with pytest.raises(InputError, match="constant inside the mask"):
        radial_power_spectrum(np.full((8, 9, 10), value), SPACING)


def test_constant_inside_the_mask_only(rng, ball):
    with pytest.raises(InputError, match="constant inside the mask"):
        radial_power_spectrum(np.where(ball, 5.0, rng.normal(size=ball.shape)), (1, 1, 1), ball)


def test_bad_input_is_refused_with_its_value(image):
    with pytest.raises(InputError, match="2 dimensions"):
        radial_power_spectrum(image[0], SPACING)
    with pytest.raises(InputError, match="complex128"):
        radial_power_spectrum(image.astype(complex), SPACING)
    with pytest.raises(InputError, match="NaN or infinite"):
        radial_power_spectrum(np.where(image > image.mean(), np.nan, image), SPACING)
    with pytest.raises(InputError, match="mask shape"):
        radial_power_spectrum(image, SPACING, np.ones((2, 2, 2), bool))
    with pytest.raises(InputError, match="empty"):
        radial_power_spectrum(image, SPACING, np.zeros(image.shape, bool))
    with pytest.raises(InputError, match="1 x 1 x 1"):
        radial_power_spectrum(image, SPACING, np.arange(image.size).reshape(image.shape) == 0)
    with pytest.raises(ParameterError, match="plane 'oblique'"):
        radial_power_spectrum(image, SPACING, plane="oblique")
    with pytest.raises(ParameterError, match="window 'box'"):
        radial_power_spectrum(image, SPACING, window="box")
    with pytest.raises(ParameterError, match="0 bins"):
        radial_power_spectrum(image, SPACING, n_bins=0)
    with pytest.raises(ParameterError, match="-1 mm"):
        radial_power_spectrum(image, SPACING, taper_mm=-1)
    with pytest.raises(ParameterError, match="spacing"):
        radial_power_spectrum(image, (1.0, 0.0, 1.0))
    with pytest.raises(ParameterError, match="half angle 120"):
        directional_power_spectra(image, SPACING, half_angle_deg=120)


@pytest.mark.parametrize("n_bins", [1, 2, 10, 500])
def test_any_number_of_bins_holds_all_power(image, n_bins):
    spectrum = radial_power_spectrum(image, SPACING, n_bins=n_bins)
    assert len(spectrum.power) <= n_bins
    assert spectrum.power_fraction.sum() == pytest.approx(1.0, rel=1e-6)
    assert (np.diff(spectrum.frequency_cycles_per_mm) > 0).all()


def test_results_are_read_only(image):
    with pytest.raises(ValueError, match="read-only"):
        radial_power_spectrum(image, SPACING).power[0] = 1
