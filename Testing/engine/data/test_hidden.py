"""The audit of the label leak: the same patches with labels nobody else gets, marked everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dycon_engine import predict
from dycon_engine.config import AugmentationConfig, TrainingConfig
from dycon_engine.data.batch import AuditBatch, Batch
from dycon_engine.data.cache import LabeledCase, UnlabeledCase
from dycon_engine.data.hidden import AuditBatchLoader
from dycon_engine.data.loader import BatchLoader
from dycon_engine.methods import METHODS
from dycon_engine.package import load_package
from Testing import tiny_package
from Testing.engine.methods.tiny import tiny_method
from Testing.engine.training import small_run

ORACLE = (
    "method.name=dycon",
    "method.fecl_scope=oracle",
    "method.unlock_oracle=true",
    "network.filters=[4, 8, 8]",
    "training.steps=2",
)
MARK = "ORACLE AUDIT"


def cases() -> tuple[list[LabeledCase], list[UnlabeledCase], dict[str, np.ndarray]]:
    """Images that are their own labels, so that a label of another place shows."""
    random = np.random.default_rng(0)
    labels = {name: (random.random((10, 12, 14)) < 0.4).astype(np.uint8) for name in "abc"}
    images = {name: label[None].astype(np.float16) for name, label in labels.items()}
    labeled = [LabeledCase("a", images["a"], labels["a"])]
    return labeled, [UnlabeledCase(name, images[name]) for name in "bc"], labels


@pytest.mark.parametrize("unlabeled_cases", ["unlabeled", "all"])
def test_the_audit_draws_the_very_patches_of_any_other_run(unlabeled_cases: str) -> None:
    labeled, unlabeled, labels = cases()
    common = {
        "training": TrainingConfig(patch_size=(8, 8, 8), unlabeled_cases=unlabeled_cases),
        "augmentation": AugmentationConfig(preset="paper"),
    }
    plain = BatchLoader(labeled, unlabeled, **common)
    audit = AuditBatchLoader(labeled, unlabeled, labels=labels, **common)
    for step in range(4):
        one, other = plain.batch(step), audit.batch(step)
        assert type(one) is Batch
        assert isinstance(other, AuditBatch)
        for name in ("image", "label", "unlabeled"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        assert torch.equal(other.hidden, other.unlabeled[:, 0].long())
        assert torch.equal(other.to(torch.device("cpu")).hidden, other.hidden)


def test_no_method_asks_for_hidden_labels_by_itself() -> None:
    assert not any(tiny_method(name).sees_hidden_labels for name in METHODS)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return small_run.write_scans(tmp_path_factory.mktemp("scans") / "data")


def test_everything_an_oracle_run_leaves_behind_says_so(data: Path, tmp_path: Path, capsys) -> None:
    run_dir = tmp_path / "run"
    assert small_run.run(data, run_dir, *ORACLE, "data.validation=1") == 0
    assert MARK in capsys.readouterr().err
    events = small_run.events(run_dir)
    assert any(e["event"] == "warning" and e["topic"] == "oracle" for e in events)
    assert events[-1]["summary"]["oracle"] is True
    for file in ("config.json", "report/validation.json"):
        assert MARK in (run_dir / file).read_text()
    for which in ("last", "best"):
        path = run_dir / "package" / f"{which}.dycon"
        info = load_package(path).info
        assert MARK in info.notice
        assert MARK in info.training["oracle"]
        assert MARK in tiny_package.read_card(path)
        again = tmp_path / f"from {which}"
        capsys.readouterr()
        assert small_run.run(data, again, *ORACLE, "data.validation=1", package=path) == 2
        assert "is an ORACLE AUDIT" in capsys.readouterr().err  # else its mark would be washed off
    scan, report = data / "images" / "scan4.nii.gz", tmp_path / "report.json"
    arguments = ["--package", str(path), "--input", str(scan), "--device", "cpu"]
    assert (
        predict.main([*arguments, "--output", str(tmp_path / "x.nii.gz"), "--report", str(report)])
        == 0
    )
    assert MARK in report.read_text()


def test_hidden_labels_change_the_weights_of_the_audit(data: Path, tmp_path: Path) -> None:
    """The negative control of the fault battery: here they are looked at."""
    other = small_run.write_scans(tmp_path / "data")
    for number, name in enumerate(small_run.NAMES):
        if number >= 2:
            (other / "labels" / f"{name}.nii.gz").unlink()
            small_run.write_label(
                other / "labels" / f"{name}.nii.gz",
                np.ones((small_run.EDGE,) * 3, dtype=np.uint8),
                small_run.Geometry.from_parts((small_run.EDGE,) * 3, (2.0, 2.0, 2.0)),
                overwrite=False,
            )
    shas = []
    for index, folder in enumerate((data, other)):
        assert small_run.run(folder, tmp_path / f"run{index}", *ORACLE) == 0
        shas.append(small_run.weights_sha(tmp_path / f"run{index}"))
    assert shas[0] != shas[1]


def test_an_unlabeled_case_without_a_label_map_is_named(tmp_path: Path, capsys) -> None:
    data = small_run.write_scans(tmp_path / "data", labels=4)
    assert small_run.run(data, tmp_path / "run", *ORACLE) == 2
    err = capsys.readouterr().err
    assert "case 'scan4': has no label map, which the oracle audit needs" in err
    assert "case 'scan5'" in err


def test_an_ordinary_run_is_not_marked(data: Path, tmp_path: Path) -> None:
    assert small_run.run(data, tmp_path / "run", "training.steps=1") == 0
    summary = small_run.events(tmp_path / "run")[-1]["summary"]
    assert "oracle" not in summary
    assert MARK not in json.dumps(load_package(tmp_path / "run/package/last.dycon").info.as_table())
