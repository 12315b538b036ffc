"""`python -m Testing.slicer.segmentation.pictures` makes the pictures of docs/tutorial/segment.md.

Panel and slice views are those of the module on the test host, the results those of the real engine
on the sample scan. With a real scan and a model for it two pictures more, here the shipped model
and one of the left-atrium volumes that it was validated on:
`--model DyCONSegmentation/Resources/Models/DyCONLeftAtriumLGE.dycon --scan scan.nii.gz`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dycon_engine.data.phantoms import make_phantoms
from Testing.slicer.inferno import add_inferno
from Testing.slicer.segmentation import make_sample

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "docs" / "tutorial" / "images"
MODULE = ROOT / "DyCONSegmentation" / "DyCONSegmentation.py"
PATIENCE_S = 900
LARGEST_BYTES = 300_000
VIEW = (420, 420)


def main() -> None:
    """Make them all."""
    line = argparse.ArgumentParser(description=__doc__)
    line.add_argument("--model", type=Path, help="a package for the pictures of a real scan")
    line.add_argument("--scan", type=Path, help="the real scan")
    line.add_argument("--output", type=Path, default=FOLDER)
    options = line.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, str(MODULE.parent))
    from Testing.slicer.host import qt as host

    host.start_qt()
    studio = Studio(options.output)
    studio.setup()
    studio.sample()
    studio.many()
    studio.warning()
    studio.region()
    if options.model and options.scan:
        studio.real(options.model, options.scan)
    found = host.failures()
    assert not found, found


class Studio:
    """The panel on an empty scene, and where its pictures go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open()

    def open(self) -> None:
        """Open the module on an empty scene."""
        from Testing.slicer.host import modules
        from Testing.slicer.host.scene import new_scene

        new_scene()
        add_inferno()
        self.module = modules.load_module(MODULE)
        self.ui, self.session = self.module.ui, self.module.panel.session

    def panel(self, name: str, *, dark: bool = False) -> None:
        """Take a picture of the panel as it is."""
        from Testing.slicer.host import qt as host

        path = self.folder / f"segment-{name}.png"
        host.grab(self.module, path, dark=dark)
        shrink(path)

    def views(self, name: str) -> None:
        """Take a picture of the three slice views."""
        from Testing.slicer.host import views

        path = self.folder / f"segment-{name}.png"
        views.layout(path, size=VIEW)
        shrink(path)

    def setup(self) -> None:
        """The panel before anything is installed, and before anything is chosen."""
        panel = self.module.panel
        panel.setup.missing = ["torch>=2.6", "nibabel>=5.2", "h5py>=3.10", "safetensors>=0.4.3"]
        panel.refresh()
        self.panel("setup")
        panel.setup.missing = []
        panel.refresh()
        self.panel("idle")
        self.session.choose(model="DyCONLeftAtriumLGE.dycon")
        self.ui.evidenceBox.collapsed = False
        self.panel("evidence")
        self.ui.evidenceBox.collapsed = True

    def sample(self) -> None:
        """The way of the tutorial: run, result, review, dark."""
        self.ui.sampleButton.click()
        self.run(lambda: self.session.run.progress.share > 0.4, "running")
        self.only("segmentSection", "resultSection")
        self.panel("result")
        self.views("views-result")
        self.ui.regionTable.setCurrentCell(0, 0)
        self.ui.acceptButton.click()
        self.only("resultSection", "reviewSection")
        self.panel("review")
        self.panel("dark", dark=True)
        self.views("views-review")

    def many(self) -> None:
        """A folder of scans, one of which is cut short."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make_phantoms(folder, count=4, labeled=0, seed=make_sample.SEED, first=300)
            damaged = folder / "images" / "phantom302.nii.gz"
            damaged.write_bytes(damaged.read_bytes()[:50_000])
            self.session.choose(model=make_sample.MODEL.name)
            self.only("batchSection")
            self.ui.batchInputPath.currentPath = str(folder / "images")
            self.ui.batchOutputPath.currentPath = str(folder / "results")
            self.ui.batchButton.click()
            self.wait(lambda: self.module.panel.batch.phase == "idle")
            for path, words in (("Input", "C:/scans"), ("Output", "C:/results")):
                getattr(self.ui, f"batch{path}Path").currentPath = words
            self.panel("batch")

    def warning(self) -> None:
        """A scan that the model was not trained for."""
        import slicer

        self.open()
        self.ui.sampleButton.click()
        scan = self.session.volumes[0]
        scan.SetName("Another protocol")
        array = slicer.util.arrayFromVolume(scan)
        slicer.util.updateVolumeFromArray(scan, (array.max() - array).astype(np.int16))
        self.run(lambda: False, "")
        self.only("resultSection")
        self.panel("warning")

    def region(self) -> None:
        """A scan that shows much more than the training scans, and the box that helps."""
        import slicer

        self.open()
        self.ui.sampleButton.click()
        scan = self.session.volumes[0]
        scan.SetName("Whole chest")
        array = slicer.util.arrayFromVolume(scan)
        around = [(n // 3, n // 3) for n in array.shape]
        wide = np.pad(array, around, mode="reflect")
        first = [-float(low) for low, _ in reversed(around)]
        matrix = slicer.util.vtkMatrixFromArray(np.eye(4))
        scan.GetIJKToRASMatrix(matrix)
        scan.SetOrigin(*matrix.MultiplyPoint((*first, 1.0))[:3])
        slicer.util.updateVolumeFromArray(scan, wide)
        self.run(lambda: False, "")
        self.ui.regionButton.click()
        self.only("segmentSection")
        self.panel("region")
        self.views("views-region")

    def real(self, model: Path, scan: Path) -> None:
        """The slice views of a real scan."""
        import slicer

        self.open()
        self.session.import_model(model)
        node = slicer.util.loadVolume(str(scan), {"name": "Left atrium"})
        self.session.choose_volume(0, node.GetID())
        self.run(lambda: False, "")
        self.views("views-real")
        self.module.panel.reviewing.jump(1)
        self.views("views-real-review")

    def only(self, *names: str) -> None:
        """Unfold these sections and fold the others."""
        for name in ("segment", "result", "review", "batch", "computer"):
            section = getattr(self.ui, f"{name}Section")
            section.collapsed = f"{name}Section" not in names
        self.module.panel.refresh()

    def run(self, moment: Callable[[], bool], name: str) -> None:
        """Segment as chosen; take a picture at the moment."""
        self.ui.segmentButton.click()
        taken = [] if name else [name]

        def over() -> bool:
            if not taken and moment():
                taken.append(name)
                self.panel(name)
            return bool(self.session.run.phase == "idle")

        self.wait(over)
        assert self.session.result is not None

    def wait(self, over: Callable[[], bool]) -> None:
        """Poll as the panel's timer does until it is over."""
        import slicer

        end = time.monotonic() + PATIENCE_S
        while not over():
            assert time.monotonic() < end
            self.module.panel.poll()
            slicer.app.processEvents()
            time.sleep(0.05)


def shrink(path: Path) -> Any:
    """Reduce a picture to 256 colors; one that is still too large is an error."""
    with Image.open(path) as picture:
        reduced = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
    reduced.save(path, optimize=True)
    assert path.stat().st_size < LARGEST_BYTES, f"{path}: {path.stat().st_size} bytes"


if __name__ == "__main__":
    main()
