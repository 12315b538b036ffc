"""Weights of the SSL4MIS family become packages; a file with more than tensors is refused."""

from __future__ import annotations

import os

import pytest
import torch
from torch import nn

from dycon_engine.convert import main
from dycon_engine.package import load_package

WIDTHS = (2, 4, 6, 8, 10)
CANARY = "canary.txt"


def unet_3d(classes: int = 2) -> dict[str, torch.Tensor]:
    """A state dict with the names of their unet_3D, of few filters."""
    torch.manual_seed(0)
    layers: dict[str, nn.Module] = {}
    stages = ["conv1", "conv2", "conv3", "conv4", "center"]
    inputs = 1
    for stage, width in zip(stages, WIDTHS, strict=True):
        layers[f"{stage}.conv1.0"] = nn.Conv3d(inputs, width, 3)
        layers[f"{stage}.conv2.0"] = nn.Conv3d(width, width, 3)
        inputs = width
    for level in range(4, 0, -1):
        width, deep = WIDTHS[level - 1], WIDTHS[level]
        layers[f"up_concat{level}.conv.conv1.0"] = nn.Conv3d(width + deep, width, 3)
        layers[f"up_concat{level}.conv.conv2.0"] = nn.Conv3d(width, width, 3)
    layers["final"] = nn.Conv3d(WIDTHS[0], classes, 1)
    return {
        f"{name}.{part}": tensor
        for name, layer in layers.items()
        for part, tensor in layer.state_dict().items()
    }


@pytest.fixture
def convert(tmp_path):
    def run(*more: str, labels: str = "background,atrium", weights: str = "w.pth") -> int:
        line = ["--weights", str(tmp_path / weights), "--labels", labels]
        line += ["--spacing", "1.25,1.25,1.25", "--patch", "16,16,16"]
        return main([*line, "--output", str(tmp_path / "m.dycon"), *more])

    return run


def test_a_state_dict_becomes_a_package_that_segments(convert, tmp_path):
    torch.save({"state_dict": unet_3d()}, tmp_path / "w.pth")
    assert convert() == 0
    package = load_package(tmp_path / "m.dycon")
    assert package.info.network.filters == WIDTHS
    assert [label.name for label in package.info.labels] == ["background", "atrium"]
    assert package.info.seen is None
    assert package.predictor(torch.randn(1, 1, 16, 16, 16)).logits.shape == (1, 2, 16, 16, 16)


class Evil:
    """Would write a file when unpickled."""

    def __reduce__(self):
        return (os.mkdir, (CANARY,))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (Evil(), "not a plain state dict"),
        ({"model": Evil()}, "not a plain state dict"),
        ([1, 2], "holds no state dict"),
        ({"a": torch.zeros(1)}, "expected a VNet"),
    ],
)
def test_anything_else_is_refused_and_nothing_runs(
    convert, tmp_path, monkeypatch, capsys, content, words
):
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "w.pth")
    assert convert() == 2
    assert words in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.pth"]


@pytest.mark.parametrize(
    ("more", "labels", "words"),
    [
        ((), "background,a,b", "names 3 classes, the network has 2"),
        (("--network", "vnet"), "background,a", "hold a unet3d, not a vnet"),
        (("--spacing", "1,1"), "background,a", "expected 3 numbers"),
        (("--spacing", "0,1,1"), "background,a", "above 0"),
        (("--patch", "16,16,17"), "background,a", "no multiple"),
        (("--patch", "16,16,1.5"), "background,a", "whole numbers"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(convert, tmp_path, capsys, more, labels, words):
    torch.save(unet_3d(), tmp_path / "w.pth")
    assert convert(*more, labels=labels) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("DyCON:") == 1
    assert not (tmp_path / "m.dycon").exists()


def test_a_missing_or_cut_file_is_one_line(convert, tmp_path, capsys):
    assert convert(weights="none.pth") == 2
    torch.save(unet_3d(), tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes((tmp_path / "w.pth").read_bytes()[:900])
    assert convert() == 2
    assert capsys.readouterr().err.count("DyCON:") == 2
