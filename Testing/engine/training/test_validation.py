"""Whole-volume scores on the scans' own grids, and calibration near boundaries."""

from __future__ import annotations

import math
import types

import numpy as np
import pytest
import torch
from torch import nn

from dycon_engine.data.cases import Case, Label
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.errors import CancelledError, NonFiniteError
from dycon_engine.inference.blending import Slab, Watch
from dycon_engine.training import sampling, validation
from dycon_engine.training.distributed import Process
from dycon_engine.training.validation import (
    CaseResult,
    Sample,
    Validator,
    calibrate,
    sample_voxels,
    summarize,
)
from dycon_engine.training.whole_scans import over_scan
from Testing.engine.training import small_run

LABELS = (Label(0, "background"), Label(1, "ball"))


class Threshold(nn.Module):
    """Sees the ball wherever the normalised intensity is above `level`."""

    def __init__(self, level: float, gain: float = 20.0) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))
        self.gain = gain

    def forward(self, image):
        """Return logits (B, 2, D, H, W)."""
        margin = (image[:, :1] - self.level) * self.gain
        return torch.cat((-margin, margin), dim=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_run.write_scans(tmp_path_factory.mktemp("scans") / "data")


def validator(data, reporter=None, spacing_mm=(2.0, 2.0, 2.0)):
    cases = tuple(
        Case(
            name,
            (data / "images" / f"{name}.nii.gz",),
            data / "labels" / f"{name}.nii.gz",
        )
        for name in small_run.NAMES[:2]
    )
    return Validator(
        cases=cases,
        labels=LABELS,
        preprocessing=Preprocessing(spacing_mm),
        config=small_run.small_config(data),
        process=Process(torch.device("cpu")),
        reporter=reporter or small_run.silent_reporter(),
    )


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (2.5, 2.2, 2.2)])
def test_a_good_predictor_scores_high_on_the_scans_own_grid(data, spacing):
    good = Threshold(1.8)
    found = validator(data, spacing_mm=spacing).run(good, good, surfaces=True)
    assert found.dice > 0.85
    assert found.student_dice is None
    assert found.dice == pytest.approx(np.mean([case.dice for case in found.cases]))
    assert found.dice_per_class == {"ball": pytest.approx(found.dice)}
    for case in found.cases:
        assert case.scores[0].dice == pytest.approx(case.dice[0])


def test_the_student_is_scored_where_it_is_another_network(data):
    good, blind = Threshold(1.8), Threshold(100.0)
    found = validator(data).run(good, blind)
    assert found.student_dice == 0.0
    assert found.dice > 0.85


def test_what_is_absent_from_a_case_is_left_out_of_its_mean():
    """Class a: found once, absent twice; class b: missed in the one case that holds it."""
    nan = math.nan
    rows = ((0.8, nan), (nan, 0.0), (nan, nan))
    labels = (*LABELS, Label(2, "other"))
    cases = [CaseResult(n, row, row, (), None) for n, row in enumerate(rows)]
    found = summarize(cases, labels)
    assert found.dice == found.student_dice == pytest.approx(0.4)
    assert found.dice_per_class == {"ball": 0.8, "other": 0.0}
    nothing = summarize(cases[2:], labels)
    assert nothing.dice == 1.0  # a checkpoint that finds nothing where nothing is
    assert all(math.isnan(dice) for dice in nothing.dice_per_class.values())


def test_no_cases_no_validation(data):
    empty = validator(data)
    empty = type(empty)(**{**vars(empty), "cases": ()})
    assert empty.run(Threshold(1.0), Threshold(1.0)) is None


def test_output_that_is_not_finite_is_an_error_naming_the_case(data):
    with pytest.raises(NonFiniteError, match="case 'scan0'"):
        validator(data).run(Threshold(float("nan")), Threshold(1.0))


def test_validation_hears_a_cancel(data):
    reporter = small_run.silent_reporter()
    reporter.cancel()
    with pytest.raises(CancelledError):
        validator(data, reporter).run(Threshold(1.0), Threshold(1.0))


def test_samples_lie_near_boundaries_with_their_own_logits():
    target = np.zeros((24, 24, 24), dtype=np.uint8)
    target[10:14, 10:14, 10:14] = 1
    number = np.arange(1.0, target.size + 1).reshape(target.shape)  # each logit names its voxel
    leads = np.where(target, -number, number)[None].astype(np.float32)
    sample = sample_voxels(leads, target, (1.0, 1.0, 1.0))
    where = np.unravel_index(np.abs(sample.logits[:, 1]).astype(int) - 1, target.shape)
    assert (target[where] == sample.targets).all()
    assert ((sample.logits[:, 1] > sample.logits[:, 0]) == sample.targets).all()
    assert {int(axis.min()) for axis in where} == {7}
    assert {int(axis.max()) for axis in where} == {16}
    assert sample_voxels(np.abs(leads), target * 0, (1.0, 1.0, 1.0)) is None


@pytest.mark.parametrize(
    ("spacing_mm", "beside"), [((1.0, 1.0, 1.0), (3, 3, 3)), ((5.0, 1.0, 1.0), (3, 15, 15))]
)
def test_samples_reach_three_of_the_longest_side_of_a_voxel_in_millimeters(spacing_mm, beside):
    target = np.zeros((12, 44, 44), dtype=np.uint8)
    target[5:7, 18:26, 20:24] = 1
    where = np.unravel_index(sampling.choose_voxels(target, target, spacing_mm), target.shape)
    reach = [(int(axis.min()), int(axis.max())) for axis in where]
    inside = ((5, 6), (18, 25), (20, 23))
    for (low, high), (first, last), n in zip(reach, inside, beside, strict=True):
        assert (low, high) == (first - n, last + n)


@pytest.mark.parametrize(("most", "step"), [(216, 1), (215, 2), (108, 2), (107, 3), (1, 216)])
def test_samples_are_at_most_so_many_evenly_taken(monkeypatch, most, step):
    monkeypatch.setattr(sampling, "SAMPLES_PER_CASE", most)
    target = np.arange(216).reshape(6, 6, 6).astype(np.uint8) % 2  # a boundary everywhere
    found = sampling.choose_voxels(target, target, (1.0, 1.0, 1.0))
    assert found.tolist() == list(range(0, 216, step))
    assert len(found) <= most


def test_samples_keep_the_order_of_several_classes():
    random = np.random.default_rng(1)
    logits = random.normal(size=(3, 6, 6, 6)).astype(np.float32)
    target = logits.argmax(axis=0).astype(np.uint8)
    sample = sample_voxels(logits[:1] - logits[1:], target, (1.0, 1.0, 1.0))
    assert (sample.logits.argmax(axis=1) == target.reshape(-1)).all()
    assert np.allclose(sample.logits, (logits - logits[:1]).reshape(3, -1).T)


def test_overconfident_logits_are_cooled():
    random = np.random.default_rng(0)
    true = random.normal(0.0, 1.5, 20_000)
    targets = (random.random(20_000) < 1 / (1 + np.exp(-true))).astype(np.uint8)
    logits = np.stack([np.zeros_like(true), 4.0 * true], axis=1).astype(np.float32)
    found = calibrate(
        [Sample(logits[:9000], targets[:9000]), Sample(logits[9000:], targets[9000:])]
    )
    assert found.temperature == pytest.approx(4.0, rel=0.1)
    assert found.ece_after < 0.02 < found.ece_before
    coverage, risk = zip(*found.risk_coverage, strict=True)
    assert coverage[-1] == 1.0
    assert risk[-1] > risk[3]


def test_nothing_to_calibrate_on_is_temperature_one():
    assert calibrate([]).temperature == 1.0
    assert calibrate([]).ece_after is None


def test_a_case_is_judged_with_the_temperature_of_the_others():
    """Two cases that need opposite temperatures: each looks well calibrated to its own fit only."""
    rng = np.random.default_rng(0)
    margin = rng.uniform(0.5, 2.0, 4000).astype(np.float32)
    chance = 1.0 / (1.0 + np.exp(-margin))
    targets = (rng.random(4000) < chance).astype(np.uint8)
    bold, shy = (np.stack([-m / 2, m / 2], axis=1) for m in (4.0 * margin, 0.25 * margin))
    apart = calibrate([Sample(bold, targets), Sample(shy, targets)])
    alone = calibrate([Sample(bold, targets)])
    assert alone.ece_after < 0.02
    assert apart.ece_after > 0.15


def test_a_scan_whose_logits_do_not_fit_gives_the_same_numbers(data, tmp_path, monkeypatch):
    usual = validator(data).run(Threshold(1.2, gain=1.0), Threshold(1.2))
    taken = []
    monkeypatch.setattr(validation, "available_bytes", lambda: 0)
    monkeypatch.setattr(validation, "slide", lambda *_, **__: taken.append("all at once"))
    with small_run.silent_reporter(tmp_path) as reporter:
        tight = validator(data, reporter).run(Threshold(1.2, gain=1.0), Threshold(1.2))
    assert not taken
    assert [e["topic"] for e in small_run.events(tmp_path) if "topic" in e] == ["memory"] * 2
    assert tight.dice == usual.dice > 0.0
    assert tight.calibration == usual.calibration
    for one, other in zip(usual.cases, tight.cases, strict=True):
        assert len(one.sample.targets) > 100
        assert (one.sample.logits == other.sample.logits).all()
        assert (one.sample.targets == other.sample.targets).all()


def test_samples_are_the_same_slab_by_slab_along_any_axis():
    random = np.random.default_rng(2)
    leads = torch.from_numpy(random.normal(size=(2, 9, 10, 11)).astype(np.float32))
    target = random.integers(0, 3, (9, 10, 11)).astype(np.uint8)
    whole = sample_voxels(leads.numpy(), target, (1.0, 1.0, 1.0))
    for axis in range(3):
        slabs = [
            Slab(axis, slice(start, stop), leads.narrow(axis + 1, start, stop - start))
            for start, stop in ((0, 4), (4, 5), (5, target.shape[axis]))
        ]
        found = np.zeros_like(target)
        assert len(list(sampling.kept_classes(slabs, found))) == 3
        chosen = sampling.choose_voxels(found, target, (1.0, 1.0, 1.0))
        sample = sampling.sample_of_slabs(slabs, chosen, target, 3)
        assert (sample.logits == whole.logits).all()
        assert (sample.targets == whole.targets).all()


@pytest.mark.parametrize(
    ("precision", "device", "dtype"),
    [
        ("fp32", "cuda", torch.float32),
        ("fp16", "cuda", torch.float16),
        ("bf16", "cuda", torch.bfloat16),
        ("bf16", "cpu", torch.float32),  # as `predict` has it there
    ],
)
def test_whole_scans_are_seen_in_the_number_format_of_the_run(data, precision, device, dtype):
    config = small_run.small_config(data, f"training.precision={precision}")
    prepared = types.SimpleNamespace(air=None, blank=None)
    options = over_scan(prepared, config, 2, torch.device(device), Watch())
    assert options["dtype"] is dtype
