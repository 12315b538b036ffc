"""B13: NaN or infinity at ten places, five steps each: the bad step leaves nothing behind."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from dycon_engine.config import TrainingConfig
from dycon_engine.data.batch import Batch
from dycon_engine.errors import NonFiniteError
from dycon_engine.training.checkpoint import encode
from dycon_engine.training.distributed import Process
from dycon_engine.training.trainer import Trainer
from Testing.engine.methods.tiny import tiny_batch, tiny_method

STEPS = 5


def image(batch, value):
    changed = batch.image.clone()
    changed[0, 0, 1, 2, 3] = value
    return Batch(changed, batch.label, batch.unlabeled)


def unlabeled(batch, value):
    changed = batch.unlabeled.clone()
    changed[-1, 0, 1, 2, 3] = value
    return Batch(batch.image, batch.label, changed)


def term(value):
    """Make one of the terms `value` in the wrapped call only."""

    def change(trainer):
        forward = trainer.method.forward

        def poisoned(batch, progress):
            terms = forward(batch, progress)
            return terms | {"dice": terms["dice"] * value}

        return forward, poisoned

    return change


def logits(value):
    """Add `value` to one logit of the student."""

    def change(trainer):
        forward = trainer.method.forward

        def poisoned(batch, progress):
            def hook(module, inputs, output):
                output = output.clone()
                output[0, 0, 0, 0, 0] = value
                return output

            classifier = next(
                m for n, m in trainer.method.named_modules() if n.endswith("classifier")
            )
            handle = classifier.register_forward_hook(hook)
            try:
                return forward(batch, progress)
            finally:
                handle.remove()

        return forward, poisoned

    return change


def gradient(value):
    """Turn a gradient into `value` while the terms stay good."""

    def change(trainer):
        forward = trainer.method.forward

        def poisoned(batch, progress):
            terms = forward(batch, progress)
            terms["dice"].register_hook(lambda g: g * value)
            return terms

        return forward, poisoned

    return change


NAN, INF = math.nan, math.inf
IN_DATA = {
    "image NaN": (image, NAN),
    "image Inf": (image, INF),
    "unlabeled NaN": (unlabeled, NAN),
    "unlabeled -Inf": (unlabeled, -INF),
}
IN_CODE = {
    "logits NaN": logits(NAN),
    "logits Inf": logits(INF),
    "loss NaN": term(NAN),
    "loss Inf": term(INF),
    "gradient NaN": gradient(NAN),
    "gradient Inf": gradient(INF),
}


def make_trainer():
    config = dataclasses.replace(TrainingConfig(), steps=100, max_bad_steps=10)
    return Trainer(tiny_method("mean_teacher"), config, Process(torch.device("cpu")))


def snapshot(trainer):
    """Everything a step may change but the two counters, as bytes."""
    state = trainer.state()
    return encode({"method": state["method"], "optimizer": state["optimizer"]})


def bad_step(trainer, place, batch):
    if place in IN_DATA:
        damage, value = IN_DATA[place]
        return trainer.step(damage(batch, value))
    forward, poisoned = IN_CODE[place](trainer)
    trainer.method.forward = poisoned
    try:
        return trainer.step(batch)
    finally:
        trainer.method.forward = forward


@pytest.mark.parametrize("place", [*IN_DATA, *IN_CODE])
def test_a_bad_step_changes_nothing_and_the_next_good_one_goes_on(place):
    trainer = make_trainer()
    for step in range(STEPS):
        good = trainer.step(tiny_batch(seed=2 * step))
        assert not good.faults
        before = snapshot(trainer)
        outcome = bad_step(trainer, place, tiny_batch(seed=2 * step + 1))
        assert outcome.faults
        assert snapshot(trainer) == before
    assert trainer.step_count == 2 * STEPS


def test_ten_bad_steps_in_a_row_stop_with_a_reason():
    trainer = make_trainer()
    batch = image(tiny_batch(), NAN)
    for _ in range(9):
        trainer.step(batch)
    with pytest.raises(NonFiniteError, match=r"10 steps in a row .*cross_entropy.*dice"):
        trainer.step(batch)
