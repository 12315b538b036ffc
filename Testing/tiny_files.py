"""One tiny scan in every format, and DICOM folders, made anew for each test."""

from __future__ import annotations

from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SHAPE = (6, 8, 10)
KINDS = ("nii", "nii.gz", "nrrd", "gzip.nrrd", "mha", "zlib.mha", "mhd", "h5", "dicom")


def voxels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4000, SHAPE).astype(np.int16)


def scan(folder: Path, kind: str) -> tuple[Path, Path]:
    """Write the scan as `kind`; return what to read and the file that holds the voxels."""
    if kind == "dicom":
        series = dicom_folder(folder / "series", voxels())
        return series, series / "slice003.dcm"
    path = folder / f"scan.{kind}"
    array = voxels()
    if kind.startswith("nii"):
        image = nib.Nifti1Image(array.transpose(2, 1, 0), np.diag([-0.5, -0.75, 2.0, 1.0]))
        image.set_qform(image.affine, code=1)
        nib.save(image, path)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("image", data=array.T.astype(np.float32), compression="gzip")
            file.create_dataset("label", data=(array.T > 9).astype(np.uint8), compression="gzip")
    else:
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((0.5, 0.75, 2.0))
        sitk.WriteImage(image, str(path), useCompression=kind in ("gzip.nrrd", "zlib.mha"))
    return path, path.with_suffix(".raw") if kind == "mhd" else path


def dicom_slice(pixels: np.ndarray, number: int, **changes: object) -> FileDataset:
    """Return one CT slice 2 mm above the one before; `changes` by DICOM keyword."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{number + 1}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.PatientName, data.PatientID, data.Modality = "Doe^Jane", "MRN-4711", "CT"
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3.5", "1.2.3.6"
    data.InstanceNumber = number + 1
    data.ImagePositionPatient = [-10.0, -20.0, 2.0 * number]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.PixelSpacing, data.SliceThickness = [0.75, 0.5], 2.0
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleSlope, data.RescaleIntercept = 1, -1000
    data.PixelData = pixels.astype("<i2").tobytes()
    for name, value in changes.items():
        setattr(data, name, value)
    return data


def dicom_folder(folder: Path, array: np.ndarray) -> Path:
    """Write `array` (D, H, W) as a series, its file names not in the order of position."""
    folder.mkdir()
    for number, pixels in enumerate(array):
        name = f"slice{(number * 5) % len(array):03d}.dcm"
        pydicom.dcmwrite(folder / name, dicom_slice(pixels, number))
    return folder
