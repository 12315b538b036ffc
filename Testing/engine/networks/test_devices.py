"""A device is used only where a convolution on it gives the right number."""

from __future__ import annotations

import pytest
import torch

from dycon_engine.errors import InputError
from dycon_engine.networks import devices
from dycon_engine.networks.devices import choose_device, memory_format, move


def test_the_cpu_always_works():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["gpu", "cuda:97", ""])
def test_what_is_not_there_is_refused(name):
    with pytest.raises(InputError, match=f"device '{name}'"):
        choose_device(name)


def test_a_gpu_that_runs_no_kernel_is_announced_and_not_used(monkeypatch):
    monkeypatch.setattr(devices, "present", lambda: ("cuda", "mps"))
    monkeypatch.setattr(devices, "works", lambda device: device.type == "mps")
    notices = []
    assert choose_device("auto", notices.append).type == "mps"
    assert len(notices) == 1
    assert "cuda is there but runs no kernel" in notices[0]
    with pytest.raises(InputError, match="use auto or one of cuda, mps, cpu"):
        choose_device("cuda", local_rank=0)


def test_every_process_takes_its_own_gpu(monkeypatch):
    monkeypatch.setattr(devices, "present", lambda: ("cuda",))
    monkeypatch.setattr(devices, "works", lambda device: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    chosen = [choose_device("cuda", local_rank=rank) for rank in range(3)]
    assert [device.index for device in chosen] == [0, 1, 0]


def test_weights_take_the_layout_of_the_device():
    layer = torch.nn.Conv3d(4, 8, 3)
    move(layer, torch.device("cpu"))
    assert layer.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert memory_format(torch.device("mps")) is torch.contiguous_format
    layer.to(memory_format=memory_format(torch.device("mps")))
    assert layer.weight.is_contiguous()
