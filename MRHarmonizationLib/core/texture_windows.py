"""Co-occurrence features of every window of a volume at once: sums over boxes, and runs of sorted pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.texture_settings import Offset

#: Entries of the table of windows that is sorted at a time.
SORTED_AT_A_TIME = 1 << 16

#: Features that are means over pairs or follow from such means.
MOMENT_FEATURES = frozenset(
    {
        "joint_average",
        "joint_variance",
        "difference_average",
        "difference_variance",
        "sum_average",
        "sum_variance",
        "contrast",
        "dissimilarity",
        "inverse_difference",
        "inverse_difference_normalised",
        "inverse_difference_moment",
        "inverse_difference_moment_normalised",
        "homogeneity",
        "inverse_variance",
        "correlation",
        "autocorrelation",
        "cluster_tendency",
        "cluster_shade",
        "cluster_prominence",
    }
)
#: Features that need to know how often each value occurs in a window.
HISTOGRAM_FEATURES = frozenset(
    {"joint_maximum", "joint_entropy", "asm", "energy", "difference_entropy", "sum_entropy", "imc1", "imc2"}
)


@dataclass(frozen=True)
class PairField:
    """The pairs of one displacement in a block of levels, in array order of their lower corners.

    Attributes
    ----------
    first, second : ndarray of int32, shape (A, B, C)
        Levels of the two voxels, 0 outside the mask.
    box : (k, j, i)
        Pairs along each axis that fit into a window. The box that starts at place (a, b, c) belongs to the window that
        starts there.
    n_levels : int
    """

    first: np.ndarray
    second: np.ndarray
    box: Offset
    n_levels: int

    @property
    def valid(self) -> np.ndarray:
        """Where both voxels lie inside the mask, bool."""
        return (self.first > 0) & (self.second > 0)


def pair_field(levels: np.ndarray, offset: Offset, window: Offset, n_levels: int) -> PairField | None:
    """Return the pairs of a displacement in a block of levels; None where no window holds such a pair.

    Parameters
    ----------
    levels : ndarray of integers, shape (A, B, C)
        1 … ``n_levels`` inside the mask, 0 outside; with a margin of half a window around the centres.
    offset : (k, j, i)
        Displacement in voxels.
    window : (k, j, i)
        Edge lengths in voxels.
    n_levels : int
    """
    k, j, i = (length - abs(step) for length, step in zip(window, offset, strict=True))
    if min(k, j, i) < 1:
        return None
    first = tuple(slice(max(0, -step), size - max(0, step)) for step, size in zip(offset, levels.shape, strict=True))
    second = tuple(slice(max(0, step), size - max(0, -step)) for step, size in zip(offset, levels.shape, strict=True))
    return PairField(levels[first].astype(np.int32), levels[second].astype(np.int32), (k, j, i), n_levels)


def box_sum(values: np.ndarray, box: Offset) -> np.ndarray:
    """Return the sums over all boxes that fit into an array, by doubling: exact for integers below 2⁵³.

    Parameters
    ----------
    values : ndarray of float64, shape (A, B, C)
    box : (k, j, i)
        Edge lengths.

    Returns
    -------
    ndarray of float64, shape (A - k + 1, B - j + 1, C - i + 1)
    """
    for axis, length in enumerate(box):
        values = np.moveaxis(_running_sum(np.moveaxis(values, axis, 0), length), 0, axis)
    return values


def _running_sum(values: np.ndarray, length: int) -> np.ndarray:
    """Return the sums of ``length`` neighbours along the first axis."""
    places = len(values) - length + 1
    total: np.ndarray | None = None
    block, width, done = values, 1, 0
    while True:
        if length & width:
            part = block[done : done + places]
            total = part if total is None else total + part
            done += width
        if done == length:
            return total if total is not None else values
        block = block[: len(block) - width] + block[width:]
        width *= 2


def moment_features(field: PairField, wanted: frozenset[str]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Compute features that follow from means over the pairs of a window.

    Sums and differences of the two levels carry everything: a² + b² and a·b are combinations of (a + b)² and (a − b)².
    Levels are counted from the middle one, which keeps powers small and their sums exact.

    Parameters
    ----------
    field : PairField
    wanted : frozenset of str
        Part of :data:`MOMENT_FEATURES`.

    Returns
    -------
    features : dict of str to ndarray of float64
        One value per window; 0 where a window has no pair.
    pairs : ndarray of float64
        Pairs of each window.
    """
    valid = field.valid
    pairs = box_sum(valid.astype(np.float64), field.box)
    share = np.divide(1.0, pairs, out=np.zeros_like(pairs), where=pairs > 0)
    sums = _Sums(field, valid)
    n = field.n_levels

    def mean(quantity: str) -> np.ndarray:
        return sums[quantity] * share

    def variance() -> np.ndarray:
        return (sums["s2"] + sums["d2"]) * share / 4 - (sums["s1"] * share / 2) ** 2

    def correlation() -> np.ndarray:
        varies = pairs * (sums["s2"] + sums["d2"]) > sums["s1"] ** 2
        covariance = (sums["s2"] - sums["d2"]) * share / 4 - (sums["s1"] * share / 2) ** 2
        return np.divide(covariance, variance(), out=np.ones_like(pairs), where=varies)

    def tendency() -> np.ndarray:
        return mean("s2") - mean("s1") ** 2

    def shade() -> np.ndarray:
        m1, m2, m3 = mean("s1"), mean("s2"), mean("s3")
        return m3 - m1 * (3 * m2 - 2 * m1 * m1)

    def prominence() -> np.ndarray:
        m1, m2, m3, m4 = mean("s1"), mean("s2"), mean("s3"), mean("s4")
        return m4 - m1 * (4 * m3 - 3 * m1 * (2 * m2 - m1 * m1))

    middle = (n + 1) / 2
    formulas: dict[str, Callable[[], np.ndarray]] = {
        "joint_average": lambda: middle + mean("s1") / 2,
        "joint_variance": variance,
        "difference_average": lambda: mean("d1"),
        "difference_variance": lambda: mean("d2") - mean("d1") ** 2,
        "sum_average": lambda: 2 * middle + mean("s1"),
        "sum_variance": tendency,
        "contrast": lambda: mean("d2"),
        "dissimilarity": lambda: mean("d1"),
        "inverse_difference": lambda: mean("inverse_difference"),
        "inverse_difference_normalised": lambda: mean("inverse_difference_normalised"),
        "inverse_difference_moment": lambda: mean("homogeneity"),
        "inverse_difference_moment_normalised": lambda: mean("inverse_difference_moment_normalised"),
        "homogeneity": lambda: mean("homogeneity"),
        "inverse_variance": lambda: mean("inverse_variance"),
        "correlation": correlation,
        "autocorrelation": lambda: (mean("s2") - mean("d2")) / 4 + middle * mean("s1") + middle**2,
        "cluster_tendency": tendency,
        "cluster_shade": shade,
        "cluster_prominence": prominence,
    }
    return {name: formulas[name]() for name in sorted(wanted)}, pairs


class _Sums:
    """Box sums of functions of the pairs, each computed once, when it is first asked for."""

    def __init__(self, field: PairField, valid: np.ndarray) -> None:
        self._field, self._valid = field, valid
        self._known: dict[str, np.ndarray] = {}
        n = field.n_levels
        d = np.arange(n)
        with np.errstate(divide="ignore"):
            inverse_variance = np.where(d > 0, 1.0 / d**2, 0.0)
        # Functions of the difference, by table; an entry is added for pairs that do not count.
        self._tables = {
            "d1": d,
            "d2": d**2,
            "inverse_difference": 1 / (1 + d),
            "inverse_difference_normalised": 1 / (1 + d / n),
            "homogeneity": 1 / (1 + d**2),
            "inverse_difference_moment_normalised": 1 / (1 + (d / n) ** 2),
            "inverse_variance": inverse_variance,
        }
        self._difference: np.ndarray | None = None
        self._sum: np.ndarray | None = None

    def __getitem__(self, quantity: str) -> np.ndarray:
        if quantity not in self._known:
            self._known[quantity] = box_sum(self._values(quantity), self._field.box)
        return self._known[quantity]

    def _values(self, quantity: str) -> np.ndarray:
        field = self._field
        if quantity in self._tables:
            if self._difference is None:
                self._difference = np.where(self._valid, np.abs(field.first - field.second), field.n_levels)
            return np.append(self._tables[quantity], 0).astype(np.float64)[self._difference]
        if self._sum is None:
            self._sum = np.where(self._valid, field.first + field.second - (field.n_levels + 1), 0).astype(np.float64)
        power = self._sum
        for _ in range(int(quantity[1:]) - 1):
            power = power * self._sum
        return power


def histogram_features(
    field: PairField, wanted: frozenset[str], centres: tuple[np.ndarray, ...], check: Callable[[], None]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Compute features that need to know how often each pair of levels occurs in a window.

    The pairs of each window are written in a row and sorted; runs of equal ones are the occupied cells of its matrix.
    No matrix is made.

    Parameters
    ----------
    field : PairField
    wanted : frozenset of str
        Part of :data:`HISTOGRAM_FEATURES`.
    centres : three arrays of int, shape (V,)
        Places of the windows wanted, as in :func:`box_sum`'s result.
    check : callable
        Called now and then; raises to stop.

    Returns
    -------
    features : dict of str to ndarray of float64, shape (V,)
        0 where a window has no pair.
    pairs : ndarray of float64, shape (V,)
    """
    first, second = field.first, field.second
    base, valid = field.n_levels + 1, field.valid
    low, high = np.minimum(first, second), np.maximum(first, second)
    # The lowest bit of a pair's code tells that its levels are equal.
    code_type = np.uint16 if 2 * base**2 <= 1 << 16 else np.uint32
    fields = {"joint": np.where(valid, 2 * (low * base + high) + (low == high), 0).astype(code_type)}
    if "difference_entropy" in wanted:
        fields["difference"] = np.where(valid, high - low + 1, 0).astype(np.uint16)
    if "sum_entropy" in wanted:
        fields["sum"] = np.where(valid, high + low, 0).astype(np.uint16)
    if wanted & {"imc1", "imc2"}:
        fields["first"] = np.where(valid, first, 0).astype(np.uint16)
        fields["second"] = np.where(valid, second, 0).astype(np.uint16)
    places = np.asarray(np.ravel_multi_index(centres, first.shape))
    reach = np.indices(field.box).reshape(3, -1)
    steps = np.asarray(np.ravel_multi_index(tuple(reach), first.shape))
    result = {name: np.empty(len(places)) for name in wanted}
    pairs = box_sum(valid.astype(np.float64), field.box)[centres]
    rows = max(1, SORTED_AT_A_TIME // len(steps))
    for start in range(0, len(places), rows):
        check()
        part = slice(start, min(start + rows, len(places)))
        index = places[part, None] + steps
        windows = {name: values.reshape(-1)[index] for name, values in fields.items()}
        for name, values in _of_windows(windows, pairs[part], wanted).items():
            result[name][part] = values
    return result, pairs


def _of_windows(windows: dict[str, np.ndarray], pairs: np.ndarray, wanted: frozenset[str]) -> dict[str, np.ndarray]:
    """Return the wanted features of rows of pair codes, 0 standing for no pair."""
    found: dict[str, np.ndarray] = {}
    some = np.maximum(pairs, 1)
    if wanted & {"joint_maximum", "joint_entropy", "asm", "energy", "imc1", "imc2"}:
        joint = _Runs(windows["joint"])
        # A pair of unequal levels fills two cells of the symmetric matrix, with half its count each.
        equal = joint.codes & 1
        length = np.arange(windows["joint"].shape[1] + 1, dtype=np.float64)
        if "joint_maximum" in wanted:
            found["joint_maximum"] = joint.largest(np.stack([length / 2, length]), equal) / some
        if wanted & {"asm", "energy"}:
            asm = joint.total(np.stack([length**2 / 2, length**2]), equal) / some**2
            found |= {"asm": asm, "energy": np.sqrt(asm)}
        if wanted & {"joint_entropy", "imc1", "imc2"}:
            information = _times_log2(length)
            entropy = np.log2(some) - joint.total(np.stack([information - length, information]), equal) / some
            found["joint_entropy"] = np.maximum(entropy, 0)
    for kind in ("difference", "sum"):
        if f"{kind}_entropy" in wanted:
            found[f"{kind}_entropy"] = _Runs(windows[kind]).entropy(some, windows[kind].shape[1])
    if wanted & {"imc1", "imc2"}:
        levels = np.concatenate([windows["first"], windows["second"]], axis=1)
        marginal = _Runs(levels).entropy(2 * some, levels.shape[1])
        excess = np.maximum(2 * marginal - found["joint_entropy"], 0)
        found["imc1"] = np.divide(-excess, marginal, out=np.zeros_like(excess), where=marginal > 0)
        found["imc2"] = np.sqrt(-np.expm1(-2 * excess))
    return {name: np.where(pairs > 0, found[name], 0) for name in wanted}


class _Runs:
    """Runs of equal codes in sorted rows; the code 0 does not count."""

    def __init__(self, rows: np.ndarray) -> None:
        ordered = np.sort(rows, axis=1)
        begins = np.ones(ordered.shape, bool)
        np.not_equal(ordered[:, 1:], ordered[:, :-1], out=begins[:, 1:])
        places = np.flatnonzero(begins)
        self.codes = ordered.reshape(-1)[places]
        self.lengths = np.empty_like(places)
        np.subtract(places[1:], places[:-1], out=self.lengths[:-1])
        self.lengths[-1] = ordered.size - places[-1]
        self.lengths[self.codes == 0] = 0
        self._first = np.searchsorted(places, np.arange(0, ordered.size, ordered.shape[1]))

    def _values(self, table: np.ndarray, kind: np.ndarray | None) -> np.ndarray:
        """Return the entry of each run's length in a table, whose rows belong to kinds of runs if there are any."""
        if kind is None:
            return np.asarray(table[self.lengths])
        return np.asarray(table.reshape(-1)[kind * np.int64(table.shape[1]) + self.lengths])

    def total(self, table: np.ndarray, kind: np.ndarray | None = None) -> np.ndarray:
        """Return the sum of a function of the length, 0 for 0, over the runs of each row."""
        return np.asarray(np.add.reduceat(self._values(table, kind), self._first))

    def largest(self, table: np.ndarray, kind: np.ndarray | None = None) -> np.ndarray:
        """Return the largest value of a function of the length over the runs of each row."""
        return np.asarray(np.maximum.reduceat(self._values(table, kind), self._first))

    def entropy(self, totals: np.ndarray, longest: int) -> np.ndarray:
        """Return the entropy of each row's codes in bits; ``totals``: codes above 0 in each row, at least 1."""
        information = _times_log2(np.arange(longest + 1, dtype=np.float64))
        return np.maximum(np.log2(totals) - self.total(information) / totals, 0)


def _times_log2(numbers: np.ndarray) -> np.ndarray:
    """Return x·log2(x), 0 for 0."""
    return np.asarray(numbers * np.log2(np.maximum(numbers, 1)))
