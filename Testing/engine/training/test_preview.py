"""Previews show one scan over the steps and change nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dycon_engine.data.cases import Case, read_case_image
from dycon_engine.data.formats.readers import read_header, read_image, read_label
from dycon_engine.errors import DyconError
from dycon_engine.inference.predictor import Predictor
from dycon_engine.inference.result import Wishes
from dycon_engine.package import load_package
from dycon_engine.training import preview
from Testing.engine.training import small_run

EVERY = ("training.steps=6", "training.preview_every=2")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Scans of which no unlabeled one has a label map that can be read."""
    folder = small_run.write_scans(tmp_path_factory.mktemp("scans") / "data")
    for name in ("scan2", "scan3"):
        (folder / "labels" / f"{name}.nii.gz").write_bytes(b"nonsense")
    return folder


def said(run_dir):
    return [
        (event["path"], event["step"])
        for event in small_run.events(run_dir)
        if event["event"] == "saved" and event["what"] == "preview"
    ]


def topics(run_dir):
    return [e["topic"] for e in small_run.events(run_dir) if e["event"] == "warning"]


def test_files_lie_in_the_place_of_the_scan_and_are_said(data, tmp_path):
    run_dir = tmp_path / "run"
    assert small_run.run(data, run_dir, *EVERY, "preprocessing.spacing_mm=[3, 2, 2]") == 0
    names = [
        f"preview/{n:06d}_{what}.nii.gz" for n in (2, 4, 6) for what in ("labels", "uncertainty")
    ]
    assert said(run_dir) == [
        ("preview/image.nii.gz", 0),
        *zip(names, (2, 2, 4, 4, 6, 6), strict=True),
    ]
    scan = read_header(data / "images" / "scan2.nii.gz").geometry  # the first unlabeled one
    image = read_image(run_dir / "preview" / "image.nii.gz")
    assert image.geometry.spacing_mm == pytest.approx((3.0, 2.0, 2.0), rel=0.1)
    middle = [g.corners().mean(axis=0) for g in (scan, image.geometry)]
    assert np.allclose(*middle, atol=0.01)
    for name in names:
        path = run_dir / name
        assert read_header(path).geometry.corner_distance_voxels(image.geometry) < 0.01
        if "labels" in name:
            assert set(np.unique(read_label(path).array)) <= {0, 1}
        else:
            values = read_image(path).array
            assert 0.0 <= values.min() < values.max() <= 1.0
            assert np.allclose(
                values * preview.LEVELS, np.round(values * preview.LEVELS), atol=1e-3
            )


def test_training_is_the_same_with_and_without(data, tmp_path):
    for name, settings in (("with", EVERY), ("without", EVERY[:1])):
        assert small_run.run(data, tmp_path / name, *settings) == 0
    assert small_run.fingerprint(tmp_path / "with") == small_run.fingerprint(tmp_path / "without")
    assert not (tmp_path / "without" / "preview").exists()


def test_the_last_preview_is_what_the_package_predicts(data, tmp_path):
    run_dir = tmp_path / "run"
    assert small_run.run(data, run_dir, *EVERY) == 0
    path = data / "images" / "scan2.nii.gz"
    image = read_case_image(Case("a", (path,)), small_run.small_config(data).data)
    found = Predictor(load_package(run_dir / "package" / "last.dycon")).predict(image, Wishes())
    shown = read_label(run_dir / "preview" / "000006_labels.nii.gz").array
    assert (found.labels != shown).mean() < 0.01
    unsure = read_image(run_dir / "preview" / "000006_uncertainty.nii.gz").array[0]
    assert np.abs(unsure - found.uncertainty).max() < 0.01


def test_without_unlabeled_scans_a_validation_scan_is_shown(tmp_path):
    data = small_run.write_scans(tmp_path / "data")
    settings = ("method.name=supervised", "data.labeled=none", "data.validation=1")
    assert small_run.run(data, tmp_path / "run", *EVERY, *settings) == 0
    assert len(said(tmp_path / "run")) == 7
    settings = (*settings[:2], "data.validation=0")
    assert small_run.run(data, tmp_path / "none", *EVERY, *settings) == 0
    assert said(tmp_path / "none") == []
    assert "preview" in topics(tmp_path / "none")


def test_their_number_is_bounded(data):
    config = small_run.small_config(data, "training.steps=4000", "training.preview_every=1")
    one = preview.Previewer(*[None] * 4, config, *[None] * 2)
    assert one.every == 100
    for steps, every in ((40, 1), (41, 2), (79, 2), (80, 2), (81, 3), (4001, 101)):
        training = dataclasses.replace(config.training, steps=steps)
        fewer = dataclasses.replace(one, config=dataclasses.replace(config, training=training))
        assert fewer.every == every
        assert steps // every <= preview.MOST_PREVIEWS
    training = dataclasses.replace(config.training, preview_every=500)
    assert (
        dataclasses.replace(one, config=dataclasses.replace(config, training=training)).every == 500
    )


def test_a_preview_that_cannot_be_written_does_not_stop_training(data, tmp_path, monkeypatch):
    def full(*_, **__):
        raise DyconError("disk full")

    monkeypatch.setattr(preview, "write_label", full)
    assert small_run.run(data, tmp_path / "run", *EVERY) == 0
    assert topics(tmp_path / "run").count("preview") == 1
    assert said(tmp_path / "run") == [("preview/image.nii.gz", 0)]


def test_cancelling_in_a_preview_leaves_a_checkpoint_and_resume_is_exact(
    data, tmp_path, monkeypatch
):
    assert small_run.run(data, tmp_path / "whole", *EVERY) == 0
    run_dir = tmp_path / "run"
    plain = preview.slide_slabs
    with monkeypatch.context() as patch:

        def cancelling(*arguments, **options):
            (run_dir / "cancel").touch()
            return plain(*arguments, **options)

        patch.setattr(preview, "slide_slabs", cancelling)
        assert small_run.run(data, run_dir, *EVERY) == 3
    assert (run_dir / "checkpoints" / "step-00000002.ckpt").exists()
    assert small_run.run(data, run_dir, *EVERY, resume=True) == 0
    assert small_run.fingerprint(run_dir) == small_run.fingerprint(tmp_path / "whole")
    assert [step for _, step in said(run_dir)] == [0, 4, 4, 6, 6]
