"""DyCON's switches, each on and off, and what its contrast may see."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dycon_engine.data.batch import AuditBatch, Batch
from dycon_engine.errors import InputError
from dycon_engine.methods import teaching
from dycon_engine.methods.dycon import DyconConfig
from dycon_engine.methods.views import View, turned
from dycon_engine.schedules import Progress
from Testing.engine.methods.tiny import tiny_batch, tiny_method

HALF = Progress(5, 10)


def terms(batch: Batch | None = None, **settings: object) -> dict[str, float]:
    method = tiny_method("dycon", **({"cell_confidence": 0.5} | settings))
    values = {k: v.item() for k, v in method(batch or tiny_batch(), HALF).items()}
    return values | {f"seen_{k}": float(v) for k, v in method.diagnostics.items()}


@pytest.mark.parametrize(
    ("settings", "gone"),
    [
        ({"use_uncl": False}, {"uncl"}),
        ({"use_fecl": False}, {"fecl"}),
        ({"fecl_scope": "none"}, {"fecl"}),
        ({"use_uncl": False, "use_fecl": False}, {"uncl", "fecl"}),
    ],
)
def test_a_term_that_is_switched_off_is_absent(settings: dict[str, object], gone: set[str]) -> None:
    everything = {"cross_entropy", "dice", "consistency", "uncl", "fecl"}
    found = {name for name in terms(**settings) if not name.startswith("seen_")}
    assert found == everything - gone


def test_pseudo_labels_are_a_term_of_their_own_and_change_no_other() -> None:
    plain, found = terms(), terms(pseudo_label_weight=0.5)
    assert found.pop("pseudo_label") > 0.0
    assert found == pytest.approx(plain)


def test_where_the_view_reaches_out_of_the_patch_no_term_learns(monkeypatch) -> None:
    """A view that lies beside its patch: neither soft labels, nor entropy, nor contrast."""

    def beside(patches: Tensor, strength: float) -> View:
        view = turned(patches, strength)
        return view._replace(inside=torch.zeros_like(view.inside))

    monkeypatch.setattr(teaching, "turned", beside)
    more = {"pseudo_label_weight": 1.0, "entropy_coefficient": 0.5, "strong_geometry": 1.0}
    found = terms(fecl_scope="pseudo", cell_confidence=0.6, **more)
    unlabeled = ("consistency", "pseudo_label", "uncl", "entropy", "fecl", "seen_cells_valid")
    assert {name: found[name] for name in unlabeled} == dict.fromkeys(unlabeled, 0.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"focal_weighting": False},
        {"entropy_weighting": False},
        {"teacher_negatives": 0},
        {"teacher_negatives": 50},
        {"tau": 0.1},
        {"gamma": 1.0},
        {"fecl_scope": "labeled"},
        {"fecl_scope": "pseudo"},
        {"aspp": True},
    ],
    ids=str,
)
def test_every_switch_of_fecl_changes_fecl(settings: dict[str, object]) -> None:
    assert terms(**settings)["fecl"] != pytest.approx(terms()["fecl"], rel=1e-6)


def test_entropy_coefficient_is_a_number_of_its_own_or_tied_to_beta() -> None:
    fixed = {"beta_max": 0.5, "beta_min": 0.5}
    assert "entropy" not in terms(entropy_coefficient=0.0, **fixed)
    own, tied = terms(entropy_coefficient=0.25, **fixed), terms(entropy_coefficient=None, **fixed)
    assert own["seen_beta"] == tied["seen_beta"] == 0.5
    assert tied["entropy"] == pytest.approx(2 * own["entropy"])


def test_beta_falls_exponentially() -> None:
    assert terms(beta_max=4.0, beta_min=1.0)["seen_beta"] == pytest.approx(2.0)  # half way


def test_uncl_at_beta_zero_is_half_the_consistency() -> None:
    found = terms(beta_max=0.0, beta_min=0.0, contrast_weight=1.0, consistency_weight=1.0)
    assert found["uncl"] == pytest.approx(found["consistency"] / 2, rel=1e-6)


def test_contrast_is_constant_without_its_rampup() -> None:
    constant, weak = (
        tiny_method("dycon", contrast_rampup=ramped)(tiny_batch(), Progress(0, 10))["fecl"].item()
        for ramped in (False, True)
    )
    assert weak == pytest.approx(math.exp(-5.0) * constant, rel=1e-5)


def test_labeled_scope_never_looks_at_pseudo_labels() -> None:
    """With dropout and batch norm the passes are apart, so FeCL must not change at all."""
    batch, other = tiny_batch(), tiny_batch(seed=5)
    changed = Batch(batch.image, batch.label, other.unlabeled)
    assert (
        terms(batch, fecl_scope="labeled")["fecl"] == terms(changed, fecl_scope="labeled")["fecl"]
    )
    assert terms(batch, fecl_scope="both")["fecl"] != terms(changed, fecl_scope="both")["fecl"]


def test_fecl_leaves_out_the_cells_that_a_labeled_patch_covers() -> None:
    """Their embeddings in student and teacher are of two different patches."""
    sure = {"fecl_scope": "pseudo", "cell_confidence": 0.51}
    method = tiny_method("dycon", **sure)
    mixing = tiny_method("dycon", **sure, mixing=1.0)
    for each in (method, mixing):
        with torch.no_grad():
            each.pair.teacher.module.network.classifier.weight.mul_(100.0)
        each(tiny_batch(), HALF)
    plain, mixed = (float(m.diagnostics["cells_valid"]) for m in (method, mixing))
    assert 0.0 < mixed < plain


def test_the_teacher_never_decodes_labeled_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, embedded = [], []
    for settings in ({}, {"teacher_negatives": 0}, {"fecl_scope": "pseudo"}, {"use_fecl": False}):
        method = tiny_method("dycon", **settings)
        teacher = method.pair.teacher
        teacher.register_forward_pre_hook(lambda _, inputs: decoded.append(len(inputs[0])))

        def embed(image: Tensor, embed: Callable[[Tensor], Tensor] = teacher.embed) -> Tensor:
            embedded.append(len(image))
            return embed(image)

        monkeypatch.setattr(teacher, "embed", embed)
        method(tiny_batch(), HALF)
    assert decoded == [2, 2, 2, 2]
    assert embedded == [2]


def test_the_oracle_is_locked_and_refused_in_one_sentence() -> None:
    with pytest.raises(InputError, match=r"fecl_scope: 'oracle'.*choose labeled") as caught:
        tiny_method("dycon", fecl_scope="oracle")
    assert "\n" not in str(caught.value)


def test_an_unlocked_oracle_still_finds_no_label_in_an_ordinary_batch() -> None:
    method = tiny_method("dycon", fecl_scope="oracle", unlock_oracle=True)
    assert method.sees_hidden_labels
    with pytest.raises(InputError, match="a batch without hidden labels"):
        method(tiny_batch(), HALF)


def test_the_oracle_contrasts_by_the_hidden_labels_and_by_nothing_else_of_them() -> None:
    batch = tiny_batch()
    hidden = torch.zeros(2, 16, 16, 16, dtype=torch.long)
    values = []
    for corner in (0, 8):
        truth = hidden.clone()
        truth[:, corner : corner + 8, :8, :8] = 1
        audit = AuditBatch(batch.image, batch.label, batch.unlabeled, truth)
        method = tiny_method("dycon", fecl_scope="oracle", unlock_oracle=True)
        values.append({name: term.item() for name, term in method(audit, HALF).items()})
    assert values[0].pop("fecl") != values[1].pop("fecl")
    assert values[0] == values[1]


def test_cells_of_hidden_labels_have_to_be_as_pure_as_those_of_labels() -> None:
    """However sure a teacher has to be, who is not asked."""
    batch, truth = tiny_batch(), torch.zeros(2, 16, 16, 16, dtype=torch.long)
    truth[:, 1:11, :8, :8] = 1  # fills three quarters of some cells
    audit = AuditBatch(batch.image, batch.label, batch.unlabeled, truth)
    values = {}
    for purity, confidence in ((0.7, 0.99), (0.7, 0.5), (0.9, 0.5)):
        settings = {"cell_purity": purity, "cell_confidence": confidence}
        method = tiny_method("dycon", fecl_scope="oracle", unlock_oracle=True, **settings)
        values[purity, confidence] = method(audit, HALF)["fecl"].item()
    assert values[0.7, 0.99] == values[0.7, 0.5] != values[0.9, 0.5]


@pytest.mark.parametrize("scope", ["labeled", "pseudo", "both", "none"])
def test_no_other_scope_sees_hidden_labels(scope: str) -> None:
    assert not tiny_method("dycon", fecl_scope=scope, unlock_oracle=True).sees_hidden_labels


def test_fecl_cannot_reach_a_label_of_an_unlabeled_patch() -> None:
    assert {field.name for field in dataclasses.fields(Batch)} == {"image", "label", "unlabeled"}
    assert DyconConfig().fecl_scope == "both"


def test_an_unsure_teacher_leaves_its_cells_out() -> None:
    sure = tiny_method("dycon", fecl_scope="pseudo", cell_confidence=1.0)
    value = sure(tiny_batch(), HALF)["fecl"]
    assert value.item() == 0.0
    assert float(sure.diagnostics["cells_valid"]) == 0.0
    value.backward()  # still a gradient for every parameter of the head: zero
    assert not any(p.grad.any() for p in sure.pair.student.head.parameters())


def test_weights_can_carry_gradient() -> None:
    def gradient(detach: bool) -> torch.Tensor:
        method = tiny_method("dycon", detach_weights=detach)
        method(tiny_batch(), HALF)["uncl"].backward()
        return method.pair.student.network.classifier.weight.grad.clone()

    assert not torch.allclose(gradient(True), gradient(False))


def test_a_beta_that_cannot_fall_exponentially_is_refused() -> None:
    with pytest.raises(InputError, match=r"beta_max 0 and beta_min 0\.1.*both 0"):
        tiny_method("dycon", beta_max=0.0)
    assert terms(beta_max=0.0, beta_min=0.0)["uncl"] > 0.0
