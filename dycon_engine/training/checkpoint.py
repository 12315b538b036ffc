"""Checkpoints that cannot be lost or rotten: one file each, sha256 inside, the last few kept."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dycon_engine.errors import DamagedFileError, NonFiniteError
from dycon_engine.jobs.files import write_bytes
from dycon_engine.settings import Table

MAGIC = b"DYCONCK1"
DIGEST_BYTES = 32
_NAME = re.compile(r"step-(\d{8,})\.ckpt")


class CheckpointStore:
    """The checkpoints of one run, newest `keep` of them."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        """Use `folder`, which may not exist yet."""
        self.folder = folder
        self.keep = keep

    def save(self, step: int, content: Table) -> Path:
        """Write the state after `step` steps and remove the oldest beyond `keep`.

        Raises:
            NonFiniteError: A value in it is NaN or infinite; nothing is written.
            DyconError: The disk is full or failed; the older checkpoints stay.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{step:08d}.ckpt"
        write_bytes(path, encode(content))
        for old in self.steps()[: -self.keep]:
            with contextlib.suppress(OSError):
                (self.folder / f"step-{old:08d}.ckpt").unlink()
        return path

    def steps(self) -> list[int]:
        """Return the steps that have a checkpoint, ascending."""
        if not self.folder.is_dir():
            return []
        matches = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def load_newest(self, warn: Callable[[str], None]) -> Table | None:
        """Return the newest undamaged state, or None where none was ever saved.

        Args:
            warn: Told about every damaged one that is passed over.

        Raises:
            DamagedFileError: There are checkpoints and all are damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            path = self.folder / f"step-{step:08d}.ckpt"
            try:
                return decode(path)
            except DamagedFileError as error:
                warn(f"{error}; falling back to the one before")
        if steps:
            raise DamagedFileError(
                f"'{self.folder}': all {len(steps)} checkpoints are damaged; restore the folder "
                "from a backup or start a new run in another folder"
            )
        return None


def encode(content: Table) -> bytes:
    """Return magic, sha256 and the serialised `content` (plain values and tensors).

    Raises:
        NonFiniteError: A floating-point tensor holds NaN or infinity.
    """
    for name, tensor in _tensors(content):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise NonFiniteError(
                f"checkpoint: '{name}' is not finite; nothing was saved, the one before stays; "
                "lower training.learning_rate and resume"
            )
    stream = io.BytesIO()
    torch.save(content, stream)
    payload = stream.getvalue()
    return MAGIC + hashlib.sha256(payload).digest() + payload


def decode(path: Path) -> Table:
    """Return the content of a checkpoint file; never runs code from it.

    Raises:
        DamagedFileError: It is not what was written.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DamagedFileError(
            f"checkpoint '{path.name}' cannot be read ({error.strerror})"
        ) from error
    start = len(MAGIC) + DIGEST_BYTES
    payload = raw[start:]
    if raw[: len(MAGIC)] != MAGIC or hashlib.sha256(payload).digest() != raw[len(MAGIC) : start]:
        raise DamagedFileError(f"checkpoint '{path.name}' is damaged (its sha256 differs)")
    try:
        content: Table = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:
        raise DamagedFileError(f"checkpoint '{path.name}' does not load ({error})") from error
    return content


def _tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _tensors(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _tensors(item, f"{name}[{index}]")
