"""FeCL against its twin, finite differences and closed forms; memory stays linear."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dycon_engine.losses.fecl import FeclSettings, fecl
from Testing.reference.naive_fecl import naive_fecl


def cells(n: int = 14, classes: int = 2, seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {
        "embedding": torch.randn(n, 5, dtype=torch.float64),
        "label": torch.randint(0, classes, (n,)),
        "valid": torch.rand(n) < 0.8,
        "teacher": torch.randn(n, 5, dtype=torch.float64),
        "weight": 1 + torch.rand(n, dtype=torch.float64),
    }


def loss(c: dict[str, torch.Tensor], **settings: object) -> torch.Tensor:
    return fecl(
        c["embedding"],
        c["label"],
        c["valid"],
        teacher_embedding=c.get("teacher"),
        anchor_weight=c.get("weight"),
        settings=FeclSettings(**settings),
    )


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("chunk", [3, 256])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tau": 0.1, "gamma": 1.0},
        {"focal": False},
        {"teacher_negatives": 0},
        {"teacher_negatives": 50},
    ],
)
def test_loss_equals_its_twin(classes: int, chunk: int, settings: dict[str, float]) -> None:
    c = cells(classes=classes)
    names = {"teacher_negatives": "k_nearest"}
    expected = naive_fecl(*c.values(), **{names.get(k, k): v for k, v in settings.items()})
    assert float(loss(c, chunk=chunk, **settings)) == pytest.approx(expected, rel=1e-9)


def test_switched_off_parts_equal_the_twin_without_them() -> None:
    c = cells()
    del c["teacher"], c["weight"]
    assert float(loss(c)) == pytest.approx(naive_fecl(*c.values()), rel=1e-9)


@pytest.mark.parametrize("focal", [True, False])
@pytest.mark.parametrize("chunk", [4, 256])
@pytest.mark.parametrize("classes", [2, 3])
def test_gradients_equal_finite_differences(focal: bool, chunk: int, classes: int) -> None:
    c = cells(n=9, classes=classes)
    weight = c["weight"].requires_grad_()

    def attached(z: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        changed = c | {"embedding": z, "weight": w}
        return loss(changed, focal=focal, detach_weights=False, chunk=chunk)

    assert torch.autograd.gradcheck(attached, (c["embedding"].requires_grad_(), weight))


@pytest.mark.parametrize("classes", [2, 3])
def test_detached_gradient_holds_the_focal_weights_fixed(classes: int) -> None:
    """Written with autograd on whole matrices, F+ and F- as constants."""
    c = cells(n=10, classes=classes)
    z = c["embedding"].requires_grad_()
    n = torch.nn.functional.normalize(z, dim=1)
    cosine = n @ n.T
    both = c["valid"][:, None] & c["valid"][None]
    same = c["label"][:, None] == c["label"][None]
    positive = (both & same & ~torch.eye(10, dtype=torch.bool)).double()
    negative = (both & ~same).double()
    closeness = (cosine.detach() + 1) / 2
    pull = (1 - closeness) ** 2 * c["weight"][:, None] * positive
    push = closeness**2 * negative
    t = torch.nn.functional.normalize(c["teacher"], dim=1)
    near = (t @ t.T / 0.6).masked_fill(negative == 0, -torch.inf).topk(5, 1).values
    e = (cosine / 0.6).exp()
    d = (positive * e).sum(1) + (push * (e + near.exp().sum(1, keepdim=True) / 5)).sum(1)
    count = positive.sum(1)
    kept = count > 0
    rows = (pull * (d.clamp_min(1e-30).log()[:, None] - cosine / 0.6)).sum(1)
    whole = (rows[kept] / count[kept]).mean()
    (expected,) = torch.autograd.grad(whole, z)
    value = loss(c, chunk=4)
    (actual,) = torch.autograd.grad(value, z)
    torch.testing.assert_close(value, whole)
    torch.testing.assert_close(actual, expected)


def test_one_positive_without_negatives_costs_nothing() -> None:
    c = {
        "embedding": torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
        "label": torch.zeros(2, dtype=torch.long),
        "valid": torch.ones(2, dtype=torch.bool),
    }
    assert float(loss(c)) == pytest.approx(0.0, abs=1e-6)  # -log(exp S / exp S)


def test_one_positive_and_one_negative_by_hand() -> None:
    """Two equal cells and an orthogonal one of another class: F+ = 0, so focal weights off."""
    c = {
        "embedding": torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]),
        "label": torch.tensor([0, 0, 1]),
        "valid": torch.ones(3, dtype=torch.bool),
    }
    expected = math.log(math.exp(2.0) + 1.0) - 2.0  # S+ = 1 / 0.5, S- = 0; the third: no positive
    assert float(loss(c, tau=0.5, focal=False)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("case", ["nothing valid", "no positives", "no cells"])
def test_without_anchors_loss_and_gradient_are_zero(case: str) -> None:
    n = 0 if case == "no cells" else 3
    z = torch.randn(n, 4, requires_grad=True)
    valid = torch.full((n,), case != "nothing valid")
    value = fecl(z, torch.arange(n), valid, teacher_embedding=torch.randn(n, 4))
    value.backward()
    assert float(value.detach()) == 0.0
    assert z.grad is not None
    assert not z.grad.any()


def test_invalid_cells_change_nothing() -> None:
    c = cells()
    inside = {name: value[c["valid"]] for name, value in c.items()}
    torch.testing.assert_close(loss(c), loss(inside))


def test_the_chunk_size_changes_nothing_but_rounding() -> None:
    c = cells(n=40)
    torch.testing.assert_close(loss(c, chunk=7), loss(c, chunk=40))


def test_half_precision_embeddings_are_contrasted_in_single_precision() -> None:
    c = {k: v.bfloat16() if v.is_floating_point() else v for k, v in cells().items()}
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(c)
    assert value.dtype == torch.float32
    torch.testing.assert_close(
        value, loss({k: v.float() if v.is_floating_point() else v for k, v in c.items()})
    )


def test_nothing_of_the_size_of_all_pairs_is_kept_for_backward() -> None:
    c = cells(n=300)
    value = loss(c | {"embedding": c["embedding"].requires_grad_()})
    node, largest = [value.grad_fn], 0
    while node:
        function = node.pop()
        saved = getattr(function, "saved_tensors", ())
        largest = max([largest, *(t.numel() for t in saved if t is not None)])
        node += [parent for parent, _ in function.next_functions if parent is not None]
    assert 0 < largest <= 300 * 5


def test_a_class_of_one_cell_is_a_negative_of_the_others() -> None:
    c = cells(n=12)
    c["label"] = torch.tensor([0, 2, 0, 2, 0, 1, 2, 0, 2, 0, 2, 2])
    c["valid"] = torch.ones(12, dtype=torch.bool)
    assert float(loss(c, chunk=4)) == pytest.approx(naive_fecl(*c.values()), rel=1e-9)
    without = {name: value[c["label"] != 1] for name, value in c.items()}
    assert float(loss(c)) != pytest.approx(float(loss(without)), rel=1e-3)


def test_teacher_negatives_are_found_among_many_cells() -> None:
    """More than 16 x K cells: the search for the nearest works on folded rows, with a remainder."""
    c = cells(n=101)
    assert float(loss(c, chunk=64)) == pytest.approx(naive_fecl(*c.values()), rel=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_identical_cells_have_a_gradient_that_is_a_number(gamma: float) -> None:
    """Blank patches give them; the weight 0 of equal cells has a steep slope there."""
    c = cells()
    c["embedding"] = torch.ones_like(c["embedding"]).requires_grad_()
    loss(c, gamma=gamma, detach_weights=False).backward()
    assert torch.isfinite(c["embedding"].grad).all()


class NothingFromTheHost(TorchDispatchMode):
    """Fails where a number of Python becomes a tensor, which on CUDA waits for all before it."""

    def __torch_dispatch__(self, operator, types, arguments=(), options=None):
        assert operator is not torch.ops.aten.lift_fresh.default
        return operator(*arguments, **(options or {}))


def test_it_does_not_wait_for_the_device() -> None:
    c = cells()
    c["embedding"].requires_grad_()
    with NothingFromTheHost():
        loss(c).backward()
