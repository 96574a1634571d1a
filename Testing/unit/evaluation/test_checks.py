"""Lesion check and native check on synthetic scans, with a tiny network in place of the model."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from tiny_models import write_tiny_model

from MRHarmonizationLib.evaluation.lesion_check import lesion_task
from MRHarmonizationLib.evaluation.lowfield_protocol import LowFieldProtocol
from MRHarmonizationLib.evaluation.native_check import end_change, measured_again_error, native_task
from MRHarmonizationLib.evaluation.protocol import read_protocol
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume


@pytest.fixture
def tiny(tmp_path, own_home, monkeypatch):
    write_tiny_model(tmp_path / "weights", "tiny", "planes-2.5d")
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(tmp_path / "weights"))
    return "tiny"


@pytest.fixture
def data(head_phantom, tmp_path):
    lesions = np.zeros(head_phantom.array.shape, np.uint8)
    lesions[20:28, 30:38, 18:26] = 1
    image = head_phantom.array + 150 * lesions
    write_volume(head_phantom.with_array(image), tmp_path / "image.nii.gz")
    write_volume(head_phantom.with_array(lesions), tmp_path / "lesions.nii.gz")
    thick = resample(head_phantom, head_phantom.grid.with_spacing((1.5, 1.5, 4.0)))
    write_volume(thick, tmp_path / "thick.nii.gz")
    return tmp_path


def test_lesions_of_every_method_are_looked_at(data, tiny):
    values = read_protocol("lowfield")
    values.update(
        models=[tiny],
        methods=["cubic", "linear"],
        lesions={"images": ["image"], "mask": "lesions", "acquisition": "t2_axial"},
    )
    protocol = LowFieldProtocol.from_dict(values)
    rows = {row["method"]: row for row in lesion_task(protocol, str(data), "image", 30.0, str(data / "lesions.png"))}
    assert set(rows) == {"cubic", "linear", tiny}
    assert rows["cubic"]["retention"] == pytest.approx(1.0)
    assert rows["cubic"]["retention_of_truth"] < 1.0
    assert (rows["linear"]["lesions"], rows["linear"]["lost"]) == (1, 0)
    assert rows["cubic"]["role"] == "unlisted"
    assert (data / "lesions.png").stat().st_size > 1000


def test_native_scan_is_described(data, tiny):
    row = native_task(str(data), "thick", tiny, str(data / "native.png"))
    assert row["noise_before"] > 0
    assert row["consistency_cubic"] < 0.2
    assert np.isfinite(row["end_change"])
    assert row["range_ratio"] == pytest.approx(1, abs=0.2)
    assert (data / "native.png").stat().st_size > 1000


def test_an_image_that_disagrees_with_the_scan_is_found(head_phantom):
    thick = resample(head_phantom, head_phantom.grid.with_spacing((1.0, 1.0, 4.0)))
    smooth = gaussian_filter(head_phantom.array, (4 / 2.355, 0, 0))
    scan = resample(head_phantom.with_array(smooth), thick.grid, "linear")
    right = measured_again_error(head_phantom, scan)
    wrong = measured_again_error(head_phantom.with_array(np.roll(head_phantom.array, 3, axis=1)), scan)
    assert right < 0.02
    assert wrong > 3 * right


def test_change_at_the_ends_is_told_from_change_everywhere(head_phantom):
    mask = np.ones(head_phantom.array.shape, bool)
    everywhere = head_phantom.with_array(head_phantom.array + 10)
    assert end_change(head_phantom, everywhere, mask, thick_axis=2) == pytest.approx(1.0)
    ringing = head_phantom.array.copy()
    ringing[:3] += 50
    ringing[10:] += 1
    assert end_change(head_phantom, Volume(ringing, head_phantom.grid), mask, thick_axis=2) > 10
