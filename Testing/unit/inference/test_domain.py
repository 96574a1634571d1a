from __future__ import annotations

import pytest

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.inference.domain import check_output_grid, domain_warnings
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.weights.card import Domain

HEAD = Domain(modalities=("T1w",), slice_spacing_mm=(1, 9), inplane_mm=(0.5, 2.5), body_part="head")


def warnings(spacing, shape=(40, 128, 128)) -> tuple[str, ...]:
    grid = Grid.from_parts(shape, spacing)
    return domain_warnings(grid, grid.isotropic(1.0), HEAD)


@pytest.mark.parametrize("spacing", [(1.6, 1.6, 5.0), (5.0, 1.5, 1.5), (1.0, 1.0, 9.0), (1.0, 1.0, 1.2)])
def test_ordinary_scans_raise_no_warning(spacing):
    assert warnings(spacing) == ()


@pytest.mark.parametrize(
    ("spacing", "shape", "expected"),
    [
        ((1.5, 1.5, 9.5), (40, 128, 128), "slice spacing 9.50 mm lies outside the 1 to 9 mm"),
        ((3.0, 1.0, 4.0), (40, 128, 128), "in-plane spacing 1.00 x 3.00 mm lies outside"),
        ((1.0, 1.0, 1.0), (40, 128, 128), "already isotropic at 1.00 mm"),
        ((0.7, 0.7, 5.0), (40, 128, 128), "finer than the output's 1.00 mm"),
        ((1.5, 1.5, 5.0), (4, 128, 128), "field of view is only 20 mm"),
    ],
)
def test_each_way_of_lying_outside_is_named_once(spacing, shape, expected):
    (found,) = warnings(spacing, shape)
    assert expected in found


def test_an_impossible_output_is_refused_naming_its_size():
    with pytest.raises(InputError, match="1000 x 2000 x 3000 voxels"):
        check_output_grid(Grid.from_parts((3000, 2000, 1000)))
    check_output_grid(Grid.from_parts((400, 400, 400)))
