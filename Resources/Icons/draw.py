"""Draws the icons that Slicer shows from the SVG files beside this one: `python draw.py`.

Needs PySide6. The PNG files are what is installed; the SVG files are what is edited.
"""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtGui import QImage, QPainter
from PySide6.QtSvg import QSvgRenderer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SIZE = 128
ICONS = {
    "DyCON.svg": ROOT / "DyCON.png",
    "DyCONSegmentation.svg": ROOT / "DyCONSegmentation/Resources/Icons/DyCONSegmentation.png",
    "DyCONTraining.svg": ROOT / "DyCONTraining/Resources/Icons/DyCONTraining.png",
}


def drawn(source: Path, size: int = SIZE) -> QImage:
    """Return the picture of an SVG file, size x size pixels, transparent around it."""
    image = QImage(size, size, QImage.Format.Format_ARGB32)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    QSvgRenderer(str(source)).render(painter)
    painter.end()
    return image


if __name__ == "__main__":
    for name, target in ICONS.items():
        drawn(HERE / name).save(str(target))
