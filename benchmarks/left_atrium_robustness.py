"""What changed scans do to the shipped left-atrium model: Dice, HD95, calibration, flags.

    python benchmarks/left_atrium_robustness.py --data LA2018 [--package NAME.dycon] [--cases 8]

The last 8 names of train.list, which the model has not seen, under every change of
`left_atrium_changes.py`; about 6 minutes on one free CPU core. Rows are kept in --rows, so that a
stopped measurement goes on. Writes left-atrium-robustness.json and .md to --out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.left_atrium_changes import CLEAN, OUTSIDE, ROBUSTNESS, Change
from benchmarks.left_atrium_measuring import (
    BAND_MM,
    VALIDATION,
    Measurer,
    Row,
    case_names,
    grid_dice,
    mean,
    pooled,
    read_scan,
)
from dycon_engine import __version__
from dycon_engine.benchmarking.protocol import load_protocol
from dycon_engine.data.seen import Seen, scan_facts
from dycon_engine.evaluation.calibration import MOST_UNCERTAIN
from dycon_engine.inference.domain import domain_flags, volume_flags
from dycon_engine.inference.predictor import Predictor
from dycon_engine.inference.volumes import LabelVolume
from dycon_engine.jobs.files import write_json, write_text
from dycon_engine.package import PackageInfo, load_package

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "DyCONSegmentation" / "Resources" / "Models" / "DyCONLeftAtriumLGE.dycon"
RESULTS = ROOT / "benchmarks" / "results"
NAME = "left-atrium-robustness"
FOLDS = 8
SAID = """\
Every scan is made from a published crop; none is a second acquisition. The larger fields of view
are the real crop inside a painted chest, with soft edges, whose smooth tissue can look like a
chamber; "region drawn": with the crop as region of interest. The CT and the brain MR are painted
surrogates. Loss: of mean Dice against the same scans unchanged. ECE: voxels within {band:g} mm of
the reference's surface, pooled over the cases. Errors found: share of the wrong voxels among the
{share:.0%} most uncertain voxels of their scan. Flagged: scans with a flag for being unlike the
training scans or for what was found (the last column). Review asked: scans whose report asks a
person to look, because of a flag or of a doubtful volume. Changed scans are the first {few} of the
{all} validation scans: compare them with the second row."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--package", type=Path, default=SHIPPED)
    parser.add_argument("--cases", type=int, default=VALIDATION)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--rows", type=Path, default=ROOT / "build" / "left-atrium-rows.jsonl")
    options = parser.parse_args()
    torch.set_num_threads(1)
    measure(options.package, options.data, options.out, options.rows, cases=options.cases)


def measure(package: Path, data: Path, out: Path, rows: Path, *, cases: int = VALIDATION) -> None:
    """Measure every change on the first `cases` validation cases and write the table."""
    predictor = Predictor(load_package(package))
    measurer = Measurer(predictor, rows)
    names = case_names(data)[-VALIDATION:]
    found: dict[Change, tuple[Row, ...]] = {}
    for change in (*ROBUSTNESS, *OUTSIDE):
        number = VALIDATION if change is CLEAN else cases
        found[change] = tuple(
            measurer.row(change, data, names, case) for case in range(1, number + 1)
        )
        print(line(summary(change, found[change], found[CLEAN])), flush=True)
    grid = predictor.package.info.preprocessing
    content = table(found, predictor) | {
        "false_flags": false_flags(data, predictor, found[CLEAN]),
        "grid_dice": mean([grid_dice(grid, read_scan(data, name).label) for name in names]),
    }
    write_json(out / f"{NAME}.json", content)
    write_text(out / f"{NAME}.md", markdown(content))


def summary(change: Change, rows: Sequence[Row], clean: Sequence[Row]) -> dict[str, Any]:
    """Return the means over the cases of one change, and the loss against the same cases clean."""
    pairs = [(row.dice, clean[row.case - 1].dice) for row in rows]
    lost = [before - after for after, before in pairs if after is not None and before is not None]
    near = pooled([row.near for row in rows])
    return {
        "group": change.group,
        "change": change.name,
        "outside": change.outside,
        "cases": len(rows),
        "dice": _rounded(mean([row.dice for row in rows]), 4),
        "loss": _rounded(mean(lost), 4),
        "worst_dice": _rounded(min((r.dice for r in rows if r.dice is not None), default=None), 4),
        "hd95_mm": _rounded(mean([row.hd95_mm for row in rows]), 2),
        "asd_mm": _rounded(mean([row.asd_mm for row in rows]), 2),
        "ece_near": _rounded(near.ece, 4) if near.voxels.sum() else None,
        "errors_captured": _rounded(mean([row.captured for row in rows]), 3),
        "flagged": sum(bool(row.flags) for row in rows),
        "reviewed": sum(row.reviewed for row in rows),
        "topics": sorted({topic for row in rows for topic in row.flags}),
    }


def false_flags(data: Path, predictor: Predictor, clean: Sequence[Row]) -> dict[str, Any]:
    """Return how many unchanged scans are flagged.

    Validation scans are flagged as `predict` does; of the training scans every eighth is held
    against the ranges of the others, its label's volume taken for the predicted one.
    """
    names = case_names(data)[:-VALIDATION]
    facts, volumes = [], []
    for name in names:
        image, label, _ = read_scan(data, name)
        facts.append(scan_facts(image, predictor.prepare(image)))
        volumes.append(float(label.array.sum()) * label.geometry.voxel_mm3 / 1000.0)
    flagged: dict[str, int] = {}
    scans = 0
    for fold in range(FOLDS):
        kept = [i for i in range(len(names)) if i % FOLDS != fold]
        seen = Seen.of([facts[i] for i in kept], [(volumes[i],) for i in kept])
        for i in range(fold, len(names), FOLDS):
            volume = LabelVolume("", 1, volumes[i], 0.0, 0.0, None, review=False, reason="")
            flags = (*domain_flags(facts[i], seen), *volume_flags((volume,), seen))
            scans += bool(flags)
            for topic in {flag.topic for flag in flags}:
                flagged[topic] = flagged.get(topic, 0) + 1
    return {
        "validation": {"scans": len(clean), "flagged": sum(bool(row.flags) for row in clean)},
        "training": {"scans": len(names), "flagged": scans, "topics": flagged},
    }


def table(found: dict[Change, tuple[Row, ...]], predictor: Predictor) -> dict[str, Any]:
    """Return all figures as plain JSON values."""
    clean = found[CLEAN]
    everywhere, near = (
        pooled([getattr(row, name) for row in clean]) for name in ("everywhere", "near")
    )
    return {
        "weights_sha256": predictor.package.info.weights_sha256,
        "engine_version": __version__,
        "band_mm": BAND_MM,
        "most_uncertain": MOST_UNCERTAIN,
        "clean": {
            "ece_all": everywhere.ece,
            "ece_near": near.ece,
            "errors_captured": mean([row.captured for row in clean]),
            "reliability_near": {
                "confidence": _plain(near.confidence),
                "accuracy": _plain(near.accuracy),
                "voxels": near.voxels.tolist(),
            },
            "cases": [
                {
                    "case": row.case,
                    "dice": row.dice,
                    "hd95_mm": row.hd95_mm,
                    "asd_mm": row.asd_mm,
                    "ece_near": pooled([row.near]).ece,
                    "errors_captured": row.captured,
                    "volume_ml": row.volume_ml,
                    "reference_ml": row.reference_ml,
                    "reviewed": row.reviewed,
                }
                for row in clean
            ],
        },
        "changes": [summary(change, rows, clean) for change, rows in found.items()],
    }


def markdown(content: dict[str, Any]) -> str:
    """Return the table for people."""
    command = "`python benchmarks/left_atrium_robustness.py --data LA2018`"
    return (
        f"# Left atrium: changed scans\n\nWritten by {command}, dycon_engine "
        f"{content['engine_version']}, weights {content['weights_sha256'][:12]}.\n\n"
        f"{said(content)}\n\n"
        f"{rows_table(content)}\n\n{flags_said(content)}\n"
    )


def said(content: Mapping[str, Any]) -> str:
    """Return what the columns mean."""
    every, few = (content["changes"][number]["cases"] for number in (0, 1))
    return SAID.format(band=content["band_mm"], share=content["most_uncertain"], few=few, all=every)


def rows_table(content: Mapping[str, Any]) -> str:
    """Return one row per change."""
    head = (
        "| change | | scans | Dice | loss | worst | HD95 [mm] | ECE | errors found | flagged |"
        " review asked | flags |\n|---|---|---|---|---|---|---|---|---|---|---|---|"
    )
    clean, *changed = content["changes"]
    same = clean_few(content, changed[0]["cases"])
    return "\n".join((head, *map(line, (clean, same, *changed))))


def clean_few(content: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Return the entry of the first `count` unchanged scans, which the changes were made of.

    Raises:
        ValueError: Some unchanged scan is flagged: which one is not known.
    """
    every, cases = content["changes"][0], content["clean"]["cases"][:count]
    if every["flagged"]:
        raise ValueError("an unchanged scan is flagged; measure again to say which")
    names = ("dice", "hd95_mm", "errors_captured")
    means = {name: mean([case[name] for case in cases]) for name in names}
    return (
        every
        | means
        | {
            "change": f"{every['change']}, the first {count}",
            "cases": count,
            "worst_dice": min(case["dice"] for case in cases),
            "ece_near": None,  # pooled over voxels, which are not kept
            "reviewed": sum(case["reviewed"] for case in cases),
        }
    )


def flags_said(content: Mapping[str, Any]) -> str:
    """Return how many scans are flagged that should be, and that should not."""
    false = content["false_flags"]
    outside = [row for row in content["changes"] if row["outside"]]
    rightly = {
        "flagged": sum(row["flagged"] for row in outside),
        "scans": sum(row["cases"] for row in outside),
    }
    return (
        f"Flagged: {_of(rightly)} scans of the group outside. Unchanged scans flagged: "
        f"{_of(false['validation'])} for validation, {_of(false['training'])} for training; each "
        "training scan was checked against the ranges of the other seven eighths."
    )


def resolution_said(content: Mapping[str, Any], info: PackageInfo) -> str:
    """Return how far the model is from one that was trained at the full resolution."""
    dice = mean([case["dice"] for case in content["clean"]["cases"]])
    protocol = load_protocol("la-80")
    full = next(row for row in protocol.published if "V-Net" in row.method)
    spacing = " x ".join(f"{mm:g}" for mm in info.preprocessing.spacing_mm)
    return (
        f"Trained on a grid of {spacing} mm, coarser than the scans, so that a CPU can do it; no "
        "model was trained at the full resolution, so the distance to one is not measured. A "
        f"perfect result on this grid has a mean Dice of {content['grid_dice']:.3f}, the model "
        f"{dice:.3f}: at most {1.0 - content['grid_dice']:.3f} of the missing {1.0 - dice:.3f} is "
        "due to the coarse grid. A V-Net trained "
        "with 80 labels at the full resolution is reported with "
        f"{full.dice / 100.0:.3f} on {len(protocol.test)} other scans of the same source "
        f"(checkpoint: {full.checkpoint})."
    )


def _of(count: Mapping[str, Any]) -> str:
    return f"{count['flagged']} of {count['scans']}"


def line(entry: dict[str, Any]) -> str:
    """Return one row of the table."""
    figures = (
        _text(entry["dice"], 3), _text(entry["loss"], 3), _text(entry["worst_dice"], 3),
        _text(entry["hd95_mm"], 1), _text(entry["ece_near"], 3),
        _text(entry["errors_captured"], 2),
    )  # fmt: skip
    counts = (f"{entry['flagged']}/{entry['cases']}", f"{entry['reviewed']}/{entry['cases']}")
    cells: Iterable[str] = (
        entry["group"], entry["change"], str(entry["cases"]), *figures, *counts,
        ", ".join(entry["topics"]) or "-",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def load(out: Path, weights_sha256: str) -> dict[str, Any]:
    """Return the measured figures of a model.

    Raises:
        SystemExit: They are of another model.
    """
    content: dict[str, Any] = json.loads((out / f"{NAME}.json").read_text(encoding="utf-8"))
    if content["weights_sha256"] != weights_sha256:
        raise SystemExit(
            f"{NAME}.json was measured with other weights; run left_atrium_robustness.py again"
        )
    return content


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"  # no -0.000


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _plain(values: Any) -> list[float | None]:
    return [None if value != value else round(float(value), 4) for value in values]  # noqa: PLR0124


if __name__ == "__main__":
    main()
