"""The evaluation of the latent-diffusion degraders: every subject, tables, verdicts, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.degrader_cases import AGAIN, MODEL, UNDEGRADED, WHITE, subject_task
from MRHarmonizationLib.evaluation.degrader_measures import PASSED_SHARE, log_spectral_distance
from MRHarmonizationLib.evaluation.degrader_protocol import DegraderProtocol
from MRHarmonizationLib.evaluation.html import HtmlPage
from MRHarmonizationLib.evaluation.protocol import PROTOCOL_KINDS, EvaluationResult
from MRHarmonizationLib.evaluation.report import write_csv
from MRHarmonizationLib.evaluation.tables import text_table
from MRHarmonizationLib.evaluation.tasks import Task, run_tasks
from MRHarmonizationLib.inference.latent_degrader import LatentDegradeRequest, degrader_card
from MRHarmonizationLib.inference.latent_input import NOISE
from MRHarmonizationLib.volumes.atomic import write_json_atomic, write_text_atomic
from MRHarmonizationLib.weights.store import get_model

NOTE = (
    "Simulated acquisitions that were not trained with, on subjects that were not trained on. The model is told what "
    "it is told in use: the level, two numbers of the acquisition and the map of relative noise. Noise: power spectra "
    "of what was added, inside the head, mean over the acquisitions; 'simulator again' is a second draw of the same "
    "noise and says how much of the distance is chance. Blur: spectra of the blurred planes where at least a tenth of "
    "the power passes. Correlation: largest difference of the correlations with the next pixels along rows and "
    "columns. Low-pass SSIM: result against the good scan, both below a Gaussian filter."
)


@PROTOCOL_KINDS.register("degraders")
def run_degraders(
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
    """Run the degraders' protocol; see :func:`MRHarmonizationLib.evaluation.protocol.run_protocol`."""
    protocol = DegraderProtocol.from_dict(values, quick)
    if models is not None:
        protocol = replace(protocol, models=_named(models))
    for kind, model in protocol.models.items():
        degrader_card(LatentDegradeRequest(kind, 1.0, model=model))
    tasks = [
        Task(f"{subject.name} {kind}", subject_task, (protocol, str(data), n, kind))
        for kind in protocol.models
        for n, subject in enumerate(protocol.subjects)
    ]
    found = {task.name: result for task, result in run_tasks(tasks, jobs, progress)}
    results = [found[task.name] for task in tasks]
    summary = {
        "protocol": protocol.name,
        "version": protocol.version,
        "quick": quick,
        "models": {kind: {"id": m, "sha256": get_model(m).weights.sha256} for kind, m in protocol.models.items()},
        "scores": score_table(results),
        "ladder": [row for result in results for row in result["ladder"]],
        "bars": verdicts(results, protocol),
    }
    paths = {"report": out / "report.html", "csv": out / "cases.csv", "json": out / "summary.json"}
    write_csv([row for result in results for row in result["anatomy"]], paths["csv"])
    write_json_atomic(summary, paths["json"])
    write_text_atomic(_page(protocol, summary), paths["report"])
    progress.report(1.0, "done")
    return EvaluationResult(protocol.name, summary, paths, tuple(_text(summary)))


def _named(models: Sequence[str]) -> dict[str, str]:
    """Return kind → model id of the models a user names."""
    named: dict[str, str] = {}
    for model in models:
        kind = str(get_model(model).extra.get("degrader", ""))
        if not kind or kind in named:
            raise ParameterError(f"model '{model}' cannot be judged", "name one degrader of each kind")
        named[kind] = model
    if not named:
        raise ParameterError("no model was named", "protocol 'degraders' judges models only")
    return named


def pooled_distances(spectra: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return how far every way of degrading lies from the simulator, over acquisitions of one kind.

    Parameters
    ----------
    spectra : sequence of mapping
        What ``subject_task`` returned as ``spectra``.

    Returns
    -------
    dict
        Way → ``lsd_db`` of the mean spectra, ``single_lsd_db`` (mean of the distances of single acquisitions) and
        ``correlation`` (largest difference of the mean correlations).
    """
    found = {}
    for way in spectra[0]["power"]:
        if way == "simulator":
            continue
        mine, theirs = _mean_power(spectra, way), _mean_power(spectra, "simulator")
        image = _mean_power(spectra, UNDEGRADED) if UNDEGRADED in spectra[0]["power"] else None
        used = _passed(theirs, image)
        single = []
        for entry in spectra:
            own, true = np.array(entry["power"][way]), np.array(entry["power"]["simulator"])
            inside = _passed(true, None if image is None else np.array(entry["power"][UNDEGRADED]))
            single.append(log_spectral_distance(own[inside], true[inside]))
        differences = [np.array(e["correlation"][way]) - np.array(e["correlation"]["simulator"]) for e in spectra]
        found[way] = {
            "lsd_db": log_spectral_distance(mine[used], theirs[used]),
            "single_lsd_db": float(np.mean(single)),
            "correlation": float(np.max(np.abs(np.mean(differences, axis=0)))),
        }
    return found


def _mean_power(spectra: Sequence[Mapping[str, Any]], way: str) -> np.ndarray:
    """Return the mean spectrum, each acquisition weighted so that all of the simulator's have the same total."""
    return np.mean([np.array(e["power"][way]) / np.sum(e["power"]["simulator"]) for e in spectra], axis=0)


def _passed(simulated: np.ndarray, image: np.ndarray | None) -> np.ndarray:
    """Return which frequencies are compared: all for noise, for blur those at which enough of the image passes."""
    if image is None:
        return np.ones(simulated.shape, bool)
    passed = np.asarray(simulated >= PASSED_SHARE * image)
    passed[0] = True
    return passed


def score_table(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per degrader, subject and way of degrading; the subject 'all' pools them."""
    table = []
    for kind in dict.fromkeys(result["kind"] for result in results):
        mine = [result for result in results if result["kind"] == kind]
        groups = {result["subject"]: [result] for result in mine} | {"all": mine}
        for subject, group in groups.items():
            spectra = [entry for result in group for entry in result["spectra"]]
            rows = [row for result in group for row in result["anatomy"]]
            ssim = {name: float(np.mean([r[f"low_pass_ssim_{name}"] for r in rows])) for name in ("model", "simulator")}
            for way, distance in pooled_distances(spectra).items():
                table.append(
                    {
                        "degrader": kind,
                        "subject": subject,
                        "way": way,
                        "lsd_db": round(distance["lsd_db"], 3),
                        "single_lsd_db": round(distance["single_lsd_db"], 3),
                        "correlation_error": round(distance["correlation"], 4),
                        "rank": round(min(r["rank"] for r in group), 4) if way == MODEL else "",
                        "low_pass_ssim": round(ssim["model"], 4) if way == MODEL else "",
                        "low_pass_ssim_simulator": round(ssim["simulator"], 4) if way == MODEL else "",
                    }
                )
    return table


def verdicts(results: Sequence[Mapping[str, Any]], protocol: DegraderProtocol) -> list[dict[str, Any]]:
    """Return what was required, what was reached, and whether that suffices."""
    found = []
    for kind in dict.fromkeys(result["kind"] for result in results):
        mine = [result for result in results if result["kind"] == kind]
        distances = pooled_distances([entry for result in mine for entry in result["spectra"]])
        rows = [row for result in mine for row in result["anatomy"]]
        rival = WHITE if kind == NOISE else UNDEGRADED
        bars = protocol.bars
        least = min(result["rank"] for result in mine)
        found.append(_verdict(kind, "least rank correlation of level and effect", least, bars.get("spearman"), True))
        bar = bars.get("log_spectral_distance_db")
        found.append(_verdict(kind, "dB from the simulator's spectrum", distances[MODEL]["lsd_db"], bar, False))
        found.append(
            _verdict(kind, f"dB of {rival}, to be beaten", distances[rival]["lsd_db"], distances[MODEL]["lsd_db"], True)
        )
        found.append(
            _verdict(
                kind,
                f"correlation error of {rival}, to be beaten",
                distances[rival]["correlation"],
                distances[MODEL]["correlation"],
                True,
            )
        )
        for level in protocol.levels:
            values = [row["low_pass_ssim_model"] for row in rows if row["level"] == level]
            if values:
                text = f"low-pass SSIM at level {level:g}"
                found.append(_verdict(kind, text, float(np.mean(values)), bars.get("low_pass_ssim"), True))
        if AGAIN in distances:
            found.append(
                _verdict(kind, "dB between two draws of the simulator", distances[AGAIN]["lsd_db"], None, True)
            )
    return found


def _verdict(kind: str, what: str, value: float, required: float | None, at_least: bool) -> dict[str, Any]:
    met: Any = ""
    if required is not None:
        met = bool(value >= required) if at_least else bool(value <= required)
    limit = "" if required is None else f"{'≥' if at_least else '≤'} {required:.3g}"
    return {"degrader": kind, "what": what, "value": round(value, 4), "required": limit, "met": met}


def _page(protocol: DegraderProtocol, summary: Mapping[str, Any]) -> str:
    names = ", ".join(f"{entry['id']} ({entry['sha256'][:12]})" for entry in summary["models"].values())
    page = HtmlPage(protocol.title, f"protocol {protocol.name} version {protocol.version}; {names}")
    if summary["quick"]:
        page.paragraph("This is the quick part of the protocol: a trial of the machinery, not a figure.", note=True)
    page.heading("Bars")
    page.table(summary["bars"])
    page.heading("Spectra, correlations and anatomy")
    page.paragraph(NOTE)
    page.table(summary["scores"], [n for n, row in enumerate(summary["scores"]) if row["way"] == MODEL])
    page.heading("Level and measured effect")
    page.paragraph("Noise in % of the range; blur as the negative of the sharpness.")
    page.table(summary["ladder"])
    return page.render()


def _text(summary: Mapping[str, Any]) -> list[str]:
    pooled = [row for row in summary["scores"] if row["subject"] == "all"]
    lines = [*text_table(pooled), ""]
    for bar in summary["bars"]:
        met = {True: "met", False: "NOT met", "": "for information"}[bar["met"]]
        required = "" if bar["required"] == "" else f" (required {bar['required']})"
        lines.append(f"{bar['degrader']}: {bar['value']:g} {bar['what']}{required}: {met}")
    return lines
