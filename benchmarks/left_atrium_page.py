"""Write docs/models/left-atrium.md and its pictures from what was measured; nothing is typed in.

    python benchmarks/left_atrium_page.py --data LA2018 [--package NAME.dycon]

Reads left-atrium-robustness.json and left-atrium-training.json of benchmarks/results; refuses
figures of another model.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks import left_atrium_robustness as robustness
from benchmarks.left_atrium_changes import CLEAN, OUTSIDE, ROBUSTNESS
from benchmarks.left_atrium_log import NAME as LOG
from benchmarks.left_atrium_measuring import VALIDATION, case_names, mean, read_scan
from benchmarks.left_atrium_pictures import draw_calibration, draw_changes, draw_failure
from dycon_engine.inference.predictor import Predictor
from dycon_engine.jobs.files import write_text
from dycon_engine.package import PackageInfo, load_package

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "models" / "left-atrium.md"
WORST_CASES, WORST_CHANGES = 2, 2
LARGEST = 12 * 10**6  # bytes of a shipped model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--package", type=Path, default=robustness.SHIPPED)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    write(options.package, options.data, options.page)


def write(path: Path, data: Path, page: Path, results: Path = robustness.RESULTS) -> None:
    """Write the page of the model at `path` and the pictures beside it."""
    package = load_package(path)
    content = robustness.load(results, package.info.weights_sha256)
    log = json.loads((results / LOG).read_text(encoding="utf-8"))
    images = page.parent / "images"
    predictor = Predictor(package)
    draw_calibration(
        images / "left-atrium-calibration.png", content, package.info.calibration.risk_coverage
    )
    draw_changes(images / "left-atrium-changes.png", content["changes"])
    failures = tuple(_failures(content, data, predictor, images))
    figures = {"size": path.stat().st_size, "name": package.name}
    write_text(page, "\n\n".join(_sections(package.info, content, log, failures, figures)) + "\n")


def _failures(
    content: Mapping[str, Any], data: Path, predictor: Predictor, images: Path
) -> Iterator[tuple[str, str]]:
    """Draw the worst validation cases and the worst changes; yield caption and file name."""
    names = case_names(data)[-VALIDATION:]
    cases = sorted(content["clean"]["cases"], key=lambda case: case["dice"])
    for number, case in enumerate(cases[:WORST_CASES], start=1):
        file = f"left-atrium-worst-{number}.png"
        name = names[case["case"] - 1]
        draw_failure(images / file, CLEAN(read_scan(data, name), name), predictor)
        yield _caption(case), file
    known = {(change.group, change.name): change for change in (*ROBUSTNESS, *OUTSIDE)}
    rows = [r for r in content["changes"] if r["dice"] is not None and not r["outside"]]
    for number, row in enumerate(sorted(rows, key=lambda r: r["dice"])[:WORST_CHANGES], start=1):
        change, name = known[row["group"], row["change"]], names[0]
        file = f"left-atrium-changed-{number}.png"
        draw_failure(images / file, change(read_scan(data, name), name), predictor)
        caption = f"Validation case 1, {row['group']}, {row['change']} (mean Dice of all such scans"
        yield f"{caption} {row['dice']:.3f})", file


def _caption(case: Mapping[str, Any]) -> str:
    return (
        f"Validation case {case['case']}: Dice {case['dice']:.3f}, HD95 {case['hd95_mm']:.1f} mm, "
        f"{case['volume_ml']:.0f} ml instead of {case['reference_ml']:.0f} ml"
    )


def _sections(
    info: PackageInfo,
    content: Mapping[str, Any],
    log: Mapping[str, Any],
    failures: Sequence[tuple[str, str]],
    figures: Mapping[str, Any],
) -> Iterator[str]:
    command = "`python benchmarks/left_atrium_page.py --data LA2018`"
    yield f"# {figures['name']}: the left atrium in late gadolinium-enhanced MR"
    yield f"**{info.notice}**"
    yield (
        f"Written by {command} from what was measured. The model ships with the extension, "
        f"{figures['size'] / 1e6:.1f} MB, weights {info.weights_sha256[:12]}; "
        "`dycon describe --package` shows the same figures."
    )
    yield "## Where it comes from"
    yield _list((info.license, *info.evidence.source, *_training(info, log)))
    yield "## Validation"
    yield (
        f"The last {VALIDATION} scans of the published order, never trained on, on their own "
        "grid, last iteration, nothing removed from the prediction."
    )
    yield _validation(content)
    yield "## How far it is from a model of full resolution"
    yield robustness.resolution_said(content, info)
    yield "## What the uncertainty is worth"
    yield _trust(info, content)
    yield _picture("Reliability and risk-coverage", "left-atrium-calibration.png")
    yield "## Scans it has seen"
    yield _seen(info)
    yield "## Changed scans"
    yield robustness.said(content)
    yield _picture("Dice of changed scans", "left-atrium-changes.png")
    yield robustness.rows_table(content)
    yield robustness.flags_said(content)
    yield "## Known failures"
    yield (
        "Slices through the place where the prediction is wrong the deepest. Above or left: "
        "reference solid blue, prediction dashed orange. Below or right: uncertainty, from yellow "
        "to red."
    )
    for caption, file in failures:
        yield f"{caption}.\n\n{_picture(caption, file)}"
    yield "## Train it again"
    earlier = sorted(file.name for file in robustness.RESULTS.glob(LOG.replace(".", "-*.")))
    stages = ", ".join(f"[`{name}`](../../benchmarks/results/{name})" for name in (LOG, *earlier))
    yield (
        "```sh\n" + info.evidence.reproduce.replace(" && ", "\n") + "\n```\n\n"
        "`LA2018` holds `images/ID.nii.gz`, `labels/ID.nii.gz` and `train.list`. The log of the "
        f"run and of the stages before it: {stages}; every figure above: "
        f"[`{robustness.NAME}.json`](../../benchmarks/results/{robustness.NAME}.json)."
    )


def _training(info: PackageInfo, log: Mapping[str, Any]) -> tuple[str, ...]:
    training, settings = info.training, log["settings"]
    spacing = " x ".join(f"{mm:g}" for mm in info.preprocessing.spacing_mm)
    patch = " x ".join(map(str, info.patch_size))
    validated = training["validation"]["cases"]
    changed = ", ".join(f"{n} {v}" for n, v in settings["method"]["settings"].items())
    seconds, device = log["training_seconds"], log["device"]["device"]
    stage = " in the last stage" if "started_from" in training else ""
    return (
        (
            f"Split: {training['labeled_cases']} labeled for training, "
            f"{training['unlabeled_cases']} unlabeled, {validated} for validation."
        ),
        (
            f"Method {training['method']} ({changed}), {training['checkpoint']}, network "
            f"{info.network.name} {list(info.network.filters)}, grid {spacing} mm, window {patch} "
            f"voxels; {seconds / 60:.0f} minutes of steps on {device}{stage}, engine "
            f"{log['engine']}."
        ),
    )


def _validation(content: Mapping[str, Any]) -> str:
    cases = content["clean"]["cases"]
    head = "| case | Dice | HD95 [mm] | ASD [mm] | predicted [ml] | labeled [ml] | ECE |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    keys = ("dice", "hd95_mm", "asd_mm", "volume_ml", "reference_ml", "ece_near")
    digits = (4, 2, 2, 1, 1, 3)
    rows = [(str(case["case"]), [case[key] for key in keys]) for case in cases]
    rows.append(("mean", [mean([case[key] for case in cases]) for key in keys]))
    for name, values in rows:
        cells = [f"{v:.{d}f}" for v, d in zip(values, digits, strict=True)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _trust(info: PackageInfo, content: Mapping[str, Any]) -> str:
    clean, calibration = content["clean"], info.calibration
    found = clean["errors_captured"]
    return _list(
        (
            (
                f"Expected calibration error (15 bins): {clean['ece_all']:.4f} over all voxels, "
                f"{clean['ece_near']:.4f} over all those within {content['band_mm']:g} mm of the "
                "reference's surface together (within single cases "
                f"{min(case['ece_near'] for case in clean['cases']):.3f} to "
                f"{max(case['ece_near'] for case in clean['cases']):.3f}). The one temperature "
                f"({calibration.temperature:.3g}) was fitted on these cases; with each case judged "
                "by the temperature of the others the error near boundaries is "
                f"{calibration.ece_after:.4f} "
                f"({calibration.ece_before:.4f} without temperature)."
            ),
            (
                f"The {content['most_uncertain']:.0%} most uncertain voxels of a scan hold "
                f"{found:.1%} of its wrong voxels (mean over the cases; worst "
                f"{min(case['errors_captured'] for case in clean['cases']):.0%})."
            ),
        )
    )


def _seen(info: PackageInfo) -> str:
    seen = info.seen
    assert seen is not None
    spacing, size = (
        ", ".join(f"{low:.4g} to {high:.4g}" for low, high in ranges)
        for ranges in (seen.spacing_mm, seen.size_mm)
    )
    low, middle, high = seen.percentiles[0]
    volume = ", ".join(f"{low:.0f} to {high:.0f} ml" for low, high in seen.volumes_ml)
    return _list(
        (
            f"{seen.cases} scans, voxels (z, y, x) {spacing} mm, field of view {size} mm.",
            (
                f"Intensities: 1 % {low.low:g} to {low.high:g}, 50 % {middle.low:g} to "
                f"{middle.high:g}, 99 % {high.low:g} to {high.high:g}."
            ),
            f"Left atrium: {volume}.",
            "A scan beyond these is segmented all the same, and its report says what is unusual.",
        )
    )


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _picture(words: str, file: str) -> str:
    return f"![{words}](images/{file})"


if __name__ == "__main__":
    main()
