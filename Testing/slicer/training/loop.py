"""The whole panel without Qt on small scans, with the real engine in real processes."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from Testing.slicer.training import scenes

TINY = {
    "training.patch_size": [16, 16, 16],
    "training.threads": 1,
    "training.labeled_batch": 1,
    "training.unlabeled_batch": 1,
    "training.save_every": 5,
    "network.filters": [4, 8],
    "network.stem": 1,
    "preprocessing.spacing_mm": [2.0, 1.5, 1.5],
    "method.embedding_features": 8,
    "method.hidden_features": 8,
}
CUBE = (24, 32, 32)


class Person:
    """What the person at the panel answers and sees."""

    def __init__(self, *, agrees: bool = True) -> None:
        self.agrees, self.questions, self.failures, self.models = agrees, [], [], []

    def ask(self, question: str) -> bool:
        """Answer a question."""
        self.questions.append(question)
        return self.agrees


def panel(tmp_path: Path, person: Person | None = None):
    """Return the panel's logic on the real engine, and its person."""
    from DyCONTrainingLib.launching import Engine
    from DyCONTrainingLib.logic import Places, TrainingLogic

    person = person or Person()
    for name in ("models", "temporary"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    remember_methods(tmp_path / "settings" / "methods.json")
    places = Places(tmp_path / "settings", tmp_path / "models", tmp_path / "temporary")
    made = TrainingLogic(Engine(SimpleNamespace(chosen=None)), places, person.ask)
    made.failed.connect(person.failures.append)
    made.running.finished.connect(lambda _name, model: person.models.append(model))
    return made, person


def remember_methods(memory: Path) -> None:
    """Save the panel a process: what the engine says of its methods, as if it was asked before."""
    from dycon_engine import __version__
    from dycon_engine.inference.description import describe_methods

    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(json.dumps({"engine": __version__, "methods": describe_methods()}))


def wait(made, done, timeout_s: float = 600.0) -> None:
    """Poll as the widget's timer does until `done()`."""
    end = time.monotonic() + timeout_s
    while not done():
        made.poll()
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout_s} s: {made.progress} {made.why_not()}")
        time.sleep(0.02)


def settled(made):
    """Return whether the data set is written and checked."""
    return lambda: not made.dataset.is_busy and made.dataset.is_audited


def choose_tiny(made, steps: int, **changes) -> None:
    """Choose a training of a few seconds."""
    from DyCONTrainingLib.parameters import STEPS

    extra = dict(TINY)
    if changes.get("method", made.chosen.method) != "dycon":
        extra = {name: value for name, value in TINY.items() if not name.startswith("method.")}
    made.choose(budget=STEPS, steps=steps, device="cpu", extra=extra, **changes)


def crops(la2018: Path, count: int):
    """Yield intensities and mask of small cubes around real left atria, a voxel in two of each."""
    from dycon_engine.data.formats.readers import read_image, read_label

    names = sorted(path.name for path in (la2018 / "labels").iterdir())[:count]
    for name in names:
        image = read_image(la2018 / "images" / name).array[0]
        mask = read_label(la2018 / "labels" / name).array > 0
        center = np.argwhere(mask).mean(axis=0).astype(int)
        low = [max(0, c - n) for c, n in zip(center, CUBE, strict=True)]
        box = tuple(slice(a, a + 2 * n, 2) for a, n in zip(low, CUBE, strict=True))
        yield image[box].astype(np.float32), mask[box]


def load_crops(la2018: Path, labeled: int, unlabeled: int) -> None:
    """Load crops; the first `labeled` with a segmentation."""
    for number, (image, mask) in enumerate(crops(la2018, labeled + unlabeled)):
        node = scenes.volume(f"heart {number}", image)
        if number < labeled:
            scenes.segmentation(node, {"left atrium": mask})
