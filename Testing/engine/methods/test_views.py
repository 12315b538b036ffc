"""The student's turned view: rigid, and the teacher's answer lies where the image does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dycon_engine.losses.uncertainty import posterior
from dycon_engine.methods.views import UNKNOWN, View, mixed, turned

SIZE = (28, 96, 44)


def ball(center: tuple[int, int, int], radius: float) -> Tensor:
    """Return (1, 1, *SIZE), 1 inside a ball whose center is given from the middle of the patch."""
    axes = [torch.arange(n) - (n - 1) / 2 - c for n, c in zip(SIZE, center, strict=True)]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return (z**2 + y**2 + x**2 < radius**2).float()[None, None]


def center_of(mask: Tensor) -> Tensor:
    middle = torch.tensor([(n - 1) / 2 for n in SIZE])
    return (mask[0, 0] > 0.5).nonzero().float().mean(0) - middle


@pytest.mark.parametrize("seed", range(6))
def test_a_turn_is_rigid_but_for_the_zoom(seed: int) -> None:
    """A ball stays a ball in a patch that is no cube, and its way from the middle zooms alike."""
    torch.manual_seed(seed)
    before = ball((1, -18, 8), 5.0)
    after = turned(before, 1.0).image
    zoom = (after.sum() / before.sum()) ** (1 / 3)
    assert 1 / 1.3 < zoom < 1.3
    spread = (after[0, 0] > 0.5).nonzero().float().std(0)
    assert spread.max() < 1.06 * spread.min()
    way = float(zoom * center_of(before).norm())
    assert center_of(after).norm() == pytest.approx(way, rel=0.05)
    assert not torch.equal(before, after)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_a_turn_about_z_goes_twice_as_far_as_those_about_y_and_x(strength: float) -> None:
    torch.manual_seed(0)
    theta = turned(torch.zeros(4000, 1, 2, 2, 2), strength).theta
    matrix = theta[:, :, :3].flip(1, 2)  # of a cube: zoom times rotation, axes (z, y, x)
    zoom = torch.linalg.det(matrix) ** (1 / 3)
    assert float(zoom.max()) == pytest.approx(1.25**strength, rel=0.01)
    assert float(zoom.min()) == pytest.approx(1.25**-strength, rel=0.01)
    most = []
    for one, other in ((1, 2), (0, 2), (0, 1)):  # about z, y, x
        sine = matrix[:, other, one] - matrix[:, one, other]
        cosine = matrix[:, one, one] + matrix[:, other, other]
        most.append(float(torch.atan2(sine, cosine).abs().max().rad2deg()))
    assert most == pytest.approx([20.0 * strength, 10.0 * strength, 10.0 * strength], rel=0.2)


def test_each_patch_turns_by_its_own() -> None:
    patches = ball((1, -18, 8), 5.0).repeat(2, 1, 1, 1, 1)
    view = turned(patches, 1.0)
    assert not torch.equal(view.image[0], view.image[1])


def test_strength_zero_changes_nothing_and_draws_nothing() -> None:
    patches = torch.randn(2, 1, 8, 8, 8)
    state = torch.get_rng_state()
    view = turned(patches, 0.0)
    assert view.image is patches
    assert view.theta is None
    assert torch.equal(state, torch.get_rng_state())
    belief = posterior(torch.randn(2, 3, 8, 8, 8))
    assert view.follow(belief, belief) is belief


def test_the_answer_of_the_teacher_lies_where_the_image_does() -> None:
    """A teacher that names the bright ball names it in the view, at either resolution."""
    torch.manual_seed(3)
    bright = ball((1, 18, -8), 5.0)
    view = turned(bright, 1.0)
    teacher = posterior(torch.cat((1.0 - bright, bright), 1) * 20.0 - 10.0)
    student = posterior(torch.zeros(1, 2, *SIZE))
    followed = view.follow(teacher, student)
    torch.testing.assert_close(followed.p.sum(1), torch.ones(1, *SIZE))
    torch.testing.assert_close(followed.p.log(), followed.log_p)
    inside = followed.p[:, 1:] != 0.5
    assert inside.float().mean() > 0.6
    torch.testing.assert_close(followed.p[:, 1:][inside], view.image[inside], atol=1e-3, rtol=0.0)
    coarse = torch.nn.functional.avg_pool3d(bright, 4)
    seen = torch.nn.functional.avg_pool3d(view.image, 4)
    assert (view.move_along(coarse) - seen).norm() < 0.7 * (coarse - seen).norm()


def test_outside_the_patch_the_student_is_left_alone() -> None:
    torch.manual_seed(1)
    view = turned(torch.zeros(4, 1, *SIZE), 1.0)
    logits = torch.randn(4, 2, *SIZE, requires_grad=True)
    student, teacher = posterior(logits), posterior(torch.randn(4, 2, *SIZE) * 3.0)
    followed = view.follow(teacher, student)
    outside = (followed.p == student.p).all(1)
    assert 0.01 < outside.float().mean() < 0.5
    assert not followed.p.requires_grad
    (student.p - followed.p).square().sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum(1)[outside].max() == 0.0
    assert logits.grad.abs().sum(1)[~outside].min() > 0.0


def test_an_answer_is_where_the_patch_or_a_label_is() -> None:
    torch.manual_seed(1)
    view = turned(torch.zeros(4, 1, *SIZE), 1.0)
    teacher, student = posterior(torch.randn(4, 2, *SIZE)), posterior(torch.randn(4, 2, *SIZE))
    own = (view.follow(teacher, student).p == student.p).all(1)
    assert view.answered is not None
    assert torch.equal(view.answered, ~own)
    assert (view.unlabeled_only(teacher.p)[own.unsqueeze(1).expand_as(teacher.p)] == 0.5).all()
    pasted = mixed(view, torch.ones(1, 1, *SIZE), torch.zeros(1, *SIZE, dtype=torch.int64), 1.0)
    assert pasted.answered is not None
    assert torch.equal(pasted.answered, ~own | (pasted.known == 0))
    assert mixed(View(view.image), pasted.image, pasted.known, 1.0).answered is None


def test_a_view_without_a_turn_hands_patches_through() -> None:
    patches = torch.randn(1, 4, 2, 2, 2)
    assert View(patches).move_along(patches) is patches


def test_a_mixture_holds_a_box_of_one_patch_and_the_rest_of_the_other() -> None:
    """Image and known labels agree voxel by voxel on which of the two a voxel is of."""
    torch.manual_seed(0)
    count, size = 40, (12, 9, 6)
    labeled = torch.stack([torch.full((1, *size), 100.0 + b) for b in range(3)])
    label = torch.stack([torch.full(size, b) for b in range(3)])
    view = mixed(View(torch.zeros(count, 1, *size)), labeled, label, 1.0)
    assert view.known is not None
    known = view.known != UNKNOWN
    assert torch.equal(view.image[:, 0] == 0.0, ~known)
    for patch in range(count):
        assert (view.image[patch, 0][known[patch]] == 100.0 + patch % 3).all()
        assert (view.known[patch][known[patch]] == patch % 3).all()
    boxes = 8 * 6 * 4
    counts = known.flatten(1).sum(1)
    inside = counts == boxes
    assert (inside | (counts == 12 * 9 * 6 - boxes)).all()
    assert 8 <= inside.sum() <= 32
    for patch in range(count):
        box = known[patch] if inside[patch] else ~known[patch]
        spans = [int(side.max() - side.min()) + 1 for side in box.nonzero().T]
        assert spans == [8, 6, 4]
    firsts = (view.image[:, 0] == 0.0).flatten(1).float().argmax(1)
    assert len(firsts.unique()) > 4


def test_a_share_of_the_patches_is_mixed() -> None:
    torch.manual_seed(0)
    patches, label = torch.zeros(200, 1, 6, 6, 6), torch.zeros(2, 6, 6, 6, dtype=torch.int64)
    view = mixed(View(patches), torch.ones(2, 1, 6, 6, 6), label, 0.3)
    assert view.known is not None
    share = (view.known != UNKNOWN).flatten(1).any(1).float().mean()
    assert 0.2 < share < 0.4
    state = torch.get_rng_state()
    assert mixed(View(patches), torch.ones(2, 1, 6, 6, 6), label, 0.0).image is patches
    assert torch.equal(state, torch.get_rng_state())


def test_where_the_label_is_known_it_is_the_answer() -> None:
    """Turned or not: the label stands in the student's frame, the teacher's answer around it."""
    torch.manual_seed(2)
    patches = torch.randn(2, 1, *SIZE)
    labeled, label = torch.randn(1, 1, *SIZE), torch.randint(0, 3, (1, *SIZE))
    teacher, student = posterior(torch.randn(2, 3, *SIZE)), posterior(torch.randn(2, 3, *SIZE))
    for before in (View(patches), turned(patches, 1.0)):
        view = mixed(before, labeled, label, 1.0)
        assert view.known is not None
        known = view.known != UNKNOWN
        followed = view.follow(teacher, student)
        alone = before.follow(teacher, student)
        assert torch.equal(followed.p.argmax(1)[known], label.expand(2, *SIZE)[known])
        assert followed.p.amax(1)[known].min() == 1.0
        kept = ~known.unsqueeze(1).expand_as(alone.p)
        assert torch.equal(followed.p[kept], alone.p[kept])
        assert followed.log_p.isfinite().all()
        even = view.unlabeled_only(followed.p)
        own = kept if before.inside is None else kept & before.inside.unsqueeze(1)
        assert torch.equal(even[own], alone.p[own])
        assert (even[~own] == 1.0 / 3.0).all()
        assert (even[~kept] == 1.0 / 3.0).all()


@pytest.mark.parametrize("half", [False, True])
def test_places_are_exact_under_autocast(half: bool) -> None:
    """Eight bits of mantissa would move a voxel at the edge by half of one."""
    patches = torch.randn(2, 1, *SIZE)
    coarse = torch.randn(2, 4, 7, 24, 11)
    torch.manual_seed(5)
    plain = turned(patches, 1.0)
    torch.manual_seed(5)
    with torch.autocast("cpu", torch.bfloat16):
        view = turned(patches, 1.0)
        moved = view.move_along(coarse.bfloat16() if half else coarse)
    assert torch.equal(view.theta, plain.theta)
    assert torch.equal(view.image, plain.image)
    expected = plain.move_along(coarse.bfloat16().float() if half else coarse)
    assert moved.dtype is torch.float32
    assert torch.equal(moved, expected)
