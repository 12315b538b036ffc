"""The folder of the module on the path, as Slicer puts it there."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from Testing import tiny_package

MODULE = Path(__file__).resolve().parents[3] / "DyCONSegmentation"

if str(MODULE) not in sys.path:
    sys.path.insert(0, str(MODULE))


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """A trained model's file, with the numbers of a card but random weights."""
    path = tmp_path_factory.mktemp("models") / "tiny.dycon"
    tiny_package.save(path)
    return path
