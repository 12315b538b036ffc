"""B10: DICOM folders, complete ones exactly, all others with a verdict that shows no identity."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.uid import RLELossless

from dycon_engine.data.formats import dicom
from dycon_engine.data.formats.readers import (
    content_hash,
    is_readable_image,
    read_header,
    read_image,
)
from dycon_engine.errors import InputError
from Testing.tiny_files import dicom_folder, dicom_slice, voxels

IDENTITY = ("Doe", "Jane", "4711", "1.2.3")


@pytest.fixture
def series(tmp_path):
    return dicom_folder(tmp_path / "series", voxels())


def file_at(series, number):
    """Return the file of slice `number` from below."""
    return series / f"slice{(number * 5) % len(voxels()):03d}.dcm"


def change(series, number, **changes):
    data = dicom_slice(voxels()[number], number, **changes)
    pydicom.dcmwrite(file_at(series, number), data)


def refused(series, text):
    with pytest.raises(InputError, match=text) as caught:
        read_image(series)
    message = str(caught.value)
    assert not any(token in message.replace(str(series), "") for token in IDENTITY)
    assert "\n" not in message
    with pytest.raises(InputError):
        content_hash(series)


def test_complete(series):
    (series / ".DS_Store").write_bytes(b"x")
    (series / "DICOMDIR").write_bytes(b"x")
    volume = read_image(series)
    np.testing.assert_array_equal(volume.array[0], voxels() - 1000.0)
    assert volume.geometry.spacing_mm == (2.0, 0.75, 0.5)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
    theirs = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(theirs), volume.array[0])
    for index in ((0, 0, 0), (5, 7, 9)):
        np.testing.assert_allclose(
            theirs.TransformIndexToPhysicalPoint(index[::-1]),
            volume.geometry.to_world(np.array(index, float)),
        )
    assert read_header(series).geometry.corner_distance_voxels(volume.geometry) == 0
    assert is_readable_image(series)


def test_gap(series):
    file_at(series, 2).unlink()
    refused(series, r"1 slices are missing between .*slice.*4 mm, elsewhere 2 mm")


def test_short_end(series):
    for number in range(5):
        change(series, number, NumberOfSeriesRelatedInstances=6)
    file_at(series, 5).unlink()
    refused(series, "5 slices found but the series has 6")


def test_tilt(series):
    for number in range(6):
        change(series, number, ImagePositionPatient=[-10, -20 + 0.2 * number, 2.0 * number])
    refused(series, r"tilt of 5\.71 degrees")


def test_one_slice_at_an_angle(series):
    change(series, 3, ImageOrientationPatient=[1, 0, 0, 0, 0.995, 0.0998])
    refused(series, "at an angle")


def test_truncated_slice(series):
    path = file_at(series, 3)
    path.write_bytes(path.read_bytes()[:-50])
    refused(series, f"{path.name}': slice is cut short")


def test_duplicate_slice(series):
    pydicom.dcmwrite(series / "again.dcm", dicom_slice(voxels()[2], 2))
    refused(series, r"('again\.dcm' and|and 'again\.dcm').* lie at the same place")


def test_two_series(series):
    for number in range(4):
        other = dicom_slice(voxels()[number], number, SeriesInstanceUID="1.2.3.7")
        pydicom.dcmwrite(series / f"other{number}.dcm", other)
    refused(series, r"2 series \(4 slices, 6 slices\)")


def test_non_image(series):
    data = dicom_slice(voxels()[0], 9)
    del data.PixelData
    pydicom.dcmwrite(series / "report.dcm", data)
    refused(series, r"report\.dcm': holds no image")


@pytest.mark.parametrize("name", ["LICENSE", "notes.txt", "report 2020.pdf", "Segmentation.nrrd"])
def test_files_that_are_not_dicom_and_not_named_like_slices_are_left(series, name):
    whole = read_image(series)
    (series / name).write_text("hello")
    np.testing.assert_array_equal(read_image(series).array, whole.array)


@pytest.mark.parametrize(
    "name", ["x.dcm", "IM0007", "1.2.840.7", "slice006.dcm.part", "Slice006.DCM"]
)
def test_a_damaged_file_that_is_named_like_a_slice_is_told(series, name):
    (series / name).write_bytes(b"")
    refused(series, f"{name}': not a DICOM file, or damaged")


@pytest.mark.parametrize("changes", [{"NumberOfFrames": 2}, {"SamplesPerPixel": 3}], ids=str)
def test_color_and_multiframe(series, changes):
    change(series, 2, **changes)
    refused(series, "color or several frames")


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("ImagePositionPatient", "says nothing of its position"),
        ("ImageOrientationPatient", "says nothing of its orientation"),
        ("PixelSpacing", "says nothing of its spacing"),
        ("Rows", "holds no image"),
    ],
)
def test_a_slice_that_does_not_say_where_it_is(series, keyword, text):
    data = dicom_slice(voxels()[3], 3)
    delattr(data, keyword)
    pydicom.dcmwrite(file_at(series, 3), data)
    refused(series, text)


def test_a_slice_of_another_size_or_spacing(series):
    change(series, 3, PixelSpacing=[0.75, 0.51])
    refused(series, "size or spacing differs")
    data = dicom_slice(voxels()[3][:-2], 3)
    pydicom.dcmwrite(file_at(series, 3), data)
    refused(series, "size or spacing differs")


@pytest.mark.parametrize("bytes_less", [20, 2])
def test_pixel_data_that_does_not_fill_the_size(series, bytes_less):
    whole = dicom_slice(voxels()[3], 3).PixelData
    change(series, 3, PixelData=whole[:-bytes_less])
    refused(series, "pixel data incomplete")


def test_pixel_data_beyond_the_size_are_zeros_or_told(series):
    whole, pixels = read_image(series), dicom_slice(voxels()[3], 3).PixelData
    change(series, 3, PixelData=pixels + bytes(96))
    np.testing.assert_array_equal(read_image(series).array, whole.array)
    change(series, 3, PixelData=pixels + bytes(95) + b"x")
    refused(series, r"pixel data of 256 bytes are longer than its size \(160\)")


def test_compressed_slices(series):
    whole = read_image(series)
    for number in range(6):
        data = dicom_slice(voxels()[number], number)
        data.compress(RLELossless)
        pydicom.dcmwrite(file_at(series, number), data)
    np.testing.assert_array_equal(read_image(series).array, whole.array)
    path = file_at(series, 1)
    path.write_bytes(path.read_bytes()[:-20])
    refused(series, "cut short")


def compressed(tmp_path, pixels, compressor):
    """Return the pixel data and the transfer syntax that GDCM makes of `pixels`."""
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    writer.SetFileName(str(tmp_path / "one.dcm"))
    writer.Execute(sitk.GetImageFromArray(pixels))
    made = pydicom.dcmread(tmp_path / "one.dcm")
    return made.PixelData, made.file_meta.TransferSyntaxUID


@pytest.mark.parametrize("compressor", ["JPEG2000", "JPEG"])
def test_a_stream_of_another_size_than_the_header_is_refused_undecoded(
    series, tmp_path, monkeypatch, compressor
):
    whole = read_image(series)

    def store(number, pixels):
        data = dicom_slice(voxels()[number], number)
        content, data.file_meta.TransferSyntaxUID = compressed(tmp_path, pixels, compressor)
        data.PixelData = content
        data["PixelData"].VR = "OB"
        data["PixelData"].is_undefined_length = True
        pydicom.dcmwrite(file_at(series, number), data)

    for number in range(6):
        store(number, voxels()[number])
    np.testing.assert_array_equal(read_image(series).array, whole.array)
    store(2, np.zeros((300, 200), np.int16))
    monkeypatch.setattr(dicom, "_pixels", lambda part: pytest.fail("decoded"))
    refused(series, "pixels are 200x300 with 1 components, its header says 10x8 with 1")


def test_implicit_encoding_and_private_sequences(series):
    whole = read_image(series)
    for number in range(6):
        item = pydicom.Dataset()
        item.PatientName = "Doe^Jane"
        data = dicom_slice(voxels()[number], number, ReferencedImageSequence=[item, item])
        data["ReferencedImageSequence"].is_undefined_length = True
        data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        pydicom.dcmwrite(file_at(series, number), data)
    np.testing.assert_array_equal(read_image(series).array, whole.array)
