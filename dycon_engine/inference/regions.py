"""Where to look first: regions of high uncertainty, ranked.

The rim of a whole organ is often one connected region: such large ones are cut into the places
where most uncertainty is gathered.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dycon_engine.data.geometry import Geometry
from dycon_engine.data.volume import Part, bounding_box

THRESHOLD = 0.75
MOST_REGIONS = 20
MOST_PLACES = 200  # of one connected region; more are not looked for
MARGIN_VOXELS = 8
LARGE_MM = 30.0  # regions longer than this along an axis are cut
REACH_MM = 10.0  # radius of the places they are cut into
SPREAD_MM = 5.0  # over which uncertainty is gathered to find them
CONNECTED = np.ones((3, 3, 3), dtype=bool)


class Region(NamedTuple):
    """One connected region of uncertain voxels.

    Attributes:
        id: 1 = look here first; the region's value in the map of regions.
        labels: Names of the structures in it, the largest part first; the nearest one where there
            is none in it; () where none is near.
        score: Volume times mean uncertainty, cubic millimetres; what they are ordered by.
        centroid_lps_mm: Center of mass, DICOM world (left, posterior, superior)+.
        centroid_ras_mm: The same point in the scene's world (right, anterior, superior)+.
        point_lps_mm: The region's own voxel that is nearest to the center of mass, which lies
            beside a curved region; DICOM world.
        point_ras_mm: The same point in the scene's world.
        volume_mm3: Size.
        mean_uncertainty: In [0, 1].
        box_zyx: First and last voxel index per array axis, inclusive.
        out_of: How many regions were found; only the most important ones are returned.
    """

    id: int
    labels: tuple[str, ...]
    score: float
    centroid_lps_mm: tuple[float, float, float]
    centroid_ras_mm: tuple[float, float, float]
    point_lps_mm: tuple[float, float, float]
    point_ras_mm: tuple[float, float, float]
    volume_mm3: float
    mean_uncertainty: float
    box_zyx: tuple[tuple[int, int], ...]
    out_of: int = 1


def uncertain_regions(  # noqa: PLR0913 - the first four are one thing: the result on its grid
    uncertainty: NDArray[np.float32],
    labels: NDArray[np.uint8],
    geometry: Geometry,
    names: Sequence[str],
    *,
    threshold: float = THRESHOLD,
    most: int = MOST_REGIONS,
    region_map: NDArray[np.uint8] | None = None,
) -> tuple[Region, ...]:
    """Return the `most` most important regions above `threshold`, the most important first.

    A region is connected, or one of the places of a connected region that is too large.

    Args:
        uncertainty: (D, H, W) in [0, 1].
        labels: (D, H, W) class indices.
        geometry: Their grid.
        names: Name per class index.
        threshold: Lowest uncertainty of a region's voxels.
        most: Regions returned at most.
        region_map: (D, H, W) of zeros where it is wanted; becomes each region's `id` in its voxels.
    """
    above = uncertainty >= threshold
    around = bounding_box(above)
    if around is None:
        return ()
    near = uncertainty[around]
    pieces, _ = ndimage.label(above[around], structure=CONNECTED)
    boxes = _cut_large(pieces, ndimage.find_objects(pieces), near, geometry)
    mass = np.zeros(len(boxes) + 1)
    for indices, values in zip(pieces, near, strict=True):  # by slice: float64 stays small
        chosen = indices > 0
        mass += np.bincount(indices[chosen], values[chosen], minlength=len(mass))
    order = [i for i in np.argsort(-mass[1:], kind="stable") if boxes[i] is not None]
    found = []
    for number, i in enumerate(order[:most], start=1):
        inside = pieces[boxes[i]] == i + 1
        box = _moved(boxes[i], around)
        if region_map is not None:
            region_map[box][inside] = number
        region = _region(number, uncertainty, labels, geometry, names, (inside, box))
        found.append(region._replace(out_of=len(order)))
    return tuple(found)


def _cut_large(
    pieces: NDArray[Any],
    boxes: list[Any],
    uncertainty: NDArray[np.float32],
    geometry: Geometry,
) -> list[Any]:
    """Replace large pieces by places, in place; return the new boxes, None where one is gone.

    Args:
        pieces: (D, H, W) their numbers, from 1.
        boxes: Where each lies.
        uncertainty: (D, H, W).
        geometry: The voxel size.
    """
    found = list(boxes)
    for index, box in enumerate(boxes, start=1):
        sides = [(b.stop - b.start) * mm for b, mm in zip(box, geometry.spacing_mm, strict=True)]
        if max(sides) <= LARGE_MM:
            continue
        found[index - 1] = None
        view = pieces[box]
        inside = view == index
        left = np.where(inside, uncertainty[box], np.float32(0.0))
        view[inside] = 0
        for near, place in _places(left, geometry.spacing_mm):
            found.append(_moved(near, box))
            view[near][place] = len(found)
    return found


def _places(
    left: NDArray[np.float32], spacing_mm: Sequence[float]
) -> Iterator[tuple[Part, NDArray[np.bool_]]]:
    """Yield at most `MOST_PLACES`, heaviest first: the box of each and which voxels it has there.

    `left` (D, H, W) is the uncertainty, 0 outside the region; what is taken becomes 0.
    """
    block = [max(1, int(SPREAD_MM / 2 / mm)) for mm in spacing_mm]
    block_mm = [n * mm for n, mm in zip(block, spacing_mm, strict=True)]
    blocks = _block_sums(left, block)  # gathering there is much faster than on voxels
    gathered = ndimage.gaussian_filter(blocks, [SPREAD_MM / mm for mm in block_mm], truncate=2.0)
    gathered[blocks == 0.0] = 0.0
    for _ in range(MOST_PLACES):
        peak = [int(at) for at in np.unravel_index(int(gathered.argmax()), gathered.shape)]
        if gathered[tuple(peak)] <= 0.0:
            return
        near, inside = _ball(peak, block_mm, gathered.shape)
        gathered[near][inside] = 0.0
        center = [at * n + (n - 1) / 2 for at, n in zip(peak, block, strict=True)]
        near, inside = _ball(center, spacing_mm, left.shape)
        inside &= left[near] > 0.0
        left[near][inside] = 0.0
        around = bounding_box(inside)
        if around is not None:
            yield _moved(around, near), inside[around]


def _moved(box: Sequence[slice], within: Sequence[slice]) -> Part:
    """Return `box`, which is counted from the start of `within`, as counted from outside of it."""
    z, y, x = (
        slice(outer.start + part.start, outer.start + part.stop)
        for outer, part in zip(within, box, strict=True)
    )
    return z, y, x


def _block_sums(values: NDArray[np.float32], block: Sequence[int]) -> NDArray[np.float32]:
    """Return the sums of (D, H, W) over blocks of so many voxels; the last ones may be smaller."""
    for axis, n in enumerate(block):
        ahead = (slice(None),) * axis
        total = values[(*ahead, slice(0, None, n))].copy()
        for start in range(1, min(n, values.shape[axis])):
            part = values[(*ahead, slice(start, None, n))]
            total[(*ahead, slice(0, part.shape[axis]))] += part
        values = total
    return values


def _ball(
    center: Sequence[float], spacing_mm: Sequence[float], size: Sequence[int]
) -> tuple[tuple[slice, ...], NDArray[np.bool_]]:
    """Return the box of the voxels within `REACH_MM` of `center`, and which of them they are."""
    box = tuple(
        slice(max(0, math.ceil(at - REACH_MM / mm)), min(n, int(at + REACH_MM / mm) + 1))
        for at, mm, n in zip(center, spacing_mm, size, strict=True)
    )
    z, y, x = (
        ((np.arange(part.start, part.stop) - at) * mm) ** 2
        for part, at, mm in zip(box, center, spacing_mm, strict=True)
    )
    return box, z[:, None, None] + y[None, :, None] + x[None, None, :] <= REACH_MM**2


def _region(
    number: int,
    uncertainty: NDArray[np.float32],
    labels: NDArray[np.uint8],
    geometry: Geometry,
    names: Sequence[str],
    piece: tuple[NDArray[np.bool_], tuple[slice, ...]],
) -> Region:
    inside, box = piece
    values = np.where(inside, uncertainty[box], np.float32(0.0))
    count, mass = int(np.count_nonzero(inside)), float(values.sum(dtype=np.float64))
    corner = np.array([part.start for part in box])
    center = _center(values)
    nearest = _nearest_voxel(inside, center, geometry.spacing_mm) + corner
    center += corner
    x, y, z = (round(float(part), 3) for part in geometry.to_world(center))
    px, py, pz = (round(float(part), 3) for part in geometry.to_world(nearest))
    voxel_mm3 = geometry.voxel_mm3
    return Region(
        id=number,
        labels=_labels_in(labels[box][inside], names)
        or _nearest_label(labels, geometry, names, center, box),
        score=round(mass * voxel_mm3, 3),
        centroid_lps_mm=(x, y, z),
        centroid_ras_mm=(-x, -y, z),
        point_lps_mm=(px, py, pz),
        point_ras_mm=(-px, -py, pz),
        volume_mm3=round(count * voxel_mm3, 3),
        mean_uncertainty=round(mass / count, 4),
        box_zyx=tuple((int(part.start), int(part.stop) - 1) for part in box),
    )


def _nearest_voxel(
    inside: NDArray[np.bool_], center: NDArray[np.float64], spacing_mm: Sequence[float]
) -> NDArray[np.float64]:
    """Return the index (z, y, x) of the voxel of a region that is nearest to `center` in mm."""
    voxels = np.argwhere(inside)
    distance = (((voxels - center) * np.asarray(spacing_mm)) ** 2).sum(axis=1)
    return np.asarray(voxels[int(distance.argmin())], np.float64)


def _labels_in(inside: NDArray[np.uint8], names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the classes among the (N,) voxels of a region, most frequent first."""
    counts = np.bincount(inside, minlength=len(names))
    order = np.argsort(-counts[1:], kind="stable") + 1
    return tuple(names[i] for i in order if counts[i])


def _nearest_label(
    labels: NDArray[np.uint8],
    geometry: Geometry,
    names: Sequence[str],
    center: NDArray[np.float64],
    box: tuple[slice, ...],
) -> tuple[str, ...]:
    wide = tuple(slice(max(b.start - MARGIN_VOXELS, 0), b.stop + MARGIN_VOXELS) for b in box)
    near = labels[wide]
    if not near.any():
        return ()
    z, y, x = (
        (((np.arange(part.start, part.start + n) - at) * step) ** 2).astype(np.float32)
        for part, n, at, step in zip(wide, near.shape, center, geometry.spacing_mm, strict=True)
    )
    distance = z[:, None, None] + y[None, :, None] + x[None, None, :]  # axes are perpendicular
    distance[near == 0] = np.inf
    return (names[int(near.reshape(-1)[int(distance.argmin())])],)


def _center(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the center of mass (z, y, x) of non-negative `values` (D, H, W), not all 0."""
    planes = values.sum(axis=(1, 2), dtype=np.float64)
    columns = values.sum(axis=0, dtype=np.float64)
    shares = (planes, columns.sum(axis=1), columns.sum(axis=0))
    return np.array([np.arange(len(share)) @ share / share.sum() for share in shares])
