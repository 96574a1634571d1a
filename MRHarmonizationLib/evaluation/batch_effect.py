"""The batch-effect protocol: simulate a cohort, hold harmonizers to the scanner probe, check the controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.evaluation.cohort import Cohort, read_cohort
from MRHarmonizationLib.evaluation.harmonizers import IDENTITY, FromFiles, Harmonizer
from MRHarmonizationLib.evaluation.laboratory import LaboratoryPlan, LaboratoryResult, run_laboratory
from MRHarmonizationLib.evaluation.laboratory_page import write_laboratory
from MRHarmonizationLib.evaluation.laboratory_runs import RAW, RETRAINED, SHUFFLED
from MRHarmonizationLib.evaluation.laboratory_sets import digest_of
from MRHarmonizationLib.evaluation.laboratory_tables import brief_rows
from MRHarmonizationLib.evaluation.probe_settings import ProbeSettings
from MRHarmonizationLib.evaluation.protocol import PROTOCOL_KINDS, EvaluationResult
from MRHarmonizationLib.evaluation.simulated_cohort import RESCAN, TRUTH, SimulatedCohort, make_simulated_cohort
from MRHarmonizationLib.evaluation.splits import HELD_OUT_ROLES, require_roles
from MRHarmonizationLib.evaluation.tables import text_table
from MRHarmonizationLib.evaluation.virtual_scanners import choose_scanners
from MRHarmonizationLib.volumes.atomic import write_json_atomic
from MRHarmonizationLib.weights.store import get_model

#: Subjects that no published model was fitted on.
UNSEEN_ROLES = (*HELD_OUT_ROLES, "validation")
#: Perfect harmonisers of a simulation: every scan becomes the truth, or a new scan on the reference scanner.
PERFECT = {
    TRUTH: "the true image for every scan of a subject: identical images, so exactly chance",
    RESCAN: "a new scan on the reference scanner, with noise of its own, for every scan of a subject",
}
SIMULATION_SHARE = 0.1


@dataclass(frozen=True)
class BatchEffectProtocol:
    """Protocol of the simulated laboratory; see ``protocols/batch-effect.json``.

    Attributes
    ----------
    name, title : str
    version, seed : int
    models : tuple of str
        Ids of model cards.
    harmonizers : tuple of str
        Classical methods and the control 'identity'.
    probes : tuple of str
    reference : str
        Scanner that fitted methods and the perfect harmoniser bring all scans to.
    cohort : mapping
        Of ``SimulatedCohort``; its scanners by id, all where none are named.
    settings : mapping
        Of ``ProbeSettings``.
    parameters : mapping
        Of classical upsampling methods.
    bars : mapping
        Least accuracy on raw images ('raw') and retrained on unchanged ones ('identity').
    """

    name: str
    title: str
    version: int
    seed: int
    models: tuple[str, ...]
    harmonizers: tuple[str, ...]
    probes: tuple[str, ...]
    reference: str
    cohort: Mapping[str, Any]
    settings: Mapping[str, Any]
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    bars: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], quick: bool = False) -> BatchEffectProtocol:
        """Build a protocol from its JSON; ``quick`` applies the overrides under that key.

        Raises
        ------
        ParameterError
            Unknown or missing keys.
        """
        ready = {key: value for key, value in values.items() if key not in ("kind", "quick")}
        return build_parameters(cls, {**ready, **(values.get("quick", {}) if quick else {})})

    def simulation(self) -> SimulatedCohort:
        """Return what is simulated; refuses test subjects that a model may have been fitted on."""
        values = dict(self.cohort)
        values["scanners"] = choose_scanners(tuple(values.get("scanners", ())))
        plan = build_parameters(SimulatedCohort, {**values, "seed": self.seed, "reference": self.reference})
        require_roles(plan.test, UNSEEN_ROLES, f"testing in protocol '{self.name}'")
        return plan


@PROTOCOL_KINDS.register("batch-effect")
def run_batch_effect(
    values: Mapping[str, Any],
    data: Path,
    out: Path,
    *,
    quick: bool,
    models: tuple[str, ...] | None,
    jobs: int,
    retune: bool,
    progress: Progress,
) -> EvaluationResult:
    """Run a batch-effect protocol; see :func:`MRHarmonizationLib.evaluation.protocol.run_protocol`."""
    if retune:
        raise ParameterError("a batch-effect protocol has nothing to tune", "leave out --retune")
    protocol = BatchEffectProtocol.from_dict(values, quick)
    simulation = protocol.simulation()
    chosen = protocol.models if models is None else tuple(models)
    weights = {name: get_model(name).weights.sha256 for name in chosen}
    cohort = _cohort(simulation, data, out / "cohort", jobs, progress.part(0.0, SIMULATION_SHARE))
    plan = LaboratoryPlan(
        (*protocol.harmonizers, *chosen),
        protocol.probes,
        ProbeSettings.from_dict({**protocol.settings, "seed": protocol.seed}),
        protocol.reference,
        protocol.parameters,
        {name: _perfect(name, cohort) for name in PERFECT},
        jobs,
    )
    result = run_laboratory(cohort, plan, out, progress.part(SIMULATION_SHARE, 0.95))
    bars = check_bars(result, protocol.bars)
    provenance = {"protocol": protocol.name, "version": protocol.version, "quick": quick, "weights": weights}
    paths, summary = write_laboratory(
        result, out, protocol.title, _remarks(simulation, weights, quick), bars, provenance, progress.part(0.95, 1.0)
    )
    named = {"report": paths.report, "csv": paths.scores, "json": paths.summary, "pictures": paths.figures}
    return EvaluationResult(protocol.name, summary, named, tuple(_text(result, bars)))


def check_bars(result: LaboratoryResult, bars: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return what the controls had to show and what they showed, for the first probe.

    Raw images and unchanged ones must reach an accuracy; shuffled labels and perfect harmonisers must not be told from
    chance: their interval, or the exact figure where it has no width, holds it.
    """
    rows = []
    for name, least in bars.items():
        row = result.row(name, RAW if name == RAW else RETRAINED)
        rows.append(_bar(name, row, f"at least {least:g}", row["accuracy"] >= least))
    controls = [(RAW, SHUFFLED), *((name, RETRAINED) for name in PERFECT if name in result.sets)]
    for name, mode in controls:
        row = result.row(name, mode)
        label = "shuffled labels" if mode == SHUFFLED else name
        rows.append(_bar(label, row, f"chance ({row['chance']:.3f})", row["accuracy_low"] <= row["chance"] + 1e-9))
    return rows


def _bar(name: str, row: Mapping[str, Any], required: str, met: bool) -> dict[str, Any]:
    return {
        "control": name,
        "required": required,
        "accuracy": round(row["accuracy"], 4),
        "low": round(row["accuracy_low"], 4),
        "high": round(row["accuracy_high"], 4),
        "met": bool(met),
    }


def _cohort(simulation: SimulatedCohort, data: Path, folder: Path, jobs: int, progress: Progress) -> Cohort:
    """Return the simulated cohort; one that an earlier run of the same simulation finished is kept."""
    state, fingerprint = folder / "simulation.json", digest_of([repr(simulation), str(data.resolve())])
    try:
        known = fingerprint in state.read_text(encoding="utf-8")
    except OSError:
        known = False
    if not known:
        make_simulated_cohort(simulation, data, folder, jobs, progress)
        write_json_atomic({"fingerprint": fingerprint}, state)
    return read_cohort(folder / "cohort.csv")


def _perfect(name: str, cohort: Cohort) -> Harmonizer:
    folder = cohort.source.parent / name

    def made(scanner: str, file: str) -> Path:
        return folder / file if name == TRUTH else folder / scanner / file

    return FromFiles({image.path: made(image.scanner, image.path.name) for image in cohort.images})


def _remarks(simulation: SimulatedCohort, weights: Mapping[str, str], quick: bool) -> list[str]:
    named = "; ".join(f"{scanner.id}: {scanner.title}" for scanner in simulation.scanners)
    versions = ", ".join(f"{name} ({sha[:12]})" for name, sha in weights.items()) or "none"
    remarks = [
        f"Simulated: {len(simulation.subjects)} brains made from label maps, each on {len(simulation.scanners)} "
        f"invented scanners ({named}). All subjects are on all scanners, so scanner and subject are not confounded. "
        f"Models: {versions}. No model was fitted on the subjects tested on; models may have been fitted on those the "
        "probe is trained on.",
        f"Controls: {IDENTITY} must stay as recognisable as the raw images; "
        + "; ".join(f"{name} ({meaning})" for name, meaning in PERFECT.items())
        + " must fall to chance.",
    ]
    return (
        ["This is the quick part of the protocol: a trial of the machinery, not a figure."] if quick else []
    ) + remarks


def _text(result: LaboratoryResult, bars: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = text_table(brief_rows(result))
    lines += [
        f"{bar['control']}: accuracy {bar['accuracy']:.3f} [{bar['low']:.3f}, {bar['high']:.3f}], required "
        f"{bar['required']}: {'met' if bar['met'] else 'NOT met'}"
        for bar in bars
    ]
    return lines + [f"note: {note}" for note in result.notes]
