"""MedNeXt: MONAI's values, thin patches, the way through a package, and life without MONAI."""

from __future__ import annotations

import dataclasses
import sys

import pytest
import torch
from monai.networks.nets import MedNeXt

from dycon_engine.config import NetworkConfig
from dycon_engine.errors import DamagedFileError, DyconError, InputError
from dycon_engine.methods import METHODS, build_method
from dycon_engine.networks import NetworkBuilder, build_network
from dycon_engine.package import load_package, read_info, save_package
from dycon_engine.schedules import Progress
from Testing import tiny_package
from Testing.engine.methods.tiny import optimizer_of, take_step, tiny_batch

SMALL = NetworkConfig(name="mednext", filters=(4, 8, 16))


@pytest.fixture
def no_monai(monkeypatch):
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)


def test_its_logits_are_those_of_monai() -> None:

    torch.manual_seed(0)
    ours = build_network(SMALL, channels=2, classes=3)
    theirs = MedNeXt(
        spatial_dims=3, init_filters=4, in_channels=2, out_channels=3, kernel_size=5,
        use_residual_connection=True, blocks_down=(2, 2), blocks_bottleneck=2, blocks_up=(2, 2),
    )  # fmt: skip
    names = {"enc_stages.": "encoder.", "down_blocks.": "down.", "up_blocks.": "up."}
    names |= {"dec_stages.": "decoder.", "bottleneck.": "encoder.2.", "out_0.": "head."}
    state = ours.state_dict()
    for name in theirs.state_dict():
        lead = next((lead for lead in names if name.startswith(lead)), "")
        theirs.state_dict()[name].copy_(state[names.get(lead, "") + name.removeprefix(lead)])
    image = torch.randn(2, 2, 8, 12, 8)
    torch.testing.assert_close(ours(image).logits, theirs(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(4, 4, 4), (4, 16, 16), (16, 4, 8)])
def test_a_single_thin_patch_passes(size) -> None:
    network = build_network(SMALL, channels=1, classes=2)
    assert network(torch.randn(1, 1, *size)).logits.isfinite().all()


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_trains_it(name: str) -> None:
    settings = {"second_network": "mednext"} if name == "dual_network" else {}
    build = NetworkBuilder(SMALL, channels=1, classes=2)
    method = build_method(name, settings | {"deep_supervision": 1}, build)
    losses = take_step(method, optimizer_of(method), tiny_batch(), Progress(1, 2))
    assert losses["deep"] > 0.0
    assert all(value - value == 0.0 for value in losses.values())


def test_filters_that_do_not_double_are_refused() -> None:
    with pytest.raises(InputError, match=r"found \[4, 6, 8\].*e\.g\. \[4, 8, 16\]"):
        build_network(dataclasses.replace(SMALL, filters=(4, 6, 8)), channels=1, classes=2)


def test_a_package_comes_back_and_says_what_is_missing(tmp_path, monkeypatch) -> None:
    torch.manual_seed(0)
    network = build_network(SMALL, channels=1, classes=2).eval()
    info = dataclasses.replace(tiny_package.info(), network=SMALL)
    path = tmp_path / "a.dycon"
    save_package(path, info, network.state_dict())
    image = torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        assert torch.equal(load_package(path).predictor(image).logits, network(image).logits)
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    with pytest.raises(DyconError, match=r"needs MONAI 1\.5 or later.*pip install") as caught:
        load_package(path)
    assert not isinstance(caught.value, DamagedFileError)
    assert read_info(path).network == SMALL


def test_the_other_networks_do_without_monai(no_monai) -> None:
    build_network(NetworkConfig(filters=(4, 8)), channels=1, classes=2)
