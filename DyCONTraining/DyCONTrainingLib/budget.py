"""Minutes, steps and memory of a training run: what a short probe on this machine tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from DyCONTrainingLib.advice import duration

LEAST_STEPS = 20
MOST_STEPS = 1_000_000
FEW_STEPS = 300  # fewer rarely teach anything


@dataclass(frozen=True)
class Probe:
    """What a few steps on this machine told.

    Attributes:
        step_s: Seconds per step.
        overhead_s: Seconds before the first step and after the last one.
        memory_gib: Largest memory used, None where it was not measured.
        available_gib: Memory that was free, None where unknown.
        device: What it ran on.
    """

    step_s: float
    overhead_s: float = 0.0
    memory_gib: float | None = None
    available_gib: float | None = None
    device: str = ""


def steps_for(minutes: float, probe: Probe) -> int:
    """Return how many steps fit into so many minutes."""
    seconds = 60.0 * minutes - probe.overhead_s
    return max(LEAST_STEPS, min(MOST_STEPS, int(seconds / probe.step_s)))


def seconds_for(steps: int, probe: Probe) -> float:
    """Return how long so many steps take."""
    return probe.overhead_s + steps * probe.step_s


def budget_text(steps: int, probe: Probe, now: datetime) -> str:
    """Return what a run costs: steps, time, when it ends, memory."""
    seconds = seconds_for(steps, probe)
    parts = [
        f"{steps} steps in about {duration(seconds)}",
        f"done {moment(now + timedelta(seconds=seconds), now)}",
    ]
    if probe.memory_gib is not None:
        parts.append(f"needs {probe.memory_gib:.1f} GiB")
    text = ", ".join(parts)
    if probe.device:
        text += f" on {probe.device}"
    return text


def concern(steps: int, probe: Probe) -> str:
    """Return why the budget may not work, "" where nothing speaks against it."""
    if probe.memory_gib and probe.available_gib and probe.memory_gib > probe.available_gib:
        return (
            f"needs {probe.memory_gib:.1f} GiB but {probe.available_gib:.1f} GiB are free; close "
            "other programs or take the laptop profile"
        )
    if steps < FEW_STEPS:
        return f"{steps} steps are few: a model rarely learns much in less than {FEW_STEPS}"
    return ""


def smaller(profile: str, device: str) -> str:
    """Return which choices of the panel need less memory than these, "" where none does."""
    ways = ["the profile Laptop"] if profile != "laptop" else []
    if not device.startswith("cpu"):
        ways.append("the device CPU")
    return " or ".join(ways)


def lack_of_memory(profile: str, device: str, step: int) -> str:
    """Return what a person can do where memory ran out after `step` steps, one sentence."""
    less = smaller(profile, device)
    new = f"choose {less}, and start a new run" if less else "export the job to another computer"
    if step:
        words = "close other programs and press 'Resume'"
        return f"memory ran out after step {step}: {words}, or {new}"
    if less:
        return f"too little memory: {new}"
    return f"too little memory: close other programs and start a new run, or {new}"


def moment(end: datetime, now: datetime) -> str:
    """Return a time as people say it: at 16:05, tomorrow at 02:10, on Mon 3 Aug at 11:00."""
    days = (end.date() - now.date()).days
    if days == 0:
        return f"at {end:%H:%M}"
    if days == 1:
        return f"tomorrow at {end:%H:%M}"
    return f"on {end:%a} {end.day} {end:%b} at {end:%H:%M}"


def as_probe(summary: Mapping[str, Any]) -> Probe:
    """Return the probe from the summary of the engine's job."""
    return Probe(
        step_s=float(summary["step_s"]),
        overhead_s=float(summary.get("overhead_s") or 0.0),
        memory_gib=summary.get("memory_gib"),
        available_gib=summary.get("available_gib"),
        device=str(summary.get("device_name") or summary.get("device") or ""),
    )
