"""What dataset.json of nnU-Net declares and the engine cannot do."""

from __future__ import annotations

import json

from dycon_engine.config import DataConfig
from dycon_engine.data.layouts import find_cases
from Testing.tiny_scans import mask, scan, write_scan


def test_the_label_ignore_is_refused_in_words(tmp_path):
    write_scan(tmp_path / "imagesTr/hip_1_0000.nii.gz", scan(1))
    write_scan(tmp_path / "labelsTr/hip_1.nii.gz", mask(values=(1, 2)))
    card = {"labels": {"background": 0, "hip": 1, "ignore": 2}}
    (tmp_path / "dataset.json").write_text(json.dumps(card))
    dataset = find_cases(tmp_path, DataConfig())
    assert [label.name for label in dataset.labels] == ["background", "hip"]
    [problem] = dataset.problems
    assert (
        "dataset.json': the label 'ignore' is not supported; give the voxels of value 2" in problem
    )
    del card["labels"]["ignore"]
    (tmp_path / "dataset.json").write_text(json.dumps(card))
    assert find_cases(tmp_path, DataConfig()).problems == ()
