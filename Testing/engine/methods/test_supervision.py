"""The two options of every recipe: the boundary loss and deep supervision."""

from __future__ import annotations

import copy

import pytest
import torch

from dycon_engine.config import NetworkConfig
from dycon_engine.data.batch import Batch
from dycon_engine.losses.boundary import boundary_distance, boundary_loss
from dycon_engine.losses.segmentation import cross_entropy, dice_loss
from dycon_engine.losses.uncertainty import posterior
from dycon_engine.methods import METHODS, build_method
from dycon_engine.methods.base import Method
from dycon_engine.methods.supervision import coarser
from dycon_engine.networks import NetworkBuilder
from dycon_engine.schedules import Progress
from Testing.engine.methods.tiny import optimizer_of, take_step, tiny_batch

HALF = Progress(5, 10)
ON = {"boundary_weight": 0.5, "boundary_reach_mm": 4.0, "deep_supervision": 1}
LAYOUTS = {
    "unet3d": NetworkConfig(filters=(4, 6, 8)),
    "laptop": NetworkConfig(filters=(4, 6, 8), stem=2),
    "residual": NetworkConfig(name="resunet3d", filters=(4, 6, 8)),
    "vnet": NetworkConfig(name="vnet", filters=(4, 6, 8), norm="batch", dropout=0.3),
}
every_method = pytest.mark.parametrize("name", sorted(METHODS))


def make(name: str, layout: str = "unet3d", classes: int = 2, **settings: object) -> Method:
    torch.manual_seed(0)
    build = NetworkBuilder(LAYOUTS[layout], channels=1, classes=classes)
    return build_method(name, settings, build)


def losses_of(method: Method, batch: Batch) -> dict[str, float]:
    torch.manual_seed(1)
    return {name: float(term.detach()) for name, term in method(batch, HALF).items()}


@every_method
def test_the_options_add_their_terms_and_change_no_other(name: str) -> None:
    batch = tiny_batch(classes=3)
    plain = losses_of(make(name, classes=3), batch)
    found = losses_of(make(name, classes=3, **ON), batch)
    assert set(found) == set(plain) | {"boundary", "deep"}
    assert {term: found[term] for term in plain} == plain
    assert found["boundary"] > 0.0
    assert found["deep"] > 0.0


@pytest.mark.parametrize(
    ("name", "layout"),
    [*((name, "vnet") for name in sorted(METHODS)), *(("dec_seg", key) for key in LAYOUTS)],
)
def test_every_parameter_learns_and_only_the_recipe_has_heads(name: str, layout: str) -> None:
    method, plain = make(name, layout, **ON), make(name, layout)
    ours, theirs = method.state_dict(), plain.state_dict()
    extra = set(ours) - set(theirs)
    assert extra
    assert all(path.startswith("supervision.heads.") for path in extra)
    shipped, expected = method.predictor().state_dict(), plain.predictor().state_dict()
    assert {k: v.shape for k, v in shipped.items()} == {k: v.shape for k, v in expected.items()}
    assert all(torch.equal(shipped[path], expected[path]) for path in expected)
    torch.stack(list(method(tiny_batch(), HALF).values())).sum().backward()
    for path, parameter in method.named_parameters():
        assert ("teacher" in path) == (parameter.grad is None), path


def test_a_resumed_run_keeps_its_heads() -> None:
    straight = make("mean_teacher", **ON)
    optimizer = optimizer_of(straight)
    take_step(straight, optimizer, tiny_batch(), HALF)
    saved = copy.deepcopy((straight.state_dict(), optimizer.state_dict(), torch.get_rng_state()))
    expected = take_step(straight, optimizer, tiny_batch(seed=1), HALF)
    resumed = make("mean_teacher", **ON)
    again = optimizer_of(resumed)
    resumed.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    torch.set_rng_state(saved[2])
    assert take_step(resumed, again, tiny_batch(seed=1), HALF) == expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_levels_are_given_in_training_only(layout: str) -> None:
    network = NetworkBuilder(LAYOUTS[layout], channels=1, classes=2)()
    image, factor = torch.randn(1, 1, 8, 8, 16), 4 if layout == "laptop" else 2
    (level,) = network(image).levels
    assert level.shape == (1, *network.between_features, 8 // factor, 8 // factor, 16 // factor)
    assert network.eval()(image).levels == ()


def test_deep_supervision_is_the_sum_of_halving_terms_from_fine_to_coarse() -> None:
    build = NetworkBuilder(NetworkConfig(filters=(4, 4, 6, 8)), channels=1, classes=2)
    method = build_method("supervised", {"deep_supervision": 2, "dice_weight": 0.7}, build)
    batch = tiny_batch(unlabeled=0)
    levels = method.network(batch.image).levels
    assert [level.shape[1:] for level in levels] == [(6, 4, 4, 4), (4, 8, 8, 8)]
    expected = 0.0
    heads = list(method.supervision.heads[0])
    for head, level, edge, weight in zip(heads, levels, (4, 8), (0.25, 0.5), strict=True):
        belief = posterior(head(level))
        label = coarser(batch.label, (edge, edge, edge))
        both = cross_entropy(belief.log_p, label) + 0.7 * dice_loss(belief.p, label)
        expected += weight * both
    torch.testing.assert_close(method(batch, HALF)["deep"], expected)


def test_of_several_coarser_levels_the_finest_are_supervised() -> None:
    build = NetworkBuilder(NetworkConfig(filters=(4, 6, 6, 8)), channels=1, classes=2)
    method = build_method("supervised", {"deep_supervision": 1}, build)
    batch = tiny_batch(unlabeled=0)
    level = method.network(batch.image).levels[-1]
    assert level.shape[1:] == (6, 8, 8, 8)
    belief = posterior(method.supervision.heads[0][0](level))
    label = coarser(batch.label, (8, 8, 8))
    expected = 0.5 * (cross_entropy(belief.log_p, label) + dice_loss(belief.p, label))
    torch.testing.assert_close(method(batch, HALF)["deep"], expected)


def test_a_coarser_label_is_that_of_the_middle_of_each_block() -> None:
    label = torch.arange(6).view(1, 1, 1, 6)
    assert coarser(label, (1, 1, 3)).flatten().tolist() == [1, 3, 5]
    assert coarser(label, (1, 1, 2)).flatten().tolist() == [1, 4]
    assert coarser(label, (1, 1, 6)).dtype == torch.long


@pytest.mark.parametrize("own", [0, 1])
def test_each_of_two_networks_has_heads_of_its_own(own: int) -> None:
    method = make("dual_network", second_network="vnet", deep_supervision=1)
    members = method.network.members
    widths = [part.between_features[0] for part in members]
    assert [heads[0].in_channels for heads in method.supervision.heads] == widths
    with torch.no_grad():
        for parameter in method.supervision.heads[1 - own].parameters():
            parameter.zero_()  # no gradient passes
    method(tiny_batch(), HALF)["deep"].backward()
    learns = [any(p.grad is not None and p.grad.any() for p in m.parameters()) for m in members]
    assert learns == [own == 0, own == 1]


def test_the_spacing_of_the_patches_reaches_the_boundary_loss() -> None:
    batch, spacing_mm = tiny_batch(unlabeled=0), (3.0, 1.0, 0.5)
    build = NetworkBuilder(LAYOUTS["unet3d"], channels=1, classes=2)
    torch.manual_seed(0)
    method = build_method("supervised", ON, build, spacing_mm=spacing_mm)
    found = method(batch, HALF)["boundary"]
    distance = boundary_distance(batch.label, 2, spacing_mm=spacing_mm, reach_mm=4.0)
    p = posterior(method.network(batch.image).logits).p
    torch.testing.assert_close(found, 0.5 * boundary_loss(p, batch.label, distance))
    assert found != make("supervised", **ON)(batch, HALF)["boundary"]


@every_method
def test_of_fewer_levels_than_asked_for_all_are_supervised(name: str) -> None:
    most, one = (make(name, deep_supervision=count) for count in (8, 1))
    assert [len(heads) for heads in most.supervision.heads] == [
        len(heads) for heads in one.supervision.heads
    ]
    torch.manual_seed(0)
    expected = one(tiny_batch(), HALF)["deep"]
    torch.manual_seed(0)
    assert most(tiny_batch(), HALF)["deep"] == expected


def test_a_network_without_levels_between_has_nothing_to_supervise_there() -> None:
    build = NetworkBuilder(NetworkConfig(filters=(4, 6)), channels=1, classes=2)
    method = build_method("supervised", {"deep_supervision": 2}, build)
    assert set(method(tiny_batch(unlabeled=0), HALF)) == {"cross_entropy", "dice"}


def test_the_options_learn_one_batch() -> None:
    method, batch = make("supervised", **ON), tiny_batch(unlabeled=0)
    optimizer = torch.optim.AdamW(method.parameters(), lr=2e-2)
    history = [take_step(method, optimizer, batch, Progress(k, 15)) for k in range(15)]
    for term in ("dice", "boundary", "deep"):
        assert history[-1][term] < 0.9 * history[0][term], term
