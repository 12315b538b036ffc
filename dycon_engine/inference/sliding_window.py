"""A network over a whole volume: overlapping windows, blended with Gaussian weights.

Windows stand on a full grid and the Gaussian is a product of three one-dimensional curves, so the
weights are normalised per axis beforehand: every window adds its final share in place and there is
neither a weight map nor a division at the end. The windows advance along the axis that is longest
against the patch; rows behind them are finished and handed out, so that memory holds one patch of
rows and not the volume.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Required, TypedDict, Unpack

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
from dycon_engine.inference.windows import Inner, Window, long_axis, pad_air, pad_image, windows
from dycon_engine.networks.devices import memory_format

SEGMENTING = "segmenting"  # the stage, in windows
AIR_LOGIT = 20.0  # background against every other class in skipped air: p = 1 - 2e-9

Apply = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Watch:
    """How the caller follows and stops the work.

    Attributes:
        cancelled: Asked before every batch of windows.
        on_stage: Called with the name of a stage and its units when it begins.
        on_window: Called with (windows done, windows in all).
        on_notice: Called with one sentence for every fallback.
    """

    cancelled: Callable[[], bool] = lambda: False
    on_stage: Callable[[str, int], None] = lambda _name, _total: None
    on_window: Callable[[int, int], None] = lambda _done, _total: None
    on_notice: Callable[[str], None] = lambda _text: None


class Slab(NamedTuple):
    """Finished rows of a volume.

    Attributes:
        axis: The axis that the rows are counted on, 0 = z; the same for all slabs of a volume.
        rows: Which ones; every slab continues where the one before ended.
        logits: Mean logits (K, D, H, W) of these rows, float32, on the device or the CPU;
            overwritten once the next slab is asked for.
    """

    axis: int
    rows: slice
    logits: Tensor


class Options(TypedDict, total=False):
    """The options of `slide_slabs`, which `slide` hands on."""

    patch_size: Required[Size]
    classes: Required[int]
    config: Required[InferenceConfig]
    background: tuple[int, ...]
    air: NDArray[np.bool_] | None
    outside: NDArray[np.bool_] | None
    device: torch.device | str
    watch: Watch | None


def slide(network: Apply, image: Tensor, **options: Unpack[Options]) -> Tensor:
    """Return all mean logits (K, D, H, W) at once, float32 on the CPU; else as `slide_slabs`."""
    result = torch.empty((options["classes"], *image.shape[1:]))
    for axis, rows, logits in slide_slabs(network, image, **options):
        result.narrow(axis + 1, rows.start, rows.stop - rows.start).copy_(logits)
    return result


def slide_slabs(  # noqa: PLR0913 - all keyword-only, each a plain value
    network: Apply,
    image: Tensor,
    *,
    patch_size: Size,
    classes: int,
    config: InferenceConfig,
    background: tuple[int, ...] = (0,),
    air: NDArray[np.bool_] | None = None,
    outside: NDArray[np.bool_] | None = None,
    device: torch.device | str = "cpu",
    watch: Watch | None = None,
) -> Iterator[Slab]:
    """Yield the mean logits of overlapping windows, slab by slab as rows are finished.

    A window wholly in air, or wholly `outside`, is not computed; it counts as background with
    certainty (`AIR_LOGIT`). All other voxels get what they would get without `outside`.
    Axes shorter than the patch are padded with each channel's lowest value. Where memory runs out,
    windows are computed one by one, then blended in main memory; the numbers stay the same.

    Args:
        network: Windows (B, C, *patch) on `device` -> logits (B, K, *patch).
        image: (C, D, H, W) float32 on the CPU.
        patch_size: Window (z, y, x), voxels.
        classes: K, background included; a multiple where `network` gives several sets of logits.
        config: Overlap, windows per pass, whether air is skipped.
        background: Which of the K are background.
        air: (D, H, W), True where there is no tissue; None where that is unknown.
        outside: (D, H, W), True where nothing is wanted; None = nowhere.
        device: Where the network is.
        watch: Progress, notices and cancellation.

    Raises:
        CancelledError: `watch.cancelled` said so.
        OutOfMemoryError: Also one window at a time does not fit.
    """
    watch = watch or Watch()
    padded, inner = pad_image(image, patch_size)
    size = (padded.shape[1], padded.shape[2], padded.shape[3])
    nothing = _union(air if config.skip_air else None, outside)
    nothing = None if nothing is None else pad_air(nothing, inner, size)
    axis = long_axis(size, patch_size)
    shape = (classes, *(patch_size[a] if a == axis else size[a] for a in range(3)))
    blend = _Blend(shape, axis, torch.device(device), watch)
    blend.batch = max(1, config.window_batch)
    rows = windows(size, patch_size, config.overlap)
    total, done = sum(map(len, rows)), 0
    watch.on_stage(SEGMENTING, total)
    for row in rows:
        start = row[0].where[axis].start
        if start > blend.first:
            yield blend.slab(start, inner)
            blend.move_to(start)
        todo = blend.skip(row, nothing, background)
        done += len(row) - len(todo)
        for count in blend.run(network, padded, todo):
            done += count
            watch.on_window(done, total)
        if not todo:
            watch.on_window(done, total)
    yield blend.slab(size[axis], inner)


class _Blend:
    """The growing mean of the rows under the windows, and the ladder for when memory runs out.

    Attributes:
        first: Row of the volume that the slab begins with.
        batch: Windows per pass.
    """

    def __init__(self, shape: Sequence[int], axis: int, device: torch.device, watch: Watch) -> None:
        self.first, self.batch = 0, 1
        self._axis, self._device, self._watch = axis, device, watch
        self._total = self._zeros(shape)

    def slab(self, stop: int, inner: Inner) -> Slab:
        """Return the rows up to `stop` of the padded volume, without the padding."""
        own = inner[self._axis]
        low, high = max(self.first, own.start), min(stop, own.stop)
        cut = list(inner)
        cut[self._axis] = slice(low - self.first, high - self.first)
        logits = self._total[(slice(None), *cut)]
        return Slab(self._axis, slice(low - own.start, high - own.start), logits)

    def move_to(self, start: int) -> None:
        """Forget the rows before `start`."""
        depth = self._total.shape[self._axis + 1]
        gone = start - self.first
        for channel in self._total:  # one by one: the copy in between stays small
            kept = channel.narrow(self._axis, gone, depth - gone).clone()
            channel.narrow(self._axis, 0, depth - gone).copy_(kept)
            channel.narrow(self._axis, depth - gone, gone).zero_()
        self.first = start

    def skip(
        self, row: list[Window], nothing: NDArray[np.bool_] | None, background: tuple[int, ...]
    ) -> list[Window]:
        """Count windows wholly in `nothing` as background; return the others."""
        if nothing is None:
            return row
        todo = []
        for window in row:
            if nothing[window.where].all():
                share = window.share().to(self._total.device)
                for channel in background:
                    self._under(window)[channel].add_(share, alpha=AIR_LOGIT)
            else:
                todo.append(window)
        return todo

    def run(self, network: Apply, image: Tensor, todo: Sequence[Window]) -> Iterator[int]:
        """Add the logits of the windows `todo`; yield how many each pass added.

        Raises:
            CancelledError: The watch said so.
            OutOfMemoryError: There is no smaller way left.
        """
        done = 0
        while done < len(todo):
            if self._watch.cancelled():
                raise CancelledError("segmentation cancelled; nothing was written")
            chosen, before = todo[done : done + self.batch], done
            ran_out: BaseException | None = None
            try:
                for window, logits in zip(
                    chosen, self._compute(network, image, chosen), strict=True
                ):
                    self._add(window, logits)
                    done += 1
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                ran_out = error.with_traceback(None)
            if ran_out is not None:  # outside the handler, so that the failed tensors are freed
                self._step_down(ran_out)
            yield done - before

    def _under(self, window: Window) -> Tensor:
        """Return the view of the slab under a window of the current row."""
        where = list(window.where)
        where[self._axis] = slice(None)
        return self._total[(slice(None), *where)]

    @torch.inference_mode()
    def _compute(self, network: Apply, image: Tensor, chosen: Sequence[Window]) -> Tensor:
        """Return the logits (B, K, *patch) of some windows, on the device."""
        patches = torch.stack([image[(slice(None), *window.where)] for window in chosen])
        patches = patches.to(self._device)
        patches = patches.contiguous(memory_format=memory_format(self._device))
        with torch.autocast(
            self._device.type,
            dtype=_half(self._device),
            enabled=self._device.type == "cuda",
        ):
            return network(patches)

    @torch.inference_mode()
    def _add(self, window: Window, logits: Tensor) -> None:
        """Add one window's share of its logits (K, *patch)."""
        share = window.share().to(self._total.device)
        self._under(window).addcmul_(logits.to(self._total.device, torch.float32), share)

    def _zeros(self, shape: Sequence[int]) -> Tensor:
        try:
            return torch.zeros(tuple(shape), device=self._device)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if self._device.type == "cpu":
            raise self._refusal(math.prod(shape) * FLOAT_BYTES)
        self._watch.on_notice("the device's memory is too small to blend in; using main memory")
        return torch.zeros(tuple(shape))

    def _step_down(self, error: BaseException) -> None:
        """Take fewer windows per pass, or move the blend to main memory.

        Raises:
            OutOfMemoryError: There is no smaller way left.
        """
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        notice = self._watch.on_notice
        if self.batch > 1:
            notice(f"out of memory with {self.batch} windows at once; using {self.batch // 2}")
            self.batch //= 2
        elif self._total.device.type != "cpu":
            notice("out of memory on the device; blending in main memory")
            self._total = self._total.cpu()
        else:
            raise self._refusal(0) from error

    def _refusal(self, needed: int) -> OutOfMemoryError:
        free = mebibytes(device_available_bytes(self._device))
        want = f"{mebibytes(needed)} needed, " if needed else "one window does not fit, "
        return OutOfMemoryError(
            f"segmentation on {self._device}: {want}{free} available; close other programs, use "
            "--device cpu, or a machine with more memory"
        )


def _union(
    one: NDArray[np.bool_] | None, other: NDArray[np.bool_] | None
) -> NDArray[np.bool_] | None:
    if one is None or other is None:
        return other if one is None else one
    return one | other


def _half(device: torch.device) -> torch.dtype:
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.bfloat16
