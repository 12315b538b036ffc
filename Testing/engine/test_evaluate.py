"""The command `evaluate`, from files to report, in this process."""

from __future__ import annotations

import json
import shutil

import h5py
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from dycon_engine.data.formats.readers import read_image, read_label
from dycon_engine.data.formats.writers import write_label, write_scalar
from dycon_engine.data.geometry import Geometry
from dycon_engine.data.orientation import Orientation
from dycon_engine.evaluate import main
from dycon_engine.evaluation import examples
from dycon_engine.evaluation.voxels import channel_values
from dycon_engine.pictures.slices import Picture

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


def test_a_case_without_anything_is_left_out_of_means_and_pictures(folders, capsys):
    """Case a holds nothing and nothing was found; then that is so in all cases."""
    nothing = np.zeros(GRID.size_zyx, np.uint8)
    for folder in ("predicted", "reference"):
        write_label(folders / folder / "a.nii.gz", nothing, GRID, overwrite=True)
    assert main(arguments(folders)) == 0
    mean = (0.75 + 0.5) / 2
    assert last_event(capsys)["summary"]["mean_dice"]["prediction/label 1"] == pytest.approx(mean)
    page = (folders / "report" / "report.html").read_text()
    assert "Best: case b" in page
    assert "Worst: case c" in page
    assert "case a, mean Dice" not in page
    for path in (*(folders / "predicted").iterdir(), *(folders / "reference").iterdir()):
        write_label(path, nothing, GRID, overwrite=True)
    assert main([*arguments(folders), "--overwrite"]) == 0
    assert last_event(capsys)["summary"]["mean_dice"] == {"prediction/label 1": None}


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
        ({"labels": "one"}, "--labels: 1 names for the label values [1, 2]"),
        ({"reference": "nowhere"}, "no such file or folder"),
        ({"images": "nowhere"}, "no such file or folder"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(folders, capsys, more, message):
    code = main(arguments(folders, **more))
    event = last_event(capsys)
    assert code == 2
    assert message in event["message"]
    assert "\n" not in event["message"]
    assert not (folders / "report").exists()


@pytest.mark.parametrize("given", ["atrium,ventricle,aorta", "Background, atrium,ventricle,aorta"])
def test_a_name_of_nothing_gets_no_score(folders, given):
    assert main(arguments(folders, labels=given)) == 0
    content = json.loads((folders / "report" / "report.json").read_text())
    assert content["labels"] == {"1": "atrium", "2": "ventricle"}
    assert {row["name"] for row in content["summary"]} == {"atrium", "ventricle"}
    (line,) = [line for line in content["warnings"] if line.startswith("--labels")]
    assert "name 'aorta' (value 3) is in no file" in line


def test_values_that_only_one_side_has_are_said(folders):
    for path in (folders / "reference").iterdir():
        write_label(path, np.asarray([0, 255, 2])[read_label(path).array], GRID, overwrite=True)
    assert main(arguments(folders)) == 0
    content = json.loads((folders / "report" / "report.json").read_text())
    said = [line for line in content["warnings"] if "only in" in line]
    assert len(said) == 2
    assert "label value 1 is only in predictions" in said[0]
    assert "label value 255 is only in references" in said[1]


def as_hdf5(folder, case, image, labels):
    (folder / case).mkdir(parents=True)
    with h5py.File(folder / case / "mri_norm2.h5", "w") as file:
        file["image"] = image.transpose(2, 1, 0)
        if labels is not None:
            file["label"] = labels.transpose(2, 1, 0)


def test_hdf5_trees_are_compared_at_the_spacing_that_is_said(folders, capsys):
    """The same as NIfTI files in every number; without a spacing all mm and ml would be wrong."""
    for name in ("predicted", "reference"):
        for path in (folders / name).iterdir():
            labels, case = read_label(path).array, path.name.removesuffix(".nii.gz")
            as_hdf5(folders / f"{name}_h5", case, labels.astype(np.float32), labels)
    as_hdf5(folders / "reference_h5", "unlabeled", np.zeros(GRID.size_zyx), None)
    more = {"prediction": folders / "predicted_h5", "reference": folders / "reference_h5"}
    line = arguments(folders, **more, images=folders / "reference_h5", output=folders / "h5")
    assert main(line) == 2
    assert "HDF5 files carry no voxel size; give it with --spacing" in last_event(capsys)["message"]
    assert not (folders / "h5").exists()
    assert main([*line, "--spacing", *map(str, GRID.spacing_mm)]) == 0
    assert main(arguments(folders)) == 0
    one, other = (
        json.loads((folders / name / "report.json").read_text()) for name in ("h5", "report")
    )
    assert one["summary"] == other["summary"]
    assert one["warnings"] == other["warnings"]
    assert main([*line, "--overwrite", "--spacing", "0", "1", "1"]) == 2
    (folders / "reference_h5" / "b" / "mri_norm2.h5").write_bytes(b"cut")
    assert main([*line, "--overwrite", "--spacing", *map(str, GRID.spacing_mm)]) == 2
    assert "b/mri_norm2.h5': not a whole HDF5 file" in last_event(capsys)["message"]


def test_other_orders_of_axes_change_no_number(folders):
    order = Orientation((1, 2, 0), (True, True, False))
    turned = order.geometry(GRID)
    more = {"images": folders / "images", "probabilities": folders / "probabilities"}
    second = ["--prediction", str(folders / "again"), "--name", "one", "--name", "two"]
    second += ["--probabilities", str(folders / "probabilities")]
    shutil.copytree(folders / "predicted", folders / "again")
    (folders / "reference" / "unpredicted.nii.gz").unlink()
    assert main([*arguments(folders, **more), *second]) == 0
    before = json.loads((folders / "report" / "report.json").read_text())
    for name in ("predicted", "probabilities", "images"):
        for path in (folders / name).iterdir():
            image = read_image(path).array
            if name == "predicted":
                write_label(path, order.apply(read_label(path).array), turned, overwrite=True)
            else:
                write_scalar(path, order.apply(image), turned, overwrite=True)
    assert main([*arguments(folders, **more), *second, "--overwrite"]) == 0
    after = json.loads((folders / "report" / "report.json").read_text())
    assert after["warnings"] == []
    assert {key: after[key] for key in ("summary", "calibration", "differences")} == {
        key: before[key] for key in ("summary", "calibration", "differences")
    }


def test_a_picture_shows_all_predictions_in_one_order_beside_a_cropped_reference(
    folders, monkeypatch
):
    drawn = []

    def overlay(title, expected, predictions, **_):
        drawn.append([expected.array, *(volume.array for volume in predictions.values())])
        return Picture(title, title, b"")

    monkeypatch.setattr(examples, "draw_overlay", overlay)
    order, case = Orientation((1, 2, 0), (True, True, False)), folders / "predicted" / "a.nii.gz"
    labels = read_label(case).array
    turned = folders / "turned" / "a.nii.gz"
    turned.parent.mkdir()
    write_label(turned, order.apply(labels), order.geometry(GRID), overwrite=False)
    part = sitk.ReadImage(str(folders / "reference" / "a.nii.gz"))[1:11, 1:8, 2:6]
    for value in (1, 2):
        for key, text in (("Name", f"s{value}"), ("LabelValue", str(value)), ("Layer", "0")):
            part.SetMetaData(f"Segment{value}_{key}", text)
    sitk.WriteImage(part, str(folders / "a.seg.nrrd"))
    line = arguments(folders, prediction=turned, reference=folders / "a.seg.nrrd")
    assert main([*line, "--prediction", str(case), "--name", "one", "--name", "two"]) == 0
    [(expected, one, two)] = drawn
    assert np.array_equal(one, two)
    assert np.array_equal(one, expected)


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


def renamed(folders, values):
    """Give the label maps other values; the channels of the probability maps stay."""
    for path in [*(folders / "reference").iterdir(), *(folders / "predicted").iterdir()]:
        found = read_label(path).array
        write_label(path, np.asarray(values)[found], GRID, overwrite=True)


def calibration_of(folders):
    return json.loads((folders / "report" / "report.json").read_text())["calibration"]


@pytest.mark.parametrize("values", [(0, 2, 3), (0, 100, 255), (0, 255, 100)])
def test_channels_belong_to_label_values_and_not_to_indices(folders, values):
    more = {"probabilities": folders / "probabilities"}
    assert main(arguments(folders, **more)) == 0
    expected = calibration_of(folders)
    renamed(folders, values)
    if values[1] > values[2]:  # channels rise with the values
        for path in (folders / "probabilities").iterdir():
            write_scalar(path, read_image(path).array[[0, 2, 1]], GRID, overwrite=True)
    assert main([*arguments(folders, **more), "--overwrite"]) == 0
    assert calibration_of(folders) == expected


def test_two_values_of_a_mask(folders):
    renamed(folders, (0, 255, 0))
    for path in (folders / "probabilities").iterdir():
        whole = read_image(path).array
        merged = np.stack([whole[0] + whole[2], whole[1]])
        write_scalar(path, merged, GRID, overwrite=True)
    assert main(arguments(folders, probabilities=folders / "probabilities")) == 0
    assert calibration_of(folders)["prediction"]["cases"] == 3


@pytest.mark.parametrize(
    ("channels", "references", "predictions", "values"),
    [
        (3, {2, 3}, {2, 3}, (0, 2, 3)),
        (2, {255}, {255}, (0, 255)),
        (3, {2}, {2, 3}, (0, 2, 3)),  # one class is in no reference
        (4, {1}, {1, 3}, (0, 1, 2, 3)),
        (3, {255}, {255}, None),
        (2, {1, 2}, {1}, None),
    ],
)
def test_the_values_of_the_channels(channels, references, predictions, values):
    assert channel_values(channels, references, predictions) == values


def test_a_map_of_unknown_channels_is_left_out_and_said(folders):
    renamed(folders, (0, 1, 9))
    maps = np.full((4, *GRID.size_zyx), 0.25, np.float32)
    write_scalar(folders / "probabilities" / "b.nii.gz", maps, GRID, overwrite=True)
    assert main(arguments(folders, probabilities=folders / "probabilities")) == 0
    assert calibration_of(folders)["prediction"]["cases"] == 2
    content = json.loads((folders / "report" / "report.json").read_text())
    assert "case 'b': its probability map has 4 channels" in content["warnings"][-1]


def test_a_bad_background_costs_the_background_only(folders):
    scan = folders / "images" / "a_0000.nii.gz"
    scan.write_bytes(scan.read_bytes()[:500])
    moved = Geometry.from_parts(GRID.size_zyx, GRID.spacing_mm, (9, 0, 0))
    image = np.zeros(GRID.size_zyx, np.float32)
    write_scalar(folders / "images" / "b_0000.nii.gz", image, moved, overwrite=True)
    assert main(arguments(folders, images=folders / "images")) == 0
    content = json.loads((folders / "report" / "report.json").read_text())
    said = [line for line in content["warnings"] if "drawn without the scan" in line]
    assert len(said) == 2
    assert "case 'b': image and reference grids lie" in said[1]
    assert "Best: case a" in (folders / "report" / "report.html").read_text()


def test_one_scan_belongs_to_the_case_of_its_name(folders, monkeypatch):
    drawn = {}

    def overlay(title, *_, image):
        drawn[title.split(",")[0]] = image is not None
        return Picture(title, title, b"")

    monkeypatch.setattr(examples, "draw_overlay", overlay)
    assert main(arguments(folders, images=folders / "images" / "c_0000.nii.gz")) == 0
    assert drawn == {"Best: case a": False, "Median: case b": False, "Worst: case c": True}


def test_files_given_one_by_one_belong_together(folders):
    line = arguments(
        folders,
        prediction=folders / "predicted" / "a.nii.gz",
        reference=folders / "reference" / "b.nii.gz",
        probabilities=folders / "probabilities" / "c.nii.gz",
    )
    assert main(line) == 0
    assert calibration_of(folders)["prediction"]["cases"] == 1


def test_cases_without_a_map_are_said_and_a_folder_of_foreign_ones_is_refused(folders, capsys):
    (folders / "probabilities" / "b.nii.gz").unlink()
    more = {"probabilities": folders / "probabilities"}
    assert main(arguments(folders, **more)) == 0
    content = json.loads((folders / "report" / "report.json").read_text())
    assert content["warnings"][-1] == "prediction: no probability map for b"
    for name in "ac":
        (folders / "probabilities" / f"{name}.nii.gz").rename(
            folders / "probabilities" / f"{name}_p.nii.gz"
        )
    assert main([*arguments(folders, **more), "--overwrite"]) == 2
    assert "hold no map of the cases of 'prediction'" in last_event(capsys)["message"]
