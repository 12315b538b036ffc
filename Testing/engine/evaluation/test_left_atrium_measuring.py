"""Measuring the left-atrium model: changes move image and label together, pools are exact."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.left_atrium import COARSE, FINE, SETTINGS, SHIPPED, WIDE, limits, reproduce
from benchmarks.left_atrium_changes import OUTSIDE, ROBUSTNESS, Scan
from benchmarks.left_atrium_log import compact
from benchmarks.left_atrium_measuring import _bins, grid_dice, pooled
from benchmarks.left_atrium_surroundings import WIDTH_MM, Donor, surrounded
from dycon_engine.config import resolve
from dycon_engine.data.geometry import Geometry
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.volume import Volume
from dycon_engine.evaluation.calibration import reliability_of
from dycon_engine.jobs.events import Finished, Started, StepDone, Validated, Warned
from dycon_engine.methods import METHODS
from dycon_engine.package import load_package
from dycon_engine.settings import build

GRID = Geometry.from_parts((40, 44, 48), (0.625, 0.625, 0.625), (10.0, -20.0, 30.0))
OTHER_ANATOMY = ("surrogate", "half")  # no label, or only a part of it
LARGER = {"voxel size read as twice": 8.0}
LOSSES = {"outside": 0.8, "small": 0.02, "bad": 0.4, "worse": 0.7, "nothing there": None}
INTENSITIES = {"noise", "inhomogeneity", "gamma", "scale", "blur"}


def ball():
    """A bright ball, off center, in gray tissue."""
    index = np.stack(np.meshgrid(*map(np.arange, GRID.size_zyx), indexing="ij"))
    away = np.sqrt(((index - np.array([18, 24, 20])[:, None, None, None]) ** 2).sum(axis=0))
    label = (away < 15).astype(np.uint8)
    noise = np.random.default_rng(0).normal(0, 2, GRID.size_zyx)
    image = np.round(20 + 60 * label + noise).astype(np.float32)
    return Scan(Volume(image[None], GRID), Volume(label, GRID))


@pytest.mark.parametrize("change", [*ROBUSTNESS, *OUTSIDE], ids=lambda c: f"{c.group} {c.name}")
def test_a_change_moves_image_and_label_together(change):
    scan = ball()
    if "painted" in change.name or "region" in change.name:
        change = change._replace(apply=ROBUSTNESS[4].apply)  # 160 mm: the others are alike
    changed = change(scan, "pt1")
    again = change(scan, "pt1")
    assert np.array_equal(changed.image.array, again.image.array)
    assert changed.image.geometry.size_zyx == changed.label.array.shape
    assert changed.image.array.dtype == np.float32
    assert np.isfinite(changed.image.array).all()
    assert np.array_equal(scan.image.array, ball().image.array), "the source was changed"
    if any(word in change.name for word in OTHER_ANATOMY):
        return
    milliliters = [one.label.array.sum() * one.label.geometry.voxel_mm3 for one in (scan, changed)]
    factor = LARGER.get(change.name, 1.0)
    assert milliliters[1] == pytest.approx(factor * milliliters[0], rel=0.06)
    if change.group not in INTENSITIES and not change.outside:
        inside = changed.image.array[0][changed.label.array == 1]
        assert np.median(inside) > 50, "the label lies beside the bright ball"


def test_a_finer_grid_allows_more():
    label = ball().label
    coarse, fine, same = (
        grid_dice(Preprocessing(spacing_mm=(mm,) * 3), label) for mm in (2.5, 1.0, 0.625)
    )
    assert coarse < fine < same == 1.0


def test_the_pool_of_two_scans_is_the_reliability_of_all_their_voxels():
    random = np.random.default_rng(1)
    parts = [(random.uniform(0.5, 1, n), random.random(n) < 0.8) for n in (300, 5)]
    together = reliability_of(*(np.concatenate(rows) for rows in zip(*parts, strict=True)))
    found = pooled([_bins(reliability_of(*part)) for part in parts])
    assert found.voxels.tolist() == together.voxels.tolist()
    assert found.ece == pytest.approx(together.ece, abs=1e-3)


def test_known_failures_are_the_large_losses_worst_first():
    rows = [
        {"group": group, "change": "c", "dice": 0.9 - (loss or 0), "loss": loss}
        | {"reviewed": 1, "cases": 2, "outside": group == "outside"}
        for group, loss in LOSSES.items()
    ]
    found = limits({"changes": rows}, outside=False)
    assert [text.split(",")[0] for text in found] == ["worse", "bad"]
    said = "0.200 (same 2 scans unchanged: 0.900); a review is asked for in 1 of 2 scans"
    assert said in found[0]
    (unusable,) = limits({"changes": rows}, outside=True)
    assert unusable.startswith("unusable scan")


def test_a_step_done_twice_counts_once_and_means_are_over_blocks():
    def step(number, loss):
        return StepDone(
            time_s=100.0 + number, step=number, total=240, loss=loss, terms={"dice": loss},
            learning_rate=0.1, step_s=2.0,
        )  # fmt: skip

    events = [
        Started(time_s=100.0, job="train", engine="0"),
        Started(time_s=100.5, job="train", engine="0", device="cpu", device_name="x"),
        Warned(time_s=101.0, topic="start", message="other spacing"),
        *(step(n, 1.0) for n in range(1, 201)),
        *(step(n, 3.0) for n in range(199, 241)),
        Validated(time_s=160.0, step=240, dice=0.9),
        Finished(time_s=161.0, summary={"dice": 0.9, "steps": 240}),
    ]
    found = compact(events, {"engine": "0", "config": {}, "data": {}})
    assert found["training_seconds"] == 480
    assert [block["last_step"] for block in found["blocks"]] == list(range(2, 241, 2))
    assert [found["blocks"][i]["terms"]["dice"] for i in (98, 99)] == [1.0, 3.0]
    assert found["validation"][0]["minutes"] == 1.0
    assert found["summary"] == {"dice": 0.9, "steps": 240}
    assert (found["starts"], found["device"]["device_name"]) == (1, "x")
    assert found["warnings"] == [{"step_time_s": 1, "text": "other spacing"}]


@pytest.mark.parametrize("stage", [COARSE, FINE, WIDE])
def test_the_settings_of_every_stage_are_known(stage):
    config = resolve("laptop", (), ("method.name=dycon", *SETTINGS, *stage))
    build(METHODS["dycon"].Config, config.method.settings)
    assert config.training.patch_size == (48, 80, 96)


@pytest.mark.parametrize(
    ("training", "stages"),
    [({}, 1), ({"started_from": "a"}, 2), ({"started_from": "a", "wider_copies": 72}, 4)],
)
def test_the_card_names_a_command_for_every_stage(training, stages):
    info = dataclasses.replace(load_package(SHIPPED).info, training=training)
    assert len(reproduce(info).split(" && ")) == stages


def test_a_scan_is_unchanged_in_the_middle_of_its_surroundings():
    scan = ball()
    image, label = scan.image.array[0], scan.label.array
    donor = Donor(image, label == 0)
    wide, wide_label = surrounded(image, label, [donor], 0.625, np.random.default_rng(0))
    assert wide.shape == wide_label.shape
    assert all(n >= WIDTH_MM[0] / 0.625 - 1 for n in wide.shape[1:])
    assert wide_label.sum() == label.sum(), "an atrium was cut off or copied"
    inside = wide[wide_label == 1]
    assert abs(np.median(inside.astype(float) - image[label == 1])) <= 1
    assert wide[wide_label == 0].std() > 3, "nothing is around it"
