"""A model of a few hundred weights, and scans of a few thousand voxels, for tests."""

from __future__ import annotations

import zipfile

import numpy as np
import torch

from dycon_engine.config import InferenceConfig, NetworkConfig
from dycon_engine.data.cases import Label
from dycon_engine.data.geometry import Geometry
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.seen import Seen, scan_facts
from dycon_engine.data.volume import Volume
from dycon_engine.networks import build_network
from dycon_engine.package import Calibration, PackageInfo, save_package

SPACING = (2.0, 1.5, 1.5)


def scan(seed: int = 0, *, size=(16, 24, 20), channels: int = 1, spacing_mm=SPACING) -> Volume:
    """A bright ball in noise, air around it."""
    generator = np.random.default_rng(seed)
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in size], indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in grid))
    image = 100.0 * (radius < 0.5) + 40.0 + generator.normal(0, 8, (channels, *size))
    image[:, radius > 0.95] = 0.0
    return Volume(image.astype(np.float32), Geometry.from_parts(size, spacing_mm, (5.0, -7.0, 9.0)))


def info(*, channels: int = 1, seen_scans: int = 4, **changes) -> PackageInfo:
    preprocessing = Preprocessing(spacing_mm=SPACING)
    scans = [scan(seed, channels=channels) for seed in range(seen_scans)]
    facts = [scan_facts(image, preprocessing.prepare(image)) for image in scans]
    values = {
        "network": NetworkConfig(filters=(4, 8), dropout=0.0),
        "channels": tuple(f"c{i}" for i in range(channels)),
        "labels": (Label(0, "background"), Label(3, "ball", (200, 30, 30), "T-D0050")),
        "preprocessing": preprocessing,
        "patch_size": (8, 8, 8),
        "seen": Seen.of(facts) if facts else None,
        "training": {
            "method": "dycon",
            "settings": {"beta": 0.5},
            "labeled_cases": 4,
            "unlabeled_cases": 9,
            "mirrored_axes": "zyx",
            "validation": {"dice": 0.875},
        },
        "calibration": Calibration(1.25, 0.05, 0.02, ((0.5, 0.01), (1.0, 0.1))),
        "inference": InferenceConfig(),
    }
    return PackageInfo(**(values | changes))


def states(description: PackageInfo, seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    network = build_network(
        description.network, channels=len(description.channels), classes=description.classes
    )
    return network.state_dict()


def read_card(path) -> str:
    """The model card in a package."""
    with zipfile.ZipFile(path) as archive:
        return archive.read("README.md").decode("utf-8")


def save(path, *, partner: bool = True, **changes) -> PackageInfo:
    description = info(**changes)
    other = states(description, 1) if partner else None
    return save_package(path, description, states(description), other)
