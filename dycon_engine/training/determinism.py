"""`training.deterministic`: only bit-reproducible kernels, and what has none is told."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import torch

WORDS = " does not have a deterministic implementation"


def switch(*, on: bool, tf32: bool = True) -> None:
    """Choose kernels: bit-reproducible ones, or the fastest. Called before a device is used.

    Args:
        on: Whether they are to be bit-reproducible.
        tf32: Whether convolutions of float32 may keep 10 bits of the mantissa on CUDA.
    """
    torch.backends.cudnn.allow_tf32 = tf32
    if on:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    else:
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")


@contextmanager
def tolerant(device: torch.device, on_notice: Callable[[str], None]) -> Iterator[None]:
    """Let kernels run on CUDA that have no reproducible form, each told once, until the end.

    Trilinear interpolation is one: without this, few networks could be trained on CUDA at all.

    Args:
        device: On the CPU every kernel has one; nothing is changed there.
        on_notice: Called with one sentence for each kernel.
    """
    if device.type == "cpu" or not torch.are_deterministic_algorithms_enabled():
        yield
        return
    told: set[str] = set()
    show = warnings.showwarning

    def tell(  # as `warnings.showwarning`
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        kernel, found, _ = str(message).partition(WORDS)
        if not found:
            show(message, category, filename, lineno, file, line)
        elif kernel not in told:
            told.add(kernel)
            on_notice(
                f"training.deterministic: '{kernel}' has no bit-reproducible form on {device.type};"
                " the numbers of two runs will differ in their last digits"
            )

    torch.use_deterministic_algorithms(True, warn_only=True)
    warnings.showwarning = tell
    try:
        yield
    finally:
        warnings.showwarning = show
        torch.use_deterministic_algorithms(True)
