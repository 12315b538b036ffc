"""What a person may copy into a bug report: what happened, without names of people, scans, folders.

Quoted words, paths and whatever the job was given as files are left out, in doubt too much.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from dycon_engine import __version__
from dycon_engine.jobs.events import (
    Cancelled,
    CaseDone,
    Event,
    Failed,
    Finished,
    Stage,
    Started,
    Warned,
)

SHORTEST_NAME = 3
MOST_LINES = 200
TAIL_BYTES = 1 << 16
NAMELESS = frozenset({"images", "labels", "predict", "train", "package", "last", "best", "input"})
_QUOTED = re.compile(r"""(?<![^\s(=\[,:])(['"]).*?\1(?=[\s:;,.)\]]|$)""")
_PATH = re.compile(r"\S*[\\/]\S*|\S+\.(?:nii|gz|nrrd|mh[ad]|dcm|h5|dycon|json|toml|py)\b")


def support_log(events: Iterable[Event], stderr: str, arguments: Sequence[str | Path]) -> str:
    """Return the log of a job for people who help, one thing per line.

    Args:
        events: What the job said.
        stderr: What it wrote for people.
        arguments: Its command line; the names of files in it are left out everywhere.
    """
    said = list(events)
    names = _names(arguments) | {word for event in said for word in _case_names(event)}
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    lines = [
        f"DyCON {__version__}, Python {platform.python_version()}, {system}",
        *(line for event in said if (line := _line(event))),
        *stderr.splitlines()[-MOST_LINES:],
    ]
    return "\n".join(without_names(line, names) for line in lines) + "\n"


def without_names(line: str, names: Iterable[str] = ()) -> str:
    """Return `line` without quoted words, paths, file names and `names`."""
    line = _PATH.sub("<path>", _QUOTED.sub("<name>", line))
    for name in sorted(names, key=len, reverse=True):
        line = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "<name>", line, flags=re.IGNORECASE)
    return line


def last_words(stderr: Path) -> str:
    """Return what a job told people where it wrote no events, in its own words; empty if nothing.

    Those are its lines `DyCON: ...`, else the last line it wrote.
    """
    lines = [line.strip() for line in read_tail(stderr).splitlines() if line.strip()]
    own = [line.removeprefix("DyCON: ") for line in lines if line.startswith("DyCON: ")]
    if own or not lines:
        return "\n".join(own)
    if lines[-1].startswith("ModuleNotFoundError"):
        name = lines[-1].partition(": ")[2]
        return f"a package that the engine needs is not installed ({name})"
    return lines[-1]


def read_tail(path: Path) -> str:
    """Return the end of a text file; empty where it cannot be read."""
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - TAIL_BYTES))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _names(arguments: Sequence[str | Path]) -> set[str]:
    paths = [Path.home(), *(Path(a) for a in arguments if isinstance(a, Path) or Path(a).exists())]
    parts = {part for path in paths for part in path.parts}
    words = parts | {part.split(".")[0] for part in parts} | {_user(), platform.node()}
    return {word for word in words if _tells(word)}


def _case_names(event: Event) -> set[str]:
    return {str(event.case)} if isinstance(event, CaseDone) and _tells(str(event.case)) else set()


def _tells(word: str) -> bool:
    return len(word) >= SHORTEST_NAME and word.casefold() not in NAMELESS


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def _line(event: Event) -> str:
    text = ""
    match event:
        case Started():
            text = (
                f"started {event.job}, engine {event.engine}, device {event.device or 'not said'}"
            )
        case Stage():
            text = f"stage {event.name} ({event.total})"
        case Warned():
            text = f"warning {event.topic}: {event.message}"
        case CaseDone():
            text = f"case failed: {event.error}" if event.error else "case done"
        case Failed():
            text = f"failed ({event.exit_code}): {event.message}"
        case Cancelled():
            text = f"cancelled: {event.message}"
        case Finished():
            text = "finished"
    return text
