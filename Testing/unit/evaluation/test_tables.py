from __future__ import annotations

import pytest

from MRHarmonizationLib.evaluation.lowfield_protocol import LowFieldProtocol
from MRHarmonizationLib.evaluation.protocol import read_protocol
from MRHarmonizationLib.evaluation.tables import score_rows, summarise, text_table


@pytest.fixture
def protocol():
    return LowFieldProtocol.from_dict(read_protocol("lowfield"), quick=True)


@pytest.fixture
def rows(protocol):
    """Three cases; cubic is best on average, linear best in the second case; the model gains 2, 2 and 1 dB on cubic."""
    scores = {"cubic": (20.0, 22.0, 24.0), "linear": (19.0, 23.0, 21.0), "lowfield": (22.0, 24.0, 25.0)}
    return [
        {
            "case": case.id,
            "group": case.group,
            "subject": case.subject,
            "acquisition": case.acquisition,
            "method": method,
            "kind": "model" if method == "lowfield" else "classical",
            "psnr": values[number],
            "ssim": values[number] / 100,
        }
        for number, case in enumerate(protocol.cases())
        for method, values in scores.items()
    ]


def test_gain_is_over_the_best_mean_and_the_worst_over_the_best_of_the_case(rows, protocol):
    bars = {"psnr": 1.5, "ssim": 0.03}
    summary = summarise(rows, protocol)
    cell = next(cell for cell in summary["cells"] if cell["acquisition"] == "all")
    assert (cell["cases"], cell["subjects"]) == (3, 1)
    assert cell["methods"]["cubic"]["psnr"] == {"mean": 22.0, "sd": 2.0}
    gain = cell["gains"]["lowfield"]["psnr"]
    assert gain["best_classical"] == "cubic"
    assert gain["mean"] == pytest.approx(5 / 3)
    assert gain["worst"] == 1.0
    assert gain["wilcoxon_p"] == pytest.approx(0.25)
    assert protocol.groups[0].bars == {} or protocol.groups[0].bars == bars


def test_bars_need_the_mean_gain_and_no_worse_case(rows, protocol):
    from dataclasses import replace

    strict = replace(protocol, groups=(replace(protocol.groups[0], bars={"psnr": 1.5, "ssim": 0.03}),))
    verdicts = {bar["metric"]: bar for bar in summarise(rows, strict)["bars"]}
    assert verdicts["psnr"]["met"]
    assert not verdicts["ssim"]["met"]
    worse = [{**row, "psnr": 23.9} if row["psnr"] == 25.0 else row for row in rows]
    verdict = next(bar for bar in summarise(worse, strict)["bars"] if bar["metric"] == "psnr")
    assert verdict["worst"] < 0
    assert not verdict["met"]


def test_single_cases_and_equal_scores_have_no_p(rows, protocol):
    summary = summarise([{**row, "psnr": 20.0} for row in rows], protocol)
    for cell in summary["cells"]:
        assert cell["gains"]["lowfield"]["psnr"]["wilcoxon_p"] is None
        assert cell["gains"]["lowfield"]["psnr"]["mean"] == 0


def test_without_models_there_is_nothing_to_judge(rows, protocol):
    summary = summarise([row for row in rows if row["kind"] == "classical"], protocol)
    assert summary["bars"] == []
    assert all(cell["gains"] == {} for cell in summary["cells"])
    lines = text_table(score_rows(summary))
    assert lines[0].split()[:2] == ["group", "acquisition"]
    assert len(lines) == 1 + 4 * 2
    assert text_table([]) == []
