"""Who waits for whom among the ranks of a prediction; with real processes in test_predict."""

from __future__ import annotations

import pytest

from dycon_engine.errors import CancelledError, DyconError
from dycon_engine.inference import ranks
from dycon_engine.inference.ranks import together


@pytest.fixture
def done(monkeypatch):
    """Pretend that torchrun started this process; return what was done with the others."""
    steps: list[str] = []
    monkeypatch.setenv(ranks.TORCHRUN, "x")
    for name in ("init_process_group", "barrier", "destroy_process_group"):
        note = lambda *_, _name=name, **__: steps.append(_name)  # noqa: E731 - one line each
        monkeypatch.setattr(ranks.dist, name, note)
    return steps


def test_all_wait_at_the_end(done):
    with together(2):
        done.append("work")
    assert done == ["init_process_group", "work", "barrier", "destroy_process_group"]


@pytest.mark.parametrize(
    ("error", "waits"), [(DyconError("x"), True), (KeyError("x"), True), (CancelledError(), False)]
)
def test_a_failure_waits_and_a_cancelled_rank_does_not(done, error, waits):
    with pytest.raises(type(error)), together(2):
        raise error
    assert done == ["init_process_group"] + waits * ["barrier"]


def test_a_rank_that_is_gone_is_not_the_failure_of_another(done, monkeypatch):
    def gone():
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(ranks.dist, "barrier", gone)
    with together(2):
        done.append("work")
    with pytest.raises(DyconError, match="own"), together(2):
        raise DyconError("own")
    assert "work" in done


@pytest.mark.parametrize("alone", ["one process", "no torchrun"])
def test_without_torchrun_nobody_waits(done, monkeypatch, alone):
    """Processes with RANK and WORLD_SIZE of another scheduler may run one after the other."""
    if alone == "no torchrun":
        monkeypatch.delenv(ranks.TORCHRUN)
    with together(1 if alone == "one process" else 2):
        pass
    assert done == []
