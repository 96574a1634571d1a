"""Make the sample volumes of MRHarmonizationLib/samples from the Colin27 head.

Needs the folder of real scans (environment variable MRH_DATA) with structural/colin27_T1w.nii.gz::

    python Resources/make_samples.py

The low-field scan is simulated with fixed parameters, which are written beside it; the same parameters give the same
voxels again.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from MRHarmonizationLib.degradations.lowfield import AcquisitionParameters, LowField, LowFieldParameters  # noqa: E402
from MRHarmonizationLib.samples import INDEX, LOW_FIELD_SCAN, PARAMETERS, REFERENCE  # noqa: E402
from MRHarmonizationLib.volumes.files import digest_file, read_volume, write_json_atomic, write_volume  # noqa: E402
from MRHarmonizationLib.volumes.grid import Grid  # noqa: E402
from MRHarmonizationLib.volumes.volume import Volume  # noqa: E402

SIMULATION = LowFieldParameters(
    acquisition=AcquisitionParameters(
        slice_axis=0,
        slice_spacing_mm=5.0,
        slice_fwhm_mm=5.0,
        slice_flatness=0.5,
        in_plane_spacing_mm=(1.6, 1.6),
        taper=1.0,
        snr=20.0,
        noise_seed=27,
    )
)
"""Typical of a T1-weighted scan on a portable 64 mT scanner; contrast and coil sensitivity are left as they are."""

SIZE_KJI = (180, 216, 176)
"""Field of view in mm: whole numbers of the low-field voxels, so that both samples share their borders."""

REFERENCE_TOP_PERCENTILE = 99.99
"""Intensity that becomes 255 in the reference."""


THUMBNAILS = ROOT / "MRHarmonization" / "MRHarmonizationEnhance" / "Resources" / "Icons"
THUMBNAIL_PX = 128


def cropped(volume: Volume, shape: tuple[int, int, int]) -> Volume:
    """Return the central part of a volume, zero-padded where it is too small."""
    array = np.zeros(shape, volume.array.dtype)
    start = [(have - want) // 2 for have, want in zip(volume.array.shape, shape, strict=True)]
    source = tuple(
        slice(max(s, 0), max(s, 0) + min(h, w)) for s, h, w in zip(start, volume.array.shape, shape, strict=True)
    )
    target = tuple(
        slice(max(-s, 0), max(-s, 0) + min(h, w)) for s, h, w in zip(start, volume.array.shape, shape, strict=True)
    )
    array[target] = volume.array[source]
    affine = np.array(volume.grid.affine)
    affine[:3, 3] = volume.grid.ijk_to_ras(np.array(start[::-1], float))
    return Volume(array, Grid(shape, affine), volume.name)


def save_thumbnail(volume: Volume, path: Path) -> None:
    """Write the middle coronal plane as a square picture: it shows how thick the slices are."""
    plane = volume.array[::-1, volume.array.shape[1] // 2]
    height, width = (n * s for n, s in zip(plane.shape, volume.grid.spacing_mm[[2, 0]], strict=True))
    scale = THUMBNAIL_PX / max(height, width)
    picture = Image.fromarray(np.clip(plane.astype(float) * 1.1, 0, 255).astype(np.uint8))
    picture = picture.resize((round(width * scale), round(height * scale)), Image.Resampling.NEAREST)
    square = Image.new("L", (THUMBNAIL_PX, THUMBNAIL_PX))
    square.paste(picture, ((THUMBNAIL_PX - picture.width) // 2, (THUMBNAIL_PX - picture.height) // 2))
    square.save(path, optimize=True)


def main() -> None:
    """Write the two volumes, the parameters, the index and the thumbnails for Slicer's Sample Data."""
    folder = Path(os.environ.get("MRH_DATA", ROOT.parent / "shared" / "data"))
    head = cropped(read_volume(folder / "structural" / "colin27_T1w.nii.gz"), SIZE_KJI)
    scale = 255 / float(np.percentile(head.array, REFERENCE_TOP_PERCENTILE))
    values = np.clip(np.rint(head.array * scale), 0, 255).astype(np.uint8)
    reference = Volume(values, head.grid, "Colin27 T1w")
    write_volume(reference, REFERENCE)
    scan = LowField.apply(reference, SIMULATION)
    whole = Volume(np.clip(np.rint(scan.array), 0, 255).astype(np.uint8), scan.grid, "Colin27 T1w low field")
    write_volume(whole, LOW_FIELD_SCAN)
    record = {"kind": "lowfield", "seed": None, "parameters": SIMULATION.to_dict()}
    write_json_atomic(record, PARAMETERS)
    index = []
    for name, path, volume in (
        ("Colin27 T1w low field (simulated)", LOW_FIELD_SCAN, whole),
        ("Colin27 T1w 1 mm (reference)", REFERENCE, reference),
    ):
        index.append({"name": name, "file": path.name, "sha256": digest_file(path).removeprefix("sha256:")})
        save_thumbnail(volume, THUMBNAILS / f"{path.name.split('.')[0]}.png")
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")
    write_json_atomic({"samples": index}, INDEX)


if __name__ == "__main__":
    main()
