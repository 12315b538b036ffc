"""A package keeps everything, is the same bytes twice, and is refused in one line when not ours."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
import zipfile

import pytest
import torch

from dycon_engine.config import NetworkConfig
from dycon_engine.data.cases import Label
from dycon_engine.errors import DamagedFileError, DyconError, InputError, NonFiniteError
from dycon_engine.package import PackageInfo, load_package, read_info, save_package
from dycon_engine.package.archive import MEMBERS
from dycon_engine.package.evidence import CaseFigures, Evidence, Stress, Trust
from dycon_engine.package.strict_json import read_table, write_table
from Testing import tiny_package

EVIDENCE = Evidence(
    source=("Balls, J. Round, 2020.",),
    reproduce="python train_balls.py",
    page="docs/models/balls.md",
    limits=("Square balls are missed.",),
    cases=(CaseFigures(0.9, 3.5, 1.25), CaseFigures(0.0, None, None)),
    trust=Trust(5.0, 0.004, 0.0125, 0.875, 0.05),
    robustness=(
        Stress("noise", "20%", 2, 0.85, 4.25, 0.03, 0.5),
        Stress("outside", "CT", 2, None, None, None, 1.0),
    ),
)


@pytest.fixture
def path(tmp_path):
    tiny_package.save(tmp_path / "ball.dycon")
    return tmp_path / "ball.dycon"


def test_what_is_saved_comes_back(path):
    package = load_package(path)
    description = tiny_package.info()
    blank = {"weights_sha256": "", "engine_version": ""}
    assert dataclasses.replace(package.info, **blank) == description
    assert package.name == "ball"
    assert package.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for network, seed in ((package.predictor, 0), (package.partner, 1)):
        assert not network.training
        for name, tensor in tiny_package.states(description, seed).items():
            assert torch.equal(network.state_dict()[name], tensor), name
    image = torch.randn(1, 1, 8, 8, 8)
    assert package.predictor(image).logits.shape == (1, 2, 8, 8, 8)


def test_without_a_partner_there_is_none(tmp_path):
    tiny_package.save(tmp_path / "a.dycon", partner=False)
    assert load_package(tmp_path / "a.dycon").partner is None


def test_the_weights_can_be_trained_further(path):
    network = load_package(path).predictor
    network(torch.randn(1, 1, 8, 8, 8)).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert not any(tensor.is_meta for tensor in network.state_dict().values())


def test_batch_norm_counters_survive(tmp_path):
    changes = {"network": NetworkConfig(name="vnet", filters=(4, 8), norm="batch", dropout=0.1)}
    description = tiny_package.info(**changes)
    state = tiny_package.states(description)
    counters = [name for name in state if name.endswith("num_batches_tracked")]
    state[counters[0]] += 7
    save_package(tmp_path / "v.dycon", description, state)
    assert load_package(tmp_path / "v.dycon").predictor.state_dict()[counters[0]] == 7


def test_the_same_content_gives_the_same_bytes(path, tmp_path):
    tiny_package.save(tmp_path / "again.dycon")
    assert path.read_bytes() == (tmp_path / "again.dycon").read_bytes()


def test_any_zip_program_can_read_it(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert tuple(archive.namelist()) == MEMBERS
        assert read_table(archive.read("model.json"), "x")["channels"] == ["c0"]


def test_the_card_says_what_a_person_needs(path):
    text = tiny_package.read_card(path)
    for words in (
        "ball",
        "Not a medical device",
        "labeled cases: 4",
        "dice: 0.875",
        "temperature: 1.25",
        "0.0500 before, 0.0200 after",
        "spacing (z, y, x): 2 to 2",
    ):
        assert words in text


def test_the_settings_of_the_method_are_one_line_of_the_card(tmp_path):
    training = {"method": "dycon", "settings": {"mixing": 0.5, "use_fecl": True}, "axes": ""}
    tiny_package.save(tmp_path / "a.dycon", training=training)
    lines = tiny_package.read_card(tmp_path / "a.dycon").splitlines()
    assert "- settings of the method: mixing = 0.5, use_fecl = True" in lines
    assert "- axes: none" in lines
    tiny_package.save(tmp_path / "b.dycon", training={})
    assert "- not stated" in tiny_package.read_card(tmp_path / "b.dycon").splitlines()


def test_description_without_weights_is_the_same(path):
    assert read_info(path) == load_package(path).info


def test_no_overwriting_unasked(path):
    before = path.read_bytes()
    with pytest.raises(InputError, match="already there"):
        tiny_package.save(path)
    assert path.read_bytes() == before
    description = tiny_package.info()
    save_package(path, description, tiny_package.states(description, 5), overwrite=True)
    assert path.read_bytes() != before


def test_a_model_that_is_not_finite_is_not_saved(tmp_path):
    description = tiny_package.info()
    state = tiny_package.states(description)
    next(iter(state.values())).view(-1)[0] = float("nan")
    with pytest.raises(NonFiniteError, match="tensor"):
        save_package(tmp_path / "n.dycon", description, state)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": (Label(0, "background"),)}, "1 labels"),
        ({"labels": (Label(0, "a"), Label(0, "b"))}, "two labels with one value"),
        ({"labels": (Label(0, "a"), Label(1, "b\x1b[2J"))}, "control characters"),
        ({"patch_size": (8, 8, 100000)}, "absurd patch size"),
        ({"patch_size": (8, 8, 7)}, "no multiple"),
        ({"network": NetworkConfig(filters=(4, 10**6))}, "absurd network filters"),
        ({"training": {"dice": float("nan")}}, "not JSON"),
        ({"training": {"path": object()}}, "not JSON"),
    ],
)
def test_a_description_that_makes_no_sense_is_not_saved(tmp_path, changes, words):
    good = tiny_package.info()
    with pytest.raises(DyconError, match=words) as no:
        save_package(
            tmp_path / "n.dycon", dataclasses.replace(good, **changes), tiny_package.states(good)
        )
    assert "\n" not in str(no.value)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_network_are_refused(tmp_path):
    good = tiny_package.info()
    other = tiny_package.info(network=NetworkConfig(filters=(4, 16)))
    with pytest.raises(DamagedFileError, match="expected"):
        save_package(tmp_path / "n.dycon", good, tiny_package.states(other))


def test_a_newer_format_asks_for_a_newer_engine():
    table = tiny_package.info().as_table() | {"format_version": 99}
    with pytest.raises(InputError, match="install a newer engine"):
        PackageInfo.from_table(table, "package 'x'")


def test_description_survives_json():
    description = dataclasses.replace(tiny_package.info(), weights_sha256="0" * 64)
    table = read_table(write_table(description.as_table()), "x")
    assert PackageInfo.from_table(table, "x") == description
    bare = dataclasses.replace(description, seen=None)
    assert PackageInfo.from_table(read_table(write_table(bare.as_table()), "x"), "x").seen is None


def test_evidence_survives_and_stands_on_the_card(tmp_path):
    saved = tiny_package.save(tmp_path / "a.dycon", evidence=EVIDENCE)
    assert read_info(tmp_path / "a.dycon") == saved
    assert saved.evidence == EVIDENCE
    text = tiny_package.read_card(tmp_path / "a.dycon")
    for words in (
        "| 2 | 0.0000 | - | - |",
        "| mean | 0.4500 | 3.50 | 1.25 |",  # over the defined ones
        "within 5 mm of the reference's surface: 0.0125",
        "among the 5% most uncertain ones of their scan: 88%",
        "| noise | 20% | 2 | 0.850 | 4.2 | 0.030 | 50% |",
        "| outside | CT | 2 | - | - | - | 100% |",
        "- Square balls are missed.",
        "- Balls, J. Round, 2020.",
        "trained by: `python train_balls.py`",
        "docs/models/balls.md",
    ):
        assert words in text


def test_a_package_without_evidence_is_as_it_was_before_there_was_any(path):
    with zipfile.ZipFile(path) as archive:
        table = read_table(archive.read("model.json"), "x")
    assert "evidence" not in table
    assert PackageInfo.from_table(table, "x").evidence == Evidence()
    assert "Source" not in tiny_package.read_card(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"extra": 1}, "'extra' is unknown"),
        ({"limits": "one"}, "str where list"),
        ({"limits": ["\x1b[2J"]}, "control characters"),
        ({"reproduce": "x" * 2000}, "too long"),
        ({"cases": [{"dice": 1.5, "hd95_mm": 1.0, "asd_mm": 1.0}]}, "not within 0 and 1"),
        ({"cases": [{"dice": 0.5, "hd95_mm": -1.0, "asd_mm": 1.0}]}, "below 0 mm"),
        ({"cases": [{"dice": 0.5, "hd95_mm": 1.0}]}, "'asd_mm' is missing"),
        ({"cases": [{"dice": 0.5, "hd95_mm": 1.0, "asd_mm": 1.0, "name": "pt7"}]}, "'name'"),
        ({"trust": {"band_mm": 5.0}}, "'ece_all' is missing"),
        ({"limits": ["x"] * 501}, "506 rows"),
    ],
)
def test_evidence_that_makes_no_sense_is_refused(changes, words):
    good = dataclasses.replace(tiny_package.info(evidence=EVIDENCE), weights_sha256="0" * 64)
    description = read_table(write_table(good.as_table()), "x")
    description["evidence"] |= changes
    with pytest.raises(DamagedFileError, match=words) as no:
        PackageInfo.from_table(description, "package 'x'")
    assert "\n" not in str(no.value)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": 99999999999999999999}',
        b'{"a": 1, "a": 2}',
        b'{"a": ' + b"[" * 100000 + b"]" * 100000 + b"}",
        b'{"a": "\xff"}',
        '{"a": 1}'.encode("utf-16"),
    ],
)
def test_odd_json_is_refused(text):
    with pytest.raises(DamagedFileError, match="model"):
        read_table(text, "model")


def test_brackets_inside_texts_are_no_depth():
    table = {"a": "[" * 1000, "b": '\\"[[[['}
    assert read_table(write_table(table), "x") == table


def test_importing_the_package_does_not_unpickle(path):
    code = (
        "import pickle, sys\n"
        "def no(*a, **k): raise SystemExit('unpickled')\n"
        "pickle.load = pickle.loads = pickle.Unpickler = no\n"
        "import torch; torch.load = no\n"
        "from pathlib import Path\n"
        "from dycon_engine.package import load_package\n"
        f"load_package(Path({str(path)!r}))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
