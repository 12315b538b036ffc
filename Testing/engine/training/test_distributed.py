"""Two gloo processes on the CPU: one model, one writer, one end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dycon_engine.config import TrainingConfig
from dycon_engine.errors import InputError
from dycon_engine.training import distributed
from dycon_engine.training.distributed import Process, start_process
from Testing.engine.training import small_run

ROOT = Path(__file__).resolve().parents[3]
WORKER = """
import sys, torch
from pathlib import Path
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.training.trainer import Trainer
from Testing.engine.training import small_run

rank, data, run_dir = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
cancel_rank, cancel_step = int(sys.argv[4]), int(sys.argv[5])
step = Trainer.step

def watched(self, batch):
    outcome = step(self, batch)
    torch.save(self.method.state_dict(), run_dir.parent / f"rank{rank}-{self.step_count}.pt")
    if rank == 0 and self.step_count == cancel_step:
        (run_dir / "cancel").touch()
    return outcome

Trainer.step = watched
resume = (run_dir / "config.json").exists()
sys.exit(small_run.run(data, run_dir, "training.steps=4", "data.validation=2", resume=resume))
"""


def ranks(port, *arguments):
    """Start Python twice, as the two ranks of a run; `{rank}` stands for the number of each."""
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, *(str(rank) if text == "{rank}" else text for text in arguments)],
            cwd=ROOT,
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def two_ranks(tmp_path, data, port, *, cancel_step=0):
    """Run both ranks and return their exit codes and stderr."""
    arguments = (WORKER, "{rank}", str(data), str(tmp_path / "run"), "0", str(cancel_step))
    children = ranks(port, "-c", *arguments)
    errors = [child.communicate(timeout=240)[1] for child in children]
    return [child.returncode for child in children], errors


def free_port():
    import socket  # noqa: PLC0415 - here only

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_two_ranks_stay_equal_cancel_together_and_resume(tmp_path):
    data = small_run.write_scans(tmp_path / "data")
    codes, errors = two_ranks(tmp_path, data, free_port(), cancel_step=2)
    assert codes == [3, 3], errors
    assert small_run.newest(tmp_path / "run")["trainer"]["step"] == 2
    codes, errors = two_ranks(tmp_path, data, free_port())
    assert codes == [0, 0], errors
    for step in range(1, 5):
        one, two = (torch.load(tmp_path / f"rank{r}-{step}.pt") for r in range(2))
        assert one.keys() == two.keys()
        for name in one:
            assert torch.equal(one[name], two[name]), f"step {step}: {name}"
    events = small_run.events(tmp_path / "run")
    assert [e["event"] for e in events].count("finished") == 1
    assert sum(e["event"] == "step" for e in events) == 4
    validated = [e for e in events if e["event"] == "validated"]
    assert [e["cases"] for e in validated] == [2]


def test_one_process_needs_no_group():
    with start_process(TrainingConfig(device="cpu")) as process:
        assert process == Process(torch.device("cpu"))
        assert process.any(True, False) == (True, False)
        assert process.gather("x") == ["x"]
        assert process.from_main(lambda: 3) == process.main_first(lambda: 3) == 3


def test_a_device_that_is_not_there_is_refused_with_those_that_are():
    with (
        pytest.raises(InputError, match=r"'cuda:77': cannot run a 3D.* auto or one of .*cpu"),
        start_process(TrainingConfig(device="cuda:77")),
    ):
        pass


SLOW_MAIN = """
import time
from datetime import timedelta
from dycon_engine.config import TrainingConfig
from dycon_engine.training import distributed

distributed.TIMEOUT = timedelta(seconds=3)
with distributed.start_process(TrainingConfig(device="cpu")) as process:
    def long_work():
        time.sleep(5 if process.is_main else 0)
        return process.rank

    assert process.from_main(long_work) == 0
    assert process.main_first(long_work) == process.rank
    assert process.gather(long_work()) == [0, 1]
"""


def test_long_work_of_one_rank_is_waited_for_beyond_the_limit_of_a_step():
    children = ranks(free_port(), "-c", SLOW_MAIN)
    errors = [child.communicate(timeout=240)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], errors


@pytest.fixture
def group(monkeypatch):
    """Pretend to be rank 1 of two; return what was done with the other."""
    done: list[str] = []
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    for name in ("init_process_group", "new_group", "destroy_process_group"):
        note = lambda *_, _name=name, **__: done.append(_name)  # noqa: E731 - one line each
        monkeypatch.setattr(distributed.dist, name, note)
    return done


def test_a_rank_takes_leave_of_the_others_at_the_end(group):
    with start_process(TrainingConfig(device="cpu")) as process:
        assert (process.rank, process.world) == (1, 2)
    assert group == ["init_process_group", "new_group", "destroy_process_group"]


def test_a_rank_that_fails_ends_without_waiting_for_the_others(group):
    """They may wait for it: NCCL would not let it go before they are done, and hide the error."""
    with (
        pytest.raises(ZeroDivisionError),
        start_process(TrainingConfig(device="cpu")),
    ):
        raise ZeroDivisionError
    assert group == ["init_process_group", "new_group"]


def test_two_ranks_on_one_gpu_are_refused_in_one_sentence(group, monkeypatch):
    gpu = torch.device("cuda", 0)
    monkeypatch.setattr(distributed, "take_device", lambda *_, **__: gpu)
    monkeypatch.setattr(distributed, "gpu_identity", lambda device: f"host {device}")
    others = ["host cuda:0"]
    monkeypatch.setattr(Process, "gather", lambda _self, mine: [*others, mine])
    with (
        pytest.raises(InputError, match=r"2 processes on 1 GPUs.*start as many as") as no,
        start_process(TrainingConfig(device="cuda")),
    ):
        pass
    assert "\n" not in str(no.value)
    others[0] = "another host cuda:0"
    with start_process(TrainingConfig(device="cuda")) as process:
        assert process.device == gpu
