"""A network over a whole volume: overlapping windows, blended with Gaussian weights.

Windows stand on a full grid and the Gaussian is a product of three one-dimensional curves, so the
weights are normalised per axis beforehand: every window adds its final share in place and there is
neither a weight map nor a division at the end, but for scans with blank parts. The windows advance
along the axis that is longest against the patch; rows behind them are finished and handed out, so
that memory holds one patch of rows and not the volume.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Required, TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dycon_engine.config import InferenceConfig
from dycon_engine.data.geometry import Size
from dycon_engine.inference.blending import Apply, Blend, Ground, Slab, Watch
from dycon_engine.inference.windows import box_around, long_axis, pad_image, pad_mask, windows

SEGMENTING = "segmenting"  # the stage, in windows


class Options(TypedDict, total=False):
    """The options of `slide_slabs`, which `slide` hands on."""

    patch_size: Required[Size]
    classes: Required[int]
    config: Required[InferenceConfig]
    background: tuple[int, ...]
    air: NDArray[np.bool_] | None
    blank: NDArray[np.bool_] | None
    outside: NDArray[np.bool_] | None
    device: torch.device | str
    dtype: torch.dtype | None
    watch: Watch | None


def slide(network: Apply, image: Tensor, **options: Unpack[Options]) -> Tensor:
    """Return all mean logits (K, D, H, W) at once, float32 on the CPU; else as `slide_slabs`."""
    result = torch.empty((options["classes"], *image.shape[1:]))
    for slab in slide_slabs(network, image, **options):
        result[:, *slab.where] = slab.logits
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
    blank: NDArray[np.bool_] | None = None,
    outside: NDArray[np.bool_] | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    watch: Watch | None = None,
) -> Iterator[Slab]:
    """Yield the mean logits of overlapping windows, slab by slab as rows are finished.

    A window wholly in air, or wholly `outside`, is not computed; it counts as background with
    certainty (`AIR_LOGIT`). All other voxels get what they would get without `outside`. Windows
    stand on the box around all that is not `blank`, and count the less the more of them is.
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
        blank: (D, H, W), True where nothing was scanned; None = nowhere.
        outside: (D, H, W), True where nothing is wanted; None = nowhere.
        device: Where the network is.
        dtype: Number format of the convolutions, float32 for no autocast; None = that of the
            device (`default_dtype`).
        watch: Progress, notices and cancellation.

    Raises:
        CancelledError: `watch.cancelled` said so.
        OutOfMemoryError: Also one window at a time does not fit.
    """
    watch = watch or Watch()
    padded, inner = pad_image(image, patch_size)
    size = (padded.shape[1], padded.shape[2], padded.shape[3])
    nothing = _union(air if config.skip_air else None, outside)
    blank = None if blank is None else pad_mask(blank, inner, size)
    ground = Ground(
        inner,
        (slice(0, size[0]), slice(0, size[1]), slice(0, size[2]))
        if blank is None
        else box_around(~blank, patch_size),
        None if nothing is None else pad_mask(nothing, inner, size),
        blank,
        background,
    )
    axis = long_axis(size, patch_size)
    shape = (classes, *(patch_size[a] if a == axis else size[a] for a in range(3)))
    blend = Blend(shape, axis, ground, torch.device(device), watch)
    blend.batch = max(1, config.window_batch)
    blend.dtype = blend.dtype if dtype is None else dtype
    rows = windows(size, patch_size, config.overlap, ground.box)
    total, done = sum(map(len, rows)), 0
    watch.on_stage(SEGMENTING, total)
    for row in rows:
        yield from blend.slabs(row[0].where[axis].start)
        todo = blend.skip(row)
        done += len(row) - len(todo)
        for count in blend.run(network, padded, todo):
            done += count
            watch.on_window(done, total)
        if not todo:
            watch.on_window(done, total)
    yield from blend.slabs(size[axis])


def _union(
    one: NDArray[np.bool_] | None, other: NDArray[np.bool_] | None
) -> NDArray[np.bool_] | None:
    if one is None or other is None:
        return other if one is None else one
    return one | other
