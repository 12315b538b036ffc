"""A network over a whole volume: overlapping windows, blended with Gaussian weights.

Windows stand on a full grid and the Gaussian is a product of three one-dimensional curves, so the
weights are normalised per axis beforehand: every window adds its final share in place and there is
neither a weight map nor a division at the end. Extra memory is the result and one batch of windows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dycon_engine.config import InferenceConfig
from dycon_engine.data.geometry import Size
from dycon_engine.errors import CancelledError, OutOfMemoryError
from dycon_engine.inference.memory import (
    FLOAT_BYTES,
    device_available_bytes,
    is_out_of_memory,
    mebibytes,
)

AIR_LOGIT = 20.0  # background against every other class in skipped air: p = 1 - 2e-9
SIGMA = 0.125  # of the patch; as in nnU-Net (Isensee et al., Nature Methods 2021)

Apply = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Watch:
    """How the caller follows and stops the work.

    Attributes:
        cancelled: Asked before every batch of windows.
        on_window: Called with (windows done, windows in all).
        on_notice: Called with one sentence for every fallback.
    """

    cancelled: Callable[[], bool] = lambda: False
    on_window: Callable[[int, int], None] = lambda _done, _total: None
    on_notice: Callable[[str], None] = lambda _text: None


class Window:
    """One place of the patch: `where` are three slices, `share` (z, y, x) its weights."""

    def __init__(self, where: tuple[slice, slice, slice], weights: tuple[Tensor, ...]) -> None:
        self.where = where
        self._weights = weights

    def share(self) -> Tensor:
        """Return (D, H, W) float32: what this window contributes to each of its voxels."""
        z, y, x = self._weights
        return z[:, None, None] * y[None, :, None] * x[None, None, :]


def axis_starts(size: int, patch: int, overlap: float) -> tuple[int, ...]:
    """Return evenly spread first indices of windows of `patch` that cover `size` >= `patch`."""
    step = max(1, int(patch * (1.0 - overlap)))
    count = math.ceil((size - patch) / step) + 1
    if count == 1:
        return (0,)
    return tuple(round(i * (size - patch) / (count - 1)) for i in range(count))


def axis_weights(starts: Sequence[int], size: int, patch: int) -> Tensor:
    """Return (windows, patch) float32 Gaussian shares; at every voxel they sum to 1."""
    place = torch.arange(patch, dtype=torch.float64) - (patch - 1) / 2
    curve = torch.exp(-0.5 * (place / (SIGMA * patch)) ** 2)
    total = torch.zeros(size, dtype=torch.float64)
    for start in starts:
        total[start : start + patch] += curve
    return torch.stack([curve / total[start : start + patch] for start in starts]).float()


def windows(size: Size, patch_size: Size, overlap: float) -> list[Window]:
    """Return all windows over a volume of `size`, each axis at least as long as the patch."""
    axes = []
    for length, patch in zip(size, patch_size, strict=True):
        starts = axis_starts(length, patch, overlap)
        shares = axis_weights(starts, length, patch)
        axes.append([(slice(s, s + patch), w) for s, w in zip(starts, shares, strict=True)])
    return [Window((z[0], y[0], x[0]), (z[1], y[1], x[1])) for z, y, x in itertools.product(*axes)]


def slide(  # noqa: PLR0913 - all keyword-only, each a plain value
    network: Apply,
    image: Tensor,
    *,
    patch_size: Size,
    classes: int,
    config: InferenceConfig,
    air: NDArray[np.bool_] | None = None,
    device: torch.device | str = "cpu",
    watch: Watch | None = None,
) -> Tensor:
    """Return the mean logits (K, D, H, W) float32 on the CPU of overlapping windows.

    A window wholly in air is not computed; it counts as background with certainty (`AIR_LOGIT`).
    Axes shorter than the patch are padded with each channel's lowest value. Where memory runs out,
    windows are computed one by one, then blended in main memory; the numbers stay the same.

    Args:
        network: Windows (B, C, *patch) on `device` -> logits (B, K, *patch).
        image: (C, D, H, W) float32 on the CPU.
        patch_size: Window (z, y, x), voxels.
        classes: K, background included.
        config: Overlap, windows per pass, whether air is skipped.
        air: (D, H, W), True where there is no tissue; None where that is unknown.
        device: Where the network is.
        watch: Progress, notices and cancellation.

    Raises:
        CancelledError: `watch.cancelled` said so.
        OutOfMemoryError: Also one window at a time does not fit.
    """
    watch = watch or Watch()
    size = (image.shape[1], image.shape[2], image.shape[3])
    padded, inner = _padded(image, patch_size)
    air = None if air is None or not config.skip_air else _padded_air(air, inner, padded.shape[1:])
    grid = windows((padded.shape[1], padded.shape[2], padded.shape[3]), patch_size, config.overlap)
    blend = _Blend((classes, *padded.shape[1:]), torch.device(device), watch)
    todo = blend.skip_air(grid, air)
    batch = max(1, config.window_batch)
    done = 0
    while done < len(todo):
        if watch.cancelled():
            raise CancelledError("segmentation cancelled; nothing was written")
        chosen = todo[done : done + batch]
        ran_out: BaseException | None = None
        try:
            for window, logits in zip(chosen, blend.compute(network, padded, chosen), strict=True):
                blend.add(window, logits)
                done += 1
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            ran_out = error.with_traceback(None)
        if ran_out is not None:  # outside the handler, so that the failed tensors are freed
            batch = blend.step_down(batch, ran_out)
        watch.on_window(len(grid) - len(todo) + done, len(grid))
    result = blend.total.cpu()
    return result if tuple(padded.shape[1:]) == size else result[(slice(None), *inner)].contiguous()


class _Blend:
    """The growing mean of all windows, and the ladder for when memory runs out."""

    def __init__(self, shape: Sequence[int], device: torch.device, watch: Watch) -> None:
        self.device = device
        self.watch = watch
        self.total = self._zeros(shape)

    def _zeros(self, shape: Sequence[int]) -> Tensor:
        try:
            return torch.zeros(tuple(shape), device=self.device)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if self.device.type == "cpu":
            raise self._refusal(math.prod(shape) * FLOAT_BYTES)
        self.watch.on_notice("the device's memory is too small to blend in; using main memory")
        return torch.zeros(tuple(shape))

    def skip_air(self, grid: list[Window], air: NDArray[np.bool_] | None) -> list[Window]:
        """Count windows wholly in air as background; return the others."""
        if air is None:
            return grid
        todo = []
        for window in grid:
            if air[window.where].all():
                view = self.total[(0, *window.where)]
                view.add_(window.share().to(view.device), alpha=AIR_LOGIT)
            else:
                todo.append(window)
        return todo

    @torch.inference_mode()
    def compute(self, network: Apply, image: Tensor, chosen: Sequence[Window]) -> Tensor:
        """Return the logits (B, K, *patch) of some windows, on the device."""
        patches = torch.stack([image[(slice(None), *window.where)] for window in chosen])
        patches = patches.to(self.device).contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(
            self.device.type,
            dtype=_half(self.device),
            enabled=self.device.type == "cuda",
        ):
            return network(patches)

    @torch.inference_mode()
    def add(self, window: Window, logits: Tensor) -> None:
        """Add one window's share of its logits (K, *patch)."""
        view = self.total[(slice(None), *window.where)]
        share = window.share().to(view.device)
        view.addcmul_(logits.to(view.device, torch.float32), share)

    def step_down(self, batch: int, error: BaseException) -> int:
        """Return a smaller number of windows per pass, or move the blend to main memory.

        Raises:
            OutOfMemoryError: There is no smaller way left.
        """
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if batch > 1:
            self.watch.on_notice(f"out of memory with {batch} windows at once; using {batch // 2}")
            return batch // 2
        if self.total.device.type != "cpu":
            self.watch.on_notice("out of memory on the device; blending in main memory")
            self.total = self.total.cpu()
            return batch
        raise self._refusal(0) from error

    def _refusal(self, needed: int) -> OutOfMemoryError:
        free = mebibytes(device_available_bytes(self.device))
        want = f"{mebibytes(needed)} needed, " if needed else "one window does not fit, "
        return OutOfMemoryError(
            f"segmentation on {self.device}: {want}{free} available; close other programs, use "
            "--device cpu, or a machine with more memory"
        )


def _half(device: torch.device) -> torch.dtype:
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16


def _padded(image: Tensor, patch_size: Size) -> tuple[Tensor, tuple[slice, slice, slice]]:
    """Return `image` at least as large as the patch, and where the original lies in it."""
    size = tuple(image.shape[1:])
    larger = tuple(max(n, patch) for n, patch in zip(size, patch_size, strict=True))
    z, y, x = (
        slice((big - n) // 2, (big - n) // 2 + n) for big, n in zip(larger, size, strict=True)
    )
    if larger == size:
        return image, (z, y, x)
    padded = image.amin(dim=(1, 2, 3), keepdim=True).repeat(1, *larger)
    padded[:, z, y, x] = image
    return padded, (z, y, x)


def _padded_air(
    air: NDArray[np.bool_], inner: tuple[slice, slice, slice], size: Sequence[int]
) -> NDArray[np.bool_]:
    if air.shape == tuple(size):
        return air
    padded = np.ones(tuple(size), dtype=bool)
    padded[inner] = air
    return padded
