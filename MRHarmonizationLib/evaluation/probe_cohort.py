"""The laboratory on a cohort of files: the entry point of the command ``probe`` and of Python users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.cohort import Cohort, read_cohort
from MRHarmonizationLib.evaluation.harmonizers import FILES
from MRHarmonizationLib.evaluation.laboratory import LaboratoryPlan, LaboratoryResult, run_laboratory
from MRHarmonizationLib.evaluation.laboratory_page import LaboratoryPaths, write_laboratory
from MRHarmonizationLib.evaluation.laboratory_tables import brief_rows, probe_rows, verdicts
from MRHarmonizationLib.evaluation.report import make_folder
from MRHarmonizationLib.evaluation.tables import text_table

#: Name for no harmonizer at all: raw images and control only.
NONE = "none"


@dataclass(frozen=True, eq=False)
class ProbedCohort:
    """What the laboratory found on a cohort, and where it is written.

    Attributes
    ----------
    result : LaboratoryResult
    paths : LaboratoryPaths
    summary : dict
        As in ``summary.json``.
    """

    result: LaboratoryResult
    paths: LaboratoryPaths
    summary: dict[str, Any]

    def lines(self) -> list[str]:
        """Return tables and sentences for a terminal."""
        lines = [*text_table(brief_rows(self.result)), ""]
        if len(self.result.plan.probes) > 1:
            lines += [*text_table(probe_rows(self.result)), ""]
        return [*lines, *verdicts(self.result), ""]


def probe_cohort(
    source: str | Path, out: str | Path, plan: LaboratoryPlan, progress: Progress | None = None
) -> ProbedCohort:
    """Measure whether the scanners of a cohort can be told apart, before and after harmonisation.

    Parameters
    ----------
    source : path
        CSV file or folder; see :func:`~MRHarmonizationLib.evaluation.cohort.read_cohort`.
    out : path
        Made if needed; receives report, tables and figures, and keeps what is done of an interrupted run.
    plan : LaboratoryPlan
        Without harmonizers, the cohort's column ``harmonised`` is used where it is filled in; the name 'none' leaves
        that out too.
    progress : Progress, optional

    Returns
    -------
    ProbedCohort

    Raises
    ------
    InputError, ParameterError, OutputError, DependencyError, ModelNotFoundError, WeightsError, OperationCancelled
        See :func:`~MRHarmonizationLib.evaluation.laboratory.run_laboratory`.

    Examples
    --------
    ``probe_cohort("cohort.csv", "out", LaboratoryPlan(("lowfield",), ("texture",)))``
    """
    progress = progress or Progress()
    cohort = read_cohort(source)
    folder = make_folder(out)
    chosen = replace(plan, harmonizers=_chosen(plan.harmonizers, cohort))
    result = run_laboratory(cohort, chosen, folder, progress.part(0.0, 0.95))
    title = f"Can scanners be told apart? {cohort.source.name}"
    paths, summary = write_laboratory(result, folder, title, progress=progress.part(0.95, 1.0))
    return ProbedCohort(result, paths, summary)


def _chosen(names: Sequence[str], cohort: Cohort) -> tuple[str, ...]:
    if NONE in names:
        if len(names) > 1:
            raise ParameterError(f"harmonizers {', '.join(names)}: 'none' is among others", "leave it out")
        return ()
    if names:
        return tuple(names)
    return (FILES,) if any(image.harmonised is not None for image in cohort.images) else ()
