"""Pictures of the training panel in every state, for looking at and for the tutorial.

`python Testing/slicer/training/pictures.py --output docs/tutorial/images` trains on generated scans
with the real engine (about ten minutes on two cores) and draws what a person would see. The runs
are kept, so that drawing again takes a minute. Nothing in the pictures is made up. The folder of
the data set is shown in them: give one with --data that reads well.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "DyCONTraining")]

from Testing.slicer.host import modules, views  # noqa: E402 - the path comes first
from Testing.slicer.host import qt as host_qt  # noqa: E402
from Testing.slicer.inferno import add_inferno  # noqa: E402

LABELED, UNLABELED, HELD_OUT = 4, 8, 2
STEPS = 500
SETTINGS = {  # as the demo of the engine
    "preprocessing.spacing_mm": [4.0, 4.0, 4.0],
    "network.filters": [8, 16, 32, 64],
    "network.stem": 1,
    "training.patch_size": [24, 32, 32],
    "training.learning_rate": 0.01,
    "training.foreground": 0.7,
}
COLORS = ((64, 200, 255), (153, 34, 255))
SECTIONS = ("dataset", "method", "runs", "watch", "result", "label")


def main() -> None:
    """Draw every picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    place = Path(tempfile.gettempdir()) / "dycon-pictures"
    parser.add_argument("--work", type=Path, default=place, help=f"default: {place}")
    parser.add_argument("--data", type=Path, help="folder of the data set; default: in --work")
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    options.work.mkdir(parents=True, exist_ok=True)
    host_qt.start_qt()
    work = options.work.resolve()
    artist = Artist(options.output, work, options.data or work / "heart", options.steps)
    artist.draw_all()
    host_qt.quit_slicer()
    problems = host_qt.failures()
    if problems:
        raise SystemExit("\n".join(problems))


class Artist:
    """A person who uses the panel and takes pictures."""

    def __init__(self, output: Path, work: Path, data: Path, steps: int) -> None:
        """Open the panel."""
        from DyCONTrainingLib import last_time, widget
        from DyCONTrainingLib.logic import Places
        from DyCONTrainingLib.parameters import STEPS as IN_STEPS

        self.output, self.data, self.steps = output, data, steps
        add_inferno()
        for name in ("models", "temporary"):
            (work / name).mkdir(exist_ok=True)
        (work / "settings" / last_time.FILE).unlink(missing_ok=True)  # begin with an empty panel
        widget.places = lambda: Places(work / "settings", work / "models", work / "temporary")
        self.module = modules.load_module(ROOT / "DyCONTraining" / "DyCONTraining.py")
        self.ui, self.logic = self.module.ui, self.module.panel.logic
        self.module.enter()
        self.logic.choose(budget=IN_STEPS, steps=steps, device="cpu", extra=SETTINGS)

    def draw_all(self) -> None:
        """Take every picture, from an empty panel to the next label."""
        self.show("dataset")
        self.take("train-1-empty")
        self.build()
        self.train()
        self.result()
        self.label_next()

    def build(self) -> None:
        """Load scans, add them, solve what is found, save."""
        load_phantoms()
        self.logic.open(self.data)
        if not self.logic.dataset.draft.rows:
            self.logic.dataset.add_scene()
            self.settle()
            self.show("dataset")
            self.select("findingsTable", 0)
            self.take("train-2-findings")
            self.solve()
            self.ui.mappingBox.collapsed = False
            self.settle()
            self.take("train-3-dataset")
            self.logic.dataset.save()
        self.settle()
        self.logic.probe()
        self.wait(lambda: not self.logic.probing.progress[0])
        self.show("method")
        self.ui.settingsBox.collapsed = False
        self.take("train-4-method")

    def solve(self) -> None:
        """Press the first fix of every finding, and hold two cases out."""
        from DyCONTrainingLib.cases import Role

        while True:
            fixes = [each for each in self.logic.dataset.findings if each.fixes]
            if not fixes:
                break
            self.logic.dataset.fix(fixes[0].fixes[0])
        self.logic.dataset.set_role(range(LABELED, LABELED + HELD_OUT), Role.HELD_OUT)

    def train(self) -> None:
        """Train, with a picture on the way."""
        running = self.logic.running
        if not running.cards:
            self.logic.choose(compare=True)
            self.logic.start()
            self.wait(lambda: running.watch.history.step >= self.steps * 0.6)
            self.show("runs", "watch")
            self.preview("train-7-preview")
            self.take("train-5-watch")
            self.chart("train-6-curves")
        self.wait(lambda: len(running.cards) == 2 and not any(c.is_alive for c in running.cards))

    def result(self) -> None:
        """What it achieved."""
        first = self.logic.running.cards[-1].name
        self.logic.running.follow(first)
        self.settle()
        self.show("runs", "result")
        self.take("train-8-result")
        self.take("train-8-result-dark", dark=True)

    def label_next(self) -> None:
        """What to label next, and one scan opened."""
        card = self.logic.running.watched
        self.logic.labels.rank(card.path, "cpu")
        self.wait(lambda: not self.logic.labels.progress[0])
        self.show("label")
        self.select("rankTable", 0)
        self.take("train-9-label-next")
        opened = []
        self.logic.labels.opened.connect(opened.append)
        chosen = self.logic.labels.candidates(card.path)[0]
        self.logic.labels.open(chosen.alias, card.path, "cpu")
        self.wait(lambda: opened)
        views.layout(self.output / "train-10-label-this.png", size=(300, 300))

    # tools

    def show(self, *sections: str) -> None:
        """Open some sections and close the others."""
        for name in SECTIONS:
            getattr(self.ui, f"{name}Section").collapsed = name not in sections

    def select(self, table: str, row: int) -> None:
        """Click on a row."""
        getattr(self.ui, table).selectRow(row)

    def take(self, name: str, *, dark: bool = False) -> None:
        """Draw the panel."""
        for _ in range(2):  # tables know their height once they know their width
            self.module.panel.refresh()
            host_qt.grab(self.module, self.output / f"{name}.png", dark=dark)

    def chart(self, name: str) -> None:
        """Draw the loss terms."""
        from DyCONTrainingLib.charts import LOSS_CHART

        self.logic.running.watch.draw()
        views.plot(self.logic.running.watch.charts.node(LOSS_CHART), self.output / f"{name}.png")

    def preview(self, name: str) -> None:
        """Draw the newest preview in the slice views, without what a person drew on other scans."""
        import slicer

        for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
            node.GetDisplayNode().SetVisibility(False)
        previews = self.logic.running.watch.previews
        previews.show(len(previews.steps) - 1)
        views.layout(self.output / f"{name}.png", size=(300, 300))

    def settle(self) -> None:
        """Wait until the data set is written and checked."""
        self.wait(lambda: not self.logic.dataset.is_busy and self.logic.dataset.is_audited)

    def wait(self, done, timeout_s: float = 3600.0) -> None:
        """Poll until done, as the timer of the panel does."""
        end = time.monotonic() + timeout_s
        while not done():
            self.module.panel.poll()
            time.sleep(0.05)
            if time.monotonic() > end:
                raise TimeoutError(f"waited for {timeout_s} s")
        self.module.panel.refresh()


def load_phantoms() -> None:
    """Load generated hearts, as a person would load scans; one is there twice, two overlap."""
    import slicer

    from dycon_engine.data.phantoms import LABELS, make_phantom

    ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    for number in range(LABELED + HELD_OUT + UNLABELED):
        phantom = make_phantom(7, number)
        matrix = ras @ phantom.image.geometry.affine[:, [2, 1, 0, 3]]
        name = f"Heart {number + 1:02d}"
        volume = slicer.util.addVolumeFromArray(phantom.image.array[0], matrix, name)
        if number >= LABELED + HELD_OUT:
            continue
        drawn = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{name} drawn")
        drawn.CreateDefaultDisplayNodes()
        drawn.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        for value, title in enumerate(LABELS[1:], start=1):
            mask = (phantom.label.array == value).astype(np.uint8)
            if number == 1 and value == 1:  # drawn a little into the other chamber
                other = phantom.label.array == 2
                mask |= other & np.roll(other, 5, axis=1)
            color = [part / 255 for part in COLORS[value - 1]]
            segment = drawn.GetSegmentation().AddEmptySegment(title, title, color)
            slicer.util.updateSegmentBinaryLabelmapFromArray(mask, drawn, segment, volume)
    again = make_phantom(7, LABELED + HELD_OUT)
    matrix = ras @ again.image.geometry.affine[:, [2, 1, 0, 3]]
    slicer.util.addVolumeFromArray(again.image.array[0], matrix, "Heart 07 copy")


if __name__ == "__main__":
    main()
