"""Loaded scans and segmentations into files of the data set; nodes are not touched."""

from __future__ import annotations

from pathlib import Path

from dycon_engine.errors import InputError
from DyCONLib import mrml
from DyCONTrainingLib.cases import FromScene, Row
from DyCONTrainingLib.labels import LabelMapping
from DyCONTrainingLib.scene_facts import grid_of, node_of
from DyCONTrainingLib.scene_rows import segments_of


def export_image(source: FromScene, path: Path) -> None:
    """Write the volume of `source`: its voxels on its own grid, and nothing else.

    Raises:
        InputError: It is not loaded any more, or is no usable scan.
        DyconError: The file cannot be written.
    """
    node = node_of(source)
    if node is None:
        raise InputError("a scan of the table is not loaded any more; leave it out")
    mrml.export_volume(node, path)


def export_label(row: Row, mapping: LabelMapping, path: Path) -> None:
    """Write the segmentation of `row` as the data set's labels on the grid of its scan.

    Args:
        row: Its label is a segmentation node.
        mapping: Which segment is which label, and what is on top.
        path: Label map to write.

    Raises:
        InputError: Nodes are gone, or segments overlap and nobody said which is on top.
        DyconError: The file cannot be written.
    """
    segmentation, volume = node_of(row.label), grid_of(row)
    if segmentation is None or volume is None:
        raise InputError(
            f"case '{row.title}': its segmentation or scan is not loaded any more; leave it out"
        )
    names = {segment.name for segment in segments_of(segmentation)}
    values = {name: mapping.value_of(name) for name in names if mapping.value_of(name)}
    mrml.export_segmentation(segmentation, volume, path, values, on_top=mapping.on_top)
