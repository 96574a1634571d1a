from __future__ import annotations

from MRHarmonizationLib.evaluation.cases import ORACLE
from MRHarmonizationLib.evaluation.tuning import best_parameters, candidates


def row(method: str, parameters: str, psnr: float, acquisition: str = "a") -> dict:
    return {"acquisition": acquisition, "method": method, "parameters": parameters, "psnr": psnr, "ssim": 0.5}


def test_best_mean_wins_per_acquisition():
    rows = [
        row("tv", '{"w": 1}', 20.0),
        row("tv", '{"w": 1}', 26.0),
        row("tv", '{"w": 2}', 22.0),
        row("tv", '{"w": 2}', 23.0),
        row("tv", '{"w": 1}', 10.0, "b"),
        row("tv", '{"w": 2}', 11.0, "b"),
        row("cubic", "{}", 5.0),
    ]
    assert best_parameters(rows) == {"a": {"tv": {"w": 1}, "cubic": {}}, "b": {"tv": {"w": 2}}}


def test_denoisers_may_also_use_the_true_noise():
    tried = list(candidates("tv_cubic"))
    assert sum(c.get("noise_deviation") == ORACLE for c in tried) == len(tried) / 2
    assert {c["stage"] for c in tried} == {"before", "after"}
    assert list(candidates("cubic")) == [{}]
