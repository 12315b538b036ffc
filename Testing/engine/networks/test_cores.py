"""Several processes on one machine share its cores."""

from __future__ import annotations

import pytest
import torch

from dycon_engine.config import TrainingConfig
from dycon_engine.networks import cores
from dycon_engine.networks.cores import share_cores
from dycon_engine.training.distributed import configure


@pytest.fixture
def threads(monkeypatch):
    """Set the environment on a machine of 8 cores; return the threads that were asked for."""
    asked: list[int] = []
    monkeypatch.setattr(cores, "usable_cores", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", asked.append)

    def within(**environment):
        for name in ("LOCAL_WORLD_SIZE", "OMP_NUM_THREADS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return asked

    return within


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, []),
        ({"LOCAL_WORLD_SIZE": "1"}, []),
        ({"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}, [4]),
        ({"LOCAL_WORLD_SIZE": "3"}, [2]),
        ({"LOCAL_WORLD_SIZE": "16"}, [1]),
        ({"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "3"}, []),
        ({"LOCAL_WORLD_SIZE": "many"}, []),
    ],
)
def test_each_process_gets_its_share_but_for_a_number_that_was_chosen(
    threads, environment, expected
):
    asked = threads(**environment)
    share_cores()
    assert asked == expected


def test_training_shares_them_where_the_settings_say_nothing(threads):
    asked = threads(LOCAL_WORLD_SIZE="2", OMP_NUM_THREADS="1")
    tf32, benchmark = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    try:
        configure(TrainingConfig())
        configure(TrainingConfig(threads=3))
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = tf32, benchmark
    assert asked == [4, 3]
