"""Which subject may be used for what: one committed file, enforced in code."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from MRHarmonizationLib.core.errors import ParameterError

SPLITS_FILE = Path(__file__).parent / "splits.json"
#: Roles whose subjects a published figure may be measured on.
HELD_OUT_ROLES = ("test", "evaluation_only")


@cache
def subject_roles() -> dict[str, str]:
    """Return subject → role of the committed split.

    A subject is the start of a data path, such as ``ms_lesions/patient07``, so that all its images share one role.

    Raises
    ------
    ParameterError
        A subject has two roles.
    """
    roles: dict[str, str] = {}
    for role, subjects in json.loads(SPLITS_FILE.read_text(encoding="utf-8"))["roles"].items():
        for subject in subjects:
            if subject in roles:
                raise ParameterError(
                    f"subject '{subject}' is in '{roles[subject]}' and in '{role}'",
                    f"keep one of them in {SPLITS_FILE}",
                )
            roles[subject] = role
    return roles


def role_of(path: str) -> str:
    """Return the role of the subject a data path belongs to, or "unlisted".

    Parameters
    ----------
    path : str
        Relative to the data folder, with forward slashes.

    Examples
    --------
    >>> role_of("ms_lesions/patient07_FLAIR.nii.gz")
    'train'
    """
    for subject, role in subject_roles().items():
        # what follows the subject must end its name: patient01 is not patient012
        if path.startswith(subject) and not path[len(subject) : len(subject) + 1].isalnum():
            return role
    return "unlisted"


def require_roles(paths: Iterable[str], allowed: Iterable[str], purpose: str) -> None:
    """Refuse data paths whose subjects have another role than those allowed.

    Raises
    ------
    ParameterError
        Names the first path, its role and the roles allowed.
    """
    choices = tuple(allowed)
    for path in paths:
        role = role_of(path)
        if role not in choices:
            raise ParameterError(
                f"'{path}' has the role '{role}' and may not be used for {purpose}",
                f"use subjects of: {', '.join(choices)}",
            )
