"""The dual network's terms, switches and mean."""

from __future__ import annotations

import pytest
import torch

from dycon_engine.config import NetworkConfig
from dycon_engine.methods import build_method
from dycon_engine.networks import NetworkBuilder
from dycon_engine.networks.composing import Composition
from dycon_engine.schedules import Progress
from Testing.engine.methods.tiny import tiny_batch, tiny_method

END = Progress(10, 10)
EVERYTHING = {"cross_entropy", "dice", "disagreement", "cross_pseudo", "filtered", "contrast"}


def terms(**settings: object) -> dict[str, float]:
    method = tiny_method("dual_network", **settings)
    return {name: term.item() for name, term in method(tiny_batch(), END).items()}


@pytest.mark.parametrize(
    ("weight", "term"),
    [
        ("disagreement_weight", "disagreement"),
        ("cross_weight", "cross_pseudo"),
        ("filtered_weight", "filtered"),
        ("contrast_weight", "contrast"),
    ],
)
def test_a_term_that_is_switched_off_is_absent(weight: str, term: str) -> None:
    assert set(terms(**{weight: 0.0})) == EVERYTHING - {term}


@pytest.mark.parametrize(
    ("settings", "changed"),
    [
        ({"confidence": 0.0}, {"disagreement"}),
        ({"disagreement_loss": "supervised"}, {"disagreement"}),
        ({"kl_weighting": False}, {"cross_pseudo"}),
        ({"kept_end": 0.3}, {"filtered", "contrast"}),
        ({"temperature": 1.0}, {"contrast"}),
        ({"strong_intensity": 1.0}, {"cross_pseudo", "filtered", "contrast"}),
        ({"consistency_weight": 0.2}, {"cross_pseudo", "filtered", "contrast"}),
    ],
    ids=lambda value: "-".join(sorted(map(str, value))),
)
def test_every_switch_changes_its_terms_and_no_other(
    settings: dict[str, object], changed: set[str]
) -> None:
    before, after = terms(), terms(**settings)
    differing = {n for n in EVERYTHING if after[n] != pytest.approx(before[n], rel=1e-6)}
    assert differing == changed


def test_two_architectures_are_trained_and_described() -> None:
    for second in ("resunet3d", "vnet"):
        network = NetworkConfig(name="unet3d", filters=(4, 6, 8))
        build = NetworkBuilder(network, channels=1, classes=2)
        method = build_method("dual_network", {"second_network": second}, build)
        assert method.composition() == Composition(kind="mean_of_two", second=second)
        one, other = method.network.first, method.network.second
        assert {path for path, _ in one.named_parameters()} != {
            path for path, _ in other.named_parameters()
        }
        torch.stack(list(method(tiny_batch(edge=8), END).values())).sum().backward()
        assert all(p.grad is not None for p in method.parameters())


def test_the_mean_of_both_predicts() -> None:
    method = tiny_method("dual_network").eval()
    image = tiny_batch().image
    with torch.no_grad():
        one, other = (part(image).logits for part in method.network.children())
        found = method.predictor()(image)
    torch.testing.assert_close(found.softmax(1), (one.softmax(1) + other.softmax(1)) / 2)


def test_kept_voxels_grow_with_progress() -> None:
    shares = []
    for step in (0, 10):
        method = tiny_method("dual_network", kept_start=0.3, kept_end=1.0)
        method(tiny_batch(), Progress(step, 10))
        shares.append(float(method.diagnostics["kept"]))
    assert 0.3 <= shares[0] < shares[1] == 1.0
