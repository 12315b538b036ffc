"""`demo`: the whole way on generated scans: train, segment, evaluate, compare. No data needed."""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
import time
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycon_engine.errors import CancelledError, DyconError, InputError
from dycon_engine.jobs.reporter import Reporter, run_job

STEPS = 500
LABELED, VALIDATION, UNLABELED, TEST = 3, 2, 12, 12
METHODS = {"DyCON": "dycon", "supervised only": "supervised"}
SETTINGS = (
    "preprocessing.spacing_mm=[4.0, 4.0, 4.0]",
    "network.filters=[8, 16, 32, 64]",
    "network.stem=1",
    "training.foreground=0.7",
    "training.patch_size=[24, 32, 32]",
    "training.learning_rate=0.01",
    "training.threads=1",  # faster than two on patches this small
    f"data.validation={VALIDATION}",
)
OWN_SETTINGS = {  # so short a run needs less of it; chosen on phantoms of other seeds than 0
    "dycon": ("method.pseudo_label_weight=0.3",),
    "supervised": (),
}
LABEL_NAMES = "left atrium,left ventricle"
RESEARCH = "Research use only; not a medical device."


@dataclass(frozen=True)
class Plan:
    """What the demo does.

    Attributes:
        output: Folder that everything goes to.
        steps: Optimizer steps of each of the two trainings.
        seed: Of phantoms and trainings.
        size: About the voxels (z, y, x) of a scan.
        open_report: Whether to show the report in the browser.
    """

    output: Path
    steps: int
    seed: int
    size: tuple[int, int, int]
    open_report: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(prog="dycon demo", description=f"{__doc__} {RESEARCH}")
    add = parser.add_argument
    add(
        "--output",
        type=Path,
        default=Path("demo-run"),
        help="a new folder (default: demo-run); if in use, NAME-2 ...",
    )
    add("--steps", type=int, default=STEPS, help=f"steps of each training (default: {STEPS})")
    add("--seed", type=int, default=0, help="of phantoms and trainings (default: 0)")
    add("--size", type=int, default=0, help="voxels a side of a scan, for a quick look")
    add("--open", action="store_true", help="show the report in the browser")
    arguments = parser.parse_args(argv)

    def job(reporter: Reporter) -> dict[str, Any]:
        from dycon_engine.data.phantoms import SIZE  # noqa: PLC0415 - after --help

        size = (arguments.size,) * 3 if arguments.size else SIZE
        plan = Plan(arguments.output, arguments.steps, arguments.seed, size, arguments.open)
        return run_demo(plan, reporter)

    return run_job("demo", job)


def run_demo(plan: Plan, reporter: Reporter) -> dict[str, Any]:
    """Make phantoms, train both methods, segment, evaluate; return the summary.

    Raises:
        InputError: A number of steps below 1.
        DyconError: A step of the way failed; its own words come first.
        CancelledError: The person asked to stop.
    """
    plan = dataclasses.replace(plan, output=free_folder(plan.output))
    if plan.steps < 1:
        raise InputError(f"--steps {plan.steps}: expected 1 or more")
    began = time.monotonic()
    data, test = make_data(plan, reporter)
    reporter.tell(f"Training side by side, {plan.steps} steps each: {', '.join(METHODS)}")
    train(plan, data, reporter)
    for name, method in METHODS.items():
        reporter.tell(f"Segmenting {TEST} unseen scans with uncertainty: {name}")
        predict(plan, method, test, reporter)
    reporter.tell("Evaluating")
    report = evaluate(plan, test, reporter)
    minutes = (time.monotonic() - began) / 60
    reporter.tell(f"Done in {minutes:.1f} minutes. Report: {report.resolve()}")
    if plan.open_report:
        webbrowser.open(report.resolve().as_uri())
    return {"report": str(report), "minutes": minutes}


def free_folder(folder: Path) -> Path:
    """Return `folder`, or the first of folder-2, folder-3, ... where something is in it."""
    number, free = 1, folder
    while free.exists() and (not free.is_dir() or any(free.iterdir())):
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free


def make_data(plan: Plan, reporter: Reporter) -> tuple[Path, Path]:
    """Write the training and the test scans; return their folders."""
    from dycon_engine.data.phantoms import make_phantoms  # noqa: PLC0415 - after --help

    data, test = plan.output / "data", plan.output / "test"
    labeled, count = LABELED + VALIDATION, LABELED + VALIDATION + UNLABELED
    reporter.tell(
        f"Generating phantom scans: {LABELED} labeled, {UNLABELED} unlabeled, "
        f"{VALIDATION} validation, {TEST} test"
    )
    make_phantoms(data, count=count, labeled=labeled, seed=plan.seed, size=plan.size)
    make_phantoms(test, count=TEST, labeled=TEST, seed=plan.seed, size=plan.size, first=count + 1)
    return data, test


def train(plan: Plan, data: Path, reporter: Reporter) -> None:
    """Train both methods on `data` for the plan's steps, each with one thread, at once."""
    lines = []
    for method in METHODS.values():
        run = (f"training.steps={plan.steps}", f"training.seed={plan.seed}")
        settings = (*SETTINGS, *OWN_SETTINGS[method], *run)
        chosen = [text for setting in settings for text in ("--set", setting)]
        where = ["--data", str(data), "--run-dir", str(plan.output / method)]
        lines.append([*where, "--profile", "laptop", "--method", method, *chosen])
    _run("train", lines, reporter)


def predict(plan: Plan, method: str, test: Path, reporter: Reporter) -> None:
    """Segment the test scans with the package of `method`, with probabilities and uncertainty."""
    run = plan.output / method
    targets = {
        "--output": run / "segmentations",
        "--probabilities": run / "probabilities",
        "--uncertainty": run / "uncertainty",
        "--report": run / "reports",
    }
    chosen = [text for option, path in targets.items() for text in (option, str(path))]
    package = ["--package", str(run / "package" / "last.dycon"), "--input", str(test / "images")]
    _run("predict", [[*package, *chosen]], reporter)


def evaluate(plan: Plan, test: Path, reporter: Reporter) -> Path:
    """Compare both methods on the test scans; return the path of the HTML report."""
    chosen = []
    for name, method in METHODS.items():
        run = plan.output / method
        chosen += ["--prediction", str(run / "segmentations"), "--name", name]
        chosen += ["--probabilities", str(run / "probabilities")]
    output = plan.output / "report"
    data = (
        f"Phantom scans, generated: {LABELED} labeled, {UNLABELED} unlabeled, {VALIDATION} "
        f"validation, {TEST} unseen test scans (shown here). Both methods: {plan.steps} steps, "
        "the same network, patches, augmentation and seed; last step, not the best one."
    )
    caution = f"One seed ({plan.seed}) and {TEST} cases show the way, not which method is better."
    where = ["--reference", str(test / "labels"), "--images", str(test / "images")]
    texts = ["--labels", LABEL_NAMES, "--title", "Demo: DyCON against supervised only"]
    for note in (data, caution):
        texts += ["--note", note]
    _run("evaluate", [[*chosen, *where, "--output", str(output), *texts]], reporter)
    return output / "report.html"


def _run(verb: str, lines: Sequence[Sequence[str]], reporter: Reporter) -> None:
    """Run a command once per line of arguments, all at once, as child processes.

    What the first one says for people goes where ours goes. Where one fails the others are ended.
    """
    reporter.check_cancelled()
    at_terminal = sys.stdout is not None and sys.stdout.isatty()
    children: list[subprocess.Popen[bytes]] = []
    try:
        for arguments in lines:
            shown = at_terminal and not children
            command = [sys.executable, "-m", f"dycon_engine.{verb}", *arguments]
            output = None if shown else subprocess.DEVNULL
            children.append(subprocess.Popen(command, stdout=output))
        while None in [child.poll() for child in children]:
            if reporter.cancelled():
                for child in children:
                    child.terminate()
            if any(child.returncode for child in children):
                break
            time.sleep(0.1)
        codes = [child.returncode for child in children if child.returncode]
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
    if codes and (CancelledError.exit_code in codes or reporter.cancelled()):
        raise CancelledError("stopped as asked")
    if codes:
        raise DyconError(f"demo: {verb} ended with exit code {codes[0]}; see above")


if __name__ == "__main__":
    raise SystemExit(main())
