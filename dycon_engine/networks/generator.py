"""A small network that draws an image from a segmentation: DEC-Seg's cross-generative part."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from dycon_engine.networks.blocks import Conv3d, ConvNormAct, Style

STYLE = Style("instance", 0.01)


class ImageGenerator(nn.Module):
    """Probabilities (B, K, D, H, W) -> image (B, C, D, H, W), through a bottleneck at a quarter.

    Without skips, so that what it draws has to be in the probabilities.
    """

    def __init__(self, classes: int, channels: int, *, features: int) -> None:
        super().__init__()
        widths = (features, 2 * features, 4 * features)
        self.body = nn.Sequential(
            ConvNormAct(classes, widths[0], style=STYLE),
            ConvNormAct(widths[0], widths[1], style=STYLE, factor=2),
            ConvNormAct(widths[1], widths[2], style=STYLE, factor=2),
            ConvNormAct(widths[2], widths[1], style=STYLE, factor=2, transposed=True),
            ConvNormAct(widths[1], widths[0], style=STYLE, factor=2, transposed=True),
            Conv3d(widths[0], channels, 1),
        )

    def forward(self, p: Tensor) -> Tensor:
        """Return the image that belongs to `p`."""
        missing = [-size % 4 for size in p.shape[2:]]
        padded = F.pad(p, [n for end in reversed(missing) for n in (0, end)], mode="replicate")
        depth, height, width = p.shape[2:]
        image: Tensor = self.body(padded)[:, :, :depth, :height, :width]
        return image
