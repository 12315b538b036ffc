"""Small corrections of a label map that the person asks for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dycon_engine.data.volume import bounding_box

CONNECTED = np.ones((3, 3, 3), dtype=bool)  # voxels touch also by an edge or a corner


def keep_components(
    labels: NDArray[np.uint8],
    classes: int,
    *,
    voxel_mm3: float,
    largest: bool = False,
    minimum_mm3: float = 0.0,
) -> tuple[NDArray[np.uint8], dict[int, int]]:
    """Return the label map without small pieces, and the voxels removed per class.

    Args:
        labels: (D, H, W) class indices; changed in place.
        classes: K, background included.
        voxel_mm3: Volume of a voxel.
        largest: Keep only the largest connected piece of every class.
        minimum_mm3: Remove pieces smaller than this.
    """
    removed: dict[int, int] = {}
    boxes: list[Any] = ndimage.find_objects(labels, max_label=classes - 1)
    for index, box in enumerate(boxes, start=1):
        if box is None:
            continue
        view = labels[box]
        pieces, count = ndimage.label(view == index, structure=CONNECTED)
        sizes = np.bincount(pieces.ravel(), minlength=count + 1)
        sizes[0] = 0
        keep = sizes * voxel_mm3 >= minimum_mm3
        if largest:
            keep &= np.arange(count + 1) == sizes.argmax()
        keep[0] = True
        drop = ~keep[pieces]
        view[drop] = 0
        removed[index] = int(drop.sum())
    return labels, {index: count for index, count in removed.items() if count}


def emptied(
    possible: NDArray[np.bool_], removed: NDArray[np.bool_], kept: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return the connected regions that hold removed voxels and no kept one.

    Args:
        possible: (D, H, W) where a structure may be.
        removed: The same shape, what was taken out of the label map.
        kept: What is left in it.
    """
    found = np.zeros_like(possible)
    box = bounding_box(possible | removed | kept)
    if box is None:
        return found
    removed, kept = removed[box], kept[box]
    regions, count = ndimage.label(possible[box] | removed | kept, structure=CONNECTED)
    empty = np.zeros(count + 1, dtype=bool)
    empty[regions[removed]] = True
    empty[regions[kept]] = False
    found[box] = empty[regions]
    return found
