"""Heads in the reference look."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.degradations import reference_look as look
from MRHarmonizationLib.degradations.label_images import BRAIN_LABELS
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume


@pytest.mark.parametrize("contrast", look.LOOKS)
def test_every_brain_label_has_a_look(contrast):
    table = look.look_of_labels(contrast)
    assert set(BRAIN_LABELS) <= set(table)
    assert all(0 <= mean <= 1100 and width >= 0 for mean, width, _ in table.values())
    landmarks = look.look_landmarks(contrast)
    assert len(landmarks) == 11
    assert np.all(np.diff(landmarks) > 0)


def test_the_contrasts_are_what_their_names_say():
    means = {c: {k: v[0] for k, v in look.look_of_labels(c).items()} for c in look.LOOKS}
    white, grey, fluid = 2, 3, 4
    assert means["t1"][white] > means["t1"][grey] > means["t1"][fluid]
    assert means["t2"][white] < means["t2"][grey] < means["t2"][fluid]
    assert means["flair"][fluid] < means["flair"][white] < means["flair"][grey]


def test_a_head_is_rendered_as_the_table_says(rng):
    labels = np.zeros((12, 12, 12), np.int16)
    labels[:6], labels[6:, :6], labels[6:, 6:] = 2, 3, 507
    volume = Volume(labels, Grid.from_parts(labels.shape))
    one, again, other = (look.render_reference_look(volume, "t1", seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.array, again.array)
    assert one.array[:4].mean() == pytest.approx(870, rel=0.02)
    assert one.array[8:, :4].mean() == pytest.approx(650, rel=0.03)
    assert abs(one.array[8:, 8:].mean() - other.array[8:, 8:].mean()) > 5, "tissues outside the brain vary"


def test_bad_input_is_named():
    empty = Volume(np.zeros((4, 4, 4), np.int16), Grid.from_parts((4, 4, 4)))
    with pytest.raises(InputError, match="0 to 0"):
        look.render_reference_look(empty, "t1", 0)
    with pytest.raises(ParameterError, match="'swi'"):
        look.look_of_labels("swi")
    with pytest.raises(ParameterError, match="'swi'"):
        look.look_landmarks("swi")
