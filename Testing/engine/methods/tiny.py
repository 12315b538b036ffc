"""A tiny network, batch and method for the tests of recipes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dycon_engine.data.batch import Batch
from dycon_engine.methods import build_method
from dycon_engine.methods.base import Method
from dycon_engine.networks.base import Features, Network
from dycon_engine.schedules import Progress


class TinyNet(Network):
    """Stride 4, batch norm and dropout, so that buffers and random draws are exercised."""

    def __init__(self, *, classes: int = 2, dropout: float = 0.2) -> None:
        super().__init__()
        self.channels, self.classes, self.stride = 1, classes, (4, 4, 4)
        self.embedding_features, self.decoded_features = 8, 4
        self.level_features = (4, 8)
        self.first = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv3d(4, 8, 4, stride=4), nn.BatchNorm3d(8), nn.ReLU())
        self.dropout = nn.Dropout3d(dropout)
        self.up = nn.Conv3d(8, 4, 1)
        self.classifier = nn.Conv3d(4, classes, 1)

    def forward(self, image: Tensor) -> Features:  # noqa: D102
        decoded = self.decode(self.encode(image))
        return Features(self.classify(decoded[-1]), decoded[0], decoded[-1])

    def encode(self, image: Tensor) -> list[Tensor]:  # noqa: D102
        shallow = self.first(image)
        return [shallow, self.deep(shallow)]

    def decode(self, levels: list[Tensor]) -> list[Tensor]:  # noqa: D102
        embedding, shallow = self.dropout(levels.pop()), levels.pop()
        return [embedding, shallow + F.interpolate(self.up(embedding), scale_factor=4.0)]

    def classify(self, decoded: Tensor) -> Tensor:  # noqa: D102
        return self.classifier(decoded)

    def without_encoder(self) -> TinyNet:  # noqa: D102
        del self.first, self.deep
        return self


def tiny_batch(*, unlabeled: int = 2, classes: int = 2, seed: int = 0, edge: int = 16) -> Batch:
    """Bright boxes on noise; the unlabeled patches have boxes nobody names."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.zeros(2 + unlabeled, edge, edge, edge, dtype=torch.long)
    for index in range(len(label)):
        for value in range(1, classes):
            z, y, x = (4 * int(torch.randint(0, 2, (), generator=generator)) for _ in range(3))
            start = 8 * (value - 1)
            label[index, start + z % 8 : start + z % 8 + 4, y : y + 8, x : x + 8] = value
    noise = torch.randn(label.shape, generator=generator) * 0.3
    image = (label.float() * 2.0 + noise).unsqueeze(1)
    return Batch(image[:2], label[:2], image[2:])


def tiny_method(name: str, *, classes: int = 2, seed: int = 0, **settings: object) -> Method:
    torch.manual_seed(seed)
    return build_method(name, settings, lambda **_: TinyNet(classes=classes))


def optimizer_of(method: Method) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        [p for p in method.parameters() if p.requires_grad], lr=0.05, momentum=0.9
    )


def take_step(
    method: Method, optimizer: torch.optim.Optimizer, batch: Batch, progress: Progress
) -> dict[str, float]:
    """Do what the trainer does once; return the terms that were minimised."""
    terms = method(batch, progress)
    optimizer.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    optimizer.step()
    method.after_step(progress)
    return {name: float(term.detach()) for name, term in terms.items()}


def trace(name: str, *, steps: int = 6) -> list[dict[str, float]]:
    """Return the terms of the first steps of a fixed run."""
    method = (
        tiny_method(name, embedding_features=8, hidden_features=8)
        if name == "dycon"
        else (tiny_method(name))
    )
    optimizer = optimizer_of(method)
    return [
        take_step(method, optimizer, tiny_batch(seed=step), Progress(step, steps))
        for step in range(steps)
    ]
