"""The manifest of a data set for training: which channels it has, and one more case in it.

It is the file that the training module writes and the engine reads; what is in it stays as it is.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from dycon_engine.errors import InputError
from dycon_engine.jobs.files import write_text
from dycon_engine.settings import read_toml, toml_text

MANIFEST = "manifest.toml"
HEAD = "# DyCON data set. Case names are neutral: who is who is not in this folder."
_NUMBERED = re.compile(r"image|channel \d+")  # names that say nothing


class Described(Protocol):
    """What is used of a new case."""

    @property
    def channels(self) -> Sequence[str]:
        """Name per channel."""

    @property
    def labels(self) -> Mapping[str, int]:
        """Value by name of structure."""

    @property
    def colors(self) -> Mapping[str, tuple[int, int, int]]:
        """Color (RGB, 0-255) by name of structure."""


def channel_order(folder: Path, channels: Sequence[str]) -> tuple[int, ...]:
    """Return which channel of a model goes to the first, second... channel of a data set.

    Args:
        folder: The data set, which may not exist yet.
        channels: Of the model, by name.

    Raises:
        InputError: The data set has other channels, in number or by name.
    """
    count, named = _channels(folder)
    if count and count != len(channels):
        raise InputError(
            f"data set '{folder.name}': its cases have {_words(count, named)}, those of the model "
            f"{_words(len(channels), channels)}; choose another data set or an empty folder"
        )
    own = [name.casefold() for name in channels]
    there = [name.casefold() for name in named]
    if len(own) == 1 or not there or all(map(_NUMBERED.fullmatch, own)):
        return tuple(range(len(channels)))
    if sorted(own) != sorted(there) or len(set(own)) < len(own):
        raise InputError(
            f"data set '{folder.name}': its channels are {', '.join(named)}, those of the model "
            f"{', '.join(channels)}; choose another data set or an empty folder"
        )
    return tuple(own.index(name) for name in there)


def enter(folder: Path, name: str, images: Sequence[Path], label: Path, case: Described) -> None:
    """Add a labeled case to the manifest of `folder`, which is made if it is not there.

    Raises:
        InputError: The manifest cannot be read or extended.
        DyconError: It cannot be written; it is as before.
    """
    path = folder / MANIFEST
    lines = [
        "[[case]]",
        f"name = {toml_text(name)}",
        f"images = [{', '.join(toml_text(_inside(folder, image)) for image in images)}]",
        f"label = {toml_text(_inside(folder, label))}",
        'role = "labeled"',
    ]
    old = path.read_text(encoding="utf-8") if path.is_file() else "\n".join(_head(case))
    text = f"{old.rstrip()}\n\n" + "\n".join(lines) + "\n"
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(
            f"manifest '{path}': cannot be extended ({error}); save the data set once in the "
            "module DyCON Training"
        ) from None
    write_text(path, text)


def _channels(folder: Path) -> tuple[int, tuple[str, ...]]:
    """Return how many channels the cases of a data set have, 0 where none is there, and names."""
    path = folder / MANIFEST
    if not path.is_file():
        with contextlib.suppress(OSError):  # one that cannot be read is told when it is written to
            if any(not each.name.startswith(".") for each in (folder / "images").iterdir()):
                return 1, ()
        return 0, ()
    content = read_toml(path)
    named, cases = content.get("channels"), content.get("case")
    names = tuple(map(str, named)) if isinstance(named, list) else ()
    first: Any = cases[0] if isinstance(cases, list) and cases else None
    images = first.get("images", first.get("image")) if isinstance(first, dict) else None
    listed = images if isinstance(images, list) else [images] if images else []
    return len(names) or len(listed), names


def _head(case: Described) -> Iterator[str]:
    yield HEAD
    yield f"channels = [{', '.join(map(toml_text, case.channels))}]\n"
    yield "[labels]"
    for name, value in case.labels.items():
        yield f"{toml_text(name)} = {value}"
    for name, value in case.labels.items():
        if name in case.colors:
            yield f"\n[[look]]\nvalue = {value}\ncolor = {list(case.colors[name])}"


def _inside(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _words(count: int, names: Sequence[str]) -> str:
    named = f" ({', '.join(names)})" if names else ""
    return f"{count} volume{'s' if count > 1 else ''}{named}"
