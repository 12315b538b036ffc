"""The real engine, the shipped sample and model, the real scene: from a scan to its result."""

from __future__ import annotations

import dataclasses
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from dycon_engine.data.formats.writers import write_label
from dycon_engine.data.phantoms import make_phantom
from Testing import tiny_package
from Testing.slicer.segmentation import make_sample
from Testing.slicer.segmentation.contents import add_volume

PATIENCE_S = 540


@pytest.fixture
def desk(slicer_scene, tmp_path):
    """The sample in the scene, the shipped model, and the engine as the panel starts it."""
    import slicer
    from DyCONSegmentationLib.logic import SegmentationLogic

    from DyCONLib.models import read_model
    from DyCONLib.runner import Job

    def start(arguments, run_dir):
        return Job.start("predict", arguments, run_dir=run_dir)

    (tmp_path / "temporary").mkdir()
    desk = SimpleNamespace(scene=slicer_scene, start=start, path=tmp_path, heard=[])
    desk.model = read_model(make_sample.MODEL)
    desk.scan = slicer.util.loadVolume(str(make_sample.SAMPLE), {"name": "sample"})
    desk.logic = SegmentationLogic(start, tmp_path / "temporary")
    for name in ("finished", "failed", "cancelled"):
        signal = getattr(desk.logic, name)
        signal.connect(lambda *what, name=name: desk.heard.append((name, *what)))
    yield desk
    desk.logic.close()


def wait(logic, until=lambda: False):
    end = time.monotonic() + PATIENCE_S
    while logic.phase != "idle" and not until():
        assert time.monotonic() < end
        logic.poll()
        time.sleep(0.05)


def segment(desk, **choices):
    """Run the engine on the sample and return the result."""
    from DyCONSegmentationLib.parameters import DEFAULTS

    chosen = dataclasses.replace(DEFAULTS, device="cpu", **choices)
    desk.logic.segment((desk.scan,), desk.model, chosen)
    wait(desk.logic)
    name, what = desk.heard.pop()
    assert name == "finished", what
    return what


def masks(desk, result):
    """Return a mask per structure, in the order of the voxels of the scan."""
    import slicer

    core = result.segmentation.GetSegmentation()
    ids = [core.GetNthSegmentID(index) for index in range(core.GetNumberOfSegments())]
    read = slicer.util.arrayFromSegmentBinaryLabelmap
    return [read(result.segmentation, each, desk.scan) > 0 for each in ids]


def dice(one, other):
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def test_the_sample_is_segmented_where_its_anatomy_is(desk):
    import slicer
    from DyCONSegmentationLib import texts
    from DyCONSegmentationLib.results import region_position

    label = make_phantom(make_sample.SEED, make_sample.NUMBER).label
    write_label(desk.path / "truth.nrrd", label.array, label.geometry, overwrite=False)
    truth = slicer.util.loadLabelVolume(str(desk.path / "truth.nrrd"))
    result = segment(desk)
    drawn = slicer.util.arrayFromVolume(truth)
    scores = [dice(mask, drawn == value) for value, mask in enumerate(masks(desk, result), start=1)]
    assert min(scores) > 0.8, scores
    unsure = slicer.util.arrayFromVolume(result.uncertainty)
    assert 0.0 <= unsure.min() < 0.01
    assert 0.75 < unsure.max() <= 1.0
    voxel_ml = np.prod(desk.scan.GetSpacing()) / 1000
    for structure, mask in zip(result.report.volumes, masks(desk, result), strict=True):
        assert structure.ml == pytest.approx(np.count_nonzero(mask) * voxel_ml, rel=1e-3)
        assert structure.low_ml <= structure.ml <= structure.high_ml
    assert texts.banner(result.report).kind == ""
    assert len(result.review.regions) >= 2
    for region in result.review.regions:  # the center of each region is an uncertain place
        to_ijk = [0.0, 0.0, 0.0, 1.0]
        matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
        desk.scan.GetRASToIJKMatrix(matrix)
        matrix.MultiplyPoint((*region_position(result, region.rank), 1.0), to_ijk)
        i, j, k = (round(part) for part in to_ijk[:3])
        assert unsure[k - 1 : k + 2, j - 1 : j + 2, i - 1 : i + 2].max() > 0.6
    assert "<html" in result.segmentation.GetNodeReference("DyCON.Page").GetText()


def test_a_region_of_interest_is_where_it_was_drawn(desk):
    import slicer

    whole = segment(desk)
    roi = desk.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    bounds = np.zeros(6)
    desk.scan.GetRASBounds(bounds)
    low, high = bounds[::2], bounds[1::2]
    center = (low + high) / 2
    center[0] = (low[0] + 2 * high[0]) / 3  # the right two thirds, whichever side is empty
    size = (high - low) * (2 / 3, 1.2, 1.2)
    roi.SetCenter(*center)
    roi.SetSize(*size)
    part = segment(desk, roi=roi.GetID())
    to_ras = slicer.util.vtkMatrixFromArray(np.eye(4))
    desk.scan.GetIJKToRASMatrix(to_ras)
    size_kji = slicer.util.arrayFromVolume(desk.scan).shape
    index = np.stack(np.meshgrid(*map(np.arange, size_kji), indexing="ij"), -1)[..., ::-1]
    matrix = slicer.util.arrayFromVTKMatrix(to_ras)
    x = index @ matrix[0, :3] + matrix[0, 3]
    inside = np.abs(x - center[0]) < size[0] / 2
    apart = np.abs(np.abs(x - center[0]) - size[0] / 2) > 4.0  # voxels on its face may be either
    for cut, full in zip(masks(desk, part), masks(desk, whole), strict=True):
        assert not cut[~inside & apart].any()
        assert np.array_equal(cut[inside & apart], full[inside & apart])
        assert full[~inside & apart].any() or full[inside & apart].any()
    assert any(full[~inside & apart].any() for full in masks(desk, whole))


def test_a_scan_of_another_kind_gets_a_warning(desk):
    from DyCONSegmentationLib import texts

    noise = np.random.default_rng(0).normal(-500, 300, (24, 40, 40)).astype(np.int16)
    desk.scan = add_volume(noise, "CT of something else", spacing=(0.4, 0.4, 9.0))
    shown = texts.banner(segment(desk).report)
    assert shown.kind in ("warning", "error")
    assert "unlike" in shown.text or "Nothing was found" in shown.text


def test_cancel_ends_the_real_engine_within_five_seconds(desk):
    from DyCONSegmentationLib.parameters import DEFAULTS

    nodes = [desk.scene.GetNthNode(i).GetID() for i in range(desk.scene.GetNumberOfNodes())]
    desk.logic.segment((desk.scan,), desk.model, DEFAULTS)
    wait(desk.logic, until=lambda: desk.logic.progress.step == "Segmenting")
    process = psutil.Process(desk.logic._run.job._process.pid)
    tree = [process, *process.children(recursive=True)]
    began = time.monotonic()
    desk.logic.cancel()
    wait(desk.logic)
    assert time.monotonic() - began < 6.0  # 5 s, and one turn of a busy machine
    assert desk.heard == [("cancelled",)]
    assert not [each for each in tree if each.is_running() and each.status() != "zombie"]
    assert nodes == [desk.scene.GetNthNode(i).GetID() for i in range(desk.scene.GetNumberOfNodes())]
    assert not list((desk.path / "temporary").iterdir())


def test_a_batch_of_the_real_engine_lists_the_damaged_scan(desk, package):
    from DyCONSegmentationLib.batch import BatchLogic
    from DyCONSegmentationLib.parameters import DEFAULTS
    from DyCONSegmentationLib.sources import disk_plan

    from dycon_engine.data.formats.writers import write_scalar
    from DyCONLib.models import read_model

    scans = desk.path / "scans"
    scans.mkdir()
    for seed, name in enumerate(("a", "b", "c")):
        scan = tiny_package.scan(seed)
        write_scalar(scans / f"{name}.nii.gz", scan.array[0], scan.geometry, overwrite=False)
    whole = (scans / "b.nii.gz").read_bytes()
    (scans / "b.nii.gz").write_bytes(whole[: len(whole) // 2])
    logic, heard = BatchLogic(desk.start, desk.path / "temporary"), []
    logic.ended.connect(heard.append)
    logic.segment(disk_plan(scans, desk.path / "results", 1), read_model(package), DEFAULTS)
    wait(logic)
    assert [row.done for row in logic.rows] == [True, False, True]
    assert "cut short" in logic.rows[1].text
    assert heard == ["2 of 3 segmented, 1 failed"]
    names = sorted(path.name for path in (desk.path / "results").iterdir())
    for case in ("a", "c"):
        for end in (".nii.gz", "_uncertainty.nii.gz", "_report.json", "_report.html"):
            assert f"{case}{end}" in names
    assert not [name for name in names if name.startswith("b")]
