from __future__ import annotations

import json

import pytest

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.evaluation.splits import SPLITS_FILE, require_roles, role_of, subject_roles


def test_no_subject_has_two_roles_and_the_label_maps_are_all_placed():
    listed = [s for subjects in json.loads(SPLITS_FILE.read_text("utf-8"))["roles"].values() for s in subjects]
    assert len(listed) == len(set(listed)) == len(subject_roles())
    maps = {subject for subject in listed if subject.startswith("labelmaps/")}
    assert maps == {f"labelmaps/training_seg_{n:02d}" for n in range(1, 21)}


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("labelmaps/training_seg_01.nii.gz", "train"),
        ("labelmaps/training_seg_16", "validation"),
        ("labelmaps/training_seg_20.nii.gz", "test"),
        ("ms_lesions/patient01_visit2_T2W.nii.gz", "train"),
        ("eval_t1_slabs/subject06_tissues.nii.gz", "evaluation_only"),
        ("labelmaps/training_seg_200.nii.gz", "unlisted"),
        ("elsewhere/scan.nii.gz", "unlisted"),
    ],
)
def test_role_of_every_image_is_that_of_its_subject(path, role):
    assert role_of(path) == role


def test_a_training_subject_cannot_be_tested_on():
    with pytest.raises(ParameterError, match=r"training_seg_03' has the role 'train'.*test"):
        require_roles(["labelmaps/training_seg_18", "labelmaps/training_seg_03"], ["test"], "testing")
