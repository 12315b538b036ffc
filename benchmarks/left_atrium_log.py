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
    events = read_events(run / "events.jsonl")
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    text = json.dumps(compact(events, config), indent=None, separators=(",", ":"), allow_nan=False)
    text = text.replace('{"step"', '\n{"step"').replace('{"first_step"', '\n{"first_step"') + "\n"
    if len(text) > LARGEST_BYTES:
        raise SystemExit(f"the log has {len(text)} bytes, expected at most {LARGEST_BYTES}")
    write_text(out / (NAME.replace(".", f"-{stage}.") if stage else NAME), text)


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return the events of a run in order; a line that a kill cut short is left out."""
    events = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events


def compact(events: Sequence[Mapping[str, Any]], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the log as plain values."""
    begun = events[0]["time_s"]
    steps = {event["step"]: event for event in events if event["event"] == "step"}
    ordered = [steps[number] for number in sorted(steps)]
    size = math.ceil(len(ordered) / BLOCKS) or 1
    finished = [event["summary"] for event in events if event["event"] == "finished"]
    devices = [e for e in events if e["event"] == "started" and e.get("device")]
    return {
        "engine": config["engine"],
        "device": {name: devices[-1][name] for name in ("device", "device_name")},
        "starts": sum(1 for e in events if e["event"] == "started" and not e.get("device")),
        "training_seconds": round(math.fsum(step["step_s"] for step in ordered)),
        "summary": _rounded(finished[-1]) if finished else None,
        "settings": config["config"],
        "data": config["data"],
        "warnings": [
            {"step_time_s": round(e["time_s"] - begun), "text": e.get("message", "")}
            for e in events
            if e["event"] == "warning"
        ],
        "validation": [
            {
                "step": event["step"],
                "minutes": round((event["time_s"] - begun) / 60.0, 1),
                "dice": round(event["dice"], DIGITS),
                "student_dice": _rounded(event["student_dice"]),
            }
            for event in events
            if event["event"] == "validated"
        ],
        "blocks": [block(ordered[i : i + size]) for i in range(0, len(ordered), size)],
    }


def block(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means over some steps."""
    figures: dict[str, Any] = {"first_step": steps[0]["step"], "last_step": steps[-1]["step"]}
    for group in ("terms", "diagnostics"):
        names = sorted({name for step in steps for name in step.get(group, {})})
        figures[group] = {
            name: _mean([step[group][name] for step in steps if name in step.get(group, {})])
            for name in names
        }
    figures["learning_rate"] = _rounded(steps[-1]["learning_rate"])
    figures["step_s"] = _mean([step["step_s"] for step in steps])
    return figures


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
