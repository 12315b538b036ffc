"""What the checks know of scans and segmentations, whoever looked at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from DyCONTrainingLib.draft import Key


@dataclass(frozen=True)
class ImageFacts:
    """What is known of a row's scan.

    Attributes:
        size_xyz: Voxels.
        spacing_mm: Along the same axes, sorted from small to large: scans may be turned.
        low: Lowest intensity of all channels.
        high: Highest.
        finite: Whether every voxel is a number.
        constant: Whether a channel has one value only.
        sha256: Of size and voxels; equal scans have equal ones.
        channels_agree: Whether all channels lie on one grid.
        problem: Why it cannot be used at all, "" where it can.
    """

    size_xyz: tuple[int, int, int] = (0, 0, 0)
    spacing_mm: tuple[float, ...] = (1.0, 1.0, 1.0)
    low: float = 0.0
    high: float = 1.0
    finite: bool = True
    constant: bool = False
    sha256: str = ""
    channels_agree: bool = True
    problem: str = ""


@dataclass(frozen=True)
class LabelFacts:
    """What is known of a row's segmentation on the grid of its scan.

    Attributes:
        voxels: Inside the scan, by segment.
        overlaps: Voxels that two segments share, by their names.
        outside_ml: How much of it lies outside the scan.
        is_prediction: Whether a model made it and nobody corrected it.
    """

    voxels: Mapping[str, int] = field(default_factory=dict)
    overlaps: Mapping[tuple[str, str], int] = field(default_factory=dict)
    outside_ml: float = 0.0
    is_prediction: bool = False


@dataclass(frozen=True)
class Facts:
    """What is known of the rows, by their images; labels on disk are the engine's business."""

    images: Mapping[Key, ImageFacts] = field(default_factory=dict)
    labels: Mapping[Key, LabelFacts] = field(default_factory=dict)
