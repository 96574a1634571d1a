"""Numbers beside a result: direction, mask, reference on another grid."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from MRHarmonizationLib.core.errors import GridMismatchError, InputError
from MRHarmonizationLib.slicer_adapter.background import BackgroundCall
from MRHarmonizationLib.slicer_adapter.measures import measure
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume


@pytest.fixture(scope="module")
def noisy(head_phantom: Volume) -> Volume:
    rng = np.random.default_rng(3)
    return head_phantom.with_array(head_phantom.array + rng.normal(0, 40, head_phantom.array.shape).astype(np.float32))


def wait(job: BackgroundCall) -> None:
    for _ in range(1000):
        if job.is_done():
            return
    raise AssertionError("measuring did not end")


def test_without_reference(head_phantom: Volume, noisy: Volume):
    found = {item.name: item for item in measure(noisy, head_phantom)}
    assert set(found) == {"noise", "sharpness"}
    assert found["noise"].improved
    assert found["noise"].after < 0.5 * found["noise"].before


def test_with_reference_on_another_grid(head_phantom: Volume, noisy: Volume):
    shifted = head_phantom.grid.crop((2, 3, 1), (40, 50, 44))
    reference = Volume(head_phantom.array[2:42, 3:53, 1:45], shifted, "truth")
    found = {item.name: item for item in measure(noisy, head_phantom, reference)}
    assert set(found) == {"psnr", "ssim"}
    assert all(item.improved for item in found.values())
    assert found["ssim"].after > 0.99


def test_reference_elsewhere_or_useless(head_phantom: Volume, noisy: Volume):
    affine = head_phantom.grid.affine.copy()
    affine[0, 3] += 500
    elsewhere = Volume(head_phantom.array, Grid(head_phantom.grid.shape, affine))
    with pytest.raises(GridMismatchError, match="does not overlap"):
        measure(noisy, head_phantom, elsewhere)
    with pytest.raises(InputError, match="constant"):
        measure(noisy, head_phantom, head_phantom.with_array(np.zeros(head_phantom.array.shape)))


def test_background_gives_result_or_error(head_phantom: Volume):
    blurred = head_phantom.with_array(ndimage.gaussian_filter(head_phantom.array, 1))
    job = BackgroundCall(lambda: measure(head_phantom, blurred))
    wait(job)
    assert job.error is None
    assert job.found is not None
    job = BackgroundCall(lambda: measure(head_phantom, head_phantom, head_phantom.with_array(head_phantom.array * 0)))
    wait(job)
    assert isinstance(job.error, InputError)
    job = BackgroundCall(lambda: 1 / 0)
    wait(job)
    assert "measuring failed" in str(job.error)


def test_same_numbers_as_the_command_line(head_phantom: Volume, noisy: Volume):
    from MRHarmonizationLib.inference import enhance

    expected = {m.name: (m.detail["before"], m.value) for m in enhance.measured_change(noisy, head_phantom)}
    assert {item.name: (item.before, item.after) for item in measure(noisy, head_phantom)} == expected
