"""What `model.json` says about a trained model, checked when it is read."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dycon_engine.config import LONGEST_TEXT, InferenceConfig, NetworkConfig
from dycon_engine.data.cases import Label
from dycon_engine.data.geometry import Size
from dycon_engine.data.preprocessing import Preprocessing
from dycon_engine.data.seen import Seen
from dycon_engine.errors import DamagedFileError, InputError
from dycon_engine.networks.composing import Composition
from dycon_engine.package import plain
from dycon_engine.package.evidence import Evidence
from dycon_engine.settings import Table, as_table, build

FORMAT_VERSION = 1
NOTICE = (
    "For research use only. Not a medical device; not for diagnosis or treatment planning. "
    "Check every segmentation."
)
LICENSE = "as stated by whoever trained the model"

OPTIONAL = {"composition", "evidence"}  # left out where there is nothing to say
MOST_CHANNELS = 64
MOST_CLASSES = 256
MOST_LEVELS = 10
MOST_FILTERS = 8192
LONGEST_PATCH = 1024
LARGEST_PATCH = 2**27
TEMPERATURES = (0.01, 100.0)
SHOWN = 40  # characters of a text in a message
SPACING_MM = (1e-4, 1000.0)  # the lower end as in the settings
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Calibration:
    """How far the probabilities can be trusted, measured on validation cases.

    Attributes:
        temperature: Logits are divided by it before the softmax; 1 = as trained.
        ece_before: Expected calibration error without it, None where it was not measured.
        ece_after: The same with it.
        risk_coverage: (share of voxels kept, error among them), most certain first.
    """

    temperature: float = 1.0
    ece_before: float | None = None
    ece_after: float | None = None
    risk_coverage: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class PackageInfo:
    """Everything about a model but its weights.

    Attributes:
        network: Architecture of the predictor and of its partner, or of the networks it is made of.
        channels: Name per input channel.
        labels: Class index -> value in files, name, color, terminology; 0 is the background.
        preprocessing: From a scan to the network's input.
        patch_size: Window (z, y, x), voxels.
        seen: Range of the training scans; None where it is not known (imported weights).
        training: Method, settings, counts, hash of the split, validation metrics; no names, no
            paths.
        calibration: Temperature and how well it works.
        inference: Defaults of the sliding window.
        composition: How the predictor is made of such networks; `single`: it is one.
        name_patterns: File name ending per channel, e.g. `_0000`.
        evidence: Where the model comes from and what it was measured to do, for shipped ones.
        engine_version: The engine that wrote the package.
        weights_sha256: Of `weights.safetensors`; filled in by `save_package`.
        license: Under which the model may be used.
        notice: Intended use.
        format_version: Of this description.
    """

    network: NetworkConfig
    channels: tuple[str, ...]
    labels: tuple[Label, ...]
    preprocessing: Preprocessing
    patch_size: Size
    seen: Seen | None = None
    training: Table = field(default_factory=dict)
    calibration: Calibration = Calibration()
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    composition: Composition = field(default_factory=Composition)
    name_patterns: tuple[str, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)
    engine_version: str = ""
    weights_sha256: str = ""
    license: str = LICENSE
    notice: str = NOTICE
    format_version: int = FORMAT_VERSION

    @property
    def classes(self) -> int:
        """K, background included."""
        return len(self.labels)

    @property
    def mirrored_axes(self) -> str | None:
        """Letters of zyx along which training mirrored patches; None where it is not known."""
        axes = self.training.get("mirrored_axes")
        return axes if isinstance(axes, str) and set(axes) <= set("zyx") else None

    def as_table(self) -> Table:
        """Return plain JSON values; `composition` and `evidence` only where there is any."""
        composed = self.composition != Composition()
        measured = self.evidence != Evidence()
        return {
            "calibration": dataclasses.asdict(self.calibration),
            "channels": list(self.channels),
            "engine_version": self.engine_version,
            "format_version": self.format_version,
            "inference": as_table(self.inference),
            "labels": [label._asdict() for label in self.labels],
            "license": self.license,
            "name_patterns": list(self.name_patterns),
            "network": as_table(self.network),
            "notice": self.notice,
            "patch_size": list(self.patch_size),
            "preprocessing": self.preprocessing.as_table(),
            "seen": None if self.seen is None else self.seen.as_table(),
            "training": self.training,
            "weights_sha256": self.weights_sha256,
            **({"composition": as_table(self.composition)} if composed else {}),
            **({"evidence": self.evidence.as_table()} if measured else {}),
        }

    @staticmethod
    def from_table(table: Mapping[str, Any], where: str) -> PackageInfo:
        """Return the description of `as_table`, every value checked.

        Raises:
            InputError: Written by a newer engine.
            DamagedFileError: Something is missing, unknown, of a wrong type or out of range; the
                message starts with `where`.
        """
        version = table.get("format_version")
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise InputError(
                f"{where}: format version {version}, this engine reads up to {FORMAT_VERSION}; "
                "install a newer engine"
            )
        try:
            info = _build(table)
            check(info)
        except (
            InputError,
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            OverflowError,
        ) as error:
            raise DamagedFileError(
                f"{where}: {_plain(error)}; get the package again from its source"
            ) from None
        return info


def check(info: PackageInfo) -> None:
    """Check ranges, so that nothing absurd is ever built.

    Raises:
        InputError: Naming the first value that is out of range.
    """
    network, seen = info.network, info.seen
    texts = (
        *(info.channels + info.name_patterns),
        *(text for label in info.labels for text in (label.name, label.terminology)),
        *(info.license, info.notice, info.engine_version),
        *info.evidence.texts(),
    )
    long = next((text for text in texts if len(text) > LONGEST_TEXT), "")
    odd = next((text for text in texts if _CONTROL.search(text)), "")
    values = [label.value for label in info.labels]
    low, high = TEMPERATURES
    spacing, (finest, coarsest) = info.preprocessing.spacing_mm, SPACING_MM
    checks = (
        (1 <= len(info.channels) <= MOST_CHANNELS, f"{len(info.channels)} channels"),
        (2 <= info.classes <= MOST_CLASSES, f"{info.classes} labels"),  # noqa: PLR2004 - with bg.
        (len(set(values)) == len(values), "two labels with one value"),
        (all(0 <= value < 2**31 for value in values), "a label value below 0 or beyond 31 bits"),
        (1 <= len(network.filters) <= MOST_LEVELS, f"{len(network.filters)} network levels"),
        (all(1 <= n <= MOST_FILTERS for n in network.filters), "absurd network filters"),
        (all(1 <= n <= LONGEST_PATCH for n in info.patch_size), "absurd patch size"),
        (math.prod(info.patch_size) <= LARGEST_PATCH, "absurd patch size"),
        (low <= info.calibration.temperature <= high, "absurd temperature"),
        (all(finest <= mm <= coarsest for mm in spacing), f"absurd spacing {spacing} mm"),
        (len(info.name_patterns) in (0, len(info.channels)), "name patterns unlike channels"),
        (not long, f"a text that is too long ({long[:SHOWN]!r}...)"),
        (not odd, f"control characters in a text ({odd[:SHOWN]!r})"),
        (seen is None or len(seen.histogram) == len(info.channels), "seen range unlike channels"),
        (
            seen is None or len(seen.texture) in (0, len(info.channels)),
            "seen texture unlike channels",
        ),
        (
            seen is None or len(seen.volumes_ml) in (0, info.classes - 1),
            "seen volumes unlike labels",
        ),
    )
    for good, fault in checks:
        if not good:
            raise InputError(f"{fault} is not possible")
    info.evidence.check()


def _build(table: Mapping[str, Any]) -> PackageInfo:
    names = {item.name for item in dataclasses.fields(PackageInfo)}
    found = set(table) | OPTIONAL
    if found != names or table["format_version"] != FORMAT_VERSION:
        odd = sorted(found ^ names) or ["format_version"]
        raise InputError(f"'{odd[0][:LONGEST_TEXT]}' is missing, unknown or wrong")
    seen = table["seen"]
    z, y, x = (plain.integer(n) for n in table["patch_size"])
    return PackageInfo(
        network=build(NetworkConfig, plain.table(table["network"]), "network"),
        channels=plain.texts(table["channels"]),
        labels=tuple(_label(item) for item in plain.items(table["labels"])),
        preprocessing=Preprocessing.from_table(plain.table(table["preprocessing"])),
        patch_size=(z, y, x),
        seen=None if seen is None else Seen.from_table(plain.table(seen)),
        training=plain.table(table["training"]),
        calibration=_calibration(plain.table(table["calibration"])),
        inference=build(InferenceConfig, plain.table(table["inference"]), "inference"),
        composition=build(Composition, plain.table(table.get("composition", {})), "composition"),
        name_patterns=plain.texts(table["name_patterns"]),
        evidence=Evidence.from_table(plain.table(table["evidence"]))
        if "evidence" in table
        else Evidence(),
        engine_version=plain.text(table["engine_version"]),
        weights_sha256=_digest(table["weights_sha256"]),
        license=plain.text(table["license"]),
        notice=plain.text(table["notice"]),
        format_version=plain.integer(table["format_version"]),
    )


def _label(item: Any) -> Label:
    entry = plain.table(item)
    color = entry["color"]
    rgb: tuple[int, int, int] | None = None
    if color is not None:
        r, g, b = (plain.integer(part) for part in plain.items(color))
        if not all(0 <= part <= 255 for part in (r, g, b)):  # noqa: PLR2004 - a byte
            raise InputError("a label color is not three numbers of 0 to 255")
        rgb = (r, g, b)
    return Label(
        plain.integer(entry["value"]),
        plain.text(entry["name"]),
        rgb,
        plain.text(entry["terminology"]),
    )


def _calibration(entry: Table) -> Calibration:
    curve = tuple(
        (plain.number(a), plain.number(b)) for a, b in plain.items(entry["risk_coverage"])
    )
    before, after = (plain.optional(entry[name]) for name in ("ece_before", "ece_after"))
    return Calibration(plain.number(entry["temperature"]), before, after, curve)


def _digest(value: Any) -> str:
    if not _SHA256.fullmatch(plain.text(value)):
        raise InputError("weights_sha256 is not a sha256")
    return plain.text(value)


def _plain(error: Exception) -> str:
    text = _CONTROL.sub(" ", str(error))[:300] or type(error).__name__
    return f"{text} is missing" if isinstance(error, KeyError) else text
