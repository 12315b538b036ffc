"""Methods on the left-atrium volumes at equal steps: 8 labeled, 64 unlabeled, 8 validation cases.

    python benchmarks/la.py --data LA2018 --out runs/la --methods dycon mean_teacher supervised \
        --seeds 0 1 [--steps 1500] [--labeled 8] [--set section.key=value] \
        [--set-for dycon method.start=0.5]

--set holds for all methods, --set-for for one; both can be given several times.
Runs go one after another and each can be stopped and continued: call the command again. The last
iteration is scored at full resolution; nothing is chosen on the validation cases, and the test
cases of the published split are not in the folder. Prints one table and writes it to --out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from dycon_engine.jobs.client import EventTail
from dycon_engine.jobs.events import StepDone

ROOT = Path(__file__).resolve().parent.parent


class Result(NamedTuple):
    """One finished run: means over the validation cases."""

    method: str
    seed: int
    dice: float
    student_dice: float | None
    jaccard: float
    hd95_mm: float | None
    asd_mm: float | None
    ece: float
    minutes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=["dycon", "mean_teacher", "supervised"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--labeled", type=int, default=8)
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument(
        "--set-for", action="append", default=[], nargs=2, metavar=("METHOD", "SECTION.KEY=VALUE")
    )
    arguments = parser.parse_args()
    results = [
        run(arguments, method, seed) for seed in arguments.seeds for method in arguments.methods
    ]
    text = table(results, arguments)
    (arguments.out / "table.md").write_text(text, encoding="utf-8")
    print(text)


def run(arguments: argparse.Namespace, method: str, seed: int) -> Result:
    """Train, or go on training, or just read what is finished."""
    folder = arguments.out / f"{method}-{arguments.labeled}-seed{seed}"
    report = folder / "report" / "validation.json"
    if not report.exists():
        settings = [
            f"data.order={arguments.data / 'train.list'}",
            f"data.labeled={arguments.labeled}",
            "data.validation=8",
            f"training.seed={seed}",
            f"training.steps={arguments.steps}",
            *arguments.set,
            *[setting for name, setting in arguments.set_for if name == method],
        ]
        command = [sys.executable, "-m", "dycon_engine.train", "--method", method]
        command += ["--data", str(arguments.data), "--run-dir", str(folder)]
        if folder.exists():
            command.append("--resume")
        else:
            command += ["--profile", arguments.profile]
            command += [word for setting in settings for word in ("--set", setting)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return read(method, seed, folder)


def read(method: str, seed: int, folder: Path) -> Result:
    """Return the figures of a finished run."""
    found = json.loads((folder / "report" / "validation.json").read_text(encoding="utf-8"))
    rows = [scores for case in found["cases"] for scores in case["classes"].values()]
    events = EventTail(folder / "events.jsonl").read()
    seconds = sum(event.step_s for event in events if isinstance(event, StepDone))
    return Result(
        method=method,
        seed=seed,
        dice=found["dice"],
        student_dice=found["student_dice"],
        jaccard=statistics.mean(row["jaccard"] for row in rows),
        hd95_mm=mean([row["hd95_mm"] for row in rows]),
        asd_mm=mean([row["asd_mm"] for row in rows]),
        ece=found["calibration"]["ece_after"],
        minutes=seconds / 60.0,
    )


def mean(values: list[float | None]) -> float | None:
    """Return the mean; None where any is undefined, since a mean of the others would flatter."""
    defined = [value for value in values if value is not None]
    return statistics.mean(defined) if len(defined) == len(values) else None


def table(results: list[Result], arguments: argparse.Namespace) -> str:
    """Return the results as Markdown."""
    own = ", ".join(
        [*arguments.set, *(f"{setting} ({name})" for name, setting in arguments.set_for)]
    )
    head = (
        f"Profile {arguments.profile}, {arguments.labeled} labeled, {arguments.steps} steps, last "
        f"iteration, 8 validation cases at full resolution. Settings: {own or 'none'}.\n"
    )
    lines = [
        head,
        "| method | seed | Dice | student's Dice | Jaccard | HD95 mm | ASD mm | ECE | train min |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        cells = (r.dice, r.student_dice, r.jaccard, r.hd95_mm, r.asd_mm, r.ece)
        numbers = " | ".join("-" if c is None else f"{c:.4f}" for c in cells)
        lines.append(f"| {r.method} | {r.seed} | {numbers} | {r.minutes:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
