"""The rank command writes the order of the unlabeled cases as CSV and JSON."""

from __future__ import annotations

import csv
import json

import h5py
import numpy as np
import pytest
from PIL import Image

from dycon_engine.data.formats.writers import write_label, write_scalar
from dycon_engine.jobs import progress
from dycon_engine.jobs.events import Advanced, Saved, Stage, Warned, from_line
from dycon_engine.rank import main
from Testing import tiny_package


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "ball.dycon"
    tiny_package.save(path)
    return path


@pytest.fixture
def data(tmp_path):
    root = tmp_path / "data"
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for seed in range(4):
        image = tiny_package.scan(seed, size=(8, 12, 10))
        write_scalar(
            root / f"images/s{seed}.nii.gz", image.array[0], image.geometry, overwrite=False
        )
    labels = np.zeros((8, 12, 10), dtype=np.uint8)
    write_label(root / "labels/s0.nii.gz", labels, image.geometry, overwrite=False)
    return root


def run(package, data, output, *more) -> int:
    line = ["--package", package, "--data", data, "--output", output, "--device", "cpu", *more]
    return main([str(word) for word in line])


def test_a_folder_gets_csv_and_json_of_the_unlabeled(package, data, tmp_path):
    assert run(package, data, tmp_path / "out") == 0
    with (tmp_path / "out" / "label_next.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    content = json.loads((tmp_path / "out" / "label_next.json").read_text())
    assert {row["name"] for row in rows} == {"s1", "s2", "s3"}
    assert [row["name"] for row in rows] == [row["name"] for row in content["label_next"]]
    assert [int(row["rank"]) for row in rows] == [1, 2, 3]
    assert all(row["reason"] for row in rows)
    scores = [row["score"] for row in content["label_next"]]
    assert scores[0] == max(scores)


def test_a_name_is_no_formula_in_the_table(package, data, tmp_path):
    (data / "images" / "s1.nii.gz").rename(data / "images" / "=s1.nii.gz")
    assert run(package, data, tmp_path / "out") == 0
    with (tmp_path / "out" / "label_next.csv").open() as stream:
        assert {row["name"] for row in csv.DictReader(stream)} == {"'=s1", "s2", "s3"}
    content = json.loads((tmp_path / "out" / "label_next.json").read_text())
    assert {row["name"] for row in content["label_next"]} == {"=s1", "s2", "s3"}


def pictures_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_picture_of_every_ranked_case_named_by_its_rank(package, data, tmp_path, capsys):
    folder = tmp_path / "pictures"
    line = ["--thumbnails", folder, "--overwrite"]
    assert run(package, data, tmp_path / "out", *line) == 0
    rows = json.loads((tmp_path / "out" / "label_next.json").read_text())["label_next"]
    assert [row["thumbnail"] for row in rows] == ["001.png", "002.png", "003.png"]
    assert pictures_in(folder) == ["001.png", "002.png", "003.png"]
    for name in pictures_in(folder):
        pixels = np.asarray(Image.open(folder / name).convert("RGB"))
        assert min(pixels.shape[:2]) > 100
        assert pixels.std() > 10
    (folder / "004.png").write_bytes(b"of an earlier ranking")
    mine = ["001_patient.png", "2024-11-02.png", "mine.png"]
    for name in mine:
        (folder / name).write_bytes(b"mine")
    assert run(package, data, tmp_path / "out", *line) == 0
    assert pictures_in(folder) == sorted(["001.png", "002.png", "003.png", *mine])
    capsys.readouterr()
    assert run(package, data, tmp_path / "new.csv", "--thumbnails", folder) == 2
    assert "already there" in capsys.readouterr().err
    assert not (tmp_path / "new.csv").exists()


def test_progress_counts_cases_and_windows(package, data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_ADVANCES", 0.0)
    assert run(package, data, tmp_path / "o.csv") == 0
    events = [from_line(line) for line in capsys.readouterr().out.splitlines()]
    stages = [(e.name, e.item, e.items) for e in events if isinstance(e, Stage)]
    assert stages == [(name, n, 3) for n in (1, 2, 3) for name in ("reading", "segmenting")]
    overall = [e.overall for e in events if isinstance(e, Advanced)]
    assert overall == sorted(overall)
    assert overall[-1] == pytest.approx(1.0)
    assert [e.what for e in events if isinstance(e, Saved)] == ["ranking"]


def test_all_cases_when_asked(package, data, tmp_path):
    assert run(package, data, tmp_path / "all.json", "--all") == 0
    assert len(json.loads((tmp_path / "all.json").read_text())["label_next"]) == 4


def test_a_broken_case_is_named_and_the_rest_is_ranked(package, data, tmp_path, capsys):
    broken = data / "images" / "s3.nii.gz"
    broken.write_bytes(broken.read_bytes()[:500])
    assert run(package, data, tmp_path / "o.csv") == 1
    assert "1 of 3 cases failed: s3" in capsys.readouterr().err
    assert (tmp_path / "o.csv").read_text().count("\n") == 3


def test_a_scan_of_air_alone_and_one_of_other_channels_do_not_stop_the_rest(
    package, data, tmp_path, capsys
):
    image = tiny_package.scan(1, size=(8, 12, 10))
    air = np.full((8, 12, 10), 5.0, dtype=np.float32)
    write_scalar(data / "images/air.nii.gz", air, image.geometry, overwrite=False)
    both = np.concatenate([image.array, image.array])
    write_scalar(data / "images/two.nii.gz", both, image.geometry, overwrite=False)
    assert run(package, data, tmp_path / "next.csv") == 1
    assert "case 'two': the scan has 2 channels, the model expects 1" in capsys.readouterr().err
    with (tmp_path / "next.csv").open() as file:
        assert {row["name"] for row in csv.DictReader(file)} == {"s1", "s2", "s3", "air"}


@pytest.mark.parametrize("name", ["there.csv", "o.xlsx"])
def test_output_is_checked_before_the_work(package, data, tmp_path, capsys, name):
    (tmp_path / "there.csv").write_text("mine")
    assert run(package, data, tmp_path / name) == 2
    assert capsys.readouterr().err.count("DyCON:") == 1
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_nothing_to_label(package, data, tmp_path, capsys):
    for seed in range(1, 4):
        (data / f"images/s{seed}.nii.gz").unlink()
    assert run(package, data, tmp_path / "o.csv") == 2
    assert "add --all" in capsys.readouterr().err


def test_where_every_case_fails_an_earlier_ranking_stays_as_it_is(package, data, tmp_path):
    folder = tmp_path / "pictures"
    line = ["--thumbnails", folder, "--overwrite"]
    assert run(package, data, tmp_path / "out", *line) == 0
    before = {p: p.read_bytes() for d in (folder, tmp_path / "out") for p in d.iterdir()}
    for scan in (data / "images").iterdir():
        scan.write_bytes(scan.read_bytes()[:500])
    assert run(package, data, tmp_path / "out", *line) == 1
    assert {p: p.read_bytes() for d in (folder, tmp_path / "out") for p in d.iterdir()} == before
    assert run(package, data, tmp_path / "other", "--thumbnails", tmp_path / "new") == 1
    assert not (tmp_path / "other").exists()
    assert not (tmp_path / "new").exists()


def test_hdf5_needs_a_voxel_size(package, tmp_path, capsys):
    image = tiny_package.scan(1, size=(8, 12, 10))
    (tmp_path / "data").mkdir()
    with h5py.File(tmp_path / "data" / "a.h5", "w") as file:
        file["image"] = image.array[0].transpose(2, 1, 0)
    assert run(package, tmp_path / "data", tmp_path / "o.csv") == 2
    assert "HDF5 files carry no voxel size; give it with --spacing Z Y X" in capsys.readouterr().err
    out = tmp_path / "o.json"
    assert run(package, tmp_path / "data", out, "--spacing", 2.0, 1.5, 1.5) == 0
    scores = json.loads(out.read_text())["label_next"]
    scan = tmp_path / "same" / "a.nii.gz"
    scan.parent.mkdir()
    write_scalar(scan, image.array[0], image.geometry, overwrite=False)
    assert run(package, tmp_path / "same", tmp_path / "p.json") == 0
    expected = json.loads((tmp_path / "p.json").read_text())["label_next"]
    assert scores[0]["mean_entropy"] == pytest.approx(expected[0]["mean_entropy"], abs=1e-5)
    assert scores[0]["foreground_ml"] == pytest.approx(expected[0]["foreground_ml"])


def test_a_scan_unlike_the_training_scans_is_said_as_predict_says_it(package, tmp_path, capsys):
    image = tiny_package.scan(1, size=(8, 12, 10), spacing_mm=(7.0, 1.5, 1.5))
    (tmp_path / "data").mkdir()
    write_scalar(tmp_path / "data/a.nii.gz", image.array[0], image.geometry, overwrite=False)
    assert run(package, tmp_path / "data", tmp_path / "o.csv") == 0
    events = [from_line(line) for line in capsys.readouterr().out.splitlines()]
    said = [e.message for e in events if isinstance(e, Warned) and e.topic == "spacing"]
    assert said == ["case 'a': voxels measure 7 mm head to foot; in training scans 2 mm"]
