"""A data set is built from the scene and from folders, written whole or not at all, and grows."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from dycon_engine.config import DataConfig
from dycon_engine.data.formats.readers import read_image, read_label
from dycon_engine.data.layouts import find_cases
from Testing.slicer.training import scenes
from Testing.tiny_scans import write_pairs

ROOT = Path(__file__).parents[3]
LABEL = ("labels/pt00.nii.gz", "labels/pt01.nii.gz", "", "")


def ready(now=[0.0]):  # noqa: B006 - a clock that never waits
    now[0] += 10.0
    return now[0]


@pytest.fixture
def built(slicer_scene, tmp_path):
    """Three labeled scans and two without segmentation, saved."""
    scenes.scans(3, 2)
    made, failures = scenes.logic(tmp_path, clock=ready)
    made.open(tmp_path / "set")
    assert made.add_scene() == 5
    made.save()
    scenes.settle(made)
    assert failures == []
    return made


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def snapshot(folder):
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def test_what_is_written_is_what_was_loaded(built, tmp_path):
    import slicer

    root = tmp_path / "set"
    assert files(root) == [
        *(f"images/case-00{n}.nrrd" for n in range(1, 6)),
        *(f"labels/case-00{n}.nii.gz" for n in range(1, 4)),
        "manifest.toml",
    ]
    for number in range(3):
        image, mask = scenes.ball(number)
        stored = read_image(root / f"images/case-00{number + 1}.nrrd")
        assert stored.array[0].sum() == pytest.approx(image.sum(), rel=1e-6)
        assert sorted(np.round(stored.geometry.spacing_mm, 4)) == [1.5, 1.5, 2.0]
        label = read_label(root / f"labels/case-00{number + 1}.nii.gz")
        assert label.array.sum() == mask.sum()
        back = slicer.util.loadVolume(str(root / f"images/case-00{number + 1}.nrrd"), {})
        np.testing.assert_allclose(scenes.world_of(back), scenes.IJK_TO_RAS, atol=1e-5)
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(back), image)
    assert scenes.findings(built) == []
    assert built.is_saved


def test_the_engine_reads_it_with_roles_and_labels(built, tmp_path):
    found = find_cases(tmp_path / "set", DataConfig())
    assert found.layout == "manifest"
    roles = [case.role for case in found.cases]
    assert roles == ["labeled"] * 3 + ["unlabeled"] * 2
    assert [(label.value, label.name) for label in found.labels] == [(0, "background"), (1, "ball")]
    assert all(path.is_file() for case in found.cases for path in case.images)


def test_it_grows_and_no_file_is_written_twice(built, slicer_scene, tmp_path):
    root = tmp_path / "set"
    before = snapshot(root / "images") | snapshot(root / "labels")
    scenes.scans(1, 1, first=5)
    built.add_scene()
    assert [row.alias for row in built.draft.rows[-2:]] == ["", ""]
    assert not built.is_saved
    built.save()
    scenes.settle(built)
    after = snapshot(root / "images") | snapshot(root / "labels")
    assert {path: after[path] for path in before} == before
    assert len(after) == len(before) + 3
    assert [row.alias for row in built.draft.rows] == [f"case-00{n}" for n in range(1, 8)]


def test_it_is_the_same_when_it_is_opened_again_and_titles_come_from_the_persons_own_list(
    built, tmp_path
):
    rows = built.draft.rows
    again, _ = scenes.logic(tmp_path, clock=ready)
    again.open(tmp_path / "set")
    assert again.draft.rows == rows
    assert again.draft.rows[0].title == "scan 0"
    assert again.is_saved
    stranger, _ = scenes.logic(tmp_path / "set", clock=ready)
    stranger.open(tmp_path / "set")
    assert stranger.draft.rows[0].title == "case-001"


def test_cases_that_somebody_put_beside_the_manifest_are_found(built, tmp_path):
    from DyCONTrainingLib.cases import Role

    root = tmp_path / "set"
    for part, name in (("images", "case-004.nrrd"), ("labels", "case-001.nii.gz")):
        suffix = name.partition(".")[2]
        (root / part / f"case-042.{suffix}").write_bytes((root / part / name).read_bytes())
    built.open(root)
    assert built.folder.unlisted == ("case-042",)
    assert built.draft.rows[-1].role is Role.LABELED
    assert not built.is_saved
    built.save()
    scenes.settle(built)
    assert [case.name for case in find_cases(root, DataConfig()).cases][-1] == "case-042"
    built.open(root)
    assert built.folder.unlisted == ()


def test_a_case_that_is_left_out_keeps_its_files_and_stays_out(built, tmp_path):
    built.remove([4])
    built.save()
    scenes.settle(built)
    assert (tmp_path / "set/images/case-005.nrrd").is_file()
    built.open(tmp_path / "set")
    assert [row.alias for row in built.draft.rows] == [f"case-00{n}" for n in range(1, 5)]
    scenes.scans(0, 1, first=8)
    built.remove([3])
    built.add_items([item_of("scan 8")])
    built.save()
    scenes.settle(built)
    built.open(tmp_path / "set")
    assert [row.alias for row in built.draft.rows] == [
        *(f"case-00{n}" for n in range(1, 4)),
        "case-006",  # the name of the first that was left out is taken by its file
    ]


def item_of(name):
    import slicer

    tree = slicer.mrmlScene.GetSubjectHierarchyNode()
    return tree.GetItemByDataNode(slicer.util.getNode(name))


def test_channels_beside_a_manifest_are_one_case(tmp_path):
    from DyCONTrainingLib.folder import open_folder

    (tmp_path / "images").mkdir()
    (tmp_path / "manifest.toml").write_text('channels = ["t1", "flair"]\n')
    for name in ("case-001", "case-001-ch2", "case-002", "case-002-ch2"):
        (tmp_path / f"images/{name}.nrrd").write_bytes(b"")
    found = open_folder(tmp_path)
    assert found.unlisted == ("case-001", "case-002")
    paths = [[image.path for image in row.images] for row in found.content.rows]
    assert paths == [[f"images/case-00{n}{m}.nrrd" for m in ("", "-ch2")] for n in (1, 2)]


def test_a_scan_that_is_there_lends_its_segmentation_and_a_held_out_case_stays_one():
    from DyCONTrainingLib.cases import FromScene, Role, added, row, with_role

    scans = [row(name, [FromScene(name)]) for name in "ab"]
    drawn = [row(name, [FromScene(name)], FromScene(f"{name} drawn")) for name in "ab"]
    table = added(with_role(tuple(scans), [1], Role.HELD_OUT), drawn)
    assert [each.role for each in table] == [Role.LABELED, Role.HELD_OUT]
    assert [each.label.node_id for each in table] == ["a drawn", "b drawn"]


def test_a_new_patient_never_gets_the_number_of_one_that_another_person_listed():
    from DyCONTrainingLib.who_is_who import WhoIsWho

    who = WhoIsWho(None, "a")
    assert who.numbered("Doe^Jane", ["p1", "p7", "", "phantom"]) == "p8"
    assert who.numbered("Roe^John", ["p1", "p7"]) == "p9"
    assert [who.numbered(name, ["p7"]) for name in ("Doe^Jane", "p7", "")] == ["p8", "p7", ""]


def test_only_what_a_panel_that_is_gone_left_is_removed(tmp_path):
    from DyCONTrainingLib.tasks import Task

    for name in (f"dycon-training-{os.getpid()}-x", f"dycon-training-{2**22 + 17}-y", "letters"):
        (tmp_path / name).mkdir()
    task = Task(None, "audit", tmp_path, "Reading")
    there = {folder.name for folder in tmp_path.iterdir()} - {task.folder.name}
    assert there == {f"dycon-training-{os.getpid()}-x", "letters"}
    task.close()
    assert not task.folder.exists()


def test_a_new_segmentation_of_a_saved_case_becomes_a_new_file(built, slicer_scene, tmp_path):
    from dataclasses import replace

    import slicer
    from DyCONTrainingLib.cases import FromScene

    node = slicer.util.getNode("scan 0")
    smaller = scenes.segmentation(node, {"ball": scenes.ball(0)[1] & False}, name="new")
    row = replace(built.draft.rows[0], label=FromScene(smaller.GetID()))
    built.edit(built.draft.with_rows((row, *built.draft.rows[1:])))
    built.save()
    scenes.settle(built)
    root = tmp_path / "set"
    assert read_label(root / "labels/case-001-v2.nii.gz").array.sum() == 0
    assert read_label(root / "labels/case-001.nii.gz").array.sum() > 0
    assert built.folder.content.rows[0].label.path == "labels/case-001-v2.nii.gz"


@pytest.mark.parametrize("way", ["full disk", "cancel", "node gone"])
def test_where_it_cannot_be_written_nothing_is_left(slicer_scene, tmp_path, monkeypatch, way):
    import slicer
    from DyCONTrainingLib import scene_write

    scenes.scans(2, 1)
    made, failures = scenes.logic(tmp_path, clock=ready)
    made.open(tmp_path / "set")
    made.add_scene()
    if way == "full disk":

        def full(*_arguments):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("DyCONTrainingLib.saving.write_text", full)
    made.save()
    made.poll()
    assert next((tmp_path / "set/images").iterdir()).name.startswith(".dycon-")
    if way == "cancel":
        made.cancel()
    elif way == "node gone":
        slicer.mrmlScene.RemoveNode(slicer.util.getNode("scan 2"))
    scenes.settle(made)
    assert files(tmp_path / "set") == []
    assert len(failures) == (0 if way == "cancel" else 1)
    assert not made.is_saved
    assert scene_write


def test_a_folder_is_added_under_neutral_names_and_its_files_are_not_touched(
    slicer_scene, tmp_path
):
    source = write_pairs(tmp_path / "Doe Jane", 4, 2)
    lines = [f"doe{n},images/pt0{n}.nii.gz,{LABEL[n]},D{n // 2}" for n in range(4)]
    (source / "manifest.csv").write_text("\n".join(["case,image,label,patient", *lines]))
    before = snapshot(source)
    made, failures = scenes.logic(tmp_path, clock=ready)
    made.open(tmp_path / "set")
    made.add_folder(source)
    scenes.settle(made)
    assert failures == []
    assert [(row.title, row.role.value, row.patient) for row in made.draft.rows] == [
        ("doe0", "labeled", "D0"), ("doe1", "labeled", "D0"),
        ("doe2", "unlabeled", "D1"), ("doe3", "unlabeled", "D1"),
    ]  # fmt: skip
    made.save()
    scenes.settle(made)
    assert failures == []
    assert snapshot(source) == before
    assert files(tmp_path / "set")[:2] == ["images/case-001.nii.gz", "images/case-002.nii.gz"]
    text = (tmp_path / "set/manifest.toml").read_text().lower()
    assert "doe" not in text
    assert [row.patient for row in made.draft.rows] == ["p1", "p1", "p2", "p2"]
    who = json.loads((tmp_path / "settings/who-is-who.json").read_text())
    assert next(iter(who.values()))["patients"] == {"p1": "D0", "p2": "D1"}
    assert made.problems == 0


def test_nobody_of_a_folder_is_held_out_but_by_the_person(slicer_scene, tmp_path):
    source = write_pairs(tmp_path / "pairs", 6, 5)  # of five the engine would hold one out
    made, failures = scenes.logic(tmp_path, clock=ready)
    made.open(tmp_path / "set")
    made.add_folder(source)
    scenes.settle(made)
    assert failures == []
    assert [row.role.value for row in made.draft.rows] == ["labeled"] * 5 + ["unlabeled"]


def test_label_values_of_a_folder_become_those_of_the_data_set(slicer_scene, tmp_path):
    from Testing.tiny_scans import mask, scan, write_scan

    scenes.scans(1, 0)
    made, _ = scenes.logic(tmp_path, clock=ready)
    made.open(tmp_path / "set")
    made.add_scene()
    source = tmp_path / "other"
    write_scan(source / "images/a.nii.gz", scan(1))
    write_scan(source / "labels/a.nii.gz", mask(values=(4, 7)))
    made.add_folder(source)
    scenes.settle(made)
    assert dict(made.draft.mapping.values) == {"ball": 1, "label 4": 2, "label 7": 3}
    made.set_mapping(made.draft.mapping.assigned("label 4", 0).assigned("label 7", 1))
    made.save()
    scenes.settle(made)
    stored = read_label(tmp_path / "set/labels/case-002.nii.gz").array
    assert set(np.unique(stored)) == {0, 1}
    np.testing.assert_array_equal(stored == 1, mask(values=(4, 7)) == 7)


@pytest.mark.parametrize("value", [0, 1])
def test_a_label_whose_segments_are_left_out_or_another_label_is_gone(
    slicer_scene, tmp_path, value
):
    image, inside = scenes.ball(60)
    drawn = {"ball": inside, "wall": np.roll(inside, 9, axis=0), "cyst": np.roll(inside, 9, axis=2)}
    scenes.segmentation(scenes.volume("scan", image), drawn)
    scenes.scans(0, 1)
    made, failures = scenes.logic(tmp_path, clock=ready)
    made.open(tmp_path / "set")
    made.add_scene()
    made.set_mapping(made.draft.mapping.assigned("wall", value).raised(1))
    assert scenes.findings(made) == []
    made.save()
    scenes.settle(made)
    assert (failures, scenes.findings(made), made.is_saved, made.unsaved) == ([], [], True, "")
    labels = find_cases(tmp_path / "set", DataConfig()).labels
    assert [(label.value, label.name) for label in labels][1:] == [(1, "ball"), (3, "cyst")]
    stored = read_label(tmp_path / "set/labels/case-001.nii.gz").array
    assert set(np.unique(stored)) == {0, 1, 3}
    made.set_mapping(made.draft.mapping.assigned("wall", 2))
    assert (made.is_saved, bool(made.unsaved)) == (False, True)


def test_a_second_scan_of_a_patient_gets_the_same_number(built, slicer_scene, tmp_path):
    one = scenes.volume("a", scenes.ball(20)[0])
    scenes.patient("Doe^Jane", one)
    built.add_scene()
    built.save()
    scenes.settle(built)
    assert built.draft.rows[-1].patient == "p1"
    later, _ = scenes.logic(tmp_path, clock=ready)
    later.open(tmp_path / "set")
    two = scenes.volume("b", scenes.ball(21)[0])
    item = scenes.patient("Doe^Jane", two)
    assert later.add_items([item]) == 1
    assert later.draft.rows[-1].patient == "p1"


def test_what_somebody_else_saved_meanwhile_is_not_undone(built, slicer_scene, tmp_path):
    from DyCONTrainingLib.cases import Role

    from dycon_engine.errors import InputError

    root = tmp_path / "set"
    other, failures = scenes.logic(tmp_path, clock=ready)
    other.open(root)
    other.set_role([0], Role.HELD_OUT)
    other.save()
    scenes.settle(other)
    before = snapshot(root)
    scenes.scans(0, 1, first=30)
    built.add_scene()
    built.set_role([1], Role.UNLABELED)
    draft = built.draft
    with pytest.raises(InputError, match=r"manifest\.toml has changed since it was opened"):
        built.save()
    assert (snapshot(root), built.draft, built.is_busy) == (before, draft, False)
    other.set_role([1], Role.HELD_OUT)  # its own save counts as opened
    other.save()
    (root / "manifest.toml").write_text("# by hand\n")  # while it is being written
    scenes.settle(other)
    assert "has changed since it was opened" in failures[0]
    assert (root / "manifest.toml").read_text() == "# by hand\n"


def test_a_list_of_who_is_who_that_cannot_be_read_is_never_written_over(
    built, slicer_scene, tmp_path, monkeypatch
):
    from DyCONTrainingLib.who_is_who import WhoIsWho

    from dycon_engine.errors import DyconError

    path = tmp_path / "settings/who-is-who.json"
    list_of_all = path.read_text()
    path.write_text(list_of_all[:-3])
    before = snapshot(tmp_path)
    later, _ = scenes.logic(tmp_path, clock=ready)
    with pytest.raises(DyconError, match=r"'.*who-is-who\.json': cannot be read \(it is damaged\)"):
        later.open(tmp_path / "set")
    assert later.folder is None
    built.set_role([0], built.draft.rows[1].role)
    built.save()
    scenes.settle(built)
    assert snapshot(tmp_path) == before
    for damage in ("[]", "[" * 99999, "\udcff".encode("utf-8", "surrogateescape")):
        path.write_bytes(damage if isinstance(damage, bytes) else damage.encode())
        with pytest.raises(DyconError, match="cannot be read"):
            WhoIsWho(path, "x")
    path.write_text(list_of_all)
    read = Path.read_text

    def failing(self, *arguments, **named):
        if self == path:
            raise OSError(5, "Input/output error")
        return read(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", failing)
        with pytest.raises(DyconError, match="Input/output error"):
            WhoIsWho(path, "").keep("new", {"case-001": "y"})
    assert path.read_text() == list_of_all


def test_two_slicers_keep_both_lists_of_who_is_who_and_nobody_else_reads_them(tmp_path):
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    path = tmp_path / "settings" / "who-is-who.json"
    path.parent.mkdir()
    path.write_text("{}")
    path.chmod(0o644)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        list(pool.map(keep_many, [path, path], "ab"))
    lists = json.loads(path.read_text())
    assert sorted(lists) == sorted(f"{name}{n}" for name in "ab" for n in range(10))
    assert all(each["cases"] == {"case-001": "x"} for each in lists.values())
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    if os.name != "nt":
        assert path.stat().st_mode & 0o777 == 0o600


def test_the_list_of_who_is_who_is_not_touched_while_another_slicer_writes_it(
    tmp_path, monkeypatch
):
    from DyCONTrainingLib import who_is_who

    from dycon_engine.errors import DyconError
    from dycon_engine.jobs.lock import RunLock

    monkeypatch.setattr(who_is_who, "TURN_S", 0.0)
    path = tmp_path / "who-is-who.json"
    with RunLock(tmp_path / "who-is-who.json.lock"):
        with pytest.raises(DyconError, match="the list of who is who is in use"):
            who_is_who.WhoIsWho(path, "a").keep("a", {})
        assert not path.exists()
    who_is_who.WhoIsWho(path, "a").keep("a", {})
    assert path.exists()


def keep_many(path, name):
    """Save ten data sets, as a Slicer does."""
    sys.path.insert(0, str(ROOT / "DyCONTraining"))
    from DyCONTrainingLib.who_is_who import WhoIsWho

    for number in range(10):
        WhoIsWho(path, f"{name}{number}").keep(f"{name}{number}", {"case-001": "x"})


def test_what_is_kept_for_a_data_set_is_added_to_what_is_there(tmp_path):
    from DyCONTrainingLib.who_is_who import WhoIsWho

    path = tmp_path / "who-is-who.json"
    one, two = WhoIsWho(path, "a"), WhoIsWho(path, "a")
    assert one.numbered("Doe^Jane", []) == "p1"
    one.keep("a", {"case-001": "first"})
    two.keep("a", {"case-002": "second"})
    found = WhoIsWho(path, "a")
    assert found.titles == {"case-001": "first", "case-002": "second"}
    assert found.patients == {"p1": "Doe^Jane"}


def test_a_folder_that_holds_something_else_is_refused(slicer_scene, tmp_path):
    from dycon_engine.errors import InputError

    made, _ = scenes.logic(tmp_path)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters/dear.txt").write_text("x")
    with pytest.raises(InputError, match="is not empty and no data set"):
        made.open(tmp_path / "letters")


def test_nothing_is_saved_without_a_folder_or_a_case(slicer_scene, tmp_path):
    from dycon_engine.errors import InputError

    made, _ = scenes.logic(tmp_path)
    with pytest.raises(InputError, match="no folder yet"):
        made.save()
    made.open(tmp_path / "set")
    with pytest.raises(InputError, match="no case yet"):
        made.save()


def test_a_case_that_the_segmentation_panel_added_is_found_and_used(built, tmp_path, monkeypatch):
    import sys
    from pathlib import Path

    import slicer

    from DyCONLib import mrml

    root = Path(__file__).resolve().parents[3]
    monkeypatch.setattr(sys, "path", [*sys.path, str(root / "DyCONSegmentation")])
    from DyCONSegmentationLib import training_set

    node = scenes.volume("corrected", scenes.ball(30)[0])
    drawn = scenes.segmentation(node, {"ball": scenes.ball(30)[1]})
    folder = tmp_path / "set"
    name = training_set.next_name(folder)
    assert name == "case-006"
    case = training_set.NewCase(
        channels=("",),
        labels={"ball": 1},
        colors={},
        write_images=[lambda path: mrml.export_volume(node, path)],
        write_label=lambda path: mrml.export_segmentation(drawn, node, path, {"ball": 1}),
    )
    training_set.add_case(folder, name, case)
    built.open(folder)
    assert built.folder.unlisted == (name,)
    scenes.settle(built)
    assert scenes.findings(built) == []
    built.save()
    scenes.settle(built)
    assert find_cases(folder, DataConfig()).case(name).role == "labeled"
    assert slicer.mrmlScene.IsNodePresent(node)
