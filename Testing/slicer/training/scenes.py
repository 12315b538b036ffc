"""Small scans with a bright ball in the scene, and the tools of the panel on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import vtk

from Testing.slicer.training.inline import InlineJob

SIZE = (20, 22, 24)  # slices, rows, columns
IJK_TO_RAS = np.array([[0, -1.5, 0, 5], [1.5, 0, 0, -7], [0, 0, 2, 11], [0, 0, 0, 1.0]])
TISSUE = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^85756007^Tissue~"
    "SCT^85756007^Tissue~^^~Anatomic codes - DICOM master list~^^~^^"
)


def ball(seed: int, size=SIZE):
    """Return intensities (float32) and the mask of a ball somewhere in the middle."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1)
    center = np.asarray(size) * random.uniform(0.4, 0.6, 3)
    inside = np.linalg.norm(grid - center, axis=-1) < random.uniform(4, 6)
    return (100 + 60 * inside + random.normal(0, 8, size)).astype(np.float32), inside


def volume(name: str, array=None, matrix=IJK_TO_RAS):
    import slicer

    array = ball(hash(name) % 1000)[0] if array is None else array
    return slicer.util.addVolumeFromArray(array, matrix, name)


def segmentation(reference, masks, *, name="Segmentation", term=TISSUE):
    """Add a segmentation on `reference` with one segment per named mask."""
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    for segment, mask in masks.items():
        added = node.GetSegmentation().AddEmptySegment(segment, segment, [1, 0.5, 0])
        slicer.util.updateSegmentBinaryLabelmapFromArray(
            mask.astype(np.uint8), node, added, reference
        )
        node.GetSegmentation().GetSegment(added).SetTag("TerminologyEntry", term)
    return node


def scans(labeled: int, unlabeled: int, first: int = 0):
    """Load scans; the first `labeled` with a segmentation."""
    for number in range(first, first + labeled + unlabeled):
        image, mask = ball(number)
        node = volume(f"scan {number}", image)
        if number < first + labeled:
            segmentation(node, {"ball": mask})


def patient(name: str, *nodes) -> int:
    """Put nodes below a patient of the subject hierarchy; return its item."""
    import slicer

    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = tree.CreateSubjectItem(tree.GetSceneItemID(), name)
    study = tree.CreateStudyItem(item, "study")
    for node in nodes:
        tree.SetItemParent(tree.GetItemByDataNode(node), study)
    return item


def logic(tmp_path: Path, start=InlineJob, clock=lambda: 0.0):
    """Return the data-set logic with the engine in this process, and a list of what failed."""
    from DyCONTrainingLib import scene_write
    from DyCONTrainingLib.dataset import DatasetLogic
    from DyCONTrainingLib.saving import Tools

    temporary = tmp_path / "temporary"
    temporary.mkdir(exist_ok=True)
    tools = Tools(scene_write.export_image, scene_write.export_label, start, temporary)
    who = tmp_path / "settings" / "who-is-who.json"
    made = DatasetLogic(tools, who, clock, look_s=60.0)
    failures: list[str] = []
    made.failed.connect(failures.append)
    return made, failures


def findings(made):
    """Return what was found, but for the reminder that no case is held out, which most lack."""
    return [each for each in made.findings if not each.text.startswith("no held-out case")]


def settle(made, turns: int = 200) -> None:
    """Poll until nothing is left to do."""
    for _ in range(turns):
        made.poll()
        if not made.is_busy and made.is_audited:
            return
    raise AssertionError(f"still busy: {made.progress}")


def world_of(node):
    import slicer

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)
