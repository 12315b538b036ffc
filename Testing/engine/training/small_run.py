"""A whole training run in a second: six tiny scans with a bright ball, a tiny network."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import torch

from dycon_engine import config as settings
from dycon_engine.data.formats.writers import write_label, write_scalar
from dycon_engine.data.geometry import Geometry
from dycon_engine.jobs.reporter import Reporter, run_job
from dycon_engine.training.checkpoint import CheckpointStore
from dycon_engine.training.run import Request, train

NAMES = tuple(f"scan{number}" for number in range(6))
EDGE = 16
SETTINGS = (
    "data.order=order.txt",
    "data.labeled=2",
    "data.validation=0",
    "preprocessing.spacing_mm=[2, 2, 2]",
    "network.filters=[4, 8]",
    "network.norm=batch",
    "network.dropout=0.2",
    "method.name=mean_teacher",
    "training.patch_size=[8, 8, 8]",
    "training.steps=8",
    "training.device=cpu",
    "training.threads=1",
    "training.autosave_minutes=60",
)


def write_scans(folder: Path, *, labels: int = len(NAMES), seed: int = 0) -> Path:
    """Write six scans, the first `labels` of them with a label map, and the order file."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    geometry = Geometry.from_parts((EDGE, EDGE, EDGE), (2.0, 2.0, 2.0))
    for number, name in enumerate(NAMES):
        image, label = ball(seed, number)
        write_scalar(folder / "images" / f"{name}.nii.gz", image, geometry, overwrite=False)
        if number < labels:
            write_label(folder / "labels" / f"{name}.nii.gz", label, geometry, overwrite=False)
    (folder / "order.txt").write_text("\n".join(NAMES) + "\n")
    return folder


def ball(seed: int, number: int):
    """Return image (D, H, W) float32 and label map uint8 of scan `number`."""
    random = np.random.default_rng([seed, number])
    center = random.uniform(6, 10, 3)
    grid = np.stack(np.meshgrid(*[np.arange(EDGE)] * 3, indexing="ij"), axis=-1)
    inside = np.linalg.norm(grid - center, axis=-1) < random.uniform(3, 5)
    image = inside * 2.0 + random.normal(0.0, 0.4, inside.shape)
    return image.astype(np.float32), inside.astype(np.uint8)


def small_config(data: Path, *assignments: str) -> settings.RunConfig:
    chosen = [text.replace("order.txt", str(data / "order.txt")) for text in SETTINGS]
    return settings.resolve(None, (), [*chosen, *assignments])


def run(
    data: Path,
    run_dir: Path,
    *assignments: str,
    resume: bool = False,
    package: Path | None = None,
) -> int:
    """Train like the command line does and return the exit code."""
    start = () if package is None else (f"training.start_from={package}",)
    config = small_config(data, *assignments, *start)
    request = Request(data, run_dir, resume, lambda _stored: config)
    return run_job("train", lambda reporter: train(request, reporter))


def cancel_after(monkeypatch, step: int) -> None:
    """Ask every reporter to stop once `step` steps were said."""
    emit = Reporter.emit

    def counting(self, event):
        emit(self, event)
        if event.kind == "step" and event.step == step:
            self.cancel()

    monkeypatch.setattr(Reporter, "emit", counting)


def silent_reporter(run_dir: Path | None = None) -> Reporter:
    return Reporter("train", run_dir, stdout=io.StringIO(), stderr=io.StringIO())


def newest(run_dir: Path):
    """Return the content of the newest checkpoint."""
    return CheckpointStore(run_dir / "checkpoints", keep=3).load_newest(print)


def fingerprint(run_dir: Path) -> str:
    """Return a sha256 of weights, teacher, buffers, optimizer, counters and logged losses."""
    digest = hashlib.sha256()
    for text in sorted(_flat(newest(run_dir))):
        digest.update(text.encode())
    digest.update(json.dumps(losses(run_dir), sort_keys=True).encode())
    return digest.hexdigest()


def weights_sha(run_dir: Path) -> str:
    """Return a sha256 of the method's weights and buffers only."""
    digest = hashlib.sha256()
    for text in sorted(_flat(newest(run_dir)["trainer"]["method"])):
        digest.update(text.encode())
    return digest.hexdigest()


def losses(run_dir: Path) -> dict[int, list]:
    """Return [loss, terms] by step; a step done twice counts as last logged."""
    found = {}
    for event in events(run_dir):
        if event["event"] == "step":
            found[event["step"]] = [event["loss"], event["terms"]]
    return found


def events(run_dir: Path) -> list[dict]:
    """Return all complete lines of events.jsonl."""
    found = []
    for line in (run_dir / "events.jsonl").read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _flat(value, name=""):
    if isinstance(value, torch.Tensor):
        content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        yield f"{name} {tuple(value.shape)} {hashlib.sha256(content.tobytes()).hexdigest()}"
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _flat(item, f"{name}[{index}]")
    else:
        yield f"{name} {value!r}"
