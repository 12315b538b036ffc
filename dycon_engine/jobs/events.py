"""What a job says while it runs: one frozen dataclass per event, one JSON line each.

Lines that are unknown, cut or not JSON become `Unknown` or are skipped by the reader, so an older
panel can follow a newer engine.
"""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from dataclasses import dataclass, field
from typing import Any, ClassVar

LARGEST = 2**63  # of a whole number; any float holds it


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened; `time_s` is seconds since the epoch (UTC)."""

    kind: ClassVar[str] = ""
    time_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Started(Event):
    """The job runs; said again with its device (cpu, cuda:0...) as soon as that is known."""

    kind: ClassVar[str] = "started"
    job: str
    engine: str
    device: str = ""
    device_name: str = ""
    pid: int = 0


@dataclass(frozen=True, kw_only=True)
class Stage(Event):
    """A named part of the job begins; `total` units of work, 0 where unknown.

    A part of one case's work says which case it is: number `item` (from 1) of `items`.
    """

    kind: ClassVar[str] = "stage"
    name: str
    total: int = 0
    item: int = 0
    items: int = 0


@dataclass(frozen=True, kw_only=True)
class Advanced(Event):
    """`done` of `total` units of the named stage are done; times in seconds, -1 where unknown.

    `overall` is the share of the whole job that is done, in [0, 1], -1 where unknown;
    `overall_remaining_s` is an estimate for all that is left of it.
    """

    kind: ClassVar[str] = "advanced"
    stage: str
    done: int
    total: int
    elapsed_s: float = -1.0
    remaining_s: float = -1.0
    overall: float = -1.0
    overall_remaining_s: float = -1.0


@dataclass(frozen=True, kw_only=True)
class StepDone(Event):
    """One optimizer step: the weighted terms whose sum was minimised, and what is only watched."""

    kind: ClassVar[str] = "step"
    step: int
    total: int
    loss: float
    terms: dict[str, float]
    diagnostics: dict[str, float] = field(default_factory=dict)
    learning_rate: float = 0.0
    step_s: float = 0.0
    data_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Validated(Event):
    """Whole validation volumes were scored after `step` steps; Dice in [0, 1] per class name."""

    kind: ClassVar[str] = "validated"
    step: int
    dice: float
    dice_per_class: dict[str, float] = field(default_factory=dict)
    cases: int = 0
    student_dice: float | None = None


@dataclass(frozen=True, kw_only=True)
class Saved(Event):
    """A file the person may rely on is complete on disk."""

    kind: ClassVar[str] = "saved"
    what: str
    path: str
    step: int | None = None


@dataclass(frozen=True, kw_only=True)
class CaseDone(Event):
    """One case of many is finished, or failed with `error`; `outputs` by role."""

    kind: ClassVar[str] = "case"
    case: str
    outputs: dict[str, str] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Warned(Event):
    """Something the person should know; `topic` is a stable word for programs."""

    kind: ClassVar[str] = "warning"
    topic: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Finished(Event):
    """Terminal: the job is done."""

    kind: ClassVar[str] = "finished"
    summary: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Failed(Event):
    """Terminal: the job could not be done, in one line per problem.

    `topic` is a stable word for programs: `memory` where it ran out, else empty.
    """

    kind: ClassVar[str] = "failed"
    message: str
    exit_code: int = 1
    topic: str = ""


@dataclass(frozen=True, kw_only=True)
class Cancelled(Event):
    """Terminal: the job was asked to stop and did."""

    kind: ClassVar[str] = "cancelled"
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Unknown(Event):
    """A well-formed line of a kind this version does not know."""

    kind: ClassVar[str] = "unknown"
    content: dict[str, Any]


TERMINAL = (Finished, Failed, Cancelled)
KINDS: dict[str, type[Event]] = {
    event.kind: event
    for event in (
        Advanced,
        Cancelled,
        CaseDone,
        Failed,
        Finished,
        Saved,
        Stage,
        Started,
        StepDone,
        Validated,
        Warned,
    )
}


def _hints(kind: type[Event]) -> dict[str, Any]:
    """Return the type of every field of `kind`."""
    hints = typing.get_type_hints(kind)
    return {item.name: hints[item.name] for item in dataclasses.fields(kind)}


HINTS = {name: _hints(kind) for name, kind in KINDS.items()}


def to_line(event: Event) -> str:
    """Return the event as one line of strict JSON, no line end; non-finite numbers become null."""
    content = {"event": event.kind} | _finite(dataclasses.asdict(event))
    return json.dumps(content, ensure_ascii=True, allow_nan=False)


def from_line(line: str) -> Event | None:
    """Return the event of a line; None where the line is empty, cut or not an object of ours."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not isinstance(content.get("event"), str):
        return None
    name = content.pop("event")
    kind = KINDS.get(name)
    if kind is None:
        return Unknown(content=content)
    hints = HINTS[name]
    values = {key: value for key, value in content.items() if key in hints}
    if not all(_fits(value, hints[key]) for key, value in values.items()):
        return None
    try:
        return kind(**values)
    except TypeError:  # something is missing
        return None


def _fits(value: Any, hint: Any) -> bool:
    """Return whether `value` is of the type `hint`; what was a number and not finite is null."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is dict:
        return isinstance(value, dict) and all(_fits(v, arguments[1]) for v in value.values())
    if arguments:
        return any(_fits(value, argument) for argument in arguments)
    if hint is float:
        return value is None or (_is_number(value) and math.isfinite(value))
    if hint is int:
        return _is_number(value) and isinstance(value, int)
    return hint is Any or isinstance(value, hint)


def _is_number(value: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST
    return whole or isinstance(value, float)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
