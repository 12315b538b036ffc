"""The command from scans to tables; stopped, refused, resumed, launched."""

from __future__ import annotations

import html
import json
import weakref
from pathlib import Path

import pytest

from dycon_engine import __version__, benchmark
from dycon_engine.benchmarking import job, running
from dycon_engine.config import RECIPES
from dycon_engine.jobs.files import make_folder, write_json
from dycon_engine.jobs.reporter import Reporter
from dycon_engine.methods import METHODS
from dycon_engine.sources import source_digest
from Testing.engine.benchmarking.small_results import LABEL, result
from Testing.engine.training import small_run

PROTOCOL = """
title = "Balls"
labels = ["ball"]
source = "made up"
train = ["scan0", "scan1", "scan2"]
test = ["scan4", "scan5"]
[variants]
2 = 2
3 = 3
[[published]]
variant = "2"
method = "Somebody"
dice = 50.0
checkpoint = "best on the test cases"
"""
SETTINGS = (
    "preprocessing.spacing_mm=[2, 2, 2]",
    "network.filters=[4, 8]",
    "training.patch_size=[8, 8, 8]",
    "training.threads=1",
)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = small_run.write_scans(tmp_path_factory.mktemp("scans") / "data")
    (folder / "balls.toml").write_text(PROTOCOL)
    return folder


def run(data: Path, out: Path, *more: str, steps: int = 2) -> int:
    fixed = ["--data", str(data), "--out", str(out), "--protocol", f"{data / 'balls.toml'}-2"]
    fixed += ["--profile", "laptop", "--steps", str(steps), "--device", "cpu"]
    return benchmark.main([*fixed, *(w for s in SETTINGS for w in ("--set", s)), *more])


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("bench")
    assert run(data, out, "--methods", "mean_teacher", "supervised", "--seeds", "2") == 0
    return out


def test_every_run_is_in_the_table_with_everything_that_is_promised(finished) -> None:
    table = json.loads((finished / "results.json").read_text())
    found = [(row["method"], row["kind"], row["seeds"], row["cases"]) for row in table["rows"]]
    assert found == [
        (method, kind, 2, 2)
        for method in ("mean_teacher", "supervised")
        for kind in ("all pieces", "largest component")
    ]
    for row in table["rows"]:
        assert 0.0 <= row["metrics"]["dice"]["mean"] <= 1.0
        assert row["train_minutes"]["mean"] > 0.0
        assert row["memory_mib"]["mean"] > 1.0
        assert 0.0 <= row["ece"]["mean"] <= 1.0
    (comparison,) = table["comparisons"]
    assert (comparison["method"], comparison["reference"]) == ("supervised", "mean_teacher")
    assert len((finished / "cases.csv").read_text().splitlines()) == 1 + 2 * 2 * 2 * 2
    assert "Somebody" in (finished / "results.html").read_text()


def test_the_conditions_say_what_was_common_and_what_not(finished) -> None:
    notes = json.loads((finished / "results.json").read_text())["notes"]
    assert notes[0].startswith("Every method: the same split, network architecture, number of")
    assert "steps and loader augmentation (profile laptop; settings: training.steps=2" in notes[0]
    assert "No recipe in profile laptop, own defaults: mean_teacher, supervised." in notes
    assert "Device of all runs: cpu." in notes
    assert f"Engine of all runs: dycon_engine {__version__}, code {source_digest()}." in notes
    assert any("not calibrated (T = 1)" in note for note in notes)
    assert any("Smallest p that 2 cases can give" in note for note in notes)
    assert any("never contain the noise between runs" in note for note in notes)
    for file in ("results.md", "results.html"):
        text = html.unescape((finished / file).read_text())
        assert all(note in text for note in notes)
    for path in finished.glob("*/result.json"):
        one = json.loads(path.read_text())
        assert (one["device"], one["temperature"]) == ("cpu", 1.0)
        assert (one["engine"], one["source"]) == (__version__, source_digest())


def test_a_recipe_is_printed_for_the_method_that_got_it(data, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(job, "launch", lambda *_: None)
    (tmp_path / "balls.toml").write_text(PROTOCOL.replace('"ball"', f'"{LABEL}"'))
    for name in ("dycon", "supervised"):
        make_folder(tmp_path / f"{name}-seed0")
        write_json(tmp_path / f"{name}-seed0" / "result.json", result(name, 0, [0.5, 0.6]))
    protocol = ("--protocol", f"{tmp_path / 'balls.toml'}-2")
    assert run(data, tmp_path, "--methods", "dycon", "supervised", "ua_mt", *protocol) == 0
    notes = json.loads((tmp_path / "results.json").read_text())["notes"]
    (recipe,) = (note for note in notes if note.startswith("Recipe of dycon in profile laptop: "))
    assert all(name in recipe for name in RECIPES["laptop"]["dycon"])
    assert not any("ua_mt" in note for note in notes)  # which is in no table


def test_training_never_got_a_test_case_or_a_hidden_label(finished) -> None:
    manifest = (finished / "manifest.toml").read_text()
    assert "scan4" not in manifest
    assert "scan5" not in manifest
    assert "labels/scan2" not in manifest
    for split in finished.glob("*/run/split.json"):
        assert json.loads(split.read_text())["test"] == []


def test_finished_runs_are_not_done_again_and_a_lost_one_is(data, finished, monkeypatch) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.glob("*/result.json")}
    lost = finished / "supervised-seed1" / "result.json"
    content = lost.read_text()
    lost.unlink()
    trained = []
    monkeypatch.setattr(running, "_train", trained.append)
    assert run(data, finished, "--methods", "mean_teacher", "supervised", "--seeds", "2") == 0
    assert trained == []  # its package was there
    after = {p: p.stat().st_mtime_ns for p in finished.glob("*/result.json")}
    assert {p for p in after if after[p] != before[p]} == {lost}
    again = json.loads(lost.read_text())
    assert again["cases"] == json.loads(content)["cases"]


def test_the_gpu_is_free_for_the_next_training_once_a_run_is_scored(data, finished, monkeypatch):
    """That one runs in another process; this one lives on and would keep what it has cached."""
    networks, left = [], []
    plain = running.Predictor

    def predictor(*arguments):
        made = plain(*arguments)
        networks.append(weakref.ref(made.network))
        return made

    monkeypatch.setattr(running, "Predictor", predictor)
    empty = lambda: left.append([network() for network in networks])  # noqa: E731 - one line
    monkeypatch.setattr(running.torch.cuda, "empty_cache", empty)
    (finished / "supervised-seed1" / "result.json").unlink()
    assert run(data, finished, "--methods", "mean_teacher", "supervised", "--seeds", "2") == 0
    assert left == [[None]]


def test_other_settings_are_not_mixed_in(data, finished, capsys) -> None:
    assert run(data, finished, "--methods", "supervised", steps=3) == 2
    assert "another settings; choose another --out" in capsys.readouterr().err


def test_other_data_of_the_same_names_is_not_mixed_in(data, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(job, "launch", lambda *_: None)
    other = small_run.write_scans(tmp_path / "data", seed=1)
    (other / "balls.toml").write_text(PROTOCOL)
    more = ("--methods", "supervised", "--seeds", "1")
    assert run(data, tmp_path / "out", *more) == 0
    manifest = (tmp_path / "out" / "manifest.toml").read_text()
    assert run(other, tmp_path / "out", *more) == 2
    assert "data (files of 5 of 5 cases differ, first 'scan0')" in capsys.readouterr().err
    assert (tmp_path / "out" / "manifest.toml").read_text() == manifest
    assert run(data, tmp_path / "out", "--methods", "dycon", "--seeds", "1") == 0
    plan = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert sorted(plan["configs"]) == ["dycon", "supervised"]
    assert plan["engine"] == __version__


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--methods", "dycom"), "did you mean 'dycon'"),
        (("--set", "data.labeled=3"), "the protocol and the command decide this"),
        (("--set", "training.stepps=3"), "did you mean 'steps'"),
        (("--methods", "dycon", "supervised", "--set", "method.beta_min=1"), "of supervised"),
        (("--reference", "mean_techer"), "did you mean 'mean_teacher'"),
        (("--seeds", "0"), "--seeds: found 0, expected at least 1"),
        (("--processes", "0"), "--processes: found 0"),
        (("--first-seed", "-1"), "--first-seed: found -1, expected at least 0"),
    ],
)
def test_nonsense_is_refused_before_anything_runs(data, tmp_path, capsys, more, words) -> None:
    assert run(data, tmp_path / "out", *more) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--methods", "dycon", "supervised", "ua_mt"), "but dycon, ua_mt need some; leave out"),
        (("--methods", "dycon", "supervised"), "no unlabeled case, but dycon needs some; leave"),
        (("--leak-audit",), "FeCL on hidden labels (ORACLE) need some"),
    ],
)
def test_methods_that_need_unlabeled_cases_are_refused_where_there_are_none(
    data, tmp_path, capsys, monkeypatch, more, words
) -> None:
    monkeypatch.setattr(job, "launch", lambda *_: None)
    assert run(data, tmp_path / "out", *more, "--protocol", f"{data / 'balls.toml'}-3") == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("drawn", [(), ("--set", "training.unlabeled_cases=all")])
def test_of_all_methods_those_run_that_the_protocol_can_train(
    data, tmp_path, capsys, monkeypatch, drawn
) -> None:
    started = []
    monkeypatch.setattr(job, "launch", lambda specs, *_: started.extend(s.method for s in specs))
    more = ("--seeds", "1", *drawn, "--protocol", f"{data / 'balls.toml'}-3")
    assert run(data, tmp_path / "out", *more) == 0
    assert started == (sorted(METHODS) if drawn else ["supervised"])
    said = "left out, protocol balls-3 has no unlabeled case: dec_seg, dual_network, dycon, mean_"
    assert (said in capsys.readouterr().err) != bool(drawn)


def test_the_seeds_begin_where_it_is_asked_for(data, tmp_path, monkeypatch) -> None:
    started = []
    monkeypatch.setattr(job, "launch", lambda specs, *_: started.extend(specs))
    more = ("--methods", "supervised", "--seeds", "2", "--first-seed", "3")
    assert run(data, tmp_path / "out", *more) == 0
    assert [(spec.seed, spec.folder.name) for spec in started] == [
        (3, "supervised-seed3"),
        (4, "supervised-seed4"),
    ]


def test_data_that_lacks_cases_leaves_no_benchmark_behind(
    data, tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(job, "launch", lambda *_: None)  # the plan is what this is about
    (tmp_path / "other.toml").write_text(PROTOCOL.replace("scan5", "scan9"))
    more = ("--methods", "supervised", "--seeds", "1")
    other = ("--protocol", f"{tmp_path / 'other.toml'}-2")
    assert run(data, tmp_path / "out", *more, *other) == 2
    assert "1 of 5 cases are missing: scan9" in capsys.readouterr().err
    assert run(data, tmp_path / "out", *more) == 0
    assert run(data, tmp_path / "out", *more, *other) == 2
    assert "with another protocol (balls-2); choose another --out" in capsys.readouterr().err
    (tmp_path / "out" / "benchmark.json").write_text("{")
    assert run(data, tmp_path / "out", *more) == 2
    assert "benchmark.json': cannot be read" in capsys.readouterr().err


def test_a_failing_run_is_named_and_the_others_are_finished(data, tmp_path, capsys) -> None:
    """DEC-Seg has no such setting, the supervised method has."""
    more = ("--methods", "dec_seg", "supervised", "--seeds", "1", "--set")
    assert run(data, tmp_path / "out", *more, "training.unlabeled_batch=0") == 1
    err = capsys.readouterr().err
    assert "1 of 2 runs failed: run 'dec_seg, seed 0'" in err
    assert "training.unlabeled_batch" in err
    table = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {row["method"] for row in table["rows"]} == {"supervised"}


def test_a_cancelled_benchmark_starts_nothing_more_and_goes_on_later(
    data, tmp_path, monkeypatch
) -> None:
    out, tell = tmp_path / "out", Reporter.tell

    def telling(self, text: str) -> None:
        tell(self, text)
        if text.endswith(": finished"):
            self.cancel()

    more = ("--methods", "supervised", "--seeds", "2")
    with monkeypatch.context() as patch:
        patch.setattr(Reporter, "tell", telling)
        assert run(data, out, *more) == 3
    assert len(list(out.glob("*/result.json"))) == 1
    assert json.loads((out / "results.json").read_text())["rows"][0]["seeds"] == 1
    assert run(data, out, *more) == 0
    assert json.loads((out / "results.json").read_text())["rows"][0]["seeds"] == 2


AUDIT = ("--leak-audit", "--seeds", "1", "--set", "network.filters=[4, 8, 8]")
ORACLE = "dycon, FeCL on hidden labels (ORACLE)"


@pytest.fixture(scope="module")
def audited(data, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("audit")
    assert run(data, out, *AUDIT) == 0
    return out


def test_a_run_killed_before_its_last_event_keeps_the_mark(data, audited) -> None:
    folder = audited / "dycon-oracle-seed0"
    events = folder / "run" / "events.jsonl"
    lines = events.read_text().splitlines(keepends=True)
    assert '"event": "finished"' in lines[-1]
    events.write_text("".join(lines[:-1]))
    (folder / "result.json").unlink()
    assert run(data, audited, *AUDIT) == 0
    again = json.loads((folder / "result.json").read_text())
    assert (again["oracle"], again["method"]) == (True, ORACLE)


def test_the_leak_audit_runs_every_scope_and_marks_the_oracle(audited) -> None:
    out, name = audited, ORACLE
    table = json.loads((out / "results.json").read_text())
    marks = {row["method"]: row["oracle"] for row in table["rows"]}
    assert [title for title, oracle in marks.items() if oracle] == [name]
    assert name in [comparison["method"] for comparison in table["comparisons"]]
    assert len(marks) == 5
    assert table["findings"][0].startswith("Leak audit, mean Dice of 2 cases, seed 0: without")
    assert "ORACLE run is an audit" in table["notes"][0]
    for file in ("results.md", "results.html", "cases.csv", "dycon-oracle-seed0/result.json"):
        assert name in (out / file).read_text()
    plain, audited = ((out / f"manifest{end}.toml").read_text() for end in ("", "-oracle"))
    assert "labels/scan2" not in plain
    assert "labels/scan2" in audited
    assert audited.startswith("# ORACLE AUDIT")
    assert "scan4" not in audited
    for folder in out.glob("dycon-*"):
        stored = json.loads((folder / "run" / "config.json").read_text())
        assert ("ORACLE AUDIT" in json.dumps(stored)) == ("oracle" in folder.name)


def test_runs_go_through_submitit(data, tmp_path) -> None:
    out = tmp_path / "out"
    assert run(data, out, "--methods", "supervised", "--seeds", "1", "--launcher", "local") == 0
    assert (out / "supervised-seed0" / "result.json").exists()
    assert any((out / "jobs").iterdir())
