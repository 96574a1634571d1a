"""Which low-field scan belongs to which high-field scan, told from the names of files and folders."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.inference.scan_folder import image_files, list_scans
from MRHarmonizationLib.volumes.files import volume_stem

#: Words of a name that say the contrast; FLAIR first, for it is often called T2 FLAIR.
CONTRAST_WORDS = {
    "flair": re.compile(r"t?2?-?flair|darkfluid"),
    "t2": re.compile(r"t2w?i?|tse|fse"),
    "t1": re.compile(r"t1w?i?|mprage|spgr|bravo|tfl"),
}
#: Words that say how, not who, was scanned: field, scanner, plane, and what files are called anyway.
OTHER_WORDS = re.compile(
    r"(ultra)?(low|high)(field|res)?|u?lf|hf|field|[0-9]+([.p][0-9]+)?m?t|swoop|hyperfine|siemens|philips|ge|uih|canon"
    r"|ax(ial)?|cor(onal)?|sag(ittal)?|tra|iso|acq|rec|run|scan|image|img|anat|mri?|head|brain|nat(ive)?|gre|se|ir|3d|2d"
)
BIDS_SUBJECT, BIDS_SESSION = re.compile(r"sub-([a-z0-9]+)"), re.compile(r"ses-([a-z0-9]+)")


@dataclass(frozen=True)
class ScanName:
    """What a name tells of a scan.

    Attributes
    ----------
    path : Path
    subject, session : str
        Lower case; the session is empty where the name has none.
    contrast : str
        't1', 't2', 'flair', or empty.
    """

    path: Path
    subject: str
    session: str = ""
    contrast: str = ""

    @property
    def key(self) -> str:
        """By which two scans are a pair, and the name of the pair's folder."""
        return "_".join(part for part in (self.subject, self.session, self.contrast) if part)


@dataclass(frozen=True)
class Matched:
    """Scans of two folders that belong together, and those that are left.

    Attributes
    ----------
    pairs : tuple of (ScanName, ScanName)
        Low and high field, sorted by key.
    left : tuple of (str, str)
        Name of a scan, why it is in no pair.
    """

    pairs: tuple[tuple[ScanName, ScanName], ...]
    left: tuple[tuple[str, str], ...]


def read_name(path: Path, root: Path, pattern: str | None = None) -> ScanName:
    """Return what the name of a scan tells.

    Parameters
    ----------
    path, root : Path
        A file or DICOM folder, and the folder it was found in: folders between the two count as part of the name.
    pattern : str, optional
        Regular expression whose first group is the subject.

    Raises
    ------
    ParameterError
        The pattern is no regular expression with a group.
    InputError
        The pattern does not fit the name.

    Examples
    --------
    >>> name = read_name(Path("low/Patient-07_T1_64mT.nii.gz"), Path("low"))
    >>> name.subject, name.contrast, name.key
    ('patient-07', 't1', 'patient-07_t1')
    """
    parts = path.relative_to(root).parts
    whole = "_".join([*parts[:-1], volume_stem(path)]).lower()
    words = [word for word in re.split(r"[^a-z0-9.]+", whole) if word]
    contrast = next((c for c, known in CONTRAST_WORDS.items() if any(known.fullmatch(w) for w in words)), "")
    session = BIDS_SESSION.search(whole)
    if pattern is not None:
        subject = _subject_by_pattern(pattern, "/".join(parts))
    elif bids := BIDS_SUBJECT.search(whole):
        subject = f"sub-{bids[1]}"
    else:
        known = (OTHER_WORDS, *CONTRAST_WORDS.values())
        own = [word for word in words if not any(pattern.fullmatch(word) for pattern in known)]
        subject = "-".join(dict.fromkeys(own)) or whole
    return ScanName(path, subject, f"ses-{session[1]}" if session else "", contrast)


def _subject_by_pattern(pattern: str, name: str) -> str:
    try:
        found = re.search(pattern, name)
        subject = None if found is None else found[1]
    except (re.error, IndexError) as error:
        raise ParameterError(
            f"pattern '{pattern}' cannot be used ({error})", "give one with a group: 'P(\\d+)'"
        ) from error
    if not subject:
        raise InputError(f"pattern '{pattern}' finds no subject in '{name}'", "correct the pattern or the name")
    return re.sub(r"[^a-z0-9-]+", "", subject.lower())


def named_scans(folder: Path, pattern: str | None = None) -> tuple[list[ScanName], list[tuple[str, str]]]:
    """Return the scans of a folder and of its folders of one subject each, and the names that cannot be used.

    Raises
    ------
    InputError
        No such folder, or nothing in it.
    ParameterError
        See :func:`read_name`.
    """
    found: list[ScanName] = []
    unusable: list[tuple[str, str]] = []
    for entry in list_scans(folder):
        inner = image_files(entry) if entry.is_dir() else []
        for path in inner or [entry]:
            try:
                found.append(read_name(path, folder, pattern))
            except InputError as error:
                unusable.append((str(path.relative_to(folder)), error.problem))
    return found, unusable


def match_scans(low: Sequence[ScanName], high: Sequence[ScanName]) -> Matched:
    """Pair the scans of two folders by subject, session and contrast.

    A contrast or session that only one of two names tells is no obstacle, as long as the partner is the only one.
    """
    pairs: list[tuple[ScanName, ScanName]] = []
    left: list[tuple[str, str]] = []
    subjects: dict[str, tuple[list[ScanName], list[ScanName]]] = defaultdict(lambda: ([], []))
    for side, scans in enumerate((low, high)):
        for scan in scans:
            subjects[scan.subject][side].append(scan)
    for _, (lows, highs) in sorted(subjects.items()):
        for scan in lows:
            partners = [other for other in highs if _belong(scan, other)]
            rivals = [other for other in lows if any(_belong(other, partner) for partner in partners)]
            if len(partners) == 1 and len(rivals) == 1:
                pairs.append((scan, partners[0]))
            elif not partners:
                said = (
                    "no high-field scan has this name" if not highs else f"{_names(highs)}: another contrast or session"
                )
                left.append((scan.path.name, said))
            else:
                left.append((scan.path.name, f"ambiguous: {_names(rivals)} with {_names(partners)}"))
        paired = {id(partner) for _, partner in pairs}
        for scan in highs:
            if id(scan) not in paired:
                lonely = "no low-field scan has this name" if not lows else f"not the only partner of {_names(lows)}"
                left.append((scan.path.name, lonely))
    return Matched(tuple(sorted(pairs, key=lambda pair: pair_key(*pair))), tuple(left))


def pair_key(low: ScanName, high: ScanName) -> str:
    """Return the key of a pair: of its scans, the one whose name tells more."""
    return max(low.key, high.key, key=len)


def pair_contrast(low: ScanName, high: ScanName) -> str:
    """Return the contrast that the names of a pair tell; empty if neither does."""
    return low.contrast or high.contrast


def _belong(low: ScanName, high: ScanName) -> bool:
    same_contrast = not low.contrast or not high.contrast or low.contrast == high.contrast
    same_session = not low.session or not high.session or low.session == high.session
    return low.subject == high.subject and same_contrast and same_session


def _names(scans: Sequence[ScanName]) -> str:
    return ", ".join(scan.path.name for scan in scans)
