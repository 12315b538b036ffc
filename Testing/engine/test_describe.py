"""The describe command: methods, machine, package and data, for people and for programs."""

from __future__ import annotations

import json

import pytest

from dycon_engine.describe import main
from dycon_engine.methods import METHODS
from Testing import tiny_package
from Testing.engine import test_rank

data = test_rank.data
package = test_rank.package


@pytest.fixture
def describe(capsys):
    def run(*arguments) -> dict:
        assert main([*map(str, arguments), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def test_without_an_option_methods_and_machine(describe):
    content = describe()
    assert set(content) == {"schema_version", "methods", "machine"}


def test_every_method_shows_its_settings_as_a_form(describe):
    methods = describe("--methods")["methods"]
    assert set(methods) == set(METHODS)
    for method in methods.values():
        assert method["about"]
        for entry in method["settings"]:
            assert {"name", "type", "default", "help", "unit", "choices"} <= set(entry)
            assert entry["help"]


def test_every_method_marks_the_few_settings_that_a_form_shows_first(describe):
    for method in describe("--methods")["methods"].values():
        assert 1 <= sum(entry["main"] for entry in method["settings"]) <= 6
    dycon = describe("--methods")["methods"]["dycon"]["settings"]
    assert {"consistency_weight", "rampup"} <= {e["name"] for e in dycon if e["main"]}


def test_the_machine_says_what_really_runs(describe):
    machine = describe("--machine")["machine"]
    assert machine["devices"]["cpu"]["works"] is True
    assert machine["memory_available_gib"] > 0
    assert machine["cores"] >= 1
    assert machine["versions"]["torch"]


def test_a_package_shows_its_whole_description(describe, package):
    content = describe("--package", package)["package"]
    assert content["name"] == "ball"
    assert content["labels"][1]["name"] == "ball"
    assert content["has_partner"] is True
    assert content["calibration"]["temperature"] == 1.25
    assert content["parameters"] > 0


def test_a_data_set_shows_what_training_would_find(describe, data):
    content = describe("--data", data)["data"]
    assert (content["layout"], content["cases"], content["with_label"]) == ("pairs", 4, 1)
    assert content["names"] == ["s0", "s1", "s2", "s3"]


def test_text_for_people_names_the_settings(capsys, package):
    assert main(["--methods", "--package", str(package)]) == 0
    text = capsys.readouterr().out
    assert "consistency_weight = " in text
    assert "Not a medical device" in text
    assert "ball" in text
    assert "non_air: 0." in text
    assert "Range(" not in text
    assert "values, in --json" in text
    assert max(map(len, text.splitlines())) < 500


@pytest.mark.parametrize("option", ["--package", "--data"])
def test_bad_input_is_one_line(capsys, tmp_path, option):
    assert main([option, str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("DyCON: ")
    assert error.count("\n") == 1


def test_a_description_for_tests_is_tiny():
    assert sum(t.numel() for t in tiny_package.states(tiny_package.info()).values()) < 10_000
