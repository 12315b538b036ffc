"""What the figures of an evaluation say, in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dycon_engine.evaluation.calibration import MOST_UNCERTAIN
from dycon_engine.evaluation.summaries import Calibration, Difference, PredictionSet, Row
from dycon_engine.pictures.page import count


def sentences(
    sets: Sequence[PredictionSet], rows: Sequence[Row], differences: Sequence[Difference]
) -> tuple[str, ...]:
    """Return one sentence per class and prediction set, one per calibration and difference."""
    lines = []
    for row in rows:
        distance = row.metrics["hd95_mm"]
        who = f"{row.prediction}, {row.name}" if len(sets) > 1 else row.name
        own = next(s for s in sets if s.name == row.prediction)
        text = f"{who}: {_dice_words(own, row)}"
        if distance.defined:
            text += f", median HD95 {distance.median:.1f} mm"
        if row.one_empty:
            text += f"; missed altogether or invented in {count(row.one_empty, 'case')}"
        if row.absent:
            text += f"; absent from both in {count(row.absent, 'case')}, left out"
        lines.append(text + ".")
    for predictions in sets:
        found = predictions.calibration
        if found is not None and found.reference.voxels.sum():
            who = f"{predictions.name}: " if len(sets) > 1 else ""
            lines.append(f"{who}{_trust(found)}")
    lines += [
        f"{d.name}: {d.first} minus {d.second} {d.mean:+.3f} Dice; better in {d.better}, "
        f"worse in {d.worse} of {count(d.pairs, 'case')}."
        for d in differences
        if d.metric == "dice" and d.pairs
    ]
    return tuple(lines)


def _dice_words(predictions: PredictionSet, row: Row) -> str:
    if not row.metrics["dice"].defined:
        return "Dice undefined"
    values = zip(predictions.values("dice", row.label), predictions.cases, strict=True)
    worst, case = min((dice, case.case) for dice, case in values if not math.isnan(dice))
    return f"mean Dice {row.metrics['dice'].mean:.3f} (worst {worst:.3f}, case {case})"


def _trust(found: Calibration) -> str:
    """Return what the uncertainty is worth, as a sentence."""
    text = (
        f"Stated confidence is off by {found.reference.ece:.3f} on average (ECE) within "
        f"{found.band_mm:g} mm of the reference's surface"
    )
    if not math.isnan(found.mean_captured):
        text += (
            f"; the {MOST_UNCERTAIN:.0%} most uncertain voxels of a scan hold "
            f"{found.mean_captured:.0%} of its errors"
        )
    return f"{text}."
