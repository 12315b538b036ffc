"""B10: what a DICOM slice stores becomes what the scanner measured, or is refused."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless

from dycon_engine.data.formats import dicom
from dycon_engine.data.formats.readers import read_header, read_image
from dycon_engine.errors import InputError
from Testing.tiny_files import dicom_slice, voxels

SHAPE = (3, 8, 10)


def write(folder, stored, compress=None, **changes):
    folder.mkdir(exist_ok=True)
    for number, pixels in enumerate(stored):
        data = dicom_slice(pixels, number, **changes)
        data.PixelData = pixels.tobytes()
        if compress is not None:
            data.compress(compress)
        pydicom.dcmwrite(folder / f"{number}.dcm", data)
    return folder


@pytest.mark.parametrize("compress", [None, RLELossless], ids=["plain", "rle"])
@pytest.mark.parametrize(
    ("kind", "bits", "slope", "intercept"),
    [
        ("u1", 8, "1", "0"),
        ("<u2", 10, "1", "-1024"),
        ("<u2", 12, "1.37", "-5.5"),
        ("<u2", 16, "0.00137", "0"),
        ("<i2", 16, "1", "-1024"),
        ("<i2", 16, "0.5", "-10.25"),
    ],
)
def test_inverted_gray_gives_the_values_that_were_measured(
    tmp_path, kind, bits, slope, intercept, compress
):
    """MONOCHROME1 says how to show them; the image library turned a CT scan inside out."""
    signed = kind == "<i2"
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    stored = np.random.default_rng(0).integers(low, high, SHAPE).astype(kind)
    stored[:, 0, 0], stored[:, 0, 1] = low, high - 1
    known = {
        "BitsAllocated": stored.itemsize * 8,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(signed),
        "RescaleSlope": slope,
        "RescaleIntercept": intercept,
    }
    expected = stored.astype(float) * float(slope) + float(intercept)
    for name in ("MONOCHROME1", "MONOCHROME2"):
        write(tmp_path / name, stored, compress, PhotometricInterpretation=name, **known)
        found = read_image(tmp_path / name).array[0]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-4 * float(slope))


def refused(folder, text):
    for read in (read_image, read_header):
        with pytest.raises(InputError, match=text) as caught:
            read(folder)
        assert "\n" not in str(caught.value)


def test_values_in_other_bits_than_the_lowest_are_refused(tmp_path):
    stored = (voxels().astype("<u2") << 4)[:3]
    write(tmp_path, stored, BitsStored=12, HighBit=15, PixelRepresentation=0)
    refused(tmp_path, r"0\.dcm': 12 bits are stored and the highest is 15, expected 11; convert it")


@pytest.mark.parametrize("undefined_length", [False, True])
def test_values_from_a_lookup_table_are_refused(tmp_path, undefined_length):
    table = pydicom.Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4096, 0, 16], "US"
    table.add_new("LUTData", "OW", np.arange(4096)[::-1].astype("<u2").tobytes())
    for number, pixels in enumerate(voxels()):
        data = dicom_slice(pixels, number, ModalityLUTSequence=[table])
        data["ModalityLUTSequence"].is_undefined_length = undefined_length
        pydicom.dcmwrite(tmp_path / f"{number}.dcm", data)
    refused(tmp_path, "lookup table .Modality LUT Sequence. gives its values")


def test_an_empty_lookup_table_changes_nothing(tmp_path):
    write(tmp_path, voxels(), ModalityLUTSequence=[])
    np.testing.assert_array_equal(read_image(tmp_path).array[0], voxels() - 1000.0)


def test_a_palette_is_no_gray_slice(tmp_path):
    write(tmp_path, voxels(), PhotometricInterpretation="PALETTE COLOR")
    refused(tmp_path, "neither MONOCHROME2 nor MONOCHROME1; expected a gray slice")


def test_windows_is_told_that_no_path_beyond_ascii_can_be_read(tmp_path, monkeypatch):
    folder = write(tmp_path / "J\u00f6rg", voxels())
    other = write(tmp_path / "Joerg", voxels())
    monkeypatch.setattr(dicom, "os", SimpleNamespace(**{**vars(dicom.os), "name": "nt"}))
    refused(folder, "on Windows no DICOM can be read from a path with letters beyond ASCII; move")
    assert read_image(other).array.shape == (1, *voxels().shape)
