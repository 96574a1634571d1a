"""The digital phantom of the Image Biomarker Standardisation Initiative and its reference values.

Source: IBSI reference manual, arXiv:1612.07003 (CC BY 4.0), sections 3.6 and 5.1 and appendix A.
"""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.texture import (
    DIRECTIONS_4,
    DIRECTIONS_13,
    TextureSettings,
    cooccurrence_matrices,
    glcm_texture,
    texture_features,
)

OUT_1, OUT_9 = -1, -9  # voxels outside the region of interest, of intensity 1 and 9
SLICES = (
    ((1, 4, 4, 1, 1), (1, 4, 6, 1, 1), (4, 1, 6, 4, 1), (4, 4, 6, 4, 1)),
    ((1, 4, 4, 1, 1), (1, 1, 6, 1, 1), (OUT_1, 1, 3, 1, 1), (4, 4, 6, 1, 1)),
    ((1, 4, 4, OUT_1, OUT_1), (1, 1, 1, 1, 1), (1, 1, OUT_9, 1, 1), (1, 1, 6, 1, 1)),
    ((1, 4, 4, OUT_1, OUT_1), (1, 1, 1, 1, 1), (1, 1, 1, 1, 1), (1, 1, 6, 1, 1)),
)
PHANTOM, MASK = np.abs(SLICES), np.array(SLICES) > 0
LEVELS = 6

#: Columns of the manual's tables.
AGGREGATIONS = ("2D averaged", "2D slice-merged", "2.5D direction-merged", "2.5D merged", "3D averaged", "3D merged")
REFERENCE = {
    "joint_maximum": (0.519, 0.512, 0.489, 0.492, 0.503, 0.509),
    "joint_average": (2.14, 2.14, 2.2, 2.2, 2.14, 2.15),
    "joint_variance": (2.69, 2.71, 3.22, 3.24, 3.1, 3.13),
    "joint_entropy": (2.05, 2.24, 2.48, 2.61, 2.4, 2.57),
    "difference_average": (1.42, 1.4, 1.46, 1.44, 1.43, 1.38),
    "difference_variance": (2.9, 3.06, 3.11, 3.23, 3.06, 3.21),
    "difference_entropy": (1.4, 1.49, 1.61, 1.67, 1.56, 1.64),
    "sum_average": (4.28, 4.29, 4.41, 4.41, 4.29, 4.3),
    "sum_variance": (5.47, 5.66, 7.48, 7.65, 7.07, 7.41),
    "sum_entropy": (1.6, 1.79, 2.01, 2.14, 1.92, 2.11),
    "asm": (0.368, 0.352, 0.286, 0.277, 0.303, 0.291),
    "contrast": (5.28, 5.19, 5.39, 5.29, 5.32, 5.12),
    "dissimilarity": (1.42, 1.4, 1.46, 1.44, 1.43, 1.38),
    "inverse_difference": (0.678, 0.683, 0.668, 0.673, 0.677, 0.688),
    "inverse_difference_normalised": (0.851, 0.854, 0.847, 0.85, 0.851, 0.856),
    "inverse_difference_moment": (0.619, 0.625, 0.606, 0.613, 0.618, 0.631),
    "inverse_difference_moment_normalised": (0.899, 0.901, 0.897, 0.899, 0.898, 0.902),
    "inverse_variance": (0.0567, 0.0553, 0.0597, 0.0582, 0.0604, 0.0574),
    "correlation": (-0.0121, 0.0173, 0.178, 0.182, 0.157, 0.183),
    "autocorrelation": (5.09, 5.14, 5.4, 5.45, 5.06, 5.19),
    "cluster_tendency": (5.47, 5.66, 7.48, 7.65, 7.07, 7.41),
    "cluster_shade": (7, 6.98, 16.6, 16.4, 16.6, 17.4),
    "cluster_prominence": (79.1, 80.4, 147, 142, 145, 147),
    "imc1": (-0.155, -0.0341, -0.124, -0.0334, -0.157, -0.0288),
    "imc2": (0.487, 0.263, 0.487, 0.291, 0.52, 0.269),
}
SETTINGS = TextureSettings(bin_width=1.0, intensity_range=(0.5, 6.5), normalisation="none")


def in_plane(single_slices: bool) -> np.ndarray:
    """Return the features of the four in-plane directions: of each slice, or of the volume."""
    parts = [(PHANTOM[n : n + 1], MASK[n : n + 1]) for n in range(4)] if single_slices else [(PHANTOM, MASK)]
    return np.stack(
        [cooccurrence_matrices(levels, mask, LEVELS, DIRECTIONS_4, normalised=False) for levels, mask in parts]
    )


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, float]]:
    """Every feature in each of the manual's ways of putting slices and directions together."""
    slices, volume = in_plane(True), in_plane(False)
    whole = glcm_texture(PHANTOM, MASK, SETTINGS)
    stacks = {
        "2D averaged": slices.reshape(-1, LEVELS, LEVELS),
        "2D slice-merged": slices.sum(axis=1),
        "2.5D direction-merged": volume[0],
        "2.5D merged": volume.sum(axis=1),
    }
    means = {
        name: {feature: float(values.mean()) for feature, values in texture_features(stack).items()}
        for name, stack in stacks.items()
    }
    return {**means, "3D averaged": whole.features, "3D merged": whole.merged}


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("feature", REFERENCE)
def test_reference_value(measured, feature, aggregation):
    reference = REFERENCE[feature][AGGREGATIONS.index(aggregation)]
    assert float(f"{measured[aggregation][feature]:.3g}") == reference


def test_phantom_has_the_published_first_order_statistics():
    assert np.count_nonzero(MASK) == 74
    assert PHANTOM[MASK].mean() == pytest.approx(2.15, abs=0.005)
    assert PHANTOM[MASK].var() == pytest.approx(3.05, abs=0.005)


def test_matrices_of_the_appendix():
    merged = {
        (1, 1): 536, (1, 3): 14, (1, 4): 105, (1, 6): 61, (3, 4): 5, (3, 6): 6, (4, 4): 64, (4, 6): 28, (6, 6): 16,
    }  # fmt: skip
    along_z = {(1, 1): 66, (1, 4): 5, (1, 6): 1, (3, 6): 1, (4, 4): 16, (6, 6): 8}
    for directions, entries in ((DIRECTIONS_13, merged), (((1, 0, 0),), along_z)):
        expected = np.zeros((LEVELS, LEVELS))
        for (i, j), count in entries.items():
            expected[i - 1, j - 1] = expected[j - 1, i - 1] = count
        counts = cooccurrence_matrices(PHANTOM, MASK, LEVELS, directions, normalised=False).sum(axis=0)
        np.testing.assert_array_equal(counts, expected)
