"""The survey: one pass over the images, no label, failures as lines."""

from __future__ import annotations

import time
import tracemalloc

import nibabel
import numpy as np
import pytest

from dycon_engine.config import DataConfig
from dycon_engine.data import blank
from dycon_engine.data import survey as survey_module
from dycon_engine.data.blank import unpacked
from dycon_engine.data.cases import Case, Dataset
from dycon_engine.data.formats.stored import scan_bytes
from dycon_engine.data.layouts import find_cases
from dycon_engine.data.survey import look_at, survey, voxel_hash
from Testing.tiny_scans import mask, scan, write_pairs, write_scan


def test_facts_in_the_order_of_the_cases(tmp_path):
    root = write_pairs(tmp_path, 4, 2, spacing=(3.0, 1.0, 2.0))
    for path in (root / "labels").iterdir():
        path.write_bytes(b"never read")
    dataset, seen = find_cases(root, DataConfig()), []
    scans = survey(dataset, DataConfig(), lambda *count: seen.append(count))
    assert [one.name for one in scans] == [case.name for case in dataset.cases]
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [one.problem for one in scans] == [""] * 4
    first = scans[0]
    assert (first.channels, first.geometry.spacing_mm) == (1, (3.0, 1.0, 2.0))
    assert (first.low, first.high) == ((float(scan(0).min()),), (float(scan(0).max()),))


def test_the_same_voxels_have_the_same_hash_in_any_format(tmp_path):
    write_scan(tmp_path / "a.nii", scan(0).round().astype(np.int16))
    write_scan(tmp_path / "b.nii.gz", scan(0).round())
    write_scan(tmp_path / "c.nii.gz", scan(0).round().reshape(6, 8, 7))
    hashes = [one.sha256 for one in survey(find_cases(tmp_path, DataConfig()), DataConfig())]
    assert hashes[0] == hashes[1] != hashes[2]
    one = scan(0)[None]
    assert voxel_hash(one) == voxel_hash(np.asfortranarray(one)) != voxel_hash(-one)


def test_the_order_of_axes_has_a_hash_of_its_own(tmp_path):
    array = scan(0).round()
    write_scan(tmp_path / "a.nii", array)
    image = nibabel.load(tmp_path / "a.nii")
    nibabel.as_closest_canonical(image).to_filename(tmp_path / "b.nii")
    one, other = survey(find_cases(tmp_path, DataConfig()), DataConfig())
    assert one.sha256 == voxel_hash(array[None]) == one.oriented_sha256  # already axial LPS
    assert other.sha256 == voxel_hash(array[None, :, ::-1, ::-1]) != one.sha256
    assert other.oriented_sha256 == one.oriented_sha256


def test_the_hash_of_a_scan_is_frozen():
    values = np.arange(24, dtype=np.int16).reshape(1, 2, 3, 4)
    assert voxel_hash(values) == "bde8209b38833347ff947f4cfba4ba26bbb0308a20122bf612ef845ea8c7a8b5"
    assert (
        voxel_hash(values[0]) == "68e4f95436fa4beab46df06a7f1dd3da5f906710f9f2354a4b675c22960618f3"
    )


def test_a_labeled_scan_takes_what_is_counted_for_it(tmp_path, monkeypatch):
    """So that one that is let in by its header never asks for more."""
    for module in (blank, survey_module):
        monkeypatch.setattr(module, "PART", 2**14)  # small beside the scan, as in true ones
    array = np.zeros((96, 96, 96), np.float32)
    array[0, 0, 0], array[::17, ::13] = 7, 3
    write_scan(tmp_path / "a.nii.gz", array)
    case = Case("a", (tmp_path / "a.nii.gz",), label=tmp_path / "never read.nii.gz")
    look_at(case, DataConfig())  # what is imported on the way is not counted
    tracemalloc.start()
    scan_seen = look_at(case, DataConfig())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert scan_seen.blank
    assert 0.6 < peak / scan_bytes(array.size, 4) < 1.1


@pytest.mark.parametrize(("room", "together"), [(0, 1), (2.5, 2)])
def test_scans_are_read_one_by_one_where_two_exceed_the_share_of_memory(
    tmp_path, monkeypatch, room, together
):
    root = write_pairs(tmp_path, 4, 0)
    monkeypatch.setattr(survey_module, "room", lambda: room * scan_bytes(scan(0).size, 4))
    working, most = [], []

    def reading(case, config):
        working.append(case.name)
        time.sleep(0.1)
        most.append(len(working))
        working.remove(case.name)
        return look_at(case, config)

    monkeypatch.setattr(survey_module, "look_at", reading)
    found = survey(find_cases(root, DataConfig()), DataConfig())
    assert [one.name for one in found] == [f"pt{n:02d}" for n in range(4)]
    assert max(most) == together


def test_few_whole_values_are_counted(tmp_path):
    labels = mask(values=(1, 5)).astype(np.float32)
    write_scan(tmp_path / "a.nii", labels)
    write_scan(tmp_path / "b.nii", labels * 0.5)
    write_scan(tmp_path / "c.nii", scan(0).round())
    for name, values in (("d.nii", 20), ("e.nii", 21)):
        write_scan(tmp_path / name, (np.arange(336) % values).reshape(6, 7, 8).astype(np.float32))
    scans = survey(find_cases(tmp_path, DataConfig()), DataConfig())
    assert [one.whole_values for one in scans] == [3, 0, 0, 20, 0]


def test_what_is_blank_is_kept_of_scans_with_a_label(tmp_path):
    image = scan(0, (12, 14, 16))
    image[:, :, :8] = 0.0
    write_scan(tmp_path / "images/a.nii", image)
    write_scan(tmp_path / "images/b.nii", image)
    write_scan(tmp_path / "labels/a.nii", mask((12, 14, 16)))
    one, other = survey(find_cases(tmp_path, DataConfig()), DataConfig())
    assert np.array_equal(unpacked(one.blank, (12, 14, 16)), image == 0.0)
    assert other.blank == b""
    assert unpacked(other.blank, (12, 14, 16)) is None


def test_failures_become_one_line_that_names_the_case(tmp_path):
    cut = write_scan(tmp_path / "cut.nii.gz", scan(0))
    cut.write_bytes(cut.read_bytes()[:100])
    cases = (Case("cut", (cut,)), Case("lost", (tmp_path / "lost.nii",)))
    scans = survey(Dataset(tmp_path, "manifest", cases), DataConfig())
    for one in scans:
        assert one.sha256 == ""
        assert f"case '{one.name}'" in one.problem
        assert "\n" not in one.problem
