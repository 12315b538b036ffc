"""Jobs that are refused, lost or failed: said in our own words, and the others go on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from dycon_engine.benchmarking import launching
from dycon_engine.benchmarking.launching import Launch, Watch, launch, parse_option
from dycon_engine.benchmarking.running import RunSpec
from dycon_engine.errors import DatasetError, DyconError, InputError

TRACE = """Job (task=0) failed during processing with trace:
----------------------
Traceback (most recent call last):
  File "submission.py", line 55, in process_job
ModuleNotFoundError: No module named 'dycon_engine'

----------------------
You can check full logs with 'job.stderr(0)' and 'job.stdout(0)'or at paths:
  - /out/jobs/1_0_log.err"""
LOST = """Job 7 (task: 0) with path /out/jobs/7_0_result.pkl
has not produced any output (state: TIMEOUT)
Error stream produced:
----------------------------------------
slurmstepd: error: CANCELLED DUE TO TIME LIMIT"""
REFUSED = "sbatch: error: Batch job submission failed: Invalid partition name specified"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("gpus_per_node=1", 1),
        ("mem_gb=1.5", 1.5),
        ("stderr_to_stdout=true", True),
        ("slurm_partition=gpu", "gpu"),
        ("slurm_constraint=a100|h100", "a100|h100"),
        ('slurm_setup=["module load cuda"]', ["module load cuda"]),
        ("slurm_time=01:30:00", "01:30:00"),
        ("slurm_comment=a=b", "a=b"),
    ],
)
def test_options_have_the_type_they_look_like(text: str, value: object) -> None:
    name, found = parse_option(text)
    assert (name, found, type(found)) == (text.partition("=")[0], value, type(value))


@pytest.mark.parametrize("text", ["gpus_per_node", "=3", "a.b=3"])
def test_what_is_no_option_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected NAME=VALUE"):
        parse_option(text)


def specs(folder: Path, count: int = 3) -> list[RunSpec]:
    return [
        RunSpec(
            folder / str(n),
            folder / "m",
            (),
            method="supervised",
            seed=n,
            profile="laptop",
            settings=(),
        )
        for n in range(count)
    ]


def how(folder: Path, launcher: str = "local", **options: object) -> Launch:
    return Launch(launcher, 1, folder / "jobs", options)


def made_job(outcome: object) -> SimpleNamespace:
    """A job of submitit that is done; `outcome` is what it returned or raises."""

    def results() -> list[object]:
        if isinstance(outcome, Exception):
            raise outcome
        return [outcome]

    return SimpleNamespace(done=lambda: True, results=results)


def executor(fate: object, *, submits: bool) -> SimpleNamespace:
    """Seed 1 has `fate`: an exception of submitting, or what its job ends with."""

    def submit(function, spec: RunSpec) -> SimpleNamespace:
        if spec.seed == 1 and not submits:
            raise fate
        return made_job(fate if spec.seed == 1 else function(spec))

    return SimpleNamespace(submit=submit)


@pytest.mark.parametrize(
    ("fate", "submits", "words"),
    [
        (RuntimeError(REFUSED), False, f"local refused it ({REFUSED})"),
        (AssertionError("odd"), False, "local refused it (odd)"),
        (RuntimeError(TRACE), True, "ModuleNotFoundError: No module named 'dycon_engine'; all"),
        (RuntimeError(LOST), True, "ended without a result (state: TIMEOUT); all words are in"),
        (EOFError("Ran out of input"), True, "Ran out of input; all words are in"),
        ("run 'supervised, seed 1': training ended with code 2 (why)", True, "code 2 (why); the"),
    ],
)
def test_one_bad_job_is_named_and_the_others_are_finished(
    tmp_path, monkeypatch, fate, submits: bool, words: str
) -> None:
    done: list[int] = []
    monkeypatch.setattr(launching, "_executor", lambda _: executor(fate, submits=submits))
    monkeypatch.setattr(launching, "run_one", lambda _: None)
    with pytest.raises(DyconError) as error:
        launch(specs(tmp_path), how(tmp_path), Watch(lambda s: done.append(s.seed), lambda: None))
    assert done == [0, 2]
    assert str(error.value).startswith("1 of 3 runs failed: run 'supervised, seed 1': ")
    assert words in str(error.value)
    assert "\\n" not in str(error.value)


def test_a_failure_of_ours_comes_out_of_a_real_job_in_its_own_words(tmp_path) -> None:
    """There is no such manifest: training says so, and the launcher passes it on."""
    pytest.importorskip("submitit")
    with pytest.raises(DyconError) as error:
        launch(specs(tmp_path, 1), how(tmp_path), Watch(lambda _: None, lambda: None))
    assert "1 of 1 runs failed: run 'supervised, seed 0': training ended with" in str(error.value)
    assert "log.err" not in str(error.value)


def test_problems_of_a_run_are_one_line_with_its_name(tmp_path, monkeypatch) -> None:
    def run(_: RunSpec) -> None:
        raise DatasetError(["one", "two"])

    monkeypatch.setattr(launching, "run_one", run)
    with pytest.raises(DyconError, match="failed: run 'supervised, seed 0': one two; the others"):
        launch(specs(tmp_path, 1), how(tmp_path, "here"), Watch(lambda _: None, lambda: None))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gpus_per_node": "a100:2"}, '--launcher-option: Parameter "gpus_per_node" expected type'),
        ({"slurm_partitoin": "gpu"}, "--launcher-option: Unknown argument 'partitoin'"),
        ({"nodes": 2}, "--launcher-option: "),
    ],
)
def test_options_that_submitit_refuses_are_one_line(tmp_path, options, words: str) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(InputError) as error:
        launch(specs(tmp_path), how(tmp_path, **options), Watch(lambda _: None, lambda: None))
    assert str(error.value).startswith(words)


def test_without_a_cluster_it_says_where_to_go(tmp_path, monkeypatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r'--launcher slurm: Could not detect "srun".* use'):
        launch(specs(tmp_path), how(tmp_path, "slurm"), Watch(lambda _: None, lambda: None))


def test_the_documented_options_ask_slurm_for_a_gpu_and_its_refusal_is_told(
    tmp_path, monkeypatch
) -> None:
    pytest.importorskip("submitit")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for name, text in (
        ("srun", "exit 0"),
        ("sbatch", f'cp "$1" "$0.sh"; echo "{REFUSED}" >&2; exit 1'),
    ):
        (bin_ / name).write_text(f"#!/bin/sh\n{text}\n")
        (bin_ / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:/usr/bin:/bin")
    words = ("slurm_partition=gpu", "slurm_gpus_per_node=1", "timeout_min=60", "cpus_per_task=8")
    asked = how(tmp_path, "slurm", **dict(map(parse_option, words)))
    with pytest.raises(DyconError) as error:
        launch(specs(tmp_path, 1), asked, Watch(lambda _: None, lambda: None))
    assert f"run 'supervised, seed 0': slurm refused it ({REFUSED})" in str(error.value)
    script = (bin_ / "sbatch.sh").read_text()
    for line in ("--partition=gpu", "--gpus-per-node=1", "--time=60", "--cpus-per-task=8"):
        assert f"#SBATCH {line}\n" in script
