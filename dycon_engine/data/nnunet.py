"""Cases of the two layouts with a dataset.json: nnU-Net raw and Segmentation Decathlon."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dycon_engine.data.cases import Case, Dataset, Label
from dycon_engine.data.formats.readers import image_stem, is_readable_image
from dycon_engine.data.listing import is_there, list_folder
from dycon_engine.data.unread import Unread, unread_among, unread_lines
from dycon_engine.errors import InputError

CHANNEL_DIGITS = 4  # ID_0000: four digits name the channel
IGNORE = "ignore"  # in nnU-Net 2 the voxels that nobody labeled


def is_nnunet(root: Path) -> bool:
    """Return whether `root` looks like nnU-Net raw data: a first channel, ID_0000, is there."""
    folder = root / "imagesTr"
    stems = (image_stem(path) for path in list_folder(folder)) if folder.is_dir() else ()
    return any((found := _channel(stem)) is not None and found[1] == 0 for stem in stems)


def is_msd(root: Path) -> bool:
    """Return whether `root` has a dataset.json that lists its training files.

    So has nnU-Net 1, but its list names files that are not there: ID.nii.gz for ID_0000.nii.gz.
    """
    if not (root / "dataset.json").is_file():
        return False
    training = _read_json(root).get("training")
    if not isinstance(training, list) or not training:
        return False
    return not is_nnunet(root) or any(_is_whole(root, entry) for entry in training)


def find_nnunet(root: Path) -> Dataset:
    """Return the cases of imagesTr and imagesTs; those without a label are unlabeled.

    Test scans with a label in labelsTs are `test`; without one they are unlabeled training scans.

    Raises:
        InputError: dataset.json is not usable.
    """
    card = _read_json(root) if (root / "dataset.json").is_file() else {}
    channels, problems, cases = _channels(card), [], []
    notes: list[str] = []
    for part in ("Tr", "Ts"):
        found = _by_case(root / f"images{part}")
        labels = _stems(root / f"labels{part}")
        problems += [*_twice(root / f"images{part}"), *_twice(root / f"labels{part}")]
        usual = len(channels) or max((len(files) for files in found.values()), default=0)
        for name, files in found.items():
            lacking = sorted(set(range(usual)) - set(files))
            if lacking:
                problems.append(
                    f"case '{name}': channel file '{name}_{lacking[0]:04d}' is missing, expected "
                    f"{usual} channels; add it or remove the case"
                )
            label = labels.get(name)
            role = "test" if part == "Ts" and label is not None else None
            images = tuple(files[index] for index in sorted(files))
            cases.append(Case(name, images, label, role=role))
        without_scan = {
            stem: name
            for name in labels.keys() - found.keys()
            for stem in (name, *(f"{name}_{channel:04d}" for channel in range(usual)))
        }
        without_label = {name: name for name in found if name not in labels}
        for folder, needed in (("images", without_scan), ("labels", without_label)):
            errors, told = unread_lines(_unread(root / f"{folder}{part}"), needed)
            problems, notes = [*problems, *errors], [*notes, *told]
    problems += _ignore_label(root, card)
    cases.sort(key=lambda case: case.name)
    names = [case.name for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems += [f"case '{name}': in imagesTr and in imagesTs; keep one" for name in twice]
    return Dataset(
        root,
        "nnunet",
        tuple(cases),
        channels=channels,
        labels=_labels(root, card),
        problems=tuple(problems),
        notes=(*notes, *_transductive(cases, "imagesTs")),
    )


def find_msd(root: Path) -> Dataset:
    """Return the cases that dataset.json lists under training and test (without label: unlabeled).

    Raises:
        InputError: dataset.json is not usable.
    """
    card = _read_json(root)
    cases, problems, notes = [], [], []
    for entry in card.get("training", []):
        image = _image_of(root, entry, "training")
        label = _inside(root, entry["label"]) if entry.get("label") else None
        if label is not None and not is_there(label):
            notes.append(f"case '{image_stem(image)}': label '{label}' is missing; used unlabeled")
            label = None
        cases.append(Case(image_stem(image), (image,), label))
    for entry in card.get("test", []):
        image = _inside(root, entry) if isinstance(entry, str) else _image_of(root, entry, "test")
        cases.append(Case(image_stem(image), (image,)))
    names = [case.name for case in cases]
    problems += [
        f"case '{name}': listed twice in dataset.json; keep one"
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    return Dataset(
        root,
        "msd",
        tuple(sorted(cases, key=lambda case: case.name)),
        channels=_channels(card),
        labels=_labels(root, card),
        problems=tuple(problems),
        notes=(*notes, *_transductive(cases, "test")),
    )


def _read_json(root: Path) -> dict[str, Any]:
    path = root / "dataset.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"'{path}': cannot be read as JSON ({error}); correct it") from error
    if not isinstance(content, dict):
        raise InputError(f"'{path}': holds no table, expected labels and channel_names; correct it")
    return content


def _channels(card: Mapping[str, Any]) -> tuple[str, ...]:
    names = card.get("channel_names", card.get("modality", {}))
    if not isinstance(names, Mapping):
        return ()
    return tuple(str(names[key]) for key in sorted(names, key=lambda key: (len(key), key)))


def _labels(root: Path, card: Mapping[str, Any]) -> tuple[Label, ...]:
    """Return the labels of {name: value} (nnU-Net 2) or {value: name} (nnU-Net 1, Decathlon)."""
    table = card.get("labels", {})
    if not isinstance(table, Mapping) or not table:
        return ()
    labels = []
    for key, value in table.items():
        number, name = (key, value) if str(key).lstrip("-").isdigit() else (value, key)
        if str(name) == IGNORE:  # `_ignore_label` says so
            continue
        if isinstance(number, list) or not str(number).lstrip("-").isdigit():
            raise InputError(
                f"'{root / 'dataset.json'}': label '{name}' is {number!r}, expected one number; "
                "overlapping regions are not supported, list the single structures"
            )
        labels.append(Label(int(number), str(name)))
    labels.sort(key=lambda label: label.value)
    if labels[0].value != 0:
        labels.insert(0, Label(0, "background"))
    return tuple(labels)


def _ignore_label(root: Path, card: Mapping[str, Any]) -> list[str]:
    """Return a line where dataset.json of nnU-Net 2 declares voxels that nobody labeled."""
    table = card.get("labels", {})
    if not isinstance(table, Mapping) or IGNORE not in table:
        return []
    text = (
        f"'{root / 'dataset.json'}': the label '{IGNORE}' is not supported; give the voxels of "
        f"value {table[IGNORE]} a class or 0, or take the label maps that hold it away, and remove "
        "the label from the list"
    )
    return [text]


def _by_case(folder: Path) -> dict[str, dict[int, Path]]:
    """Return the channel files of each case, sorted by name."""
    found: dict[str, dict[int, Path]] = {}
    for path in list_folder(folder) if folder.is_dir() else ():
        split = _channel(image_stem(path)) if is_readable_image(path) else None
        if split is not None:
            found.setdefault(split[0], {})[split[1]] = path
    return found


def _channel(stem: str) -> tuple[str, int] | None:
    """Return case name and channel of a stem like ID_0000."""
    name, _, digits = stem.rpartition("_")
    fits = bool(name) and len(digits) == CHANNEL_DIGITS and digits.isdigit()
    return (name, int(digits)) if fits else None


def _stems(folder: Path) -> dict[str, Path]:
    paths = list_folder(folder) if folder.is_dir() else []
    return {image_stem(path): path for path in paths if is_readable_image(path)}


def _unread(folder: Path) -> list[Unread]:
    """Return what in `folder` is no scan, and in a folder of images what is no channel."""
    paths = list_folder(folder) if folder.is_dir() else []
    readable = [path for path in paths if is_readable_image(path)]
    nameless = [path for path in readable if _channel(image_stem(path)) is None]
    told = [
        Unread(path, f"expected a channel number in its name, as '{image_stem(path)}_0000'")
        for path in (nameless if folder.name.startswith("images") else ())
    ]
    return [*told, *unread_among(path for path in paths if path not in set(readable))]


def _twice(folder: Path) -> list[str]:
    """Return a line per file whose name another one has with another ending."""
    problems, seen = [], dict[str, Path]()
    for path in list_folder(folder) if folder.is_dir() else ():
        other = seen.setdefault(image_stem(path), path) if is_readable_image(path) else path
        if other is not path:
            problems.append(
                f"case '{image_stem(path)}': two files, '{other.name}' and '{path.name}', in "
                f"'{folder.name}'; keep one"
            )
    return problems


def _image_of(root: Path, entry: Any, part: str) -> Path:
    """Return the image of an entry {image, label}.

    Raises:
        InputError: It has none.
    """
    if not isinstance(entry, Mapping) or "image" not in entry:
        raise InputError(
            f"'{root / 'dataset.json'}': entry {entry!r} of {part} has no image; expected "
            "{image, label}"
        )
    return _inside(root, entry["image"])


def _is_whole(root: Path, entry: Any) -> bool:
    """Return whether an entry {image, label} names one scan that is there, and its label."""
    if not isinstance(entry, Mapping) or not entry.get("image") or not entry.get("label"):
        return False
    image, label = root / str(entry["image"]), root / str(entry["label"])
    return image_stem(image) == image_stem(label) and is_there(image) and is_there(label)


def _inside(root: Path, name: object) -> Path:
    """Return the file `name` below `root`.

    Raises:
        InputError: The name leads out of the folder.
    """
    path = root / str(name)
    if ".." in path.relative_to(root).parts if path.is_relative_to(root) else True:
        raise InputError(
            f"'{root / 'dataset.json'}': '{name}' leads out of the folder; expected a file in it"
        )
    return path


def _transductive(cases: list[Case], where: str) -> tuple[str, ...]:
    count = sum(case.label is None and case.images[0].parent.name == "imagesTs" for case in cases)
    if not count:
        return ()
    what = "1 scan" if count == 1 else f"{count} scans"
    note = (
        f"{what} of {where} without a label: used as unlabeled training data; move away what is to "
        "stay unseen"
    )
    return (note,)
