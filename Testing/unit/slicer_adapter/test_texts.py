"""What the panel says is short, escaped and right."""

from __future__ import annotations

import math

import numpy as np
from tiny_models import card_dict

from MRHarmonizationLib.slicer_adapter import texts
from MRHarmonizationLib.slicer_adapter.measures import BeforeAfter
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.weights.card import Card


def test_grid_names_the_thick_direction_whatever_the_axes():
    sagittal = np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]], float)
    grid = Grid.from_parts((30, 200, 180), (1.0, 1.0, 5.0), directions=sagittal)
    assert texts.grid_text(grid).endswith("thick slices left–right")
    assert "thick" not in texts.grid_text(Grid.from_parts((30, 30, 30)))


def test_card_shows_domain_and_scores_escaped():
    scores = {"slabs": {"gain_psnr_db": 3.04}, "n": 6, "a": 1, "b": 2, "c": 3}
    card = Card.from_dict(card_dict(b"x", summary="<b>Bold & dangerous", scores=scores))
    text, rest = texts.card_text(card), texts.card_help(card)
    assert "&lt;b&gt;Bold &amp; dangerous" in text
    assert "slices 1–9 mm" in text
    assert "slabs gain psnr db 3.04, n 6" in text
    assert "c 3" not in text
    assert "c 3" in rest
    assert "• not a real model" in rest
    assert card.licence in rest


def test_card_without_domain_says_nothing_of_it():
    values = card_dict(b"x")
    del values["domain"]
    assert "Made for" not in texts.card_text(Card.from_dict(values))


def test_measures_show_direction_and_units():
    found = (
        BeforeAfter("psnr", "dB", "higher", 20.0, 24.5),
        BeforeAfter("ssim", "1", "higher", 0.9, 0.8),
        BeforeAfter("noise", "% of range", "lower", 4.0, 1.0),
    )
    text = texts.measures_text(found, "Truth")
    assert "Held against <b>Truth</b>" in text
    psnr, ssim, noise = text.split("<tr>")[2:]
    assert texts.GOOD in psnr
    assert "dB" in psnr
    assert texts.BAD in ssim
    assert texts.GOOD in noise
    assert texts.measures_text(()) == ""
    assert texts.measures_help(found).count("\n") == 2
    assert not math.isnan(found[0].after)


def test_warnings_are_sentences():
    assert texts.warnings_text(["too thick", "too thin"]) == "⚠ Too thick.\n⚠ Too thin."
    assert texts.warnings_text([]) == ""
