"""A shipped model: save, load safely, verify. `NAME.dycon` is data, never code."""

from __future__ import annotations

from dycon_engine.package.info import Calibration, PackageInfo
from dycon_engine.package.model import Package, load_package, read_info, save_package

__all__ = ["Calibration", "Package", "PackageInfo", "load_package", "read_info", "save_package"]
