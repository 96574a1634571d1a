"""The low-field scanner: grid, resolution, noise level, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.masks import foreground_mask
from MRHarmonizationLib.degradations.lowfield import AcquisitionParameters, LowFieldParameters, acquire
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume


def block(shape=(40, 48, 44), value=500.0) -> Volume:
    array = np.zeros(shape, np.float32)
    array[6:-6, 6:-6, 6:-6] = value
    return Volume(array, Grid.from_parts(shape, origin_ras=(5, 6, 7)))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_spacing_is_exact_on_every_slice_axis(axis):
    scan = acquire(block(), AcquisitionParameters(slice_axis=axis, in_plane_spacing_mm=(1.6, 1.5)))
    expected = [1.6, 1.5]
    expected.insert(axis, 5.0)
    assert np.allclose(scan.grid.spacing_mm[::-1], expected)


@pytest.mark.parametrize("encoding", ["slice", "kspace"])
def test_linear_objects_come_back_in_place(encoding):
    """Degrade and interpolate a ramp along each axis: nothing may shift."""
    for axis in range(3):
        ramp = np.arange(60, dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        truth = Volume(np.broadcast_to(ramp + 20, (60, 60, 60)), Grid.from_parts((60, 60, 60)))
        parameters = AcquisitionParameters(snr=np.inf, slice_encoding=encoding)
        back = resample(acquire(truth, parameters), truth.grid)
        inner = (slice(15, -15),) * 3
        assert np.abs((back.array - truth.array)[inner]).max() < 0.35


def test_noise_has_the_stated_level():
    clean = acquire(block((60, 80, 80)), AcquisitionParameters(snr=np.inf))
    noisy = acquire(block((60, 80, 80)), AcquisitionParameters(snr=25.0))
    level = clean.array[foreground_mask(clean.array)].mean()
    sigma = (noisy.array - clean.array)[clean.array > 480].std()
    assert level / sigma == pytest.approx(25, rel=0.15)


def test_finer_voxels_than_the_object_has_are_refused():
    with pytest.raises(ParameterError, match=r"0\.5"):
        acquire(block(), AcquisitionParameters(in_plane_spacing_mm=(0.5, 1.0)))


@pytest.mark.parametrize(
    "change",
    [
        {"slice_axis": 3},
        {"snr": 0.0},
        {"slice_encoding": "spiral"},
        {"in_plane_spacing_mm": (0.0, 1.0)},
        {"slice_fwhm_mm": -1.0},
    ],
)
def test_impossible_acquisitions_are_refused(change):
    with pytest.raises(ParameterError):
        AcquisitionParameters(**change)


def test_input_is_not_changed():
    truth = block()
    before = truth.array.copy()
    acquire(truth, AcquisitionParameters())
    assert np.array_equal(truth.array, before)


def test_nested_parameters_survive_a_dictionary():
    parameters = LowFieldParameters(AcquisitionParameters(slice_axis=2, snr=12.5, noise_seed=9))
    assert LowFieldParameters.from_dict(parameters.to_dict()) == parameters
