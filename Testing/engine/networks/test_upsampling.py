"""Trilinear upsampling by two: what it is under a compiler, and that this changes nothing."""

import pytest
import torch
from torch.nn import functional as F

from dycon_engine.networks.upsampling import doubled

LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last_3d}


def found_by(function, x, grad):
    x = x.detach().requires_grad_()
    result = function(x)
    result.backward(grad)
    return result.detach(), x.grad


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])  # no C++ compiler needed
def test_a_compiler_leaves_values_and_gradients_as_they_are(layout, backend):
    x = torch.randn(2, 6, 3, 4, 5).to(memory_format=layout)
    grad = torch.randn(2, 9, 6, 8, 10).to(memory_format=layout)[:, 3:]  # as of a concatenation
    plain = found_by(
        lambda x: F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False), x, grad
    )
    for function in (doubled, torch.compile(doubled, backend=backend, fullgraph=True)):
        for found, expected in zip(found_by(function, x, grad), plain, strict=True):
            torch.testing.assert_close(found, expected)


def test_half_precision_stays_half_precision():
    x = torch.randn(2, 6, 3, 4, 5)
    with torch.autocast("cpu", torch.bfloat16):
        found = doubled(x.bfloat16())
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(found.float(), doubled(x), rtol=0.02, atol=0.02)


def test_a_compiler_on_cpu_gets_it_as_one_operation():
    names = []

    def watching(module, inputs):
        names.extend(str(node.target) for node in module.graph.nodes if node.op == "call_function")
        return module.forward

    torch.compile(doubled, backend=watching)(torch.randn(1, 2, 4, 4, 4))
    assert names == ["dycon.doubled.default"]


def test_the_operations_keep_what_a_compiler_may_assume_of_them():
    x = torch.randn(2, 6, 3, 4, 5, requires_grad=True)
    torch.library.opcheck(torch.ops.dycon.doubled.default, (x,))
    torch.library.opcheck(torch.ops.dycon.doubled_backward.default, (torch.randn(2, 6, 6, 8, 10),))
