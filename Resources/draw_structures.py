"""Draw ``structures_result.png``: a real T1 head, altered beyond what a histogram can tell, and put right two ways.

Usage: ``PYTHONPATH=. python Resources/draw_structures.py``
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from MRHarmonizationLib.inference.harmonize import HarmonizeRequest, harmonize
from MRHarmonizationLib.samples import REFERENCE
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.volume import Volume

matplotlib.use("Agg")
#: Look that the head is given.
GROUP = "t1-head"
#: Planes drawn, as shares of the array's axes (axial, coronal).
PLANES = ((0, 0.52), (1, 0.45))


def altered(scan: Volume) -> Volume:
    """Return the head as a negative with a folded curve and a coil's shading: air stays dark."""
    values = np.clip(scan.array / np.percentile(scan.array, 99.8), 0.0, 1.2)
    shading = np.exp(0.35 * np.linspace(-1.0, 1.0, values.shape[2]))
    negative = 0.15 + 0.85 * np.abs(1.05 - values) ** 1.3
    return scan.with_array((200.0 * shading * np.where(values > 0.06, negative, values)).astype(np.float32))


def main() -> None:
    """Harmonise and draw."""
    from matplotlib import pyplot

    scan = read_volume(REFERENCE)
    changed = altered(scan)

    def with_method(volume: Volume, method: str) -> np.ndarray:
        return harmonize(volume, HarmonizeRequest(method, reference=GROUP, measure=False)).volume.array

    columns = [
        ("the head", scan.array, float(np.percentile(scan.array, 99.8))),
        ("altered: a negative, shaded", changed.array, float(np.percentile(changed.array, 99.8))),
        ("altered, then nyul", with_method(changed, "nyul"), 1000.0),
        ("altered, then structures", with_method(changed, "structures"), 1000.0),
        ("the head itself, then structures", with_method(scan, "structures"), 1000.0),
    ]
    figure, axes = pyplot.subplots(len(PLANES), len(columns), figsize=(15, 7), facecolor="black")
    for row, (axis, share) in zip(axes, PLANES, strict=True):
        for place, (title, array, top) in zip(row, columns, strict=True):
            plane = np.take(array, int(share * array.shape[axis]), axis=axis)
            place.imshow(plane, cmap="gray", vmin=0, vmax=top, origin="lower")
            place.set_axis_off()
            if axis == 0:
                place.set_title(title, color="white", fontsize=11)
    figure.tight_layout(pad=0.4)
    figure.savefig(Path(__file__).with_name("structures_result.png"), dpi=80, facecolor="black")


if __name__ == "__main__":
    main()
