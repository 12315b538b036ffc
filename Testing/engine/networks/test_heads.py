"""The projection head of DyCON: unit embeddings, every width, finite under autocast."""

from __future__ import annotations

import pytest
import torch

from dycon_engine.networks.heads import ASPP, ProjectionHead


@pytest.mark.parametrize("aspp", [0, 4])
@pytest.mark.parametrize("upsample", [1, 2])
def test_embeddings_have_length_one_and_the_asked_size(aspp, upsample):
    head = ProjectionHead(6, hidden=8, embedding=5, aspp=aspp, upsample=upsample)
    z = head(torch.randn(2, 6, 2, 3, 4))
    assert z.shape == (2, 5, 2 * upsample, 3 * upsample, 4 * upsample)
    torch.testing.assert_close(z.norm(dim=1), torch.ones_like(z[:, 0]))
    z[..., 0].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_bfloat16_autocast_gives_finite_float32_embeddings():
    head = ProjectionHead(6, hidden=8, embedding=5, aspp=4)
    with torch.autocast("cpu", torch.bfloat16):
        z = head(torch.randn(2, 6, 2, 2, 2) * 100)
    assert z.dtype == torch.float32
    assert z.isfinite().all()


def test_a_zero_embedding_stays_finite():
    head = ProjectionHead(6, hidden=8, embedding=5)
    torch.nn.init.zeros_(head.project[-1].weight)
    torch.nn.init.zeros_(head.project[-1].bias)
    z = head(torch.randn(1, 6, 2, 2, 2))
    z.sum().backward()
    assert z.isfinite().all()
    assert all(p.grad.isfinite().all() for p in head.parameters() if p.grad is not None)


def test_every_dilation_is_seen():
    """A point spreads to exactly the taps of the dilated kernels."""
    aspp = ASPP(1, 1, branch_features=1, dilations=(1, 2))
    image = torch.zeros(1, 1, 5, 5, 5)
    image[0, 0, 2, 2, 2] = 1.0
    conv = aspp.branches[1][0]
    assert (conv(image)[0, 0, ::2, ::2, ::2] != 0).all()
    assert conv(image).count_nonzero() == 27
    assert aspp(image).shape == image.shape
