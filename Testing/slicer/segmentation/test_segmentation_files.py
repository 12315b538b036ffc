"""The segmentation of a result as a file: on the grid of the scan, with values, names, colors."""

from __future__ import annotations

import numpy as np
import pytest

from dycon_engine.data.formats.readers import read_label
from dycon_engine.errors import DyconError, InputError
from Testing.slicer.segmentation.test_measuring import SIZE, desk, paint

__all__ = ["desk"]
EXPECTED = {1: 3, 2: 7}  # values that the model has


def turned(desk):
    """Give scan and segmentation axes and a place of their own."""
    import slicer

    matrix = np.array([[0, -2.0, 0, 11], [1.0, 0, 0, -7], [0, 0, 3.0, 5.5], [0, 0, 0, 1]])
    desk.scan.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    for value, name in enumerate(("atrium", "ventricle"), start=1):
        paint(desk, name, desk.labels == value)
    desk.node.SetReferenceImageGeometryParameterFromVolumeNode(desk.scan)


def write(desk, path):
    from DyCONSegmentationLib.segmentation_files import write_segmentation

    write_segmentation(desk.result(), path)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["s.nrrd", "s.nii.gz", "s.seg.nrrd"])
def test_the_file_has_the_models_values_on_the_grid_of_the_scan(desk, tmp_path, name):
    from DyCONLib import mrml

    turned(desk)
    write(desk, tmp_path / name)
    expected = np.zeros(SIZE, np.uint8)
    for value, own in EXPECTED.items():
        expected[desk.labels == value] = own
    if not name.endswith(".seg.nrrd"):
        assert np.array_equal(mrml.read_array(tmp_path / name, desk.scan), expected)
    stored = read_label(tmp_path / name)
    assert int((stored.array == 3).sum()) == 64


def test_slicer_reads_names_colors_and_terms_back(desk, tmp_path):
    import slicer
    import vtk

    turned(desk)
    desk.core.GetSegment("atrium").SetName(r"left  Vorhof\neu ä")
    desk.core.GetSegment("atrium").SetColor(0.25, 0.5, 1.0)
    tag = desk.core.GetSegment("atrium").GetTerminologyEntryTagName()
    term = "C~SCT^123037004^Anatomical Structure~SCT^82471001^Left atrium~^^~A~^^~^^"
    desk.core.GetSegment("atrium").SetTag(tag, term)
    desk.core.AddEmptySegment("scar", "scar")
    write(desk, tmp_path / "s.seg.nrrd")
    back = slicer.util.loadSegmentation(str(tmp_path / "s.seg.nrrd"))
    core = back.GetSegmentation()
    names = [core.GetSegment(each).GetName() for each in core.GetSegmentIDs()]
    assert names == [r"left Vorhof\neu ä", "ventricle", "scar"]
    atrium = core.GetSegment("atrium")
    assert atrium.GetColor() == (0.25, 0.5, 1.0)
    found = vtk.mutable("")
    assert atrium.GetTag(tag, found)
    assert str(found) == term
    assert [core.GetSegment(each).GetLabelValue() for each in core.GetSegmentIDs()] == [3, 7, 8]
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(back, "atrium", desk.scan)
    assert np.array_equal(mask > 0, desk.labels == 1)


def test_what_cannot_be_written_is_said_and_leaves_what_was_there(desk, tmp_path):
    from DyCONSegmentationLib.segmentation_files import write_segmentation

    path = tmp_path / "s.nrrd"
    path.write_text("older")
    desk.core.GetSegment("ventricle").SetName("atrium")
    with pytest.raises(InputError, match="has two segments 'atrium'; rename one"):
        write_segmentation(desk.result(), path)
    desk.core.RemoveAllSegments()
    with pytest.raises(InputError, match="holds no segment"):
        write_segmentation(desk.result(), path)
    desk.core.AddEmptySegment("atrium", "atrium")
    with pytest.raises(DyconError, match="absent"):
        write_segmentation(desk.result(), tmp_path / "absent" / "s.seg.nrrd")
    desk.scene.RemoveNode(desk.scan)
    with pytest.raises(InputError, match="is not in the scene any more"):
        write_segmentation(desk.result(), path)
    assert path.read_text() == "older"
    assert [each.name for each in tmp_path.iterdir()] == ["s.nrrd"]
