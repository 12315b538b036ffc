"""B24: mutated text files a person or another program wrote are read or refused in one line.

Manifests, dataset.json, settings, plans and the files of a run directory, each changed in one to
four ways. There is no coverage guidance here; the scans' own headers have their battery (B6).
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dycon_engine import config
from dycon_engine.data.collecting import read_plan
from dycon_engine.data.layouts import find_cases
from dycon_engine.data.splits import Split, read_list, split_cases
from dycon_engine.errors import InputError
from dycon_engine.jobs.client import EventTail, run_state
from dycon_engine.settings import read_toml
from dycon_engine.training.rundir import RunDirectory, described
from Testing.tiny_scans import write_pairs

MUTANTS, MANY = 200, 5000
VALUE = re.compile(rb'"[^"\n]*"|-?\d[\d.e+-]*|\btrue\b|\bfalse\b|\bnull\b')
NASTY = (
    b"-1", b"0", b"1e999", b"nan", b"NaN", b"99999999999999999999", b'""', b"[]", b"{}", b"[[1]]",
    b"null", b"true", b"1.5", b'"\\u0000"', b'"\\ud800"', b'"' + b"x" * 300 + b'"', b'"a/../../b"',
    b"[" * 3000, b'{"a":' * 3000, b"9" * 5000, b"{a = 1}", b'["a", 1]', b"\xff", b"\0", b"\r", b",",
)  # fmt: skip
MANIFEST = """channels = ["t1"]
[labels]
heart = 1
lung = 2
[[look]]
value = 1
color = [200, 30, 30]
terminology = "T-D0050"
[[case]]
name = "a"
image = "images/pt00.nii.gz"
label = "labels/pt00.nii.gz"
role = "labeled"
patient = "P1"
[[case]]
name = "b"
images = ["images/pt01.nii.gz"]
"""
TABLE = """case,image,label,role,patient
a,images/pt00.nii.gz,labels/pt00.nii.gz,labeled,P1
b,images/pt01.nii.gz,,unlabeled,
"""
DECATHLON = """{"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "heart"},
"training": [{"image": "images/pt00.nii.gz", "label": "labels/pt00.nii.gz"}],
"test": ["images/pt01.nii.gz"]}
"""
SETTINGS = """[data]
labeled = 1
order = "order.txt"
label_names = ["heart"]
[training]
steps = 400
patch_size = [64, 64, 32]
learning_rate = 0.01
deterministic = true
[method]
name = "dycon"
beta = 0.5
"""
PLAN = """{"cases": [{"name": "a", "images": ["images/pt00.nii.gz"], "to": ["images/a.nii.gz"],
"label": "labels/pt00.nii.gz", "label_to": "labels/a.nii.gz", "values": {"1": 2}}]}
"""
EVENTS = """{"event": "started", "time_s": 1.5, "job": "train", "engine": "1", "pid": 7}
{"event": "step", "step": 1, "total": 8, "loss": 0.5, "terms": {"dice": 0.5}}
{"event": "finished", "summary": {"steps": 8}}
"""


DESCRIPTION = json.dumps(
    {"engine": "1", "config": described(config.RunConfig()), "data": {"started_from": ""}}, indent=1
)


def cases(path: Path) -> None:
    """Find the cases and decide who is who, as the start of training does."""
    settings = config.DataConfig(labeled=1, validation=0)
    split_cases(find_cases(path, settings), settings)


def run_settings(path: Path) -> None:
    table = read_toml(path)
    config.resolve(table.pop("profile", None), [table], [])


def run_description(path: Path) -> None:
    run = RunDirectory(path.parent)
    run.read_config()
    run.started_from()


def followed(path: Path) -> None:
    """Read events as a panel does; they are never refused, only skipped."""
    RunDirectory(path.parent).logged_steps()
    EventTail(path).read()
    run_state(path.parent)


TARGETS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "manifest": ("manifest.toml", MANIFEST, cases),
    "table": ("manifest.csv", TABLE, cases),
    "decathlon": ("dataset.json", DECATHLON, lambda path: cases(path.parent)),
    "list": ("order.txt", "pt00\npt01\n", read_list),
    "settings": ("settings.toml", SETTINGS, run_settings),
    "plan": ("plan.json", PLAN, read_plan),
    "config": ("config.json", DESCRIPTION, run_description),
    "split": (
        "split.json",
        Split(("a",), ("b",), ("c",), (), {"a": "5", "b": "7"}).to_json(),
        lambda path: RunDirectory(path.parent).read_split(),
    ),
    "events": ("events.jsonl", EVENTS, followed),
}


def mutate(whole: bytes, chance: random.Random) -> bytes:
    """Return `whole` changed in one to four ways."""
    text = bytearray(whole)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(text) + 1)
        end = at + chance.randint(1, 40)
        way = chance.randrange(6)
        if way == 0 and at < len(text):
            text[at] ^= 1 << chance.randrange(8)
        elif way == 1:
            del text[at:end]
        elif way == 2:
            text[at:at] = text[at:end]
        elif way == 3:
            text[at:at] = chance.choice(NASTY)
        else:
            values = list(VALUE.finditer(text))
            if values:
                text[slice(*chance.choice(values).span())] = chance.choice(NASTY)
    return bytes(text)


def fuzz(folder: Path, target: str, count: int) -> int:
    """Read `count` mutants; return how many were refused."""
    name, text, read = TARGETS[target]
    write_pairs(folder, 2, 1)
    path, chance, refusals = folder / name, random.Random(target), []
    path.write_text(text)
    read(path)  # as it is it is fine
    for number in range(count):
        content = mutate(text.encode(), chance)
        path.write_bytes(content)
        try:
            read(path)
        except InputError as error:
            refusals.append(str(error))
        except Exception as error:
            raise AssertionError(f"mutant {number}: {error!r} of {content[:600]!r}") from error
    shown = [words.encode("utf-8", "replace").decode() for words in refusals]
    assert [words for words in shown if not words.isprintable()] == []
    return len(refusals)


@pytest.mark.parametrize("target", TARGETS)
def test_mutants_are_read_or_refused_in_one_line(tmp_path, target):
    refused = fuzz(tmp_path, target, MUTANTS)
    assert target in ("events", "list") or refused > MUTANTS // 10, "the mutants hit nothing"


def test_a_test_entry_without_image_is_refused(tmp_path):
    write_pairs(tmp_path, 2, 1)
    (tmp_path / "dataset.json").write_text(DECATHLON.replace('"images/pt01.nii.gz"', "{}"))
    with pytest.raises(InputError, match=r"entry \{\} of test has no image"):
        cases(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="names that other systems do not allow")
def test_a_scan_whose_name_is_not_utf_8_has_its_place_in_the_split(tmp_path):
    write_pairs(tmp_path, 3, 2)
    image = tmp_path / "images" / "pt02.nii.gz"
    image.rename(image.with_name(os.fsdecode(b"M\xfcller.nii.gz")))
    settings = config.DataConfig(labeled=1, validation=0)
    split = split_cases(find_cases(tmp_path, settings), settings)
    assert os.fsdecode(b"M\xfcller") in split.unlabeled
    assert Split.from_json(split.to_json()) == split


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("target", TARGETS)
def test_thousands_of_mutants(tmp_path, target):
    fuzz(tmp_path, target, MANY)
