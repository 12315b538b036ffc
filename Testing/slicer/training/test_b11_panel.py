"""Every bad data set of battery B11, added through the panel as a folder: every line is shown."""

from __future__ import annotations

import pytest

from Testing.faults.test_b11_audit import BAD, CASES, LABELED
from Testing.slicer.training import scenes
from Testing.tiny_scans import write_pairs

# what the panel says in its own words: with the case's title and, where there is one, a fix
OWN_WORDS = {
    "duplicate pixels": ("cases 'c0', 'c3': hold the same voxels but are labeled and held-out",),
    "same patient in training and validation": ("patient 'P1': scans 'c0', 'c3' are labeled and",),
    "role without label": ("case 'c1': is labeled but has no segmentation",),
    "every label empty": ("every labeled case is empty",),
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
    said = [*failures, *(finding.text for finding in made.findings)]
    expected = OWN_WORDS.get(bad.name, (*bad.problems, *bad.warnings))
    for words in expected:
        assert any(words in line for line in said), (words, said)
    assert all("\n" not in finding.text for finding in made.findings)
    if bad.problems:
        assert made.problems or failures
    if bad.name in FIXES:
        finding = next(f for f in made.findings if expected[0] in f.text)
        assert FIXES[bad.name] in [fix.words for fix in finding.fixes]


def test_a_good_folder_has_no_finding(slicer_scene, tmp_path):
    made, failures = panel(write_pairs(tmp_path / "source", CASES, LABELED), tmp_path)
    assert (failures, made.findings) == ([], [])


def test_a_problem_goes_away_with_its_fix(slicer_scene, tmp_path):
    root = write_pairs(tmp_path / "source", CASES, LABELED)
    (root / "images/pt03.nii.gz").write_bytes(b"\x1f\x8b")
    made, _ = panel(root, tmp_path)
    (finding,) = made.findings
    made.fix(finding.fixes[-1])
    assert made.findings == []
    assert len(made.draft.rows) == CASES - 1
