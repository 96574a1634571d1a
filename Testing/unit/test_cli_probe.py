"""The command ``probe``: what it writes and says, and every bad cohort as one line with a remedy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.cohorts import write_cohort

from MRHarmonizationLib import cli
from MRHarmonizationLib.cli_output import EXIT_CODES
from MRHarmonizationLib.volumes.files import read_volume, write_volume

pytest.importorskip("sklearn")

FAST = ("--probe", "texture", "--size", "32", "--slices", "2")


@pytest.fixture
def run(capsys):
    """Run the command line in this process; returns exit code, output and error output."""

    def call(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main([str(word) for word in words])
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return call


@pytest.fixture
def cohort(tmp_path) -> Path:
    return write_cohort(tmp_path / "cohort", 8, harmonised=lambda row: f"truth/{row['subject']}.nrrd")


def rewrite(cohort: Path, change) -> Path:
    header, *lines = cohort.read_text("utf-8").splitlines()
    cohort.write_text("\n".join([header, *change(lines)]) + "\n", "utf-8")
    return cohort


def test_help_explains_the_command_and_its_exit_codes(run):
    code, out, _ = run("probe", "--help")
    text = " ".join(out.split())
    assert code == 0
    assert "--harmonizer" in text
    assert all(f"{number} " in text for number in EXIT_CODES)


def test_a_person_gets_table_sentences_and_paths(run, cohort, tmp_path):
    code, out, err = run("probe", cohort, "--out", tmp_path / "out", *FAST)
    assert code == 0, err
    assert "raw images" in out
    assert "files: " in out
    assert str(tmp_path / "out" / "report.html") in out
    assert "warning: only 2 test subjects" in err


def test_a_program_gets_events_ending_in_the_result(run, cohort, tmp_path):
    code, out, err = run("probe", cohort, "--out", tmp_path / "out", *FAST, "--harmonizer", "identity", "--jsonl")
    assert code == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    assert {event["event"] for event in events} == {"progress", "status", "result"}
    fractions = [event["fraction"] for event in events if event["event"] == "progress"]
    assert fractions == sorted(fractions)
    result = events[-1]
    assert result["event"] == "result"
    for name in ("report", "scores", "predictions", "summary"):
        assert Path(result[name]).is_file()
    rows = {(row["images"], row["mode"]): row["accuracy"] for row in result["rows"]}
    assert set(rows) == {("raw", "raw"), ("raw", "shuffled"), ("identity", "frozen"), ("identity", "retrained")}
    assert rows["raw", "raw"] > 0.8


def edit_volume(cohort: Path, name: str, value: float | None) -> Path:
    path = cohort.parent / name
    volume = read_volume(path)
    array = volume.array.copy()
    array[2, 3, 4] = array[2, 3, 4] if value is None else value
    write_volume(volume.with_array(np.full_like(array, 3.0) if value is None else array), path)
    return cohort


BAD = {
    "missing files": (lambda c: rewrite(c, lambda lines: [*lines, "noisy/p99.nrrd,p99,noisy,,"]), 3, "p99.nrrd"),
    "one scanner": (lambda c: rewrite(c, lambda lines: [x for x in lines if ",noisy," in x]), 3, "scanner 'noisy'"),
    "one subject": (lambda c: rewrite(c, lambda lines: [x for x in lines if ",p1," in x]), 3, "subject 'p1'"),
    "too few subjects": (
        lambda c: rewrite(c, lambda lines: [x for x in lines if ",noisy," not in x or ",p1," in x]),
        3,
        "at least 2",
    ),
    "nan": (lambda c: edit_volume(c, "noisy/p2.nrrd", np.nan), 3, "p2 noisy p2"),
    "constant": (lambda c: edit_volume(c, "noisy/p2.nrrd", None), 3, "constant"),
    "no such file": (lambda c: c.with_name("absent.csv"), 3, "absent.csv"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_cohorts_are_one_line_with_a_remedy(run, cohort, tmp_path, case):
    spoil, expected, word = BAD[case]
    code, out, err = run("probe", spoil(cohort), "--out", tmp_path / "out", *FAST)
    assert (code, out) == (expected, "")
    line = err.splitlines()[-1]
    assert line.startswith("error: ")
    assert "; " in line
    assert word in line


@pytest.mark.parametrize(
    ("words", "code", "word"),
    [
        (("--harmonizer", "combat"), 2, "combat"),
        (("--probe", "vgg"), 2, "vgg"),
        (("--plane", "oblique"), 2, "oblique"),
        (("--size", "8"), 2, "size is 8"),
        (("--folds", "20"), 3, "20 folds"),
        (("--reference", "west"), 2, "west"),
        (("--out",), 2, "--out"),
    ],
)
def test_mistakes_are_one_line_with_a_remedy(run, cohort, tmp_path, words, code, word):
    ended, _, err = run("probe", cohort, "--out", tmp_path / "out", *words)
    assert ended == code
    assert word in err
    assert len(err.splitlines()) == 1


def test_a_subject_in_two_splits_is_refused_by_name(run, tmp_path):
    source = write_cohort(
        tmp_path / "c", 4, split=lambda row: "test" if row["subject"] == "p1" and row["scanner"] == "noisy" else "train"
    )
    code, _, err = run("probe", source, "--out", tmp_path / "out", *FAST)
    assert code == 3
    assert "subject 'p1' is in two splits" in err
