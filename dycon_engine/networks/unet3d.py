"""The 3D U-Net, plain or at reduced resolution behind a strided stem."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from dycon_engine.config import NetworkConfig
from dycon_engine.networks.base import Features, Network
from dycon_engine.networks.blocks import Conv3d, ResidualStage, Stage, Style, check_input
from dycon_engine.networks.rebuilding import remember
from dycon_engine.networks.upsampling import doubled

CONVOLUTIONS_PER_LEVEL = 2
RESIDUAL_BLOCKS = (1, 3, 4, 6)


class UNet3D(Network):
    """3D U-Net (Cicek et al., MICCAI 2016): two convolutions per level, max-pool, concatenation.

    `stem` 2 folds 2x2x2 voxels into features by one strided convolution, runs the whole U-Net at
    half resolution and classifies by one transposed convolution: at equal parameters a third of
    the work, which is what a machine without a GPU can train.

    `residual` puts nnU-Net's residual blocks (1-3-4-6-6... per level, "ResEnc") in place of the
    encoder's convolutions; deviation: max-pool and two convolutions per decoder level stay.

    With five levels, trilinear upsampling, slope 0 and dropout .3 it is the `unet_3D` of the
    SSL4MIS code family: `dycon_engine.networks.ssl4mis` imports those weights.
    """

    def __init__(
        self, config: NetworkConfig, *, channels: int, classes: int, residual: bool = False
    ) -> None:
        super().__init__()
        filters, stem = config.filters, config.stem
        style = Style(config.norm, config.negative_slope)
        self.channels, self.classes = channels, classes
        self.stride = (stem * 2 ** (len(filters) - 1),) * 3
        self.embedding_features, self.decoded_features = filters[-1], filters[0]
        self.level_features = tuple(filters)
        self.transposed = config.upsampling == "transposed"
        self.dropout = config.dropout

        self.stem = Conv3d(channels, filters[0], stem, stem) if stem > 1 else nn.Identity()
        inputs = (filters[0] if stem > 1 else channels, *filters)
        self.encoder = nn.ModuleList(
            ResidualStage(i, o, blocks=RESIDUAL_BLOCKS[min(level, 3)], style=style)
            if residual
            else Stage(i, o, depth=CONVOLUTIONS_PER_LEVEL, style=style)
            for level, (i, o) in enumerate(zip(inputs, filters, strict=False))
        )
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for deep, shallow in zip(filters[:0:-1], filters[-2::-1], strict=True):
            up = nn.ConvTranspose3d(deep, shallow, 2, 2) if self.transposed else nn.Identity()
            self.up.append(up)
            merged = shallow + (shallow if self.transposed else deep)
            self.decoder.append(Stage(merged, shallow, depth=CONVOLUTIONS_PER_LEVEL, style=style))
        self.head: nn.Module = (
            nn.ConvTranspose3d(filters[0], classes, stem, stem)
            if stem > 1
            else Conv3d(filters[0], classes, 1)
        )

    def forward(self, image: Tensor) -> Features:
        """Return the features of `image` (B, C, D, H, W); raises InputError on a wrong size."""
        decoded = self.decode(self.encode(image))
        return Features(
            self.classify(decoded[-1]), decoded[0], decoded[-1], levels=self.between(decoded)
        )

    def embed(self, image: Tensor) -> Tensor:
        """Return `Features.embedding` of `image` by the encoder alone."""
        return F.dropout(self.encode(image)[-1], self.dropout, self.training)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Return the encoder's features of `image` per level, shallow to deep."""
        check_input(self, image)
        x = self.stem(image)
        levels: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            levels.append(block(F.max_pool3d(levels[-1], 2) if level else x))
        return levels

    def decode(self, levels: list[Tensor]) -> list[Tensor]:
        """Return the decoder's features per level, deep to shallow, using up the list `levels`."""
        decoded = [F.dropout(levels.pop(), self.dropout, self.training)]
        for up, block in zip(self.up, self.decoder, strict=True):
            decoded.append(block(self._upsampled(up, decoded[-1]), levels.pop()))
        return decoded

    def without_encoder(self) -> UNet3D:
        """Return this network with nothing left but what `decode` and `classify` need."""
        del self.stem, self.encoder
        return self

    def classify(self, decoded: Tensor) -> Tensor:
        """Return the logits (B, K, D, H, W) of `Features.decoded`: dropout and the last layer."""
        logits: Tensor = self.head(F.dropout(decoded, self.dropout, self.training))
        return logits

    def _upsampled(self, up: nn.Module, x: Tensor) -> Tensor:
        if not self.transposed:
            return remember(doubled(x), doubled, x)
        larger: Tensor = up(x)
        return larger
