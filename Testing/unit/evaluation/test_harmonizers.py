"""Harmonizers by name: controls, files, classical methods and models give volumes; unknown names give the choices."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from support.cohorts import write_cohort
from tiny_models import write_tiny_model

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.evaluation.cohort import read_cohort
from MRHarmonizationLib.evaluation.harmonizers import FILES, IDENTITY, harmonizer_names, make_harmonizer
from MRHarmonizationLib.methods.harmonizers import HARMONIZERS
from MRHarmonizationLib.volumes.files import read_volume


@pytest.fixture
def cohort(tmp_path):
    return read_cohort(write_cohort(tmp_path, 2, harmonised=lambda row: f"truth/{row['subject']}.nrrd"))


@pytest.fixture
def tiny(tmp_path, own_home, monkeypatch):
    write_tiny_model(tmp_path / "weights", "tiny", "planes-2.5d")
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(tmp_path / "weights"))
    return "tiny"


def test_every_name_makes_a_harmonizer_that_works_in_another_process(cohort, tiny):
    image = cohort.images[0]
    volume = read_volume(image.path)
    digest = volume.digest()
    assert {IDENTITY, "zscore", "cubic", "tiny"} <= set(harmonizer_names())
    for name in (name for name in harmonizer_names() if name != "lowfield"):
        made = pickle.loads(pickle.dumps(make_harmonizer(name, cohort.images, cohort.images[:3], threads=1)))
        result = made(image, volume)
        assert np.isfinite(result.array).all(), name
        assert result.array.std() > 0, name
    assert volume.digest() == digest


def test_identity_is_the_image_and_files_are_the_files(cohort):
    image = cohort.images[1]
    volume = read_volume(image.path)
    assert make_harmonizer(IDENTITY, cohort.images)(image, volume) is volume
    read = make_harmonizer(FILES, cohort.images)(image, volume)
    np.testing.assert_array_equal(read.array, read_volume(image.harmonised).array)


def test_upsampling_goes_to_one_millimetre_with_its_parameters(cohort):
    image = cohort.images[0]
    volume = read_volume(image.path)
    weak, strong = (
        make_harmonizer("tv_cubic", cohort.images, parameters={"weight_factor": factor})(image, volume)
        for factor in (0.1, 3.0)
    )
    np.testing.assert_allclose(weak.grid.spacing_mm, 1)
    assert strong.array.std() < weak.array.std()


def test_unknown_names_and_superfluous_parameters_are_refused(cohort):
    with pytest.raises(ParameterError, match=r"harmonizer 'combat' is unknown; choose one of: identity, .*cubic"):
        make_harmonizer("combat", cohort.images)
    with pytest.raises(ParameterError, match="'identity' takes no parameters"):
        make_harmonizer(IDENTITY, cohort.images, parameters={"a": 1})
    with pytest.raises(ParameterError, match="'zscore' has no parameter 'a'"):
        make_harmonizer("zscore", cohort.images, cohort.images[:2], parameters={"a": 1})


def test_files_must_be_there_for_every_image(tmp_path):
    cohort = read_cohort(
        write_cohort(tmp_path, 2, harmonised=lambda row: row["path"] if row["subject"] == "p0" else "")
    )
    with pytest.raises(InputError, match="3 of 6 images have no harmonised file, the first is 'p1 blurry p1'"):
        make_harmonizer(FILES, cohort.images)


def test_contrast_in_the_laboratory_is_that_of_everywhere_else(cohort):
    references = [read_volume(image.path) for image in cohort.images[:3]]
    image = cohort.images[-1]
    volume = read_volume(image.path)
    for name in ("zscore", "percentile", "nyul", "histogram_matching"):  # ids in protocols/batch-effect.json
        made = make_harmonizer(name, cohort.images, cohort.images[:3])(image, volume)
        np.testing.assert_array_equal(made.array, HARMONIZERS.get(name).fit(references).apply(volume).array)
