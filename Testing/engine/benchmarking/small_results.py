"""Results of runs as `result.json` has them, made from Dice alone."""

from __future__ import annotations

from dycon_engine.benchmarking.running import LARGEST, PLAIN

LABEL = "left atrium"


def scores(dice: float, hd95: float | None = 3.0):
    values = dict.fromkeys(("hd95_mm", "asd_mm", "assd_mm"), hd95)
    values |= dict.fromkeys(("hd95_voxels", "asd_voxels", "assd_voxels"), hd95)
    sizes = {"label": 1, "prediction_voxels": 10, "reference_voxels": 10}
    return {LABEL: values | sizes | {"dice": dice, "jaccard": dice / (2 - dice)}}


def result(method: str, seed: int, dice: list[float], *, hd95: float | None = 3.0, **more):
    cases = [
        {"case": f"c{i}", PLAIN: scores(d, hd95), LARGEST: scores(min(d + 0.01, 1.0))}
        for i, d in enumerate(dice)
    ]
    facts = {"train_minutes": 2.0, "test_minutes": 1.0, "memory_mib": None, "oracle": False}
    return {"method": method, "seed": seed, "cases": cases, "ece": 0.1, **facts, **more}
