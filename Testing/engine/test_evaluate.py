"""The command `evaluate`, from files to report, in this process."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dycon_engine.data.formats.writers import write_label, write_scalar
from dycon_engine.data.geometry import Geometry
from dycon_engine.evaluate import main

GRID = Geometry.from_parts((8, 10, 12), (2.0, 1.0, 1.0))


def last_event(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.fixture
def folders(tmp_path):
    """Three cases of two classes; the prediction is one voxel off, one case is missing."""
    for name in ("predicted", "reference", "images", "probabilities"):
        (tmp_path / name).mkdir()
    random = np.random.default_rng(0)
    for case in ("a", "b", "c", "unpredicted"):
        labels = np.zeros(GRID.size_zyx, np.uint8)
        labels[2:6, 2:6, 2:6] = 1
        labels[2:6, 2:6, 6:10] = 2
        write_label(tmp_path / "reference" / f"{case}.nii.gz", labels, GRID, overwrite=False)
        if case == "unpredicted":
            continue
        found = np.roll(labels, {"a": 0, "b": 1, "c": 2}[case], axis=1)
        write_label(tmp_path / "predicted" / f"{case}.nii.gz", found, GRID, overwrite=False)
        image = random.random(GRID.size_zyx).astype(np.float32)
        write_scalar(tmp_path / "images" / f"{case}_0000.nii.gz", image, GRID, overwrite=False)
        maps = np.stack([np.where(found == k, 0.8, 0.1) for k in range(3)]).astype(np.float32)
        write_scalar(tmp_path / "probabilities" / f"{case}.nii.gz", maps, GRID, overwrite=False)
    return tmp_path


def arguments(folders, **more):
    chosen = {
        "--prediction": folders / "predicted",
        "--reference": folders / "reference",
        "--output": folders / "report",
    } | {f"--{name}": value for name, value in more.items()}
    return [str(text) for pair in chosen.items() for text in pair]


def test_from_files_to_report(folders, capsys):
    more = {"images": folders / "images", "probabilities": folders / "probabilities"}
    assert main([*arguments(folders, labels="atrium, ventricle", **more)]) == 0
    content = json.loads((folders / "report" / "report.json").read_text())
    assert content["labels"] == {"1": "atrium", "2": "ventricle"}
    assert [row["metrics"]["dice"]["mean"] for row in content["summary"]] == pytest.approx(
        [(1 + 0.75 + 0.5) / 3] * 2
    )
    assert content["warnings"] == ["prediction: no prediction for reference unpredicted"]
    assert content["calibration"]["prediction"]["cases"] == 3
    page = (folders / "report" / "report.html").read_text()
    for title in ("Best: case a", "Median: case b", "Worst: case c", "Can the confidence"):
        assert title in page
    assert str(folders) not in page
    event = last_event(capsys)
    assert event["event"] == "finished"
    assert event["summary"]["mean_dice"]["prediction/atrium"] == pytest.approx(0.75)


def test_a_report_is_refused_before_any_work_and_replaced_on_request(folders, capsys):
    assert main(arguments(folders)) == 0
    assert main(arguments(folders)) == 2
    assert "--overwrite" in last_event(capsys)["message"]
    assert main([*arguments(folders), "--overwrite"]) == 0


def test_two_predictions_are_compared(folders):
    line = [*arguments(folders), "--prediction", str(folders / "reference"), "--name", "ours"]
    line += ["--name", "truth"]
    assert main(line) == 2  # the reference has a case more: nothing to pair it with
    (folders / "reference" / "unpredicted.nii.gz").unlink()
    assert main(line) == 0
    content = json.loads((folders / "report" / "report.json").read_text())
    assert content["differences"][0]["mean"] == pytest.approx(-0.25)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"labels": "one,two,three"}, None),  # more names than values is fine
        ({"labels": "one"}, "--labels: 1 names for the label values [1, 2]"),
        ({"reference": "nowhere"}, "no such file or folder"),
        ({"images": "nowhere"}, "no such file or folder"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(folders, capsys, more, message):
    code = main(arguments(folders, **more))
    event = last_event(capsys)
    if message is None:
        assert code == 0
        return
    assert code == 2
    assert message in event["message"]
    assert "\n" not in event["message"]
    assert not (folders / "report").exists()


def test_another_grid_is_named_by_case(folders, capsys):
    moved = Geometry.from_parts(GRID.size_zyx, GRID.spacing_mm, (0.5, 0, 0))
    labels = np.zeros(GRID.size_zyx, np.uint8)
    write_label(folders / "predicted" / "b.nii.gz", labels, moved, overwrite=True)
    assert main(arguments(folders)) == 2
    assert (
        "case 'b': prediction and reference grids lie 0.5 voxels apart"
        in last_event(capsys)["message"]
    )


def test_probabilities_that_do_not_sum_to_one_are_refused(folders, capsys):
    maps = np.full((3, *GRID.size_zyx), 0.5, np.float32)
    write_scalar(folders / "probabilities" / "a.nii.gz", maps, GRID, overwrite=True)
    assert main(arguments(folders, probabilities=folders / "probabilities")) == 2
    assert "case 'a': the probability map sums to 1.5" in last_event(capsys)["message"]
