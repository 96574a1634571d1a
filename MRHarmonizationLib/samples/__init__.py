"""Small sample volumes that may be redistributed; README.md says where they come from."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent

LOW_FIELD_SCAN = FOLDER / "MRHarmonization_colin27_T1w_lowfield.nii.gz"
"""A T1-weighted head as a portable 64 mT scanner would see it: 1.6 × 1.6 × 5 mm, simulated."""

REFERENCE = FOLDER / "MRHarmonization_colin27_T1w_reference.nii.gz"
"""The 1 mm scan it was simulated from: the truth an enhancement is held against."""

PARAMETERS = FOLDER / "MRHarmonization_colin27_T1w_lowfield.parameters.json"
"""The parameters of the simulation, which replay it."""

INDEX = FOLDER / "samples.json"
"""Name, file and SHA-256 of each sample, for Slicer's Sample Data."""
