"""Draw Resources/super_resolve_result.png: planes of half the matrix, and what restorers make of them.

Run ``python Resources/draw_super_resolution.py DATA`` from the root of the repository, DATA being the folder of open
scans. Both subjects are used for evaluation only, the scans are those of ``mrharmonize evaluate subtle``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from MRHarmonizationLib.degradations.coarse_matrix import CoarseMatrix
from MRHarmonizationLib.evaluation.protocol import read_protocol
from MRHarmonizationLib.evaluation.restore_cases import load_judged
from MRHarmonizationLib.evaluation.subtle_protocol import SubtleProtocol
from MRHarmonizationLib.inference.restore import RestoreRequest, restore
from MRHarmonizationLib.inference.restore_parts import slice_axis
from MRHarmonizationLib.volumes.resampling import resample

SUBJECTS = ("labelmaps/training_seg_17", "eval_t1_slabs/subject01")
MODELS = ("super-resolve-cnn", "restore-any")


def main() -> None:
    """Simulate, restore and draw."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    data = Path(sys.argv[1])
    protocol = SubtleProtocol.from_dict(read_protocol("subtle"))
    figure, axes = plt.subplots(len(SUBJECTS), 2 + len(MODELS), figsize=(16, 8.4))
    for row, path in zip(axes, SUBJECTS, strict=True):
        subject = next(subject for subject in protocol.subjects if subject.path == path)
        judged = load_judged(subject, protocol, data)
        truth, axis = judged.truth, 2 - slice_axis(judged.truth.grid)
        coarse = CoarseMatrix.apply(truth, protocol.measured(truth.name, axis))
        scan = resample(coarse, truth.grid, "cubic")
        pictures = {"truth": truth.array, "half the matrix, cubic": scan.array}
        for model in MODELS:
            request = RestoreRequest(1.0, 1.0, interpolated=True, model=model, measure=False)
            pictures[model] = restore(scan, request).volume.array
        top = float(np.percentile(truth.array[judged.mask], 99.5))
        for place, (title, array) in zip(row, pictures.items(), strict=True):
            plane = np.take(array, array.shape[axis] // 2, axis)
            place.imshow(plane, cmap="gray", vmin=0, vmax=top)
            place.set_title(title)
            place.axis("off")
    figure.tight_layout()
    figure.savefig(Path(__file__).with_name("super_resolve_result.png"), dpi=60)


if __name__ == "__main__":
    main()
