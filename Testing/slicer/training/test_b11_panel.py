"""Every bad data set of battery B11, added through the panel as a folder: every line is shown."""

from __future__ import annotations

import numpy as np
import pytest

from Testing.faults import test_b11_audit as battery
from Testing.faults.test_b11_audit import BAD, CASES, LABELED
from Testing.slicer.training import scenes
from Testing.tiny_scans import mask, scan, write_pairs, write_scan

# what the panel says in its own words: with the case's title and, where there is one, a fix
OWN_WORDS = {
    "duplicate pixels": ("cases 'c0', 'c3': hold the same voxels but are labeled and held-out",),
    "same patient in training and validation": ("patient 'P1': scans 'c0', 'c3' are labeled and",),
    "role without label": ("case 'c1': is labeled but has no segmentation",),
    "every label empty": ("every labeled case is empty",),
    "spacing far off, finer than the others": ("spacing 0.25 x 1 x 1 mm is far from the usual",),
    "spacing far off": ("case 'pt05': spacing 1 x 1 x 9 mm is far from the usual",),
}
FIXES = {
    "label of another size": "Make it unlabeled",
    "constant image": "Leave it out",
    "one unreadable": "Leave it out",
    "unlabeled copy of a labeled scan": "Leave it out",
    "role without label": "Make it unlabeled",
    "same patient in training and validation": "Leave it out",
}


def panel(root, tmp_path):
    now = [0.0]
    made, failures = scenes.logic(tmp_path, clock=lambda: now[0])
    made.open(tmp_path / "set")
    made.add_folder(root)
    while made.is_busy:
        made.poll()
    now[0] = 10.0
    scenes.settle(made)
    return made, failures


@pytest.mark.parametrize("bad", BAD, ids=[bad.name for bad in BAD])
def test_every_line_is_shown(slicer_scene, tmp_path, bad):
    root = write_pairs(tmp_path / "source", CASES, LABELED)
    bad.plant(root)
    made, failures = panel(root, tmp_path)
    said = [*failures, *(finding.text for finding in scenes.findings(made))]
    expected = OWN_WORDS.get(bad.name, (*bad.problems, *bad.warnings))
    for words in expected:
        assert any(words in line for line in said), (words, said)
    assert all("\n" not in finding.text for finding in scenes.findings(made))
    if bad.problems:
        assert made.problems or failures
    if bad.name in FIXES:
        finding = next(f for f in scenes.findings(made) if expected[0] in f.text)
        assert FIXES[bad.name] in [fix.words for fix in finding.fixes]


def write_manifest(root, count):
    """List cases p00, p01..., all labeled but the last, which has the first one's patient."""
    lines = ["[labels]", "heart = 1", "lung = 2"]
    for number in range(count):
        role = "validation" if number == count - 1 else "labeled"
        lines += ["[[case]]", f'name = "p{number:02d}"', f'image = "images/pt{number:02d}.nii.gz"']
        lines += [f'label = "labels/pt{number:02d}.nii.gz"', f'role = "{role}"']
        lines += ['patient = "P1"'] if number in (0, count - 1) else []
    (root / "manifest.toml").write_text("\n".join(lines))


TOGETHER = {  # of the battery, each in a case of its own
    "label of another size": "case 'p00': label is 9x7x6 but image is 8x7x6",
    "label half a voxel away": "case 'p01': label lies 0.50 voxels away",
    "label with another spacing": "case 'p02': label lies 0.07 voxels away",
    "negative label value": "case 'p03': label holds the values -1",
    "label that is an image": "p04",
    "NaN": "case 'p05'",
    "infinity": "case 'p06'",
    "constant image": "case 'p07': image is constant (5 in every voxel)",
    "4D image": "case 'p08': image has 3 channels, expected 1 as the other cases",
    "RGB image": "case 'p09'",
    "complex image": "case 'p10'",
    "no voxel": "case 'p11'",
    "one voxel": "case 'p12': image has 1 voxels",
}


def test_every_line_of_a_data_set_with_every_fault_is_shown(slicer_scene, tmp_path, monkeypatch):
    count = 20
    root = write_pairs(tmp_path / "source", count, count)
    bad = {each.name: each for each in BAD}
    for number, name in enumerate(TOGETHER):
        monkeypatch.setattr(battery.image, "__defaults__", (number,))
        monkeypatch.setattr(battery.label, "__defaults__", (number,))
        bad[name].plant(root)
    images, labels = root / "images", root / "labels"
    (images / "pt13.nii.gz").write_bytes((images / "pt13.nii.gz").read_bytes()[:90])
    (images / "pt15.nii.gz").write_bytes((images / "pt14.nii.gz").read_bytes())
    (labels / "pt16.nii.gz").unlink()
    write_scan(labels / "pt17.nii.gz", np.zeros((6, 7, 8), np.uint8))
    write_scan(images / "pt18.nii.gz", scan(18), spacing=(9, 1, 1))
    write_scan(labels / "pt18.nii.gz", mask(), spacing=(9, 1, 1))
    write_manifest(root, count)
    made, failures = panel(root, tmp_path)
    expected = [
        *TOGETHER.values(),
        "p13",
        "cases 'p14', 'p15': hold the same voxels",
        "case 'p16': is labeled but has no segmentation",
        "case 'p17': label is empty",
        "case 'p18': spacing 1 x 1 x 9 mm is far from the usual",
        "patient 'P1': scans 'p00', 'p19' are labeled and held-out",
        "class 'lung' (value 2): in no labeled case",
        "no unlabeled case, but the method learns from unlabeled scans",
    ]
    said = [*failures, *(finding.text for finding in scenes.findings(made))]
    missing = [words for words in expected if not any(words in line for line in said)]
    assert missing == [], "\n".join(said)
    assert len(said) == len(expected) + 1, "\n".join(said)  # p16 is told by its file, too
    assert not any(str(tmp_path) in line for line in said)


def test_a_good_folder_has_no_finding(slicer_scene, tmp_path):
    made, failures = panel(write_pairs(tmp_path / "source", CASES, LABELED), tmp_path)
    assert (failures, scenes.findings(made)) == ([], [])


def test_a_problem_goes_away_with_its_fix(slicer_scene, tmp_path):
    root = write_pairs(tmp_path / "source", CASES, LABELED)
    (root / "images/pt03.nii.gz").write_bytes(b"\x1f\x8b")
    made, _ = panel(root, tmp_path)
    (finding,) = scenes.findings(made)
    made.fix(finding.fixes[-1])
    assert scenes.findings(made) == []
    assert len(made.draft.rows) == CASES - 1
