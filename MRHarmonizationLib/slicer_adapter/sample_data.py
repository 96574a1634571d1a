"""The extension's sample volumes in Slicer's module Sample Data: they are installed with it, nothing is downloaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MRHarmonizationLib.samples import INDEX

CATEGORY = "MRHarmonization"
_FILE_PREFIX = "MRHarmonization_"


@dataclass(frozen=True)
class Sample:
    """A sample volume.

    Attributes
    ----------
    name : str
        What it is called in Sample Data.
    path : pathlib.Path
    sha256 : str
        64 hexadecimal digits.
    """

    name: str
    path: Path
    sha256: str

    @property
    def stem(self) -> str:
        """File name without extension."""
        return self.path.name.split(".")[0]

    @property
    def node_name(self) -> str:
        """What it is called in the scene: short, since names of results are made from it."""
        return self.stem.removeprefix(_FILE_PREFIX)


def list_samples(index: Path = INDEX) -> list[Sample]:
    """Return the samples named by an index file (the package's by default); they lie beside it."""
    entries = json.loads(index.read_text(encoding="utf-8"))["samples"]
    return [Sample(entry["name"], index.parent / entry["file"], entry["sha256"]) for entry in entries]


def register_samples(thumbnail_folder: Path, index: Path = INDEX) -> None:
    """Register the samples with Sample Data, with their SHA-256.

    Parameters
    ----------
    thumbnail_folder : pathlib.Path
        May hold ``<file stem>.png`` for a sample.
    index : pathlib.Path
        Of the samples.
    """
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataCategory(CATEGORY, title="MR Harmonization")
    for sample in list_samples(index):
        thumbnail = thumbnail_folder / f"{sample.stem}.png"
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=sample.name,
            uris=sample.path.as_uri(),
            fileNames=sample.path.name,
            nodeNames=sample.node_name,
            checksums=f"SHA256:{sample.sha256}",
            thumbnailFileName=str(thumbnail) if thumbnail.is_file() else None,
        )


def load_sample(path: Path) -> Any:
    """Load the registered sample in a file into the scene and return its node (vtkMRMLScalarVolumeNode)."""
    import SampleData

    name = next(sample.name for sample in list_samples(path.parent / INDEX.name) if sample.path.name == path.name)
    return SampleData.SampleDataLogic().downloadSample(name)
