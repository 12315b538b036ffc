"""Which scans are taken for CT, why, and which of them a window would spoil."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from dycon_engine.config import DataConfig, PreprocessingConfig, RunConfig, resolve
from dycon_engine.data.audit import Audit, audit
from dycon_engine.data.layouts import find_cases
from dycon_engine.data.splits import split_cases
from Testing.tiny_scans import write_scan

SIZE = (12, 48, 48)


def ct(seed: int, fill: float | None = None) -> np.ndarray:
    """A body of 40 HU in air; `fill` outside the round field of view."""
    radius = np.hypot(*(np.indices(SIZE)[1:] - 23.5)) / 23.5
    noise = np.random.default_rng(seed).normal(0.0, 15.0, SIZE)
    image = np.maximum(np.where(radius < 0.7, 40.0, -1000.0) + noise, -1024.0)
    return np.where(radius > 1.0, fill, image) if fill is not None else image


def phase(seed: int) -> np.ndarray:
    """Phase of -4096 to 4095: smooth in the body, noise around it."""
    random = np.random.default_rng(seed)
    radius = np.hypot(*(np.indices(SIZE)[1:] - 23.5)) / 23.5
    smooth = ndimage.gaussian_filter(random.normal(0.0, 1.0, SIZE), 5)
    wrapped = (smooth / smooth.std() * 6000.0 + 4096.0) % 8192.0 - 4096.0
    return np.rint(np.where(radius < 0.7, wrapped, random.uniform(-4096.0, 4095.0, SIZE)))


def audited(root, scans, config=None, *, channels=1) -> tuple[Audit, RunConfig]:
    """Write `scans` (D, H, W), `channels` of them a case, and audit them."""
    organ = np.zeros(SIZE, np.uint8)
    organ[4:8, 20:28, 20:28] = 1
    rows = ["case,label," + ",".join(["image", "image_2"][:channels])]
    for number in range(len(scans) // channels):
        files = []
        for channel in range(channels):
            files.append(f"c{number}_{channel}.nii")
            write_scan(root / files[-1], scans[number * channels + channel].astype(np.float32))
        write_scan(root / f"l{number}.nii", organ)
        rows.append(",".join((f"c{number}", f"l{number}.nii", *files)))
    (root / "manifest.csv").write_text("\n".join(rows))
    config = config or RunConfig(data=DataConfig(validation=1))
    dataset = find_cases(root, config.data)
    return audit(dataset, split_cases(dataset, config.data), config), config


@pytest.mark.parametrize("fill", [None, -2000.0, -3024.0])
@pytest.mark.parametrize("turned", [False, True])
def test_ct_keeps_its_window_however_it_was_filled_and_turned(tmp_path, fill, turned):
    scans = [ct(seed, fill) for seed in range(3)]
    if turned:
        outside = -1000.0 if fill is None else fill
        scans = [ndimage.rotate(s, 20, (1, 2), reshape=False, cval=outside) for s in scans]
    found, config = audited(tmp_path, scans)
    assert found.preprocessing(config).normalization == "window"
    assert found.normalization(config) == (
        "normalization: window -160 to 240, taken for CT: air below -500, as in Hounsfield units, "
        "in 3 of 3 scans; set preprocessing.normalization to choose another"
    )
    assert found.warnings == ()


def test_mr_is_no_ct(tmp_path):
    found, config = audited(tmp_path, [ct(seed) + 1024.0 for seed in range(3)])
    assert found.preprocessing(config).normalization == "zscore"
    assert found.normalization(config).startswith(
        "normalization: zscore, not taken for CT: nothing below -500, the air of Hounsfield units, "
        "in 3 of 3 scans"
    )


def test_half_of_the_scans_in_hounsfield_units_is_not_enough(tmp_path):
    scans = [ct(seed) + (1024.0 if seed > 1 else 0.0) for seed in range(4)]
    found, config = audited(tmp_path, scans)
    assert found.preprocessing(config).normalization == "zscore"
    assert "in 2 of 4 scans" in found.normalization(config)


def test_one_channel_of_hounsfield_units_does_not_window_the_others(tmp_path):
    pet = [np.clip(ct(seed + 9) / 15.0, 0.0, 12.0) for seed in range(3)]
    scans = [image for seed in range(3) for image in (ct(seed), pet[seed])]
    found, config = audited(tmp_path, scans, channels=2)
    assert found.preprocessing(config).normalization == "zscore"
    assert "a channel with nothing below -500" in found.normalization(config)


def test_two_channels_of_hounsfield_units_are_ct(tmp_path):
    found, _ = audited(tmp_path, [ct(seed) for seed in range(6)], channels=2)
    assert found.is_ct


def test_a_phase_image_is_no_ct(tmp_path):
    found, config = audited(tmp_path, [phase(seed) for seed in range(3)])
    assert found.preprocessing(config).normalization == "zscore"
    assert "many values below -1500, where CT has none" in found.normalization(config)


def test_scans_with_an_offset_among_hounsfield_units_are_told(tmp_path):
    scans = [ct(seed) + (1048.0 if seed > 3 else 0.0) for seed in range(7)]
    found, _ = audited(tmp_path, scans)
    assert found.is_ct
    assert [finding.cases for finding in found.notices] == [("c4",), ("c5",), ("c6",)]
    assert "case 'c4': lowest value 24, but 4 of 7 scans reach below -500" in found.warnings[0]
    plain = resolve(assignments=["preprocessing.normalization=zscore", "data.validation=1"])
    dataset = find_cases(tmp_path, plain.data)
    told = audit(dataset, split_cases(dataset, plain.data), plain)
    assert told.warnings == ()
    assert told.normalization(plain) == (
        "normalization: zscore, as preprocessing.normalization says"
    )


def test_a_window_of_other_units_is_nobodys_offset(tmp_path):
    mr = RunConfig(
        data=DataConfig(validation=1),
        preprocessing=PreprocessingConfig(normalization="window", window=(0.0, 900.0)),
    )
    found, _ = audited(tmp_path, [ct(seed) + 1024.0 for seed in range(3)], mr)
    assert found.warnings == ()
