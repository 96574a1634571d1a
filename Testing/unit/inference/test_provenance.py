from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from MRHarmonizationLib.core.errors import InputError, OutputError
from MRHarmonizationLib.inference.provenance import Provenance, sidecar_path, write_sidecar


def example() -> Provenance:
    return Provenance(
        operation="enhance",
        model_id="lowfield",
        model_version="1",
        weights_sha256="ab" * 32,
        library_version="0.1.0",
        parameters={"strength": 0.5, "output_spacing_mm": None},
        input_digest="sha256:1",
        output_digest="sha256:2",
        warnings=["first", "second"],
    )


def test_the_record_survives_json():
    provenance = example()
    assert Provenance.from_dict(json.loads(json.dumps(provenance.to_dict()))).to_dict() == provenance.to_dict()


def test_the_time_is_utc():
    assert datetime.fromisoformat(example().created_utc).utcoffset().total_seconds() == 0


def test_attributes_are_all_text_under_one_prefix():
    attributes = example().to_attributes()
    assert all(key.startswith("MRHarmonization.") and isinstance(value, str) for key, value in attributes.items())
    assert attributes["MRHarmonization.model"] == "lowfield"
    assert attributes["MRHarmonization.parameter.strength"] == "0.5"
    assert attributes["MRHarmonization.parameter.output_spacing_mm"] == ""
    assert attributes["MRHarmonization.warnings"] == "first | second"


def test_an_incomplete_record_is_refused_and_a_later_one_is_read():
    values = example().to_dict()
    assert Provenance.from_dict({**values, "added_later": 1}).model_id == "lowfield"
    del values["model_id"]
    with pytest.raises(InputError, match="model_id"):
        Provenance.from_dict(values)


@pytest.mark.parametrize(
    ("image", "sidecar"),
    [
        ("a.b.nii.gz", "a.b.mrh.json"),
        ("scan.NRRD", "scan.mrh.json"),
        ("scan.mha", "scan.mrh.json"),
        ("scan", "scan.mrh.json"),
        ("v1.2", "v1.2.mrh.json"),
    ],
)
def test_the_sidecar_stands_beside_the_image(image, sidecar):
    assert sidecar_path(Path("out") / image) == Path("out") / sidecar


def test_the_sidecar_is_written_whole(tmp_path):
    path = write_sidecar(example(), tmp_path / "scan.nii.gz")
    assert path.name == "scan.mrh.json"
    assert json.loads(path.read_text())["weights_sha256"] == "ab" * 32
    assert [entry.name for entry in tmp_path.iterdir()] == ["scan.mrh.json"]
    with pytest.raises(OutputError):
        write_sidecar(example(), tmp_path / "no such folder" / "scan.nii.gz")
