"""Prepared training cases: kept on disk, checked on every start, in memory while they fit.

One entry per case, named by a hash of its voxels, its label's voxels and the preprocessing:
`NAME.image.npy`, for labeled cases `NAME.label.npy`, and `NAME.json` with the sha256 of both. An
entry that is damaged, half written or of another version is made again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dycon_engine.config import DataConfig
from dycon_engine.data.cases import (
    Case,
    Dataset,
    Label,
    class_indices,
    read_case_image,
    read_case_label,
    read_stored_label,
    segment_names,
)
from dycon_engine.data.formats.readers import read_header
from dycon_engine.data.mapped import SentByFile, workers_share_memory
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.seen import ScanFacts, Seen, facts_from_table, facts_table, scan_facts
from dycon_engine.data.splits import Split, apply_split
from dycon_engine.data.survey import voxel_hash
from dycon_engine.errors import InputError
from dycon_engine.jobs.files import atomic_write, sha256_of, write_text

CACHE_VERSION = 2
HALF_MAX = 60_000.0  # larger prepared values do not fit float16


@dataclass(frozen=True, eq=False)
class LabeledCase(SentByFile):
    """A prepared training case with its label.

    Attributes:
        name: The case.
        image: (C, D, H, W) float16, or float32 where values need it; in memory or mapped.
        label: (D, H, W) uint8 class indices on the same grid.
    """

    name: str
    image: NDArray[Any]
    label: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class UnlabeledCase(SentByFile):
    """A prepared training case of which no label is known; `image` as in `LabeledCase`."""

    name: str
    image: NDArray[Any]


@dataclass(frozen=True, eq=False)
class TrainingData:
    """All that training may look at."""

    labeled: tuple[LabeledCase, ...]
    unlabeled: tuple[UnlabeledCase, ...]
    seen: Seen


@dataclass(frozen=True)
class _Entry:
    """The files of one cached case."""

    image: Path
    label: Path | None
    card: Path

    @property
    def arrays(self) -> tuple[Path, ...]:
        return (self.image,) if self.label is None else (self.image, self.label)


def prepare_training(
    dataset: Dataset,
    split: Split,
    preprocessing: Preprocessing,
    config: DataConfig,
    cache_dir: Path,
    on_case: Callable[[int, int], None] | None = None,
) -> TrainingData:
    """Return the prepared training cases; only label files of `split.labeled` are ever read.

    Args:
        dataset: The cases, with `labels` known.
        split: Which cases are labeled and unlabeled; their content hashes name the cache entries.
        preprocessing: How scans are prepared.
        config: Spacing of files without one; memory limit.
        cache_dir: Where the entries lie; made where absent.
        on_case: Called with (done, total) after each case.

    Raises:
        InputError: A case cannot be read, or its label does not fit it.
    """
    visible = apply_split(dataset, split)
    cases = [visible.case(name) for name in (*split.labeled, *split.unlabeled)]
    if not cases:
        raise InputError(f"'{dataset.root}': no case to train on; add scans or mend the split")
    _make_folder(cache_dir)
    entries, facts = [], []
    for done, case in enumerate(cases, start=1):
        labels = dataset.labels if case.name in split.labeled else ()
        key = _key(case, split.sha256[case.name], preprocessing, labels, config)
        entry = _entry(key, cache_dir)
        known = _checked_facts(entry)
        facts.append(_fill(entry, case, preprocessing, labels, config) if known is None else known)
        entries.append(entry)
        if on_case is not None:
            on_case(done, len(cases))
    size = sum(path.stat().st_size for entry in entries for path in entry.arrays)
    mapped = size > config.cache_gib * 2**30 or not workers_share_memory()
    images = [_load(entry.image, mapped=mapped) for entry in entries]
    count = len(split.labeled)
    labeled = [
        LabeledCase(case.name, image, _load(entry.label, mapped=mapped))
        for case, image, entry in zip(cases[:count], images, entries, strict=False)
        if entry.label is not None
    ]
    rest = zip(cases[count:], images[count:], strict=True)
    unlabeled = [UnlabeledCase(case.name, image) for case, image in rest]
    volumes = [_volumes_ml(case.label, preprocessing, len(dataset.labels)) for case in labeled]
    return TrainingData(tuple(labeled), tuple(unlabeled), Seen.of(facts, volumes))


def _key(
    case: Case,
    sha256: str,
    preprocessing: Preprocessing,
    labels: Sequence[Label],
    config: DataConfig,
) -> dict[str, Any]:
    """Return all that a prepared case depends on; 'label' only where it has one."""
    grid = read_header(case.images[0]).geometry.affine
    key: dict[str, Any] = {
        "version": CACHE_VERSION,
        "image": sha256,
        "grid": [f"{value:.6g}" for value in grid.ravel()],
        "spacing_mm": config.spacing_mm,
        "preprocessing": preprocessing.as_table(),
    }
    if labels and case.label is not None:
        key["label"] = voxel_hash(read_stored_label(case, config).array)
        key["values"] = [label.value for label in labels]
        names = segment_names(case)
        if names:
            key["indices"] = sorted(class_indices(labels, names).items())
    return key


def _entry(key: Mapping[str, Any], cache_dir: Path) -> _Entry:
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    label = cache_dir / f"{name}.label.npy" if "label" in key else None
    return _Entry(cache_dir / f"{name}.image.npy", label, cache_dir / f"{name}.json")


def _fill(
    entry: _Entry,
    case: Case,
    preprocessing: Preprocessing,
    labels: Sequence[Label],
    config: DataConfig,
) -> ScanFacts:
    """Prepare `case` and write its entry, the card last; return its facts."""
    image = read_case_image(case, config)
    prepared = preprocessing.prepare(image)
    if not np.isfinite(prepared.array).all():
        raise InputError(
            f"case '{case.name}': holds NaN or infinite intensities; mend or exclude it"
        )
    half = float(np.abs(prepared.array).max(initial=0.0)) <= HALF_MAX
    arrays = {entry.image: prepared.array.astype(np.float16 if half else np.float32)}
    if entry.label is not None:
        label = read_case_label(case, labels, config)
        arrays[entry.label] = preprocessing.prepare_label(label, len(labels))
        assert arrays[entry.label].shape == prepared.array.shape[1:]  # noqa: S101 - one grid
    entry.card.unlink(missing_ok=True)
    for path, array in arrays.items():
        atomic_write(path, lambda staged, array=array: _save(staged, array))  # type: ignore[misc]
    facts = scan_facts(image, prepared)
    _write_card(entry, facts)
    return facts


def _save(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _write_card(entry: _Entry, facts: ScanFacts) -> None:
    body = {
        "sha256": {path.name: sha256_of(path) for path in entry.arrays},
        "facts": facts_table(facts),
    }
    text = json.dumps(body)
    write_text(entry.card, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")


def _checked_facts(entry: _Entry) -> ScanFacts | None:
    """Return the facts of a whole, undamaged entry, else None."""
    try:
        digest, _, text = entry.card.read_bytes().partition(b"\n")
        if digest.decode("ascii") != hashlib.sha256(text).hexdigest():
            return None
        body = json.loads(text)
        if any(body["sha256"][path.name] != sha256_of(path) for path in entry.arrays):
            return None
        if len({_load(path, mapped=True).shape[-3:] for path in entry.arrays}) > 1:
            return None  # by an engine that took a label's own spacing, which rounding changed
        return facts_from_table(body["facts"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _volumes_ml(
    label: NDArray[np.uint8], preprocessing: Preprocessing, classes: int
) -> tuple[float, ...]:
    """Return the volume of every label of a prepared (D, H, W), background left out."""
    counts = np.zeros(classes, dtype=np.int64)
    for part in label:  # by slice: bincount copies to int64
        counts += np.bincount(part.ravel(), minlength=classes)
    milliliter = math.prod(preprocessing.spacing_mm) / 1000.0
    return tuple(float(count) * milliliter for count in counts[1:])


def _load(path: Path, *, mapped: bool) -> NDArray[Any]:
    loaded: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    return loaded


def _make_folder(cache_dir: Path) -> None:
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cache folder '{cache_dir}': cannot be made ({error.strerror}); choose another folder"
        ) from error
