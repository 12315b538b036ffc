"""Anatomy that looks blank, as lungs in a clipped CT, is kept where labels say so."""

from __future__ import annotations

import numpy as np
import pytest

from dycon_engine.config import DataConfig, RunConfig
from dycon_engine.data.audit import Audit, audit
from dycon_engine.data.cases import read_case_image
from dycon_engine.data.layouts import find_cases
from dycon_engine.data.splits import split_cases
from Testing.tiny_scans import write_scan

SIZE = (16, 40, 40)
SPACING = (2.0, 1.5, 1.5)


def chest(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a CT (D, H, W) whose lung is cut by the first slice, and the label map of the lung."""
    random = np.random.default_rng(seed)
    z, y, x = np.indices(SIZE)
    body = ((y - 20) / 17.0) ** 2 + ((x - 20) / 18.0) ** 2 < 1
    lung = (((y - 20) / 9.0) ** 2 + ((x - 12) / 5.0) ** 2 < 1) & (z < 10)
    image = np.where(body, 40.0, -1000.0) + random.normal(0.0, 10.0, SIZE)
    image = np.where(lung, -850.0 + random.normal(0.0, 40.0, SIZE), image)
    return image.astype(np.float32), lung.astype(np.uint8)


def write(root, change, label=lambda lung: lung):
    for number in range(4):
        image, lung = chest(number)
        write_scan(root / "images" / f"c{number}.nii.gz", change(image), spacing=SPACING)
        write_scan(root / "labels" / f"c{number}.nii.gz", label(lung), spacing=SPACING)
    return root


def audited(root) -> Audit:
    config = RunConfig(data=DataConfig(validation=1))
    dataset = find_cases(root, config.data)
    return audit(dataset, split_cases(dataset, config.data), config)


def clipped(image):
    return np.clip(image, -160.0, 240.0)


def test_a_class_that_is_drawn_where_scans_are_blank_is_told_and_recorded(tmp_path):
    found = audited(write(tmp_path, clipped))
    [warning] = found.warnings
    assert warning.startswith(
        "class 'foreground': 100% of it is drawn where the scans are blank, large blocks of one "
        "value at the rim (cases 'c0', 'c1', 'c2', ... (4 in all))"
    )
    assert found.notices[0].topic == "blank"
    preprocessing = found.preprocessing(RunConfig())
    assert not preprocessing.excludes_blank
    config = DataConfig()
    image = read_case_image(find_cases(tmp_path, config).cases[0], config)
    prepared = preprocessing.prepare(image)
    assert prepared.blank is prepared.blank_source is None
    assert not prepared.air.any()


def test_raw_scans_and_labels_beside_what_is_blank_change_nothing(tmp_path):
    raw, beside = tmp_path / "raw", tmp_path / "beside"
    found = audited(write(raw, lambda image: image))
    assert found.warnings == ()
    assert found.preprocessing(RunConfig()).excludes_blank

    def body(lung):
        y, x = np.indices(SIZE)[1:]
        return (((y - 20) / 17.0) ** 2 + ((x - 20) / 18.0) ** 2 < 1).astype(np.uint8) * (1 - lung)

    found = audited(write(beside, clipped, body))
    assert found.warnings == ()
    assert found.preprocessing(RunConfig()).excludes_blank


def test_the_label_of_a_held_out_scan_decides_nothing(tmp_path):
    write(tmp_path, clipped)
    config = RunConfig(data=DataConfig(validation=1))
    split = split_cases(find_cases(tmp_path, config.data), config.data)
    for name in split.labeled:
        heart = np.zeros(SIZE, np.uint8)
        heart[4:12, 16:24, 18:26] = 1
        write_scan(tmp_path / "labels" / f"{name}.nii.gz", heart, spacing=SPACING)
    found = audited(tmp_path)
    assert found.preprocessing(RunConfig()).excludes_blank
    assert "blank" not in {notice.topic for notice in found.notices}


@pytest.mark.parametrize(("spilled", "told"), [(20, False), (40, True)])
def test_a_few_voxels_at_the_rim_of_a_filling_are_no_anatomy(tmp_path, spilled, told):
    def label(lung):
        drawn = np.zeros_like(lung)
        drawn[10:, 10:30, 10:30] = 1  # 2400 voxels of tissue
        drawn[0, 0, :spilled] = 1  # in the air around: 0.8 % or 1.6 % of it
        return drawn

    found = audited(write(tmp_path, clipped, label))
    assert ("blank" in {notice.topic for notice in found.notices}) is told
    assert len(found.warnings) == told
