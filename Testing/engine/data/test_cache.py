"""The cache: what training sees, what it may not see, and when an entry is made again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle

import h5py
import numpy as np
import pytest

from dycon_engine.config import DataConfig
from dycon_engine.data import cache
from dycon_engine.data.cache import prepare_training
from dycon_engine.data.cases import Label
from dycon_engine.data.layouts import find_cases
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.splits import split_cases
from dycon_engine.errors import InputError
from Testing.tiny_scans import mask, scan, write_pairs, write_scan

LABELS = (Label(0, "background"), Label(1, "foreground"))
CONFIG = DataConfig(labeled=2, validation=1)
PREPROCESSING = Preprocessing((1.0, 1.0, 1.0))


def prepared(root, folder, *, preprocessing=PREPROCESSING, config=CONFIG, labels=LABELS):
    dataset = dataclasses.replace(find_cases(root, config), labels=labels)
    split = split_cases(dataset, config)
    return prepare_training(dataset, split, preprocessing, config, folder)


@pytest.fixture
def root(tmp_path):
    return write_pairs(tmp_path / "data", 5, 5)


@pytest.fixture
def fills(monkeypatch):
    """The names of the cases that were prepared anew."""
    names = []
    fill = cache._fill
    monkeypatch.setattr(
        cache,
        "_fill",
        lambda entry, case, *rest: names.append(case.name) or fill(entry, case, *rest),
    )
    return names


def test_arrays_are_the_prepared_ones(root, tmp_path):
    data = prepared(root, tmp_path / "cache")
    assert (len(data.labeled), len(data.unlabeled), data.seen.cases) == (2, 2, 4)
    case = data.labeled[0]
    assert (case.image.dtype, case.label.dtype) == (np.float16, np.uint8)
    assert case.image.shape == (1, *case.label.shape)
    assert np.array_equal(case.label, mask())
    assert abs(float(case.image.astype(np.float32).mean())) < 0.01
    milliliters = pytest.approx(np.count_nonzero(mask()) / 1000.0)
    assert data.seen.volumes_ml == ((milliliters, milliliters),)
    assert len(data.seen.texture) == 1
    assert not hasattr(data.unlabeled[0], "label")


def test_second_start_prepares_nothing_and_returns_the_same(root, tmp_path, fills):
    first = prepared(root, tmp_path / "cache")
    assert len(fills) == 4
    second = prepared(root, tmp_path / "cache")
    assert len(fills) == 4
    assert second.seen == first.seen
    for one, other in zip(first.labeled, second.labeled, strict=True):
        assert np.array_equal(one.image, other.image)
        assert np.array_equal(one.label, other.label)


def test_masks_of_unlabeled_cases_change_nothing(root, tmp_path, fills):
    first = prepared(root, tmp_path / "cache")
    for case in first.unlabeled:
        (root / "labels" / f"{case.name}.nii.gz").write_bytes(b"scrambled")
    prepared(root, tmp_path / "cache")
    for case in first.unlabeled:
        (root / "labels" / f"{case.name}.nii.gz").unlink()
    last = prepared(root, tmp_path / "cache")
    assert [case.name for case in last.labeled] == [case.name for case in first.labeled]
    assert {case.name for case in last.unlabeled} == {case.name for case in first.unlabeled}
    assert len(fills) == 4


def test_a_label_that_slips_through_the_split_is_not_opened(root, tmp_path, monkeypatch):
    """`apply_split` takes the labels away; without it only those of labeled cases are read."""
    monkeypatch.setattr(cache, "apply_split", lambda dataset, _split: dataset)
    split = split_cases(find_cases(root, CONFIG), CONFIG)
    for name in (*split.unlabeled, *split.validation):
        (root / "labels" / f"{name}.nii.gz").write_bytes(b"scrambled")
    assert len(prepared(root, tmp_path / "cache").labeled) == 2
    assert len(list((tmp_path / "cache").glob("*.label.npy"))) == 2


@pytest.mark.parametrize("change", ["image", "spacing", "label", "preprocessing", "values"])
def test_every_input_of_an_entry_renews_it(root, tmp_path, fills, change):
    data = prepared(root, tmp_path / "cache")
    name, before = data.labeled[0].name, len(fills)
    image, label = (root / folder / f"{name}.nii.gz" for folder in ("images", "labels"))
    changed = {}
    if change == "image":
        write_scan(image, scan(77))
    elif change == "spacing":
        write_scan(image, scan(int(name[2:])), spacing=(2.0, 1.0, 1.0))
        write_scan(label, mask(), spacing=(2.0, 1.0, 1.0))
    elif change == "label":
        write_scan(label, np.roll(mask(), 1, axis=0))
    elif change == "preprocessing":
        changed["preprocessing"] = Preprocessing((1.0, 1.0, 2.0))
    else:
        changed["labels"] = (Label(0, "background"), Label(2, "other"), Label(1, "foreground"))
    renewed = prepared(root, tmp_path / "cache", **changed)
    assert name in fills[before:]
    if change == "values":
        assert sorted(np.unique(renewed.labeled[0].label)) == [0, 2]


def test_another_spacing_for_files_without_one_renews_their_entries(tmp_path):
    """Their header says 1 mm whatever `data.spacing_mm` is; the network's grid may be fixed."""
    root = tmp_path / "data"
    root.mkdir()
    for index in range(3):
        with h5py.File(root / f"pt{index}.h5", "w") as file:  # x y z
            file["image"], file["label"] = scan(index).T, mask().T
    config = DataConfig(labeled=2, validation=1)
    before = prepared(root, tmp_path / "cache", config=config)
    config = dataclasses.replace(config, spacing_mm=(2.0, 1.0, 1.0))
    after = prepared(root, tmp_path / "cache", config=config)
    assert before.labeled[0].image.shape == (1, 6, 7, 8)
    assert after.labeled[0].image.shape == (1, 12, 7, 8)
    assert after.labeled[0].label.shape == (12, 7, 8)


def test_large_sets_are_mapped_from_disk(root, tmp_path):
    small = dataclasses.replace(CONFIG, cache_gib=0.0)
    data = prepared(root, tmp_path / "cache", config=small)
    assert isinstance(data.labeled[0].image, np.memmap)
    assert not data.labeled[0].image.flags.writeable
    in_memory = prepared(root, tmp_path / "cache")
    assert not isinstance(in_memory.labeled[0].image, np.memmap)
    assert np.array_equal(in_memory.unlabeled[1].image, data.unlabeled[1].image)


@pytest.mark.parametrize("factor", [1e4, -1e4])
def test_values_beyond_float16_keep_float32(tmp_path, factor):
    root = write_pairs(tmp_path / "data", 3, 3)
    for index in range(3):
        write_scan(root / "images" / f"pt{index:02d}.nii.gz", scan(index) * factor)
    data = prepared(root, tmp_path / "cache", preprocessing=Preprocessing((1, 1, 1), "none"))
    assert data.labeled[0].image.dtype == np.float32
    assert np.isfinite(data.labeled[0].image).all()


def test_progress_counts_every_case(root, tmp_path):
    dataset = dataclasses.replace(find_cases(root, CONFIG), labels=LABELS)
    split = split_cases(dataset, CONFIG)
    seen = []
    folder = tmp_path / "a" / "b"
    prepare_training(dataset, split, PREPROCESSING, CONFIG, folder, lambda *n: seen.append(n))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_label_on_another_grid_is_one_line(root, tmp_path):
    for path in (root / "labels").iterdir():
        write_scan(path, mask((6, 7, 9)))
    with pytest.raises(InputError, match=r"case 'pt0\d': label is 9x7x6 .*exclude the case"):
        prepared(root, tmp_path / "cache")


def test_cache_folder_that_cannot_be_made_is_one_line(root, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cache folder .* cannot be made"):
        prepared(root, tmp_path / "file" / "cache")


def test_a_mapped_case_goes_to_another_process_by_its_file(tmp_path):
    root = write_pairs(tmp_path / "data", 3, 2)
    for index in range(3):
        write_scan(root / "images" / f"pt{index:02d}.nii.gz", scan(index, (32, 32, 32)))
        if index < 2:
            write_scan(root / "labels" / f"pt{index:02d}.nii.gz", mask((32, 32, 32)))
    config = DataConfig(cache_gib=0.0, validation=0)
    data = prepared(root, tmp_path / "cache", config=config)
    for case in (*data.labeled, *data.unlabeled):
        parcel = pickle.dumps(case)
        assert len(parcel) < 1000 < case.image.nbytes
        back = pickle.loads(parcel)  # noqa: S301 - our own
        for name in ("image", "label") if hasattr(case, "label") else ("image",):
            before, after = getattr(case, name), getattr(back, name)
            assert isinstance(after, np.memmap)
            assert not after.flags.writeable
            assert (after.dtype, after.shape) == (before.dtype, before.shape)
            assert np.array_equal(before, after)


def test_a_part_of_a_map_and_an_array_in_memory_go_by_value(root, tmp_path):
    data = prepared(root, tmp_path / "cache", config=dataclasses.replace(CONFIG, cache_gib=0.0))
    case = data.unlabeled[0]
    for image in (case.image[:, 2:5], np.asarray(case.image).copy()):
        back = pickle.loads(pickle.dumps(dataclasses.replace(case, image=image)))  # noqa: S301
        assert np.array_equal(back.image, image)


@pytest.mark.parametrize(("method", "mapped"), [("fork", False), ("spawn", True), (None, None)])
def test_where_workers_get_copies_the_cases_are_mapped(root, tmp_path, monkeypatch, method, mapped):
    methods = {"get_start_method": lambda allow_none: method}
    if method is None:  # nothing chosen: what the system begins with
        mapped, methods["get_all_start_methods"] = True, lambda: ["forkserver", "fork", "spawn"]
    for name, value in methods.items():
        monkeypatch.setattr(f"dycon_engine.data.mapped.multiprocessing.{name}", value)
    data = prepared(root, tmp_path / "cache")
    assert isinstance(data.labeled[0].image, np.memmap) is mapped
    assert isinstance(data.labeled[0].label, np.memmap) is mapped


def test_an_entry_whose_label_has_another_size_is_made_again(root, tmp_path, fills):
    """Earlier engines prepared a label on its own grid, a rounding away from the image's."""
    name = prepared(root, tmp_path / "cache").labeled[0].name
    fills.clear()
    for card in (tmp_path / "cache").glob("*.json"):
        label = card.with_name(f"{card.stem}.label.npy")
        if label.is_file():
            np.save(label, np.zeros((6, 7, 9), np.uint8))
            body = json.loads(card.read_text().partition("\n")[2])
            body["sha256"][label.name] = hashlib.sha256(label.read_bytes()).hexdigest()
            text = json.dumps(body)
            card.write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")
    again = prepared(root, tmp_path / "cache")
    assert name in fills
    assert all(case.label.shape == case.image.shape[1:] for case in again.labeled)
