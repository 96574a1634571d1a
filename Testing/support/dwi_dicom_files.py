"""Synthetic diffusion series as each vendor stores them, written attribute by attribute with pydicom."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, MRImageStorage

from MRHarmonizationLib.volumes.grid import Grid
from support.dicom_files import _base, _item, _place, ds, save

FLIP_XY = np.array([-1.0, -1.0, 1.0])

#: Change of a dataset before it is written: (dataset, volume, slice; -1 for a whole volume).
Change = Callable[[Dataset, int, int], None]


def weightings(n: int = 7, b: float = 1000.0, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """One unweighted volume and n − 1 directions: b-values (n,), unit vectors (n, 3) in RAS."""
    vectors = np.random.default_rng(seed).normal(size=(n, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[0] = 0
    return np.array([0.0] + [b] * (n - 1)), vectors


def samples(grid: Grid, n: int = 7, seed: int = 5) -> np.ndarray:
    """Values that differ in every voxel of every volume, int16 [K, J, I, N]."""
    return np.random.default_rng(seed).integers(1, 4000, (*grid.shape, n), dtype=np.int16)


def image_frame(grid: Grid, vectors_ras: np.ndarray) -> np.ndarray:
    """RAS directions (n, 3) told along rows, columns and their cross product."""
    lps = FLIP_XY[:, None] * np.asarray(grid.directions)
    axes = np.stack([lps[:, 0], lps[:, 1], np.cross(lps[:, 0], lps[:, 1])], axis=1)
    return (vectors_ras * FLIP_XY) @ axes


def _private(dataset: Dataset, group: int, creator: str, element: int, vr: str, value: object, block: int = 0x10):
    dataset.add_new((group << 16) + block, "LO", creator)
    dataset.add_new((group << 16) + (block << 8) + element, vr, value)


def _common(dataset: Dataset, vendor: str, grid: Grid, number: int) -> None:
    orientation, spacing, _, step = _place(grid)
    dataset.Manufacturer, dataset.PatientPosition, dataset.ScanningSequence = vendor, "HFS", "EP"
    dataset.EchoTime, dataset.RepetitionTime, dataset.InPlanePhaseEncodingDirection = ds([80])[0], ds([5000])[0], "COL"
    dataset.MRAcquisitionType, dataset.EchoTrainLength, dataset.InstanceNumber = "2D", 40, number
    dataset.PatientName, dataset.PatientID = "Phantom", "Phantom"
    dataset.SeriesDate = dataset.StudyDate = dataset.AcquisitionDate = "20200101"
    dataset.StudyTime, dataset.AcquisitionTime = "120000", "120000"
    dataset.ImageOrientationPatient, dataset.PixelSpacing = ds(orientation), ds(spacing)
    dataset.SliceThickness = dataset.SpacingBetweenSlices = ds([float(np.linalg.norm(step))])[0]
    dataset.MagneticFieldStrength = ds([3])[0]


def csa(entries: dict[str, list[object]], modern: bool = True) -> bytes:
    """A Siemens CSA header, of the newer layout or the older."""
    parts = [b"SV10\4\3\2\1"] if modern else []
    parts.append(struct.pack("<II", len(entries), 77))
    first_count = 6
    for name, values in entries.items():
        texts = [f"{value:.8f}" if isinstance(value, float) else str(value) for value in values]
        texts += [""] * (first_count - len(texts))
        parts.append(struct.pack("<64si4s3i", name.encode(), len(values), b"FD\0\0", 4, len(texts), 77))
        for text in texts:
            data = text.encode() + b"\0" if text else b""
            length = len(data)
            parts.append(
                struct.pack("<4i", length, length, 77, length)
                if modern
                else struct.pack("<4i", length + first_count, length, 77, length)
            )
            parts.append(data + b"\0" * (-length % 4))
    return b"".join(parts)


def montage(volume: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Slices [K, J, I] side by side, row by row, the rest of the tiles zero."""
    k, j, i = volume.shape
    tiles = np.zeros((rows * columns, j, i), volume.dtype)
    tiles[:k] = volume
    return tiles.reshape(rows, columns, j, i).swapaxes(1, 2).reshape(rows * j, columns * i)


def siemens_mosaics(
    folder: Path,
    array: np.ndarray,
    grid: Grid,
    b_values: np.ndarray,
    vectors_ras: np.ndarray,
    change: Change | None = None,
    modern: bool = True,
) -> Path:
    """One file per volume; slices in the order of the grid, which may run against the plane's normal."""
    folder.mkdir(parents=True, exist_ok=True)
    _, spacing, origin, step = _place(grid)
    side = math.ceil(math.sqrt(array.shape[0]))
    for n in range(array.shape[3]):
        image = montage(array[..., n], side, side)
        dataset = _base(MRImageStorage, image, "1.2.3.70", "ep2d_diff", 5)
        _common(dataset, "SIEMENS", grid, n + 1)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE", "ND", "MOSAIC"]
        dataset.AcquisitionNumber, dataset.SoftwareVersions = n + 1, "syngo MR E11"
        row, column = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3)
        margin = np.array([image.shape[1] - array.shape[2], image.shape[0] - array.shape[1]]) / 2
        corner = origin - row * margin[0] * spacing[1] - column * margin[1] * spacing[0]
        dataset.ImagePositionPatient = ds(corner)
        entries: dict[str, list[object]] = {
            "NumberOfImagesInMosaic": [array.shape[0]],
            "SliceNormalVector": (step / np.linalg.norm(step)).tolist(),
            "B_value": [round(b_values[n])],
        }
        if np.any(vectors_ras[n]):
            entries["DiffusionGradientDirection"] = (vectors_ras[n] * FLIP_XY).tolist()
        _private(dataset, 0x0029, "SIEMENS CSA HEADER", 0x10, "OB", csa(entries, modern))
        dataset.PixelData = image.tobytes()
        if change is not None:
            change(dataset, n, -1)
        save(dataset, folder / f"{n:04d}.dcm")
    return folder


def uih_mosaics(
    folder: Path,
    array: np.ndarray,
    grid: Grid,
    b_values: np.ndarray,
    vectors_ras: np.ndarray,
    change: Change | None = None,
) -> Path:
    """United Imaging's grid: one file per volume, slices placed in a private sequence."""
    folder.mkdir(parents=True, exist_ok=True)
    _, _, origin, step = _place(grid)
    columns = math.ceil(math.sqrt(array.shape[0]))
    rows = math.ceil(array.shape[0] / columns)
    told = image_frame(grid, vectors_ras)
    for n in range(array.shape[3]):
        image = montage(array[..., n], rows, columns)
        dataset = _base(MRImageStorage, image, "1.2.3.71", "epi_dti", 6)
        _common(dataset, "UIH", grid, n + 1)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "VFRAME"]
        items = []
        for k in range(array.shape[0]):
            item = Dataset()
            item.ImagePositionPatient = ds(origin + k * step)
            items.append(item)
        for element, vr, value in (
            (0x09, "FD", float(b_values[n])),
            (0x37, "FD", told[n].tolist()),
            (0x50, "DS", str(array.shape[0])),
            (0x51, "SQ", Sequence(items)),
        ):
            _private(dataset, 0x0065, "Image Private Header", element, vr, value)
        dataset.PixelData = image.tobytes()
        if change is not None:
            change(dataset, n, -1)
        save(dataset, folder / f"{n:04d}.dcm")
    return folder


def _slices(
    folder: Path, array: np.ndarray, grid: Grid, vendor: str, uid: str, tell: Change, reverse: bool = False
) -> Path:
    """One file per slice; ``tell`` adds the weighting. ``reverse`` numbers slices from the last."""
    folder.mkdir(parents=True, exist_ok=True)
    _, _, origin, step = _place(grid)
    count = array.shape[0]
    for n in range(array.shape[3]):
        for k in range(count):
            place = count - 1 - k if reverse else k
            dataset = _base(MRImageStorage, array[..., n], uid, "dwi", 7)
            _common(dataset, vendor, grid, n * count + place + 1)
            dataset.ImagePositionPatient = ds(origin + k * step)
            dataset.SliceLocation = ds([float(np.linalg.norm(step)) * k])[0]
            dataset.PixelData = np.ascontiguousarray(array[k, :, :, n]).tobytes()
            tell(dataset, n, k)
            save(dataset, folder / f"{n:04d}_{k:04d}.dcm")
    return folder


def siemens_slices(
    folder: Path,
    array: np.ndarray,
    grid: Grid,
    b_values: np.ndarray,
    vectors_ras: np.ndarray,
    change: Change | None = None,
) -> Path:
    """One file per slice with Siemens' private attributes, no CSA header."""

    def tell(dataset: Dataset, n: int, k: int) -> None:
        dataset.AcquisitionNumber = n + 1
        _private(dataset, 0x0019, "SIEMENS MR HEADER", 0x0C, "IS", round(b_values[n]))
        if np.any(vectors_ras[n]):
            _private(dataset, 0x0019, "SIEMENS MR HEADER", 0x0E, "FD", (vectors_ras[n] * FLIP_XY).tolist())
        if change is not None:
            change(dataset, n, k)

    return _slices(folder, array, grid, "SIEMENS", "1.2.3.72", tell)


def ge_slices(
    folder: Path,
    array: np.ndarray,
    grid: Grid,
    b_values: np.ndarray,
    told: np.ndarray,
    change: Change | None = None,
    reverse: bool = False,
) -> Path:
    """One file per slice; ``told`` are directions along frequency, phase and slice, as GE writes them."""

    def tell(dataset: Dataset, n: int, k: int) -> None:
        dataset.SoftwareVersions, dataset.ImageType = "27", ["ORIGINAL", "PRIMARY", "OTHER"]
        dataset.add_new(0x00201002, "IS", array.shape[0])
        for element, value in zip((0xBB, 0xBC, 0xBD), told[n], strict=True):
            _private(dataset, 0x0019, "GEMS_ACQU_01", element, "DS", f"{value:.8f}")
        _private(dataset, 0x0019, "GEMS_ACQU_01", 0xE0, "DS", str(len(b_values) - 1))
        _private(dataset, 0x0043, "GEMS_PARM_01", 0x39, "IS", [1_000_000_000 + round(b_values[n]), 8, 0, 0])
        if change is not None:
            change(dataset, n, k)

    return _slices(folder, array, grid, "GE MEDICAL SYSTEMS", "1.2.3.73", tell, reverse)


def philips_slices(
    folder: Path,
    array: np.ndarray,
    grid: Grid,
    b_values: np.ndarray,
    vectors_ras: np.ndarray,
    change: Change | None = None,
    scale_slopes: np.ndarray | None = None,
    public: bool = True,
) -> Path:
    """One file per slice; ``public`` also writes the standard's attributes, ``scale_slopes`` (N,) Philips' factors."""

    def tell(dataset: Dataset, n: int, k: int) -> None:
        vector = vectors_ras[n] * FLIP_XY
        dataset.InstanceNumber = k * array.shape[3] + n + 1
        if public:
            dataset.DiffusionBValue, dataset.DiffusionGradientOrientation = float(b_values[n]), vector.tolist()
        _private(dataset, 0x2001, "Philips Imaging DD 001", 0x03, "FL", float(b_values[n]))
        for element, value in zip((0xB0, 0xB1, 0xB2), vector, strict=True):
            _private(dataset, 0x2005, "Philips MR Imaging DD 001", element, "FL", float(value))
        for element, value in ((0x12, 1 if b_values[n] == 0 else 2), (0x13, n + 1)):
            _private(dataset, 0x2005, "Philips MR Imaging DD 005", element, "IS", value, 0x14)
        if scale_slopes is not None:
            dataset.RescaleSlope, dataset.RescaleIntercept = ds([1.5 + n])[0], ds([2.0])[0]
            _private(dataset, 0x2005, "Philips MR Imaging DD 001", 0x0E, "FL", float(scale_slopes[n]))
        if change is not None:
            change(dataset, n, k)

    return _slices(folder, array, grid, "Philips Medical Systems", "1.2.3.74", tell)


def canon_slices(
    folder: Path,
    array: np.ndarray,
    grid: Grid,
    b_values: np.ndarray,
    vectors_ras: np.ndarray,
) -> Path:
    """One file per slice; weighting as a comment along the image's axes, nothing where b is 0."""
    told = image_frame(grid, vectors_ras)

    def tell(dataset: Dataset, n: int, k: int) -> None:
        if b_values[n]:
            dataset.DiffusionBValue = float(b_values[n])
            dataset.ImageComments = "b={:g}({:.4f},{:.4f},{:.4f})".format(b_values[n], *told[n])

    return _slices(folder, array, grid, "TOSHIBA_MEC", "1.2.3.75", tell)


def enhanced_series(
    path: Path,
    array: np.ndarray,
    grid: Grid,
    b_values: np.ndarray,
    vectors_ras: np.ndarray,
    change: Callable[[Dataset], None] | None = None,
    vendor: str = "SIEMENS",
    scale_slopes: np.ndarray | None = None,
) -> Path:
    """One multi-frame file with the standard's diffusion attributes, slices fastest."""
    orientation, spacing, origin, step = _place(grid)
    dataset = _base(EnhancedMRImageStorage, array[..., 0], "1.2.3.76", "dwi enhanced", 8)
    dataset.Manufacturer, dataset.InstanceNumber = vendor, 1
    frames = []
    for n in range(array.shape[3]):
        for k in range(array.shape[0]):
            frame = Dataset()
            frame.PlanePositionSequence = _item(ImagePositionPatient=ds(origin + k * step))
            frame.FrameContentSequence = _item(TemporalPositionIndex=n + 1)
            diffusion = Dataset()
            diffusion.DiffusionBValue = float(b_values[n])
            diffusion.DiffusionDirectionality = "DIRECTIONAL" if np.any(vectors_ras[n]) else "NONE"
            if np.any(vectors_ras[n]):
                diffusion.DiffusionGradientDirectionSequence = _item(
                    DiffusionGradientOrientation=(vectors_ras[n] * FLIP_XY).tolist()
                )
            frame.MRDiffusionSequence = Sequence([diffusion])
            if scale_slopes is not None:
                frame.PixelValueTransformationSequence = _item(
                    RescaleSlope=ds([1.5 + n])[0], RescaleIntercept=ds([0])[0]
                )
                private = Dataset()
                _private(private, 0x2005, "Philips MR Imaging DD 001", 0x0E, "FL", float(scale_slopes[n]))
                _private(frame, 0x2005, "Philips MR Imaging DD 005", 0x0F, "SQ", Sequence([private]), 0x14)
            frames.append(frame)
    shared = Dataset()
    shared.MREchoSequence = _item(EffectiveEchoTime=85.0)
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=ds(orientation))
    shared.PixelMeasuresSequence = _item(PixelSpacing=ds(spacing), SliceThickness=ds([np.linalg.norm(step)])[0])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    dataset.NumberOfFrames = len(frames)
    dataset.PixelData = np.moveaxis(array, 3, 0).tobytes()
    if change is not None:
        change(dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(dataset, path)
