"""A cohort: who was scanned where, read from a CSV file or a folder, and checked before any work is done."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.volumes.files import READABLE, volume_stem

#: Columns that a cohort file must have, and those it may have besides.
REQUIRED_COLUMNS = ("path", "subject", "scanner")
OPTIONAL_COLUMNS = ("mask", "lesion", "harmonised", "split")
#: Other spellings of a column.
SPELLINGS = {"harmonized": "harmonised", "image": "path", "site": "scanner"}
#: Values of the column ``split``.
SPLITS = ("train", "test")
#: Fewest subjects on a scanner: one to learn from and one to be tested on.
FEWEST_SUBJECTS = 2
#: Below this many subjects on a scanner the figures are warned of.
FEW_SUBJECTS = 5
#: How many missing files or subjects a message names.
NAMED = 3


@dataclass(frozen=True)
class CohortImage:
    """One image of a cohort.

    Attributes
    ----------
    path : Path
    subject, scanner : str
    mask, lesion : Path or None
        Where the head or brain is; where lesions are. In the image's space, on any grid.
    harmonised : Path or None
        The same image after harmonisation by other means.
    split : {'train', 'test', ''}
        Which part of the cohort the file assigns it to; empty where that is left to chance.
    """

    path: Path
    subject: str
    scanner: str
    mask: Path | None = None
    lesion: Path | None = None
    harmonised: Path | None = None
    split: str = ""

    @property
    def name(self) -> str:
        """Subject, scanner and file name, for messages and tables."""
        return f"{self.subject} {self.scanner} {volume_stem(self.path)}"


@dataclass(frozen=True)
class Cohort:
    """Images whose files exist, in the order of the file.

    Attributes
    ----------
    images : tuple of CohortImage
    source : Path
        File or folder it was read from.
    warnings : tuple of str
        What the reader of a result should mind.
    """

    images: tuple[CohortImage, ...]
    source: Path
    warnings: tuple[str, ...] = ()

    @property
    def scanners(self) -> tuple[str, ...]:
        """Sorted names of the scanners; their positions are the classes of a probe."""
        return tuple(sorted({image.scanner for image in self.images}))

    @property
    def subjects(self) -> tuple[str, ...]:
        """Sorted names of the subjects."""
        return tuple(sorted({image.subject for image in self.images}))

    def subjects_on(self, scanner: str) -> tuple[str, ...]:
        """Return the sorted names of the subjects seen on a scanner."""
        return tuple(sorted({image.subject for image in self.images if image.scanner == scanner}))


def read_cohort(source: str | Path) -> Cohort:
    """Read a cohort and refuse one from which nothing can be learned.

    Parameters
    ----------
    source : path
        A CSV file with the columns ``path``, ``subject`` and ``scanner`` and, optionally, ``mask``, ``lesion``,
        ``harmonised`` and ``split`` (train or test); paths are relative to the file's folder. Or a folder with one
        folder per scanner, holding one image per subject: ``DIR/SCANNER/SUBJECT.nii.gz``.

    Returns
    -------
    Cohort

    Raises
    ------
    InputError
        Missing columns, empty cells, missing files, a subject in two splits, one scanner or one subject only, too few
        subjects on a scanner.
    """
    place = Path(source).expanduser()
    images, notes = _read_folder(place) if place.is_dir() else _read_csv(place)
    _check_files(images, place)
    check_one_split_per_subject((image.subject, image.split) for image in images)
    cohort = Cohort(tuple(images), place, tuple(notes))
    _check_learnable(cohort)
    return Cohort(cohort.images, place, (*notes, *_warnings(cohort)))


def check_one_split_per_subject(assigned: Iterable[tuple[str, str]]) -> None:
    """Refuse a subject that is assigned to two parts of a split.

    Parameters
    ----------
    assigned : iterable of (subject, part)

    Raises
    ------
    InputError
        Names the subject and both parts: whatever is learned of a subject in training would help in the test.
    """
    seen: dict[str, str] = {}
    for subject, part in assigned:
        if seen.setdefault(subject, part) != part:
            raise InputError(
                f"subject '{subject}' is in two splits: '{seen[subject] or 'none'}' and '{part or 'none'}'",
                "put all images of a subject into one split",
            )


def _read_csv(path: Path) -> tuple[list[CohortImage], list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            table = list(csv.reader(stream))
    except OSError as error:
        raise InputError(f"cohort file {path} cannot be read: {error.strerror or error}", "check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cohort file {path} is no UTF-8 CSV file: {error}", "save it as CSV, UTF-8") from error
    rows = [row for row in table if any(cell.strip() for cell in row)]
    if len(rows) < 2:
        raise InputError(f"cohort file {path} has no rows", f"give a header {', '.join(REQUIRED_COLUMNS)} and rows")
    columns = [SPELLINGS.get(name, name) for name in (cell.strip().lower() for cell in rows[0])]
    missing = [name for name in REQUIRED_COLUMNS if name not in columns]
    if missing:
        raise InputError(
            f"cohort file {path.name} has no column {', '.join(map(repr, missing))}; it has {', '.join(columns)}",
            f"the first line must name {', '.join(REQUIRED_COLUMNS)}; {', '.join(OPTIONAL_COLUMNS)} may be added",
        )
    ignored = [name for name in columns if name and name not in (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)]
    notes = [f"columns of {path.name} that are not used: {', '.join(ignored)}"] if ignored else []
    images = [
        _image(dict(zip(columns, (cell.strip() for cell in row), strict=False)), path, line)
        for line, row in enumerate(rows[1:], start=2)
    ]
    return images, notes


def _image(values: dict[str, str], source: Path, line: int) -> CohortImage:
    empty = [name for name in REQUIRED_COLUMNS if not values.get(name)]
    if empty:
        raise InputError(f"row {line} of {source.name} has no {', '.join(empty)}", "fill in the cell")
    split = values.get("split", "").lower()
    if split not in ("", *SPLITS):
        raise InputError(f"row {line} of {source.name} has the split '{split}'", f"choose {' or '.join(SPLITS)}")

    def file(name: str) -> Path | None:
        return source.parent / Path(values[name]).expanduser() if values.get(name) else None

    path = file("path")
    assert path is not None
    return CohortImage(
        path, values["subject"], values["scanner"], file("mask"), file("lesion"), file("harmonised"), split
    )


def _read_folder(folder: Path) -> tuple[list[CohortImage], list[str]]:
    images = [
        CohortImage(path, volume_stem(path), scanner.name)
        for scanner in sorted(entry for entry in folder.iterdir() if entry.is_dir())
        for path in sorted(scanner.iterdir())
        if path.is_file() and path.name.lower().endswith(READABLE)
    ]
    if not images:
        raise InputError(
            f"folder {folder} holds no images of the form SCANNER/SUBJECT.nii.gz",
            "make one folder per scanner, or write a CSV file with path, subject and scanner",
        )
    return images, []


def _check_files(images: Sequence[CohortImage], source: Path) -> None:
    named = [file for i in images for file in (i.path, i.mask, i.lesion, i.harmonised) if file is not None]
    missing = [str(file) for file in named if not file.exists()]
    if missing:
        more = " …" if len(missing) > NAMED else ""
        raise InputError(
            f"{len(missing)} of {len(named)} files named by {source.name} do not exist: "
            f"{', '.join(missing[:NAMED])}{more}",
            "correct the paths; they are relative to the cohort file",
        )
    seen: dict[Path, CohortImage] = {}
    for image in images:
        key = image.path.resolve()
        if key in seen:
            raise InputError(f"{image.path} is listed twice in {source.name}", "keep one of the rows")
        seen[key] = image


def _check_learnable(cohort: Cohort) -> None:
    if len(cohort.scanners) < 2:
        raise InputError(
            f"every image of {cohort.source.name} comes from scanner '{cohort.scanners[0]}'",
            "a scanner probe needs images from two scanners or more",
        )
    if len(cohort.subjects) < 2:
        raise InputError(
            f"every image of {cohort.source.name} shows subject '{cohort.subjects[0]}'",
            "a probe must be tested on subjects it was not trained on: give two subjects or more, best twenty",
        )
    for scanner in cohort.scanners:
        subjects = cohort.subjects_on(scanner)
        if len(subjects) < FEWEST_SUBJECTS:
            raise InputError(
                f"scanner '{scanner}' has {len(subjects)} subject ({', '.join(subjects)}), "
                f"at least {FEWEST_SUBJECTS} are needed",
                "add subjects of that scanner, or leave the scanner out",
            )


def _warnings(cohort: Cohort) -> list[str]:
    found = []
    by_subject: dict[str, set[str]] = defaultdict(set)
    for image in cohort.images:
        by_subject[image.subject].add(image.scanner)
    if all(len(scanners) == 1 for scanners in by_subject.values()):
        found.append(
            "no subject was seen on two scanners: differences between scanners and between the groups of people "
            "scanned on them cannot be told apart, and a perfect harmoniser need not bring the probe to chance"
        )
    counts = {scanner: len(cohort.subjects_on(scanner)) for scanner in cohort.scanners}
    few = [f"{scanner} ({count})" for scanner, count in counts.items() if count < FEW_SUBJECTS]
    if few:
        found.append(f"few subjects on {', '.join(few)}: the confidence intervals will be wide")
    if max(counts.values()) > 3 * min(counts.values()):
        found.append("the scanners have very different numbers of subjects: read the macro averages, not the accuracy")
    return found
