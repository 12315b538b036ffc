"""What a person at a terminal is told when a training is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dycon_engine.jobs.terminal import shell_word
from dycon_engine.pictures.page import count


def ending(summary: Mapping[str, Any], run_dir: Path) -> Iterator[str]:
    """Yield what was done, how good the model is, where it lies and what comes next.

    Args:
        summary: Of the terminal event of `train`.
        run_dir: As the person wrote it, so that the paths told can be pasted.
    """
    if summary.get("notice"):
        yield str(summary["notice"])
    yield _effort(summary)
    yield _worth(summary)
    steps, best = summary["steps"], summary.get("best_step", 0)
    if 0 < best < steps:
        path = shell_word((run_dir / summary["package"]).with_name("best.dycon"))
        yield f"Best on the same scans: Dice {summary['best_dice']:.3f} after step {best}, {path}"
    package = shell_word(run_dir / summary["package"])
    yield f"Model: {package}"
    yield f"Next: dycon predict --package {package} --input scan.nii.gz --output mask.nii.gz"


def _effort(summary: Mapping[str, Any]) -> str:
    parts = [f"Training is done: {count(summary['steps'], 'step')}"]
    if summary.get("steps_per_s"):
        parts.append(f"{summary['steps_per_s']:.2g} steps per second")
    if summary.get("peak_memory_mib"):
        parts.append(f"at most {summary['peak_memory_mib']:.0f} MiB of memory")
    return ", ".join(parts)


def _worth(summary: Mapping[str, Any]) -> str:
    if "dice" not in summary:
        return "Not validated: no labeled scan was held out, so nobody knows how good the model is"
    named = [f"{name} {_dice(value)}" for name, value in summary["dice_per_class"].items()]
    found = f"mean Dice {_dice(summary['dice'])} ({', '.join(named)})"
    if len(named) == 1:
        found = f"Dice {_dice(summary['dice'])} ({next(iter(summary['dice_per_class']))})"
    cases = summary.get("validation_cases")  # a run of an older engine does not say
    scans = count(cases, "held-out scan") if cases else "held-out scans"
    return f"Validated on {scans}: {found}; 1 is perfect"


def _dice(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"
