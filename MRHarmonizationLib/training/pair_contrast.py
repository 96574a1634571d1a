"""Whether scans that are to be learned from together are of one contrast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MRHarmonizationLib.methods.case_profile import CaseProfile
from MRHarmonizationLib.methods.reference_group import LEAST_LIMITS, GroupDistance, unlike_cases

#: Rank correlation inside the head below which the two scans of a pair are of different contrasts, whatever the others;
#: and how far below the median of all pairs, where there are enough for one. Set on simulated 64 mT scans of four
#: heads: .71 to .96 for one contrast, to .33 for T2 with others, .70 to .82 for T1 with FLAIR where T1 has .94 to .96.
LEAST_CORRELATION, BELOW_MEDIAN, ENOUGH_PAIRS = 0.4, 0.1, 3
#: Factor on the limits of reference groups from which a scan looks unlike the rest of its folder: at 1 one of 15 FLAIR
#: heads did among its own.
UNLIKE_FACTOR = 1.15


def other_contrasts(profiles: Sequence[CaseProfile]) -> dict[int, str]:
    """Return which scans of a folder look unlike the rest (index → why), the most unlike taken out first."""
    left, found = list(range(len(profiles))), {}
    while unlike := _unlike([profiles[n] for n in left]):
        worst = max(unlike, key=lambda n: _excess(unlike[n]))
        distance = unlike[worst]
        chosen = [worst] if len(left) > 2 else [0, 1]  # of two there is no majority
        for n in chosen:
            found[left[n]] = (
                f"histogram distance {distance.histogram:.0f} % "
                f"(limit {UNLIKE_FACTOR * LEAST_LIMITS['histogram']:.0f}), borders {distance.edges:.2f} "
                f"(limit {UNLIKE_FACTOR * LEAST_LIMITS['edges']:.2f}) from the rest"
            )
        left = [n for place, n in enumerate(left) if place not in chosen]
    return found


def _excess(distance: GroupDistance) -> float:
    """Return how many times its limit the distance is that exceeds it most."""
    return max(distance.histogram / LEAST_LIMITS["histogram"], distance.edges / LEAST_LIMITS["edges"])


def _unlike(profiles: Sequence[CaseProfile]) -> dict[int, GroupDistance]:
    return {n: distance for n, distance in unlike_cases(profiles).items() if _excess(distance) > UNLIKE_FACTOR}


def least_correlation(found: Sequence[float]) -> float:
    """Return the tissue correlation that a pair must reach, from those of all pairs.

    Parameters
    ----------
    found : sequence of float
        See :attr:`~MRHarmonizationLib.volumes.pair_registration.RegistrationQuality.tissue_correlation`.
    """
    if len(found) < ENOUGH_PAIRS:
        return LEAST_CORRELATION
    return max(LEAST_CORRELATION, float(np.median(found)) - BELOW_MEDIAN)
