"""Write a small copy of a training run's log: settings, validation curve, thinned steps.

    python benchmarks/left_atrium_log.py --run RUN [--out benchmarks/results] [--stage coarse]

Every block holds the means over its steps; a step that was done twice, before and after a stop,
counts once. No names, no paths.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dycon_engine.jobs.client import EventTail
from dycon_engine.jobs.events import Event, Finished, Started, StepDone, Validated, Warned
from dycon_engine.jobs.files import write_text

ROOT = Path(__file__).resolve().parent.parent
NAME = "left-atrium-training.json"
BLOCKS = 120
DIGITS = 5
LARGEST_BYTES = 200_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--stage", default="", help="name of a stage that came before the last")
    options = parser.parse_args()
    write(options.run, options.out, options.stage)


def write(run: Path, out: Path, stage: str = "") -> None:
    """Write the log of `run` into the folder `out`.

    Raises:
        SystemExit: It is not small.
    """
    events = EventTail(run / "events.jsonl").read()
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    text = json.dumps(compact(events, config), indent=None, separators=(",", ":"), allow_nan=False)
    text = text.replace('{"step"', '\n{"step"').replace('{"first_step"', '\n{"first_step"') + "\n"
    if len(text) > LARGEST_BYTES:
        raise SystemExit(f"the log has {len(text)} bytes, expected at most {LARGEST_BYTES}")
    write_text(out / (NAME.replace(".", f"-{stage}.") if stage else NAME), text)


def compact(events: Sequence[Event], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the log as plain values."""
    begun = events[0].time_s
    steps = {event.step: event for event in events if isinstance(event, StepDone)}
    ordered = [steps[number] for number in sorted(steps)]
    size = math.ceil(len(ordered) / BLOCKS) or 1
    starts = [event for event in events if isinstance(event, Started)]
    finished = [event.summary for event in events if isinstance(event, Finished)]
    computes = [event for event in starts if event.device]
    return {
        "engine": config["engine"],
        "device": {"device": computes[-1].device, "device_name": computes[-1].device_name},
        "starts": len(starts) - len(computes),
        "training_seconds": round(math.fsum(step.step_s for step in ordered)),
        "summary": _rounded(finished[-1]) if finished else None,
        "settings": config["config"],
        "data": config["data"],
        "warnings": [
            {"step_time_s": round(event.time_s - begun), "text": event.message}
            for event in events
            if isinstance(event, Warned)
        ],
        "validation": [
            {
                "step": event.step,
                "minutes": round((event.time_s - begun) / 60.0, 1),
                "dice": round(event.dice, DIGITS),
                "student_dice": _rounded(event.student_dice),
            }
            for event in events
            if isinstance(event, Validated)
        ],
        "blocks": [block(ordered[i : i + size]) for i in range(0, len(ordered), size)],
    }


def block(steps: Sequence[StepDone]) -> dict[str, Any]:
    """Return the means over some steps."""
    return {
        "first_step": steps[0].step,
        "last_step": steps[-1].step,
        "terms": _means([step.terms for step in steps]),
        "diagnostics": _means([step.diagnostics for step in steps]),
        "learning_rate": _rounded(steps[-1].learning_rate),
        "step_s": _mean([step.step_s for step in steps]),
    }


def _means(tables: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Return the mean of every name over the steps that have it."""
    names = sorted(set().union(*tables))
    return {name: _mean([table[name] for table in tables if name in table]) for name in names}


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return _rounded(math.fsum(known) / len(known)) if known else None


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    return value


if __name__ == "__main__":
    main()
