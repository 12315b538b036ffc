"""Where results stand in the scene: beside their volume, under its transform; or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import slicer


def place_beside(node: Any, volume: Any) -> None:
    """Put `node` under the parent of `volume` in the subject hierarchy, and under its transform."""
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if tree is None:
        return
    there = tree.GetItemByDataNode(volume)
    item = tree.GetItemByDataNode(node)
    if there:
        parent = tree.GetItemParent(there)
        if item:
            tree.SetItemParent(item, parent)
        else:  # no plugin made one
            tree.CreateItem(parent, node)


@contextlib.contextmanager
def removed_on_failure() -> Iterator[list[Any]]:
    """Yield a list for new nodes; if what follows fails they are removed from the scene."""
    nodes: list[Any] = []
    try:
        yield nodes
    except BaseException:
        for node in reversed(nodes):
            remove(node)
        raise


def remove(node: Any) -> None:
    """Remove a node with its display and storage nodes; one that is gone already is no error."""
    if node is None or not slicer.mrmlScene.IsNodePresent(node):
        return
    parts = [node.GetStorageNode()] if node.GetStorageNode() else []
    parts += [node.GetNthDisplayNode(i) for i in range(node.GetNumberOfDisplayNodes())]
    for part in [node, *parts]:
        if part is not None and slicer.mrmlScene.IsNodePresent(part):
            slicer.mrmlScene.RemoveNode(part)
