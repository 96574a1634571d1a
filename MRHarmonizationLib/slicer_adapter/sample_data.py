"""The extension's sample volumes in Slicer's module Sample Data: they are installed with it, nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from MRHarmonizationLib.samples import LOW_FIELD_SCAN, REFERENCE

CATEGORY = "MRHarmonization"


@dataclass(frozen=True)
class Sample:
    """A sample volume.

    Attributes
    ----------
    name : str
        What it is called in Sample Data.
    node_name : str
        What it is called in the scene.
    path : pathlib.Path
    sha256 : str
        64 hexadecimal digits.
    """

    name: str
    node_name: str
    path: Path
    sha256: str


LOW_FIELD = Sample(
    "MRHarmonizationLowField",
    "LowField",
    LOW_FIELD_SCAN,
    "9aa81e8cf60df9b4d35908d98b390306facb94c75add187fcb6b829dd625664c",
)
REFERENCE_SCAN = Sample(
    "MRHarmonizationReference",
    "LowFieldReference",
    REFERENCE,
    "5c688eeacd33d2b0f7d865998b78d4609818e7b56a05b82de902a0a319f9bedc",
)
#: A simulated low-field scan, and the scan it was simulated from; the folder's README says where they come from.
SAMPLES = (LOW_FIELD, REFERENCE_SCAN)


def register_samples(thumbnail_folder: Path) -> None:
    """Register the samples with Sample Data, with their SHA-256.

    Parameters
    ----------
    thumbnail_folder : pathlib.Path
        May hold ``<sample name>.png``.
    """
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataCategory(CATEGORY, title="MR Harmonization")
    for sample in SAMPLES:
        thumbnail = thumbnail_folder / f"{sample.name}.png"
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=sample.name,
            uris=sample.path.as_uri(),
            fileNames=sample.path.name,
            nodeNames=sample.node_name,
            checksums=f"SHA256:{sample.sha256}",
            thumbnailFileName=str(thumbnail) if thumbnail.is_file() else None,
        )


def load_sample(sample: Sample) -> object:
    """Load a sample into the scene and return its node (vtkMRMLScalarVolumeNode)."""
    import SampleData

    return SampleData.SampleDataLogic().downloadSample(sample.name)
