"""The growing mean of the logits under the windows, and the ladder for when memory runs out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dycon_engine.errors import CancelledError, OutOfMemoryError
from dycon_engine.inference.memory import (
    FLOAT_BYTES,
    device_available_bytes,
    first_line,
    is_out_of_memory,
    mebibytes,
)
from dycon_engine.inference.windows import Inner, Window
from dycon_engine.networks.devices import computes_bf16, memory_format

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
        on_pass: Called after every pass with how many of its windows, the first ones, count; the
            others come again.
    """

    cancelled: Callable[[], bool] = lambda: False
    on_stage: Callable[[str, int], None] = lambda _name, _total: None
    on_window: Callable[[int, int], None] = lambda _done, _total: None
    on_notice: Callable[[str], None] = lambda _text: None
    on_pass: Callable[[int], None] = lambda _count: None


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

    @property
    def where(self) -> tuple[slice, slice, slice]:
        """Where the rows lie in a volume (D, H, W)."""
        z, y, x = (self.rows if axis == self.axis else slice(None) for axis in range(3))
        return z, y, x


class Ground(NamedTuple):
    """What a volume, at least as large as the patch, holds.

    Attributes:
        inner: Where the scan lies in it; the rest is padding.
        box: The part that windows stand on; the rest is background.
        nothing: (D, H, W), True where a window need not be computed; None = nowhere.
        blank: (D, H, W), True where nothing was scanned; None = nowhere.
        background: Which of the K logits are background.
    """

    inner: Inner
    box: Inner
    nothing: NDArray[np.bool_] | None
    blank: NDArray[np.bool_] | None
    background: tuple[int, ...]


class Blend:
    """The growing mean of the rows under the windows.

    Where part of the volume is blank every window counts by its `trust`, and the sum of the weights
    is carried along as one more channel; else the weights sum to 1 by themselves.

    Attributes:
        first: Row of the volume that the slab begins with.
        batch: Windows per pass.
        dtype: Number format of the convolutions; float32 is without autocast.
    """

    def __init__(
        self, shape: Sequence[int], axis: int, ground: Ground, device: torch.device, watch: Watch
    ) -> None:
        """Begin with nothing in a slab of `shape` (K, D, H, W) with rows along `axis`."""
        self.first, self.batch, self.dtype = 0, 1, default_dtype(device)
        self._axis, self._ground, self._device, self._watch = axis, ground, device, watch
        self._classes, self._weighted = shape[0], ground.blank is not None
        self._total = self._zeros((shape[0] + self._weighted, *shape[1:]))
        self._told_overflow = False

    def slabs(self, stop: int) -> Iterator[Slab]:
        """Yield the finished rows up to `stop` of the volume, and forget them."""
        depth = self._total.shape[self._axis + 1]
        while self.first < stop:
            end = min(stop, self.first + depth)
            yield self._slab(end)
            self._move_to(end)

    def skip(self, row: list[Window]) -> list[Window]:
        """Count windows over nothing as background; return the others."""
        if self._ground.nothing is None:
            return row
        todo = []
        for window in row:
            if self._ground.nothing[window.where].all():
                share = window.share().to(self._total.device)
                for channel in self._ground.background:
                    self._under(window)[channel].add_(share, alpha=AIR_LOGIT)
                if self._weighted:
                    self._under(window)[-1].add_(share)
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
            self._watch.on_pass(done - before)
            yield done - before

    def _slab(self, stop: int) -> Slab:
        """Return the rows up to `stop` of the volume, without the padding."""
        inner, box = self._ground.inner, self._ground.box
        own = inner[self._axis]
        low = min(max(self.first, own.start), own.stop)
        high = min(max(stop, own.start), own.stop)
        cut, within = list(inner), [self._within(part, inner[a]) for a, part in enumerate(box)]
        cut[self._axis] = slice(low - self.first, high - self.first)
        within[self._axis] = self._within(box[self._axis], slice(low, high))
        part = self._total[(slice(None), *cut)]
        logits = part[: self._classes]
        if self._weighted:
            covered = part[(slice(None), *within)]
            covered[: self._classes].div_(covered[-1:])
        self._fill(logits, within)
        return Slab(self._axis, slice(low - own.start, high - own.start), logits)

    @staticmethod
    def _within(part: slice, whole: slice) -> slice:
        """Return `part` as counted from the start of `whole`, cut to it."""
        low = min(max(part.start, whole.start), whole.stop)
        high = min(max(part.stop, low), whole.stop)
        return slice(low - whole.start, high - whole.start)

    def _fill(self, logits: Tensor, within: Sequence[slice]) -> None:
        """Make all of `logits` (K, D, H, W) background that lies outside of `within`."""
        for axis, part in enumerate(within):
            for start, stop in ((0, part.start), (part.stop, logits.shape[axis + 1])):
                rest = logits.narrow(axis + 1, start, stop - start)
                rest.zero_()
                rest[list(self._ground.background)] = AIR_LOGIT

    def _move_to(self, start: int) -> None:
        """Forget the rows before `start`."""
        depth = self._total.shape[self._axis + 1]
        gone = start - self.first
        for channel in self._total:  # one by one: the copy in between stays small
            kept = channel.narrow(self._axis, gone, depth - gone).clone()
            channel.narrow(self._axis, 0, depth - gone).copy_(kept)
            channel.narrow(self._axis, depth - gone, gone).zero_()
        self.first = start

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
        logits = self._pass(network, patches, self.dtype)
        if self.dtype is torch.float16 and not logits.isfinite().all():
            if not self._told_overflow:
                self._watch.on_notice("fp16 is not finite in a window; such ones repeated in fp32")
            self._told_overflow = True
            logits = self._pass(network, patches, torch.float32)
        return logits

    def _pass(self, network: Apply, patches: Tensor, dtype: torch.dtype) -> Tensor:
        with autocast(self._device, dtype):
            return network(patches)

    @torch.inference_mode()
    def _add(self, window: Window, logits: Tensor) -> None:
        """Add one window's share of its logits (K, *patch)."""
        share = window.share().to(self._total.device)
        under = self._under(window)
        if self._ground.blank is not None:
            share = share * trust(self._ground.blank[window.where])
            under[-1].add_(share)
        under[: self._classes].addcmul_(logits.to(self._total.device, torch.float32), share)

    def _zeros(self, shape: Sequence[int]) -> Tensor:
        try:
            return torch.zeros(tuple(shape), device=self._device)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            words = first_line(error)
        needed = f"{mebibytes(math.prod(shape) * FLOAT_BYTES)} needed"
        if self._device.type == "cpu":
            raise self._refusal(needed, words)
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
            raise self._refusal("one window does not fit", first_line(error)) from error

    def _refusal(self, found: str, words: str) -> OutOfMemoryError:
        free = mebibytes(device_available_bytes(self._device))
        return OutOfMemoryError(
            f"segmentation on {self._device}: {found}, {free} available; close other programs, use "
            f"--device cpu, or a machine with more memory (PyTorch: {words})"
        )


TRUST_POWER = 4  # measured on LA scans turned by 30 degrees; from 1 to 8 the mean Dice rises
LEAST_TRUST = 1e-6


def trust(blank: NDArray[np.bool_]) -> float:
    """Return how much a window counts, in (0, 1]: less, the more of it (D, H, W) is blank.

    A network sees few blank voxels in training, and its normalisation suffers from many.
    """
    share = 1.0 - float(blank.mean())
    return float(max(share**TRUST_POWER, LEAST_TRUST))


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Return the context in which convolutions compute in `dtype`; float32 is without autocast."""
    half = dtype is not torch.float32
    return torch.autocast(device.type, dtype=dtype if half else None, enabled=half)


def default_dtype(device: torch.device) -> torch.dtype:
    """Return the number format of convolutions on `device`: half precision on CUDA only."""
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if computes_bf16(device) else torch.float16
