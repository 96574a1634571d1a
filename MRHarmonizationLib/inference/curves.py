"""Curves: what a plot shows, with labels and units, for the report, Slicer's plots and JSON alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError

Role = Literal["before", "after", "reference", "ratio", "limit"]
Drawing = Literal["lines", "points", "bars"]


@dataclass(frozen=True, eq=False)
class Series:
    """One line of a plot.

    Attributes
    ----------
    name : str
        As in the legend.
    role : {'before', 'after', 'reference', 'ratio', 'limit'}
        What it stands for; every display draws a role alike. ``limit`` marks a border, not a measurement.
    x, y : ndarray, float64, shape (n,), read-only
        In the units of the curve; finite.

    Raises
    ------
    ParameterError
        Unknown role; x and y of different length, not one-dimensional, empty or not finite.
    """

    name: str
    role: Role
    x: np.ndarray
    y: np.ndarray

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise ParameterError(
                f"series '{self.name}' has the role '{self.role}'", f"use one of: {', '.join(get_args(Role))}"
            )
        for axis in ("x", "y"):
            values = np.array(getattr(self, axis), np.float64)
            if values.ndim != 1 or values.size == 0 or not np.all(np.isfinite(values)):
                raise ParameterError(
                    f"{axis} of series '{self.name}' has shape {values.shape}; expected finite numbers in one row",
                    "leave out what is not finite",
                )
            values.setflags(write=False)
            object.__setattr__(self, axis, values)
        if self.x.size != self.y.size:
            raise ParameterError(
                f"series '{self.name}' has {self.x.size} x and {self.y.size} y values", "give one y for every x"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"name": self.name, "role": self.role, "x": self.x.tolist(), "y": self.y.tolist()}


@dataclass(frozen=True, eq=False)
class Curve:
    """One plot: its lines, and everything needed to label it.

    Attributes
    ----------
    id : str
        Stable name ("psd_radial"), fit for file and node names.
    title : str
    sentence : str
        What the plot tells a reader.
    x_label, y_label : str
        Quantities.
    x_unit, y_unit : str
        Their units; "1" for a plain number.
    x_log, y_log : bool
        Whether the axis is logarithmic; the series then hold positive numbers.
    series : tuple of Series
    drawn : {'lines', 'points', 'bars'}
        Lines over x; or points or bars side by side, where x has no order.
    x_names : tuple of str
        What x = 1, 2, 3 … stand for, where they are categories.

    Raises
    ------
    ParameterError
        No series, numbers that are not positive on a logarithmic axis, an unknown drawing, an x without a name.
    """

    id: str
    title: str
    sentence: str
    x_label: str
    x_unit: str
    x_log: bool
    y_label: str
    y_unit: str
    y_log: bool
    series: tuple[Series, ...]
    drawn: Drawing = "lines"
    x_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("series", "x_names"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.series:
            raise ParameterError(f"curve '{self.id}' has no series", "leave the curve out")
        if self.drawn not in get_args(Drawing):
            raise ParameterError(
                f"curve '{self.id}' is drawn as '{self.drawn}'", f"use one of: {', '.join(get_args(Drawing))}"
            )
        for series in self.series:
            if self.x_names and not np.isin(series.x, np.arange(1, len(self.x_names) + 1)).all():
                raise ParameterError(
                    f"series '{series.name}' of curve '{self.id}' has x without a name",
                    f"number its categories from 1 to {len(self.x_names)}",
                )
            for axis, log in (("x", self.x_log), ("y", self.y_log)):
                if log and getattr(series, axis).min() <= 0:
                    raise ParameterError(
                        f"series '{series.name}' of curve '{self.id}' has {axis} = {getattr(series, axis).min():g} on "
                        "a logarithmic axis",
                        "leave out what is not positive",
                    )

    @property
    def x_title(self) -> str:
        """Label of the x axis with its unit."""
        return with_unit(self.x_label, self.x_unit)

    @property
    def y_title(self) -> str:
        """Label of the y axis with its unit."""
        return with_unit(self.y_label, self.y_unit)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary; :meth:`from_dict` reads it back."""
        plain = ("id", "title", "sentence", "x_label", "x_unit", "x_log", "y_label", "y_unit", "y_log", "drawn")
        return {
            **{key: getattr(self, key) for key in plain},
            "x_names": list(self.x_names),
            "series": [series.to_dict() for series in self.series],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Curve:
        """Build a curve from :meth:`to_dict`.

        Raises
        ------
        InputError
            A key is missing or the values are no curve.
        """
        try:
            lines = tuple(Series(s["name"], s["role"], np.array(s["x"]), np.array(s["y"])) for s in values["series"])
            later = {"drawn": "lines", "x_names": ()} | dict(values)
            plain = {key: later[key] for key in cls.__dataclass_fields__ if key != "series"}
            return cls(**plain, series=lines)
        except (KeyError, TypeError, ValueError) as problem:
            raise InputError(f"these values are no curve: {problem}", "read what compare wrote") from problem


def with_unit(label: str, unit: str) -> str:
    """Return a label with its unit in brackets, none for plain numbers.

    >>> with_unit("frequency", "cycles/mm")
    'frequency (cycles/mm)'
    """
    return label if unit in ("", "1") else f"{label} ({unit})"
