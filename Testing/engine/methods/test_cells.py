"""The class of an embedding cell, by hand."""

from __future__ import annotations

import pytest
import torch

from dycon_engine.methods.cells import CellSource, block_mean, join, labeled_cells, pseudo_cells


def source(classes: int = 2, patches: int = 1) -> CellSource:
    """Cells of 2x2x2 voxels in patches of 2x2x4: two cells each."""
    embedding = torch.arange(patches * 3 * 2.0).view(patches, 3, 1, 1, 2)
    p = torch.full((patches, classes, 2, 2, 4), 1.0 / classes)
    return CellSource(embedding, embedding + 100, p)


@pytest.mark.parametrize(
    ("voxels", "expected", "valid"),
    [(0, 0, True), (1, 0, True), (2, 0, False), (6, 1, False), (7, 1, True), (8, 1, True)],
)
def test_ambiguous_cells_are_dropped(voxels: int, expected: int, valid: bool) -> None:
    label = torch.zeros(1, 2, 2, 4, dtype=torch.long)
    cell = label[0, :, :, 2:].reshape(8)
    cell[:voxels] = 1
    label[0, :, :, 2:] = cell.view(2, 2, 2)
    cells = labeled_cells(source(), label, purity=0.8)
    assert cells.label.tolist() == [0, expected]
    assert cells.valid.tolist() == [True, valid]


def test_of_several_classes_the_winner_must_fill_the_cell() -> None:
    label = torch.full((1, 2, 2, 4), 2)
    label[0, 0, :, 3] = 1  # second cell: 2 of 8 voxels are class 1
    cells = labeled_cells(source(classes=3), label, purity=0.8)
    assert cells.label.tolist() == [2, 2]
    assert cells.valid.tolist() == [True, False]
    assert labeled_cells(source(classes=3), label, purity=0.75).valid.all()


def test_pseudo_labels_need_a_confident_teacher() -> None:
    p = torch.tensor([0.9, 0.9, 0.3, 0.5]).expand(1, 2, 2, 4)  # background, by column
    cells = pseudo_cells(source(), torch.stack((p, 1 - p), 1), confidence=0.8)
    assert cells.label.tolist() == [0, 1]
    assert cells.valid.tolist() == [True, False]
    even = pseudo_cells(source(), torch.full((1, 2, 2, 2, 4), 0.5), confidence=0.5)
    assert even.valid.tolist() == [True, True]  # reached is enough


def test_rows_keep_the_order_of_the_grid_and_groups_are_joined() -> None:
    first, second = source(), source(patches=2)
    label = torch.zeros(2, 2, 2, 4, dtype=torch.long)
    joined = join(
        [
            labeled_cells(first, label[:1], purity=0.8),
            pseudo_cells(second, second.p, confidence=0.5),
        ]
    )
    assert joined.embedding.tolist()[:2] == [[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]]
    assert torch.equal(joined.teacher, joined.embedding + 100)
    assert joined.label.shape == joined.valid.shape == (6,)
    torch.testing.assert_close(joined.p, torch.full((6, 2), 0.5))


def test_without_all_teacher_embeddings_there_are_none() -> None:
    apart = source()._replace(teacher=torch.empty(0, 3, 1, 1, 2))
    label = torch.zeros(1, 2, 2, 4, dtype=torch.long)
    cells = [
        labeled_cells(apart, label, purity=0.8),
        pseudo_cells(source(), source().p, confidence=1),
    ]
    assert join(cells).teacher is None


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(
    ("size", "grid"),
    [((48, 64, 64), (6, 8, 8)), ((80, 112, 112), (5, 7, 7)), ((12, 10, 6), (6, 5, 3))],
)
def test_the_mean_of_blocks_is_that_of_the_adaptive_pooling_bit_for_bit(size, grid, layout):
    found, gradients = [], []
    p = torch.rand(2, 2, *size, generator=torch.Generator().manual_seed(0))
    for pool in (block_mean, torch.nn.functional.adaptive_avg_pool3d):
        own = p.clone(memory_format=layout).requires_grad_()
        mean = pool(own, grid)
        mean.square().sum().backward()
        found.append(mean.detach())
        gradients.append(own.grad)
    assert torch.equal(*found)
    assert torch.equal(*gradients)


def test_no_pooling_is_used_that_mps_does_not_have(monkeypatch):
    monkeypatch.delattr(torch.nn.functional, "adaptive_avg_pool3d")
    monkeypatch.setattr(torch, "_adaptive_avg_pool3d", None, raising=False)
    assert block_mean(torch.ones(1, 2, 4, 4, 4), (2, 2, 2)).shape == (1, 2, 2, 2, 2)
