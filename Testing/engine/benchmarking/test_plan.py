"""What is not mixed in one folder: other data, engines and settings; and what is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dycon_engine import config
from dycon_engine.benchmarking import plan as plans
from dycon_engine.benchmarking.plan import former, identity, require_same, resolved
from dycon_engine.benchmarking.protocol import Protocol
from dycon_engine.data.cases import Case, Dataset
from dycon_engine.errors import InputError
from dycon_engine.jobs.files import write_json

PROTOCOL = Protocol(
    name="balls-1",
    title="Balls",
    labels=("ball",),
    source="made up",
    labeled=("a",),
    unlabeled=("b",),
    validation=(),
    test=("c",),
)
COMMAND = {"protocol": "balls-1", "settings": ["training.steps=2"]}


def files(folder: Path) -> Dataset:
    """Three cases and one that the protocol does not name; the files hold their own names."""
    cases = [Case(n, (folder / f"{n}.nii",), folder / f"{n}-label.nii") for n in "abcd"]
    for case in cases:
        for path in (*case.images, case.label):
            path.write_text(path.name)
    return Dataset(folder, "pairs", tuple(cases))


def plan_of(dataset: Dataset, *methods: str, profile: str = "laptop"):
    configs = {method: resolved(profile, method, COMMAND["settings"]) for method in methods}
    return COMMAND | identity(PROTOCOL, dataset, configs)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """The plan of a benchmark of mean_teacher and dycon on the files of `tmp_path`."""
    path = tmp_path / "out" / "benchmark.json"
    path.parent.mkdir()
    write_json(path, plan_of(files(tmp_path), "mean_teacher", "dycon"))
    return path


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("a.nii", r"another data \(files of 1 of 3 cases differ, first 'a'\); choose another"),
        ("a-label.nii", "first 'a'"),
        ("c-label.nii", "first 'c'"),
    ],
)
def test_other_files_of_the_same_cases_are_not_mixed_in(stored, tmp_path, file, words) -> None:
    dataset = files(tmp_path)
    require_same(stored, plan_of(dataset, "dycon"))
    (tmp_path / file).write_text("another scan")
    with pytest.raises(InputError, match=words):
        require_same(stored, plan_of(dataset, "dycon"))


def test_a_hidden_label_is_not_even_opened_but_by_the_audit(tmp_path) -> None:
    dataset = files(tmp_path)
    audited = identity(PROTOCOL, dataset, {}, oracle=True)
    (tmp_path / "b-label.nii").unlink()
    (tmp_path / "d.nii").unlink()  # a case that the protocol does not use
    assert sorted(identity(PROTOCOL, dataset, {})["data"]) == ["a", "b", "c"]
    with pytest.raises(InputError, match=r"case 'b': '.*b-label.nii' cannot be read"):
        identity(PROTOCOL, dataset, {}, oracle=True)
    (tmp_path / "b-label.nii").write_text("redrawn")
    assert identity(PROTOCOL, dataset, {}, oracle=True) != audited


def test_every_file_of_a_dicom_folder_counts(tmp_path) -> None:
    (tmp_path / "a").mkdir()
    dataset = Dataset(tmp_path, "pairs", (Case("a", (tmp_path / "a",)),))
    found = []
    for name in ("1.dcm", "2.dcm"):
        (tmp_path / "a" / name).write_text(name)
        found.append(identity(PROTOCOL, dataset, {})["data"]["a"])
    assert found[0] != found[1]


def test_another_engine_is_not_mixed_in(stored, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(plans, "__version__", "99.0")
    with pytest.raises(InputError, match=r"another engine \(.*, now 99.0\); choose another --out"):
        require_same(stored, plan_of(files(tmp_path), "dycon"))


def test_other_code_of_the_same_version_is_not_mixed_in(stored, tmp_path, monkeypatch) -> None:
    before = json.loads(stored.read_text())["source"]
    monkeypatch.setattr(plans, "source_digest", lambda: "0123456789ab")
    words = (
        rf"another state of the engine's code \({before}, now 0123456789ab: check out the commit"
    )
    with pytest.raises(InputError, match=words):
        require_same(stored, plan_of(files(tmp_path), "dycon"))


def test_a_benchmark_from_before_the_code_was_kept_goes_on_and_says_so(stored, tmp_path) -> None:
    assert former(stored) == ""
    assert former(tmp_path / "none.json") == ""
    old = json.loads(stored.read_text())
    del old["source"]
    stored.write_text(json.dumps(old))
    assert "from before the state of the engine's code was kept" in former(stored)
    now = plan_of(files(tmp_path), "mean_teacher", "dycon")
    assert require_same(stored, now) == now


def test_a_recipe_or_default_that_changed_is_not_mixed_in(stored, tmp_path, monkeypatch) -> None:
    changed = config.RECIPES["laptop"]["dycon"] | {"mixing": 0.125}
    monkeypatch.setitem(config.RECIPES["laptop"], "dycon", changed)
    with pytest.raises(InputError, match=r"another setting of dycon \(.*\bmethod\.mixing\b"):
        require_same(stored, plan_of(files(tmp_path), "mean_teacher", "dycon"))
    require_same(stored, plan_of(files(tmp_path), "mean_teacher"))  # whose settings are the same


def test_what_the_command_changes_is_said_in_its_own_words(stored, tmp_path) -> None:
    other = plan_of(files(tmp_path), "dycon", profile="gpu") | {"settings": ["training.steps=3"]}
    with pytest.raises(InputError, match="another settings; choose another --out"):
        require_same(stored, other)


def test_a_further_method_joins_and_the_others_stay_known(stored, tmp_path) -> None:
    joined = require_same(stored, plan_of(files(tmp_path), "supervised"))
    assert sorted(joined["configs"]) == ["dycon", "mean_teacher", "supervised"]


def test_a_plan_from_before_is_accepted_and_completed(stored, tmp_path) -> None:
    stored.write_text(json.dumps(COMMAND))
    now = plan_of(files(tmp_path), "dycon")
    assert require_same(stored, now) == now
    with pytest.raises(InputError, match="another protocol"):
        require_same(stored, now | {"protocol": "balls-2"})


@pytest.mark.parametrize("text", ["{", "3", '{"data": 3}', '{"configs": [1]}'])
def test_a_damaged_plan_is_refused(tmp_path, text: str) -> None:
    (tmp_path / "benchmark.json").write_text(text)
    with pytest.raises(InputError, match=r"benchmark.json': cannot be read"):
        require_same(tmp_path / "benchmark.json", plan_of(files(tmp_path)))
