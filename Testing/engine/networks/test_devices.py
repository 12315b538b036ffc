"""A device is used only where a tiny network on it gives the right numbers."""

from __future__ import annotations

import pytest
import torch
import torch._dynamo  # notes PyTorch's functions when first imported: before a test replaces one

from dycon_engine.errors import InputError
from dycon_engine.networks import devices
from dycon_engine.networks.devices import (
    choose_device,
    computes_bf16,
    memory_format,
    move,
    take_device,
    works,
)


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
    assert "cuda is there but cannot run a 3D network" in notices[0]
    with pytest.raises(InputError, match="use auto or one of cuda, mps, cpu"):
        choose_device("cuda", local_rank=0)


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that so many GPUs are there; return those made the current one."""

    def pretend(count):
        monkeypatch.setattr(devices, "present", lambda: ("cuda",))
        monkeypatch.setattr(devices, "works", lambda device: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: taken.append(str(device)))
        return taken

    taken: list[str] = []
    return pretend


@pytest.mark.parametrize(("count", "expected"), [(2, [0, 1, 0]), (1, [0, 0, 0])])
@pytest.mark.parametrize("name", ["cuda", "auto"])
def test_every_process_takes_its_own_gpu_by_number(gpus, name, count, expected):
    """Also where each sees but one, that of its own: PyTorch makes none current without number."""
    gpus(count)
    chosen = [choose_device(name, local_rank=rank) for rank in range(3)]
    assert [device.index for device in chosen] == expected


def test_the_device_that_is_taken_is_the_one_that_is_asked(gpus):
    taken = gpus(2)
    choose_device("cuda:1")
    assert taken == []
    assert take_device("cuda:1") == torch.device("cuda", 1)
    assert take_device("cpu") == torch.device("cpu")
    assert taken == ["cuda:1"]


def missing(*_arguments, **_options):
    raise NotImplementedError("not implemented for the MPS device")


@pytest.mark.parametrize(
    "kernel", ["conv3d", "max_pool3d", "conv_transpose3d", "interpolate", "backward"]
)
def test_a_device_that_lacks_a_kernel_of_the_networks_does_not_work(monkeypatch, kernel):
    cpu = torch.device("cpu")
    assert works(cpu)
    place = (torch.autograd, "grad") if kernel == "backward" else (devices.F, kernel)
    monkeypatch.setattr(*place, missing)
    assert not works(cpu)


def test_kernels_that_are_not_reproducible_do_not_make_a_device_useless(monkeypatch):
    """Pooling and interpolation have no such gradient on CUDA; `tolerant` lets them run later."""
    pool = torch.nn.functional.max_pool3d

    def strict(*arguments):
        if torch.are_deterministic_algorithms_enabled():
            raise RuntimeError("max_pool3d does not have a deterministic implementation")
        return pool(*arguments)

    monkeypatch.setattr(devices.F, "max_pool3d", strict)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.no_grad():
            assert works(torch.device("cpu"))
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_weights_take_the_layout_of_the_device():
    layer = torch.nn.Conv3d(4, 8, 3)
    move(layer, torch.device("cpu"))
    assert layer.weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert memory_format(torch.device("mps")) is torch.contiguous_format
    layer.to(memory_format=memory_format(torch.device("mps")))
    assert layer.weight.is_contiguous()


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"neon": True, "bf16": True}, True),
        ({"architecture": "unknown"}, None),
    ],
)
def test_whether_the_cpu_computes_bf16(monkeypatch, told, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert computes_bf16(torch.device("cpu")) is expected
    monkeypatch.delattr(torch.cpu, "get_capabilities")  # PyTorch before it told
    assert computes_bf16(torch.device("cpu")) is None
    assert computes_bf16(torch.device("mps")) is None
