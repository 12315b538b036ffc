"""Everything between the scene and files, in one place to import from: `from DyCONLib import mrml`.

Import it inside Slicer only; `slicer`, `vtk` and `numpy` are all it needs.
"""

from __future__ import annotations

from DyCONLib.mrml_files import export_volume, ijk_to_ras, read_array, same_grid, write_array
from DyCONLib.mrml_segments import (
    export_segmentation,
    load_segmentation,
    segment_arrays,
    terminology_entry,
)
from DyCONLib.mrml_tree import place_beside, remove, removed_on_failure
from DyCONLib.mrml_views import hide_overlay, jump_to, load_scalar_overlay, show_overlay

__all__ = [
    "export_segmentation",
    "export_volume",
    "hide_overlay",
    "ijk_to_ras",
    "jump_to",
    "load_scalar_overlay",
    "load_segmentation",
    "place_beside",
    "read_array",
    "remove",
    "removed_on_failure",
    "same_grid",
    "segment_arrays",
    "show_overlay",
    "terminology_entry",
    "write_array",
]
