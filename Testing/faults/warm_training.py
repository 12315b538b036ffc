"""Imported by a fork server: imports and first calls are paid once, every child starts warm."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

import torch

from Testing.engine.training import small_run

torch.set_num_threads(1)
with (
    tempfile.TemporaryDirectory() as folder,
    contextlib.redirect_stdout(io.StringIO()),
    contextlib.redirect_stderr(io.StringIO()),
):
    small_run.run(small_run.write_scans(Path(folder) / "data"), Path(folder) / "run")
