"""One step: what is minimised is what is logged, and a bad step leaves nothing behind."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from dycon_engine.config import TrainingConfig
from dycon_engine.data.batch import Batch
from dycon_engine.errors import NonFiniteError
from dycon_engine.losses.segmentation import dice_loss
from dycon_engine.methods import METHODS
from dycon_engine.training.distributed import Process
from dycon_engine.training.trainer import GRADIENT, Trainer, seed_step
from Testing.engine.methods.tiny import tiny_batch, tiny_method

CPU = Process(torch.device("cpu"))


def make_trainer(name="mean_teacher", **changes):
    config = dataclasses.replace(TrainingConfig(steps=20, learning_rate=1e-2), **changes)
    return Trainer(tiny_method(name), config, CPU)


def copy_of(state):
    return {name: value.clone() for name, value in state.items()}


def is_equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_what_is_logged_is_what_is_minimised():
    trainer = make_trainer("supervised", optimizer="sgd", momentum=0.0, weight_decay=0.0,
                           schedule="constant", clip_norm=0.0)  # fmt: skip
    batch = tiny_batch(unlabeled=0)
    twin = tiny_method("supervised")
    twin.load_state_dict(copy_of(trainer.method.state_dict()))
    seed_step(0, 0, 0)
    terms = twin.train()(batch, trainer.progress)
    sum(terms.values()).backward()
    outcome = trainer.step(batch)
    assert outcome.terms == pytest.approx(
        {name: float(term.detach()) for name, term in terms.items()}
    )
    assert outcome.loss == pytest.approx(sum(outcome.terms.values()))
    for own, other in zip(trainer.method.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(own, other - 1e-2 * other.grad, atol=1e-7)


def test_the_gradient_is_clipped():
    trainer = make_trainer(
        "supervised", clip_norm=1e-3, optimizer="sgd", learning_rate=1.0, momentum=0.0,
        schedule="constant", weight_decay=0.0,
    )  # fmt: skip
    before = [p.detach().clone() for p in trainer.method.parameters()]
    outcome = trainer.step(tiny_batch(unlabeled=0))
    moved = sum(
        float((p.detach() - old).square().sum())
        for p, old in zip(trainer.method.parameters(), before, strict=True)
    )
    assert outcome.gradient_norm > 1e-2
    assert moved**0.5 == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_loaded_state_goes_on_bit_for_bit(optimizer):
    whole, first = (make_trainer(optimizer=optimizer) for _ in range(2))
    for step in range(6):
        whole.step(tiny_batch(seed=step))
    for step in range(3):
        first.step(tiny_batch(seed=step))
    state = first.state()
    torch.manual_seed(999)
    second = make_trainer(optimizer=optimizer)
    second.load_state(state)
    for step in range(3, 6):
        second.step(tiny_batch(seed=step))
    assert is_equal(whole.method.state_dict(), second.method.state_dict())
    assert whole.step_count == second.step_count == 6


def test_randomness_depends_on_seed_step_and_rank():
    draws = set()
    for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]:
        seed_step(*key)
        draws.add(float(torch.rand(())))
    assert len(draws) == 4


def poisoned(batch):
    image = batch.image.clone()
    image[0, 0, 0, 0, 0] = float("nan")
    return Batch(image, batch.label, batch.unlabeled)


def test_too_many_bad_steps_in_a_row_stop_the_run_and_one_good_step_forgives():
    trainer = make_trainer(max_bad_steps=3)
    bad = poisoned(tiny_batch())
    for batch in (bad, bad, tiny_batch(), bad, bad):
        trainer.step(batch)
    with pytest.raises(NonFiniteError, match=r"3 steps in a row.*lower training\.learning_rate"):
        trainer.step(bad)


def test_the_count_of_bad_steps_survives_a_resume():
    trainer = make_trainer(max_bad_steps=3)
    for _ in range(2):
        trainer.step(poisoned(tiny_batch()))
    second = make_trainer(max_bad_steps=3)
    second.load_state(trainer.state())
    with pytest.raises(NonFiniteError):
        second.step(poisoned(tiny_batch()))


def test_a_bad_gradient_under_good_terms_is_named():
    trainer = make_trainer("supervised")
    weight = next(p for p in trainer.method.parameters() if p.requires_grad)
    weight.register_hook(lambda gradient: gradient * float("inf"))
    assert trainer.step(tiny_batch(unlabeled=0)).faults == (GRADIENT,)


def test_bf16_autocast_on_cpu_trains():
    trainer = make_trainer(precision="bf16")
    outcome = trainer.step(tiny_batch())
    assert not outcome.faults
    assert all(p.dtype is torch.float32 for p in trainer.method.parameters())


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_says_the_soft_dice_of_the_labeled_patches(name):
    """Twice the Dice weight doubles the term and leaves the Dice as it is."""
    found = []
    for weight in (1.0, 2.0):
        config = TrainingConfig(steps=20, learning_rate=1e-2)
        trainer = Trainer(tiny_method(name, dice_weight=weight), config, CPU)
        outcome = trainer.step(tiny_batch(unlabeled=2 if METHODS[name].needs_unlabeled else 0))
        found.append((outcome.diagnostics["labeled_dice"], outcome.terms["dice"]))
    (first, term), (second, doubled) = found
    assert 0.0 < first < 1.0
    assert second == pytest.approx(first, abs=1e-6)
    assert doubled == pytest.approx(2.0 * term, rel=1e-5)


def test_the_soft_dice_is_one_minus_the_dice_loss():
    trainer = make_trainer("supervised")
    twin = tiny_method("supervised")
    twin.load_state_dict(copy_of(trainer.method.state_dict()))
    batch = tiny_batch(unlabeled=0)
    seed_step(0, 0, 0)
    belief = twin.train().network(batch.image).logits.softmax(1)
    expected = 1.0 - float(dice_loss(belief, batch.label).detach())
    assert trainer.step(batch).diagnostics["labeled_dice"] == pytest.approx(expected, abs=1e-5)


def test_a_state_without_a_loss_scale_goes_on_where_one_is_needed():
    """Saved on a CPU or in bf16, resumed in fp16."""
    state = make_trainer("supervised").state()
    assert state["scaler"] == {}
    trainer = make_trainer("supervised")
    trainer._scaler = torch.amp.GradScaler("cpu", enabled=True)
    trainer.load_state(state)
    assert trainer._scaler.get_scale() == 2.0**16


def test_a_state_of_another_layout_is_loaded_through_the_trainer():
    """The whole run: every 5-D momentum lies as its weights do."""
    trainer = make_trainer("supervised")
    trainer.step(tiny_batch(unlabeled=0))
    state = trainer.state()
    for values in state["optimizer"]["state"].values():
        values.update({name: value.clone().contiguous() for name, value in values.items()})
    second = make_trainer("supervised")
    second.load_state(state)
    for parameter, values in second.optimizer.state.items():
        assert values["exp_avg"].stride() == parameter.stride()


@pytest.mark.parametrize(("scale", "backed_off"), [(1024.0, True), (0.5, False)])
def test_an_overflow_that_the_scaler_mends_is_told_from_one_that_it_does_not(scale, backed_off):
    trainer = make_trainer("supervised")
    trainer._scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    weight = next(p for p in trainer.method.parameters() if p.requires_grad)
    weight.register_hook(lambda gradient: gradient * float("inf"))
    outcome = trainer.step(tiny_batch(unlabeled=0))
    assert outcome.faults == (GRADIENT,)
    assert outcome.backed_off is backed_off
    assert trainer.bad_steps == (not backed_off)
