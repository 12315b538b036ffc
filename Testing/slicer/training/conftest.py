"""The folder of the module on the path, as Slicer puts it there."""

from __future__ import annotations

import sys
from pathlib import Path

MODULE = Path(__file__).resolve().parents[3] / "DyCONTraining"

if str(MODULE) not in sys.path:
    sys.path.insert(0, str(MODULE))
