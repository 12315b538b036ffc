"""The predict command: one file, folders, lists, several channels; nothing overwritten unasked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from dycon_engine.data.formats.readers import read_header, read_image, read_label, read_segments
from dycon_engine.data.formats.writers import write_scalar
from dycon_engine.errors import InputError
from dycon_engine.inference import inputs, job
from dycon_engine.inference.uncertainty import KINDS
from dycon_engine.jobs import progress
from dycon_engine.jobs.events import (
    Advanced,
    CaseDone,
    Failed,
    Finished,
    Stage,
    Started,
    Warned,
    from_line,
)
from dycon_engine.predict import KINDS as OFFERED
from dycon_engine.predict import Place, main, place_among
from Testing import tiny_package

ROOT = Path(__file__).resolve().parents[2]


def write(path: Path, seed: int = 1, **changes) -> Path:
    image = tiny_package.scan(seed, **changes)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_scalar(path, image.array[0], image.geometry, overwrite=False)
    return path


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "ball.dycon"
    tiny_package.save(path)
    return path


@pytest.fixture
def predict(package, capsys):
    def run(*arguments, model=package):
        code = main(["--package", str(model), "--device", "cpu", *map(str, arguments)])
        out, err = capsys.readouterr()
        events = [from_line(line) for line in out.splitlines()]
        assert "Traceback" not in err
        return code, [event for event in events if event is not None], err

    return run


def test_a_warning_of_one_scan_names_its_result_and_of_many_the_case(predict, tmp_path):
    """The file of one scan may be called as a person is; a result is called as was asked for."""
    scan = write(tmp_path / "scans" / "MRN4711.nii.gz", spacing_mm=(8.0, 6.0, 6.0))
    flags = []
    for given, output in ((scan, tmp_path / "mask.nii.gz"), (scan.parent, tmp_path / "masks")):
        code, events, _ = predict("--input", given, "--output", output)
        assert code == 0
        told = [event for event in events if isinstance(event, Warned)]
        flags.append(told[0].message)
    assert flags[0].startswith("result 'mask.nii.gz': ")
    assert flags[1].startswith("case 'MRN4711': ")


def test_the_offered_kinds_are_the_known_ones():
    assert set(OFFERED) == set(KINDS)


def test_everything_of_one_scan(predict, tmp_path, package):
    scan = write(tmp_path / "MRN4711_scan.nii.gz")
    out = tmp_path / "out" / "labels.nii.gz"
    extra = [tmp_path / name for name in ("u.nii.gz", "p.nrrd", "r.json")]
    code, events, _ = predict(
        "--input", scan, "--output", out, "--uncertainty", extra[0],
        "--probabilities", extra[1], "--report", extra[2],
    )  # fmt: skip
    assert code == 0
    assert isinstance(events[-1], Finished)
    grid = read_header(scan).geometry
    labels = read_label(out)
    assert labels.geometry.corner_distance_voxels(grid) < 0.01
    assert set(np.unique(labels.array)) <= {0, 3}
    uncertainty, probabilities = read_image(extra[0]).array, read_image(extra[1]).array
    assert uncertainty.shape == (1, *grid.size_zyx)
    assert uncertainty.min() >= 0
    assert uncertainty.max() <= 1
    assert np.allclose(probabilities.sum(0), 1, atol=1e-5)
    assert np.array_equal(probabilities.argmax(0) * 3, labels.array)
    report = json.loads(extra[2].read_text())
    assert report["schema_version"] == 2
    assert "not a medical device" in report["notices"][0].lower()
    assert report["package"]["name"] == "ball"
    assert len(report["package"]["sha256"]) == len(report["input"]["sha256"][0]) == 64
    assert report["input"]["geometry"]["size_zyx"] == list(grid.size_zyx)
    assert report["volumes"][0]["name"] == "ball"
    assert report["parameters"]["overlap"] == 0.5
    assert report["device"] == "cpu"
    text = extra[2].read_text()
    assert "MRN4711" not in text
    assert str(tmp_path) not in text


def test_regions_and_a_page_beside_every_scan_of_a_folder(predict, tmp_path):
    for name in ("MRN4711_a", "MRN4711_b"):
        write(tmp_path / "in" / f"{name}.nii.gz")
    extra = {"--regions": "g", "--report": "r", "--report-html": "h"}
    line = [word for option, folder in extra.items() for word in (option, tmp_path / folder)]
    assert predict("--input", tmp_path / "in", "--output", tmp_path / "out", *line)[0] == 0
    for name in ("MRN4711_a", "MRN4711_b"):
        report = json.loads((tmp_path / "r" / f"{name}_report.json").read_text())
        numbers = read_label(tmp_path / "g" / f"{name}_regions.nii.gz")
        grid = read_header(tmp_path / "in" / f"{name}.nii.gz").geometry
        assert numbers.geometry.corner_distance_voxels(grid) < 0.01
        assert set(np.unique(numbers.array)) - {0} == {r["id"] for r in report["regions"]}
        page = (tmp_path / "h" / f"{name}_report.html").read_text()
        assert "Segmentation report" in page
        assert "MRN4711" not in page
        assert str(tmp_path) not in page


def test_a_region_of_interest_in_world_coordinates(predict, tmp_path):
    scan = write(tmp_path / "a.nii.gz")
    grid = read_header(scan).geometry
    low, high = grid.corners().min(0), grid.corners().max(0)
    middle = (low + high) / 2
    roi = [str(mm) for pair in zip(low - 1, middle, strict=True) for mm in pair]
    line = ["--input", scan, "--output", tmp_path / "o.nii.gz", "--report", tmp_path / "r.json"]
    assert predict(*line, "--roi", *roi)[0] == 0
    found = np.argwhere(read_label(tmp_path / "o.nii.gz").array)
    assert (grid.to_world(found.astype(float)) <= middle).all()
    assert json.loads((tmp_path / "r.json").read_text())["parameters"]["roi"]["high_lps"] == list(
        middle
    )


def test_the_label_map_says_what_it_is_for(predict, tmp_path):
    scan = write(tmp_path / "a.nrrd")
    assert predict("--input", scan, "--output", tmp_path / "o.nrrd")[0] == 0
    assert "DyCON_notice" in read_header(tmp_path / "o.nrrd").metadata


def test_a_folder_gives_a_folder_named_after_the_cases(predict, tmp_path):
    for name in ("a.nii.gz", "b.nrrd", "c_0000.mha"):
        write(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.pdf").write_text("no scan")
    code, events, _ = predict(
        "--input", tmp_path / "in", "--output", tmp_path / "out", "--report", tmp_path / "reports"
    )
    assert code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.nii.gz", "b.nrrd", "c.mha"}
    assert len(list((tmp_path / "reports").iterdir())) == 3
    assert [event.case for event in events if isinstance(event, CaseDone)] == ["a", "b", "c"]


def test_one_bad_case_does_not_stop_the_rest(predict, tmp_path):
    good = write(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "in" / "b.nii.gz").write_bytes(good.read_bytes()[:2000])
    write(tmp_path / "in" / "c.nii.gz", size=(4, 6, 5))
    code, events, err = predict("--input", tmp_path / "in", "--output", tmp_path / "out")
    assert code == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.nii.gz", "c.nii.gz"}
    assert "1 of 3 cases failed: b" in err
    assert [event.case for event in events if isinstance(event, CaseDone) and event.error] == ["b"]
    assert isinstance(events[-1], Failed)


def test_a_fault_of_ours_in_one_case_does_not_stop_the_rest_either(predict, tmp_path, monkeypatch):
    for name in ("a", "b"):
        write(tmp_path / "scans" / f"{name}.nii.gz")
    of_one = job.read_case_image

    def read(case, config):
        if case.name == "a":
            raise ZeroDivisionError("oops")
        return of_one(case, config)

    monkeypatch.setattr(job, "read_case_image", read)
    code, events, err = predict("--input", tmp_path / "scans", "--output", tmp_path / "out")
    assert code == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b.nii.gz"]
    assert "case 'a': unexpected ZeroDivisionError: oops" in err
    assert "1 of 2 cases failed: a" in events[-1].message


def test_an_output_of_no_format_or_in_no_folder_is_refused_before_the_work(predict, tmp_path):
    scan = write(tmp_path / "scan.nii.gz")
    code, _, err = predict("--input", scan, "--output", tmp_path / "mask.png")
    assert (code, (tmp_path / "mask.png").exists()) == (2, False)
    assert "mask.png': unknown format; use one of" in err
    (tmp_path / "file").write_text("")
    code, events, err = predict("--input", scan, "--output", tmp_path / "file" / "mask.nii.gz")
    assert (code, isinstance(events[-1], Failed)) == (2, True)
    assert "file/mask.nii.gz': cannot be written" in err
    assert not any(isinstance(event, Stage) for event in events)


def test_a_folder_beside_a_label_map_takes_files_called_as_that(predict, tmp_path):
    scan = write(tmp_path / "scan.nii.gz")
    (tmp_path / "rest").mkdir()
    more = [f"--{name}" for name in ("uncertainty", "probabilities", "report")]
    more = [text for name in more for text in (name, tmp_path / "rest")]
    more += ["--report-html", tmp_path / "page.html"]
    assert predict("--input", scan, "--output", tmp_path / "mask.nrrd", *more)[0] == 0
    assert {path.name for path in (tmp_path / "rest").iterdir()} == {
        "mask_uncertainty.nrrd",
        "mask_probabilities.nrrd",
        "mask_report.json",
    }
    assert (tmp_path / "mask.nrrd").is_file()
    assert (tmp_path / "page.html").is_file()


def test_a_folder_of_the_name_of_a_result_is_refused_before_the_work(predict, tmp_path):
    scan = write(tmp_path / "scan.nii.gz")
    (tmp_path / "out" / "scan_report.json").mkdir(parents=True)
    line = ["--input", scan, "--output", tmp_path / "out", "--report", tmp_path / "out"]
    code, events, err = predict(*line, "--overwrite")
    assert code == 2
    assert "scan_report.json': is a folder, expected a file" in err
    assert not any(isinstance(event, Stage) for event in events)
    assert not (tmp_path / "out" / "scan.nii.gz").exists()


def test_a_list_is_relative_to_itself(predict, tmp_path):
    write(tmp_path / "x" / "a.nii.gz")
    write(tmp_path / "y" / "b.nii.gz")
    todo = tmp_path / "todo.txt"
    todo.write_text("# which\nx/a.nii.gz\n\ny/b.nii.gz\n")
    assert predict("--input", todo, "--output", tmp_path / "out")[0] == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.nii.gz", "b.nii.gz"}
    todo.write_text("x/a.nii.gz\nz/c.nii.gz\n")
    code, _, err = predict("--input", todo, "--output", tmp_path / "out2")
    assert code == 2
    assert "1 of 2 scans are not there, first 'z/c.nii.gz'" in err


def test_several_channels_by_repeating_or_by_name(predict, tmp_path):
    tiny_package.save(tmp_path / "two.dycon", channels=2)
    model = tmp_path / "two.dycon"
    one = write(tmp_path / "in" / "case1_0000.nii.gz", 1)
    two = write(tmp_path / "in" / "case1_0001.nii.gz", 2)
    write(tmp_path / "in" / "case2_0000.nii.gz", 3)
    out = tmp_path / "o.nii.gz"
    assert predict("--input", one, "--input", two, "--output", out, model=model)[0] == 0
    code, _, err = predict("--input", tmp_path / "in", "--output", tmp_path / "out", model=model)
    assert code == 1
    assert "the scan has 1 channels, the model expects 2" in err
    assert np.array_equal(
        read_label(out).array, read_label(tmp_path / "out" / "case1.nii.gz").array
    )
    code, _, err = predict("--input", one, "--input", two, "--output", tmp_path / "n.nii.gz")
    assert code == 2
    assert "2 inputs given, the model has 1 channels" in err


def test_nothing_is_overwritten_unasked(predict, tmp_path):
    scan = write(tmp_path / "a.nii.gz")
    out = tmp_path / "o.nii.gz"
    out.write_bytes(b"hand-made")
    code, _, err = predict("--input", scan, "--output", out)
    assert code == 2
    assert "already there" in err
    assert out.read_bytes() == b"hand-made"
    assert predict("--input", scan, "--output", out, "--overwrite")[0] == 0
    assert read_label(out).array.shape == (16, 24, 20)
    before = scan.read_bytes()
    code, _, err = predict("--input", scan, "--output", scan, "--overwrite")
    assert code == 2
    assert "is the input itself" in err
    assert scan.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--input", "none.nii.gz", "--output", "o.nii.gz"], "not there"),
        (["--input", ".", "--output", "out"], "would both become"),
        (["--input", "empty", "--output", "out"], "no scans found"),
        (["--input", "folder", "--output", "mask.nii.gz"], "named like one file"),
        (["--input", "folder", "--output", "o", "--report", "r.json"], "named like one file"),
        (
            ["--input", "a.nii.gz", "--output", "o.nii.gz", "--uncertainty", "u.seg.nrrd"],
            ".seg.nrrd holds label maps only",
        ),
        (["--input", "x.h5", "--output", "o.nii.gz"], "give it with --spacing Z Y X"),
        (
            ["--input", "x.h5", "--output", "o.nii.gz", "--spacing", 0, 1, 1],
            "--spacing 0 1 1: expected three numbers above 0",
        ),
        (["--input", "a.nii.gz", "--output", "o.nii.gz", "--overlap", "0.99"], "at most 0.9"),
        (["--input", "a.nii.gz", "--output", "o.nii.gz", "--minimum-volume-mm3", "nan"], "number"),
        (["--input", "a.nii.gz", "--output", "o.nii.gz", "--device", "abacus"], "abacus"),
        (["--input", "a.nii.gz", "--output", "o.nii.gz", "--uncertainty", "u.xyz"], "format"),
        (
            ["--input", "a.nii.gz", "--output", "o.nii.gz", "--uncertainty", "o.nii.gz"],
            "same name",
        ),
        (
            ["--input", "a.nii.gz", "--output", "o.nii.gz", "--roi", 0, 9, 5, -5, 0, 9],
            "--roi: 5 to -5 mm along y",
        ),
        (
            ["--input", "a.nii.gz", "--output", "o.nii.gz", "--roi", 900, 950, 0, 9, 0, 9],
            "holds no voxel of the scan",
        ),
    ],
)
def test_bad_usage_is_one_line_and_writes_nothing(predict, tmp_path, monkeypatch, arguments, words):
    write(tmp_path / "a.nii.gz")
    write(tmp_path / "A.nrrd")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "folder" / "b.nii.gz")
    (tmp_path / "x.h5").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, _, err = predict(*arguments)
    assert code == 2
    assert words in err
    assert len([line for line in err.splitlines() if line.startswith("DyCON:")]) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_or_foreign_package_is_one_line(predict, tmp_path):
    scan = write(tmp_path / "a.nii.gz")
    for model in (tmp_path / "none.dycon", scan):
        code, _, err = predict("--input", scan, "--output", tmp_path / "o.nii.gz", model=model)
        assert code == 2
        assert err.count("DyCON:") == 1


def test_ranks_share_a_folder(predict, tmp_path, monkeypatch):
    for name in "abcde":
        write(tmp_path / "in" / f"{name}.nii.gz", size=(8, 8, 8))
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = []
    for rank in range(2):
        monkeypatch.setenv("RANK", str(rank))
        code, events, _ = predict("--input", tmp_path / "in", "--output", tmp_path / "out")
        assert code == 0
        done.append([event.case for event in events if isinstance(event, CaseDone)])
    assert done == [["a", "c", "e"], ["b", "d"]]


def test_every_rank_says_its_share_and_leaves_the_others_cancel_file(
    predict, tmp_path, monkeypatch
):
    for name in "abc":
        write(tmp_path / "in" / f"{name}.nii.gz", size=(8, 8, 8))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    run = tmp_path / "run"
    run.mkdir()
    (run / "cancel").touch()
    code, _, err = predict("--input", tmp_path / "in", "--output", tmp_path / "o", "--run-dir", run)
    assert code == 0
    assert "Rank 1 of 2: 1 of 3 scans" in err
    assert (run / "cancel").exists()
    assert (run / "rank-1" / "events.jsonl").exists()
    assert not (run / "events.jsonl").exists()


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, Place()),
        ({"LOCAL_RANK": "3"}, Place()),
        ({"RANK": "", "WORLD_SIZE": ""}, Place()),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}, Place(1, 2, 1)),
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "x"}, Place(1, 2, 0)),
    ],
)
def test_the_share_of_a_process_is_what_torchrun_says(environment, place):
    assert place_among(environment) == place


@pytest.mark.parametrize(
    ("rank", "world"), [("1", ""), ("", "2"), ("2", "2"), ("-1", "2"), ("a", "2")]
)
def test_half_of_a_share_is_ignored_aloud(rank, world):
    place = place_among({"RANK": rank, "WORLD_SIZE": world})
    assert place[:3] == (0, 1, 0)
    assert f"RANK is '{rank}' and WORLD_SIZE '{world}'" in place.ignored


def test_a_useless_rank_segments_all_scans_and_says_so(predict, tmp_path, monkeypatch):
    scan = write(tmp_path / "a.nii.gz", size=(8, 8, 8))
    monkeypatch.setenv("RANK", "7")
    monkeypatch.setenv("WORLD_SIZE", "4")
    code, _, err = predict("--input", scan, "--output", tmp_path / "o.nii.gz")
    assert code == 0
    assert "RANK is '7'" in err
    assert (tmp_path / "o.nii.gz").exists()


def test_hdf5_is_read_at_the_spacing_that_is_said(predict, tmp_path):
    image = tiny_package.scan(1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = image.array[0].transpose(2, 1, 0)
    for scan, more in (
        (tmp_path / "a.h5", ["--spacing", 2.0, 1.5, 1.5]),
        (write(tmp_path / "b.nii.gz"), []),
    ):
        out = tmp_path / f"{scan.suffix}.nii.gz"
        assert predict("--input", scan, "--output", out, *more)[0] == 0
    one, other = (read_label(tmp_path / f"{suffix}.nii.gz") for suffix in (".h5", ".gz"))
    assert one.geometry.spacing_mm == pytest.approx((2.0, 1.5, 1.5))
    assert np.array_equal(one.array, other.array)


def test_hdf5_files_are_named_by_their_folders(predict, tmp_path):
    root = tmp_path / "h5"
    for seed, name in enumerate(("pt1", "pt2")):
        (root / name).mkdir(parents=True)
        with h5py.File(root / name / "mri_norm2.h5", "w") as file:
            file["image"] = tiny_package.scan(seed).array[0].transpose(2, 1, 0)
    spacing = ["--spacing", 2.0, 1.5, 1.5]
    assert predict("--input", root, "--output", tmp_path / "out", *spacing)[0] == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"pt1.nii.gz", "pt2.nii.gz"}
    (tmp_path / "list.txt").write_text("h5/pt1/mri_norm2.h5\nh5/pt2/mri_norm2.h5\n")
    for given, found in (
        (tmp_path / "list.txt", ["pt1", "pt2"]),
        (root / "pt2" / "mri_norm2.h5", ["pt2"]),
        (root / "pt2", ["mri_norm2"]),  # here it is the scan of the folder that was named
    ):
        assert [case.name for case in inputs.find_inputs((given,), 1)] == found


def test_the_label_map_is_there_where_the_probabilities_cannot_be_written(
    predict, tmp_path, monkeypatch
):
    def full(path, array, *_, **__):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("dycon_engine.inference.writing.write_scalar", full)
    scan, out = write(tmp_path / "a.nii.gz"), tmp_path / "o.nii.gz"
    more = ["--probabilities", tmp_path / "p.nii.gz", "--report", tmp_path / "r.json"]
    assert predict("--input", scan, "--output", out, *more)[0] == 1
    assert read_label(out).array.shape == (16, 24, 20)
    assert (tmp_path / "r.json").exists()


def test_a_segmentation_has_the_names_and_colors_of_the_package(predict, tmp_path):
    scan, out = write(tmp_path / "a.nii.gz"), tmp_path / "o.seg.nrrd"
    assert predict("--input", scan, "--output", out)[0] == 0
    assert read_segments(out) == ((3, "ball", (200, 30, 30)),)
    assert set(np.unique(read_label(out).array)) <= {0, 3}


def test_what_a_folder_holds_beside_its_scans_is_said_once(predict, tmp_path):
    write(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "in" / "b.nii.gz").symlink_to("nowhere")
    code, events, err = predict("--input", tmp_path / "in", "--output", tmp_path / "out")
    assert code == 0
    [warned] = [event for event in events if getattr(event, "topic", "") == "inputs"]
    assert warned.message.startswith("'in/b.nii.gz' is not read: a link to a file")
    assert err.count(warned.message) == 1


def test_the_folder_one_is_in_has_its_name(tmp_path, monkeypatch):
    folder = tmp_path / "MR7"
    (folder / "deeper").mkdir(parents=True)
    monkeypatch.setattr(inputs, "is_readable_image", lambda _: True)  # as a DICOM series
    monkeypatch.chdir(folder)
    assert inputs.find_inputs((Path(),), 1)[0].name == "MR7"
    monkeypatch.chdir(folder / "deeper")
    assert inputs.find_inputs((Path(".."),), 1)[0].name == "MR7"
    (folder / ".nii.gz").touch()
    with pytest.raises(InputError, match="has no name"):
        inputs.find_inputs((folder / ".nii.gz",), 1)


def test_a_list_from_a_windows_editor(tmp_path):
    write(tmp_path / "a.nii.gz")
    (tmp_path / "list.txt").write_text("a.nii.gz\n", encoding="utf-8-sig")
    assert [case.name for case in inputs.find_inputs((tmp_path / "list.txt",), 1)] == ["a"]


def test_cancel_by_file_leaves_nothing(package, tmp_path):
    scan = write(tmp_path / "a.nii.gz")
    run = tmp_path / "run"
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from dycon_engine.inference import predictor\n"
        "old = predictor.slide_slabs\n"
        f"def slide(*a, **k):\n    Path({str(run / 'cancel')!r}).touch()\n    return old(*a, **k)\n"
        "predictor.slide_slabs = slide\n"
        "from dycon_engine.predict import main\n"
        f"raise SystemExit(main(['--package', {str(package)!r}, '--input', {str(scan)!r}, "
        f"'--output', {str(tmp_path / 'o.nii.gz')!r}, '--run-dir', {str(run)!r}]))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert result.returncode == 3, result.stderr
    assert not (tmp_path / "o.nii.gz").exists()
    assert not (run / "cancel").exists()


def test_progress_names_stages_cases_and_what_is_left(predict, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_ADVANCES", 0.0)
    for name in "abc":
        write(tmp_path / "in" / f"{name}.nii.gz")
    code, events, _ = predict("--input", tmp_path / "in", "--output", tmp_path / "out")
    assert code == 0
    first, again = (event for event in events if isinstance(event, Started))
    assert (first.device, again.device) == ("", "cpu")
    assert again.device_name
    stages = [event for event in events if isinstance(event, Stage)]
    assert [stage.name for stage in stages] == 3 * [
        "reading", "segmenting", "measuring", "writing",
    ]  # fmt: skip
    assert [stage.item for stage in stages] == [1] * 4 + [2] * 4 + [3] * 4
    assert {stage.items for stage in stages} == {3}
    assert all(stage.total > 0 for stage in stages)
    steps = [event for event in events if isinstance(event, Advanced)]
    windows = [event for event in steps if event.stage == "segmenting"]
    assert len({event.done for event in windows}) > 3
    assert all(event.remaining_s >= 0 for event in windows if event.done)
    assert windows[-1].done == windows[-1].total
    overall = [event.overall for event in steps]
    assert overall == sorted(overall)
    assert overall[0] < 0.1
    assert overall[-1] == pytest.approx(1.0)
    assert all(event.overall_remaining_s >= 0 for event in steps if event.overall > 0)
    assert steps[-1].overall_remaining_s == pytest.approx(0.0, abs=1e-9)


def test_a_failed_case_does_not_hold_the_progress_back(predict, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_ADVANCES", 0.0)
    good = write(tmp_path / "in" / "b.nii.gz")
    (tmp_path / "in" / "a.nii.gz").write_bytes(good.read_bytes()[:2000])
    _, events, _ = predict("--input", tmp_path / "in", "--output", tmp_path / "out")
    steps = [event for event in events if isinstance(event, Advanced)]
    assert steps[0].overall > 0.5
    assert steps[-1].overall == pytest.approx(1.0)


SHARE = """
import os, sys, time
from pathlib import Path
from dycon_engine.inference import job
from dycon_engine.predict import main

name, slow, cancelled = "ab"[int(os.environ["RANK"])], *sys.argv[1:3]
read = job.read_case_image

def reading(*arguments):
    time.sleep(3 if name == slow else 0)
    if name == cancelled:
        Path("run" if name == "a" else "run/rank-1", "cancel").touch()
    return read(*arguments)

job.read_case_image = reading
raise SystemExit(main(sys.argv[3:]))
"""


@pytest.fixture
def torchrun(package, tmp_path):
    """Segment scans a and b by two processes of torchrun; return code, words and label maps."""

    def run(*, slow: str, damaged: str, cancelled: str = "-"):
        for name in "ab":
            scan = write(tmp_path / "in" / f"{name}.nii.gz", size=(8, 8, 8))
            if name == damaged:
                scan.write_bytes(scan.read_bytes()[:200])
        (tmp_path / "share.py").write_text(SHARE)
        line = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "share.py"]
        line += [slow, cancelled, "--package", str(package), "--device", "cpu"]
        line += ["--input", "in", "--output", "out", "--run-dir", "run"]
        done = subprocess.run(
            [sys.executable, "-m", *line],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            check=False,
            capture_output=True,
            text=True,
            timeout=240,
        )
        return done.returncode, done.stderr, {path.name for path in tmp_path.glob("out/*")}

    return run


def test_a_rank_that_fails_does_not_take_the_others_with_it(torchrun):
    """Torchrun ends all processes as soon as one has ended with a failure."""
    code, err, written = torchrun(damaged="a", slow="b")
    assert written == {"b.nii.gz"}, err
    assert code != 0
    assert "1 of 1 cases failed: a" in err
    assert "Cancelled" not in err


def test_nobody_waits_for_a_rank_that_was_cancelled(torchrun):
    code, err, written = torchrun(cancelled="a", slow="a", damaged="b")
    assert written == set(), err
    assert code != 0
    assert err.count("Cancelled: stopped as asked") == 1
    assert "1 of 1 cases failed: b" in err
