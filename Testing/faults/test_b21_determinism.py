"""B21: the same seed gives the same bits; fixed weights give the same mask, here and elsewhere."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dycon_engine.config import InferenceConfig, NetworkConfig
from dycon_engine.evaluation.metrics import dice_per_class
from dycon_engine.inference.sliding_window import slide
from dycon_engine.networks import build_network
from Testing.engine.training import small_run

GOLDEN = Path(__file__).with_name("golden_masks.json")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_same_seed_gives_the_same_bits(tmp_path, seed):
    data = small_run.write_scans(tmp_path / "data")
    settings = (f"training.seed={seed}", "training.steps=4", "training.deterministic=true")
    try:
        for name in ("one", "two"):
            assert small_run.run(data, tmp_path / name, *settings) == 0
    finally:
        torch.use_deterministic_algorithms(False)
    assert small_run.fingerprint(tmp_path / "one") == small_run.fingerprint(tmp_path / "two")


def test_two_seeds_give_different_weights(tmp_path):
    data = small_run.write_scans(tmp_path / "data")
    for seed in (0, 1):
        assert small_run.run(data, tmp_path / f"{seed}", f"training.seed={seed}") == 0
    assert small_run.weights_sha(tmp_path / "0") != small_run.weights_sha(tmp_path / "1")


def test_the_number_of_threads_changes_the_loss_by_less_than_1e_5(tmp_path):
    data = small_run.write_scans(tmp_path / "data")
    found = []
    try:
        for threads in (1, 2):
            run_dir = tmp_path / f"{threads}"
            assert small_run.run(data, run_dir, f"training.threads={threads}") == 0
            found.append([loss for loss, _terms in small_run.losses(run_dir).values()])
    finally:
        torch.set_num_threads(1)
    assert np.abs(np.subtract(*found)).max() < 1e-5


def fixed_network():
    """A network whose weights are a formula, so that no random generator takes part."""
    network = build_network(NetworkConfig(filters=(4, 8)), channels=1, classes=2)
    with torch.no_grad():
        for number, tensor in enumerate(network.state_dict().values()):
            place = torch.arange(tensor.numel(), dtype=torch.float64)
            tensor.copy_((0.3 * torch.sin(place * 1.7 + number)).reshape(tensor.shape))
    return network.eval()


def phantom():
    """A ball with waves, (1, 24, 24, 24)."""
    z, y, x = np.meshgrid(*[np.arange(24.0)] * 3, indexing="ij")
    ball = ((z - 11) ** 2 + (y - 12) ** 2 + (x - 13) ** 2 < 49) * 2.0
    return torch.from_numpy((ball + 0.3 * np.sin(z + 0.7 * y + 1.3 * x))[None].astype(np.float32))


def fixed_mask():
    network = fixed_network()
    logits = slide(
        lambda patch: network(patch).logits,
        phantom(),
        patch_size=(16, 16, 16),
        classes=2,
        config=InferenceConfig(),
    )
    margin = (logits[1] - logits[0]).numpy()
    return (margin > np.median(margin)).astype(np.uint8)


def test_fixed_weights_on_a_fixed_phantom_give_the_stored_mask():
    mask = fixed_mask()
    golden = json.loads(GOLDEN.read_text())
    stored = np.unpackbits(np.frombuffer(bytes.fromhex(golden["bits"]), np.uint8))
    stored = stored.reshape(mask.shape)
    (dice,) = dice_per_class(mask, stored, classes=(1,))
    assert dice >= 0.999
    version = torch.__version__.split("+")[0]
    if version in golden["sha256"] and torch.backends.cpu.get_cpu_capability() == golden["cpu"]:
        assert hashlib.sha256(mask.tobytes()).hexdigest() == golden["sha256"][version]
