"""Heads in the reference look: every tissue of a label map at the brightness it has in the reference, 0 air to 1000.

The looks are rounded from the modes of real T1, T2 and FLAIR heads on the scale of the reference groups; tissues whose
brightness no such scan told were set between their neighbours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.degradations.label_images import LabelImageParameters, render_label_image
from MRHarmonizationLib.volumes.volume import Volume

_TABLE = Path(__file__).with_name("reference_looks.json")
#: Standard deviation of the logarithm of the brightness of tissues outside the brain, from head to head.
OUTSIDE_DEVIATION = 0.15
#: Correlation lengths' shares and blur of the texture; see ``label_images``.
TEXTURE_WEIGHTS, BLUR_SIGMA_VOXELS = (0.4, 0.4, 0.2), 0.5


def look_landmarks(contrast: str) -> tuple[float, ...]:
    """Return the intensities of a look at percentiles 1, 10, 20 … 90, 99 of a head's inside: Nyúl's landmarks.

    Means over seven heads in the look. Raises ParameterError for a contrast without a look.
    """
    found = json.loads(_TABLE.read_text(encoding="utf-8"))["landmarks"]
    if contrast not in found:
        raise ParameterError(f"contrast '{contrast}' has no reference look", f"choose one of: {', '.join(LOOKS)}")
    return tuple(float(v) for v in found[contrast])


@lru_cache(maxsize=1)
def _table() -> Mapping[str, tuple[tuple[int, ...], Mapping[str, float], float, bool]]:
    """Return contrast-independent rows: tissue → (labels, brightness by contrast, texture, whether in the brain)."""
    rows = json.loads(_TABLE.read_text(encoding="utf-8"))["tissues"]
    return {
        row["name"]: (
            tuple(row["labels"]),
            {k: float(row[k]) for k in LOOKS},
            float(row["texture"]),
            bool(row["brain"]),
        )
        for row in rows
    }


#: Contrasts that have a look.
LOOKS = ("t1", "t2", "flair")


def look_of_labels(contrast: str) -> dict[int, tuple[float, float, bool]]:
    """Return the look of a contrast.

    Parameters
    ----------
    contrast : {'t1', 't2', 'flair'}

    Returns
    -------
    dict
        FreeSurfer (and CHARM, for tissues outside the brain) number → (mean, standard deviation of the texture, whether
        in the brain); intensities from 0 (air) to 1000.

    Raises
    ------
    ParameterError
        A contrast without a look.
    """
    if contrast not in LOOKS:
        raise ParameterError(f"contrast '{contrast}' has no reference look", f"choose one of: {', '.join(LOOKS)}")
    return {
        label: (by_contrast[contrast], texture * by_contrast[contrast], brain)
        for labels, by_contrast, texture, brain in _table().values()
        for label in labels
    }


def sample_reference_look(rng: np.random.Generator, labels: np.ndarray, contrast: str) -> LabelImageParameters:
    """Draw one head's intensities: the brain as in the reference, the tissues around it a little different each time.

    Parameters
    ----------
    rng : numpy Generator
    labels : int ndarray
        Label map or its distinct values; labels without a look are drawn from 200 to 800.
    contrast : {'t1', 't2', 'flair'}
    """
    look = look_of_labels(contrast)
    values = tuple(int(v) for v in np.unique(labels))
    means, widths = [], []
    for label in values:
        drawn = float(rng.normal()), float(rng.uniform(200.0, 800.0))
        mean, width, brain = look.get(label, (drawn[1], 30.0, True))
        if not brain and mean > 0:
            mean *= float(np.exp(OUTSIDE_DEVIATION * drawn[0]))
        means.append(mean)
        widths.append(width)
    return LabelImageParameters(
        values, tuple(means), tuple(widths), TEXTURE_WEIGHTS, BLUR_SIGMA_VOXELS, int(rng.integers(2**31))
    )


def render_reference_look(labels: Volume, contrast: str, seed: int) -> Volume:
    """Return a head in the reference look.

    Parameters
    ----------
    labels : Volume
        Whole numbers: FreeSurfer for the brain, CHARM from 501 on for the rest of the head.
    contrast : {'t1', 't2', 'flair'}
    seed : int
        Of the texture and of the tissues outside the brain.

    Returns
    -------
    Volume
        float32 on the same grid, 0 (air) to about 1000.

    Raises
    ------
    ParameterError
        A contrast without a look.
    InputError
        Not a label map.
    """
    whole = np.rint(labels.array).astype(np.int32)
    if whole.min() < 0 or not np.any(whole > 0):
        raise InputError(
            f"label map '{labels.name}' has labels {whole.min()} to {whole.max()}", "give FreeSurfer numbers"
        )
    parameters = sample_reference_look(np.random.default_rng(seed), whole, contrast)
    return labels.with_array(render_label_image(whole, parameters))
