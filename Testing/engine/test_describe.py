"""The describe command: methods, machine, package and data, for people and for programs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from dycon_engine.config import PROFILES, RECIPES, RunConfig, resolve
from dycon_engine.describe import main
from dycon_engine.inference import description
from dycon_engine.methods import METHODS
from dycon_engine.package import load_package
from dycon_engine.settings import as_table, read_toml
from dycon_engine.sources import source_digest
from Testing import tiny_package
from Testing.engine import test_rank
from Testing.tiny_scans import mask, scan, write_pairs, write_scan

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "settings.md"
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


def test_every_setting_of_a_run_is_told_with_its_value_in_each_profile(describe):
    told = {entry["name"]: entry for entry in describe("--settings")["settings"]["sections"]}
    plain = as_table(RunConfig())
    plain["method"].pop("settings")
    assert {name: entry["default"] for name, entry in told.items()} == {
        f"{section}.{name}": value for section in plain for name, value in plain[section].items()
    }
    for profile in PROFILES:
        table = as_table(resolve(profile))
        for name, entry in told.items():
            section, _, key = name.partition(".")
            assert entry["profiles"][profile] == table[section][key], name
    assert all(entry["help"] and entry["type"] for entry in told.values())


def test_every_setting_of_every_method_is_told_once_with_what_recipes_make_of_it(describe):
    told = describe("--settings")["settings"]["methods"]
    expected = [(m, f.name) for m, kind in METHODS.items() for f in dataclasses.fields(kind.Config)]
    found = [(m, e["name"].removeprefix("method.")) for e in told for m in e["methods"]]
    assert sorted(found) == sorted(expected)
    recipes = {
        (profile, method, e["name"].removeprefix("method.")): value
        for e in told
        for profile, values in e["profiles"].items()
        for method, value in values.items()
    }
    assert recipes == {
        (profile, method, name): value
        for profile, methods in RECIPES.items()
        for method, recipe in methods.items()
        for name, value in recipe.items()
    }


def test_the_settings_page_is_what_the_command_writes(capsys):
    assert main(["--settings", "--markdown"]) == 0
    wanted = "run `dycon describe --settings --markdown > docs/reference/settings.md`"
    assert PAGE.read_text(encoding="utf-8") == capsys.readouterr().out, wanted


def test_the_example_file_of_the_settings_page_is_one_that_training_takes(tmp_path):
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    file = tmp_path / "run.toml"
    file.write_text(example)
    table = read_toml(file)
    config = resolve(table.pop("profile"), [table])
    assert config.training.steps == 6000
    assert config.training.patch_size == tuple(PROFILES["laptop"]["training"]["patch_size"])
    assert config.method.settings == RECIPES["laptop"]["dycon"] | {"mixing": 0.5}


def test_settings_for_people_are_a_line_each(capsys):
    assert main(["--settings"]) == 0
    lines = capsys.readouterr().out.splitlines()
    steps = next(line for line in lines if "training.steps = " in line)
    assert steps.startswith("  training.steps = 2000 (integer, 1 or more; ")
    assert f"laptop: {PROFILES['laptop']['training']['steps']}" in steps
    assert steps.endswith("Optimizer steps.")


@pytest.mark.parametrize("others", [(), ("--methods", "--settings"), ("--json", "--settings")])
def test_markdown_is_there_for_the_settings_alone(capsys, others):
    with pytest.raises(SystemExit) as stopped:
        main([*others, "--markdown"])
    assert stopped.value.code == 2
    assert "goes with --settings alone" in capsys.readouterr().err


def test_the_machine_says_what_really_runs(describe):
    machine = describe("--machine")["machine"]
    assert machine["devices"]["cpu"]["works"] is True
    assert machine["devices"]["cpu"]["bf16"] in (True, False, None)
    assert machine["memory_available_gib"] > 0
    assert machine["cores"] >= 1
    assert machine["versions"]["torch"]
    assert machine["versions"]["engine_sources"] == source_digest()


@pytest.mark.parametrize("is_used", [False, True])
def test_a_gpu_that_is_broken_is_described_as_such(describe, monkeypatch, is_used):
    """Its kernels fail, or its driver at the questions asked after them."""
    monkeypatch.setattr(description, "present", lambda: ("cuda",))
    monkeypatch.setattr(description, "works", lambda device: is_used or device.type == "cpu")
    asked = []

    def broken(device):
        asked.append(device)
        raise RuntimeError("CUDA error: unspecified launch failure")

    for name in ("mem_get_info", "get_device_properties"):
        monkeypatch.setattr(torch.cuda, name, broken)
    machine = describe("--machine")["machine"]
    assert machine["devices"]["cuda"] == {"works": is_used, "name": "cuda"}
    cpu = machine["devices"]["cpu"]
    assert (cpu["works"], cpu["name"]) == (True, "CPU")
    assert bool(asked) is is_used


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


def test_what_the_default_method_cannot_train_on_is_a_finding(describe, tmp_path):
    content = describe("--data", write_pairs(tmp_path / "data", 2, 2))["data"]
    assert any("no unlabeled case" in finding["message"] for finding in content["findings"])


def test_every_finding_of_a_bad_data_set_is_told_with_its_case_and_the_exit_code_is_0(
    describe, tmp_path
):
    root = write_pairs(tmp_path / "data", 6, 4)
    write_scan(root / "images/pt01.nii.gz", np.full((6, 7, 8), 5, np.float32))
    write_scan(root / "labels/pt02.nii.gz", mask((6, 7, 9)))
    (root / "images/pt05.nii.gz").write_bytes(b"nonsense")
    (root / "images/pt04.nii.gz").write_bytes((root / "images/pt00.nii.gz").read_bytes())
    write_scan(root / "images/pt03.nii.gz", scan(3), spacing=(9.0, 1.0, 1.0))
    write_scan(root / "labels/pt03.nii.gz", mask(), spacing=(9.0, 1.0, 1.0))
    content = describe("--data", root)["data"]
    found = {(f["severity"], f["topic"], *f["cases"]) for f in content["findings"]}
    assert found == {
        ("problem", "voxels", "pt01"),
        ("problem", "grid", "pt02"),
        ("problem", "unreadable", "pt05"),
        ("problem", "duplicates", "pt00", "pt04"),
        ("warning", "spacing", "pt03"),
    }
    assert all(f["message"] and "\n" not in f["message"] for f in content["findings"])
    assert content["cases"] == 6


def test_a_problem_of_the_listing_names_its_cases(describe, tmp_path):
    root = write_pairs(tmp_path / "data", 3, 3)
    twin = root / "images" / "PT00.nii.gz"
    twin.write_bytes((root / "images/pt01.nii.gz").read_bytes())
    (finding,) = (
        f for f in describe("--data", root)["data"]["findings"] if f["topic"] == "listing"
    )
    assert sorted(finding["cases"]) == ["PT00", "pt00"]


def test_text_for_people_names_the_settings(capsys, package):
    assert main(["--methods", "--package", str(package)]) == 0
    text = capsys.readouterr().out
    assert "consistency_weight = " in text
    assert "Not a medical device" in text
    assert "Range(" not in text
    assert max(map(len, text.splitlines())) < 500


def test_a_package_for_people_is_its_card_and_what_only_the_file_tells(capsys, package):
    assert main(["--package", str(package)]) == 0
    text = capsys.readouterr().out
    shown, _, left = text.partition("\n## This file\n\n")
    assert sorted(shown.splitlines()) == sorted(tiny_package.read_card(package).splitlines())
    parameters = sum(p.numel() for p in load_package(package).predictor.parameters())
    assert left.splitlines() == [
        "- name: ball",
        f"- sha256: {hashlib.sha256(package.read_bytes()).hexdigest()}",
        f"- parameters of the network: {parameters:,}",
        "- kinds of uncertainty: entropy, disagreement, tta",
        "- overlap of the windows: 0.5",
    ]
    assert not re.search(r"\d\.\d{5}", text)
    assert not any(word in text for word in ("neighbor_distance", "exemplars", "schema_version"))


def test_the_endings_of_several_channels_are_told_and_control_characters_are_not_sent(
    capsys, tmp_path
):
    path = tmp_path / "two.dycon"
    names = {"name_patterns": ("_0000", "_0001"), "training": {"note": "\x1b[2J"}}
    tiny_package.save(path, channels=2, partner=False, **names)
    assert main(["--package", str(path)]) == 0
    text = capsys.readouterr().out
    assert "- kinds of uncertainty: entropy\n" in text
    assert "- endings of file names: c0 _0000, c1 _0001" in text
    assert "\x1b" not in text
    assert "- note: \\x1b[2J" in text


@pytest.mark.parametrize("option", ["--package", "--data"])
def test_bad_input_is_one_line(capsys, tmp_path, option):
    assert main([option, str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("DyCON: ")
    assert error.count("\n") == 1


def test_a_description_for_tests_is_tiny():
    assert sum(t.numel() for t in tiny_package.states(tiny_package.info()).values()) < 10_000
