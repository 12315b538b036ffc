"""The words of the panel: how the run stands, what a result means."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from DyCONLib.install import INSTALLING, hindrance
from DyCONLib.preflight import Device, Machine
from DyCONSegmentationLib.report import Region, Report, StructureVolume
from DyCONSegmentationLib.review import ReviewList

RESEARCH = (
    "For research use only. Not a medical device; not for diagnosis or treatment planning. "
    "Check every segmentation."
)
NO_MODEL = (
    "Import a model (a file NAME.dycon) with the button beside, or train one in DyCON Training"
)
STARTING = "Starting the engine"
EXPORTING = "Exporting the volumes"
STEPS = {
    "reading": "Reading the scan",
    "segmenting": "Segmenting",
    "measuring": "Measuring volumes and uncertainty",
    "writing": "Writing the result",
}
KIND_TIPS = (  # of the kinds of uncertainty in the order of their selector
    "How near the probabilities come to the toss of a coin; takes nearly no time",
    "Where the two networks of a model, such as student and teacher, disagree; if it holds two",
    "As standard, with random parts of the network off; only for models trained with dropout",
    "As standard, of the scan and mirror images; one more pass for each axis that was mirrored",
)
REGION_ADVICE = "What helps: draw a region of interest around the organ, then segment again."
_VERSION = re.compile(r"[<>=!~ ]")
LOOK_THROUGH = "Look through the whole scan all the same: a model can be sure and wrong."
NEXT = "Next: Export, or Add to training set."
NOTHING_FOUND = (
    "Nothing was found: the segmentation is empty. Check that the scan shows what this model "
    "segments."
)
UNLIKE = "This scan is unlike those the model was trained on; the result may be wrong:"
EMPTY = "empty-result"
MISSING = "empty-label"
UNKNOWN_RANGE = "range-unknown"


class Banner(NamedTuple):
    """A message above everything else; `kind` is error, warning, note or '' for none."""

    kind: str
    text: str


NO_BANNER = Banner("", "")


def kind_tip(row: int, refused: str) -> str:
    """Return the tool tip of a kind of uncertainty; `refused` says why a model cannot give it."""
    return f"Not with this model: {refused}" if refused else KIND_TIPS[row]


def step_text(stage: str) -> str:
    """Return the name of an engine's stage for people."""
    return STEPS.get(stage, stage.replace("_", " ").replace("-", " ").capitalize())


def duration_text(seconds: float) -> str:
    """Return a duration as people say it: 8 s, 1 min 05 s, 2 h 03 min."""
    whole = max(0, math.ceil(seconds))
    if whole < 60:  # noqa: PLR2004 - seconds a minute
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:  # noqa: PLR2004 - minutes an hour
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def times_text(elapsed_s: float, remaining_s: float) -> str:
    """Return elapsed and remaining time in few words; below 0 is unknown."""
    elapsed = f"{duration_text(elapsed_s)} elapsed"
    return f"{elapsed}, about {duration_text(remaining_s)} left" if remaining_s >= 0 else elapsed


def volume_text(milliliters: float) -> str:
    """Return a volume with three digits that count: 0.42, 4.21, 42.1, 421."""
    if milliliters == 0:
        return "0"
    decimals = max(0, min(3, 2 - math.floor(math.log10(abs(milliliters)))))
    return f"{milliliters:.{decimals}f}"


def made_text(report: Report, model: str) -> str:
    """Return in one line how a result was made."""
    device = "the CPU" if report.device == "cpu" else report.device
    return f"Model {model}, {duration_text(report.seconds)} on {device}"


def structure_row(structure: StructureVolume) -> tuple[str, str, str, str, str]:
    """Return name, volume, interval, boundary uncertainty and the word that asks for review."""
    boundary = structure.boundary_uncertainty
    return (
        structure.name,
        volume_text(structure.ml),
        f"{volume_text(structure.low_ml)} - {volume_text(structure.high_ml)}",
        "-" if boundary is None else f"{boundary:.2f}",
        "review" if structure.review else "",
    )


def report_text(report: Report) -> tuple[str, bool]:
    """Return the volumes of a result in one line, and whether something asks for review."""
    words = ", ".join(f"{v.name} {volume_text(v.ml)} ml" for v in report.volumes)
    found = banner(report)
    asks = found.kind in ("error", "warning") or any(v.review for v in report.volumes)
    line = " ".join(found.text.replace("\u2022 ", "").splitlines())
    return (f"{words} - {line}" if found.kind in ("error", "warning") else words, asks)


def region_row(region: Region) -> tuple[str, str, str, str]:
    """Return rank, structure nearby, volume in ml and mean uncertainty."""
    milliliters = region.volume_mm3 / 1000.0
    name = ", ".join(region.labels) or "no structure near"
    return (str(region.rank), name, volume_text(milliliters), f"{region.mean:.2f}")


def setup_text(missing: Sequence[str], *, installing: bool = False) -> str:
    """Return what must be installed before anything can be segmented; '' where nothing.

    Args:
        missing: Packages as pip calls them, e.g. `torch>=2.6`.
        installing: Whether that goes on.
    """
    if not missing:
        return ""
    if installing:
        return INSTALLING
    if hindrance():
        return f"Segmenting is not possible here: {hindrance()}."
    names = [_VERSION.split(name)[0] for name in missing]
    parts = ["PyTorch"] if "torch" in names else []
    others = [name for name in names if name != "torch"]
    if others:
        parts.append(f"the Python package{'s' * (len(others) > 1)} {', '.join(others)}")
    return (
        f"Segmenting needs {' and '.join(parts)}, which this 3D Slicer does not have yet. You are "
        "asked before anything is downloaded; it is installed once, into Slicer's own Python."
    )


def python_text(chosen: Path | None) -> str:
    """Return which Python runs the engine."""
    return "The engine runs in Slicer's Python." if chosen is None else f"Engine's Python: {chosen}"


def machine_text(machine: Machine) -> str:
    """Return what a computer can do, a line per thing."""
    lines = [f"Automatic device: {_device_name(machine.best)}"]
    for device in machine.devices:
        memory = ""
        if device.free_gib is not None and device.total_gib is not None:
            memory = f", {device.free_gib:.1f} of {device.total_gib:.1f} GiB free"
        state = "works" if device.works else "does NOT work with this PyTorch"
        lines.append(f"{_device_name(device)} {state}{memory}")
    if machine.broken_gpu is not None:
        lines.append(
            "The graphics card is seen but cannot compute: install PyTorch anew in the module "
            "PyTorch Utils, for this card."
        )
    lines.append(f"Memory: {machine.memory_gib:.1f} GiB free")
    lines.append(f"Disk: {machine.disk_gib:.0f} GiB free")
    lines.append(f"PyTorch {machine.torch}, {machine.cores} processor cores")
    return "\n".join(lines)


def _device_name(device: Device) -> str:
    return "CPU" if device.kind == "cpu" else f"{device.name} ({device.kind})"


def left_text(review: ReviewList, report: Report) -> str:
    """Return how much of the review list is still to be done; never that a scan is all clear."""
    listed, found = len(review.regions), report.regions_found
    if listed == 0:
        why = "nothing was segmented" if is_empty(report) else "no region is uncertain enough"
        return f"The list is empty: {why}."
    more = found > listed
    if review.left == 0:
        what = f"The {listed} most important of {found}" if more else f"All {listed}"
        return f"{what} uncertain regions are reviewed."
    left = f"{review.left} of {listed} regions left to review"
    return f"{left} (the {listed} most important of {found})" if more else left


def advice_text(review: ReviewList, report: Report) -> str:
    """Return what to do when nothing of the review list is left; '' before."""
    if review.left:
        return ""
    return LOOK_THROUGH if is_empty(report) else f"{LOOK_THROUGH} {NEXT}"


def is_empty(report: Report) -> bool:
    """Return whether nothing at all was segmented."""
    return any(flag.topic == EMPTY for flag in report.flags)


def banner(report: Report) -> Banner:
    """Return what a person must know before trusting a result, a line per finding."""
    missing = [_sentence(flag.message) for flag in report.flags if flag.topic == MISSING]
    unknown = [_sentence(flag.message) for flag in report.flags if flag.topic == UNKNOWN_RANGE]
    said_apart = (EMPTY, MISSING, UNKNOWN_RANGE)
    outside = [
        f"\u2022 {_sentence(flag.message)}" for flag in report.flags if flag.topic not in said_apart
    ]
    if is_empty(report):
        why = ["Possible reasons:", *outside] if outside else []
        return Banner("error", "\n".join((NOTHING_FOUND, *why)))
    if outside:
        return Banner("warning", "\n".join((*missing, UNLIKE, *outside)))
    if missing:
        return Banner("warning", "\n".join(missing))
    return Banner("note", unknown[0]) if unknown else NO_BANNER


def with_advice(found: Banner) -> Banner:
    """Return a banner that also says that a region helps."""
    return found._replace(text=f"{found.text}\n{REGION_ADVICE}")


def _sentence(text: str) -> str:
    end = "" if text.endswith((".", "?", "!")) else "."
    return f"{text[:1].upper()}{text[1:]}{end}"
