"""Settings: layers of values, refusals that name the nearest known name, the form they describe."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from dycon_engine.config import (
    PROFILES,
    RECIPES,
    MethodSelection,
    RunConfig,
    TrainingConfig,
    resolve,
)
from dycon_engine.errors import InputError
from dycon_engine.methods import METHODS
from dycon_engine.settings import as_table, build, read_toml, schema


def test_later_values_win_over_earlier_ones(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('[training]\nsteps = 50\nlearning_rate = 1\n[method]\nname = "ua_mt"\n')
    config = resolve("laptop", [read_toml(file)], ["training.steps=6"])
    assert config.training.steps == 6
    assert config.training.learning_rate == 1.0
    assert isinstance(config.training.learning_rate, float)
    assert config.method.name == "ua_mt"
    assert config.network.filters == tuple(PROFILES["laptop"]["network"]["filters"])


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_every_profile_is_valid_and_survives_json(profile):
    config = resolve(profile)
    assert build(RunConfig, json.loads(json.dumps(as_table(config)))) == config


def test_a_profile_brings_settings_of_the_method_that_is_chosen():
    """Only of that one, since another method may not know them; what is set by hand wins."""
    recipe = RECIPES["laptop"]["dycon"]
    assert resolve("laptop").method.settings == recipe
    assert resolve("laptop", [], ["method.name=supervised"]).method.settings == {}
    assert resolve("laptop", [{"method": {"name": "ua_mt"}}]).method.settings == {}
    assert resolve("gpu").method.settings == recipe
    assert resolve().method.settings == {}
    changed = resolve("laptop", [{"method": {"tau": 0.2}}], ["method.rampup=0.25"])
    assert changed.method.settings == recipe | {"tau": 0.2, "rampup": 0.25}


def test_the_paper_profile_takes_what_the_help_calls_the_papers_values():
    """`Paper: X.` in the help of a setting is what `--profile paper` sets, where it differs."""
    open_ = {"start", "strong_geometry", "mixing", "beta_max", "distance_weight"}
    for name, method in METHODS.items():
        config = build(method.Config, resolve("paper", [], [f"method.name={name}"]).method.settings)
        for field in dataclasses.fields(config):
            said = re.search(r"Paper: ([\w.]+?)[.,;]?(?: |$)", field.metadata["help"])
            if said is None or field.name in open_ or not re.match(r"[\d.]+$|true|false", said[1]):
                continue
            value = (
                {"true": True, "false": False}.get(said[1])
                if said[1][0] in "tf"
                else float(said[1])
            )
            assert getattr(config, field.name) == value, (name, field.name)


@pytest.mark.parametrize(("profile", "name"), [(p, m) for p, made in RECIPES.items() for m in made])
def test_every_recipe_is_one_that_its_method_takes(profile, name):
    assert profile in PROFILES
    assert dataclasses.is_dataclass(build(METHODS[name].Config, RECIPES[profile][name]))


def test_method_settings_are_kept_for_the_method_to_check():
    config = resolve(
        None, [{"method": {"settings": {"a": 1}}}], ["method.b=[1, 2]", "method.c=text"]
    )
    assert config.method == MethodSelection(settings={"a": 1, "b": [1, 2], "c": "text"})


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("training.stpes=3", ("training", "'stpes'", "'steps'")),
        ("trainin.steps=3", ("section 'trainin'", "'training'")),
        ("training.steps=many", ("training.steps", "integer", "'many'")),
        ("training.steps=true", ("training.steps", "integer")),
        ("training.steps=0", ("training.steps", "at least 1")),
        ("training.learning_rate=nan", ("training.learning_rate", "finite", "nan")),
        ("training.learning_rate=inf", ("training.learning_rate", "finite number, found inf")),
        ("training.learning_rate=1e999", ("training.learning_rate", "finite number, found inf")),
        ("training.autosave_minutes=inf", ("training.autosave_minutes", "finite", "found inf")),
        ("preprocessing.window=[-inf,240]", ("preprocessing.window", "finite", "found -inf")),
        ("preprocessing.spacing_mm=[1,1,nan]", ("preprocessing.spacing_mm", "finite", "nan")),
        ("network.dropout=1.5", ("network.dropout", "at most 0.9")),
        ("training.optimizer=adam", ("training.optimizer", "'adamw'")),
        ("training.patch_size=[1,2]", ("training.patch_size", "3 values", "found 2")),
        ("training.patch_size=8", ("training.patch_size", "list")),
        ("training.patch_size=[0,16,16]", ("training.patch_size", "at least 1")),
        ("network.filters=[0,8]", ("network.filters", "at least 1")),
        ("preprocessing.spacing_mm=[0,1,1]", ("preprocessing.spacing_mm", "too small")),
        ("data.spacing_mm=[-1,1,1]", ("data.spacing_mm", "too small")),
        ("data.label_names=atrium", ("data.label_names", '["one", "two"]', "'atrium'")),
        ("augmentation.scale=[1.2,0.8]", ("augmentation.scale", "lower factor first")),
        ("augmentation.flip_axes=abc", ("augmentation.flip_axes", "'abc'", "zyx")),
        ("training.learning_rate=1" + "0" * 400, ("training.learning_rate", "too large")),
        ("method.settings=5", ("method.settings", "expected a section", "5")),
        ("training=3", ("section.key=value",)),
        ("steps", ("section.key=value",)),
    ],
)
def test_a_bad_setting_is_refused_in_one_telling_line(assignment, words):
    with pytest.raises(InputError) as error:
        resolve(None, [], [assignment])
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_section_that_is_no_table_is_refused():
    with pytest.raises(InputError, match="training: expected a section"):
        resolve(None, [{"training": 3}])
    for table in ({"settings": [1]}, {"fecl_scope": "patch", "settings": [1]}):
        with pytest.raises(InputError, match="settings: expected a section"):
            resolve(None, [{"method": table}])


def test_an_unreadable_or_broken_toml_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.toml.*cannot be read"):
        read_toml(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("[training\n")
    with pytest.raises(InputError, match=r"bad\.toml.*not valid TOML"):
        read_toml(tmp_path / "bad.toml")


@pytest.mark.parametrize("text", ["x" * 1001, "two\nlines", "\x1b[2J"])
def test_a_license_that_no_package_may_carry_is_refused_before_training(text):
    with pytest.raises(InputError, match=r"training\.license: found .* expected one line of at"):
        resolve(None, [{"training": {"license": text}}])


def test_the_record_of_a_run_is_told_from_a_broken_file(tmp_path):
    (tmp_path / "config.json").write_text('{"engine": "0.1.0", "config": {"data": {}}}\n')
    with pytest.raises(InputError, match=r"config\.json': is JSON, as the record of a run.*again"):
        read_toml(tmp_path / "config.json")


def test_none_is_a_value_of_an_optional_setting():
    assert resolve(None, [], ["data.labeled=none"]).data.labeled is None
    assert resolve(None, [], ["data.labeled=8"]).data.labeled == 8


def test_the_schema_is_a_form():
    fields = {entry["name"]: entry for entry in schema(TrainingConfig)}
    assert fields["steps"] == {
        "name": "steps",
        "type": "integer",
        "default": TrainingConfig().steps,
        "help": "Optimizer steps.",
        "unit": "",
        "low": 1,
        "high": None,
        "choices": [],
        "main": False,
    }
    assert fields["patch_size"]["type"] == "list of 3 integer"
    assert "sgd" in fields["optimizer"]["choices"]
    assert all(entry["help"] for entry in fields.values())
