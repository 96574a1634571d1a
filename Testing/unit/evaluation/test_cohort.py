"""Reading cohorts: what is understood, what is refused and how, what is warned of."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.evaluation.cohort import check_one_split_per_subject, read_cohort
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume


@pytest.fixture
def images(tmp_path):
    """Six subjects on two scanners, as files SCANNER/SUBJECT.nii.gz."""
    rng = np.random.default_rng(1)
    for scanner in ("north", "south"):
        (tmp_path / "scans" / scanner).mkdir(parents=True)
        for subject in range(6):
            array = rng.normal(size=(2, 3, 4)).astype(np.float32)
            write_volume(Volume(array, Grid.from_parts(array.shape)), tmp_path / f"scans/{scanner}/s{subject}.nii.gz")
    return tmp_path / "scans"


def rows(subjects=6, scanners=("north", "south")):
    return [(f"{scanner}/s{n}.nii.gz", f"s{n}", scanner) for n in range(subjects) for scanner in scanners]


def write(folder, header, lines, encoding="utf-8"):
    path = folder / "cohort.csv"
    path.write_text("\n".join([header, *(",".join(line) for line in lines)]) + "\n", encoding=encoding)
    return path


def test_a_csv_file_is_read_relative_to_its_folder(images):
    cohort = read_cohort(write(images, "path,subject,scanner", rows()))
    assert cohort.scanners == ("north", "south")
    assert cohort.subjects == tuple(f"s{n}" for n in range(6))
    assert cohort.subjects_on("south") == cohort.subjects
    assert all(image.path.is_file() and image.mask is None and image.split == "" for image in cohort.images)
    assert cohort.warnings == ()


def test_optional_columns_other_spellings_capitals_and_a_byte_order_mark_are_understood(images):
    lines = [(*row, row[0], "", row[0], "Train" if row[1] < "s3" else "test") for row in rows()]
    header = "Image, Subject ,SITE,mask,lesion,harmonized,split"
    cohort = read_cohort(write(images, header, lines, "utf-8-sig"))
    first = cohort.images[0]
    assert first.mask == first.harmonised == first.path
    assert first.lesion is None
    assert {image.split for image in cohort.images} == {"train", "test"}


def test_a_folder_of_scanners_is_a_cohort(images):
    cohort = read_cohort(images)
    assert cohort.scanners == ("north", "south")
    assert len(cohort.images) == 12
    assert cohort.images[0].subject == "s0"


def test_unused_columns_are_mentioned(images):
    lines = [(*row, "42") for row in rows()]
    assert "age" in read_cohort(write(images, "path,subject,scanner,age", lines)).warnings[0]


def test_missing_columns_are_named_beside_those_found(images):
    with pytest.raises(InputError, match=r"no column 'scanner'; it has path, subject, vendor"):
        read_cohort(write(images, "path,subject,vendor", rows()))


def test_empty_cells_are_named_with_their_row(images):
    lines = rows()
    lines[1] = (lines[1][0], "", lines[1][2])
    with pytest.raises(InputError, match=r"row 3 of cohort.csv has no subject"):
        read_cohort(write(images, "path,subject,scanner", lines))


@pytest.mark.parametrize("content", ["", "path,subject,scanner\n"])
def test_a_file_without_rows_is_refused(tmp_path, content):
    path = tmp_path / "cohort.csv"
    path.write_text(content, "utf-8")
    with pytest.raises(InputError, match="no rows"):
        read_cohort(path)


def test_missing_files_are_counted_and_named(images):
    lines = [*rows(), ("north/s9.nii.gz", "s9", "north")]
    with pytest.raises(InputError, match=r"1 of 13 files .* do not exist: .*s9.nii.gz"):
        read_cohort(write(images, "path,subject,scanner", lines))


def test_missing_masks_are_missing_files(images):
    lines = [(*row, "nowhere.nii.gz") for row in rows()]
    with pytest.raises(InputError, match=r"12 of 24 files .*nowhere.nii.gz.*…"):
        read_cohort(write(images, "path,subject,scanner,mask", lines))


def test_an_image_listed_twice_is_refused(images):
    with pytest.raises(InputError, match=r"s0.nii.gz is listed twice"):
        read_cohort(write(images, "path,subject,scanner", [*rows(), ("north/../north/s0.nii.gz", "s7", "south")]))


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_cohort(tmp_path / "absent.csv")
    binary = tmp_path / "cohort.csv"
    binary.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(InputError, match="UTF-8"):
        read_cohort(binary)


def test_a_folder_without_scanner_folders_is_refused(tmp_path):
    with pytest.raises(InputError, match="SCANNER/SUBJECT"):
        read_cohort(tmp_path)


def test_one_scanner_only_is_refused(images):
    with pytest.raises(InputError, match="every image of cohort.csv comes from scanner 'north'"):
        read_cohort(write(images, "path,subject,scanner", rows(scanners=("north",))))


def test_one_subject_only_is_refused(images):
    with pytest.raises(InputError, match="shows subject 's0'"):
        read_cohort(write(images, "path,subject,scanner", rows(subjects=1)))


def test_too_few_subjects_on_a_scanner_are_refused_by_name(images):
    lines = [row for row in rows() if row[2] == "north" or row[1] == "s0"]
    with pytest.raises(InputError, match=r"scanner 'south' has 1 subject \(s0\), at least 2"):
        read_cohort(write(images, "path,subject,scanner", lines))


def test_a_subject_in_two_splits_is_refused_by_name(images):
    lines = [(*row, "test" if row[1] == "s2" and row[2] == "north" else "train") for row in rows()]
    with pytest.raises(InputError, match=r"subject 's2' is in two splits: 'test' and 'train'"):
        read_cohort(write(images, "path,subject,scanner,split", lines))
    with pytest.raises(InputError, match="subject 'x' is in two splits"):
        check_one_split_per_subject([("x", "train"), ("y", "test"), ("x", "")])


def test_an_unknown_split_is_refused(images):
    lines = [(*row, "holdout") for row in rows()]
    with pytest.raises(InputError, match="split 'holdout'; choose train or test"):
        read_cohort(write(images, "path,subject,scanner,split", lines))


def test_scanners_confounded_with_subjects_are_warned_of(images):
    lines = [row for row in rows() if (row[2] == "north") == (row[1] < "s3")]
    warnings = read_cohort(write(images, "path,subject,scanner", lines)).warnings
    assert "no subject was seen on two scanners" in warnings[0]
    assert "north (3), south (3)" in warnings[1]
