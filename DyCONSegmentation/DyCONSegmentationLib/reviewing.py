"""Going over a result: region by region, correcting, handing it on for training; without Qt."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dycon_engine.errors import InputError
from DyCONLib import mrml
from DyCONSegmentationLib import editing, orders, showing, training_manifest, training_set
from DyCONSegmentationLib.results import Result, keep_review, mark_corrected, region_position
from DyCONSegmentationLib.review import Mark
from DyCONSegmentationLib.session import Session


class Reviewing:
    """What a person does with the result at hand of a session, which says what changed."""

    def __init__(self, session: Session, open_editor: Callable[[], Any]) -> None:
        """Start at no region.

        Args:
            session: Gives the result at hand.
            open_editor: Shows the module Segment Editor.
        """
        self._session, self._open_editor = session, open_editor
        self._at = ("", 0)  # id of the segmentation and rank of the region that is shown

    @property
    def rank(self) -> int:
        """The region that is shown; 0 is none."""
        result, (node_id, rank) = self._session.result, self._at
        return rank if result is not None and result.segmentation.GetID() == node_id else 0

    def jump(self, rank: int) -> None:
        """Show the region of this rank in all slice views."""
        result = self._session.result
        position = region_position(result, rank) if result is not None else None
        if result is not None and position is not None:
            self._at = (result.segmentation.GetID(), rank)
            showing.jump(position)
            self._session.changed.emit()

    def jump_to_next(self) -> None:
        """Show the next region that is open."""
        result = self._session.result
        region = result.review.next_open(self.rank) if result is not None else None
        if region is not None:
            self.jump(region.rank)

    def mark(self, mark: Mark) -> None:
        """Mark the region that is shown and go to the next open one; reopening stays."""
        result = self._session.result
        if result is None or not self.rank:
            return
        review = result.review.marked(self.rank, mark)
        keep_review(result.segmentation, review)
        if mark is Mark.FIXED or review.left == 0:
            mark_corrected(result.segmentation)
        if mark is not Mark.OPEN:
            self.jump_to_next()
        self._session.changed.emit()

    def edit_uncertain(self) -> None:
        """Open Segment Editor so that only what is colored can be changed.

        Raises:
            InputError: There is no uncertainty to go by.
        """
        session = self._session
        if session.result is not None:
            session.choose(show_overlay=True)
            session.show()  # before the editor: it then leaves the views alone
            threshold = session.parameters.hide_below
            editing.edit_uncertain(session.result, threshold, self._open_editor)

    def edit_everything(self) -> None:
        """Open Segment Editor without a limit."""
        if self._session.result is not None:
            editing.edit_everything(self._session.result, self._open_editor)

    def add_to_training_set(self, folder: Path, name: str) -> Path:
        """Write the scan and its corrected segmentation into a data set; return the label file.

        Raises:
            DyconError: The name is taken, a structure or channel is unknown there, a volume is
                gone, or a file cannot be written; the data set is as before.
        """
        result = self._session.result
        if result is None or result.volume is None:
            raise InputError("the scan of this result is not in the scene any more")
        case = _case(result, folder)
        label = training_set.add_case(folder, name, case)
        mark_corrected(result.segmentation)
        return label


def _case(result: Result, folder: Path) -> training_set.NewCase:
    channels = result.channels or ("image",)
    if None in result.volumes or len(result.volumes) < len(channels):
        raise InputError(
            f"this model takes {', '.join(channels)}, and not all of them are in the scene any "
            "more; segment again"
        )
    wrong = orders.apart(result.volumes)
    if wrong:
        raise InputError(wrong)
    values = training_set.label_values(folder, result.labels, tuple(result.colors))
    order = training_manifest.channel_order(folder, channels)
    volumes = [result.volumes[index] for index in order]
    return training_set.NewCase(
        channels=tuple(channels[index] for index in order),
        labels=result.labels,
        colors=result.colors,
        write_images=[functools.partial(mrml.export_volume, volume) for volume in volumes],
        write_label=lambda path: _write_label(result, path, values),
    )


def _write_label(result: Result, path: Path, values: Mapping[str, int]) -> None:
    mrml.export_segmentation(result.segmentation, result.volume, path, values)
