from __future__ import annotations

import json

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.inference.curves import Curve, Series, with_unit


def line(**changes) -> Series:
    return Series(
        **{"name": "before", "role": "before", "x": np.array([1.0, 2.0]), "y": np.array([3.0, 4.0]), **changes}
    )


def curve(**changes) -> Curve:
    labels = {"id": "c", "title": "T", "sentence": "S.", "x_label": "x", "x_unit": "mm", "y_label": "y", "y_unit": "1"}
    return Curve(**{**labels, "x_log": False, "y_log": False, "series": (line(),), **changes})


def test_curve_survives_json():
    first = curve(y_log=True, series=(line(), line(name="edge", role="limit", x=[0.5, 0.5], y=[3, 4])))
    second = Curve.from_dict(json.loads(json.dumps(first.to_dict(), allow_nan=False)))
    assert second.to_dict() == first.to_dict()
    assert [series.role for series in second.series] == ["before", "limit"]
    np.testing.assert_array_equal(second.series[0].y, [3.0, 4.0])


def test_categories_survive_json_and_older_files_are_lines():
    first = curve(drawn="bars", x_names=("left", "right"))
    values = json.loads(json.dumps(first.to_dict()))
    second = Curve.from_dict(values)
    assert (second.drawn, second.x_names) == ("bars", ("left", "right"))
    older = {key: value for key, value in values.items() if key not in ("drawn", "x_names")}
    assert (Curve.from_dict(older).drawn, Curve.from_dict(older).x_names) == ("lines", ())


def test_impossible_categories_are_refused():
    with pytest.raises(ParameterError, match="drawn as 'pie'"):
        curve(drawn="pie")
    for wrong in ([1.0, 3.0], [0.0, 1.0], [1.0, 1.5]):
        with pytest.raises(ParameterError, match="x without a name"):
            curve(drawn="points", x_names=("left", "right"), series=(line(x=wrong),))


def test_series_are_copies_that_cannot_be_changed():
    x = np.array([1, 2])
    series = line(x=x)
    x[0] = 99
    assert series.x.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="read-only"):
        series.y[0] = 0


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"role": "sideways"}, "sideways"),
        ({"x": np.array([1.0, np.nan])}, "finite"),
        ({"y": np.array([])}, "shape"),
        ({"y": np.ones((2, 2))}, "shape"),
        ({"y": np.ones(3)}, "2 x and 3 y"),
    ],
)
def test_impossible_series_are_refused(changes, word):
    with pytest.raises(ParameterError, match=word):
        line(**changes)


def test_impossible_curves_are_refused():
    with pytest.raises(ParameterError, match="no series"):
        curve(series=())
    with pytest.raises(ParameterError, match="y = -1 on a logarithmic axis"):
        curve(y_log=True, series=(line(y=[3, -1]),))
    with pytest.raises(ParameterError, match="x = 0"):
        curve(x_log=True, series=(line(x=[0, 1]),))


@pytest.mark.parametrize(
    "spoil", [lambda v: v.pop("x_unit"), lambda v: v.update(series=3), lambda v: v["series"].clear()]
)
def test_values_that_are_no_curve_are_refused(spoil):
    values = curve().to_dict()
    spoil(values)
    with pytest.raises(InputError, match="no curve"):
        Curve.from_dict(values)


def test_titles_carry_units_but_for_plain_numbers():
    assert curve().x_title == "x (mm)"
    assert curve().y_title == "y"
    assert with_unit("bias", "") == "bias"
