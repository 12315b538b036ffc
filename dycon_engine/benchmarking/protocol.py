"""A protocol: which cases are labeled, unlabeled, validation and test, and what others reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dycon_engine.data.cases import Dataset
from dycon_engine.data.hidden import ORACLE_NOTICE
from dycon_engine.errors import DatasetError, InputError
from dycon_engine.settings import known, read_toml, toml_text

FOLDER = Path(__file__).with_name("protocols")


@dataclass(frozen=True)
class Published:
    """A figure somebody reported; percent and voxels as in the papers.

    Attributes:
        method: Name, with what sets it apart.
        dice: Mean Dice, percent.
        jaccard: Percent; None where it was not reported.
        hd95_voxels: The same.
        asd_voxels: The same.
        checkpoint: How the weights were chosen.
        split: Whether the cases are those of the protocol: the same, another, not stated, or more.
    """

    method: str
    dice: float
    jaccard: float | None = None
    hd95_voxels: float | None = None
    asd_voxels: float | None = None
    checkpoint: str = "not stated"
    split: str = "the same"


@dataclass(frozen=True)
class Protocol:
    """A split by case names.

    Attributes:
        name: E.g. la-8.
        title: Data set in words.
        labels: Names of the classes, background left out.
        source: Where the split comes from.
        labeled: Trained on with their labels.
        unlabeled: Trained on without.
        validation: Watched and calibrated on; often none.
        test: Scored once, never seen in training.
        published: What others reported for the same number of labels.
        published_note: What sets the data of all those apart from ours, a sentence or more.
        availability: What is known of cases that cannot be had, the same.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    source: str
    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    published: tuple[Published, ...] = ()
    published_note: str = ""
    availability: str = ""

    @property
    def training(self) -> Mapping[str, str]:
        """Role of every case that training may see."""
        roles = (("labeled", self.labeled), ("unlabeled", self.unlabeled))
        return {
            name: role
            for role, names in (*roles, ("validation", self.validation))
            for name in names
        }


def protocol_names() -> tuple[str, ...]:
    """Return the names of all shipped protocols."""
    return tuple(
        f"{path.stem}-{variant}"
        for path in sorted(FOLDER.glob("*.toml"))
        for variant in read_toml(path)["variants"]
    )


def load_protocol(name: str) -> Protocol:
    """Return the protocol NAME-VARIANT, e.g. la-8, or FILE.toml-VARIANT of a file of one's own.

    Raises:
        InputError: An unknown name or variant, or a file that is no protocol.
    """
    stem, _, variant = name.rpartition("-")
    path = Path(stem)
    if path.suffix != ".toml":
        known(name, protocol_names(), "protocol")
        path = FOLDER / f"{stem}.toml"
    content = read_toml(path)
    try:
        return _protocol(name, variant, content, str(path.name))
    except (KeyError, TypeError) as error:
        raise InputError(
            f"protocol '{path}': {error} is missing or wrong; expected title, labels, source, "
            "train, test, [variants] and optionally validation, published_note, availability and "
            "[[published]]"
        ) from None


def write_manifest(
    path: Path, protocol: Protocol, dataset: Dataset, *, oracle: bool = False
) -> None:
    """Write the manifest of what training may see: no test case, no label of an unlabeled case.

    With `oracle`, for the audit of the label leak alone, those labels too.

    Raises:
        DatasetError: Cases of the protocol, the test cases too, or labels are not there.
    """
    found = {case.name: case for case in dataset.cases}
    needed = {**protocol.training, **dict.fromkeys(protocol.test, "test")}
    missing = sorted(set(needed) - set(found))
    bare = sorted(
        name
        for name, role in needed.items()
        if name in found and (oracle or role != "unlabeled") and found[name].label is None
    )
    problems = []
    if missing:
        words = f"{len(missing)} of {len(needed)} cases are missing: {_some(missing)}"
        problems.append("; ".join(filter(None, (words, protocol.availability.removesuffix(".")))))
    if bare:
        problems.append(f"{len(bare)} cases have no label map: {_some(bare)}")
    if problems:
        where = f"data '{dataset.root}', protocol {protocol.name}"
        raise DatasetError([f"{where}: {problem}" for problem in problems])
    lines = [f"# {ORACLE_NOTICE}\n"] if oracle else []
    lines += [f"channels = {toml_text(list(dataset.channels))}\n"] if dataset.channels else []
    lines.append("[labels]\nbackground = 0\n")
    lines += [f"{toml_text(text)} = {n}\n" for n, text in enumerate(protocol.labels, start=1)]
    for name, role in protocol.training.items():
        case = found[name]
        images = [str(image.absolute()) for image in case.images]
        entry: dict[str, Any] = {"name": name, "images": images, "role": role}
        if (oracle or role != "unlabeled") and case.label is not None:
            entry["label"] = str(case.label.absolute())
        rows = "".join(f"{key} = {toml_text(value)}\n" for key, value in entry.items())
        lines.append(f"\n[[case]]\n{rows}")
    path.write_text("".join(lines), encoding="utf-8")


def _protocol(name: str, variant: str, content: Mapping[str, Any], file: str) -> Protocol:
    variants = content["variants"]
    count = int(variants[known(variant, variants, f"variant of {file}")])
    train = tuple(map(str, content["train"]))
    if not 1 <= count <= len(train):
        raise InputError(f"protocol {name}: {count} labeled of {len(train)} training cases")
    protocol = Protocol(
        name=name.replace(".toml", "").rpartition("/")[2],
        title=str(content["title"]),
        labels=tuple(map(str, content["labels"])),
        source=str(content["source"]),
        labeled=train[:count],
        unlabeled=train[count:],
        validation=tuple(map(str, content.get("validation", ()))),
        test=tuple(map(str, content["test"])),
        published=tuple(
            Published(**{key: value for key, value in row.items() if key != "variant"})
            for row in content.get("published", ())
            if known(str(row["variant"]), variants, f"variant of [[published]] in {file}")
            == variant
        ),
        published_note=str(content.get("published_note", "")),
        availability=str(content.get("availability", "")),
    )
    everybody = [*train, *protocol.validation, *protocol.test]
    twice = sorted({case for case in everybody if everybody.count(case) > 1})
    if twice:
        raise InputError(f"protocol {name}: case '{twice[0]}' is listed twice; keep one")
    return protocol


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
