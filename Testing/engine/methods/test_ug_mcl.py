"""UG-MCL's two tasks and its switches."""

from __future__ import annotations

import pytest
import torch

from dycon_engine.config import NetworkConfig
from dycon_engine.losses.signed_distance import signed_distance
from dycon_engine.losses.uncertainty import foreground_fraction, posterior
from dycon_engine.methods.ug_mcl import TwoHeaded
from dycon_engine.networks import NetworkBuilder
from dycon_engine.schedules import Progress
from Testing.engine.methods.tiny import optimizer_of, take_step, tiny_batch, tiny_method

HALF = Progress(5, 10)


def terms(**settings: object) -> dict[str, float]:
    method = tiny_method("ug_mcl", **settings)
    return {name: term.item() for name, term in method(tiny_batch(), HALF).items()}


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ({"supervised_weight": 1.0}, {"cross_entropy", "dice", "shape_dice"}),
        ({"distance_weight": 0.6}, {"distance"}),
        ({"intra_weight": 1.0}, {"consistency"}),
        ({"cross_weight": 2.0}, {"cross_task"}),
        ({"consistency_weight": 0.2}, {"consistency", "cross_task"}),
    ],
    ids=lambda value: "-".join(sorted(map(str, value))),
)
def test_every_weight_doubles_its_terms_and_no_other(
    settings: dict[str, object], changed: set[str]
) -> None:
    before, after = terms(), terms(**settings)
    for name, value in before.items():
        factor = 2.0 if name in changed else 1.0
        assert after[name] == pytest.approx(factor * value, rel=1e-5), name


def test_the_mask_of_the_cross_task_is_the_teachers() -> None:
    unsure = {"threshold_start": 0.0, "threshold_end": 0.0}
    masked, open_ = terms(**unsure), terms(mask_cross_task=False, **unsure)
    assert masked["consistency"] == masked["cross_task"] == open_["consistency"] == 0.0
    assert open_["cross_task"] > 0.0


def test_the_teacher_is_watched_on_unlabeled_patches() -> None:
    method, batch = tiny_method("ug_mcl", teacher_noise=0.0), tiny_batch()
    own, other = (
        float(foreground_fraction(posterior(method.pair.teacher(patches).logits).p))
        for patches in (batch.unlabeled, batch.image)
    )
    assert own != other
    method(batch, HALF)
    assert float(method.diagnostics["foreground_teacher"]) == own


def test_as_released_there_is_no_head_and_no_regression() -> None:
    method = tiny_method("ug_mcl", distance_head=False, distance_weight=0.0)
    assert method.pair.student.head is None
    found = method(tiny_batch(), HALF)
    assert set(found) == {"cross_entropy", "dice", "shape_dice", "consistency", "cross_task"}
    result = method.pair.student.eval()(tiny_batch().image)
    torch.testing.assert_close(result.distance, result.logits[:, 1:].tanh())


def test_the_head_learns_the_signed_distance() -> None:
    alone = {"supervised_weight": 0.0, "consistency_weight": 0.0, "distance_weight": 1.0}
    method, batch = tiny_method("ug_mcl", passes=1, **alone), tiny_batch()
    optimizer = optimizer_of(method)
    history = [take_step(method, optimizer, batch, Progress(k, 40))["distance"] for k in range(40)]
    assert history[-1] < 0.5 * history[0]
    with torch.no_grad():
        found = method.pair.student.eval()(batch.image).distance
    inside = signed_distance(batch.label, 2) < 0.0
    assert found[inside].mean() < found[~inside].mean() - 0.3


def test_distances_have_the_size_of_the_patch_behind_a_strided_stem() -> None:
    network = NetworkBuilder(NetworkConfig(filters=(4, 6), stem=2), channels=1, classes=3)()
    found = TwoHeaded(network, distance_head=True)(torch.randn(1, 1, 8, 8, 12))
    assert found.distance.shape == (1, 2, 8, 8, 12)
    assert found.distance.abs().max() <= 1.0
