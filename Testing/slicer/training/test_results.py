"""Figures, comparison, budget, form and jobs for other computers: what the panel says of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from dycon_engine.errors import InputError
from Testing import tiny_package
from Testing.slicer.training import loop, scenes
from Testing.slicer.training import run_folders as folders

ROOT = Path(__file__).parents[3]


def report(tmp_path, name="01-dycon", dice=0.8, **more):
    from DyCONTrainingLib.results import read_report

    run = folders.write_run(tmp_path, name, [folders.DONE])
    folders.finished(run, dice, **more)
    return read_report(run)


def test_the_report_in_words(tmp_path):
    from DyCONTrainingLib.results import summary_text

    found = report(tmp_path)
    assert [(s.case, s.dice, s.hd95_mm) for s in found.scores] == [
        ("validation 1", 0.8, 4.0),
        ("validation 2", 0.81, None),
    ]
    assert summary_text(found).splitlines() == [
        "Trained on 4 labeled and 9 unlabeled scans.",
        "Dice 0.800 on 2 held-out cases, HD95 4.0 mm (1 without: nothing found, or nothing there).",
        "Calibration error near boundaries 12.0 % as trained, 4.0 % after calibration.",
    ]


def test_cases_of_several_structures_count_once_each(tmp_path):
    from DyCONTrainingLib.results import Score, compared, summary_text

    ours, base = report(tmp_path, "01-dycon"), report(tmp_path, "02-supervised")
    walls = [Score(f"validation {n}", "wall", dice, None) for n, dice in ((1, 0.2), (2, None))]
    ours = replace(ours, scores=(*ours.scores, *walls))
    assert "on 2 held-out cases, HD95 4.0 mm (3 without" in summary_text(ours)
    assert compared(ours, base).endswith(
        "Dice 0.655, supervised only 0.805 on the same split and steps: a loss of 0.150, better "
        "in 0 of 2 cases."
    )


def test_without_held_out_cases_nothing_is_claimed(tmp_path):
    from DyCONTrainingLib.results import read_report, summary_text

    run = folders.write_run(tmp_path, "01-dycon", [folders.DONE])
    folders.finished(run)
    (run / "report/validation.json").unlink()
    assert "not scored and not calibrated" in summary_text(read_report(run))


@pytest.mark.parametrize("damage", ["config.json", "package/last.dycon"])
def test_a_run_without_result_has_no_report(tmp_path, damage):
    from DyCONTrainingLib.results import read_report

    run = folders.write_run(tmp_path, "01-dycon", [folders.DONE])
    folders.finished(run)
    (run / damage).unlink()
    assert read_report(run) is None


def test_the_gain_is_shown_only_on_the_same_split(tmp_path):
    from DyCONTrainingLib.results import compared

    ours = report(tmp_path, "01-dycon", 0.85)
    base = report(tmp_path, "02-supervised", 0.80, method="supervised")
    assert compared(ours, base) == (
        "With unlabeled scans Dice 0.855, supervised only 0.805 on the same split and steps: a "
        "gain of 0.050, better in 2 of 2 cases."
    )
    assert "a loss of 0.050, better in 0 of 2" in compared(base, ours)
    equal = report(tmp_path, "04-supervised", 0.85, method="supervised")
    assert "a gain of 0.000, better in 0 of 2 cases" in compared(ours, equal)
    other = report(tmp_path, "03-supervised", 0.80, split="another")
    assert compared(ours, other) == (
        "'03-supervised' was not trained on the same split; no comparison."
    )


def test_a_model_is_handed_over_once_and_under_a_free_name(tmp_path):
    from DyCONTrainingLib.results import is_published, model_name, publish

    from DyCONLib.models import find_models

    run = folders.write_run(tmp_path, "01-dycon", [folders.DONE])
    with pytest.raises(InputError, match="has no model yet"):
        publish(run, tmp_path / "models", "x")
    (run / "package").mkdir()
    tiny_package.save(run / "package/last.dycon")
    name = model_name(["Left atrium/wall", "b", "c"], "01-dycon", [])
    assert name == "left-atrium-wall-b-01-dycon"
    assert model_name(["a"], "01-dycon", ["a-01-dycon"]) == "a-01-dycon-2"
    assert not is_published(run)
    model = publish(run, tmp_path / "models", name)
    assert is_published(run)
    assert [each.path for each in find_models([tmp_path / "models"])] == [model.path]


def test_the_budget_in_words():
    from DyCONTrainingLib.budget import Probe, budget_text, concern, steps_for

    probe = Probe(step_s=2.0, overhead_s=120, memory_gib=3.2, available_gib=2.5, device="CPU")
    now = datetime(2026, 8, 3, 22, 30)
    assert steps_for(60, probe) == 1740
    assert steps_for(1, probe) == 20
    assert budget_text(1740, probe, now) == (
        "1740 steps in about 1 h, done at 23:30, needs 3.2 GiB on CPU"
    )
    assert "tomorrow at 00:20" in budget_text(3240, probe, now)
    assert "on Thu 6 Aug at" in budget_text(130000, probe, now)
    assert concern(1740, probe).startswith("needs 3.2 GiB but 2.5 GiB are free")
    assert "100 steps are few" in concern(100, Probe(step_s=1.0))
    assert concern(1000, Probe(step_s=1.0)) == ""


def test_forms_come_from_what_the_engine_describes():
    from DyCONTrainingLib.form import ABOUT, NAMES, TITLES, chosen_settings, methods

    from dycon_engine.inference.description import describe_methods

    described = describe_methods()
    forms = {form.name: form for form in methods(described)}
    assert next(iter(forms)) == "dycon"
    assert set(forms) == set(described)
    assert set(TITLES) == set(ABOUT) == set(described)  # every method has a name for people
    assert all(0 < len(form.fields) <= 6 for form in forms.values())
    assert set(NAMES) == {field.name for form in forms.values() for field in form.fields}
    assert not forms["supervised"].needs_unlabeled
    dycon = forms["dycon"]
    weight = next(f for f in dycon.fields if f.name == "consistency_weight")
    assert (weight.kind, weight.title, weight.low) == ("number", "Weight of consistency", 0.0)
    values = {field.name: field.default for field in dycon.fields}
    values |= {"consistency_weight": 0.2, "unknown": 1}
    assert chosen_settings(dycon, values) == {"method.consistency_weight": 0.2}
    scope = next(f for f in dycon.fields if f.name == "fecl_scope")
    assert "pseudo" in scope.choices
    assert "oracle" not in scope.choices


def test_the_form_shows_what_the_profile_brings():
    from DyCONTrainingLib.form import chosen_settings, methods

    from dycon_engine.config import resolve
    from dycon_engine.inference.description import describe_methods

    plain = next(form for form in methods(describe_methods()) if form.name == "dycon")
    form = plain.under("laptop")
    brought = resolve("laptop", assignments=("method.name=dycon",)).method.settings
    shown = {field.name: field.default for field in form.fields}
    assert brought["pseudo_label_weight"] > 0
    assert {name: shown[name] for name in shown if name in brought} == {
        name: brought[name] for name in shown if name in brought
    }
    assert chosen_settings(form, shown) == {}
    off = {"pseudo_label_weight": 0.0}  # the engine's own default is no longer nothing to say
    assert chosen_settings(form, off) == {"method.pseudo_label_weight": 0.0}
    assert plain.under("gpu") == form
    supervised = next(form for form in methods(describe_methods()) if form.name == "supervised")
    assert supervised.under("gpu") == supervised


@pytest.fixture
def saved(slicer_scene, tmp_path):
    """A data set of three cases on disk."""
    scenes.scans(2, 1)
    made, _ = scenes.logic(tmp_path)
    made.open(tmp_path / "set")
    made.add_scene()
    made.save()
    while made.is_busy:
        made.poll()
    return made.folder


def test_a_job_for_another_computer_is_one_folder_and_one_command(saved, tmp_path):
    from DyCONTrainingLib.request import TrainRequest
    from DyCONTrainingLib.transfer import Export, import_result

    extra = {name: value for name, value in loop.TINY.items() if name != "training.save_every"}
    request = TrainRequest(settings=extra, steps=2, device="cpu")
    export = Export(tmp_path / "a job", saved, request)
    while not export.step():
        pass
    job = tmp_path / "a job"
    assert sorted(p.name for p in job.iterdir()) == [
        "README.md", "data", "dycon_engine", "request.json", "settings.toml",
    ]  # fmt: skip
    text = (job / "README.md").read_text()
    (command,) = [line for line in text.splitlines() if "dycon_engine.train" in line]
    assert str(tmp_path) not in text
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}  # nothing of ours on the path
    line = command.strip().replace("python", sys.executable, 1)
    ended = subprocess.run(
        ["sh", "-c", line], cwd=job, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    run = import_result(job, saved, lambda method: f"09-{method}")
    assert run == tmp_path / "set/runs/09-dycon"
    assert (run / "package/last.dycon").is_file()
    assert not (run / "lock").exists()
    assert "../../images/case-001.nrrd" in (run / "data.toml").read_text()


def test_no_word_of_a_request_reaches_the_command_of_a_job(saved, tmp_path):
    from DyCONTrainingLib.request import TrainRequest
    from DyCONTrainingLib.transfer import Export

    from dycon_engine.settings import merge, parse_assignment, read_toml

    evil = "$(touch ran)`touch ran`\"; touch ran; 'é\n#"
    extra = {"network.upsampling": "trilinear", "training.license": evil, "method.tau": 0.5}
    more = {"training.learning_rate": 1e-05, "training.milestones": [2, 4], "data.order": evil}
    request = TrainRequest(profile="paper", device=evil, settings={**extra, **more}, steps=7)
    export = Export(tmp_path / "$(touch ran)", saved, request, tmp_path / "start.dycon")
    (tmp_path / "start.dycon").write_bytes(b"")
    while not export.step():
        pass
    (command,) = [
        line.strip()
        for line in (tmp_path / "$(touch ran)" / "README.md").read_text().splitlines()
        if "dycon_engine.train" in line
    ]
    assert command == (
        "python -m dycon_engine.train --data data/manifest.toml --config settings.toml "
        "--run-dir result --package start.dycon"
    )
    assert "touch" not in (tmp_path / "$(touch ran)" / "README.md").read_text()
    table = read_toml(tmp_path / "$(touch ran)" / "settings.toml")
    assert table.pop("profile") == "paper"
    line = [word for word in request.arguments(tmp_path) if "=" in str(word)]
    wanted = {"method": {"name": "dycon"}, "training": {"device": evil}}
    for assignment in line:
        wanted = merge(wanted, parse_assignment(assignment))
    assert table == wanted


def test_a_model_with_a_setting_that_there_is_not_is_no_start(tmp_path):
    from DyCONTrainingLib.starting import inherited

    from DyCONLib.models import read_model

    tiny_package.save(tmp_path / "a.dycon")
    model = read_model(tmp_path / "a.dycon")
    network = {**model.raw["network"], "upsampling": "$(touch ran)"}
    for raw in (
        {**model.raw, "network": network},
        {**model.raw, "network": {"$(touch ran)": 1}},
        {**model.raw, "patch_size": "$(touch ran)"},
        {**model.raw, "preprocessing": {"normalization": "`touch ran`"}},
    ):
        with pytest.raises(InputError, match=r"^model 'a': .*touch ran.*; choose another model$"):
            inherited(replace(model, raw=raw))


def test_of_a_result_only_the_files_of_a_run_are_taken_over(saved, tmp_path):
    from DyCONTrainingLib.transfer import import_result

    run = folders.write_run(tmp_path / "box", "result", [*folders.steps(1, 3), folders.DONE])
    folders.finished(run)
    (tmp_path / "private").mkdir()
    for name in ("id_rsa", "validation.json", "secret.ckpt"):
        (tmp_path / "private" / name).write_text("secret")
    for name in ("numpy.py", "checkpoints.py", "package/torch.py", "sitecustomize.py", "x.json"):
        (run / name).write_text("open('ran', 'w')")
    (run / "torch").mkdir()
    (run / "torch/__init__.py").write_text("open('ran', 'w')")
    (run / "checkpoints").symlink_to(tmp_path / "private")
    (run / "split.json").symlink_to(tmp_path / "private/id_rsa")
    (run / "package/best.dycon").symlink_to(tmp_path / "private/id_rsa")
    taken = import_result(run, saved, lambda method: f"09-{method}")
    assert sorted(p.relative_to(taken).as_posix() for p in taken.rglob("*") if p.is_file()) == [
        "config.json",
        "data.toml",
        "events.jsonl",
        "package/last.dycon",
        "report/validation.json",
        "request.json",
    ]
    (run / "config.json").unlink()
    (run / "config.json").symlink_to(tmp_path / "private/id_rsa")
    with pytest.raises(InputError, match="holds no result of training"):
        import_result(run, saved, lambda method: f"10-{method}")


def test_every_file_of_a_run_is_taken_over_but_what_belongs_to_a_process():
    from DyCONTrainingLib.transfer import KNOWN

    table = (ROOT / "docs/reference/run-directory.md").read_text(encoding="utf-8").split("\n\n")
    rows = next(part for part in table if part.startswith("| file |")).splitlines()[2:]
    named = {row.split("`")[1].split("/")[0] for row in rows}
    assert named - {"cancel", "lock", "cache"} == {name.split("/")[0] for name in KNOWN}


def test_a_request_from_elsewhere_names_no_other_folder(tmp_path):
    from DyCONTrainingLib.request import read_request

    run = folders.write_run(tmp_path, "01-dycon", method="../../../etc")
    assert read_request(run) is None
    for content in ("[" * 99999, "[]", '"method"', '{"steps": "x"}', '{"settings": []}'):
        (run / "request.json").write_text(content)
        assert read_request(run) is None
    (run / "request.json").write_text('{"method": "dycon", "device": "cuda:0", "news": 1}')
    assert read_request(run).device == "cuda:0"


def test_what_is_no_result_is_refused(saved, tmp_path):
    from DyCONTrainingLib.transfer import import_result

    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match="holds no result of training"):
        import_result(tmp_path / "other", saved, str)
    run = folders.write_run(tmp_path / "box", "result", folders.steps(1, 3))
    folders.hold(run, host="gpu-box")
    with pytest.raises(InputError, match="still trains in it"):
        import_result(run, saved, str)
    assert not (tmp_path / "set/runs").exists() or not list((tmp_path / "set/runs").iterdir())


def test_a_job_is_complete_or_absent(saved, tmp_path, monkeypatch):
    from DyCONTrainingLib.request import TrainRequest
    from DyCONTrainingLib.transfer import Export

    from dycon_engine.errors import DyconError

    with pytest.raises(InputError, match="lies in the data set"):
        Export(saved.path / "job", saved, TrainRequest())
    with pytest.raises(InputError, match="is not empty"):
        Export(saved.path, saved, TrainRequest())

    def full(*_arguments, **_named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("DyCONTrainingLib.transfer.shutil.copytree", full)
    export = Export(tmp_path / "job", saved, TrainRequest())
    with pytest.raises(DyconError, match="disk full"):
        list(iter(export.step, True))
    assert not (tmp_path / "job").exists()
    assert not list(tmp_path.glob(".partial-*"))


def test_a_run_from_a_model_gets_its_network(tmp_path):
    from DyCONTrainingLib.starting import inherited

    from DyCONLib.models import read_model

    tiny_package.save(tmp_path / "a.dycon")
    model = read_model(tmp_path / "a.dycon")
    settings = inherited(model)
    assert settings["network.filters"] == model.raw["network"]["filters"]
    assert settings["preprocessing.spacing_mm"] == model.raw["preprocessing"]["spacing_mm"]
    assert settings["training.patch_size"] == model.raw["patch_size"]
    assert set(settings) >= {f"network.{name}" for name in model.raw["network"]}


def test_the_last_run_is_never_the_supervised_one_that_it_was_compared_with(tmp_path):
    from DyCONTrainingLib.parameters import FROM_LAST_RUN, Parameters
    from DyCONTrainingLib.run_card import look
    from DyCONTrainingLib.starting import start_package

    names = ("03-supervised", "02-dycon", "01-dycon")
    cards = []
    for name, twin in zip(names, ("02-dycon", "", ""), strict=True):
        run = folders.write_run(tmp_path, name, [folders.DONE], compare_with=twin)
        folders.finished(run)
        cards.append(look(run))
    chosen = Parameters(start=FROM_LAST_RUN)
    assert start_package(chosen, cards, tmp_path) == tmp_path / "runs/02-dycon/package/last.dycon"
    with pytest.raises(InputError, match="no run has a model yet"):
        start_package(chosen, cards[:1], tmp_path)
