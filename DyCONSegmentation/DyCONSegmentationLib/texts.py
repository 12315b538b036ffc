"""The words of the panel: how the run stands, what a result means, what a model is."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from DyCONLib.install import INSTALLING, hindrance
from DyCONLib.models import Model
from DyCONLib.preflight import Device, Machine
from DyCONSegmentationLib.report import Region, Report, StructureVolume

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
REGION_ADVICE = "What helps: draw a region of interest around the organ, then segment again."
MOST_LIMITS = 5  # the worst ones; all of them are on the model's page
HOMEPAGE = "https://github.com/SlicerDyCON/SlicerDyCON"
_PAGE = re.compile(r"docs/[\w./-]+\.md")  # of our own repository
_VERSION = re.compile(r"[<>=!~ ]")
EMPTY = "empty-result"
UNKNOWN_RANGE = "range-unknown"


class Banner(NamedTuple):
    """A message above everything else; `kind` is error, warning, note or '' for none."""

    kind: str
    text: str


NO_BANNER = Banner("", "")


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


def reason_text(structures: Sequence[StructureVolume], row: int) -> str:
    """Return why the structure in this row asks for review; below 0 of the first one that does."""
    chosen = structures[row : row + 1] if row >= 0 else structures
    return next((f"{each.name}: {each.review}" for each in chosen if each.review), "")


def report_text(report: Report) -> tuple[str, bool]:
    """Return the volumes of a result in one line, and whether something asks for review."""
    words = ", ".join(f"{v.name} {volume_text(v.ml)} ml" for v in report.volumes)
    found = banner(report)
    asks = found.kind in ("error", "warning") or any(v.review for v in report.volumes)
    return (f"{words} - {found.text}" if found.kind in ("error", "warning") else words, asks)


def region_row(region: Region) -> tuple[str, str, str, str]:
    """Return rank, structure nearby, volume in ml and mean uncertainty."""
    milliliters = region.volume_mm3 / 1000.0
    name = ", ".join(region.labels) or "no structure near"
    return (str(region.rank), name, volume_text(milliliters), f"{region.mean:.2f}")


def card_html(model: Model) -> str:
    """Return what a model is and how good it was, in few lines of HTML."""
    names = ", ".join(segment.name for segment in model.segments)
    kind = f" in {model.modality}" if model.modality else ""
    lines = [f"<b>{html.escape(names)}</b>{html.escape(kind)}", *_training_lines(model)]
    lines.append(_calibration_line(model))
    return "<br>".join(lines)


def _calibration_line(model: Model) -> str:
    if model.ece is None:
        return "Not calibrated: take the uncertainty as relative only"
    trust = model.evidence.trust
    where = f"within {trust.band_mm:g} mm of the edge " if trust is not None else ""
    error = trust.ece_near if trust is not None else model.ece
    return f"Calibrated: {where}probabilities are off by {100 * error:.1f} % on average"


def _training_lines(model: Model) -> Iterator[str]:
    if model.labeled_cases is not None:
        more = f" and {model.unlabeled_cases} unlabeled" if model.unlabeled_cases else ""
        yield f"Trained on {model.labeled_cases} labeled{more} scans"
    if model.dice is not None:
        count = f" on {model.validation_cases} validation scans" if model.validation_cases else ""
        yield f"Dice {model.dice:.3f}{count}"
    else:
        yield "Dice not measured"


def evidence_title(model: Model) -> str:
    """Return the header of what was measured; '' where the model says nothing of it."""
    evidence = model.evidence
    count = len(evidence.limits)
    limits = f" and {count} known limit{'s' * (count > 1)}" if count else ""
    return f"Evidence{limits}" if limits or evidence.dice or evidence.trust else ""


def evidence_html(model: Model) -> str:
    """Return what was measured in a few lines of HTML, every figure as the model says it."""
    evidence, lines = model.evidence, []
    if evidence.dice:
        count = len(evidence.dice)
        spread = f"Dice {min(evidence.dice):.3f} to {max(evidence.dice):.3f}"
        lines.append(f"{count} validation scan{'s' * (count > 1)}: {spread}")
    if evidence.hd95_mm:
        far = f"{min(evidence.hd95_mm):.1f} to {max(evidence.hd95_mm):.1f} mm"
        lines.append(f"95 % of the edge lies within {far}")
    if evidence.trust is not None:
        trust = evidence.trust
        lines.append(
            f"The {100 * trust.captured_in:.0f} % most uncertain voxels hold "
            f"{100 * trust.errors_captured:.0f} % of the wrong ones"
        )
    if evidence.limits:
        shown = evidence.limits[:MOST_LIMITS]
        lines += ["<br><b>Known limits</b>", *(f"&bull; {html.escape(each)}" for each in shown)]
        if len(evidence.limits) > MOST_LIMITS:
            lines.append(f"{len(evidence.limits) - MOST_LIMITS} more: see the model's page")
    return "<br>".join(lines)


def page_address(model: Model) -> str:
    """Return where the model's page is; '' where the model names none that can be opened."""
    page = model.evidence.page
    if _PAGE.fullmatch(page) and ".." not in page:
        return f"{HOMEPAGE}/blob/main/{page}"
    return page if page.startswith("https://") else ""


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
            memory = f", {device.free_gib:.1f} of {device.total_gib:.1f} GB free"
        state = "works" if device.works else "does NOT work with this PyTorch"
        lines.append(f"{_device_name(device)} {state}{memory}")
    if machine.broken_gpu is not None:
        lines.append(
            "The graphics card is seen but cannot compute: install PyTorch anew in the module "
            "PyTorch Utils, for this card."
        )
    lines.append(f"Memory: {machine.memory_gib:.1f} GB free")
    lines.append(f"Disk: {machine.disk_gib:.0f} GB free")
    lines.append(f"PyTorch {machine.torch}, {machine.cores} processor cores")
    return "\n".join(lines)


def _device_name(device: Device) -> str:
    return "CPU" if device.kind == "cpu" else f"{device.name} ({device.kind})"


def left_text(left: int, total: int) -> str:
    """Return how much of the review list is still to be done."""
    if total == 0:
        return "No uncertain region was found."
    if left == 0:
        return f"All {total} regions are reviewed."
    return f"{left} of {total} regions left to review"


def banner(report: Report) -> Banner:
    """Return the most important of what a person must know before trusting a result."""
    messages = {flag.topic: flag.message for flag in report.flags}
    if EMPTY in messages:
        others = [text for topic, text in messages.items() if topic not in (EMPTY, UNKNOWN_RANGE)]
        more = f" Possible reason: {_joined(others)}." if others else ""
        text = "Nothing was found: the segmentation is empty. Check that the scan shows what "
        return Banner("error", f"{text}this model segments.{more}")
    missing = [text for topic, text in messages.items() if topic == "empty-label"]
    outside = [
        flag.message
        for flag in report.flags
        if flag.topic not in (EMPTY, "empty-label", UNKNOWN_RANGE)
    ]
    if outside:
        lead = "This scan is unlike those the model was trained on; the result may be wrong. "
        return Banner("warning", f"{lead}{_sentence(_joined([*missing, *outside]))}")
    if missing:
        return Banner("warning", _sentence(_joined(missing)))
    if UNKNOWN_RANGE in messages:
        return Banner("note", _sentence(messages[UNKNOWN_RANGE]))
    return NO_BANNER


def with_advice(found: Banner) -> Banner:
    """Return a banner that also says that a region helps."""
    return found._replace(text=f"{found.text} {REGION_ADVICE}")


def _joined(messages: list[str]) -> str:
    return "; ".join(messages)


def _sentence(text: str) -> str:
    end = "" if text.endswith((".", "?", "!")) else "."
    return f"{text[:1].upper()}{text[1:]}{end}"
