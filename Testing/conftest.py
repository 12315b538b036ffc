"""Shared fixtures: the real volumes, where they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def la2018() -> Path:
    """The folder of the left-atrium volumes; skips where it is absent."""
    folder = Path(os.environ.get("DYCON_LA2018", ROOT.parent / "shared" / "data" / "la2018"))
    if not (folder / "images").is_dir():
        pytest.skip(
            f"real volumes absent: set DYCON_LA2018 to the la2018 folder (looked in {folder})"
        )
    return folder
