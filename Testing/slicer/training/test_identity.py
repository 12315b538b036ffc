"""Planted tokens of identity come out nowhere: manifest, files, run, package, report, names.

Only the person's own list of who is who, in the settings folder, may hold them.
"""

from __future__ import annotations

import numpy as np
import pytest

from Testing.faults.test_b17_phi import contents, plant_nifti
from Testing.slicer.training import loop, scenes
from Testing.slicer.training.inline import InlineEngine
from Testing.tiny_files import dicom_folder
from Testing.tiny_scans import write_scan

TOKENS = [f"PHI{number:02d}QX" for number in range(1, 11)]
NODE, DRAWN, PATIENT, UID, ATTRIBUTE, FOLDER, FILE, SERIES, WHERE, BESIDE = TOKENS
IN_FILES = ("PHI04QX", "Doe", "MRN-4711", "1.2.3.4")  # plant_nifti's descrip; DICOM tags


def load_people():
    """Two labeled scans and a third of named patients, tokens in every free field of the scene."""
    import slicer

    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    for number in range(3):
        image, mask = scenes.ball(number)
        node = scenes.volume(f"{NODE} {number}", image)
        node.SetAttribute("DICOM.PatientName", ATTRIBUTE)
        node.SetDescription(ATTRIBUTE)
        item = scenes.patient(f"{PATIENT} {number}", node)
        tree.SetItemUID(item, "DICOM", UID)
        tree.SetItemAttribute(item, "DICOM.PatientID", UID)
        if number < 2:
            drawn = scenes.segmentation(node, {"ball": mask}, name=f"{DRAWN} {number}")
            drawn.SetAttribute("DICOM.PatientName", ATTRIBUTE)


def write_people(root):
    """A folder of scans: names, NIfTI fields and DICOM tags that tell who it is."""
    folder = root / FOLDER
    array, _ = scenes.ball(7)
    plant_nifti(write_scan(folder / "images" / f"{FILE}.nii.gz", array))
    (folder / "images" / SERIES).mkdir()
    voxels = np.round(scenes.ball(8)[0] * 4).astype(np.int16)
    dicom_folder(folder / "images" / SERIES / "x", voxels)
    for path in (folder / "images" / SERIES / "x").iterdir():
        path.rename(path.parents[1] / path.name)
    (folder / "images" / SERIES / "x").rmdir()
    return folder


@pytest.fixture
def root(slicer_scene, tmp_path):
    """The data set after training, ranking and handing over the model."""
    from DyCONTrainingLib.logic import Places, TrainingLogic

    load_people()
    place = tmp_path / WHERE
    (tmp_path / "temporary").mkdir()
    (tmp_path / "models").mkdir()
    places = Places(tmp_path / "settings", tmp_path / "models", tmp_path / "temporary")
    loop.remember_methods(tmp_path / "settings" / "methods.json")
    made = TrainingLogic(InlineEngine(), places, lambda _question: True)
    failures = []
    made.failed.connect(failures.append)
    made.open(place / "set")
    made.dataset.add_scene()
    made.dataset.add_folder(write_people(tmp_path))
    loop.wait(made, loop.settled(made))
    made.dataset.save()
    loop.wait(made, loop.settled(made))
    assert failures == []
    loop.choose_tiny(made, 4)
    run = made.start()
    made.poll()
    made.labels.rank(run.path, "cpu")
    loop.wait(made, lambda: not made.labels.progress[0])
    assert len(made.labels.candidates(run.path)) == 3
    assert failures == []
    made.close()
    return tmp_path


def test_no_token_in_anything_that_leaves(root):
    files = [p for part in (WHERE, "models") for p in (root / part).rglob("*") if p.is_file()]
    names = {path.name for path in files}
    assert {"manifest.toml", "last.dycon", "events.jsonl", "label_next.json"} <= names
    assert {"case-001.nrrd", "case-005.nii.gz"} <= names
    wanted = (*TOKENS, *IN_FILES)
    hits = [
        (str(path.relative_to(root / WHERE)) if WHERE in path.parts else path.name, token)
        for path in files
        for token in wanted
        if token.encode() in contents(path) or token in path.name
    ]
    assert hits == []
    assert list((root / "temporary").iterdir()) == []
    own_list = (root / "settings/who-is-who.json").read_text()
    assert all(token in own_list for token in (NODE, PATIENT, FILE, SERIES))
