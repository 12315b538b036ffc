"""Trained models as a panel shows them: read, found and imported without PyTorch.

Only the description in the file is read; the engine checks every byte again before it uses one.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from dycon_engine.errors import DamagedFileError, DyconError, InputError
from dycon_engine.jobs.files import atomic_write, sha256_of
from DyCONLib.evidence import Evidence, largest_seen_mm, read_evidence
from DyCONLib.uncertainty_kinds import holds_partner, refused_kinds

SUFFIX = ".dycon"
# limits and marks are those of dycon_engine.package, which needs PyTorch; a test compares them
LIMITS = {"README.md": 2**20, "model.json": 2**22, "weights.safetensors": 2**31 - 2**24}
CARD, MODEL, WEIGHTS = LIMITS
NEWEST_FORMAT = 1
LARGEST_DIRECTORY = 1024
LOCAL_HEADER = 30  # bytes before a member and its name, fixed by the zip format
LONGEST_TEXT = 1000
MOST_LABELS = 256
_END = struct.Struct("<4s4H2IH")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_MODALITIES = {"CT": "CT", "MR": "MR", "MRI": "MR", "PET": "PET", "PT": "PET", "US": "US"}
_UNREADABLE = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    OverflowError,
    struct.error,
    zlib.error,
)
_Value = TypeVar("_Value")


class ModelLabel(NamedTuple):
    """A segment that the model makes: its value in files, name, RGB color (0-255), coded term."""

    value: int
    name: str
    color: tuple[int, int, int] | None
    terminology: str


class Channel(NamedTuple):
    """An input of the model, and the ending of its file names, e.g. `_0000`; empty if any."""

    name: str
    pattern: str


@dataclass(frozen=True)
class Model:
    """What a panel shows of a model; None where the file does not say.

    Attributes:
        path: The file.
        name: Its name without the ending.
        segments: What it segments, without the background.
        channels: What it needs.
        modality: CT, MR, PET or US where channels or intensity window tell, else empty.
        method: How it was trained.
        labeled_cases: Cases trained on with labels.
        unlabeled_cases: Cases trained on without.
        validation_cases: Cases of the figures below.
        dice: Mean Dice on them, 0 to 1.
        ece: Expected calibration error after calibration.
        notice: Intended use.
        raw: The whole description.
        evidence: What was measured beyond the figures above.
        largest_seen_mm: Largest field of view of the training scans (x, y, z).
        refused_kinds: Kinds of uncertainty that it cannot give, and why.
    """

    path: Path
    name: str
    segments: tuple[ModelLabel, ...]
    channels: tuple[Channel, ...]
    modality: str
    method: str
    labeled_cases: int | None
    unlabeled_cases: int | None
    validation_cases: int | None
    dice: float | None
    ece: float | None
    notice: str
    raw: Mapping[str, Any]
    evidence: Evidence = field(default_factory=Evidence)
    largest_seen_mm: tuple[float, float, float] | None = None
    refused_kinds: Mapping[str, str] = field(default_factory=dict)


class Broken(NamedTuple):
    """A file that is no usable model, and why in one sentence."""

    path: Path
    reason: str


def models_folder(settings_file: str | Path) -> Path:
    """Return the person's folder of models, the same for both panels and all versions of Slicer.

    Args:
        settings_file: `slicer.app.slicerUserSettingsFilePath`; the folder lies beside it.
    """
    return Path(settings_file).parent / "DyCON-models"


def read_model(path: Path, *, weights: bool = False) -> Model:
    """Return what the model at `path` says about itself.

    Args:
        path: NAME.dycon.
        weights: Check the weights against their hash too, which reads the whole file.

    Raises:
        InputError: Not readable, not a model, damaged, or of a newer version; one sentence.
    """
    try:
        with path.open("rb") as stream:
            return _read(path, stream, weights=weights)
    except DyconError:
        raise
    except OSError as error:
        raise InputError(
            f"model '{path.name}': cannot be read ({error.strerror}); check the path"
        ) from None
    except _UNREADABLE as error:
        raise _damaged(path, f"{type(error).__name__}: {str(error)[:100]}") from None


def find_models(folders: Iterable[Path]) -> list[Model | Broken]:
    """Return every model in `folders`, folder by folder and by name; absent folders hold none."""
    found: list[Model | Broken] = []
    for folder in folders:
        for path in sorted(folder.glob(f"[!.]*{SUFFIX}"), key=lambda item: item.name.casefold()):
            try:
                found.append(read_model(path))
            except InputError as error:
                found.append(Broken(path, str(error)))
    return found


def import_model(path: Path, folder: Path, *, overwrite: bool = False) -> Model:
    """Copy the model at `path` into `folder`, whole or not at all, and return the copy.

    Raises:
        InputError: Not a model, or another one of this name is there and `overwrite` is False.
        DyconError: The disk is full or failed.
    """
    read_model(path, weights=True)
    if path.suffix != SUFFIX:
        raise InputError(f"model '{path.name}': the name must end in {SUFFIX}; rename it")
    target = folder / path.name
    digest = sha256_of(path)
    if target.exists():
        if sha256_of(target) == digest:
            return read_model(target)
        if not overwrite:
            raise InputError(
                f"model '{path.name}': another one of this name is in '{folder}'; rename one"
            )

    def verify(staged: Path) -> None:
        if sha256_of(staged) != digest:
            raise DyconError(f"model '{path.name}': changed while it was copied; repeat")

    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(target, lambda staged: _copy(path, staged), verify=verify)
    return read_model(target)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def _read(path: Path, stream: BinaryIO, *, weights: bool) -> Model:
    _require_small_directory(path, stream)
    with zipfile.ZipFile(stream) as archive:
        _require_plain_members(path, archive.infolist())
        raw = _json(archive.read(MODEL))
        _require_known_format(path, raw)
        if weights:
            archive.read(CARD)  # its checksum
            with archive.open(WEIGHTS) as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type]
            if digest != raw["weights_sha256"]:
                raise _damaged(path, "the weights are not those of the description")
        with archive.open(WEIGHTS) as content:
            has_partner = holds_partner(content)
    return _model(path, raw, has_partner)


def _require_small_directory(path: Path, stream: BinaryIO) -> None:
    """Refuse an archive whose list of members is not the few bytes of a model's."""
    size = stream.seek(0, 2)
    stream.seek(max(0, size - LARGEST_DIRECTORY))
    tail = stream.read(LARGEST_DIRECTORY)
    if len(tail) < _END.size:
        raise _damaged(path, "too short")
    mark, *_, length, offset, _ = _END.unpack(tail[-_END.size :])
    if mark != b"PK\5\6" or b"PK\6\7" in tail:
        raise _damaged(path, "not an archive, or cut short")
    if length > LARGEST_DIRECTORY or offset + length + _END.size != size:
        raise _damaged(path, "repacked or forged")


def _require_plain_members(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse anything but the three members, stored one right after the other."""
    if [entry.filename for entry in entries] != list(LIMITS):
        raise _damaged(path, "expected README.md, model.json and weights.safetensors")
    offset = 0
    for entry in entries:
        stored = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits
        if not stored or entry.file_size > LIMITS[entry.filename]:
            raise _damaged(path, f"{entry.filename} is compressed, encrypted or too large")
        if entry.header_offset != offset or entry.compress_size != entry.file_size:
            raise _damaged(path, f"{entry.filename} lies about its size")
        offset += LOCAL_HEADER + len(entry.filename) + entry.file_size


def _require_known_format(path: Path, raw: Mapping[str, Any]) -> None:
    version = raw["format_version"]
    if isinstance(version, int) and version > NEWEST_FORMAT:
        raise InputError(
            f"model '{path.name}': format version {version}, this extension reads up to "
            f"{NEWEST_FORMAT}; update the extension"
        )


def _model(path: Path, raw: Mapping[str, Any], has_partner: bool | None) -> Model:
    training = _of(raw["training"], dict)
    validation = training.get("validation")
    validation = validation if isinstance(validation, dict) else {}
    names = [_text(name) for name in _of(raw["channels"], list)]
    patterns = [_text(name) for name in _of(raw["name_patterns"], list)] or [""] * len(names)
    return Model(
        path=path,
        name=path.name.removesuffix(SUFFIX),
        segments=_labels(raw)[1:],
        channels=tuple(map(Channel, names, patterns)),
        modality=_modality(names, _of(raw["preprocessing"], dict)),
        method=_text(training.get("method", "")),
        labeled_cases=_count(training.get("labeled_cases")),
        unlabeled_cases=_count(training.get("unlabeled_cases")),
        validation_cases=_count(validation.get("cases")),
        dice=_share(validation.get("dice")),
        ece=_share(_of(raw["calibration"], dict).get("ece_after")),
        notice=_text(raw["notice"]),
        raw=raw,
        evidence=_evidence(raw),
        largest_seen_mm=largest_seen_mm(raw),
        refused_kinds=refused_kinds(raw, has_partner=has_partner),
    )


def _evidence(raw: Mapping[str, Any]) -> Evidence:
    evidence = read_evidence(raw)
    for text in (*evidence.source, *evidence.limits, evidence.page):
        _text(text)
    return evidence


def _labels(raw: Mapping[str, Any]) -> tuple[ModelLabel, ...]:
    entries = _of(raw["labels"], list)
    labels = tuple(_label(_of(entry, dict)) for entry in entries)
    values = {label.value for label in labels}
    if not 1 < len(labels) <= MOST_LABELS or len(values) < len(labels) or min(values) < 0:
        raise ValueError(f"{len(labels)} labels with {len(values)} values")
    return labels


def _label(entry: Mapping[str, Any]) -> ModelLabel:
    rgb: tuple[int, int, int] | None = None
    if entry["color"] is not None:
        r, g, b = (_of(part, int) for part in _of(entry["color"], list))
        if not all(0 <= part < 256 for part in (r, g, b)):  # noqa: PLR2004 - a byte
            raise ValueError("a color beyond 255")
        rgb = (r, g, b)
    return ModelLabel(
        _of(entry["value"], int), _text(entry["name"]), rgb, _text(entry["terminology"])
    )


def _modality(channels: list[str], preprocessing: Mapping[str, Any]) -> str:
    words = (word.upper() for name in channels for word in re.split(r"[\W_\d]+", name))
    named = next((_MODALITIES[word] for word in words if word in _MODALITIES), "")
    return named or ("CT" if preprocessing.get("normalization") == "window" else "")


def _json(content: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            raise ValueError("a name is there twice")
        return table

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no number")

    table = json.loads(content.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    return _of(table, dict)


def _text(value: Any) -> str:
    text = _of(value, str)
    if len(text) > LONGEST_TEXT or _CONTROL.search(text):
        raise ValueError("a text that is too long or holds control characters")
    return text


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _share(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if math.isfinite(value) else None


def _of(value: Any, kind: type[_Value]) -> _Value:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{type(value).__name__} where {kind.__name__} is expected")
    return value


def _damaged(path: Path, fault: str) -> DamagedFileError:
    return DamagedFileError(
        f"model '{path.name}': not a usable DyCON model ({_CONTROL.sub(' ', fault)}); "
        "get the file again from its source"
    )
