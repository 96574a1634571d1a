"""Synthetic DICOM series, classic and enhanced, written attribute by attribute with pydicom."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    generate_uid,
)
from pydicom.valuerep import DSfloat

from MRHarmonizationLib.volumes.grid import Grid

FLIP_XY = np.array([-1.0, -1.0, 1.0])


def ds(values: Iterable[float]) -> list[DSfloat]:
    """Decimal strings of at most 16 characters."""
    return [DSfloat(float(value), auto_format=True) for value in values]


def _place(grid: Grid) -> tuple[list[float], list[float], np.ndarray, np.ndarray]:
    """Return orientation (6), pixel spacing (rows, columns), position of slice 0 and step, LPS."""
    lps = FLIP_XY[:, None] * np.asarray(grid.affine)[:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    orientation = [*(lps[:, 0] / spacing[0]), *(lps[:, 1] / spacing[1])]
    return orientation, [spacing[1], spacing[0]], lps[:, 3], lps[:, 2]


def _base(sop_class: str, array: np.ndarray, uid: str, description: str, number: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, generate_uid()
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    dataset.Modality, dataset.SeriesDescription, dataset.SeriesNumber = "MR", description, number
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", uid
    dataset.FrameOfReferenceUID, dataset.MagneticFieldStrength = "1.2.3.4", ds([0.064])[0]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = array.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(array.dtype.kind == "i")
    dataset.Rows, dataset.Columns = array.shape[-2:]
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    """Write a Part 10 file."""
    dataset.save_as(path, enforce_file_format=True)
    return path


def classic(
    folder: Path,
    array: np.ndarray,
    grid: Grid,
    uid: str = "1.2.3.5",
    description: str = "T2 axial",
    number: int = 4,
    change: Callable[[Dataset, int], None] | None = None,
    prefix: str = "im",
    seed: int = 1,
) -> list[Path]:
    """Write one file per slice, named in random order; ``change(dataset, k)`` may alter each. Paths by slice."""
    folder.mkdir(parents=True, exist_ok=True)
    orientation, pixel_spacing, origin, step = _place(grid)
    names = np.random.default_rng(seed).permutation(len(array))
    paths = []
    for k, plane in enumerate(array):
        dataset = _base(MRImageStorage, array, uid, description, number)
        dataset.EchoTime, dataset.RepetitionTime = ds([90.5])[0], ds([4000])[0]
        dataset.InstanceNumber = int(names[k]) + 1
        dataset.ImageOrientationPatient = ds(orientation)
        dataset.ImagePositionPatient = ds(origin + k * step)
        dataset.PixelSpacing = ds(pixel_spacing)
        dataset.SliceThickness = ds([np.linalg.norm(step) * 0.9])[0]
        dataset.SpacingBetweenSlices = ds([np.linalg.norm(step)])[0]
        dataset.PixelData = plane.tobytes()
        if change is not None:
            change(dataset, k)
        paths.append(save(dataset, folder / f"{prefix}{names[k]:04d}"))
    return paths


def _item(**values: object) -> Sequence:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return Sequence([item])


def enhanced(
    path: Path,
    array: np.ndarray,
    grid: Grid,
    uid: str = "1.2.3.6",
    description: str = "T1 enhanced",
    order: Iterable[int] | None = None,
    scaling: Callable[[int], tuple[float, float]] | None = None,
    shared_place: bool = True,
    change: Callable[[Dataset], None] | None = None,
    volumes: int = 1,
) -> Path:
    """Write one file of many frames, stored in ``order``; ``scaling(k)`` gives slope and intercept of a slice."""
    orientation, pixel_spacing, origin, step = _place(grid)
    stored = list(range(len(array))) if order is None else list(order)
    dataset = _base(EnhancedMRImageStorage, array, uid, description, 7)
    frames = []
    for volume in range(volumes):
        for k in stored:
            frame = Dataset()
            frame.PlanePositionSequence = _item(ImagePositionPatient=ds(origin + k * step))
            frame.FrameContentSequence = _item(TemporalPositionIndex=volume + 1)
            if scaling is not None:
                slope, intercept = ds(scaling(k))
                frame.PixelValueTransformationSequence = _item(RescaleSlope=slope, RescaleIntercept=intercept)
            if not shared_place:
                frame.PlaneOrientationSequence = _item(ImageOrientationPatient=ds(orientation))
                frame.PixelMeasuresSequence = _item(PixelSpacing=ds(pixel_spacing))
            frames.append(frame)
    shared = Dataset()
    shared.MREchoSequence = _item(EffectiveEchoTime=12.5)
    if shared_place:
        shared.PlaneOrientationSequence = _item(ImageOrientationPatient=ds(orientation))
        shared.PixelMeasuresSequence = _item(
            PixelSpacing=ds(pixel_spacing), SliceThickness=ds([np.linalg.norm(step)])[0]
        )
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = b"".join(array[k].tobytes() for _ in range(volumes) for k in stored)
    if change is not None:
        change(dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(dataset, path)


def not_an_image(path: Path, uid: str = "1.2.3.5") -> Path:
    """Write a structured report of the same series."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.33", generate_uid()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.Modality, dataset.SeriesInstanceUID = "SR", uid
    dataset.ContentSequence = _item(ValueType="TEXT", TextValue="fine")
    return save(dataset, path)
